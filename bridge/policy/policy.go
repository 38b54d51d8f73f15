// Package policy says what one side's state means on the other: ordered rules per direction, of which
// the first that matches wins. It is pure. It knows nothing of assertions, echoes or writes: those are
// the engine's (package bridge), which asks it two questions, [Policy.ForPBX] and [Policy.ForTeams], of the member's own
// policy ([Policy.For]). DESIGN.md describes the language in full.
package policy

import (
	"slices"
	"strings"
	"time"

	"presencebridge/bridge/presence"
)

// Policy is an account's mapping rules, or with [Policy.For] those of one member. The zero value maps nothing. It is
// immutable once made.
type Policy struct {
	Preset     string
	TeamsToPBX []TeamsRule
	PBXToTeams []PBXRule
	// Groups are overrides for members of Entra groups, in the file's order; the first whose group the member is in
	// counts, the others do not. Empty in what For returns.
	Groups []GroupPolicy
	// OptOut is the directions that do not cross for this member: what was asserted there is withdrawn. Only For sets it.
	OptOut presence.Directions

	resolver *resolver // of the account's policy: what For has made already; nil for one that Parse did not make
	whole    *Policy   // of a member's policy: the account's
}

// GroupPolicy is an override for the members of one group.
type GroupPolicy struct {
	Group      string // Entra object id or display name
	OptOut     presence.Directions
	TeamsToPBX []TeamsRule // with HasTeamsToPBX in place of the account's
	PBXToTeams []PBXRule   // with HasPBXToTeams in place of the account's

	HasTeamsToPBX, HasPBXToTeams bool
	Line                         int // of the YAML
}

// TeamsRule maps a state of Teams to a PBX status, a message, or both.
type TeamsRule struct {
	When TeamsCondition
	Set  SetStatus
	Line int // of the YAML, 0 for a preset's
	// Path is where the rule stands among the policy's: teams_to_pbx[0], or groups[1].teams_to_pbx[0].
	Path string
}

// TeamsCondition matches when every list that is not empty holds the state's word.
type TeamsCondition struct {
	Availability []string
	Activity     []string
	OutOfOffice  presence.Absence // "" does not ask; an absence that is not known meets neither yes nor no
	Group        []string         // Entra object ids or display names; the member is in one of them
	PBX          []string         // the PBX that is written to

	inGroup bool // the member is in one of Group; set by For
}

// SetStatus is what a TeamsRule puts on the PBX: a status by name, by kind, or by name with the kind as
// the fallback where a site has no such name.
type SetStatus struct {
	Name    string
	Kind    presence.Kind
	Class   presence.Class // "" follows from the kind
	Message Message
}

// PBXRule maps the state of an endpoint to a presence in Teams, a status message, or both.
type PBXRule struct {
	When PBXCondition
	Set  SetPresence
	Line int    // of the YAML, 0 for a preset's
	Path string // see TeamsRule
}

// PBXCondition matches when every list that is not empty holds the state's word.
type PBXCondition struct {
	Line       []presence.Line
	Status     []string
	StatusKind []presence.Kind
	Group      []string // Entra object ids or display names; the member is in one of them
	PBX        []string

	inGroup bool // see TeamsCondition
}

// SetPresence is what a PBXRule puts in Teams.
type SetPresence struct {
	Pair    presence.Pair
	Class   presence.Class
	Method  Method
	For     time.Duration // with MethodPreferred: how long it lasts at most
	Message Message
}

// Method is the way in which a presence is put into Teams.
type Method string

// The methods. The zero value stands for MethodSession.
const (
	// MethodSession is the bridge's own presence session (setPresence): a lease beside the person's other
	// sessions, which any choice of the person's own outranks.
	MethodSession Method = "session"
	// MethodPreferred is the person's own preferred presence (setUserPreferredPresence): it outranks every
	// session, and replaces what the person chose.
	MethodPreferred Method = "preferred"
)

// Preferred tells whether m is [MethodPreferred].
func (m Method) Preferred() bool { return m == MethodPreferred }

