package bridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

func TestR14WhatIsBelievedAtOnce(t *testing.T) {
	w := known(t, trustedPBX)
	assert.Equal(t, "write Do not disturb", push(w, doNot), "a push that merely differs")
	w = known(t, plainPBX)
	assert.Equal(t, "set Busy/InACall", lineIs(w, presence.LineInCall), "line state")
	w = known(t, trustedPBX)
	w.seq = 5
	push(w, away)
	w.seq = 5
	push(w, away)
	w.step(TeamsPushed{Pair: doNot, Mark: Mark{Seq: 6}})
	assert.Empty(t, did(w), "at or below the record's mark a push is dropped")
}

func TestR14WhatIsConfirmedFirst(t *testing.T) {
	w := known(t, trustedPBX)
	w.step(TeamsSwept{Pair: doNot, Epoch: w.rec.TeamsEpoch()})
	assert.Equal(t, "read teams", did(w), "a sweep that contradicts the record")
	w = asserted(t, trustedPBX)
	w.pick(statusAway)
	event(w)
	readTeams(w, inACall)
	assert.Equal(t, "read teams", push(w, available), "any push while an override stands")
	// From a PBX that does not say who changed a status: every status event, the first one too.
	w = known(t, plainPBX)
	w.pick(statusDND)
	assert.Equal(t, "read pbx", event(w))
	w = newWorld(t, plainPBX)
	w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep}})
	w.phoneEvent()
	assert.Equal(t, "read pbx", event(w))
	w = known(t, plainPBX)
	push(w, inACall)
	readPBX(w)
	w.step(EndpointSeen{Endpoint: w.ep, State: pbx.State{Line: presence.LineIdle, Status: statusLunch}})
	assert.True(t, side(w).ReadOwed, "also while a write is under way")
	w.step(EndpointSeen{Endpoint: w.ep, State: pbx.State{Line: presence.LineIdle, Status: statusCall}})
}

func TestR14VersionsAndAuthorsNeedNothing(t *testing.T) {
	w := known(t, trustedPBX)
	side(w).Version, w.phone.Version = 9, 9
	old := w.phoneState()
	old.Version, old.Status = 8, statusDND
	w.step(EndpointSeen{Endpoint: w.ep, State: old})
	old.Version = 9
	w.step(EndpointSeen{Endpoint: w.ep, State: old})
	assert.Equal(t, statusAvailable, side(w).Status, "at or below the last version an event is old")
	w.pick(statusDND)
	assert.Contains(t, event(w), "set DoNotDisturb/Presenting", "above it, by a user, it is a choice")
	// Our answers count; a direct read sets the mark, backwards too.
	w = asserted(t, trustedPBX)
	assert.Equal(t, uint64(2), side(w).Version)
	w.phone.Version = 1
	w.step(ReadAgain{PBX: true})
	readPBX(w)
	assert.Equal(t, uint64(1), side(w).Version)
}

func TestR15AWithdrawnValueIsBelievedFromAReadOnly(t *testing.T) {
	w := inCall(t, trustedPBX)
	lineIs(w, presence.LineIdle)
	teamsAnswers(w, Unanswered)
	assert.Empty(t, push(w, inACall))
	assert.Equal(t, "clear", fire(w, TimerDeadline), "the last was unanswered: sent again first")
	teamsAnswers(w, Answered)
	assert.Equal(t, "read teams", fire(w, TimerSettle))
	readTeams(w, available)
	assert.Equal(t, "read teams", push(w, inACall), "a late push")
	readTeams(w, available)
	w.step(TeamsSwept{Pair: inACall, Epoch: w.rec.TeamsEpoch()})
	assert.Equal(t, "read teams", did(w), "or a sweep")
	assert.Equal(t, "write In a call", readTeams(w, inACall), "past the fence it is the person's")
}

func TestR15AMemberWithoutARecord(t *testing.T) {
	w := newWorld(t, trustedPBX)
	w.session, w.sessionSeen, w.sessionUntil = inACall, inACall, w.now.Add(time.Minute)
	w.introduce()
	assert.Equal(t, "read teams", did(w))
	assert.Equal(t, "clear", readTeams(w, inACall), "a session of a former life may show it")
	teamsAnswers(w, Answered)
	fire(w, TimerSettle)
	w.everOnPBX[statusCall.Name] = true
	assert.Equal(t, "write In a call", readTeams(w, inACall))
}

