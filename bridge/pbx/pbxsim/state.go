package pbxsim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The errors of moving people by hand.
var (
	ErrNoUser   = errors.New("pbxsim: no such user")
	ErrNoStatus = errors.New("pbxsim: no such status")
	ErrNoCall   = errors.New("pbxsim: there is no such call")
	ErrOffline  = errors.New("pbxsim: the phone is offline")
)

const (
	byUser = "user" // what changed_by says of a person
	byLine = "line" // who did it, of a change that the phone made
)

// person is a user with their phone. The simulator's mutex guards it.
type person struct {
	User
	status, message string
	version         uint64
	changedAt       time.Time
	changedBy       string
	chosen          string // last status that was picked by hand, or by another program

	offline bool
	ringing int
	calls   int
	held    bool

	stormUntil  time.Time // versions run ahead until then
	laggedUntil time.Time // reads show lagged until then
	lagged      Presence
}

func (u *person) line() string {
	switch {
	case u.offline:
		return LineOffline
	case u.calls > 0 && u.held:
		return LineOnHold
	case u.calls > 0:
		return LineInCall
	case u.ringing > 0:
		return LineRinging
	default:
		return LineIdle
	}
}

func (u *person) presence() Presence {
	return Presence{
		Line: u.line(), Status: u.status, Message: u.message,
		Version: u.version, ChangedAt: u.changedAt, ChangedBy: u.changedBy,
	}
}

// populate makes everybody anew.
func (s *Sim) populate() {
	s.users = make(map[string]*person, len(s.cfg.UserList))
	s.order = s.order[:0]
	for _, u := range s.cfg.UserList {
		s.add(u)
	}
	slices.Sort(s.order)
}

func (s *Sim) add(u User) {
	first := s.cfg.Statuses[0].Name
	s.users[u.ID] = &person{
		User: u, status: first, chosen: first, version: 1, changedAt: s.now(), changedBy: byUser,
	}
	s.order = append(s.order, u.ID)
}

// forget makes everybody's presence that of a fresh installation; people who joined stay.
func (s *Sim) forget() {
	for id, u := range s.users {
		first := s.cfg.Statuses[0].Name
		before := u.presence()
		s.users[id] = &person{
			User: u.User, status: first, chosen: first, version: 1, changedAt: s.now(), changedBy: byUser,
		}
		s.report(s.users[id], before, byUser)
	}
}

// endEveryCall is for a restart that keeps the state. As nobody is connected, there are no events.
func (s *Sim) endEveryCall() {
	for _, u := range s.users {
		before := u.presence()
		u.calls, u.ringing, u.held = 0, 0, false
		if u.line() == before.Line {
			continue
		}
		if s.cfg.CountLineInVersion {
			u.version++
		}
		s.stats.LineChanges++
		s.report(u, before, byLine)
	}
}

// now is the time of a change: microseconds, never the same one twice, so that changed_at can be
// compared for equality.
func (s *Sim) now() time.Time {
	t := s.cfg.Clock().UTC().Truncate(time.Microsecond)
	if !t.After(s.lastTime) {
		t = s.lastTime.Add(time.Microsecond)
	}
	s.lastTime = t
	return t
}

