package threecx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"presencebridge/bridge/pbx"
)

const (
	// seenGap is the least time between two EventSeen.
	seenGap = 10 * time.Second
	// usersGap is the least time between two EventUsers.
	usersGap = time.Second
	// reconcileGap is the least time between two readings of every call.
	reconcileGap = time.Second
	// readers is how many extensions are read at once.
	readers = 8
	// longEnough is how long a connection must have lived for the backoff to begin anew.
	longEnough = 2 * time.Second
	// maxWait is the longest wait that a PBX can ask for.
	maxWait = 5 * time.Minute
)

// errWatched is returned by a second Watch at the same time.
var errWatched = errors.New("threecx: this pbx is being watched already")

// Watch implements [pbx.Connector]. It returns ctx's error. No connection resumes: each begins with a reset.
func (c *Client) Watch(ctx context.Context, deliver func(pbx.Event)) error {
	if !c.watching.CompareAndSwap(false, true) {
		return errWatched
	}
	defer c.watching.Store(false)
	defer c.tracker.Idle()
	bo := &backoff.ExponentialBackOff{InitialInterval: c.cfg.BackoffMin, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: c.cfg.BackoffMax}
	bo.Reset()
	silent := false
	for ctx.Err() == nil {
		w := &watch{c: c, deliver: deliver, results: make(chan func()), busy: map[string]bool{}, inbox: newInbox(c), doubted: silent}
		err := w.connection(ctx)
		silent = errors.Is(err, errSilent) || w.doubted
		c.metrics.Up(false)
		if ctx.Err() != nil {
			break
		}
		c.tracker.Failed(explain(err))
		if w.opened.IsZero() {
			c.metrics.Connection("failed")
		} else if time.Since(w.opened) >= longEnough {
			bo.Reset()
		}
		pause := bo.NextBackOff()
		var pe *pbx.Error
		if errors.As(err, &pe) {
			pause = max(pause, pe.RetryAfter)
		}
		pause = min(pause, maxWait)
		c.cfg.Log.InfoContext(ctx, "the watch of the pbx is interrupted", "error", err, "retry_in", pause.String())
		wait(ctx, pause)
	}
	return ctx.Err()
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// watch is one connection of a Watch. One goroutine owns it; others read for it, and hand back what to do then.
type watch struct {
	c       *Client
	deliver func(pbx.Event)
	inbox   *inbox
	results chan func()
	work    sync.WaitGroup

	opened      time.Time // zero before everything was read once
	doubted     bool      // the one before fell silent: this one counts when it answers
	busy        map[string]bool
	reconciling bool
	reconcileAt time.Time
	reconciled  time.Time       // when the last one ended
	touched     map[string]bool // extensions whose calls changed
	all         bool            // anybody may have changed
	polling     bool
	pollAt      time.Time
	pollFailed  bool
	checking    bool
	checkAt     time.Time
	seenAt      time.Time
	usersAt     time.Time
	wantUsers   bool
	removed     map[string]map[int]bool // participants who left while their extension was being read
}

// connection opens the WebSocket, then reads everything, then does what frames said meanwhile, until the WebSocket
// breaks. It never returns nil.
func (w *watch) connection(parent context.Context) error {
	c := w.c
	if err := c.checkVersion(parent); err != nil {
		return err
	}
	sock, err := c.dial(parent)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(parent)
	defer w.work.Wait()
	defer func() { _ = sock.CloseNow() }()
	pinged := make(chan struct{}, 1)
	g.Go(func() error { return w.inbox.read(ctx, sock) })
	g.Go(func() error {
		return c.ping(ctx, sock, func() {
			select {
			case pinged <- struct{}{}:
			default:
			}
		})
	})
	g.Go(func() error {
		if err := w.begin(ctx); err != nil {
			return err
		}
		return w.run(ctx, pinged)
	})
	return g.Wait()
}

// begin reads everybody and every call.
func (w *watch) begin(ctx context.Context) error {
	c := w.c
	dns, err := c.allCalls(ctx)
	if err != nil {
		return err
	}
	c.calls.replace(dns, time.Now())
	op := c.users.begin()
	list, err := c.list(ctx, true)
	if err != nil {
		return err
	}
	c.users.listed(list, op, time.Now())
	if err := c.checkMonitored(c.users.numbers(), dns); err != nil {
		return err
	}
	now := time.Now()
	c.users.baseline(now)
	w.opened, w.pollAt, w.reconcileAt, w.checkAt = now, now.Add(c.cfg.PollInterval), now.Add(c.cfg.Reconcile), now
	w.removed, w.touched, w.reconciled = map[string]map[int]bool{}, map[string]bool{}, now
	c.metrics.Connection("reset")
	if !w.doubted {
		w.up()
	}
	w.emit(pbx.Event{Kind: pbx.EventReset})
	return nil
}

func (w *watch) up() {
	w.c.tracker.Connected()
	w.c.metrics.Up(true)
}

// run does what is due until ctx ends.
func (w *watch) run(ctx context.Context, pinged <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		w.settle(ctx)
		timer.Reset(time.Until(w.next()))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.inbox.wake:
		case do := <-w.results:
			do()
		case <-w.c.reconcile:
			w.soon(time.Now())
		case <-pinged:
			if w.doubted {
				w.doubted = false
				w.up()
			}
			w.seen()
		case <-timer.C:
			w.all = true // a grace may have ended
		}
	}
}

