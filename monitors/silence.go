package monitors

import (
	"slices"
	"strings"
	"time"

	"presencebridge/bridge/presence"
)

// A subscription can die without a word: it is still listed and renewed, but delivers nothing
// (msteams-docs#11452), and Graph sends no event about it for presence
// (learn:change-notifications-lifecycle-events). The sweep finds out: what a read shows must have been told, by the
// read before it or by a push since. If it was not, and the push does not come within Graph's own latency either,
// that is a miss.
//
// One miss is proof when nothing shows that the subscription was alive after the read: then it is made anew. A push
// that comes later is not enough, it may have been on its way for a minute; it must tell something that
// happened after that read, which it does where the member was read since and showed something else. Single
// misses beside such pushes are Graph losing one; only many of them condemn the subscription. So a healthy but slow
// one stays.

const (
	// pushLatency is Graph's greatest delay of a presence notification
	// (learn:change-notifications-overview: average under 10 s, at most 1 min).
	pushLatency = time.Minute
	// readLag is how far behind a read may be: one shortly after a push may show what was before.
	readLag = 10 * time.Second
	// missWindow and the two after it: from three misses on, if they are a tenth of the pushes.
	missWindow  = 10 * time.Minute
	missesLeast = 3
	missesShare = 0.1
	// silencePause is the least time between two subscriptions made anew for that reason; it doubles
	// while making them anew brings no push either.
	silencePause    = 10 * time.Minute
	silencePauseMax = 4 * time.Hour
)

// suspect is something that the sweep saw and nobody had told.
type suspect struct {
	id    string
	shows uint16    // availability, by number
	heard uint32    // the member's last push before
	since time.Time // when the member was last known otherwise: by a read or by a push
	read  time.Time // begin of the read that showed it
	told  bool      // a push has said so since
}

// hearing is what a monitor's subscription delivers. Guarded by monitor.mu.
type hearing struct {
	last   time.Time // last notification
	life   time.Time // the subscription was alive at that time at least
	window time.Time // begin of the present window
	pushes int       // in it
	misses int       // in it
	silent bool      // to be made anew
	until  time.Time // not made anew for that reason before
	pause  time.Duration
	remade Remade
}

// Remade says when and why a subscription was last made anew because it swallowed notifications.
type Remade struct {
	At     time.Time `json:"at,omitzero"`
	Misses int       `json:"misses,omitempty"` // in the ten minutes before
	// Dead: nothing at all came through it; otherwise it lost too many of them.
	Dead bool `json:"dead,omitempty"`
}

// Push is what a notification says about a member. A pair of zero is one that says nothing but that something changed.
type Push struct {
	ID   string
	Pair presence.Pair
}

// pairID numbers pairs, so that the last one fits into a sighting; 0: not known. mu is held.
func (s *sweeper) pairID(p presence.Pair) uint16 {
	if n, known := s.pairs[p]; known {
		return n
	}
	if p.IsZero() || len(s.pairs) >= 1<<16-1 {
		return 0
	}
	n := uint16(len(s.pairs) + 1) // bounded above
	s.pairs[p] = n
	return n
}

// availability numbers what a pair is compared by with what was told another way: Graph's documents disagree about the
// activities, and about the idle kinds. mu is held.
func (s *sweeper) availability(p presence.Pair) uint16 {
	return s.pairID(presence.Pair{Availability: strings.TrimSuffix(p.Availability, "Idle")})
}

// compare notes what nobody has told so far, and returns what is to be kept of the read that shows it. mu is held.
func (s *sweeper) compare(id string, old, now sighting, at time.Time) sighting {
	x := suspect{id: id, shows: now.shown, heard: old.heard, read: at}
	switch {
	case now.pair == 0 || now.shown == 0:
		return now
	case old.heard != 0 && old.heard >= old.swept: // a push was last
		if old.told == 0 || old.told == now.shown {
			return now
		}
		x.since = s.time(old.heard)
		if at.Before(x.since.Add(readLag)) { // it may lag behind the push
			s.readAgain(id, at.Add(readLag))
			now.pair, now.shown, now.swept = old.pair, old.shown, old.swept
			return now
		}
	case old.pair == 0 || old.pair == now.pair:
		return now
	default: // a read was last
		x.since = s.time(old.swept)
		just := old.heard != 0 && s.time(old.heard).After(x.since.Add(-readLag))
		if just && (old.told == 0 || old.told == now.shown) {
			return now // that read may have lagged behind the push
		}
	}
	s.suspects = append(s.suspects, &x)
	s.suspected[id] = append(s.suspected[id], &x)
	return now
}

