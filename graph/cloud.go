package graph

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Cloud names a national cloud.
type Cloud string

// The clouds (learn:deployments). GCC uses the global one.
const (
	CloudGlobal  Cloud = "global"
	CloudUSGovL4 Cloud = "usgov-l4" // GCC High
	CloudUSGovL5 Cloud = "usgov-l5" // DoD
	CloudChina   Cloud = "china"    // 21Vianet
)

// CloudInfo is where a cloud is and what it can do.
type CloudInfo struct {
	Cloud Cloud
	Login string // base URL of the login endpoint
	Graph string // base URL of Graph, and what tokens are asked for
	// Presence tells whether presence can be read and set at all.
	Presence bool
	// Subscriptions tells whether presence change notifications exist; where they do not, members can
	// only be polled (learn:changenotifications-for-presence: global only).
	Subscriptions bool
}

// Info looks the cloud up; the zero value is the global cloud. The error names the known ones.
func (c Cloud) Info() (CloudInfo, error) {
	switch c {
	case "", CloudGlobal:
		return CloudInfo{CloudGlobal, "https://login.microsoftonline.com", "https://graph.microsoft.com", true, true}, nil
	case CloudUSGovL4:
		return CloudInfo{c, "https://login.microsoftonline.us", "https://graph.microsoft.us", true, false}, nil
	case CloudUSGovL5:
		return CloudInfo{c, "https://login.microsoftonline.us", "https://dod-graph.microsoft.us", true, false}, nil
	case CloudChina:
		return CloudInfo{c, "https://login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn", false, false}, nil
	default:
		return CloudInfo{}, fmt.Errorf("graph: cloud %q is not known: use %s, %s, %s or %s",
			string(c), CloudGlobal, CloudUSGovL4, CloudUSGovL5, CloudChina)
	}
}

// Endpoints override where a cloud is. They change where requests are sent, not whom tokens are asked
// for. With Login set, the discovery of Microsoft's instances is off.
type Endpoints struct {
	Login  string // base URL without a path, HTTPS
	Graph  string // base URL without the version, HTTPS; may have a path
	CAFile string // PEM file of authorities to trust in addition to the system's; read once
}

// endpoint checks an override and returns it, or the cloud's own.
func endpoint(key, override, standard string, path bool) (string, error) {
	if override == "" {
		return standard, nil
	}
	u, err := url.Parse(override)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("graph: %s: not a URL: give it as https://host[:port]", key)
	}
	if u.Scheme != "https" {
		return "", fmt.Errorf("graph: %s: the scheme is %q: only https is spoken, tokens travel there", key, u.Scheme)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("graph: %s: user, query and fragment do not belong there: give it as https://host[:port]", key)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if !path && u.Path != "" {
		return "", fmt.Errorf("graph: %s: has the path %q: give it as https://host[:port], the tenant is added", key, u.Path)
	}
	if strings.HasSuffix(u.Path, "/v1.0") {
		return "", fmt.Errorf("graph: %s: leave out /v1.0, it is added", key)
	}
	return "https://" + u.Host + u.Path, nil
}

// newHTTPClient makes the one HTTP client of an account. Its pool fits the budgets: about 50 reads
// and 40 writes a second at 1 s each fit into the kept connections over HTTP/1.1; Graph offers
// HTTP/2, where one connection carries them all. Connections are given up after 60 s, before
// the other side would: a request written into a connection that is just being closed is a write of
// which nobody knows whether it landed.
func newHTTPClient(caFile string, replaced http.RoundTripper) (*http.Client, error) {
	client := &http.Client{
		Transport: replaced,
		// A redirect would carry a request to a host that nobody configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	roots, err := authorities(caFile)
	if err != nil || replaced != nil {
		return client, err
	}
	client.Transport = &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           160,
		MaxIdleConnsPerHost:    100,
		MaxConnsPerHost:        250,
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
	return client, nil
}

// authorities are the system's, with those of a PEM file added; nil means the system's alone.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("graph: endpoints.ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("graph: endpoints.ca_file %s: no certificate in it: give a PEM file", file)
	}
	return pool, nil
}
