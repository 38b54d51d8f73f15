package scale

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/sims"
	"presencebridge/graph/graphsim"
)

// few is how many members of a shard make calls.
const few = 20

// TestSmall is the run with shortened intervals: all by the same factor of 6, but for the sweep, which is even shorter, so
// that a loaded machine keeps what is promised.
func TestSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	run(t, size{
		members: 2600, monitors: 4, sweep: 4 * time.Second, polled: 2 * time.Second, latency: 10 * time.Second, slow: 5 * time.Second,
		promise: 25 * time.Second, renewEvery: 8 * time.Second, background: 100 * time.Millisecond, patience: 3 * time.Minute, poll: 50 * time.Millisecond, lag: 30 * time.Second,
	})
}

// run is the whole of it.
func run(t *testing.T, z size) {
	s := newSite(t, z)
	r := &report{site: s}
	r.phase("start to full coverage", s.begin)
	fresh := s.staleness()
	r.phase("all subscriptions renewed", s.renewals)
	r.phase("dead without a word, beside a slow one", s.silence)
	r.phase("monitor disabled, no spare", s.disabledWithoutSpare)
	r.phase("spare signs in", s.spareSignsIn)
	r.phase("monitor disabled, with a spare", s.disabledWithSpare)
	stalest := fresh()
	t.Logf("\n%s\nThe stalest member was last confirmed %s ago, at any time after the start.\n%s", r, stalest, operations(s.graph.Stats()))

	st := s.graph.Stats()
	require.Empty(t, st.Refused, "no request is beyond a budget")
	require.LessOrEqual(t, stalest, z.sweep+time.Second+z.lag, "to the second")
	require.EqualValues(t, 1, s.gauge("presence_bridge_monitor_silent_subscriptions_total", "", ""), "the dead one, and no other")
}

// begin starts the bridge, signs all monitors but the spare in, and waits until everybody is pushed.
func (s *site) begin() (took, limit time.Duration, remark string) {
	began := time.Now()
	s.start()
	s.await(s.size.patience, "the members are known", func() bool {
		return s.covered("polled")+s.covered("pushed") == s.size.members
	})
	known := time.Since(began)
	s.signIn(sims.Monitors(s.size.monitors, domain)...)
	signedIn := time.Since(began)
	s.await(s.size.patience, "everybody is pushed", func() bool { return s.covered("pushed") == s.size.members })
	took = time.Since(began)
	require.Len(s.t, s.graph.Subscriptions(), s.size.monitors)
	require.EqualValues(s.t, s.size.monitors, calls(s.graph.Stats())["createSubscription"], "none is made twice")
	s.othersCall()
	return took, 0, fmt.Sprintf("members known after %s, monitors signed in after %s", round(known), round(signedIn))
}

// othersCall has people who have nothing to do with what is shown make calls, until the test ends.
func (s *site) othersCall() {
	if s.size.background <= 0 {
		return
	}
	apart := map[string]bool{}
	for _, sub := range s.subscriptions()[:4] {
		for _, id := range s.graph.Watched(sub.ID) {
			apart[id] = true
		}
	}
	var others []string
	for _, p := range s.people {
		if !apart[p.ID] {
			others = append(others, p.ID)
		}
	}
	if len(others) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := rand.New(rand.NewPCG(1, 2))
		ticker := time.NewTicker(s.size.background)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			id := others[r.IntN(len(others))]
			if s.graph.Shown(id) == graphsim.Available {
				_ = s.graph.StartConferenceCall(id) // they are in the tenant
			} else {
				_ = s.graph.EndCall(id)
			}
		}
	}()
	s.t.Cleanup(func() { cancel(); <-done })
}

// subscriptions are those that live, the first ones always the same.
func (s *site) subscriptions() []graphsim.Subscription {
	subs := s.graph.Subscriptions()
	slices.SortFunc(subs, func(a, b graphsim.Subscription) int { return strings.Compare(a.Creator, b.Creator) })
	return subs
}

