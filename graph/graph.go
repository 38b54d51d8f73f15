// Package graph is the client of Microsoft Graph and of the login endpoint in front of it: tokens,
// budgets, retries, typed errors, and the few calls that the bridge needs. It speaks Graph's words
// and knows no rule about what follows from a presence.
//
// One [Client] serves one application in one tenant. Budgets are Graph's, per application and tenant, so there must be
// one Client for each in the whole installation.
//
// Every request passes one door (send in door.go). It waits for the class's budget, adds the token,
// bounds the time of the attempt, and decides whether it is tried again. What may be tried again
// follows from what is known about the failed attempt: a 429 was not applied; a 5xx or a broken
// connection leaves open whether it was, so that only calls which may be doubled are repeated. Setting
// and clearing presence are not: a late second copy would be taken for something new.
//
// Requests are built with the SDK's builders (sub-packages only, the root client costs minutes of
// build time); answers are read with small decoders of our own, which cost a fraction of the SDK's.
package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/microsoft/kiota-abstractions-go/authentication"
	khttp "github.com/microsoft/kiota-http-go"
	kjson "github.com/microsoft/kiota-serialization-json-go"
	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a [Client] is made from.
type Config struct {
	// Account is the name of the account in logs and metrics.
	Account string
	// Application tells the account's applications apart in metrics, where it has several. Default "1".
	Application string
	// TenantID is the tenant's id (a GUID) or one of its domains. Required.
	TenantID string
	// ClientID is the application's id. It is the session id of setPresence as well. Required.
	ClientID string

	// ClientSecret returns the application's secret. It is called whenever a token is needed, so
	// that a rotated secret is used without a restart; see [SecretFile]. Either this or Certificate.
	ClientSecret func() (string, error)
	// Certificate returns an RSA key and its certificate, as PEM or PKCS#12, and is called like
	// ClientSecret; see [CertificateFile]. It is preferred where both are given.
	Certificate func() ([]byte, error)
	// CertificatePassword returns the password of a PKCS#12 file; nil means none.
	CertificatePassword func() (string, error)

	// UserAttribute is a property of users that is read besides: extensionAttribute1 to 15, or a plain one such as
	// employeeId (learn:api/resources/user). Empty: none.
	UserAttribute string

	// Cloud is the national cloud; the zero value is the global one.
	Cloud Cloud
	// Endpoints override the cloud's, for simulators and private gateways.
	Endpoints Endpoints
	// Budgets are the client-side limits; zero fields take the defaults of [DefaultBudgets].
	Budgets Budgets

	// Timeout bounds one attempt, from the request to the end of the answer. Default 20 s.
	Timeout time.Duration
	// Deadline bounds a whole call, waiting and retries included, whose context has no deadline.
	// Default 2 min.
	Deadline time.Duration

	// Log receives what happens; nil discards it. Nothing secret and nothing personal is logged.
	Log *slog.Logger
	// Metrics is where the metrics are registered; nil keeps them unregistered. Clients of several
	// accounts share one registerer.
	Metrics prometheus.Registerer

	// MaySend is asked right before every request that leaves, repetitions included: false while another process
	// may be acting for the account. nil: always true.
	MaySend func() bool

	// Transport replaces the network, for tests and simulations in memory; CAFile does not apply then. Default: the network.
	Transport http.RoundTripper
}

// Client talks to Graph as one application in one tenant. It is safe for concurrent use. It owns no
// goroutine: everything happens in its callers'.
type Client struct {
	cfg      Config
	cloud    CloudInfo
	login    string // https://host[:port], no slash at the end
	graph    string // https://host[:port][/path], no slash at the end
	log      *slog.Logger
	http     *http.Client
	adapter  *khttp.NetHttpRequestAdapter
	metrics  *metrics
	gates    [classCount]*gate
	app      *tokenSource // app-only token
	identity identity     // how the application proves itself
}

