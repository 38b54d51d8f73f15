package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge"
	"presencebridge/bridge/presence"
)

// chain is what happened in a window. Renewals that went well are drawn together: they are no news.
func (x *explainer) chain(from, until time.Time) []Entry {
	var out []Entry
	var recent []prolonged // what was prolonged since anything else happened: the last entries of out
	for i := range x.in.Decisions {
		d := &x.in.Decisions[i]
		if d.At.Before(from) || d.At.After(until) {
			continue
		}
		if what := renewal(d); what != "" {
			times := 1
			if at := slices.IndexFunc(recent, func(p prolonged) bool { return p.what == what }); at >= 0 {
				times += recent[at].times
				first := len(out) - len(recent)
				out, recent = slices.Delete(out, first+at, first+at+1), slices.Delete(recent, at, at+1)
			}
			recent = append(recent, prolonged{what, times})
			out = append(out, Entry{At: d.At, Side: bridge.TeamsSideLabel, Text: recent[len(recent)-1].text(), Event: d.Event.Kind})
			continue
		}
		text := x.happened(d)
		if text == "" {
			continue
		}
		recent = nil
		out = append(out, Entry{At: d.At, Side: d.Event.Side, Text: text, Event: d.Event.Kind})
	}
	return out
}

// prolonged is something that was prolonged so many times.
type prolonged struct {
	what  string
	times int
}

func (p prolonged) text() string {
	if p.times == 1 {
		return "The bridge's " + p.what + " in Teams was prolonged."
	}
	return fmt.Sprintf("The bridge's %s in Teams was prolonged %d times, the last time now.", p.what, p.times)
}

// renewal is what was prolonged, if that is all that was asked for: the state or the message; "" otherwise.
func renewal(d *bridge.Decision) string {
	switch {
	case len(d.Effects) != 1 || d.Event.Kind != bridge.EventTimer:
	case d.Effects[0].Do == bridge.DoRenew:
		return "state"
	case d.Event.Timer == "note_renew" && d.Effects[0].Do == bridge.DoSet && len(d.Before) == 0:
		return "message"
	}
	return ""
}

// happened puts a decision into sentences; "" if nobody would want to read it.
func (x *explainer) happened(d *bridge.Decision) string {
	var out []string
	if s := x.event(d); s != "" {
		out = append(out, sentence(s))
	}
	for _, s := range x.consequences(d) {
		out = append(out, sentence(s))
	}
	if d.Event.Kind == bridge.EventTimer || d.Event.Kind == bridge.EventGranted {
		if len(out) == 1 && len(d.Effects) == 0 && d.Event.Timer != "lapse" && d.Event.Timer != "deadline" {
			return ""
		}
	}
	return strings.Join(out, " ")
}

// event says what happened.
func (x *explainer) event(d *bridge.Decision) string {
	name := x.label(d.Event.Side)
	switch d.Event.Kind {
	case bridge.EventObserved:
		return x.observed(d)
	case bridge.EventAnswered:
		return x.answered(d)
	case bridge.EventReadFailed:
		return "a direct read of " + name + " failed; it is tried again"
	case bridge.EventUnseen:
		return name + " was not seen for too long, so what it shows is not known any more"
	case bridge.EventTakenOver:
		return "the bridge was started again, or another replica took over; both sides are read anew"
	case bridge.EventMember:
		return "the directory said who the person is and which phones are theirs"
	case bridge.EventResync:
		return "a full read was ordered, or notifications may have been lost"
	case bridge.EventGranted:
		return "the budget of writes has room again"
	case bridge.EventTimer:
		return timerInWords(d.Event.Timer, name)
	case bridge.EventOther:
	}
	return ""
}

func timerInWords(timer, name string) string {
	switch timer {
	case "settle":
		return "the last write to " + name + " shows by now"
	case "deadline":
		return "the unanswered write to " + name + " can no longer take effect"
	case "lapse":
		return "the bridge's state in Teams ran out"
	case "renew":
		return "half of the lease in Teams is over"
	case "retry":
		return "it is time to try " + name + " again"
	case "hold":
		return "enough time has passed since the last write to " + name
	case "contest":
		return "the bridge tries again to write to " + name
	case "linger":
		return "the meeting has lasted too long to be the same call"
	case "woken_end":
		return "what the bridge's session may have woken is over"
	default:
		return "a wait was over"
	}
}

