package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/graph/graphsim"
)

// TestCommandsOnARunningBridge has an administrator of two customers at work.
func TestCommandsOnARunningBridge(t *testing.T) {
	t.Parallel()
	one, two := newSite(t, "contoso", 4, 1), newSite(t, "fabrikam", 2, 2)
	file, c := serving(t, one, two)
	upn := one.upn(0)
	eventually(t, func() bool {
		r := run(t, "users", "list", "--config", file)
		return strings.Count(r.out, "Offline/Offline  main 10") == 6
	}, "everybody is seen")

	t.Run("users list", func(t *testing.T) {
		text := good(t, "users", "list", "--config", file)
		lines := strings.Split(strings.TrimSpace(text), "\n")
		require.Len(t, lines, 11, "six members, and two monitors who are none; and whose the two accounts are")
		require.Regexp(t, `^contoso is owned by the replica \S+-[0-9a-f]{8}$`, lines[9])
		require.Regexp(t, `^ACCOUNT +USER +COVERAGE +TEAMS +PBX +OURS`, lines[0])
		require.Contains(t, text, "main 1000: idle, Available")
		require.NotContains(t, good(t, "users", "list", "--config", file, "--account", "fabrikam"), "contoso")
		require.Contains(t, bad(t, "users", "list", "--config", file, "--account", "nobody"), `no account "nobody"`)
		require.Equal(t, 1, strings.Count(good(t, "users", "list", "--config", file, "--find", strings.ToUpper(upn)), "@"))
		var all []api.Member
		require.NoError(t, json.Unmarshal([]byte(good(t, "users", "list", "--json", "--config", file)), &all))
		require.Len(t, all, 8)
		require.Equal(t, "[]\n", good(t, "users", "list", "--json", "--config", file, "--find", "nobody at all"))
		require.Contains(t, good(t, "users", "list", "--config", file, "--find", "nobody at all"), "no members")
	})
	t.Run("users get", func(t *testing.T) {
		text := good(t, "users", "get", upn, "--config", file)
		for _, part := range []string{upn, "contoso", "Teams shows", "main 1000 shows", "idle, Available"} {
			require.Contains(t, text, part)
		}
		var m api.Member
		require.NoError(t, json.Unmarshal([]byte(good(t, "users", "get", strings.ToUpper(upn), "--json", "--config", file)), &m))
		require.Equal(t, upn, m.UPN)
		require.Contains(t, good(t, "users", "get", m.ID, "--config", file), upn)
		text = bad(t, "users", "get", "nobody@contoso.example", "--config", file)
		require.Contains(t, text, `no member "nobody@contoso.example" in contoso, fabrikam`)
		require.Contains(t, text, "users list")
		bad(t, "users", "get", upn, "--config", file, "--account", "fabrikam")
	})
	t.Run("where the bridge is", func(t *testing.T) { testWhere(t, file) })
	t.Run("monitors", func(t *testing.T) { testMonitors(t, file, one) })
	t.Run("resync", func(t *testing.T) { testResync(t, file, one) })
	t.Run("users explain", func(t *testing.T) { testExplain(t, file, one) })
	t.Run("what a call looks like", func(t *testing.T) {
		require.NoError(t, one.graph.StartCall(upn))
		eventually(t, func() bool {
			return strings.Contains(run(t, "users", "list", "--config", file, "--find", upn).out, "main: In a call")
		}, "the list says what is ours")
		text := good(t, "users", "get", upn, "--config", file)
		require.Contains(t, text, "In a call (")
		require.Contains(t, text, "afterwards Available again")
	})
	t.Run("policy replay", func(t *testing.T) { testReplay(t, file, upn) })
	require.Equal(t, 0, c.terminate(t), c.err.String())
	text := bad(t, "users", "list", "--config", file)
	require.Contains(t, text, "cannot reach the bridge at http://")
	require.Contains(t, text, "is it running")
}

func testWhere(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	address := strings.Split(strings.Split(string(text), `admin: "`)[1], `"`)[0]
	dir := filepath.Dir(file)
	token := filepath.Join(dir, "data", "admin-token")
	require.Contains(t, good(t, "users", "list", "--url", "http://"+address, "--token-file", token), "contoso")
	for _, args := range [][]string{{}, {"--url", "http://" + address}, {"--token-file", token}} {
		require.Contains(t, bad(t, append([]string{"users", "list"}, args...)...), "--config FILE, or --url URL with --token-file FILE")
	}
	require.Contains(t, bad(t, "users", "list", "--url", "http://"+address, "--token-file", token+"-absent"), "the bridge makes it on its first start")
	require.Contains(t, bad(t, "users", "list", "--url", address, "--token-file", token), "http://127.0.0.1:8080")
	other := write(t, filepath.Join(t.TempDir(), "token"), "a token of another bridge")
	said := bad(t, "users", "list", "--url", "http://"+address, "--token-file", other)
	require.Contains(t, said, "does not accept the token")
	require.NotContains(t, said, "a token of another bridge")
}

