package explore

import (
	"fmt"

	"presencebridge/bridge"
	"presencebridge/bridge/pbx"
)

const (
	timerSettle   = bridge.TimerSettle
	timerDeadline = bridge.TimerDeadline
	timerRetry    = bridge.TimerRetry
	timerHold     = bridge.TimerHold
)

// sort is a sort of PBX.
type sort uint8

const (
	trusted   sort = iota // versions and authors
	plain                 // neither
	versioned             // versions, no authors
	document              // keeps our own document beside the person's
)

func (s sort) String() string {
	return [...]string{"versions and authors", "neither versions nor authors", "versions only", "own document"}[s]
}

func (s sort) capabilities() pbx.Capabilities {
	return pbx.Capabilities{Versions: s == trusted || s == versioned, Authors: s == trusted, OwnDocument: s == document}
}

// turn is one way on from a state, while it is being made.
type turn struct {
	x       *explorer
	s       state
	blocked bool   // a queue is full: not now
	writes  uint8  // requests that change something, renewals apart
	renews  bool   // a renewal was sent
	reads   uint8  // reads asked for
	failed  string // a property that does not hold
	text    []string
}

func (t *turn) say(format string, args ...any) {
	if t.x.telling {
		t.text = append(t.text, fmt.Sprintf(format, args...))
	}
}

func (t *turn) fail(format string, args ...any) {
	if t.failed == "" {
		t.failed = fmt.Sprintf(format, args...)
	}
}

// aggregate is how Teams makes one presence of several sessions: a preference outranks them as long as there is one, then
// the session that ranks highest shows, DoNotDisturb > Busy > Available > Away
// (learn:cloud-communications-manage-presence-state). Who shows when two rank alike is not said.
func aggregate(s *state, ours pair) pair {
	best := offline
	for _, c := range s.clients {
		if c != noPair && precedence(c) > precedence(best) {
			best = c
		}
	}
	if ours != noPair && (precedence(ours) > precedence(best) || (precedence(ours) == precedence(best) && s.tieOurs)) {
		best = ours
	}
	if best != offline && s.preferred != noPair {
		return s.preferred
	}
	return best
}

func precedence(p pair) int {
	switch p {
	case dnd, presenting:
		return 4
	case busy, inCall, meeting:
		return 3
	case available:
		return 2
	case away:
		return 1
	case noPair, offline, pairs:
		return 0
	}
	return 0
}

// shown is what Teams shows; organic what it would show without us.
func (s *state) shown() pair   { return aggregate(s, s.seen) }
func (s *state) organic() pair { return aggregate(s, noPair) }

// inTeams changes something in Teams and lets Graph notify.
func (t *turn) inTeams(change func(s *state)) {
	s := &t.s
	shown, want := s.shown(), t.x.w.toPBX[s.organic()]
	change(s)
	if now := s.shown(); now != shown && !s.down {
		n := s.pushed()
		if n == maxPushes {
			t.blocked = true
			return
		}
		s.pushes[n] = now
		t.say("Teams shows %s", t.x.w.pairs[now])
	}
	t.remember()
	if t.x.w.toPBX[s.organic()] != want {
		for i := range s.ep {
			s.ep[i].learnt = false
		}
	}
}

// remember notes what policy makes of how things truly are, without us.
func (t *turn) remember() {
	s, w := &t.s, t.x.w
	for i := range t.x.e.ids {
		p := &s.ep[i]
		p.everWant |= 1 << w.toPBX[s.organic()]
		p.everOwn |= 1 << p.chosen
		// Line and status are separate axes, and news of the one may come before news of the other.
		s.everT |= 1<<w.toTeams[p.is.line][p.chosen] | 1<<w.toTeams[p.is.line][noStatus] | 1<<w.toTeams[noLine][p.chosen]
	}
}

// land lets a write of ours arrive in Teams. Late: what it did shows later.
func (t *turn) land(wr teamsWrite, answered, late bool) {
	if t.s.lag {
		t.blocked = true
		return
	}
	t.inTeams(func(s *state) {
		s.session, s.former, s.aging, s.unacked = wr.pair, false, false, !answered
		if late && s.seen != s.session {
			s.lag = true
			return
		}
		s.seen = s.session
	})
}

// said is what of an endpoint this sort of PBX tells.
func (x *explorer) said(o seenAs) seenAs {
	if x.world.sort == plain || x.world.sort == document {
		o.ver = 0
	}
	if x.world.sort != trusted {
		o.chg, o.by = 0, pbx.AuthorUnknown
	}
	return o
}

// reads is what a read of an endpoint sees: our last write may show late, the line does not.
func (x *explorer) reads(p *phone) seenAs {
	if !p.late {
		return x.said(p.is)
	}
	o := p.was
	o.line = p.is.line
	return x.said(o)
}

// shows is what people see.
func (p *phone) shows() status {
	if p.doc != noStatus {
		return p.doc
	}
	return p.is.status
}

// happened sends an event of the watch.
func (t *turn) happened(p *phone) {
	if !p.down && !p.push(t.x.said(p.is)) {
		t.blocked = true
	}
}

