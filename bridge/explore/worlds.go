package explore

// all is what may go wrong in between, without the process ending.
func all() faultKinds {
	return faultKinds{lose: true, reorder: true, double: true, fail: true, refuse: true, showLate: true, unseen: true, down: true}
}

// usual is what a world is where nothing else is said: its sort of PBX, and people who do nothing.
func usual(s sort) World {
	return World{
		sort: s, endpoints: 1, clientSessions: 1, starts: starts(s),
		clients: []pair{available, inCall, offline}, lines: []line{idle, talking}, picks: []status{stAvailable, stDND},
	}
}

// Worlds are the small worlds that are exhausted in every test run, or the larger ones of `make explore`.
func Worlds(large bool) []World {
	var out []World
	for _, s := range sorts() {
		w := usual(s)
		w.Name, w.people = s.String()+", no faults", 1
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
		for _, x := range specials() {
			if w, ok := x.world(w, large); ok {
				out = append(out, w)
			}
		}
	}
	return out
}

func sorts() []sort { return []sort{trusted, plain, versioned, document} }

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