// told takes a push, and returns a time at which the subscription that it came through was alive for certain; zero if it
// proves nothing. mu is held.
func (s *sweeper) told(p Push, at time.Time) (life time.Time) {
	old, known := s.seen[p.ID]
	if !known {
		return time.Time{}
	}
	now := old
	now.at, now.heard = max(s.second(at), old.at), max(1, s.second(at), old.heard)
	now.told, now.unseen, now.never = s.availability(p.Pair), false, false
	s.seen[p.ID] = now
	owed := false // what the last read showed has not been told: this may be about what was before
	for _, x := range s.suspected[p.ID] {
		owed = owed || !x.told
		x.told = x.told || now.told == 0 || now.told == x.shows
	}
	switch {
	case now.told == 0 || old.shown == 0:
		return at
	case owed:
	case now.told != old.shown, old.heard >= old.swept && old.told != now.told:
		return s.time(old.swept).Add(-readLag) // it changed after that read
	}
	return time.Time{}
}

// judge counts the suspects whose time has come.
func (s *sweeper) judge(now time.Time) {
	s.mu.Lock()
	// What has arrived may wait for its turn, after an outage of the bus or on a machine under load: that is not Graph's doing.
	patience := s.m.cfg.PushLatency + s.behind
	n := slices.IndexFunc(s.suspects, func(x *suspect) bool { return now.Before(x.read.Add(patience)) })
	if n < 0 {
		n = len(s.suspects)
	}
	due := slices.Clone(s.suspects[:n])
	s.suspects = slices.Delete(s.suspects, 0, n)
	due = slices.DeleteFunc(due, func(x *suspect) bool { return !s.guilty(x) })
	s.mu.Unlock()
	for _, x := range due {
		s.m.missed(x, now)
	}
}

// guilty tells whether a suspect is a miss, when its time has come, and forgets it. mu is held.
func (s *sweeper) guilty(x *suspect) bool {
	others := slices.DeleteFunc(s.suspected[x.id], func(y *suspect) bool { return x == y })
	if s.suspected[x.id] = others; len(others) == 0 {
		delete(s.suspected, x.id)
	}
	seen, known := s.seen[x.id]
	overtaken := seen.heard > x.heard && seen.told == seen.shown // by the next change; it may never be told then
	return known && !x.told && !overtaken
}

// missed notes a push that never came.
func (m *Manager) missed(x *suspect, now time.Time) {
	m.mu.Lock()
	mo := m.lastPlan.place[x.id]
	m.mu.Unlock()
	if mo == nil {
		return
	}
	if _, live := mo.live(now); !isWatched(live, x.id) {
		return
	}
	mo.missed(x, now)
}

func isWatched(sorted []string, id string) bool {
	_, found := slices.BinarySearch(sorted, id)
	return found
}

// missed decides what a miss means for the subscription.
func (mo *monitor) missed(x *suspect, now time.Time) {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	sub := mo.rec.Subscription
	if sub == nil || sub.Created.After(x.since) {
		return // the push was another subscription's to send
	}
	h := &mo.hearing
	mo.m.metrics.misses.Inc()
	h.roll(now)
	h.misses++
	dead := h.life.Before(x.read)
	lossy := h.misses >= missesLeast && float64(h.misses) >= missesShare*float64(h.misses+h.pushes)
	if h.silent || !dead && !lossy || now.Before(h.until) {
		return
	}
	if h.pause == 0 || h.last.After(sub.Created) {
		h.pause = silencePause // it did deliver at first
	} else {
		h.pause = min(2*h.pause, silencePauseMax)
	}
	h.until = now.Add(h.pause)
	h.silent = true
	h.remade = Remade{At: now, Misses: h.misses, Dead: dead}
	mo.m.metrics.silences.Inc()
	mo.m.log.Warn("subscription swallows notifications, it is made anew", "monitor", mo.id, "shard", mo.rec.Shard,
		"misses", h.misses, "dead", dead, "not_again_before", h.until)
	mo.wake()
}

// roll begins a new window when the present one is over.
func (h *hearing) roll(now time.Time) {
	if now.Sub(h.window) >= missWindow {
		h.window, h.pushes, h.misses = now, 0, 0
	}
}

// hears notes a notification, and since when it proves that the subscription was alive.
func (mo *monitor) hears(items int, at, life time.Time) {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	h := &mo.hearing
	h.roll(at)
	h.pushes += items
	h.last, h.life = later(h.last, at), later(h.life, life)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
