package cli

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
)

// testExplain asks why somebody looks busy, as a support person would.
func testExplain(t *testing.T, file string, s *site) {
	upn := s.upn(3)
	require.NoError(t, s.graph.SignIn(upn))
	eventually(t, func() bool { return len(run(t, "users", "explain", upn, "--config", file).out) > 0 }, "explain answers")
	require.NoError(t, s.pbx.StartCall("u3"))
	var text string
	eventually(t, func() bool {
		text = run(t, "users", "explain", upn, "--config", file).out
		return contains(text, "Teams shows Busy (in a call)", "The bridge put Busy (in a call) there at ", ", because phone 1003 on main was in a call.",
			"What happened, since", "The bridge sets Busy (in a call) in Teams", "Teams accepted Busy (in a call).")
	}, "explain says why")
	require.Contains(t, text, upn)
	require.Contains(t, text, "account contoso")
	require.Contains(t, text, "Coverage: ")
	// The history follows what shows: the moment to ask about later is one that it has reached.
	var during time.Time
	eventually(t, func() bool {
		during = time.Now()
		return contains(run(t, "users", "explain", upn, "--at", during.Format(time.RFC3339Nano), "--config", file).out, "Teams showed Busy (in a call)")
	}, "the history has it")

	var e api.Explanation
	require.NoError(t, json.Unmarshal([]byte(good(t, "users", "explain", "1003", "--account", "contoso", "--json", "--config", file)), &e))
	require.Equal(t, upn, e.UPN)
	require.Equal(t, "Busy/InACall", e.Sides[0].Shown)
	require.Equal(t, "pbx.main.u3", e.Sides[0].Assertion.From)
	require.NotEmpty(t, e.Chain)
	require.Contains(t, bad(t, "users", "explain", "1001", "--config", file), "more than one account", "both customers have that extension")

	require.NoError(t, s.pbx.EndCall("u3"))
	eventually(t, func() bool {
		return contains(run(t, "users", "explain", upn, "--config", file).out, "Teams shows Available", "That is the person's own state")
	}, "the call is over")
	text = good(t, "users", "explain", upn, "--at", during.Format(time.RFC3339Nano), "--config", file)
	require.Contains(t, text, "Teams showed Busy (in a call)")
	require.Contains(t, text, "because phone 1003 on main was in a call")
	require.Contains(t, text, "the moment in question")

	text = bad(t, "users", "explain", "x"+upn, "--config", file)
	require.Contains(t, text, "did you mean")
	require.Contains(t, text, upn)
	require.Contains(t, bad(t, "users", "explain", upn, "--at", "noon", "--config", file), "--at: ")
	require.Contains(t, bad(t, "users", "explain", upn, "--since", "yesterday", "--config", file), "--since: ")
}
