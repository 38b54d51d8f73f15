package bus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// The consumer of an account (design, section 4, "The fence"). An acknowledgement is awaited for
// less time than a pin outlives its last pull (AckWait ≤ PinnedTTL − expiry): whoever takes over gets
// what the one before had first, in order.
const (
	ackWait    = 3 * time.Second
	pinnedTTL  = 5 * time.Second
	pullExpiry = time.Second
	pinGroup   = "owner"

	maxBodies = 16          // taken and not acknowledged
	maxWork   = time.Second // their estimated work, unless one body alone is more
	// stallAfter is how long nothing may progress before pulling stops.
	stallAfter = 2 * time.Second
	// stallOver is when what a stalled consumer holds counts as lost: its pin has lapsed, and the
	// bodies are being handed out again, here if there is nobody else.
	stallOver = pinnedTTL + ackWait
	// touchEvery limits how often the server hears that a body progresses.
	touchEvery = time.Second / 2
	retryPause = time.Second / 2
	// gatherRoom is how long a little room may wait to become more: a pull for each body would cost
	// more than the body.
	gatherRoom = 2 * time.Millisecond
	// removeEvery is how long what was processed may still lie in the stream.
	removeEvery = time.Second
	// vouchEvery is how often a consumer without a pin asks the server whether anything waits. It is far below
	// MaxBodyAge, and one request per account.
	vouchEvery = 30 * time.Second
)

// Gap says that bodies of an account may have been lost, to age or to a crash: whoever they were
// about has to be read in full.
type Gap struct {
	Account string
	Reason  GapReason
	Since   time.Time // everything stored before was handed out; zero if not known
}

// GapReason is why there is a gap; it is a metric label.
type GapReason string

// The reasons of gaps.
const (
	GapExpired GapReason = "expired" // bodies reached MaxBodyAge before they were processed
	GapUnknown GapReason = "unknown" // nobody knows what was processed before this start
)

// ConsumeOption changes how [Bus.Consume] works.
type ConsumeOption func(*consumer)

// OnGap has gaps reported to f, which must not block.
func OnGap(f func(Gap)) ConsumeOption { return func(c *consumer) { c.onGap = f } }

// ReadTo says up to when the owners before this one have dealt with everything (see [Bus.Vouched]); the zero time says
// nothing.
func ReadTo(t time.Time) ConsumeOption { return func(c *consumer) { c.before = t } }

// Consume hands the account's bodies to handle, oldest first, until ctx ends (then it returns nil)
// or the bus closes ([ErrClosed]). One call per account at a time.
//
// handle may return at once and have [Body.Ack] called later, from anywhere. At most 16 bodies are
// handed out and not acknowledged, and no more than one second of work as estimate tells (it may be
// nil), unless one body alone is more. A body that is neither acknowledged nor progresses for three
// seconds is handed out again. When nothing progresses for two seconds pulling stops.
func (b *Bus) Consume(ctx context.Context, account string, estimate func(body []byte) time.Duration, handle func(*Body), opts ...ConsumeOption) error {
	if err := checkAccount(account); err != nil {
		return err
	}
	if err := b.claim(account); err != nil {
		return err
	}
	defer b.unclaim(account)
	c := newConsumer(b, account, estimate, handle)
	for _, o := range opts {
		o(c)
	}
	b.mu.Lock()
	b.consuming[account] = c
	b.mu.Unlock()
	for _, r := range []GapReason{GapExpired, GapUnknown} { // an alert on the first one needs the zero before it
		b.metrics.gaps.WithLabelValues(account, string(r))
	}
	return c.run(ctx)
}

// claim makes sure that an account is consumed once, and that Close waits for it.
func (b *Bus) claim(account string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.down || b.closed.Load():
		return ErrClosed
	case b.claimed[account]:
		return fmt.Errorf("%w: account %s is being consumed already", ErrInvalid, account)
	}
	b.claimed[account] = true
	b.wg.Add(1)
	return nil
}

func (b *Bus) unclaim(account string) {
	b.mu.Lock()
	delete(b.claimed, account)
	delete(b.consuming, account)
	b.mu.Unlock()
	b.wg.Done()
}