// tenantPattern is what a tenant may be called in a URL: a GUID or a domain.
var tenantPattern = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$`)

// New makes a client. It reads the CA file and the configuration, and does not touch the network.
// Errors name the configuration key and what to do.
func New(cfg Config) (*Client, error) {
	if !tenantPattern.MatchString(cfg.TenantID) {
		return nil, fmt.Errorf("graph: tenant_id %q is no tenant: give the directory (tenant) id from the Entra portal", cfg.TenantID)
	}
	if !tenantPattern.MatchString(cfg.ClientID) {
		return nil, fmt.Errorf("graph: client_id %q is no application: give the application (client) id from the Entra portal", cfg.ClientID)
	}
	if cfg.ClientSecret == nil && cfg.Certificate == nil {
		return nil, errors.New("graph: no credential: set client_secret_file or certificate_file")
	}
	budgets, err := cfg.Budgets.withDefaults(cfg.Cloud)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, log: cfg.Log}
	c.defaults()
	if err := c.endpoints(); err != nil {
		return nil, err
	}
	if c.http, err = newHTTPClient(cfg.Endpoints.CAFile, cfg.Transport); err != nil {
		return nil, err
	}
	c.guard()
	if c.metrics, err = newMetrics(cfg.Metrics, cfg.Account, first(cfg.Application, "1")); err != nil {
		return nil, err
	}
	if err := c.newAdapter(); err != nil {
		return nil, err
	}
	c.gates = newGates(budgets, c.metrics)
	c.identity = identity{secret: cfg.ClientSecret, certificate: cfg.Certificate, password: cfg.CertificatePassword}
	c.app = newTokenSource(c.log, c.prepareApp)
	return c, nil
}

// defaults fills in what the configuration left open.
func (c *Client) defaults() {
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.log = c.log.With("account", c.cfg.Account)
	if c.cfg.Timeout <= 0 {
		c.cfg.Timeout = 20 * time.Second
	}
	if c.cfg.Deadline <= 0 {
		c.cfg.Deadline = 2 * time.Minute
	}
}

// endpoints works out where to send.
func (c *Client) endpoints() error {
	var err error
	if c.cloud, err = c.cfg.Cloud.Info(); err != nil {
		return err
	}
	if c.login, err = endpoint("endpoints.login", c.cfg.Endpoints.Login, c.cloud.Login, false); err != nil {
		return err
	}
	c.graph, err = endpoint("endpoints.graph", c.cfg.Endpoints.Graph, c.cloud.Graph, true)
	return err
}

// newAdapter makes the Kiota adapter that the SDK's builders ask for. It only serialises bodies and
// builds requests; sending is the door's. It has no middlewares: their order is random in
// kiota-http-go 1.5 and a retried request can go out uncompressed under "Content-Encoding: gzip"
// (kiota-http-go#183). It adds no token either: Kiota's own provider compares hosts without the port
// and then sends without a token in silence; the door compares in full and refuses.
func (c *Client) newAdapter() error {
	writers := kjson.NewJsonSerializationWriterFactory()
	nodes := kjson.NewJsonParseNodeFactory()
	a, err := khttp.NewNetHttpRequestAdapterWithParseNodeFactoryAndSerializationWriterFactoryAndHttpClient(
		&authentication.AnonymousAuthenticationProvider{}, nodes, writers, c.http)
	if err != nil {
		return fmt.Errorf("graph: make request adapter: %w", err)
	}
	c.adapter = a
	return nil
}

// Cloud tells what the client's cloud can do.
func (c *Client) Cloud() CloudInfo { return c.cloud }

// HTTPClient is the client's own HTTP client: it trusts the configured CA file and adds no token. It
// serves fetching the keys of [Client.ValidationKeysURLs]. It does not follow redirects.
func (c *Client) HTTPClient() *http.Client { return c.http }

// ValidationKeysURL is where the keys that sign validation tokens are published, tokens of version
// 2.0. The address is the same for all tenants (learn:change-notifications-with-resource-data).
func (c *Client) ValidationKeysURL() string { return c.login + "/common/discovery/v2.0/keys" }

// ValidationKeysURLs are the addresses of the keys for tokens of version 2.0 and 1.0, in that order.
func (c *Client) ValidationKeysURLs() []string {
	return []string{c.ValidationKeysURL(), c.login + "/common/discovery/keys"}
}

// Close gives idle connections back. Calls under way are not disturbed.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Verify fetches an app-only token, afresh, and so checks the tenant, the application and its
// credential without touching Graph.
func (c *Client) Verify(ctx context.Context) error {
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	return c.persist(ctx, opAppToken, func() *Error {
		return asError(opAppToken, c.app.renew(ctx))
	})
}

// WriteRate is how many writes a second the budget allows at the moment: it is raised while no 429 comes.
func (c *Client) WriteRate() float64 { return c.gates[classWrite].rate() }
