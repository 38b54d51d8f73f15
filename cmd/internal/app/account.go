package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"presencebridge/bridge"
	"presencebridge/bridge/bus"
	"presencebridge/bridge/directory"
	dirwire "presencebridge/bridge/directory/wire"
	"presencebridge/bridge/teams"
	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/connect"
	"presencebridge/graph"
	"presencebridge/graph/notify"
	"presencebridge/monitors"
)

// account is everything that one tenant needs, in the process that owns it.
type account struct {
	app     *App
	name    string
	cfg     *config.Account
	log     *slog.Logger
	metrics prometheus.Registerer
	tenure  *tenure   // nil: it is only built, not run
	readTo  time.Time // what the owner before had dealt with; written by prepare

	graph    *graph.Client   // the first application, which alone sets presence: its id names the session
	graphs   []*graph.Client // all applications
	reads    *graph.Readers  // of presence, spread over them
	engine   *bridge.Engine
	monitors *monitors.Manager
	decoder  *notify.Decoder
	certs    *notify.Keyring
	dir      *directoryLoop
	resyncs  *resyncs
	replays  *replays
	pbxs     []connect.Connector
	loaded   atomic.Bool

	stopCommands func()
}

// newAccount builds an account's parts. Nothing runs before prepare and run.
func newAccount(app *App, name string, metrics prometheus.Registerer, t *tenure) (*account, error) {
	a := &account{app: app, name: name, log: app.log.With("account", name), metrics: metrics, tenure: t, stopCommands: func() {}}
	for i := range app.opts.Config.Accounts {
		if cfg := &app.opts.Config.Accounts[i]; cfg.Name == name {
			a.cfg = cfg
		}
	}
	for _, build := range []func() error{a.buildGraph, a.buildEngine, a.buildMonitors, a.buildDecoder, a.buildDirectory} {
		if err := build(); err != nil {
			a.close()
			return nil, fmt.Errorf("account %s: %w", name, err)
		}
	}
	a.resyncs = newResyncs(a)
	a.replays = newReplays(a)
	return a, nil
}

// mayAct tells whether no other replica can have taken the account over.
func (a *account) mayAct() bool { return a.tenure == nil || a.tenure.mayAct() }

func (a *account) buildEngine() error {
	pol, err := a.cfg.ParsePolicy()
	if err != nil {
		return err
	}
	t, err := teams.New(teams.Config{Graph: a.graph, Reads: a.reads})
	if err != nil {
		return err
	}
	pbxs := map[string]bridge.PBX{}
	for i := range a.cfg.PBX {
		p := &a.cfg.PBX[i]
		conn, err := connect.New(p, connect.Options{Account: a.name, DataDir: a.app.opts.Config.DataDir, Log: a.log, Metrics: a.metrics})
		if err != nil {
			return err
		}
		a.pbxs = append(a.pbxs, conn)
		pbxs[p.Name] = bridge.PBX{
			Connector: conn, WritesPerSecond: p.WritesPerSecond, SnapshotInterval: p.SnapshotInterval,
			Settle: literal(p.Settle), Timeout: p.Timeout,
		}
	}
	cfg := bridge.Config{
		Account: a.name, Store: recordStore{bucket: a.app.bus.Bucket(bus.State), account: a.name}, Teams: t, PBX: pbxs,
		Rules: bridge.Rules{
			Policy: pol, Observe: a.cfg.Observing(), Lease: a.cfg.Lease, TeamsSettle: literal(a.cfg.Teams.Settle), HoldDown: literal(a.cfg.HoldDown), LandGrace: a.cfg.WriteGrace,
			Contest: contest(a.cfg.Competing),
		},
		TeamsWrites: a.cfg.Budgets.Writes, TeamsWriteRate: a.graph.WriteRate, ReadWindow: a.app.opts.ReadWindow, OnSnapshot: a.onSnapshot,
		MayWrite: a.mayAct,
		Log:      a.app.log, Metrics: a.metrics,
	}
	if a.app.opts.Config.History > 0 {
		cfg.Feed = feed{bus: a.app.bus, account: a.name}
	}
	if a.tenure != nil && a.app.opts.Config.NATS.URL != "" {
		cfg.Confirm = a.tenure.confirm
	}
	if f := a.app.opts.OnLatency; f != nil {
		cfg.OnLatency = func(side string, path bridge.Path, d time.Duration) { f(a.name, side, path, d) }
	}
	a.engine, err = bridge.New(cfg)
	return err
}

// contest keeps a configured 0 flips, which means that they are not counted, apart from the engine's zero value.
func contest(c config.Competing) bridge.ContestRules {
	if c.Flips == 0 {
		c.Flips = -1
	}
	return bridge.ContestRules{Flips: c.Flips, Window: c.Window, Pause: c.Pause}
}

