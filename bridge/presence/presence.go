// Package presence is the vocabulary that every other package speaks: what Teams can show, what a
// PBX can show, and where an observation came from. It is a leaf: it imports nothing of ours, and
// holds no rule about what follows from a state. Rules are package policy's.
package presence

import (
	"strings"
)

// Pair is what Teams shows for a person: Graph's availability and activity, in the spelling of
// Graph's samples (PascalCase). Graph calls both open string sets (learn:api/resources/presence),
// so a Pair may hold words that we do not know; [Pair.Known] tells.
type Pair struct {
	Availability string `json:"availability"`
	Activity     string `json:"activity"`
}

// Availabilities of Graph, old and new lists merged (facts/graph.md section 1).
const (
	Available     = "Available"
	AvailableIdle = "AvailableIdle"
	Away          = "Away"
	BeRightBack   = "BeRightBack"
	Busy          = "Busy"
	BusyIdle      = "BusyIdle"
	DoNotDisturb  = "DoNotDisturb"
	Focusing      = "Focusing"
	Offline       = "Offline"
	OutOfOffice   = "OutOfOffice"
	Unknown       = "PresenceUnknown"
)

// Activities of Graph that are no availabilities as well.
const (
	AvailableInactive       = "AvailableInactive"
	InACall                 = "InACall"
	InAConferenceCall       = "InAConferenceCall"
	InAMeeting              = "InAMeeting"
	Inactive                = "Inactive"
	OffWork                 = "OffWork"
	Presenting              = "Presenting"
	UrgentInterruptionsOnly = "UrgentInterruptionsOnly"
)

// canonical maps the lower-case spelling of every word of Graph to the one used here.
var canonical = func() map[string]string {
	words := []string{
		Available, AvailableIdle, Away, BeRightBack, Busy, BusyIdle, DoNotDisturb, Focusing, Offline,
		OutOfOffice, Unknown, AvailableInactive, InACall, InAConferenceCall, InAMeeting, Inactive,
		OffWork, Presenting, UrgentInterruptionsOnly,
	}
	m := make(map[string]string, len(words))
	for _, w := range words {
		m[strings.ToLower(w)] = w
	}
	return m
}()

// ParseWord returns Graph's word in canonical spelling, and whether it is one that we know. An
// unknown word comes back as it was: it is kept and shown, never an error.
func ParseWord(s string) (string, bool) {
	s = strings.TrimSpace(s)
	if w, ok := canonical[strings.ToLower(s)]; ok {
		return w, true
	}
	return s, false
}

// ParsePair reads Graph's two words, whatever their casing and, since Graph's current page lists some of them in the
// other column (learn:api/resources/presence), whichever of the two names the activity: inACall/busy is Busy/InACall.
func ParsePair(availability, activity string) Pair {
	av, _ := ParseWord(availability)
	ac, _ := ParseWord(activity)
	if implied, ok := implies(av); ok && (ac == implied || ac == av) {
		return Pair{Availability: implied, Activity: av}
	}
	return Pair{Availability: av, Activity: ac}
}

// implies is the availability that goes with a word which is an activity only.
func implies(word string) (string, bool) {
	switch word {
	case InACall, InAConferenceCall, InAMeeting:
		return Busy, true
	case Presenting, Focusing, UrgentInterruptionsOnly:
		return DoNotDisturb, true
	}
	return "", false
}

// ParsePairString reads the form "Busy/InACall", or "DoNotDisturb", which means both words alike.
func ParsePairString(s string) Pair {
	av, ac, found := strings.Cut(s, "/")
	if !found {
		ac = av
	}
	return ParsePair(av, ac)
}

// String is "availability/activity", or "unknown" for the zero Pair.
func (p Pair) String() string {
	if p.IsZero() {
		return "unknown"
	}
	return p.Availability + "/" + p.Activity
}

// IsZero tells whether nothing was observed yet.
func (p Pair) IsZero() bool { return p == Pair{} }

// IsOffline tells whether Teams shows no session at all. "Appear offline" shows the same
// availability with the activity OffWork.
func (p Pair) IsOffline() bool { return p.Availability == Offline }

