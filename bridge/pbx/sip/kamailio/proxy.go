package kamailio

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Verdict is what becomes of a message.
type Verdict struct {
	Drop  bool
	Twice bool
	Delay time.Duration
	Cut   bool // the connection ends here
}

// Message is a message that passes.
type Message struct {
	ToServer bool
	// Method of a request, or of the request that is answered.
	Method string
	// Code of an answer, 0 for a request.
	Code int
	Raw  []byte
}

// Proxy stands before a server, for TCP. It passes whole SIP messages.
type Proxy struct {
	// Port it listens on.
	Port int

	to       string
	listener net.Listener
	work     sync.WaitGroup
	pending  atomic.Int64

	mu     sync.Mutex
	judge  func(Message) Verdict
	conns  map[net.Conn]bool
	hold   chan struct{} // not nil: nothing passes until it is closed
	closed bool
}

// Proxy starts a proxy before the server.
func (s *Server) Proxy(t testing.TB) *Proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(port) // as the system says it
	p := &Proxy{
		Port: n, to: fmt.Sprintf("127.0.0.1:%d", s.Port), listener: l, conns: map[net.Conn]bool{},
		judge: func(Message) Verdict { return Verdict{} },
	}
	p.work.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *Proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Hold(false)
	p.Cut()
	p.work.Wait()
}

// Judge decides about every message from now on; nil lets all pass.
func (p *Proxy) Judge(judge func(Message) Verdict) {
	if judge == nil {
		judge = func(Message) Verdict { return Verdict{} }
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judge = judge
}

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// Hold holds everything back, or lets it pass again. Connections stay open.
func (p *Proxy) Hold(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.hold == nil:
		p.hold = make(chan struct{})
	case !on && p.hold != nil:
		close(p.hold)
		p.hold = nil
	}
}

// Pending is how many messages are still to come.
func (p *Proxy) Pending() int { return int(p.pending.Load()) }

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.to)
		if err != nil || !p.add(client, server) {
			_ = client.Close()
			if server != nil {
				_ = server.Close()
			}
			continue
		}
		p.work.Go(func() { p.pump(client, server, true) })
		p.work.Go(func() { p.pump(server, client, false) })
	}
}

func (p *Proxy) add(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
	return !p.closed
}

// pump passes messages in one direction until either end closes.
func (p *Proxy) pump(from, to net.Conn, toServer bool) {
	defer func() {
		_, _ = from.Close(), to.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, from)
		delete(p.conns, to)
	}()
	var writing sync.Mutex
	write := func(raw []byte) error {
		writing.Lock()
		defer writing.Unlock()
		_, err := to.Write(raw)
		return err
	}
	in := bufio.NewReaderSize(from, 1<<16)
	for {
		m, err := readMessage(in)
		if err != nil {
			return
		}
		m.ToServer = toServer
		p.mu.Lock()
		judge, hold := p.judge, p.hold
		p.mu.Unlock()
		if hold != nil {
			<-hold
		}
		v := judge(m)
		switch {
		case v.Cut:
			return
		case v.Drop:
			continue
		case v.Delay > 0:
			p.later(v.Delay, func() { _ = write(m.Raw) }) // a connection that ended meanwhile takes it along
		default:
			err = write(m.Raw)
		}
		if v.Twice && err == nil {
			err = write(m.Raw)
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) later(d time.Duration, do func()) {
	p.pending.Add(1)
	p.work.Go(func() {
		<-time.After(d)
		do()
		p.pending.Add(-1)
	})
}

// readMessage reads one message off a stream (RFC 3261 section 18.3).
func readMessage(in *bufio.Reader) (Message, error) {
	var raw bytes.Buffer
	length, m := 0, Message{}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return m, err
		}
		trimmed := strings.TrimRight(line, "\r\n")
		if trimmed == "" && raw.Len() == 0 {
			continue // a keep-alive
		}
		raw.WriteString(line)
		if trimmed == "" {
			break
		}
		if m.Method == "" && m.Code == 0 {
			words := strings.Fields(trimmed)
			if len(words) > 1 && words[0] == "SIP/2.0" {
				m.Code, _ = strconv.Atoi(words[1])
			} else if len(words) > 0 {
				m.Method = words[0]
			}
			continue
		}
		k, v, _ := strings.Cut(trimmed, ":")
		switch textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(k)) {
		case "Content-Length", "L":
			length, err = strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				return m, err
			}
		case "Cseq":
			if words := strings.Fields(v); len(words) == 2 {
				m.Method = words[1]
			}
		}
	}
	if _, err := io.CopyN(&raw, in, int64(length)); err != nil {
		return m, err
	}
	m.Raw = raw.Bytes()
	return m, nil
}

// Chance is true in so many of a hundred cases.
func Chance(percent int) bool { return rand.IntN(100) < percent }
