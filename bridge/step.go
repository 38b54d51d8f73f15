package bridge

import (
	"hash/fnv"
	"time"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// Rules is what a step decides by. It does not change during a step.
type Rules struct {
	Policy *policy.Policy
	PBX    map[string]PBXRules

	Lease        time.Duration // of a Teams assertion (R12); default 5 min, Graph's least
	LongLease    time.Duration // of others than calls while Crowded (R12); default 30 min
	TeamsSettle  time.Duration // after an answered write to Teams (R7); default 5 s
	TeamsTimeout time.Duration // of a request to Teams, retries of a throttled one included; default 10 s
	LandGrace    time.Duration // how long past a request's timeout its write can still land (R6); default 30 s
	HoldDown     time.Duration // least time between two writes to one endpoint (R13); default 3 s
	Forget       time.Duration // withdrawn values; default 4 h, Graph's limit for retries (R15)
	ReadRetry    time.Duration // after a failed read; default 5 s
	Linger       time.Duration // a call's status, when Teams turns from a call to a meeting; default 15 s, negative: none
	Contest      ContestRules  // other programs that write what we write

	// Paced holds the sides whose write budget is used up at this moment (R13): the step asks for a grant
	// instead of writing.
	Paced map[string]bool

	// Crowded: at Lease the renewals of what stands at this moment would take more than half of Teams' write budget (R12).
	Crowded bool

	// Observe: everything is decided and recorded, and nothing is written. What was asserted before is withdrawn first.
	Observe bool

	// Without holds rules that do not apply. Only tests set it, to show what each rule is for.
	Without RuleSet
}

// leaseOf is how long an assertion of that class stands by itself (R12). A call never outlives the short lease.
func (r *Rules) leaseOf(c presence.Class) time.Duration {
	if r.Crowded && c != presence.ClassCall {
		return r.LongLease
	}
	return r.Lease
}

// TeamsSideName names Teams' side where sides are named. No PBX can have it: names of PBXs have no blanks.
const TeamsSideName = "teams side"

// PBXRules is what a step has to know of one PBX.
type PBXRules struct {
	Capabilities pbx.Capabilities
	Statuses     policy.Catalogue
	Settle       time.Duration // after an answered write (R7); default 1 s
	Timeout      time.Duration // of a request; default 10 s
}

// trusted tells whether an event of that PBX says by itself who chose a status and what is newer (R14).
func (p PBXRules) trusted() bool { return p.Capabilities.Versions && p.Capabilities.Authors }

// WithDefaults fills in what is zero.
func (r Rules) WithDefaults() Rules {
	or := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	or(&r.Lease, 5*time.Minute)
	or(&r.LongLease, max(30*time.Minute, r.Lease))
	or(&r.TeamsSettle, 5*time.Second)
	or(&r.TeamsTimeout, 10*time.Second)
	or(&r.LandGrace, 30*time.Second)
	or(&r.HoldDown, 3*time.Second)
	or(&r.Forget, 4*time.Hour)
	or(&r.ReadRetry, 5*time.Second)
	or(&r.Linger, 15*time.Second)
	r.Contest = r.Contest.withDefaults()
	if r.Policy == nil {
		r.Policy = &policy.Policy{}
	}
	pbxs := make(map[string]PBXRules, len(r.PBX))
	for name, p := range r.PBX {
		or(&p.Settle, time.Second)
		or(&p.Timeout, 10*time.Second)
		pbxs[name] = p
	}
	r.PBX = pbxs
	return r
}

// Step folds one event into a record and decides what follows. It is pure: it changes neither r nor
// anything else, and the same arguments always give the same result. now only dates what is written into
// the record; that time has passed is an event ([TimerFired]).
//
// R1 to R17 in the comments are the rules of DESIGN.md.
func Step(rules *Rules, r Record, e Event, now time.Time) (Record, []Effect) {
	s := step{rules: rules, r: r.Clone(), now: now}
	if _, ok := e.(MemberChanged); r.Wiped && !ok {
		return s.r, nil // nothing of the person is looked at, let alone kept
	}
	s.fold(e)
	if s.r.stranger || s.r.Wiped {
		return s.r, s.effects // whoever it is may have opted out meanwhile
	}
	s.decide()
	s.dropLeft()
	if s.r.Wiped {
		return s.r, s.effects
	}
	s.oweReads()
	s.trackCause()
	s.r.Teams.dateWithdrawn(now, rules.Forget)
	return s.r, s.effects
}

// step is one run of [Step].
type step struct {
	rules   *Rules
	r       Record
	now     time.Time
	effects []Effect

	teamsJustRead bool                // this event is a believed read of Teams (R5)
	teamsObserved bool                // this event is Teams' own word, of whatever sort
	justRead      presence.EndpointID // this event is a believed direct read of that endpoint (R8)
	granted       string              // this event grants that side a write
	held          bool                // a decision waits for another write or its fence
	wrote         bool
}

// policy is the member's own, or the account's.
func (s *step) policy() *policy.Policy {
	if s.r.policy != nil {
		return s.r.policy
	}
	return s.rules.Policy
}

func (s *step) fold(e Event) {
	switch e := e.(type) {
	case TeamsPushed:
		s.teamsObserved = true
		s.teamsPushed(e)
	case TeamsSwept:
		s.teamsObserved = true
		s.teamsSwept(e)
	case TeamsRead:
		s.teamsObserved = true
		s.teamsRead(e)
	case TeamsReadFailed:
		s.r.Teams.reading = false
		s.r.Teams.Timers.Retry = s.now.Add(s.rules.ReadRetry)
	case TeamsAnswered:
		s.teamsAnswered(e)
	case TeamsUnseen:
		if s.rules.without(RuleUnknown) {
			return
		}
		s.r.Teams.Shown, s.r.Teams.OrganicState = presence.Pair{}, OrganicUnknown
	case TimerFired:
		s.timerFired(e.Timer)
	case Recovered:
		s.recovered()
	case MemberChanged:
		s.memberChanged(e)
	case ReadAgain:
		s.readAgain(e)
	case Granted:
		s.granted = e.Side
	default:
		s.foldEndpoint(e)
	}
}

// foldEndpoint folds the events that are about one endpoint. One that is no longer in the record is nobody's.
func (s *step) foldEndpoint(e Event) {
	switch e := e.(type) {
	case EndpointSeen:
		if ep := s.r.Endpoint(e.Endpoint); ep != nil {
			s.endpointSeen(ep, e)
		}
	case EndpointSnapshot:
		if ep := s.r.Endpoint(e.Endpoint); ep != nil {
			s.endpointSnapshot(ep, e)
		}
	case EndpointRead:
		if ep := s.r.Endpoint(e.Endpoint); ep != nil {
			s.endpointRead(ep, e)
		}
	case EndpointReadFailed:
		if ep := s.r.Endpoint(e.Endpoint); ep != nil {
			ep.reading = false
			ep.Timers.Retry = s.now.Add(s.rules.ReadRetry)
		}
	case EndpointAnswered:
		if ep := s.r.Endpoint(e.Endpoint); ep != nil {
			s.endpointAnswered(ep, e)
		}
	case EndpointUnseen:
		if ep := s.r.Endpoint(e.Endpoint); ep != nil && !s.rules.without(RuleUnknown) {
			ep.Seen, ep.Line = false, presence.LineUnknown
		}
	}
}

// recovered takes a record over from storage (R6): requests of the process before may be under way still,
// among them a renewal, which is never stored.
func (s *step) recovered() {
	s.r.stranger = true
	t := &s.r.Teams
	switch {
	case t.Write != nil && t.Write.Kind != WriteRenew:
		t.Write.Waiting = true
	case t.Assertion != nil:
		t.Write = &TeamsWrite{ID: t.epoch, Kind: WriteRenew, Waiting: true, Started: s.now}
		t.Timers.Deadline = s.now.Add(s.rules.TeamsTimeout + s.rules.LandGrace)
	}
	t.ReadOwed = true
	for i := range s.r.Endpoints {
		ep := &s.r.Endpoints[i]
		if ep.Write != nil {
			ep.Write.Waiting = true
		}
		ep.Seen, ep.Line, ep.ReadOwed = false, presence.LineUnknown, true
		if a := ep.Assertion; a != nil && a.Phase == PhaseStanding && !s.overwritten(ep) {
			// A document of our own is a lease that the process before renewed, as a session in Teams is: it is sent
			// again (R6), or it would lapse while the record says that it stands.
			a.Phase = PhaseWriting
		}
	}
}

// memberChanged gives the member its endpoints. One that is no longer its own is kept until what we asserted
// there is withdrawn.
func (s *step) memberChanged(e MemberChanged) {
	s.r.stranger, s.r.policy = false, e.Policy
	if s.r.Wiped {
		s.welcome(e)
		return
	}
	if s.r.Excluded && !e.Excluded { // whatever happened meanwhile was not looked at
		s.readAgain(ReadAgain{Teams: true, PBX: true})
	}
	s.r.Excluded = e.Excluded
	wanted := make(map[presence.EndpointID]bool, len(e.Endpoints))
	for _, id := range e.Endpoints {
		wanted[id] = true
		if s.r.Endpoint(id) == nil {
			s.r.Endpoints = append(s.r.Endpoints, EndpointSide{ID: id})
		}
	}
	for i := range s.r.Endpoints {
		s.r.Endpoints[i].Leaving = !wanted[s.r.Endpoints[i].ID]
	}
}

func (s *step) readAgain(e ReadAgain) {
	if e.Anew {
		s.reconcile()
	}
	if e.Teams {
		s.r.Teams.ReadOwed = true
	}
	if !e.PBX {
		return
	}
	for i := range s.r.Endpoints {
		s.r.Endpoints[i].ReadOwed = true
	}
}

// dropLeft forgets endpoints that left and hold nothing of ours any more.
func (s *step) dropLeft() {
	kept := s.r.Endpoints[:0]
	for _, ep := range s.r.Endpoints {
		if !ep.Leaving || ep.Assertion != nil || ep.Write != nil || ep.Note != nil {
			kept = append(kept, ep)
		}
	}
	s.r.Endpoints = kept
	if s.r.Excluded && s.r.Idle() {
		s.r = Record{Member: s.r.Member, Excluded: true, Wiped: true, policy: s.r.policy}
		s.effects = append(s.effects, ForgetMember{})
	}
}

// welcome begins the record of a member of whom nothing was kept anew, unless they still do not want to be in it. Then
// they may have left, and even that is forgotten.
func (s *step) welcome(e MemberChanged) {
	if e.Excluded {
		s.effects = append(s.effects, ForgetMember{})
		return
	}
	s.r = NewRecord(s.r.Member, s.rules)
	s.r.Teams.ReadOwed = true
	s.memberChanged(e)
}

// oweReads asks for the reads that are owed and would be believed now (R7).
func (s *step) oweReads() {
	t := &s.r.Teams
	if t.ReadOwed && !t.reading && !t.Purge && t.Write == nil && t.Timers.Settle.IsZero() && t.Timers.Retry.IsZero() {
		t.reading = true
		s.effects = append(s.effects, ReadTeams{Epoch: t.epoch})
	}
	for i := range s.r.Endpoints {
		ep := &s.r.Endpoints[i]
		if ep.ReadOwed && !ep.reading && ep.Seen && ep.Write == nil && ep.Timers.Settle.IsZero() && ep.Timers.Retry.IsZero() {
			ep.reading = true
			s.effects = append(s.effects, ReadEndpoint{Endpoint: ep.ID, Epoch: ep.epoch})
		}
	}
}

// arrived remembers the observation that a write may follow from.
func (s *step) arrived(at time.Time) {
	if s.r.cause.Arrived.IsZero() && !at.IsZero() {
		s.r.cause = cause{Arrived: at, Path: PathDirect}
	}
}

// takeCause is called when a write goes out.
func (s *step) takeCause() Cause {
	s.wrote = true
	return s.r.cause
}

// trackCause keeps the observation while its write still waits, and notes what for.
func (s *step) trackCause() {
	c := &s.r.cause
	if c.Arrived.IsZero() {
		return
	}
	owed := s.r.Teams.ReadOwed
	for i := range s.r.Endpoints {
		owed = owed || s.r.Endpoints[i].ReadOwed
	}
	switch {
	case s.wrote:
		*c = cause{}
	case s.held:
		c.Path = PathHeld
	case owed && c.Path == PathDirect:
		c.Path = PathConfirmed
	case !owed:
		*c = cause{}
	}
}

// jitter spreads d by up to a tenth, the same for a member every time.
func (s *step) jitter(d time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s.r.Member)) // never fails
	return d - time.Duration(h.Sum32()%100)*d/1000
}
