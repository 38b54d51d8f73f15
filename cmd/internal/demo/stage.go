package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/app"
	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/sims"
	"presencebridge/graph/graphsim"
)

const (
	accountName = "contoso"
	domain      = "contoso.example"
	// readyTimeout bounds the way from start to full coverage.
	readyTimeout = 3 * time.Minute
	stopTimeout  = 30 * time.Second
)

// stage is the simulators and the bridge between them.
type stage struct {
	cfg        Config
	dir        string
	watch      *watcher
	people     []sims.Person
	policy     *policy.Policy
	policyText string // as in the configuration
	graph      *graphsim.Sim
	pbxs       []pbx
	bridge     *config.Config
	app        *app.App
	log        *slog.Logger
	logOut     *os.File
	hook       string // address of the receiver, the same after a restart
	admin      string
}

func newStage(cfg Config, dir string, w *watcher) (*stage, error) {
	s := &stage{cfg: cfg, dir: dir, watch: w, people: sims.People(cfg.Members, domain)}
	kinds, err := parsePBXs(cfg.PBX)
	if err != nil {
		return nil, err
	}
	names := pbxNames(kinds)
	if s.policyText = yamlPolicy(names, kinds); len(kinds) == 1 {
		s.policy, err = policy.Parse([]byte("preset: " + kinds[0]))
	} else {
		s.policy, err = policy.Parse([]byte(s.policyText))
	}
	if err != nil {
		return nil, err
	}
	w.introduce(s.people, s.policy)
	if s.logOut, err = os.Create(logFile(cfg, dir)); err != nil {
		return nil, err
	}
	s.log = slog.New(slog.NewTextHandler(s.logOut, nil))
	s.graph, err = graphsim.Start(graphsim.Config{
		Domain: domain, People: sims.Tenant(s.people), Monitors: sims.Monitors(cfg.Monitors, domain),
		DeviceInterval: time.Second, Seed: cfg.Seed, OnChange: w.teamsChanged, Delivery: graphsim.Delivery{AllowHTTP: true},
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	for j, kind := range kinds {
		if err := s.startPBX(j, names[j], kind, len(kinds)); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// startPBX starts the j-th of n PBXs, with those people who have a phone there.
func (s *stage) startPBX(j int, name, kind string, n int) error {
	var here []sims.Person
	for i, p := range s.people {
		if hasPhone(i, j, n) {
			here = append(here, p)
		}
	}
	x, err := exchanges()[kind](here, s.cfg.Seed, func(c phoneChange) { s.watch.phoneChanged(name, c) })
	if err != nil {
		return err
	}
	s.pbxs = append(s.pbxs, pbx{exchange: x, name: name, kind: kind, catalogue: x.Statuses()})
	for i, user := range x.Users() {
		s.watch.phone(here[i], &handset{pbx: name, user: user, authors: x.Authors(), catalogue: x.Statuses(), line: presence.LineIdle})
	}
	return nil
}

// start signs people in, starts the bridge, and waits until everybody is covered.
func (s *stage) start(ctx context.Context) error {
	people := s.graph.Live(graphsim.PeopleConfig{Seed: s.cfg.Seed, Rate: 0.0001, Start: true})
	people.Stop()
	if err := s.startBridge(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	s.watch.phase("signing the monitors in")
	c, err := client.New("http://"+s.app.AdminAddr(), s.app.AdminToken())
	if err != nil {
		return err
	}
	if err := s.authorizeAll(ctx, c, sims.Monitors(s.cfg.Monitors, domain)); err != nil {
		return err
	}
	s.watch.phase("covering everybody")
	for !s.covered(ctx, c) {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("not everybody was covered within %s; the bridge's log: %s", readyTimeout, s.logOut.Name())
		}
	}
	return nil
}

// authorizeAll signs the monitors in, as their owners would: the demo enters the codes.
func (s *stage) authorizeAll(ctx context.Context, c *client.Client, monitors []string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, upn := range monitors {
		g.Go(func() error {
			a, err := c.Authorize(ctx, accountName, upn)
			if err == nil {
				err = s.graph.Approve(a.UserCode, upn)
			}
			if err == nil {
				a, err = c.AwaitAuthorization(ctx, a)
			}
			if err == nil && a.State != api.AuthorizationDone {
				err = errors.New(a.Message)
			}
			if err != nil {
				return fmt.Errorf("authorize %s: %w", upn, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// covered tells whether all members are known, as many pushed as the monitors can carry, and at rest.
func (s *stage) covered(ctx context.Context, c *client.Client) bool {
	accounts, err := c.Accounts(ctx)
	if err != nil || len(accounts) != 1 {
		return false
	}
	want := min(s.cfg.Members, s.cfg.Monitors*graphsimShard)
	m := accounts[0].Members
	return m["pushed"] >= want && m["pushed"]+m["polled"] >= s.cfg.Members && s.unsettled() == 0
}

// startBridge starts the real bridge, on the same addresses and folder each time.
func (s *stage) startBridge(ctx context.Context) error {
	hook, err := s.listen(ctx, &s.hook, "127.0.0.1:0")
	if err != nil {
		return err
	}
	admin, err := s.listen(ctx, &s.admin, or(s.cfg.Admin, "127.0.0.1:0"))
	if err != nil {
		return errors.Join(err, hook.Close())
	}
	if s.bridge == nil {
		text, err := s.yaml()
		if err != nil {
			return err
		}
		if s.bridge, err = config.Parse("demo.yaml", []byte(text), config.Options{Files: true}); err != nil {
			return err
		}
	}
	s.app, err = app.Start(ctx, app.Options{
		Config: s.bridge, WebhookListener: hook, AdminListener: admin, Version: s.cfg.Version, Log: s.log,
		OnLatency: s.watch.latency,
	})
	return err
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// listen takes the address that was had before, if any.
func (s *stage) listen(ctx context.Context, addr *string, first string) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", or(*addr, first))
	if err == nil {
		*addr = ln.Addr().String()
	}
	return ln, err
}

func (s *stage) file(name, content string) (string, error) {
	file := filepath.Join(s.dir, name)
	return file, os.WriteFile(file, []byte(content), 0o600)
}

func (s *stage) yaml() (string, error) {
	secret, err := s.file("client-secret", s.graph.ClientSecret)
	if err != nil {
		return "", err
	}
	ca, err := s.file("ca.pem", string(s.graph.CAPEM()))
	if err != nil {
		return "", err
	}
	pbxs := ""
	for _, p := range s.pbxs {
		keys, err := p.Keys(s.file)
		if err != nil {
			return "", err
		}
		pbxs += fmt.Sprintf("\n      - {name: %s, type: %s, %s, snapshot_interval: %s, writes_per_second: %d}",
			p.name, p.kind, keys, snapshotInterval, max(20, s.cfg.Members/50))
	}
	var monitors []string
	for _, m := range sims.Monitors(s.cfg.Monitors, domain) {
		monitors = append(monitors, "{upn: "+m+"}")
	}
	return fmt.Sprintf(`
listen: {webhook: %q, admin: %q}
public_url: http://%s
data_dir: %s
nats: {min_free: 0, max_store: 1GiB}
accounts:
  - name: %s
    graph:
      tenant_id: %s
      client_id: %s
      client_secret_file: %s
      endpoints: {login: %s, graph: %s, ca_file: %s}
    monitors: [%s]
    pbx:%s
    sweep: {interval: %s, polled_interval: %s}
    policy: %s
`, s.hook, s.admin, s.hook, filepath.Join(s.dir, "data"), accountName, s.graph.TenantID, s.graph.ClientID, secret, s.graph.LoginURL(),
		s.graph.GraphURL(), ca, strings.Join(monitors, ", "), pbxs, sweepInterval, polledInterval, s.policyText), nil
}

// restart stops the bridge in the middle of everything and starts it again.
func (s *stage) restart(ctx context.Context) error {
	s.watch.phase("the bridge is restarted")
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	s.watch.keepCounters(s.app.Registry())
	if err := s.app.Stop(stopCtx); err != nil {
		return err
	}
	if err := s.startBridge(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	s.watch.phase("the bridge is back")
	return nil
}

// close stops everything that was started, the bridge first.
func (s *stage) close() error {
	var errs []error
	if s.app != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		errs = append(errs, s.app.Stop(ctx))
	}
	for _, p := range s.pbxs {
		errs = append(errs, p.Close())
	}
	if s.graph != nil {
		errs = append(errs, s.graph.Close())
	}
	if s.logOut != nil {
		errs = append(errs, s.logOut.Close())
	}
	return errors.Join(errs...)
}
