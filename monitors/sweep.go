package monitors

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"presencebridge/bridge/presence"
	"presencebridge/monitors/shard"
)

const (
	// sweepMargin is the part of an interval within which a round of reads is spread; the rest is for
	// their latency and for repeating those that failed.
	sweepMargin    = 0.9
	sweepPause     = 500 * time.Millisecond
	longestSweep   = 15 * time.Second
	sweepAttempts  = 3 // of one batch in a row, before the others' turn comes
	sweepParallel  = 8
	sweepRefusals  = 12          // in a row: more than looking for one id among 650 can give
	listsAtMost    = time.Second // how often the lists are re-computed
	readAtMost     = shard.Max   // ids of one getPresencesByUserId
	leaseChecks    = 10          // per lease
	sightingSecond = time.Second // resolution of what is kept per member
)

// sweeper reads everybody, round by round, app-only. It bounds how stale a member can get, covers those
// whom no subscription does, and notices who is not seen any more.
//
// One goroutine plans (run); reads run beside it, at most sweepParallel.
type sweeper struct {
	m     *Manager
	log   *slog.Logger
	rings [2]*ring // pushed, polled: only run uses them

	failures   int       // in a row, over all batches; only run uses it
	pauseUntil time.Time // only run uses it

	start time.Time

	mu        sync.Mutex
	seen      map[string]sighting
	pairs     map[presence.Pair]uint16 // numbers of the pairs in seen
	suspects  []*suspect               // in the order of their reads
	suspected map[string][]*suspect    // the same, by member
	doubtful  map[string]bool          // to be read once more
	doubtsDue time.Time                // when; not set while nobody is
	behind    time.Duration            // how long ago what was last told had arrived
}

// sighting is small, since there is one for each member.
type sighting struct {
	at     uint32 // seconds after sweeper.start of the last confirmation, or of the joining
	swept  uint32 // the same of the last read
	asked  uint32 // the same of the last read that was tried
	heard  uint32 // the same of the last push; 0: none
	pair   uint16 // what the last read showed; 0: no read yet
	shown  uint16 // the availability of that
	told   uint16 // the availability that the last push told; 0: not known
	unseen bool   // reported as unseen since
	never  bool   // not confirmed since joining
}

// ring is a list that is read round and round.
type ring struct {
	interval time.Duration
	ids      []string // sorted
	asked    []uint32 // when each was last read, or tried to be, in seconds after sweeper.start; 0: never
	due      time.Time
	oldest   uint32 // of asked, apart from 0; 0: nobody was asked for
	retries  []batch
}

// batch is one read.
type batch struct {
	ids      []string
	attempts int
	ring     *ring
}

// readResult is how a read ended.
type readResult struct {
	batch batch
	err   error
}

func newSweeper(m *Manager) *sweeper {
	return &sweeper{
		m: m, log: m.log, start: time.Now(), seen: map[string]sighting{}, pairs: map[presence.Pair]uint16{},
		suspected: map[string][]*suspect{}, doubtful: map[string]bool{},
		rings: [2]*ring{{interval: m.cfg.SweepInterval}, {interval: m.cfg.PolledInterval}},
	}
}

// run sweeps until ctx ends, then waits for the reads under way.
func (s *sweeper) run(ctx context.Context) error {
	results := make(chan readResult)
	under := 0
	defer func() {
		for ; under > 0; under-- {
			<-results
		}
	}()
	var version uint64
	var listed, checked time.Time
	for first := true; ; first = false {
		now := time.Now()
		if v := s.m.version.Load(); first || v != version && now.Sub(listed) >= listsAtMost {
			version, listed = v, now
			s.take(now)
		}
		if now.Sub(checked) >= s.m.cfg.Lease/leaseChecks {
			checked = now
			s.reportUnseen(now)
		}
		s.judge(now)
		wake, limit := s.next(now), sweepParallel
		if s.failures > 0 {
			limit = 1 // until one succeeds: an outage is no storm
		}
		if under < limit && !now.Before(wake) {
			b := s.pick(now)
			under++
			go func() { results <- readResult{batch: b, err: s.read(ctx, b.ids)} }()
			continue
		}
		if under >= limit {
			wake = now.Add(s.m.cfg.Lease / leaseChecks) // a result comes first
		}
		wake = earliest(wake, checked.Add(s.m.cfg.Lease/leaseChecks), now.Add(listsAtMost))
		t := time.NewTimer(wake.Sub(now))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case r := <-results:
			under--
			if ctx.Err() == nil {
				s.result(r, time.Now())
			}
		case <-t.C:
		}
		t.Stop()
	}
}

