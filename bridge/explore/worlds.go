package explore

// all is what may go wrong in between, without the process ending.
func all() faultKinds {
	return faultKinds{lose: true, reorder: true, double: true, fail: true, showLate: true, unseen: true, down: true}
}

// Worlds are the small worlds that are exhausted in every test run, or the larger ones of `make explore`.
func Worlds(large bool) []World {
	base := World{
		endpoints: 1, clientSessions: 1,
		clients: []pair{available, inCall, offline}, lines: []line{idle, talking}, picks: []status{stAvailable, stDND},
	}
	var out []World
	for _, s := range sorts() {
		w := base
		w.Name, w.sort, w.starts, w.people = s.String()+", no faults", s, starts(s), 1
		if large {
			w.people = 2
		}
		out = append(out, w)
		if !large {
			w.starts = w.starts[2:4]
		}
		w.Name, w.people, w.faultCount, w.faults = s.String()+", one fault", 1, 1, all()
		out = append(out, w)
		w.Name, w.faultCount, w.crashes = s.String()+", a crash", 0, 1
		out = append(out, w)
		w.crashes, w.starts = 0, w.starts[:1]
		out = append(out, special(w, large)...)
	}
	return out
}

func sorts() []sort { return []sort{trusted, plain, versioned, document} }

// special worlds look at one thing each, with one phone's sort of PBX.
func special(base World, large bool) []World {
	var out []World
	add := func(what string, small, more uint8, set func(w *World)) {
		w := base
		if w.sort == versioned || w.sort == document { // less of what the other two show as well
			small = min(small, 1)
		}
		w.Name, w.people = w.sort.String()+", "+what, small
		if large {
			w.people = more
		}
		set(&w)
		out = append(out, w)
	}
	add("preferred presence", 2, 3, func(w *World) {
		w.clients, w.preferences = []pair{available, offline}, []pair{noPair, dnd}
		w.starts = []start{{client: offline, status: stAvailable, line: idle}, {client: available, status: stAvailable, line: talking}}
	})
	add("calls of somebody who is offline", 2, 4, func(w *World) {
		w.clients, w.picks = []pair{available, offline}, nil
		w.starts = starts(w.sort)[3:4]
	})
	add("two clients", 2, 3, func(w *World) {
		w.clientSessions, w.clients = 2, []pair{available, inCall, presenting, offline}
		w.starts = []start{{client: available, status: stAvailable, line: talking, tieOurs: true}}
	})
	add("answers that take their time", 2, 3, func(w *World) { w.slowReads = true })
	add("opting out and moving", 2, 3, func(w *World) {
		w.optOut, w.moves, w.clients = true, true, []pair{available, inCall}
		w.starts = []start{{client: inCall, status: stAvailable, line: idle}, {client: available, status: stDND, line: talking}}
	})
	add("Away crosses", 1, 2, func(w *World) {
		away := awayOnPhone(w.sort)
		w.awayCrosses, w.picks, w.starts = true, away.picks, away.starts
	})
	add("two phones", 1, 2, func(w *World) {
		w.endpoints, w.picks, w.clients = 2, []status{stDND}, []pair{available, inCall}
		w.starts = []start{{client: available, status: stAvailable, line: idle}}
	})
	add("a fault and a crash", 0, 1, func(w *World) {
		w.faultCount, w.faults, w.crashes = 1, all(), 1
		w.starts = starts(w.sort)[3:4]
	})
	add("two faults", 0, 2, func(w *World) {
		w.faultCount, w.faults, w.starts = 2, all(), starts(w.sort)[1:2]
	})
	if base.sort == trusted {
		add("a write of a former life", 1, 2, func(w *World) {
			w.starts = []start{
				{client: available, status: stAvailable, line: idle, coming: stCall},
				{client: inCall, status: stCall, own: true, line: idle, coming: stAvailable},
				{client: inCall, status: stAvailable, line: idle, coming: stDND},
			}
		})
		add("picks that equal what shows", 2, 3, func(w *World) { w.samePicks = true })
		add("versions that count the line", 2, 3, func(w *World) { w.lineVersions = true })
	}
	return out
}

// starts are the states in which the bridge may find a member.
func starts(s sort) []start {
	out := []start{
		{client: available, status: stAvailable, line: idle},
		{client: available, status: stAvailable, line: talking},
		{client: offline, status: stDND, line: idle},
		{client: offline, preferred: dnd, status: stAvailable, line: talking},
		{client: inCall, status: stLunch, line: talking, tieOurs: true},
		{client: inCall, status: stAvailable, line: idle},
		{client: available, session: inCall, status: stAvailable, line: idle},
		{client: offline, preferred: dnd, session: presenting, status: stAvailable, line: idle},
	}
	if s == trusted {
		out = append(out, start{client: available, status: stCall, own: true, line: idle})
	}
	return out
}
