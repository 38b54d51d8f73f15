package graph

import (
	"errors"
	"net/http"
)

// errMayNotSend is what a request ends with that [Config].MaySend forbade.
var errMayNotSend = errors.New("this process may not act for the account at the moment")

// guarded asks before every single request, repetitions included, whether it may still leave.
type guarded struct {
	next    http.RoundTripper
	maySend func() bool
}

// RoundTrip implements http.RoundTripper.
func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if g.maySend() {
		return g.next.RoundTrip(r)
	}
	if r.Body != nil {
		_ = r.Body.Close() // as the interface asks; there is nothing to lose
	}
	return nil, errMayNotSend
}

// CloseIdleConnections gives them back, as http.Client would.
func (g guarded) CloseIdleConnections() {
	if c, ok := g.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// guard lets MaySend decide about everything that the client sends.
func (c *Client) guard() {
	if c.cfg.MaySend == nil {
		return
	}
	next := c.http.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	c.http.Transport = guarded{next: next, maySend: c.cfg.MaySend}
}
