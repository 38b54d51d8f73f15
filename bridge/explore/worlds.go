package explore

// all is what may go wrong in between, without the process ending.
func all() faultKinds {
	return faultKinds{lose: true, reorder: true, double: true, fail: true, refuse: true, showLate: true, unseen: true, down: true}
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
	second := uint8(1) // of the worlds that one sort of PBX shows well enough
	if base.sort == trusted {
		second = 2
	}
	add("preferred presence", second, 3, func(w *World) {
		w.clients, w.preferences = []pair{available, offline}, []pair{noPair, dnd}
		w.starts = []start{{client: offline, status: stAvailable, line: idle}, {client: available, status: stAvailable, line: talking}}
	})
	add("two causes on either side", second, 3, func(w *World) {
		w.clients, w.samePicks = []pair{available, inCall, dnd}, w.sort == trusted
		w.starts = []start{{client: available, status: stAvailable, line: talking}, {client: available, status: stDND, line: talking}}
	})
	add("calls of somebody who is offline", 2, 4, func(w *World) {
		w.clients, w.picks = []pair{available, offline}, nil
		w.starts = starts(w.sort)[3:4]
	})
	add("two clients", second, 3, func(w *World) {
		w.clientSessions, w.clients = 2, []pair{available, inCall, presenting, offline}
		w.starts = []start{{client: available, status: stAvailable, line: talking, tieOurs: true}}
	})
	add("answers that take their time", 2, 3, func(w *World) { w.slowReads = true })
	add("opting out and moving", 2, 3, func(w *World) {
		w.optOut, w.moves, w.clients = true, true, []pair{available, inCall}
		w.starts = []start{{client: inCall, status: stAvailable, line: idle}, {client: available, status: stDND, line: talking}}
	})
	add("Away crosses", second, 2, func(w *World) {
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
	add("a call that flaps to a meeting", 1, 3, func(w *World) {
		w.clients, w.picks = []pair{available, inCall, meeting}, []status{stDND}
		w.starts = []start{{client: inCall, status: stAvailable, line: idle}}
	})
	add("opting out one way", 1, 3, func(w *World) {
		w.directions, w.clients = true, []pair{available, inCall}
		w.starts = []start{{client: inCall, status: stAvailable, line: idle}, {client: available, status: stDND, line: talking}}
	})
	add("Teams cut off", 1, 2, func(w *World) {
		w.faultCount, w.faults = 1, faultKinds{cut: true}
		w.starts = []start{{client: inCall, status: stAvailable, line: idle}, {client: available, status: stAvailable, line: talking}}
	})
	add("first start in any state", 0, 1, func(w *World) { w.starts = anyStart(w.sort) })
	if base.sort != document { // no such PBX has messages apart from our document
		add("messages", second, 2, func(w *World) {
			w.messages, w.clients, w.picks = true, []pair{available, inCall}, []status{stDND}
			w.starts = []start{{client: available, status: stAvailable, line: idle}}
		})
		add("messages and a fault", 1, 2, func(w *World) {
			w.messages, w.clients, w.picks, w.lines = true, []pair{available, inCall}, nil, []line{idle}
			w.starts = []start{{client: available, status: stAvailable, line: idle}}
			w.faultCount, w.faults = 1, faultKinds{lose: true, double: true, fail: true, refuse: true, down: true}
		})
		for _, r := range []rivals{onPhone, inTeams} {
			if r == inTeams && base.sort != trusted && !large {
				continue // the fight is the same
			}
			add(r.String(), 0, 0, func(w *World) {
				w.rival, w.clients, w.picks, w.faultCount, w.bound = r, []pair{available, inCall}, []status{stDND}, 1, 8
				w.starts = []start{{client: inCall, status: stAvailable, line: idle}, {client: available, status: stDND, line: idle}}
			})
		}
	}
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

// anyStart is every state in which the bridge may find a member, with one session and one phone.
func anyStart(s sort) []start {
	var out []start
	for _, client := range []pair{available, inCall, offline} {
		for _, preferred := range []pair{noPair, dnd} {
			for _, session := range []pair{noPair, inCall, presenting} {
				for _, l := range []line{idle, talking} {
					for _, st := range []start{
						{status: stAvailable}, {status: stDND}, {status: stLunch}, {status: stCall}, {status: stCall, own: true}, {status: stDND, own: true},
					} {
						if st.own && s != trusted {
							continue // nobody says who wrote it
						}
						st.client, st.preferred, st.session, st.line = client, preferred, session, l
						out = append(out, st)
					}
				}
			}
		}
	}
	return out
}
