package bridge

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

func TestR6OneWriteAtATimeWaitedOutAndSentAgain(t *testing.T) {
	w := known(t, trustedPBX)
	lineIs(w, presence.LineInCall)
	require.NotNil(t, w.rec.Teams.Write, "the intent is in the record")
	assert.Equal(t, w.now.Add(40*time.Second), w.rec.Teams.Timers.Deadline, "30 s past the request's timeout")
	assert.Empty(t, lineIs(w, presence.LineIdle), "one write at a time")
	for _, o := range []Outcome{Unanswered, Refused, Conflicted} {
		w := known(t, trustedPBX)
		lineIs(w, presence.LineInCall)
		assert.Empty(t, teamsAnswers(w, o), "whatever the error says")
		assert.Empty(t, lineIs(w, presence.LineIdle), "it is waited out")
		assert.Empty(t, teamsAnswers(w, Answered), "an answer that comes after the error means nothing")
		assert.Equal(t, "clear", fire(w, TimerDeadline), "then the present intent is sent again")
	}
	w = known(t, trustedPBX)
	w.step(TeamsAnswered{ID: 99})
	assert.Empty(t, did(w), "nobody asked")
}

func TestR6OnAPBXAReadDecides(t *testing.T) {
	w := known(t, trustedPBX)
	push(w, inACall)
	pbxAnswers(w, Unanswered)
	fire(w, TimerHold, w.ep)
	assert.Empty(t, push(w, available), "a conditional write is waited out as well")
	assert.Empty(t, fire(w, TimerDeadline, w.ep), "it may have landed at the very end: past the fence")
	assert.Equal(t, "read pbx", fire(w, TimerSettle, w.ep))
}

func TestR6ATakeOverCountsAStandingAssertionAsUnanswered(t *testing.T) {
	w := inCall(t, trustedPBX)
	fire(w, TimerRenew) // which is not stored; an earlier one may be
	w.rec.Teams.Timers.Deadline = w.now
	w.now = w.now.Add(time.Minute)
	w.requests = nil
	w.step(Recovered{})
	assert.Equal(t, w.now.Add(40*time.Second), w.rec.Teams.Timers.Deadline, "since now")
	w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep}})
	w.setLine(presence.LineIdle)
	w.events = nil
	w.snapshot()
	assert.NotContains(t, did(w), "clear")
	assert.Contains(t, fire(w, TimerDeadline), "clear")
	// A stored intent is waited out by its own deadline.
	w = known(t, trustedPBX)
	push(w, inACall)
	due := side(w).Timers.Deadline
	w.now = w.now.Add(20 * time.Second)
	w.step(Recovered{})
	assert.True(t, side(w).Write.Waiting)
	assert.Equal(t, due, side(w).Timers.Deadline)
	w.snapshot()
	assert.True(t, side(w).Seen, "the line is known again although the fence stands")
}

func TestR7TheFence(t *testing.T) {
	w := known(t, trustedPBX)
	w.step(ReadAgain{Teams: true})
	epoch := w.rec.TeamsEpoch()
	lineIs(w, presence.LineInCall)
	w.step(TeamsRead{Pair: doNot, Epoch: epoch})
	assert.Equal(t, available, w.rec.Teams.Shown, "a read that overlaps the write")
	teamsAnswers(w, Answered)
	assert.Equal(t, w.now.Add(5*time.Second), w.rec.Teams.Timers.Settle)
	w.step(TeamsRead{Pair: doNot, Epoch: w.rec.TeamsEpoch()})
	assert.Equal(t, available, w.rec.Teams.Shown, "nor one within the settle time")
	assert.Equal(t, "read teams", fire(w, TimerSettle), "it stays owed")
	w.step(TeamsSwept{Pair: doNot, Epoch: epoch})
	assert.Empty(t, did(w), "a sweep that began before")
	// The lapse of our session counts as a write.
	w = inCall(t, trustedPBX)
	fire(w, TimerRenew)
	teamsAnswers(w, Unanswered)
	epoch = w.rec.TeamsEpoch()
	fire(w, TimerLapse)
	assert.NotEqual(t, epoch, w.rec.TeamsEpoch())
	assert.True(t, w.rec.Teams.ReadOwed)
	// On a PBX.
	w = asserted(t, plainPBX)
	push(w, available)
	require.Empty(t, readTeams(w, available))
}

func TestR7APushOvertakesAReadUnderWay(t *testing.T) {
	w := known(t, trustedPBX)
	w.step(ReadAgain{Teams: true})
	epoch := w.rec.TeamsEpoch()
	push(w, available) // what shows already, but newer than what the read may see
	w.step(TeamsRead{Pair: doNot, Epoch: epoch})
	assert.Equal(t, available, w.rec.Teams.Shown)
	assert.Equal(t, "read teams", did(w), "it stays owed")
}

