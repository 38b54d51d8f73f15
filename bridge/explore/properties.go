package explore

import (
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// What follows are the properties of the reconciliation, by the world's own knowledge. Each failure begins with the
// property's name.

// checkSet is "no phantom" and "opt-out" as a session of ours is set or renewed.
func (t *turn) checkSet(eff effect) {
	if t.s.everT&(1<<eff.pair) == 0 {
		t.fail("no phantom: the bridge asserts %s in Teams, of which the PBX never was the cause", t.x.w.pairs[eff.pair])
	}
	if t.s.excluded || t.s.out.Has(presence.PBXToTeams) {
		t.fail("opt-out: the bridge asserts %s in Teams for a member who opted out", t.x.w.pairs[eff.pair])
	}
}

// checkApply is "no phantom", "person wins" and "opt-out" as a write to an endpoint leaves.
func (t *turn) checkApply(eff effect) {
	s, p, w := &t.s, &t.s.ep[eff.ep], t.x.w
	b := &t.x.e.recs[s.rec].eps[eff.ep]
	gives := eff.status == noStatus || eff.status == p.chosen || eff.status == b.own || eff.status == b.previous
	if !gives && p.everWant&(1<<eff.status) == 0 {
		t.fail("no phantom: the bridge asserts %q on phone %d, of which Teams never was the cause", w.statuses[eff.status], eff.ep+1)
	}
	if !gives && (s.excluded || p.moved || s.out.Has(presence.TeamsToPBX)) {
		t.fail("opt-out: the bridge asserts %q on phone %d, which is none of its business any more", w.statuses[eff.status], eff.ep+1)
	}
	if p.learnt && t.x.world.rival == noRival && eff.status != noStatus && eff.status != p.chosen {
		t.fail("person wins: the bridge writes %q over %q, which the person chose on phone %d and the bridge had seen",
			w.statuses[eff.status], w.statuses[p.chosen], eff.ep+1)
	}
}

// learn follows what the engine knows of choices by hand, and is "own previous".
func (t *turn) learn(before *entry) {
	s, now := &t.s, &t.x.e.recs[t.s.rec]
	for i := range t.x.e.ids {
		p, b, was := &s.ep[i], &now.eps[i], &before.eps[i]
		if b.previous != noStatus && p.everOwn&(1<<b.previous) == 0 {
			t.fail("own previous: %q is stored as previous of phone %d, which the person never chose", t.x.w.statuses[b.previous], i+1)
		}
		switch {
		case p.untold && b.own == p.chosen && b.asserts == noStatus:
			p.untold, p.learnt = false, true
		case !b.pending && was.pending && (s.hides() || s.awake()):
			p.learnt = false // what is overridden could not be seen, only guessed (R17)
		}
	}
}

// hides tells whether the value of our session shows, so that the person's own cannot be seen.
func (s *state) hides() bool { return s.seen != noPair && s.shown() == s.seen }

// awake tells whether our session alone makes a stored preference show: nobody can tell whether the person is there.
func (s *state) awake() bool {
	return s.session != noPair && s.organic() == offline && s.shown() != offline && s.shown() == s.preferred
}

// agree is "agreement" of a state at rest.
func (x *explorer) agree(s *state, fail func(format string, args ...any)) {
	if rec := &x.e.recs[s.rec]; s.excluded && !rec.blank {
		fail("opt-out: at rest something is still kept of a member who opted out: %s", x.e.describe(s.rec))
	}
	switch {
	case x.world.rival != noRival: // with another program nobody can agree
		return
	case s.down: // for good, as far as anybody knows
		x.agreeUnseen(s, fail)
		return
	}
	for i := range x.e.ids {
		if !s.ep[i].down {
			x.agreeOnPhone(s, i, fail)
		}
	}
	x.agreeInTeams(s, fail)
	x.agreeOnMessages(s, fail)
}

// agreeUnseen is "agreement" while Teams is cut off: what cannot be seen asserts nothing (R4).
func (x *explorer) agreeUnseen(s *state, fail func(format string, args ...any)) {
	for i := range x.e.ids {
		if p := &s.ep[i]; !p.down && p.shows() != p.chosen {
			fail("agreement: at rest Teams is out of sight, but phone %d shows %q instead of the person's own %q", i+1,
				x.w.statuses[p.shows()], x.w.statuses[p.chosen])
		}
	}
}

func (x *explorer) agreeOnPhone(s *state, i int, fail func(format string, args ...any)) {
	p, w := &s.ep[i], x.w
	shows, own, want := p.shows(), p.chosen, w.toPBX[s.organic()]
	woken := s.session != noPair && x.e.recs[s.rec].woken == s.shown()
	switch {
	case s.excluded || p.moved || s.out.Has(presence.TeamsToPBX):
		if shows != own {
			fail("opt-out: at rest phone %d shows %q instead of the person's own %q", i+1, w.statuses[shows], w.statuses[own])
		}
	case s.awake():
	case shows == own && (s.hides() || woken || want == noStatus || want == own):
	case s.hides():
		fail("agreement: at rest what Teams shows is ours and means nothing, but phone %d shows %q instead of the person's own %q",
			i+1, w.statuses[shows], w.statuses[own])
	case want == noStatus:
		fail("agreement: at rest Teams is %s, which means nothing to phone %d, but it shows %q instead of the person's own %q",
			w.pairs[s.organic()], i+1, w.statuses[shows], w.statuses[own])
	case shows == want && x.world.sort == document: // it stood before the person chose what ranks higher
	case policy.OfClass(w.toPBXOf[s.organic()]) <= w.kindRank(own):
		if shows != own {
			fail("agreement: at rest the person's own %q on phone %d ranks as high as %q, but it shows %q",
				w.statuses[own], i+1, w.statuses[want], w.statuses[shows])
		}
	case shows == want:
	case shows == own && p.picked:
	default:
		fail("agreement: at rest Teams is %s, of which policy makes %q, but phone %d shows %q (the person's own is %q)",
			w.pairs[s.organic()], w.statuses[want], i+1, w.statuses[shows], w.statuses[own])
	}
}

func (x *explorer) agreeInTeams(s *state, fail func(format string, args ...any)) {
	w := x.w
	want := x.wantInTeams(s)
	organic := s.organic()
	outranks := w.classOf[want] != presence.ClassCall && w.rank[organic] >= policy.OfClass(w.classOf[want])
	switch {
	case want == noPair && s.session == noPair:
	case want == noPair && s.former && !s.hides(): // nobody has seen it, and it ends by itself
	case want == noPair && s.former && s.excluded: // nobody knows whose it is
	case want == noPair:
		fail("agreement: at rest nothing that shows on the PBX asks for it, but our session in Teams shows %s", w.pairs[s.session])
	case s.session == want || organic == want || outranks || s.awake():
	default:
		fail("agreement: at rest the PBX asks for %s, the person's own is %s, but our session in Teams shows %s",
			w.pairs[want], w.pairs[organic], w.pairs[s.session])
	}
}

// wantInTeams is what policy makes of the phones: their lines, and of their statuses what people chose and shows.
func (x *explorer) wantInTeams(s *state) pair {
	if s.excluded || s.out.Has(presence.PBXToTeams) {
		return noPair
	}
	var want pair
	for i := range x.e.ids {
		p := &s.ep[i]
		if p.down || p.moved {
			continue
		}
		own := p.chosen
		if p.is.status != own || p.doc != noStatus {
			own = noStatus // ours is on top: what lies beneath does not cross (R3)
		}
		// In the presets a call comes before a Do not disturb.
		if v := x.w.toTeams[p.is.line][own]; v == inCall || want == noPair {
			want = v
		}
	}
	return want
}
