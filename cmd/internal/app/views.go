package app

import (
	"maps"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge"
	"presencebridge/bridge/console"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/directory"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
	"presencebridge/graph"
	"presencebridge/monitors"
)

// describe sums the account up.
func (a *account) describe() *api.Account {
	out := &api.Account{
		Name: a.name, TenantID: a.cfg.Graph.TenantID, Members: maps.Clone(a.monitors.Sums().ByCoverage), PBXs: []api.PBX{},
	}
	out.Mode, out.Coverage = a.cfg.Mode, a.coverageSum()
	a.describeCredentials(out, time.Now())
	conns := a.engine.Connections()
	for i := range a.cfg.PBX {
		p := &a.cfg.PBX[i]
		c := conns[p.Name]
		row := api.PBX{Name: p.Name, Type: p.Type, Connected: c.State == pbx.ConnConnected, SeenAt: a.engine.LastSeen(p.Name)}
		if !row.Connected {
			row.Detail = strings.TrimSpace(strings.Join([]string{string(c.State), c.Text, c.Remedy}, ". "))
		}
		for _, w := range c.Warnings {
			row.Detail = strings.TrimSpace(row.Detail + " " + w.Text + " " + w.Remedy)
		}
		out.PBXs = append(out.PBXs, row)
	}
	return out
}

// viewsAtATime is how many members are looked at together for a page.
const viewsAtATime = 500

// describeCredentials adds when the application's secrets and certificates end.
func (a *account) describeCredentials(out *api.Account, now time.Time) {
	known := a.monitors.Credentials()
	for _, c := range known.List {
		row := api.Credential{Kind: c.Kind, KeyID: c.KeyID, Name: c.Name, ExpiresAt: c.Expires, InUse: c.InUse, Text: c.Text(now), ClientID: c.ClientID, Monitors: c.Monitors}
		if within := c.EndsWithin(now); within >= 0 {
			row.EndsWithinDays = &within
		}
		out.Credentials = append(out.Credentials, row)
	}
	if p := known.Problem; p.Code != "" {
		out.CredentialsRemark = p.Text + "; " + p.Remedy
	}
}

// members is one page: members, and people without a counterpart, in order of their ids.
func (a *account) members(q console.MemberQuery) *api.Members {
	out := &api.Members{Members: []api.Member{}}
	others := a.dir.unmatched()
	at, _ := slices.BinarySearchFunc(others, q.After, func(p directory.Person, id string) int { return strings.Compare(p.ID, id) })
	others = others[at:]
	after, more := q.After, true
	var views []bridge.View
	for {
		if len(views) == 0 && more {
			views = a.engine.Views(after, viewsAtATime)
			more = len(views) == viewsAtATime
			if len(views) > 0 {
				after = views[len(views)-1].Member.ID
			}
		}
		var m api.Member
		switch {
		case len(views) > 0 && (len(others) == 0 || views[0].Member.ID <= others[0].ID):
			m, views = a.memberOf(views[0]), views[1:]
		case len(others) > 0:
			m, others = a.personOf(others[0]), others[1:]
		default:
			return out
		}
		if m.ID <= q.After || !matchesText(&m, q.Text) {
			continue
		}
		if len(out.Members) == q.Limit {
			out.Next = out.Members[len(out.Members)-1].ID
			return out
		}
		out.Members = append(out.Members, m)
	}
}

func matchesText(m *api.Member, text string) bool {
	if text == "" {
		return true
	}
	fields := []string{m.ID, m.UPN, m.Mail, m.Name}
	for i := range m.Endpoints {
		fields = append(fields, m.Endpoints[i].Extension, m.Endpoints[i].User)
	}
	text = strings.ToLower(text)
	return slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(strings.ToLower(f), text) })
}

// member finds one by id, UPN, mail or extension.
func (a *account) member(key string) (*api.Member, error) {
	who, err := a.lookUp(key)
	if err != nil {
		return nil, err
	}
	if who.unmatched != nil {
		m := a.personOf(*who.unmatched)
		return &m, nil
	}
	v, ok := a.engine.Find(who.id)
	if !ok {
		return nil, fail("not_found", "%s has just left the account %s", who.upn, a.name)
	}
	m := a.memberOf(v)
	return &m, nil
}

func (a *account) personOf(p directory.Person) api.Member {
	return api.Member{
		ID: p.ID, UPN: p.UPN, Mail: p.Mail, Name: p.Name, Coverage: presence.CoverageUnmatched, CoverageReasons: []string{p.Reason.Text()},
		Teams: api.Teams{OrganicState: "unknown", Because: []string{}}, Endpoints: []api.Endpoint{},
	}
}

