// Package app wires the parts into a running bridge: the bus, the public receiver, the admin listener, and
// for every account its engine, connectors, monitors and directory. An App is a value: [Start] it, ask it for
// its addresses, stop it. Tests start the real one on port 0.
//
// # Roles and owners
//
// A process has some or all of the roles webhook, engine and console. Those of several processes meet on the bus: the
// receiver stores what Graph posts, and the console asks the owner of an account (backend.go, command.go).
//
// Processes with the role engine are replicas. Each account is run by one of them, its owner (ownership.go): the
// engine, connectors, monitors, sweep, directory, intake and command server of an account are built when this replica
// becomes its owner, and end, waited for, when it is one no more. They end in an order that leaves nothing under way:
// commands, intake, then the rest, and the engine last. Whose an account is, when an owner has to stand aside, and why
// two never write is in DESIGN.md of package bus. What an account measures is registered while it runs (registry.go).
//
// An account that cannot be started is an error of Start; later, when it comes to this replica from another one, it is
// logged and tried again. An account that ends by itself is started again, and the others do not notice.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"presencebridge/bridge"
	"presencebridge/bridge/bus"
	"presencebridge/bridge/console"
	"presencebridge/bridge/keyring"
	"presencebridge/cmd/internal/config"
	"presencebridge/graph/notify"
	"presencebridge/webhook"
	"presencebridge/webhook/signin"
)

// closeTimeout bounds the draining of the bus at the end.
const closeTimeout = 15 * time.Second

// Options say what to run.
type Options struct {
	Config  *config.Config
	Roles   []config.Role // nil: all
	Version string
	Log     *slog.Logger // nil: discard

	// WebhookListener and AdminListener are used instead of Config.Listen when set. The App owns those that its
	// roles need, and leaves the others alone.
	WebhookListener, AdminListener net.Listener
	// OnLatency is told of the bridge's own share of the latency of every write that an observation caused.
	OnLatency func(account, side string, path bridge.Path, d time.Duration)
	// ReadWindow is how long confirming reads wait for each other. 0: 100 ms.
	ReadWindow time.Duration
	// DirectoryInterval is how often Entra is asked what changed about the users. 0: as configured.
	DirectoryInterval time.Duration
	// PushLatency is Graph's greatest delay of a notification, and RenewEvery how often subscriptions are renewed.
	// 0: 1 min and 25 min. Others are for tests that cannot wait so long.
	PushLatency, RenewEvery time.Duration
}

// App is a running bridge.
type App struct {
	opts     Options
	log      *slog.Logger
	registry *prometheus.Registry
	bus      *bus.Bus
	keys     *keyring.Keyring // nil without the engine role
	// webhookKeys are the keys of clientState: the newest, which makes them, then older ones that are accepted.
	webhookKeys func() [][]byte
	pool        *notify.Pool
	shared      *shared
	id          string     // among the replicas
	own         *ownership // nil without the engine role
	token       string

	webhookLn, adminLn net.Listener
	cancel             context.CancelFunc
	up                 chan struct{} // closed when the accounts that are this replica's from the beginning run
	done               chan struct{}
	err                error
}

// Start starts a bridge. An error means that it cannot run as configured; what is remote and unreachable is no
// error, it is tried again for as long as the bridge runs.
func Start(ctx context.Context, opts Options) (*App, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if len(opts.Roles) == 0 {
		opts.Roles = config.AllRoles()
	}
	a := &App{
		opts: opts, log: opts.Log, registry: prometheus.NewRegistry(), pool: notify.NewPool(0),
		up: make(chan struct{}), done: make(chan struct{}),
	}
	a.shared = newShared(a.registry)
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.closeAll())
	}
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	g, gctx := errgroup.WithContext(runCtx)
	if err := a.serve(gctx, g); err != nil {
		cancel()
		return nil, errors.Join(err, g.Wait(), a.closeAll())
	}
	go func() {
		defer close(a.done)
		err := g.Wait()
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		a.err = errors.Join(err, a.closeAll())
	}()
	return a, nil
}

func (a *App) has(r config.Role) bool { return slices.Contains(a.opts.Roles, r) }

// open opens what everything else needs: keys, listeners, the bus, the accounts.
func (a *App) open(ctx context.Context) error {
	if err := a.openKeys(); err != nil {
		return err
	}
	cfg := a.opts.Config
	busCfg := busConfig(cfg, a.log)
	busCfg.Metrics = a.registry
	b, err := bus.Open(ctx, busCfg)
	if err != nil {
		return err
	}
	a.bus = b
	// After the bus: a second process on the same data_dir is told so, and not that its address is taken.
	if err := a.listen(ctx); err != nil {
		return err
	}
	if !a.has(config.RoleEngine) {
		return nil
	}
	if a.id, err = replicaID(); err != nil {
		return err
	}
	if err := a.buildable(); err != nil {
		return err
	}
	a.own, err = newOwnership(ctx, a)
	return err
}

// buildable finds out what is wrong with any account's configuration: this replica may come to own every one of them.
func (a *App) buildable() error {
	for i := range a.opts.Config.Accounts {
		acc, err := newAccount(a, a.opts.Config.Accounts[i].Name, prometheus.NewRegistry(), nil)
		if err != nil {
			return err
		}
		acc.close()
	}
	return nil
}

// floor keeps "no floor" apart from the bus's default.
func floor(s config.Size) int64 {
	if s == 0 {
		return -1
	}
	return int64(s)
}