// overwrite lets a write of ours arrive at an endpoint. It tells whether it was accepted.
func (t *turn) overwrite(i int, wr pbxWrite, late bool) bool {
	p := &t.s.ep[i]
	switch {
	case t.x.world.sort == document:
		p.doc = wr.status
		return true
	case wr.ver != 0 && wr.ver != p.is.ver:
		return false
	case p.is.status == wr.status && (wr.msg == asItIs || wr.msg == p.is.msg):
		return true
	case p.is.status == wr.status: // it dates and signs the status alone
		p.is.msg = wr.msg
		p.is.ver++
		t.happened(p)
		return true
	case p.late:
		t.blocked = true
		return true
	}
	own := t.x.e.recs[t.s.rec].eps[i].own
	if wr.ver == 0 && t.x.world.sort != trusted && p.is.status == p.chosen && own != p.chosen {
		t.say("a choice that nobody has seen yet is written over, which such a PBX cannot prevent")
		p.chosen, p.untold = own, false
		t.remember()
	}
	if late {
		p.late, p.was = true, p.is
	}
	if wr.msg != asItIs {
		p.is.msg = wr.msg
	}
	p.is.status, p.is.by = wr.status, pbx.AuthorSelf
	p.is.ver++
	p.is.chg = p.is.ver
	t.happened(p)
	return true
}

// pick lets the person choose a status on the phone.
func (t *turn) pick(i int, st status) {
	p := &t.s.ep[i]
	p.is.status, p.chosen, p.is.by = st, st, pbx.AuthorUser
	p.is.ver++
	p.is.chg = p.is.ver
	p.late, p.was = false, seenAs{}
	b := &t.x.e.recs[t.s.rec].eps[i]
	// Otherwise it is how the bridge finds the phone, or nothing shows that it has learnt of the choice.
	p.untold = b.own != noStatus && (b.own != st || (b.asserts != noStatus && t.x.world.sort == trusted))
	p.learnt, p.picked = false, true
	t.remember()
	t.happened(p)
}

// traceless tells whether a pick would leave no trace on this sort of PBX.
func (x *explorer) traceless(s *state, i int, st status) bool {
	p, b := &s.ep[i], &x.e.recs[s.rec].eps[i]
	switch x.world.sort {
	case trusted:
		return st == p.is.status && !x.world.samePicks
	case document:
		return st == p.is.status
	case plain, versioned:
	}
	return st == p.is.status || (p.write.on && p.write.status == st) || (p.landing.on && p.landing.status == st) ||
		(p.late && p.was.status == st) || (b.asserts != noStatus && (b.asserts == st || b.before == st))
}

// step hands the engine an event, and puts its requests on their way.
func (t *turn) step(ev event) {
	s := &t.s
	was := ""
	if t.x.telling {
		was = t.x.e.describe(s.rec)
	}
	r := t.x.e.step(s.rec, ev)
	before := &t.x.e.recs[s.rec]
	s.rec = r.next
	if r.saved != 0 {
		s.saved = r.saved
	}
	if r.teamsMoved {
		s.read.fresh = false
	}
	if r.teamsWriteGone {
		s.write.fresh = false
	}
	for i := range t.x.e.ids {
		if r.epMoved[i] {
			s.ep[i].read.fresh = false
		}
		if r.epWriteGone[i] {
			s.ep[i].write.fresh = false
		}
	}
	for _, eff := range r.effects {
		t.effect(eff)
	}
	t.learn(before)
	if t.x.telling {
		if now := t.x.e.describe(s.rec); now != was {
			t.say("the bridge now knows: %s", now)
		}
	}
}

func (t *turn) effect(eff effect) {
	s := &t.s
	switch eff.kind {
	case efRead:
		if !s.down { // it comes to nothing, and is tried again for ever
			t.reads++
		}
		t.say("the bridge reads Teams")
		s.read, s.readPair = flight{1, true}, noPair
	case efReadEndpoint:
		t.reads++
		t.say("the bridge reads phone %d", eff.ep+1)
		s.ep[eff.ep].read, s.ep[eff.ep].readAs = flight{1, true}, seenAs{}
	case efSet, efRenew, efClear:
		t.teamsRequest(eff)
	case efApply:
		t.checkApply(eff)
		t.writes++
		p := &s.ep[eff.ep]
		if t.x.waits() && (p.write.on || (p.landing.on && !p.landing.former)) {
			t.fail("one write at a time (R6): the bridge writes to phone %d while another write of its own may still land", eff.ep+1)
		}
		t.say("the bridge writes %q to phone %d", t.x.w.statuses[eff.status], eff.ep+1)
		p.write = pbxWrite{on: true, status: eff.status, msg: eff.msg, ver: eff.ver, fresh: true}
	case efMessage:
		t.messageInTeams(eff.msg)
	case efForget:
	}
}

// waits tells whether the engine should wait a write out; without R6 it is not looked at that it does, but what comes of it.
func (x *explorer) waits() bool { return x.world.without&bridge.RuleWriteAhead == 0 }

func (t *turn) teamsRequest(eff effect) {
	s := &t.s
	if t.x.waits() && (s.write.on || s.late.on) {
		t.fail("one write at a time (R6): the bridge writes to Teams while another write of its own may still land")
	}
	s.write = teamsWrite{on: true, renew: eff.kind == efRenew, pair: eff.pair, fresh: true}
	switch {
	case s.down: // it reaches nobody
	case eff.kind != efRenew:
		t.writes++
	}
	switch eff.kind {
	case efRenew:
		t.renews = true
		t.say("the bridge renews %s in Teams", t.x.w.pairs[eff.pair])
	case efClear:
		t.say("the bridge clears its session in Teams")
	default:
		t.say("the bridge sets %s in Teams", t.x.w.pairs[eff.pair])
	}
	if eff.kind != efClear {
		t.checkSet(eff)
	}
}
