package explore

import (
	"fmt"

	"presencebridge/bridge"
	"presencebridge/bridge/presence"
)

// people is what the member may do now.
func (m *mover) people() {
	s, w := m.from, m.x.world
	for c := range w.clientSessions {
		for _, v := range w.clients {
			if v == s.clients[c] {
				continue
			}
			m.move(person, m.text("the person's Teams client %d: %s", c+1, m.x.w.pairs[v]), func(t *turn) {
				t.inTeams(func(s *state) { s.clients[c] = v })
			})
		}
	}
	for _, v := range w.preferences {
		if v == s.preferred {
			continue
		}
		m.move(person, m.text("the preferred presence becomes %s (unknown: it expires)", m.x.w.pairs[v]), func(t *turn) { t.prefer(v) })
	}
	for i := range m.x.e.ids {
		m.peopleOnPhone(i)
	}
	m.messagesOfPeople()
	if w.directions {
		for _, d := range []presence.Directions{presence.TeamsToPBX, presence.PBXToTeams} {
			m.move(person, m.text("the member opts out of %s: %t", d, !s.out.Has(d)), func(t *turn) {
				t.s.out ^= d
				t.member()
			})
		}
	}
	if w.optOut {
		m.move(person, m.text("the member opts out: %t", !s.excluded), func(t *turn) {
			t.s.excluded = !t.s.excluded
			for i := range t.s.ep { // nothing is kept of who opted out
				t.s.ep[i].untold, t.s.ep[i].learnt = false, false
			}
			t.member()
		})
	}
}