// take brings the lists up to date. A member's turn comes when it would have come on the list where it was before.
func (s *sweeper) take(now time.Time) {
	pushed, polled := s.m.sweepLists()
	for i, ids := range [][]string{pushed, polled} {
		r := s.rings[i]
		if len(r.ids) == 0 {
			r.due = now
		}
		r.ids = ids
		r.due = earliest(r.due, now.Add(r.step()))
		r.retries = slices.DeleteFunc(r.retries, func(b batch) bool { return !holdsAny(ids, b.ids) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.second(now)
	before := s.seen
	s.seen = make(map[string]sighting, len(pushed)+len(polled))
	for _, r := range s.rings {
		r.asked = make([]uint32, len(r.ids))
		for i, id := range r.ids {
			old, known := before[id]
			if !known {
				old = sighting{at: at, never: true}
			}
			s.seen[id], r.asked[i] = old, old.asked
		}
		r.noteOldest()
	}
}

func holdsAny(sorted, ids []string) bool {
	return slices.ContainsFunc(ids, func(id string) bool {
		_, found := slices.BinarySearch(sorted, id)
		return found
	})
}

// step is the time from one read of a round to the next.
func (r *ring) step() time.Duration {
	n := max(1, shard.Need(len(r.ids)))
	return time.Duration(float64(r.interval) * sweepMargin / float64(n))
}

// next is when the next read is due; zero if nobody is to be read.
func (s *sweeper) next(now time.Time) time.Time {
	s.mu.Lock()
	due := s.doubtsDue
	s.mu.Unlock()
	for _, r := range s.rings {
		if len(r.ids) == 0 {
			continue
		}
		due = earliest(due, s.turnDue(r, now))
		if len(r.retries) > 0 {
			due = earliest(due, now)
		}
	}
	if due.IsZero() {
		return now.Add(s.m.cfg.Lease / leaseChecks)
	}
	if due.Before(s.pauseUntil) {
		return s.pauseUntil
	}
	return due
}

// pick takes the batch whose turn it is: first what failed, then the ring that is due.
func (s *sweeper) pick(now time.Time) batch {
	for _, r := range s.rings {
		if len(r.retries) > 0 {
			b := r.retries[0]
			r.retries = r.retries[1:]
			return b
		}
	}
	if ids := s.doubts(now); len(ids) > 0 {
		return batch{ids: ids, ring: s.rings[0]}
	}
	r := s.rings[0]
	if other := s.rings[1]; len(r.ids) == 0 || len(other.ids) > 0 && s.turnDue(other, now).Before(s.turnDue(r, now)) {
		r = other
	}
	// What could not be read in time (an outage, a suspended machine) is not caught up with: the next
	// round reads everybody anyway.
	r.due = r.due.Add(r.step())
	if r.due.Before(now) {
		r.due = now
	}
	return batch{ids: s.turn(r, now), ring: r}
}

// readAgain has a member read once more, out of turn, at that time at the latest. mu is held.
func (s *sweeper) readAgain(id string, at time.Time) {
	s.doubtful[id] = true
	if s.doubtsDue.IsZero() { // those that come meanwhile are read along with it
		s.doubtsDue = at
	}
}

// doubts are the members that are to be read once more now, at most as many as one read takes.
func (s *sweeper) doubts(now time.Time) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doubtsDue.IsZero() || now.Before(s.doubtsDue) {
		return nil
	}
	for id := range s.doubtful {
		if len(ids) == readAtMost {
			return ids
		}
		ids = append(ids, id)
		delete(s.doubtful, id)
	}
	s.doubtsDue = time.Time{}
	return ids
}

// turnDue is when the next read of a ring is due: evenly spread over the interval, and earlier where somebody would
// otherwise have to wait for longer than that, because others came to the list before them. After an outage everybody has;
// then it is the even spreading alone. To the second, so that the round itself is never early.
func (s *sweeper) turnDue(r *ring, now time.Time) time.Time {
	if r.oldest == 0 {
		return r.due
	}
	latest := s.time(r.oldest + 1).Add(time.Duration(float64(r.interval) * sweepMargin))
	if now.Sub(latest) > r.interval/4 {
		return r.due
	}
	return earliest(r.due, latest)
}

// noteOldest works out who of those that were read waits for the longest time.
func (r *ring) noteOldest() {
	r.oldest = 0
	for _, asked := range r.asked {
		if asked != 0 && (r.oldest == 0 || asked < r.oldest) {
			r.oldest = asked
		}
	}
}

// turn is whose turn it is: those who were not read for the longest time, at most readAtMost. So everybody's turn comes
// once in a round, whoever comes and goes and changes between the lists.
func (s *sweeper) turn(r *ring, now time.Time) []string {
	const oldest = 1 << 10 // seconds; those who wait for longer are alike
	var waiting [oldest + 1]int
	sec := max(1, s.second(now))
	age := func(i int) uint32 {
		if r.asked[i] == 0 {
			return oldest
		}
		return min(oldest, sec-r.asked[i])
	}
	for i := range r.ids {
		waiting[age(i)]++
	}
	room, least := min(readAtMost, len(r.ids)), uint32(oldest)
	for ; least > 0 && waiting[least] < room; least-- {
		room -= waiting[least]
	}
	out := make([]string, 0, readAtMost)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, id := range r.ids {
		switch a := age(i); {
		case a < least:
			continue
		case a == least:
			if room == 0 {
				continue
			}
			room--
		}
		r.asked[i] = sec
		out = append(out, id)
		x := s.seen[id]
		x.asked = sec
		s.seen[id] = x
	}
	r.noteOldest()
	return out
}

// read reads one batch and hands it on.
func (s *sweeper) read(ctx context.Context, ids []string) error {
	mark := s.m.cfg.Sink.BeginSweep(ids)
	began := time.Now()
	shown, err := s.m.cfg.Reads.Presences(ctx, ids)
	if err != nil {
		return err
	}
	s.m.metrics.sweepSeconds.Observe(time.Since(began).Seconds())
	s.m.cfg.Sink.Swept(mark, shown)
	s.confirm(shown, began)
	return nil
}

// result notes how a read went. A batch that failed is read again before the others, a few times; one
// that Graph refuses is halved until the id that it refuses is alone.
func (s *sweeper) result(r readResult, now time.Time) {
	if r.err == nil {
		s.m.metrics.sweeps.WithLabelValues("ok").Inc()
		s.failures, s.pauseUntil = 0, time.Time{}
		return
	}
	e := callError(r.err)
	s.m.metrics.sweeps.WithLabelValues(e.Kind.String()).Inc()
	b := r.batch
	s.failures++
	if (e.Kind == Refused || e.Kind == Gone) && aadsts(e.Code) == "" { // about the ids, not about the token
		s.refused(b, r.err, now)
		return
	}
	wait := max(backoff(s.failures, sweepPause, longestSweep), e.RetryAfter)
	s.pauseUntil = now.Add(wait)
	if b.attempts++; b.attempts < sweepAttempts {
		b.ring.retries = append(b.ring.retries, b)
	}
	s.log.Warn("a bulk read of presences failed", "error", r.err, "failures", s.failures, "retry_in", wait.String())
}

// refused halves a batch. If nothing but refusals comes back it is not about some of the ids: then that is
// given up, and reads pause as after any failure.
func (s *sweeper) refused(b batch, err error, now time.Time) {
	if s.failures > sweepRefusals {
		b.ring.retries = nil
		wait := backoff(s.failures-sweepRefusals, sweepPause, longestSweep)
		s.pauseUntil = now.Add(wait)
		s.log.Warn("bulk reads of presences are refused", "error", err, "failures", s.failures, "retry_in", wait.String())
		return
	}
	n := len(b.ids)
	if n <= 1 {
		s.log.Warn("a member's presence cannot be read", "error", err)
		return
	}
	b.ring.retries = append(b.ring.retries, batch{ids: b.ids[:n/2], ring: b.ring}, batch{ids: b.ids[n/2:], ring: b.ring})
}

func (s *sweeper) second(t time.Time) uint32 {
	return uint32(max(0, t.Sub(s.start)/sightingSecond)) // good for 136 years
}

// time is the inverse of second.
func (s *sweeper) time(second uint32) time.Time {
	return s.start.Add(time.Duration(second) * sightingSecond)
}

// confirm notes who was shown by a read that began at the given time.
func (s *sweeper) confirm(shown map[string]presence.Shown, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := s.second(at)
	for id, p := range shown {
		old, known := s.seen[id]
		if !known {
			continue
		}
		now := sighting{
			at: max(sec, old.at), swept: sec, asked: old.asked, heard: old.heard, told: old.told, pair: s.pairID(p.Pair), shown: s.availability(p.Pair),
		}
		if s.m.cfg.PushesReported {
			now = s.compare(id, old, now, at)
		}
		s.seen[id] = now
	}
}

// saw notes who was heard of by pushes, and returns the last time at which their subscription was alive for certain.
func (s *sweeper) saw(pushes []Push, at time.Time) (life time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind = max(0, time.Since(at))
	for _, p := range pushes {
		life = later(life, s.told(p, at))
	}
	return life
}

// confirmed is when a member was last confirmed, to the second; zero if never.
func (s *sweeper) confirmed(id string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seen, known := s.seen[id]; known && !seen.never {
		return s.time(seen.at)
	}
	return time.Time{}
}

// reportUnseen tells the sink who was not seen for a lease, once.
func (s *sweeper) reportUnseen(now time.Time) {
	s.mu.Lock()
	var ids []string
	lease := s.m.cfg.Lease
	for id, seen := range s.seen {
		if !seen.unseen && now.Sub(s.time(seen.at)) >= lease {
			seen.unseen = true
			s.seen[id] = seen
			ids = append(ids, id)
		}
	}
	s.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	s.m.metrics.unseen.Add(float64(len(ids)))
	s.log.Warn("members were not seen for a lease", "members", len(ids))
	s.m.cfg.Sink.TeamsUnseen(ids)
}

// staleness calls each with the age of every member's last confirmation.
func (s *sweeper) staleness(now time.Time, each func(age time.Duration, unseen bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seen := range s.seen {
		each(now.Sub(s.time(seen.at)), seen.unseen)
	}
}
