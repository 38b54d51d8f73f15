package sip

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/time/rate"

	"presencebridge/bridge/pbx"
)

const (
	// tick is how often the schedule is looked at.
	tick = 50 * time.Millisecond
	// atOnce is how many requests of a session are under way at a time.
	atOnce = 32
	// longWait is how long a refusal that will not change by itself is respected.
	longWait = 10 * time.Minute
	// hopeless is how many extensions must be refused, with none accepted, for the whole PBX to count as refusing.
	hopeless = 5
	// queueLimit is how many events wait before an endpoint's later state takes the place of its earlier one.
	queueLimit = 4096
)

// session is the watch on one link: all subscriptions, and what they said.
type session struct {
	c     *Client
	l     *flow
	limit *rate.Limiter
	slots chan struct{}
	work  sync.WaitGroup

	mu        sync.Mutex
	endpoints map[string]*watched // by id
	byAOR     map[string]*watched
	subs      map[*tracked]bool
	list      [2]*tracked // of dialog and presence, with a list
	usersGen  int
	up        bool
	heardAny  bool
	refused   int
	has       [2]bool       // the packages that were accepted
	doubted   time.Time     // when all subscriptions were doubted, last
	again     bool          // what is published is to be renewed as well
	changed   chan struct{} // closed and replaced with every settling

	queue   []pbx.Event
	queued  map[string]int // place in queue, counted from the first event ever
	dropped int            // events that left the queue
	wake    chan struct{}
}

// watched is an endpoint and its subscriptions.
type watched struct {
	endpoint

	settled [2]bool // dialog, presence: heard, or known to be unable
	told    bool
	last    pbx.State
	listed  bool // a list reports it
	own     [2]*tracked
}

// tracked is a subscription and its schedule. The session's mutex guards it.
type tracked struct {
	subscription

	of       *watched // nil: the list
	due      time.Time
	until    time.Time // when a notification must have come; zero: it has
	asks     time.Duration
	tries    int
	running  bool
	again    bool // due once more when what runs is over
	fresh    bool // a new dialog is wanted
	stopped  bool // nothing more is sent
	leaving  bool // it is to be ended
	settled  bool
	listSeen bool
	version  uint64
}

func eventNames() [2]string { return [2]string{eventDialog, eventPresence} }

func eventIndex(event string) int {
	if event == eventDialog {
		return 0
	}
	return 1
}

func (c *Client) newSession(l *flow) *session {
	return &session{
		c: c, l: l, limit: rate.NewLimiter(rate.Limit(c.cfg.Rate), max(1, int(c.cfg.Rate/10))), slots: make(chan struct{}, atOnce),
		endpoints: map[string]*watched{}, byAOR: map[string]*watched{}, subs: map[*tracked]bool{},
		changed: make(chan struct{}), queued: map[string]int{}, wake: make(chan struct{}, 1), usersGen: -1,
	}
}

