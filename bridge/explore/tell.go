package explore

import (
	"fmt"
	"strings"

	"presencebridge/bridge"
	"presencebridge/bridge/pbx"
)

// Stories are for people who know phones and Teams, not the engine: what happens in the world, and after each event what the
// bridge then takes for true.

// opening is how things are when the bridge first meets the member.
func (x *explorer) opening(s *state) string {
	var b strings.Builder
	fmt.Fprintf(&b, "the bridge meets the member: their Teams client is %s", x.w.pairs[s.clients[0]])
	if s.preferred != noPair {
		fmt.Fprintf(&b, ", with %s stored as preferred presence", x.w.pairs[s.preferred])
	}
	if s.session != noPair {
		fmt.Fprintf(&b, ", and a session of a former life of the bridge shows %s", x.w.pairs[s.session])
	}
	p := &s.ep[0]
	fmt.Fprintf(&b, "; the phone's line is %s, its status %q", x.w.lines[p.is.line], x.w.statuses[p.is.status])
	if p.is.by == pbx.AuthorSelf {
		b.WriteString(", which a former life of the bridge wrote")
	}
	if p.landing.on {
		fmt.Fprintf(&b, ", and a write of %q of that life may still land", x.w.statuses[p.landing.status])
	}
	if s.tieOurs {
		b.WriteString("; of two Teams sessions of the same rank ours shows")
	}
	return b.String()
}

// describe is what the bridge takes for true.
func (e *engine) describe(id recID) string {
	r := &e.recs[id].rec
	if r.Wiped {
		return "it keeps nothing of the member"
	}
	parts := []string{describeTeams(&r.Teams)}
	for i := range r.Endpoints {
		ep := &r.Endpoints[i]
		n, _ := e.index(ep.ID)
		parts = append(parts, describePhone(ep, n+1))
	}
	return strings.Join(parts, "; ")
}

func describeTeams(t *bridge.TeamsSide) string {
	var b strings.Builder
	switch {
	case t.Shown.IsZero():
		b.WriteString("Teams is not known")
	case t.OrganicState == bridge.OrganicHidden:
		fmt.Fprintf(&b, "Teams shows %s by our doing, what the person has under it cannot be seen", t.Shown)
	case t.OrganicState == bridge.OrganicSeen:
		fmt.Fprintf(&b, "Teams shows %s, the person's own", t.Shown)
	case t.OrganicState == bridge.OrganicUnknown:
		fmt.Fprintf(&b, "Teams shows %s, whosever it is", t.Shown)
	}
	if a := t.Assertion; a != nil {
		fmt.Fprintf(&b, ", our session %s %s", a.Value, phaseWords(a.Phase))
	}
	if t.Write != nil && t.Write.Waiting {
		b.WriteString(", an order to Teams was not answered and is waited out")
	}
	var doubted []string
	for _, w := range t.Withdrawn {
		doubted = append(doubted, w.Value.String())
	}
	for _, f := range []struct {
		on   bool
		text string
	}{
		{len(doubted) > 0, strings.Join(doubted, " and ") + " would be believed after a direct read only"},
		{t.Purge, "what was last ordered is sent again first"}, {t.ReadOwed, "Teams has to be read"},
		{!t.Timers.Settle.IsZero(), "what was written may not show yet"}, {!t.Woken.IsZero(), t.Woken.String() + " counts as woken by our session"},
		{t.WokenOwed, "our session may have woken a stored preference"}, {t.Note != nil, "our message is there"},
		{t.Contested(), "another program fights over it, so it is left alone"},
	} {
		if f.on {
			b.WriteString(", " + f.text)
		}
	}
	return b.String()
}

func describePhone(ep *bridge.EndpointSide, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "phone %d ", n)
	if !ep.Seen {
		b.WriteString("is not known")
	} else {
		fmt.Fprintf(&b, "is %s", ep.Line)
	}
	if !ep.Status.IsZero() {
		fmt.Fprintf(&b, ", the person's own status %q", ep.Status)
	}
	if a := ep.Assertion; a != nil {
		fmt.Fprintf(&b, ", ours %q %s", a.Value, phaseWords(a.Phase))
		if !a.Previous.IsZero() {
			fmt.Fprintf(&b, ", afterwards %q is given back", a.Previous)
		}
	}
	if w := ep.Write; w != nil && w.Waiting {
		b.WriteString(", a write to it was not answered and is waited out")
	}
	if o := ep.Override; o != nil {
		fmt.Fprintf(&b, ", the person chose by hand against %q", o.Of)
	}
	if ep.ReadOwed {
		b.WriteString(", it has to be read")
	}
	if ep.Note != nil {
		b.WriteString(", our message is there")
	}
	if ep.Contested() {
		b.WriteString(", another program fights over it, so it is left alone")
	}
	return b.String()
}

func phaseWords(p bridge.Phase) string {
	switch p {
	case bridge.PhaseWriting:
		return "is being set"
	case bridge.PhaseStanding:
		return "stands"
	case bridge.PhaseWithdrawing:
		return "is being taken back"
	}
	return string(p)
}
