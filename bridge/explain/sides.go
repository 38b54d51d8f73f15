package explain

import (
	"fmt"
	"slices"
	"strings"

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
	since, how := "", ""
	if d := x.begun(s.Side, func(o *bridge.SideState) bool { return o.Known == s.Known && o.Shown == s.Shown && o.Line == s.Line }); d != nil {
		out.Since = d.At
		since = ", since " + x.stamp(d.At)
		if d.Event.Kind == bridge.EventObserved && d.Event.Side == s.Side && d.Event.Shown == s.Shown {
			how = " (learnt by " + sourceInWords(d.Event.Source) + ")"
		}
	}
	if s.Known {
		say("%s %s%s%s", out.Label, x.shows(&s), since, how)
	} else {
		say("what %s %s is not known%s: it was not seen for too long, or not since the bridge was started", out.Label, x.verb("shows", "showed"), since)
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

// shows is what a side shows, with the verb.
func (x *explainer) shows(s *bridge.SideState) string {
	if s.Side == bridge.TeamsSideLabel {
		return x.verb("shows", "showed") + " " + pairInWords(s.Shown)
	}
	return fmt.Sprintf("%s %s and %s the status %s", x.verb("is", "was"), lineInWords(s.Line), x.verb("shows", "showed"), valueInWords(s.Side, s.Shown))
}

// assertion says what of a side is the bridge's.
func (x *explainer) assertion(states []bridge.SideState, s *bridge.SideState) []string {
	a := s.Assertion
	value, teams := valueInWords(s.Side, a.Value), s.Side == bridge.TeamsSideLabel
	var out []string
	say := func(format string, args ...any) { out = append(out, sentence(fmt.Sprintf(format, args...))) }
	switch a.Phase {
	case bridge.PhaseWriting:
		say("the bridge ordered %s %s at %s%s; that is not confirmed yet", value, x.onSide(s.Side), x.stamp(a.Since), x.cause(states, s))
	case bridge.PhaseWithdrawing:
		say("the bridge had put %s there at %s and is taking it away", value, x.stamp(a.Since))
	case bridge.PhaseStanding:
		say("the bridge put %s there at %s%s", value, x.stamp(a.Since), x.cause(states, s))
	}
	switch {
	case a.Phase != bridge.PhaseStanding:
	case teams && a.Preferred:
		say("it is the preferred presence of Teams, as if the person had picked it, and goes when its cause ends")
	case teams && !a.Until.IsZero():
		say("it lasts until %s and is prolonged while that goes on", x.stamp(a.Until))
	case !teams && a.Previous != "":
		say("it stands until that ends; then the person's own status, %s, comes back", valueInWords(s.Side, a.Previous))
	case !teams:
		say("it stands until that ends; then only the person's own status is left, %s", valueInWords(s.Side, s.Organic))
	}
	switch {
	case !a.MaskedSince.IsZero():
		say("it does not show: the person's own %s outranks it, since %s", valueInWords(s.Side, a.MaskedBy), x.stamp(a.MaskedSince))
	case teams && a.Phase == bridge.PhaseStanding && s.OrganicState == bridge.OrganicSeen:
		say("that it shows has not been seen yet")
	case teams && s.OrganicState == bridge.OrganicHidden && s.Shown == a.Value:
		under := "what the person's own state is underneath cannot be seen"
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
	since := s.Assertion.Since
	for i := range x.in.Decisions {
		d := &x.in.Decisions[i]
		if then := sideOf(d.Sides, s.Side); then != nil && then.Assertion != nil && then.Assertion.Since.Equal(since) {
			states = d.Sides
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
	from := sideOf(states, s.Assertion.From)
	if from == nil {
		return ", because of " + x.label(s.Assertion.From)
	}
	return ", because " + x.label(from.Side) + " was " + causeInWords(from, s.Assertion.Class)
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
		text += ", over " + valueInWords(s.Side, o.Of) + ", which the policy wanted; it stands until Teams changes so that the policy wants something else"
	} else {
		text += "; it stands until Teams changes so that the policy wants something here"
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
