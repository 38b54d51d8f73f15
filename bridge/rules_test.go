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
