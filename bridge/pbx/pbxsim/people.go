package pbxsim

import "presencebridge/bridge/pbx/simkit"

type (
	// PeopleConfig says how lively the simulated people are.
	PeopleConfig = simkit.PeopleConfig
	// PeopleState says what the simulated people do.
	PeopleState = simkit.PeopleState
	// People are simulated people who call, answer, hold, hang up, and pick statuses, until stopped.
	People = simkit.People
)

// The states.
const (
	PeopleRunning = simkit.PeopleRunning
	PeoplePaused  = simkit.PeoplePaused
	PeopleStopped = simkit.PeopleStopped
)

// NewPeople sets people in motion; they run until [People.Stop] or the simulator's Close. A simulator has
// one set of people: those before are stopped.
func (s *Sim) NewPeople(cfg PeopleConfig) (*People, error) { return s.crowd.Begin(cfg) }

// newCrowd is what the people of this PBX are and can do.
func (s *Sim) newCrowd() *simkit.Crowd {
	names := make([]string, len(s.cfg.Statuses))
	for i, st := range s.cfg.Statuses {
		names[i] = st.Name
	}
	return simkit.NewCrowd(simkit.CrowdConfig{
		Sim: "pbxsim", Seed: s.cfg.Seed, Statuses: names, ErrNoStatus: ErrNoStatus, Somebody: s.somebody,
		Verbs: simkit.Verbs{
			Ring: s.Ring, StopRinging: s.StopRinging, StartCall: s.StartCall, EndCall: s.EndCall, Hold: s.Hold, Resume: s.Resume,
			GoOffline: s.GoOffline, GoOnline: s.GoOnline, Pick: s.Pick, PickMessage: s.PickMessage,
			Status: func(user string) string {
				shown, _ := s.Presence(user)
				return shown.Status
			},
		},
	})
}

// somebody is one of everybody, and of how many.
func (s *Sim) somebody(number func(int) int) (id string, of int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of = len(s.order); of > 0 {
		id = s.order[number(of)]
	}
	return id, of
}
