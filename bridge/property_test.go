package bridge

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// TestAgreesAfterAnyHistory drives a member through people and faults in any order and then lets things settle:
// each side must show what policy says of the other's own state, or the person's choice, and nothing of ours
// may be left without a cause.
func TestAgreesAfterAnyHistory(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		name := "untrusted"
		if trusted {
			name = "trusted"
		}
		t.Run(name, func(t *testing.T) {
			for range 10 { // batches of 100 histories
				rapid.Check(t, func(rt *rapid.T) { history(rt, newWorld(rapidTB{TB: t, rt: rt}, trusted)) })
			}
		})
	}
}

// rapidTB sends failures to rapid, so that it shrinks the history.
type rapidTB struct {
	testing.TB
	rt *rapid.T
}

func (r rapidTB) Fatalf(format string, args ...any) { r.rt.Fatalf(format, args...) }
func (r rapidTB) Logf(format string, args ...any)   { r.rt.Logf(format, args...) }
func (r rapidTB) Helper()                           {}

var teamsStates = []presence.Pair{
	presence.ParsePairString("Available"), presence.ParsePairString("Busy/InACall"), presence.ParsePairString("Busy/InAMeeting"),
	presence.ParsePairString("DoNotDisturb"), presence.ParsePairString("DoNotDisturb/Presenting"), presence.ParsePairString("Away"),
	presence.ParsePairString("Offline"),
}

func history(rt *rapid.T, w *world) {
	w.client = rapid.SampledFrom(teamsStates).Draw(rt, "client at first")
	w.lastShown = w.shown()
	w.introduce()
	n := rapid.IntRange(0, 40).Draw(rt, "n")
	for range n {
		act(rt, w)
	}
	w.settle()
	agree(w)
}

func act(rt *rapid.T, w *world) {
	index := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "index") }
	switch rapid.IntRange(0, 13).Draw(rt, "act") {
	case 0, 1:
		w.setClient(rapid.SampledFrom(teamsStates).Draw(rt, "client"))
	case 2, 3:
		w.setLine(rapid.SampledFrom([]presence.Line{presence.LineIdle, presence.LineInCall, presence.LineRinging}).Draw(rt, "line"))
	case 4:
		w.pick(rapid.SampledFrom([]presence.Status{statusAvailable, statusDND, statusAway, statusLunch, statusBusy}).Draw(rt, "status"))
	case 5, 6:
		if len(w.pushes) > 0 {
			w.deliverPush(index(len(w.pushes)), rapid.IntRange(0, 4).Draw(rt, "twice") == 0)
		}
	case 7:
		if len(w.pushes) > 0 && rapid.Bool().Draw(rt, "drop") {
			w.note("FAULT a push is lost")
			w.pushes = w.pushes[1:]
		}
	case 8:
		if len(w.events) > 0 {
			w.deliverEvent(0)
		}
	case 9, 10:
		if len(w.requests) > 0 {
			w.answer(w.take(index(len(w.requests))))
		}
	case 11:
		if len(w.requests) > 0 {
			w.lose(w.take(index(len(w.requests))), rapid.Bool().Draw(rt, "applied"), rapid.Bool().Draw(rt, "late"))
		}
	case 12:
		w.advance(time.Duration(rapid.IntRange(1, 60).Draw(rt, "seconds")) * time.Second)
	case 13:
		if rapid.IntRange(0, 3).Draw(rt, "crash") == 0 {
			w.crash()
		}
	}
}

// agree compares both sides with what the people did, by the world's own knowledge.
func agree(w *world) {
	if len(w.late) > 0 {
		w.fail("%d writes have not landed yet", len(w.late))
	}
	want := w.rules.Policy.ForPBX("main", catalogue, w.client)
	status := w.phone.Status
	switch {
	case want.IsZero():
		if !status.Same(w.chosen) {
			w.fail("Teams is %s, which means nothing to the PBX, but it shows %s instead of the person's %s", w.client, status, w.chosen)
		}
	case policy.OfClass(want.Class) <= policy.OfKind(w.chosen.Kind):
		if !status.Same(w.chosen) {
			w.fail("the person's %s ranks as high as %s, but the PBX shows %s", w.chosen, want.Status, status)
		}
	case !status.Same(want.Status) && !status.Same(w.chosen):
		w.fail("Teams is %s, the person chose %s, but the PBX shows %s", w.client, w.chosen, status)
	case status.Same(w.chosen) && !w.chosen.Same(want.Status) && w.clientAfterChoice && !w.hidden():
		w.fail("Teams is %s since after the person's choice, but the PBX shows %s", w.client, status)
	}
	w.agreeTeams(status)
}

// hidden tells whether our own session hides what the client is.
func (w *world) hidden() bool { return !w.session.IsZero() && w.shown() == w.session }

func (w *world) agreeTeams(status presence.Status) {
	own := w.chosen
	if !status.Same(w.chosen) {
		own = presence.Status{} // ours shows on the PBX: what lies beneath does not cross
	}
	want := w.rules.Policy.ForTeams([]policy.Endpoint{{ID: w.ep, Line: w.phone.Line, Status: own}})
	shows := w.session.IsZero() && w.client == want.Pair
	outranked := want.Class != presence.ClassCall && policy.OfPair(w.client) >= policy.OfClass(want.Class)
	switch {
	case want.IsZero() && !w.session.IsZero():
		w.fail("nothing on the PBX asks for it, but our session in Teams shows %s", w.session)
	case !want.IsZero() && w.session != want.Pair && !shows && !outranked:
		w.fail("the PBX asks for %s, the person's own is %s, but our session shows %q", want.Pair, w.client, w.session)
	}
}
