package bridge

import (
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"
)

// storeRetry is how long a record waits that the store refused for another reason than its revision.
const storeRetry = time.Second

// envelope is an event on its way to a member's owner.
type envelope struct {
	member string
	event  Event
	done   func()
}

// cell is one member in memory.
type cell struct {
	rec      Record
	revision uint64
	fresh    bool       // taken over from the store, and Recovered not folded yet
	storing  bool       // a store is under way: what comes meanwhile waits, in order
	waiting  []envelope // behind the store
	due      time.Time  // the earliest entry in the heap
	settled  []chan struct{}
}

// stored is the answer of the store.
type stored struct {
	cell     *cell
	member   string
	next     Record
	event    Event
	effects  []Effect
	done     func()
	revision uint64
	err      error
	data     []byte
	again    bool      // due for another try
	failed   bool      // was not stored at the first try, and is complained of
	at       time.Time // when the answer came
}

// loop owns a part of the members: it alone steps and changes their records.
type loop struct {
	e    *Engine
	in   chan envelope
	wake chan struct{}

	mu    sync.Mutex // guards cells and the records in them against readers
	cells map[string]*cell
	heap  timerHeap

	confirmed time.Time // owned by run: when the last good answer of Config.Confirm was asked for

	doneMu sync.Mutex
	dones  []stored // answers of the store; unbounded, but never more than what was put
}

func newLoop(e *Engine) *loop {
	return &loop{e: e, in: make(chan envelope, 256), wake: make(chan struct{}, 1), cells: map[string]*cell{}}
}

// adopt takes a record over from the store.
func (l *loop) adopt(member string, rec Record, revision uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cells[member] = &cell{rec: rec, revision: revision, fresh: true}
	l.e.changed(&Record{Member: member}, &rec)
}

func (l *loop) run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(l.untilDue())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case env := <-l.in:
			l.handle(env)
			l.drain()
		case <-l.wake:
			l.drain()
		case <-timer.C:
			l.fireTimers()
		}
	}
}

// drain handles the answers of the store.
func (l *loop) drain() {
	l.doneMu.Lock()
	dones := l.dones
	l.dones = nil
	l.doneMu.Unlock()
	for _, d := range dones {
		l.storedOne(d)
	}
}

func (l *loop) untilDue() time.Duration {
	if len(l.heap) == 0 {
		return time.Hour
	}
	return max(time.Until(l.heap[0].due), 0)
}

// cellOf finds the member, or begins a record for one that is being introduced.
func (l *loop) cellOf(env envelope) *cell {
	c := l.cells[env.member]
	if c == nil {
		if mc, ok := env.event.(MemberChanged); ok && !mc.Excluded {
			c = &cell{rec: NewRecord(env.member, l.e.rules.Load())}
			l.mu.Lock()
			l.cells[env.member] = c
			l.mu.Unlock()
		}
	}
	return c
}

// handle folds one event, or queues it behind the member's store.
func (l *loop) handle(env envelope) {
	c := l.cellOf(env)
	switch {
	case c == nil: // nobody we know: nothing to do, and nothing to keep
		if env.done != nil {
			env.done()
		}
	case l.e.ending.Load() && !foldsAtEnd(env.event): // for the next owner to learn
	case c.storing:
		c.wait(env)
	default:
		if !l.takeOver(c, &env) {
			return
		}
		l.step(c, env)
		l.resume(c)
	}
}

// takeOver sees to it that Recovered is the first event of a record from the store, and folded once: before it a write
// of another process would not be waited out, and after it nothing is as unknown as it says. False: nothing to fold.
func (l *loop) takeOver(c *cell, env *envelope) bool {
	_, recovered := env.event.(Recovered)
	switch {
	case recovered && !c.fresh:
		if env.done != nil {
			env.done()
		}
		return false
	case c.fresh && !recovered:
		c.waiting = append(c.waiting, *env)
		*env = envelope{member: env.member, event: Recovered{}}
	}
	c.fresh = false
	return true
}

// step runs [Step], stores what has to be stored, and only then lets the effects go (R6).
func (l *loop) step(c *cell, env envelope) {
	now := time.Now()
	next, effects := Step(l.e.currentRules(), c.rec, env.event, now)
	l.e.metrics.steps.Inc()
	if l.e.ending.Load() && writes(effects) {
		if env.done != nil { // the answer to a write, and no new intent: that one is the next owner's to wait for
			env.done()
		}
		return
	}
	for _, eff := range effects {
		l.spend(eff)
	}
	if reflect.DeepEqual(c.rec.durable(), next.durable()) {
		l.commit(c, env.member, next, effects, env.event)
		if env.done != nil {
			env.done()
		}
		return
	}
	data, err := json.Marshal(&next)
	if err != nil { // cannot happen: the record holds nothing that JSON cannot
		l.e.log.Error("record cannot be written", "member", env.member, "error", err)
		return
	}
	c.storing = true
	l.e.underWay.Add(1)
	l.put(stored{cell: c, member: env.member, next: next, event: env.event, effects: effects, done: env.done, data: data})
}

