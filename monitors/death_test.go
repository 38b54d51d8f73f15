package monitors

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

// crowd is people whose presence changes, a subscription that tells of it, and reads that lag behind a little.
type crowd struct {
	w       *world
	r       *rand.Rand
	begin   time.Time
	sub     string // what it tells through
	lag     time.Duration
	latency func() time.Duration

	states  [][]turn // by member, in the order of time
	due     map[time.Duration][]Push
	lastDue []time.Duration
}

// tick is how finely time goes by.
const tick = 100 * time.Millisecond

// turn is a state and since when it is so.
type turn struct {
	at   time.Duration
	pair presence.Pair
}

func newCrowd(w *world, seed uint64, people int, lag time.Duration, latency func(r *rand.Rand) time.Duration) *crowd {
	r := rand.New(rand.NewPCG(seed, 1))
	c := &crowd{w: w, r: r, begin: time.Now(), sub: w.info(0).SubscriptionID, lag: lag, due: map[time.Duration][]Push{},
		states: make([][]turn, people), lastDue: make([]time.Duration, people), latency: func() time.Duration { return latency(r) }}
	for i := range c.states {
		c.states[i] = []turn{{pair: pairOf(presence.Available)}}
	}
	w.graph.with(func() {
		w.graph.shows = func(id string) presence.Pair {
			var n int
			_, _ = fmt.Sscanf(id, "%08x", &n)
			return c.shown(n, time.Since(c.begin)-c.lag)
		}
	})
	return c
}

func pairOf(word string) presence.Pair { return presence.Pair{Availability: word, Activity: word} }

func (c *crowd) shown(i int, at time.Duration) presence.Pair {
	states := c.states[i]
	for n := len(states) - 1; n > 0; n-- {
		if states[n].at <= at {
			return states[n].pair
		}
	}
	return states[0].pair
}

// move has a member become something else, now; told says whether the subscription will tell. Where it does not, it is
// nothing that the member was just before: with what was in between still on its way, no read could show it.
func (c *crowd) move(i int, told bool) {
	now := time.Since(c.begin)
	was := map[presence.Pair]bool{c.shown(i, now): true}
	for _, s := range c.states[i] {
		was[s.pair] = was[s.pair] || !told && s.at > now-2*time.Minute
	}
	was[c.shown(i, now-2*time.Minute)] = true
	words := slices.DeleteFunc([]string{presence.Available, presence.Busy, presence.Away, presence.DoNotDisturb, presence.BeRightBack, presence.Offline},
		func(word string) bool { return was[pairOf(word)] })
	if len(words) == 0 {
		words = []string{presence.Focusing}
	}
	after := pairOf(words[c.r.IntN(len(words))])
	c.w.graph.with(func() { c.states[i] = append(c.states[i], turn{now, after}) })
	if !told {
		return
	}
	due := max(now+c.latency()+tick, c.lastDue[i]).Truncate(tick)
	c.lastDue[i] = due
	c.due[due] = append(c.due[due], Push{ID: id(i), Pair: after})
}

// pass lets time go by, in tenths of a second, in which what is due is told and each calls step.
func (c *crowd) pass(d time.Duration, step func()) {
	for end := time.Since(c.begin) + d; time.Since(c.begin) < end; {
		c.w.pass(tick)
		now := time.Since(c.begin).Truncate(tick)
		if pushes := c.due[now]; len(pushes) > 0 {
			c.w.m.Told(c.sub, pushes, time.Now())
			delete(c.due, now)
		}
		if step != nil {
			step()
		}
	}
}

// some moves somebody now and then: every so many tenths of a second on average.
func (c *crowd) some(every int, told bool) func() {
	return func() {
		if c.r.IntN(every) == 0 {
			c.move(c.r.IntN(len(c.states)), told)
		}
	}
}

// latencies are ways in which a healthy subscription can be slow.
func latencies() map[string]func(r *rand.Rand) time.Duration {
	return map[string]func(r *rand.Rand) time.Duration{
		"prompt": func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(int64(3 * time.Second))) },
		"slow":   func(*rand.Rand) time.Duration { return 50 * time.Second },
		"uneven": func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(int64(59 * time.Second))) },
	}
}

// watch begins with a subscription for n people that is an hour of nothing old.
func watch(w *world, n int) {
	w.cfg.PushesReported = true
	w.start()
	w.m.SetMembers(people(0, n))
	w.authorize(0)
	w.pass(2 * time.Minute)
}