// Message is what a rule does with the message of the other side: a text, or a copy of the person's own message on
// the side that the rule looks at. The zero value does nothing.
type Message struct {
	Copy bool
	Text string
}

// IsZero tells whether the rule says nothing about messages.
func (m Message) IsZero() bool { return m == Message{} }

// of is the message to show, given the person's own on the other side.
func (m Message) of(own string) string {
	if m.Copy {
		return strings.TrimSpace(own)
	}
	return m.Text
}

// PBXWant is what policy makes of Teams' state for one PBX; the zero value means nothing.
type PBXWant struct {
	Status  presence.Status
	Class   presence.Class
	Message string // "" wants none; not clipped: how long a message may be is the PBX's to say ([ClipMessage])
}

// IsZero tells whether no status is wanted. A message may be wanted all the same.
func (w PBXWant) IsZero() bool { return w.Status.IsZero() }

// Same tells whether two wants are the same status to a person who looks at the phone. Messages are not compared.
func (w PBXWant) Same(o PBXWant) bool {
	if w.IsZero() || o.IsZero() {
		return w.IsZero() == o.IsZero()
	}
	return w.Status.Same(o.Status)
}

// TeamsWant is what policy makes of all endpoints; the zero value means nothing.
type TeamsWant struct {
	Pair    presence.Pair
	Class   presence.Class
	Method  Method              // never "" where a presence is wanted
	For     time.Duration       // with MethodPreferred
	Message string              // "" wants none; at most [TeamsMessageLimit] long
	From    presence.EndpointID // the endpoint that decided
}

// IsZero tells whether no presence is wanted. A message may be wanted all the same.
func (w TeamsWant) IsZero() bool { return w.Pair.IsZero() }

// TeamsState is Teams as the rules see it: what is the person's own there, nothing of ours.
type TeamsState struct {
	Pair        presence.Pair
	OutOfOffice presence.Absence
	Message     string // status message, plain text
}

// absence is what is known of it: the pair may say it as well (learn:api/resources/presence).
func (s TeamsState) absence() presence.Absence {
	if s.OutOfOffice == presence.AbsenceUnknown &&
		(s.Pair.Availability == presence.OutOfOffice || s.Pair.Activity == presence.OutOfOffice) {
		return presence.AbsenceYes
	}
	return s.OutOfOffice
}

// Endpoint is an endpoint as the rules see it. An unknown line or status is the zero value and matches
// only rules that do not ask for it.
type Endpoint struct {
	ID      presence.EndpointID
	Line    presence.Line
	Status  presence.Status
	Message string // the person's own message there
}

// Catalogue is the statuses that a PBX offers. An empty one means that they are not known yet.
type Catalogue []presence.Status

// Find returns the status of that name, in the site's spelling.
func (c Catalogue) Find(name string) (presence.Status, bool) {
	for _, s := range c {
		if strings.EqualFold(s.Name, name) {
			return s, true
		}
	}
	return presence.Status{}, false
}

// OfKind returns the first status of that kind.
func (c Catalogue) OfKind(k presence.Kind) (presence.Status, bool) {
	for _, s := range c {
		if s.Kind == k {
			return s, true
		}
	}
	return presence.Status{}, false
}

// Default is the status of somebody who chose nothing: the first available one. It stands in for a
// previous status that is not known (R8).
func (c Catalogue) Default() presence.Status {
	if s, ok := c.OfKind(presence.KindAvailable); ok {
		return s
	}
	return presence.Status{Name: "Available", Kind: presence.KindAvailable}
}

// ForPBX says what a state of Teams means on a PBX that offers the statuses of c.
func (p *Policy) ForPBX(pbx string, c Catalogue, st TeamsState) PBXWant {
	r := p.TeamsRuleFor(pbx, st)
	if r == nil {
		return PBXWant{}
	}
	w := r.Set.resolve(c)
	w.Message = r.Set.Message.of(st.Message)
	return w
}