// renewals waits until every subscription was renewed, from its creation on.
func (s *site) renewals() (took, limit time.Duration, remark string) {
	first := map[string]time.Time{}
	for _, sub := range s.graph.Subscriptions() {
		first[sub.ID] = sub.Created
	}
	took = s.await(s.size.patience+s.size.life, "all are renewed", func() bool {
		for _, m := range s.monitors() {
			if m.State == "authorized" && (m.Subscription == nil || m.Subscription.RenewedAt.Sub(first[m.Subscription.ID]) < 2*time.Second) {
				return false
			}
		}
		return true
	})
	for _, sub := range s.graph.Subscriptions() {
		require.False(s.t, first[sub.ID].IsZero(), "none was lost and made anew")
	}
	n := calls(s.graph.Stats())
	require.EqualValues(s.t, s.size.monitors, n["createSubscription"])
	return took, 0, fmt.Sprintf("%d subscriptions, none lost", len(first))
}

// silence kills one subscription and slows another one down; both shards' members make calls.
func (s *site) silence() (took, limit time.Duration, remark string) {
	dead, slow := s.subscriptions()[0], s.subscriptions()[1]
	unheard, late := s.graph.Watched(dead.ID)[:few], s.graph.Watched(slow.ID)[:few]
	require.NoError(s.t, s.graph.KillSubscription(dead.ID, false))
	require.NoError(s.t, s.graph.SlowSubscription(slow.ID, s.size.slow))
	began := time.Now()
	s.call(unheard)
	s.call(late)
	shown := s.watchPhones(unheard, began)
	took = s.await(s.size.promise+s.size.lag, "the dead subscription is replaced", func() bool {
		return slices.ContainsFunc(s.subscriptions(), func(x graphsim.Subscription) bool {
			return x.Creator == dead.Creator && x.ID != dead.ID && slices.Contains(s.graph.Watched(x.ID), unheard[0])
		})
	})
	seen := shown()
	require.LessOrEqual(s.t, seen, s.size.sweep+2*time.Second+s.size.lag, "the sweep carries over what was not told")
	// As long again as it would take to condemn the slow one.
	whole := s.size.sweep + s.size.latency + 2*time.Second
	s.await(whole+s.size.lag, "time goes by", func() bool { return time.Since(began) > whole })
	require.True(s.t, slices.ContainsFunc(s.subscriptions(), func(x graphsim.Subscription) bool { return x.ID == slow.ID }), "the slow one stays")
	require.NoError(s.t, s.graph.SlowSubscription(slow.ID, 0))
	return took, s.size.promise, fmt.Sprintf("its members' calls on the phones after %s at most; the one that is %s late stays", round(seen), s.size.slow)
}

// call has people begin calls, of a kind that the bridge never sets itself and so believes at once (R15).
func (s *site) call(ids []string) {
	for _, id := range ids {
		require.NoError(s.t, s.graph.StartConferenceCall(id))
	}
}

// watchPhones waits beside until the PBX shows all these people's calls; the function that it returns says how long that
// took.
func (s *site) watchPhones(ids []string, began time.Time) func() time.Duration {
	phones := map[string]string{}
	for _, p := range s.people {
		phones[p.ID] = p.Phone
	}
	var took atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for _, id := range ids {
			for time.Since(began) < s.size.patience {
				if p, err := s.pbx.Presence(phones[id]); err == nil && p.Status == "In a call" {
					took.Store(int64(time.Since(began)))
					break
				}
				<-ticker.C
			}
		}
	}()
	return func() time.Duration {
		<-done
		for _, id := range ids {
			p, err := s.pbx.Presence(phones[id])
			require.NoError(s.t, err)
			require.Equal(s.t, "In a call", p.Status, "within %s", s.size.patience)
		}
		return time.Duration(took.Load())
	}
}

// nextToRenew is a monitor whose subscription is renewed before the others'.
func (s *site) nextToRenew() (upn string, sub graphsim.Subscription) {
	// A subscription may be made anew between the two listings.
	s.await(s.size.patience, "a subscription that both sides know", func() bool {
		var best api.Monitor
		for _, m := range s.monitors() {
			if m.State == "authorized" && m.Subscription != nil && (best.UPN == "" || m.Subscription.RenewedAt.Before(best.Subscription.RenewedAt)) {
				best = m
			}
		}
		for _, x := range s.graph.Subscriptions() {
			if best.Subscription != nil && x.ID == best.Subscription.ID {
				upn, sub = best.UPN, x
			}
		}
		return sub.ID != ""
	})
	return upn, sub
}

