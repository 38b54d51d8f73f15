package sip

import (
	"context"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"presencebridge/bridge/pbx"
)

// newListed is somebody who is on the list and in no file.
func (c *Client) newListed(aor sip.Uri, name string) person {
	return person{User: User{Extension: aor.User, URI: aor.String(), Name: name}, id: userID(aor, c.cfg.Domain), aor: aor}
}

func aorKey(u sip.Uri) string { return u.User + "@" + strings.ToLower(u.Host) }

// users brings the subscriptions in line with the users file.
func (s *session) users() {
	people, gen, err := s.c.users.load()
	if err != nil {
		s.c.usersError(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usersGen == gen {
		return
	}
	first := s.usersGen < 0
	s.usersGen = gen
	if first && s.c.cfg.ListURI != "" {
		aor, err := parseAOR(s.c.cfg.ListURI, s.c.cfg.Domain)
		if err == nil { // checked by New
			for i, name := range eventNames() {
				s.list[i] = s.track(name, aor, nil, 0)
			}
		}
	}
	there := map[string]bool{}
	for _, p := range people {
		there[p.id] = true
		s.join(p, first)
	}
	for id, w := range s.endpoints {
		if !there[id] && !w.listed {
			s.leave(w)
		}
	}
	if !first {
		s.push(pbx.Event{Kind: pbx.EventUsers})
	}
}

// join subscribes to somebody. The mutex is held.
func (s *session) join(p person, first bool) {
	if w := s.endpoints[p.id]; w != nil {
		w.person = p
		return
	}
	w := &watched{endpoint: endpoint{person: p, hasDialog: !s.l.without(eventDialog)}}
	s.endpoints[p.id], s.byAOR[aorKey(p.aor)] = w, w
	if s.c.cfg.ListURI != "" && first {
		return // the list reports them; if not, they are subscribed to then
	}
	for i := range w.own {
		s.subscribeTo(w, i)
	}
}

// subscribeTo begins one subscription of an endpoint, if there is none. The mutex is held.
func (s *session) subscribeTo(w *watched, at int) {
	if w.own[at] != nil {
		return
	}
	name := eventNames()[at]
	w.own[at] = s.track(name, w.aor, w, 0)
	if s.l.without(name) {
		w.own[at].stopped, w.settled[at] = true, true
	}
}

func (s *session) track(event string, target sip.Uri, of *watched, wait time.Duration) *tracked {
	t := &tracked{
		subscription: subscription{event: event, target: target, list: of == nil},
		of:           of, asks: s.c.cfg.Expires, due: time.Now().Add(wait), fresh: true,
	}
	t.handler = func(n notice) { s.noticed(t, n) }
	s.subs[t] = true
	return t
}

// leave ends the subscriptions of somebody who is gone from the file. The mutex is held.
func (s *session) leave(w *watched) {
	delete(s.endpoints, w.id)
	delete(s.byAOR, aorKey(w.aor))
	for _, t := range w.own {
		if t != nil {
			t.leaving, t.due = true, time.Now()
			if t.callID == "" && !t.running {
				s.drop(t)
			}
		}
	}
}

// known waits until all that can be learnt is, and returns it. false: the link ended first.
func (s *session) known(ctx context.Context) ([]pbx.User, bool) {
	for {
		s.mu.Lock()
		users, ok := s.snapshot()
		changed := s.changed
		s.mu.Unlock()
		if ok {
			return users, true
		}
		select {
		case <-changed:
		case <-s.l.life.Done():
			return nil, false
		case <-ctx.Done():
			return nil, false
		}
	}
}

// snapshot is everybody, if all are settled. The mutex is held.
func (s *session) snapshot() ([]pbx.User, bool) {
	if !s.up {
		return nil, false
	}
	for _, t := range s.list {
		if t != nil && !t.settled {
			return nil, false
		}
	}
	users := make([]pbx.User, 0, len(s.endpoints))
	for _, w := range s.endpoints {
		if !w.settled[0] || !w.settled[1] {
			return nil, false
		}
		users = append(users, w.user(w.state()))
	}
	return users, true
}

func (p person) user(st pbx.State) pbx.User {
	return pbx.User{ID: p.id, Email: p.Mail, Extension: p.Extension, DisplayName: p.Name, State: st}
}

// current is what is known of one endpoint, if all of it is live.
func (s *session) current(id string) (pbx.State, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.endpoints[id]
	if w == nil || !w.settled[0] || !w.settled[1] || !s.l.alive() {
		return pbx.State{}, false
	}
	return w.state(), true
}
