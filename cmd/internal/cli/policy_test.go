package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/policy/cases"
)

const casesExample = "../../../deploy/policy/cases.yaml"

func TestPolicyTestRunsTheExample(t *testing.T) {
	out := good(t, "policy", "test", casesExample)
	require.Regexp(t, `ok +a call in Teams shows on the phone +phone: "In a call" \(call\) +\S*policy.yaml:11 teams_to_pbx\[0\]`, out)
	require.Regexp(t, `ok +ringing does not +Teams: nothing +no rule`, out)
	require.Regexp(t, `\d+ cases, 0 failed`, out)
	var js struct {
		Cases         []cases.Result
		Total, Failed int
	}
	require.NoError(t, json.Unmarshal([]byte(good(t, "policy", "test", "--json", casesExample)), &js))
	require.Len(t, js.Cases, js.Total)
	require.Zero(t, js.Failed)
}

func TestPolicyTestFails(t *testing.T) {
	dir := t.TempDir()
	table := filepath.Join(dir, "cases.yaml")
	require.NoError(t, os.WriteFile(table, []byte("cases:\n- {name: calls, given: {teams: Busy/InACall}, expect: {status: Busy}}\n- {name: idle, given: {line: idle}, expect: {presence: nothing}}\n"), 0o600))
	pol := filepath.Join(dir, "policy.yaml")
	require.NoError(t, os.WriteFile(pol, []byte("policy:\n  teams_to_pbx:\n    - {when: {activity: InACall}, set: {status: Talking}}\n"), 0o600))
	r := run(t, "policy", "test", table, "--policy", pol)
	require.Equal(t, 1, r.code)
	require.Empty(t, r.err, "what is wrong was said already")
	require.Regexp(t, `FAILED +calls +phone: "Talking" \(call\) +\S+policy.yaml:3 teams_to_pbx\[0\]`, r.out)
	require.Contains(t, r.out, table+":2: status is Talking, expected Busy")
	require.Contains(t, r.out, "2 cases, 1 failed")

	require.Contains(t, bad(t, "policy", "test", table), "say which policy")
	require.Contains(t, bad(t, "policy", "test", table, "--account", "x"), "--account goes with --config")
	require.Contains(t, bad(t, "policy", "test", filepath.Join(dir, "none.yaml")), "none.yaml")
	require.Contains(t, bad(t, "policy", "test", table, "--policy", filepath.Join(dir, "none.yaml")), "read the policy")
	require.NoError(t, os.WriteFile(pol, []byte("policy:\n  teams_to_pbx:\n    - {when: {line: idle}, set: {}}\n"), 0o600))
	require.Contains(t, bad(t, "policy", "test", table, "--policy", pol), pol+":3: teams_to_pbx[0].when.line:")
	require.NoError(t, os.WriteFile(table, []byte("cases: []\n"), 0o600))
	require.Contains(t, bad(t, "policy", "test", table, "--policy", pol), table+": cases: is missing")
}

// The policy of an account, and the presets of its PBX where it has none.
func TestPolicyTestOfAnAccount(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("x"), 0o600))
	account := func(name, tenant, more string) string {
		return "  - name: " + name + "\n    graph: {tenant_id: " + tenant + ", client_id: 66666666-7777-8888-9999-aaaaaaaaaaaa, client_secret_file: secret}\n" +
			"    pbx: [{name: main, type: micollab, url: \"https://" + name + ".example.com\", token_file: secret}]\n" + more
	}
	config := filepath.Join(dir, "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte("accounts:\n"+account("a", "11111111-2222-3333-4444-555555555555", "")+
		account("b", "21111111-2222-3333-4444-555555555555", "    policy:\n      teams_to_pbx:\n        - {when: {activity: InACall}, set: {status: Talking}}\n")), 0o600))
	table := filepath.Join(dir, "cases.yaml")
	require.NoError(t, os.WriteFile(table, []byte("cases: [{name: calls, given: {teams: Busy/InACall}, expect: {status_kind: busy}}]"), 0o600))
	require.Regexp(t, `"In a call" \(call\) +preset micollab, teams_to_pbx\[0\]`, good(t, "policy", "test", table, "--config", config, "--account", "a"))
	r := run(t, "policy", "test", table, "--config", config, "--account", "b")
	require.Equal(t, 1, r.code)
	require.Regexp(t, `config.yaml:\d+ teams_to_pbx\[0\]`, r.out)
	require.Contains(t, bad(t, "policy", "test", table, "--config", config), "--account a or b")
}

// testReplay runs after a call in Teams began that still goes on.
func testReplay(t *testing.T, file, upn string) {
	pol := filepath.Join(t.TempDir(), "new.yaml")
	require.NoError(t, os.WriteFile(pol, []byte("policy:\n  preset: micollab\n  teams_to_pbx: []\n"), 0o600))
	var text string
	eventually(t, func() bool {
		text = run(t, "policy", "replay", "--config", file, "--account", "contoso", "--policy", pol).out
		return strings.Contains(text, upn)
	}, "the records are there")
	require.Regexp(t, `USER +SIDE +FROM +UNTIL +NOW +WITH THE OTHER POLICY`, text)
	require.Regexp(t, upn+` +main \S+ +\S+ \S+ +still +In a call +Available`, text)
	require.Regexp(t, `contoso: [1-9]\d* of \d+ members would have looked different, \d+ times?, since \S+ \S+ \(\d+ observations?\)`, text)

	var js replayed
	require.NoError(t, json.Unmarshal([]byte(good(t, "policy", "replay", "--config", file, "--account", "contoso", "--policy", pol, "--since", "1h", "--json")), &js))
	require.Equal(t, "contoso", js.Account)
	require.Positive(t, js.Summary.Changed)
	require.True(t, slices.ContainsFunc(js.Differences, func(d api.ReplayDifference) bool { return d.UPN == upn && d.New == "Available" }))

	require.Contains(t, bad(t, "policy", "replay", "--config", file, "--policy", pol), "--account contoso or fabrikam")
	require.Contains(t, bad(t, "policy", "replay", "--config", file, "--policy", pol, "--since", "never"), "--since: ")
	require.Contains(t, bad(t, "policy", "replay", "--config", file), "policy")
	require.NoError(t, os.WriteFile(pol, []byte("teams_to_pbx:\n- {set: {}}\n"), 0o600))
	require.Contains(t, bad(t, "policy", "replay", "--config", file, "--account", "contoso", "--policy", pol), pol+":2: teams_to_pbx[0].set:")
	require.NoError(t, os.WriteFile(pol, []byte("\n"), 0o600))
	require.Contains(t, bad(t, "policy", "replay", "--config", file, "--account", "contoso", "--policy", pol), "is empty")
	require.NoError(t, os.WriteFile(pol, []byte("preset: sip\nteams_to_pbx: [{when: {activity: InACall}, set: {status: x}}, {when: {activity: InACall}, set: {status: y}}]\n"), 0o600))
	require.Contains(t, run(t, "policy", "replay", "--config", file, "--account", "contoso", "--policy", pol).err, "remark: "+pol+": line 2: teams_to_pbx[1]: it can never decide")
}
