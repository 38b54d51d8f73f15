package monitors

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// gaps is the longest time between two reads of each member from the given time on.
func (w *world) gaps(from, to time.Time) map[string]time.Duration {
	last := map[string]time.Time{}
	most := map[string]time.Duration{}
	w.graph.mu.Lock()
	defer w.graph.mu.Unlock()
	for i, at := range w.graph.readAt {
		if at.Before(from) {
			continue
		}
		for _, id := range w.graph.reads[i] {
			prev, seen := last[id]
			if !seen {
				prev = from
			}
			most[id] = max(most[id], at.Sub(prev))
			last[id] = at
		}
	}
	for id, at := range last {
		most[id] = max(most[id], to.Sub(at))
	}
	return most
}

func TestEverybodyIsReadInTime(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 3000))
		w.authorize(0)
		w.pass(2 * time.Minute)
		from, calls := time.Now(), w.graph.count("presences")
		w.pass(10 * time.Minute)
		gaps := w.gaps(from, time.Now())
		require.Len(t, gaps, 3000)
		for i := range 3000 {
			limit := 15 * time.Second // polled
			if i < 650 {
				limit = time.Minute
			}
			require.LessOrEqual(t, gaps[id(i)], limit, i)
		}
		// 1 call per sweep of the pushed, 4 per round of the polled, 10 % sooner than they have to.
		require.LessOrEqual(t, w.graph.count("presences")-calls, (10*60/54+1)+4*(10*60*10/135+1))
		w.graph.with(func() {
			for _, r := range w.graph.reads {
				require.LessOrEqual(t, len(r), 650)
			}
		})
		require.Empty(t, w.sink.told())
	})
}

func TestSweepIsSpreadEvenly(t *testing.T) {
	bubble(t, 0, func(t *testing.T, w *world) {
		w.cfg.NoSubscriptions = true
		w.start()
		w.m.SetMembers(people(0, 6500))
		w.pass(5 * time.Minute)
		var at []time.Time
		w.graph.with(func() { at = w.graph.readAt })
		for i := 5; i < len(at); i++ {
			require.InDelta(t, 1.35, at[i].Sub(at[i-1]).Seconds(), 0.1)
		}
		require.Equal(t, WhyNoSubscriptions, w.cover(0).Why)
		require.Zero(t, w.graph.count("create"))
		require.Contains(t, w.logs.String(), "every member is polled")
	})
}

func TestSlowReadsRunBesideOneAnother(t *testing.T) {
	bubble(t, 0, func(t *testing.T, w *world) {
		w.cfg.NoSubscriptions = true
		w.graph.wait = 5 * time.Second
		w.start()
		w.m.SetMembers(people(0, 6500))
		w.pass(time.Minute)
		from := time.Now()
		w.pass(5 * time.Minute)
		for _, gap := range w.gaps(from, time.Now()) {
			require.LessOrEqual(t, gap, 15*time.Second)
		}
	})
}

func TestSweepFailures(t *testing.T) {
	bubble(t, 0, func(t *testing.T, w *world) {
		w.cfg.NoSubscriptions = true
		w.start()
		w.m.SetMembers(people(0, 2000))
		w.pass(time.Minute)
		w.graph.fail("presences", fault{times: 6, err: errNet})
		from := time.Now()
		w.pass(time.Minute)
		for _, gap := range w.gaps(from, time.Now()) {
			require.LessOrEqual(t, gap, time.Minute)
		}
		require.Equal(t, 6, int(testutil.ToFloat64(w.m.metrics.sweeps.WithLabelValues("transient"))))
		begun, ok := w.sink.begins(), int(testutil.ToFloat64(w.m.metrics.sweeps.WithLabelValues("ok")))
		require.Equal(t, begun, ok+6, "each read began, a failed one has no end")

		// Throttled: as long as Graph says.
		w.graph.fail("presences", fault{times: 1, err: &CallError{Kind: Throttled, RetryAfter: 30 * time.Second, Err: errors.New("429")}})
		n := w.graph.count("presences")
		w.pass(25 * time.Second)
		require.LessOrEqual(t, w.graph.count("presences"), n+3)
		w.pass(time.Minute)
		require.Greater(t, w.graph.count("presences"), n+10)
	})
}

func TestAnOutageIsReportedOnceAndIsNoStorm(t *testing.T) {
	bubble(t, 0, func(t *testing.T, w *world) {
		w.cfg.NoSubscriptions = true
		w.start()
		w.m.SetMembers(people(0, 1300))
		w.pass(time.Minute)
		w.graph.fail("presences", fault{times: 1 << 30, err: errNet})
		n := w.graph.count("presences")
		w.pass(30 * time.Minute)
		require.LessOrEqual(t, w.graph.count("presences")-n, 30*60/10, "one try each pause")
		var told []string
		for _, ids := range w.sink.told() {
			told = append(told, ids...)
		}
		slices.Sort(told)
		require.Equal(t, ids(0, 1300), told, "each once")
		w.graph.fail("presences", fault{})
		w.pass(30 * time.Second)
		n = w.graph.count("presences")
		w.pass(time.Minute)
		require.LessOrEqual(t, w.graph.count("presences")-n, 12)
		require.Less(t, time.Since(w.cover(7).Confirmed), 16*time.Second)
		// And again after it was seen.
		w.graph.with(func() { w.graph.hidden[id(7)] = true })
		w.pass(6 * time.Minute)
		require.Equal(t, []string{id(7)}, w.sink.told()[len(w.sink.told())-1])
	})
}

