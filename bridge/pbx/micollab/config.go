package micollab

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a connector needs. URL and Token are required.
type Config struct {
	// Account and Name (of the PBX, as configured) label metrics.
	Account, Name string
	// URL is the address of the endpoint, without /v1; it may have a path.
	URL string
	// Token returns the bearer token. It is called before the first request, and again when the PBX
	// answers 401, so that it can be changed in its file while the bridge runs.
	Token func() (string, error)
	// CAFile is a PEM file of further certificate authorities that the PBX may be certified by.
	CAFile string
	// HTTPClient overrides the client, for tests; CAFile does not apply then. Its Timeout must be 0, since
	// the event stream never ends, and it should not follow redirects.
	HTTPClient *http.Client
	// Log of the connector; it should say which account and PBX it is about. Default: nothing.
	Log *slog.Logger
	// Metrics to register with. Default: none.
	Metrics prometheus.Registerer
	// Timeout of one request, and of the beginning of an event stream's answer. Default 10 s.
	Timeout time.Duration
	// Silence after which an event stream is given up as dead. The endpoint promises a sign of life every
	// 15 s. Default 35 s.
	Silence time.Duration
	// BackoffMin and BackoffMax bound the wait before the next connection, before jitter. Default 250 ms
	// and 30 s.
	BackoffMin, BackoffMax time.Duration
	// Debounce is how long a broken or mended connection must last before [Client.Connection] says so.
	// Default 5 s.
	Debounce time.Duration
	// PageSize is how many users are asked for at once. The PBX may give fewer. Default 500.
	PageSize int
	// LearntClient keeps the learnt name of our own client. Default: it is learnt anew.
	LearntClient ClientStore
}

// ClientStore keeps the name of our own client at the PBX.
type ClientStore interface {
	// Load returns the name, "" if none was saved.
	Load() (string, error)
	// Save keeps it. It is called seldom: when a name is learnt, or another one.
	Save(name string) error
}

func (c Config) withDefaults() (Config, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Timeout, 10*time.Second)
	def(&c.Silence, 35*time.Second)
	def(&c.BackoffMin, 250*time.Millisecond)
	def(&c.BackoffMax, 30*time.Second)
	def(&c.Debounce, 5*time.Second)
	if c.PageSize <= 0 {
		c.PageSize = 500
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Token == nil {
		return c, errors.New("micollab: token_file is missing: the endpoint takes bearer tokens only")
	}
	base, err := checkURL(c.URL)
	c.URL = base
	return c, err
}

func checkURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", errors.New("micollab: url cannot be read: write it like https://pbx.example.com")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", errors.New("micollab: url must begin with https:// (or http://) and a host")
	case u.User != nil:
		return "", errors.New("micollab: url must not hold a user or password: the token comes from token_file")
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("micollab: url must end with its path: remove what begins with ? or #")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// newHTTPClient keeps connections, trusts the site's own CA, and follows no redirect: a token goes where
// it was configured to go.
func newHTTPClient(cfg Config) (*http.Client, error) {
	if cfg.HTTPClient != nil {
		return cfg.HTTPClient, nil
	}
	tr := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 32,
		MaxConnsPerHost:     64,
		// Not longer than servers keep theirs: a write that meets a connection just closed is unanswered.
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    cfg.Timeout,
		MaxResponseHeaderBytes: 64 << 10,
		// Over HTTP/2 everything shares one connection: if it died silently, nothing would ever be answered.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: cfg.Timeout},
	}
	if cfg.CAFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("micollab: read ca_file: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("micollab: ca_file holds no certificate: it must be PEM")
		}
		tr.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