// find takes an id, or for people's convenience an e-mail address or an extension.
func (s *Sim) find(key string) (*person, error) {
	if u, ok := s.users[key]; ok {
		return u, nil
	}
	for _, u := range s.users {
		if key != "" && (u.Extension == key || strings.EqualFold(u.Email, key)) {
			return u, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrNoUser, key)
}

func (s *Sim) statusNamed(name string) (Status, bool) {
	i := slices.IndexFunc(s.cfg.Statuses, func(st Status) bool { return st.Name == name })
	if i < 0 {
		return Status{}, false
	}
	return s.cfg.Statuses[i], true
}

// tell makes the change known: to the event streams and to the hook.
func (s *Sim) tell(u *person, before Presence, by string) {
	s.report(u, before, by)
	s.emit(u.ID, u.presence())
}

// report makes it known to the hook.
func (s *Sim) report(u *person, before Presence, by string) {
	s.hook.Put(Change{User: u.ID, Before: before, After: u.presence(), By: by, At: time.Now()})
}

// moveLine changes calls and tells if the line is another one afterwards.
func (s *Sim) moveLine(u *person, change func()) {
	before := u.presence()
	change()
	if u.line() == before.Line {
		return
	}
	if s.cfg.CountLineInVersion {
		u.version++
	}
	s.stats.LineChanges++
	s.tell(u, before, byLine)
}

// choose changes status and message, nil for what stays. It says whether anything changed.
func (s *Sim) choose(u *person, status, message *string, by string) bool {
	before := u.presence()
	newStatus := status != nil && *status != u.status
	newMessage := message != nil && *message != u.message
	if !newStatus && !newMessage {
		return false
	}
	if newStatus {
		u.status, u.changedAt, u.changedBy = *status, s.now(), by
		s.stats.StatusChanges++
		if by != "api:"+s.cfg.ClientName {
			u.chosen = *status
		}
	}
	if newMessage {
		u.message = *message
		s.stats.MessageChanges++
	}
	u.version++
	s.tell(u, before, by)
	return true
}

// byHand runs one move of a person under the mutex.
func (s *Sim) byHand(key string, move func(u *person) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.find(key)
	if err != nil {
		return err
	}
	return move(u)
}

// Ring lets the user's phone ring. All methods that take a user take an id, an e-mail address or an
// extension, and return [ErrNoUser] for anybody else.
func (s *Sim) Ring(user string) error {
	return s.byHand(user, func(u *person) error {
		if u.offline {
			return fmt.Errorf("%w: %q", ErrOffline, user)
		}
		s.moveLine(u, func() { u.ringing++ })
		return nil
	})
}

// StopRinging lets the caller give up.
func (s *Sim) StopRinging(user string) error {
	return s.byHand(user, func(u *person) error {
		if u.ringing == 0 {
			return fmt.Errorf("%w: %q is not ringing", ErrNoCall, user)
		}
		s.moveLine(u, func() { u.ringing-- })
		return nil
	})
}

// StartCall begins a call, or answers one that rings. Calls may overlap: each needs its own EndCall.
func (s *Sim) StartCall(user string) error {
	return s.byHand(user, func(u *person) error {
		if u.offline {
			return fmt.Errorf("%w: %q", ErrOffline, user)
		}
		s.moveLine(u, func() {
			u.calls++
			u.held = false
			u.ringing = max(0, u.ringing-1)
		})
		return nil
	})
}

// Hold puts the call (all of them) on hold.
func (s *Sim) Hold(user string) error { return s.setHeld(user, true) }

// Resume takes a held call up again.
func (s *Sim) Resume(user string) error { return s.setHeld(user, false) }

func (s *Sim) setHeld(user string, held bool) error {
	return s.byHand(user, func(u *person) error {
		if u.calls == 0 {
			return fmt.Errorf("%w: %q is in no call", ErrNoCall, user)
		}
		s.moveLine(u, func() { u.held = held })
		return nil
	})
}

// EndCall ends one call; the line is idle when the last one has ended.
func (s *Sim) EndCall(user string) error {
	return s.byHand(user, func(u *person) error {
		if u.calls == 0 {
			return fmt.Errorf("%w: %q is in no call", ErrNoCall, user)
		}
		s.moveLine(u, func() {
			u.calls--
			u.held = u.held && u.calls > 0
		})
		return nil
	})
}

// GoOffline unplugs the phone; its calls end.
func (s *Sim) GoOffline(user string) error {
	return s.byHand(user, func(u *person) error {
		s.moveLine(u, func() { u.offline, u.calls, u.ringing, u.held = true, 0, 0, false })
		return nil
	})
}

// GoOnline plugs it in again.
func (s *Sim) GoOnline(user string) error {
	return s.byHand(user, func(u *person) error {
		s.moveLine(u, func() { u.offline = false })
		return nil
	})
}

// Pick picks a status by hand; the message stays. Picking the one that already shows leaves no trace,
// whoever had set it. An unknown status is [ErrNoStatus].
func (s *Sim) Pick(user, status string) error { return s.pick(user, status, nil, byUser) }

// PickMessage picks a status and a message by hand.
func (s *Sim) PickMessage(user, status, message string) error {
	return s.pick(user, status, &message, byUser)
}

// WriteAs lets another program, client, set a status.
func (s *Sim) WriteAs(client, user, status string) error {
	return s.pick(user, status, nil, "api:"+client)
}

func (s *Sim) pick(user, status string, message *string, by string) error {
	return s.byHand(user, func(u *person) error {
		st, ok := s.statusNamed(status)
		if !ok {
			return fmt.Errorf("%w: %q", ErrNoStatus, status)
		}
		s.choose(u, &st.Name, message, by)
		return nil
	})
}

// AddUser lets somebody join. Nobody is told: the next listing shows them, and so does every event
// about them.
func (s *Sim) AddUser(u User) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.users[u.ID]; ok || u.ID == "" {
		return fmt.Errorf("pbxsim: user id %q is empty or taken", u.ID)
	}
	s.add(u)
	slices.Sort(s.order)
	return nil
}

// RemoveUser lets somebody leave, without an event.
func (s *Sim) RemoveUser(user string) error {
	return s.byHand(user, func(u *person) error {
		delete(s.users, u.ID)
		s.order = slices.DeleteFunc(s.order, func(id string) bool { return id == u.ID })
		return nil
	})
}
