package bridge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// One test a rule, written from the text of the rules. The driver decides about every delivery, answer and timer.

var (
	inACall    = presence.ParsePairString("Busy/InACall")
	meeting    = presence.ParsePairString("Busy/InAMeeting")
	doNot      = presence.ParsePairString("DoNotDisturb")
	presenting = presence.ParsePairString("DoNotDisturb/Presenting")
	away       = presence.ParsePairString("Away")
	noPresence = presence.ParsePairString("PresenceUnknown")
)

// known is a member at rest whom both sides have shown, and nothing of ours is anywhere. What R15 asks of a member
// without a record is over.
func known(t *testing.T, s sort) *world {
	w := newWorld(t, s)
	w.introduce()
	w.drain()
	for i := range w.rec.Teams.Withdrawn {
		w.rec.Teams.Withdrawn[i].Answered = true
	}
	w.step(TimerFired{Timer: TimerRef{Kind: TimerForget}})
	w.everInTeams[inACall], w.everInTeams[presenting] = true, true
	w.everOnPBX[statusCall.Name], w.everOnPBX[statusDND.Name] = true, true
	return w
}

// did says what the last step asked for, in short.
func did(w *world) string {
	var out []string
	for _, eff := range w.did {
		switch e := eff.(type) {
		case SetTeams:
			word := "set "
			if e.Renewal {
				word = "renew "
			}
			out = append(out, word+e.Value.String())
		case ClearTeams:
			out = append(out, "clear")
		case ReadTeams:
			out = append(out, "read teams")
		case ApplyEndpoint:
			out = append(out, fmt.Sprintf("write %s", e.Write.Status))
		case ReadEndpoint:
			out = append(out, "read pbx")
		case AwaitGrant:
			out = append(out, fmt.Sprintf("await %s", e.Side))
		case ForgetMember:
			out = append(out, "forget")
		}
	}
	return strings.Join(out, ", ")
}

// push delivers a notification that says p, whatever Teams shows.
func push(w *world, p presence.Pair) string {
	w.seq++
	w.step(TeamsPushed{Pair: p, Mark: Mark{Seq: w.seq}, Arrived: w.now})
	return did(w)
}

// readTeams lets the read that is owed show p.
func readTeams(w *world, p presence.Pair) string {
	w.step(TeamsRead{Pair: p, Epoch: w.rec.TeamsEpoch()})
	return did(w)
}

func readPBX(w *world) string {
	w.step(EndpointRead{Endpoint: w.ep, State: w.phoneState(), Epoch: w.rec.EndpointEpoch(w.ep)})
	return did(w)
}

// teamsAnswers lets the write under way be answered, well or not.
func teamsAnswers(w *world, o Outcome) string {
	w.t.Helper()
	w.requests = nil
	require.NotNil(w.t, w.rec.Teams.Write)
	w.step(TeamsAnswered{ID: w.rec.Teams.Write.ID, Outcome: o})
	return did(w)
}

func pbxAnswers(w *world, o Outcome) string {
	w.t.Helper()
	write := side(w).Write
	require.NotNil(w.t, write)
	if o == Answered {
		w.performOnPBX(ApplyEndpoint{Endpoint: w.ep, Write: pbx.Write{Status: write.Status}})
	}
	w.requests, w.events = nil, nil
	w.step(EndpointAnswered{Endpoint: w.ep, ID: write.ID, Outcome: o, State: w.phoneState()})
	return did(w)
}

func fire(w *world, k TimerKind, of ...presence.EndpointID) string {
	ref := TimerRef{Kind: k}
	if len(of) > 0 {
		ref.Endpoint = of[0]
	}
	w.step(TimerFired{Timer: ref})
	return did(w)
}

func lineIs(w *world, l presence.Line) string {
	w.setLine(l)
	return event(w)
}

// event delivers what the PBX has to tell.
func event(w *world) string {
	for len(w.events) > 0 {
		w.deliverEvent(0)
	}
	return did(w)
}

func side(w *world) *EndpointSide { return w.rec.Endpoint(w.ep) }

