package monitors

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

func (w *world) add(i int) Info {
	w.t.Helper()
	in, err := w.m.Add(w.t.Context(), Order{UPN: upn(i)})
	require.NoError(w.t, err)
	synctest.Wait()
	return in
}

func (w *world) remove(i int) Info {
	w.t.Helper()
	in, err := w.m.Remove(w.t.Context(), upn(i))
	require.NoError(w.t, err)
	synctest.Wait()
	return in
}

func TestRemovedMonitorLeavesNothing(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 3))
		w.authorize(0)
		require.Len(t, w.graph.watched()[owner(0)], 3)
		link, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.NoError(t, err)

		in := w.remove(0)
		require.Equal(t, StateRetired, in.State)
		require.Contains(t, in.Remedy, "monitors add")
		require.Empty(t, w.graph.watched(), "its subscription is deleted")
		for _, secret := range []string{"\"token\"", "client_state", "sealed", "sign_in\""} {
			require.NotContains(t, string(w.stored(0)), secret)
		}
		end, _ := w.m.Authorization(link.ID)
		require.Equal(t, FlowFailed, end.State)
		require.Contains(t, end.Text, "removed")
		require.Equal(t, presence.CoveragePolled, w.cover(0).Coverage)

		_, err = w.m.Remove(t.Context(), upn(0))
		require.ErrorIs(t, err, ErrUnknownMonitor)
		_, err = w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.ErrorIs(t, err, ErrUnknownMonitor)

		// It stays so although it is configured, until it is taken back.
		w.stop()
		w.start()
		w.m.SetMembers(people(0, 3))
		synctest.Wait()
		require.Equal(t, StateRetired, w.info(0).State)
		require.Equal(t, StateUnset, w.add(0).State)
		w.authorize(0)
		require.Len(t, w.graph.watched()[owner(0)], 3)
		w.stop()
		w.start()
		require.Equal(t, StateAuthorized, w.info(0).State)
		require.False(t, w.info(0).Added, "it is configured")
	})
}

func TestRemovedFromTheConfigurationToo(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.remove(0)
		w.stop()
		configured := w.cfg.Monitors
		w.cfg.Monitors = nil
		w.start()
		w.pass(time.Minute)
		w.stop()
		w.cfg.Monitors = configured
		w.start()
		require.Equal(t, StateUnset, w.info(0).State, "configured anew, it is a monitor again")
	})
}

func TestAddedMonitor(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 700))
		w.authorize(0)
		require.Equal(t, 50, w.m.Sums().ByWhy[WhyCapacity])
		in := w.add(1)
		require.True(t, in.Added)
		require.Equal(t, StateUnset, in.State)
		w.authorize(1)
		require.Equal(t, 700, w.m.Sums().ByCoverage[presence.CoveragePushed])

		for _, already := range []int{0, 1} {
			_, err := w.m.Add(t.Context(), Order{UPN: upn(already)})
			require.ErrorIs(t, err, ErrKnownMonitor)
		}
		for _, bad := range []string{"", "a", "@b", "a@", "a@b@c", "a@b c"} {
			_, err := w.m.Add(t.Context(), Order{UPN: bad})
			require.ErrorIs(t, err, ErrUPN, bad)
		}

		// It holds over a restart, and its subscription goes on.
		before := w.graph.sub(owner(1)).ID
		w.stop()
		w.start()
		w.m.SetMembers(people(0, 700))
		synctest.Wait()
		require.Equal(t, StateAuthorized, w.info(1).State)
		require.Equal(t, before, w.graph.sub(owner(1)).ID)
		require.Len(t, w.m.Monitors(), 2)

		require.Equal(t, StateRetired, w.remove(1).State)
		require.Equal(t, 50, w.m.Sums().ByWhy[WhyCapacity])
		w.stop()
		w.start()
		require.Equal(t, StateRetired, w.info(1).State)
		w.stop()
		_, err := w.m.Add(t.Context(), Order{UPN: upn(2)})
		require.ErrorIs(t, err, ErrNotRunning)
		_, err = w.m.Remove(t.Context(), upn(0))
		require.ErrorIs(t, err, ErrNotRunning)
	})
}

// A spare takes the shard of a monitor that is removed, and nobody moves.
func TestSpareTakesTheShardOfARemovedMonitor(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 900))
		for i := range 3 {
			w.authorize(i)
		}
		w.pass(5 * time.Minute)
		before := w.graph.watched()
		require.Len(t, before, 2)
		require.Len(t, before[owner(0)], 650)
		w.remove(0)
		after := w.graph.watched()
		require.Equal(t, before[owner(0)], after[owner(2)])
		require.Equal(t, before[owner(1)], after[owner(1)])
		require.Equal(t, 900, w.m.Sums().ByCoverage[presence.CoveragePushed])
	})
}

