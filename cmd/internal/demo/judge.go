package demo

import (
	"fmt"
	"strings"
	"time"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/graph/graphsim"
)

// fault says what sort of disagreement it is.
type fault uint8

const (
	faultStuck fault = iota + 1 // something of ours shows without a cause
	faultLost                   // something should show and does not
	faultOther
)

// disagreement is one side of one member that is not as policy says.
type disagreement struct {
	Member string `json:"member"`
	Side   string `json:"side"`
	Reason string `json:"reason"`
	kind   fault
}

// knowledge is what the simulators know of one member.
type knowledge struct {
	phones  []phoneKnowledge
	state   graphsim.State
	organic presence.Pair
	shown   presence.Pair
	session presence.Pair // ours in Teams
	hidden  bool          // our session shows: what lies under it cannot be seen (R2)
	woken   bool          // our session woke a stored preference (R5)
}

// phoneKnowledge is what a simulated PBX knows of one phone.
type phoneKnowledge struct {
	h      handset
	line   presence.Line
	chosen presence.Status // picked by hand, last
	shows  presence.Status
}

// disagreements compares every member on both sides.
func (s *stage) disagreements() []disagreement {
	var out []disagreement
	for _, p := range s.people {
		k, err := s.know(p.ID)
		if err != nil {
			out = append(out, disagreement{Member: p.Mail, Side: "both", Reason: err.Error(), kind: faultOther})
			continue
		}
		for _, d := range s.judgeMember(k) {
			d.Member = p.Mail
			out = append(out, *d)
		}
	}
	return out
}

// judgeMember judges both sides of a member; where a PBX cannot tell which choice was the last, any of them may count.
func (s *stage) judgeMember(k *knowledge) []*disagreement {
	found := s.judgeSides(k)
	for i := range k.phones {
		chosen := k.phones[i].chosen
		for _, other := range k.phones[i].h.blind {
			if len(found) == 0 {
				return nil
			}
			k.phones[i].chosen = other
			if len(s.judgeSides(k)) == 0 {
				return nil
			}
		}
		k.phones[i].chosen = chosen
	}
	return found
}

func (s *stage) judgeSides(k *knowledge) []*disagreement {
	var found []*disagreement
	if d := s.judgeTeams(k); d != nil {
		found = append(found, d)
	}
	for i := range k.phones {
		if d := s.judgePhone(k, &k.phones[i]); d != nil {
			found = append(found, d)
		}
	}
	return found
}

func (s *stage) know(id string) (*knowledge, error) {
	state, ok := s.graph.State(id)
	if !ok {
		return nil, fmt.Errorf("the tenant does not know %s", id)
	}
	k := &knowledge{state: state, organic: pair(state.Organic), shown: pair(state.Shown)}
	for _, h := range s.watch.handsets(id) {
		shown, chosen, err := s.pbxNamed(h.pbx).Phone(h.user)
		if err != nil {
			return nil, err
		}
		k.phones = append(k.phones, phoneKnowledge{h: h, line: presence.Line(shown.Line), chosen: h.status(chosen), shows: h.status(shown.Status)})
	}
	if state.App != nil {
		k.session = pair(state.App.Pair)
		k.hidden = k.shown == k.session
		k.woken = k.organic.IsOffline() && !k.hidden && !k.shown.IsOffline()
	}
	return k, nil
}

func (s *stage) pbxNamed(name string) pbx {
	for _, p := range s.pbxs {
		if p.name == name {
			return p
		}
	}
	return pbx{}
}

func pair(p graphsim.Pair) presence.Pair { return presence.ParsePair(p.Availability, p.Activity) }

// handsets are a member's phones as they are now.
func (w *watcher) handsets(id string) []handset {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []handset
	for _, h := range w.byID[id].phones {
		out = append(out, *h)
	}
	return out
}

