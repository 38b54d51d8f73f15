package sip

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a connector needs. URL, Username and one of UsersFile and ListURI are required.
type Config struct {
	// Account and Name (of the PBX, as configured) label metrics.
	Account, Name string
	// URL is the presence server or proxy that everything is sent to: sip:proxy.example.com:5060;transport=tcp, with
	// udp, tcp or tls, or sips:proxy.example.com. Without a transport it is UDP, as RFC 3263 has it; a URL without a
	// port means 5060, and 5061 for TLS.
	URL string
	// Username is who the bridge is at the PBX: the user part of its address, and what it authenticates as.
	Username string
	// Password returns the password for digest authentication. It is called before the first request, and again when
	// the PBX refuses what it said. nil: the PBX trusts the bridge by its address.
	Password func() (string, error)
	// Domain of the extensions and of the bridge. Default: the host of URL.
	Domain string
	// UsersFile lists the extensions (see [Users]). It is read again whenever it changes.
	UsersFile string
	// ListURI is a resource list (RFC 4662) that holds the extensions: one subscription instead of one for each.
	ListURI string
	// CAFile is a PEM file of further certificate authorities that the PBX may be certified by.
	CAFile string
	// Log of the connector; it should say which account and PBX it is about. Default: nothing.
	Log *slog.Logger
	// Metrics to register with. Default: none.
	Metrics prometheus.Registerer
	// Timeout of one request, and of the first notification that follows a subscription. Default 10 s.
	Timeout time.Duration
	// Ping is how often the PBX is asked for a sign of life (OPTIONS). Default 20 s.
	Ping time.Duration
	// Expires of subscriptions. A refresh brings the full state, so it also bounds how long something missed can go
	// unnoticed. Default 5 min.
	Expires time.Duration
	// Lease of what is published: how long it stands after the bridge is gone. Renewed at half-life. Default 5 min.
	Lease time.Duration
	// Rate is how many requests a second are sent to subscribe, to refresh and to take snapshots. Default 200.
	Rate float64
	// BackoffMin and BackoffMax bound the wait before the next connection, before jitter. Default 250 ms and 30 s.
	BackoffMin, BackoffMax time.Duration
	// Debounce is how long a broken or mended connection must last before [Client.Connection] says so. Default 5 s.
	Debounce time.Duration
	// UsersInterval is how often UsersFile is looked at for changes. Default 10 s.
	UsersInterval time.Duration
	// Dial opens TCP connections, also those that TLS then runs on, to the address of the PBX. Default: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// server is where everything is sent.
type server struct {
	network string // udp, tcp or tls
	host    string
	port    int
	secure  bool // sips
}

func (s server) address() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

func (c Config) withDefaults() (Config, server, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Timeout, 10*time.Second)
	def(&c.Ping, 20*time.Second)
	def(&c.Expires, 5*time.Minute)
	def(&c.Lease, 5*time.Minute)
	def(&c.BackoffMin, 250*time.Millisecond)
	def(&c.BackoffMax, 30*time.Second)
	def(&c.Debounce, 5*time.Second)
	def(&c.UsersInterval, 10*time.Second)
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Rate <= 0 {
		c.Rate = 200
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	srv, err := parseURL(c.URL)
	if err != nil {
		return c, srv, fmt.Errorf("sip: url %w", err)
	}
	if c.Domain == "" {
		c.Domain = srv.host
	}
	switch {
	case c.Username == "":
		err = errors.New("sip: username is missing: name the user of the PBX that the bridge subscribes and publishes as")
	case strings.ContainsAny(c.Username, "@:<>\" \t\r\n"):
		err = errors.New("sip: username must be the user part alone: presence, not sip:presence@example.com")
	case c.UsersFile == "" && c.ListURI == "":
		err = errors.New("sip: users_file is missing: name the file that lists the extensions, or give list_uri")
	}
	if err == nil && c.ListURI != "" {
		if _, e := parseAOR(c.ListURI, c.Domain); e != nil {
			err = fmt.Errorf("sip: list_uri %w", e)
		}
	}
	return c, srv, err
}

// parseURL reads the address of a SIP server. The error continues a sentence that begins with the key's name.
func parseURL(text string) (server, error) {
	var u sip.Uri
	scheme, rest, ok := strings.Cut(text, ":")
	scheme = strings.ToLower(scheme)
	if !ok || (scheme != "sip" && scheme != "sips") || strings.HasPrefix(rest, "//") {
		return server{}, errors.New("must be like sip:proxy.example.com:5060;transport=tcp, or sips:proxy.example.com")
	}
	if err := sip.ParseUri(text, &u); err != nil || u.Host == "" {
		return server{}, errors.New("cannot be read: write it like sip:proxy.example.com:5060;transport=tcp")
	}
	if u.User != "" || strings.Contains(rest, "@") {
		return server{}, errors.New("must not hold a user: give username")
	}
	s := server{network: "udp", host: strings.Trim(u.Host, "[]"), port: u.Port, secure: scheme == "sips"}
	if t, ok := u.UriParams.Get("transport"); ok {
		s.network = strings.ToLower(t)
	} else if s.secure {
		s.network = "tls"
	}
	switch {
	case s.network != "udp" && s.network != "tcp" && s.network != "tls":
		return server{}, fmt.Errorf("has the transport %q: known ones are udp, tcp and tls", clip(s.network))
	case s.secure && s.network == "udp":
		return server{}, errors.New("asks for sips over udp: leave transport out, it is TLS")
	case s.secure: // sips over tcp is TLS too (RFC 3261 section 26.2.2)
		s.network = "tls"
	}
	if s.port == 0 {
		s.port = map[string]int{"tls": sip.DefaultTlsPort}[s.network]
		if s.port == 0 {
			s.port = sip.DefaultUdpPort
		}
	}
	return s, nil
}

// Server is what a URL says.
type Server struct {
	// Host as written, and Address with the port.
	Host, Address string
	// TLS tells whether it is spoken to in private.
	TLS bool
}

// CheckURL reads a URL without using it. The error continues a sentence that begins with the key's name.
func CheckURL(text string) (Server, error) {
	s, err := parseURL(text)
	if err != nil {
		return Server{}, err
	}
	return Server{Host: s.host, Address: strings.ToLower(s.address()), TLS: s.network == "tls"}, nil
}

// CheckAddress tells what is wrong with the address of an extension or a list.
func CheckAddress(text string) error {
	_, err := parseAOR(text, "example.com")
	return err
}

// tlsConfig trusts the system's authorities and the site's own.
func (c Config) tlsConfig(host string) (*tls.Config, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("sip: read ca_file: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("sip: ca_file holds no certificate: it must be PEM")
		}
	}
	return &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12}, nil
}
