// Package policy says what one side's state means on the other: ordered rules per direction, of which
// the first that matches wins. It is pure. It knows nothing of assertions, echoes or writes: those are
// the engine's (package bridge), which asks it two questions, [Policy.ForPBX] and [Policy.ForTeams].
package policy

import (
	"slices"
	"strings"

	"presencebridge/bridge/presence"
)

// Policy is an account's mapping rules. The zero value maps nothing. It is immutable once made.
type Policy struct {
	Preset     string
	TeamsToPBX []TeamsRule
	PBXToTeams []PBXRule
}

// TeamsRule maps a state of Teams to a PBX status.
type TeamsRule struct {
	When TeamsCondition
	Set  SetStatus
	Line int // of the YAML, 0 for a preset's
}

// TeamsCondition matches when every list that is not empty holds the state's word.
type TeamsCondition struct {
	Availability []string
	Activity     []string
	PBX          []string // the PBX that is written to
}

// SetStatus is what a TeamsRule puts on the PBX: a status by name, by kind, or by name with the kind as
// the fallback where a site has no such name.
type SetStatus struct {
	Name  string
	Kind  presence.Kind
	Class presence.Class // "" follows from the kind
}

// PBXRule maps the state of an endpoint to a presence in Teams.
type PBXRule struct {
	When PBXCondition
	Set  SetPresence
	Line int // of the YAML, 0 for a preset's
}

// PBXCondition matches when every list that is not empty holds the state's word.
type PBXCondition struct {
	Line       []presence.Line
	Status     []string
	StatusKind []presence.Kind
	PBX        []string
}

// SetPresence is what a PBXRule puts in Teams.
type SetPresence struct {
	Pair  presence.Pair
	Class presence.Class
}

// PBXWant is what policy makes of Teams' state for one PBX; the zero value means nothing.
type PBXWant struct {
	Status presence.Status
	Class  presence.Class
}

// IsZero tells whether nothing is wanted.
func (w PBXWant) IsZero() bool { return w.Status.IsZero() }

// Same tells whether two wants are the same to a person who looks at the phone.
func (w PBXWant) Same(o PBXWant) bool {
	if w.IsZero() || o.IsZero() {
		return w.IsZero() == o.IsZero()
	}
	return w.Status.Same(o.Status)
}

// TeamsWant is what policy makes of all endpoints; the zero value means nothing.
type TeamsWant struct {
	Pair  presence.Pair
	Class presence.Class
	From  presence.EndpointID // the endpoint that decided
}

// IsZero tells whether nothing is wanted.
func (w TeamsWant) IsZero() bool { return w.Pair.IsZero() }

// Endpoint is an endpoint as the rules see it. An unknown line or status is the zero value and matches
// only rules that do not ask for it.
type Endpoint struct {
	ID     presence.EndpointID
	Line   presence.Line
	Status presence.Status
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
func (p *Policy) ForPBX(pbx string, c Catalogue, shown presence.Pair) PBXWant {
	for i := range p.TeamsToPBX {
		r := &p.TeamsToPBX[i]
		if r.When.matches(pbx, shown) {
			return r.Set.resolve(c)
		}
	}
	return PBXWant{}
}

func (c *TeamsCondition) matches(pbx string, shown presence.Pair) bool {
	return inFold(c.Availability, shown.Availability) && inFold(c.Activity, shown.Activity) && inFold(c.PBX, pbx)
}

// resolve finds the status in the site's catalogue: by name, else by kind. A rule whose status the site
// does not offer sets nothing: a request would only be refused.
func (s SetStatus) resolve(c Catalogue) PBXWant {
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
	for i := range p.PBXToTeams {
		r := &p.PBXToTeams[i]
		for _, ep := range eps {
			if r.When.matches(ep) {
				return TeamsWant{Pair: r.Set.Pair, Class: r.Set.Class, From: ep.ID}
			}
		}
	}
	return TeamsWant{}
}

func (c *PBXCondition) matches(ep Endpoint) bool {
	if len(c.Line) > 0 && !slices.Contains(c.Line, ep.Line) {
		return false
	}
	if len(c.StatusKind) > 0 && !slices.Contains(c.StatusKind, ep.Status.Kind) {
		return false
	}
	return inFold(c.Status, ep.Status.Name) && inFold(c.PBX, ep.ID.PBX)
}

// TeamsValues lists every presence that these rules can set in Teams.
func (p *Policy) TeamsValues() []presence.Pair {
	var out []presence.Pair
	for i := range p.PBXToTeams {
		if v := p.PBXToTeams[i].Set.Pair; !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// SetsOnPBX tells whether these rules can set that status on a PBX.
func (p *Policy) SetsOnPBX(pbx string, c Catalogue, s presence.Status) bool {
	for i := range p.TeamsToPBX {
		r := &p.TeamsToPBX[i]
		if inFold(r.When.PBX, pbx) && r.Set.resolve(c).Status.Same(s) {
			return true
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