func (a *account) memberOf(v bridge.View) api.Member {
	m := api.Member{
		ID: v.Member.ID, UPN: v.Member.UPN, Mail: v.Member.Mail, Name: v.Member.Name,
		Coverage: presence.CoverageUnmatched, Endpoints: []api.Endpoint{},
	}
	c, ok := a.monitors.Coverage(v.Member.ID)
	if ok {
		m.Coverage = c.Coverage
		if c.Text != "" {
			m.CoverageReasons = append(m.CoverageReasons, c.Text)
		}
		if c.Coverage == presence.CoveragePushed && c.Monitor != "" {
			m.CoverageReasons = append(m.CoverageReasons, "through the subscription of "+a.monitorName(c.Monitor))
		}
	}
	m.Teams = teamsView(&v.Record.Teams, c)
	for i := range v.Record.Endpoints {
		m.Endpoints = append(m.Endpoints, a.endpointView(&v.Record.Endpoints[i]))
	}
	return m
}

// monitorName is the UPN of a monitor.
func (a *account) monitorName(id string) string {
	if upn, found := a.monitors.Name(id); found {
		return upn
	}
	return id
}

func teamsView(t *bridge.TeamsSide, c monitors.Cover) api.Teams {
	out := api.Teams{
		Shown: t.Shown, Organic: t.Organic, OrganicState: string(t.OrganicState), SeenAt: c.Confirmed, Because: words(t.Because),
	}
	if out.OrganicState == "" {
		out.OrganicState = "unknown"
	}
	if as := t.Assertion; as != nil {
		out.Assertion = assertionView(t.State().Assertion)
		out.Assertion.From = as.From.String()
	}
	if t.Write != nil {
		out.Pending = append(out.Pending, pendingWrite(t.Write.Waiting))
	}
	if t.ReadOwed {
		out.Pending = append(out.Pending, "a read")
	}
	out.Would = wouldView(t.Would)
	out.Competing = competingView(t.ContestedSince, t.Timers.Contest)
	return out
}

func (a *account) endpointView(ep *bridge.EndpointSide) api.Endpoint {
	out := api.Endpoint{
		PBX: ep.ID.PBX, User: ep.ID.User, Extension: a.dir.extension(ep.ID), Known: ep.Seen, Line: ep.Line,
		Shown: ep.ShownStatus(), Organic: ep.Status, SeenAt: a.engine.LastSeen(ep.ID.PBX), Because: words(ep.Because),
	}
	if as := ep.Assertion; as != nil {
		out.Assertion = &api.Assertion{
			Value: as.Value.String(), Class: string(as.Class), Phase: string(as.Phase), Since: as.Since.UTC(), Previous: statusName(as.Previous),
		}
	}
	if o := ep.Override; o != nil {
		out.Override = &api.Override{Of: statusName(o.Of), Since: o.Since.UTC()}
	}
	if ep.Write != nil {
		out.Pending = append(out.Pending, pendingWrite(ep.Write.Waiting))
	}
	if ep.ReadOwed {
		out.Pending = append(out.Pending, "a read")
	}
	out.Would = wouldView(ep.Would)
	out.Competing = competingView(ep.ContestedSince, ep.Timers.Contest)
	return out
}

// statusName is a status by its name; "" for none.
func statusName(s presence.Status) string {
	if s.IsZero() {
		return ""
	}
	return s.String()
}

func wouldView(w *bridge.WouldBe) *api.Would {
	if w == nil {
		return nil
	}
	return &api.Would{Value: w.Value, Since: w.Since.UTC()}
}

// competingView says that another program fights over a side; nil while none does.
func competingView(since, until time.Time) *api.Competing {
	if since.IsZero() {
		return nil
	}
	return &api.Competing{Alert: api.AlertCompetingWriters, Since: since.UTC(), Until: until.UTC()}
}

func pendingWrite(waiting bool) string {
	if waiting {
		return "an unanswered write, until it can no longer land"
	}
	return "the answer to a write"
}

func words(rs []bridge.Reason) []string {
	out := make([]string, 0, len(rs))
	for _, r := range rs {
		out = append(out, string(r))
	}
	return out
}

// monitorList shows the monitors.
func (a *account) monitorList() []api.Monitor {
	out := []api.Monitor{}
	for _, in := range a.monitors.Monitors() {
		out = append(out, monitorView(in, len(a.graphs)))
	}
	return out
}

func monitorView(in monitors.Info, applications int) api.Monitor {
	m := api.Monitor{
		UPN: in.UPN, State: string(in.State), Since: in.Since, Code: in.Code, Text: in.Text, Remedy: in.Remedy, Added: in.Added,
		SignedInAt: in.SignedIn, Members: in.Members, Capacity: graph.MaxPresences,
	}
	m.OwnSecret, m.Misses, m.Remade = in.OwnSecret, in.Misses, remadeView(in.Remade)
	if applications > 1 && in.ClientID != "" {
		m.Application, m.ClientID = in.Application, in.ClientID
	}
	if b := in.Before; b != nil {
		m.Before = &api.MonitorState{State: string(b.State), Since: b.Since, Code: b.Code, Text: b.Text, Remedy: b.Remedy}
	}
	if m.Code == "" && in.Problem.Code != "" {
		m.Code, m.Text, m.Remedy = in.Problem.Code, in.Problem.Text, in.Problem.Remedy
	}
	if in.SubscriptionID != "" {
		m.Subscription = &api.Subscription{ID: in.SubscriptionID, ExpiresAt: in.Expires, RenewedAt: in.Renewed, HeardAt: in.Heard}
	}
	return m
}
