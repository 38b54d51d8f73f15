package bridge

import (
	"encoding/json"
	"fmt"
	"strings"
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

	// Teams: the person's sessions and stored preference, and our session. Each write of ours shows late, by lag.
	clients   [2]presence.Pair
	preferred presence.Pair
	prefUntil time.Time
	tieOurs   bool // who shows when sessions rank alike is not documented
	// clientAfterChoice: what policy makes of Teams last changed when the engine knew the person's choice on the phone
	// and was at rest, so that it ends an override.
	clientAfterChoice bool
	session           presence.Pair // ours
	sessionSeen       presence.Pair // what of ours shows
	sessionShowsAt    time.Time     // when sessionSeen follows, zero if it did
	sessionUntil      time.Time
	lag               time.Duration
	pushes            []presence.Pair
	seq               uint64
	lastShown         presence.Pair

	// Messages: the person's own in Teams, ours there and until when, and the person's own on the phone.
	teamsOwn  string
	teamsNote string
	noteUntil time.Time
	phoneOwn  string
	everTold  map[string]bool // messages that were ever to be seen on either side

	phone      pbx.State
	doc        presence.Status // ours, on a PBX that keeps it beside the person's
	phoneOld   *pbx.State      // what still shows of the time before our last write
	phoneNewAt time.Time
	chosen     presence.Status // picked by hand last
	events     []EndpointSeen
	pbxSeq     uint64
	pbxDown    bool

	excluded    bool
	mistaken    presence.Status // what the person's last pick, taken for our own write, is replaced with
	choiceSeen  bool            // the engine knows of the last pick, and Teams has not changed since, as far as it can know
	everInTeams map[presence.Pair]bool
	everOnPBX   map[string]bool
	everChosen  map[string]bool
	changes     int  // by people and faults
	restless    bool // whoever sends anything but a renewal now is in a loop

	requests []request
	did      []Effect // of the last step
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
	available = presence.ParsePairString("Available")
	offline   = presence.ParsePairString("Offline")

	statusAvailable = presence.Status{Name: "Available", Kind: presence.KindAvailable}
	statusBusy      = presence.Status{Name: "Busy", Kind: presence.KindBusy}
	statusDND       = presence.Status{Name: "Do not disturb", Kind: presence.KindDND}
	statusCall      = presence.Status{Name: "In a call", Kind: presence.KindBusy}
	statusAway      = presence.Status{Name: "Away", Kind: presence.KindAway}
	statusLunch     = presence.Status{Name: "Lunch", Kind: presence.KindCustom}
	catalogue       = policy.Catalogue{statusAvailable, statusBusy, statusDND, statusCall, statusAway, statusLunch}
)

// sort is a sort of PBX.
type sort string

const (
	trustedPBX   sort = "versions and authors"
	plainPBX     sort = "neither"
	versionedPBX sort = "versions, no authors"
	documentPBX  sort = "own document"
)

func (s sort) capabilities() pbx.Capabilities {
	return pbx.Capabilities{
		Versions: s == trustedPBX || s == versionedPBX, Authors: s == trustedPBX, OwnDocument: s == documentPBX,
	}
}

func testRules(s sort) *Rules {
	p := policy.Presets()["micollab"]
	caps := s.capabilities()
	r := Rules{Policy: &p, Contest: ContestRules{Flips: -1}, PBX: map[string]PBXRules{"main": {Capabilities: caps, Statuses: catalogue}}}.WithDefaults()
	return &r
}

func newWorld(t testing.TB, s sort) *world {
	w := &world{
		t: t, rules: testRules(s), ep: presence.EndpointID{PBX: "main", User: "101"},
		now:     time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC),
		clients: [2]presence.Pair{available, offline}, chosen: statusAvailable,
		everTold: map[string]bool{"": true}, everInTeams: map[presence.Pair]bool{}, everOnPBX: map[string]bool{}, everChosen: map[string]bool{},
	}
	w.phone = pbx.State{Line: presence.LineIdle, Status: statusAvailable, Version: 1, ChangedAt: w.now, ChangedBy: pbx.AuthorUser}
	w.lastShown = w.shown()
	w.rec = NewRecord("m", w.rules)
	w.remember()
	return w
}

