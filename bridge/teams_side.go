package bridge

import (
	"slices"
	"time"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// withdrawn finds a value that we took away.
func (t *TeamsSide) withdrawn(p presence.Pair) *Withdrawn {
	for i := range t.Withdrawn {
		if t.Withdrawn[i].Value == p {
			return &t.Withdrawn[i]
		}
	}
	return nil
}

// believed tells whether p is what the record holds already, and not ours.
func (t *TeamsSide) believed(p presence.Pair) bool {
	return p == t.Shown && t.OrganicState == OrganicSeen
}

// fenced tells whether a write of ours is under way or may not show yet (R7).
func (t *TeamsSide) fenced() bool { return t.Write != nil || !t.Timers.Settle.IsZero() }

func (t *TeamsSide) because(rs ...Reason) { t.Because = rs }

// teamsPushed folds a notification, or owes the read that confirms it.
func (s *step) teamsPushed(e TeamsPushed) {
	t := &s.r.Teams
	if e.Mark.Seq != 0 && !e.Mark.After(t.Mark) {
		return // older than what is known, or told twice
	}
	t.Mark = e.Mark
	if s.pushNeedsRead(e.Pair) {
		t.ReadOwed = true
		if e.Pair.IsOffline() && t.Assertion != nil && t.Assertion.Preferred == nil { // R5; past the fence a read may show what our session woke
			t.WokenOwed, t.WokenWatch = true, true
		}
		t.epoch++ // a read under way may be older than this news
		s.arrived(e.Arrived)
		return
	}
	if e.Pair == t.Shown {
		if t.reading {
			t.epoch++ // what a read under way shows may be older
		}
		return
	}
	s.arrived(e.Arrived)
	t.epoch++
	s.foldTeams(e.Pair)
}

// pushNeedsRead tells whether a push is believed only after a direct read.
func (s *step) pushNeedsRead(p presence.Pair) bool {
	t := &s.r.Teams
	explained := t.Assertion.explains(p)
	switch {
	case t.WokenWatch && !s.rules.without(RuleWoken): // R5: a stored preference may have woken
		return true
	case s.overridden() && !s.rules.without(RuleConfirm): // R14: late news would end the override (R17)
		return true
	case explained && p != t.Shown && s.assertsOnPBX() && !s.rules.without(RuleConfirm): // R14: would withdraw what the PBX shows
		return true
	case !explained && t.withdrawn(p) != nil && !t.believed(p) && !s.rules.without(RuleAnsweredRead): // R15
		return true
	default:
		return false
	}
}

func (s *step) overridden() bool {
	for i := range s.r.Endpoints {
		if s.r.Endpoints[i].Override != nil {
			return true
		}
	}
	return false
}

func (s *step) assertsOnPBX() bool {
	for i := range s.r.Endpoints {
		if s.r.Endpoints[i].Assertion != nil {
			return true
		}
	}
	return false
}

// teamsSwept compares the bulk read with the record; a contradiction is confirmed first (R14).
func (s *step) teamsSwept(e TeamsSwept) {
	t := &s.r.Teams
	if e.Epoch != t.epoch || t.fenced() {
		return
	}
	if s.r.Excluded && t.Assertion == nil && t.Note == nil {
		return // what a phone of theirs still waits for does not depend on Teams
	}
	s.foldDetails(e.Details)
	if e.Pair == t.Shown {
		return
	}
	if s.rules.without(RuleConfirm) {
		s.foldTeams(e.Pair)
		return
	}
	t.ReadOwed = true
}

// teamsRead folds a direct read, if nothing overtook it.
func (s *step) teamsRead(e TeamsRead) {
	t := &s.r.Teams
	t.reading = false
	if e.Epoch != t.epoch || t.fenced() {
		return // stays owed (R7)
	}
	if w := t.withdrawn(e.Pair); w != nil && !w.Answered && !s.rules.Observe && !t.Assertion.explains(e.Pair) && !s.rules.without(RuleAnsweredRead) {
		t.Purge = !s.r.Excluded // R15: our last intent is sent again first
		t.ReadOwed = t.Purge
		return
	}
	t.ReadOwed = false
	s.teamsJustRead = true
	s.foldDetails(e.Details)
	s.decideWoken(e.Pair)
	s.foldTeams(e.Pair)
	s.confirmOverrides()
}

// decideWoken looks whether our session woke a stored preferred presence: then what shows is our doing while
// the assertion lasts (R5). That the member shows Offline, or that Graph does not know, decides nothing.
func (s *step) decideWoken(p presence.Pair) {
	t := &s.r.Teams
	if !t.WokenOwed || t.Assertion == nil || p.IsOffline() || p.IsUnknown() || s.rules.without(RuleWoken) {
		return
	}
	t.WokenOwed = false
	if !t.Assertion.explains(p) {
		t.Woken = p
	}
}

// foldTeams takes what Teams shows for true, and separates what is ours from what is the person's (R1, R2).
func (s *step) foldTeams(p presence.Pair) {
	t := &s.r.Teams
	was := t.Shown
	t.Shown = p
	s.foldPreferred(p)
	woken := t.Assertion != nil && !t.Woken.IsZero() && p == t.Woken
	switch {
	case p.IsUnknown():
		t.OrganicState = OrganicUnknown
	case (t.Assertion.explains(p) && !s.rules.without(RuleHidden)) || woken:
		t.OrganicState = OrganicHidden
	default:
		t.OrganicState, t.Organic = OrganicSeen, p
	}
	if t.OrganicState != OrganicSeen && t.Assertion != nil {
		t.Assertion.MaskedSince = time.Time{}
	}
	if p.IsOffline() && !was.IsOffline() && t.Assertion != nil && t.Assertion.Preferred == nil {
		t.WokenOwed, t.WokenWatch, t.ReadOwed = true, true, true
	}
}

// confirmOverrides ends the overrides of which policy now makes something else (R17). Only called after a
// believed read: neither hidden nor unknown ends one (R2, R4).
func (s *step) confirmOverrides() {
	for i := range s.r.Endpoints {
		ep := &s.r.Endpoints[i]
		if ep.Override == nil {
			continue
		}
		pending := ep.Override.Pending
		if s.r.Teams.OrganicState == OrganicUnknown {
			continue // Graph itself did not know
		}
		ep.Override.Pending = false
		if s.organicState() != OrganicSeen {
			continue
		}
		want := s.policyForPBX(ep)
		switch {
		case pending: // also that policy makes nothing of it: late news of the state before must not end the override
			ep.Override.Of = want.Status
		case !want.Same(policy.PBXWant{Status: ep.Override.Of}):
			ep.Override = nil
		}
	}
}

// wantTeams is what policy makes of the endpoints: a status under an assertion of ours does not cross (R3),
// an unknown endpoint asserts nothing (R4), and neither does an excluded member.
func (s *step) wantTeams() policy.TeamsWant {
	if s.r.Excluded || s.r.Teams.Contested() {
		return policy.TeamsWant{}
	}
	eps := make([]policy.Endpoint, 0, len(s.r.Endpoints))
	for i := range s.r.Endpoints {
		ep := &s.r.Endpoints[i]
		if ep.Leaving || !ep.Seen {
			continue
		}
		in := policy.Endpoint{ID: ep.ID, Line: ep.Line}
		if ep.Note == nil {
			in.Message = ep.Message
		}
		if ep.Assertion == nil || s.rules.without(RuleBeneath) {
			in.Status = ep.Status
		}
		eps = append(eps, in)
	}
	return s.policy().ForTeams(eps)
}

// decideTeams brings Teams to what is wanted, one write at a time.
func (s *step) decideTeams() {
	t := &s.r.Teams
	want := s.wantTeams()
	t.paid = t.paid || s.granted == TeamsSideName
	if t.fenced() {
		t.because(ReasonFenced)
		if t.Write != nil && t.Write.Waiting {
			t.because(ReasonUnanswered)
		}
		s.held = s.held || s.teamsDiffers(want)
		return
	}
	if s.rules.Paced[TeamsSideName] && !t.paid {
		s.awaitTeamsGrant(want)
		return
	}
	switch a := t.Assertion; {
	case s.decidePreferred(want):
	case a == nil:
		s.firstInTeams(want)
	case a.Phase == PhaseStanding:
		s.standingInTeams(want)
	default: // unanswered and waited out: the present intent is sent again (R6)
		s.changeInTeams(want)
	}
	t.paid = t.paid && t.Write == nil && t.ReadOwed
}

// awaitTeamsGrant queues for the write budget, clears first and renewals last (R13).
func (s *step) awaitTeamsGrant(want policy.TeamsWant) {
	t := &s.r.Teams
	wait := AwaitGrant{Side: TeamsSideName, Kind: WriteSet}
	switch {
	case want.IsZero() && (t.Assertion != nil || t.Purge):
		wait.Kind = WriteClear
	case t.Assertion != nil && want.Pair == t.Assertion.Value && t.Assertion.Phase == PhaseStanding:
		if !t.renewDue && !t.Purge {
			return
		}
		wait.Kind = WriteRenew
	case want.IsZero():
		return
	}
	s.held = true
	t.because(ReasonPaced)
	s.effects = append(s.effects, wait)
}

// teamsDiffers tells whether Teams' side has a write to come once it may.
func (s *step) teamsDiffers(want policy.TeamsWant) bool {
	a := s.r.Teams.Assertion
	if a == nil {
		return !want.IsZero()
	}
	return want.Pair != a.Value
}

// firstInTeams decides where nothing of ours is.
func (s *step) firstInTeams(want policy.TeamsWant) {
	t := &s.r.Teams
	organic := t.OrganicState == OrganicSeen
	switch {
	case want.IsZero():
		t.because(s.whyNothingInTeams())
	case organic && t.Organic == want.Pair:
		t.because(ReasonAlreadyShows)
	case want.Class != presence.ClassCall && organic && policy.OfPair(t.Organic) >= policy.OfClass(want.Class) &&
		!s.rules.without(RuleRank):
		t.because(ReasonOutranked)
	case !s.teamsJustRead && (t.Shown.IsOffline() || t.Shown.IsUnknown() || t.OrganicState == OrganicHidden) &&
		!s.rules.without(RuleWoken):
		// R5; what an assertion of ours that has just ended hid, or woke, is as good as unknown
		t.ReadOwed = true
		t.because(ReasonAwaitRead)
		if !t.Purge {
			return
		}
	case !s.teamsJustRead && want.Class != presence.ClassCall && !organic: // R9 needs to know what it would write over
		t.ReadOwed = true
		t.because(ReasonAwaitRead)
		if !t.Purge {
			return
		}
	case s.fightsInTeams(want):
		t.because(ReasonCompeting)
	default:
		s.assertInTeams(want)
		return
	}
	if t.Purge {
		s.writeTeams(WriteClear)
		t.because(ReasonPurge)
	}
}

func (s *step) whyNothingInTeams() Reason {
	if s.r.Excluded || s.policy().OptOut.Has(presence.PBXToTeams) {
		return ReasonExcluded
	}
	if s.r.Teams.Contested() {
		return ReasonCompeting
	}
	for i := range s.r.Endpoints {
		if s.r.Endpoints[i].Seen {
			return ReasonNothingWanted
		}
	}
	return ReasonUnknown
}

func (s *step) assertInTeams(want policy.TeamsWant) {
	t := &s.r.Teams
	t.Assertion = &TeamsAssertion{Value: want.Pair, Class: want.Class, Phase: PhaseWriting, Since: s.now, From: want.From}
	t.Timers.WokenEnd = time.Time{}
	if t.Shown.IsOffline() {
		t.WokenOwed, t.WokenWatch = true, true
	}
	s.writeTeams(WriteSet)
	t.because(ReasonAsserted)
}

// standingInTeams keeps, renews, changes or withdraws.
func (s *step) standingInTeams(want policy.TeamsWant) {
	t := &s.r.Teams
	if want.Pair != t.Assertion.Value {
		s.changeInTeams(want)
		return
	}
	t.Assertion.From, t.Assertion.Class = want.From, want.Class
	s.noteMasked()
	switch {
	case t.renewDue || t.Purge: // R12; R15: sending the present intent again
		s.writeTeams(WriteRenew)
		t.because(ReasonRenewed)
	case !t.Assertion.MaskedSince.IsZero():
		t.because(ReasonAsserted, ReasonMasked)
	case t.OrganicState == OrganicHidden && !t.Woken.IsZero() && t.Shown == t.Woken:
		t.because(ReasonAsserted, ReasonWoken)
	default:
		t.because(ReasonAsserted)
	}
}

// noteMasked notes since when the person's own choice shows instead of our assertion. That what shows is not ours yet
// says nothing right after a write: it is masked by what ranks as high, or by what was observed since, or if
// half a lease has passed and nothing has come.
func (s *step) noteMasked() {
	t := &s.r.Teams
	switch a := t.Assertion; {
	case t.OrganicState != OrganicSeen:
		a.MaskedSince = time.Time{}
	case a.MaskedSince.IsZero() && (s.teamsObserved || t.renewDue || policy.OfPair(t.Organic) >= policy.OfClass(a.Class)):
		a.MaskedSince = s.now
	}
}

// changeInTeams sends what is wanted now in place of what is, or may be, asserted.
func (s *step) changeInTeams(want policy.TeamsWant) {
	t := &s.r.Teams
	a := t.Assertion
	if !want.IsZero() && want.Pair != a.Value && s.fightsInTeams(want) {
		want = policy.TeamsWant{}
	}
	if want.IsZero() || (want.Pair != a.Value && t.OrganicState == OrganicSeen && t.Organic == want.Pair) {
		a.Phase = PhaseWithdrawing
		t.withdraw(a.Value, false)
		if !a.Before.IsZero() {
			t.withdraw(a.Before, false)
		}
		s.writeTeams(WriteClear)
		t.because(ReasonWithdrawn, s.whyNothingInTeams())
		return
	}
	if want.Pair != a.Value {
		if !a.Before.IsZero() {
			t.withdraw(a.Before, false) // may still show, and only a read after an answered write tells
		}
		s.endedInTeams(false)
		a.Before, a.Value, a.Since, a.MaskedSince = a.Value, want.Pair, s.now, time.Time{}
	}
	a.Class, a.From, a.Phase = want.Class, want.From, PhaseWriting
	s.writeTeams(WriteSet)
	t.because(ReasonAsserted)
}

// withdraw remembers a value that is ours no longer (R15).
func (t *TeamsSide) withdraw(p presence.Pair, answered bool) {
	if w := t.withdrawn(p); w != nil {
		*w = Withdrawn{Value: p, Answered: answered}
		return
	}
	t.Withdrawn = append(t.Withdrawn, Withdrawn{Value: p, Answered: answered})
}

// dateWithdrawn dates what was withdrawn just now, and sets the timer that forgets the oldest.
func (t *TeamsSide) dateWithdrawn(now time.Time, forget time.Duration) {
	t.Timers.Forget = time.Time{}
	for i := range t.Withdrawn {
		w := &t.Withdrawn[i]
		if w.At.IsZero() {
			w.At = now
		}
		if due := w.At.Add(forget); t.Timers.Forget.IsZero() || due.Before(t.Timers.Forget) {
			t.Timers.Forget = due
		}
	}
}

// forgetOldest forgets the values that were withdrawn first.
func (t *TeamsSide) forgetOldest() {
	if len(t.Withdrawn) == 0 {
		return
	}
	first := slices.MinFunc(t.Withdrawn, func(a, b Withdrawn) int { return a.At.Compare(b.At) }).At
	t.Withdrawn = slices.DeleteFunc(t.Withdrawn, func(w Withdrawn) bool { return w.At.Equal(first) })
}

// writeTeams notes the intent and asks for the request (R6).
func (s *step) writeTeams(kind WriteKind) {
	t := &s.r.Teams
	t.epoch++
	t.renewDue = false
	t.Write = &TeamsWrite{ID: t.epoch, Kind: kind, Started: s.now}
	t.Timers.Deadline = s.now.Add(s.rules.TeamsTimeout + s.rules.LandGrace)
	if kind == WriteClear {
		eff := ClearTeams{ID: t.epoch, Paid: t.paid, Cause: s.takeCause()}
		if a := t.Assertion; a != nil && a.Preferred != nil {
			eff.Preferred = a.Value
		}
		s.effects = append(s.effects, eff)
		return
	}
	t.Write.Lease = s.rules.leaseOf(t.Assertion.Class)
	if p := t.Assertion.Preferred; p != nil {
		t.Write.Lease = p.For
	}
	set := SetTeams{ID: t.epoch, Value: t.Assertion.Value, Lease: t.Write.Lease, Renewal: kind == WriteRenew, Paid: t.paid}
	set.Preferred = t.Assertion.Preferred != nil
	if kind == WriteSet {
		set.Cause = s.takeCause()
	}
	s.effects = append(s.effects, set)
}

// teamsAnswered folds the answer to a write of ours. An error counts as unanswered and is waited out.
func (s *step) teamsAnswered(e TeamsAnswered) {
	t := &s.r.Teams
	if t.Write == nil || t.Write.ID != e.ID || t.Write.Waiting {
		return
	}
	if e.Outcome != Answered {
		t.Write.Waiting = true
		if s.rules.without(RuleWriteAhead) {
			t.Timers.Deadline = time.Time{}
			s.teamsWaitedOut()
		}
		return
	}
	kind, lease := t.Write.Kind, t.Write.Lease
	t.Write = nil
	t.epoch++
	t.Timers.Deadline = time.Time{}
	if !s.rules.without(RuleFence) {
		t.Timers.Settle = s.now.Add(s.rules.TeamsSettle)
	}
	if t.Purge {
		t.Purge, t.ReadOwed = false, true
	}
	if kind == WriteClear {
		s.teamsCleared()
	} else {
		s.teamsStands(kind, lease)
	}
	for i := range t.Withdrawn {
		t.Withdrawn[i].Answered = true
	}
}

// teamsCleared ends the assertion; the read that R10 asks for is owed.
func (s *step) teamsCleared() {
	t := &s.r.Teams
	t.ReadOwed = true
	t.Timers.Renew, t.Timers.Lapse = time.Time{}, time.Time{}
	if t.Assertion == nil {
		return // nothing of ours stood: that was R15's sending again
	}
	t.withdraw(t.Assertion.Value, true)
	s.endedInTeams(false)
	t.Assertion = nil
	t.Woken, t.WokenOwed = presence.Pair{}, false
	if t.WokenWatch {
		t.Timers.WokenEnd = s.now.Add(s.rules.Lease)
	}
}

// teamsStands notes that the assertion stands, for one lease.
func (s *step) teamsStands(kind WriteKind, lease time.Duration) {
	t := &s.r.Teams
	a := t.Assertion
	if a == nil {
		return
	}
	a.Phase = PhaseStanding
	if !a.Before.IsZero() {
		// R10 for a change of value: the member may have had the value before of their own all along, which shows the
		// same and sends no notification.
		t.ReadOwed = t.ReadOwed || (t.OrganicState == OrganicHidden && t.Shown != a.Value)
		t.withdraw(a.Before, true)
		a.Before = presence.Pair{}
	}
	t.Timers.Lapse = s.now.Add(lease)
	t.Timers.Renew = s.now.Add(s.jitter(lease / 2))
	t.ReadOwed = t.ReadOwed || (t.WokenOwed && kind == WriteSet) // R5; a renewal wakes nobody anew
}

// teamsWaitedOut: an unanswered write can no longer land. decideTeams sends the present intent again.
func (s *step) teamsWaitedOut() {
	t := &s.r.Teams
	if t.Write == nil {
		return
	}
	if t.Write.Kind == WriteRenew {
		t.renewDue = true
	}
	t.Write = nil
	t.epoch++
}

// teamsLapsed: our session ended by itself, which counts as a write (R7). What is still wanted is set again.
func (s *step) teamsLapsed() {
	t := &s.r.Teams
	t.epoch++
	t.ReadOwed = true
	if t.Write == nil {
		t.Timers.Settle = s.now.Add(s.rules.TeamsSettle)
	}
	t.renewDue = t.Assertion != nil
}
