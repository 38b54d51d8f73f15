package app

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/pbx/pbxsim"
)

const (
	secondApp    = "22222222-2222-4222-8222-222222222222"
	secondSecret = "the-secret-of-the-second-application"
)

// withApplication adds a further application to the site's tenant and configuration.
func (s *site) withApplication(t *testing.T, dir string) map[string]string {
	t.Helper()
	s.graph.AddApp(secondApp, secondSecret)
	file := writeFile(t, dir, "second-secret", secondSecret+"\n")
	return map[string]string{"      endpoints:": "      applications: [{client_id: " + secondApp + ", client_secret_file: " + file + "}]\n      endpoints:"}
}

// signInFor signs the site's monitor in for the application that needs it next.
func signInFor(t *testing.T, a *App, s *site) api.Authorization {
	t.Helper()
	var auth api.Authorization
	eventually(t, func() bool {
		var err error
		auth, err = admin(t, a).AuthorizeWith(t.Context(), s.name, s.monitor(), api.AuthorizeRequest{})
		return err == nil
	}, "a sign-in begins")
	auth, err := admin(t, a).AwaitAuthorization(t.Context(), auth)
	require.NoError(t, err)
	require.Equal(t, api.AuthorizationDone, auth.State, auth.Message)
	return auth
}

// TestSeveralApplications: one monitor carries more than 650 people with two, and what comes through the second one's
// subscription is believed, though its tokens are for another audience. Presence is set by the first alone.
func TestSeveralApplications(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 655, 1)
	s.sweep = "{interval: 1h, polled_interval: 1h}" // only pushes tell
	dir := t.TempDir()
	a, err := startWith(t, launch{dir: dir, sites: []*site{s}}, s.withApplication(t, dir))
	require.NoError(t, err)
	t.Cleanup(func() { stopApp(t, a) })
	require.Equal(t, s.graph.ClientID, signInFor(t, a, s).ClientID)
	require.Equal(t, secondApp, signInFor(t, a, s).ClientID)
	eventually(t, func() bool {
		list, err := admin(t, a).Accounts(t.Context())
		return err == nil && len(s.graph.Subscriptions()) == 2 && list[0].Members["pushed"] == 655
	}, "everybody is pushed")
	list, err := admin(t, a).Monitors(t.Context(), s.name)
	require.NoError(t, err)
	require.Len(t, list, 2)
	for i, m := range list {
		require.Equal(t, s.monitor(), m.UPN)
		require.Equal(t, i+1, m.Application)
		require.NotNil(t, m.Subscription)
	}
	require.Equal(t, secondApp, list[1].ClientID)
	require.Equal(t, 655, list[0].Members+list[1].Members)
	reads := func(application string) float64 {
		return metric(t, a.Registry(), "presence_bridge_graph_requests_total", "application", application, "class", "read")
	}
	first, second := reads("1"), reads("2")
	for _, m := range list {
		watched := s.graph.Watched(m.Subscription.ID)
		require.Len(t, watched, m.Members)
		phone := slices.IndexFunc(s.pbx.Users(), func(u pbxsim.User) bool { return s.id(t, u.Email) == watched[0] })
		upn := s.person(t, s.phone(phone))
		require.NoError(t, s.graph.SignIn(upn))
		require.NoError(t, s.graph.StartCall(upn))
		eventually(t, func() bool { return s.status(s.phone(phone)) == "In a call" }, "a push through application "+m.ClientID)
		require.NoError(t, s.graph.EndCall(upn))
		require.NoError(t, s.pbx.StartCall(s.phone(phone)))
		eventually(t, func() bool { return s.graph.Shown(upn) == graphInACall }, "a call on the PBX shows in Teams")
		require.NoError(t, s.pbx.EndCall(s.phone(phone)))
	}
	// The sweep is an hour away: these are reads that confirm what was pushed and written.
	require.Greater(t, reads("1"), first)
	require.Greater(t, reads("2"), second, "confirming reads are spread over the applications")
	require.Zero(t, metric(t, a.Registry(), "presence_bridge_graph_requests_total", "application", "2", "class", "write"), "only the first sets presence")
}

