package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/cmd/internal/config"
	"presencebridge/graph/graphsim"
)

// site is one tenant with one PBX whose people have the same mail addresses.
type site struct {
	name  string
	graph *graphsim.Sim
	pbx   *pbxsim.Sim
}

func newSite(t *testing.T, name string, people, monitors int) *site {
	t.Helper()
	s := &site{name: name}
	var upns []string
	for i := range monitors {
		upns = append(upns, fmt.Sprintf("presence%d@%s.example", i+1, name))
	}
	var err error
	s.graph, err = graphsim.Start(graphsim.Config{
		Domain: name + ".example", Users: people, Monitors: upns, AutoApprove: true, Seed: uint64(len(name)),
		DeviceInterval: time.Second, Delivery: graphsim.Delivery{AllowHTTP: true},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.graph.Close()) })
	var phones []pbxsim.User
	for i, u := range s.graph.Users() {
		phones = append(phones, pbxsim.User{ID: fmt.Sprintf("u%d", i), Email: u.Mail, Extension: fmt.Sprint(1000 + i), DisplayName: u.DisplayName})
	}
	s.pbx, err = pbxsim.Start(pbxsim.Config{UserList: phones})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.pbx.Close()) })
	return s
}

func (s *site) phone(i int) string { return s.pbx.Users()[i].ID }

// person is the tenant's user that owns the phone.
func (s *site) person(t *testing.T, phone string) string {
	t.Helper()
	for _, p := range s.pbx.Users() {
		if p.ID == phone {
			return p.Email
		}
	}
	t.Fatalf("no phone %s", phone)
	return ""
}

func (s *site) yaml(dir string) string {
	write := func(name, content string) string {
		file := filepath.Join(dir, s.name+"-"+name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			panic(err)
		}
		return file
	}
	upn := fmt.Sprintf("presence1@%s.example", s.name)
	return fmt.Sprintf(`
  - name: %s
    graph:
      tenant_id: %s
      client_id: %s
      client_secret_file: %s
      endpoints: {login: %s, graph: %s, ca_file: %s}
    monitors: [{upn: %s}]
    pbx:
      - {name: main, type: micollab, url: %s, token_file: %s, writes_per_second: 200}
    sweep: {interval: 2s, polled_interval: 1s}
    policy: {preset: micollab}
`, s.name, s.graph.TenantID, s.graph.ClientID, write("secret", s.graph.ClientSecret), s.graph.LoginURL(), s.graph.GraphURL(),
		write("ca.pem", string(s.graph.CAPEM())), upn, s.pbx.URL(), write("token", s.pbx.Token()))
}

// startApp runs a real bridge for the sites on free ports.
func startApp(t *testing.T, dir string, sites ...*site) *App {
	t.Helper()
	hook := listen(t)
	text := fmt.Sprintf("listen: {webhook: %q, admin: \"127.0.0.1:0\"}\npublic_url: http://%s\ndata_dir: %s\nnats: {min_free: 0}\naccounts:",
		hook.Addr(), hook.Addr(), filepath.Join(dir, "data"))
	for _, s := range sites {
		text += s.yaml(dir)
	}
	cfg, err := config.Parse("test.yaml", []byte(text), config.Options{Files: true})
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	a, err := Start(context.Background(), Options{Config: cfg, WebhookListener: hook, Log: log, Version: "test"})
	require.NoError(t, err)
	return a
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

func stopApp(t *testing.T, a *App) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(t, a.Stop(ctx))
}

func admin(t *testing.T, a *App) *client.Client {
	t.Helper()
	c, err := client.New("http://"+a.AdminAddr(), a.AdminToken())
	require.NoError(t, err)
	return c
}

// authorize signs the site's monitors in; the simulated tenant approves by itself.
func authorize(t *testing.T, a *App, s *site) {
	t.Helper()
	c := admin(t, a)
	auth, err := c.Authorize(t.Context(), s.name, fmt.Sprintf("presence1@%s.example", s.name))
	require.NoError(t, err)
	auth, err = c.AwaitAuthorization(t.Context(), auth)
	require.NoError(t, err)
	require.Equal(t, api.AuthorizationDone, auth.State, auth.Message)
}

func eventually(t *testing.T, cond func() bool, what string) {
	t.Helper()
	require.Eventually(t, cond, 60*time.Second, 20*time.Millisecond, what)
}

func TestBothWaysEndToEnd(t *testing.T) {
	s := newSite(t, "contoso", 20, 1)
	a := startApp(t, t.TempDir(), s)
	defer stopApp(t, a)
	authorize(t, a, s)
	eventually(t, func() bool { return len(s.graph.Subscriptions()) == 1 }, "a subscription is made")

	phone := s.phone(3)
	upn := s.person(t, phone)
	require.NoError(t, s.graph.SignIn(upn))
	require.NoError(t, s.graph.StartCall(upn))
	eventually(t, func() bool { p, _ := s.pbx.Presence(phone); return p.Status == "In a call" }, "a call in Teams shows on the PBX")
	require.NoError(t, s.graph.EndCall(upn))
	eventually(t, func() bool { p, _ := s.pbx.Presence(phone); return p.Status != "In a call" }, "and ends there")

	require.NoError(t, s.pbx.StartCall(phone))
	eventually(t, func() bool { return s.graph.Shown(upn).String() == "Busy/InACall" }, "a call on the PBX shows in Teams")
	require.NoError(t, s.pbx.EndCall(phone))
	eventually(t, func() bool { return s.graph.Shown(upn).String() == "Available/Available" }, "and ends there")
}
