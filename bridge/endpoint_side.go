package bridge

import (
	"time"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

func (s *step) pbx(ep *EndpointSide) PBXRules { return s.rules.PBX[ep.ID.PBX] }

// overwritten tells whether a write takes the place of the person's status (R8), rather than standing beside
// it as a document of our own.
func (s *step) overwritten(ep *EndpointSide) bool { return !s.pbx(ep).Capabilities.OwnDocument }

func (ep *EndpointSide) because(rs ...Reason) { ep.Because = rs }

func (ep *EndpointSide) fenced() bool { return ep.Write != nil || !ep.Timers.Settle.IsZero() }

// shows is what the endpoint shows as far as we know: ours while it stands, the person's own otherwise.
func (s *step) shows(ep *EndpointSide) presence.Status {
	if ep.Assertion != nil && s.overwritten(ep) {
		return ep.Assertion.Value
	}
	return ep.Status
}

// endpointSeen folds an event of the watch. Line state is believed at once (R14).
func (s *step) endpointSeen(ep *EndpointSide, e EndpointSeen) {
	if e.Seq != 0 && e.Seq <= ep.mark {
		return
	}
	ep.mark = e.Seq
	rules := s.pbx(ep)
	if rules.trusted() && e.State.Version < ep.Version {
		return // older than what is known, our own answers included (R14)
	}
	s.arrived(e.Arrived)
	ep.epoch++ // a read under way was overtaken
	ep.Seen, ep.Line = true, e.State.Line
	if rules.trusted() {
		if e.State.Version > ep.Version || ep.Status.IsZero() {
			s.foldAuthored(ep, e.State)
			s.doubtOwn(ep, e.State)
		}
		return
	}
	// R14: this PBX does not say who changed what. What a write under way brings about is no news.
	echo := ep.Write != nil && s.overwritten(ep) && e.State.Status.Same(ep.Write.Status)
	if s.newsOfNote(ep, e.State.Message) {
		ep.ReadOwed = true
	}
	switch {
	case echo || e.State.Status.Same(s.shows(ep)):
	case s.rules.without(RuleConfirm):
		s.foldUnauthored(ep, e.State)
	default:
		ep.ReadOwed = true
	}
}

// endpointSnapshot folds the periodic read; it is as good as a direct one where nothing overtook it, but not
// as fresh as R8 wants one to be.
func (s *step) endpointSnapshot(ep *EndpointSide, e EndpointSnapshot) {
	if e.Epoch != ep.epoch || ep.fenced() {
		s.snapshotOvertaken(ep, e)
		return
	}
	seenBefore := ep.Seen
	ep.Seen, ep.Line = true, e.State.Line
	switch {
	case s.pbx(ep).trusted() && e.State.Version < ep.Version:
		ep.ReadOwed = true // a listing from before what is known, or a PBX that counts anew: a direct read tells
	case s.pbx(ep).trusted():
		if e.State.Version != ep.Version || ep.Status.IsZero() || ep.ReadOwed {
			s.foldAuthored(ep, e.State)
			s.resolve(ep, e.State)
		}
		ep.ReadOwed = false
	case ep.Status.IsZero() && ep.Assertion == nil:
		ep.Status, ep.ReadOwed = e.State.Status, false
		s.foldNote(ep, e.State.Message)
	case s.newsOfNote(ep, e.State.Message):
		ep.ReadOwed = true
	case !e.State.Status.Same(s.shows(ep)) || (!seenBefore && ep.Assertion != nil):
		ep.ReadOwed = true
	}
}

// snapshotOvertaken takes what it can from a listing that a write of ours, or an event, overtook (R7). Our writes do
// not touch the line, and a line that was unknown was not overtaken by an event.
func (s *step) snapshotOvertaken(ep *EndpointSide, e EndpointSnapshot) {
	if ep.Seen && e.Epoch == ep.epoch {
		ep.Line = e.State.Line
	}
	if !ep.Seen {
		ep.Seen, ep.Line = true, e.State.Line
	}
	if e.State.Version != ep.Version || !e.State.Status.Same(s.shows(ep)) {
		ep.ReadOwed = true
	}
}

// endpointRead folds a direct read, if nothing overtook it. It sets the order's mark, backwards too: a PBX that
// was restored from a backup counts from there.
func (s *step) endpointRead(ep *EndpointSide, e EndpointRead) {
	ep.reading = false
	if e.Epoch != ep.epoch || ep.fenced() {
		return // stays owed (R7)
	}
	ep.ReadOwed = false
	ep.Seen, ep.Line = true, e.State.Line
	s.justRead = ep.ID
	if s.pbx(ep).trusted() {
		s.foldAuthored(ep, e.State)
	} else {
		s.foldUnauthored(ep, e.State)
	}
	s.resolve(ep, e.State)
}

// foldAuthored folds the status of a PBX that says who chose it, and when (R14).
func (s *step) foldAuthored(ep *EndpointSide, st pbx.State) {
	first := ep.Status.IsZero() && ep.Assertion == nil
	same := st.ChangedAt.Equal(ep.ChangedAt) && ep.Version != 0
	ep.Version, ep.ChangedAt = st.Version, st.ChangedAt
	s.foldNote(ep, st.Message)
	switch {
	case st.ChangedBy == pbx.AuthorSelf:
		s.foldOwn(ep, st, first)
	case first:
		ep.Status = st.Status
	case s.standsAsChosen(ep, st, same):
		// The version grew with the line alone, or our write has not landed.
	default:
		s.picked(ep, st)
	}
}

// standsAsChosen tells whether a status that is not ours is the one that the person chose before: same says that
// the PBX dates it alike.
func (s *step) standsAsChosen(ep *EndpointSide, st pbx.State, same bool) bool {
	same = same || st.ChangedBy == pbx.AuthorUnknown
	a := ep.Assertion
	if a == nil || !s.overwritten(ep) {
		return same && st.Status.Same(ep.Status)
	}
	return same && a.Phase != PhaseStanding && st.Status.Same(a.Previous)
}

// foldOwn folds a status that this bridge's own client wrote. Without a record of it, it is ours from a former
// life, with policy's default as previous (R8).
func (s *step) foldOwn(ep *EndpointSide, st pbx.State, first bool) {
	if ep.Assertion != nil {
		return // resolve decides, once the write is answered or waited out
	}
	if s.observedOwn(ep, st.Status) {
		return
	}
	rules := s.pbx(ep)
	if !s.policy().SetsOnPBX(ep.ID.PBX, rules.Statuses, st.Status) || (!first && st.Status.Same(ep.Status)) {
		ep.Status = st.Status // a previous status that we restored
		return
	}
	previous := ep.Status
	if first {
		previous = rules.Statuses.Default()
		s.adoptNote(ep, st.Message)
	}
	s.adopt(ep, st.Status, previous)
}

// doubtOwn owes a read when our own client wrote something else than what stands, or than what is being written: one of a
// former life came late (R8), or it was another program, which cannot be told from our own client before the PBX has answered
// a write of ours. The answer to a write under way is older than that, and would say nothing about it.
func (s *step) doubtOwn(ep *EndpointSide, st pbx.State) {
	a := ep.Assertion
	if a == nil || st.ChangedBy != pbx.AuthorSelf {
		return
	}
	ours := a.Value
	if ep.Write != nil {
		ours = ep.Write.Status
	}
	if !st.Status.Same(ours) {
		ep.ReadOwed = true
	}
}

// adopt takes a status for ours that stands without a record.
func (s *step) adopt(ep *EndpointSide, value, previous presence.Status) {
	ep.Status, ep.Withdrawn = previous, presence.Status{}
	ep.Assertion = &EndpointAssertion{
		Value: value, Previous: previous, Class: policy.ClassOfKind(value.Kind), Phase: PhaseStanding, Since: s.now,
	}
}

// foldUnauthored folds a direct read of a PBX that does not say who chose a status.
func (s *step) foldUnauthored(ep *EndpointSide, st pbx.State) {
	ep.Version, ep.ChangedAt = st.Version, st.ChangedAt
	s.foldNote(ep, st.Message)
	late := ep.Withdrawn
	ep.Withdrawn = presence.Status{}
	switch {
	case ep.Assertion != nil && s.overwritten(ep):
		if ep.Assertion.Phase == PhaseStanding && !st.Status.Same(ep.Assertion.Value) {
			s.picked(ep, st)
		}
	case ep.Status.IsZero(), st.Status.IsZero() && !s.overwritten(ep):
		ep.Status = st.Status // that nobody says what the person chose is no choice (R4)
	case st.Status.Same(ep.Status):
	case !late.IsZero() && st.Status.Same(late) && !s.observedOwn(ep, st.Status):
		s.adopt(ep, st.Status, ep.Status) // our write came after the person's choice, which is given back
	default:
		s.picked(ep, st)
	}
}

// resolve lets a believed read decide what became of an unanswered write (R8).
func (s *step) resolve(ep *EndpointSide, st pbx.State) {
	a := ep.Assertion
	if a == nil || ep.Write != nil || !s.overwritten(ep) {
		return
	}
	switch {
	case st.Status.Same(a.Value):
		a.Phase, a.Before = PhaseStanding, presence.Status{}
	case a.Phase == PhaseStanding && st.ChangedBy == pbx.AuthorSelf && !st.Status.Same(a.Previous):
		a.Value = st.Status // ours all the same
	case st.Status.Same(a.Previous):
		if a.Phase == PhaseWithdrawing {
			s.endedOnPBX(ep, false)
		}
		ep.Status, ep.Assertion = st.Status, nil // did not land, or is restored
	case !a.Before.IsZero() && st.Status.Same(a.Before):
		a.Value, a.Before, a.Phase = a.Before, presence.Status{}, PhaseStanding
	default:
		s.picked(ep, st)
	}
}

// picked folds a choice by hand: it ends our assertion there and becomes an override at once. What it overrides
// is what policy makes of Teams; a read begun from now on says it, and until then the record does (R17).
func (s *step) picked(ep *EndpointSide, st pbx.State) {
	of := s.policyForPBX(ep).Status
	if of.IsZero() && ep.Assertion != nil {
		of = ep.Assertion.Value
	}
	if of.IsZero() && ep.Override != nil {
		of = ep.Override.Of
	}
	ep.Status = st.Status
	if s.overwritten(ep) {
		s.endedOnPBX(ep, st.ChangedBy != pbx.AuthorUser)
		ep.Assertion = nil
		if ep.Write != nil {
			ep.Withdrawn = ep.Write.Status
		}
	}
	if s.rules.without(RulePersonWins) {
		ep.Override = nil
		return
	}
	ep.Override = &Override{Of: of, Pending: true, Since: s.now}
	s.r.Teams.ReadOwed = true
	s.r.Teams.epoch++
}

// policyForPBX is what policy makes of Teams' state. Hidden and unknown assert nothing (R2, R4).
func (s *step) policyForPBX(ep *EndpointSide) policy.PBXWant {
	if s.organicState() != OrganicSeen {
		return policy.PBXWant{}
	}
	return s.policy().ForPBX(ep.ID.PBX, s.pbx(ep).Statuses, s.r.Teams.organicState())
}

// wantPBX is what is wanted on an endpoint.
func (s *step) wantPBX(ep *EndpointSide) policy.PBXWant {
	if s.r.Excluded || ep.Leaving || ep.Override != nil || ep.Contested() {
		return policy.PBXWant{}
	}
	return s.policyForPBX(ep)
}

// decideEndpoint brings an endpoint to what is wanted, one write at a time.
func (s *step) decideEndpoint(ep *EndpointSide) {
	s.stopLingering(ep)
	want := s.wantPBX(ep)
	a := ep.Assertion
	differs := (a == nil && !want.IsZero() && !want.Status.Same(ep.Status)) || (a != nil && !want.Status.Same(a.Value))
	differs = differs || (a != nil && a.Phase != PhaseStanding && !s.overwritten(ep))
	differs = differs || s.noteDiffers(ep)
	if s.granted == ep.ID.PBX && differs {
		ep.paid, s.granted = true, ""
	}
	if r := s.whyEndpointWaits(ep); r != "" {
		if r == ReasonPaced && differs {
			s.effects = append(s.effects, AwaitGrant{Side: ep.ID.PBX})
		}
		ep.because(r)
		s.held = s.held || differs
		return
	}
	switch {
	case a == nil:
		s.firstOnPBX(ep, want)
	case a.Phase == PhaseStanding:
		s.standingOnPBX(ep, want)
	case !s.overwritten(ep): // our own document: the present intent is sent again
		s.changeOnPBX(ep, want)
	default: // unanswered and waited out: a read decides (R6, R8)
		ep.ReadOwed = true
		ep.because(ReasonAwaitRead)
	}
	s.decideNote(ep)
	ep.paid = ep.paid && ep.Write == nil && ep.ReadOwed
}

// whyEndpointWaits is why nothing can be written now, "" if it can.
func (s *step) whyEndpointWaits(ep *EndpointSide) Reason {
	switch {
	case ep.Write != nil && ep.Write.Waiting:
		return ReasonUnanswered
	case ep.fenced():
		return ReasonFenced
	case !ep.Timers.Hold.IsZero():
		return ReasonHoldDown
	case ep.Failures > 0 && !ep.Timers.Retry.IsZero():
		return ReasonRefused
	case !ep.Seen:
		return ReasonUnknown
	case s.rules.Paced[ep.ID.PBX] && !ep.paid:
		return ReasonPaced
	}
	return ""
}

// firstOnPBX decides where nothing of ours is.
func (s *step) firstOnPBX(ep *EndpointSide, want policy.PBXWant) {
	switch {
	case want.IsZero():
		ep.because(s.whyNothingOnPBX(ep))
	case ep.Status.Same(want.Status):
		ep.because(ReasonAlreadyShows)
	case s.outranked(ep, want):
		ep.because(ReasonOutranked)
	case !s.mayWrite(ep):
		ep.ReadOwed = true
		ep.because(ReasonAwaitRead)
	case s.fightsOnPBX(ep, want.Status):
		ep.because(ReasonCompeting)
	default:
		ep.Assertion = &EndpointAssertion{Value: want.Status, Class: want.Class, Phase: PhaseWriting, Since: s.now}
		if s.overwritten(ep) {
			ep.Assertion.Previous = ep.Status
		}
		s.writeEndpoint(ep, want.Status)
		ep.because(ReasonAsserted)
	}
}

// outranked tells whether the person's own choice ranks as high as what is wanted (R9). What cannot be classified is left
// alone; but beside somebody who chose nothing, as far as the PBX says, a document of our own takes nothing away.
func (s *step) outranked(ep *EndpointSide, want policy.PBXWant) bool {
	if s.rules.without(RuleRank) || (ep.Status.IsZero() && !s.overwritten(ep)) {
		return false
	}
	return policy.OfClass(want.Class) <= policy.OfKind(ep.Status.Kind)
}

func (s *step) whyNothingOnPBX(ep *EndpointSide) Reason {
	switch {
	case s.r.Excluded || ep.Leaving || s.policy().OptOut.Has(presence.TeamsToPBX):
		return ReasonExcluded
	case ep.Contested():
		return ReasonCompeting
	case ep.Override != nil:
		return ReasonOverride
	case s.r.Teams.OrganicState == OrganicHidden:
		return ReasonHidden
	case s.r.Teams.OrganicState == OrganicUnknown:
		return ReasonUnknown
	default:
		return ReasonNothingWanted
	}
}

// mayWrite tells whether what is there is known well enough to write over it (R8): by a version that the
// request carries, or by a read right before.
func (s *step) mayWrite(ep *EndpointSide) bool {
	c := s.pbx(ep).Capabilities
	return s.rules.without(RuleReadFirst) || (c.OwnDocument && !ep.ReadOwed) || (c.Versions && ep.Version != 0 && !ep.ReadOwed) || s.justRead == ep.ID
}

// standingOnPBX keeps, changes or withdraws.
func (s *step) standingOnPBX(ep *EndpointSide, want policy.PBXWant) {
	a := ep.Assertion
	if !want.IsZero() && want.Status.Same(a.Value) {
		a.Class = want.Class
		ep.because(ReasonAsserted)
		return
	}
	if s.lingers(ep) {
		ep.because(ReasonAsserted, ReasonLinger)
		return
	}
	if !s.mayWrite(ep) {
		ep.ReadOwed = true
		ep.because(ReasonAwaitRead)
		return
	}
	s.changeOnPBX(ep, want)
}

// changeOnPBX writes what is wanted in place of ours, or gives the person's own back (R8, R9, R10).
func (s *step) changeOnPBX(ep *EndpointSide, want policy.PBXWant) {
	a := ep.Assertion
	if !want.IsZero() && !want.Status.Same(a.Value) && s.fightsOnPBX(ep, want.Status) {
		want = policy.PBXWant{}
	}
	if want.IsZero() || want.Status.Same(s.own(ep)) {
		a.Phase = PhaseWithdrawing
		s.writeEndpoint(ep, a.Previous)
		ep.because(ReasonWithdrawn, s.whyNothingOnPBX(ep))
		return
	}
	if !want.Status.Same(a.Value) {
		s.endedOnPBX(ep, false)
		a.Before, a.Value, a.Since = a.Value, want.Status, s.now
	}
	a.Class, a.Phase = want.Class, PhaseWriting
	s.writeEndpoint(ep, want.Status)
	ep.because(ReasonAsserted)
}

// own is the person's own status under an assertion of ours.
func (s *step) own(ep *EndpointSide) presence.Status {
	if s.overwritten(ep) {
		return ep.Assertion.Previous
	}
	return ep.Status
}

// writeEndpoint notes the intent and asks for the request (R6).
func (s *step) writeEndpoint(ep *EndpointSide, status presence.Status) {
	rules := s.pbx(ep)
	ep.epoch++
	ep.Write = &EndpointWrite{ID: ep.epoch, Status: status, Started: s.now}
	ep.Timers.Deadline = s.now.Add(rules.Timeout + s.rules.LandGrace)
	ep.Timers.Hold = s.now.Add(s.rules.HoldDown)
	ep.Write.Message = s.noteFor(ep)
	w := pbx.Write{Status: status, Message: clonePtr(ep.Write.Message)}
	if rules.Capabilities.Versions && !s.rules.without(RuleReadFirst) {
		w.IfVersion = ep.Version
	}
	s.effects = append(s.effects, ApplyEndpoint{Endpoint: ep.ID, ID: ep.epoch, Write: w, Paid: ep.paid, Cause: s.takeCause()})
}

// endpointAnswered folds the answer to a write of ours.
func (s *step) endpointAnswered(ep *EndpointSide, e EndpointAnswered) {
	if ep.Write == nil || ep.Write.ID != e.ID || ep.Write.Waiting {
		return
	}
	switch e.Outcome {
	case Answered:
		s.endpointStands(ep, e.State)
	case Conflicted: // nothing was written; a read tells why (R8)
		ep.noteNotWritten(ep.Write)
		ep.Write = nil
		ep.epoch++
		ep.Timers.Deadline = time.Time{}
		ep.ReadOwed = true
		ep.notWritten()
	case Refused:
		ep.Failures++
		ep.Write.Waiting = true
	case Unanswered:
		ep.Write.Waiting = true
		if s.rules.without(RuleWriteAhead) {
			ep.Timers.Deadline = time.Time{}
			s.endpointWaitedOut(ep)
		}
	}
}

// notWritten takes an assertion back to what it was before the write that is known not to have landed. What the read
// then shows, be it the very same value, is not our doing.
func (ep *EndpointSide) notWritten() {
	switch a := ep.Assertion; {
	case a == nil, a.Phase == PhaseStanding: // the write was about a message
	case a.Phase == PhaseWithdrawing:
		a.Phase = PhaseStanding
	case !a.Before.IsZero():
		a.Value, a.Before, a.Phase = a.Before, presence.Status{}, PhaseStanding
	default:
		ep.Assertion = nil
	}
}

// endpointStands notes that a write was answered: ours stands, or the person's own is back.
func (s *step) endpointStands(ep *EndpointSide, st pbx.State) {
	w := ep.Write
	ep.noteAnswered(w)
	ep.Write = nil
	ep.epoch++
	ep.Failures = 0
	ep.Timers.Deadline = time.Time{}
	if !s.rules.without(RuleFence) {
		ep.Timers.Settle = s.now.Add(s.pbx(ep).Settle)
	}
	if st.Version > ep.Version {
		ep.Version, ep.ChangedAt = st.Version, st.ChangedAt
	}
	a := ep.Assertion
	if a == nil { // the person chose meanwhile; did ours come after it?
		ep.ReadOwed = ep.ReadOwed || !s.pbx(ep).trusted()
		return
	}
	if a.Phase == PhaseWithdrawing {
		s.endedOnPBX(ep, false)
		ep.Assertion = nil
		if s.overwritten(ep) {
			ep.Status = w.Status
		}
	} else {
		a.Phase, a.Before = PhaseStanding, presence.Status{}
	}
	if s.overwritten(ep) && !st.Status.IsZero() && !st.Status.Same(w.Status) {
		ep.ReadOwed = true
	}
}

// endpointWaitedOut: an unanswered write can no longer land. On a PBX a read decides what became of it (R6), past
// the fence of a write that may have landed at the very end.
func (s *step) endpointWaitedOut(ep *EndpointSide) {
	if ep.Write == nil {
		return
	}
	ep.Write = nil
	ep.epoch++
	ep.Timers.Settle = s.now.Add(s.pbx(ep).Settle)
	ep.ReadOwed = s.overwritten(ep)
	if ep.Failures > 0 {
		ep.Timers.Retry = s.now.Add(backoff(ep.Failures))
	}
}

// backoff is how long a refused write waits before it is tried again: 10 s, doubled up to about 10 min.
func backoff(failures int) time.Duration {
	return 10 * time.Second << min(failures-1, 6)
}
