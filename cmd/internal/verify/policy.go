package verify

import (
	"fmt"
	"slices"

	"presencebridge/bridge/policy"
)

// checkPolicy looks for rules that can never decide anything, with what the PBXs offer where they could be asked.
func checkPolicy(t *tenant) []Check {
	const name = "policy"
	if t.policyErr != nil {
		return []Check{failed(name, "", "correct the policy: presence-bridge config check", "%v", t.policyErr)}
	}
	site := policy.Site{PBX: map[string]policy.Catalogue{}}
	for _, p := range t.pbxs {
		site.PBX[p.cfg.Name] = nil
		if p.statusErr == nil {
			site.PBX[p.cfg.Name] = p.statuses
		}
	}
	var out []Check
	for _, f := range t.policy.Check(site) {
		if f.Code == policy.NotOffered {
			continue // checkStatuses says it
		}
		rule := f.Rule
		if f.Line > 0 {
			rule = fmt.Sprintf("%s (line %d)", rule, f.Line)
		}
		out = append(out, warning(name, rule, f.Remedy, "%s", f.Text))
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
