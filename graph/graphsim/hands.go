package graphsim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// DefaultClient is the Teams client that the methods without a client's name mean.
const DefaultClient = "desktop"

// client returns the person's client of that name, signing it in when there is none.
func (w *world) client(p *person, name string) *client {
	w.order++
	for _, c := range p.clients {
		if c.name == name {
			c.changed = w.order
			return c
		}
	}
	c := &client{name: name, base: Available, changed: w.order}
	p.clients = append(p.clients, c)
	return c
}

// with moves the person's default client.
func (s *Sim) with(user, cause string, f func(c *client)) error {
	return s.world.change(user, cause, false, func(p *person, _ time.Time) error {
		f(s.world.client(p, DefaultClient))
		return nil
	})
}

// SignIn opens the person's Teams client, as Available; a client that is open stays as it is.
func (s *Sim) SignIn(user string) error { return s.with(user, "sign-in", func(*client) {}) }

// SignOut closes all of the person's Teams clients and whatever went on in them: the closed laptop.
func (s *Sim) SignOut(user string) error {
	return s.world.change(user, "sign-out", false, func(p *person, _ time.Time) error {
		p.clients = nil
		return nil
	})
}

// SetClient puts the person's Teams client into a state, ending what went on in it.
func (s *Sim) SetClient(user string, pair Pair) error { return s.SetSession(user, DefaultClient, pair) }

// SetSession does the same with one of several clients, by a name of the caller's.
func (s *Sim) SetSession(user, name string, pair Pair) error {
	return s.world.change(user, "client", false, func(p *person, _ time.Time) error {
		c := s.world.client(p, name)
		*c = client{name: name, base: pair, changed: c.changed}
		return nil
	})
}

// CloseSession closes one of the person's clients; closing what is not open is no error.
func (s *Sim) CloseSession(user, name string) error {
	return s.world.change(user, "sign-out", false, func(p *person, _ time.Time) error {
		p.clients = slices.DeleteFunc(p.clients, func(c *client) bool { return c.name == name })
		return nil
	})
}

// StartCall begins a call on the person's client, which is opened if need be. Calls nest.
func (s *Sim) StartCall(user string) error {
	return s.with(user, "call", func(c *client) { c.calls++; c.conference = false })
}

// StartConferenceCall begins a call of several.
func (s *Sim) StartConferenceCall(user string) error {
	return s.with(user, "call", func(c *client) { c.calls++; c.conference = true })
}

// EndCall ends one call; without one, nothing happens.
func (s *Sim) EndCall(user string) error {
	return s.ending(user, "call-end", func(c *client) { c.calls = max(0, c.calls-1) })
}

// StartMeeting begins a meeting.
func (s *Sim) StartMeeting(user string) error {
	return s.with(user, "meeting", func(c *client) { c.meeting = true })
}

// EndMeeting ends it.
func (s *Sim) EndMeeting(user string) error {
	return s.ending(user, "meeting-end", func(c *client) { c.meeting = false })
}

// StartPresenting begins to share a screen.
func (s *Sim) StartPresenting(user string) error {
	return s.with(user, "presenting", func(c *client) { c.presenting = true })
}

// StopPresenting ends it.
func (s *Sim) StopPresenting(user string) error {
	return s.ending(user, "presenting-end", func(c *client) { c.presenting = false })
}

// GoAway leaves the client idle.
func (s *Sim) GoAway(user string) error {
	return s.with(user, "away", func(c *client) { c.base = Away })
}

// ComeBack ends that.
func (s *Sim) ComeBack(user string) error {
	return s.with(user, "back", func(c *client) { c.base = Available })
}

// ending moves the default client only if it is open: hanging up opens no client.
func (s *Sim) ending(user, cause string, f func(c *client)) error {
	return s.world.change(user, cause, false, func(p *person, _ time.Time) error {
		if slices.ContainsFunc(p.clients, func(c *client) bool { return c.name == DefaultClient }) {
			f(s.world.client(p, DefaultClient))
		}
		return nil
	})
}

