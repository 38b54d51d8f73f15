package graphsim

import (
	"maps"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// busyCompany runs simulated people for a while, thirty of fifty of them watched, and returns what
// visibly changed and what arrived, per person.
func busyCompany(t *testing.T, f Faults, answer func(n int, r *http.Request) int) (changed, arrived map[string][]Pair, stats Notifications) {
	t.Helper()
	changed, arrived = map[string][]Pair{}, map[string][]Pair{}
	b := newInbox(t)
	x := newTenant(t, Config{Users: 50, Monitors: []string{"presence1"}, Seed: 11, Delivery: Delivery{Transport: direct{b}, ReauthorizeEvery: -1}})
	b.set(func() { b.answer = answer })
	var ids []string
	for _, u := range x.Users()[:30] {
		ids = append(ids, u.ID)
	}
	require.Equal(t, 201, x.call("POST", "/v1.0/subscriptions", x.userToken(mon), b.request(ids...)).status)
	x.OnChange(func(c Change) {
		if c.Visible() {
			changed[c.UserID] = append(changed[c.UserID], c.To)
		}
	})
	x.SetFaults(f)
	people := x.Live(PeopleConfig{Seed: 3, Rate: 2, Start: true})
	time.Sleep(4 * time.Minute)
	people.Stop()
	x.SetFaults(None())
	time.Sleep(50 * time.Minute) // less than the subscription's hour
	for _, item := range b.items() {
		if c, ok := b.open(item.Encrypted); ok {
			arrived[c["id"]] = append(arrived[c["id"]], Pair{c["availability"], c["activity"]})
		}
	}
	for _, u := range x.Users()[30:] {
		require.NotContains(t, arrived, u.ID, "nobody watches them")
		delete(changed, u.ID)
	}
	stats = x.Stats().Notifications
	require.EqualValues(t, 0, stats.Waiting)
	require.Equal(t, stats.Queued+stats.Doubled, stats.Acked+stats.Dropped)
	return changed, arrived, stats
}

func TestWhatArrivesIsWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed, arrived, _ := busyCompany(t, None(), nil)
		require.Len(t, changed, 30)
		require.Equal(t, changed, arrived, "all of it, once, in order")
	})
}

func TestNothingIsLostToAnEndpointInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed, arrived, stats := busyCompany(t, None(), func(n int, _ *http.Request) int {
			if n > 300 {
				return 202
			}
			return []int{503, 202, 500}[n%3]
		})
		require.Positive(t, stats.Failed)
		for user, pairs := range changed {
			require.Subset(t, arrived[user], pairs)
			require.GreaterOrEqual(t, len(arrived[user]), len(pairs))
		}
	})
}

func TestUnkindDeliveryLosesOnlyWhatItDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Faults{Late: 0.2, LateBy: 10 * time.Second, Double: 0.2, Reorder: 0.2, Poison: 0.1, AckLost: 0.1}
		changed, arrived, stats := busyCompany(t, f, nil)
		require.Positive(t, stats.Late)
		require.Positive(t, stats.Doubled)
		require.Positive(t, stats.Poisoned)
		inOrder := 0
		for user, pairs := range changed {
			require.Subset(t, arrived[user], pairs)
			if slices.Equal(arrived[user], pairs) {
				inOrder++
			}
		}
		require.Less(t, inOrder, len(changed)/2)
	})
	synctest.Test(t, func(t *testing.T) {
		changed, arrived, stats := busyCompany(t, Faults{Drop: 0.3}, nil)
		sum := func(m map[string][]Pair) (n int64) {
			for pairs := range maps.Values(m) {
				n += int64(len(pairs))
			}
			return n
		}
		require.Equal(t, sum(changed), sum(arrived)+stats.Dropped)
		require.InEpsilon(t, 0.3, float64(stats.Dropped)/float64(sum(changed)), 0.5)
	})
}
