package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge"
	"presencebridge/bridge/presence"
)

// side explains one side of states.
func (x *explainer) side(states []bridge.SideState, i int) Side {
	s := states[i]
	out := Side{State: s, Label: x.label(s.Side)}
	for _, r := range s.Because {
		out.Reasons = append(out.Reasons, sentence(r.Text()))
	}
	say := func(format string, args ...any) {
		out.Sentences = append(out.Sentences, sentence(fmt.Sprintf(format, args...)))
	}
	what, since := x.whatShows(&out)
	switch later := x.hindsight(&s); {
	case !s.Known:
		say("what %s %s is not known%s: it was not seen for too long, or not since the bridge was started", out.Label, x.verb("shows", "showed"), since)
	case later != nil:
		say("%s showed %s at that moment, as far as can be told: it was set at %s, and %s saw it at %s", out.Label, pairInWords(s.Assertion.Value),
			x.stamp(s.Assertion.Since), sourceInWords(later.Event.Source), x.stamp(later.At))
		say("what had been seen last before is %s%s", pairInWords(s.Shown), since)
		out.Since, out.State.Shown = s.Assertion.Since, s.Assertion.Value
		s.Shown = s.Assertion.Value
		s.OrganicState = bridge.OrganicHidden
	default:
		say("%s %s%s", out.Label, what, since)
	}
	if text := x.doubted(&s); text != "" {
		out.Sentences = append(out.Sentences, sentence(text))
	}
	if a := s.Assertion; a != nil {
		out.Sentences = append(out.Sentences, x.assertion(states, &s)...)
	} else if s.Known && !s.Excluded {
		out.Sentences = append(out.Sentences, x.ownState(&s)...)
	}
	if s.Override != nil {
		out.Sentences = append(out.Sentences, x.override(&s))
	}
	out.Sentences = append(out.Sentences, x.besides(states, &s)...)
	return out
}

// whatShows is what a side shows, with the verb, and since when. Of a phone that is two things, each with a time of its own.
func (x *explainer) whatShows(side *Side) (what, since string) {
	s := &side.State
	if s.Side == bridge.TeamsSideLabel || !s.Known {
		since, how, at := x.sinceWhen(s, func(o *bridge.SideState) bool { return o.Known == s.Known && o.Shown == s.Shown })
		side.Since = at
		return x.verb("shows", "showed") + " " + pairInWords(s.Shown), since + how
	}
	line, lineHow, lineAt := x.sinceWhen(s, func(o *bridge.SideState) bool { return o.Known && o.Line == s.Line })
	status, statusHow, statusAt := x.sinceWhen(s, func(o *bridge.SideState) bool { return o.Known && o.Shown == s.Shown })
	side.Since = lineAt
	if statusAt.After(lineAt) {
		side.Since = statusAt
	}
	is, shows := x.verb("is", "was")+" "+lineInWords(s.Line), x.verb("shows", "showed")+" the status "+valueInWords(s.Side, s.Shown)
	if lineAt.Equal(statusAt) {
		return is + " and " + shows, status + statusHow
	}
	return is + line + lineHow + ", and " + shows, status
}

// sinceWhen says since when something is so of a side, and how that was learnt, if it was; "" if it is not recorded.
func (x *explainer) sinceWhen(s *bridge.SideState, f func(*bridge.SideState) bool) (since, how string, at time.Time) {
	d := x.begun(s.Side, f)
	if d == nil {
		return "", "", time.Time{}
	}
	seen := *s
	seen.Shown, seen.Line = d.Event.Shown, d.Event.Line
	if d.Event.Kind == bridge.EventObserved && d.Event.Side == s.Side && f(&seen) {
		how = " (learnt by " + sourceInWords(d.Event.Source) + ")"
	}
	return ", since " + x.stamp(d.At), how, d.At
}

// hindsightLimit is how long after a moment an observation says something about that moment.
const hindsightLimit = 2 * time.Minute

