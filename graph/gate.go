package graph

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"
)

// A gate lets the requests of one class out: as many as the budget allows, the most urgent first, none
// while Graph has asked for a pause.
//
// The budget is a token bucket of rate (limit-burst)/window, so that no window of any position ever sees
// more than limit requests. The burst is small on purpose: a window that could be spent at once would
// leave an urgent request waiting for the rest of it. Each lane may have a bucket of its own beside
// it, which caps its share; since the shares of the lanes below the first do not add up to one, the first
// lane always finds its own share in the total.
type gate struct {
	mu     sync.Mutex
	budget Budget
	burst  float64 // as a fraction of the limit
	total  bucket
	lanes  []lane
	waits  int // requests waiting in all lanes
	paused time.Time
	timer  *time.Timer // wakes dispatch; nil until the first wait

	limit     int       // the limit in force, at least budget.Limit
	raisedAt  time.Time // when the limit was last looked at
	throttles int       // since then
	needed    bool      // somebody had to wait since then

	meter gateMeter
}

// Bursts as a fraction of the limit.
const (
	pacedBurst = 0.05 // 75 reads, 60 writes: a second and a half
	wideBurst  = 0.5  // for limits so small that pacing would only delay
)

// lane is one priority of a class: a queue in order of arrival and, below 1, a share of the budget.
type lane struct {
	share  float64
	bucket bucket
	queue  []*waiter
}

// waiter is one request before the gate.
type waiter struct {
	deadline time.Time     // zero: none
	ready    chan struct{} // closed when granted or failed
	granted  bool
	left     bool // its caller has gone; it is passed over
	err      error
}

// errPaused: the pause that Graph asked for lasts beyond the caller's deadline.
var errPaused = errors.New("the pause that Graph asked for outlasts the deadline")

func newGate(b Budget, burst float64, shares []float64, meter gateMeter) *gate {
	now := time.Now()
	g := &gate{budget: b, burst: burst, limit: b.Limit, lanes: make([]lane, len(shares)), raisedAt: now, meter: meter}
	for i, s := range shares {
		g.lanes[i].share = s
	}
	g.setLimit(b.Limit)
	g.total.fill(now)
	for i := range g.lanes {
		g.lanes[i].bucket.fill(now)
	}
	return g
}

// setLimit puts a limit into force.
func (g *gate) setLimit(limit int) {
	g.limit = limit
	burst := max(1, math.Floor(float64(limit)*g.burst))
	rate := (float64(limit) - burst) / g.budget.Window.Seconds()
	if rate <= 0 { // a limit of 1
		rate = float64(limit) / g.budget.Window.Seconds()
	}
	g.total.set(rate, burst)
	for i := range g.lanes {
		if s := g.lanes[i].share; s < 1 {
			g.lanes[i].bucket.set(rate*s, max(1, burst*s))
		}
	}
	g.meter.limit(limit)
}

// rate is the limit in force, by the second.
func (g *gate) rate() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return float64(g.limit) / g.budget.Window.Seconds()
}

// expect is about how long a request of that lane would have to wait if it came now. coming is how many others of the class are
// on their way through the gate, those among them that wait before it already.
func (g *gate) expect(l, coming int, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	ahead := 0
	for i := range l + 1 {
		ahead += len(g.lanes[i].queue)
	}
	ahead = max(ahead, coming)
	wait := g.total.until(now) + time.Duration(float64(ahead)/g.total.rate*float64(time.Second))
	if lane := &g.lanes[l]; lane.share < 1 {
		own := lane.bucket.until(now) + time.Duration(float64(len(lane.queue))/lane.bucket.rate*float64(time.Second))
		wait = max(wait, own)
	}
	return max(wait, g.paused.Sub(now))
}

// acquire waits for a place and returns how long that took. It fails when ctx ends, and at once when a
// pause outlasts the deadline ([errPaused]).
func (g *gate) acquire(ctx context.Context, l int) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	start := time.Now()
	w := &waiter{ready: make(chan struct{})}
	w.deadline, _ = ctx.Deadline()
	g.mu.Lock()
	if g.outlasted(w) {
		g.mu.Unlock()
		return 0, errPaused
	}
	g.lanes[l].queue = append(g.lanes[l].queue, w)
	g.waits++
	g.dispatch(start)
	g.meter.waiting(g.waits)
	g.mu.Unlock()

	select {
	case <-w.ready:
	case <-ctx.Done():
		g.leave(w, l)
	}
	if w.granted {
		return time.Since(start), nil
	}
	return time.Since(start), first2(w.err, ctx.Err())
}

// leave gives a waiter's place up, unless it was granted or failed in the meantime. Thousands may leave
// at once, when a pause outlasts them, so nobody is searched for: the queue is cleared from its head.
func (g *gate) leave(w *waiter, l int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.granted || w.err != nil {
		return
	}
	w.left = true
	g.waits--
	g.lanes[l].trim()
	g.meter.waiting(g.waits)
}