// literal keeps a configured 0, which means none, apart from the engine's zero value, which means its default.
func literal(d time.Duration) time.Duration { return max(d, time.Nanosecond) }

func (a *account) buildDecoder() error {
	urls := a.graph.ValidationKeysURLs()
	keys, err := notify.NewKeySource(notify.KeySourceConfig{
		URLV2: urls[0], URLV1: urls[1], Client: a.graph.HTTPClient(), Log: a.app.log, Metrics: a.metrics,
	})
	if err != nil {
		return err
	}
	if a.certs, err = notify.NewKeyring(); err != nil {
		return err
	}
	issuers := notify.GlobalIssuers()
	switch graph.Cloud(a.cfg.Graph.Cloud) {
	case graph.CloudUSGovL4, graph.CloudUSGovL5:
		issuers = notify.USGovIssuers()
	case graph.CloudChina:
		issuers = notify.ChinaIssuers()
	case graph.CloudGlobal, "":
	}
	a.decoder, err = notify.New(notify.Config{
		Account: a.name, TenantID: a.cfg.Graph.TenantID, Audiences: a.cfg.Graph.ClientIDs(), Issuers: issuers,
		Keys: keys, Certificates: a.certs, Pool: a.app.pool, Log: a.app.log, Metrics: a.metrics,
		CheckClientState: func(s string) bool { return a.app.ourClientState(a.name, s) },
	})
	return err
}

func (a *account) buildDirectory() error {
	keeper, err := directory.NewKeeper(directory.KeeperConfig{
		Account: a.name, Store: dirwire.Store(a.app.bus.Bucket(bus.Directory)), Log: a.app.log, Metrics: a.metrics,
	})
	if err != nil {
		return err
	}
	pol, err := a.cfg.ParsePolicy()
	if err != nil {
		return err
	}
	a.dir = newDirectoryLoop(a, keeper, pol)
	return nil
}

// setCertificates gives the decoder the keys of the account's encryption certificates.
func (a *account) setCertificates(keys map[string]monitors.DecryptionKey) error {
	certs := make([]notify.Certificate, 0, len(keys))
	for id, key := range keys {
		c, err := notify.NewCertificate(id, key.Certificate, key.Private)
		if err != nil {
			return fmt.Errorf("encryption certificate %s: %w", id, err)
		}
		certs = append(certs, c)
	}
	return a.certs.Set(certs...)
}

// prepare reads what is stored, and from then on answers administrators. readTo is how far the owner before was.
func (a *account) prepare(ctx context.Context, readTo time.Time) error {
	a.readTo = readTo
	if err := a.engine.Load(ctx); err != nil {
		return fmt.Errorf("account %s: read the records: %w", a.name, err)
	}
	if err := a.monitors.Prepare(ctx); err != nil {
		return fmt.Errorf("account %s: read the monitors: %w", a.name, err)
	}
	if err := a.setCertificates(a.monitors.DecryptionKeys()); err != nil {
		return err
	}
	stop, err := a.app.bus.ServeCommands(a.name, a.command)
	if err != nil {
		return err
	}
	a.stopCommands = sync.OnceFunc(stop)
	a.loaded.Store(true)
	return nil
}

// foldTime is how long what was taken off the bus may take to be folded when the account ends.
const foldTime = time.Second

// run carries the account until ctx ends. Only programming and storage errors end it before. At the end commands are
// refused first; then nothing is taken off the bus any more, what was taken is folded, and the engine ends last with
// nothing under way, so that the next owner finds everything in the records.
func (a *account) run(ctx context.Context) error {
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, working := errgroup.WithContext(working)
	taking, stop := context.WithCancel(working)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	g.Go(func() error { return a.engine.Run(working) })
	g.Go(func() error {
		a.engine.Recover(working)
		return a.dir.run(working)
	})
	g.Go(func() error { return a.monitors.Run(working) })
	g.Go(func() error { a.resumeRotation(working); return nil })
	g.Go(func() error { return a.resyncs.run(working) })
	g.Go(func() error { return a.replays.run(working) })
	g.Go(func() error {
		<-taking.Done()
		a.stopCommands()
		return nil
	})
	g.Go(func() error {
		defer cancel()
		return a.intake(taking, working)
	})
	err := g.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

func (a *account) ready() error {
	switch {
	case !a.loaded.Load():
		return errors.New("the records are being read")
	case !a.dir.known():
		return errors.New("the members are not known yet: neither the tenant's users nor a stored list could be read")
	default:
		return nil
	}
}

func (a *account) close() {
	a.stopCommands()
	for _, p := range a.pbxs {
		p.Close()
	}
	for _, g := range a.graphs {
		g.Close()
	}
	if m, ok := a.metrics.(*tenureMetrics); ok {
		m.end()
	}
}
