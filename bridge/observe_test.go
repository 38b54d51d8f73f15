package bridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// withheld is what the last step would have written.
func withheld(w *world) (out []Withheld) {
	for _, eff := range w.did {
		if h, ok := eff.(Withheld); ok {
			out = append(out, h)
		}
	}
	return out
}

// checkSilent fails if anything is written, or believed to be.
func checkSilent(w *world) {
	w.t.Helper()
	if w.writes > 0 {
		w.fail("%d writes by an account that only observes", w.writes)
	}
	if !w.rec.Idle() {
		w.fail("the record holds an assertion that nobody made")
	}
}

func observer(t testing.TB, s sort) *world {
	w := newWorld(t, s)
	w.rules.Observe = true
	return w
}

func TestObservingDecidesAndWritesNothing(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, versionedPBX, documentPBX} {
		w := observer(t, s)
		w.introduce()
		w.drain()
		w.setLine(presence.LineInCall)
		w.deliverEvent(0)
		assert.Equal(t, []Withheld{{Side: "teams", Do: DoSet, Value: "Busy/InACall"}}, withheld(w), s)
		require.NotNil(t, w.rec.Teams.Would)
		assert.Equal(t, WouldBe{Value: "Busy/InACall", Since: w.now, Pair: inACall, Class: presence.ClassCall, From: w.ep}, *w.rec.Teams.Would)
		assert.Equal(t, []Reason{ReasonObserving}, w.rec.Teams.Because)
		d, told := DecisionOf(&Record{}, &w.rec, EndpointSeen{Endpoint: w.ep}, w.did, w.now)
		require.True(t, told)
		assert.Equal(t, DecidedEffect{Do: DoWouldSet, Side: "teams", Value: "Busy/InACall"}, d.Effects[len(d.Effects)-1])

		w.advance(time.Hour)
		w.sweep()
		w.snapshot()
		assert.Empty(t, withheld(w), "what does not change is told once")
		w.setLine(presence.LineIdle)
		w.deliverEvent(0)
		assert.Equal(t, []Withheld{{Side: "teams", Do: DoClear}}, withheld(w), s)
		assert.Nil(t, w.rec.Teams.Would)

		w.setClient(inACall)
		w.drain()
		require.NotNil(t, side(w).Would)
		assert.Equal(t, statusCall.Name, side(w).Would.Value)
		assert.Equal(t, statusAvailable, side(w).Status)
		w.advance(w.rules.HoldDown)
		w.setClient(available)
		w.drain()
		assert.Nil(t, side(w).Would)
		checkSilent(w)
	}
}

// A member who is found in a state that the bridge could have set: nothing is cleared to find out (R15), it is believed.
func TestObservingBelievesWhatItCannotClear(t *testing.T) {
	w := observer(t, trustedPBX)
	w.clients[0] = inACall
	w.introduce()
	w.drain()
	assert.Equal(t, inACall, w.rec.Teams.Organic)
	assert.Equal(t, OrganicSeen, w.rec.Teams.OrganicState)
	assert.Equal(t, statusCall.Name, side(w).Would.Value)
	checkSilent(w)
}

// Another bridge may be at work with the same client: what it wrote is not given back.
func TestObservingLeavesAnotherBridgesStatusAlone(t *testing.T) {
	w := observer(t, trustedPBX)
	w.phone.Status, w.phone.ChangedBy = statusCall, pbx.AuthorSelf
	w.introduce()
	w.drain()
	w.phone.Status, w.phone.Version = statusAvailable, w.phone.Version+1
	w.phoneEvent()
	w.drain()
	assert.Equal(t, statusAvailable, side(w).Status)
	checkSilent(w)
}

