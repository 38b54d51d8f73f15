package micollab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"

	"presencebridge/bridge/pbx"
)

const (
	// settle is how long a fresh connection may take to say `reset` by itself.
	settle = time.Second
	// seenGap is the least time between two EventSeen.
	seenGap = time.Second
	// busyGap is how long a stream may be so busy that no heartbeat comes.
	busyGap = 20 * time.Second
	// lossGap is the least time between two resets because of events that could not be read.
	lossGap = time.Minute
	// resetGap is the least time between two resets within one connection.
	resetGap = time.Second
	// usersGap is the least time between two EventUsers.
	usersGap = 5 * time.Second
	// longEnough is how long a connection must have lived for the backoff to begin anew.
	longEnough = 2 * time.Second
	// maxWait is the longest wait that a PBX can ask for.
	maxWait = 5 * time.Minute
)

// errWatched is returned by a second Watch at the same time.
var errWatched = errors.New("micollab: this pbx is being watched already")

// Watch implements [pbx.Connector]. It returns ctx's error.
func (c *Client) Watch(ctx context.Context, deliver func(pbx.Event)) error {
	if !c.watching.CompareAndSwap(false, true) {
		return errWatched
	}
	defer c.watching.Store(false)
	defer c.tracker.Idle()
	w := &watch{c: c, deliver: deliver}
	bo := &backoff.ExponentialBackOff{InitialInterval: c.cfg.BackoffMin, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: c.cfg.BackoffMax}
	bo.Reset()
	for ctx.Err() == nil {
		err := w.connection(ctx)
		c.metrics.Up(false)
		if ctx.Err() != nil {
			break
		}
		c.tracker.Failed(explain(err))
		if !w.opened.IsZero() && time.Since(w.opened) >= longEnough {
			bo.Reset()
		}
		var pe *pbx.Error
		pause := max(bo.NextBackOff(), w.retry)
		if errors.As(err, &pe) {
			pause = max(pause, pe.RetryAfter)
		}
		pause = min(pause, maxWait)
		c.cfg.Log.InfoContext(ctx, "the watch of the pbx is interrupted", "error", err, "retry_in", pause.String())
		wait(ctx, pause)
	}
	return ctx.Err()
}

// watch is one call of Watch. One goroutine owns it.
type watch struct {
	c       *Client
	deliver func(pbx.Event)

	lastID string        // of the last event that was delivered; "" cannot be resumed
	retry  time.Duration // what the PBX asked to wait between connections

	// Of the present connection.
	opened  time.Time // zero before it is
	heard   time.Time
	resumes bool // it was opened with lastID
	greeted bool // its first event was delivered: reset, or seen
	spoke   bool // the PBX said something on it
	doubted bool // the one before fell silent, or never spoke: this one counts when it speaks

	owed    bool // a reset is due, from owedAt on
	owedAt  time.Time
	resetAt time.Time // of the last one
	lossAt  time.Time // when the last one because of unreadable events was due

	wantUsers bool
	usersAt   time.Time
	seenAt    time.Time
}

