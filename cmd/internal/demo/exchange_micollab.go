package demo

import (
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/sims"
)

// micollab is the PBX behind the MiCollab-style endpoint.
type micollab struct{ sim *pbxsim.Sim }

func startMiCollab(people []sims.Person, seed uint64, changed func(phoneChange)) (exchange, error) {
	sim, err := pbxsim.Start(pbxsim.Config{UserList: sims.Phones(people), Seed: seed, OnChange: func(c pbxsim.Change) {
		changed(phoneChange{User: c.User, Before: ofMiCollab(c.Before), After: ofMiCollab(c.After), By: c.By})
	}})
	if err != nil {
		return nil, err
	}
	return micollab{sim}, nil
}

func ofMiCollab(p pbxsim.Presence) phoneState {
	return phoneState{Line: p.Line, Status: p.Status}
}

// Keys implements exchange.
func (m micollab) Keys(file func(name, content string) (string, error)) (string, error) {
	token, err := file("pbx-token", m.sim.Token())
	return "url: " + m.sim.URL() + ", token_file: " + token, err
}

// Statuses implements exchange.
func (m micollab) Statuses() policy.Catalogue {
	var out policy.Catalogue
	for _, s := range m.sim.Statuses() {
		out = append(out, presence.Status{Name: s.Name, Kind: presence.Kind(s.Kind)})
	}
	return out
}

// Authors implements exchange.
func (micollab) Authors() bool { return true }

// Users implements exchange.
func (m micollab) Users() []string {
	var out []string
	for _, u := range m.sim.Users() {
		out = append(out, u.ID)
	}
	return out
}

// Phone implements exchange.
func (m micollab) Phone(user string) (phoneState, string, error) {
	p, err := m.sim.Presence(user)
	if err != nil {
		return phoneState{}, "", err
	}
	chosen, err := m.sim.Chosen(user)
	return ofMiCollab(p), chosen, err
}

// SetFaults implements exchange.
func (m micollab) SetFaults(name string) error {
	f, err := pbxsim.FaultPreset(name)
	if err != nil {
		return err
	}
	return m.sim.SetFaults(f)
}

// Move implements exchange.
func (m micollab) Move(rate float64, seed uint64) (func(), error) {
	p, err := m.sim.NewPeople(pbxsim.PeopleConfig{Rate: rate, Seed: seed})
	if err != nil {
		return nil, err
	}
	return p.Stop, nil
}

// Pending implements exchange.
func (m micollab) Pending() int { return m.sim.Stats().Pending }

// Writes implements exchange.
func (m micollab) Writes() int { return m.sim.Stats().WritesApplied }

// Lines implements exchange.
func (m micollab) Lines() int { return m.sim.Stats().LineChanges }

// Close implements exchange.
func (m micollab) Close() error { return m.sim.Close() }