// hindsight is the first observation of Teams after the moment in question, if it saw what the bridge had put there before, and
// nobody had seen that yet.
func (x *explainer) hindsight(s *bridge.SideState) *bridge.Decision {
	a := s.Assertion
	if !x.isPast() || s.Side != bridge.TeamsSideLabel || a == nil || a.Phase == bridge.PhaseWithdrawing || !a.MaskedSince.IsZero() || s.Shown == a.Value {
		return nil
	}
	for i := range x.in.Decisions {
		d := &x.in.Decisions[i]
		switch {
		case !d.At.After(x.at):
		case d.At.After(x.at.Add(hindsightLimit)):
			return nil
		case d.Event.Kind == bridge.EventTakenOver:
			return nil
		case d.Event.Kind == bridge.EventObserved && d.Event.Side == s.Side:
			if now := sideOf(d.Sides, s.Side); d.Event.Shown == a.Value && now != nil && now.Assertion != nil && now.Assertion.Since.Equal(a.Since) {
				return d
			}
			return nil
		}
	}
	return nil
}

// doubted says that the last observation was another one than what is believed: it is confirmed first.
func (x *explainer) doubted(s *bridge.SideState) string {
	if !s.ReadOwed {
		return ""
	}
	for i := len(x.in.Decisions) - 1; i >= 0; i-- {
		d := &x.in.Decisions[i]
		if d.At.After(x.at) || d.Event.Kind != bridge.EventObserved || d.Event.Side != s.Side {
			continue
		}
		if d.Event.Shown == s.Shown || d.Event.Shown == s.Organic {
			return ""
		}
		return fmt.Sprintf("%s showed %s at %s, which the bridge %s first: that may be what it once set itself, or late news", sourceInWords(d.Event.Source),
			valueInWords(s.Side, d.Event.Shown), x.stamp(d.At), x.verb("confirms", "confirmed"))
	}
	return ""
}

// assertion says what of a side is the bridge's.
func (x *explainer) assertion(states []bridge.SideState, s *bridge.SideState) []string {
	a := s.Assertion
	value, teams := valueInWords(s.Side, a.Value), s.Side == bridge.TeamsSideLabel
	var out []string
	say := func(format string, args ...any) { out = append(out, sentence(fmt.Sprintf(format, args...))) }
	switch a.Phase {
	case bridge.PhaseWriting:
		say("the bridge ordered %s %s at %s%s; that %s not confirmed yet", value, x.onSide(s.Side), x.stamp(a.Since), x.cause(states, s), x.verb("is", "was"))
	case bridge.PhaseWithdrawing:
		say("the bridge had put %s there at %s%s, and %s taking it away", value, x.stamp(a.Since), x.cause(states, s), x.verb("is", "was"))
	case bridge.PhaseStanding:
		say("the bridge put %s there at %s%s", value, x.stamp(a.Since), x.cause(states, s))
	}
	if text := x.otherCause(states, s); text != "" {
		say("%s", text)
	}
	switch {
	case a.Phase != bridge.PhaseStanding:
	case teams && a.Preferred:
		say("it %s the preferred presence of Teams, as if the person had picked it, and %s when its cause %s", x.verb("is", "was"), x.verb("goes", "was to go"), x.verb("ends", "ended"))
	case teams && !a.Until.IsZero():
		say(x.verb("it lasts until %s and is prolonged while that goes on", "it was to last until %s, and to be prolonged while that went on"), x.stamp(a.Until))
	case !teams && a.Previous != "":
		say(x.verb("it stands until that ends; then the person's own status, %s, comes back", "it was to stand until that ended; then the person's own status, %s, was to come back"), valueInWords(s.Side, a.Previous))
	case !teams:
		say(x.verb("it stands until that ends; then only the person's own status is left, %s", "it was to stand until that ended, beside the person's own status, %s"), valueInWords(s.Side, s.Organic))
	}
	switch {
	case !a.MaskedSince.IsZero():
		say(x.verb("it does not show: the person's own %s outranks it, since %s", "it did not show: the person's own %s outranked it, since %s"), valueInWords(s.Side, a.MaskedBy), x.stamp(a.MaskedSince))
	case teams && a.Phase == bridge.PhaseStanding && s.OrganicState == bridge.OrganicSeen:
		say("%s", x.verb("that it shows has not been seen yet", "that it showed had not been seen yet"))
	case teams && s.OrganicState == bridge.OrganicHidden && s.Shown == a.Value:
		under := x.verb("what the person's own state is underneath cannot be seen", "what the person's own state was underneath could not be seen")
		if s.Organic != "" {
			under += "; before, it was " + pairInWords(s.Organic)
		}
		say("%s", under)
	case teams && s.OrganicState == bridge.OrganicHidden:
		say("%s", bridge.ReasonWoken.Text())
	}
	return out
}

