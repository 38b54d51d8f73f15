package monitors

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProbeUsesASpareAndLeavesNothing(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 10))
		w.authorize(0)
		w.pass(time.Second)
		_, err := w.m.Probe(t.Context())
		require.ErrorIs(t, err, ErrNoneFree, "the only one that is signed in carries a subscription")
		before := w.graph.sub(owner(0)).ID

		w.authorize(1)
		p, err := w.m.Probe(t.Context())
		require.NoError(t, err)
		require.NoError(t, p.Err)
		require.Equal(t, owner(1), p.UPN)
		require.Equal(t, 2, w.graph.count("create"))
		require.Len(t, w.graph.watched(), 1, "deleted at once")
		require.Equal(t, before, w.graph.sub(owner(0)).ID, "the live one was not touched")
		require.Equal(t, 1, w.m.Sums().Spares)

		w.graph.fail("create", fault{times: 1, err: &CallError{Kind: Refused, Text: "Subscription validation request timed out.", Err: errors.New("400")}})
		p, err = w.m.Probe(t.Context())
		require.NoError(t, err)
		var e *CallError
		require.ErrorAs(t, p.Err, &e)
		require.Equal(t, Refused, e.Kind)
		require.Empty(t, w.info(1).Problem.Text, "it is no trouble of the monitor")
		require.Equal(t, 1, w.m.Sums().Spares)
	})
}

// TestProbeWithoutAnAnswer may have made a subscription all the same.
func TestProbeWithoutAnAnswer(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 10))
		w.authorize(0)
		w.authorize(1)
		w.pass(time.Second)
		w.graph.fail("create", fault{times: 1, err: errNet, landed: true})
		w.graph.fail("delete", fault{times: 1, err: errNet})
		p, err := w.m.Probe(t.Context())
		require.NoError(t, err)
		require.Error(t, p.Err)
		require.Len(t, w.graph.watched(), 1)

		// What is left behind is no obstacle.
		w.graph.fail("delete", fault{times: probeAttempts, err: errNet})
		_, err = w.m.Probe(t.Context())
		require.NoError(t, err)
		require.Len(t, w.graph.watched(), 2)
		require.Contains(t, w.logs.String(), "expires by itself")
		w.m.SetMembers(people(0, 700))
		w.pass(3 * time.Minute)
		require.Equal(t, 700, w.m.Sums().ByCoverage["pushed"])
	})
}

// TestMonitorThatIsNeededMeanwhile becomes wanted while it is lent: its subscription follows after the probe.
func TestMonitorThatIsNeededMeanwhile(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 10))
		w.authorize(0)
		w.authorize(1)
		w.pass(time.Second)
		free := w.m.lend()
		require.NotNil(t, free)
		free.using <- struct{}{}
		w.m.SetMembers(people(0, 700))
		w.pass(time.Minute)
		require.Nil(t, w.m.lend(), "it is lent")
		require.Equal(t, 1, w.graph.count("create"))
		<-free.using
		free.giveBack()
		w.pass(time.Second)
		require.Equal(t, 2, w.graph.count("create"))
		_, err := w.m.Probe(t.Context())
		require.ErrorIs(t, err, ErrNoneFree)
	})
}

func TestProbeWhereThereIsNothingToProbe(t *testing.T) {
	bubble(t, 0, func(t *testing.T, w *world) {
		w.cfg.NoSubscriptions = true
		w.start()
		_, err := w.m.Probe(t.Context())
		require.ErrorIs(t, err, ErrNoSubscriptions)
		w.stop()
		_, err = w.m.Probe(t.Context())
		require.Error(t, err)
	})
}
