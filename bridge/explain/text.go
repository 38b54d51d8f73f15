package explain

import (
	"fmt"
	"strings"

	"presencebridge/bridge"
)

// text writes the whole explanation for a person at a terminal.
func (x *explainer) text(e *Explanation) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	at := x.at.In(x.in.Zone)
	when := "now, at " + at.Format("15:04:05 on Monday 2 January 2006 MST")
	if x.isPast() {
		when = "at " + at.Format("15:04:05 on Monday 2 January 2006 MST")
	}
	line("%s, account %s, %s", x.in.Name, x.in.Account, when)
	for _, r := range e.Remarks {
		line("Note: %s", r)
	}
	if x.in.Excluded {
		line("")
		line("%s", sentence("this person opted out, or is excluded by the policy"))
		line("The bridge writes nothing for them and keeps nothing about them, so there is nothing more to show.")
		x.leftovers(line)
		return b.String()
	}
	for i := range e.Sides {
		line("")
		for j, s := range e.Sides[i].Sentences {
			if j == 0 {
				line("%s", s)
			} else {
				line("  %s", s)
			}
		}
	}
	if e.Coverage != "" {
		line("\n%s: %s", x.verb("Coverage", "Coverage now"), e.Coverage)
	}
	line("")
	switch {
	case len(e.Waiting) == 0:
		line("The bridge %s waiting for nothing.", x.verb("is", "was"))
	default:
		line("The bridge %s waiting for:", x.verb("is", "was"))
		for _, w := range e.Waiting {
			line("  - %s", w)
		}
	}
	x.textOfChain(e, line)
	return b.String()
}

// leftovers are states of ours that an opted-out person still has, while they are being taken away.
func (x *explainer) leftovers(line func(string, ...any)) {
	for i := range x.in.States {
		s := &x.in.States[i]
		if s.Assertion != nil {
			line("%s", sentence("the bridge is still taking away "+valueInWords(s.Side, s.Assertion.Value)+" "+x.onSide(s.Side)))
		}
	}
}

func (x *explainer) textOfChain(e *Explanation, line func(string, ...any)) {
	if !e.HistoryOn {
		return
	}
	from, until := x.window(e.Sides)
	span := "since " + x.stamp(from)
	if x.isPast() && until.Before(x.in.Now) {
		span = "from " + x.stamp(from) + " until " + x.stamp(until)
	}
	line("")
	if len(e.Chain) == 0 {
		line("Nothing is recorded %s.", span)
		return
	}
	line("What happened, %s:", span)
	day := ""
	told := x.in.At.IsZero() // no mark needed
	for _, entry := range e.Chain {
		t := entry.At.In(x.in.Zone)
		if !told && entry.At.After(x.at) {
			line("  %s  ---- the moment in question ----", x.at.In(x.in.Zone).Format("15:04:05.000"))
			told = true
		}
		if d := t.Format("Monday 2 January 2006"); d != day {
			day = d
			line("  %s", d)
		}
		line("  %s  %s", t.Format("15:04:05.000"), entry.Text)
	}
	if !told {
		line("  %s  ---- the moment in question ----", x.at.In(x.in.Zone).Format("15:04:05.000"))
	}
}

// Sides names the sides of some states, for labels.
func Sides(states []bridge.SideState) []string {
	out := make([]string, len(states))
	for i := range states {
		out[i] = states[i].Side
	}
	return out
}
