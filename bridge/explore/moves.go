package explore

import (
	"presencebridge/bridge"
)

// class says who makes a move.
type class uint8

const (
	short  class = iota // happens by itself, within seconds
	long                // happens by itself, in minutes or hours
	person              // somebody does something
	fault               // something goes wrong
	crash               // the process ends
)

// mover collects the ways on from one state.
type mover struct {
	x    *explorer
	from *state
	do   func(c class, t *turn)
}

// move makes one way on.
func (m *mover) move(c class, what string, change func(t *turn)) {
	t := turn{x: m.x, s: *m.from}
	switch c {
	case person:
		t.s.people--
	case fault:
		t.s.faults--
	case crash:
		t.s.crashes--
	case short, long:
	}
	if m.x.telling {
		t.text = append(t.text, what)
	}
	change(&t)
	if t.blocked {
		return
	}
	m.x.canonical(&t.s)
	m.do(c, &t)
}

// moves visits every way on from a state. The order never changes, so that a move is known by its number.
func (x *explorer) moves(from *state, do func(c class, t *turn)) {
	m := &mover{x: x, from: from, do: do}
	m.teamsDelivers()
	m.teamsTimers()
	for i := range x.e.ids {
		m.pbxDelivers(i)
		m.pbxTimers(i)
	}
	if from.people > 0 {
		m.people()
	}
	if from.faults > 0 {
		m.faults()
	}
	if from.crashes > 0 {
		m.crashes()
	}
}

func (m *mover) teamsDelivers() {
	s := m.from
	if s.pushes[0] != noPair {
		m.move(short, "a notification of Teams arrives", func(t *turn) { t.deliverPush(0, false) })
	}
	switch {
	case s.down && s.read.way != 0:
		m.move(short, "the read of Teams fails", (*turn).failTeamsRead)
	case s.read.way == 1 && m.x.world.slowReads:
		m.move(short, "Teams looks what to answer to the read", func(t *turn) { t.s.read.way, t.s.readPair = 2, t.s.shown() })
	case s.read.way == 1:
		m.move(short, "Teams answers the read", func(t *turn) { t.s.readPair = t.s.shown(); t.answerRead() })
	case s.read.way == 2:
		m.move(short, "the answer to the read of Teams arrives", (*turn).answerRead)
	}
	switch {
	case s.write.on && s.down:
		m.move(short, "the write to Teams fails: it is cut off", (*turn).failTeamsWrite)
	case s.write.on:
		m.move(short, "Teams answers the write", func(t *turn) { t.answerWrite(false) })
	}
	if s.late.on {
		m.move(short, "a late write lands in Teams", func(t *turn) {
			wr := t.s.late
			t.s.late = teamsWrite{}
			t.land(wr, false, false)
		})
		m.move(short, "a late write to Teams never lands", func(t *turn) { t.lost() })
	}
	if s.lag {
		m.move(short, "what we wrote shows in Teams", func(t *turn) {
			t.inTeams(func(s *state) { s.lag, s.seen = false, s.session })
		})
	}
	switch {
	case s.down:
		m.move(long, "Teams is back in sight, and swept", func(t *turn) {
			t.s.down = false
			t.sweepTeams()
		})
	case !m.x.world.noSweeps || !m.x.e.recs[s.rec].seen: // the first look is no sweep
		m.move(short, "Teams is swept", (*turn).sweepTeams)
	}
	m.messagesInTeams()
	m.rivalActs()
	if s.session != noPair && (s.former || s.aging) {
		m.move(long, "our session in Teams ends by itself", func(t *turn) {
			t.inTeams(func(s *state) { s.session, s.seen, s.lag = noPair, noPair, false })
		})
	}
}

func (t *turn) sweepTeams() {
	t.step(event{kind: evSwept, pair: t.s.shown(), msg: t.s.messageShown(), fresh: true})
}

func (t *turn) failTeamsRead() {
	t.s.read, t.s.readPair = flight{}, noPair
	t.step(event{kind: evTeamsReadFailed})
}

