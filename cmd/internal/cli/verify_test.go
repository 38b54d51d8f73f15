package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/cmd/internal/verify"
	"presencebridge/graph/graphsim"
)

// runMain runs the command line as a person would.
func runMain(args ...string) (status int, out, errOut string) {
	var o, e bytes.Buffer
	status = Main(args, strings.NewReader(""), &o, &e)
	return status, o.String(), e.String()
}

// verifiable is a tenant and a PBX, and a configuration for them.
func verifiable(t *testing.T) (sim *graphsim.Sim, file string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	free := func() string {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		return ln.Addr().String()
	}
	sim, err := graphsim.Start(graphsim.Config{Users: 5, Monitors: []string{"presence1"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	phones := []pbxsim.User{{ID: "1", Email: sim.Users()[0].Mail}, {ID: "2", Email: sim.Users()[1].Mail}}
	pbx, err := pbxsim.Start(pbxsim.Config{UserList: phones})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pbx.Close()) })
	hook := free()
	return sim, write("config.yaml", fmt.Sprintf(`
listen: {webhook: %q, admin: %q}
public_url: http://%s
data_dir: %s
nats: {min_free: 0, max_store: 64MiB}
accounts:
  - name: contoso
    graph: {tenant_id: %s, client_id: %s, client_secret_file: %s, endpoints: {login: %s, graph: %s, ca_file: %s}}
    monitors: [{upn: presence1@contoso.example}]
    pbx: [{name: main, type: micollab, url: %s, token_file: %s}]
`, hook, free(), hook, filepath.Join(dir, "data"), sim.TenantID, sim.ClientID, write("secret", sim.ClientSecret), sim.LoginURL(), sim.GraphURL(),
		write("ca.pem", string(sim.CAPEM())), pbx.URL(), write("token", pbx.Token())))
}

func TestVerifyCommand(t *testing.T) {
	sim, file := verifiable(t)
	status, out, errOut := runMain("verify", "--config", file)
	require.Zero(t, status, "%s%s", out, errOut)
	require.Contains(t, out, "account contoso\n")
	require.Empty(t, errOut)

	sim.FailTokens(sim.ClientID, 7000222)
	status, out, errOut = runMain("verify", "--config", file, "--json", "--account", "contoso")
	require.Equal(t, 1, status)
	require.Empty(t, errOut, "the report says it all")
	var report verify.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Equal(t, verify.Failed, report.Result)
	require.NotContains(t, out, sim.ClientSecret)

	status, _, errOut = runMain("verify", "--config", file, "--account", "fabrikam")
	require.Equal(t, 1, status)
	require.Contains(t, errOut, "contoso")
	status, _, errOut = runMain("verify", "--config", filepath.Join(t.TempDir(), "none.yaml"))
	require.Equal(t, 1, status)
	require.Contains(t, errOut, "none.yaml")
	status, _, errOut = runMain("verify")
	require.Equal(t, 1, status)
	require.Contains(t, errOut, "config")
}

func TestSetupCommand(t *testing.T) {
	sim, file := verifiable(t)
	status, out, errOut := runMain("setup", "azure", "--config", file)
	require.Zero(t, status, errOut)
	require.True(t, strings.HasPrefix(out, "#!/usr/bin/env bash\n"))
	require.Contains(t, out, "app_id='"+sim.ClientID+"'")
	require.NotContains(t, out, sim.ClientSecret)
	for _, format := range []string{"powershell", "list"} {
		status, out, errOut = runMain("setup", "azure", "--config", file, "--account", "contoso", "--format", format)
		require.Zero(t, status, errOut)
		require.Contains(t, out, "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30")
	}
	for _, args := range [][]string{{"--format", "terraform"}, {"--account", "fabrikam"}} {
		status, out, errOut = runMain(append([]string{"setup", "azure", "--config", file}, args...)...)
		require.Equal(t, 1, status)
		require.Empty(t, out)
		require.Contains(t, errOut, args[1])
	}
}
