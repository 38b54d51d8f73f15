package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/sims"
	"presencebridge/graph/graphsim"
)

const (
	domain = "contoso.example"
	// shardSize is how many members one monitor can watch (learn:changenotifications-for-presence).
	shardSize = 650
	// readyTimeout bounds the way from start to rest.
	readyTimeout = 6 * time.Minute
)

// siteArgs describe a site: the same number of people makes the same people in every process.
type siteArgs struct {
	Members  int           `json:"members"`
	Monitors int           `json:"monitors"`
	Latency  time.Duration `json:"latency"` // of a notification's way to us
}

// tenantHello is what the bridge has to know of the simulated tenant.
type tenantHello struct {
	TenantID, ClientID, Secret, Login, Graph, CA string
}

// mover has people begin and end calls: each move of a person is a change that the bridge has to carry over.
type mover struct {
	ids        []string
	begin, end func(string) error
	next       int // of all moves
	moves      atomic.Int64
}

// move makes one move: everybody in turn begins a call, then everybody in turn ends it.
func (m *mover) move() error {
	id, do := m.ids[m.next%len(m.ids)], m.begin
	if m.next/len(m.ids)%2 == 1 {
		do = m.end
	}
	m.next++
	if err := do(id); err != nil {
		return fmt.Errorf("move %s: %w", id, err)
	}
	m.moves.Add(1)
	return nil
}

// burst makes moves as fast as it can.
func (m *mover) burst(raw json.RawMessage) (any, error) {
	var n int
	if err := json.Unmarshal(raw, &n); err != nil {
		return nil, err
	}
	for range n {
		if err := m.move(); err != nil {
			return nil, err
		}
	}
	return m.moves.Load(), nil
}

// driveArgs say how fast people move, and for how long.
type driveArgs struct {
	Rate float64       `json:"rate"` // a second
	For  time.Duration `json:"for"`
}

// drive makes moves by the clock, and catches up when it was late: the load does not wait for the bridge.
func (m *mover) drive(ctx context.Context, raw json.RawMessage) (any, error) {
	var args driveArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return nil, err
	}
	gap := time.Duration(float64(time.Second) / args.Rate)
	began := time.Now()
	for n := 0; ; n++ {
		due := began.Add(time.Duration(n) * gap)
		if due.Sub(began) >= args.For {
			return m.moves.Load(), nil
		}
		if err := rest(ctx, time.Until(due)); err != nil {
			return nil, err
		}
		if err := m.move(); err != nil {
			return nil, err
		}
	}
}

// rest waits for a while.
func rest(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// approveArgs say who enters a code.
type approveArgs struct{ Code, UPN string }

func playTenant(ctx context.Context, raw json.RawMessage) (*played, error) {
	var args siteArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return nil, err
	}
	people := sims.People(args.Members, domain)
	sim, err := graphsim.Start(graphsim.Config{
		Domain: domain, People: sims.Tenant(people), Monitors: sims.Monitors(args.Monitors, domain), DeviceInterval: time.Second,
		Delivery: graphsim.Delivery{AllowHTTP: true, LatencyMin: args.Latency, LatencyMean: args.Latency, LatencyMax: args.Latency},
		Budgets:  &graphsim.Budgets{}, // its limits are not what is measured
	})
	if err != nil {
		return nil, err
	}
	// Conference calls: policy sets no such value in Teams, so that none has to be confirmed by a read (R15).
	m := &mover{begin: sim.StartConferenceCall, end: sim.EndCall}
	for _, p := range people {
		if err := sim.SignIn(p.ID); err != nil {
			return nil, errors.Join(err, sim.Close())
		}
		m.ids = append(m.ids, p.ID)
	}
	return &played{
		hello: tenantHello{TenantID: sim.TenantID, ClientID: sim.ClientID, Secret: sim.ClientSecret, Login: sim.LoginURL(), Graph: sim.GraphURL(), CA: string(sim.CAPEM())},
		orders: map[string]func(json.RawMessage) (any, error){
			"burst": m.burst,
			"drive": func(raw json.RawMessage) (any, error) { return m.drive(ctx, raw) },
			"stats": func(json.RawMessage) (any, error) { return sim.Stats().Notifications, nil },
			"first": m.keepFirst,
			"approve": func(raw json.RawMessage) (any, error) {
				var args approveArgs
				if err := json.Unmarshal(raw, &args); err != nil {
					return nil, err
				}
				return nil, sim.Approve(args.Code, args.UPN)
			},
		},
		stop: sim.Close,
	}, nil
}

// keepFirst and keepRest leave the first n people moving, or all others.
func (m *mover) keepFirst(raw json.RawMessage) (any, error) {
	var n int
	err := json.Unmarshal(raw, &n)
	m.ids = m.ids[:min(n, len(m.ids))]
	return len(m.ids), err
}

func (m *mover) keepRest(raw json.RawMessage) (any, error) {
	var n int
	err := json.Unmarshal(raw, &n)
	m.ids = m.ids[min(n, len(m.ids)):]
	return len(m.ids), err
}

// pbxHello is what the bridge has to know of the simulated PBX.
type pbxHello struct{ URL, Token string }

func playPBX(ctx context.Context, raw json.RawMessage) (*played, error) {
	var args siteArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return nil, err
	}
	people := sims.People(args.Members, domain)
	sim, err := pbxsim.Start(pbxsim.Config{UserList: sims.Phones(people), EventBuffer: 1 << 16, PageLimit: 1000})
	if err != nil {
		return nil, err
	}
	m := &mover{begin: sim.StartCall, end: sim.EndCall}
	for _, p := range people {
		m.ids = append(m.ids, p.Phone)
	}
	return &played{
		hello: pbxHello{URL: sim.URL(), Token: sim.Token()},
		orders: map[string]func(json.RawMessage) (any, error){
			"drive":  func(raw json.RawMessage) (any, error) { return m.drive(ctx, raw) },
			"writes": func(json.RawMessage) (any, error) { return sim.Stats().WritesApplied, nil },
			"rest":   m.keepRest,
		},
		stop: sim.Close,
	}, nil
}

