package explore

import "cmp"

// A special world looks at one thing.
type special struct {
	what     string
	few      perSort // actions by people in a test run
	many     perSort // and in a large one
	anywhere bool    // the bridge may find the member in any state
	is       World   // what differs from the usual; nil, 0 and false say nothing
}

// perSort is a number for each sort of PBX; no where that sort shows nothing of the thing, or nothing new.
type perSort [4]uint8

const no = 255

// Where one sort of PBX shows a thing well enough, the others get less of it.
func each(n uint8) perSort { return perSort{trusted: n, plain: n, versioned: n, document: n} }
func two() perSort         { return perSort{trusted: 2, plain: 2, versioned: 1, document: 1} }
func second() perSort      { return perSort{trusted: 2, plain: 1, versioned: 1, document: 1} }

func only(s sort, n uint8) perSort {
	out := each(no)
	out[s] = n
	return out
}

func (p perSort) without(s sort) perSort {
	p[s] = no
	return p
}

// world is what becomes of the usual one with its sort of PBX, if anything does.
func (x special) world(usual World, large bool) (World, bool) {
	people := x.few[usual.sort]
	if large {
		people = x.many[usual.sort]
	}
	w := x.is
	w.Name, w.sort, w.people = usual.sort.String()+", "+x.what, usual.sort, people
	w.endpoints, w.clientSessions = cmp.Or(w.endpoints, usual.endpoints), cmp.Or(w.clientSessions, usual.clientSessions)
	w.faults = cmp.Or(w.faults, usual.faults)
	w.clients, w.lines = said(w.clients, usual.clients), said(w.lines, usual.lines)
	w.picks, w.starts = said(w.picks, usual.picks), said(w.starts, usual.starts)
	if x.anywhere {
		w.starts = anyStart(usual.sort)
	}
	return w, people != no
}

// said is the list, or what is usual where there is none: an empty one means nothing at all.
func said[T any](list, usual []T) []T {
	if list == nil {
		return usual
	}
	return list
}

// specials are first about what people, Teams and phones can do, then about what comes in between.
func specials() []special {
	return append(abilities(), disturbances()...)
}

func atRest() start        { return start{client: available, status: stAvailable, line: idle} }
func onPhoneCall() start   { return start{client: available, status: stAvailable, line: talking} }
func inTeamsCall() start   { return start{client: inCall, status: stAvailable, line: idle} }
func dndAndTalking() start { return start{client: available, status: stDND, line: talking} }

func abilities() []special {
	flip := []pair{available, inCall}
	causes := []pair{available, inCall, dnd}
	away := awayOnPhone(trusted)
	return []special{
		{what: "preferred presence", few: second(), many: each(3), is: World{
			clients: []pair{available, offline}, preferences: []pair{noPair, dnd},
			starts: []start{{client: offline, status: stAvailable, line: idle}, onPhoneCall()},
		}},
		{what: "two causes on either side", few: only(trusted, 2), many: only(trusted, 3), is: World{
			clients: causes, starts: []start{onPhoneCall(), dndAndTalking()}, samePicks: true,
		}},
		{what: "two causes on either side", few: each(1).without(trusted), many: each(3).without(trusted), is: World{
			clients: causes, starts: []start{onPhoneCall(), dndAndTalking()},
		}},
		{what: "calls of somebody who is offline", few: two(), many: each(4), is: World{
			clients: []pair{available, offline}, picks: []status{}, starts: starts(trusted)[3:4],
		}},
		{what: "two clients", few: second(), many: each(3), is: World{
			clientSessions: 2, clients: []pair{available, inCall, presenting, offline},
			starts: []start{{client: available, status: stAvailable, line: talking, tieOurs: true}},
		}},
		{what: "answers that take their time", few: two(), many: each(3), is: World{slowReads: true}},
		{what: "opting out and moving", few: two(), many: each(3), is: World{
			optOut: true, moves: true, clients: flip, starts: []start{inTeamsCall(), dndAndTalking()},
		}},
		{what: "Away crosses", few: second(), many: each(2), is: World{awayCrosses: true, picks: away.picks, starts: away.starts}},
		{what: "two phones", few: each(1), many: each(2), is: World{
			endpoints: 2, picks: []status{stDND}, clients: flip, starts: []start{atRest()},
		}},
	}
}

func disturbances() []special {
	flip := []pair{available, inCall}
	fights := []start{inTeamsCall(), {client: available, status: stDND, line: idle}}
	return []special{
		{what: "a fault and a crash", few: each(0), many: each(1), is: World{
			faultCount: 1, faults: all(), crashes: 1, starts: starts(trusted)[3:4],
		}},
		{what: "two faults", few: each(0), many: each(2), is: World{faultCount: 2, faults: all(), starts: starts(trusted)[1:2]}},
		{what: "a call that flaps to a meeting", few: each(1), many: each(3), is: World{
			clients: []pair{available, inCall, meeting}, picks: []status{stDND}, starts: []start{inTeamsCall()},
		}},
		{what: "opting out one way", few: each(1), many: each(3), is: World{
			directions: true, clients: flip, starts: []start{inTeamsCall(), dndAndTalking()},
		}},
		{what: "Teams cut off", few: each(1), many: each(2), is: World{
			faultCount: 1, faults: faultKinds{cut: true}, starts: []start{inTeamsCall(), onPhoneCall()},
		}},
		{what: "first start in any state", few: each(0), many: each(1), anywhere: true},
		// A PBX that keeps our own document has no messages apart from it, and nobody else writes there.
		{what: "messages", few: second().without(document), many: each(2).without(document), is: World{
			messages: true, clients: flip, picks: []status{stDND}, starts: []start{atRest()},
		}},
		{what: "messages and a fault", few: each(1).without(document), many: each(2).without(document), is: World{
			messages: true, clients: flip, picks: []status{}, lines: []line{idle}, starts: []start{atRest()},
			faultCount: 1, faults: faultKinds{lose: true, double: true, fail: true, refuse: true, down: true},
		}},
		{what: onPhone.String(), few: each(0).without(document), many: each(0).without(document), is: World{
			rival: onPhone, clients: flip, picks: []status{stDND}, faultCount: 1, bound: 8, starts: fights,
		}},
		{what: inTeams.String(), few: only(trusted, 0), many: each(0).without(document), is: World{ // the fight is the same
			rival: inTeams, clients: flip, picks: []status{stDND}, faultCount: 1, bound: 8, starts: fights,
		}},
		{what: "a write of a former life", few: only(trusted, 1), many: only(trusted, 2), is: World{starts: []start{
			{client: available, status: stAvailable, line: idle, coming: stCall},
			{client: inCall, status: stCall, own: true, line: idle, coming: stAvailable},
			{client: inCall, status: stAvailable, line: idle, coming: stDND},
		}}},
		{what: "picks that equal what shows", few: only(trusted, 2), many: only(trusted, 3), is: World{samePicks: true}},
		{what: "versions that count the line", few: only(trusted, 2), many: only(trusted, 3), is: World{lineVersions: true}},
	}
}
