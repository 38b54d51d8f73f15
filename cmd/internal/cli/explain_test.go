package cli

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
)

func TestMoments(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 11, 25, 11, 30, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"":                          {},
		"10:15":                     time.Date(2026, 11, 25, 10, 15, 0, 0, zone),
		"23:00":                     time.Date(2026, 11, 24, 23, 0, 0, 0, zone),
		" 10:15:30 ":                time.Date(2026, 11, 25, 10, 15, 30, 0, zone),
		"2026-11-24 10:15":          time.Date(2026, 11, 24, 10, 15, 0, 0, zone),
		"2026-11-25T09:15:00Z":      time.Date(2026, 11, 25, 10, 15, 0, 0, zone),
		"2026-11-25T10:15:00+01:00": time.Date(2026, 11, 25, 10, 15, 0, 0, zone),
	} {
		got, err := parseMoment(text, now)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%q is %v", text, got)
	}
	for text, says := range map[string]string{"noon": "write 10:15", "25:00": "write 10:15", "2026-11-26 10:15": "has not come yet"} {
		_, err := parseMoment(text, now)
		require.ErrorContains(t, err, says)
	}
	at := now.Add(-time.Hour)
	for text, want := range map[string]time.Time{"": {}, "2h": at.Add(-2 * time.Hour), "09:00": time.Date(2026, 11, 25, 9, 0, 0, 0, zone)} {
		got, err := parseSince(text, at, now)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%q is %v", text, got)
	}
	for _, text := range []string{"-1h", "0s", "yesterday"} {
		_, err := parseSince(text, at, now)
		require.Error(t, err, text)
	}
	got, err := parseSince("1h", time.Time{}, now)
	require.NoError(t, err)
	require.Equal(t, now.Add(-time.Hour), got)
}

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
