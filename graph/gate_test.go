package graph

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// testGates are the gates of the default budgets.
func testGates(t *testing.T, b Budgets) [classCount]*gate {
	t.Helper()
	b, err := b.withDefaults(CloudGlobal)
	require.NoError(t, err)
	m, err := newMetrics(nil, "contoso", "1")
	require.NoError(t, err)
	return newGates(b, m)
}

// queued is how many wait.
func (g *gate) queued() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waits
}

// passage is when a request of a lane got through.
type passage struct {
	lane int
	at   time.Duration
}

// passages sends n requests of each lane and returns when they got through, in order.
func passages(t *testing.T, g *gate, n []int, until time.Duration) []passage {
	var mu sync.Mutex
	var out []passage
	var wg sync.WaitGroup
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), until)
	defer cancel()
	for lane, count := range n {
		for range count {
			wg.Go(func() {
				if _, err := g.acquire(ctx, lane); err == nil {
					mu.Lock()
					out = append(out, passage{lane, time.Since(start)})
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	return out
}

// busiest is the greatest number of passages in any window.
func busiest(list []passage, window time.Duration) (most int) {
	first := 0
	for i := range list {
		for list[i].at-list[first].at >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func countLane(list []passage, lane int) (n int) {
	for _, p := range list {
		if p.lane == lane {
			n++
		}
	}
	return n
}

func TestReadsKeepTheirBudgetAndShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGates(t, Budgets{})[classRead]
		all := passages(t, g, []int{laneConfirm: 700, laneNormal: 4000, laneSweep: 4000}, 60*time.Second)
		require.LessOrEqual(t, busiest(all, 30*time.Second), 1500)
		require.Greater(t, len(all), 2400, "the budget is made use of")
		require.Equal(t, 700, countLane(all, laneConfirm))
		sweep := countLane(all, laneSweep)
		require.LessOrEqual(t, sweep, 2*300)
		require.Greater(t, sweep, 250, "what is left for the sweep is its share")

		// The confirming reads went ahead of everything.
		last := time.Duration(0)
		for _, p := range all {
			if p.lane == laneConfirm {
				last = p.at
			}
		}
		before := 0
		for _, p := range all {
			if p.at < last && p.lane != laneConfirm {
				before++
			}
		}
		require.LessOrEqual(t, before, 75, "only what left in the first instant, before they had arrived")
	})
}

func TestConfirmingReadFindsItsShareWhileOthersFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGates(t, Budgets{})[classRead]
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for range 2000 {
			wg.Go(func() { _, _ = g.acquire(ctx, laneNormal) })
			wg.Go(func() { _, _ = g.acquire(ctx, laneSweep) })
		}
		time.Sleep(20 * time.Second)
		// 300 in 30 s are theirs: ten at once, each second, never wait.
		for range 30 {
			for range 10 {
				waited, err := g.acquire(ctx, laneConfirm)
				require.NoError(t, err)
				require.Less(t, waited, 50*time.Millisecond)
			}
			time.Sleep(time.Second)
		}
		cancel()
		wg.Wait()
	})
}

func TestSweepAloneKeepsToItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGates(t, Budgets{})[classRead]
		all := passages(t, g, []int{laneSweep: 2000}, 90*time.Second)
		require.LessOrEqual(t, busiest(all, 30*time.Second), 300)
		require.Greater(t, len(all), 800)
	})
}

func TestWritesGoClearSetRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGates(t, Budgets{})[classWrite]
		// Use up what can go at once.
		for range 60 {
			_, err := g.acquire(t.Context(), laneSet)
			require.NoError(t, err)
		}
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for _, lane := range []int{laneRenew, laneRenew, laneSet, laneRenew, laneSet, laneClear, laneClear, laneSet} {
			wg.Go(func() {
				_, err := g.acquire(t.Context(), lane)
				mu.Lock()
				defer mu.Unlock()
				require.NoError(t, err)
				order = append(order, lane)
			})
			synctest.Wait()
		}
		wg.Wait()
		require.Equal(t, []int{laneClear, laneClear, laneSet, laneSet, laneSet, laneRenew, laneRenew, laneRenew}, order)
	})
}

