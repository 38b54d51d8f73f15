package app

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/cmd/internal/config"
)

// browse opens an address as a person's browser would, following redirects, and returns the page where it ends.
func browse(t *testing.T, s *site, address string) (int, string) {
	t.Helper()
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(s.graph.CAPEM()))
	if s.front != nil {
		require.True(t, pool.AppendCertsFromPEM([]byte(s.front.ca)))
	}
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer browser.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	resp, err := browser.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Contains(t, resp.Request.URL.Path, "/authorize/callback", "the browser comes back to the bridge")
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(page)
}

// signIn begins a sign-in in a browser, as soon as the account's monitors run.
func signIn(t *testing.T, a *App, s *site, method api.Method) api.Authorization {
	t.Helper()
	var auth api.Authorization
	eventually(t, func() bool {
		var err error
		auth, err = admin(t, a).AuthorizeBy(t.Context(), s.name, s.monitor(), method)
		return err == nil
	}, "a sign-in begins")
	return auth
}

func TestSignInByRedirect(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 1)
	l := launch{dir: t.TempDir(), sites: []*site{s}}
	a := l.start(t)
	auth := signIn(t, a, s, api.ByRedirect)

	status, page := browse(t, s, auth.URL+"&as="+s.person(t, s.phone(0)))
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, page, "somebody else signed in")
	status, _ = browse(t, s, auth.URL)
	require.Equal(t, http.StatusGone, status, "good once")
	end, err := admin(t, a).AwaitAuthorization(t.Context(), auth)
	require.NoError(t, err)
	require.Equal(t, "wrong_user", end.State)
	require.Empty(t, end.URL)

	status, page = browse(t, s, signIn(t, a, s, api.ByRedirect).URL+"&deny=1")
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, page, "declined")
	require.Contains(t, page, "AADSTS65004")

	status, page = browse(t, s, signIn(t, a, s, api.ByRedirect).URL)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, s.monitor())
	eventually(t, func() bool { return len(s.graph.Subscriptions()) == 1 }, "a subscription is made")

	status, _ = get(t, "http://"+a.WebhookAddr()+"/authorize/callback?code=x&state=contoso.made.up", "")
	require.Equal(t, http.StatusBadRequest, status)
	_, err = admin(t, a).AuthorizeBy(t.Context(), s.name, s.monitor(), "telepathy")
	require.ErrorContains(t, err, "copy_url")
}

// TestLinkAcrossRestartAndProcesses begins with the receiver, the engine and the console in processes of their own;
// the engine starts again before anybody opens the link. The receiver, which ends the sign-in, has one key.
func TestLinkAcrossRestartAndProcesses(t *testing.T) {
	t.Parallel()
	nats := runNATS(t)
	s := newSite(t, "contoso", 4, 1)
	dir := t.TempDir()
	key := func(name, fill string) string {
		return writeFile(t, dir, name, base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32)))+"\n")
	}
	webhookKey, masterKey, token := key("webhook.key", "a"), key("master.key", "b"), key("token", "c")
	hook := listen(t)
	startText(t, hook, config.RoleWebhook, fmt.Sprintf("data_dir: %s\nnats: {url: %q}\nwebhook_key_file: %s\naccounts: [{name: contoso}]\n",
		filepath.Join(dir, "receiver"), nats, webhookKey))
	engine := launch{dir: dir, sites: []*site{s}, hooks: hook.Addr().String(), roles: []config.Role{config.RoleEngine},
		head: fmt.Sprintf("data_dir: %s\nnats: {url: %q}\nmaster_key_file: %s\nwebhook_key_file: %s\n", filepath.Join(dir, "engine"), nats, masterKey, webhookKey)}
	owner := engine.start(t)
	console := startText(t, nil, config.RoleConsole, fmt.Sprintf("data_dir: %s\nlisten: {admin: \"127.0.0.1:0\"}\nnats: {url: %q}\nadmin: {token_file: %s}\naccounts: [{name: contoso}]\n",
		filepath.Join(dir, "console"), nats, token))
	auth := signIn(t, console, s, api.ByLink)

	stopApp(t, owner)
	status, page := browse(t, s, auth.URL)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, page, "again in a minute")
	engine.start(t)
	eventually(t, func() bool { status, page = browse(t, s, auth.URL); return status == http.StatusOK }, "the link is still good")
	require.Contains(t, page, "authorised")
	eventually(t, func() bool { return len(s.graph.Subscriptions()) == 1 }, "a subscription is made")
	status, _ = browse(t, s, auth.URL)
	require.Equal(t, http.StatusGone, status)
}