func TestR15ValuesAreForgottenAfterFourHours(t *testing.T) {
	w := inCall(t, trustedPBX)
	lineIs(w, presence.LineIdle)
	teamsAnswers(w, Answered)
	due := w.rec.Teams.Timers.Forget
	assert.Equal(t, w.now.Add(4*time.Hour), due)
	w.now = w.now.Add(3 * time.Hour)
	w.rec.Teams.withdraw(presenting, true)
	w.step(ReadAgain{})
	assert.Equal(t, due, w.rec.Teams.Timers.Forget)
	w.now = due
	fire(w, TimerForget)
	assert.Nil(t, w.rec.Teams.withdrawn(inACall))
	assert.NotNil(t, w.rec.Teams.withdrawn(presenting), "each in its own time")
	assert.Equal(t, due.Add(3*time.Hour), w.rec.Teams.Timers.Forget)
	fire(w, TimerForget)
	assert.True(t, w.rec.Teams.Timers.Forget.IsZero())
}

func TestR16TheListingIsAsGoodAsARead(t *testing.T) {
	w := known(t, trustedPBX)
	w.pick(statusDND)
	w.events = nil
	w.snapshot()
	assert.Contains(t, did(w), "set DoNotDisturb/Presenting")
	w = known(t, plainPBX)
	w.pick(statusDND)
	w.events = nil
	w.snapshot()
	assert.Equal(t, "read pbx", did(w), "a contradiction is confirmed where nobody says who chose")
	// What a write overtook is read again.
	w = asserted(t, trustedPBX)
	push(w, doNot)
	w.pick(statusAway)
	w.events = nil
	w.step(EndpointSnapshot{Endpoint: w.ep, State: w.phoneState(), Epoch: w.rec.EndpointEpoch(w.ep)})
	assert.True(t, side(w).ReadOwed)
}

func TestR17ThePersonWins(t *testing.T) {
	w := asserted(t, trustedPBX)
	w.pick(statusAway)
	assert.Equal(t, "read teams", event(w), "at once, and a Teams read is owed")
	assert.Nil(t, side(w).Assertion)
	assert.Equal(t, statusCall, side(w).Override.Of)
	assert.Empty(t, readTeams(w, inACall))
	push(w, available)
	assert.Empty(t, readTeams(w, available), "policy makes something else of it: the override ends")
	assert.Nil(t, side(w).Override)
	assert.Equal(t, "write In a call", push(w, inACall))
}

func TestR17LateNewsEndNoOverride(t *testing.T) {
	w := asserted(t, trustedPBX)
	w.pick(statusAway)
	event(w)
	assert.Empty(t, readTeams(w, available), "the call had ended before the pick: that is what is overridden")
	require.NotNil(t, side(w).Override)
	assert.True(t, side(w).Override.Of.IsZero())
	assert.Equal(t, "read teams", push(w, inACall), "late news of the call")
	assert.Empty(t, readTeams(w, available))
	push(w, doNot)
	assert.Equal(t, "write Do not disturb", readTeams(w, doNot), "a true change ends it")
}

func TestR17WhatIsOverriddenWhenTeamsCannotSay(t *testing.T) {
	w := asserted(t, trustedPBX)
	w.rec.Teams.OrganicState = OrganicHidden
	w.pick(statusAway)
	w.deliverEvent(0)
	assert.Equal(t, statusCall, side(w).Override.Of, "nothing: what our assertion said")
	w.rec.Teams.Assertion = &TeamsAssertion{Value: inACall, Class: presence.ClassCall, Phase: PhaseStanding}
	w.rec.Teams.ReadOwed = true
	w.step(TeamsRead{Pair: inACall, Epoch: w.rec.TeamsEpoch()})
	assert.Equal(t, statusCall, side(w).Override.Of)
	w = known(t, trustedPBX)
	w.pick(statusAway)
	event(w)
	assert.True(t, side(w).Override.Of.IsZero(), "policy made nothing of Available")
}

func TestR17AMaskedAssertionIsShownAsMasked(t *testing.T) {
	w := inCall(t, trustedPBX)
	w.did = nil
	assert.NotContains(t, push(w, doNot), "set")
	assert.Equal(t, []Reason{ReasonAsserted, ReasonMasked}, w.rec.Teams.Because)
}

// Endpoints of one member do not inform one another: what one PBX shows is not written to the other.
func TestTwoEndpointsOfOnePerson(t *testing.T) {
	w := known(t, trustedPBX)
	other := presence.EndpointID{PBX: "second", User: "7"}
	w.rules.PBX["second"] = PBXRules{Capabilities: plainPBX.capabilities(), Statuses: catalogue, Settle: time.Second, Timeout: 10 * time.Second}
	w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep, other}})
	w.step(EndpointSnapshot{Endpoint: other, State: pbx.State{Line: presence.LineIdle, Status: statusAvailable}})
	require.True(t, w.rec.Endpoint(other).Seen)
	assert.Equal(t, "set Busy/InACall", lineIs(w, presence.LineInCall), "a call on the one shows in Teams, not on the other")
	assert.Equal(t, w.ep, w.rec.Teams.Assertion.From)
	teamsAnswers(w, Answered)
	fire(w, TimerSettle)
	push(w, inACall)
	assert.Empty(t, did(w))
	w.step(EndpointSeen{Endpoint: other, State: pbx.State{Line: presence.LineInCall, Status: statusAvailable}})
	assert.Empty(t, lineIs(w, presence.LineIdle), "the other one still asks for it")
	assert.Equal(t, other, w.rec.Teams.Assertion.From)
	w.step(EndpointUnseen{Endpoint: other})
	assert.Equal(t, "clear", did(w))
	teamsAnswers(w, Answered)
	fire(w, TimerSettle)
	readTeams(w, available)
	assert.Equal(t, "write Do not disturb", push(w, doNot), "Teams goes to both, but one of them is unknown")
}