func TestWhoGraphLeavesOutIsUnseen(t *testing.T) {
	bubble(t, 0, func(t *testing.T, w *world) {
		w.cfg.NoSubscriptions = true
		w.graph.with(func() { w.graph.hidden[id(3)] = true })
		w.graph.with(func() { w.graph.hidden[id(4)] = true })
		w.start()
		w.m.SetMembers(people(0, 10))
		w.pass(4 * time.Minute)
		w.m.Heard("", []string{id(4), "stranger"}, time.Now()) // a push counts
		w.pass(2 * time.Minute)
		require.Equal(t, [][]string{{id(3)}}, w.sink.told())
		require.True(t, w.cover(3).Confirmed.IsZero())
		require.False(t, w.cover(4).Confirmed.IsZero())
		w.pass(10 * time.Minute)
		require.Equal(t, [][]string{{id(3)}, {id(4)}}, w.sink.told())
		// A joiner has a lease's time too.
		w.graph.with(func() { w.graph.hidden[id(10)] = true })
		w.m.SetMembers(people(0, 11))
		w.pass(4 * time.Minute)
		require.Len(t, w.sink.told(), 2)
		w.pass(2 * time.Minute)
		require.Equal(t, [][]string{{id(3)}, {id(4)}, {id(10)}}, w.sink.told())
	})
}

func TestARefusedMemberCostsNobodyElse(t *testing.T) {
	bubble(t, 0, func(t *testing.T, w *world) {
		w.cfg.NoSubscriptions = true
		w.graph.with(func() { w.graph.refuse[id(321)] = true })
		w.start()
		w.m.SetMembers(people(0, 1300))
		w.pass(2 * time.Minute)
		for _, i := range []int{0, 320, 322, 649, 650, 1299} {
			require.Less(t, time.Since(w.cover(i).Confirmed), 30*time.Second, i)
		}
		require.True(t, w.cover(321).Confirmed.IsZero())

		// All refused: it is not about one of them, and no storm.
		for i := range 1300 {
			w.graph.with(func() { w.graph.refuse[id(i)] = true })
		}
		n := w.graph.count("presences")
		w.pass(10 * time.Minute)
		require.Less(t, w.graph.count("presences")-n, 200)
	})
}

func TestMembershipChangesKeepTheRound(t *testing.T) {
	bubble(t, 0, func(t *testing.T, w *world) {
		w.cfg.NoSubscriptions = true
		w.start()
		from := time.Now()
		for i := range 60 {
			w.m.SetMembers(append(people(0, 3000), people(5000+i, 200)...))
			w.pass(5 * time.Second)
		}
		gaps := w.gaps(from, time.Now())
		for i := range 3000 {
			require.LessOrEqual(t, gaps[id(i)], 15*time.Second, i)
		}
	})
}

// 100,000 members with 154 monitors: a sweep is 154 reads, and what is kept per member is small.
func TestManyMembers(t *testing.T) {
	bubble(t, 154, func(t *testing.T, w *world) {
		w.start()
		for i := range 154 {
			w.authorize(i)
		}
		members := people(0, 100_000)
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w.m.SetMembers(members)
		w.pass(2 * time.Minute)
		require.Equal(t, 100_000, w.m.Sums().ByCoverage["pushed"])
		require.Equal(t, 154, w.m.Sums().MonitorsNeeded)
		require.Equal(t, 154, w.graph.count("create"))
		w.pass(time.Minute)
		n := w.graph.count("presences")
		w.pass(54 * time.Second)
		require.InDelta(t, 154, w.graph.count("presences")-n, 1)
		w.graph.mu.Lock()
		w.graph.reads, w.graph.readAt = nil, nil
		w.graph.mu.Unlock()
		w.sink.mu.Lock()
		w.sink.swept, w.sink.owed = nil, nil
		w.sink.mu.Unlock()
		runtime.GC()
		runtime.ReadMemStats(&after)
		perMember := (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / 100_000
		t.Logf("%.0f bytes per member, the fake Graph and store included", perMember)
		require.Less(t, perMember, 700.0)
	})
}

// TestWhoChangesListsIsReadInTime has members become pushed one monitor after the other, and polled again: nobody falls
// between the two rounds.
func TestWhoChangesListsIsReadInTime(t *testing.T) {
	bubble(t, 8, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5000))
		w.pass(time.Minute)
		from := time.Now()
		for i := range 8 {
			w.authorize(i)
			w.pass(7 * time.Second)
		}
		require.Equal(t, 5000, w.m.Sums().ByCoverage["pushed"])
		w.pass(2 * time.Minute)
		w.graph.with(func() { clear(w.graph.tokens) })
		for i := range 8 {
			w.graph.kill(owner(i))
		}
		w.pass(40 * time.Minute)
		gaps := w.gaps(from, time.Now())
		require.Len(t, gaps, 5000)
		for i := range 5000 {
			require.LessOrEqual(t, gaps[id(i)], time.Minute, i)
		}
	})
}
