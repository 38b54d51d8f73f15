package bridge

import (
	"time"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// A presence can be put into Teams as the person's preferred one, where policy says so. It outranks every session and
// replaces what the person chose, it has no owner, and Graph does not show it apart from what it makes a person look like.
// So it is set only after a read right before and over lesser choices only (R9, a call's too), it ends by itself, a read that
// shows another choice says that it is the person's again, and then nothing of it is written any more (R12, R17).

// WithPreferred is what of an assertion is about a preferred presence.
type WithPreferred struct {
	For      time.Duration `json:"for"`
	Previous presence.Pair `json:"previous,omitzero"` // what showed before, for explanations: it cannot be given back
	Taken    bool          `json:"taken,omitempty"`   // the person chose something else
}

// sameMethod tells whether an assertion was put there in the way that is wanted.
func (a *TeamsAssertion) sameMethod(w policy.TeamsWant) bool {
	return (a.Preferred != nil) == w.Method.Preferred()
}

// foldPreferred notes that the person replaced our preferred presence, by a believed observation. That they are offline, or
// that Graph does not know, says nothing.
func (s *step) foldPreferred(p presence.Pair) {
	a := s.r.Teams.Assertion
	if a == nil || a.Preferred == nil || a.Phase != PhaseStanding || s.r.Teams.fenced() {
		return
	}
	if !a.explains(p) && !p.IsOffline() && !p.IsUnknown() {
		a.Preferred.Taken = true
	}
}

// decidePreferred decides where a preferred presence is wanted or stands. False: it is a session's matter.
func (s *step) decidePreferred(want policy.TeamsWant) bool {
	t := &s.r.Teams
	a := t.Assertion
	if (a == nil || a.Preferred == nil) && !want.Method.Preferred() {
		return false
	}
	switch {
	case a == nil:
		s.firstPreferred(want)
	case a.Preferred == nil: // a session of ours goes first
		s.changeInTeams(policy.TeamsWant{})
	case a.Preferred.Taken:
		s.takenPreferred(want)
	case want.Pair == a.Value && a.sameMethod(want) && a.Phase == PhaseStanding && !t.renewDue && !t.Purge:
		a.From, a.Class = want.From, want.Class
		t.because(ReasonAsserted)
	case !s.teamsJustRead: // is it still ours?
		t.ReadOwed = true
		t.because(ReasonAwaitRead)
	case want.Pair == a.Value && a.sameMethod(want) && a.Phase == PhaseStanding:
		s.writeTeams(WriteRenew)
		t.because(ReasonRenewed)
	case a.sameMethod(want):
		a.Preferred.For = want.For
		s.changeInTeams(want)
	default:
		s.changeInTeams(policy.TeamsWant{})
	}
	return true
}

// firstPreferred sets a preferred presence where nothing of ours is.
func (s *step) firstPreferred(want policy.TeamsWant) {
	t := &s.r.Teams
	switch {
	case t.OrganicState == OrganicSeen && t.Organic == want.Pair:
		t.because(ReasonAlreadyShows)
	case t.OrganicState == OrganicSeen && policy.OfPair(t.Organic) >= policy.OfClass(want.Class):
		t.because(ReasonOutranked)
	case !s.teamsJustRead || t.OrganicState != OrganicSeen:
		t.ReadOwed = t.ReadOwed || !s.teamsJustRead
		t.because(ReasonAwaitRead)
		if t.Purge {
			break
		}
		return
	case s.fightsInTeams(want):
		t.because(ReasonCompeting)
	default:
		t.Assertion = &TeamsAssertion{
			Value: want.Pair, Class: want.Class, Phase: PhaseWriting, Since: s.now, From: want.From,
			Preferred: &WithPreferred{For: want.For, Previous: t.Organic},
		}
		s.writeTeams(WriteSet)
		t.because(ReasonAsserted)
		return
	}
	if t.Purge {
		s.writeTeams(WriteClear)
		t.because(ReasonPurge)
	}
}

// takenPreferred leaves the person's choice alone until something else is wanted. Then nothing of ours is left to take back.
func (s *step) takenPreferred(want policy.TeamsWant) {
	t := &s.r.Teams
	if want.Pair == t.Assertion.Value && t.Assertion.sameMethod(want) {
		t.because(ReasonOverride)
		return
	}
	t.withdraw(t.Assertion.Value, true)
	s.endedInTeams(true)
	t.Assertion, t.renewDue = nil, false
	t.Timers.Renew, t.Timers.Lapse = time.Time{}, time.Time{}
	t.ReadOwed = true
	t.because(ReasonOverride)
}
