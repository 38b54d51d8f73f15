package sipsim

import "slices"

// Stats count what happened since the start.
type Stats struct {
	Requests      int `json:"requests"`
	Challenges    int `json:"challenges"`
	Publications  int `json:"publications"` // that were applied, renewals and removals too
	Lapsed        int `json:"lapsed"`       // publications that nobody renewed
	Notifications int `json:"notifications"`
	Subscriptions int `json:"subscriptions"` // now
	LineChanges   int `json:"line_changes"`
	Restarts      int `json:"restarts"`
	// Pending is how many notifications are still to be sent.
	Pending int `json:"pending"`
}

// Stats returns the counters.
func (s *Sim) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Subscriptions = len(s.subs)
	for _, sub := range s.subs {
		st.Pending += len(sub.queue)
	}
	return st
}

// Presence is what the PBX really shows for somebody: the bridge's status where its document stands.
func (s *Sim) Presence(user string) (Presence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.people[user]
	if p == nil {
		return Presence{}, ErrNoUser
	}
	return p.presence(), nil
}

// Chosen is the status that the person last picked by hand.
func (s *Sim) Chosen(user string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.people[user]
	if p == nil {
		return "", ErrNoUser
	}
	return p.chosen, nil
}

// Published is what the bridge published for somebody, both empty if nothing stands.
func (s *Sim) Published(user string) (status, message string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.people[user]
	if p == nil {
		return "", "", ErrNoUser
	}
	if n := len(p.published); n > 0 {
		status, message = p.published[n-1].doc.shows()
	}
	return status, message, nil
}

// Own is the person's own side: their line, the status and the message that they chose.
func (s *Sim) Own(user string) (Presence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.people[user]
	if p == nil {
		return Presence{}, ErrNoUser
	}
	return p.own(), nil
}

// Users are the people, in the order in which they came.
func (s *Sim) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]User, 0, len(s.order))
	for _, u := range s.order {
		out = append(out, s.people[u].User)
	}
	return out
}

// AddUser lets somebody join.
func (s *Sim) AddUser(u User) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.people[u.User] != nil || u.User == "" {
		return ErrNoUser
	}
	s.add(u)
	for _, sub := range s.subs {
		if sub.person == nil {
			s.notify(sub, nil, nil)
		}
	}
	return nil
}

// RemoveUser lets somebody leave: who watches them is told that there is no such resource.
func (s *Sim) RemoveUser(user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.people[user]
	if p == nil {
		return ErrNoUser
	}
	delete(s.people, user)
	s.order = slices.DeleteFunc(s.order, func(u string) bool { return u == user })
	for id, sub := range s.subs {
		switch sub.person {
		case p:
			delete(s.subs, id)
		case nil:
			s.notify(sub, nil, nil)
		}
	}
	return nil
}