// observed says what a side said, and what was new about it.
func (x *explainer) observed(d *bridge.Decision) string {
	e := &d.Event
	name, source := x.label(e.Side), sourceInWords(e.Source)
	before, after := sideOf(d.Before, e.Side), sideOf(d.Sides, e.Side)
	// What is seen is what the event says: a state of ours that begins because of it is not there yet.
	newStatus := before != nil && e.Shown != before.Shown && e.Shown != before.Organic
	if before == nil || after == nil {
		return x.noNews(d, after)
	}
	same := before.Shown == after.Shown && before.Line == after.Line && before.Known == after.Known
	if same && (!newStatus || after.ReadOwed || e.Side == bridge.TeamsSideLabel) {
		return x.noNews(d, after)
	}
	if e.Side == bridge.TeamsSideLabel {
		text := fmt.Sprintf("%s: Teams shows %s", source, pairInWords(e.Shown))
		if before.Known {
			text += ", before it was " + pairInWords(before.Shown)
		}
		if after.OrganicState == bridge.OrganicHidden {
			text += "; that is the bridge's own doing"
		}
		return text
	}
	var news []string
	if before.Line != after.Line {
		news = append(news, "is "+lineInWords(after.Line))
		if before.Known && before.Line != presence.LineUnknown {
			news = append(news[:0], "was "+lineInWords(before.Line)+" and is "+lineInWords(after.Line)+" now")
		}
	}
	if newStatus {
		by := authorInWords(e.Author)
		if by != "" {
			by = ", chosen " + by
		}
		news = append(news, "shows "+valueInWords(e.Side, e.Shown)+by)
	}
	if len(news) == 0 {
		news = append(news, "is "+lineInWords(after.Line)+" and shows "+valueInWords(e.Side, e.Shown))
	}
	return fmt.Sprintf("%s: %s %s", source, name, strings.Join(news, ", and "))
}

// noNews is an observation that changed nothing of what is believed to show.
func (x *explainer) noNews(d *bridge.Decision, after *bridge.SideState) string {
	e := &d.Event
	what := "shows " + pairInWords(e.Shown)
	if e.Side != bridge.TeamsSideLabel {
		what = "is " + lineInWords(e.Line) + " and shows " + valueInWords(e.Side, e.Shown)
	}
	text := fmt.Sprintf("%s: %s %s", sourceInWords(e.Source), x.label(e.Side), what)
	if a := assertionOf(after); a != nil && a.Value == e.Shown && e.Side != bridge.TeamsSideLabel && a.Phase != bridge.PhaseWithdrawing {
		text += "; that status is the bridge's own doing"
	}
	if after != nil && after.ReadOwed && e.Source != presence.SourceRead {
		text += "; that is confirmed first"
	}
	return text
}

func assertionOf(s *bridge.SideState) *bridge.AssertionState {
	if s == nil {
		return nil
	}
	return s.Assertion
}

// answered says what became of a write.
func (x *explainer) answered(d *bridge.Decision) string {
	name := x.label(d.Event.Side)
	before, after := sideOf(d.Before, d.Event.Side), sideOf(d.Sides, d.Event.Side)
	switch d.Event.Outcome {
	case "answered":
	case "unanswered":
		return name + " did not answer a write; it is waited out, because it may still take effect"
	case "conflict":
		return name + " had changed meanwhile, so nothing was written"
	case "refused":
		return name + " refused a write; it is tried again later"
	default:
		return name + " answered a write: " + d.Event.Outcome
	}
	switch {
	case after != nil && after.Assertion != nil && after.Assertion.Phase == bridge.PhaseStanding && before != nil && before.Assertion != nil &&
		before.Assertion.Phase == bridge.PhaseWriting:
		return name + " accepted " + valueInWords(d.Event.Side, after.Assertion.Value)
	case before != nil && before.Assertion != nil && (after == nil || after.Assertion == nil):
		text := name + " accepted that " + valueInWords(d.Event.Side, before.Assertion.Value) + " is taken away"
		if before.Assertion.Previous != "" {
			text += "; it shows " + valueInWords(d.Event.Side, before.Assertion.Previous) + " again"
		}
		return text
	case len(d.Effects) > 0:
		return name + " accepted a write"
	default:
		return ""
	}
}