// TestHealthyUnderAnyTiming has a subscription tell everything, within Graph's latency, in tenants that are busy and
// in such where next to nothing happens: it is never made anew.
func TestHealthyUnderAnyTiming(t *testing.T) {
	for name, latency := range latencies() {
		for seed := range uint64(6) {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
				bubble(t, 1, func(t *testing.T, w *world) {
					watch(w, 200)
					c := newCrowd(w, seed, 200, time.Duration(seed%3)*4*time.Second, latency)
					c.pass(20*time.Minute, c.some([]int{10, 60, 600}[seed%3], true))
					require.Equal(t, 1, w.graph.count("create"), "%s", w.logs)
					require.Zero(t, w.info(0).Misses)
				})
			})
		}
	}
}

// TestDeathUnderAnyTiming has a subscription die at any moment, with notifications still on their way and people in the
// middle of something: it is replaced within 150 s of the first change that it swallowed and that a read can show.
func TestDeathUnderAnyTiming(t *testing.T) {
	var worst time.Duration
	for name, latency := range latencies() {
		for seed := range uint64(10) {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
				bubble(t, 1, func(t *testing.T, w *world) {
					watch(w, 200)
					c := newCrowd(w, seed, 200, time.Duration(seed%3)*4*time.Second, latency)
					c.pass(3*time.Minute+time.Duration(c.r.Int64N(int64(time.Minute))), c.some([]int{10, 60, 600}[seed%3], true))
					require.Equal(t, 1, w.graph.count("create"))
					dies := c.r.IntN(len(c.states))
					if seed%2 == 0 { // somebody whose last change is being told, or was just told
						c.move(dies, true)
						c.pass(time.Duration(c.r.Int64N(int64(20*time.Second))), nil)
					}
					c.move(dies, false)
					swallowed := time.Now()
					c.pass(150*time.Second, nil)
					require.Equal(t, 2, w.graph.count("create"), "%s", w.logs)
					took := w.graph.when("create")[1].Sub(swallowed)
					require.LessOrEqual(t, took, 150*time.Second)
					worst = max(worst, took)
					require.True(t, w.info(0).Remade.Dead)
					require.Positive(t, w.info(0).Remade.Misses)
				})
			})
		}
	}
	t.Logf("at most %s after the change", worst)
}

// TestCallThatEndsUnheard is the plainest case: a call was told, the subscription dies, the call ends. What the next
// read shows is what the read before the call showed, and still contradicts what was told.
func TestCallThatEndsUnheard(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		watch(w, 1)
		c := newCrowd(w, 1, 1, 0, func(*rand.Rand) time.Duration { return time.Second })
		c.move(0, true)
		busy := c.shown(0, time.Hour)
		c.pass(2*time.Second, nil)
		c.w.graph.with(func() { c.states[0] = append(c.states[0], turn{time.Since(c.begin), pairOf(presence.Available)}) })
		require.NotEqual(t, pairOf(presence.Available), busy)
		c.pass(150*time.Second, nil)
		require.Equal(t, 2, w.graph.count("create"), "%s", w.logs)
	})
}

// TestBusyShardThatLosesOne goes on telling what happens: it lives, and is not made anew for one that was lost.
func TestBusyShardThatLosesOne(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		watch(w, 100)
		c := newCrowd(w, 3, 100, 0, func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(int64(3 * time.Second))) })
		moves := c.some(8, true)
		c.pass(3*time.Minute, moves)
		c.move(7, false)
		c.pass(5*time.Minute, moves)
		require.Equal(t, 1, w.graph.count("create"), "%s", w.logs)
		require.LessOrEqual(t, w.info(0).Misses, 1)
	})
}

// TestIntakeThatIsBehind takes what has arrived in time two minutes later: that is no fault of the subscription's.
func TestIntakeThatIsBehind(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		watch(w, 10)
		c := newCrowd(w, 1, 10, 0, func(*rand.Rand) time.Duration { return time.Second })
		w.m.Told(c.sub, []Push{{ID: id(9), Pair: pairOf(presence.Available)}}, time.Now().Add(-2*time.Minute))
		c.move(0, false)
		told, arrived := Push{ID: id(0), Pair: c.shown(0, time.Hour)}, time.Now()
		w.pass(2 * time.Minute)
		w.m.Told(c.sub, []Push{told}, arrived)
		w.pass(2 * time.Minute)
		require.Equal(t, 1, w.graph.count("create"), "%s", w.logs)
		require.Zero(t, w.info(0).Misses)
	})
}