// TestAnotherApplicationNeedsUpdate changes client_id, and then tenant_id, of an account that works.
func TestAnotherApplicationNeedsUpdate(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 2)
	dir := t.TempDir()
	l := launch{dir: dir, sites: []*site{s}}
	a := l.start(t)
	authorize(t, a, s)
	_, err := admin(t, a).AddMonitor(t.Context(), s.name, "presence2@contoso.example")
	require.NoError(t, err)
	auth, err := admin(t, a).AuthorizeBy(t.Context(), s.name, "presence2@contoso.example", api.ByDeviceCode)
	require.NoError(t, err)
	_, err = admin(t, a).AwaitAuthorization(t.Context(), auth)
	require.NoError(t, err)
	stopApp(t, a)

	s.graph.AddApp(secondApp, secondSecret)
	changed := map[string]string{s.graph.ClientID: secondApp, dir + "/contoso-secret": writeFile(t, dir, "second-secret", secondSecret)}
	a, err = startWith(t, l, changed)
	require.NoError(t, err)
	for _, m := range needUpdate(t, a, s) {
		_, err := admin(t, a).RetryMonitor(t.Context(), s.name, m.UPN)
		require.ErrorContains(t, err, "signed in for this monitor and application")
	}
	auth, err = admin(t, a).RenewMonitor(t.Context(), s.name, s.monitor(), api.ByRedirect)
	require.NoError(t, err)
	status, page := browse(t, s, auth.URL)
	require.Equal(t, 200, status, page)
	eventually(t, func() bool {
		list, err := admin(t, a).Monitors(t.Context(), s.name)
		return err == nil && list[0].State == "authorized" && list[0].Subscription != nil && list[1].State == "needs_update"
	}, "one is renewed, the other waits")
	stopApp(t, a)

	// Back to the first application: the other monitor's sign-in is good again.
	a = l.start(t)
	eventually(t, func() bool {
		list, err := admin(t, a).Monitors(t.Context(), s.name)
		return err == nil && list[0].State == "needs_update" && list[1].State == "authorized"
	}, "what was not renewed is as before")
	stopApp(t, a)

	a, err = startWith(t, l, map[string]string{s.graph.TenantID: "33333333-3333-4333-8333-333333333333"})
	require.NoError(t, err)
	t.Cleanup(func() { stopApp(t, a) })
	needUpdate(t, a, s)
}

// needUpdate waits until every monitor of the account needs an update, and checks that it says so.
func needUpdate(t *testing.T, a *App, s *site) (list []api.Monitor) {
	t.Helper()
	eventually(t, func() bool {
		var err error
		list, err = admin(t, a).Monitors(t.Context(), s.name)
		return err == nil && len(list) == 2 && !slices.ContainsFunc(list, func(m api.Monitor) bool { return m.State != "needs_update" })
	}, "every monitor needs an update")
	for _, m := range list {
		require.Equal(t, "application_changed", m.Code)
		require.Contains(t, m.Remedy, "monitors authorize")
		require.Nil(t, m.Subscription)
	}
	return list
}