// Whatever fails while a monitor is removed, in the end nothing is left, after a crash as well.
func TestRemovalGoesOn(t *testing.T) {
	for name, trouble := range map[string]func(w *world){
		"graph is away": func(w *world) {
			w.graph.fail("delete", fault{times: 1000, err: &CallError{Kind: Transient, Err: errNet}})
		},
		"signed out":      func(w *world) { w.graph.with(func() { clear(w.graph.tokens) }) },
		"store fails":     func(w *world) { w.store.with(func() { w.store.fault = fault{times: 3, err: errNet} }) },
		"answers go lost": func(w *world) { w.store.with(func() { w.store.fault = fault{times: 3, err: errNet, landed: true} }) },
	} {
		for _, crash := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				bubble(t, 1, func(t *testing.T, w *world) {
					w.start()
					w.m.SetMembers(people(0, 3))
					w.authorize(0)
					trouble(w)
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					_, err := w.m.Remove(ctx, upn(0))
					require.NoError(t, err)
					if crash {
						w.stop()
						w.start()
					}
					w.pass(10 * time.Minute)
					require.Equal(t, StateRetired, w.info(0).State)
					require.NotContains(t, string(w.stored(0)), "\"token\"")
				})
			})
		}
	}
}

func TestRenew(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 3))
		f, err := w.m.Renew(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.NoError(t, err)
		require.Equal(t, FlowPending, f.State, "nobody has signed in yet")
		require.Equal(t, ByLink, f.Method)
		w.authorize(0)

		f, err = w.m.Renew(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.NoError(t, err)
		require.Equal(t, FlowAuthorized, f.State, "a new secret needs no new sign-in")
		got, err := w.m.AwaitAuthorization(t.Context(), f.ID)
		require.NoError(t, err)
		require.Equal(t, f, got)

		w.graph.fail("refresh", fault{times: 1, err: &CallError{Kind: Unauthorised, Code: "AADSTS7000222", Err: errNet}})
		_, err = w.m.Renew(t.Context(), Order{UPN: upn(0), Method: ByLink})
		var app *ApplicationError
		require.ErrorAs(t, err, &app)
		require.Equal(t, "client_secret_expired", app.Code)
		require.ErrorContains(t, err, "client_secret_file")
		w.graph.fail("refresh", fault{times: 1, err: &CallError{Kind: Transient, Err: errNet}})
		_, err = w.m.Renew(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.ErrorIs(t, err, errNet)
		w.graph.fail("refresh", fault{times: 1, err: &CallError{Kind: Unauthorised, Code: "AADSTS50173", Err: errNet}})
		f, err = w.m.Renew(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.NoError(t, err)
		require.Equal(t, FlowPending, f.State)

		// Another application: a sign-in is needed.
		w.stop()
		w.cfg.ClientID = "client-2"
		w.start()
		require.Equal(t, StateNeedsUpdate, w.info(0).State)
		require.ErrorIs(t, w.m.Retry(upn(0)), ErrNotSignedIn)
		f, err = w.m.Renew(t.Context(), Order{UPN: upn(0), Method: ByRedirect})
		require.NoError(t, err)
		w.signsIn(0)
		f, err = w.m.FinishSignIn(t.Context(), Answer{State: state(t, f), Code: "x"})
		require.NoError(t, err)
		require.Equal(t, FlowAuthorized, f.State)
		require.Equal(t, StateAuthorized, w.info(0).State)
		_, err = w.m.Renew(t.Context(), Order{UPN: upn(5), Method: ByLink})
		require.ErrorIs(t, err, ErrUnknownMonitor)
	})
}

func TestRenewOfARefusedMonitor(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 3))
		w.authorize(0)
		w.graph.fail("renew", fault{times: 1, err: &CallError{Kind: Unauthorised, Code: "AADSTS7000222", Err: errors.New("expired")}})
		w.graph.fail("list", fault{times: 100, err: &CallError{Kind: Unauthorised, Code: "AADSTS7000222", Err: errors.New("expired")}})
		w.m.OnLifecycle(w.graph.sub(owner(0)).ID, "subscriptionRemoved")
		synctest.Wait()
		require.Equal(t, StateNeedsAttention, w.info(0).State)
		w.graph.fail("list", fault{})
		f, err := w.m.Renew(t.Context(), Order{UPN: upn(0), Method: ByDeviceCode})
		require.NoError(t, err)
		require.Equal(t, FlowAuthorized, f.State)
		synctest.Wait()
		require.Equal(t, StateAuthorized, w.info(0).State)
	})
}