// connection opens a stream and delivers what it says until it breaks. It never returns nil.
func (w *watch) connection(ctx context.Context) error {
	c := w.c
	w.opened = time.Time{}
	if err := c.ensureStatuses(ctx); err != nil {
		c.metrics.Connection("failed")
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.resumes = w.lastID != ""
	body, err := c.openStream(ctx, cancel, w.lastID)
	if err != nil {
		c.metrics.Connection("failed")
		if pbx.KindOf(err) == pbx.Refused {
			w.lastID = "" // perhaps it was the id
		}
		return err
	}
	w.opened, w.heard, w.greeted, w.spoke = time.Now(), time.Now(), false, false
	if !w.doubted {
		c.up()
	}
	frames, stop := readFrames(ctx, body)
	defer func() {
		cancel()
		_ = body.Close()
		<-stop
	}()
	err = w.pump(ctx, frames)
	w.doubted = !w.spoke || errors.Is(err, errSilent)
	return err
}

func (c *Client) up() {
	c.tracker.Connected()
	c.metrics.Up(true)
}

// received is a frame or the end.
type received struct {
	frame frame
	err   error
}

// readFrames reads in a goroutine that ends when ctx does and body is closed; it closes the second channel
// then.
func readFrames(ctx context.Context, body io.Reader) (<-chan received, <-chan struct{}) {
	ch, done := make(chan received), make(chan struct{})
	go func() {
		defer close(done)
		fr := newFrameReader(body)
		for {
			f, err := fr.next()
			select {
			case ch <- received{f, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return ch, done
}

// pump handles frames until the connection is over.
func (w *watch) pump(ctx context.Context, frames <-chan received) error {
	tick := time.NewTicker(min(settle, w.c.cfg.Silence/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-frames:
			if r.err != nil {
				return fmt.Errorf("%w: %w", errEnded, r.err)
			}
			w.handle(ctx, r.frame)
			w.heard = time.Now() // not before: deliver may have taken its time
		case <-w.c.users.wanted:
			w.wantUsers = true
			w.tick()
		case <-tick.C:
			if time.Since(w.heard) > w.c.cfg.Silence {
				return errSilent
			}
			w.tick()
		}
	}
}

// tick delivers what had to wait.
func (w *watch) tick() {
	now := time.Now()
	if !w.greeted && now.Sub(w.opened) >= settle {
		w.greet()
	}
	if w.owed && !now.Before(w.owedAt) {
		w.reset()
	}
	if w.wantUsers && w.greeted && now.Sub(w.usersAt) >= usersGap {
		w.wantUsers, w.usersAt = false, now
		w.emit(pbx.Event{Kind: pbx.EventUsers})
	}
}

// greet delivers what every connection begins with.
func (w *watch) greet() {
	if w.greeted {
		return
	}
	if w.resumes {
		w.greeted = true
		w.c.metrics.Connection("resumed")
		w.seenAt = time.Now()
		w.emit(pbx.Event{Kind: pbx.EventSeen})
		return
	}
	w.reset()
}

func (w *watch) reset() {
	if !w.greeted {
		w.greeted = true
		w.c.metrics.Connection("reset")
	}
	w.owed, w.resetAt = false, time.Now()
	w.c.statuses.expire()
	w.c.users.forgetVersions()
	w.emit(pbx.Event{Kind: pbx.EventReset})
}

func (w *watch) seen() {
	if now := time.Now(); now.Sub(w.seenAt) >= seenGap {
		w.seenAt = now
		w.emit(pbx.Event{Kind: pbx.EventSeen})
	}
}

func (w *watch) emit(e pbx.Event) {
	e.Seq = w.c.seq.Add(1)
	w.c.metrics.Event(e.Kind)
	w.deliver(e)
}

func (w *watch) handle(ctx context.Context, f frame) {
	if !w.spoke {
		w.spoke = true
		if w.doubted {
			w.c.up()
		}
	}
	if f.retry > 0 {
		w.retry = min(f.retry, w.c.cfg.BackoffMax)
	}
	switch {
	case f.comment:
		w.greet()
		w.seen()
		return
	case f.event == "reset" && !f.oversize:
		w.resetAsked()
	case f.oversize:
		w.greet()
		w.unreadable(ctx, "event_too_long")
	case f.event == "presence":
		w.greet()
		w.presence(ctx, f.data)
	default: // an event of a kind that is not ours
		w.greet()
	}
	if f.id != nil {
		w.lastID = *f.id
	}
	if now := time.Now(); now.Sub(w.seenAt) > busyGap && now.Sub(w.opened) > busyGap {
		w.seen() // a busy stream may leave no room for heartbeats
	}
}

func (w *watch) presence(ctx context.Context, data []byte) {
	user, p, err := decodeEvent(data)
	if err != nil {
		w.unreadable(ctx, "event")
		return
	}
	if w.c.users.event(user, time.Now()) {
		w.wantUsers = true
		w.tick()
	}
	w.c.users.saw(user, p)
	w.emit(pbx.Event{Kind: pbx.EventState, User: user, State: w.c.state(ctx, p)})
}

// resetAsked is for a reset that the PBX sends. The first of a connection goes out at once, whatever came
// just before; a PBX that sends nothing else is slowed down.
func (w *watch) resetAsked() {
	if !w.greeted {
		w.reset()
		return
	}
	w.oweReset(w.resetAt.Add(resetGap))
}

// unreadable notes that something was said and is lost.
func (w *watch) unreadable(ctx context.Context, what string) {
	w.c.metrics.Bad(what)
	if w.owed {
		return // that one will do
	}
	w.c.cfg.Log.WarnContext(ctx, "an event of the pbx cannot be read", "what", what)
	due := w.lossAt.Add(lossGap)
	if now := time.Now(); due.Before(now) {
		due = now
	}
	w.lossAt = due
	w.oweReset(due)
}

// oweReset lets a reset be delivered, not before at.
func (w *watch) oweReset(at time.Time) {
	if !w.owed || at.Before(w.owedAt) {
		w.owed, w.owedAt = true, at
	}
	w.tick()
}

// openStream opens the event stream. The answer must begin within the timeout; cancel ends the attempt.
func (c *Client) openStream(ctx context.Context, cancel context.CancelFunc, lastID string) (io.ReadCloser, error) {
	const op = "watch events"
	late := time.AfterFunc(c.cfg.Timeout, cancel)
	res, err := c.send(ctx, request{op: op, method: http.MethodGet, path: "/v1/events", stream: true, lastID: lastID})
	if !late.Stop() && err == nil {
		_ = res.Body.Close()
		err = context.DeadlineExceeded
	}
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = context.DeadlineExceeded
		}
		return nil, c.typed(op, err, 0)
	}
	if res.StatusCode != http.StatusOK {
		defer drain(res)
		return nil, c.refusal(request{op: op}, res)
	}
	if mt, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); mt != "text/event-stream" {
		_ = res.Body.Close()
		return nil, c.typed(op, errNotStream, 0)
	}
	return res.Body, nil
}
