package monitors

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

// change has everybody's presence become another one.
func (w *world) change(availability string) time.Time {
	w.graph.with(func() { w.graph.shown = presence.Pair{Availability: availability, Activity: availability} })
	return time.Now()
}

func (w *world) silences() int { return int(testutil.ToFloat64(w.m.metrics.silences)) }

func TestSilentDeathIsNoticed(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.cfg.PushesReported = true
		w.start()
		w.m.SetMembers(people(0, 100))
		w.authorize(0)
		w.pass(17*time.Minute + 40*time.Second)
		require.Equal(t, 1, w.graph.count("create"))
		first := w.info(0).SubscriptionID
		w.sink.takeOwed()

		swallowed := w.change(presence.Busy)
		w.pass(150 * time.Second)
		require.Equal(t, 2, w.graph.count("create"), "replaced within 150 s of the first swallowed change")
		require.NotEqual(t, first, w.info(0).SubscriptionID)
		require.Less(t, w.graph.when("create")[1].Sub(swallowed), 150*time.Second)
		require.Equal(t, ids(0, 100), w.sink.takeOwed())
		require.Contains(t, w.logs.String(), "swallows notifications")

		// The new one is silent too: not again and again.
		for range 24 {
			w.change(presence.Away)
			w.pass(5 * time.Minute)
			w.change(presence.Busy)
			w.pass(5 * time.Minute)
		}
		require.LessOrEqual(t, w.silences(), 6, "in 4 hours")
		require.Greater(t, w.silences(), 2)
	})
}

// A subscription that dies right after it delivered something, in a tenant where little happens: the first change
// that it swallows is enough, there may be no second one for hours.
func TestDeathRightAfterAPushIsNoticed(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.cfg.PushesReported = true
		w.start()
		w.m.SetMembers(people(0, 100))
		w.authorize(0)
		w.pass(2 * time.Minute)
		sub := w.info(0).SubscriptionID
		w.m.Heard(sub, ids(1, 99), time.Now())
		w.pass(time.Second)
		w.change(presence.Busy)
		w.pass(150 * time.Second)
		require.NotEqual(t, sub, w.info(0).SubscriptionID)
	})
}

func TestHealthySubscriptionsStay(t *testing.T) {
	for name, push := range map[string]func(w *world, sub string, changed time.Time){
		"prompt": func(w *world, sub string, changed time.Time) {
			w.pass(time.Second)
			w.m.Heard(sub, ids(0, 100), time.Now())
			w.pass(5 * time.Minute)
		},
		"slow": func(w *world, sub string, changed time.Time) {
			w.pass(time.Minute)
			w.m.Heard(sub, ids(0, 100), time.Now())
			w.pass(4 * time.Minute)
		},
		"one of many lost": func(w *world, sub string, changed time.Time) {
			w.pass(2 * time.Second)
			for range 10 { // it goes on delivering: one push was lost, the subscription lives
				w.m.Heard(sub, ids(1, 99), time.Now())
				w.pass(30 * time.Second)
			}
		},
		"a read shows it late": func(w *world, sub string, changed time.Time) {
			w.pass(5 * time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				w.cfg.PushesReported = true
				w.start()
				w.m.SetMembers(people(0, 100))
				w.authorize(0)
				w.pass(2 * time.Minute)
				sub := w.info(0).SubscriptionID
				for i := range 10 {
					if name == "a read shows it late" {
						w.m.Heard(sub, ids(0, 100), time.Now())
						w.pass(3 * time.Second) // a read may fall in here
					}
					push(w, sub, w.change([]string{presence.Busy, presence.Away}[i%2]))
				}
				require.Equal(t, sub, w.info(0).SubscriptionID)
				require.Zero(t, w.silences())
				require.Equal(t, name == "one of many lost", testutil.ToFloat64(w.m.metrics.misses) > 0)
			})
		})
	}
}

func TestLossySubscriptionIsReplaced(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.cfg.PushesReported = true
		w.start()
		w.m.SetMembers(people(0, 100))
		w.authorize(0)
		w.pass(2 * time.Minute)
		sub := w.info(0).SubscriptionID
		w.change(presence.Busy)
		for range 4 { // most are lost, some come
			w.pass(30 * time.Second)
			w.m.Heard(sub, ids(0, 2), time.Now())
		}
		w.pass(time.Minute)
		require.NotEqual(t, sub, w.info(0).SubscriptionID)
		require.Equal(t, 1, w.silences())
	})
}

func TestSilenceMeansNothingUnlessPushesAreReported(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 100))
		w.authorize(0)
		w.pass(2 * time.Minute)
		for i := range 10 {
			w.change([]string{presence.Busy, presence.Away}[i%2])
			w.pass(5 * time.Minute)
		}
		require.Equal(t, 1, w.graph.count("create"))
		require.Zero(t, w.silences())
	})
}