// spend takes writes from the budget of their side, unless a grant paid for them already.
func (l *loop) spend(eff Effect) {
	side := ""
	switch eff := eff.(type) {
	case SetTeams:
		if !eff.Paid {
			side = TeamsSideName
		}
	case TeamsMessage:
		side = TeamsSideName
	case ClearTeams:
		if !eff.Paid {
			side = TeamsSideName
		}
	case ApplyEndpoint:
		if !eff.Paid {
			side = eff.Endpoint.PBX
		}
	}
	if p := l.e.pacers[side]; p != nil {
		p.spend()
	}
}

func (l *loop) put(s stored) {
	started := time.Now()
	l.e.cfg.Store.Put(s.member, s.data, s.cell.revision, func(revision uint64, err error) {
		l.e.metrics.storeSeconds.Observe(time.Since(started).Seconds())
		s.revision, s.err = revision, err
		l.postStored(s)
	})
}

func (l *loop) postStored(s stored) {
	s.at = time.Now()
	l.doneMu.Lock()
	l.dones = append(l.dones, s)
	l.doneMu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// storedOne goes on where the store answered.
func (l *loop) storedOne(s stored) {
	switch {
	case s.again:
		l.put(stored{cell: s.cell, member: s.member, next: s.next, event: s.event, effects: s.effects, done: s.done, data: s.data, failed: s.failed})
		return
	case errors.Is(s.err, ErrConflict):
		l.settle(&s)
		l.reload(s)
		return
	case s.err != nil:
		l.e.metrics.storeFailures.Inc()
		l.e.complaint.failed(s.member, s.err, !s.failed)
		s.again, s.failed = true, true
		l.postLater(s)
		return
	}
	l.settle(&s)
	l.e.underWay.Add(-1)
	s.cell.revision = s.revision
	s.cell.storing = false
	l.commit(s.cell, s.member, s.next, s.effects, s.event)
	if s.done != nil {
		s.done()
	}
	l.resume(s.cell)
}

// settle ends what is complained of about a record.
func (l *loop) settle(s *stored) {
	if s.failed {
		s.failed = false
		l.e.complaint.settled()
	}
}

// postLater hands an answer of the store on after a pause.
func (l *loop) postLater(s stored) {
	l.e.request(func(ctx context.Context) {
		timer := time.NewTimer(storeRetry)
		defer timer.Stop()
		select {
		case <-timer.C:
			l.postStored(s)
		case <-ctx.Done():
		}
	})
}

// reload is the answer to a failed compare-and-set: somebody else wrote. Their record is read from the leader
// and the event folded again; nothing is acknowledged before that succeeded.
func (l *loop) reload(s stored) {
	l.e.metrics.conflicts.Inc()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.e.runContext()), 5*time.Second)
	defer cancel()
	err := l.confirm(ctx, s.at)
	if errors.Is(err, ErrNotOwner) {
		// Two owners must not fight: whoever may not write stops where it is, and is about to be stopped.
		l.e.log.Warn("another replica runs the account: nothing more is folded here", "member", s.member)
		l.e.underWay.Add(-1)
		return
	}
	var data []byte
	var revision uint64
	if err == nil {
		data, revision, err = l.e.cfg.Store.Get(ctx, s.member)
	}
	rec := NewRecord(s.member, l.e.rules.Load())
	switch {
	case errors.Is(err, ErrNotFound):
		revision = 0
	case err == nil:
		rec, err = decodeRecord(data)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		l.e.log.Warn("record could not be read again, trying again", "member", s.member, "error", err)
		s.err = ErrConflict
		l.postLater(s)
		return
	}
	l.e.underWay.Add(-1)
	c := s.cell
	rec.carryVolatile(&c.rec)
	l.e.changed(&c.rec, &rec)
	l.mu.Lock()
	c.rec = rec
	l.mu.Unlock()
	c.revision, c.storing = revision, false
	again := append([]envelope{{member: s.member, event: Recovered{}}}, l.e.introduction(s.member)...)
	if _, ok := s.event.(Recovered); ok {
		again[0].done = s.done
	} else {
		again = append(again, envelope{member: s.member, event: s.event, done: s.done})
	}
	c.waiting = append(again, c.waiting...)
	l.resume(c)
}

