// Package webhook is the public receiver of Graph's change notifications. It answers the validation
// handshake, bounds every body in size and time, checks that at least one item carries a clientState
// of ours, has the body stored, and only then says 202. It decrypts nothing and holds no credential
// but the key that clientState is derived with, so that it can stand alone in front of the bridge.
//
// Graph counts an answer within 3 s as delivered and punishes an endpoint that is slower for 10% of
// ten minutes (learn:change-notifications-delivery-webhooks). Hence: nothing is processed here, a
// store that does not answer in time is a 503, and what was answered with 503 Graph sends again, for
// up to 4 h. What was answered with 202 is stored.
//
// The answers:
//
//	200  handshake: the validation token, as plain text
//	202  stored; or well-formed, and nothing in it is ours
//	400  no JSON, or a handshake without a usable token
//	404  every other path or method
//	408  the body did not come in time
//	413  the body is too long
//	503  not stored: the store refused or did not answer in time, or too much is in flight
//
// Strangers can reach this package. To them every account looks alike, existing or not, and every
// well-formed body is a 202: only who knows the key can tell a body that is used from one that is not.
package webhook

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Store keeps a notification body until it has been processed.
type Store interface {
	// StoreNotification returns nil only once the body is safely stored, and an error as soon as
	// that is known to be impossible or ctx ends, whichever comes first. arrived is when the
	// request's header had been read. Two bodies with the same id, within the store's own window,
	// are one; "" means that the body has none and is always kept. It must not alter body.
	StoreNotification(ctx context.Context, account string, body []byte, arrived time.Time, id string) error
}

// Defaults of Config.
const (
	DefaultMaxBody     = 8 << 20
	DefaultMaxInFlight = 64 << 20
	DefaultConnections = 2048
	DefaultDeadline    = 2500 * time.Millisecond
	DefaultRetryAfter  = 5 * time.Second
)

// Config is what a Receiver needs. Accounts, Key and Store must be given.
type Config struct {
	// Accounts are the names that may stand in the path. Names match [a-z0-9-]{1,32}.
	Accounts []string
	// Key is what clientState is derived with: [KeySize] bytes.
	Key []byte
	// Keys are all keys whose clientStates are accepted, asked for when one does not fit Key: after a rotation, Graph goes
	// on repeating what older keys made. nil: Key alone.
	Keys func() [][]byte
	// Store takes the bodies.
	Store Store
	// MaxBody is the longest body accepted, in bytes; a longer one is a 413. Default 8 MiB: the
	// filter that Graph echoes takes 28 KB in every single item.
	MaxBody int64
	// MaxInFlight bounds the memory of all bodies being received or stored at one time, in bytes (the
	// half-size copy that a growing body leaves behind not counted); beyond it the answer is 503. At
	// least MaxBody. Default 64 MiB.
	MaxInFlight int64
	// MaxConnections bounds the open connections; beyond it the one that was quiet for longest is closed.
	// Default 2048.
	MaxConnections int
	// Deadline is how long after a request's arrival it must have been received and stored.
	// Default 2.5 s, and at most 3 s: Graph's limit.
	Deadline time.Duration
	// RetryAfter is what a 503 suggests. Default 5 s.
	RetryAfter time.Duration
	// CertificateFile and KeyFile, in PEM, switch TLS on. They are read again when they change.
	CertificateFile, KeyFile string
	// Routes are further handlers on the same listener, for example the redirect of a sign-in.
	Routes []Route
	// Log receives what an operator should know. Default: nothing is logged.
	Log *slog.Logger
	// Metrics registers the receiver's metrics. Default: they are not registered.
	Metrics prometheus.Registerer
}

// A Route is an exact path, served for one method.
type Route struct {
	Method, Path string
	Handler      http.Handler
}

// A Receiver serves POST /graph/<account>/notifications and /graph/<account>/lifecycle.
type Receiver struct {
	cfg      Config
	echo     *echo.Echo
	accounts map[string]*account
	stranger *account // stands in for every account that does not exist
	inFlight atomic.Int64
	certs    *certificates // nil without TLS
	metrics  *metrics
	log      *slog.Logger
	refusals rate.Sometimes // a store that is down must not flood the log
}

// account is what the receiver knows about one account.
type account struct {
	name     string
	known    bool
	verifier *verifier
	keys     func() [][]byte // further keys, nil for none
	meters   *meters
}