// IsUnknown tells whether Graph itself says that it does not know.
func (p Pair) IsUnknown() bool { return p.IsZero() || p.Availability == Unknown }

// Known tells whether both words are in Graph's lists.
func (p Pair) Known() bool {
	_, a := ParseWord(p.Availability)
	_, b := ParseWord(p.Activity)
	return a && b
}

// Line is the call state of one PBX endpoint. It is a separate axis from the chosen [Status].
type Line string

// The line states. The zero value means that the line was never seen, or not for a lease.
const (
	LineUnknown Line = ""
	LineIdle    Line = "idle"
	LineRinging Line = "ringing"
	LineInCall  Line = "in-call"
	LineOnHold  Line = "on-hold"
	LineOffline Line = "offline" // the phone is not registered
)

// ParseLine reads a line state; anything that is not one is [LineUnknown] and false.
func ParseLine(s string) (Line, bool) {
	switch l := Line(strings.ToLower(strings.TrimSpace(s))); l {
	case LineIdle, LineRinging, LineInCall, LineOnHold, LineOffline:
		return l, true
	case LineUnknown:
		return LineUnknown, true
	default:
		return LineUnknown, false
	}
}

// Kind classifies a PBX status whose name is free text (a site names its own).
type Kind string

// The kinds of a PBX status. The zero value means that the status is unknown.
const (
	KindUnknown   Kind = ""
	KindAvailable Kind = "available"
	KindBusy      Kind = "busy"
	KindDND       Kind = "dnd"
	KindAway      Kind = "away"
	KindOut       Kind = "out"
	KindCustom    Kind = "custom"
)

// ParseKind reads a kind; anything that is not one is [KindCustom] and false: a status that nobody
// can classify is left alone, as a custom one is (R9).
func ParseKind(s string) (Kind, bool) {
	switch k := Kind(strings.ToLower(strings.TrimSpace(s))); k {
	case KindAvailable, KindBusy, KindDND, KindAway, KindOut, KindCustom:
		return k, true
	default:
		return KindCustom, false
	}
}

// Status is what a person (or we) chose on a PBX endpoint: the site's own name and its kind.
type Status struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
}

// IsZero tells whether the status is unknown.
func (s Status) IsZero() bool { return s.Name == "" && s.Kind == KindUnknown }

// Same tells whether two statuses are the same choice. Names decide; a PBX whose statuses have
// no names of their own is compared by kind.
func (s Status) Same(o Status) bool {
	if s.Name == "" && o.Name == "" {
		return s.Kind == o.Kind
	}
	return strings.EqualFold(s.Name, o.Name)
}

// String is the name, or the kind where there is none, or "unknown".
func (s Status) String() string {
	switch {
	case s.Name != "":
		return s.Name
	case s.Kind != KindUnknown:
		return string(s.Kind)
	default:
		return "unknown"
	}
}

// Class says what sort of assertion a value is, for ranking and for leases.
type Class string

// The classes of assertions.
const (
	ClassCall Class = "call"
	ClassDND  Class = "dnd"
	ClassBusy Class = "busy"
	ClassAway Class = "away"
)

// Source says how an observation was learnt.
type Source string

// The sources of observations.
const (
	SourcePush     Source = "push"     // a Graph change notification
	SourceSweep    Source = "sweep"    // the periodic bulk read of Teams
	SourceRead     Source = "readback" // a direct read that the engine asked for
	SourceWatch    Source = "watch"    // an event of the PBX
	SourceSnapshot Source = "snapshot" // the periodic bulk read of a PBX
)

// Coverage says how a member's Teams presence reaches us. It is always visible, never silent.
type Coverage string

// The coverages.
const (
	CoveragePushed    Coverage = "pushed"    // in a live subscription
	CoveragePolled    Coverage = "polled"    // only the sweep sees them
	CoverageExcluded  Coverage = "excluded"  // opted out, or by policy
	CoverageUnmatched Coverage = "unmatched" // no counterpart on the other side
)

// EndpointID names one PBX endpoint of a member: the PBX's configured name and the PBX's own user id.
type EndpointID struct {
	PBX  string `json:"pbx"`
	User string `json:"user"`
}

// String is "pbx/user".
func (e EndpointID) String() string { return e.PBX + "/" + e.User }
