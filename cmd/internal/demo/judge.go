package demo

import (
	"fmt"
	"time"

	"presencebridge/bridge/pbx/pbxsim"
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
	s       subject
	state   graphsim.State
	phone   pbxsim.Presence
	chosen  presence.Status // picked by hand, last
	shows   presence.Status
	organic presence.Pair
	shown   presence.Pair
	session presence.Pair // ours in Teams
	hidden  bool          // our session shows: what lies under it cannot be seen (R2)
	woken   bool          // our session woke a stored preference (R5)
}

// disagreements compares every member on both sides.
func (s *stage) disagreements() []disagreement {
	var out []disagreement
	for _, p := range s.people {
		k, err := s.know(p.ID, p.Phone)
		if err != nil {
			out = append(out, disagreement{Member: p.Mail, Side: "both", Reason: err.Error(), kind: faultOther})
			continue
		}
		for _, d := range []*disagreement{s.judgePhone(k), s.judgeTeams(k)} {
			if d != nil {
				d.Member = p.Mail
				out = append(out, *d)
			}
		}
	}
	return out
}

func (s *stage) know(id, phone string) (*knowledge, error) {
	state, ok := s.graph.State(id)
	if !ok {
		return nil, fmt.Errorf("the tenant does not know %s", id)
	}
	pres, err := s.pbx.Presence(phone)
	if err != nil {
		return nil, err
	}
	chosen, err := s.pbx.Chosen(phone)
	if err != nil {
		return nil, err
	}
	k := &knowledge{
		s: s.watch.subject(id), state: state, phone: pres, chosen: s.watch.known(chosen), shows: s.watch.known(pres.Status),
		organic: pair(state.Organic), shown: pair(state.Shown),
	}
	if state.App != nil {
		k.session = pair(state.App.Pair)
		k.hidden = k.shown == k.session
		k.woken = k.organic.IsOffline() && !k.hidden && !k.shown.IsOffline()
	}
	return k, nil
}

func pair(p graphsim.Pair) presence.Pair { return presence.ParsePair(p.Availability, p.Activity) }

func (w *watcher) subject(id string) subject {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *w.byID[id]
}

func (w *watcher) known(name string) presence.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status(name)
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
func (s *stage) judgePhone(k *knowledge) *disagreement {
	bad := func(kind fault, format string, args ...any) *disagreement {
		return &disagreement{Side: "phone", kind: kind, Reason: fmt.Sprintf(format, args...)}
	}
	var want policy.PBXWant
	if !k.hidden {
		want = s.policy.ForPBX("main", s.watch.catalogue, policy.TeamsState{Pair: k.shown})
	}
	own := k.shows.Same(k.chosen)
	switch {
	case k.woken && (own || (!want.IsZero() && k.shows.Same(want.Status))):
		// Only our session keeps a stored preference showing. Where it showed before the person left, nothing that can
		// be seen tells the two apart (bridge/DESIGN.md); it ends with our session.
		return nil
	case own && (want.IsZero() || k.chosen.Same(want.Status)):
		return nil
	case want.IsZero():
		return bad(faultStuck, "Teams shows %s, which asks for nothing, but the phone shows %s, not the %s that was chosen", k.shown, k.shows, k.chosen)
	case policy.OfClass(want.Class) <= policy.OfKind(k.chosen.Kind):
		if own {
			return nil
		}
		return bad(faultStuck, "the chosen %s ranks as high as %s, but the phone shows %s", k.chosen, want.Status, k.shows)
	case k.shows.Same(want.Status):
		if k.s.picked.After(k.s.wantFrom.Add(s.race())) {
			return bad(faultOther, "%s was chosen by hand at %s, during %s, but the phone shows %s", k.chosen,
				k.s.picked.Format("15:04:05"), k.shown, k.shows)
		}
		return nil
	case !own:
		return bad(faultOther, "Teams shows %s, the person chose %s, but the phone shows %s", k.shown, k.chosen, k.shows)
	case k.session.IsZero() && k.s.wantFrom.After(k.s.picked.Add(s.race())):
		return bad(faultLost, "Teams shows %s since %s, which asks for %s, but the phone shows %s", k.shown,
			k.s.wantFrom.Format("15:04:05"), want.Status, k.shows)
	default:
		return nil // chosen by hand during it: an override
	}
}

// judgeTeams: our session shows what policy makes of the phone, unless the person's own state is that already or
// ranks as high.
func (s *stage) judgeTeams(k *knowledge) *disagreement {
	own := k.chosen
	if !k.shows.Same(k.chosen) {
		own = presence.Status{} // ours shows on the phone: what lies beneath does not cross (R3)
	}
	want := s.policy.ForTeams([]policy.Endpoint{{ID: presence.EndpointID{PBX: "main"}, Line: presence.Line(k.phone.Line), Status: own}})
	switch {
	case k.session == want.Pair:
		return nil
	case want.IsZero():
		return &disagreement{Side: "teams", kind: faultStuck, Reason: fmt.Sprintf("the phone shows %s, %s, which asks for nothing, but our session shows %s",
			k.phone.Line, k.shows, k.session)}
	case k.session.IsZero() && k.organic == want.Pair:
		return nil
	case k.session.IsZero() && want.Class != presence.ClassCall && policy.OfPair(k.organic) >= policy.OfClass(want.Class):
		return nil
	default:
		return &disagreement{Side: "teams", kind: faultLost, Reason: fmt.Sprintf("the phone shows %s, %s, which asks for %s, the person's own is %s, but our session shows %s",
			k.phone.Line, k.shows, want.Pair, k.organic, k.session)}
	}
}
