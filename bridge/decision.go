package bridge

import (
	"encoding/json"
	"slices"
	"time"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// Decision is an item of the stream DECISIONS: one thing that happened to a member, how both sides stood afterwards,
// and what was asked for because of it. Explanations are made of these, so it holds words, not requests.
type Decision struct {
	At      time.Time       `json:"at"`
	Event   DecidedEvent    `json:"event"`
	Before  []SideState     `json:"before,omitempty"` // of the sides that the event changed
	Sides   []SideState     `json:"sides"`            // all of them, afterwards
	Effects []DecidedEffect `json:"effects,omitempty"`
}

// EventKind says what sort of thing happened.
type EventKind string

// The kinds of events.
const (
	EventObserved   EventKind = "observed"       // one side said something; Source says how that was learnt
	EventReadFailed EventKind = "read_failed"    // a direct read came to nothing
	EventAnswered   EventKind = "answered"       // a write of ours was answered, or was not
	EventUnseen     EventKind = "unseen"         // a side was not seen for a lease (R4)
	EventTimer      EventKind = "timer"          // a wait is over
	EventTakenOver  EventKind = "taken_over"     // a restart, or another replica
	EventMember     EventKind = "member_changed" // the directory says something else of the person
	EventResync     EventKind = "resync"         // somebody, or a gap in the notifications, asked for a full read
	EventGranted    EventKind = "granted"        // the write budget has room again
	EventOther      EventKind = "other"
)

// DecidedEvent is what happened, in words.
type DecidedEvent struct {
	Kind    EventKind       `json:"kind"`
	Side    string          `json:"side,omitempty"`
	Source  presence.Source `json:"source,omitempty"`
	Shown   string          `json:"shown,omitempty"` // what was seen
	Line    presence.Line   `json:"line,omitempty"`
	Author  string          `json:"author,omitempty"` // of a status: user, bridge, or program
	Arrived time.Time       `json:"arrived,omitzero"`
	Outcome string          `json:"outcome,omitempty"` // of a write: answered, unanswered, conflict, refused
	Timer   string          `json:"timer,omitempty"`
}

// What a [DecidedEffect] does.
const (
	DoSet     = "set"     // our session in Teams, or our status on a PBX
	DoRenew   = "renew"   // the lease of our session
	DoClear   = "clear"   // our session, or our own document on a PBX
	DoRestore = "restore" // the person's own status on a PBX
	DoRead    = "read"
	DoWait    = "wait" // for the write budget
	DoForget  = "forget"
	// An account that only observes: what would have been asked for.
	DoWouldSet     = doWould + DoSet
	DoWouldClear   = doWould + DoClear
	DoWouldRestore = doWould + DoRestore

	doWould = "would_"
)

// DecidedEffect is something that was asked for.
type DecidedEffect struct {
	Do    string    `json:"do"`
	Side  string    `json:"side,omitempty"`
	Value string    `json:"value,omitempty"`
	Until time.Time `json:"until,omitzero"`
}

// SideState is how one side of a member stood at one moment.
type SideState struct {
	Side         string          `json:"side"`
	Known        bool            `json:"known"`
	Line         presence.Line   `json:"line,omitempty"`
	Shown        string          `json:"shown,omitempty"`
	Organic      string          `json:"organic,omitempty"`       // the person's own; in Teams the last one seen
	OrganicState OrganicState    `json:"organic_state,omitempty"` // of Teams
	Assertion    *AssertionState `json:"assertion,omitempty"`
	Override     *OverrideState  `json:"override,omitempty"`
	Would        *WouldBe        `json:"would,omitempty"`   // what an account that only observes would have written
	Note         *NoteState      `json:"note,omitempty"`    // a status message of ours
	Message      string          `json:"message,omitempty"` // the person's own status message, where the policy asks for it
	// ContestedSince: another program fights over what we write here, so we stay away.
	ContestedSince time.Time   `json:"contested_since,omitzero"`
	ContestedUntil time.Time   `json:"contested_until,omitzero"` // when we try again
	Write          *WriteState `json:"write,omitempty"`
	ReadOwed       bool        `json:"read_owed,omitempty"`
	Excluded       bool        `json:"excluded,omitempty"`
	Because        []Reason    `json:"because,omitempty"`
}

// AssertionState is a state of ours on a side.
type AssertionState struct {
	Value       string         `json:"value"`
	Class       presence.Class `json:"class"`
	Phase       Phase          `json:"phase"`
	Since       time.Time      `json:"since"`
	Until       time.Time      `json:"until,omitzero"`     // the end of the lease, in Teams
	Previous    string         `json:"previous,omitempty"` // what is given back, on a PBX
	From        string         `json:"from,omitempty"`     // the side that is the cause, in Teams
	MaskedBy    string         `json:"masked_by,omitempty"`
	MaskedSince time.Time      `json:"masked_since,omitzero"`
	Preferred   bool           `json:"preferred,omitempty"` // in Teams: no session, but the preferred presence
}

// NoteState is a status message of ours.
type NoteState struct {
	Value    string    `json:"value"`
	Since    time.Time `json:"since"`
	Previous string    `json:"previous,omitempty"` // what is given back, on a PBX
}

// OverrideState is a choice by hand that ended an assertion of ours.
type OverrideState struct {
	Of      string    `json:"of"`
	Since   time.Time `json:"since"`
	Pending bool      `json:"pending,omitempty"`
}

// WriteState is a write that is under way.
type WriteState struct {
	Since   time.Time `json:"since"`
	Waiting bool      `json:"waiting,omitempty"` // unanswered: waited out until Until
	Until   time.Time `json:"until,omitzero"`
}

// EndpointSideName is how the side of an endpoint is called in feeds and explanations.
func EndpointSideName(id presence.EndpointID) string { return "pbx." + id.PBX + "." + id.User }

// States is how all sides of a record stand, Teams first.
func (r *Record) States() []SideState {
	out := make([]SideState, 0, 1+len(r.Endpoints))
	teams := r.Teams.State()
	teams.Excluded = r.Excluded
	out = append(out, teams)
	for i := range r.Endpoints {
		out = append(out, r.Endpoints[i].state(r.Excluded))
	}
	return out
}

// State is how Teams' side stands.
func (t *TeamsSide) State() SideState {
	s := SideState{
		Side: TeamsSideLabel, Known: !t.Shown.IsUnknown(), OrganicState: t.OrganicState, ReadOwed: t.ReadOwed,
		Because: slices.Clone(t.Because),
	}
	if s.Known {
		s.Shown = t.Shown.String()
	}
	if !t.Organic.IsZero() {
		s.Organic = t.Organic.String()
	}
	if a := t.Assertion; a != nil {
		s.Assertion = &AssertionState{
			Value: a.Value.String(), Class: a.Class, Phase: a.Phase, Since: a.Since.UTC(), Until: t.Timers.Lapse.UTC(),
			From: EndpointSideName(a.From), MaskedSince: a.MaskedSince.UTC(),
		}
		if !a.MaskedSince.IsZero() {
			s.Assertion.MaskedBy = t.Organic.String()
		}
	}
	s.Would, s.Message = t.Would.clone(), t.Message
	if n := t.Note; n != nil {
		s.Note = &NoteState{Value: n.Value, Since: n.Since.UTC()}
	}
	s.ContestedSince, s.ContestedUntil = t.ContestedSince.UTC(), t.Timers.Contest.UTC()
	if s.Assertion != nil {
		s.Assertion.Preferred = t.Assertion.Preferred != nil
	}
	if w := t.Write; w != nil {
		s.Write = &WriteState{Since: w.Started.UTC(), Waiting: w.Waiting, Until: t.Timers.Deadline.UTC()}
	}
	return s
}

func (ep *EndpointSide) state(excluded bool) SideState {
	s := SideState{
		Side: EndpointSideName(ep.ID), Known: ep.Seen, Line: ep.Line, ReadOwed: ep.ReadOwed, Excluded: excluded || ep.Leaving,
		Because: slices.Clone(ep.Because),
	}
	if st := ep.ShownStatus(); !st.IsZero() {
		s.Shown = st.String()
	}
	if !ep.Status.IsZero() {
		s.Organic = ep.Status.String()
	}
	if a := ep.Assertion; a != nil {
		s.Assertion = &AssertionState{Value: a.Value.String(), Class: a.Class, Phase: a.Phase, Since: a.Since.UTC()}
		if !a.Previous.IsZero() {
			s.Assertion.Previous = a.Previous.String()
		}
	}
	if o := ep.Override; o != nil {
		s.Override = &OverrideState{Since: o.Since.UTC(), Pending: o.Pending}
		if !o.Of.IsZero() {
			s.Override.Of = o.Of.String()
		}
	}
	s.Would, s.Message = ep.Would.clone(), ep.Message
	if n := ep.Note; n != nil {
		s.Note = &NoteState{Value: n.Value, Since: n.Since.UTC(), Previous: n.Previous}
	}
	s.ContestedSince, s.ContestedUntil = ep.ContestedSince.UTC(), ep.Timers.Contest.UTC()
	if w := ep.Write; w != nil {
		s.Write = &WriteState{Since: w.Started.UTC(), Waiting: w.Waiting, Until: ep.Timers.Deadline.UTC()}
	}
	return s
}

// sameSide tells whether a side stands as before, as far as a person can be told.
func sameSide(a, b *SideState) bool {
	same := func(x, y *AssertionState) bool {
		if x == nil || y == nil {
			return x == y
		}
		c := *x
		c.Until = y.Until // a renewal alone is no news
		return c == *y
	}
	if (a.Note == nil) != (b.Note == nil) || (a.Note != nil && *a.Note != *b.Note) || !a.ContestedSince.Equal(b.ContestedSince) {
		return false
	}
	return a.Known == b.Known && a.Message == b.Message && a.Line == b.Line && a.Shown == b.Shown && a.Organic == b.Organic && a.OrganicState == b.OrganicState &&
		a.Excluded == b.Excluded && (a.Would == nil) == (b.Would == nil) && (a.Would == nil || *a.Would == *b.Would) && same(a.Assertion, b.Assertion) && (a.Override == nil) == (b.Override == nil) &&
		(a.Override == nil || *a.Override == *b.Override) && slices.Equal(a.Because, b.Because) &&
		(a.Write == nil) == (b.Write == nil) && (a.Write == nil || a.Write.Waiting == b.Write.Waiting)
}

// DecisionOf is what a step is told to the feed as; false if it changed and asked for nothing. Of a person who opted
// out, or left, nothing is kept.
func DecisionOf(was, next *Record, ev Event, effects []Effect, now time.Time) (Decision, bool) {
	if next.Excluded {
		return Decision{}, false
	}
	d := Decision{At: now.UTC(), Event: decidedEvent(ev), Sides: next.States()}
	before := was.States()
	for i := range before {
		at := slices.IndexFunc(d.Sides, func(s SideState) bool { return s.Side == before[i].Side })
		if at < 0 || !sameSide(&before[i], &d.Sides[at]) {
			d.Before = append(d.Before, before[i])
		}
	}
	for _, eff := range effects {
		d.Effects = append(d.Effects, decidedEffect(next, eff, now))
	}
	return d, len(d.Effects) > 0 || len(d.Before) > 0 || len(before) != len(d.Sides)
}

func decidedEffect(next *Record, eff Effect, now time.Time) DecidedEffect {
	switch eff := eff.(type) {
	case SetTeams:
		d := DecidedEffect{Do: DoSet, Side: TeamsSideLabel, Value: eff.Value.String(), Until: now.Add(eff.Lease).UTC()}
		if eff.Renewal {
			d.Do = DoRenew
		}
		return d
	case ClearTeams:
		return DecidedEffect{Do: DoClear, Side: TeamsSideLabel}
	case ReadTeams:
		return DecidedEffect{Do: DoRead, Side: TeamsSideLabel}
	case ReadEndpoint:
		return DecidedEffect{Do: DoRead, Side: EndpointSideName(eff.Endpoint)}
	case ApplyEndpoint:
		d := DecidedEffect{Do: DoSet, Side: EndpointSideName(eff.Endpoint)}
		if !eff.Write.Status.IsZero() {
			d.Value = eff.Write.Status.String()
		}
		if ep := next.Endpoint(eff.Endpoint); ep != nil && ep.Assertion != nil && ep.Assertion.Phase == PhaseWithdrawing {
			d.Do = DoRestore
			if d.Value == "" {
				d.Do = DoClear
			}
		}
		return d
	case TeamsMessage:
		d := DecidedEffect{Do: DoSet, Side: TeamsSideLabel, Value: "message: " + eff.Text, Until: eff.Until.UTC()}
		if eff.Text == "" {
			d.Do, d.Value, d.Until = DoClear, "message", time.Time{}
		}
		return d
	case AwaitGrant:
		d := DecidedEffect{Do: DoWait, Side: "pbx." + eff.Side, Value: string(eff.Kind)}
		if eff.Side == TeamsSideName {
			d.Side = TeamsSideLabel
		}
		return d
	case ForgetMember:
		return DecidedEffect{Do: DoForget}
	case Withheld:
		return DecidedEffect{Do: doWould + eff.Do, Side: eff.Side, Value: eff.Value}
	}
	return DecidedEffect{Do: DoWait}
}

func decidedEvent(ev Event) DecidedEvent {
	seen := func(source presence.Source, p presence.Pair) DecidedEvent {
		return DecidedEvent{Kind: EventObserved, Side: TeamsSideLabel, Source: source, Shown: p.String()}
	}
	switch ev := ev.(type) {
	case TeamsPushed:
		d := seen(presence.SourcePush, ev.Pair)
		d.Arrived = ev.Arrived.UTC()
		return d
	case TeamsSwept:
		return seen(presence.SourceSweep, ev.Pair)
	case TeamsRead:
		return seen(presence.SourceRead, ev.Pair)
	case TeamsReadFailed:
		return DecidedEvent{Kind: EventReadFailed, Side: TeamsSideLabel}
	case TeamsAnswered:
		return DecidedEvent{Kind: EventAnswered, Side: TeamsSideLabel, Outcome: ev.Outcome.String()}
	case TeamsUnseen:
		return DecidedEvent{Kind: EventUnseen, Side: TeamsSideLabel}
	case TimerFired:
		d := DecidedEvent{Kind: EventTimer, Side: TeamsSideLabel, Timer: ev.Timer.Kind.String()}
		if ev.Timer.Endpoint != (presence.EndpointID{}) {
			d.Side = EndpointSideName(ev.Timer.Endpoint)
		}
		return d
	case Recovered:
		return DecidedEvent{Kind: EventTakenOver}
	case MemberChanged:
		return DecidedEvent{Kind: EventMember}
	case ReadAgain:
		return DecidedEvent{Kind: EventResync}
	case Granted:
		return DecidedEvent{Kind: EventGranted}
	}
	return decidedEndpointEvent(ev)
}

func decidedEndpointEvent(ev Event) DecidedEvent {
	seen := func(source presence.Source, id presence.EndpointID, st pbx.State) DecidedEvent {
		return DecidedEvent{
			Kind: EventObserved, Side: EndpointSideName(id), Source: source, Shown: st.Status.String(), Line: st.Line, Author: authorWord(st.ChangedBy),
		}
	}
	switch ev := ev.(type) {
	case EndpointSeen:
		d := seen(presence.SourceWatch, ev.Endpoint, ev.State)
		d.Arrived = ev.Arrived.UTC()
		return d
	case EndpointSnapshot:
		return seen(presence.SourceSnapshot, ev.Endpoint, ev.State)
	case EndpointRead:
		return seen(presence.SourceRead, ev.Endpoint, ev.State)
	case EndpointReadFailed:
		return DecidedEvent{Kind: EventReadFailed, Side: EndpointSideName(ev.Endpoint)}
	case EndpointAnswered:
		return DecidedEvent{Kind: EventAnswered, Side: EndpointSideName(ev.Endpoint), Outcome: ev.Outcome.String()}
	case EndpointUnseen:
		return DecidedEvent{Kind: EventUnseen, Side: EndpointSideName(ev.Endpoint)}
	}
	return DecidedEvent{Kind: EventOther}
}

func authorWord(a pbx.Author) string {
	switch a {
	case pbx.AuthorUser:
		return "user"
	case pbx.AuthorSelf:
		return "bridge"
	case pbx.AuthorOther:
		return "program"
	case pbx.AuthorUnknown:
	}
	return ""
}

// String names a timer in decisions.
func (k TimerKind) String() string {
	switch k {
	case TimerSettle:
		return "settle"
	case TimerDeadline:
		return "deadline"
	case TimerRenew:
		return "renew"
	case TimerLapse:
		return "lapse"
	case TimerWokenEnd:
		return "woken_end"
	case TimerForget:
		return "forget"
	case TimerRetry:
		return "retry"
	case TimerHold:
		return "hold"
	case TimerLinger:
		return "linger"
	case TimerFlips:
		return "flips"
	case TimerContest:
		return "contest"
	case TimerNote:
		return "note"
	case TimerNoteRenew:
		return "note_renew"
	}
	return "unknown"
}

// tellDecision hands a step to the feed, to the metrics and, at debug, to the log.
func (e *Engine) tellDecision(member string, was, next *Record, ev Event, effects []Effect) {
	e.countReasons(member, was, next)
	if e.cfg.Feed == nil {
		return
	}
	d, worth := DecisionOf(was, next, ev, effects, time.Now())
	if !worth {
		return
	}
	if data, err := json.Marshal(d); err == nil {
		e.cfg.Feed.Decided(member, data)
	}
}

// countReasons counts and logs the reasons of a side that changed.
func (e *Engine) countReasons(member string, was, next *Record) {
	tell := func(side string, old, now []Reason) {
		if slices.Equal(old, now) {
			return
		}
		for _, r := range now {
			e.metrics.reasons.WithLabelValues(side, string(r)).Inc()
		}
		e.log.Debug("decided", "member", member, "side", side, "because", now)
	}
	tell(TeamsSideLabel, was.Teams.Because, next.Teams.Because)
	for i := range next.Endpoints {
		ep := &next.Endpoints[i]
		var old []Reason
		if w := was.Endpoint(ep.ID); w != nil {
			old = w.Because
		}
		tell(ep.ID.PBX, old, ep.Because)
	}
}
