package verify

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/cmd/internal/config"
)

const (
	secondApp = "22222222-2222-4222-8222-222222222222"
	thirdApp  = "33333333-3333-4333-8333-333333333333"
)

// withApplications gives the account two more applications.
func (w *world) withApplications() {
	w.t.Helper()
	lines := ""
	for i, id := range []string{secondApp, thirdApp} {
		secret := fmt.Sprintf("%d-secret-of-a-further-application", i)
		w.graph.AddApp(id, secret)
		w.secrets = append(w.secrets, secret)
		lines += fmt.Sprintf("{client_id: %s, client_secret_file: %s}, ", id, w.file(id, secret))
	}
	w.set("applications", "["+lines+"]")
}

func TestEveryApplicationIsChecked(t *testing.T) {
	w := newWorld(t, func(s *settings) { s.graph.RedirectURIs = []string{"https://other.example.com/authorize/callback"} })
	w.withApplications()
	w.graph.ConsentTo(secondApp, []string{"Presence.Read.All", "Application.Read.All"}, nil)
	w.graph.ConsentTo(thirdApp, []string{"Application.Read.All"}, nil)
	w.graph.AddSecretUntil(secondApp, "0-secret-of-a-further-application", time.Now().Add(20*24*time.Hour+time.Hour))
	first, second, third := "application "+w.graph.ClientID, "application "+secondApp, "application "+thirdApp

	r := w.run()
	for _, app := range []string{first, second, third} {
		expect(t, r, "app_token", app, OK)
		expect(t, r, "admin_consent", app, OK, "Application.Read.All")
		expect(t, r, "redirect_uri", app, Failed, "is not registered")
	}
	expect(t, r, "permission", "Presence.ReadWrite.All, "+first, OK, "granted")
	expect(t, r, "permission", "User.Read.All, "+first, OK, "granted")
	expect(t, r, "permission", "Presence.Read.All, "+second, OK, "granted")
	expect(t, r, "permission", "Presence.Read.All, "+third, Warning, "the first application reads in its place", "a70e0c2d-e793-494c-94c4-118fa0a67f42")
	expect(t, r, "permission", "Application.Read.All, "+third, OK)
	expect(t, r, "client_secret", first, OK, "in 36")
	expect(t, r, "client_secret", second, Warning, "in 20 days")
	expect(t, r, "client_secret", third, OK, "in 36")
	expect(t, r, "capacity", "", OK, "1950 places")
	for _, c := range r.Accounts[0].Checks {
		require.NotEqual(t, "User.Read.All, "+second, c.Subject, "only the first lists people")
	}
}

func TestOneApplicationThatFailsLeavesTheOthers(t *testing.T) {
	w := newWorld(t)
	w.withApplications()
	w.graph.FailTokens(secondApp, 7000222)
	w.graph.ConsentTo(thirdApp, nil, nil)
	w.graph.Consent([]string{"Presence.ReadWrite.All", "User.Read.All"}, nil)
	first, second, third := "application "+w.graph.ClientID, "application "+secondApp, "application "+thirdApp

	r := w.run()
	expect(t, r, "app_token", first, OK)
	expect(t, r, "app_token", second, Failed, "AADSTS7000222", "make a new client secret")
	expect(t, r, "permission", "Presence.Read.All, "+second, Skipped, "no app token")
	expect(t, r, "admin_consent", second, Skipped)
	expect(t, r, "client_secret", second, Skipped)
	expect(t, r, "app_token", third, OK)
	expect(t, r, "admin_consent", third, Warning, "no application permission at all", "enough to subscribe")
	expect(t, r, "permission", "Presence.Read.All, "+third, Warning)
	expect(t, r, "permission", "Application.Read.All, "+first, Skipped, "optional")
	expect(t, r, "client_secret", third, Skipped, "Application.Read.All")
	expect(t, r, "capacity", "", OK, "20 members")

	w.graph.ConsentTo(thirdApp, []string{"Presence.ReadWrite.All"}, nil)
	expect(t, w.run(), "permission", "Presence.Read.All, "+third, OK, "more than needed")
}

func TestRedirectOfAnApplicationWhoseMonitorsAreSignedIn(t *testing.T) {
	g := &config.Graph{ClientID: "app-1", Applications: []config.Application{{ClientID: "app-2"}}}
	apps := applications(g)
	tn := &tenant{site: &site{cfg: &config.Config{PublicURL: "https://b"}}, cfg: &config.Account{Graph: *g, Monitors: []config.Monitor{{UPN: "m"}}}, apps: apps}
	tn.monitors = []api.Monitor{{UPN: "m", State: "authorized", ClientID: "app-1"}, {UPN: "m", State: "unset", ClientID: "app-2"}}
	for i, want := range []Result{Warning, Failed} {
		apps[i].registration.RedirectURIs = []string{"https://other"}
		got := one(t, checkRedirect(tn, apps[i]))
		require.Equal(t, want, got.Result)
		require.Equal(t, "application "+apps[i].cfg.ClientID, got.Subject)
	}
}
