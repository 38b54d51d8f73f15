package bridge

import (
	"slices"
	"strings"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// Withheld is what an account that only observes would have written now ([Rules.Observe]). Nothing is sent, and the record
// holds no assertion: it does not believe what it did not do. It is told once, when it changes.
type Withheld struct {
	Side  string // TeamsSideLabel, or [EndpointSideName]
	Do    string // DoSet, or DoClear and DoRestore where nothing is wanted any more
	Value string
}

func (Withheld) effect() {}

// label is the side as a metric label: Teams, or the name of the PBX.
func (w Withheld) label() string {
	if pbx, ok := strings.CutPrefix(w.Side, "pbx."); ok {
		name, _, _ := strings.Cut(pbx, ".")
		return name
	}
	return TeamsSideLabel
}

// decide brings both sides to what is wanted. An account that only observes first takes back what it asserted before, as
// for somebody who opted out, and is silent from then on.
func (s *step) decide() {
	if !s.rules.Observe {
		s.endWithheld()
		s.decideSides()
		return
	}
	s.r.Teams.Purge = false // nothing is sent again, so nothing waits for it (R15)
	if s.r.Idle() {
		s.observe()
		return
	}
	excluded := s.r.Excluded
	s.r.Excluded = true
	s.decideSides()
	s.r.Excluded = excluded
	if excluded {
		return
	}
	sayObserving(s.r.Teams.Because)
	for i := range s.r.Endpoints {
		sayObserving(s.r.Endpoints[i].Because)
	}
}

func (s *step) decideSides() {
	s.decideTeams()
	s.decideTeamsNote()
	for i := range s.r.Endpoints {
		s.decideEndpoint(&s.r.Endpoints[i])
	}
}

// sayObserving gives the true reason for a withdrawal that is carried out like an opt-out's.
func sayObserving(rs []Reason) {
	for i := range rs {
		if rs[i] == ReasonExcluded {
			rs[i] = ReasonObserving
		}
	}
}

// observe decides on a copy of the record in which what would have been written stands, as if every read that a write needs
// had just been made and every budget had room, and notes what would be there now. Of the copy nothing is kept but how long
// a status would be held: after a write (R13), and from a call into a meeting.
func (s *step) observe() {
	rules := *s.rules
	rules.Observe, rules.Paced, rules.Contest.Flips = false, nil, -1
	// What was never seen is read first in any case (R5).
	trial := step{rules: &rules, r: s.r.Clone(), now: s.now, teamsJustRead: s.teamsJustRead || s.r.Teams.OrganicState != OrganicUnknown}
	trial.pretend()
	trial.cover(s.r.Teams.OrganicState)
	trial.decideTeams()
	trial.decideTeamsNote()
	trial.cover(s.r.Teams.OrganicState)
	for i := range trial.r.Endpoints {
		trial.justRead = trial.r.Endpoints[i].ID
		trial.decideEndpoint(&trial.r.Endpoints[i])
	}
	t := &s.r.Teams
	next := trial.wouldInTeams()
	t.Because = becauseObserving(trial.r.Teams.Because, next)
	if was := t.Would; was != nil && !was.Pair.IsZero() && (next == nil || next.Pair != was.Pair) {
		t.ReadOwed = true // as after every end of a session of ours (R10): it says what overrides are worth
	}
	t.Would = s.withhold(t.Would, Withheld{Side: TeamsSideLabel, Do: DoClear}, next)
	for i := range s.r.Endpoints {
		ep, tried := &s.r.Endpoints[i], &trial.r.Endpoints[i]
		next := tried.would()
		ep.Timers.Hold, ep.Timers.Linger, ep.Lingered = tried.Timers.Hold, tried.Timers.Linger, tried.Lingered
		ep.Because = becauseObserving(tried.Because, next)
		ep.Would = s.withhold(ep.Would, Withheld{Side: EndpointSideName(ep.ID), Do: DoRestore, Value: ep.Status.String()}, next)
	}
}

// pretend lets what would have been written stand.
func (s *step) pretend() {
	t := &s.r.Teams
	if w := t.Would; w != nil && !w.Pair.IsZero() {
		t.Assertion = &TeamsAssertion{Value: w.Pair, Class: w.Class, Phase: PhaseStanding, Since: w.Since, From: w.From}
	}
	if w := t.Would; w != nil && w.Message != "" {
		t.Note = &TeamsNote{Value: w.Message, Since: w.Since}
	}
	for i := range s.r.Endpoints {
		ep := &s.r.Endpoints[i]
		if w := ep.Would; w != nil && !w.Status.IsZero() && ep.Override == nil {
			ep.Assertion = &EndpointAssertion{Value: w.Status, Class: w.Class, Phase: PhaseStanding, Since: w.Since}
			if s.overwritten(ep) {
				ep.Assertion.Previous = ep.Status
			}
		}
		if w := ep.Would; w != nil && w.Message != "" && (s.overwritten(ep) || ep.Assertion != nil) {
			ep.Note = &EndpointNote{Value: w.Message, Previous: ep.Message, Phase: PhaseStanding, Since: w.Since}
		}
	}
}

// cover hides what nobody would see under a session of ours (R2). seen is what is known without one.
func (s *step) cover(seen OrganicState) {
	t := &s.r.Teams
	t.OrganicState = seen
	if a := t.Assertion; a != nil && a.Phase != PhaseWithdrawing && a.Preferred == nil && seen == OrganicSeen && coveredBy(t.Organic, a) {
		t.OrganicState = OrganicHidden
	}
}

// organicState is what is known of the person's own state in Teams, which an account that only observes sees in spite of the
// session that would be there.
func (s *step) organicState() OrganicState {
	t := &s.r.Teams
	if w := t.Would; s.rules.Observe && w != nil && !w.Pair.IsZero() && t.OrganicState == OrganicSeen &&
		coveredBy(t.Organic, &TeamsAssertion{Value: w.Pair, Class: w.Class}) {
		return OrganicHidden
	}
	return t.OrganicState
}

// coveredBy tells whether a session of ours would show instead of what the person's own clients say. What is only ever chosen
// by hand shows in spite of every session.
func coveredBy(own presence.Pair, a *TeamsAssertion) bool {
	switch {
	case own == a.Value:
		return true
	case own.Availability == presence.BeRightBack, own.Activity == presence.OffWork:
		return false
	}
	return policy.OfPair(own) < policy.OfClass(a.Class)
}

// wouldInTeams is what would be in Teams after a trial, nil if nothing would.
func (s *step) wouldInTeams() *WouldBe {
	t := &s.r.Teams
	var w WouldBe
	if a := t.Assertion; a != nil && a.Phase != PhaseWithdrawing {
		w.Value = a.Value.String()
		if a.Preferred == nil {
			w.Pair, w.Class, w.From = a.Value, a.Class, a.From
		}
	}
	if t.Note != nil {
		w.Message = t.Note.Value
	}
	return w.worded()
}

// would is what would be on an endpoint after a trial, nil if nothing would.
func (ep *EndpointSide) would() *WouldBe {
	var w WouldBe
	if a := ep.Assertion; a != nil && a.Phase != PhaseWithdrawing {
		w.Value, w.Status, w.Class = a.Value.String(), a.Value, a.Class
	}
	if n := ep.Note; n != nil && n.Phase != PhaseWithdrawing {
		w.Message = n.Value
	}
	return w.worded()
}

// worded adds the message to the words; nil if there is neither a state nor a message.
func (w WouldBe) worded() *WouldBe {
	switch {
	case w.Value == "" && w.Message == "":
		return nil
	case w.Value == "":
		w.Value = "message: " + w.Message
	case w.Message != "":
		w.Value += ", message: " + w.Message
	}
	return &w
}

// becauseObserving is the reason of a side: what would have been written was not, because the account only observes. That it
// would stay for a while, although its cause ended, is said as well.
func becauseObserving(trial []Reason, would *WouldBe) []Reason {
	switch {
	case would == nil:
		return trial
	case slices.Contains(trial, ReasonLinger):
		return []Reason{ReasonObserving, ReasonLinger}
	}
	return []Reason{ReasonObserving}
}

// withhold tells what would have been written to a side when it changed: a value, or the end of one.
func (s *step) withhold(was *WouldBe, end Withheld, next *WouldBe) *WouldBe {
	switch {
	case next == nil && was == nil:
		return nil
	case next == nil:
		s.effects = append(s.effects, end)
		return nil
	case was != nil && was.Value == next.Value:
		next.Since = was.Since
		return next
	}
	s.effects = append(s.effects, Withheld{Side: end.Side, Do: DoSet, Value: next.Value})
	next.Since = s.now
	return next
}

// endWithheld: the account writes again.
func (s *step) endWithheld() {
	s.r.Teams.Would = nil
	for i := range s.r.Endpoints {
		s.r.Endpoints[i].Would = nil
	}
}

// observedOwn folds a status that this bridge's own client wrote, for an account that only observes: without a record of
// it, it may be another bridge's that is at work beside this one, so it is left alone.
func (s *step) observedOwn(ep *EndpointSide, status presence.Status) bool {
	if s.rules.Observe {
		ep.Status, ep.Withdrawn = status, presence.Status{}
	}
	return s.rules.Observe
}