// SetPreferred picks a status by hand. With lifetime 0 it stands for as long as Teams lets it stand:
// a day for Busy and Do not disturb, seven for the others.
func (s *Sim) SetPreferred(user string, pair Pair, lifetime time.Duration) error {
	usual, ok := preferable(pair)
	if !ok {
		return fmt.Errorf("graphsim: %v is no status to pick by hand: give one of Available, Busy, DoNotDisturb, BeRightBack, Away, Offline/OffWork", pair)
	}
	if lifetime <= 0 {
		lifetime = usual
	}
	return s.world.change(user, "pick", false, func(p *person, now time.Time) error {
		p.preferred = &preference{pair: pair, expires: now.Add(lifetime)}
		return nil
	})
}

// ClearPreferred resets the status, as the entry of that name in Teams.
func (s *Sim) ClearPreferred(user string) error {
	return s.world.change(user, "pick-reset", false, func(p *person, _ time.Time) error {
		p.preferred = nil
		return nil
	})
}

// AppearOffline picks that status.
func (s *Sim) AppearOffline(user string) error { return s.SetPreferred(user, AppearOffline, 0) }

// SetOutOfOffice switches the automatic reply on or off.
func (s *Sim) SetOutOfOffice(user string, on bool, message string) error {
	return s.world.change(user, "out-of-office", false, func(p *person, _ time.Time) error {
		p.outOfOffice, p.oofMessage = on, message
		return nil
	})
}

// SetStatusMessage writes a status message, for a while or, with lifetime 0, until it is taken away; "" takes it away.
func (s *Sim) SetStatusMessage(user, text string, lifetime time.Duration) error {
	return s.world.change(user, "status-message", false, func(p *person, now time.Time) error {
		p.message = nil
		if text != "" {
			p.message = &statusMessage{content: text, published: now}
		}
		if text != "" && lifetime > 0 {
			p.message.expires = now.Add(lifetime)
		}
		return nil
	})
}

// StatusMessage is the status message that shows now.
func (s *Sim) StatusMessage(user string) (text string) {
	s.look(user, func(p *person, now time.Time) {
		if p.message.shows(now) {
			text = p.message.content
		}
	})
	return text
}

// AddUser takes in a joiner; without an id, one is drawn.
func (s *Sim) AddUser(p Person) (string, error) {
	if p.ID == "" {
		p.ID = s.draw.guid()
	}
	return p.ID, s.world.add(p, false)
}

// RemoveUser deletes a leaver.
func (s *Sim) RemoveUser(user string) error { return s.world.remove(user) }

// UpdateUser changes what the directory says about a person. Their id and UPN stay.
func (s *Sim) UpdateUser(user string, f func(*Person)) error {
	return s.world.change(user, "directory", false, func(p *person, _ time.Time) error {
		changed := p.Person
		f(&changed)
		changed.ID, changed.UPN = p.ID, p.UPN
		s.world.edits.edit(p, changed)
		p.Person = changed
		return nil
	})
}

// RenameUser gives a person another UPN; their id stays.
func (s *Sim) RenameUser(user, upn string) error {
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.find(user)
	switch {
	case p == nil:
		return unknownUser(user)
	case upn == "" || w.byUPN[strings.ToLower(upn)] != nil:
		return fmt.Errorf("graphsim: the UPN %q is empty or taken, give another", upn)
	}
	changed := p.Person
	changed.UPN = upn
	w.edits.edit(p, changed)
	delete(w.byUPN, strings.ToLower(p.UPN))
	p.UPN = upn
	w.byUPN[strings.ToLower(upn)] = p
	return nil
}

// ExpireDelta makes every link for changes that was handed out until now too old, as after seven days.
func (s *Sim) ExpireDelta() {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.edits.last++
	s.world.edits.oldest = s.world.edits.last
}
