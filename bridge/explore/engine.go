package explore

import (
	"fmt"
	"reflect"
	"time"

	"presencebridge/bridge"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// recID names a canonical record.
type recID uint32

// entry is a record, and what the world has to know of it without asking again.
type entry struct {
	rec    bridge.Record
	stamps [2]stamps // of the endpoints
	teams  uint16    // pending timers, by kind
	ep     [2]uint16
	eps    [2]belief
	write  bool // a write to Teams is under way or waited out
	stands pair // value of a standing assertion in Teams without a write
	woken  pair
	seen   bool // Teams was seen
	blank  bool // nothing is kept of the member
}

// belief is what a record holds about an endpoint.
type belief struct {
	seen      bool
	own       status
	asserts   status
	before    status
	previous  status
	overrides bool
	pending   bool
	gives     message // the person's own message, under one of ours
	note      bool    // one of ours is there
	declined  bool
}

// stamps are the version and the time of change that an endpoint's record holds, as the world counts them.
type stamps struct{ ver, chg uint8 }

// event is an event of the engine in the world's numbers. Which numbers matter depends on its kind.
type event struct {
	kind    eventKind
	ep      uint8
	pair    pair
	line    line
	status  status
	msg     message
	ver     uint8
	chg     uint8
	by      pbx.Author
	fresh   bool // of a read: nothing overtook it; of an answer: its write is the one under way
	outcome bridge.Outcome
	timer   bridge.TimerKind
}

type eventKind uint8

const (
	evPushed eventKind = iota
	evSwept
	evTeamsRead
	evTeamsReadFailed
	evTeamsAnswered
	evTeamsUnseen
	evSeen
	evSnapshot
	evRead
	evReadFailed
	evAnswered
	evUnseen
	evTimer
	evRecovered
	evMember // fresh: excluded; ver: bits of the endpoints that are the member's; chg: the directions that are opted out of
)

// effect is an effect of the engine in the world's numbers.
type effect struct {
	kind   effectKind
	ep     uint8
	pair   pair
	status status
	msg    message
	ver    uint8
}

type effectKind uint8

const (
	efSet effectKind = iota
	efRenew
	efClear
	efRead
	efApply
	efReadEndpoint
	efForget
	efMessage // in Teams
)

// stepped is the result of a step.
type stepped struct {
	next, saved recID // saved: what is stored, 0 if nothing is
	// What makes requests that are under way unbelievable.
	teamsMoved, teamsWriteGone bool
	epMoved, epWriteGone       [2]bool
	effects                    []effect
}

type stepKey struct {
	rec recID
	ev  event
}

// engine runs [bridge.Step] once for every record and event, and remembers what came of it.
type engine struct {
	w      *words
	rules  bridge.Rules
	out    [4]*policy.Policy // by the directions that are opted out of
	ids    []presence.EndpointID
	recs   []entry // from 1
	byKey  map[string]recID
	memo   map[stepKey]stepped
	ranks  map[rankKey]recID
	steps  int
	key    []byte // reused
	stores bool   // a crash may come: what is stored matters
}

func newEngine(w *words, caps pbx.Capabilities, endpoints int, without bridge.RuleSet) *engine {
	e := &engine{
		w: w, byKey: map[string]recID{}, memo: map[stepKey]stepped{}, ranks: map[rankKey]recID{}, recs: make([]entry, 1),
	}
	p := w.policy
	e.rules = bridge.Rules{Policy: &p, Contest: bridge.ContestRules{Flips: -1}, PBX: map[string]bridge.PBXRules{"main": {Capabilities: caps, Statuses: w.catalogue()}}}.WithDefaults()
	e.rules.Without = without
	for d := range e.out {
		e.out[d] = e.rules.Policy.For(nil, presence.Directions(d))
	}
	for i := range endpoints {
		e.ids = append(e.ids, presence.EndpointID{PBX: "main", User: fmt.Sprint(101 + i)})
	}
	return e
}

// begin is the record of a member whom nobody has seen yet.
func (e *engine) begin() recID {
	rec := bridge.NewRecord("m", &e.rules)
	return e.intern(&rec)
}

func (e *engine) epoch(i int) time.Time {
	return time.Unix(1_000_000, 0).UTC().Add(time.Duration(i) * time.Second)
}

func (e *engine) stampOf(t time.Time) uint8 {
	if t.IsZero() {
		return 0
	}
	return uint8(t.Sub(e.epoch(0)) / time.Second)
}

func (e *engine) changedAt(stamp uint8) time.Time {
	if stamp == 0 {
		return time.Time{}
	}
	return e.epoch(int(stamp))
}

func (e *engine) intern(r *bridge.Record) recID {
	c := r.Canonical()
	e.key = c.AppendKey(e.key[:0])
	if id, ok := e.byKey[string(e.key)]; ok {
		return id
	}
	id := recID(len(e.recs))
	e.byKey[string(e.key)] = id
	e.recs = append(e.recs, e.entry(c))
	return id
}

func (e *engine) entry(c bridge.Record) entry {
	n := entry{rec: c, write: c.Teams.Write != nil, woken: e.w.pair(c.Teams.Woken), seen: !c.Teams.Shown.IsZero()}
	n.blank = reflect.DeepEqual(c.Teams, blankTeams()) && len(c.Endpoints) == 0
	if a := c.Teams.Assertion; a != nil && a.Phase == bridge.PhaseStanding && !n.write {
		n.stands = e.w.pair(a.Value)
	}
	c.EachTimer(func(ref bridge.TimerRef, _ time.Time) {
		if i, ok := e.index(ref.Endpoint); ok {
			n.ep[i] |= 1 << ref.Kind
		} else {
			n.teams |= 1 << ref.Kind
		}
	})
	for i := range c.Endpoints {
		ep := &c.Endpoints[i]
		j, ok := e.index(ep.ID)
		if !ok {
			continue
		}
		b := belief{seen: ep.Seen, own: e.w.status(ep.Status)}
		if a := ep.Assertion; a != nil {
			b.asserts, b.before, b.previous = e.w.status(a.Value), e.w.status(a.Before), e.w.status(a.Previous)
		}
		if n := ep.Note; n != nil {
			b.note, b.gives = true, e.message(n.Previous)
		}
		b.declined = ep.Declined != ""
		if ep.Override != nil {
			b.overrides, b.pending = true, ep.Override.Pending
		}
		n.eps[j], n.stamps[j] = b, stamps{uint8(ep.Version), e.stampOf(ep.ChangedAt)}
	}
	return n
}

func (e *engine) index(id presence.EndpointID) (int, bool) {
	for i := range e.ids {
		if e.ids[i] == id {
			return i, true
		}
	}
	return 0, false
}

type rankKey struct {
	rec recID
	to  [2]stamps
}

// restamp is the record with other versions and times of change: only their order and equality matter.
func (e *engine) restamp(id recID, to [2]stamps) recID {
	if id == 0 || e.recs[id].stamps == to {
		return id
	}
	key := rankKey{id, to}
	if n, ok := e.ranks[key]; ok {
		return n
	}
	rec := e.recs[id].rec.Clone()
	for i := range rec.Endpoints {
		if j, ok := e.index(rec.Endpoints[i].ID); ok {
			rec.Endpoints[i].Version, rec.Endpoints[i].ChangedAt = uint64(to[j].ver), e.changedAt(to[j].chg)
		}
	}
	n := e.intern(&rec)
	e.ranks[key] = n
	return n
}

// step runs the engine's step.
func (e *engine) step(id recID, ev event) stepped {
	key := stepKey{id, ev}
	if s, ok := e.memo[key]; ok {
		return s
	}
	e.steps++
	was := e.recs[id].rec
	next, effects := bridge.Step(&e.rules, was, e.event(ev), time.Unix(2_000_000_000, 0).UTC())
	s := stepped{next: e.intern(&next)}
	if e.stores {
		if loaded, ok := next.StoredAs(&was); ok {
			s.saved = e.intern(&loaded)
		}
	}
	s.teamsMoved = next.TeamsEpoch() != bridge.CanonicalEpoch
	s.teamsWriteGone = next.Teams.Write == nil || next.Teams.Write.ID != bridge.CanonicalWriteID
	for i, epID := range e.ids {
		ep := next.Endpoint(epID)
		s.epMoved[i] = ep == nil || next.EndpointEpoch(epID) != bridge.CanonicalEpoch
		s.epWriteGone[i] = ep == nil || ep.Write == nil || ep.Write.ID != bridge.CanonicalWriteID
	}
	for _, eff := range effects {
		if x, ok := e.effect(eff); ok {
			s.effects = append(s.effects, x)
		}
	}
	e.memo[key] = s
	return s
}

// believable is the epoch that a read carries.
func believable(fresh bool) uint32 {
	if fresh {
		return bridge.CanonicalEpoch
	}
	return bridge.CanonicalEpoch - 1
}

func writeID(fresh bool) uint32 {
	if fresh {
		return bridge.CanonicalWriteID
	}
	return bridge.CanonicalWriteID - 1
}

func (e *engine) state(ev event) pbx.State {
	return pbx.State{
		Line: e.w.lines[ev.line], Status: e.w.statuses[ev.status], Version: uint64(ev.ver), ChangedAt: e.changedAt(ev.chg),
		ChangedBy: ev.by, Message: messageWords()[ev.msg],
	}
}

func (e *engine) message(text string) message {
	for i, m := range messageWords() {
		if m == text {
			return message(i)
		}
	}
	return noMessage
}

func (e *engine) event(ev event) bridge.Event {
	switch ev.kind {
	case evPushed:
		return bridge.TeamsPushed{Pair: e.w.pairs[ev.pair]}
	case evSwept:
		return bridge.TeamsSwept{Pair: e.w.pairs[ev.pair], Epoch: believable(ev.fresh), Details: e.details(ev)}
	case evTeamsRead:
		return bridge.TeamsRead{Pair: e.w.pairs[ev.pair], Epoch: believable(ev.fresh), Details: e.details(ev)}
	case evTeamsReadFailed:
		return bridge.TeamsReadFailed{}
	case evTeamsAnswered:
		return bridge.TeamsAnswered{ID: writeID(ev.fresh), Outcome: ev.outcome}
	case evTeamsUnseen:
		return bridge.TeamsUnseen{}
	case evRecovered:
		return bridge.Recovered{}
	case evTimer:
		ref := bridge.TimerRef{Kind: ev.timer}
		if ev.ep > 0 {
			ref.Endpoint = e.ids[ev.ep-1]
		}
		return bridge.TimerFired{Timer: ref}
	case evMember:
		m := bridge.MemberChanged{Excluded: ev.fresh, Policy: e.out[ev.chg]}
		for i, id := range e.ids {
			if ev.ver&(1<<i) != 0 {
				m.Endpoints = append(m.Endpoints, id)
			}
		}
		return m
	default:
		return e.endpointEvent(ev)
	}
}

func (e *engine) details(ev event) *bridge.Details {
	return &bridge.Details{Message: messageWords()[ev.msg]}
}

func (e *engine) endpointEvent(ev event) bridge.Event {
	id := e.ids[ev.ep]
	switch ev.kind {
	case evSeen:
		return bridge.EndpointSeen{Endpoint: id, State: e.state(ev)}
	case evSnapshot:
		return bridge.EndpointSnapshot{Endpoint: id, State: e.state(ev), Epoch: believable(ev.fresh)}
	case evRead:
		return bridge.EndpointRead{Endpoint: id, State: e.state(ev), Epoch: believable(ev.fresh)}
	case evReadFailed:
		return bridge.EndpointReadFailed{Endpoint: id}
	case evAnswered:
		return bridge.EndpointAnswered{Endpoint: id, ID: writeID(ev.fresh), Outcome: ev.outcome, State: e.state(ev)}
	default:
		return bridge.EndpointUnseen{Endpoint: id}
	}
}

func (e *engine) effect(eff bridge.Effect) (effect, bool) {
	switch eff := eff.(type) {
	case bridge.SetTeams:
		x := effect{kind: efSet, pair: e.w.pair(eff.Value)}
		if eff.Renewal {
			x.kind = efRenew
		}
		return x, true
	case bridge.ClearTeams:
		return effect{kind: efClear}, true
	case bridge.ReadTeams:
		return effect{kind: efRead}, true
	case bridge.ForgetMember:
		return effect{kind: efForget}, true
	case bridge.ApplyEndpoint:
		i, _ := e.index(eff.Endpoint)
		x := effect{kind: efApply, ep: uint8(i), status: e.w.status(eff.Write.Status), ver: uint8(eff.Write.IfVersion), msg: asItIs}
		if eff.Write.Message != nil {
			x.msg = e.message(*eff.Write.Message)
		}
		return x, true
	case bridge.TeamsMessage:
		return effect{kind: efMessage, msg: e.message(eff.Text)}, true
	case bridge.ReadEndpoint:
		i, _ := e.index(eff.Endpoint)
		return effect{kind: efReadEndpoint, ep: uint8(i)}, true
	}
	return effect{}, false
}

// blankTeams is Teams' side of a record that says nothing.
func blankTeams() bridge.TeamsSide {
	var r bridge.Record
	return r.Canonical().Teams
}