func TestClassesKeepTheirLimits(t *testing.T) {
	for _, c := range []struct {
		class  class
		limit  int
		window time.Duration
	}{
		{classRead, 1500, 30 * time.Second}, {classWrite, 1200, 30 * time.Second}, {classSubscription, 500, 20 * time.Second},
		{classList, 25, 20 * time.Second}, {classDirectory, 1000, 10 * time.Second},
	} {
		t.Run(c.class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := testGates(t, Budgets{Writes: Budget{Limit: 1200, Window: 30 * time.Second}})[c.class]
				all := passages(t, g, []int{3 * c.limit}, 3*c.window)
				require.LessOrEqual(t, busiest(all, c.window), c.limit)
				require.Greater(t, len(all), c.limit, "and it does not stop")
			})
		})
	}
}

// arrival is a request of a lane that comes some time after the one before.
type arrival struct {
	lane int
	gap  time.Duration
}

// Whatever arrives when, no window sees more than the limit and nobody is left behind.
func TestGateProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := Budget{Limit: rapid.IntRange(1, 60).Draw(r, "limit"), Window: time.Duration(rapid.IntRange(1, 10).Draw(r, "window")) * time.Second}
		burst := rapid.SampledFrom([]float64{pacedBurst, wideBurst}).Draw(r, "burst")
		arrivals := make([]arrival, rapid.IntRange(1, 100).Draw(r, "n"))
		for i := range arrivals {
			arrivals[i] = arrival{rapid.IntRange(0, 2).Draw(r, "lane"), time.Duration(rapid.IntRange(0, 300).Draw(r, "gap")) * time.Millisecond}
		}
		var all []passage
		var left int
		synctest.Test(t, func(t *testing.T) { all, left = through(t, b, burst, arrivals) })
		// A limit of one cannot be paced below one at a time.
		if most := busiest(all, b.Window-time.Millisecond); most > b.Limit+boolInt(b.Limit == 1) {
			r.Fatalf("%d in a window of %v, limit %d", most, b.Window, b.Limit)
		}
		if left != 0 {
			r.Fatalf("%d waiters left", left)
		}
	})
}

// through sends the arrivals through a gate of three lanes.
func through(t *testing.T, b Budget, burst float64, arrivals []arrival) (all []passage, left int) {
	m, err := newMetrics(nil, "x", "1")
	require.NoError(t, err)
	g := newGate(b, burst, []float64{1, .6, .2}, m.gate(classRead))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for _, a := range arrivals {
		time.Sleep(a.gap)
		wg.Go(func() {
			if _, err := g.acquire(ctx, a.lane); err == nil {
				mu.Lock()
				all = append(all, passage{a.lane, time.Since(start)})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all, g.queued()
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestPauseIsSharedAndExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gates := testGates(t, Budgets{})
		g := gates[classWrite]
		g.throttled(7 * time.Second)
		require.Equal(t, 7*time.Second, g.pauseLeft())
		for _, lane := range []int{laneClear, laneSet, laneRenew} {
			start := time.Now()
			if lane == laneClear {
				_, err := g.acquire(t.Context(), lane)
				require.NoError(t, err)
				require.Equal(t, 7*time.Second, time.Since(start))
				continue
			}
			waited, err := g.acquire(t.Context(), lane)
			require.NoError(t, err)
			require.Zero(t, waited, "the pause is over")
		}
		waited, err := gates[classRead].acquire(t.Context(), laneNormal)
		require.NoError(t, err)
		require.Zero(t, waited, "other classes are not paused")

		g.throttled(9 * time.Second)
		g.throttled(2 * time.Second)
		require.Equal(t, 9*time.Second, g.pauseLeft(), "a shorter pause does not end a longer one")
	})
}

func TestPauseThatOutlastsTheDeadlineFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGates(t, Budgets{})[classWrite]
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		// One that waits already when the pause comes, and one that comes later.
		for range 60 {
			_, err := g.acquire(ctx, laneSet)
			require.NoError(t, err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := g.acquire(ctx, laneSet)
			require.ErrorIs(t, err, errPaused)
		})
		synctest.Wait()
		g.throttled(6 * time.Second)
		wg.Wait()
		_, err := g.acquire(ctx, laneClear)
		require.ErrorIs(t, err, errPaused)
		require.Zero(t, time.Since(start))
		require.Zero(t, g.queued())
	})
}

func TestLeaverTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGates(t, Budgets{SubscriptionList: Budget{Limit: 2, Window: 10 * time.Second}})[classList]
		_, err := g.acquire(t.Context(), laneOnly)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = g.acquire(ctx, laneOnly)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = g.acquire(ctx, laneOnly)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		waited, err := g.acquire(t.Context(), laneOnly)
		require.NoError(t, err)
		require.Equal(t, 9*time.Second, waited.Round(time.Millisecond), "as if the leavers had never been")
	})
}

// Those who leave from the middle of a queue are passed over, and cost nobody a place.
func TestLeaversArePassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGates(t, Budgets{})[classWrite]
		g.throttled(10 * time.Second)
		impatient, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 300 {
			ctx := t.Context()
			if i%3 != 1 {
				ctx = impatient
			}
			wg.Go(func() {
				if _, err := g.acquire(ctx, laneSet); err == nil {
					mu.Lock()
					order = append(order, i)
					mu.Unlock()
				}
			})
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		require.Equal(t, 100, g.queued())
		start := time.Now()
		wg.Wait()
		require.Len(t, order, 100)
		require.Less(t, time.Since(start), 12*time.Second, "sixty at the end of the pause and the others within a second")
		require.Zero(t, g.queued())
		g.mu.Lock()
		defer g.mu.Unlock()
		require.Empty(t, g.lanes[laneSet].queue)
	})
}

func TestWritesAreRaisedWhileNo429Comes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGates(t, Budgets{Writes: Budget{Limit: 100, Window: 10 * time.Second, Max: 150}})[classWrite]
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 20000 {
			wg.Go(func() { _, _ = g.acquire(ctx, laneSet) })
		}
		limits := []int{}
		for range 7 {
			time.Sleep(10*time.Second + time.Millisecond)
			g.mu.Lock()
			limits = append(limits, g.limit)
			g.mu.Unlock()
		}
		require.Equal(t, []int{110, 121, 133, 146, 150, 150, 150}, limits)

		g.throttled(time.Second)
		g.mu.Lock()
		require.Equal(t, 100, g.limit, "half of it would be below the budget")
		g.mu.Unlock()
		time.Sleep(11*time.Second + time.Millisecond)
		g.mu.Lock()
		require.Equal(t, 100, g.limit, "there was a 429 in this window")
		g.mu.Unlock()
		time.Sleep(10 * time.Second)
		g.mu.Lock()
		require.Equal(t, 110, g.limit)
		g.mu.Unlock()
		cancel()
		wg.Wait()
	})
}

func TestUnusedBudgetIsNotRaised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGates(t, Budgets{})[classWrite]
		for range 100 {
			_, err := g.acquire(t.Context(), laneSet)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		require.Equal(t, 1200, g.limit)
	})
}

func TestBudgetsAreChecked(t *testing.T) {
	for name, b := range map[string]Budgets{
		"window":       {Reads: Budget{Limit: 5, Window: -1}},
		"limit":        {Writes: Budget{Limit: -1, Window: time.Second}},
		"negative":     {Subscriptions: Budget{Limit: -1, Window: time.Second}},
		"shares":       {ConfirmShare: .5, SweepShare: .5},
		"confirm zero": {ConfirmShare: -1},
	} {
		_, err := b.withDefaults(CloudGlobal)
		require.ErrorContains(t, err, "budgets", name)
	}
	b, err := Budgets{}.withDefaults(CloudUSGovL4)
	require.NoError(t, err)
	require.Equal(t, .25, b.SweepShare, "clouds without subscriptions")
	b, err = Budgets{Reads: Budget{Limit: 5}, Writes: Budget{Window: time.Second}}.withDefaults("")
	require.NoError(t, err)
	require.Equal(t, Budget{Limit: 5, Window: 30 * time.Second}, b.Reads)
	require.Equal(t, Budget{Limit: 1200, Window: time.Second}, b.Writes, "never raised")
	require.Equal(t, .2, DefaultBudgets(CloudGlobal).SweepShare)
}