func TestOptOutWithdrawsThenNothingIsWritten(t *testing.T) {
	w := assertedBy(t, trustedPBX, doNot)
	lineIs(w, presence.LineInCall)
	teamsAnswers(w, Answered)
	fire(w, TimerSettle)
	w.optOut(true)
	assert.Equal(t, "clear, write Available", did(w))
	teamsAnswers(w, Answered)
	assert.Equal(t, "forget", pbxAnswers(w, Answered))
	wiped := Record{Member: "m", Excluded: true, Wiped: true}
	assert.Equal(t, wiped, w.rec, "nothing is kept")
	assert.Empty(t, push(w, doNot))
	assert.Empty(t, lineIs(w, presence.LineInCall))
	w.sweep()
	w.snapshot()
	assert.Equal(t, wiped, w.rec, "nothing more is kept")
	w.step(MemberChanged{Excluded: true})
	assert.Equal(t, "forget", did(w), "a leaver's record can go, too")
	w.optOut(false)
	assert.Equal(t, "read teams", did(w), "nobody looked meanwhile")
	w.snapshot()
	w.drain()
	assert.Equal(t, inACall, w.session, "and then all is as for a new member")
}

func TestAnEndpointThatLeavesIsKeptUntilItIsRestored(t *testing.T) {
	w := asserted(t, trustedPBX)
	w.step(MemberChanged{})
	assert.Equal(t, "write Available", did(w))
	assert.NotNil(t, side(w))
	pbxAnswers(w, Answered)
	assert.Nil(t, side(w))
	w.step(EndpointSeen{Endpoint: w.ep, State: w.phoneState(), Seq: 99})
	assert.Empty(t, did(w), "nobody's any more")
}

// Step is pure: it changes none of its arguments and answers alike every time.
func TestStepIsPure(t *testing.T) {
	w := asserted(t, trustedPBX)
	before := mustJSON(&w.rec)
	for range 3 {
		a, ea := Step(w.rules, w.rec, TeamsPushed{Pair: doNot, Mark: Mark{Seq: 1000}}, w.now)
		b, eb := Step(w.rules, w.rec, TeamsPushed{Pair: doNot, Mark: Mark{Seq: 1000}}, w.now)
		assert.Equal(t, a, b)
		assert.Equal(t, ea, eb)
	}
	assert.Equal(t, string(before), string(mustJSON(&w.rec)))
	// That time has passed is an event: whatever the clock says, nothing else moves a timer.
	next, _ := Step(w.rules, w.rec, ReadAgain{}, w.now.Add(100*time.Hour))
	assert.Equal(t, w.rec.Teams.Timers, next.Teams.Timers)
}

// A record survives its store.
func TestARecordIsStoredWhole(t *testing.T) {
	w := asserted(t, trustedPBX)
	lineIs(w, presence.LineInCall)
	got, err := decodeRecord(mustJSON(&w.rec))
	require.NoError(t, err)
	assert.Equal(t, string(mustJSON(&w.rec)), string(mustJSON(&got)))
	assert.Less(t, len(mustJSON(&w.rec)), 2000, "bytes a member")
}

// R10 for a change of value: whoever began a Teams call while our session showed the same sent no notification.
func TestR10AChangeOfValueIsReadAfterwards(t *testing.T) {
	w := known(t, trustedPBX)
	w.rules.Policy = parsePolicy(t, `
teams_to_pbx:
  - {when: {activity: InACall}, set: {status: "In a call"}}
pbx_to_teams:
  - {when: {line: in-call}, set: {presence: Busy/InACall}}
  - {when: {status_kind: away}, set: {presence: Away/Away}}
`)
	w.everInTeams[away] = true
	quiet := func() {
		w.drain()
		w.advance(6 * time.Second)
		w.drain()
	}
	w.pick(statusAway)
	w.setLine(presence.LineInCall)
	quiet()
	require.Equal(t, inACall, w.session)
	w.setClient(inACall) // which shows the same
	quiet()
	require.Equal(t, OrganicHidden, w.rec.Teams.OrganicState)
	w.setLine(presence.LineIdle)
	quiet()
	require.Equal(t, OrganicSeen, w.rec.Teams.OrganicState)
	require.Equal(t, statusCall, w.phone.Status)
}