// inCall is a member on the phone, which Teams shows.
func inCall(t *testing.T, s sort) *world {
	w := known(t, s)
	require.Equal(t, "set Busy/InACall", lineIs(w, presence.LineInCall))
	teamsAnswers(w, Answered)
	fire(w, TimerSettle)
	push(w, inACall)
	return w
}

// asserted is a member in a Teams call, which the phone shows.
func asserted(t *testing.T, s sort) *world { return assertedBy(t, s, inACall) }

// assertedBy is a member whose state in Teams the phone shows.
func assertedBy(t *testing.T, s sort, p presence.Pair) *world {
	w := known(t, s)
	push(w, p)
	if s == plainPBX || s == versionedPBX {
		readPBX(w)
	}
	pbxAnswers(w, Answered)
	fire(w, TimerSettle, w.ep)
	fire(w, TimerHold, w.ep)
	require.Equal(t, PhaseStanding, side(w).Assertion.Phase)
	return w
}

func TestR1OnlyOrganicStateCrosses(t *testing.T) {
	w := known(t, trustedPBX)
	assert.Equal(t, "write In a call", push(w, inACall), "the person's own crosses at once")
	w = inCall(t, trustedPBX)
	assert.Empty(t, did(w), "the echo of our own session does not")
	assert.Nil(t, side(w).Assertion)
	w = asserted(t, trustedPBX)
	w.perform(ApplyEndpoint{Endpoint: w.ep, Write: pbx.Write{Status: statusDND}})
	assert.NotContains(t, event(w), "set", "nor does a status that we wrote")
}

func TestR2HiddenAssertsNothing(t *testing.T) {
	w := inCall(t, trustedPBX)
	assert.Equal(t, OrganicHidden, w.rec.Teams.OrganicState)
	w = known(t, trustedPBX)
	push(w, doNot) // Do not disturb is on the phone
	pbxAnswers(w, Answered)
	fire(w, TimerSettle, w.ep)
	fire(w, TimerHold, w.ep)
	lineIs(w, presence.LineInCall)
	teamsAnswers(w, Answered)
	fire(w, TimerSettle)
	assert.Equal(t, "read teams", push(w, inACall), "R14: our own value while a PBX assertion exists")
	assert.Equal(t, "write Available", readTeams(w, inACall), "a DND that ended under our call does not stay on the phone")
	// It ends no override.
	w = asserted(t, trustedPBX)
	w.pick(statusAway)
	event(w)
	readTeams(w, inACall)
	require.NotNil(t, side(w).Override)
	lineIs(w, presence.LineInCall)
	w.rec.Teams.Assertion = &TeamsAssertion{Value: inACall, Phase: PhaseStanding}
	w.rec.Teams.ReadOwed = true
	readTeams(w, inACall)
	assert.NotNil(t, side(w).Override)
}

func TestR3AStatusBeneathDoesNotCrossTheLineDoes(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, documentPBX} {
		w := assertedBy(t, s, doNot)
		ep := side(w)
		ep.Status = statusDND // as if the person had chosen it before
		if s == documentPBX {
			w.phone.Status = statusDND
		}
		w.step(ReadAgain{})
		assert.Empty(t, did(w), s)
		assert.Equal(t, "set Busy/InACall", lineIs(w, presence.LineInCall), s)
	}
}

func TestR4UnknownAssertsNothing(t *testing.T) {
	w := inCall(t, trustedPBX)
	w.step(EndpointUnseen{Endpoint: w.ep})
	assert.Equal(t, "clear", did(w), "nobody is kept in a call by a PBX that is gone")
	w = inCall(t, trustedPBX)
	fire(w, TimerRenew)
	teamsAnswers(w, Unanswered)
	w.step(EndpointUnseen{Endpoint: w.ep})
	assert.Equal(t, "clear", fire(w, TimerDeadline), "nothing is set or renewed, only cleared")
	w = asserted(t, trustedPBX)
	w.step(TeamsUnseen{})
	assert.Equal(t, "write Available", did(w))
	// It ends no override, and Offline is not Away.
	w = asserted(t, trustedPBX)
	w.pick(statusAway)
	event(w)
	readTeams(w, noPresence)
	require.NotNil(t, side(w).Override)
	assert.True(t, side(w).Override.Pending, "Graph did not know, so the read is still to say what is overridden")
	w = known(t, trustedPBX)
	assert.Empty(t, push(w, offline))
	assert.Empty(t, lineIs(w, presence.LineOffline))
}