// An account that is switched to observing first gives back what it asserted; then it is silent. Switched back, it writes.
func TestObservingBeginsByGivingBack(t *testing.T) {
	w := known(t, trustedPBX)
	w.setClient(doNot)
	w.setLine(presence.LineInCall)
	w.drain()
	require.NotNil(t, w.rec.Teams.Assertion)
	require.NotNil(t, side(w).Assertion)
	w.rules.Observe = true
	for range 5 {
		w.step(Recovered{})
		w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep}})
		w.snapshot()
		w.drain()
		w.advance(time.Minute)
	}
	w.settle()
	assert.True(t, w.rec.Idle())
	assert.True(t, w.session.IsZero(), "the session is cleared")
	assert.Equal(t, statusAvailable, w.phone.Status, "the phone has the person's own")
	assert.Equal(t, "Busy/InACall", w.rec.Teams.Would.Value)
	writes := w.writes
	w.setLine(presence.LineIdle)
	w.setClient(available)
	w.settle()
	assert.Equal(t, writes, w.writes, "silence")
	w.rules.Observe = false
	w.setLine(presence.LineInCall)
	w.settle()
	assert.Equal(t, inACall, w.session)
	assert.Nil(t, w.rec.Teams.Would)
	agree(w)
}

// Whatever happens, an account that begins by observing writes nothing and believes nothing of its own anywhere; at rest
// it says what it would write.
func TestObservingProperties(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, versionedPBX, documentPBX} {
		t.Run(string(s), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				w := observer(t, s)
				start(rt, w)
				w.introduce()
				for range rapid.IntRange(0, 30).Draw(rt, "n") {
					act(rt, w)
					checkSilent(w)
				}
				w.pbxLost(false)
				w.settle()
				checkSilent(w)
				ep := w.rec.Endpoint(w.ep)
				want := w.wantOnPBX()
				if ep != nil && ep.Would != nil && ep.Would.Value != want.Status.Name {
					w.fail("would write %s, policy says %s", ep.Would.Value, want.Status)
				}
				would := w.rec.Teams.Would
				covered := would != nil && !would.Pair.IsZero() && coveredBy(w.rec.Teams.Organic, &TeamsAssertion{Value: would.Pair, Class: would.Class})
				if ep != nil && ep.Would == nil && ep.Override == nil && !w.excluded && !covered && want.Status.Same(statusCall) && w.chosen.Same(statusAvailable) && w.phone.ChangedBy == pbx.AuthorUser && s == trustedPBX {
					w.fail("nothing would be written, policy says %s", want.Status)
				}
			})
		})
	}
}

// Messages and preferred presences are withheld like everything else.
func TestObservingWithholdsMessagesAndPreferences(t *testing.T) {
	w := observer(t, trustedPBX)
	p, err := policy.Parse([]byte(`
teams_to_pbx:
- {when: {activity: InACall}, set: {status: In a call, message: In Teams}}
pbx_to_teams:
- {when: {status: Lunch}, set: {presence: BeRightBack, method: preferred, for: 1h, message: At lunch}}
`))
	require.NoError(t, err)
	w.rules.Policy = p
	caps := w.rules.PBX["main"]
	caps.Capabilities.Messages = true
	w.rules.PBX["main"] = caps
	w.introduce()
	w.drain()
	w.pick(statusLunch)
	w.drain()
	require.NotNil(t, w.rec.Teams.Would)
	assert.Contains(t, w.rec.Teams.Would.Value, "BeRightBack/BeRightBack")
	assert.Contains(t, w.rec.Teams.Would.Value, "At lunch")
	w.pick(statusAvailable)
	w.drain()
	assert.Nil(t, w.rec.Teams.Would)
	w.setClient(inACall)
	w.drain()
	require.NotNil(t, side(w).Would)
	assert.Equal(t, "In a call, message: In Teams", side(w).Would.Value)
	w.pick(statusBusy) // by hand: the status is theirs, the message is not
	w.drain()
	require.NotNil(t, side(w).Would)
	assert.Equal(t, "message: In Teams", side(w).Would.Value)
	checkSilent(w)
}