func TestMonitorsAreChangedWhileTheBridgeRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 2)
	dir := t.TempDir()
	l := launch{dir: dir, sites: []*site{s}}
	a := l.start(t)
	c, second := admin(t, a), "presence2@contoso.example"
	authorize(t, a, s)

	m, err := c.AddMonitor(t.Context(), s.name, second)
	require.NoError(t, err)
	require.True(t, m.Added)
	_, err = c.AddMonitor(t.Context(), s.name, second)
	require.ErrorContains(t, err, "already")
	_, err = c.AddMonitor(t.Context(), s.name, "nonsense")
	require.ErrorContains(t, err, "name@domain")
	_, err = c.RetryMonitor(t.Context(), s.name, second)
	require.ErrorContains(t, err, "nobody has signed in")
	auth, err := c.RenewMonitor(t.Context(), s.name, second, api.ByRedirect)
	require.NoError(t, err)
	status, page := browse(t, s, auth.URL)
	require.Equal(t, http.StatusOK, status, page)

	// A new secret needs no sign-in; one that Entra does not accept is named.
	auth, err = c.RenewMonitor(t.Context(), s.name, second, api.ByRedirect)
	require.NoError(t, err)
	require.Equal(t, api.AuthorizationDone, auth.State)
	require.Contains(t, auth.Message, "nobody has to sign in")
	writeFile(t, dir, s.name+"-secret", "another-secret")
	_, err = c.RenewMonitor(t.Context(), s.name, second, api.ByRedirect)
	require.ErrorContains(t, err, "client_secret_file")
	s.graph.AddSecret("another-secret")
	eventually(t, func() bool {
		auth, err = c.RenewMonitor(t.Context(), s.name, second, api.ByRedirect)
		return err == nil && auth.State == api.AuthorizationDone
	}, "the new secret is taken up")

	// The spare takes the shard when the first is removed.
	m, err = c.RemoveMonitor(t.Context(), s.name, s.monitor())
	require.NoError(t, err)
	require.Equal(t, "retired", m.State)
	require.Nil(t, m.Subscription)
	eventually(t, func() bool { return len(s.graph.Subscriptions()) == 1 }, "the spare carries the members")
	list, err := c.Monitors(t.Context(), s.name)
	require.NoError(t, err)
	require.Len(t, list, 2)
	_, err = c.RemoveMonitor(t.Context(), s.name, s.monitor())
	require.ErrorContains(t, err, "monitors add")

	stopApp(t, a)
	a = l.start(t)
	eventually(t, func() bool {
		list, err = admin(t, a).Monitors(t.Context(), s.name)
		return err == nil && len(list) == 2 && list[0].UPN == second && list[0].State == "authorized" && list[1].State == "retired"
	}, "it is the same after a restart")
}

// TestSecretsEndIsKnown: from the application object to the API.
func TestSecretsEndIsKnown(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	var acc api.Account
	eventually(t, func() bool {
		list, err := admin(t, a).Accounts(t.Context())
		if err != nil || len(list) != 1 {
			return false
		}
		acc = list[0]
		return len(acc.Credentials) == 1
	}, "the secret's end is read")
	require.True(t, acc.Credentials[0].InUse)
	require.Nil(t, acc.Credentials[0].EndsWithinDays, "in a year")
	require.Empty(t, acc.CredentialsRemark)
	require.Positive(t, metric(t, a.Registry(), "presence_bridge_application_credential_expiry_timestamp_seconds", "kind", "secret"))
}