func TestR5AReadComesBeforeAssertingOnAnOfflineMember(t *testing.T) {
	for _, p := range []presence.Pair{offline, presence.ParsePairString("Offline/OffWork"), noPresence} {
		w := known(t, trustedPBX)
		push(w, p)
		assert.Equal(t, "read teams", lineIs(w, presence.LineInCall), p)
		assert.Equal(t, "set Busy/InACall", readTeams(w, p), p)
	}
	w := known(t, trustedPBX)
	push(w, offline)
	lineIs(w, presence.LineInCall)
	assert.Equal(t, "set Busy/InACall", push(w, available), "recorded as Offline no more")
}

func TestR5WhatWakesIsOurs(t *testing.T) {
	w := known(t, trustedPBX)
	push(w, offline)
	lineIs(w, presence.LineInCall)
	readTeams(w, offline)
	assert.Empty(t, push(w, doNot), "from the intent on a push is confirmed; the fence keeps the read")
	teamsAnswers(w, Answered)
	assert.Equal(t, "read teams", fire(w, TimerSettle))
	assert.Empty(t, readTeams(w, doNot), "a Do not disturb that nobody chose today does not cross")
	assert.Equal(t, doNot, w.rec.Teams.Woken)
	assert.Equal(t, "read teams", push(w, meeting), "each push is confirmed")
	assert.Empty(t, readTeams(w, meeting))
	assert.Equal(t, OrganicSeen, w.rec.Teams.OrganicState, "something else than what woke is a choice")
	lineIs(w, presence.LineIdle)
	teamsAnswers(w, Answered)
	fire(w, TimerSettle)
	readTeams(w, offline)
	assert.Equal(t, "read teams", push(w, doNot), "until one lease after the end")
	assert.Equal(t, w.now.Add(5*time.Minute), w.rec.Teams.Timers.WokenEnd)
	readTeams(w, offline)
	fire(w, TimerWokenEnd)
	assert.Equal(t, "write Do not disturb", push(w, doNot), "then it is a person's again")
}

func TestR5OfflineDecidesNothing(t *testing.T) {
	w := known(t, trustedPBX)
	push(w, offline)
	lineIs(w, presence.LineInCall)
	readTeams(w, offline)
	teamsAnswers(w, Answered)
	fire(w, TimerSettle)
	readTeams(w, offline)
	assert.True(t, w.rec.Teams.WokenOwed)
	readTeams(w, noPresence)
	assert.True(t, w.rec.Teams.WokenOwed)
	fire(w, TimerRenew)
	teamsAnswers(w, Answered)
	assert.Empty(t, fire(w, TimerSettle), "a renewal does not owe it again")
	assert.Equal(t, "read teams", push(w, doNot))
	readTeams(w, doNot)
	assert.Equal(t, doNot, w.rec.Teams.Woken)
}

func TestR5AMemberWhoTurnsOutOffline(t *testing.T) {
	w := inCall(t, trustedPBX)
	assert.Equal(t, "read teams", push(w, offline), "while an assertion of ours exists")
	assert.Empty(t, readTeams(w, doNot))
	assert.Equal(t, doNot, w.rec.Teams.Woken)
}

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
	require.Equal(t, "", readTeams(w, available))
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
	pbxAnswers(w, Answered)
	assert.Equal(t, "forget", fire(w, TimerSettle))
	fire(w, TimerSettle, w.ep)
	push(w, doNot)
	assert.Equal(t, "forget", lineIs(w, presence.LineIdle))
	w.optOut(false)
	assert.Equal(t, "read teams, read pbx", did(w), "nobody looked meanwhile")
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
