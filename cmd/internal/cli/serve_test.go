package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServeUntilSIGTERM(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	file, c := serving(t, s)
	require.Equal(t, 0, c.terminate(t), c.err.String())
	require.Contains(t, c.err.String(), "stopping")
	require.Empty(t, c.out.String(), "the log goes to stderr")
	for _, secret := range []string{s.graph.ClientSecret, s.pbx.Token()} {
		require.NotContains(t, c.err.String(), secret)
	}
	// It starts again, and a second one on the same data is refused.
	c = start(t, "serve", "--config", file)
	c.says(t, "presence-bridge is running")
	second := start(t, "serve", "--config", strings.TrimSuffix(file, "bridge.yaml")+second(t, file))
	require.Equal(t, 1, second.wait(t))
	require.Contains(t, second.err.String(), "data_dir")
	require.Equal(t, 0, c.terminate(t), c.err.String())
}

// second writes the same configuration with other addresses, and returns its name.
func second(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	lines[0] = `listen: {webhook: "` + freeAddress(t) + `", admin: "` + freeAddress(t) + `"}`
	write(t, filepath.Join(filepath.Dir(file), "second.yaml"), strings.Join(lines, "\n"))
	return "second.yaml"
}

const wrong = `listen: {webhook: nowhere}
data_dirr: /tmp
accounts:
  - name: Contoso
    graph: {tenant_id: x, client_id: y, client_secret_file: /nonexistent/secret}
    pbx: [{name: main, type: panasonic, url: "ftp://x", token_file: /nonexistent/token}]
`

// TestWrongConfiguration has serve and config check name every problem at once, each with its remedy.
func TestWrongConfiguration(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "wrong.yaml"), wrong)
	for _, command := range [][]string{{"serve"}, {"config", "check"}, {"users", "list"}} {
		text := bad(t, append(command, "--config", file)...)
		for _, problem := range []string{"listen.webhook", "data_dirr", "did you mean data_dir", "Contoso", "tenant_id", "client_id", "panasonic", "ftp"} {
			require.Contains(t, text, problem, "%v", command)
		}
		if command[0] != "users" {
			require.Contains(t, text, "/nonexistent/secret")
			require.Contains(t, text, "/nonexistent/token")
		}
	}
	c := start(t, "serve", "--config", file)
	require.Equal(t, 1, c.wait(t))
	require.Contains(t, c.err.String(), "panasonic")
	require.NotContains(t, c.err.String(), "Usage:")
}

func TestConfigCheck(t *testing.T) {
	s := newSite(t, "contoso", 1, 1)
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "bridge.yaml"), head(t, dir)+"accounts:"+s.yaml(t, dir))
	require.Equal(t, file+" is good: 1 account\n", good(t, "config", "check", "--config", file))
	require.Contains(t, bad(t, "config", "check", "--config", file, "--roles", "webhook"), "nats.url")
	require.Contains(t, bad(t, "config", "check", "--config", file, "--roles", "wizard"), "wizard")
	require.NoDirExists(t, filepath.Join(dir, "data"), "a check makes nothing")
	require.Contains(t, bad(t, "config", "check", "--config", filepath.Join(dir, "absent.yaml")), "absent.yaml")
	t.Setenv("PRESENCE_BRIDGE_LISTEN_ADMIN", "nowhere")
	require.Contains(t, bad(t, "config", "check", "--config", file), "PRESENCE_BRIDGE_LISTEN_ADMIN")
}

func TestConfigDescribe(t *testing.T) {
	text := good(t, "config", "describe")
	for _, key := range []string{"listen.webhook", "accounts[].graph.tenant_id", "nats.sync", "PRESENCE_BRIDGE_PUBLIC_URL"} {
		require.Contains(t, text, key)
	}
}

func TestVersion(t *testing.T) {
	require.Regexp(t, `^presence-bridge \S+\n$`, good(t, "version"))
}

// TestMisspelt has mistakes in the command line itself end with a sentence that says what to do.
func TestMisspelt(t *testing.T) {
	require.Contains(t, bad(t, "serv"), "serve")
	require.Contains(t, bad(t, "serve"), "--config FILE")
	require.Contains(t, bad(t, "serve", "--confg", "x"), "confg")
	require.Contains(t, bad(t, "users", "get"), "users get USER")
	require.Contains(t, bad(t, "users", "gett", "x"), "get")
	require.Contains(t, bad(t, "monitors", "authorize"), "monitors authorize UPN")
	require.Contains(t, bad(t, "notification", "decode"), "--key FILE")
	require.Contains(t, bad(t, "demo", "--faults", "many"), "none, some or cruel")
	require.Contains(t, bad(t, "demo", "--members", "0"), "--members")
	require.Contains(t, bad(t, "demo", "--members", "many"), "members")
	require.Contains(t, bad(t, "demo", "--duration", "-3s"), "--duration")
	require.Contains(t, bad(t, "demo", "--settle", "-3s"), "--settle")
	require.Contains(t, bad(t, "sim", "graph", "--faults", "many"), "none, some or cruel")
	require.Contains(t, bad(t, "sim", "pbx", "--faults", "many"), "none, some or cruel")
	require.Contains(t, bad(t, "sim", "pbx", "--listen", "nowhere"), "--listen")
	require.Contains(t, bad(t, "sim", "pbx", "--type", "3cx", "--listen", "nowhere"), "--listen")
	require.Contains(t, bad(t, "sim", "pbx", "--type", "3cx", "--faults", "many"), "none, some or cruel")
	require.Contains(t, bad(t, "sim", "pbx", "--type", "sip", "--listen", "nowhere"), "--listen")
	require.Contains(t, bad(t, "sim", "pbx", "--type", "sip", "--faults", "many"), "none, some or cruel")
	require.Contains(t, bad(t, "sim", "pbx", "--type", "telegraph"), "use 3cx, micollab, sip")
}
