package graph

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// reader is one application before a Graph of its own, so that it is seen who was asked.
type reader struct {
	mu     sync.Mutex
	at     []time.Time // when it was asked
	answer func(w http.ResponseWriter)
	client *Client
}

func newReader(t *testing.T, change ...func(*Config)) *reader {
	r := &reader{}
	tn := virtual(t)
	tn.graph = func(w http.ResponseWriter, _ *seen) {
		r.mu.Lock()
		r.at = append(r.at, time.Now())
		answer := r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(w)
			return
		}
		reply(w, 200, goodBody)
	}
	r.client = tn.client(append([]func(*Config){tn.onVirtual, func(c *Config) { c.Log, c.Deadline = nil, time.Hour }}, change...)...)
	return r
}

// asked is how often it was, since the last time.
func (r *reader) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.at)
	r.at = nil
	return n
}

func (r *reader) answers(f func(w http.ResponseWriter)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func confirm(t *testing.T, r *Readers) {
	t.Helper()
	_, err := r.Presences(WithPriority(t.Context(), PriorityConfirm), []string{testUser})
	assert.NoError(t, err)
}

func TestReadersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newReader(t), newReader(t)
		r := NewReaders(a.client, b.client)
		for range 20 {
			confirm(t, r)
		}
		require.Equal(t, []int{10, 10}, []int{a.asked(), b.asked()})
	})
}

func TestReadersKeepEachBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		small := func(c *Config) { c.Budgets.Reads = Budget{Limit: 60, Window: 30 * time.Second} }
		wide := func(c *Config) { c.Budgets.Reads = Budget{Limit: 120, Window: 30 * time.Second} }
		a, b := newReader(t, small), newReader(t, wide)
		r := NewReaders(a.client, b.client)
		start := time.Now()
		var wg sync.WaitGroup
		for range 540 {
			wg.Go(func() { confirm(t, r) })
			synctest.Wait() // it stands in a queue, where the next one sees it
		}
		wg.Wait()
		took := time.Since(start)
		for name, x := range map[string]struct {
			r     *reader
			limit int
		}{"small": {a, 60}, "wide": {b, 120}} {
			var list []passage
			for _, at := range x.r.at {
				list = append(list, passage{at: at.Sub(start)})
			}
			slices.SortFunc(list, func(a, b passage) int { return int(a.at - b.at) })
			require.LessOrEqual(t, busiest(list, 30*time.Second), x.limit, name)
		}
		require.Less(t, took, 105*time.Second, "both budgets are used: 180 in 30 s")
		require.InDelta(t, 180, a.asked(), 20)
		require.InDelta(t, 360, b.asked(), 20)
	})
}

func TestReadersGoRoundAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newReader(t), newReader(t)
		r := NewReaders(a.client, b.client)
		a.answers(func(w http.ResponseWriter) { reply(w, 429, graphError("TooManyRequests", ""), "Retry-After", "60") })
		done := make(chan struct{})
		go func() { // it meets the pause, and waits for its end
			defer close(done)
			confirm(t, r)
		}()
		synctest.Wait()
		a.answers(nil)
		start := time.Now()
		for range 10 {
			confirm(t, r)
		}
		require.Zero(t, time.Since(start), "nobody waits for the other's pause")
		require.Equal(t, []int{1, 10}, []int{a.asked(), b.asked()})
		<-done
		require.Equal(t, 60*time.Second, time.Since(start))
		for range 10 {
			confirm(t, r)
		}
		require.InDelta(t, 5, b.asked(), 1)
	})
}

func TestReadersLeaveOutWhoMayNotRead(t *testing.T) {
	for name, refuse := range map[string]func(w http.ResponseWriter){
		"permission": func(w http.ResponseWriter) { reply(w, 403, graphError("Forbidden", "")) },
		"token":      func(w http.ResponseWriter) { reply(w, 401, graphError("InvalidAuthenticationToken", "")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := newReader(t), newReader(t)
				r := NewReaders(a.client, b.client)
				b.answers(refuse)
				for range 10 {
					confirm(t, r)
				}
				require.Equal(t, 10, a.asked(), "the first one reads in its place")
				require.Positive(t, b.asked())
				b.answers(nil)
				confirm(t, r)
				require.Zero(t, b.asked())
				time.Sleep(refusedFor)
				confirm(t, r)
				confirm(t, r)
				require.Equal(t, 1, b.asked(), "it is tried again")
			})
		})
	}
}

// What the first one is refused is told: there is nobody else.
func TestReadersTellWhatTheFirstIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newReader(t), newReader(t, func(c *Config) { c.Metrics = prometheus.NewRegistry() })
		r := NewReaders(a.client, b.client)
		for _, x := range []*reader{a, b} {
			x.answers(func(w http.ResponseWriter) { reply(w, 403, graphError("Forbidden", "")) })
		}
		for range 3 {
			_, err := r.Presences(t.Context(), []string{testUser})
			require.True(t, IsKind(err, ConsentMissing), "%v", err)
		}
		require.Equal(t, 3, a.asked())
		require.Equal(t, 1, b.asked())
	})
}

func TestGateExpects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGates(t, Budgets{Reads: Budget{Limit: 100, Window: 10 * time.Second}})[classRead] // 9.5 a second, 5 at once
		require.Zero(t, g.expect(laneConfirm, 0, time.Now()))
		for range 5 {
			_, err := g.acquire(t.Context(), laneConfirm)
			require.NoError(t, err)
		}
		require.InDelta(t, 1.15, g.expect(laneConfirm, 10, time.Now()).Seconds(), 0.02, "ten more are about to come")
		one := g.expect(laneConfirm, 0, time.Now())
		require.InDelta(t, 0.105, one.Seconds(), 0.01)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { _, _ = g.acquire(ctx, laneNormal) })
		}
		synctest.Wait()
		require.Equal(t, one, g.expect(laneConfirm, 0, time.Now()), "it goes ahead of those")
		require.Greater(t, g.expect(laneSweep, 0, time.Now()), one+time.Second, "this lane stands behind them")
		g.throttled(time.Minute)
		require.Equal(t, time.Minute, g.expect(laneConfirm, 0, time.Now()))
		cancel()
		wg.Wait()
	})
}
