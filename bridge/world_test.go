package bridge

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// world is one member with a Teams and a PBX of the tests' own making: what they do is written from the other
// side's view, not from the engine's beliefs. Nothing happens by itself: every delivery, answer and timer is a
// choice of whoever drives it.
type world struct {
	t     testing.TB
	rules *Rules
	ep    presence.EndpointID
	now   time.Time
	rec   Record
	saved []byte // what the store holds
	story []string

	client presence.Pair // the person's own Teams session
	// clientAfterChoice: the person's last change in Teams came when the engine knew their choice on the phone
	// and had nothing under way, so that it ends an override.
	clientAfterChoice bool
	session           presence.Pair // ours
	sessionUntil      time.Time
	pushes            []TeamsPushed
	seq               uint64
	lastShown         presence.Pair

	phone   pbx.State
	chosen  presence.Status // picked by hand last
	events  []EndpointSeen
	pbxSeq  uint64
	pbxDown bool

	requests []request
	late     []lateWrite
	writes   int
}

// request is an effect that was not answered yet. Its write, or what it reads, happens when it is resolved.
type request struct {
	eff     Effect
	started time.Time
}

// Requests time out after requestTimeout; what was sent can land for lateness longer (design: R6's deadline).
const (
	requestTimeout = 10 * time.Second
	lateness       = 29 * time.Second
)

// lateWrite lands before its deadline, although its request failed long ago.
type lateWrite struct {
	eff Effect
	by  time.Time
}

var (
	statusAvailable = presence.Status{Name: "Available", Kind: presence.KindAvailable}
	statusBusy      = presence.Status{Name: "Busy", Kind: presence.KindBusy}
	statusDND       = presence.Status{Name: "Do not disturb", Kind: presence.KindDND}
	statusCall      = presence.Status{Name: "In a call", Kind: presence.KindBusy}
	statusAway      = presence.Status{Name: "Away", Kind: presence.KindAway}
	statusLunch     = presence.Status{Name: "Lunch", Kind: presence.KindCustom}
	catalogue       = policy.Catalogue{statusAvailable, statusBusy, statusDND, statusCall, statusAway, statusLunch}
)

func testRules(trusted bool) *Rules {
	p := policy.Presets()["micollab"]
	caps := pbx.Capabilities{Versions: trusted, Authors: trusted}
	r := Rules{Policy: &p, PBX: map[string]PBXRules{"main": {Capabilities: caps, Statuses: catalogue}}}.WithDefaults()
	return &r
}

func newWorld(t testing.TB, trusted bool) *world {
	w := &world{
		t: t, rules: testRules(trusted), ep: presence.EndpointID{PBX: "main", User: "101"},
		now:    time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC),
		client: presence.ParsePairString("Available"), chosen: statusAvailable,
	}
	w.phone = pbx.State{Line: presence.LineIdle, Status: statusAvailable, Version: 1, ChangedAt: w.now, ChangedBy: pbx.AuthorUser}
	w.lastShown = w.shown()
	w.rec = NewRecord("m", w.rules)
	return w
}

// introduce makes the member known and lets the first reads happen.
func (w *world) introduce() {
	w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep}})
	w.step(EndpointSnapshot{Endpoint: w.ep, State: w.phoneState()})
	w.step(ReadAgain{Teams: true})
}

func (w *world) note(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%s  ", w.now.Format("15:04:05"))+fmt.Sprintf(format, args...))
}

func (w *world) step(e Event) {
	was := w.rec.durable()
	next, effects := Step(w.rules, w.rec, e, w.now)
	w.note("%T%+v -> %T", e, e, effects)
	w.rec = next
	if !sameRecord(was, next.durable()) {
		data, err := json.Marshal(&next)
		if err != nil {
			w.t.Fatal(err)
		}
		w.saved = data
	}
	for _, eff := range effects {
		switch eff.(type) {
		case SetTeams, ClearTeams, ApplyEndpoint:
			w.writes++
			w.requests = append(w.requests, request{eff: eff, started: w.now})
		case ReadTeams, ReadEndpoint:
			w.requests = append(w.requests, request{eff: eff, started: w.now})
		}
	}
	w.checkPrevious()
}

