package bridge

import (
	"time"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// Event is something that happened to one member. Timers, answers and timeouts are events like any other.
type Event interface{ event() }

// TeamsPushed is a change notification's word on what Teams shows.
type TeamsPushed struct {
	Pair    presence.Pair
	Mark    Mark
	Arrived time.Time
}

// TeamsSwept is the periodic bulk read's word. Epoch is [Record.TeamsEpoch] from when the read began.
type TeamsSwept struct {
	Pair    presence.Pair
	Epoch   uint32
	Details *Details
}

// Details is what a read of Teams tells beside the pair, which change notifications do not carry. nil: it was not told.
type Details struct {
	OutOfOffice presence.Absence
	Message     string
}

func detailsOf(s presence.Shown) *Details {
	return &Details{OutOfOffice: s.OutOfOffice, Message: s.Message}
}

// TeamsRead answers a [ReadTeams].
type TeamsRead struct {
	Pair    presence.Pair
	Epoch   uint32
	Details *Details
}

// TeamsReadFailed answers a [ReadTeams] that came to nothing.
type TeamsReadFailed struct{}

// Outcome is what is known of a write.
type Outcome uint8

// The outcomes.
const (
	Answered   Outcome = iota
	Unanswered         // nobody knows whether it landed, whatever the error said (R6)
	Conflicted         // the expected version was not the present one: nothing was written
	Refused            // unanswered as far as R6 goes, and not worth asking again soon
)

// TeamsAnswered answers a [SetTeams] or [ClearTeams].
type TeamsAnswered struct {
	ID      uint32
	Outcome Outcome
}

// TeamsUnseen says that Teams was not seen for a lease (R4).
type TeamsUnseen struct{}

// EndpointSeen is an event of a PBX's watch. Seq is the connector's own number.
type EndpointSeen struct {
	Endpoint presence.EndpointID
	State    pbx.State
	Seq      uint64
	Arrived  time.Time
}

// EndpointSnapshot is the periodic bulk read's word. Epoch is [Record.EndpointEpoch] from when it began.
type EndpointSnapshot struct {
	Endpoint presence.EndpointID
	State    pbx.State
	Epoch    uint32
}

// EndpointRead answers a [ReadEndpoint].
type EndpointRead struct {
	Endpoint presence.EndpointID
	State    pbx.State
	Epoch    uint32
}

// EndpointReadFailed answers a [ReadEndpoint] that came to nothing.
type EndpointReadFailed struct{ Endpoint presence.EndpointID }

// EndpointAnswered answers an [ApplyEndpoint].
type EndpointAnswered struct {
	Endpoint presence.EndpointID
	ID       uint32
	Outcome  Outcome
	State    pbx.State // with Answered: what the PBX then showed
}

// EndpointUnseen says that a PBX was not seen for a lease (R4).
type EndpointUnseen struct{ Endpoint presence.EndpointID }

// TimerFired says that a timer of the record is due.
type TimerFired struct{ Timer TimerRef }

// Recovered says that this process took the record over from storage: what was under way in another process
// is unanswered (R6), and both sides are read.
type Recovered struct{}

// MemberChanged says who the member's endpoints are now, what policy applies to them, and whether they opted out of
// everything, or left.
type MemberChanged struct {
	Excluded  bool
	Endpoints []presence.EndpointID
	Policy    *policy.Policy // nil: the account's
}

// ReadAgain owes reads: after a gap, or because somebody pressed resync. Then Anew also ends our staying away from sides
// that other programs fight over.
type ReadAgain struct{ Teams, PBX, Anew bool }

// Granted says that a side's write budget has a write for this member, who waited for it (R13).
type Granted struct{ Side string }

func (Granted) event()            {}
func (TeamsPushed) event()        {}
func (TeamsSwept) event()         {}
func (TeamsRead) event()          {}
func (TeamsReadFailed) event()    {}
func (TeamsAnswered) event()      {}
func (TeamsUnseen) event()        {}
func (EndpointSeen) event()       {}
func (EndpointSnapshot) event()   {}
func (EndpointRead) event()       {}
func (EndpointReadFailed) event() {}
func (EndpointAnswered) event()   {}
func (EndpointUnseen) event()     {}
func (TimerFired) event()         {}
func (Recovered) event()          {}
func (MemberChanged) event()      {}
func (ReadAgain) event()          {}

// Effect is something that the step wants done. A goroutine carries it out and hands the answer back as an
// event. No request leaves before the record that holds its intent is stored (R6).
type Effect interface{ effect() }

// SetTeams sets or renews our session.
type SetTeams struct {
	ID      uint32
	Value   presence.Pair
	Lease   time.Duration
	Renewal bool
	// Preferred: it is set as the person's preferred presence, not as a session of ours.
	Preferred bool
	Paid      bool // a grant has taken this write from the budget already
	Cause     Cause
}

// ClearTeams removes our session, or our preferred presence of that value; that there is none is success.
type ClearTeams struct {
	ID        uint32
	Preferred presence.Pair
	Paid      bool
	Cause     Cause
}

// ReadTeams reads what Teams shows.
type ReadTeams struct{ Epoch uint32 }

// ApplyEndpoint writes a status.
type ApplyEndpoint struct {
	Endpoint presence.EndpointID
	ID       uint32
	Write    pbx.Write
	Paid     bool
	Cause    Cause
}

// ReadEndpoint reads an endpoint directly.
type ReadEndpoint struct {
	Endpoint presence.EndpointID
	Epoch    uint32
}

// AwaitGrant asks for a [Granted] as soon as the side's write budget allows.
type AwaitGrant struct {
	Side string // TeamsSideName or a PBX's name
	Kind WriteKind
}

// ForgetMember says that an excluded member has nothing of ours left: the record can go.
type ForgetMember struct{}

func (SetTeams) effect()      {}
func (ClearTeams) effect()    {}
func (ReadTeams) effect()     {}
func (ApplyEndpoint) effect() {}
func (ReadEndpoint) effect()  {}
func (AwaitGrant) effect()    {}
func (ForgetMember) effect()  {}

// Path says what a write had to wait for, so that latencies can be told apart.
type Path string

// The paths.
const (
	PathDirect    Path = "direct"    // written in the step that learnt of the cause
	PathConfirmed Path = "confirmed" // a confirming read came first (R14)
	PathHeld      Path = "held"      // another write or its fence came first (R7, R13)
)

// Cause is the observation that led to a write. Arrived is zero where there is none, as for renewals.
type Cause struct {
	Arrived time.Time
	Path    Path
}

type cause = Cause