// Vouched is the time, by the server's clock, up to which everything that was stored for the account was dealt with, as
// far as this process knows; zero if it does not. The owner of an account passes it on, for the one after it ([ReadTo]).
func (b *Bus) Vouched(account string) time.Time {
	b.mu.Lock()
	c, ended := b.consuming[account], b.readTo[account]
	b.mu.Unlock()
	if c == nil {
		return ended
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.vouchedLocked()
}

// vouchedLocked is up to when everything was acknowledged. The lock is held.
func (c *consumer) vouchedLocked() time.Time {
	to := c.readTo
	for _, b := range c.bodies {
		if b.Stored.Before(to) {
			to = b.Stored
		}
	}
	return to
}

// consumer is one Consume.
type consumer struct {
	bus      *Bus
	account  string
	estimate func([]byte) time.Duration
	handle   func(*Body)
	onGap    func(Gap)

	// The fetching goroutine's.
	durable jetstream.Consumer
	stream  uint64    // which GRAPH_IN it is: when it was made
	pinned  bool      // the pin that came with the last body is still good
	asked   time.Time // when the server was last asked whether anything waits
	removed time.Time // when processed bodies were last removed
	floor   uint64    // up to where

	acked atomic.Bool // something was acknowledged since then

	mu       sync.Mutex
	changed  chan struct{}    // closed, and made anew, by every change
	bodies   map[uint64]*Body // by sequence: everything taken and not acknowledged
	held     []*Body          // of those, the ones not handed out yet, in order
	progress time.Time        // of the last acknowledgement or sign of life
	stalled  bool
	average  time.Duration // estimated work of a body, over the last ones
	known    bool          // there was a body to estimate
	before   time.Time     // what the owner before had dealt with
	young    time.Duration // a consumer of less than this age is of a new account; less than MaxBodyAge in tests
	readTo   time.Time     // everything stored before was handed out; by the server's clock
	ahead    time.Duration // by how much that clock is ahead of ours
	gaps     []Gap         // not reported yet
	pin      string        // the pin that the server gave us, if any
}

func newConsumer(b *Bus, account string, estimate func([]byte) time.Duration, handle func(*Body)) *consumer {
	if estimate == nil {
		estimate = func([]byte) time.Duration { return 0 }
	}
	return &consumer{
		bus: b, account: account, estimate: estimate, handle: handle,
		onGap:   func(Gap) {},
		young:   MaxBodyAge,
		changed: make(chan struct{}),
		bodies:  make(map[uint64]*Body),
	}
}

func (c *consumer) run(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	// A bus that closes ends it, as the caller's context does.
	defer context.AfterFunc(c.bus.ctx, cancel)()
	g, inner := errgroup.WithContext(inner)
	g.Go(func() error { return c.fetchLoop(inner) })
	g.Go(func() error { c.handLoop(inner); return nil })
	err := g.Wait()
	c.leave()
	switch {
	case ctx.Err() != nil:
		return nil
	case c.bus.closed.Load():
		return ErrClosed
	default:
		return err
	}
}

// handLoop hands out what was fetched, one body after the other.
func (c *consumer) handLoop(ctx context.Context) {
	for ctx.Err() == nil {
		body, changed := c.next()
		if body != nil {
			c.handle(body)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// next takes the body to be handed out now; when there is none, the channel that closes with the
// next change.
func (c *consumer) next() (*Body, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.held) == 0 {
		return nil, c.changed
	}
	body := c.held[0]
	handed, work := c.load(func(b *Body) bool { return b.handed })
	if handed > 0 && work+body.work > maxWork {
		return nil, c.changed
	}
	c.held = c.held[1:]
	body.handed = true
	return body, nil
}

// load counts the bodies that are of some kind and their work; the lost ones count no more.
func (c *consumer) load(of func(*Body) bool) (n int, work time.Duration) {
	for _, b := range c.bodies {
		if !b.lost && of(b) {
			n++
			work += b.work
		}
	}
	return n, work
}

// room is how many bodies may be fetched now. Zero comes with the time after which to look again,
// if nothing changes before.
func (c *consumer) room(now time.Time) (n int, again time.Duration, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(now)
	taken, work := c.load(func(*Body) bool { return true })
	c.gauges(taken, work)
	if taken == 0 {
		c.stalled = false
		return c.batch(0, 0), 0, nil
	}
	if idle := now.Sub(c.progress); idle >= stallAfter {
		c.stall(idle)
		return 0, stallOver - idle, c.changed
	}
	c.stalled = false
	n = c.batch(taken, work)
	return n, stallAfter, c.changed
}

// batch is how many more bodies fit, going by the work of the last ones. One always does when
// there is none, however heavy it may be.
func (c *consumer) batch(taken int, work time.Duration) int {
	if taken == 0 && !c.known {
		return 1 // the first body tells
	}
	n := maxBodies - taken
	if c.average > 0 {
		n = min(n, int((maxWork-work)/c.average))
	}
	if taken == 0 {
		return max(n, 1)
	}
	return max(n, 0)
}

// stall notes that nothing progresses.
func (c *consumer) stall(idle time.Duration) {
	if c.stalled {
		return
	}
	c.stalled = true
	c.bus.metrics.stalls.WithLabelValues(c.account).Inc()
	c.bus.cfg.Log.Warn("nothing progresses, pulling stops", "account", c.account, "bodies", len(c.bodies), "idle", idle)
}

// expire gives up what the server hands out again: one body that did not progress while others
// did, all of them when a stall is over. What is as old as bodies may get is gone for good.
func (c *consumer) expire(now time.Time) {
	over := now.Sub(c.progress) >= stallOver
	moving := now.Sub(c.progress) < stallAfter
	for seq, b := range c.bodies {
		if over || (moving && now.Sub(b.touched) > ackWait) {
			b.lost = true
		}
		if b.lost && c.serverTime(now).Sub(b.Stored) > MaxBodyAge {
			delete(c.bodies, seq)
			c.gapLocked(GapExpired)
		}
	}
	c.held = slices.DeleteFunc(c.held, func(b *Body) bool { return b.lost })
}

func (c *consumer) gauges(taken int, work time.Duration) {
	c.bus.metrics.outstanding.WithLabelValues(c.account).Set(float64(taken))
	c.bus.metrics.work.WithLabelValues(c.account).Set(work.Seconds())
}

// broadcast wakes everybody who waits for a change. The lock is held.
func (c *consumer) broadcast() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// gapLocked reports a gap, outside of the lock that is held.
func (c *consumer) gapLocked(r GapReason) {
	gap := Gap{Account: c.account, Reason: r, Since: c.readTo}
	c.gaps = append(c.gaps, gap)
	c.bus.metrics.gaps.WithLabelValues(c.account, string(r)).Inc()
}

// reportGaps calls back with the gaps that were found, several of one kind as one.
func (c *consumer) reportGaps() {
	c.mu.Lock()
	gaps := slices.CompactFunc(c.gaps, func(a, b Gap) bool { return a.Reason == b.Reason })
	c.gaps = nil
	c.mu.Unlock()
	for _, gap := range gaps {
		c.bus.cfg.Log.Warn("bodies may have been lost, a full read is needed", "account", gap.Account, "reason", gap.Reason, "since", gap.Since)
		c.onGap(gap)
	}
}