func sameRecord(a, b Record) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// checkPrevious is the property "own previous": no value of ours is ever stored as previous. Only the person
// picks in this world, so previous must be something that they once picked.
func (w *world) checkPrevious() {
	for i := range w.rec.Endpoints {
		if a := w.rec.Endpoints[i].Assertion; a != nil && a.Previous.Same(statusCall) {
			w.fail("our own value is stored as previous")
		}
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	for i, line := range w.story {
		w.t.Logf("%3d. %s", i+1, line)
	}
	rec, _ := json.MarshalIndent(&w.rec, "", " ")
	w.t.Logf("record: %s", rec)
	w.t.Fatalf(format, args...)
}

// Teams.

var teamsRank = map[string]int{"DoNotDisturb": 4, "Busy": 3, "Available": 2, "Away": 1, "BeRightBack": 1, "Offline": 0}

// shown is Teams' aggregation: the session that ranks highest, the client's in a tie.
func (w *world) shown() presence.Pair {
	if w.session.IsZero() || teamsRank[w.client.Availability] >= teamsRank[w.session.Availability] {
		return w.client
	}
	return w.session
}

func (w *world) notify() {
	if s := w.shown(); s != w.lastShown {
		w.lastShown = s
		w.seq++
		w.pushes = append(w.pushes, TeamsPushed{Pair: s, Mark: Mark{Seq: w.seq}, Arrived: w.now})
	}
}

func (w *world) setClient(p presence.Pair) {
	if w.client != p {
		w.clientAfterChoice = len(w.events) == 0 && len(w.requests) == 0 && w.rec.Settled() && w.rec.Idle()
	}
	w.client = p
	w.note("PERSON in Teams: %s", p)
	w.notify()
}

func (w *world) expireSession() {
	if !w.session.IsZero() && !w.now.Before(w.sessionUntil) {
		w.session = presence.Pair{}
		w.note("TEAMS our session lapsed")
		w.notify()
	}
}

// The PBX.

func (w *world) phoneState() pbx.State {
	st := w.phone
	if !w.rules.PBX["main"].trusted() {
		st.Version, st.ChangedAt, st.ChangedBy = 0, time.Time{}, pbx.AuthorUnknown
	}
	return st
}

func (w *world) phoneEvent() {
	w.pbxSeq++
	w.events = append(w.events, EndpointSeen{Endpoint: w.ep, State: w.phoneState(), Seq: w.pbxSeq, Arrived: w.now})
}

func (w *world) setLine(l presence.Line) {
	if w.phone.Line == l {
		return
	}
	w.phone.Line = l
	w.note("PERSON on the phone: line %s", l)
	w.phoneEvent()
}

func (w *world) pick(s presence.Status) {
	if !w.rules.PBX["main"].trusted() && (s.Same(w.phone.Status) || w.writing(s)) {
		return // leaves no trace on such a PBX
	}
	w.phone.Status, w.chosen, w.clientAfterChoice = s, s, false
	w.phone.Version++
	w.phone.ChangedAt, w.phone.ChangedBy = w.now, pbx.AuthorUser
	w.note("PERSON on the phone: picks %s", s)
	w.phoneEvent()
}

// writing tells whether a write of that status is under way or may land late.
func (w *world) writing(s presence.Status) bool {
	for _, r := range w.requests {
		if e, ok := r.eff.(ApplyEndpoint); ok && e.Write.Status.Same(s) {
			return true
		}
	}
	for _, l := range w.late {
		if e, ok := l.eff.(ApplyEndpoint); ok && e.Write.Status.Same(s) {
			return true
		}
	}
	return false
}

// believedOwn is what the engine takes for the person's own status.
func (w *world) believedOwn() presence.Status {
	if len(w.rec.Endpoints) == 0 {
		return presence.Status{}
	}
	ep := &w.rec.Endpoints[0]
	return ep.Status
}

// perform lets a write of ours land. It tells whether it was accepted.
func (w *world) perform(eff Effect) (conflict bool) {
	switch e := eff.(type) {
	case SetTeams:
		w.session, w.sessionUntil = e.Value, w.now.Add(e.Lease)
		w.notify()
	case ClearTeams:
		w.session = presence.Pair{}
		w.notify()
	case ApplyEndpoint:
		if e.Write.IfVersion != 0 && e.Write.IfVersion != w.phone.Version {
			return true
		}
		if w.phone.Status.Same(e.Write.Status) {
			return false
		}
		if !w.rules.PBX["main"].trusted() && w.phone.Status.Same(w.chosen) && !w.believedOwn().Same(w.chosen) {
			w.note("a choice that nobody has seen yet is written over: such a PBX cannot prevent it")
			w.chosen = w.believedOwn()
		}
		w.phone.Status = e.Write.Status
		w.phone.Version++
		w.phone.ChangedAt, w.phone.ChangedBy = w.now, pbx.AuthorSelf
		w.phoneEvent()
	}
	return false
}

// Requests.

func (w *world) take(i int) request {
	r := w.requests[i]
	w.requests = append(w.requests[:i:i], w.requests[i+1:]...)
	return r
}

// answer resolves a request as a healthy service does.
func (w *world) answer(r request) {
	switch e := r.eff.(type) {
	case ReadTeams:
		w.step(TeamsRead{Pair: w.shown(), Epoch: e.Epoch})
	case ReadEndpoint:
		w.step(EndpointRead{Endpoint: e.Endpoint, State: w.phoneState(), Epoch: e.Epoch})
	case SetTeams:
		w.perform(e)
		w.step(TeamsAnswered{ID: e.ID})
	case ClearTeams:
		w.perform(e)
		w.step(TeamsAnswered{ID: e.ID})
	case ApplyEndpoint:
		if w.perform(e) {
			w.step(EndpointAnswered{Endpoint: e.Endpoint, ID: e.ID, Outcome: Conflicted})
			return
		}
		w.step(EndpointAnswered{Endpoint: e.Endpoint, ID: e.ID, State: w.phoneState()})
	}
}

// lose resolves a request by an error; applied tells whether it landed all the same, and late that it lands in a
// while.
func (w *world) lose(r request, applied, late bool) {
	w.note("FAULT %T fails, applied %v, late %v", r.eff, applied, late)
	if late {
		w.late = append(w.late, lateWrite{eff: r.eff, by: r.started.Add(requestTimeout + lateness)})
	} else if applied {
		w.perform(r.eff)
	}
	switch e := r.eff.(type) {
	case ReadTeams:
		w.step(TeamsReadFailed{})
	case ReadEndpoint:
		w.step(EndpointReadFailed{Endpoint: e.Endpoint})
	case SetTeams:
		w.step(TeamsAnswered{ID: e.ID, Outcome: Unanswered})
	case ClearTeams:
		w.step(TeamsAnswered{ID: e.ID, Outcome: Unanswered})
	case ApplyEndpoint:
		w.step(EndpointAnswered{Endpoint: e.Endpoint, ID: e.ID, Outcome: Unanswered})
	}
}

func (w *world) landLate(i int) {
	l := w.late[i]
	w.late = append(w.late[:i:i], w.late[i+1:]...)
	w.note("FAULT a late write lands: %T", l.eff)
	w.perform(l.eff)
}

// Time.

// advance moves the clock, landing late writes and firing timers on the way.
func (w *world) advance(d time.Duration) {
	until := w.now.Add(d)
	for {
		next := until
		_, due, ok := w.rec.NextTimer()
		if ok && due.Before(next) {
			next = due
		}
		for _, l := range w.late {
			if l.by.Before(next) {
				next = l.by
			}
		}
		for _, r := range w.requests {
			if by := r.started.Add(requestTimeout); by.Before(next) {
				next = by
			}
		}
		if !w.session.IsZero() && w.sessionUntil.Before(next) {
			next = w.sessionUntil
		}
		if next.After(w.now) {
			w.now = next
		}
		w.expireSession()
		for i := len(w.late) - 1; i >= 0; i-- {
			if !w.late[i].by.After(w.now) {
				w.landLate(i)
			}
		}
		for i := len(w.requests) - 1; i >= 0; i-- {
			if !w.requests[i].started.Add(requestTimeout).After(w.now) {
				w.lose(w.take(i), false, false)
			}
		}
		ref, due, ok := w.rec.NextTimer()
		if ok && !due.After(w.now) {
			w.step(TimerFired{Timer: ref})
			continue
		}
		if !w.now.Before(until) {
			return
		}
	}
}

// crash starts the bridge anew from what the store holds. Requests under way may land later.
func (w *world) crash() {
	w.note("FAULT crash")
	for _, r := range w.requests {
		switch r.eff.(type) {
		case SetTeams, ClearTeams, ApplyEndpoint:
			w.late = append(w.late, lateWrite{eff: r.eff, by: r.started.Add(requestTimeout + lateness)})
		}
	}
	w.requests, w.events = nil, nil
	w.rec = NewRecord("m", w.rules)
	if w.saved != nil {
		rec, err := decodeRecord(w.saved)
		if err != nil {
			w.t.Fatal(err)
		}
		w.rec = rec
	}
	w.step(Recovered{})
	w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep}})
	w.step(EndpointSnapshot{Endpoint: w.ep, State: w.phoneState(), Epoch: w.rec.EndpointEpoch(w.ep)})
}

