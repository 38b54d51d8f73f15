package explore

import (
	"presencebridge/bridge"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// Queues are short: whoever would overfill one has to wait until it is delivered.
const (
	maxPushes = 3
	maxEvents = 2
)

// state is the whole world at one moment. It is comparable: equal states have equal futures.
type state struct {
	rec, saved recID // the record, and what the store holds (0: nothing, or no crash can come)

	clients   [2]pair // the person's own sessions
	preferred pair
	session   pair // ours
	seen      pair // what of ours shows
	lag       bool // seen follows session yet
	former    bool // our session is one of a former life
	aging     bool // nobody renews our session in time
	unacked   bool // our session began with a write whose answer nobody got
	tieOurs   bool // who shows when sessions rank alike is not documented
	pushes    [maxPushes]pair
	read      flight
	readPair  pair // what a read under way saw
	write     teamsWrite
	late      teamsWrite
	everT     uint16  // what policy ever made of the PBX
	message   message // the person's own in Teams
	note      message // ours there
	down      bool    // Teams is cut off
	rivalSaw  uint8   // what the other program acted upon last

	ep [2]phone

	people, faults, crashes uint8 // what may still happen
	excluded                bool
	out                     presence.Directions // that do not cross
}

// flight is the state of a read.
type flight struct {
	way   uint8 // 0 no read, 1 under way, 2 the other side has looked and the answer is on its way
	fresh bool  // nothing overtook it
}

// teamsWrite is a request of ours to Teams that is under way.
type teamsWrite struct {
	on    bool
	renew bool
	pair  pair // noPair: clear
	fresh bool // the record still waits for its answer
}

// seenAs is what a PBX says of an endpoint.
type seenAs struct {
	line   line
	status status
	msg    message
	ver    uint8
	chg    uint8
	by     pbx.Author
}

// pbxWrite is a request of ours to a PBX that is under way.
type pbxWrite struct {
	on     bool
	status status // noStatus: our document goes
	msg    message
	ver    uint8 // If-Match
	fresh  bool
	former bool // of a process whose records are lost
}

// phone is one endpoint.
type phone struct {
	is       seenAs
	chosen   status  // by hand
	told     message // by hand
	doc      status  // ours, on a PBX that keeps it beside the person's
	late     bool    // was still shows to who reads
	was      seenAs
	events   [maxEvents]seenAs
	n        uint8
	read     flight
	readAs   seenAs
	write    pbxWrite
	landing  pbxWrite // failed, and may land yet
	down     bool     // out of sight
	moved    bool     // no longer the member's
	everWant uint8    // what policy ever made of Teams' own state
	everOwn  uint8    // what was ever chosen
	untold   bool     // the engine knew this phone when the last choice was made, and does not know the choice yet
	learnt   bool     // the engine knows the last choice, and what policy makes of Teams has not changed since
	picked   bool     // a choice by hand may stand against what policy makes of Teams
}

func (p *phone) push(o seenAs) bool {
	if int(p.n) == len(p.events) {
		return false
	}
	p.events[p.n] = o
	p.n++
	return true
}

func (p *phone) pop() {
	copy(p.events[:], p.events[1:])
	p.n--
	p.events[p.n] = seenAs{}
}

func (s *state) pushed() int {
	n := 0
	for n < len(s.pushes) && s.pushes[n] != noPair {
		n++
	}
	return n
}

func (s *state) takePush(i int) {
	copy(s.pushes[i:], s.pushes[i+1:])
	s.pushes[maxPushes-1] = noPair
}

// canonical ranks the versions and times of every endpoint, and forgets what cannot matter any more.
func (x *explorer) canonical(s *state) {
	if s.crashes == 0 {
		s.saved = 0
	}
	if s.session == noPair {
		s.former, s.aging, s.unacked = false, false, false
	}
	if !x.stamped() {
		return
	}
	to, saved := x.e.recs[s.rec].stamps, x.e.recs[s.saved].stamps
	for i := range x.e.ids {
		x.rank(&s.ep[i], &to[i], &saved[i])
	}
	s.rec = x.e.restamp(s.rec, to)
	s.saved = x.e.restamp(s.saved, saved)
}

func (x *explorer) stamped() bool { return x.world.sort == trusted || x.world.sort == versioned }

// rank replaces the stamps of an endpoint by 1, 2, 3 in their order.
func (x *explorer) rank(p *phone, recs ...*stamps) {
	var buf [24]*uint8
	all := append(buf[:0], &p.is.ver, &p.is.chg, &p.was.ver, &p.was.chg, &p.readAs.ver, &p.readAs.chg, &p.write.ver, &p.landing.ver)
	for i := range p.events {
		all = append(all, &p.events[i].ver, &p.events[i].chg)
	}
	for _, r := range recs {
		all = append(all, &r.ver, &r.chg)
	}
	var used [256]bool
	top := uint8(0)
	for _, v := range all {
		used[*v] = true
		top = max(top, *v)
	}
	var to [256]uint8
	n := uint8(0)
	for v := 1; v <= int(top); v++ {
		if used[v] {
			n++
			to[v] = n
		}
	}
	if n == top {
		return
	}
	for _, v := range all {
		*v = to[*v]
	}
}

// quiet tells whether nothing short is under way: see "What stands for time" in the package comment.
func (x *explorer) quiet(s *state) bool {
	const short = 1<<timerSettle | 1<<timerDeadline | 1<<timerRetry | 1<<timerHold | 1<<bridge.TimerLinger | 1<<bridge.TimerNote
	r := &x.e.recs[s.rec]
	if _, acts := x.rival(s); acts {
		return false
	}
	if s.pushes[0] != noPair || s.read.way != 0 || s.write.on || s.late.on || s.lag || r.teams&short != 0 {
		return false
	}
	for i := range x.e.ids {
		p := &s.ep[i]
		if p.n > 0 || p.read.way != 0 || p.write.on || p.landing.on || p.late || r.ep[i]&short != 0 {
			return false
		}
	}
	return true
}
