package sip

import (
	"time"

	"presencebridge/bridge/pbx"
)

// noticed folds a notification. It is called in order, from the goroutine that reads, and does not wait for anything.
func (s *session) noticed(t *tracked, n notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.leaving || !s.subs[t] {
		return
	}
	s.connected()
	s.heardAny = true
	t.until = time.Time{}
	switch {
	case n.state == "pending": // nobody decided yet whether we may know
	case t.of == nil:
		s.foldList(t, n)
	default:
		s.foldOne(t, n)
	}
	if n.state == "terminated" {
		s.terminated(t, n)
	} else if n.expires > 0 {
		if due := time.Now().Add(refreshAfter(n.expires)); due.Before(t.due) {
			t.due = due
		}
	}
	s.settle(t)
}

func (s *session) foldOne(t *tracked, n notice) {
	gap, err := t.of.fold(t.event, n.body)
	switch {
	case err != nil:
		s.unreadable(t, err)
	case gap:
		s.wantFull(t)
	}
}

// unreadable notes that something was said and is lost. What it was about is unknown until the next full state.
func (s *session) unreadable(t *tracked, err error) {
	s.c.metrics.Bad(t.event)
	s.c.cfg.Log.Warn("a notification of the pbx cannot be read", "package", t.event, "error", err)
	if t.of != nil {
		t.of.forget(t.event)
	}
}

// wantFull asks for the full state: a refresh is answered by it (RFC 4235 section 4.3, RFC 6665 section 4.2.1.2).
func (s *session) wantFull(t *tracked) {
	s.c.metrics.gap(t.event)
	t.due, t.again = time.Now(), true
}

// terminated does what the reason asks for (RFC 6665 section 4.1.3).
func (s *session) terminated(t *tracked, n notice) {
	t.fresh = true
	switch n.reason {
	case "deactivated", "timeout":
		t.due, t.again = time.Now().Add(n.retry), n.retry == 0
	case "rejected", "noresource":
		t.due = time.Now().Add(max(longWait, n.retry))
		if t.of != nil {
			t.of.forget(t.event)
		}
	case "invariant": // it can never change again
		t.stopped = true
	case "giveup", "probation":
		s.retry(t, max(n.retry, time.Second))
	default:
		s.retry(t, n.retry)
	}
	s.c.metrics.ended(n.reason)
}

// foldList folds a notification about a resource list.
func (s *session) foldList(t *tracked, n notice) {
	if len(n.body) == 0 {
		return
	}
	info, err := parseList(n.contentType, n.body)
	if err != nil {
		s.unreadable(t, err)
		return
	}
	switch {
	case info.full:
	case t.listSeen && info.version <= t.version:
		return
	case !t.listSeen, info.version != t.version+1: // RFC 4662 section 5.2
		s.wantFull(t)
		if !t.listSeen {
			return
		}
	}
	t.listSeen, t.version = true, info.version
	there := map[*watched]bool{}
	for _, r := range info.resources {
		if w := s.member(r); w != nil {
			there[w] = true
			s.foldResource(t, w, r)
		}
	}
	if info.full {
		s.missing(t, there)
	}
}

// member finds the endpoint of a resource; one that nobody knew joins.
func (s *session) member(r resource) *watched {
	aor, err := parseAOR(r.uri, s.c.cfg.Domain)
	if err != nil {
		s.c.metrics.Bad("resource")
		return nil
	}
	if w := s.byAOR[aorKey(aor)]; w != nil {
		w.listed = true
		return w
	}
	w := &watched{endpoint: endpoint{person: s.c.newListed(aor, r.name), hasDialog: !s.l.without(eventDialog)}, listed: true}
	s.endpoints[w.id], s.byAOR[aorKey(aor)] = w, w
	for i, name := range eventNames() {
		w.settled[i] = s.l.without(name) || s.list[i] == nil
	}
	s.c.remember(w.person)
	s.push(pbx.Event{Kind: pbx.EventUsers})
	return w
}

func (s *session) foldResource(t *tracked, w *watched, r resource) {
	at := eventIndex(t.event)
	if r.terminated {
		w.forget(t.event)
	} else if r.instance {
		gap, err := w.fold(t.event, r.body)
		if err != nil {
			s.unreadable(t, err)
			w.forget(t.event)
		}
		if gap {
			s.wantFull(t)
		}
	}
	w.settled[at] = true
	s.tell(w)
}

// missing deals with who is not in a full list: people of the users file get subscriptions of their own, others left.
func (s *session) missing(t *tracked, there map[*watched]bool) {
	at := eventIndex(t.event)
	for id, w := range s.endpoints {
		if there[w] {
			continue
		}
		if _, inFile, _ := s.c.users.find(id); inFile {
			s.subscribeTo(w, at)
		} else if w.own[0] == nil && w.own[1] == nil {
			w.listed = false
			delete(s.endpoints, id)
			delete(s.byAOR, aorKey(w.aor))
			s.c.forget(id)
			s.push(pbx.Event{Kind: pbx.EventUsers})
		}
	}
}

// fallBack subscribes to everybody singly, since the PBX refuses the list.
func (s *session) fallBack(t *tracked) {
	s.c.cfg.Log.Warn("the pbx refuses the resource list; subscribing to each extension", "package", t.event)
	for _, w := range s.endpoints {
		s.subscribeTo(w, eventIndex(t.event))
	}
}
