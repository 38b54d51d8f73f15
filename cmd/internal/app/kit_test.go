package app

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
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
	posts *postbox // what the tenant posted
	door  *door    // in front of the tenant
	extra string   // more lines of the account's configuration
	sweep string   // how often everybody is read
	front *front   // a proxy before the tenant, nil if none
	rules string   // the account's policy; empty: the preset
}

// newSite starts a tenant of people with phones.
func newSite(t *testing.T, name string, people, monitors int, change ...func(*graphsim.Config)) *site {
	t.Helper()
	s := &site{name: name, posts: &postbox{}, door: &door{Listener: listen(t)}, sweep: "{interval: 2s, polled_interval: 1s}"}
	var upns []string
	for i := range monitors {
		upns = append(upns, fmt.Sprintf("presence%d@%s.example", i+1, name))
	}
	seed := fnv.New64a()
	_, _ = seed.Write([]byte(name))
	var err error
	cfg := graphsim.Config{
		Listener: s.door, Domain: name + ".example", Users: people, Monitors: upns, AutoApprove: true, Seed: seed.Sum64(),
		DeviceInterval: time.Second, Delivery: graphsim.Delivery{AllowHTTP: true, Transport: s.posts},
	}
	for _, f := range change {
		f(&cfg)
	}
	s.graph, err = graphsim.Start(cfg)
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

// door is a listener behind which nobody may be: connections are then closed at once.
type door struct {
	net.Listener
	shut atomic.Bool
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil || !d.shut.Load() {
			return c, err
		}
		_ = c.Close()
	}
}

// post is one request of the tenant's.
type post struct {
	url  string
	body []byte
}

// postbox carries what a tenant posts, and keeps a copy.
type postbox struct {
	mu    sync.Mutex
	posts []post
}

// RoundTrip implements http.RoundTripper.
func (b *postbox) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err = errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
		b.mu.Lock()
		b.posts = append(b.posts, post{r.URL.String(), body})
		b.mu.Unlock()
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return http.DefaultTransport.RoundTrip(r)
}

// last is the last one that holds a text.
func (b *postbox) last(text string) (post, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.posts) - 1; i >= 0; i-- {
		if bytes.Contains(b.posts[i].body, []byte(text)) {
			return b.posts[i], true
		}
	}
	return post{}, false
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

// id is the tenant's id of a person.
func (s *site) id(t *testing.T, upn string) string {
	t.Helper()
	st, ok := s.graph.State(upn)
	require.True(t, ok, "%s is in the tenant", upn)
	return st.ID
}

func (s *site) monitor() string { return "presence1@" + s.name + ".example" }

// status is what the PBX shows.
func (s *site) status(phone string) string {
	p, _ := s.pbx.Presence(phone)
	return p.Status
}

func (s *site) yaml(t *testing.T, dir string) string {
	t.Helper()
	write := func(name, content string) string { return writeFile(t, dir, s.name+"-"+name, content) }
	login, graph, ca := s.graph.LoginURL(), s.graph.GraphURL(), string(s.graph.CAPEM())
	if s.front != nil {
		login, graph, ca = s.front.url, s.front.url, s.front.ca
	}
	return fmt.Sprintf(`
  - name: %s
    graph:
      tenant_id: %s
      client_id: %s
      client_secret_file: %s
      endpoints: {login: %s, graph: %s, ca_file: %s}
    monitors: [{upn: %s}]
    pbx:
      - {name: main, type: micollab, url: %s, token_file: %s, writes_per_second: 200, settle: 200ms, timeout: 2s}
    sweep: %s
    teams: {settle: 500ms}
    hold_down: 200ms
    write_grace: 1s
    policy: %s
%s`, s.name, s.graph.TenantID, s.graph.ClientID, write("secret", s.graph.ClientSecret), login, graph,
		write("ca.pem", ca), s.monitor(), s.pbx.URL(), write("token", s.pbx.Token()), s.sweep, cmp.Or(s.rules, "{preset: micollab}"), s.extra)
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

// launch is how a bridge is started. The zero value but for dir and sites is a whole one on free ports.
type launch struct {
	dir   string
	sites []*site
	head  string // more lines of the configuration; data_dir and nats stand there if given
	roles []config.Role
	hook  net.Listener // given: Graph's way in stays the same over restarts
	hooks string       // address of a receiver in another process
	log   *slog.Logger
}

// yaml is the configuration.
func (l launch) yaml(t *testing.T, public string) string {
	t.Helper()
	text := fmt.Sprintf("listen: {webhook: %q, admin: \"127.0.0.1:0\"}\npublic_url: http://%s\n", public, public)
	if !strings.Contains(l.head, "data_dir:") {
		text += "data_dir: " + filepath.Join(l.dir, "data") + "\n"
	}
	if !strings.Contains(l.head, "nats:") {
		text += "nats: {min_free: 0}\n"
	}
	text += l.head + "\naccounts:"
	for _, s := range l.sites {
		text += s.yaml(t, l.dir)
	}
	return text
}

// try starts it. The caller stops it.
func (l launch) try(t *testing.T) (*App, error) {
	t.Helper()
	if l.hook == nil && l.hooks == "" {
		l.hook = listen(t)
	}
	if l.hook != nil {
		l.hooks = l.hook.Addr().String()
	}
	cfg, err := config.Parse("test.yaml", []byte(l.yaml(t, l.hooks)), config.Options{Files: true, Roles: l.roles})
	require.NoError(t, err)
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
		if testing.Verbose() {
			l.log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
		}
	}
	return Start(context.Background(), Options{Config: cfg, Roles: l.roles, WebhookListener: l.hook, Log: l.log, Version: "test"})
}