// next is when something is due at the latest.
func (w *watch) next() time.Time {
	now := time.Now()
	next := now.Add(w.c.cfg.Reconcile)
	sooner := func(at time.Time, unless bool) {
		if !unless && !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	sooner(w.pollAt, w.polling)
	sooner(w.reconcileAt, w.reconciling || len(w.busy) > 0)
	sooner(w.checkAt, w.checking)
	sooner(w.c.calls.next(now), false)
	sooner(w.usersAt.Add(usersGap), !w.wantUsers)
	return next
}

// settle takes in what frames said, tells what follows from it, and lets begin what is due.
func (w *watch) settle(ctx context.Context) {
	now := time.Now()
	frames, lost := w.inbox.told()
	for _, f := range frames {
		w.frame(f, now)
	}
	if lost {
		w.soon(now)
	}
	w.news(now)
	if w.wantUsers && now.Sub(w.usersAt) >= usersGap {
		w.wantUsers, w.usersAt = false, now
		w.emit(pbx.Event{Kind: pbx.EventUsers})
	}
	if !w.polling && !now.Before(w.pollAt) {
		w.poll(ctx)
	}
	if !w.checking && !now.Before(w.checkAt) {
		w.check(ctx)
	}
	if w.reconciling {
		return
	}
	if !now.Before(w.reconcileAt) {
		if len(w.busy) == 0 {
			w.reconcile(ctx)
		}
		return // what is dirty is read after it
	}
	for len(w.busy) < readers {
		dn, legs, ok := w.inbox.next(w.busy)
		if !ok {
			return
		}
		w.readLegs(ctx, dn, legs)
	}
}

// frame takes in one that needs no reading.
func (w *watch) frame(f wireFrame, now time.Time) {
	w.touched[f.dn] = true
	if f.kind == eventRemove {
		if w.busy[f.dn] || w.reconciling {
			if w.removed[f.dn] == nil {
				w.removed[f.dn] = map[int]bool{}
			}
			w.removed[f.dn][f.leg] = true
		}
		w.c.calls.gone(f.dn, f.leg, now)
		return
	}
	if w.busy[f.dn] || w.reconciling {
		w.inbox.again(f.dn, f.leg) // what is being read may be older
		return
	}
	w.c.calls.set(f.dn, wireLeg{ID: f.leg, Status: f.attached.Status, DN: f.dn}, now)
}

// soon lets every call be read as soon as that is decent.
func (w *watch) soon(now time.Time) {
	at := w.reconciled.Add(reconcileGap)
	if at.Before(now) {
		at = now
	}
	if at.Before(w.reconcileAt) {
		w.reconcileAt = at
	}
}

// later carries something out in a goroutine, and what it returns in the watch's own.
func (w *watch) later(ctx context.Context, do func(context.Context) func()) {
	w.work.Go(func() {
		then := do(ctx)
		select {
		case w.results <- then:
		case <-ctx.Done():
		}
	})
}

// readLegs reads participants of one extension; 404 is gone.
func (w *watch) readLegs(ctx context.Context, dn string, legs []int) {
	w.busy[dn] = true
	w.later(ctx, func(ctx context.Context) func() {
		found := make(map[int]wireLeg, len(legs))
		var failed error
		for _, id := range legs {
			leg, there, err := w.c.leg(ctx, dn, id)
			if err != nil {
				failed = err
				continue
			}
			if !there {
				leg.Status = ""
			}
			found[id] = leg
		}
		return func() {
			now := time.Now()
			delete(w.busy, dn)
			w.touched[dn] = true
			for id, leg := range found {
				leg.ID = id
				switch {
				case w.removed[dn][id]:
				case leg.Status == "":
					w.c.calls.gone(dn, id, now)
				default:
					w.c.calls.set(dn, leg, now)
				}
			}
			delete(w.removed, dn)
			if failed != nil {
				w.c.cfg.Log.DebugContext(ctx, "a call could not be read, every call is read instead", "error", failed)
				w.soon(now)
			}
		}
	})
}

func (c *Client) leg(ctx context.Context, dn string, id int) (leg wireLeg, there bool, err error) {
	const op = "get participant"
	body, err := c.do(ctx, request{
		op: op, area: areaCalls, method: http.MethodGet, path: fmt.Sprintf("/callcontrol/%s/participants/%d", dn, id), maxBody: maxOne, one: true,
	})
	switch {
	case pbx.KindOf(err) == pbx.Gone && err != nil:
		return leg, false, nil
	case err != nil:
		return leg, false, err
	}
	if leg, err = decodeLeg(body); err != nil {
		c.metrics.Bad("answer")
		return leg, false, bad(op, err)
	}
	return leg, true, nil
}

// reconcile reads every call.
func (w *watch) reconcile(ctx context.Context) {
	w.reconciling = true
	w.later(ctx, func(ctx context.Context) func() {
		dns, err := w.c.allCalls(ctx)
		return func() {
			now := time.Now()
			w.reconciling, w.reconciled, w.reconcileAt, w.all = false, now, now.Add(w.c.cfg.Reconcile), true
			if err != nil {
				w.trouble(ctx, err)
				w.reconcileAt = now.Add(min(10*reconcileGap, w.c.cfg.Reconcile))
				return
			}
			w.c.calls.replace(dns, now)
			for dn, legs := range w.removed {
				for id := range legs {
					w.c.calls.gone(dn, id, now)
				}
			}
			clear(w.removed)
			_ = w.c.checkMonitored(w.c.users.numbers(), dns) // nobody at all is told by the next connection
		}
	})
}

// poll reads everybody's profile.
func (w *watch) poll(ctx context.Context) {
	w.polling = true
	op := w.c.users.begin()
	w.later(ctx, func(ctx context.Context) func() {
		list, err := w.c.list(ctx, false)
		return func() {
			now := time.Now()
			w.polling, w.pollAt = false, now.Add(w.c.cfg.PollInterval)
			if err != nil {
				w.pollFailed = true
				w.trouble(ctx, err)
				var pe *pbx.Error
				if errors.As(err, &pe) {
					w.pollAt = now.Add(max(w.c.cfg.PollInterval, min(pe.RetryAfter, maxWait)))
				}
				return
			}
			if w.pollFailed && !w.doubted {
				w.up()
			}
			w.pollFailed = false
			w.all = true
			if w.c.users.listed(list, op, now) {
				w.wantUsers = true
			}
			w.seen()
		}
	})
}

// trouble shows that reading fails although the WebSocket is open.
func (w *watch) trouble(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	w.c.tracker.Failed(explain(err))
	w.c.cfg.Log.InfoContext(ctx, "the pbx could not be read", "error", err)
	w.pollFailed = true // a reading of everybody that succeeds ends it
}

// check looks at what a person should know, now and then.
func (w *watch) check(ctx context.Context) {
	w.checking = true
	w.later(ctx, func(ctx context.Context) func() {
		err := w.c.checkVersion(ctx)
		if err == nil {
			err = w.c.checkCompetitor(ctx)
		}
		w.c.warn(w.c.tokens.contention())
		return func() {
			w.checking, w.checkAt = false, time.Now().Add(w.c.cfg.CheckInterval)
			if err != nil {
				w.c.cfg.Log.DebugContext(ctx, "the pbx's settings could not be read", "error", err)
			}
		}
	})
}

// news tells what the caller does not know yet.
func (w *watch) news(now time.Time) {
	var events []pbx.Event
	if w.all {
		events = w.c.users.news("", now)
	} else {
		for dn := range w.touched {
			events = append(events, w.c.users.news(dn, now)...)
		}
	}
	w.all = false
	clear(w.touched)
	for _, e := range events {
		w.emit(e)
	}
}

// seen tells that the PBX is alive: it answers, and says what happens.
func (w *watch) seen() {
	if now := time.Now(); !w.pollFailed && !w.doubted && now.Sub(w.seenAt) >= seenGap {
		w.seenAt = now
		w.emit(pbx.Event{Kind: pbx.EventSeen})
	}
}

func (w *watch) emit(e pbx.Event) {
	e.Seq = w.c.seq.Add(1)
	w.c.metrics.Event(e.Kind)
	w.deliver(e)
}
