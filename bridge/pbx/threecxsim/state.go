package threecxsim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Errors of the control functions.
var (
	ErrNoUser   = errors.New("no such user")
	ErrNoStatus = errors.New("no such profile")
	ErrNoCall   = errors.New("no such call")
	ErrOffline  = errors.New("the phone is not registered")
)

// person is a user with everything that the PBX knows. The simulator's mutex guards it.
type person struct {
	User
	profile  string
	chosen   string // picked by hand, last
	profiles []profile
	online   bool
	legs     []*leg

	lagUntil time.Time // until then readers see what was before a write
	lagged   Presence
}

// profile is a forwarding profile as it is stored.
type profile struct {
	ID              int    `json:"Id"`
	Name            string `json:"Name"`
	CustomName      string `json:"CustomName"`
	CustomMessage   string `json:"CustomMessage"`
	NoAnswerTimeout int    `json:"NoAnswerTimeout"`
	RingMyMobile    bool   `json:"RingMyMobile"`
}

// leg is a participant of a call.
type leg struct {
	id, call int
	status   string // Dialing, Ringing or Connected
	held     bool   // which nobody is told
}

func (s *Sim) newPerson(u User) *person {
	p := &person{User: u, online: true}
	s.reset(p)
	return p
}

// reset brings a person to what a fresh installation has.
func (s *Sim) reset(p *person) {
	p.profile, p.chosen, p.legs, p.profiles, p.online = "Available", "Available", nil, nil, true
	for i, name := range Profiles() {
		p.profiles = append(p.profiles, profile{
			ID: p.ID*10 + i, Name: name, CustomName: s.cfg.CustomNames[name], NoAnswerTimeout: 20, RingMyMobile: i%2 == 0,
		})
	}
}

func (p *person) presence() Presence {
	return Presence{Line: p.line(), Status: p.profile, Message: p.message()}
}

func (p *person) message() string {
	for _, f := range p.profiles {
		if f.Name == p.profile {
			return f.CustomMessage
		}
	}
	return ""
}

func (p *person) line() string {
	line := "idle"
	if !p.online {
		line = "offline"
	}
	for _, l := range p.legs {
		if l.status != "Ringing" {
			return "in-call"
		}
		line = "ringing"
	}
	return line
}

// find takes an id, a number or an e-mail address.
func (s *Sim) find(user string) (*person, error) {
	if id, err := strconv.Atoi(user); err == nil && s.users[id] != nil {
		return s.users[id], nil
	}
	for _, p := range s.users {
		if p.Number == user || strings.EqualFold(p.Email, user) {
			return p, nil
		}
	}
	return nil, fmt.Errorf("threecxsim: %w: %q", ErrNoUser, user)
}

// move changes a person under the mutex, and tells who listens.
func (s *Sim) move(user, by string, do func(*person) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.find(user)
	if err != nil {
		return err
	}
	return s.change(p, by, func() error { return do(p) })
}

// change is move with the mutex held.
func (s *Sim) change(p *person, by string, do func() error) error {
	before := p.presence()
	if err := do(); err != nil {
		return err
	}
	if after := p.presence(); after != before {
		s.hook.Put(Change{User: strconv.Itoa(p.ID), Before: before, After: after, By: by, At: time.Now()})
	}
	return nil
}

// Pick lets a person pick a profile by hand, by its wire name or the name that people see.
func (s *Sim) Pick(user, status string) error {
	return s.move(user, "user", func(p *person) error { return p.pick(status) })
}

// PickMessage picks a profile with a message.
func (s *Sim) PickMessage(user, status, message string) error {
	return s.move(user, "user", func(p *person) error {
		if err := p.pick(status); err != nil {
			return err
		}
		for i := range p.profiles {
			if p.profiles[i].Name == p.profile {
				p.profiles[i].CustomMessage = message
			}
		}
		return nil
	})
}

func (p *person) pick(status string) error {
	for _, f := range p.profiles {
		if f.Name != status && (f.CustomName == "" || f.CustomName != status) {
			continue
		}
		if f.Name != p.profile { // picking what shows leaves no trace
			p.profile, p.chosen, p.lagUntil = f.Name, f.Name, time.Time{}
		}
		return nil
	}
	return fmt.Errorf("threecxsim: %w: %q", ErrNoStatus, status)
}

