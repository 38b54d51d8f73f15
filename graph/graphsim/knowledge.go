package graphsim

import "time"

// State is all there is to know about a person's presence, also what nobody outside can see.
type State struct {
	Person
	Monitor     bool      `json:"monitor,omitempty"`
	Shown       Pair      `json:"shown"`   // what Teams shows
	Organic     Pair      `json:"organic"` // what it would show without any application's session
	Chosen      *Pair     `json:"chosen"`  // the status picked by hand (preferred presence), if any
	ChosenByApp bool      `json:"chosen_by_app,omitempty"`
	App         *AppState `json:"app"`     // the application's session, if any
	Clients     []string  `json:"clients"` // what each Teams client is at, as "desktop: Busy/InACall"
	Sequence    string    `json:"sequence"`
	OutOfOffice bool      `json:"out_of_office"`
	Message     string    `json:"message,omitempty"` // the status message
}

// AppState is an application's session.
type AppState struct {
	Pair    Pair      `json:"pair"` // as it was set; Shown says what an Available one has faded to
	Expires time.Time `json:"expires"`
}

// look runs f on a person, after what ended by itself has ended.
func (s *Sim) look(user string, f func(p *person, now time.Time)) bool {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	p := s.world.find(user)
	if p == nil {
		return false
	}
	now := time.Now()
	s.world.settle(p, now)
	f(p, now)
	return true
}

// Shown is what Teams shows for a user now, whatever reads still show. An unknown user is Offline.
func (s *Sim) Shown(user string) Pair {
	shown := Offline
	s.look(user, func(p *person, _ time.Time) { shown = p.shown })
	return shown
}

// Organic is what would show for the user without any application's session.
func (s *Sim) Organic(user string) Pair {
	organic := Offline
	s.look(user, func(p *person, _ time.Time) { organic = p.organic })
	return organic
}

// Chosen is the status the user picked by hand (preferred presence), whether or not it shows.
func (s *Sim) Chosen(user string) (Pair, bool) {
	var chosen *Pair
	s.look(user, func(p *person, _ time.Time) {
		if p.preferred != nil {
			chosen = &p.preferred.pair
		}
	})
	if chosen == nil {
		return Pair{}, false
	}
	return *chosen, true
}

// AppSession is the session that the tenant's app registration holds for the user.
func (s *Sim) AppSession(user string) (AppState, bool) {
	var state *AppState
	s.look(user, func(p *person, _ time.Time) { state = p.appState(s.ClientID) })
	if state == nil {
		return AppState{}, false
	}
	return *state, true
}

func (p *person) appState(app string) *AppState {
	for _, a := range p.apps {
		if a.app == app {
			return &AppState{Pair: a.pair, Expires: a.expires}
		}
	}
	return nil
}

// State is everything about one user.
func (s *Sim) State(user string) (State, bool) {
	var state State
	ok := s.look(user, func(p *person, _ time.Time) { state = p.state(s.ClientID) })
	return state, ok
}

func (p *person) state(app string) State {
	state := State{Person: p.Person, Monitor: p.monitor, Shown: p.shown, Organic: p.organic, App: p.appState(app),
		Clients: []string{}, Sequence: p.sequence, OutOfOffice: p.outOfOffice}
	for _, c := range p.clients {
		state.Clients = append(state.Clients, c.name+": "+c.pair().String())
	}
	if p.preferred != nil {
		pair := p.preferred.pair
		state.Chosen, state.ChosenByApp = &pair, p.preferred.app
	}
	if p.message != nil {
		state.Message = p.message.content
	}
	return state
}

// Users are the tenant's people, without its monitors, ascending by id.
func (s *Sim) Users() []Person {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	users := make([]Person, 0, len(s.world.list))
	for _, p := range s.world.list {
		if !p.monitor {
			users = append(users, p.Person)
		}
	}
	return users
}

// States is everything about everybody, monitors included, ascending by id.
func (s *Sim) States() []State {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	now := time.Now()
	states := make([]State, 0, len(s.world.list))
	for _, p := range s.world.list {
		s.world.settle(p, now)
		states = append(states, p.state(s.ClientID))
	}
	return states
}