// TestSecretOfAMonitorsOwn: configured for one, given to another; each is used for its monitor's tokens, and its end is told.
func TestSecretOfAMonitorsOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 2)
	dir := t.TempDir()
	file := writeFile(t, dir, "own", "first-own-secret-of-a-monitor\n")
	a, err := startWith(t, launch{dir: dir, sites: []*site{s}}, map[string]string{
		"monitors: [{upn: " + s.monitor() + "}]": "monitors: [{upn: " + s.monitor() + ", client_secret_file: " + file + "}]",
	})
	require.NoError(t, err)
	t.Cleanup(func() { stopApp(t, a) })
	c, second := admin(t, a), "presence2@contoso.example"

	// Entra does not know it: the sign-in fails with it, and not with the common one.
	auth, err := c.AwaitAuthorization(t.Context(), signIn(t, a, s, api.ByDeviceCode))
	require.NoError(t, err)
	require.Equal(t, "failed", auth.State)
	require.Equal(t, "AADSTS7000215", auth.Code)
	s.graph.AddSecretUntil(s.graph.ClientID, "first-own-secret-of-a-monitor", time.Now().Add(20*24*time.Hour))
	authorize(t, a, s)
	_, err = c.RenewMonitorWith(t.Context(), s.name, s.monitor(), api.AuthorizeRequest{ClientSecret: "another"})
	require.ErrorContains(t, err, "client_secret_file", "it is the configuration's to change")

	m, err := c.AddMonitorWith(t.Context(), s.name, api.AddMonitorRequest{UPN: second, ClientSecret: "second-own-secret-of-a-monitor"})
	require.NoError(t, err)
	require.True(t, m.OwnSecret)
	s.graph.AddSecretUntil(s.graph.ClientID, "second-own-secret-of-a-monitor", time.Now().Add(5*24*time.Hour))
	auth, err = c.AuthorizeBy(t.Context(), s.name, second, api.ByRedirect)
	require.NoError(t, err)
	status, page := browse(t, s, auth.URL)
	require.Equal(t, 200, status, page)
	_, err = c.RenewMonitorWith(t.Context(), s.name, second, api.AuthorizeRequest{ClientSecret: "not-known-to-entra"})
	require.ErrorContains(t, err, "--client-secret-file")
	s.graph.AddSecretUntil(s.graph.ClientID, "third-own-secret-of-a-monitor", time.Now().Add(300*24*time.Hour))
	eventually(t, func() bool {
		auth, err = c.RenewMonitorWith(t.Context(), s.name, second, api.AuthorizeRequest{ClientSecret: "third-own-secret-of-a-monitor"})
		return err == nil && auth.State == api.AuthorizationDone
	}, "a new secret needs no sign-in")
	_, err = c.AuthorizeWith(t.Context(), s.name, second, api.AuthorizeRequest{ClientSecret: "x"})
	require.ErrorContains(t, err, "use renew")

	// The common secret is not needed for the monitors: their tokens go on without it.
	s.graph.RemoveSecret(s.graph.ClientSecret)
	for _, upn := range []string{s.monitor(), second} {
		auth, err = c.RenewMonitor(t.Context(), s.name, upn, api.ByDeviceCode)
		require.NoError(t, err)
		require.Equal(t, api.AuthorizationDone, auth.State, upn)
	}
	require.NotContains(t, readAll(t, dir+"/data"), "own-secret-of-a-monitor")
}

// TestEndOfASecretOfAMonitorsOwn is told beside that of the common one, whose first three characters differ.
func TestEndOfASecretOfAMonitorsOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	dir := t.TempDir()
	s.graph.AddSecretUntil(s.graph.ClientID, "own-secret", time.Now().Add(20*24*time.Hour))
	a, err := startWith(t, launch{dir: dir, sites: []*site{s}}, map[string]string{
		"monitors: [{upn: " + s.monitor() + "}]": "monitors: [{upn: " + s.monitor() + ", client_secret_file: " + writeFile(t, dir, "own", "own-secret") + "}]",
	})
	require.NoError(t, err)
	t.Cleanup(func() { stopApp(t, a) })
	var known []api.Credential
	eventually(t, func() bool {
		list, err := admin(t, a).Accounts(t.Context())
		if err == nil {
			known = list[0].Credentials
		}
		return len(known) == 2
	}, "both ends are known")
	at := slices.IndexFunc(known, func(c api.Credential) bool { return len(c.Monitors) > 0 })
	require.GreaterOrEqual(t, at, 0)
	require.Equal(t, []string{s.monitor()}, known[at].Monitors)
	require.Equal(t, 30, *known[at].EndsWithinDays)
	require.Contains(t, known[at].Text, "own secret of "+s.monitor())
	require.True(t, known[1-at].InUse)
	require.Nil(t, known[1-at].EndsWithinDays)
	require.Equal(t, strings.ToLower(s.graph.ClientID), known[at].ClientID)
	require.Positive(t, metric(t, a.Registry(), "presence_bridge_application_credentials_ending", "within_days", "30"))
}
