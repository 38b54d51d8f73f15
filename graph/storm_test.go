package graph

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// strictGraph allows limit requests in any window and answers 429 with the time until the next place, as a
// service does whose limit is lower than what is written on its page.
type strictGraph struct {
	limit  int
	window time.Duration

	mu      sync.Mutex
	taken   []time.Time
	refused int
	early   int // requests during a pause that had been asked for
	until   time.Time
	done    map[string]int
}

func (g *strictGraph) serve(w http.ResponseWriter, r *seen) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if now.Before(g.until) {
		g.early++
	}
	for len(g.taken) > 0 && now.Sub(g.taken[0]) >= g.window {
		g.taken = g.taken[1:]
	}
	if len(g.taken) >= g.limit {
		g.refused++
		wait := g.window - now.Sub(g.taken[0])
		seconds := int((wait + time.Second - 1) / time.Second)
		g.until = now.Add(time.Duration(seconds) * time.Second)
		reply(w, 429, graphError("TooManyRequests", ""), "Retry-After", fmt.Sprint(seconds))
		return
	}
	g.taken = append(g.taken, now)
	g.done[r.URL.Path]++
	reply(w, 200, goodBody)
}

// A tenant whose limit is far below the budget: everything arrives, once, and not while a pause lasts.
func TestStormUnderALowerLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		graph := &strictGraph{limit: 100, window: 10 * time.Second, done: map[string]int{}}
		tn := virtual(t)
		tn.graph = graph.serve
		c := tn.client(tn.onVirtual, func(c *Config) { c.Deadline = time.Hour; c.Log = nil })
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				require.NoError(t, c.SetPresence(WithPriority(t.Context(), PriorityRenew), fmt.Sprint("renew-", i), inACall, time.Hour))
			})
		}
		synctest.Wait()
		start := time.Now()
		clears := time.Duration(0)
		for i := range 150 {
			wg.Go(func() {
				require.NoError(t, c.ClearPresence(t.Context(), fmt.Sprint("clear-", i)))
				graph.mu.Lock()
				defer graph.mu.Unlock()
				clears = max(clears, time.Since(start))
			})
		}
		wg.Wait()
		require.Len(t, graph.done, 1150)
		for path, n := range graph.done {
			require.Equal(t, 1, n, path)
		}
		require.Zero(t, graph.early)
		require.Less(t, graph.refused, 60, "a 429 costs a few requests, not one per member")
		require.Less(t, clears, 25*time.Second, "what is urgent did not wait behind the renewals")
		require.Greater(t, time.Since(start), 90*time.Second)
	})
}

func TestAllUsersOfAnApplicationShareItsBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		graph := &strictGraph{limit: 25, window: 20 * time.Second, done: map[string]int{}}
		tn := virtual(t)
		tn.graph = graph.serve
		tn.login = func(w http.ResponseWriter, _ url.Values) bool { reply(w, 200, tn.tokenAnswer()); return true }
		c := tn.client(tn.onVirtual, func(c *Config) { c.Deadline = time.Hour })
		var wg sync.WaitGroup
		for i := range 60 {
			d := c.Delegated(fmt.Sprint("monitor-", i), &memoryStore{token: fmt.Sprint("refresh-", i)})
			wg.Go(func() {
				_, err := d.ListSubscriptions(t.Context())
				require.NoError(t, err)
			})
		}
		wg.Wait()
		require.Zero(t, graph.refused, "the budget kept below Graph's 25 in 20 s")
		require.Equal(t, 60, graph.done["/v1.0/subscriptions"])
	})
}

func TestManyCallersOfOneUserRefreshOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		current := "refresh-token-0"
		tn.login = refreshing(tn, &current)
		tn.graph = inTurn(status(200, goodBody))
		store := &memoryStore{token: current}
		d := tn.client(tn.onVirtual).Delegated("x", store)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				_, err := d.RenewSubscription(t.Context(), fmt.Sprint("sub-", i), time.Now().Add(time.Hour))
				require.NoError(t, err)
			})
		}
		wg.Wait()
		require.Equal(t, []string{"refresh-token-1"}, store.saved)
	})
}

// All fifty get a 401 with the same token: one new one is fetched.
func TestRevokedTokenIsReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		revoked := "Bearer token-1"
		tn.graph = func(w http.ResponseWriter, r *seen) {
			if r.Header.Get("Authorization") == revoked {
				reply(w, 401, graphError("InvalidAuthenticationToken", "revoked"))
				return
			}
			reply(w, 200, goodBody)
		}
		c := tn.client(tn.onVirtual)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				_, err := c.Presence(t.Context(), testUser)
				require.NoError(t, err)
			})
		}
		wg.Wait()
		require.Equal(t, 2, tn.tokenCount())
	})
}

func TestPagesGoOnAfterA429(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		n := 0
		tn.graph = func(w http.ResponseWriter, r *seen) {
			n++
			switch {
			case n == 2:
				reply(w, 429, "", "Retry-After", "5")
			case n == 3:
				reply(w, 503, "")
			case strings.Contains(r.URL.RawQuery, "skiptoken"):
				reply(w, 200, `{"value":[{"id":"2"}]}`)
			default:
				reply(w, 200, `{"value":[{"id":"1"}],"@odata.nextLink":"https://graph.test:443/v1.0/users?$skiptoken=a%2Fb%3D"}`)
			}
		}
		var list []string
		require.NoError(t, tn.client(tn.onVirtual).Users(t.Context(), func(u User) error { list = append(list, u.ID); return nil }))
		require.Equal(t, []string{"1", "2"}, list)
		require.Equal(t, "$skiptoken=a%2Fb%3D", tn.requests[3].URL.RawQuery, "Graph's link is used as it is")
	})
}