// trim drops those who left from the head of the queue.
func (l *lane) trim() {
	for len(l.queue) > 0 && l.queue[0].left {
		l.pop()
	}
}

// pop takes the first of the queue.
func (l *lane) pop() *waiter {
	w := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	return w
}

// outlasted tells whether the pause lasts beyond the waiter's deadline.
func (g *gate) outlasted(w *waiter) bool {
	return !w.deadline.IsZero() && g.paused.After(w.deadline)
}

// throttled is told of every 429. Nothing of the class leaves for as long as Graph said, exactly. A limit
// that was raised falls back. It tells whether this began a pause.
func (g *gate) throttled(wait time.Duration) (began bool) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.throttles++
	began = !now.Before(g.paused)
	if began && g.limit > g.budget.Limit {
		g.setLimit(max(g.budget.Limit, g.limit/2)) // once: those that were under way say the same
	}
	g.raisedAt, g.needed = now, false
	if until := now.Add(wait); until.After(g.paused) {
		g.paused = until
		g.meter.paused(until)
	}
	for i := range g.lanes {
		g.lanes[i].queue = slices.DeleteFunc(g.lanes[i].queue, func(w *waiter) bool {
			if w.left || !g.outlasted(w) {
				return w.left
			}
			w.err = errPaused
			close(w.ready)
			g.waits--
			return true
		})
	}
	g.dispatch(now)
	return began
}

// pauseLeft is how long the class still has to wait.
func (g *gate) pauseLeft() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(0, time.Until(g.paused))
}

// dispatch grants what can be granted now and arms the timer for the rest. The caller holds mu.
func (g *gate) dispatch(now time.Time) {
	g.raise(now)
	for g.waits > 0 {
		if now.Before(g.paused) {
			g.wake(g.paused.Sub(now))
			return
		}
		l, wait := g.next(now)
		if l < 0 {
			g.needed = true
			g.wake(wait)
			return
		}
		g.grant(l)
	}
}

// next is the lane whose turn it is, or -1 and how long until there can be one.
func (g *gate) next(now time.Time) (l int, wait time.Duration) {
	if wait := g.total.until(now); wait > 0 {
		return -1, wait
	}
	wait = time.Hour
	for i := range g.lanes {
		lane := &g.lanes[i]
		lane.trim()
		if len(lane.queue) == 0 {
			continue
		}
		if lane.share >= 1 {
			return i, 0
		}
		own := lane.bucket.until(now)
		if own == 0 {
			return i, 0
		}
		wait = min(wait, own)
	}
	return -1, wait
}

// grant lets the first request of a lane go.
func (g *gate) grant(l int) {
	lane := &g.lanes[l]
	w := lane.pop()
	lane.trim()
	g.waits--
	g.total.tokens--
	if lane.share < 1 {
		lane.bucket.tokens--
	}
	w.granted = true
	close(w.ready)
	g.meter.granted(g.total.tokens, g.waits)
}

// wake calls dispatch after d.
func (g *gate) wake(d time.Duration) {
	d = max(d, time.Microsecond)
	if g.timer != nil {
		g.timer.Reset(d)
		return
	}
	g.timer = time.AfterFunc(d, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.dispatch(time.Now())
	})
}

// raise lifts the limit by a tenth after each window in which it was needed and no 429 came.
func (g *gate) raise(now time.Time) {
	if now.Sub(g.raisedAt) < g.budget.Window {
		return
	}
	if g.needed && g.throttles == 0 && g.limit < g.budget.Max {
		g.total.until(now) // what has flowed in so far did so at the old rate
		g.setLimit(min(g.budget.Max, g.limit+max(1, g.limit/10)))
	}
	g.raisedAt, g.throttles, g.needed = now, 0, false
}

// bucket is a token bucket.
type bucket struct {
	rate, burst, tokens float64 // tokens per second, and in number
	at                  time.Time
}

// set changes rate and size; what is in it stays, up to the size.
func (b *bucket) set(rate, burst float64) {
	b.rate, b.burst = rate, burst
	b.tokens = min(b.tokens, burst)
}

// fill fills the bucket to the brim.
func (b *bucket) fill(now time.Time) { b.tokens, b.at = b.burst, now }

// until lets flow in what is due and returns how long until there is a token, 0 if there is one. Times
// that run backwards add nothing.
func (b *bucket) until(now time.Time) time.Duration {
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.burst, b.tokens+d.Seconds()*b.rate)
		b.at = now
	}
	const enough = 1 - 1e-9
	if b.tokens >= enough {
		return 0
	}
	return time.Duration(math.Ceil((1 - b.tokens) / b.rate * 1e9))
}

// first2 is the first error that is not nil.
func first2(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
