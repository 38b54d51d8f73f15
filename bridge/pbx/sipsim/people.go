package sipsim

import "presencebridge/bridge/pbx/simkit"

type (
	// PeopleConfig says how lively the simulated people are.
	PeopleConfig = simkit.PeopleConfig
	// People are simulated people who call, answer, hang up and pick statuses, until stopped.
	People = simkit.People
)

// NewPeople sets people in motion; they run until [People.Stop] or the simulator's Close. Those before are stopped.
func (s *Sim) NewPeople(cfg PeopleConfig) (*People, error) { return s.crowd.Begin(cfg) }

// newCrowd is what the people of this PBX are and can do.
func (s *Sim) newCrowd() *simkit.Crowd {
	names := make([]string, 0, len(Statuses()))
	for _, st := range Statuses() {
		names = append(names, st.Name)
	}
	return simkit.NewCrowd(simkit.CrowdConfig{
		Sim: "sipsim", Seed: s.cfg.Seed, Statuses: names, ErrNoStatus: ErrNoStatus, Somebody: s.somebody,
		Verbs: simkit.Verbs{
			Ring: s.Ring, StopRinging: s.StopRinging, StartCall: s.StartCall, EndCall: s.EndCall, Hold: s.Hold, Resume: s.Resume,
			GoOffline: s.GoOffline, GoOnline: s.GoOnline, Pick: s.Pick, PickMessage: s.PickMessage,
			Status: func(user string) string {
				own, _ := s.Own(user)
				return own.Status
			},
		},
	})
}

// somebody is one of everybody, and of how many.
func (s *Sim) somebody(number func(int) int) (user string, of int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of = len(s.order); of > 0 {
		user = s.order[number(of)]
	}
	return user, of
}