// run watches until the link ends or ctx does. Events are delivered by the caller's goroutine.
func (s *session) run(ctx context.Context, deliver func(pbx.Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.work.Wait()
	defer cancel()
	s.l.busy.Store(1)
	defer s.l.busy.Store(0)
	defer s.silence()
	s.users()
	if len(s.subs) == 0 {
		s.connected() // nobody to subscribe to: the PBX answers, that is all there is
	}
	s.work.Go(func() { s.schedule(ctx) })
	s.work.Go(func() { s.keepAlive(ctx) })
	for {
		e, ok := s.next()
		if ok {
			e.Seq = s.c.seq.Add(1)
			s.c.metrics.Event(e.Kind)
			deliver(e)
			continue
		}
		select {
		case <-s.wake:
		case <-s.l.life.Done():
			return context.Cause(s.l.life)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// silence ends all subscriptions on our side.
func (s *session) silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := range s.subs {
		s.l.finish(&t.subscription)
	}
}

// next takes an event off the queue.
func (s *session) next() (pbx.Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return pbx.Event{}, false
	}
	e := s.queue[0]
	s.queue = s.queue[1:]
	if e.Kind == pbx.EventState && s.queued[e.User] == s.dropped {
		delete(s.queued, e.User)
	}
	s.dropped++
	return e, true
}

// push queues an event. The mutex is held.
func (s *session) push(e pbx.Event) {
	if e.Kind == pbx.EventState {
		if at, ok := s.queued[e.User]; ok && len(s.queue) >= queueLimit {
			s.queue[at-s.dropped].State = e.State
			return
		}
		s.queued[e.User] = s.dropped + len(s.queue)
	}
	s.queue = append(s.queue, e)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// connected says that the PBX takes our subscriptions. The mutex is held, or nobody else is there yet.
func (s *session) connected() {
	if s.up {
		return
	}
	s.up = true
	s.c.tracker.Connected()
	s.c.metrics.Up(true)
	s.c.metrics.Connection("reset")
	s.push(pbx.Event{Kind: pbx.EventReset})
}

// keepAlive asks for a sign of life now and then. Any answer is one.
func (s *session) keepAlive(ctx context.Context) {
	t := time.NewTicker(s.c.cfg.Ping)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.l.life.Done():
			return
		case <-t.C:
		}
		if err := s.l.ping(ctx); err != nil && ctx.Err() == nil {
			s.l.fail(errSilent)
			return
		}
		s.mu.Lock()
		if s.up {
			s.push(pbx.Event{Kind: pbx.EventSeen})
		}
		s.mu.Unlock()
	}
}

// ping asks the PBX for a sign of life (RFC 3261 section 11). Any answer will do.
func (l *flow) ping(ctx context.Context) error {
	target := sip.Uri{Scheme: "sip", Host: l.c.cfg.Domain}
	ctx, cancel := context.WithTimeout(ctx, l.c.cfg.Timeout)
	defer cancel()
	o := outgoing{op: "ping", method: sip.OPTIONS, target: target, to: target, callID: newCallID(), fromTag: newTag(), cseq: new(uint32)}
	_, err := l.send(ctx, l.build(o))
	return err
}

// schedule sends what is due until ctx ends.
func (s *session) schedule(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	users := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.l.life.Done():
			return
		case <-t.C:
		}
		if time.Since(users) >= s.c.cfg.UsersInterval {
			s.users()
			users = time.Now()
		}
		if s.renewAgain() {
			s.c.renewAll()
		}
		s.c.renewDue(ctx, s)
		for _, sub := range s.dueNow() {
			if !s.spawn(ctx, func() { s.send(ctx, sub) }) {
				return
			}
		}
	}
}

func (s *session) renewAgain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.again
	s.again = false
	return again
}

// spawn runs something beside others, at the rate that is allowed. It returns false when ctx or the link ended.
func (s *session) spawn(ctx context.Context, do func()) bool {
	if s.limit.Wait(ctx) != nil {
		return false
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	case <-s.l.life.Done():
		return false
	}
	s.work.Go(func() {
		defer func() { <-s.slots }()
		do()
	})
	return true
}

// dueNow are the subscriptions to send something about. They count as running.
func (s *session) dueNow() []*tracked {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*tracked
	for t := range s.subs {
		if t.running || t.stopped {
			continue
		}
		if !t.until.IsZero() && now.After(t.until) { // no notification came (RFC 6665 section 4.1.2.4, timer N)
			t.until, t.fresh = time.Time{}, true
			s.settle(t)
			s.retry(t, 0)
			continue
		}
		if now.Before(t.due) {
			continue
		}
		t.running, t.again = true, false
		out = append(out, t)
	}
	return out
}

// send sends one SUBSCRIBE and folds what becomes of it.
func (s *session) send(ctx context.Context, t *tracked) {
	s.mu.Lock()
	asks := t.asks
	if t.leaving {
		asks = 0
	}
	fresh := t.fresh || t.callID == ""
	t.fresh = false
	if fresh {
		t.listSeen = false
		if t.of != nil {
			t.of.restart(t.event)
		}
	}
	s.mu.Unlock()
	if fresh {
		s.l.register(&t.subscription)
	}
	granted, err := s.l.subscribe(ctx, &t.subscription, asks)
	s.mu.Lock()
	defer s.mu.Unlock()
	t.running = false
	switch {
	case ctx.Err() != nil || !s.l.alive():
	case t.leaving:
		s.drop(t)
	case err != nil:
		s.failed(t, err)
	default:
		s.accepted(t, granted)
	}
	if t.again {
		t.due = time.Now()
	}
}

// restart forgets what only makes sense within one dialog: versions begin anew (RFC 4235 section 4.1). What is known of
// the calls stands until the first notification.
func (w *watched) restart(event string) {
	if event == eventDialog {
		w.calls.synced = false
	}
}

// accepted plans the refresh. The mutex is held.
func (s *session) accepted(t *tracked, granted time.Duration) {
	s.connected()
	s.heardAny, s.refused = true, 0
	if at := eventIndex(t.event); !s.has[at] {
		s.has[at] = true
		s.c.tracker.Warn(pbx.Warning{Code: lacking(t.event).Code}) // it has the package by now
	}
	t.tries = 0
	if granted <= 0 {
		granted = t.asks
	}
	t.due = time.Now().Add(refreshAfter(granted))
	l := s.l
	l.mu.Lock()
	heard := t.heardCSeq != 0
	l.mu.Unlock()
	if !heard {
		t.until = time.Now().Add(max(s.c.cfg.Timeout, time.Second))
	}
}

