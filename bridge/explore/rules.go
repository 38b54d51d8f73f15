package explore

import "presencebridge/bridge"

// Rule is a rule that is said to be necessary, and the worlds in which its counter-example is looked for, in order.
type Rule struct {
	Name   string
	Means  string
	Worlds []World
}

// Rules are the rules that a switch can take away. Without any of them a property breaks.
func Rules() []Rule {
	off := func(x bridge.RuleSet) func(w *World) { return func(w *World) { w.without = x } }
	return []Rule{
		rule("R2 hidden", "what our session shows counts as the person's own", off(bridge.RuleHidden), peaceful(trusted)),
		rule("R3 beneath", "the status beneath an assertion of ours crosses", off(bridge.RuleBeneath), awayOnPhone(trusted), awayOnPhone(document)),
		rule("R4 unknown", "a side that is not seen stays as it was", off(bridge.RuleUnknown), faulty()),
		rule("R5 woken", "what our session wakes counts as a choice", off(bridge.RuleWoken), peaceful(trusted)),
		rule("R6 write ahead", "an error is taken for a write that did not land", off(bridge.RuleWriteAhead), faulty()),
		rule("R7 fence", "a read right after an answer is believed", off(bridge.RuleFence), faulty()),
		rule("R8 read before write", "a status is written over without a look, or a version", off(bridge.RuleReadFirst), twoHands(), peaceful(trusted)),
		rule("R9 rank", "a first assertion writes over any choice", off(bridge.RuleRank), peaceful(trusted)),
		rule("R14 confirm", "everything is believed at once", off(bridge.RuleConfirm), peaceful(trusted)),
		rule("R15 answered, then read", "a value that we withdrew is believed like any other", off(bridge.RuleAnsweredRead), peaceful(trusted)),
		rule("R16 sweep both", "neither side is read through", func(w *World) { w.noSweeps = true }, faulty()),
		rule("R17 person wins", "a choice by hand is no override", off(bridge.RulePersonWins), peaceful(trusted)),
	}
}

func rule(name, means string, without func(w *World), worlds ...World) Rule {
	for i := range worlds {
		worlds[i].onlyFirst = true
		without(&worlds[i])
	}
	return Rule{Name: name, Means: means, Worlds: worlds}
}

// peaceful is a world without faults in which the rules show what they are for, faulty one with a fault.
func peaceful(s sort) World {
	return World{
		Name: s.String() + ", no faults", sort: s, starts: starts(s), people: 2, endpoints: 1, clientSessions: 1,
		clients: []pair{available, inCall, offline}, lines: []line{idle, talking}, picks: []status{stAvailable, stDND},
	}
}

// twoHands is a world in which a person picks on the phone while they are called in Teams.
func twoHands() World {
	w := peaceful(trusted)
	w.Name, w.starts, w.clients, w.picks, w.lines = "a pick and a Teams call", w.starts[:1], []pair{available, inCall}, []status{stDND}, []line{idle}
	return w
}

func faulty() World {
	const s = trusted
	w := peaceful(s)
	w.Name, w.starts, w.people, w.faultCount, w.faults = s.String()+", one fault", starts(s)[:6], 1, 1, all()
	return w
}

// awayOnPhone is a world whose policy lets a status cross that a call ranks above.
func awayOnPhone(s sort) World {
	w := peaceful(s)
	w.Name, w.awayCrosses, w.picks = s.String()+", Away crosses", true, []status{stAvailable, stAway}
	w.starts = []start{{client: available, status: stAway, line: idle}, {client: offline, status: stAvailable, line: idle},
		{client: available, status: stAway, line: talking}}
	return w
}