// remember notes what policy would make of how things truly are, without us.
func (w *world) remember() {
	w.everInTeams[w.rules.Policy.ForTeams([]policy.Endpoint{{ID: w.ep, Line: w.phone.Line, Status: w.chosen}}).Pair] = true
	// Line and status are separate axes, and news of the one may come before news of the other.
	w.everInTeams[w.rules.Policy.ForTeams([]policy.Endpoint{{ID: w.ep, Line: w.phone.Line}}).Pair] = true
	w.everInTeams[w.rules.Policy.ForTeams([]policy.Endpoint{{ID: w.ep, Status: w.chosen}}).Pair] = true
	w.everOnPBX[w.wantOnPBX().Status.Name] = true
	w.everChosen[w.chosen.Name] = true
}

func (w *world) wantOnPBX() policy.PBXWant {
	return w.rules.Policy.ForPBX("main", catalogue, policy.TeamsState{Pair: w.organic()})
}

// introduce makes the member known and lets the first reads happen.
func (w *world) introduce() {
	w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep}})
	w.snapshot()
	w.step(ReadAgain{Teams: true})
}

// snapshot lets the PBX be read through, which begins and ends now.
func (w *world) snapshot() {
	if !w.pbxDown {
		w.step(EndpointSnapshot{Endpoint: w.ep, State: w.phoneReads(), Epoch: w.rec.EndpointEpoch(w.ep)})
	}
}

func (w *world) sweep() {
	w.step(TeamsSwept{Pair: w.shown(), Epoch: w.rec.TeamsEpoch(), Details: w.details()})
}

func (w *world) note(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%s  ", w.now.Format("15:04:05"))+fmt.Sprintf(format, args...))
}

// noteStep tells the story, without the reads that changed nothing.
func (w *world) noteStep(e Event, effects []Effect) {
	switch e.(type) {
	case TeamsSwept, EndpointSnapshot:
		if len(effects) == 0 && len(w.story) > 8 {
			return
		}
	}
	line := fmt.Sprintf("%T%+v", e, e)
	for _, eff := range effects {
		line += fmt.Sprintf("\n        -> %T%+v", eff, eff)
	}
	w.note("%s", strings.ReplaceAll(line, "bridge.", ""))
}

func (w *world) step(e Event) {
	was := w.rec.durable()
	next, effects := Step(w.rules, w.rec, e, w.now)
	w.noteStep(e, effects)
	w.rec = next
	if !sameRecord(was, next.durable()) {
		data, err := json.Marshal(&next)
		if err != nil {
			w.t.Fatal(err)
		}
		w.saved = data
	}
	w.did = effects
	for _, eff := range effects {
		w.checkEffect(eff)
		if m, ok := eff.(TeamsMessage); ok {
			w.tell(m)
		}
		switch e := eff.(type) {
		case SetTeams, ClearTeams, ApplyEndpoint:
			if set, ok := e.(SetTeams); !ok || !set.Renewal {
				w.writes++
			}
			w.requests = append(w.requests, request{eff: eff, started: w.now})
		case ReadTeams, ReadEndpoint:
			w.requests = append(w.requests, request{eff: eff, started: w.now})
		}
	}
	w.checkPrevious()
	w.trackChoice()
}

// trackChoice notes when the engine has learnt of the last pick. While Teams hides what the person's own is, R17 only
// guesses what policy makes of it.
func (w *world) trackChoice() {
	ep := w.rec.Endpoint(w.ep)
	if ep == nil || ep.Override == nil || !ep.Status.Same(w.chosen) {
		return
	}
	if ep.Override.Pending {
		w.choiceSeen = !w.hidden() && w.rec.Teams.OrganicState == OrganicSeen && w.rec.Teams.Organic == w.organic()
	}
}

// checkRest is the property "no loop".
func (w *world) checkRest(eff Effect) {
	switch e := eff.(type) {
	case SetTeams:
		if !e.Renewal {
			w.fail("%T although everything is at rest", eff)
		}
	case ClearTeams, ApplyEndpoint, ReadTeams, ReadEndpoint:
		w.fail("%T although everything is at rest", eff)
	}
}