var accountName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// New makes a Receiver, or says what is wrong with cfg.
func New(cfg Config) (*Receiver, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	r := &Receiver{cfg: cfg, accounts: make(map[string]*account, len(cfg.Accounts)), metrics: m, log: cfg.Log,
		refusals: rate.Sometimes{First: 1, Interval: 10 * time.Second}}
	for _, name := range cfg.Accounts {
		if !accountName.MatchString(name) {
			return nil, fmt.Errorf("webhook: account name %q: want 1 to 32 of a-z, 0-9 and -", name)
		}
		if r.accounts[name] != nil {
			return nil, fmt.Errorf("webhook: account name %q stands twice", name)
		}
		r.accounts[name] = &account{name: name, known: true, verifier: newVerifier(cfg.Key, name), keys: cfg.Keys, meters: m.account(name)}
	}
	nobodys := make([]byte, KeySize)
	if _, err := rand.Read(nobodys); err != nil {
		return nil, fmt.Errorf("webhook: random key: %w", err)
	}
	// Strangers' accounts cost the same work as ours, under a key that nobody has.
	r.stranger = &account{verifier: newVerifier(nobodys, "stranger"), meters: m.account("")}
	if cfg.CertificateFile != "" {
		if r.certs, err = newCertificates(cfg.CertificateFile, cfg.KeyFile, cfg.Log, m.certificateExpiry); err != nil {
			return nil, err
		}
	}
	r.echo = r.routes()
	return r, nil
}

// complete checks what was given and fills in the defaults.
func (c *Config) complete() error {
	if err := checkKey(c.Key); err != nil {
		return err
	}
	if c.Store == nil {
		return errors.New("webhook: Config.Store is missing")
	}
	if (c.CertificateFile == "") != (c.KeyFile == "") {
		return errors.New("webhook: tls.certificate_file and tls.key_file go together: give both, or neither for plain HTTP")
	}
	setDefault(&c.MaxBody, DefaultMaxBody)
	setDefault(&c.MaxInFlight, max(DefaultMaxInFlight, c.MaxBody))
	setDefault(&c.MaxConnections, DefaultConnections)
	setDefault(&c.Deadline, DefaultDeadline)
	setDefault(&c.RetryAfter, DefaultRetryAfter)
	switch {
	case c.MaxBody < 0:
		return fmt.Errorf("webhook: body limit of %d bytes: want at least 1", c.MaxBody)
	case c.MaxInFlight < c.MaxBody:
		return fmt.Errorf("webhook: %d bytes for bodies in flight, less than one body of %d", c.MaxInFlight, c.MaxBody)
	case c.MaxConnections < 0:
		return fmt.Errorf("webhook: limit of %d connections: want at least 1", c.MaxConnections)
	case c.Deadline < 0 || c.Deadline > 3*time.Second:
		return fmt.Errorf("webhook: deadline of %v: want more than 0 and at most 3s, after which Graph counts a failure", c.Deadline)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Handler is the receiver without a listener: for tests, or to be served by somebody else, who
// then owns the time limits for headers.
func (r *Receiver) Handler() http.Handler { return r.echo }

// routes builds the public surface. Whatever is not on it is a 404 without a body or an Allow header:
// it must not be seen from outside which paths exist.
func (r *Receiver) routes() *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = func(_ error, c echo.Context) {
		if c.Response().Committed {
			return
		}
		c.Response().Header().Del(echo.HeaderAllow)
		r.metrics.unrouted.Inc()
		_ = r.answer(c, http.StatusNotFound)
	}
	e.POST("/graph/:account/notifications", func(c echo.Context) error { return r.receive(c, kindNotifications) })
	e.POST("/graph/:account/lifecycle", func(c echo.Context) error { return r.receive(c, kindLifecycle) })
	// Echo would answer OPTIONS by itself, with what is allowed where.
	e.OPTIONS("/*", func(echo.Context) error { return echo.ErrNotFound })
	for _, route := range r.cfg.Routes {
		e.Add(route.Method, route.Path, echo.WrapHandler(route.Handler))
	}
	return e
}

func (r *Receiver) account(name string) *account {
	if a := r.accounts[name]; a != nil {
		return a
	}
	return r.stranger
}