// race is how close together a choice on the phone and a change in Teams may be for either to count as the
// earlier one: the bridge cannot know which was (R17 goes by when it learnt of them).
func (s *stage) race() time.Duration {
	if s.cfg.Faults == "none" {
		return 2*sweepInterval + 10*time.Second
	}
	return 2*sweepInterval + 150*time.Second
}

// judgePhone: the phone shows what policy makes of Teams, or the person's own choice where that ranks as high, was
// made by hand over it, or nothing is wanted.
func (s *stage) judgePhone(k *knowledge, p *phoneKnowledge) *disagreement {
	bad := func(kind fault, format string, args ...any) *disagreement {
		return &disagreement{Side: p.h.pbx, kind: kind, Reason: fmt.Sprintf(format, args...)}
	}
	var want policy.PBXWant
	if !k.hidden {
		want = s.policy.ForPBX(p.h.pbx, p.h.catalogue, policy.TeamsState{Pair: k.shown})
	}
	own := p.shows.Same(p.chosen)
	switch {
	case k.woken && (own || (!want.IsZero() && p.shows.Same(want.Status))):
		// Only our session keeps a stored preference showing. Where it showed before the person left, nothing that can
		// be seen tells the two apart (bridge/DESIGN.md); it ends with our session.
		return nil
	case own && (want.IsZero() || p.chosen.Same(want.Status)):
		return nil
	case want.IsZero():
		return bad(faultStuck, "Teams shows %s, which asks for nothing, but the phone shows %s, not the %s that was chosen", k.shown, p.shows, p.chosen)
	case policy.OfClass(want.Class) <= policy.OfKind(p.chosen.Kind):
		if own {
			return nil
		}
		return bad(faultStuck, "the chosen %s ranks as high as %s, but the phone shows %s", p.chosen, want.Status, p.shows)
	case p.shows.Same(want.Status):
		if p.h.picked.After(p.h.wantFrom.Add(s.race())) {
			return bad(faultOther, "%s was chosen by hand at %s, during %s, but the phone shows %s", p.chosen,
				p.h.picked.Format("15:04:05"), k.shown, p.shows)
		}
		return nil
	case !own:
		return bad(faultOther, "Teams shows %s, the person chose %s, but the phone shows %s", k.shown, p.chosen, p.shows)
	case k.session.IsZero() && p.h.wantFrom.After(p.h.picked.Add(s.race())):
		return bad(faultLost, "Teams shows %s since %s, which asks for %s, but the phone shows %s", k.shown,
			p.h.wantFrom.Format("15:04:05"), want.Status, p.shows)
	default:
		return nil // chosen by hand during it: an override
	}
}

// judgeTeams: our session shows what policy makes of the phones, unless the person's own state is that already or
// ranks as high.
func (s *stage) judgeTeams(k *knowledge) *disagreement {
	var eps []policy.Endpoint
	var phones []string
	for _, p := range k.phones {
		own := p.chosen
		if !p.shows.Same(p.chosen) {
			own = presence.Status{} // ours shows on the phone: what lies beneath does not cross (R3)
		}
		eps = append(eps, policy.Endpoint{ID: presence.EndpointID{PBX: p.h.pbx}, Line: p.line, Status: own})
		phones = append(phones, fmt.Sprintf("%s shows %s, %s", p.h.pbx, p.line, p.shows))
	}
	want, shown := s.policy.ForTeams(eps), strings.Join(phones, "; ")
	switch {
	case k.session == want.Pair:
		return nil
	case want.IsZero():
		return &disagreement{Side: "teams", kind: faultStuck, Reason: fmt.Sprintf("%s, which asks for nothing, but our session shows %s", shown, k.session)}
	case k.session.IsZero() && k.organic == want.Pair:
		return nil
	case k.session.IsZero() && want.Class != presence.ClassCall && policy.OfPair(k.organic) >= policy.OfClass(want.Class):
		return nil
	default:
		return &disagreement{Side: "teams", kind: faultLost, Reason: fmt.Sprintf("%s, which asks for %s, the person's own is %s, but our session shows %s",
			shown, want.Pair, k.organic, k.session)}
	}
}
