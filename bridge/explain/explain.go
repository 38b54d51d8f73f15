// Package explain says in plain sentences why a member looks as they do, or looked at some moment: what each side
// shows, what of it the bridge has put there and because of what, what is masked or overridden, what the bridge waits
// for, and the chain of what happened. It is pure: it works from a member's record and the decisions that were
// told about them ([bridge.Decision]), and writes for a person who has never read a line of the bridge.
package explain

import (
	"cmp"
	"slices"
	"time"

	"presencebridge/bridge"
)

// Input is what an explanation is made of.
type Input struct {
	// Now is the present moment.
	Now time.Time
	// At is the moment to explain; zero means now.
	At time.Time
	// Since is where the chain of what happened begins; zero means wherever the cause of what shows is.
	Since time.Time
	// Zone is in which times are written. Default UTC.
	Zone *time.Location
	// Name is how the person is called.
	Name string
	// Account is the account's name.
	Account string
	// Excluded says that the person opted out, or is excluded by policy.
	Excluded bool
	// Coverage is how the person's Teams presence reaches the bridge, with reasons, in words.
	Coverage []string
	// Labels is how sides are called, by their names. Default "Teams" and "phone <user> on <pbx>".
	Labels map[string]string
	// States is how the sides stand now, from the record.
	States []bridge.SideState
	// Decisions is the recorded history, oldest first.
	Decisions []bridge.Decision
	// History is for how long decisions are kept; 0 means that none are.
	History time.Duration
}

// Explanation is the answer.
type Explanation struct {
	At        time.Time
	Sides     []Side
	Coverage  string
	Waiting   []string // what the bridge is waiting for
	Chain     []Entry  // what happened, oldest first
	Remarks   []string // what cannot be told, and why
	Text      string   // all of it, for a person
	HistoryOn bool
}

// Side is one side at that moment.
type Side struct {
	State     bridge.SideState
	Label     string
	Since     time.Time // since when it shows this; zero if that is not recorded
	Sentences []string
	Reasons   []string // the sentences of State.Because
}

// Entry is one thing that happened.
type Entry struct {
	At    time.Time
	Side  string
	Text  string
	Event bridge.EventKind
}

// explainer is one run of [Explain].
type explainer struct {
	in Input
	at time.Time
}

// Explain explains. It changes nothing of what it is given.
func Explain(in Input) Explanation {
	x := explainer{in: in, at: in.At}
	if x.in.Zone == nil {
		x.in.Zone = time.UTC
	}
	if x.at.IsZero() {
		x.at = in.Now
	}
	x.in.Decisions = slices.SortedStableFunc(slices.Values(in.Decisions), func(a, b bridge.Decision) int { return a.At.Compare(b.At) })
	if in.Excluded {
		x.in.Decisions = nil
	}
	out := Explanation{At: x.at, Coverage: x.coverage(), HistoryOn: in.History > 0}
	states, remarks := x.statesAt()
	out.Remarks = remarks
	for i := range states {
		out.Sides = append(out.Sides, x.side(states, i))
		out.Waiting = append(out.Waiting, x.waiting(&states[i])...)
	}
	if !in.Excluded {
		from, until := x.window(out.Sides)
		out.Chain = x.chain(from, until)
	}
	out.Text = x.text(&out)
	return out
}