// checkEffect is the properties "person wins" and "no phantom", at the moment a request leaves.
func (w *world) checkEffect(eff Effect) {
	if w.restless {
		w.checkRest(eff)
	}
	switch e := eff.(type) {
	case SetTeams:
		if !w.everInTeams[e.Value] {
			w.fail("asserts %s, of which the PBX never was the cause", e.Value)
		}
	case ApplyEndpoint:
		status := e.Write.Status
		if !w.pbxSort().trusted() && !status.IsZero() && status.Same(w.chosen) && status.Same(w.phone.Status) && !status.Same(w.believedOwn()) {
			w.mistaken = w.believedOwn() // they picked just this a moment ago, and such a PBX will not say that it was not us
		}
		restores := status.IsZero() || status.Same(w.chosen) || status.Same(w.believedOwn())
		if w.choiceSeen && !status.IsZero() && !status.Same(w.chosen) {
			w.fail("writes %s over %s, which the person chose", status, w.chosen)
		}
		if !restores && !w.everOnPBX[status.Name] {
			w.fail("asserts %s, of which Teams never was the cause", status)
		}
	}
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
		if a := w.rec.Endpoints[i].Assertion; a != nil && !a.Previous.IsZero() && !w.everChosen[a.Previous.Name] {
			w.fail("%s is stored as previous, which the person never chose", a.Previous)
		}
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	for i, line := range w.story {
		w.t.Logf("%3d. %s", i+1, line)
	}
	rec, _ := json.Marshal(&w.rec)
	w.t.Logf("record: %s", rec)
	w.t.Fatalf(format, args...)
}

// Teams.

var teamsRank = map[string]int{"DoNotDisturb": 4, "Busy": 3, "Available": 2, "Away": 1, "BeRightBack": 1, "Offline": 0}

// aggregate is how Teams makes one presence of several sessions: a preference outranks them as long as there is one,
// then the session that ranks highest shows (learn:cloud-communications-manage-presence-state).
func (w *world) aggregate(ours presence.Pair) presence.Pair {
	best := offline
	for _, c := range w.clients {
		if teamsRank[c.Availability] > teamsRank[best.Availability] {
			best = c
		}
	}
	if !ours.IsZero() {
		r, b := teamsRank[ours.Availability], teamsRank[best.Availability]
		if r > b || (r == b && w.tieOurs) {
			best = ours
		}
	}
	if !best.IsOffline() && !w.preferred.IsZero() {
		return w.preferred
	}
	return best
}

// shown is what Teams shows at this moment, organic what it would show without us.
func (w *world) shown() presence.Pair   { return w.aggregate(w.sessionSeen) }
func (w *world) organic() presence.Pair { return w.aggregate(presence.Pair{}) }

func (w *world) notify() {
	if s := w.shown(); s != w.lastShown {
		w.lastShown = s
		w.pushes = append(w.pushes, s)
	}
}

// setSession changes our session; it shows after the lag.
func (w *world) setSession(p presence.Pair, until time.Time) {
	w.session, w.sessionUntil = p, until
	w.sessionShowsAt = w.now.Add(w.lag)
	w.showLate()
}

// showLate lets what became due show.
func (w *world) showLate() {
	if !w.sessionShowsAt.IsZero() && !w.now.Before(w.sessionShowsAt) {
		w.sessionSeen, w.sessionShowsAt = w.session, time.Time{}
	}
	if w.phoneOld != nil && !w.now.Before(w.phoneNewAt) {
		w.phoneOld = nil
	}
	if !w.preferred.IsZero() && !w.now.Before(w.prefUntil) {
		w.change("a preference expires", func() { w.preferred = presence.Pair{} })
	}
	w.notify()
}

// knowsChoice tells whether the engine knows the person's last pick on the phone.
func (w *world) knowsChoice() bool {
	ep := w.rec.Endpoint(w.ep)
	return ep != nil && ep.Status.Same(w.chosen) && (!w.pbxSort().trusted() || ep.Version == w.phone.Version)
}

// change lets the person do something in Teams.
func (w *world) change(what string, do func()) {
	rest := len(w.pushes)+len(w.events)+len(w.requests)+len(w.late) == 0 && w.rec.Settled() && w.rec.Idle() && w.knowsChoice()
	was := w.wantOnPBX()
	do()
	w.changes++
	w.note("PERSON in Teams: %s", what)
	if !was.Same(w.wantOnPBX()) {
		w.clientAfterChoice, w.choiceSeen = rest, false
	}
	w.remember()
	w.notify()
}

func (w *world) setClient(p presence.Pair) { w.setSessionOf(0, p) }

