// Package console is the admin listener: /metrics, /healthz and /readyz for machines, /api/v1 for
// administrators and the command line, and pages for a browser, which say why a member looks as they do. It declares what
// it needs of the bridge ([Backend]) and knows neither the bus nor Graph.
//
// Everything under /api needs the bearer token of [LoadOrCreateToken], and the pages a sign-in with it; the rest needs none, so
// the listener belongs on loopback or behind something that knows who may come. Errors are problem
// documents (RFC 9457). The API is described in OpenAPI 3.1 and served with it: openapi.yaml is the
// contract, and a test compares it with the routes and with what is really answered.
package console

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is what a Console needs. Backend and Token must be given.
type Config struct {
	// Backend is the bridge.
	Backend Backend
	// Token is what /api asks for: see [LoadOrCreateToken]. At least 16 bytes.
	Token string
	// Checks decide about /readyz. Default: none, and the bridge is ready when it listens.
	Checks []ReadyCheck
	// CheckTimeout bounds each check. Default 2 s.
	CheckTimeout time.Duration
	// Gatherer is what /metrics shows. Default: the route does not exist.
	Gatherer prometheus.Gatherer
	// Metrics registers the console's own metrics. Default: they are not registered.
	Metrics prometheus.Registerer
	// Version is shown by /healthz.
	Version string
	// Log receives what an operator should know. Default: nothing is logged.
	Log *slog.Logger
}

// Console serves the admin listener and runs the jobs that are started there.
type Console struct {
	cfg      Config
	log      *slog.Logger
	echo     *echo.Echo
	known    map[string]bool // "METHOD /route" of every route
	token    tokenHash
	jobs     *jobs
	spec     spec
	pages    *template.Template
	metrics  *metrics
	stopping chan struct{} // closed when whoever waits for news should be sent home
	stop     func()        // closes stopping, once
}

// New makes a Console, or says what is wrong with cfg. [Console.Close] ends it.
func New(cfg Config) (*Console, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	s, err := loadSpec()
	if err != nil {
		return nil, err
	}
	pages, err := loadPages()
	if err != nil {
		return nil, err
	}
	c := &Console{cfg: cfg, log: cfg.Log, token: hashToken(cfg.Token), jobs: newJobs(cfg.Backend, cfg.Log), spec: s, pages: pages, metrics: m}
	c.stopping = make(chan struct{})
	c.stop = sync.OnceFunc(func() { close(c.stopping) })
	c.echo = c.routes()
	c.known = map[string]bool{}
	for _, r := range c.echo.Routes() {
		c.known[r.Method+" "+r.Path] = true
	}
	return c, nil
}

func (c *Config) complete() error {
	if c.Backend == nil {
		return errors.New("console: Config.Backend is missing")
	}
	if len(c.Token) < minToken {
		return fmt.Errorf("console: the token has %d bytes, want at least %d", len(c.Token), minToken)
	}
	if c.CheckTimeout == 0 {
		c.CheckTimeout = 2 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Handler is the console without a listener.
func (c *Console) Handler() http.Handler { return c.echo }

// Close stops the jobs that are running and waits for them. Requests that wait for news are answered.
func (c *Console) Close() {
	c.stop()
	c.jobs.close()
}

func (c *Console) routes() *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = c.fail
	e.Use(c.observe, c.guard)
	e.GET("/healthz", c.health)
	e.GET("/readyz", c.ready)
	if c.cfg.Gatherer != nil {
		e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(c.cfg.Gatherer, promhttp.HandlerOpts{})))
	}
	e.GET("/", c.home, c.private)
	e.GET("/explain", c.explainWeb, c.private)
	e.GET("/login", c.showLogin)
	e.POST("/login", c.login)
	e.POST("/logout", c.logout)
	a := e.Group("/api/v1")
	a.GET("/openapi.json", c.openapiJSON)
	a.GET("/openapi.yaml", c.openapiYAML)
	a.GET("/accounts", c.listAccounts)
	a.GET("/accounts/:account/members", c.listMembers)
	a.GET("/accounts/:account/members/:member", c.getMember)
	a.GET("/accounts/:account/directory", c.listDirectory)
	a.GET("/accounts/:account/members/:member/explain", c.explainMember)
	a.GET("/accounts/:account/monitors", c.listMonitors)
	a.POST("/accounts/:account/monitors", c.addMonitor)
	a.DELETE("/accounts/:account/monitors/:upn", c.removeMonitor)
	a.POST("/accounts/:account/monitors/:upn/retry", c.retryMonitor)
	a.POST("/accounts/:account/monitors/:upn/renew", c.renewMonitor)
	a.POST("/accounts/:account/monitors/:upn/authorize", c.authorize)
	a.GET("/accounts/:account/authorizations/:id", c.getAuthorization)
	a.POST("/accounts/:account/certificate/rotate", c.rotateCertificate)
	a.POST("/accounts/:account/probe", c.probe)
	a.POST("/accounts/:account/pbx/check", c.checkPBXs)
	a.POST("/keys/reseal", c.reseal)
	a.POST("/accounts/:account/policy/replay", c.replayPolicy)
	a.POST("/accounts/:account/resync", c.resyncAccount)
	a.POST("/resync", c.resyncAll)
	a.GET("/jobs", c.listJobs)
	a.GET("/jobs/:id", c.getJob)
	return e
}

// Time limits of the listener. An answer may wait for api.MaxWait.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 90 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	shutdownGrace     = 5 * time.Second
)

// Serve accepts connections on ln until ctx ends, then closes the Console, lets requests finish and
// returns nil. It owns ln and every goroutine that it starts.
func (c *Console) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           c.echo,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          slog.NewLogLogger(c.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	var err error
	select {
	case err = <-served:
		served <- err
	case <-ctx.Done():
	}
	c.Close()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if serr := srv.Shutdown(grace); serr != nil {
		_ = srv.Close() // a client that will not let go must not keep the bridge from stopping
		c.log.Debug("admin connections were cut off", "error", serr)
	}
	if err = <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("console: serve: %w", err)
	}
	return nil
}