// Ring lets the phone ring.
func (s *Sim) Ring(user string) error { return s.begin(user, "Ringing") }

// Dial lets the person dial a number.
func (s *Sim) Dial(user string) error { return s.begin(user, "Dialing") }

func (s *Sim) begin(user, status string) error {
	return s.move(user, "line", func(p *person) error {
		if !p.online {
			return fmt.Errorf("threecxsim: %w", ErrOffline)
		}
		s.newLeg(p, status)
		return nil
	})
}

func (s *Sim) newLeg(p *person, status string) {
	s.lastID++
	l := &leg{id: s.lastID, call: s.lastID / 2, status: status}
	p.legs = append(p.legs, l)
	s.tell(p, l, upsert)
}

// StopRinging lets the caller give up.
func (s *Sim) StopRinging(user string) error {
	return s.end(user, func(l *leg) bool { return l.status == "Ringing" })
}

// StartCall answers what rings or is being dialled, or begins a call.
func (s *Sim) StartCall(user string) error {
	return s.move(user, "line", func(p *person) error {
		if !p.online {
			return fmt.Errorf("threecxsim: %w", ErrOffline)
		}
		for _, l := range p.legs {
			if l.status != "Connected" {
				l.status = "Connected"
				s.tell(p, l, upsert)
				return nil
			}
		}
		s.newLeg(p, "Connected")
		return nil
	})
}

// Hold holds a call, Resume takes it up again. Nobody is told: a held call is Connected.
func (s *Sim) Hold(user string) error { return s.hold(user, true) }

// Resume takes a held call up again.
func (s *Sim) Resume(user string) error { return s.hold(user, false) }

func (s *Sim) hold(user string, on bool) error {
	return s.move(user, "line", func(p *person) error {
		for _, l := range p.legs {
			if l.status == "Connected" && l.held != on {
				l.held = on
				s.tell(p, l, upsert)
				return nil
			}
		}
		return fmt.Errorf("threecxsim: %w", ErrNoCall)
	})
}

// EndCall ends a call.
func (s *Sim) EndCall(user string) error {
	return s.end(user, func(l *leg) bool { return l.status != "Ringing" })
}

func (s *Sim) end(user string, which func(*leg) bool) error {
	return s.move(user, "line", func(p *person) error {
		i := slices.IndexFunc(p.legs, which)
		if i < 0 {
			return fmt.Errorf("threecxsim: %w", ErrNoCall)
		}
		s.removeLeg(p, i)
		return nil
	})
}

func (s *Sim) removeLeg(p *person, i int) {
	l := p.legs[i]
	p.legs = slices.Delete(p.legs, i, i+1)
	s.tell(p, l, remove)
}

// Transfer ends a person's calls and gives them another right after, as a transfer or a queue does.
func (s *Sim) Transfer(user string) error {
	return s.move(user, "line", func(p *person) error {
		for len(p.legs) > 0 {
			s.removeLeg(p, 0)
		}
		s.newLeg(p, "Connected")
		return nil
	})
}

// GoOffline unplugs the phone; its calls end.
func (s *Sim) GoOffline(user string) error {
	return s.move(user, "line", func(p *person) error {
		for len(p.legs) > 0 {
			s.removeLeg(p, 0)
		}
		p.online = false
		return nil
	})
}

// GoOnline plugs it in again.
func (s *Sim) GoOnline(user string) error {
	return s.move(user, "line", func(p *person) error { p.online = true; return nil })
}

// AddUser lets somebody join.
func (s *Sim) AddUser(u User) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.find(u.Number); u.ID <= 0 || u.Number == "" || s.users[u.ID] != nil || err == nil {
		return fmt.Errorf("threecxsim: user %d, number %q: id or number is missing or not unique", u.ID, u.Number)
	}
	s.users[u.ID] = s.newPerson(u)
	return nil
}

// RemoveUser lets somebody leave.
func (s *Sim) RemoveUser(user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.find(user)
	if err != nil {
		return err
	}
	for len(p.legs) > 0 {
		s.removeLeg(p, 0)
	}
	delete(s.users, p.ID)
	return nil
}

// sorted are the people by id.
func (s *Sim) sorted() []*person {
	out := make([]*person, 0, len(s.users))
	for _, p := range s.users {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *person) int { return a.ID - b.ID })
	return out
}