func (t *turn) failTeamsWrite() {
	fresh := t.s.write.fresh
	t.s.write = teamsWrite{}
	if t.s.down && t.s.session != noPair {
		t.s.aging = true
	}
	t.step(event{kind: evTeamsAnswered, fresh: fresh, outcome: bridge.Unanswered})
}

// lost: a write that was on its way never lands.
func (t *turn) lost() {
	if t.s.late.pair != noPair && t.s.session != noPair {
		t.s.aging = true
	}
	t.s.late = teamsWrite{}
}

func (t *turn) deliverPush(i int, keep bool) {
	p := t.s.pushes[i]
	if !keep {
		t.s.takePush(i)
	}
	t.say("it says %s", t.x.w.pairs[p])
	t.step(event{kind: evPushed, pair: p})
}

func (t *turn) answerRead() {
	ev := event{kind: evTeamsRead, pair: t.s.readPair, msg: t.s.messageShown(), fresh: t.s.read.fresh}
	t.say("it shows %s", t.x.w.pairs[ev.pair])
	t.s.read, t.s.readPair = flight{}, noPair
	t.step(ev)
}

func (t *turn) answerWrite(late bool) {
	wr := t.s.write
	t.s.write = teamsWrite{}
	t.land(wr, true, late)
	t.step(event{kind: evTeamsAnswered, fresh: wr.fresh, outcome: bridge.Answered})
}

func (m *mover) timer(c class, kind bridge.TimerKind, ep int, what string) {
	m.move(c, what, func(t *turn) { t.step(event{kind: evTimer, timer: kind, ep: uint8(ep)}) })
}

func (m *mover) teamsTimers() {
	s, r := m.from, &m.x.e.recs[m.from.rec]
	on := func(k bridge.TimerKind) bool { return r.teams&(1<<k) != 0 }
	if on(timerSettle) && !s.lag {
		m.timer(short, timerSettle, 0, "the fence after the write to Teams is over")
	}
	if on(timerDeadline) && !s.write.on && !s.late.on && !s.lag {
		m.timer(short, timerDeadline, 0, "the unanswered write to Teams can no longer land")
	}
	if on(timerRetry) {
		m.timer(short, timerRetry, 0, "the read of Teams may be tried again")
	}
	if on(bridge.TimerRenew) && !on(timerSettle) {
		m.timer(long, bridge.TimerRenew, 0, "half of the lease in Teams is over")
	}
	if on(bridge.TimerLapse) && !on(bridge.TimerRenew) && !on(timerSettle) && (s.session == noPair || s.unacked) {
		m.timer(long, bridge.TimerLapse, 0, "the lease in Teams is over, by the bridge's reckoning")
	}
	if on(bridge.TimerNote) {
		m.timer(short, bridge.TimerNote, 0, "the request about the message in Teams is over")
	}
	if on(bridge.TimerNoteRenew) && !on(bridge.TimerNote) {
		m.timer(long, bridge.TimerNoteRenew, 0, "half of the time of our message in Teams is over")
	}
	m.contestTimers(r.teams, 0)
	if !m.x.quiet(s) {
		return
	}
	if on(bridge.TimerWokenEnd) {
		m.timer(long, bridge.TimerWokenEnd, 0, "one lease after the assertion's end")
	}
	if on(bridge.TimerForget) && !on(bridge.TimerWokenEnd) && !s.former {
		m.timer(long, bridge.TimerForget, 0, "hours later: the values that were withdrawn are forgotten")
	}
}

func (m *mover) pbxDelivers(i int) {
	p := &m.from.ep[i]
	if p.n > 0 {
		m.move(short, "an event of the PBX arrives", func(t *turn) { t.deliverEvent(i, false) })
	}
	if p.read.way != 0 {
		m.pbxRead(i)
	}
	if p.write.on {
		m.move(short, "the PBX answers the write", func(t *turn) { t.answerPBX(i, false) })
	}
	if p.landing.on {
		m.move(short, "a late write lands at the PBX", func(t *turn) {
			wr := t.s.ep[i].landing
			t.s.ep[i].landing = pbxWrite{}
			t.overwrite(i, wr, false)
		})
		m.move(short, "a late write to the PBX never lands", func(t *turn) { t.s.ep[i].landing = pbxWrite{} })
	}
	if p.late {
		m.move(short, "what we wrote shows at the PBX", func(t *turn) { t.s.ep[i].late, t.s.ep[i].was = false, seenAs{} })
	}
	switch {
	case p.down:
		m.move(long, "the PBX is back in sight, and read through", func(t *turn) {
			t.s.ep[i].down = false
			t.snapshot(i)
		})
	case !m.x.world.noSweeps || !m.x.e.recs[m.from.rec].eps[i].seen:
		m.move(short, "the PBX is read through", func(t *turn) { t.snapshot(i) })
	}
}

