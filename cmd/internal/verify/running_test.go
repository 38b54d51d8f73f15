package verify

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/app"
	"presencebridge/cmd/internal/config"
)

// start runs the real bridge with the world's configuration.
func (w *world) start() *app.App {
	w.t.Helper()
	a, err := app.Start(context.Background(), app.Options{
		Config: w.config(), WebhookListener: listen(w.t, w.hook), AdminListener: listen(w.t, w.admin), Version: "test",
	})
	require.NoError(w.t, err)
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		require.NoError(w.t, a.Stop(ctx))
	})
	w.secrets = append(w.secrets, a.AdminToken())
	return a
}

func TestRunningBridge(t *testing.T) {
	w := newWorld(t)
	a := w.start()
	upn := w.config().Accounts[0].Monitors[0].UPN
	c, err := client.New("http://"+a.AdminAddr(), a.AdminToken())
	require.NoError(t, err)
	ready := func() bool {
		r, err := readyz(t.Context(), "http://"+w.admin, time.Second)
		return err == nil && r.Ready
	}
	require.Eventually(t, ready, time.Minute, 20*time.Millisecond)

	r := w.run()
	expect(t, r, "bridge", "", OK, "ready")
	expect(t, r, "bus", "embedded", OK, "running bridge")
	expect(t, r, "monitor", upn, Failed, "nobody has signed in", "monitors authorize "+upn)
	expect(t, r, "graph_reach", "", Warning, "no monitor has a subscription")
	expect(t, r, "receiver", "", OK, "the bridge answers")
	require.Equal(t, Failed, r.Result)

	auth, err := c.Authorize(t.Context(), "contoso", upn)
	require.NoError(t, err)
	auth, err = c.AwaitAuthorization(t.Context(), auth)
	require.NoError(t, err)
	require.Equal(t, api.AuthorizationDone, auth.State, auth.Message)
	require.Eventually(t, func() bool {
		list, err := c.Monitors(t.Context(), "contoso")
		accounts, err2 := c.Accounts(t.Context())
		return err == nil && err2 == nil && len(list) == 1 && list[0].Subscription != nil && accounts[0].Members[presence.CoveragePushed] == 20
	}, 60*time.Second, 50*time.Millisecond)

	w.front.setApp("web", map[string]any{"redirectUris": []string{}})
	r = w.run()
	expect(t, r, "monitor", upn, OK, "Presence.Read.All", "carries 20 of 650")
	expect(t, r, "capacity", "", OK, "the running bridge has 20 members")
	expect(t, r, "graph_reach", "", OK, "Graph has validated both URLs", upn)
	expect(t, r, "redirect_uri", "", Warning, "all monitors are signed in")
	require.NotEqual(t, Failed, r.Result)

	// Another token than the bridge's: what only the bridge knows is skipped, and it is said why.
	dir := w.config().DataDir
	require.NoError(t, os.WriteFile(filepath.Join(dir, "admin-token"), []byte("not-the-token-of-this-bridge-at-all\n"), 0o600))
	r = w.run()
	expect(t, r, "bridge", "api", Warning, "cannot be asked")
	expect(t, r, "monitor", upn, Skipped, "token")
	expect(t, r, "capacity", "", OK, "matching finds 20 members")
	require.NoError(t, os.Remove(filepath.Join(dir, "admin-token")))
	expect(t, w.run(), "bridge", "api", Warning, "admin token")
}

func TestRunningBridgeWithoutTheAccount(t *testing.T) {
	w := newWorld(t)
	dir := w.config().DataDir
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "admin-token"), []byte("a-token-of-some-length-1234567890\n"), 0o600))
	admin := serveAt(t, w.admin, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/readyz" {
			rw.WriteHeader(http.StatusServiceUnavailable)
			_, _ = rw.Write([]byte(`{"ready":false,"checks":[{"name":"bus","ok":false,"detail":"free disk space is below nats.min_free"}]}`))
			return
		}
		_, _ = rw.Write([]byte(`{"accounts":[]}`))
	}))
	defer admin.Close()
	r := w.run()
	expect(t, r, "bridge", "bus", Failed, "not ready", "min_free")
	expect(t, r, "bus", "embedded", Failed, "min_free")
	expect(t, r, "monitor", "presence1@contoso.example", Skipped, "restart it")
}