// refreshAfter is when a subscription or publication of a length is renewed: between half and two thirds of it, so that
// thousands that began together spread, and one failure leaves time for another try.
func refreshAfter(d time.Duration) time.Duration {
	return max(time.Second, d/2+time.Duration(rand.Int64N(int64(d/6)+1)))
}

// failed decides what follows a refusal (RFC 6665 sections 4.1.2 and 8.3, RFC 3261 section 21). The mutex is held.
func (s *session) failed(t *tracked, err error) {
	var se *statusError
	kind := pbx.KindOf(err)
	if !errors.As(err, &se) {
		if kind == pbx.Unauthorised {
			s.l.fail(err)
			return
		}
		s.settle(t)
		s.retry(t, 0)
		return
	}
	switch {
	case se.code == sip.StatusIntervalToBrief && se.min > t.asks: // 423
		t.asks, t.due = se.min, time.Now()
	case se.code == sip.StatusCallTransactionDoesNotExists && t.toTag != "": // 481: that dialog is gone
		t.fresh, t.due = true, time.Now()
		s.doubtAll()
	case kind == pbx.Unauthorised:
		s.l.fail(err)
	case se.code == 489:
		s.without(t, err)
	case kind == pbx.Refused || kind == pbx.Gone:
		s.refusedBy(t, err)
	default: // it may pass
		t.fresh = t.toTag == ""
		s.settle(t)
		s.retry(t, se.retry)
	}
}

// doubtAll refreshes everything, after a reset: a PBX that forgot one subscription has been restarted, most likely, which
// over UDP nothing else tells. The mutex is held.
func (s *session) doubtAll() {
	now := time.Now()
	if now.Sub(s.doubted) < s.c.cfg.Expires {
		return // the others had their refresh, or have it soon
	}
	s.doubted = now
	s.c.cfg.Log.Warn("the pbx forgot a subscription; all are refreshed")
	for t := range s.subs {
		if t.stopped || t.leaving {
			continue
		}
		t.due, t.again, t.settled = now, t.running, false
		if t.of != nil {
			t.of.settled[eventIndex(t.event)] = false
		}
	}
	s.again = true // a list that is refreshed says everything anew
	s.push(pbx.Event{Kind: pbx.EventReset})
}

// refusedBy gives a subscription up for long. Where everything is refused, the PBX as a whole is not usable.
func (s *session) refusedBy(t *tracked, err error) {
	s.refused++
	if !s.heardAny && (s.refused >= hopeless || s.refused >= len(s.subs)) {
		s.l.fail(err)
		return
	}
	t.fresh, t.due = true, time.Now().Add(longWait)
	if t.of == nil {
		s.fallBack(t)
	}
	s.settle(t)
}

// without notes that the PBX does not have a package (489). Without either there is nothing to watch.
func (s *session) without(t *tracked, err error) {
	s.l.setWithout(t.event)
	if s.l.without(eventDialog) && s.l.without(eventPresence) {
		s.l.fail(err)
		return
	}
	for other := range s.subs {
		if other.event != t.event {
			continue
		}
		other.stopped = true
		if other.of != nil {
			other.of.forget(other.event)
		}
		s.settle(other)
	}
	for _, w := range s.endpoints {
		w.hasDialog = !s.l.without(eventDialog)
		w.settled[eventIndex(t.event)] = true
		s.tell(w)
	}
}

// retry plans another try, later each time.
func (s *session) retry(t *tracked, asked time.Duration) {
	t.tries++
	wait := min(time.Second<<min(t.tries, 8), 5*time.Minute)
	wait = wait/2 + time.Duration(rand.Int64N(int64(wait)))
	t.due = time.Now().Add(max(wait, asked))
}

// settle says that no more can be learnt of a subscription for now. The mutex is held.
func (s *session) settle(t *tracked) {
	t.settled = true
	if t.of != nil {
		t.of.settled[eventIndex(t.event)] = true
		s.tell(t.of)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// tell delivers an endpoint's state if it is known from all sides and another one than before.
func (s *session) tell(w *watched) {
	if !w.settled[0] || !w.settled[1] || !s.up {
		return
	}
	now := w.state()
	if w.told && now == w.last {
		return // a PBX repeats the same document with every refresh
	}
	w.told, w.last = true, now
	s.push(pbx.Event{Kind: pbx.EventState, User: w.id, State: now})
}

// drop forgets a subscription.
func (s *session) drop(t *tracked) {
	delete(s.subs, t)
	if t.callID != "" {
		s.l.finish(&t.subscription)
	}
}
