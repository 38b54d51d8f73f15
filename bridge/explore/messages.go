package explore

// Status messages, in the worlds in which people write them.

// messageShown is what Teams shows: the person's own before ours.
func (s *state) messageShown() message {
	if s.message != noMessage {
		return s.message
	}
	return s.note
}

// messagesOfPeople: each side's message is written or taken away.
func (m *mover) messagesOfPeople() {
	if !m.x.world.messages {
		return
	}
	flip := func(now, other message) message {
		if now == other {
			return noMessage
		}
		return other
	}
	words := messageWords()
	next := flip(m.from.message, msgTeams)
	m.move(person, m.text("the person's message in Teams is %q", words[next]), func(t *turn) { t.s.message = next })
	for i := range m.x.e.ids {
		next := flip(m.from.ep[i].told, msgPhone)
		if next == m.from.ep[i].is.msg {
			continue // leaves no trace
		}
		m.move(person, m.text("phone %d: the person's message is %q", i+1, words[next]), func(t *turn) {
			p := &t.s.ep[i]
			p.is.msg, p.told = next, next
			p.is.ver++
			t.happened(p)
		})
	}
}

// messageInTeams lets a request of ours about the message in Teams arrive. It is carried out where the person has none.
func (t *turn) messageInTeams(msg message) {
	s := &t.s
	t.say("the bridge makes %q the message in Teams, where there is none", messageWords()[msg])
	if msg == msgTeams && t.x.world.crashes == 0 {
		t.fail("no echo: the bridge writes the person's own message back to Teams")
	}
	if s.message == noMessage && !s.down {
		s.note = msg
	}
}

// messagesInTeams: a message of ours that nobody prolongs ends.
func (m *mover) messagesInTeams() {
	if m.from.note != noMessage && (m.from.aging || m.x.world.crashes > 0) {
		m.move(long, "our message in Teams ends by itself", func(t *turn) { t.s.note = noMessage })
	}
}

// agreeOnMessages is "agreement" about messages at rest: each side shows the other's own, over nothing but its own on the phone,
// and ours never is taken for the person's.
func (x *explorer) agreeOnMessages(s *state, fail func(format string, args ...any)) {
	if !x.world.messages || s.excluded {
		return
	}
	words, want := messageWords(), noMessage
	for i := range x.e.ids {
		if s.ep[i].down {
			return
		}
		p, b := &s.ep[i], &x.e.recs[s.rec].eps[i]
		switch {
		case p.is.msg == p.told:
			if s.message != noMessage && s.message != p.told && !b.declined && !x.hides(s) {
				fail("agreement: at rest the message in Teams is %q, but phone %d shows %q", words[s.message], i+1, words[p.is.msg])
			}
			want = p.told
		case s.message == noMessage:
			fail("agreement: at rest Teams has no message, but phone %d shows %q instead of the person's own %q", i+1, words[p.is.msg], words[p.told])
		case p.is.msg != s.message:
			fail("agreement: at rest phone %d shows %q", i+1, words[p.is.msg])
		}
		if b.note && b.gives != noMessage && b.gives != msgPhone {
			fail("own previous: the message %q of phone %d would be given back, which was never the person's", words[b.gives], i+1)
		}
	}
	if s.message == noMessage && s.note != want {
		fail("agreement: at rest the message on the phone is %q, but Teams shows %q", words[want], words[s.note])
	}
}

// hides tells whether what the person's own state in Teams is cannot be seen, or is not known.
func (x *explorer) hides(s *state) bool {
	return s.hides() || s.awake() || x.e.recs[s.rec].woken != noPair
}
