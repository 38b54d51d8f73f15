package scenario

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// stream is one direction of a connection. Unlike that of net.Pipe it holds what was written until it is read, as TCP does:
// both ends of SIP send while they handle what they received.
type stream struct {
	mu      sync.Mutex
	data    []byte
	over    bool
	changed chan struct{} // closed and replaced with every change
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

func (s *stream) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

// conn is one end of a connection in memory.
type conn struct {
	in, out       *stream
	local, remote net.Addr

	mu       sync.Mutex
	deadline time.Time // of reads; writes never wait
}

// connect makes a connection between two addresses.
func connect(a, b net.Addr) (here, there *conn) {
	to, from := newStream(), newStream()
	return &conn{in: from, out: to, local: a, remote: b}, &conn{in: to, out: from, local: b, remote: a}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	for {
		c.in.mu.Lock()
		n, over, changed := copy(b, c.in.data), c.in.over, c.in.changed
		c.in.data = c.in.data[n:]
		c.in.mu.Unlock()
		switch {
		case n > 0 || len(b) == 0:
			return n, nil
		case over:
			return 0, io.EOF
		}
		if !c.wait(changed) {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// wait waits for a change, until the deadline; false: that came first.
func (c *conn) wait(changed chan struct{}) bool {
	c.mu.Lock()
	deadline := c.deadline
	c.mu.Unlock()
	if deadline.IsZero() {
		<-changed
		return true
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-changed:
		return true
	case <-t.C:
		return false
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	var err error
	c.out.change(func() {
		if c.out.over {
			err = net.ErrClosed
			return
		}
		c.out.data = append(c.out.data, b...)
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close implements net.Conn. Both ends notice.
func (c *conn) Close() error {
	for _, s := range []*stream{c.in, c.out} {
		s.change(func() { s.over = true })
	}
	return nil
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.Conn. A read that waits already goes by the one before.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
