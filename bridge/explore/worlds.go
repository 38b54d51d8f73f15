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
	for _, s := range []sort{trusted, plain, versioned, document} {
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
