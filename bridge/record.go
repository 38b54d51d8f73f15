package bridge

import (
	"slices"
	"time"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// Record is everything the bridge knows of one member: what each side shows, what of that is the
// person's own, what we put there, and what is under way. [Step] is the only thing that changes it.
//
// Fields without a JSON name are volatile: they describe requests of this process and mean nothing to the
// next one.
type Record struct {
	Member    string         `json:"member"`
	Excluded  bool           `json:"excluded,omitempty"` // opted out, or left: withdraw, then write nothing more
	Teams     TeamsSide      `json:"teams"`
	Endpoints []EndpointSide `json:"endpoints,omitempty"`
	// Wiped: of an excluded member nothing is kept but that they are, once everything of ours is taken back.
	Wiped bool `json:"wiped,omitempty"`

	cause    cause          // volatile: for the latency figures only
	policy   *policy.Policy // the member's; nil: the account's
	stranger bool           // taken over from the store, and the directory has not said yet who this is
}

// OrganicState says what is known of a member's own state in Teams.
type OrganicState string

// The organic states.
const (
	OrganicUnknown OrganicState = ""       // not seen, or not for a lease (R4)
	OrganicHidden  OrganicState = "hidden" // our assertion shows; what lies under it cannot be seen (R2)
	OrganicSeen    OrganicState = "seen"
)

// Phase of an assertion. An assertion is ours in every phase.
type Phase string

// The phases.
const (
	PhaseWriting     Phase = "writing"
	PhaseStanding    Phase = "standing"
	PhaseWithdrawing Phase = "withdrawing"
)

// Mark orders pushes: the sequence in GRAPH_IN and the item in the body. Never a clock.
type Mark struct {
	// Stream is which GRAPH_IN the sequence is of: one that was made anew counts anew.
	Stream uint64 `json:"stream,omitempty"`
	Seq    uint64 `json:"seq,omitempty"`
	Item   int    `json:"item,omitempty"`
}

// After tells whether m is later than o. A push from another stream is: what the old one held is gone.
func (m Mark) After(o Mark) bool {
	if m.Stream != o.Stream {
		return true
	}
	return m.Seq > o.Seq || (m.Seq == o.Seq && m.Item > o.Item)
}

// TeamsSide is Teams' side of a record.
type TeamsSide struct {
	Shown        presence.Pair   `json:"shown,omitzero"`
	Organic      presence.Pair   `json:"organic,omitzero"` // with OrganicSeen; otherwise the last one seen
	OrganicState OrganicState    `json:"organic_state,omitempty"`
	Assertion    *TeamsAssertion `json:"assertion,omitempty"`
	Write        *TeamsWrite     `json:"write,omitempty"`     // the one write that is under way or waited out (R6)
	Withdrawn    []Withdrawn     `json:"withdrawn,omitempty"` // values of ours that are not believed (R15)
	Purge        bool            `json:"purge,omitempty"`     // a withdrawn value shows and no write was answered since
	Woken        presence.Pair   `json:"woken,omitzero"`      // a stored preference that our session woke (R5)
	WokenOwed    bool            `json:"woken_owed,omitempty"`
	WokenWatch   bool            `json:"woken_watch,omitempty"`
	ReadOwed     bool            `json:"read_owed,omitempty"`
	// OutOfOffice and Message are the person's own, where the policy asks for them: only reads tell.
	OutOfOffice presence.Absence `json:"out_of_office,omitempty"`
	Message     string           `json:"message,omitempty"`
	Note        *TeamsNote       `json:"note,omitempty"`      // a message of ours
	NoteLast    string           `json:"note_last,omitempty"` // the one before, which may show yet
	Mark        Mark             `json:"mark,omitzero"`
	Last        presence.Pair    `json:"last,omitzero"`        // the value of ours before the present one, or none
	LastTaken   bool             `json:"last_taken,omitempty"` // somebody else ended it
	Flips       int              `json:"flips,omitempty"`
	// ContestedSince: another program fights over what we set, so we stay away.
	ContestedSince time.Time   `json:"contested_since,omitzero"`
	Because        []Reason    `json:"because,omitempty"`
	Would          *WouldBe    `json:"would,omitempty"` // what would be written, where an account only observes
	Timers         TeamsTimers `json:"timers,omitzero"`

	epoch    uint32 // grows with whatever makes a read that began before it unbelievable (R7)
	reading  bool   // a direct read is under way
	renewDue bool
	noteDue  bool
	paid     bool // a grant of the write budget that was not used yet: a read came first, or a fence (R13)
}

// TeamsTimers are the moments at which Teams' side has to be looked at again. A zero time is a timer that
// is not pending. Step never compares them with the clock: that a timer is due is an event.
type TeamsTimers struct {
	Settle   time.Time `json:"settle,omitzero"`    // the fence after an answer, and the hold-down (R7, R13)
	Deadline time.Time `json:"deadline,omitzero"`  // the write under way can no longer land (R6)
	Renew    time.Time `json:"renew,omitzero"`     // half-life of the lease (R12)
	Lapse    time.Time `json:"lapse,omitzero"`     // our session ends by itself (R7)
	WokenEnd time.Time `json:"woken_end,omitzero"` // one lease after an assertion onto an Offline member ended (R5)
	Forget   time.Time `json:"forget,omitzero"`    // the oldest withdrawn value is forgotten (R15)
	Retry    time.Time `json:"retry,omitzero"`     // a failed read is tried again
	Flips    time.Time `json:"flips,omitzero"`     // flips are counted anew
	Contest  time.Time `json:"contest,omitzero"`   // we try again where another program fought
	// Note: the last request about a message is over, NoteRenew: half-life of a message of ours.
	Note      time.Time `json:"note,omitzero"`
	NoteRenew time.Time `json:"note_renew,omitzero"`
}

// TeamsAssertion is our own presence session in Teams.
type TeamsAssertion struct {
	Value  presence.Pair       `json:"value"`
	Before presence.Pair       `json:"before,omitzero"` // the value before, while it changes
	Class  presence.Class      `json:"class"`
	Phase  Phase               `json:"phase"`
	Since  time.Time           `json:"since"`
	From   presence.EndpointID `json:"from"` // the endpoint that is the cause
	// Preferred: not a session, but the person's preferred presence.
	Preferred *WithPreferred `json:"preferred,omitempty"`
	// MaskedSince is when it was first known that the person's own choice shows instead; zero while it does not.
	MaskedSince time.Time `json:"masked_since,omitzero"`
}

// explains tells whether a shown value is this assertion's doing.
func (a *TeamsAssertion) explains(p presence.Pair) bool {
	return a != nil && (p == a.Value || (!a.Before.IsZero() && p == a.Before))
}

// WriteKind tells the writes to Teams apart.
type WriteKind string

// The kinds.
const (
	WriteSet   WriteKind = "set"
	WriteClear WriteKind = "clear"
	WriteRenew WriteKind = "renew" // not stored: a new owner takes any standing assertion for unanswered (R6)
)

// TeamsWrite is an intent: a request that was, or is about to be, sent.
type TeamsWrite struct {
	ID      uint32        `json:"id"`
	Kind    WriteKind     `json:"kind"`
	Waiting bool          `json:"waiting,omitempty"` // unanswered: waited out until the deadline
	Started time.Time     `json:"started"`
	Lease   time.Duration `json:"lease,omitempty"` // of a set or a renewal (R12)
}

// Withdrawn is a value that we took away from Teams.
type Withdrawn struct {
	Value presence.Pair `json:"value"`
	// Answered: a write was answered after the withdrawal, so that a read past its fence can be believed.
	Answered bool `json:"answered,omitempty"`
	// At is when: Graph may deliver what it showed then for four hours more.
	At time.Time `json:"at,omitzero"`
}

// EndpointSide is one PBX endpoint's side of a record.
type EndpointSide struct {
	ID   presence.EndpointID `json:"id"`
	Seen bool                `json:"seen,omitempty"` // false: unknown (R4)
	Line presence.Line       `json:"line,omitempty"`
	// Status is the person's own: under an assertion of ours the one from before.
	Status    presence.Status    `json:"status,omitzero"`
	Version   uint64             `json:"version,omitempty"`
	ChangedAt time.Time          `json:"changed_at,omitzero"`
	Assertion *EndpointAssertion `json:"assertion,omitempty"`
	Write     *EndpointWrite     `json:"write,omitempty"`
	// Withdrawn is a value of ours whose write was under way when the person chose something else: shown by
	// the first read after it, it is ours that came late.
	Withdrawn presence.Status `json:"withdrawn,omitzero"`
	Override  *Override       `json:"override,omitempty"`
	Message   string          `json:"message,omitempty"`  // the person's own, under a message of ours the one from before
	Note      *EndpointNote   `json:"note,omitempty"`     // a message of ours
	Declined  string          `json:"declined,omitempty"` // a message of ours that the person replaced
	ReadOwed  bool            `json:"read_owed,omitempty"`
	Leaving   bool            `json:"leaving,omitempty"` // no longer this member's
	Failures  int             `json:"failures,omitempty"`
	Lingered  bool            `json:"lingered,omitempty"` // the meeting that Teams shows came after a call long ago
	Last      presence.Status `json:"last,omitzero"`      // see TeamsSide
	LastTaken bool            `json:"last_taken,omitempty"`
	Flips     int             `json:"flips,omitempty"`
	// ContestedSince: see TeamsSide.
	ContestedSince time.Time      `json:"contested_since,omitzero"`
	Because        []Reason       `json:"because,omitempty"`
	Would          *WouldBe       `json:"would,omitempty"` // see TeamsSide
	Timers         EndpointTimers `json:"timers,omitzero"`

	epoch   uint32
	mark    uint64 // the connector's own number: per process
	reading bool
	paid    bool // see TeamsSide
}

// EndpointTimers are an endpoint's timers; see [TeamsTimers].
type EndpointTimers struct {
	Hold     time.Time `json:"hold,omitzero"`     // least time between two writes (R13)
	Settle   time.Time `json:"settle,omitzero"`   // the fence after an answer (R7)
	Deadline time.Time `json:"deadline,omitzero"` // the write under way can no longer land (R6)
	Retry    time.Time `json:"retry,omitzero"`    // after a failed read, or a refused write
	Linger   time.Time `json:"linger,omitzero"`   // a meeting after a call counts as the call
	Flips    time.Time `json:"flips,omitzero"`    // see TeamsTimers
	Contest  time.Time `json:"contest,omitzero"`
}

// EndpointAssertion is a status of ours on a PBX.
type EndpointAssertion struct {
	Value    presence.Status `json:"value"`
	Before   presence.Status `json:"before,omitzero"`   // the value before, while it changes
	Previous presence.Status `json:"previous,omitzero"` // the person's own, to be restored (R8)
	Class    presence.Class  `json:"class"`
	Phase    Phase           `json:"phase"`
	Since    time.Time       `json:"since"`
}

// EndpointWrite is an intent on a PBX.
type EndpointWrite struct {
	ID      uint32          `json:"id"`
	Status  presence.Status `json:"status,omitzero"`
	Message *string         `json:"message,omitempty"` // nil: left as it is
	Waiting bool            `json:"waiting,omitempty"`
	Started time.Time       `json:"started"`
}

// WouldBe is what an account that only observes would have written to a side ([Rules.Observe]).
type WouldBe struct {
	Value string    `json:"value"` // for people: the state, the message, or both
	Since time.Time `json:"since"`

	// What would be there, from which the next step decides as if it stood. Status is that of an endpoint, Pair that of Teams,
	// From the endpoint that would be its cause; all zero where only a message would be written.
	Status  presence.Status     `json:"status,omitzero"`
	Pair    presence.Pair       `json:"pair,omitzero"`
	Class   presence.Class      `json:"class,omitempty"`
	From    presence.EndpointID `json:"from,omitzero"`
	Message string              `json:"message,omitempty"`
}

func (w *WouldBe) clone() *WouldBe {
	if w == nil {
		return nil
	}
	return &WouldBe{Value: w.Value, Since: w.Since.UTC()}
}

// Override is a member's choice by hand that ended our assertion (R17).
type Override struct {
	// Of is what policy wanted when the person chose; the override ends when policy wants something else.
	Of presence.Status `json:"of,omitzero"`
	// Pending: the Teams read that says what policy wanted is still owed.
	Pending bool      `json:"pending,omitempty"`
	Since   time.Time `json:"since"`
}

// NewRecord is a member that was never seen. Every value that policy can set in Teams counts as just
// withdrawn, since a former life of the bridge may have left it there (R15).
func NewRecord(member string, rules *Rules) Record {
	r := Record{Member: member}
	for _, v := range rules.Policy.TeamsValues() {
		r.Teams.Withdrawn = append(r.Teams.Withdrawn, Withdrawn{Value: v})
	}
	return r
}

// Clone copies r so that a step cannot change what the caller holds.
func (r *Record) Clone() Record {
	c := *r
	if c.Teams.Assertion = clonePtr(r.Teams.Assertion); c.Teams.Assertion != nil {
		c.Teams.Assertion.Preferred = clonePtr(c.Teams.Assertion.Preferred)
	}
	c.Teams.Write = clonePtr(r.Teams.Write)
	c.Teams.Note = clonePtr(r.Teams.Note)
	c.Teams.Would = clonePtr(r.Teams.Would)
	c.Teams.Withdrawn = slices.Clone(r.Teams.Withdrawn)
	c.Endpoints = slices.Clone(r.Endpoints)
	for i := range c.Endpoints {
		ep := &c.Endpoints[i]
		ep.Assertion = clonePtr(ep.Assertion)
		if ep.Write = clonePtr(ep.Write); ep.Write != nil {
			ep.Write.Message = clonePtr(ep.Write.Message)
		}
		ep.Note = clonePtr(ep.Note)
		ep.Would = clonePtr(ep.Would)
		ep.Override = clonePtr(ep.Override)
	}
	return c
}

func clonePtr[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// Endpoint returns the endpoint of that id, or nil.
func (r *Record) Endpoint(id presence.EndpointID) *EndpointSide {
	for i := range r.Endpoints {
		if r.Endpoints[i].ID == id {
			return &r.Endpoints[i]
		}
	}
	return nil
}

// TeamsEpoch is what a read of Teams that begins now has to carry.
func (r *Record) TeamsEpoch() uint32 { return r.Teams.epoch }

// EndpointEpoch is what a read of that endpoint that begins now has to carry.
func (r *Record) EndpointEpoch(id presence.EndpointID) uint32 {
	if ep := r.Endpoint(id); ep != nil {
		return ep.epoch
	}
	return 0
}

// Idle tells whether nothing of ours is anywhere, nor under way.
func (r *Record) Idle() bool {
	if r.Teams.Assertion != nil || r.Teams.Write != nil || r.Teams.Note != nil {
		return false
	}
	for i := range r.Endpoints {
		if r.Endpoints[i].Assertion != nil || r.Endpoints[i].Write != nil || r.Endpoints[i].Note != nil {
			return false
		}
	}
	return true
}

// durable is r without what is not worth a store of its own: renewals and their timers (R12), reasons, and
// the marks of observations that changed nothing.
func (r *Record) durable() Record {
	c := *r
	c.cause, c.policy, c.stranger = cause{}, nil, false
	t := &c.Teams
	t.Because, t.Mark, t.Flips, t.Timers.Flips = nil, Mark{}, 0, time.Time{}
	if t.Assertion = clonePtr(t.Assertion); t.Assertion != nil {
		t.Assertion.MaskedSince = time.Time{}
	}
	t.epoch, t.reading, t.renewDue, t.paid, t.noteDue = 0, false, false, false, false
	t.Timers.Note, t.Timers.NoteRenew = time.Time{}, time.Time{}
	t.Timers.Settle, t.Timers.Renew, t.Timers.Lapse, t.Timers.Retry = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if t.Write != nil && t.Write.Kind == WriteRenew {
		t.Write = nil
		t.Timers.Deadline = time.Time{}
	}
	c.Endpoints = slices.Clone(r.Endpoints)
	for i := range c.Endpoints {
		ep := &c.Endpoints[i]
		ep.Because, ep.Flips, ep.Timers.Flips = nil, 0, time.Time{}
		ep.epoch, ep.mark, ep.reading, ep.paid = 0, 0, false, false
		ep.Timers.Hold, ep.Timers.Settle, ep.Timers.Retry = time.Time{}, time.Time{}, time.Time{}
	}
	return c
}
