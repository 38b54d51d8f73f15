package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"presencebridge/bridge"
	"presencebridge/bridge/console"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/explain"
	"presencebridge/bridge/presence"
)

// explainQuery is a [console.ExplainQuery] on its way to the owner. The zone goes as its name and its offset at the
// moment in question, because the owner may not know the name.
type explainQuery struct {
	At     time.Time `json:"at,omitzero"`
	Since  time.Time `json:"since,omitzero"`
	Zone   string    `json:"zone"`
	Offset int       `json:"offset"` // seconds east of UTC
}

// Explain implements console.Backend.
func (b *backend) Explain(ctx context.Context, account, key string, q console.ExplainQuery) (api.Explanation, error) {
	at := q.At
	if at.IsZero() {
		at = time.Now()
	}
	name, offset := at.In(q.Zone).Zone()
	r, err := b.ask(ctx, account, command{Op: "explain", Key: key, Explain: &explainQuery{At: q.At, Since: q.Since, Zone: name, Offset: offset}})
	if err != nil || r.Explanation == nil {
		return api.Explanation{}, err
	}
	return *r.Explanation, nil
}

// explain says why a member looks as they do, or looked at some moment.
func (a *account) explain(ctx context.Context, key string, q explainQuery) (*api.Explanation, error) {
	who, err := a.lookUp(key)
	if err != nil {
		return nil, err
	}
	out := &api.Explanation{Account: a.name, Member: who.id, UPN: who.upn, Name: who.name, History: a.app.opts.Config.History > 0}
	in := explain.Input{
		Now: time.Now(), At: q.At, Since: q.Since, Zone: time.FixedZone(q.Zone, q.Offset), Account: a.name, History: a.app.opts.Config.History,
		Name: cmp.Or(who.name, who.upn, who.id) + " <" + cmp.Or(who.upn, who.mail, who.id) + ">", Labels: map[string]string{},
	}
	if who.unmatched != nil {
		in.Coverage = []string{string(presence.CoverageUnmatched), who.unmatched.Reason.Text()}
		return fillExplanation(out, in), nil
	}
	v, ok := a.engine.Find(who.id)
	if !ok {
		return nil, fail("not_found", "%s has just left the account %s", who.upn, a.name)
	}
	m := a.memberOf(v)
	in.Excluded = v.Member.Excluded || v.Record.Excluded || m.Coverage == presence.CoverageExcluded
	in.Coverage = append([]string{string(m.Coverage)}, m.CoverageReasons...)
	in.States = v.Record.States()
	for _, ep := range m.Endpoints {
		id := presence.EndpointID{PBX: ep.PBX, User: ep.User}
		in.Labels[bridge.EndpointSideName(id)] = fmt.Sprintf("phone %s on %s", cmp.Or(ep.Extension, ep.User), ep.PBX)
	}
	if !in.Excluded {
		if in.Decisions, err = a.decisions(ctx, who.id, in.Now.Add(-in.History)); err != nil {
			return nil, err
		}
	}
	return fillExplanation(out, in), nil
}

// decisions reads what is recorded about a member. What an older bridge has recorded differently is left out.
func (a *account) decisions(ctx context.Context, member string, since time.Time) ([]bridge.Decision, error) {
	var out []bridge.Decision
	if a.app.opts.Config.History <= 0 {
		return nil, nil
	}
	err := a.app.bus.Decisions(ctx, a.name, member, since, func(_ time.Time, data []byte) error {
		var d bridge.Decision
		if json.Unmarshal(data, &d) == nil && len(d.Sides) > 0 {
			out = append(out, d)
		}
		return nil
	})
	return out, err
}

// fillExplanation explains, and writes it as the API does.
func fillExplanation(out *api.Explanation, in explain.Input) *api.Explanation {
	e := explain.Explain(in)
	out.At, out.Excluded, out.Coverage, out.Text = e.At.UTC(), in.Excluded, e.Coverage, e.Text
	out.Waiting, out.Remarks = e.Waiting, e.Remarks
	for i := range e.Sides {
		out.Sides = append(out.Sides, explainedSide(&e.Sides[i]))
	}
	for _, entry := range e.Chain[max(0, len(e.Chain)-api.MaxChain):] {
		out.Chain = append(out.Chain, api.ExplainedEvent{At: entry.At.UTC(), Kind: string(entry.Event), Side: entry.Side, Text: entry.Text})
	}
	return out
}

func explainedSide(s *explain.Side) api.ExplainedSide {
	st := &s.State
	out := api.ExplainedSide{
		Side: st.Side, Label: s.Label, Known: st.Known, Line: string(st.Line), Shown: st.Shown, Organic: st.Organic, Since: s.Since,
		Because: words(st.Because), Sentences: s.Sentences, Assertion: assertionView(st.Assertion),
		Competing: competingView(st.ContestedSince, st.ContestedUntil),
	}
	if o := st.Override; o != nil {
		out.Override = &api.Override{Of: o.Of, Since: o.Since}
	}
	return out
}

// assertionView is an assertion as the API shows it.
func assertionView(a *bridge.AssertionState) *api.Assertion {
	if a == nil {
		return nil
	}
	return &api.Assertion{
		Value: a.Value, Class: string(a.Class), Phase: string(a.Phase), Since: a.Since, Until: a.Until, Previous: a.Previous, From: a.From,
		Masked: !a.MaskedSince.IsZero(), MaskedBy: a.MaskedBy, MaskedSince: a.MaskedSince,
	}
}
