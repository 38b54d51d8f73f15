package demo

import (
	"time"

	"presencebridge/bridge/pbx/sipsim"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/sims"
)

// sipPBX is the simulated SIP PBX.
type sipPBX struct{ sim *sipsim.Sim }

func startSIP(people []sims.Person, seed uint64, changed func(phoneChange)) (exchange, error) {
	// What was published and whose answer was lost stands until its lease ends; a demo does not wait for minutes.
	sim, err := sipsim.Start(sipsim.Config{UserList: sims.SIP(people), Seed: seed, MaxExpires: 20 * time.Second, OnChange: func(c sipsim.Change) {
		changed(phoneChange{User: c.User, Before: ofSIP(c.Before), After: ofSIP(c.After), By: c.By})
	}})
	if err != nil {
		return nil, err
	}
	return sipPBX{sim}, nil
}

func ofSIP(p sipsim.Presence) phoneState { return phoneState{Line: p.Line, Status: p.Status} }

// Keys implements exchange.
func (x sipPBX) Keys(file func(name, content string) (string, error)) (string, error) {
	password, err := file("sip-password", x.sim.Password())
	if err != nil {
		return "", err
	}
	users, err := file("sip-users.csv", x.sim.UsersFile())
	return "url: \"" + x.sim.URL() + "\", username: " + x.sim.Username() + ", password_file: " + password + ", domain: " + x.sim.Domain() +
		", users_file: " + users, err
}

// Statuses implements exchange.
func (x sipPBX) Statuses() policy.Catalogue {
	var out policy.Catalogue
	for _, s := range sipsim.Statuses() {
		kind, _ := presence.ParseKind(s.Kind)
		out = append(out, presence.Status{Name: s.Name, Kind: kind})
	}
	return out
}

// Authors implements exchange: what the person chose is a document of its own.
func (x sipPBX) Authors() bool { return true }

// Users implements exchange.
func (x sipPBX) Users() []string {
	var out []string
	for _, u := range x.sim.Users() {
		out = append(out, u.User)
	}
	return out
}

// Phone implements exchange.
func (x sipPBX) Phone(user string) (phoneState, string, error) {
	p, err := x.sim.Presence(user)
	if err != nil {
		return phoneState{}, "", err
	}
	chosen, err := x.sim.Chosen(user)
	return ofSIP(p), chosen, err
}

// SetFaults implements exchange.
func (x sipPBX) SetFaults(name string) error {
	f, err := sipsim.FaultPreset(name)
	if err != nil {
		return err
	}
	return x.sim.SetFaults(f)
}

// Move implements exchange.
func (x sipPBX) Move(rate float64, seed uint64) (func(), error) {
	p, err := x.sim.NewPeople(sipsim.PeopleConfig{Rate: rate, Seed: seed})
	if err != nil {
		return nil, err
	}
	return p.Stop, nil
}

// Pending implements exchange.
func (x sipPBX) Pending() int { return x.sim.Stats().Pending }

// Writes implements exchange.
func (x sipPBX) Writes() int { return x.sim.Stats().Publications }

// Lines implements exchange.
func (x sipPBX) Lines() int { return x.sim.Stats().LineChanges }

// Close implements exchange.
func (x sipPBX) Close() error { return x.sim.Close() }
