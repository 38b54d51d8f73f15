package sipsim

import (
	"slices"
	"strconv"
	"time"
)

// person is somebody and their phone.
type person struct {
	User

	offline   bool
	chosen    string
	message   string
	calls     []call
	nextCall  int
	published []*publication // by others, the bridge
}

type call struct {
	id            string
	ringing, held bool
}

func (p *person) line() string {
	switch {
	case p.offline:
		return "offline"
	case slices.ContainsFunc(p.calls, func(c call) bool { return !c.ringing && !c.held }):
		return "in-call"
	case slices.ContainsFunc(p.calls, func(c call) bool { return c.held }):
		return "on-hold"
	case len(p.calls) > 0:
		return "ringing"
	}
	return "idle"
}

// presence is what shows: the bridge's document, or the person's own.
func (p *person) presence() Presence {
	out := p.own()
	if n := len(p.published); n > 0 {
		out.Status, out.Message = p.published[n-1].doc.shows()
	}
	return out
}

// own is the person's own side.
func (p *person) own() Presence {
	return Presence{Line: p.line(), Status: p.chosen, Message: p.message}
}

// move changes something about a person and tells everybody who watches.
func (s *Sim) move(user, by string, do func(*person) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	p := s.people[user]
	if p == nil {
		return ErrNoUser
	}
	return s.moved(p, by, func() error { return do(p) })
}

// moved is move with the mutex held.
func (s *Sim) moved(p *person, by string, do func() error) error {
	show := p.presence
	if by == "user" {
		show = p.own
	}
	before, presence, calls := show(), s.presenceBody(p), p.dialogs()
	if err := do(); err != nil {
		return err
	}
	if s.presenceBody(p) != presence {
		s.tell(p, packagePresence, nil)
	}
	if !sameMap(calls, p.dialogs()) {
		s.tell(p, packageDialog, calls)
	}
	if after := show(); after != before {
		if after.Line != before.Line {
			s.stats.LineChanges++
		}
		s.hook.Put(Change{User: p.User.User, Before: before, After: after, By: by, At: time.Now()})
	}
	return nil
}

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// Ring lets the phone ring.
func (s *Sim) Ring(user string) error {
	return s.move(user, "line", func(p *person) error {
		if p.offline {
			return ErrOffline
		}
		p.nextCall++
		p.calls = append(p.calls, call{id: "c" + strconv.Itoa(p.nextCall), ringing: true})
		return nil
	})
}

// StopRinging lets the caller give up.
func (s *Sim) StopRinging(user string) error {
	return s.end(user, func(c call) bool { return c.ringing })
}

// StartCall answers a ringing call, or begins one.
func (s *Sim) StartCall(user string) error {
	return s.move(user, "line", func(p *person) error {
		if p.offline {
			return ErrOffline
		}
		if i := slices.IndexFunc(p.calls, func(c call) bool { return c.ringing }); i >= 0 {
			p.calls[i].ringing = false
			return nil
		}
		p.nextCall++
		p.calls = append(p.calls, call{id: "c" + strconv.Itoa(p.nextCall)})
		return nil
	})
}

// EndCall ends a call.
func (s *Sim) EndCall(user string) error {
	return s.end(user, func(c call) bool { return !c.ringing })
}

func (s *Sim) end(user string, which func(call) bool) error {
	return s.move(user, "line", func(p *person) error {
		i := slices.IndexFunc(p.calls, which)
		if i < 0 {
			return ErrNoCall
		}
		p.calls = slices.Delete(p.calls, i, i+1)
		return nil
	})
}

// Hold holds the call; Resume takes it up again.
func (s *Sim) Hold(user string) error { return s.hold(user, true) }

// Resume takes a held call up again.
func (s *Sim) Resume(user string) error { return s.hold(user, false) }

func (s *Sim) hold(user string, on bool) error {
	return s.move(user, "line", func(p *person) error {
		i := slices.IndexFunc(p.calls, func(c call) bool { return !c.ringing && c.held != on })
		if i < 0 {
			return ErrNoCall
		}
		p.calls[i].held = on
		return nil
	})
}

// GoOffline unplugs the phone: its calls end.
func (s *Sim) GoOffline(user string) error {
	return s.move(user, "line", func(p *person) error {
		p.offline, p.calls = true, nil
		return nil
	})
}

// GoOnline plugs it in again.
func (s *Sim) GoOnline(user string) error {
	return s.move(user, "line", func(p *person) error {
		p.offline = false
		return nil
	})
}

// Pick lets the person pick a status by hand.
func (s *Sim) Pick(user, status string) error { return s.PickMessage(user, status, "") }

// PickMessage is Pick with a message.
func (s *Sim) PickMessage(user, status, message string) error {
	if !slices.ContainsFunc(Statuses(), func(st Status) bool { return st.Name == status }) {
		return ErrNoStatus
	}
	return s.move(user, "user", func(p *person) error {
		p.chosen, p.message = status, message
		return nil
	})
}