func (m *mover) text(format string, args ...any) string {
	if !m.x.telling {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

func (t *turn) prefer(v pair) {
	t.inTeams(func(s *state) { s.preferred = v })
	for i := range t.s.ep { // chosen today, though perhaps only our session makes it show
		t.s.ep[i].everWant |= 1 << t.x.w.toPBX[v]
	}
}

func (m *mover) peopleOnPhone(i int) {
	p, w := &m.from.ep[i], m.x.world
	for _, l := range w.lines {
		if l == p.is.line {
			continue
		}
		m.move(person, m.text("phone %d: the line is %s", i+1, m.x.w.lines[l]), func(t *turn) {
			p := &t.s.ep[i]
			p.is.line = l
			if w.lineVersions {
				p.is.ver++
			}
			t.remember()
			t.happened(p)
		})
	}
	for _, st := range w.picks {
		if !m.x.traceless(m.from, i, st) {
			m.move(person, m.text("phone %d: the person picks %s", i+1, m.x.w.statuses[st]), func(t *turn) { t.pick(i, st) })
		}
	}
	if w.moves && p.n == 0 { // the directory is slower than an event
		m.move(person, m.text("phone %d moves to somebody else: %t", i+1, !p.moved), func(t *turn) {
			p := &t.s.ep[i]
			p.moved, p.untold, p.learnt = !p.moved, false, false // nothing is kept of an endpoint that went
			t.member()
		})
	}
}

// member tells the engine who the member is.
func (t *turn) member() {
	ev := event{kind: evMember, fresh: t.s.excluded, chg: uint8(t.s.out)}
	for i := range t.x.e.ids {
		if !t.s.ep[i].moved {
			ev.ver |= 1 << i
		}
	}
	t.step(ev)
}

// faults is what may go wrong now.
func (m *mover) faults() {
	s, f := m.from, m.x.world.faults
	n := s.pushed()
	if f.lose {
		for i := range n {
			m.move(fault, "a notification of Teams is lost", func(t *turn) { t.s.takePush(i) })
		}
	}
	if f.reorder {
		for i := 1; i < n; i++ {
			m.move(fault, "a notification of Teams overtakes another", func(t *turn) { t.deliverPush(i, false) })
		}
	}
	if f.double && n > 0 {
		m.move(fault, "a notification of Teams arrives, and will arrive again", func(t *turn) { t.deliverPush(0, true) })
	}
	if f.fail {
		m.teamsFails()
	}
	if f.showLate && s.write.on && s.seen != s.write.pair {
		m.move(fault, "Teams answers the write, but shows it late", func(t *turn) { t.answerWrite(true) })
	}
	if f.cut && !s.down {
		m.move(fault, "Teams is cut off for a lease", func(t *turn) {
			t.s.down, t.s.pushes = true, [maxPushes]pair{}
			t.step(event{kind: evTeamsUnseen})
		})
	}
	if f.unseen {
		m.move(fault, "Teams is out of sight for a lease", func(t *turn) { t.step(event{kind: evTeamsUnseen}) })
	}
	for i := range m.x.e.ids {
		m.pbxFaults(i)
	}
}

func (m *mover) teamsFails() {
	if m.from.read.way != 0 {
		m.move(fault, "the read of Teams fails", (*turn).failTeamsRead)
	}
	if !m.from.write.on {
		return
	}
	fail := (*turn).failTeamsWrite
	m.move(fault, "the write to Teams fails, though it landed", func(t *turn) {
		t.land(t.s.write, false, false)
		fail(t)
	})
	m.move(fault, "the write to Teams fails, and may land yet", func(t *turn) {
		t.blocked = t.s.late.on
		t.s.late = t.s.write
		fail(t)
	})
}

func (m *mover) pbxFaults(i int) {
	p, f := &m.from.ep[i], m.x.world.faults
	if p.n > 0 && f.lose {
		m.move(fault, "an event of the PBX is lost", func(t *turn) { t.s.ep[i].pop() })
	}
	if p.n > 0 && f.double {
		m.move(fault, "an event of the PBX arrives, and will arrive again", func(t *turn) { t.deliverEvent(i, true) })
	}
	if p.read.way != 0 && f.fail {
		m.move(fault, "the read of the PBX fails", func(t *turn) { t.failRead(i) })
	}
	if p.write.on && f.fail {
		fail := func(t *turn) {
			fresh := t.s.ep[i].write.fresh
			t.s.ep[i].write = pbxWrite{}
			t.step(event{kind: evAnswered, ep: uint8(i), fresh: fresh, outcome: bridge.Unanswered})
		}
		m.move(fault, "the write to the PBX fails, though it landed", func(t *turn) {
			t.overwrite(i, t.s.ep[i].write, false)
			fail(t)
		})
		m.move(fault, "the write to the PBX fails, and may land yet", func(t *turn) {
			t.blocked = t.s.ep[i].landing.on
			t.s.ep[i].landing = t.s.ep[i].write
			fail(t)
		})
	}
	if p.write.on && f.refuse {
		m.move(fault, "the PBX refuses the write", func(t *turn) {
			fresh := t.s.ep[i].write.fresh
			t.s.ep[i].write = pbxWrite{}
			t.step(event{kind: evAnswered, ep: uint8(i), fresh: fresh, outcome: bridge.Refused})
		})
	}
	if p.write.on && f.showLate && !p.down {
		m.move(fault, "the PBX answers the write, but shows it late", func(t *turn) { t.answerPBX(i, true) })
	}
	if f.down && !p.down {
		m.move(fault, "the PBX is out of sight for a lease", func(t *turn) {
			p := &t.s.ep[i]
			p.down, p.n, p.events = true, 0, [maxEvents]seenAs{}
			t.step(event{kind: evUnseen, ep: uint8(i)})
		})
	}
}

// crashes: the bridge dies, and another process goes on with what is stored.
func (m *mover) crashes() {
	m.move(crash, "the bridge dies and starts anew", func(t *turn) { t.crash(false) })
	if e := &m.x.e.recs[m.from.rec]; e.stands != noPair && !m.from.write.on && !m.from.late.on {
		m.move(crash, "another replica takes over while a renewal leaves the old one", func(t *turn) { t.crash(true) })
	}
}

func (t *turn) crash(renewing bool) {
	s := &t.s
	if renewing {
		s.late = teamsWrite{on: true, renew: true, pair: t.x.e.recs[s.rec].stands}
	}
	if s.write.on {
		s.late, s.write = s.write, teamsWrite{}
		s.late.fresh = false
	}
	s.read, s.readPair = flight{}, noPair
	s.aging = s.aging || s.session != noPair // nobody renews while the bridge is dead
	for i := range t.x.e.ids {
		p := &s.ep[i]
		if p.write.on {
			p.landing, p.write = p.write, pbxWrite{}
			p.landing.fresh = false
		}
		p.read, p.readAs, p.n, p.events = flight{}, seenAs{}, 0, [maxEvents]seenAs{}
		p.untold = p.untold && s.saved != 0 && t.x.e.recs[s.saved].eps[i].own != noStatus
	}
	if s.rec = s.saved; s.rec == 0 {
		s.rec = t.x.first
	}
	t.step(event{kind: evRecovered})
	t.member()
}
