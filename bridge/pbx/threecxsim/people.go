package threecxsim

import (
	"strconv"

	"presencebridge/bridge/pbx/simkit"
)

type (
	// PeopleConfig says how lively the simulated people are.
	PeopleConfig = simkit.PeopleConfig
	// People are simulated people who call, answer, hang up and pick profiles, until stopped.
	People = simkit.People
)

// NewPeople sets people in motion; they run until [People.Stop] or the simulator's Close. Those before are stopped.
func (s *Sim) NewPeople(cfg PeopleConfig) (*People, error) { return s.crowd.Begin(cfg) }

// newCrowd is what the people of this PBX are and can do. Nobody holds a call, which nobody would be told.
func (s *Sim) newCrowd() *simkit.Crowd {
	return simkit.NewCrowd(simkit.CrowdConfig{
		Sim: "threecxsim", Seed: s.cfg.Seed, Statuses: Profiles(), ErrNoStatus: ErrNoStatus,
		Somebody: func(number func(int) int) (id string, of int) {
			users := s.Users()
			if of = len(users); of > 0 {
				id = strconv.Itoa(users[number(of)].ID)
			}
			return id, of
		},
		Verbs: simkit.Verbs{
			Ring: s.Ring, StopRinging: s.StopRinging, Dial: s.Dial, StartCall: s.StartCall, EndCall: s.EndCall, Transfer: s.Transfer,
			GoOffline: s.GoOffline, GoOnline: s.GoOnline, Pick: s.Pick, PickMessage: s.PickMessage,
			Status: func(user string) string {
				shown, _ := s.Presence(user)
				return shown.Status
			},
		},
	})
}
