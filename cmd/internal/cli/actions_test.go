package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
)

// open signs somebody in at the address that a command printed, and returns the status of the bridge's page.
func open(t *testing.T, s *site, text, as string) int {
	t.Helper()
	address := regexp.MustCompile(`https://\S+/oauth2/v2\.0/authorize\S+`).FindString(text)
	require.NotEmpty(t, address, text)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(s.graph.CAPEM()))
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer browser.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"&as="+url.QueryEscape(as), nil)
	require.NoError(t, err)
	resp, err := browser.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func TestMonitorCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	file, _ := serving(t, s)
	monitors := func(args ...string) []string { return append(append([]string{"monitors"}, args...), "--config", file) }
	one := s.monitor()
	eventually(t, func() bool { return run(t, monitors("authorize", one, "--copy-url")...).code == 0 }, "the monitors run")

	t.Run("authorize --copy-url", func(t *testing.T) {
		text := good(t, monitors("authorize", one, "--copy-url")...)
		require.Contains(t, text, "within 24h")
		require.NotContains(t, text, "Waiting")
		require.Contains(t, good(t, monitors("list")...), "authorizing")
		require.Equal(t, http.StatusForbidden, open(t, s, text, s.upn(0)))
		require.Equal(t, http.StatusGone, open(t, s, text, one), "good once")
		var a api.Authorization
		require.NoError(t, json.Unmarshal([]byte(good(t, monitors("authorize", one, "--copy-url", "--json")...)), &a))
		require.Equal(t, http.StatusOK, open(t, s, a.URL, one))
	})
	t.Run("authorize --redirect", func(t *testing.T) {
		cmd := start(t, monitors("authorize", one, "--redirect")...)
		cmd.says(t, "Waiting")
		require.Equal(t, http.StatusOK, open(t, s, cmd.out.String(), one))
		cmd.says(t, "authorized: the monitor is authorised")
		require.Contains(t, bad(t, monitors("authorize", one, "--redirect", "--copy-url")...), "none of the others can be")
	})
	t.Run("retry and renew", func(t *testing.T) {
		require.Contains(t, good(t, monitors("retry", one)...), one+": authorized")
		require.Contains(t, good(t, monitors("renew", one)...), "nobody has to sign in again")
		require.Contains(t, bad(t, monitors("retry", "nobody@contoso.example")...), "presence-bridge monitors add nobody@contoso.example")
	})
	t.Run("add and remove", func(t *testing.T) {
		two := s.upn(1)
		require.Contains(t, good(t, monitors("add", two)...), two+": unset")
		require.Contains(t, bad(t, monitors("add", two)...), "already")
		require.Contains(t, bad(t, monitors("add", "nonsense")...), "name@domain")
		require.Contains(t, bad(t, monitors("retry", two)...), "nobody has signed in")
		require.Contains(t, good(t, monitors("remove", two)...), two+": retired")
		require.Contains(t, good(t, monitors("remove", one)...), "retired")
		require.Empty(t, s.graph.Subscriptions())
		require.Equal(t, 2, strings.Count(good(t, monitors("list")...), "retired"))
	})
	t.Run("nobody waits for the end of a sign-in", func(t *testing.T) {
		require.Contains(t, good(t, monitors("add", s.upn(1))...), "unset")
		cmd := start(t, monitors("authorize", s.upn(1), "--redirect")...)
		cmd.says(t, "Waiting")
		require.NoError(t, cmd.cmd.Process.Signal(os.Interrupt))
		cmd.says(t, "the sign-in stays open until")
		require.NotContains(t, cmd.err.String(), "context canceled")
	})
}
