package demo

import (
	"strconv"

	"presencebridge/bridge/pbx/threecxsim"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/sims"
)

// threecx is the simulated 3CX.
type threecx struct{ sim *threecxsim.Sim }

func start3CX(people []sims.Person, seed uint64, changed func(phoneChange)) (exchange, error) {
	sim, err := threecxsim.Start(threecxsim.Config{UserList: sims.ThreeCX(people), Seed: seed, OnChange: func(c threecxsim.Change) {
		changed(phoneChange{User: c.User, Before: of3CX(c.Before), After: of3CX(c.After), By: c.By})
	}})
	if err != nil {
		return nil, err
	}
	return threecx{sim}, nil
}

func of3CX(p threecxsim.Presence) phoneState { return phoneState{Line: p.Line, Status: p.Status} }

// Keys implements exchange. A demo is watched, so profiles are polled more often than is usual.
func (x threecx) Keys(file func(name, content string) (string, error)) (string, error) {
	secret, err := file("3cx-key", x.sim.ClientSecret())
	return "url: " + x.sim.URL() + ", client_id: " + x.sim.ClientID() + ", client_secret_file: " + secret + ", poll_interval: 1s", err
}

// Statuses implements exchange.
func (x threecx) Statuses() policy.Catalogue {
	kinds := map[string]presence.Kind{"Available": presence.KindAvailable, "Away": presence.KindAway, "Out of office": presence.KindDND}
	var out policy.Catalogue
	for _, name := range threecxsim.Profiles() {
		kind, known := kinds[name]
		if !known {
			kind = presence.KindCustom
		}
		out = append(out, presence.Status{Name: name, Kind: kind})
	}
	return out
}

// Authors implements exchange.
func (threecx) Authors() bool { return false }

// Users implements exchange.
func (x threecx) Users() []string {
	var out []string
	for _, u := range x.sim.Users() {
		out = append(out, strconv.Itoa(u.ID))
	}
	return out
}

// Phone implements exchange.
func (x threecx) Phone(user string) (phoneState, string, error) {
	p, err := x.sim.Presence(user)
	if err != nil {
		return phoneState{}, "", err
	}
	chosen, err := x.sim.Chosen(user)
	return of3CX(p), chosen, err
}

// SetFaults implements exchange.
func (x threecx) SetFaults(name string) error {
	f, err := threecxsim.FaultPreset(name)
	if err != nil {
		return err
	}
	return x.sim.SetFaults(f)
}

// Move implements exchange.
func (x threecx) Move(rate float64, seed uint64) (func(), error) {
	p, err := x.sim.NewPeople(threecxsim.PeopleConfig{Rate: rate, Seed: seed})
	if err != nil {
		return nil, err
	}
	return p.Stop, nil
}

// Pending implements exchange.
func (x threecx) Pending() int { return x.sim.Stats().Pending }

// Writes implements exchange.
func (x threecx) Writes() int { return x.sim.Stats().Patches }

// Lines implements exchange.
func (x threecx) Lines() int { return x.sim.Stats().Frames }

// Close implements exchange.
func (x threecx) Close() error { return x.sim.Close() }