// site is a tenant, a PBX and the bridge between them, each in a process of its own.
type site struct {
	tenant, pbx, bridge *child
	at                  bridgeHello
}

func (s *site) stop() error { return stopAll(s.tenant, s.pbx, s.bridge) }

// openSite starts a site and waits until everybody is covered and the bridge is at rest.
func openSite(ctx context.Context, b *bench, name string, args siteArgs, sync time.Duration) (*site, error) {
	s := &site{}
	if err := s.open(ctx, b, name, args, sync); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *site) open(ctx context.Context, b *bench, name string, args siteArgs, sync time.Duration) (err error) {
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	var (
		tenant tenantHello
		phones pbxHello
	)
	b.progress("%s: starting a tenant and a PBX of %d members", name, args.Members)
	if s.tenant, err = start(ctx, "tenant", args, &tenant); err != nil {
		return err
	}
	if s.pbx, err = start(ctx, "pbx", args, &phones); err != nil {
		return err
	}
	if s.bridge, err = start(ctx, "bridge", bridgeArgs{Dir: dir, Site: args, Tenant: tenant, Phones: phones, Sync: sync}, &s.at); err != nil {
		return err
	}
	b.progress("%s: authorising %d monitors", name, args.Monitors)
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := s.ready(ctx, b, name, args); err != nil {
		return fmt.Errorf("the bridge was not ready within %s: %w", readyTimeout, err)
	}
	return nil
}

// ready signs the monitors in and waits for coverage and rest.
func (s *site) ready(ctx context.Context, b *bench, name string, args siteArgs) error {
	c, err := s.at.client()
	if err != nil {
		return err
	}
	if err := s.at.awaitReady(ctx); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, upn := range sims.Monitors(args.Monitors, domain) {
		g.Go(func() error {
			a, err := c.Authorize(gctx, benchAccount, upn)
			if err == nil {
				err = s.tenant.order("approve", approveArgs{Code: a.UserCode, UPN: upn}, nil)
			}
			if err == nil {
				a, err = c.AwaitAuthorization(gctx, a)
			}
			if err == nil && a.State != api.AuthorizationDone {
				err = errors.New(a.Message)
			}
			if err != nil {
				return fmt.Errorf("authorise %s: %w", upn, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	b.progress("%s: waiting for coverage", name)
	for {
		accounts, err := c.Accounts(ctx)
		if err != nil {
			return err
		}
		m := accounts[0].Members
		if m[presence.CoveragePushed] >= min(args.Members, args.Monitors*shardSize) && m[presence.CoveragePushed]+m[presence.CoveragePolled] >= args.Members {
			break
		}
		if err := rest(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("coverage %v: %w", m, err)
		}
	}
	b.progress("%s: waiting for rest", name)
	return s.atRest(ctx)
}

// atRest waits until the bridge's records change no more.
func (s *site) atRest(ctx context.Context) error {
	var last, now float64
	for still := 0; still < 4; {
		if err := s.bridge.order("stores", nil, &now); err != nil {
			return err
		}
		if still++; now > last {
			still = 0
		}
		last = now
		if err := rest(ctx, 500*time.Millisecond); err != nil {
			return fmt.Errorf("%.0f records stored: %w", now, err)
		}
	}
	return nil
}

// yaml is the configuration of the bridge on the site, with files in its folder.
func (a *bridgeArgs) yaml(hook, admin string) (string, error) {
	file := func(name, content string) (string, error) {
		path := filepath.Join(a.Dir, name)
		return path, os.WriteFile(path, []byte(content), 0o600)
	}
	secret, err := file("client-secret", a.Tenant.Secret)
	if err != nil {
		return "", err
	}
	ca, err := file("ca.pem", a.Tenant.CA)
	if err != nil {
		return "", err
	}
	token, err := file("pbx-token", a.Phones.Token)
	if err != nil {
		return "", err
	}
	monitors := make([]string, a.Site.Monitors)
	for i, upn := range sims.Monitors(a.Site.Monitors, domain) {
		monitors[i] = "{upn: " + upn + "}"
	}
	sync := "always"
	if a.Sync > 0 {
		sync = a.Sync.String()
	}
	return fmt.Sprintf(`
listen: {webhook: %q, admin: %q}
public_url: http://%s
data_dir: %s
nats: {min_free: 0, sync: %s}
accounts:
  - name: %s
    graph: {tenant_id: %s, client_id: %s, client_secret_file: %s, endpoints: {login: %s, graph: %s, ca_file: %s}}
    monitors: [%s]
    pbx: [{name: main, type: micollab, url: %s, token_file: %s, writes_per_second: 1000}]
    budgets: {reads: 10000, writes: 10000}
    policy: {preset: micollab}
`, hook, admin, hook, filepath.Join(a.Dir, "data"), sync, benchAccount, a.Tenant.TenantID, a.Tenant.ClientID, secret,
		a.Tenant.Login, a.Tenant.Graph, ca, strings.Join(monitors, ", "), a.Phones.URL, token), nil
}

// samples collects latencies in milliseconds, by the side written to and what the write waited for.
type samples struct {
	mu sync.Mutex
	by map[string][]float64 // guarded by mu
}

func (s *samples) add(key string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string][]float64{}
	}
	s.by[key] = append(s.by[key], float64(d.Microseconds())/1000)
}

// take hands them out and begins anew.
func (s *samples) take() map[string][]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	by := s.by
	s.by = nil
	return by
}
