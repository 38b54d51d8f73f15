package threecxsim

// Stats count what happened since the start.
type Stats struct {
	Requests      int `json:"requests"`
	Unauthorised  int `json:"unauthorised"`
	Tokens        int `json:"tokens"`
	TokensRefused int `json:"tokens_refused"`
	Patches       int `json:"patches"` // that were applied
	Listings      int `json:"listings"`
	Frames        int `json:"frames"`
	FramesDropped int `json:"frames_dropped"`
	Sockets       int `json:"sockets"` // open now
	Opened        int `json:"opened"`
	Restarts      int `json:"restarts"`
	// Pending is how many late frames and late writes are still to come.
	Pending int `json:"pending"`
}

// Stats returns the counters.
func (s *Sim) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Sockets, st.Pending = len(s.sockets), s.pending+len(s.held)
	return st
}

// Presence is what the PBX really shows for a user, whatever the faults let readers see.
func (s *Sim) Presence(user string) (Presence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.find(user)
	if err != nil {
		return Presence{}, err
	}
	return p.presence(), nil
}

// Chosen is the profile that the person last picked by hand.
func (s *Sim) Chosen(user string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.find(user)
	if err != nil {
		return "", err
	}
	return p.chosen, nil
}

// Users are the people, by id.
func (s *Sim) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []User
	for _, p := range s.sorted() {
		out = append(out, p.User)
	}
	return out
}

// Settings says how a user's profile is set apart from its names and message: number of seconds without an answer,
// and whether the mobile rings.
func (s *Sim) Settings(user, profile string) (noAnswer int, mobile bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.find(user)
	if err != nil {
		return 0, false, err
	}
	for _, f := range p.profiles {
		if f.Name == profile {
			return f.NoAnswerTimeout, f.RingMyMobile, nil
		}
	}
	return 0, false, ErrNoStatus
}