func TestR8ReadBeforeWrite(t *testing.T) {
	w := known(t, plainPBX)
	assert.Equal(t, "read pbx", push(w, inACall))
	w.phone.Status = statusAway // what the read shows is previous, not what was known
	assert.Equal(t, "read teams", readPBX(w), "a choice that the read reveals is an override (R17)")
	assert.NotNil(t, side(w).Override)
	w = known(t, plainPBX)
	push(w, inACall)
	assert.Equal(t, "write In a call", readPBX(w))
	assert.Equal(t, statusAvailable, side(w).Assertion.Previous)
	// With versions: in one request.
	w = known(t, trustedPBX)
	push(w, inACall)
	apply, ok := w.did[0].(ApplyEndpoint)
	require.True(t, ok)
	assert.Equal(t, uint64(1), apply.Write.IfVersion)
	// With a document of our own there is no previous, and withdrawing removes it.
	w = asserted(t, documentPBX)
	assert.True(t, side(w).Assertion.Previous.IsZero())
	assert.Equal(t, "write unknown", push(w, available))
}

func TestR8A412MeansRead(t *testing.T) {
	w := known(t, trustedPBX)
	push(w, inACall)
	w.phone.Version++ // a site that counts the line, too
	assert.Equal(t, "read pbx", pbxAnswers(w, Conflicted))
	readPBX(w)
	assert.Equal(t, "write In a call", fire(w, TimerHold, w.ep))
	apply, ok := w.did[0].(ApplyEndpoint)
	require.True(t, ok)
	assert.Equal(t, uint64(2), apply.Write.IfVersion)
	w = known(t, trustedPBX)
	push(w, inACall)
	w.pick(statusAway)
	w.events = nil
	pbxAnswers(w, Conflicted)
	readPBX(w)
	assert.Empty(t, fire(w, TimerHold, w.ep))
	assert.Equal(t, statusCall, side(w).Override.Of, "also when we had not written yet (R17)")
}

func TestR8ARetryAndAChangeOfValueKeepPrevious(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, versionedPBX} {
		w := asserted(t, s)
		push(w, doNot)
		if s == plainPBX {
			readPBX(w)
		}
		a := side(w).Assertion
		require.Equal(t, statusDND, a.Value, s)
		assert.Equal(t, statusCall, a.Before, s)
		assert.Equal(t, statusAvailable, a.Previous, s)
	}
}

func TestR8AReadAfterAnUnansweredWrite(t *testing.T) {
	for name, tt := range map[string]struct {
		shows presence.Status
		check func(*EndpointSide) bool
	}{
		"our value: it stands":                 {statusDND, func(e *EndpointSide) bool { return e.Assertion.Value == statusDND }},
		"the value before: that one stands":    {statusCall, func(e *EndpointSide) bool { return e.Assertion.Value == statusCall }},
		"previous: it is restored":             {statusAvailable, func(e *EndpointSide) bool { return e.Assertion == nil && e.Override == nil }},
		"anything else: it was chosen by hand": {statusLunch, func(e *EndpointSide) bool { return e.Assertion == nil && e.Override != nil }},
	} {
		w := asserted(t, plainPBX)
		push(w, doNot)
		readPBX(w)
		pbxAnswers(w, Unanswered)
		fire(w, TimerDeadline, w.ep)
		fire(w, TimerSettle, w.ep)
		w.phone.Status = tt.shows
		readPBX(w)
		assert.True(t, tt.check(side(w)), name)
	}
}

func TestR8AValueOfOursWithoutARecord(t *testing.T) {
	w := newWorld(t, trustedPBX)
	w.phone.Status, w.phone.ChangedBy = statusCall, pbx.AuthorSelf
	w.introduce()
	require.NotNil(t, side(w).Assertion)
	assert.Equal(t, statusAvailable, side(w).Assertion.Previous, "policy's default")
	w.drain()
	w.advance(10 * time.Second)
	w.drain()
	assert.Equal(t, statusAvailable, w.phone.Status)
	// What policy never sets is a previous status that we restored.
	w = newWorld(t, trustedPBX)
	w.phone.Status, w.phone.ChangedBy, w.chosen = statusLunch, pbx.AuthorSelf, statusLunch
	w.introduce()
	assert.Nil(t, side(w).Assertion)
	assert.Equal(t, statusLunch, side(w).Status)
}

