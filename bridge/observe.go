package bridge

import (
	"strings"

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

// observe decides on a copy of the record, as if every read that a write needs had just been made and every budget had
// room, and notes what would have been written. Of the copy nothing is kept.
func (s *step) observe() {
	rules := *s.rules
	rules.Observe, rules.Paced, rules.Contest.Flips = false, nil, -1
	trial := step{rules: &rules, r: s.r.Clone(), now: s.now, teamsJustRead: true}
	trial.decideTeams()
	trial.decideTeamsNote()
	for i := range trial.r.Endpoints {
		trial.justRead = trial.r.Endpoints[i].ID
		trial.decideEndpoint(&trial.r.Endpoints[i])
	}
	would := map[string]string{}
	for _, eff := range trial.effects {
		switch eff.(type) {
		case ReadTeams, ReadEndpoint, AwaitGrant, ForgetMember, Withheld:
			continue
		}
		d := decidedEffect(&trial.r, eff, s.now)
		if w, ok := eff.(ApplyEndpoint); ok {
			d.Value = s.wouldOnPBX(w, d.Value)
		}
		if would[d.Side] != "" {
			d.Value = would[d.Side] + ", " + d.Value
		}
		would[d.Side] = d.Value
	}
	t := &s.r.Teams
	t.Because = becauseObserving(trial.r.Teams.Because, would[TeamsSideLabel])
	t.Would = s.withhold(t.Would, Withheld{Side: TeamsSideLabel, Do: DoClear}, would[TeamsSideLabel])
	for i := range s.r.Endpoints {
		ep, side := &s.r.Endpoints[i], EndpointSideName(s.r.Endpoints[i].ID)
		ep.Because = becauseObserving(trial.r.Endpoints[i].Because, would[side])
		ep.Would = s.withhold(ep.Would, Withheld{Side: side, Do: DoRestore, Value: ep.Status.String()}, would[side])
	}
}

// wouldOnPBX words a write to a PBX, of which the message may be all that it changes.
func (s *step) wouldOnPBX(w ApplyEndpoint, status string) string {
	message := w.Write.Message
	if message == nil {
		return status
	}
	text := "message: " + *message
	if ep := s.r.Endpoint(w.Endpoint); ep != nil && w.Write.Status.Same(ep.Status) {
		return text
	}
	if *message == "" {
		return status
	}
	return status + ", " + text
}

// becauseObserving is the reason of a side: what would have been written was not, because the account only observes.
func becauseObserving(trial []Reason, would string) []Reason {
	if would != "" {
		return []Reason{ReasonObserving}
	}
	return trial
}

// withhold tells what would have been written to a side when it changed: a value, or the end of one.
func (s *step) withhold(was *WouldBe, end Withheld, value string) *WouldBe {
	switch {
	case value == "" && was == nil, was != nil && was.Value == value:
		return was
	case value == "":
		s.effects = append(s.effects, end)
		return nil
	default:
		s.effects = append(s.effects, Withheld{Side: end.Side, Do: DoSet, Value: value})
		return &WouldBe{Value: value, Since: s.now}
	}
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