// cause says what made the bridge put something on a side, from the moment when it did.
func (x *explainer) cause(states []bridge.SideState, s *bridge.SideState) string {
	since, endpoint := s.Assertion.Since, s.Assertion.From
	for i := range x.in.Decisions {
		d := &x.in.Decisions[i]
		if then := sideOf(d.Sides, s.Side); then != nil && then.Assertion != nil && then.Assertion.Since.Equal(since) {
			states, endpoint = d.Sides, then.Assertion.From
			break
		}
	}
	if s.Side != bridge.TeamsSideLabel {
		teams := sideOf(states, bridge.TeamsSideLabel)
		if teams == nil || teams.Organic == "" {
			return ""
		}
		return ", because Teams showed " + pairInWords(teams.Organic)
	}
	from := sideOf(states, endpoint)
	if from == nil {
		return ", because of " + x.label(endpoint)
	}
	return ", because " + x.label(from.Side) + " was " + causeInWords(from, s.Assertion.Class)
}

// otherCause says that another phone is the cause now than the one that made the bridge put something into Teams.
func (x *explainer) otherCause(states []bridge.SideState, s *bridge.SideState) string {
	a := s.Assertion
	if s.Side != bridge.TeamsSideLabel || a.Phase == bridge.PhaseWithdrawing {
		return ""
	}
	for i := range x.in.Decisions {
		then := sideOf(x.in.Decisions[i].Sides, s.Side)
		if then == nil || then.Assertion == nil || !then.Assertion.Since.Equal(a.Since) {
			continue
		}
		now := sideOf(states, a.From)
		if now == nil || then.Assertion.From == a.From {
			return ""
		}
		return x.verb("by now it is there because ", "by then it was there because ") + x.label(a.From) + " " + x.verb("is", "was") + " " + causeInWords(now, a.Class)
	}
	return ""
}

// causeInWords is what of an endpoint made the class of an assertion.
func causeInWords(from *bridge.SideState, class presence.Class) string {
	busy := from.Line == presence.LineInCall || from.Line == presence.LineOnHold || from.Line == presence.LineRinging
	if class == presence.ClassCall && busy || from.Organic == "" {
		return lineInWords(from.Line)
	}
	return "set to " + valueInWords(from.Side, from.Organic)
}

// ownState says that what shows is the person's own, and why the bridge has put nothing there.
func (x *explainer) ownState(s *bridge.SideState) []string {
	out := []string{sentence("that " + x.verb("is", "was") + " the person's own state")}
	if s.Would != nil {
		out = append(out, sentence("the bridge "+x.verb("would set", "would have set")+" "+valueInWords(s.Side, s.Would.Value)+" there since "+x.stamp(s.Would.Since)))
	}
	for _, r := range s.Because {
		if slices.Contains(saidElsewhere(), r) {
			continue
		}
		out = append(out, sentence("the bridge "+x.verb("has put", "had put")+" nothing there: "+r.Text()))
	}
	return out
}

