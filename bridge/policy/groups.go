package policy

import (
	"iter"
	"slices"
	"strings"
	"sync"

	"presencebridge/bridge/presence"
)

// resolver keeps what [Policy.For] made. Members differ in it only by which of the groups that the policy names they
// are in, so that a tenant of any size has a handful of policies.
type resolver struct {
	names map[string]int // lower case, of every group that the policy names

	mu   sync.Mutex
	made map[string]*Policy // by the groups that hold, and the directions that do not cross
}

func newResolver(p *Policy) *resolver {
	r := &resolver{names: map[string]int{}, made: map[string]*Policy{}}
	for i, n := range p.GroupNames() {
		r.names[strings.ToLower(n)] = i
	}
	return r
}

// GroupNames lists every group that the policy names, by id or display name, each once whatever its casing: whose
// members have to be known.
func (p *Policy) GroupNames() []string {
	var out []string
	add := func(names ...string) {
		for _, n := range names {
			if !slices.ContainsFunc(out, func(x string) bool { return strings.EqualFold(x, n) }) {
				out = append(out, n)
			}
		}
	}
	for i := range p.Groups {
		add(p.Groups[i].Group)
	}
	for rules := range p.teamsRules() {
		for i := range rules {
			add(rules[i].When.Group...)
		}
	}
	for rules := range p.pbxRules() {
		for i := range rules {
			add(rules[i].When.Group...)
		}
	}
	return out
}

// For is the policy of a member who is in these groups (ids and display names, in any order and casing) and for whom
// those directions do not cross. Members with the same answer share it. Asked of a member's policy, it answers for the
// account's.
func (p *Policy) For(groups []string, optOut presence.Directions) *Policy {
	p = p.account()
	r := p.resolver
	if r == nil {
		return p.resolve(groups, optOut)
	}
	if len(r.names) == 0 && optOut == 0 {
		return p
	}
	key := make([]byte, len(r.names)+1)
	for _, g := range groups {
		if i, ok := r.names[strings.ToLower(g)]; ok {
			key[i] = 1
		}
	}
	key[len(r.names)] = byte(optOut)
	r.mu.Lock()
	defer r.mu.Unlock()
	made := r.made[string(key)]
	if made == nil {
		made = p.resolve(groups, optOut)
		r.made[string(key)] = made
	}
	return made
}

func (p *Policy) resolve(groups []string, optOut presence.Directions) *Policy {
	m := &Policy{Preset: p.Preset, OptOut: optOut, whole: p}
	teams, pbx := p.TeamsToPBX, p.PBXToTeams
	for i := range p.Groups {
		g := &p.Groups[i]
		if !overlap([]string{g.Group}, groups) {
			continue
		}
		m.OptOut |= g.OptOut
		if g.HasTeamsToPBX {
			teams = g.TeamsToPBX
		}
		if g.HasPBXToTeams {
			pbx = g.PBXToTeams
		}
		break
	}
	if !m.OptOut.Has(presence.TeamsToPBX) {
		for _, r := range teams {
			if r.When.inGroup = overlap(r.When.Group, groups); r.When.inGroup || len(r.When.Group) == 0 {
				m.TeamsToPBX = append(m.TeamsToPBX, r)
			}
		}
	}
	if !m.OptOut.Has(presence.PBXToTeams) {
		for _, r := range pbx {
			if r.When.inGroup = overlap(r.When.Group, groups); r.When.inGroup || len(r.When.Group) == 0 {
				m.PBXToTeams = append(m.PBXToTeams, r)
			}
		}
	}
	return m
}

// overlap tells whether two lists have a word in common, whatever its casing.
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return len(b) > 0 && inFold(b, x) })
}

// account is the policy that a member's was made of.
func (p *Policy) account() *Policy {
	if p.whole != nil {
		return p.whole
	}
	return p
}

// teamsRules are the lists of rules towards the PBX: everybody's, and those of groups.
func (p *Policy) teamsRules() iter.Seq[[]TeamsRule] {
	return func(yield func([]TeamsRule) bool) {
		if !yield(p.TeamsToPBX) {
			return
		}
		for i := range p.Groups {
			if !yield(p.Groups[i].TeamsToPBX) {
				return
			}
		}
	}
}

// pbxRules are the lists of rules towards Teams: everybody's, and those of groups.
func (p *Policy) pbxRules() iter.Seq[[]PBXRule] {
	return func(yield func([]PBXRule) bool) {
		if !yield(p.PBXToTeams) {
			return
		}
		for i := range p.Groups {
			if !yield(p.Groups[i].PBXToTeams) {
				return
			}
		}
	}
}

// AsksForDetails tells whether any rule asks for more of Teams than the pair: for out of office, or for a copy of the
// status message. Only then are they kept.
func (p *Policy) AsksForDetails() bool {
	for rules := range p.account().teamsRules() {
		for i := range rules {
			if rules[i].When.OutOfOffice != presence.AbsenceUnknown || rules[i].Set.Message.Copy {
				return true
			}
		}
	}
	return false
}
