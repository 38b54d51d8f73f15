package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// checkPBXs says whether each PBX can be used.
func checkPBXs(t *tenant) []Check {
	const name = "pbx"
	var out []Check
	for _, p := range t.pbxs {
		by := ""
		if p.owned {
			by = "; the running bridge looked, over the session that it has"
		}
		switch {
		case p.left != "":
			out = append(out, skipped(name, p.cfg.Name, "%s gives a client one session at a time, and asking from here would end that of the running bridge, which cannot be asked: %s", p.cfg.URL, p.left))
		case p.err != nil:
			out = append(out, failed(name, p.cfg.Name, pbxRemedy(p.err), "%s: %v%s", p.cfg.URL, p.err, by))
		case errors.Is(p.usersErr, errNew):
			out = append(out, warning(name, p.cfg.Name, "run verify again in a minute", "%s can be used; its users were not listed yet%s", p.cfg.URL, by))
		case p.usersErr != nil && !p.owned:
			out = append(out, failed(name, p.cfg.Name, pbxRemedy(p.usersErr), "%s: its users cannot be listed: %v", p.cfg.URL, p.usersErr))
		case p.listed == 0:
			out = append(out, warning(name, p.cfg.Name, "give the client the right to see the users", "%s can be used, but lists no users%s", p.cfg.URL, by))
		default:
			out = append(out, ok(name, p.cfg.Name, "%s lists, reports and may be written to; %d users, %d statuses%s", p.cfg.URL, p.listed, len(p.statuses), by))
		}
		for _, w := range p.warnings {
			out = append(out, warning(name, p.cfg.Name, w.Remedy, "%s: %s", w.Code, w.Text))
		}
	}
	return out
}

// pbxRemedy is what the connector advises, or what is usual for such an error.
func pbxRemedy(err error) string {
	var typed *pbx.Error
	if errors.As(err, &typed) && typed.Remedy != "" {
		return typed.Remedy
	}
	switch pbx.KindOf(err) {
	case pbx.Unauthorised:
		return "put a valid token into token_file"
	case pbx.Refused, pbx.Gone:
		return "let the token's client list users and statuses, watch events and write presence; and compare the adapter with its interface (openapi.yaml)"
	case pbx.Throttled:
		return "allow more requests, and try again"
	case pbx.Conflict, pbx.Unanswered:
	}
	return "let this machine reach url: network, firewall, and ca_file for a certificate of its own authority"
}

// checkStatuses says whether each PBX offers what policy sets there.
func checkStatuses(t *tenant) []Check {
	const name = "status"
	if t.policyErr != nil {
		return []Check{skipped(name, "", "the policy cannot be read")}
	}
	var out []Check
	for _, p := range t.pbxs {
		if p.statusErr != nil {
			out = append(out, skipped(name, p.cfg.Name, "its statuses cannot be listed"))
			continue
		}
		out = append(out, offered(name, p, t.policy)...)
	}
	return out
}

// offered compares what the rules for one PBX set with its list.
func offered(name string, p *phone, rules *policy.Policy) []Check {
	catalogue := policy.Catalogue(p.statuses)
	var found, out []Check
	var sets []string
	for i := range rules.TeamsToPBX {
		r := &rules.TeamsToPBX[i]
		if !among(r.When.PBX, p.cfg.Name) || (r.Set.Name == "" && r.Set.Kind == presence.KindUnknown) {
			continue // another PBX's, or about the message alone
		}
		set := presence.Status{Name: r.Set.Name, Kind: r.Set.Kind}
		if st, there := catalogue.Find(set.Name); there {
			sets = append(sets, quote(st.Name))
			continue
		}
		if st, there := catalogue.OfKind(set.Kind); there && set.Kind != presence.KindUnknown {
			text := quote(st.Name)
			if set.Name != "" {
				text += " in place of " + quote(set.Name)
			}
			sets = append(sets, text)
			continue
		}
		out = append(out, warning(name, p.cfg.Name, "add the status to the PBX, or let the rule set one of: "+strings.Join(quoted(p.statuses), ", "),
			"status not offered: %s sets %s, which %s does not have: the rule sets nothing there", ruleName("teams_to_pbx", i, r.Line), describeStatus(set), p.cfg.Name))
	}
	if len(sets) > 0 {
		found = append(found, ok(name, p.cfg.Name, "it offers what policy sets: %s", strings.Join(slices.Compact(sets), ", ")))
	}
	if len(found)+len(out) == 0 {
		found = append(found, skipped(name, p.cfg.Name, "no rule sets a status there"))
	}
	return append(found, out...)
}

func describeStatus(s presence.Status) string {
	if s.Name == "" {
		return "a status of kind " + string(s.Kind)
	}
	return quote(s.Name)
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

func quoted(list []presence.Status) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, quote(s.Name))
	}
	return out
}

// among tells whether a list is empty or holds s, whatever the casing.
func among(list []string, s string) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
}

// ruleName is how a rule is called in configuration errors too.
func ruleName(direction string, i, line int) string {
	if line > 0 {
		return fmt.Sprintf("%s[%d] (line %d)", direction, i, line)
	}
	return fmt.Sprintf("%s[%d]", direction, i)
}