func TestR9Rank(t *testing.T) {
	for status, writes := range map[presence.Status]map[presence.Pair]bool{
		statusAvailable:                        {inACall: true, doNot: true},
		statusAway:                             {inACall: true, doNot: true},
		statusBusy:                             {inACall: false, doNot: true},
		statusDND:                              {inACall: false, doNot: false},
		statusLunch:                            {inACall: false, doNot: false},
		{Name: "Gone", Kind: presence.KindOut}: {inACall: false, doNot: false},
	} {
		for shown, want := range writes {
			w := known(t, trustedPBX)
			side(w).Status, w.chosen, w.everChosen[status.Name] = status, status, true
			assert.Equal(t, want, strings.HasPrefix(push(w, shown), "write"), "%s over %s", shown, status)
		}
	}
	// Towards Teams: a call always, whose own precedence masks it; Do not disturb only over less.
	w := known(t, trustedPBX)
	push(w, doNot)
	pbxAnswers(w, Answered)
	assert.Equal(t, "set Busy/InACall", lineIs(w, presence.LineInCall))
	w = known(t, trustedPBX)
	push(w, meeting)
	w.pick(statusDND)
	assert.Equal(t, "set DoNotDisturb/Presenting", event(w), "a Do not disturb over a meeting")
}

func TestR9NothingIsAssertedThatAlreadyShows(t *testing.T) {
	w := known(t, trustedPBX)
	side(w).Status = statusCall
	assert.Empty(t, push(w, inACall))
	w = known(t, trustedPBX)
	push(w, inACall)
	pbxAnswers(w, Answered)
	assert.Empty(t, lineIs(w, presence.LineInCall))
	// On a change of value the assertion is withdrawn.
	w = asserted(t, trustedPBX)
	side(w).Assertion.Previous, w.chosen, w.everChosen[statusDND.Name] = statusDND, statusDND, true
	assert.Equal(t, "write Do not disturb", push(w, doNot))
	assert.Equal(t, PhaseWithdrawing, side(w).Assertion.Phase)
}

func TestR10WithdrawNeverGuess(t *testing.T) {
	w := inCall(t, trustedPBX)
	assert.Equal(t, "clear", lineIs(w, presence.LineIdle))
	teamsAnswers(w, Answered)
	assert.Equal(t, "read teams", fire(w, TimerSettle), "the member may have been in a Teams call all along")
	assert.Equal(t, "write In a call", readTeams(w, inACall), "past an answered write it is believed (R15)")
	w = asserted(t, trustedPBX)
	assert.Equal(t, "write Available", push(w, available))
}

func TestR11LevelNotEdge(t *testing.T) {
	w := known(t, trustedPBX)
	w.setLine(presence.LineInCall)
	w.events = nil
	w.snapshot()
	assert.Equal(t, "set Busy/InACall", did(w), "a lost event heals at the next listing")
	w = known(t, trustedPBX)
	w.step(TeamsSwept{Pair: doNot, Epoch: w.rec.TeamsEpoch()})
	assert.Equal(t, "read teams", did(w))
	assert.Equal(t, "write Do not disturb", readTeams(w, doNot), "a lost push at the next sweep")
}

func TestR12Leases(t *testing.T) {
	w := known(t, trustedPBX)
	lineIs(w, presence.LineInCall)
	set, ok := w.did[0].(SetTeams)
	require.True(t, ok)
	assert.Equal(t, 5*time.Minute, set.Lease)
	teamsAnswers(w, Answered)
	renew := w.rec.Teams.Timers.Renew.Sub(w.now)
	assert.LessOrEqual(t, renew, 150*time.Second)
	assert.GreaterOrEqual(t, renew, 135*time.Second, "half-life with jitter")
	fire(w, TimerSettle)
	assert.Equal(t, "renew Busy/InACall", fire(w, TimerRenew))
	before := w.rec.durable()
	teamsAnswers(w, Answered)
	assert.Equal(t, before, w.rec.durable(), "a renewal is not stored")
}

func TestR13TheFirstChangeGoesAtOnceTheLastStateWins(t *testing.T) {
	w := known(t, trustedPBX)
	push(w, inACall)
	pbxAnswers(w, Answered)
	assert.Empty(t, push(w, available), "settle")
	assert.Empty(t, fire(w, TimerSettle, w.ep), "hold-down")
	assert.Equal(t, 3*time.Second, side(w).Timers.Hold.Sub(w.now))
	assert.Empty(t, push(w, doNot))
	assert.Equal(t, "write Do not disturb", fire(w, TimerHold, w.ep))
	w = known(t, trustedPBX)
	lineIs(w, presence.LineInCall)
	teamsAnswers(w, Answered)
	assert.Empty(t, lineIs(w, presence.LineIdle), "in Teams the settle time")
	assert.Contains(t, fire(w, TimerSettle), "clear")
}

