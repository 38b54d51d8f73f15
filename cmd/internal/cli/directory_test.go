package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/graph/graphsim"
)

// whoIsWhoSite is a tenant and a PBX with one of each that can be found.
func whoIsWhoSite(t *testing.T) (file string) {
	t.Helper()
	sim, err := graphsim.Start(graphsim.Config{People: []graphsim.Person{
		{ID: "00000000-0000-4000-8000-00000000000a", UPN: "anna@contoso.example", Mail: "anna@contoso.example", DisplayName: "Anna Berg"},
		{ID: "00000000-0000-4000-8000-00000000000b", UPN: "bob@contoso.example", Mail: "desk@contoso.example", DisplayName: "Bob Stone"},
		{ID: "00000000-0000-4000-8000-00000000000c", UPN: "carla@contoso.example", Mail: "desk@contoso.example", DisplayName: "Carla Diaz"},
		{ID: "00000000-0000-4000-8000-00000000000d", UPN: "dora@contoso.example", BusinessPhones: []string{"+49 30 123456-204"}, DisplayName: "Dora Frank"},
		{ID: "00000000-0000-4000-8000-00000000000e", UPN: "emil@contoso.example", DisplayName: "Emil Hart"},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	pbx, err := pbxsim.Start(pbxsim.Config{UserList: []pbxsim.User{
		{ID: "u1", Email: "ANNA@contoso.example", Extension: "201", DisplayName: "Anna"},
		{ID: "u2", Email: "desk@contoso.example", Extension: "202", DisplayName: "Desk"},
		{ID: "u3", Email: "emil.hart@contoso.exampel", Extension: "203", DisplayName: "=Hart, Emil"},
		{ID: "u4", Extension: "204", DisplayName: "Frank"},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pbx.Close()) })
	dir := t.TempDir()
	put := func(name, text string) string { return write(t, filepath.Join(dir, name), text) }
	return put("config.yaml", fmt.Sprintf(`
listen: {webhook: %q, admin: %q}
public_url: http://127.0.0.1:1
data_dir: %s
nats: {min_free: 0, max_store: 64MiB}
accounts:
  - name: contoso
    graph: {tenant_id: %s, client_id: %s, client_secret_file: %s, endpoints: {login: %s, graph: %s, ca_file: %s}}
    pbx: [{name: main, type: micollab, url: %s, token_file: %s, number_prefix: "+4930123456"}]
    exclude: [typo@contoso.example]
`, freeAddress(t), freeAddress(t), filepath.Join(dir, "data"), sim.TenantID, sim.ClientID, put("secret", sim.ClientSecret), sim.LoginURL(), sim.GraphURL(),
		put("ca.pem", string(sim.CAPEM())), pbx.URL(), put("token", pbx.Token())))
}

const whoIsWhoText = `account contoso: 2 endpoints matched, 1 ambiguous, 1 without a person; 3 people without an endpoint, 0 excluded

problems of the configuration
  exclude names typo@contoso.example, whom the tenant does not have; correct or remove it

ambiguous endpoints
  main u2 (202)  Desk  desk@contoso.example  shared_by_people  perhaps Bob Stone (bob@contoso.example, desk@contoso.example), or Carla Diaz (carla@contoso.example, desk@contoso.example)
  shared_by_people: several people have this address, extension or number; make it unique in Entra or on the PBX, or name the person in the overrides

endpoints without a person
  main u3 (203)  =Hart, Emil  emil.hart@contoso.exampel  no_person  perhaps Emil Hart (emil@contoso.example)
`

func TestDirectoryCheck(t *testing.T) {
	file := whoIsWhoSite(t)
	r := run(t, "directory", "check", "--config", file)
	require.Zero(t, r.code, r.err)
	require.Equal(t, "no bridge is running: the tenant and the PBXs are asked directly\n", r.err)
	require.True(t, strings.HasPrefix(r.out, whoIsWhoText), r.out)
	require.Contains(t, r.out, "  emil@contoso.example   Emil Hart   no_endpoint     perhaps =Hart, Emil (emil.hart@contoso.exampel, 203)\n")
	require.NotContains(t, r.out, "\nmatched\n")
	all := good(t, "directory", "check", "--config", file, "--all")
	require.Contains(t, all, "  main u1 (201)  anna@contoso.example  Anna Berg   by mail\n")
	require.Contains(t, all, "  main u4 (204)  dora@contoso.example  Dora Frank  by phone\n")

	lines, err := csv.NewReader(strings.NewReader(good(t, "directory", "check", "--config", file, "--csv"))).ReadAll()
	require.NoError(t, err)
	require.Len(t, lines, 1+8)
	require.Equal(t, "kind", lines[0][1])
	require.Equal(t, "'=Hart, Emil", lines[3][5], "no formula reaches a spreadsheet")

	c := start(t, "serve", "--config", file)
	c.says(t, "presence-bridge is running")
	eventually(t, func() bool {
		return strings.HasPrefix(run(t, "directory", "check", "--config", file).out, whoIsWhoText)
	}, "the running bridge says the same")
	require.Equal(t, all, good(t, "directory", "check", "--config", file, "--all"))
	var list []struct {
		Account  string
		Findings []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(good(t, "directory", "check", "--config", file, "--json")), &list))
	require.Len(t, list[0].Findings, 8)
	require.Contains(t, bad(t, "directory", "check", "--config", file, "--account", "nobody"), `there is no account "nobody"`)
	require.Zero(t, c.terminate(t))
}