// statesAt is how the sides stood at the moment in question, and what of that is not certain.
func (x *explainer) statesAt() (states []bridge.SideState, remarks []string) {
	switch {
	case x.in.Excluded:
		return nil, nil
	case x.in.History <= 0:
		remarks = append(remarks, "No history is kept (history: 0 in the configuration), so only the present state can be explained.")
		if !x.in.At.IsZero() {
			remarks = append(remarks, "What follows is how things stand now, not at "+x.stamp(x.at)+".")
			x.at = x.in.Now
		}
		return x.in.States, remarks
	case x.in.At.IsZero() || !x.at.Before(x.in.Now):
		return x.in.States, nil
	}
	if begin := x.in.Now.Add(-x.in.History); x.at.Before(begin) {
		remarks = append(remarks, "The history goes back to "+x.stamp(begin)+" only; what was before can at best be guessed from what came next.")
	}
	next := slices.IndexFunc(x.in.Decisions, func(d bridge.Decision) bool { return d.At.After(x.at) })
	switch {
	case next > 0:
		return x.in.Decisions[next-1].Sides, append(remarks, x.gap(next)...)
	case next < 0 && len(x.in.Decisions) > 0:
		return x.in.Decisions[len(x.in.Decisions)-1].Sides, remarks
	case next < 0:
		return x.in.States, append(remarks, "Nothing was recorded about this person in that time: they looked then as they do now.")
	}
	// Nothing was recorded before: what the first thing after it changed is how it was.
	first := &x.in.Decisions[0]
	remarks = append(remarks, "The first thing that is recorded came later, at "+x.stamp(first.At)+"; this is how the sides stood just before it.")
	states = slices.Clone(first.Sides)
	for i := range states {
		if before := sideOf(first.Before, states[i].Side); before != nil {
			states[i] = *before
		}
	}
	return states, remarks
}

// gap says that the bridge may not have been running at the moment in question: the first thing that is recorded after it is a
// start.
func (x *explainer) gap(next int) []string {
	last, d := &x.in.Decisions[next-1], &x.in.Decisions[next]
	if d.Event.Kind != bridge.EventTakenOver {
		return nil
	}
	return []string{"The bridge was started again at " + x.stamp(d.At) + ", or another replica took over then. What follows is what was known last before, at " +
		x.stamp(last.At) + "; while no bridge ran, nobody watched, and its own states in Teams ended by themselves with their leases."}
}

func sideOf(states []bridge.SideState, side string) *bridge.SideState {
	for i := range states {
		if states[i].Side == side {
			return &states[i]
		}
	}
	return nil
}

// begun is the decision in which f began to be true of a side, looking back from the moment in question; nil if
// that is not recorded.
func (x *explainer) begun(side string, f func(*bridge.SideState) bool) *bridge.Decision {
	var first *bridge.Decision
	for i := len(x.in.Decisions) - 1; i >= 0; i-- {
		d := &x.in.Decisions[i]
		if d.At.After(x.at) {
			continue
		}
		s := sideOf(d.Sides, side)
		if s == nil || !f(s) {
			return first
		}
		if before := sideOf(d.Before, side); before != nil && !f(before) {
			return d
		}
		first = nil // it was so before as well, or that is not recorded
	}
	return first
}

// How far the chain goes when nobody said.
const (
	chainLeast  = 10 * time.Minute // before a moment of the past
	chainNow    = time.Hour        // before the present
	chainBefore = time.Minute      // before the causes of what showed then
	chainAfter  = 2 * time.Minute  // after a moment of the past
)

// window is from when until when the chain goes.
func (x *explainer) window(sides []Side) (from, until time.Time) {
	switch {
	case !x.in.Since.IsZero():
		from = x.in.Since
	default:
		from = x.at.Add(-chainLeast)
		if x.in.At.IsZero() {
			from = x.at.Add(-chainNow)
		}
		for i := range sides {
			for _, t := range []time.Time{sides[i].Since, assertedSince(&sides[i].State), overriddenSince(&sides[i].State)} {
				if !t.IsZero() && t.Add(-chainBefore).Before(from) {
					from = t.Add(-chainBefore)
				}
			}
		}
	}
	if x.in.At.IsZero() {
		return from, x.in.Now
	}
	return from, x.at.Add(chainAfter)
}

func assertedSince(s *bridge.SideState) time.Time {
	if s.Assertion == nil {
		return time.Time{}
	}
	return s.Assertion.Since
}

func overriddenSince(s *bridge.SideState) time.Time {
	if s.Override == nil {
		return time.Time{}
	}
	return s.Override.Since
}

// label names a side.
func (x *explainer) label(side string) string {
	return cmp.Or(x.in.Labels[side], defaultLabel(side))
}
