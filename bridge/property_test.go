package bridge

import (
	"os"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// TestAgreesAfterAnyHistory drives a member through people and faults in any order and then lets things settle:
// each side must show what policy says of the other's own state, or the person's choice, nothing of ours may be left
// without a cause, and then nothing is written any more. Other properties are checked with every step.
func TestAgreesAfterAnyHistory(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, versionedPBX, documentPBX} {
		t.Run(string(s), func(t *testing.T) {
			for range batches() { // of 100 histories
				rapid.Check(t, func(rt *rapid.T) { history(rt, newWorld(rapidTB{TB: t, rt: rt}, s)) })
			}
		})
	}
}

// batches is how many batches of histories are tried: more with BRIDGE_HISTORIES set to a number of hundreds.
func batches() int {
	if n, err := strconv.Atoi(os.Getenv("BRIDGE_HISTORIES")); err == nil {
		return n
	}
	if testing.Short() { // under the race detector: a step has no concurrency of its own
		return 1
	}
	return 6
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

var (
	preferences = []presence.Pair{
		available, presence.ParsePairString("Busy"), presence.ParsePairString("DoNotDisturb"), presence.ParsePairString("Away"),
		presence.ParsePairString("BeRightBack"), presence.ParsePairString("Offline/OffWork"),
	}
	lines    = []presence.Line{presence.LineIdle, presence.LineInCall, presence.LineRinging, presence.LineOnHold, presence.LineOffline}
	statuses = []presence.Status{statusAvailable, statusDND, statusAway, statusLunch, statusBusy}
)

func history(rt *rapid.T, w *world) {
	start(rt, w)
	w.introduce()
	n := rapid.IntRange(0, 40).Draw(rt, "n")
	for range n {
		act(rt, w)
	}
	w.pbxLost(false)
	w.settle()
	agree(w)
	restful(w)
	if limit := 10 + 8*w.changes; w.writes > limit {
		w.fail("%d writes after %d changes by people and faults", w.writes, w.changes)
	}
}

// start puts the member into any state that the bridge may find: with things of ours from a former life, too.
func start(rt *rapid.T, w *world) {
	w.clients[0] = rapid.SampledFrom(teamsStates).Draw(rt, "client at first")
	w.tieOurs = rapid.Bool().Draw(rt, "ours shows in a tie")
	w.lag = time.Duration(rapid.IntRange(0, 4).Draw(rt, "lag")) * time.Second
	w.phone.Line = rapid.SampledFrom(lines).Draw(rt, "line at first")
	if rapid.IntRange(0, 2).Draw(rt, "preferred at first") == 0 {
		w.preferred = rapid.SampledFrom(preferences).Draw(rt, "preferred")
		w.prefUntil = w.now.Add(time.Duration(rapid.IntRange(1, 600).Draw(rt, "for")) * time.Second)
	}
	if rapid.IntRange(0, 2).Draw(rt, "session of a former life") == 0 {
		w.session = rapid.SampledFrom(w.rules.Policy.TeamsValues()).Draw(rt, "session")
		w.sessionSeen, w.sessionUntil = w.session, w.now.Add(time.Duration(rapid.IntRange(1, 300).Draw(rt, "left"))*time.Second)
		// What it woke cannot be told from a choice.
		w.everOnPBX[w.rules.Policy.ForPBX("main", catalogue, policy.TeamsState{Pair: w.shown()}).Status.Name] = true
	}
	switch rapid.IntRange(0, 3).Draw(rt, "status at first") {
	case 0: // ours, of a former life; one that no PBX dates is the person's as far as anybody can tell
		w.phone.Status, w.phone.ChangedBy = statusCall, pbx.AuthorSelf
		if !w.pbxSort().trusted() {
			w.chosen = statusCall
		}
	case 1:
		w.phone.Status = rapid.SampledFrom(statuses).Draw(rt, "status")
		w.chosen = w.phone.Status
	}
	w.lastShown = w.shown()
	w.remember()
}

// restful is the property "no loop": at rest, without people and faults, only renewals are sent.
func restful(w *world) {
	w.restless = true
	for range 6 {
		w.advance(5 * time.Minute)
		w.drain()
		w.sweep()
		w.snapshot()
		w.drain()
	}
	w.restless = false
	agree(w)
}

func act(rt *rapid.T, w *world) {
	index := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "index") }
	switch rapid.IntRange(0, 19).Draw(rt, "act") {
	case 0, 1:
		w.setSessionOf(rapid.IntRange(0, 3).Draw(rt, "session")/3, rapid.SampledFrom(teamsStates).Draw(rt, "client"))
	case 2, 3:
		w.setLine(rapid.SampledFrom(lines).Draw(rt, "line"))
	case 4:
		w.pick(rapid.SampledFrom(statuses).Draw(rt, "status"))
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
		if len(w.events) > 0 && rapid.IntRange(0, 9).Draw(rt, "drop") == 0 {
			w.note("FAULT an event is lost")
			w.events = w.events[1:]
		} else if len(w.events) > 0 {
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
	default:
		rareAct(rt, w)
	}
}