// openKeys opens the keys that this process's roles need, and no others.
func (a *App) openKeys() error {
	cfg := a.opts.Config
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w; choose a folder that the bridge may write to", err)
	}
	if a.has(config.RoleEngine) || (a.has(config.RoleWebhook) && cfg.WebhookKeyFile == "") {
		file, create := cfg.MasterKey()
		keys, err := keyring.OpenOrCreate(file, create)
		if err != nil {
			return err
		}
		a.keys = keys
		a.webhookKeys = keys.WebhookKeys
	}
	if cfg.WebhookKeyFile != "" && (a.has(config.RoleEngine) || a.has(config.RoleWebhook)) {
		keys, err := keyring.OpenKeys(cfg.WebhookKeyFile)
		if err != nil {
			return err
		}
		a.webhookKeys = keys.All
	}
	if !a.has(config.RoleConsole) {
		return nil
	}
	file, create := cfg.AdminToken()
	var err error
	if create {
		a.token, err = console.LoadOrCreateToken(filepath.Dir(file))
	} else {
		a.token, err = console.LoadToken(file)
	}
	return err
}

func (a *App) listen(ctx context.Context) error {
	var lc net.ListenConfig
	open := func(role config.Role, given net.Listener, key, addr string) (net.Listener, error) {
		switch {
		case !a.has(role):
			return nil, nil
		case given != nil:
			return given, nil
		}
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("listen.%s: %w; choose an address that is free, or stop what listens there", key, err)
		}
		return ln, nil
	}
	var err error
	if a.webhookLn, err = open(config.RoleWebhook, a.opts.WebhookListener, "webhook", a.opts.Config.Listen.Webhook); err != nil {
		return err
	}
	a.adminLn, err = open(config.RoleConsole, a.opts.AdminListener, "admin", a.opts.Config.Listen.Admin)
	return err
}

// serve starts everything. The receiver comes first: Graph validates it while a subscription is made.
func (a *App) serve(ctx context.Context, g *errgroup.Group) error {
	if a.has(config.RoleWebhook) {
		r, err := a.newReceiver()
		if err != nil {
			return err
		}
		g.Go(func() error { return r.Serve(ctx, a.webhookLn) })
	}
	if a.has(config.RoleConsole) {
		c, err := a.newConsole()
		if err != nil {
			return err
		}
		g.Go(func() error { return c.Serve(ctx, a.adminLn) })
	}
	if a.own == nil {
		close(a.up)
		return nil
	}
	started := make(chan error, 1)
	g.Go(func() error {
		return a.own.run(ctx, func(err error) {
			close(a.up)
			started <- err
		})
	})
	return <-started
}

func (a *App) newReceiver() (*webhook.Receiver, error) {
	cfg := a.opts.Config
	names := make([]string, 0, len(cfg.Accounts))
	for i := range cfg.Accounts {
		names = append(names, cfg.Accounts[i].Name)
	}
	callback, err := signin.New(signin.Config{Key: a.webhookKey(), Keys: a.webhookKeys, Finish: (&backend{app: a}).finishSignIn, Log: a.log})
	if err != nil {
		return nil, err
	}
	return webhook.New(webhook.Config{
		Routes:   []webhook.Route{{Method: http.MethodGet, Path: signin.Path, Handler: callback}},
		Accounts: names, Key: a.webhookKey(), Keys: a.webhookKeys, Store: a.bus, MaxBody: int64(cfg.Webhook.MaxBody), Deadline: cfg.Webhook.Deadline,
		MaxInFlight:     max(webhook.DefaultMaxInFlight, int64(cfg.Webhook.MaxBody)),
		CertificateFile: cfg.TLS.CertificateFile, KeyFile: cfg.TLS.KeyFile, Log: a.log, Metrics: a.registry,
	})
}

func (a *App) newConsole() (*console.Console, error) {
	checks := []console.ReadyCheck{{Name: "bus", Check: func(context.Context) error { return a.bus.Ready() }}}
	if a.own != nil {
		for _, name := range a.own.names {
			checks = append(checks, console.ReadyCheck{Name: "account " + name, Describe: func(context.Context) (string, error) { return a.own.ready(name) }})
		}
	}
	return console.New(console.Config{
		Backend: &backend{app: a}, Token: a.token, Checks: checks, Gatherer: a.registry, Metrics: a.registry,
		Version: a.opts.Version, Log: a.log,
	})
}

// WebhookAddr is where the public receiver listens, "" without that role.
func (a *App) WebhookAddr() string { return addr(a.webhookLn) }

// AdminAddr is where the admin listener listens, "" without that role.
func (a *App) AdminAddr() string { return addr(a.adminLn) }

func addr(ln net.Listener) string {
	if ln == nil {
		return ""
	}
	return ln.Addr().String()
}

// AdminToken is the bearer token of the admin API.
func (a *App) AdminToken() string { return a.token }

// Registry holds the metrics.
func (a *App) Registry() *prometheus.Registry { return a.registry }

// Engine is an account's engine, nil if this process does not own the account.
func (a *App) Engine(name string) *bridge.Engine {
	if a.own == nil {
		return nil
	}
	if acc := a.own.account(name); acc != nil {
		return acc.engine
	}
	return nil
}

// Done is closed when the bridge has ended, by Stop or by itself.
func (a *App) Done() <-chan struct{} { return a.done }

// Stop ends the bridge and returns what went wrong with it, if anything did. A context that ends first leaves
// the end unattended.
func (a *App) Stop(ctx context.Context) error {
	a.cancel()
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return fmt.Errorf("the bridge did not stop in time: %w", ctx.Err())
	}
}

// closeAll closes what open opened, in reverse order.
func (a *App) closeAll() error {
	var errs []error
	if a.bus != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		errs = append(errs, a.bus.Close(ctx))
	}
	for _, ln := range []net.Listener{a.webhookLn, a.adminLn} {
		if ln == nil {
			continue
		}
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