func (w *world) setSessionOf(i int, p presence.Pair) {
	w.change(fmt.Sprintf("session %d is %s", i, p), func() { w.clients[i] = p })
}

// prefer stores a preference, which is a choice of today if anything shows of it.
func (w *world) prefer(p presence.Pair, d time.Duration) {
	w.change(fmt.Sprintf("prefers %s for %s", p, d), func() { w.preferred, w.prefUntil = p, w.now.Add(d) })
	if !w.session.IsZero() || !w.sessionSeen.IsZero() { // which may show a little longer
		w.everOnPBX[w.rules.Policy.ForPBX("main", catalogue, policy.TeamsState{Pair: p}).Status.Name] = true
	}
}

func (w *world) expireSession() {
	if !w.session.IsZero() && !w.now.Before(w.sessionUntil) {
		w.note("TEAMS our session lapsed")
		w.setSession(presence.Pair{}, time.Time{})
	}
}

// The PBX.

func (w *world) pbxSort() PBXRules { return w.rules.PBX["main"] }

// said is what of a state this sort of PBX tells.
func (w *world) said(st pbx.State) pbx.State {
	c := w.pbxSort().Capabilities
	if !c.Versions {
		st.Version = 0
	}
	if !c.Authors {
		st.ChangedAt, st.ChangedBy = time.Time{}, pbx.AuthorUnknown
	}
	return st
}

func (w *world) phoneState() pbx.State { return w.said(w.phone) }

// phoneReads is what a read sees: our last write may show late, the line does not.
func (w *world) phoneReads() pbx.State {
	if w.phoneOld == nil {
		return w.phoneState()
	}
	st := *w.phoneOld
	st.Line = w.phone.Line
	return w.said(st)
}

// phoneShows is what a person sees on the phone.
func (w *world) phoneShows() presence.Status {
	if !w.doc.IsZero() {
		return w.doc
	}
	return w.phone.Status
}

func (w *world) phoneEvent() {
	if w.pbxDown {
		return
	}
	w.pbxSeq++
	w.events = append(w.events, EndpointSeen{Endpoint: w.ep, State: w.phoneState(), Seq: w.pbxSeq, Arrived: w.now})
}

func (w *world) setLine(l presence.Line) {
	if w.phone.Line == l {
		return
	}
	w.phone.Line = l
	w.changes++
	w.note("PERSON on the phone: line %s", l)
	w.remember()
	w.phoneEvent()
}

func (w *world) pick(s presence.Status) {
	if !w.pbxSort().trusted() && (s.Same(w.phone.Status) || w.writing(s) || w.asserting(s) || (w.phoneOld != nil && s.Same(w.phoneOld.Status))) {
		return // such a PBX leaves no trace of it, or none that tells it from a write of ours
	}
	w.phone.Status, w.chosen, w.clientAfterChoice, w.choiceSeen, w.mistaken = s, s, false, false, presence.Status{}
	w.phone.Version++
	w.phone.ChangedAt, w.phone.ChangedBy = w.now.Add(time.Duration(w.phone.Version)), pbx.AuthorUser // by the PBX's own clock
	w.phoneOld = nil
	w.changes++
	w.note("PERSON on the phone: picks %s", s)
	w.remember()
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

// asserting tells whether the record has s for ours: a read that shows it says that our write stands (R8).
func (w *world) asserting(s presence.Status) bool {
	ep := w.rec.Endpoint(w.ep)
	return ep != nil && ep.Assertion != nil && (s.Same(ep.Assertion.Value) || s.Same(ep.Assertion.Before))
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
		if w.organic().IsOffline() && !w.rec.Teams.WokenWatch { // what it wakes nobody can tell: the record has not heard that they left
			w.everOnPBX[w.rules.Policy.ForPBX("main", catalogue, policy.TeamsState{Pair: w.aggregate(e.Value)}).Status.Name] = true
		}
		w.setSession(e.Value, w.now.Add(e.Lease))
	case ClearTeams:
		w.setSession(presence.Pair{}, time.Time{})
	case ApplyEndpoint:
		return w.performOnPBX(e)
	}
	return false
}

