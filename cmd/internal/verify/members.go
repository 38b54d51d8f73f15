package verify

import (
	"fmt"
	"slices"
	"strings"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/presence"
	"presencebridge/graph"
)

// checkMonitors judges each configured monitor by what the running bridge knows.
func checkMonitors(t *tenant) []Check {
	const name = "monitor"
	upns := t.upns()
	if len(upns) == 0 {
		if t.clientErr == nil && !t.cloud.Subscriptions {
			return []Check{skipped(name, "", "the cloud %s has no presence subscriptions; everybody is polled", t.cfg.Graph.Cloud)}
		}
		return []Check{skipped(name, "", "there is none; everybody is polled")}
	}
	var out []Check
	for _, upn := range upns {
		if t.monitorsErr != nil {
			out = append(out, skipped(name, upn, "state and scopes: %v", t.monitorsErr))
			continue
		}
		places := t.places(upn)
		if len(places) == 0 {
			out = append(out, checkMonitor(name, upn, nil, t))
		}
		for _, m := range places {
			shown := upn
			if m.ClientID != "" {
				shown += ", application " + m.ClientID
			}
			out = append(out, checkMonitor(name, shown, m, t))
		}
	}
	return out
}

// upns are the monitors: the configured ones, and those that were added while the bridge runs.
func (t *tenant) upns() []string {
	upns := t.cfg.MonitorUPNs()
	for i := range t.monitors {
		m := &t.monitors[i]
		known := slices.ContainsFunc(upns, func(upn string) bool { return strings.EqualFold(upn, m.UPN) })
		if m.State != "retired" && !known {
			upns = append(upns, m.UPN)
		}
	}
	return upns
}

// places are what the running bridge says of a monitor: one for each application of the account.
func (t *tenant) places(upn string) (out []*api.Monitor) {
	for i := range t.monitors {
		if strings.EqualFold(t.monitors[i].UPN, upn) {
			out = append(out, &t.monitors[i])
		}
	}
	return out
}

func checkMonitor(name, upn string, m *api.Monitor, t *tenant) Check {
	if m == nil {
		return warning(name, upn, "restart the bridge with this configuration", "the running bridge does not know it")
	}
	authorize := "presence-bridge monitors authorize " + upn
	if m.ClientID != "" {
		authorize = "presence-bridge monitors authorize " + m.UPN + " --application " + m.ClientID
	}
	remedy := m.Remedy
	if remedy == "" {
		remedy = authorize
	}
	said := strings.TrimSpace(strings.Join([]string{m.Code, m.Text}, " "))
	switch m.State {
	case "authorized":
		return authorized(name, upn, m, t)
	case "unset":
		return failed(name, upn, authorize, "nobody has signed in for it yet")
	case "authorizing":
		if b := m.Before; b != nil && b.State != "unset" {
			return warning(name, upn, "finish the sign-in, or begin again: "+authorize, "a sign-in is under way; it is needed because %s", strings.TrimSpace(b.Code+" "+b.Text))
		}
		return warning(name, upn, "finish the sign-in, or begin again: "+authorize, "a sign-in is under way")
	case "needs_update":
		return failed(name, upn, remedy, "it was signed in for another tenant or application: %s", said)
	case "needs_attention":
		return failed(name, upn, remedy, "%s", said)
	case "retired":
		return warning(name, upn, "restart the bridge with this configuration", "the running bridge has retired it")
	}
	return warning(name, upn, "use verify of the same version as the bridge", "its state is %q: %s", m.State, said)
}

// authorized is a monitor that is signed in. Its scopes were compared with what is needed when it signed in: one whose
// token lacks one is refused then, and needs attention when a consent is revoked later.
func authorized(name, upn string, m *api.Monitor, t *tenant) Check {
	const scopes = "signed in, with the scope Presence.Read.All"
	switch {
	case m.Code != "":
		return warning(name, upn, m.Remedy, "signed in; %s", strings.TrimSpace(m.Code+" "+m.Text))
	case m.Subscription != nil && m.Subscription.ExpiresAt.After(t.site.now):
		return ok(name, upn, "%s; carries %d of %d members until %s, renewed before", scopes, m.Members, m.Capacity, clock(m.Subscription.ExpiresAt))
	case m.Members > 0:
		return warning(name, upn, "run verify again in a minute; the bridge's log says what keeps it", "%s; %d members, but no live subscription", scopes, m.Members)
	}
	return ok(name, upn, "%s; stands by without members", scopes)
}

// population is how many people take part.
type population struct {
	members  int // matched and not excluded
	excluded int
	people   int      // of the tenant, in all; 0 if not known
	phones   int      // without a person; 0 if not known
	unused   []string // exclusions that name nobody
	source   string
}

// count counts the members: those of the running bridge, otherwise by matching what both sides list. why is not empty
// if that is not possible.
func (t *tenant) count() (p population, why string) {
	if t.monitorsErr == nil {
		by := t.site.running.accounts[t.cfg.Name].Members
		return population{members: by[presence.CoveragePushed] + by[presence.CoveragePolled], excluded: by[presence.CoverageExcluded], source: "the running bridge has"}, ""
	}
	r, why := t.match()
	if why != "" {
		return p, why
	}
	p = population{source: "matching finds", people: t.people.Len(), phones: len(r.Endpoints) + len(r.Ambiguous), unused: r.UnusedExclusions}
	for i := range r.Members {
		if r.Members[i].Excluded {
			p.excluded++
		} else {
			p.members++
		}
	}
	return p, ""
}

// checkCapacity compares the members with the places that the monitors have.
func checkCapacity(t *tenant) []Check {
	const name = "capacity"
	p, why := t.count()
	if why != "" {
		return []Check{skipped(name, "", "%s", why)}
	}
	text := fmt.Sprintf("%s %d members", p.source, p.members)
	if p.people > 0 {
		text += fmt.Sprintf(" among %d people; %d endpoints have no person", p.people, p.phones)
	}
	if p.excluded > 0 {
		text += fmt.Sprintf("; %d are excluded", p.excluded)
	}
	var out []Check
	for _, upn := range p.unused {
		out = append(out, warning(name, "exclude", "correct or remove it", "%s names nobody", upn))
	}
	monitors := len(t.upns())
	each := graph.MaxPresences * len(t.cfg.Graph.ClientIDs())
	places, need := each*monitors, (p.members+each-1)/each
	switch {
	case p.members == 0:
		return append(out, warning(name, "", "enter each person's mail address or user principal name on the PBX", "%s: nobody is bridged", text))
	case t.clientErr == nil && !t.cloud.Subscriptions:
		return append(out, ok(name, "", "%s; the cloud %s has no subscriptions, so that all are polled", text, t.cfg.Graph.Cloud))
	case p.members > places:
		return append(out, warning(name, "", fmt.Sprintf("add monitors: %d in all, and one more as a spare", need),
			"%s for %d places (%d monitors with %d each): %d members are polled every %s instead of pushed",
			text, places, monitors, each, p.members-places, t.cfg.Sweep.PolledInterval))
	case need == monitors:
		return append(out, ok(name, "", "%s for %d places; there is no spare monitor, so that members are polled for a moment when their list changes", text, places))
	}
	return append(out, ok(name, "", "%s for %d places; spare monitors: %d", text, places, monitors-need))
}
