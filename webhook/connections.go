package webhook

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// connections bounds how many connections are open at one time. Anybody can open one and say nothing, so
// beyond the bound the one that has been quiet for longest goes: Graph's are busy, or new, or Graph opens
// another.
type connections struct {
	max     int
	evicted prometheus.Counter

	mu     sync.Mutex // guards what follows
	closed bool
	open   int
	quiet  *list.List // of net.Conn: without a request under way, the longest first
	places map[net.Conn]*list.Element
}

func newConnections(limit int, evicted prometheus.Counter) *connections {
	return &connections{max: limit, evicted: evicted, quiet: list.New(), places: map[net.Conn]*list.Element{}}
}

// track is http.Server.ConnState.
func (s *connections) track(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveQuiet(c)
	switch state {
	case http.StateNew:
		s.open++
		if s.closed {
			hangUp(c)
			return
		}
		s.places[c] = s.quiet.PushBack(c)
		if s.open > s.max {
			s.evict()
		}
	case http.StateIdle:
		s.places[c] = s.quiet.PushBack(c)
	case http.StateClosed, http.StateHijacked:
		s.open--
	case http.StateActive:
	}
}

func (s *connections) leaveQuiet(c net.Conn) {
	if e := s.places[c]; e != nil {
		s.quiet.Remove(e)
		delete(s.places, c)
	}
}

// evict hangs up on the connection that has been quiet for longest. It leaves the count when the server has
// seen that.
func (s *connections) evict() {
	if c, ok := s.quiet.Front().Value.(net.Conn); ok {
		s.leaveQuiet(c)
		s.evicted.Inc()
		hangUp(c)
	}
}

// closeQuiet hangs up on whoever says nothing, now and from now on. Shutdown would wait five seconds for
// each connection that has not sent a request yet.
func (s *connections) closeQuiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.places {
		hangUp(c)
	}
}

// hangUp closes the connection below TLS: a closing alert might wait for a peer that does not read.
func hangUp(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.Close()
}
