package threecx

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

// Config is what a connector needs. URL, ClientID and Secret are required.
type Config struct {
	// Account and Name (of the PBX, as configured) label metrics.
	Account, Name string
	// URL is the address of the PBX, for example https://pbx.example.com:5001.
	URL string
	// ClientID of the API client. Nobody else may use it.
	ClientID string
	// Secret returns the API client's key. It is called before each token is fetched.
	Secret func() (string, error)
	// CAFile is a PEM file of further certificate authorities that the PBX may be certified by.
	CAFile string
	// HTTPClient overrides the client, for tests; CAFile does not apply then. Its Timeout must be 0, since the WebSocket
	// never ends, and it should not follow redirects.
	HTTPClient *http.Client
	// Log of the connector; it should say which account and PBX it is about. Default: nothing.
	Log *slog.Logger
	// Metrics to register with. Default: none.
	Metrics prometheus.Registerer
	// Timeout of one request. Default 10 s.
	Timeout time.Duration
	// PollInterval is how often everybody's profile is read. Default 5 s.
	PollInterval time.Duration
	// Reconcile is how often every call is read, whatever frames said. Default 45 s.
	Reconcile time.Duration
	// Grace is how long after the end of a person's last call the line still shows it. Default 2 s; less than 0 is none.
	Grace time.Duration
	// CheckInterval is how often rights, licence and the PBX's own synchronisation with Teams are looked at. Default 15 min.
	CheckInterval time.Duration
	// Ping is how often the WebSocket is pinged, and Silence how long an answer may take. Default 5 s and 10 s.
	Ping, Silence time.Duration
	// BackoffMin and BackoffMax bound the wait before the next connection, before jitter. Default 1 s and 60 s.
	BackoffMin, BackoffMax time.Duration
	// Debounce is how long a broken or mended connection must last before [Client.Connection] says so. Default 5 s.
	Debounce time.Duration
	// PageSize is how many users are asked for at once. The PBX may give fewer. Default 100.
	PageSize int
}

func (c Config) withDefaults() (Config, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Timeout, 10*time.Second)
	def(&c.PollInterval, 5*time.Second)
	def(&c.Reconcile, 45*time.Second)
	def(&c.Grace, 2*time.Second)
	def(&c.CheckInterval, 15*time.Minute)
	def(&c.Ping, 5*time.Second)
	def(&c.Silence, 10*time.Second)
	def(&c.BackoffMin, time.Second)
	def(&c.BackoffMax, time.Minute)
	def(&c.Debounce, 5*time.Second)
	c.Grace = max(c.Grace, 0)
	if c.PageSize <= 0 {
		c.PageSize = 100
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.ClientID == "" {
		return c, errors.New("threecx: client_id is missing: it is shown at Integrations > API of the PBX's console")
	}
	if c.Secret == nil {
		return c, errors.New("threecx: client_secret_file is missing: the API client's key is shown once, when it is made")
	}
	base, err := checkURL(c.URL)
	c.URL = base
	return c, err
}

func checkURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", errors.New("threecx: url cannot be read: write it like https://pbx.example.com:5001")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", errors.New("threecx: url must begin with https:// (or http://) and a host")
	case u.User != nil:
		return "", errors.New("threecx: url must not hold a user or password: give client_id and client_secret_file")
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("threecx: url must be the PBX's address alone: remove what begins with ? or #")
	case strings.Contains(u.Path, "/xapi") || strings.Contains(u.Path, "/callcontrol"):
		return "", errors.New("threecx: url must be the PBX's address alone: remove /xapi or /callcontrol, they are added")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// newHTTPClient keeps connections, trusts the site's own CA, and follows no redirect: a token goes where it was
// configured to go.
func newHTTPClient(cfg Config) (*http.Client, error) {
	if cfg.HTTPClient != nil {
		return cfg.HTTPClient, nil
	}
	tr := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 32, MaxConnsPerHost: 64,
		// Not longer than servers keep theirs: a write that meets a connection just closed is unanswered.
		IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: cfg.Timeout, MaxResponseHeaderBytes: 64 << 10,
	}
	if cfg.CAFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("threecx: read ca_file: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("threecx: ca_file holds no certificate: it must be PEM")
		}
		tr.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