func (m *mover) pbxRead(i int) {
	p := &m.from.ep[i]
	switch {
	case p.down:
		m.move(short, "the read of the PBX fails", func(t *turn) { t.failRead(i) })
	case p.read.way == 1 && m.x.world.slowReads:
		m.move(short, "the PBX looks what to answer to the read", func(t *turn) {
			p := &t.s.ep[i]
			p.read.way, p.readAs = 2, t.x.reads(p)
		})
	default:
		m.move(short, "the PBX answers the read", func(t *turn) {
			p := &t.s.ep[i]
			o := p.readAs
			if p.read.way == 1 {
				o = t.x.reads(p)
			}
			ev := t.x.seen(evRead, i, o)
			ev.fresh = p.read.fresh
			p.read, p.readAs = flight{}, seenAs{}
			t.step(ev)
		})
	}
}

func (x *explorer) seen(kind eventKind, i int, o seenAs) event {
	return event{kind: kind, ep: uint8(i), line: o.line, status: o.status, msg: o.msg, ver: o.ver, chg: o.chg, by: o.by}
}

func (t *turn) failRead(i int) {
	t.s.ep[i].read, t.s.ep[i].readAs = flight{}, seenAs{}
	t.step(event{kind: evReadFailed, ep: uint8(i)})
}

func (t *turn) snapshot(i int) {
	ev := t.x.seen(evSnapshot, i, t.x.reads(&t.s.ep[i]))
	ev.fresh = true
	t.step(ev)
}

func (t *turn) deliverEvent(i int, keep bool) {
	p := &t.s.ep[i]
	o := p.events[0]
	if !keep {
		p.pop()
	}
	t.say("it says %s, %s", t.x.w.lines[o.line], t.x.w.statuses[o.status])
	t.step(t.x.seen(evSeen, i, o))
}

func (t *turn) answerPBX(i int, late bool) {
	p := &t.s.ep[i]
	wr := p.write
	p.write = pbxWrite{}
	if p.down {
		t.say("it does not: it is out of sight")
		t.step(event{kind: evAnswered, ep: uint8(i), fresh: wr.fresh, outcome: bridge.Unanswered})
		return
	}
	if !t.overwrite(i, wr, late) {
		t.say("it has a newer version")
		t.step(event{kind: evAnswered, ep: uint8(i), fresh: wr.fresh, outcome: bridge.Conflicted})
		return
	}
	ev := t.x.seen(evAnswered, i, t.x.said(p.is))
	ev.fresh, ev.outcome = wr.fresh, bridge.Answered
	t.step(ev)
}

func (m *mover) pbxTimers(i int) {
	p, on := &m.from.ep[i], m.x.e.recs[m.from.rec].ep[i]
	is := func(k bridge.TimerKind) bool { return on&(1<<k) != 0 }
	if is(bridge.TimerLinger) {
		m.timer(short, bridge.TimerLinger, i+1, "the meeting goes on, so the call is over")
	}
	m.contestTimers(on, i+1)
	if is(timerHold) {
		m.timer(short, timerHold, i+1, "the least time between two writes to the phone is over")
	}
	if is(timerSettle) && !p.late {
		m.timer(short, timerSettle, i+1, "the fence after the write to the phone is over")
	}
	if is(timerDeadline) && !p.write.on && !p.landing.on && !is(timerHold) {
		m.timer(short, timerDeadline, i+1, "the unanswered write to the phone can no longer land")
	}
	if is(timerRetry) {
		m.timer(short, timerRetry, i+1, "the phone may be tried again")
	}
}