// TestSomethingElseAtTheAdminAddress is no bridge.
func TestSomethingElseAtTheAdminAddress(t *testing.T) {
	for _, body := range []string{"<html>", "{}", "[]"} {
		w := newWorld(t)
		other := serveAt(t, w.admin, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte(body)) }))
		expect(t, w.run(), "bridge", "", Skipped, "no bridge answers")
		other.Close()
	}
}

func serveAt(t *testing.T, address string, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	require.NoError(t, s.Listener.Close())
	s.Listener = listen(t, address)
	s.Start()
	return s
}

// TestMonitorStates judges each state that a monitor can have.
func TestMonitorStates(t *testing.T) {
	now := time.Now()
	tn := &tenant{site: &site{now: now}, cfg: &config.Account{Monitors: []config.Monitor{{UPN: "M@contoso.example"}}}}
	live := &api.Subscription{ID: "1", ExpiresAt: now.Add(time.Hour)}
	for _, c := range []struct {
		m      api.Monitor
		result Result
		text   string
	}{
		{api.Monitor{State: "authorized", Subscription: live, Members: 3, Capacity: 650}, OK, "3 of 650"},
		{api.Monitor{State: "authorized"}, OK, "stands by"},
		{api.Monitor{State: "authorized", Members: 3}, Warning, "no live subscription"},
		{api.Monitor{State: "authorized", Members: 3, Subscription: &api.Subscription{ExpiresAt: now.Add(-time.Minute)}}, Warning, "no live subscription"},
		{api.Monitor{State: "authorized", Code: "subscription_refused", Text: "Graph refuses", Remedy: "wait"}, Warning, "Graph refuses"},
		{api.Monitor{State: "unset"}, Failed, "monitors authorize M@contoso.example"},
		{api.Monitor{State: "authorizing"}, Warning, "under way"},
		{api.Monitor{State: "authorizing", Before: &api.MonitorState{State: "needs_attention", Code: "password_changed", Text: "was changed"}}, Warning, "needed because password_changed was changed"},
		{api.Monitor{State: "unset", ClientID: "app-2", Application: 2}, Failed, "--application app-2"},
		{api.Monitor{State: "needs_update", Text: "for another application"}, Failed, "for another application"},
		{api.Monitor{State: "needs_attention", Code: "password_changed", Text: "was changed", Remedy: "authorise again"}, Failed, "password_changed was changed -> authorise again"},
		{api.Monitor{State: "retired"}, Warning, "restart"},
		{api.Monitor{State: "confused"}, Warning, "same version"},
	} {
		c.m.UPN = "m@CONTOSO.example"
		tn.monitors = []api.Monitor{c.m}
		got := checkMonitors(tn)
		require.Len(t, got, 1)
		require.Equal(t, c.result, got[0].Result, got[0].Evidence)
		require.Contains(t, got[0].Evidence+" -> "+got[0].Remedy, c.text)
	}
	tn.monitors = []api.Monitor{{UPN: "m@contoso.example", State: "unset"}, {UPN: "added@contoso.example", State: "unset"}, {UPN: "gone@contoso.example", State: "retired"}}
	require.Equal(t, []string{"M@contoso.example", "added@contoso.example"}, tn.upns(), "one was added while the bridge runs")
	tn.monitors = []api.Monitor{{UPN: "m@contoso.example", State: "authorized", ClientID: "app-1", Application: 1}, {UPN: "m@contoso.example", State: "unset", ClientID: "app-2", Application: 2}}
	got := checkMonitors(tn)
	require.Len(t, got, 2, "one for each application")
	require.Equal(t, []Result{OK, Failed}, []Result{got[0].Result, got[1].Result})
	tn.monitors = nil
	require.Equal(t, Warning, checkMonitors(tn)[0].Result, "one that the bridge does not know")
}

func TestLastHeard(t *testing.T) {
	now := time.Now()
	sub := func(heard, expires time.Duration) *api.Subscription {
		return &api.Subscription{HeardAt: now.Add(heard), ExpiresAt: now.Add(expires)}
	}
	require.Nil(t, lastHeard([]api.Monitor{{}, {Subscription: sub(-time.Minute, -time.Second)}}, now))
	got := lastHeard([]api.Monitor{{UPN: "a", Subscription: sub(-time.Hour, time.Minute)}, {UPN: "b", Subscription: sub(-time.Minute, time.Minute)}}, now)
	require.Equal(t, "b", got.UPN)
}