// start starts it, to be stopped at the latest when the test ends.
func (l launch) start(t *testing.T) *App {
	t.Helper()
	a, err := l.try(t)
	require.NoError(t, err)
	t.Cleanup(func() { stopApp(t, a) })
	return a
}

// graphClient is a client that trusts the tenant.
func graphClient(t *testing.T, s *site) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(s.graph.CAPEM()))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// lastPort goes through the ports below those that the system gives away by itself. It begins anywhere, so that the tests of
// another package are elsewhere, and no port is given twice.
var lastPort atomic.Uint32

func nextPort() uint32 {
	lastPort.CompareAndSwap(0, 1+mrand.Uint32N(20_000))
	return 10_000 + lastPort.Add(1)%20_000
}

// listen takes a port that whoever closes it can have again.
func listen(t *testing.T) net.Listener {
	t.Helper()
	for range 1000 {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprint("127.0.0.1:", nextPort()))
		if err == nil {
			return ln
		}
	}
	t.Fatal("no port is free")
	return nil
}

func listenAt(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	require.NoError(t, err)
	return ln
}

func stopApp(t *testing.T, a *App) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, a.Stop(ctx))
}

func admin(t *testing.T, a *App) *client.Client {
	t.Helper()
	c, err := client.New("http://"+a.AdminAddr(), a.AdminToken())
	require.NoError(t, err)
	return c
}

// authorize signs the site's monitor in, which the simulated tenant approves by itself, and waits for the subscription.
func authorize(t *testing.T, a *App, s *site) {
	t.Helper()
	c := admin(t, a)
	auth, err := c.Authorize(t.Context(), s.name, s.monitor())
	require.NoError(t, err)
	auth, err = c.AwaitAuthorization(t.Context(), auth)
	require.NoError(t, err)
	require.Equal(t, api.AuthorizationDone, auth.State, auth.Message)
	eventually(t, func() bool {
		list, err := c.Monitors(t.Context(), s.name)
		known := err == nil && slices.ContainsFunc(list, func(m api.Monitor) bool { return m.UPN == s.monitor() && m.Subscription != nil })
		return known && len(s.graph.Subscriptions()) == 1
	}, "a subscription is made, and the bridge has noted it")
}

// awaitPhones waits until the bridge has seen both sides of everybody.
func awaitPhones(t *testing.T, a *App, s *site) {
	t.Helper()
	c := admin(t, a)
	eventually(t, func() bool {
		n := 0
		for m, err := range c.Members(t.Context(), s.name, "") {
			if err == nil && m.Teams.OrganicState == "seen" && len(m.Endpoints) == 1 && m.Endpoints[0].Known {
				n++
			}
		}
		return n >= len(s.pbx.Users())
	}, "everybody is seen on both sides")
}

func member(t *testing.T, a *App, s *site, key string) api.Member {
	t.Helper()
	m, err := admin(t, a).Member(t.Context(), s.name, key)
	require.NoError(t, err)
	return m
}

func eventually(t *testing.T, cond func() bool, what string) {
	t.Helper()
	require.Eventually(t, cond, 2*time.Minute, 20*time.Millisecond, what)
}

// get reads a page of the admin listener or of the receiver.
func get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	return send(t, http.MethodGet, url, token, "")
}

func send(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// notifyURL is where an account's notifications go.
func notifyURL(a *App, account string) string {
	return "http://" + a.WebhookAddr() + "/graph/" + account + "/notifications"
}

// metric adds up the samples of a metric that carry these labels, given in pairs.
func metric(t *testing.T, reg *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if carries(m.GetLabel(), labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func carries(have []*dto.LabelPair, want []string) bool {
	for i := 0; i+1 < len(want); i += 2 {
		ok := false
		for _, l := range have {
			ok = ok || l.GetName() == want[i] && l.GetValue() == want[i+1]
		}
		if !ok {
			return false
		}
	}
	return true
}

// What people show in Teams.
var (
	graphAvailable = graphsim.Available
	graphInACall   = graphsim.InACall
)

// startWith starts a bridge whose configuration was changed.
func startWith(t *testing.T, l launch, replace map[string]string) (*App, error) {
	t.Helper()
	hook := listen(t)
	text := l.yaml(t, hook.Addr().String())
	for old, now := range replace {
		text = strings.ReplaceAll(text, old, now)
	}
	cfg, err := config.Parse("test.yaml", []byte(text), config.Options{Files: true, Roles: l.roles})
	require.NoError(t, err)
	return Start(context.Background(), Options{Config: cfg, Roles: l.roles, WebhookListener: hook, Log: l.log, Version: "test"})
}