// disable takes a monitor's account away, and waits until the bridge is told so, which is when it renews.
func (s *site) disable() (upn string, sub graphsim.Subscription, noticed time.Time) {
	upn, sub = s.nextToRenew()
	require.NoError(s.t, s.graph.UpdateUser(upn, func(p *graphsim.Person) { p.Disabled = true }))
	s.await(s.size.patience+s.size.life, "the monitor is refused", func() bool { return s.monitors()[upn].State == "needs_attention" })
	m := s.monitors()[upn]
	require.Equal(s.t, "account_disabled", m.Code)
	require.NotEmpty(s.t, m.Remedy)
	return upn, sub, m.Since
}

// disabledWithoutSpare disables a monitor for which there is no spare: as many members as one monitor has less are polled.
func (s *site) disabledWithoutSpare() (took, limit time.Duration, remark string) {
	left := s.size.members - perShard*(s.size.monitors-1)
	_, sub, noticed := s.disable()
	require.NoError(s.t, s.graph.KillSubscription(sub.ID, false)) // Graph delivers for nobody who is disabled
	s.await(s.size.patience, "as few as possible are polled", func() bool {
		return s.covered("polled") == left && s.covered("pushed") == s.size.members-left
	})
	took = time.Since(noticed)
	polled := s.polled(few)
	began := time.Now()
	s.call(polled)
	seen := s.watchPhones(polled, began)()
	require.LessOrEqual(s.t, seen, s.size.polled+2*time.Second+s.size.lag)
	return took, 0, fmt.Sprintf("%d members are polled, their calls on the phones after %s at most", left, round(seen))
}

// polled are some of those who are polled.
func (s *site) polled(n int) (ids []string) {
	for m, err := range s.admin.Members(s.t.Context(), account, "") {
		require.NoError(s.t, err)
		if m.Coverage == presence.CoveragePolled && s.graph.Shown(m.ID) == graphsim.Available {
			if ids = append(ids, m.ID); len(ids) == n {
				break
			}
		}
	}
	require.Len(s.t, ids, n)
	return ids
}

// spareSignsIn has the spare monitor take over who is polled.
func (s *site) spareSignsIn() (took, limit time.Duration, remark string) {
	began := time.Now()
	s.signIn(sims.Monitors(s.size.monitors+1, domain)[s.size.monitors])
	s.await(s.size.patience, "everybody is pushed again", func() bool { return s.covered("pushed") == s.size.members })
	return time.Since(began), 0, ""
}

// disabledWithSpare makes the first monitor the spare, and disables another one.
func (s *site) disabledWithSpare() (took, limit time.Duration, remark string) {
	for upn, m := range s.monitors() {
		if m.State == "needs_attention" {
			require.NoError(s.t, s.graph.UpdateUser(upn, func(p *graphsim.Person) { p.Disabled = false }))
			s.await(s.size.patience, "the first monitor is accepted again", func() bool {
				_, err := s.admin.RetryMonitor(s.t.Context(), account, upn)
				require.NoError(s.t, err)
				return s.monitors()[upn].State == "authorized"
			})
		}
	}
	_, _, noticed := s.disable()
	s.await(s.size.patience, "everybody is pushed again", func() bool { return s.covered("pushed") == s.size.members })
	took = time.Since(noticed)
	const atOnce = 15 * time.Second
	require.LessOrEqual(s.t, took, atOnce+s.size.lag)
	return took, atOnce, "from the refusal to the spare's subscription"
}

// staleness looks every two seconds how stale the stalest member is, until the function that it returns is called.
func (s *site) staleness() func() time.Duration {
	ctx, cancel := context.WithCancel(context.Background())
	worst, done := 0.0, make(chan struct{})
	look := func() float64 { return s.gauge("presence_bridge_sweep_staleness_max_seconds", "", "") }
	go func() {
		defer close(done)
		ticker := time.NewTicker(2 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				worst = max(worst, look())
			}
		}
	}()
	stop := func() { cancel(); <-done }
	s.t.Cleanup(stop)
	return func() time.Duration {
		stop()
		return time.Duration(worst * float64(time.Second)).Round(time.Second)
	}
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
