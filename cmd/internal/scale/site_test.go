package scale

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/cmd/internal/app"
	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/sims"
	"presencebridge/graph/graphsim"
)

const (
	account  = "contoso"
	domain   = "contoso.example"
	perShard = 650
)

// size is how large a site is, and how fast time goes by in it.
type size struct {
	members, monitors int // as many as are needed; one more is a spare, which signs in later
	sweep, polled     time.Duration
	latency           time.Duration // Graph's greatest delay of a notification
	slow              time.Duration // by which a healthy subscription is late
	promise           time.Duration // within which a dead one is replaced
	life              time.Duration // that the tenant gives to subscriptions
	renewEvery        time.Duration // 0: as by default
	background        time.Duration // between two calls of people who have nothing to do with it; 0: nobody calls
	patience          time.Duration // for whatever has no promised time
	poll              time.Duration // how often it is looked whether something has come about
	lag               time.Duration // that a machine under load may add to a promised time
}

// site is a tenant, a PBX with the same people, and the real bridge between them.
type site struct {
	t      *testing.T
	size   size
	people []sims.Person
	graph  *graphsim.Sim
	pbx    *pbxsim.Sim
	app    *app.App
	admin  *client.Client
	log    *logs
}

func newSite(t *testing.T, z size) *site {
	t.Helper()
	s := &site{t: t, size: z, people: sims.People(z.members, domain), log: &logs{}}
	budgets := graphsim.DefaultBudgets()
	budgets.Writes = 1200 // what the bridge allows itself at first; no page of Graph names less than 10,000
	var err error
	s.graph, err = graphsim.Start(graphsim.Config{
		Domain: domain, People: sims.Tenant(s.people), Monitors: sims.Monitors(z.monitors+1, domain), DeviceInterval: time.Second,
		SubscriptionLife: z.life, Budgets: &budgets, Delivery: graphsim.Delivery{AllowHTTP: true},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.graph.Close()) })
	for _, p := range s.people {
		require.NoError(t, s.graph.SignIn(p.ID))
	}
	s.pbx, err = pbxsim.Start(pbxsim.Config{UserList: sims.Phones(s.people), EventBuffer: 1 << 16, PageLimit: 1000})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.pbx.Close()) })
	return s
}

// start starts the bridge.
func (s *site) start() {
	s.t.Helper()
	hook, err := (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	cfg, err := config.Parse("scale.yaml", []byte(s.yaml(hook.Addr().String())), config.Options{Files: true})
	require.NoError(s.t, err)
	s.app, err = app.Start(context.Background(), app.Options{
		Config: cfg, WebhookListener: hook, Version: "scale", Log: slog.New(slog.NewTextHandler(s.log, nil)),
		PushLatency: s.size.latency, RenewEvery: s.size.renewEvery,
	})
	require.NoError(s.t, err)
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		require.NoError(s.t, s.app.Stop(ctx))
		if s.t.Failed() {
			s.t.Log(s.log.warnings())
		}
	})
	s.admin, err = client.New("http://"+s.app.AdminAddr(), s.app.AdminToken())
	require.NoError(s.t, err)
}

func (s *site) yaml(hook string) string {
	dir := s.t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(s.t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	var monitors []string
	for _, upn := range sims.Monitors(s.size.monitors+1, domain) {
		monitors = append(monitors, "{upn: "+upn+"}")
	}
	return fmt.Sprintf(`
listen: {webhook: %q, admin: "127.0.0.1:0"}
public_url: http://%s
data_dir: %s
nats: {min_free: 0}
accounts:
  - name: %s
    graph: {tenant_id: %s, client_id: %s, client_secret_file: %s, endpoints: {login: %s, graph: %s, ca_file: %s}}
    monitors: [%s]
    pbx: [{name: main, type: micollab, url: %s, token_file: %s, writes_per_second: 200}]
    sweep: {interval: %s, polled_interval: %s}
    policy: {preset: micollab}
`, hook, hook, filepath.Join(dir, "data"), account, s.graph.TenantID, s.graph.ClientID, file("secret", s.graph.ClientSecret),
		s.graph.LoginURL(), s.graph.GraphURL(), file("ca.pem", string(s.graph.CAPEM())), strings.Join(monitors, ", "),
		s.pbx.URL(), file("token", s.pbx.Token()), s.size.sweep, s.size.polled)
}

// signIn signs monitors in by device code, which a person enters at once.
func (s *site) signIn(upns ...string) {
	s.t.Helper()
	g, ctx := errgroup.WithContext(s.t.Context())
	g.SetLimit(8)
	for _, upn := range upns {
		g.Go(func() error {
			a, err := s.admin.Authorize(ctx, account, upn)
			for try := 1; err != nil && try < 10; try++ { // a loaded machine may not answer in time
				a, err = s.admin.Authorize(ctx, account, upn)
			}
			if err == nil {
				err = s.graph.Approve(a.UserCode, upn)
			}
			if err == nil {
				a, err = s.admin.AwaitAuthorization(ctx, a)
			}
			if err == nil && a.State != api.AuthorizationDone {
				err = fmt.Errorf("%s: %s", upn, a.Message)
			}
			return err
		})
	}
	require.NoError(s.t, g.Wait())
}

// monitors lists them by UPN.
func (s *site) monitors() map[string]api.Monitor {
	list, err := s.admin.Monitors(s.t.Context(), account)
	require.NoError(s.t, err)
	out := map[string]api.Monitor{}
	for _, m := range list {
		out[m.UPN] = m
	}
	return out
}

// covered is how many members are covered in a way.
func (s *site) covered(how string) int {
	return int(s.gauge("presence_bridge_coverage_members", "coverage", how))
}

// gauge adds up the samples of a metric that carry a label.
func (s *site) gauge(name, label, value string) float64 {
	families, err := s.app.Registry().Gather()
	require.NoError(s.t, err)
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := label == ""
			for _, l := range m.GetLabel() {
				has = has || l.GetName() == label && l.GetValue() == value
			}
			if has {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// await waits for something, and says how long that took.
func (s *site) await(within time.Duration, what string, cond func() bool) time.Duration {
	s.t.Helper()
	began := time.Now()
	for !cond() {
		if time.Since(began) > within {
			s.t.Fatalf("%s: not within %s", what, within)
		}
		select {
		case <-s.t.Context().Done():
			s.t.Fatal(s.t.Context().Err())
		case <-time.After(s.size.poll):
		}
	}
	return time.Since(began)
}

// logs keeps what is worth more than an information.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *logs) Write(p []byte) (int, error) {
	if line := string(p); !strings.Contains(line, "level=INFO") && !strings.Contains(line, "too many writes are waiting") {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.text.Len() < 1<<16 {
			l.text.WriteString(line)
		}
	}
	return len(p), nil
}

func (l *logs) warnings() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