// TeamsRuleFor is the rule that decides for that PBX, nil if none matches.
func (p *Policy) TeamsRuleFor(pbx string, st TeamsState) *TeamsRule {
	for i := range p.TeamsToPBX {
		if r := &p.TeamsToPBX[i]; r.When.matches(pbx, st) {
			return r
		}
	}
	return nil
}

func (c *TeamsCondition) matches(pbx string, st TeamsState) bool {
	if c.OutOfOffice != presence.AbsenceUnknown && c.OutOfOffice != st.absence() {
		return false
	}
	if len(c.Group) > 0 && !c.inGroup {
		return false
	}
	return inFold(c.Availability, st.Pair.Availability) && inFold(c.Activity, st.Pair.Activity) && inFold(c.PBX, pbx)
}

// resolve finds the status in the site's catalogue: by name, else by kind. A rule whose status the site
// does not offer sets nothing: a request would only be refused.
func (s SetStatus) resolve(c Catalogue) PBXWant {
	if s.Name == "" && s.Kind == presence.KindUnknown {
		return PBXWant{} // a rule about the message alone
	}
	st := presence.Status{Name: s.Name, Kind: s.Kind}
	if len(c) > 0 {
		found, ok := c.Find(s.Name)
		if !ok && s.Kind != presence.KindUnknown {
			found, ok = c.OfKind(s.Kind)
		}
		if !ok {
			return PBXWant{}
		}
		st = found
	}
	class := s.Class
	if class == "" {
		class = ClassOfKind(st.Kind)
	}
	return PBXWant{Status: st, Class: class}
}

// ForTeams says what a member's endpoints mean in Teams. The rules are tried in order over all endpoints,
// and the first one that any endpoint matches decides.
func (p *Policy) ForTeams(eps []Endpoint) TeamsWant {
	r, i := p.PBXRuleFor(eps)
	if r == nil {
		return TeamsWant{}
	}
	w := TeamsWant{
		Pair: r.Set.Pair, Class: r.Set.Class, Method: r.Set.Method, For: r.Set.For, From: eps[i].ID,
		Message: ClipMessage(r.Set.Message.of(eps[i].Message), TeamsMessageLimit),
	}
	if w.Method == "" && !w.IsZero() {
		w.Method = MethodSession
	}
	return w
}

// PBXRuleFor is the rule that decides, nil if none matches, and which of the endpoints it looked at.
func (p *Policy) PBXRuleFor(eps []Endpoint) (*PBXRule, int) {
	for i := range p.PBXToTeams {
		r := &p.PBXToTeams[i]
		for j := range eps {
			if r.When.matches(&eps[j]) {
				return r, j
			}
		}
	}
	return nil, -1
}

func (c *PBXCondition) matches(ep *Endpoint) bool {
	if len(c.Group) > 0 && !c.inGroup {
		return false
	}
	if len(c.Line) > 0 && !slices.Contains(c.Line, ep.Line) {
		return false
	}
	if len(c.StatusKind) > 0 && !slices.Contains(c.StatusKind, ep.Status.Kind) {
		return false
	}
	return inFold(c.Status, ep.Status.Name) && inFold(c.PBX, ep.ID.PBX)
}

// TeamsValues lists every presence that the account's rules can set in Teams, for anybody and by any method.
func (p *Policy) TeamsValues() []presence.Pair {
	var out []presence.Pair
	for rules := range p.account().pbxRules() {
		for i := range rules {
			if v := rules[i].Set.Pair; !v.IsZero() && !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
	}
	return out
}

// SetsOnPBX tells whether the account's rules can set that status on a PBX, for anybody.
func (p *Policy) SetsOnPBX(pbx string, c Catalogue, s presence.Status) bool {
	for rules := range p.account().teamsRules() {
		for i := range rules {
			r := &rules[i]
			if w := r.Set.resolve(c); inFold(r.When.PBX, pbx) && !w.IsZero() && w.Status.Same(s) {
				return true
			}
		}
	}
	return false
}

// inFold tells whether list is empty or holds s, whatever the casing.
func inFold(list []string, s string) bool {
	if len(list) == 0 {
		return true
	}
	return slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
}
