package bridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// pass lets time go by, a second at a time, and everything happen that it brings.
func pass(w *world, d time.Duration) {
	for ; d > 0; d -= time.Second {
		w.advance(min(d, time.Second))
		w.drain()
	}
}

var inMeeting = presence.ParsePairString("Busy/InAMeeting")

// Teams turns a call into a meeting for a moment, and back. The bridge would leave the phone as it is, so observing says nothing.
func TestObservingLingers(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, versionedPBX, documentPBX} {
		w := observer(t, s)
		w.introduce()
		w.drain()
		w.setClient(inACall)
		w.drain()
		require.NotNil(t, side(w).Would, s)
		since := side(w).Would.Since
		pass(w, 10*time.Second)
		w.setClient(inMeeting)
		w.drain()
		assert.Empty(t, withheld(w))
		require.NotNil(t, side(w).Would, "%s: it may still be the call", s)
		assert.Equal(t, []Reason{ReasonObserving, ReasonLinger}, side(w).Because)
		pass(w, 10*time.Second)
		w.setClient(inACall)
		w.drain()
		require.NotNil(t, side(w).Would)
		assert.Equal(t, since, side(w).Would.Since, "the same as ever")
		assert.Equal(t, []Reason{ReasonObserving}, side(w).Because)

		w.setClient(inMeeting)
		w.drain()
		pass(w, 14*time.Second)
		require.NotNil(t, side(w).Would)
		pass(w, 2*time.Second)
		assert.Nil(t, side(w).Would, "%s: a meeting in its own right", s)
		checkSilent(w)
	}
}

// What lies under a state that would be the bridge's could not be seen, so nothing follows from it: a call in Teams under
// one on the phone means nothing on the phone until that one ends.
func TestObservingCannotSeeThrough(t *testing.T) {
	w := observer(t, trustedPBX)
	w.introduce()
	w.drain()
	w.setLine(presence.LineInCall)
	w.drain()
	w.setClient(inACall)
	w.drain()
	require.Equal(t, inACall, w.rec.Teams.Would.Pair)
	require.Nil(t, side(w).Would)
	assert.Equal(t, []Reason{ReasonHidden}, side(w).Because)
	w.setLine(presence.LineIdle)
	w.drain()
	require.Nil(t, w.rec.Teams.Would)
	require.Equal(t, statusCall, side(w).Would.Status)
	checkSilent(w)
}

// Everybody does the same in two worlds, of which one is bridged and the other only observed. Whenever nothing is under way,
// what is said to be withheld in the one is what stands in the other.
func TestObservingSaysWhatBridgingDoes(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, documentPBX} {
		t.Run(string(s), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				tb := rapidTB{TB: t, rt: rt}
				bridged, seen := newWorld(tb, s), observer(tb, s)
				p := policy.Presets()["micollab"]
				p.TeamsToPBX = append(p.TeamsToPBX, policy.TeamsRule{
					When: policy.TeamsCondition{Availability: []string{presence.Away}},
					Set:  policy.SetStatus{Name: "Away", Kind: presence.KindAway, Class: presence.ClassAway},
				})
				both := func(do func(w *world)) {
					for _, w := range []*world{bridged, seen} {
						do(w)
						w.drain()
					}
				}
				both(func(w *world) {
					w.rules.Policy = &p
					w.introduce()
				})
				both(func(w *world) { pass(w, 10*time.Second) })
				for range rapid.IntRange(1, 12).Draw(rt, "n") {
					switch rapid.SampledFrom([]string{"teams", "line", "pick"}).Draw(rt, "who") {
					case "teams":
						to := rapid.SampledFrom([]presence.Pair{available, inACall, inMeeting, presence.ParsePairString("Away"), offline}).Draw(rt, "to")
						both(func(w *world) { w.setClient(to) })
					case "line":
						to := rapid.SampledFrom([]presence.Line{presence.LineIdle, presence.LineInCall, presence.LineOnHold, presence.LineRinging}).Draw(rt, "to")
						both(func(w *world) { w.setLine(to) })
					case "pick":
						// Of a choice of what shows already, or would, there is no trace.
						to := rapid.SampledFrom([]presence.Status{statusAvailable, statusDND, statusLunch, statusBusy}).Draw(rt, "to")
						if !to.Same(seen.chosen) && !to.Same(bridged.phoneShows()) {
							both(func(w *world) { w.pick(to) })
						}
					}
					wait := time.Duration(rapid.SampledFrom([]int{8, 12, 20, 90}).Draw(rt, "wait")) * time.Second
					both(func(w *world) { pass(w, wait) })
					checkSilent(seen)
					equalDecisions(bridged, seen)
				}
			})
		})
	}
}

// equalDecisions compares what stands with what is said to be withheld.
func equalDecisions(bridged, seen *world) {
	var pair, wouldPair presence.Pair
	if a := bridged.rec.Teams.Assertion; a != nil {
		pair = a.Value
	}
	if w := seen.rec.Teams.Would; w != nil {
		wouldPair = w.Pair
	}
	if pair != wouldPair {
		bridged.note("the other world:")
		bridged.story = append(bridged.story, seen.story...)
		bridged.fail("in Teams stands %s, but %s is said to be withheld", pair, wouldPair)
	}
	var status, would presence.Status
	if a := side(bridged).Assertion; a != nil {
		status = a.Value
	}
	if w := side(seen).Would; w != nil {
		would = w.Status
	}
	if !status.Same(would) {
		bridged.note("the other world:")
		bridged.story = append(bridged.story, seen.story...)
		bridged.fail("on the phone stands %s, but %s is said to be withheld", status, would)
	}
}