func (w *world) deliverPush(i int, keep bool) {
	p := w.pushes[i]
	if !keep {
		w.pushes = append(w.pushes[:i:i], w.pushes[i+1:]...)
	}
	w.step(p)
}

func (w *world) deliverEvent(i int) {
	e := w.events[i]
	w.events = append(w.events[:i:i], w.events[i+1:]...)
	w.step(e)
}

// settle lets everything be delivered and answered, with sweeps of both sides, until nothing moves.
func (w *world) settle() {
	for range 16 {
		for range 4 {
			w.drain()
			w.advance(5 * time.Second)
		}
		w.step(TeamsSwept{Pair: w.shown(), Epoch: w.rec.TeamsEpoch()})
		w.step(EndpointSnapshot{Endpoint: w.ep, State: w.phoneState(), Epoch: w.rec.EndpointEpoch(w.ep)})
	}
	w.drain()
}

// drain delivers and answers everything that is under way at this moment.
func (w *world) drain() {
	for range 400 {
		switch {
		case len(w.pushes) > 0:
			w.deliverPush(0, false)
		case len(w.events) > 0:
			w.deliverEvent(0)
		case len(w.requests) > 0:
			w.answer(w.take(0))
		default:
			return
		}
	}
	w.fail("it never comes to rest")
}
