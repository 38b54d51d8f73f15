package monitors

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// fuse is the life of a process, counted in requests: writes to the store, and calls to Graph and to Entra. The last one is
// carried out or not, and answered in no case; whatever follows does not leave the process.
type fuse struct {
	mu    sync.Mutex
	left  int
	lands bool // the last one is carried out
	blown bool
}

// strike is one request: is it carried out, and is it answered?
func (f *fuse) strike() (do, answer bool) {
	if f == nil {
		return true, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.blown:
		return false, false
	case f.left > 0:
		f.left--
		return true, true
	default:
		f.blown = true
		return f.lands, false
	}
}

func (f *fuse) isBlown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.blown
}

func (g *tenant) strike() (do, answer bool) {
	g.mu.Lock()
	f := g.fuse
	g.mu.Unlock()
	return f.strike()
}

func (w *world) light(f *fuse) {
	w.store.with(func() { w.store.fuse = f })
	w.graph.with(func() { w.graph.fuse = f })
}

// deed is something that a process may die in the midst of.
type deed struct {
	monitors int
	// before is what there is when it begins; do is the deed, and may take until virtual time has passed for it.
	before, do func(w *world)
	// after mends what a person would mend, seeing what the restarted bridge says; then everybody must be watched.
	after   func(w *world)
	members int
	gone    bool // monitor 0 must be retired at the end
}

// signInUnderWay gives the person's answer to whatever sign-in waits, and begins one where nobody is signed in.
func (w *world) signInUnderWay(i int) {
	w.t.Helper()
	w.signsIn(i)
	w.m.mu.Lock()
	var waiting string
	for _, f := range w.m.flows {
		if f.State == FlowPending && f.URL != "" {
			waiting = f.signIn.State
		}
	}
	w.m.mu.Unlock()
	if waiting != "" {
		_, err := w.m.FinishSignIn(w.t.Context(), Answer{State: waiting, Code: "again"})
		require.NoError(w.t, err)
		synctest.Wait()
	}
	w.pass(time.Second)
	switch in := w.info(i); in.State {
	case StateAuthorized:
	case StateUnset:
		require.NotEmpty(w.t, in.Remedy)
		w.authorize(i)
	default:
		require.Fail(w.t, "a state that nobody expects", "%+v", in)
	}
}

func deeds() map[string]deed {
	working := func(w *world) {
		w.m.SetMembers(people(0, 5))
		for i := range w.m.Monitors() {
			w.authorize(i)
		}
		w.pass(time.Minute)
	}
	join := func(w *world) {
		w.m.SetMembers(people(0, 6))
		w.pass(10 * time.Minute)
	}
	return map[string]deed{
		"sign-in by link": {
			monitors: 1, members: 5, before: func(w *world) { w.m.SetMembers(people(0, 5)) },
			do: func(w *world) {
				w.signsIn(0)
				if f, err := w.m.Authorize(w.t.Context(), Order{UPN: upn(0), Method: ByLink}); err == nil {
					ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
					defer cancel()
					_, _ = w.m.FinishSignIn(ctx, Answer{State: state(w.t, f), Code: "code"}) // the process may die
				}
				w.pass(time.Minute)
			},
			after: func(w *world) { w.signInUnderWay(0) },
		},
		"sign-in by device code": {
			monitors: 1, members: 5, before: func(w *world) { w.m.SetMembers(people(0, 5)) },
			do: func(w *world) {
				w.signsIn(0)
				_, _ = w.m.Authorize(w.t.Context(), Order{UPN: upn(0), Method: ByDeviceCode}) // the process may die
				w.pass(time.Minute)
			},
			after: func(w *world) { w.signInUnderWay(0) },
		},
		"sign-in again": {
			monitors: 1, members: 5, before: working,
			do: func(w *world) {
				w.signsIn(0)
				_, _ = w.m.Authorize(w.t.Context(), Order{UPN: upn(0), Method: ByDeviceCode}) // the process may die
				w.pass(time.Minute)
			},
			after: func(w *world) { w.signInUnderWay(0) },
		},
		"re-creation":              {monitors: 1, members: 6, before: working, do: join},
		"re-creation with a spare": {monitors: 2, members: 6, before: working, do: join},
		"certificate rotation": {
			monitors: 1, members: 5, before: working,
			do: func(w *world) {
				_, _ = w.m.RotateCertificate(w.t.Context()) // the process may die
				w.pass(time.Minute)
			},
		},
		"removal with a spare": {
			monitors: 2, members: 5, before: working, gone: true,
			do: func(w *world) {
				ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
				defer cancel()
				_, _ = w.m.Remove(ctx, upn(0)) // the process may die
				w.pass(3 * time.Minute)
			},
			after: func(w *world) {
				if w.m.byUPN(upn(0)) == nil {
					return
				}
				_, err := w.m.Remove(w.t.Context(), upn(0)) // it died before that was written down: ordered again
				require.NoError(w.t, err)
			},
		},
		"new secret": {
			monitors: 1, members: 5, before: working,
			do: func(w *world) {
				_, _ = w.m.Renew(w.t.Context(), Order{UPN: upn(0), Secret: w.secret("secret-new")}) // the process may die
				w.pass(time.Minute)
			},
		},
		"renewal": {monitors: 1, members: 5, before: working, do: func(w *world) { w.pass(30 * time.Minute) }},
	}
}

// TestProcessMayDieAnywhere kills the process at every request that it makes, carried out or not, in the midst of everything
// that takes more than one. A new process over the same store, at the same Graph, ends up where the old one was going: everybody
// is watched, by as many subscriptions as are needed, and their reads are owed.
func TestProcessMayDieAnywhere(t *testing.T) {
	for name, d := range deeds() {
		for _, lands := range []bool{false, true} {
			n, survived := 0, false
			for ; !survived; n++ {
				t.Run(fmt.Sprint(name, " ", n, " ", lands), func(t *testing.T) {
					bubble(t, d.monitors, func(t *testing.T, w *world) { survived = dieAt(t, w, d, n, lands) })
				})
				require.Less(t, n, 60, "the deed ends")
			}
			require.Greater(t, n, 1, "%s: it was interrupted", name)
		}
	}
}

// dieAt carries a deed out in a process that dies at its n-th request, and tells whether it did not make as many.
func dieAt(t *testing.T, w *world, d deed, n int, lands bool) (survived bool) {
	t.Helper()
	w.start()
	d.before(w)
	f := &fuse{left: n, lands: lands}
	w.light(f)
	d.do(w)
	survived = !f.isBlown()
	w.light(&fuse{blown: true}) // what a dying process still tries goes nowhere
	w.stop()
	w.light(nil)

	w.sink.takeOwed()
	w.start()
	w.m.SetMembers(people(0, d.members))
	if d.after != nil {
		d.after(w)
	}
	w.pass(10 * time.Minute)
	require.Subset(t, w.sink.takeOwed(), ids(0, d.members), "pushes may have been lost")
	watched := w.graph.watched()
	require.Len(t, watched, 1, "one subscription")
	for _, list := range watched {
		require.Equal(t, ids(0, d.members), list)
	}
	for _, in := range w.m.Monitors() {
		if d.gone && in.UPN == owner(0) {
			require.Equal(t, StateRetired, in.State)
			continue
		}
		require.Equal(t, StateAuthorized, in.State)
		require.Zero(t, in.Problem)
	}
	require.Equal(t, d.members, w.m.Sums().ByCoverage["pushed"])
	return survived
}
