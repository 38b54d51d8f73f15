package threecx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"presencebridge/bridge/pbx"
)

const (
	// maxFrame is the longest message of the WebSocket that is taken.
	maxFrame = 256 << 10
	// maxDirty bounds what can wait to be read; beyond it every call is read instead.
	maxDirty = 4096
)

// dial opens the WebSocket, with a fresh token if the one at hand is not accepted.
func (c *Client) dial(ctx context.Context) (*websocket.Conn, error) {
	began := time.Now()
	sock, err := c.dialTwice(ctx)
	c.metrics.Request("open websocket", err, time.Since(began))
	return sock, err
}

func (c *Client) dialTwice(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	token, err := c.tokens.get(ctx)
	if err != nil {
		return nil, typed("open websocket", err)
	}
	sock, err := c.dialWith(ctx, token)
	if !isStatus(err, http.StatusUnauthorized) {
		return sock, err
	}
	if token, err = c.tokens.renew(ctx, token); err != nil {
		return nil, typed("open websocket", err)
	}
	return c.dialWith(ctx, token)
}

func (c *Client) dialWith(ctx context.Context, token string) (*websocket.Conn, error) {
	const op = "open websocket"
	//nolint:bodyclose // the library has replaced the body by what it read of it
	sock, res, err := websocket.Dial(ctx, c.cfg.URL+"/callcontrol/ws", &websocket.DialOptions{
		HTTPClient: c.http, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	switch {
	case err == nil:
		sock.SetReadLimit(maxFrame)
		return sock, nil
	case res != nil && res.StatusCode != http.StatusSwitchingProtocols:
		return nil, c.refusal(request{op: op, area: areaCalls}, res)
	}
	return nil, typed(op, err)
}

// inbox collects what the WebSocket said until it can be read: which participants changed. It never fills up, and
// reading goes on whatever the caller does, since pings are answered by the reader.
type inbox struct {
	c    *Client
	wake chan struct{}

	mu    sync.Mutex
	last  int // sequence number
	dirty map[string]map[int]bool
	count int
	left  []wireFrame // participants who left, and those of whom a frame said how they are
	lost  bool        // frames are missing, or came out of order
}

func newInbox(c *Client) *inbox {
	return &inbox{c: c, wake: make(chan struct{}, 1), dirty: map[string]map[int]bool{}}
}

// put takes one message in.
func (b *inbox) put(text []byte) {
	f, err := decodeFrame(text)
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.nudge()
	if err != nil {
		b.c.metrics.Bad("event")
		b.lost = true
		return
	}
	inOrder := f.sequence == 0 || b.last == 0 || f.sequence == b.last+1
	if f.sequence != 0 {
		b.lost = b.lost || !inOrder
		b.last = max(b.last, f.sequence)
	}
	if f.dn == "" || !b.c.users.has(f.dn) {
		return
	}
	switch {
	case f.kind == eventRemove:
		if b.dirty[f.dn][f.leg] {
			delete(b.dirty[f.dn], f.leg)
			b.count--
		}
		b.left = append(b.left, f)
	case f.kind != eventUpsert:
	case f.attached != nil && inOrder && len(b.dirty[f.dn]) == 0:
		b.left = append(b.left, f)
	default:
		b.mark(f.dn, f.leg)
	}
	if len(b.left) > maxDirty {
		b.left, b.lost = nil, true
	}
}

func (b *inbox) mark(dn string, leg int) {
	if b.count >= maxDirty {
		b.dirty, b.count, b.lost = map[string]map[int]bool{}, 0, true
		return
	}
	if b.dirty[dn] == nil {
		b.dirty[dn] = map[int]bool{}
	}
	if !b.dirty[dn][leg] {
		b.dirty[dn][leg] = true
		b.count++
	}
}

func (b *inbox) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// told hands over what needs no reading, and whether frames were lost.
func (b *inbox) told() (frames []wireFrame, lost bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	frames, lost = b.left, b.lost
	b.left, b.lost = nil, false
	return frames, lost
}

// next hands over the participants of one extension that is not busy.
func (b *inbox) next(busy map[string]bool) (dn string, legs []int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for dn, set := range b.dirty {
		if busy[dn] {
			continue
		}
		for leg := range set {
			legs = append(legs, leg)
		}
		b.count -= len(legs)
		delete(b.dirty, dn)
		if len(legs) == 0 {
			continue
		}
		slices.Sort(legs)
		return dn, legs, true
	}
	return "", nil, false
}

// read takes messages in until the WebSocket ends.
func (b *inbox) read(ctx context.Context, sock *websocket.Conn) error {
	for {
		kind, text, err := sock.Read(ctx)
		if err != nil {
			return typed("watch calls", fmt.Errorf("%w: %w", errEnded, err))
		}
		if kind == websocket.MessageText {
			b.put(text)
		}
	}
}

// ping asks for a sign of life now and then, and returns when none comes.
func (c *Client) ping(ctx context.Context, sock *websocket.Conn, alive func()) error {
	ticker := time.NewTicker(c.cfg.Ping)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		limited, cancel := context.WithTimeout(ctx, c.cfg.Silence)
		err := sock.Ping(limited)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			return &pbx.Error{Kind: pbx.Unanswered, Op: "watch calls", Err: errSilent}
		case err != nil:
			return typed("watch calls", fmt.Errorf("%w: %w", errEnded, err))
		}
		alive()
	}
}

// again lets a participant be read whose state a frame brought that cannot be relied on.
func (b *inbox) again(dn string, leg int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mark(dn, leg)
}