// consequences says what changed otherwise, and what the bridge did.
func (x *explainer) consequences(d *bridge.Decision) []string {
	var out []string
	for i := range d.Sides {
		now := &d.Sides[i]
		was := sideOf(d.Before, now.Side)
		if was == nil {
			continue
		}
		if now.Message != was.Message {
			if now.Message == "" {
				out = append(out, "the person's own message "+x.onSide(now.Side)+" is gone")
			} else {
				out = append(out, "the person's own message "+x.onSide(now.Side)+" is “"+now.Message+"” now")
			}
		}
		if now.Override != nil && (was.Override == nil || !was.Override.Since.Equal(now.Override.Since)) {
			text := "that counts as a choice by hand"
			if was.Assertion != nil {
				text += " and ends the bridge's " + valueInWords(now.Side, was.Assertion.Value) + " there"
			}
			out = append(out, text)
		}
		if was.Override != nil && now.Override == nil {
			out = append(out, "the choice by hand "+x.onSide(now.Side)+" no longer stands in the way")
		}
		if !now.ContestedSince.IsZero() && was.ContestedSince.IsZero() {
			out = append(out, "another program keeps changing what the bridge writes "+x.onSide(now.Side)+"; the bridge stays away for a while")
		}
		if now.Assertion != nil && !now.Assertion.MaskedSince.IsZero() && (was.Assertion == nil || was.Assertion.MaskedSince.IsZero()) {
			out = append(out, "the bridge's "+valueInWords(now.Side, now.Assertion.Value)+" does not show: the person's own "+
				valueInWords(now.Side, now.Assertion.MaskedBy)+" outranks it")
		}
	}
	for i := range d.Effects {
		if text := x.effect(d, &d.Effects[i]); text != "" {
			out = append(out, text)
		}
	}
	return append(out, x.refrained(d)...)
}

// effect says what the bridge did, with its reason where the event does not say it.
func (x *explainer) effect(d *bridge.Decision, eff *bridge.DecidedEffect) string {
	value := effectInWords(eff.Side, eff.Value)
	switch eff.Do {
	case bridge.DoSet:
		text := "the bridge sets " + value + " " + x.onSide(eff.Side)
		if !eff.Until.IsZero() {
			text += ", for now until " + x.stamp(eff.Until)
		}
		return text
	case bridge.DoRenew:
		return "the bridge prolongs " + value + " in Teams until " + x.stamp(eff.Until)
	case bridge.DoClear:
		if eff.Value == "message" {
			return "the bridge takes its message away from " + x.label(eff.Side)
		}
		if s := sideOf(d.Sides, eff.Side); s != nil && slices.Contains(s.Because, bridge.ReasonPurge) {
			return "the bridge takes away whatever it may have left in " + x.label(eff.Side) + " earlier, to find out whose that is"
		}
		return "the bridge takes its state away from " + x.label(eff.Side)
	case bridge.DoRestore:
		return "the bridge gives " + x.label(eff.Side) + " its own status back, " + value
	case bridge.DoRead:
		if d.Event.Kind == bridge.EventTakenOver {
			return ""
		}
		return "the bridge reads " + x.label(eff.Side) + " directly to be sure"
	case bridge.DoWouldSet:
		return "the bridge would set " + value + " " + x.onSide(eff.Side) + ", but the account only observes (mode: observe)"
	case bridge.DoWouldClear, bridge.DoWouldRestore:
		return "the bridge would take its state away from " + x.label(eff.Side) + " again, had it written it"
	case bridge.DoWait:
		return "the write to " + x.label(eff.Side) + " waits for its turn"
	}
	return ""
}

// refrained says why the bridge did nothing on the other sides, where something was observed and nothing was asked for.
func (x *explainer) refrained(d *bridge.Decision) []string {
	if d.Event.Kind != bridge.EventObserved || len(d.Effects) > 0 {
		return nil
	}
	var out []string
	for i := range d.Sides {
		s := &d.Sides[i]
		if s.Side == d.Event.Side {
			continue
		}
		for _, r := range s.Because {
			if slices.Contains(worthSaying(), r) {
				out = append(out, "nothing is written "+x.onSide(s.Side)+": "+r.Text())
			}
		}
	}
	return out
}

// worthSaying are the reasons for writing nothing that a reader of the chain wants to know.
func worthSaying() []bridge.Reason {
	return []bridge.Reason{bridge.ReasonOutranked, bridge.ReasonAlreadyShows, bridge.ReasonHoldDown, bridge.ReasonOverride, bridge.ReasonUnanswered, bridge.ReasonPaced, bridge.ReasonRefused, bridge.ReasonCompeting, bridge.ReasonLinger}
}