// override says by whom, over what and since when a side is the person's by choice.
func (x *explainer) override(s *bridge.SideState) string {
	o := s.Override
	who := "the person chose this by hand"
	for i := range x.in.Decisions {
		d := &x.in.Decisions[i]
		if then := sideOf(d.Sides, s.Side); then != nil && then.Override != nil && then.Override.Since.Equal(o.Since) {
			if d.Event.Author == "program" {
				who = "another program, or somebody on the person's behalf, chose this"
			}
			break
		}
	}
	text := who + " at " + x.stamp(o.Since)
	if o.Of != "" {
		text += ", over " + valueInWords(s.Side, o.Of) + ", which the policy wanted; it " + x.verb("stands until Teams changes so that the policy wants", "was to stand until Teams changed so that the policy wanted") + " something else"
	} else {
		text += "; it " + x.verb("stands until Teams changes so that the policy wants", "was to stand until Teams changed so that the policy wanted") + " something here"
	}
	return sentence(text)
}

// besides says what else the bridge has put on a side, and that it stays away.
func (x *explainer) besides(states []bridge.SideState, s *bridge.SideState) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, sentence(fmt.Sprintf(format, args...))) }
	if n := s.Note; n != nil {
		text := fmt.Sprintf("the bridge put the message “%s” there at %s%s", n.Value, x.stamp(n.Since), x.copied(states, s))
		if n.Previous != "" {
			text += "; when its cause ends, “" + n.Previous + "” comes back"
		}
		say("%s", text)
	}
	if s.Message != "" && (s.Note == nil || s.Side == bridge.TeamsSideLabel) {
		say("the person's own message there %s “%s”", x.verb("is", "was"), s.Message)
	}
	if !s.ContestedSince.IsZero() {
		until := ""
		if !s.ContestedUntil.IsZero() {
			until = ", and tries again at " + x.stamp(s.ContestedUntil)
		}
		say("another program keeps changing what the bridge writes there (competing writers), so the bridge stays away since %s%s",
			x.stamp(s.ContestedSince), until)
	}
	return out
}

// copied says where a message of the bridge's is the person's own; "" if it is a text of the policy's, or was cut.
func (x *explainer) copied(states []bridge.SideState, s *bridge.SideState) string {
	for i := range states {
		if from := &states[i]; from.Side != s.Side && from.Message == s.Note.Value {
			return ", because the person wrote it " + x.onSide(from.Side)
		}
	}
	return ""
}

// waiting says what is still owed to a side.
func (x *explainer) waiting(s *bridge.SideState) []string {
	var out []string
	name := x.label(s.Side)
	switch {
	case s.Write == nil:
	case s.Write.Waiting:
		out = append(out, fmt.Sprintf("until %s: a write to %s was not answered and may still take effect", x.stamp(s.Write.Until), name))
	default:
		out = append(out, fmt.Sprintf("the answer to a write to %s, sent at %s", name, x.stamp(s.Write.Since)))
	}
	if s.ReadOwed {
		out = append(out, "a direct read of "+name)
	}
	for _, r := range s.Because {
		switch {
		case slices.Contains(waits(), r), r == bridge.ReasonFenced && s.Write == nil:
			out = append(out, name+": "+r.Text())
		case r == bridge.ReasonUnknown && !s.Known:
			out = append(out, "news of "+name)
		}
	}
	return out
}

// coverage puts the reasons of the coverage behind it.
func (x *explainer) coverage() string { return strings.Join(x.in.Coverage, ": ") }

// saidElsewhere are the reasons for an untouched side that other sentences tell, or that what is waited for tells.
func saidElsewhere() []bridge.Reason {
	return []bridge.Reason{bridge.ReasonOverride, bridge.ReasonAwaitRead, bridge.ReasonFenced, bridge.ReasonHoldDown, bridge.ReasonPaced, bridge.ReasonUnanswered}
}

// waits are the reasons that are a wait by themselves.
func waits() []bridge.Reason {
	return []bridge.Reason{bridge.ReasonHoldDown, bridge.ReasonPaced, bridge.ReasonRefused, bridge.ReasonLinger, bridge.ReasonCompeting}
}