// carryVolatile lets the epochs go on from those of the record that this one takes the place of: answers to its
// requests may be under way.
func (r *Record) carryVolatile(old *Record) {
	r.Teams.epoch = old.Teams.epoch + 1
	for i := range r.Endpoints {
		if was := old.Endpoint(r.Endpoints[i].ID); was != nil {
			r.Endpoints[i].epoch, r.Endpoints[i].mark = was.epoch+1, was.mark
		}
	}
}

// resume folds what waited behind a store.
func (l *loop) resume(c *cell) {
	for len(c.waiting) > 0 && !c.storing {
		env := c.waiting[0]
		c.waiting = c.waiting[1:]
		if l.e.ending.Load() && !foldsAtEnd(env.event) {
			continue
		}
		if fired, ok := env.event.(TimerFired); ok && !c.rec.due(fired.Timer, time.Now()) {
			continue // set anew by what was stored meanwhile
		}
		l.step(c, env)
	}
	if len(c.waiting) == 0 {
		c.waiting = nil
		if c.rec.Wiped && !c.storing { // it could not go while something waited
			l.forget(c, c.rec.Member)
		}
	}
}

// commit makes the new record the present one, and lets its effects go.
func (l *loop) commit(c *cell, member string, next Record, effects []Effect, ev Event) {
	was := c.rec
	l.mu.Lock()
	c.rec = next
	waiters := c.settled
	if len(waiters) > 0 && next.Settled() {
		c.settled = nil
	} else {
		waiters = nil
	}
	l.mu.Unlock()
	for _, w := range waiters {
		close(w)
	}
	l.schedule(c, member)
	l.e.changed(&was, &next)
	l.e.published(member, &was, &next, ev, effects)
	if lostEndpoint(&was, &next) {
		l.e.endpointsReleased(member, &was, &next)
	}
	for _, eff := range effects {
		l.carryOut(c, member, eff)
	}
}

// lostEndpoint tells whether an endpoint of was is not in next.
func lostEndpoint(was, next *Record) bool {
	for i := range was.Endpoints {
		if id := was.Endpoints[i].ID; (i >= len(next.Endpoints) || next.Endpoints[i].ID != id) && next.Endpoint(id) == nil {
			return true
		}
	}
	return false
}

// Settled tells whether nothing is under way or owed that could still change what shows.
func (r *Record) Settled() bool {
	t := &r.Teams
	if t.Write != nil || t.ReadOwed || t.Purge || !t.Timers.Settle.IsZero() || slices.Contains(t.Because, ReasonPaced) {
		return false
	}
	for i := range r.Endpoints {
		ep := &r.Endpoints[i]
		if ep.Write != nil || (ep.ReadOwed && ep.Seen) || !ep.Timers.Settle.IsZero() || !ep.Timers.Hold.IsZero() || !ep.Timers.Linger.IsZero() ||
			slices.Contains(ep.Because, ReasonPaced) {
			return false
		}
	}
	return true
}

// schedule puts the member's next timer into the heap, unless an earlier entry will look anyway.
func (l *loop) schedule(c *cell, member string) {
	_, due, ok := c.rec.NextTimer()
	if !ok || (!c.due.IsZero() && !due.Before(c.due)) {
		return
	}
	c.due = due
	heap.Push(&l.heap, timerEntry{due: due, member: member})
}

// fireTimers hands every due timer to its member, one event a timer.
func (l *loop) fireTimers() {
	now := time.Now()
	for len(l.heap) > 0 && !l.heap[0].due.After(now) {
		if l.e.ending.Load() { // timers are for the next owner; one that is not folded would be due again at once
			l.heap = nil
			return
		}
		entry, _ := heap.Pop(&l.heap).(timerEntry)
		c := l.cells[entry.member]
		if c == nil || !c.due.Equal(entry.due) {
			continue // an earlier entry took its place
		}
		c.due = time.Time{}
		if ref, due, ok := c.rec.NextTimer(); ok && !due.After(now) {
			l.handle(envelope{member: entry.member, event: TimerFired{Timer: ref}})
		}
		if c.due.IsZero() && !c.storing {
			l.schedule(c, entry.member)
		}
	}
}

type timerEntry struct {
	due    time.Time
	member string
}

// timerHeap is a min-heap by time.
type timerHeap []timerEntry

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	if e, ok := x.(timerEntry); ok {
		*h = append(*h, e)
	}
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	old := *h
	n := len(old)
	x := old[n-1]
	*h = old[:n-1]
	return x
}

func decodeRecord(data []byte) (Record, error) {
	var r Record
	err := json.Unmarshal(data, &r)
	return r, err
}