func (w *world) performOnPBX(e ApplyEndpoint) (conflict bool) {
	switch {
	case w.pbxSort().Capabilities.OwnDocument:
		w.doc = e.Write.Status
		return false
	case e.Write.IfVersion != 0 && e.Write.IfVersion != w.phone.Version:
		return true
	case w.phone.Status.Same(e.Write.Status) && (e.Write.Message == nil || *e.Write.Message == w.phone.Message):
		return false
	}
	if m := e.Write.Message; m != nil {
		if !w.everTold[*m] {
			w.fail("writes the message %q to the phone, which nobody wrote anywhere", *m)
		}
		w.phone.Message = *m
		if w.phone.Status.Same(e.Write.Status) { // it dates and signs nothing else
			w.phone.Version++
			w.phoneEvent()
			return false
		}
	}
	if !w.pbxSort().Capabilities.Versions && w.phone.Status.Same(w.chosen) && !w.believedOwn().Same(w.chosen) {
		w.note("a choice that nobody has seen yet is written over: such a PBX cannot prevent it")
		w.chosen = w.believedOwn()
		w.remember()
	}
	if w.lag > 0 {
		old := w.phone
		w.phoneOld, w.phoneNewAt = &old, w.now.Add(min(w.lag, w.pbxSort().Settle-time.Millisecond))
	}
	w.phone.Status = e.Write.Status
	w.phone.Version++
	w.phone.ChangedAt, w.phone.ChangedBy = w.now.Add(time.Duration(w.phone.Version)), pbx.AuthorSelf
	w.phoneEvent()
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
		w.step(TeamsRead{Pair: w.shown(), Epoch: e.Epoch, Details: w.details()})
	case ReadEndpoint:
		if w.pbxDown {
			w.step(EndpointReadFailed{Endpoint: e.Endpoint})
			return
		}
		w.step(EndpointRead{Endpoint: e.Endpoint, State: w.phoneReads(), Epoch: e.Epoch})
	case SetTeams:
		w.perform(e)
		w.step(TeamsAnswered{ID: e.ID})
	case ClearTeams:
		w.perform(e)
		w.step(TeamsAnswered{ID: e.ID})
	case ApplyEndpoint:
		if w.pbxDown {
			w.step(EndpointAnswered{Endpoint: e.Endpoint, ID: e.ID, Outcome: Unanswered})
			return
		}
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
	w.changes++
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
		for _, at := range []time.Time{w.sessionUntil, w.sessionShowsAt, w.prefUntil, w.phoneNewAt} {
			if at.After(w.now) && at.Before(next) {
				next = at
			}
		}
		if next.After(w.now) {
			w.now = next
		}
		w.expireSession()
		w.showLate()
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
			if w.restless { // a healthy world answers in time
				w.drain()
			}
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
	w.step(MemberChanged{Excluded: w.excluded, Endpoints: []presence.EndpointID{w.ep}})
	w.snapshot()
}

// deliverPush lets a notification arrive; the bus numbers what arrives, whatever Graph's order was.
func (w *world) deliverPush(i int, keep bool) {
	p := w.pushes[i]
	if !keep {
		w.pushes = append(w.pushes[:i:i], w.pushes[i+1:]...)
	}
	w.seq++
	w.step(TeamsPushed{Pair: p, Mark: Mark{Seq: w.seq}, Arrived: w.now})
}

func (w *world) optOut(out bool) {
	w.choiceSeen = false // of whoever opts out nothing is kept, not even what they chose
	if w.excluded == out {
		return
	}
	w.excluded = out
	w.changes++
	w.note("the member opts out: %v", out)
	w.step(MemberChanged{Excluded: out, Endpoints: []presence.EndpointID{w.ep}})
}

// pbxLost takes the link to the PBX away for a lease, or brings it back.
func (w *world) pbxLost(lost bool) {
	if w.pbxDown == lost {
		return
	}
	w.changes++
	w.note("FAULT the pbx is out of sight: %v", lost)
	if w.pbxDown = lost; lost {
		w.events = nil
		w.step(EndpointUnseen{Endpoint: w.ep})
		return
	}
	w.snapshot()
}

func (w *world) deliverEvent(i int) {
	e := w.events[i]
	w.events = append(w.events[:i:i], w.events[i+1:]...)
	w.step(e)
}

// settle lets everything be delivered and answered, with sweeps of both sides, until nothing moves.
func (w *world) settle() {
	w.prefUntil = w.now.Add(24 * time.Hour) // people rest, too
	for range 18 {
		for range 4 {
			w.drain()
			w.advance(5 * time.Second)
		}
		w.sweep()
		w.snapshot()
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
