package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSimulatorsInProcessesOfTheirOwn does what a newcomer does: start both simulators, paste what they print into a
// configuration, serve it, authorise the monitor, and move people with the commands that they print.
func TestSimulatorsInProcessesOfTheirOwn(t *testing.T) {
	for kind, call := range map[string]string{"micollab": "In a call", "3cx": "Away", "sip": "on-the-phone"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			simulatorsOfTheirOwn(t, kind, call)
		})
	}
}

func simulatorsOfTheirOwn(t *testing.T, kind, call string) {
	t.Helper()
	dir := t.TempDir()
	graph := start(t, "sim", "graph", "--listen", "127.0.0.1:0", "--members", "5", "--by-hand", "--dir", dir)
	phones := start(t, "sim", "pbx", "--type", kind, "--listen", "127.0.0.1:0", "--members", "5", "--by-hand", "--dir", dir)
	graph.says(t, "/sim/people\n")
	phones.says(t, "/pick -d")
	file := write(t, filepath.Join(dir, "bridge.yaml"), head(t, dir)+"accounts:\n  - name: contoso\n"+graph.out.String()+phones.out.String())
	require.Contains(t, good(t, "config", "check", "--config", file), "is good")
	bridge := start(t, "serve", "--config", file)
	bridge.says(t, "presence-bridge is running")
	monitor := regexp.MustCompile(`upn: (\S+)}`).FindStringSubmatch(graph.out.String())[1]
	require.Contains(t, good(t, "monitors", "authorize", monitor, "--config", file), "authorized")
	eventually(t, func() bool {
		r := run(t, "users", "list", "--config", file, "--find", "user00001@")
		return strings.Contains(r.out, "pushed") && strings.Contains(strings.ToLower(r.out), "idle, available")
	}, "the first person is covered")

	// A call in Teams shows on the PBX.
	curl(t, graph.out.String(), "call")
	eventually(t, func() bool {
		return strings.Contains(run(t, "users", "list", "--config", file, "--find", "user00001@").out, "main: "+call)
	}, "the call shows")
	// A choice on the PBX is the person's own.
	curl(t, phones.out.String(), "pick")
	eventually(t, func() bool {
		return strings.Contains(run(t, "users", "get", "user00001@contoso.example", "--config", file).out, "the person chose by hand")
	}, "the choice stands")
	require.Contains(t, curl(t, graph.out.String(), "/sim/people\n"), "user00005@contoso.example")

	for _, c := range []*child{bridge, graph, phones} {
		require.Equal(t, 0, c.terminate(t), c.err.String())
	}
}

// curl carries out the printed line that holds a text.
func curl(t *testing.T, printed, holds string) string {
	t.Helper()
	for line := range strings.Lines(printed) {
		if !strings.HasPrefix(line, "#   curl ") || !strings.Contains(line, holds) {
			continue
		}
		return request(t, line)
	}
	require.Failf(t, "no such line", "%s in %s", holds, printed)
	return ""
}

func request(t *testing.T, line string) string {
	t.Helper()
	method, body := http.MethodGet, ""
	client := &http.Client{Transport: &http.Transport{}}
	if m := regexp.MustCompile(`--cacert (\S+)`).FindStringSubmatch(line); m != nil {
		pem, err := os.ReadFile(m[1])
		require.NoError(t, err)
		pool := x509.NewCertPool()
		require.True(t, pool.AppendCertsFromPEM(pem))
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	}
	defer client.CloseIdleConnections()
	if m := regexp.MustCompile(`-X (\S+)`).FindStringSubmatch(line); m != nil {
		method = m[1]
	}
	if m := regexp.MustCompile(`-d '([^']*)'`).FindStringSubmatch(line); m != nil {
		body = m[1]
	}
	req, err := http.NewRequestWithContext(t.Context(), method, regexp.MustCompile(`https?://\S+`).FindString(line), strings.NewReader(body))
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode, line)
	var answer json.RawMessage
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	return string(answer)
}

// TestSimulatorThatCannotListen names the flag to change.
func TestSimulatorThatCannotListen(t *testing.T) {
	s := newSite(t, "contoso", 1, 1)
	taken := strings.TrimPrefix(s.pbx.URL(), "http://")
	for _, sim := range []string{"graph", "pbx"} {
		require.Contains(t, bad(t, "sim", sim, "--listen", taken, "--dir", t.TempDir()), "--listen "+taken)
	}
}

func TestSimulatorsNameTheFlagThatCannotBe(t *testing.T) {
	for flags, want := range map[string]string{
		"--members=0":           "--members 0: at least one",
		"--rate=-1":             "--rate -1",
		"--rate=NaN":            "--rate NaN",
		"--rate=0":              "--by-hand",
		"--faults=many":         "none, some",
		"--listen=127.0.0.1:-1": "--listen 127.0.0.1:-1",
	} {
		require.Contains(t, bad(t, "sim", "pbx", flags), want)
		require.Contains(t, bad(t, "sim", "graph", flags), want)
	}
	require.Contains(t, bad(t, "sim", "graph", "--monitors=-1"), "--monitors -1: not negative")
}