func TestR13AGrantSurvivesTheReadBeforeTheWrite(t *testing.T) {
	w := known(t, plainPBX)
	w.rules.Paced = map[string]bool{"main": true, TeamsSideName: true}
	assert.Equal(t, "await main", push(w, inACall))
	w.step(Granted{Side: "main"})
	assert.Equal(t, "read pbx", did(w))
	assert.Equal(t, "write In a call", readPBX(w))
	apply, ok := w.did[0].(ApplyEndpoint)
	require.True(t, ok)
	assert.True(t, apply.Paid)
	w = known(t, trustedPBX)
	push(w, offline)
	w.rules.Paced = map[string]bool{TeamsSideName: true}
	assert.Equal(t, "await teams side", lineIs(w, presence.LineInCall))
	w.step(Granted{Side: TeamsSideName})
	assert.Equal(t, "read teams", did(w))
	assert.Equal(t, "set Busy/InACall", readTeams(w, offline))
	w.rules.Paced = nil
}

func TestR8AConflictTakesTheAssertionBack(t *testing.T) {
	w := asserted(t, trustedPBX)
	push(w, doNot)
	pbxAnswers(w, Conflicted)
	assert.Equal(t, EndpointAssertion{
		Value: statusCall, Previous: statusAvailable, Class: presence.ClassDND, Phase: PhaseStanding, Since: side(w).Assertion.Since,
	}, *side(w).Assertion, "a change of value: the one before stands")
	w = asserted(t, trustedPBX)
	push(w, available)
	pbxAnswers(w, Conflicted)
	assert.Equal(t, PhaseStanding, side(w).Assertion.Phase, "a restore: ours stands")
	assert.Equal(t, statusCall, side(w).Assertion.Value)
	w = known(t, versionedPBX)
	push(w, doNot)
	readPBX(w)
	w.phone.Status, w.chosen = statusDND, statusDND
	w.phone.Version++
	pbxAnswers(w, Conflicted)
	readPBX(w)
	assert.Nil(t, side(w).Assertion, "the very value that we wanted is the person's")
	assert.NotNil(t, side(w).Override)
}

// A write of ours that lands after the person chose is theirs no more than before: their choice is given back.
func TestR8AWriteThatLandsAfterAChoice(t *testing.T) {
	w := asserted(t, plainPBX)
	push(w, doNot)
	readPBX(w)
	w.step(EndpointSeen{Endpoint: w.ep, State: pbx.State{Line: presence.LineIdle, Status: statusLunch}})
	pbxAnswers(w, Unanswered)
	fire(w, TimerDeadline, w.ep)
	fire(w, TimerSettle, w.ep)
	w.phone.Status, w.chosen, w.everChosen[statusLunch.Name] = statusLunch, statusLunch, true
	readPBX(w)
	require.NotNil(t, side(w).Override)
	assert.Equal(t, statusLunch, side(w).Status)
}

func TestR6ARefusedWriteWaitsLongerEachTime(t *testing.T) {
	w := known(t, trustedPBX)
	push(w, inACall)
	for _, pause := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
		pbxAnswers(w, Refused)
		fire(w, TimerHold, w.ep)
		fire(w, TimerDeadline, w.ep)
		assert.Equal(t, pause, side(w).Timers.Retry.Sub(w.now))
		assert.Empty(t, fire(w, TimerSettle, w.ep))
		assert.Equal(t, "read pbx", fire(w, TimerRetry, w.ep))
		assert.Equal(t, "write In a call", readPBX(w))
	}
	pbxAnswers(w, Answered)
	assert.Zero(t, side(w).Failures)
	assert.Equal(t, 640*time.Second, backoff(100))
}

// Before the PBX has answered a write of ours, nobody knows what our own client is called there, and another program's write
// looks like ours. It came after ours, and the answer to ours, which comes last, must not hide it.
func TestAnotherProgramBeforeTheFirstAnswer(t *testing.T) {
	w := known(t, trustedPBX)
	w.setClient(inACall)
	w.deliverPush(0, false)
	r := w.take(0)
	apply, ok := r.eff.(ApplyEndpoint)
	require.True(t, ok)
	require.False(t, w.perform(r.eff))
	answer := w.phone
	w.events = nil
	w.phone.Status, w.phone.Version, w.phone.ChangedAt, w.phone.ChangedBy = statusAvailable, w.phone.Version+1, w.now.Add(time.Second), pbx.AuthorOther
	taken := w.phone
	taken.ChangedBy = pbx.AuthorSelf
	w.step(EndpointSeen{Endpoint: w.ep, State: taken, Seq: 1000})
	w.step(EndpointAnswered{Endpoint: w.ep, ID: apply.ID, Outcome: Answered, State: answer})
	w.drain()
	w.advance(5 * time.Second)
	w.drain()
	require.Nil(t, side(w).Assertion)
	require.NotNil(t, side(w).Override, "it counts as a choice by hand")
	require.Equal(t, statusCall, side(w).Override.Of)
	require.Equal(t, statusAvailable, side(w).Status)
}