func testMonitors(t *testing.T, file string, s *site) {
	text := good(t, "monitors", "list", "--config", file)
	require.Regexp(t, `ACCOUNT +MONITOR +STATE`, text)
	require.Regexp(t, `contoso +`+s.monitor()+` +unset`, text)
	require.Contains(t, text, "presence1@fabrikam.example")
	require.Contains(t, bad(t, "monitors", "authorize", "nobody@contoso.example", "--config", file), "monitors add nobody@contoso.example")
	require.Contains(t, bad(t, "monitors", "authorize", "nobody@contoso.example", "--account", "contoso", "--config", file), "accounts[contoso].monitors")

	for _, c := range []struct {
		decide func(code string) error
		code   int
		says   string
	}{
		{s.graph.Decline, 1, "declined"},
		{s.graph.Expire, 1, "expired"},
		{func(code string) error { return s.graph.Approve(code, s.graph.Users()[0].UPN) }, 1, s.monitor()},
		{func(code string) error { return s.graph.Approve(code, s.monitor()) }, 0, "authorized"},
	} {
		cmd := start(t, "monitors", "authorize", s.monitor(), "--config", file)
		cmd.says(t, "Waiting")
		var codes []graphsim.DeviceCode
		eventually(t, func() bool { codes = s.graph.DeviceCodes(); return len(codes) > 0 }, "a code waits for a person")
		code := ""
		for _, dc := range codes {
			if strings.Contains(cmd.out.String(), dc.UserCode) {
				code = dc.UserCode
			}
		}
		require.NotEmpty(t, code, cmd.out.String())
		require.Contains(t, cmd.out.String(), s.graph.LoginURL())
		require.Contains(t, cmd.out.String(), "Sign in as "+s.monitor())
		require.NoError(t, c.decide(code))
		require.Equal(t, c.code, cmd.wait(t), cmd.out.String())
		last := cmd.out.String()[strings.Index(cmd.out.String(), "Waiting"):]
		require.Contains(t, last+cmd.err.String(), c.says)
	}
	eventually(t, func() bool {
		return strings.Contains(run(t, "monitors", "list", "--config", file).out, "4 of 650")
	}, "the subscription is made")
	var list map[string][]api.Monitor
	require.NoError(t, json.Unmarshal([]byte(good(t, "monitors", "list", "--json", "--config", file)), &list))
	require.Equal(t, "authorized", list["contoso"][0].State)
	require.NotNil(t, list["contoso"][0].Subscription)
	require.Equal(t, "unset", list["fabrikam"][0].State)
}

func testResync(t *testing.T, file string, s *site) {
	s.pbx.StallStreams(true)
	require.NoError(t, s.graph.SignIn(s.upn(1)))
	require.NoError(t, s.pbx.Pick("u1", "Do not disturb"))
	r := run(t, "resync", "--config", file, "--account", "contoso", "--member", s.upn(1))
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.out, s.upn(1))
	require.Contains(t, r.out, "idle, Available -> idle, Do not disturb")
	require.Contains(t, r.out, "1 of 1 member")
	require.Contains(t, r.err, "resync", "the bar")

	require.NoError(t, s.pbx.Pick("u2", "Do not disturb"))
	r = run(t, "resync", "--config", file)
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.out, s.upn(2))
	require.Contains(t, r.out, "6 of 6 members")
	var job api.Job
	require.NoError(t, json.Unmarshal([]byte(good(t, "resync", "--json", "--config", file, "--account", "fabrikam")), &job))
	require.Equal(t, api.JobDone, job.State)
	require.Equal(t, 2, job.Done)
	require.Contains(t, bad(t, "resync", "--config", file, "--account", "contoso", "--member", "nobody@contoso.example"), "no member")
	require.Contains(t, bad(t, "resync", "--config", file, "--account", "nobody"), `no account "nobody"`)
	require.Zero(t, run(t, "resync", "--config", file, "--member", s.upn(1)).code, "the member says which account")
	require.Contains(t, bad(t, "resync", "--config", file, "--member", "nobody@contoso.example"), "no member")
	s.pbx.StallStreams(false)
}
