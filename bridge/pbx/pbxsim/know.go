package pbxsim

// Stats count what happened since the start.
type Stats struct {
	Requests     int `json:"requests"` // under /v1
	Unauthorised int `json:"unauthorised"`

	WritesApplied  int `json:"writes_applied"`
	WritesNoChange int `json:"writes_no_change"`
	WritesConflict int `json:"writes_conflict"` // 412
	WritesRefused  int `json:"writes_refused"`  // 422
	WritesGone     int `json:"writes_gone"`     // 404

	LineChanges    int `json:"line_changes"`
	StatusChanges  int `json:"status_changes"`
	MessageChanges int `json:"message_changes"`

	Events        int `json:"events"`      // published
	EventsSent    int `json:"events_sent"` // to all streams together
	StreamsOpened int `json:"streams_opened"`
	Streams       int `json:"streams"` // open now
	Resets        int `json:"resets"`
	Restarts      int `json:"restarts"`

	// What the faults did.
	EventsDropped    int `json:"events_dropped"`
	EventsLate       int `json:"events_late"`
	EventsReordered  int `json:"events_reordered"`
	EventsDoubled    int `json:"events_doubled"`
	Errors           int `json:"errors"`
	Throttled        int `json:"throttled"`
	RequestsCut      int `json:"requests_cut"`
	Slowed           int `json:"slowed"`
	AppliedButFailed int `json:"applied_but_failed"`
	AppliedLate      int `json:"applied_late"`
	Storms           int `json:"storms"`
	// Pending is how many late events and late writes are still to come.
	Pending int `json:"pending"`
}

// Stats returns the counters.
func (s *Sim) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Streams, st.Pending = len(s.streams), s.agenda.Pending()
	return st
}

// Presence is what the PBX really shows for a user, whatever the faults let readers see. [ErrNoUser] for
// anybody else.
func (s *Sim) Presence(user string) (Presence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.find(user)
	if err != nil {
		return Presence{}, err
	}
	return u.presence(), nil
}

// Chosen is the status that the person last picked by hand (or another program than the bridge for
// them): what should show when nothing of the bridge's does.
func (s *Sim) Chosen(user string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.find(user)
	if err != nil {
		return "", err
	}
	return u.chosen, nil
}

// LastWriter says who chose the status that shows: "user" or "api:<client>".
func (s *Sim) LastWriter(user string) (string, error) {
	p, err := s.Presence(user)
	return p.ChangedBy, err
}

// Users are the people, by id.
func (s *Sim) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	users := make([]User, 0, len(s.order))
	for _, id := range s.order {
		users = append(users, s.users[id].User)
	}
	return users
}

// Statuses is what can be picked.
func (s *Sim) Statuses() []Status { return append([]Status(nil), s.cfg.Statuses...) }
