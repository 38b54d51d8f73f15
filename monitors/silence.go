package monitors

import (
	"slices"
	"time"

	"presencebridge/bridge/presence"
)

// A subscription can die without a word: it is still listed and renewed, but delivers nothing
// (msteams-docs#11452), and Graph sends no event about it for presence
// (learn:change-notifications-lifecycle-events). The sweep finds out: a member whose presence
// changed between two reads must have been pushed. If the push has not come within Graph's own
// latency, that is a miss.
//
// One miss is proof when the subscription has delivered nothing at all since the read that showed it:
// then it is made anew. What it delivered before that read may have been before its death. Single
// misses beside pushes that do come are Graph losing one; only many of them condemn the subscription.
// So a healthy but slow one stays.

const (
	// pushLatency is Graph's greatest delay of a presence notification
	// (learn:change-notifications-overview: average under 10 s, at most 1 min).
	pushLatency = time.Minute
	// readLag is how far behind a read may be: a push shortly before the earlier read may be about
	// the change that only the later one shows.
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

// suspect is a change that the sweep saw and no push told.
type suspect struct {
	id    string
	since time.Time // of the earlier read
	due   time.Time // when it counts as a miss
}

// hearing is what a monitor's subscription delivers. Guarded by monitor.mu.
type hearing struct {
	last   time.Time // last notification
	window time.Time // begin of the present window
	pushes int       // in it
	misses int       // in it
	silent bool      // to be made anew
	until  time.Time // not made anew for that reason before
	pause  time.Duration
}

// pairID numbers pairs, so that the last one fits into a sighting; 0: not known. mu is held.
func (s *sweeper) pairID(p presence.Pair) uint16 {
	if n, known := s.pairs[p]; known {
		return n
	}
	if len(s.pairs) >= 1<<16-1 {
		return 0
	}
	n := uint16(len(s.pairs) + 1) // bounded above
	s.pairs[p] = n
	return n
}

// suspectChange notes a change that was not pushed so far. mu is held.
func (s *sweeper) suspectChange(id string, old, now sighting, at time.Time) {
	if old.pair == 0 || now.pair == 0 || old.pair == now.pair {
		return
	}
	since := s.time(old.swept)
	if old.heard != 0 && s.time(old.heard).After(since.Add(-readLag)) {
		return
	}
	s.suspects = append(s.suspects, suspect{id: id, since: since, due: at.Add(pushLatency)})
}

// judge counts the suspects whose time has come.
func (s *sweeper) judge(now time.Time) {
	s.mu.Lock()
	n := slices.IndexFunc(s.suspects, func(x suspect) bool { return now.Before(x.due) })
	if n < 0 {
		n = len(s.suspects)
	}
	due := slices.Clone(s.suspects[:n])
	s.suspects = slices.Delete(s.suspects, 0, n)
	due = slices.DeleteFunc(due, func(x suspect) bool {
		seen, known := s.seen[x.id]
		return !known || seen.heard != 0 && s.time(seen.heard).After(x.since.Add(-readLag))
	})
	s.mu.Unlock()
	for _, x := range due {
		s.m.missed(x, now)
	}
}

// missed notes a push that never came.
func (m *Manager) missed(x suspect, now time.Time) {
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
func (mo *monitor) missed(x suspect, now time.Time) {
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
	dead := h.last.Before(x.due.Add(-pushLatency))
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

// hears notes a notification.
func (mo *monitor) hears(items int, at time.Time) {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	mo.hearing.roll(at)
	mo.hearing.pushes += items
	if at.After(mo.hearing.last) {
		mo.hearing.last = at
	}
}
