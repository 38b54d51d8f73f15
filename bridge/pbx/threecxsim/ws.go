package threecxsim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// The kinds of events that are about calls.
const (
	upsert = 0
	remove = 1
)

// frame is one message of the WebSocket.
type frame []byte

// tell says to all WebSockets that a participant changed. The mutex is held.
func (s *Sim) tell(p *person, l *leg, kind int) {
	if !s.monitored(p) {
		return
	}
	f := s.faults
	s.emit(p, l, kind)
	if s.dice.Hit(f.Doubled) {
		s.emit(p, l, kind)
	}
}

func (s *Sim) emit(p *person, l *leg, kind int) {
	f := s.faults
	s.seq++
	s.stats.Frames++
	var attached any
	if s.dice.Hit(f.Attached) {
		attached = p.legJSON(l)
	}
	text, err := json.Marshal(map[string]any{"sequence": s.seq, "event": map[string]any{
		"event_type": kind, "entity": fmt.Sprintf("/callcontrol/%s/participants/%d", p.Number, l.id), "attached_data": attached,
	}})
	if err != nil {
		s.cfg.Log.Error("a frame cannot be written", "error", err)
		return
	}
	switch {
	case s.dice.Hit(f.Dropped):
		s.stats.FramesDropped++
	case s.dice.Hit(f.Late):
		s.later(s.dice.UpTo(f.LateBy), func() { s.send(text) })
	case s.dice.Hit(f.Reordered):
		s.held = append(s.held, text)
	default:
		s.send(text)
		s.release()
	}
}

// release sends what waited for the next frame.
func (s *Sim) release() {
	held := s.held
	s.held = nil
	for _, f := range held {
		s.send(f)
	}
}

func (s *Sim) send(f frame) {
	for c := range s.sockets {
		c.put(f)
		if s.dice.Hit(s.faults.CutSocket) {
			c.cut()
		}
	}
}

// CutSockets breaks all WebSockets; what happens until they are open again is not told.
func (s *Sim) CutSockets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.sockets {
		c.cut()
	}
}

// StallSockets lets WebSockets stay open and say nothing, not even to a ping; or lets them go on.
func (s *Sim) StallSockets(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = on
	for c := range s.sockets {
		c.stall(on)
	}
}

// socket is one open WebSocket.
type socket struct {
	conn *websocket.Conn
	end  context.CancelFunc

	mu      sync.Mutex
	queue   []frame
	stalled bool
	wake    chan struct{}
}

func (c *socket) put(f frame) {
	c.mu.Lock()
	c.queue = append(c.queue, f)
	c.mu.Unlock()
	c.nudge()
}

func (c *socket) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *socket) cut() { c.end() }

func (c *socket) stall(on bool) {
	c.mu.Lock()
	c.stalled = on
	c.mu.Unlock()
	c.nudge()
}

func (c *socket) take() []frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stalled {
		return nil
	}
	q := c.queue
	c.queue = nil
	return q
}

// webSocket serves one. It leaves the mutex alone while it is open.
func (s *Sim) webSocket(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	ok := s.admitted(w, r)
	stalled := s.stalled
	s.mu.Unlock()
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c := &socket{end: cancel, wake: make(chan struct{}, 1), stalled: stalled}
	var err error
	c.conn, err = websocket.Accept(w, r, &websocket.AcceptOptions{OnPingReceived: func(context.Context, []byte) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.stalled // no pong from a stalled one
	}})
	if err != nil {
		return
	}
	defer func() { _ = c.conn.CloseNow() }()
	s.mu.Lock()
	s.sockets[c] = struct{}{}
	s.stats.Opened++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.sockets, c)
		s.mu.Unlock()
	}()
	ctx = c.conn.CloseRead(ctx) // answers pings; the client sends nothing else
	c.pump(ctx, s.stop)
}

func (c *socket) pump(ctx context.Context, stop <-chan struct{}) {
	for {
		for _, f := range c.take() {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := c.conn.Write(ctx, websocket.MessageText, f)
			cancel()
			if err != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-stop:
			return
		case <-c.wake:
		}
	}
}
