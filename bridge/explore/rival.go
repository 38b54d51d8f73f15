package explore

import (
	"presencebridge/bridge"
	"presencebridge/bridge/pbx"
)

// rivals is another program that writes what we write, for reasons of its own, as fast as it can.
type rivals uint8

const (
	noRival rivals = iota
	onPhone        // it makes Available on the phone of what is busy in Teams, and Do not disturb of what is not
	inTeams        // it prefers Available in Teams while the phone shows a call, and nothing while it does not
)

func (r rivals) String() string {
	return [...]string{"no other program", "another program on the phone", "another program in Teams"}[r]
}

// rival is what the other program would do now, if it has not done so already.
func (x *explorer) rival(s *state) (what uint8, acts bool) {
	const calm, busy = 1, 2
	switch x.world.rival {
	case onPhone:
		if what = calm; precedence(s.shown()) > precedence(available) {
			what = busy
		}
	case inTeams:
		if what = calm; s.ep[0].shows() == stCall {
			what = busy
		}
	case noRival:
		return 0, false
	}
	return what, what != s.rivalSaw
}

func (m *mover) rivalActs() {
	what, acts := m.x.rival(m.from)
	if !acts {
		return
	}
	busy := what == 2
	if m.x.world.rival == inTeams {
		m.move(short, m.text("another program prefers Available in Teams: %t", busy), func(t *turn) {
			t.s.rivalSaw = what
			v := noPair
			if busy {
				v = available
			}
			t.prefer(v)
		})
		return
	}
	st := stDND
	if busy {
		st = stAvailable
	}
	m.move(short, m.text("another program writes %q to the phone", m.x.w.statuses[st]), func(t *turn) {
		t.s.rivalSaw = what
		if t.s.ep[0].is.status != st {
			t.pick(0, st)
			p := &t.s.ep[0]
			if p.is.by = pbx.AuthorOther; p.n > 0 {
				p.events[p.n-1] = t.x.said(p.is)
			}
		}
	})
}

// contestTimers: flips are counted anew when all is quiet, the other program included; that our writes begin again is counted
// like a fault, so that a fight is looked at a few times and not for ever.
func (m *mover) contestTimers(on uint16, ep int) {
	if on&(1<<bridge.TimerFlips) != 0 && m.x.quiet(m.from) {
		m.timer(long, bridge.TimerFlips, ep, "nothing came back for a while")
	}
	if on&(1<<bridge.TimerContest) != 0 && m.from.faults > 0 {
		m.timer(fault, bridge.TimerContest, ep, "we have stayed away long enough")
	}
}