// rareAct is what happens less often.
func rareAct(rt *rapid.T, w *world) {
	switch rapid.IntRange(0, 9).Draw(rt, "rare act") {
	case 0, 1:
		d := time.Duration(rapid.IntRange(1, 600).Draw(rt, "for")) * time.Second
		w.prefer(rapid.SampledFrom(preferences).Draw(rt, "preferred"), d)
	case 2:
		if !w.preferred.IsZero() {
			w.change("the preference is taken back", func() { w.preferred = presence.Pair{} })
		}
	case 3:
		w.optOut(rapid.IntRange(0, 3).Draw(rt, "out") == 0)
	case 4:
		w.pbxLost(rapid.Bool().Draw(rt, "lost"))
	case 5:
		w.changes++
		w.note("FAULT teams is out of sight")
		w.step(TeamsUnseen{})
	case 6:
		w.advance(time.Duration(rapid.IntRange(1, 12).Draw(rt, "minutes")) * time.Minute)
	case 7:
		w.sweep()
	case 8:
		w.snapshot()
	case 9:
		w.step(ReadAgain{Teams: true, PBX: true})
	}
}

// agree compares both sides with what the people did, by the world's own knowledge.
func agree(w *world) {
	if len(w.late) > 0 {
		w.fail("%d writes have not landed yet", len(w.late))
	}
	want, organic, status := w.wantOnPBX(), w.organic(), w.phoneShows()
	if !w.mistaken.IsZero() && !status.Same(w.chosen) {
		w.chosen = w.mistaken
	}
	if w.excluded {
		if !status.Same(w.chosen) || !w.session.IsZero() {
			w.fail("opted out, but the PBX shows %s and our session %s", status, w.session)
		}
		return
	}
	switch {
	case w.keptAwake(): // nobody can tell
	case want.IsZero():
		if !status.Same(w.chosen) {
			w.fail("Teams is %s, which means nothing to the PBX, but it shows %s instead of the person's %s", organic, status, w.chosen)
		}
	case policy.OfClass(want.Class) <= policy.OfKind(w.chosen.Kind):
		// Only a first assertion is held up by rank: one that began as Do not disturb may have become a call.
		became := status.Same(want.Status) && policy.OfKind(w.chosen.Kind) < policy.RankDND
		if !status.Same(w.chosen) && !became {
			w.fail("the person's %s ranks as high as %s, but the PBX shows %s", w.chosen, want.Status, status)
		}
	case !status.Same(want.Status) && !status.Same(w.chosen):
		w.fail("Teams is %s, the person chose %s, but the PBX shows %s", organic, w.chosen, status)
	case status.Same(w.chosen) && !w.chosen.Same(want.Status) && w.clientAfterChoice && !w.hidden() && !w.woken():
		w.fail("Teams is %s since after the person's choice, but the PBX shows %s", organic, status)
	case status.Same(w.chosen) && !w.chosen.Same(want.Status) && !w.hidden() && !w.woken() && w.rec.Endpoints[0].Override == nil:
		w.fail("Teams is %s and nothing stands against it, but the PBX shows %s", organic, status)
	}
	w.agreeTeams(status)
}

// hidden tells whether our own session hides what the person's own is.
func (w *world) hidden() bool { return !w.session.IsZero() && w.shown() == w.session }

// keptAwake tells whether the person has gone and our session alone keeps their preference showing, as it showed before:
// nothing tells this from a person who is there. It ends with our session.
func (w *world) keptAwake() bool {
	return !w.session.IsZero() && w.organic().IsOffline() && w.shown() == w.preferred
}

// woken tells whether what shows counts as woken by us: a person who came online in that very moment cannot be told
// from a stored preference (R5).
func (w *world) woken() bool { return !w.session.IsZero() && w.shown() == w.rec.Teams.Woken }

func (w *world) agreeTeams(status presence.Status) {
	own := w.chosen
	if !status.Same(w.chosen) {
		own = presence.Status{} // ours shows on the PBX: what lies beneath does not cross
	}
	want := w.rules.Policy.ForTeams([]policy.Endpoint{{ID: w.ep, Line: w.phone.Line, Status: own}})
	shows := w.session.IsZero() && w.organic() == want.Pair
	outranked := want.Class != presence.ClassCall && policy.OfPair(w.organic()) >= policy.OfClass(want.Class)
	switch {
	case want.IsZero() && !w.session.IsZero():
		w.fail("nothing on the PBX asks for it, but our session in Teams shows %s", w.session)
	case !want.IsZero() && w.session != want.Pair && !shows && !outranked && !w.keptAwake():
		w.fail("the PBX asks for %s, the person's own is %s, but our session shows %q", want.Pair, w.organic(), w.session)
	}
}
