package verify

import (
	"fmt"
	"slices"
	"strings"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// somethingElse stands for every word that no rule names.
const somethingElse = "\x00other"

// checkPolicy looks for rules that can never decide anything. A rule is tried on every combination of words that
// rules can tell apart; one that never wins is dead.
func checkPolicy(t *tenant) []Check {
	const name = "policy"
	if t.policyErr != nil {
		return []Check{failed(name, "", "correct the policy: presence-bridge config check", "%v", t.policyErr)}
	}
	out := slices.Concat(unknownNames(name, t), deadTeamsRules(name, t), deadPBXRules(name, t))
	if len(t.policy.TeamsToPBX)+len(t.policy.PBXToTeams) == 0 {
		out = append(out, warning(name, "", "give a preset or rules", "it maps nothing in either direction"))
	}
	if len(out) > 0 {
		return out
	}
	text := fmt.Sprintf("%d rules to the PBX and %d to Teams, and each can match", len(t.policy.TeamsToPBX), len(t.policy.PBXToTeams))
	if slices.ContainsFunc(t.pbxs, func(p *phone) bool { return p.statusErr != nil }) {
		text += "; statuses were not compared where a PBX cannot list them"
	}
	return []Check{ok(name, "", "%s", text)}
}

// unknownNames finds rules that name a PBX or a status that does not exist.
func unknownNames(name string, t *tenant) (out []Check) {
	configured := make([]string, 0, len(t.pbxs))
	for _, p := range t.pbxs {
		configured = append(configured, p.cfg.Name)
	}
	check := func(rule string, named []string) {
		for _, n := range named {
			if !among(configured, n) {
				out = append(out, warning(name, rule, "use one of: "+strings.Join(configured, ", "), "it is for the PBX %s, which is not configured", quote(n)))
			}
		}
	}
	for i := range t.policy.TeamsToPBX {
		r := &t.policy.TeamsToPBX[i]
		check(ruleName("teams_to_pbx", i, r.Line), r.When.PBX)
	}
	for i := range t.policy.PBXToTeams {
		r := &t.policy.PBXToTeams[i]
		rule := ruleName("pbx_to_teams", i, r.Line)
		check(rule, r.When.PBX)
		for _, status := range r.When.Status {
			if asked, found := t.offers(r.When.PBX, func(s presence.Status) bool { return strings.EqualFold(s.Name, status) }); asked && !found {
				out = append(out, warning(name, rule, "correct the name, or add the status to the PBX", "it waits for the status %s, which no PBX that it is for has", quote(status)))
			}
		}
	}
	return out
}

// offers asks the PBXs that a rule is for whether one has such a status. asked is false if one of them could not be asked.
func (t *tenant) offers(only []string, such func(presence.Status) bool) (asked, found bool) {
	for _, p := range t.pbxs {
		if !among(only, p.cfg.Name) {
			continue
		}
		if p.statusErr != nil {
			return false, false
		}
		asked = true
		found = found || slices.ContainsFunc(p.statuses, such)
	}
	return asked, found
}

// deadTeamsRules tries the rules towards the PBXs.
func deadTeamsRules(name string, t *tenant) (out []Check) {
	rules := t.policy.TeamsToPBX
	availabilities, activities := []string{somethingElse}, []string{somethingElse}
	for i := range rules {
		availabilities = append(availabilities, folded(rules[i].When.Availability)...)
		activities = append(activities, folded(rules[i].When.Activity)...)
	}
	won := make([]bool, len(rules))
	for _, p := range t.pbxs {
		for _, av := range unique(availabilities) {
			for _, ac := range unique(activities) {
				i := slices.IndexFunc(rules, func(r policy.TeamsRule) bool {
					return among(r.When.PBX, p.cfg.Name) && among(r.When.Availability, av) && among(r.When.Activity, ac)
				})
				if i >= 0 {
					won[i] = true
				}
			}
		}
	}
	for i := range rules {
		if !won[i] && t.forSome(rules[i].When.PBX) {
			out = append(out, dead(name, ruleName("teams_to_pbx", i, rules[i].Line)))
		}
	}
	return out
}

// deadPBXRules tries the rules towards Teams, with the statuses that the PBXs have, or with all that rules name where a
// PBX could not be asked.
func deadPBXRules(name string, t *tenant) (out []Check) {
	rules := t.policy.PBXToTeams
	won, possible := make([]bool, len(rules)), make([]bool, len(rules))
	for _, p := range t.pbxs {
		for _, ep := range endpointsOf(p, rules) {
			first := true
			for i := range rules {
				if !matches(&rules[i].When, ep) {
					continue
				}
				possible[i] = true
				won[i] = won[i] || first
				first = false
			}
		}
	}
	for i := range rules {
		rule := ruleName("pbx_to_teams", i, rules[i].Line)
		switch {
		case won[i] || !t.forSome(rules[i].When.PBX):
		case possible[i]:
			out = append(out, dead(name, rule))
		case len(rules[i].When.Status) > 0 && t.nameless(&rules[i].When): // said already
		default:
			out = append(out, warning(name, rule, "correct its status or status_kind, or remove it", "it can never match: no PBX that it is for has such a status"))
		}
	}
	return out
}

// nameless tells whether no PBX has any status that a rule names.
func (t *tenant) nameless(c *policy.PBXCondition) bool {
	asked, found := t.offers(c.PBX, func(s presence.Status) bool { return among(c.Status, s.Name) })
	return asked && !found
}

// forSome tells whether a rule is for a PBX that is configured.
func (t *tenant) forSome(only []string) bool {
	return slices.ContainsFunc(t.pbxs, func(p *phone) bool { return among(only, p.cfg.Name) })
}

func dead(name, rule string) Check {
	return warning(name, rule, "move it up, narrow the rules before it, or remove it", "it can never match: rules before it match everything that it does")
}

// endpointsOf is every state of an endpoint that rules can tell apart.
func endpointsOf(p *phone, rules []policy.PBXRule) (out []policy.Endpoint) {
	statuses := append([]presence.Status{{}}, p.statuses...)
	if p.statusErr != nil {
		kinds := []presence.Kind{presence.KindAvailable, presence.KindBusy, presence.KindDND, presence.KindAway, presence.KindOut, presence.KindCustom}
		statusNames := []string{somethingElse}
		for i := range rules {
			statusNames = append(statusNames, folded(rules[i].When.Status)...)
		}
		for _, k := range kinds {
			for _, n := range unique(statusNames) {
				statuses = append(statuses, presence.Status{Name: n, Kind: k})
			}
		}
	} else {
		// One that the list does not hold: the connector calls it custom.
		statuses = append(statuses, presence.Status{Name: somethingElse, Kind: presence.KindCustom})
	}
	lines := []presence.Line{presence.LineUnknown, presence.LineIdle, presence.LineRinging, presence.LineInCall, presence.LineOnHold, presence.LineOffline}
	for _, line := range lines {
		for _, st := range statuses {
			out = append(out, policy.Endpoint{ID: presence.EndpointID{PBX: p.cfg.Name}, Line: line, Status: st})
		}
	}
	return out
}

// matches asks the policy itself whether a rule's condition holds.
func matches(c *policy.PBXCondition, ep policy.Endpoint) bool {
	one := policy.Policy{PBXToTeams: []policy.PBXRule{{When: *c, Set: policy.SetPresence{Pair: presence.Pair{Availability: presence.Busy, Activity: presence.InACall}}}}}
	return !one.ForTeams([]policy.Endpoint{ep}).IsZero()
}

func folded(list []string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, strings.ToLower(s))
	}
	return out
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
