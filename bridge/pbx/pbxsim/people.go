package pbxsim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// PeopleConfig says how lively the simulated people are.
type PeopleConfig struct {
	// Rate is the fraction of members that begin something new each minute. Default 0.1.
	Rate float64
	// MeanCall is how long calls last on average. Default 20 s; one in five is over within a second.
	MeanCall time.Duration
	// Seed of what people do. Default the simulator's.
	Seed uint64
	// Users are the ids that move. Default everybody.
	Users []string
	// Statuses are the names that people pick. Default all of the site.
	Statuses []string
	// Shares of what people begin, relative to each other. All zero: 50 calls, 42 picks, 4 messages, 4 offline.
	Calls, Picks, Messages, Offline float64
}

// PeopleState says what the simulated people do.
type PeopleState string

// The states.
const (
	PeopleRunning PeopleState = "run"
	PeoplePaused  PeopleState = "pause"
	PeopleStopped PeopleState = "stop"
)

// People are simulated people who call, answer, hold, hang up, and pick statuses, until stopped.
type People struct {
	sim    *Sim
	agenda *agenda
	stop   chan struct{}
	done   chan struct{}

	mu    sync.Mutex // guards the rest, except r
	cfg   PeopleConfig
	state PeopleState
	begun int

	r *rand.Rand // of the goroutine that runs agenda
}

// NewPeople sets people in motion; they run until [People.Stop] or the simulator's Close. A simulator has
// one set of people: those before are stopped.
func (s *Sim) NewPeople(cfg PeopleConfig) (*People, error) {
	cfg, err := s.peopleDefaults(cfg)
	if err != nil {
		return nil, err
	}
	p := &People{
		sim: s, agenda: newAgenda(), stop: make(chan struct{}), done: make(chan struct{}),
		cfg: cfg, state: PeopleRunning, r: rand.New(rand.NewPCG(cfg.Seed, 0x70656f706c65)),
	}
	s.mu.Lock()
	before, closed := s.people, s.closed
	s.people = p
	s.mu.Unlock()
	if before != nil {
		before.Stop()
	}
	if closed {
		close(p.done)
		return nil, fmt.Errorf("pbxsim: people: the simulator is closed")
	}
	go func() { // waited for in Stop
		defer close(p.done)
		p.agenda.run(p.stop)
	}()
	p.agenda.after(0, p.arrive)
	return p, nil
}

func (s *Sim) peopleDefaults(cfg PeopleConfig) (PeopleConfig, error) {
	if cfg.Rate == 0 {
		cfg.Rate = 0.1
	}
	if !(cfg.Rate > 0 && cfg.Rate <= 1000) {
		return cfg, fmt.Errorf("pbxsim: people: rate is %v, want a fraction of members per minute above 0", cfg.Rate)
	}
	if cfg.MeanCall == 0 {
		cfg.MeanCall = 20 * time.Second
	}
	if cfg.MeanCall < 0 {
		return cfg, fmt.Errorf("pbxsim: people: mean_call is %v, want more than 0", cfg.MeanCall)
	}
	if cfg.Seed == 0 {
		cfg.Seed = s.cfg.Seed
	}
	if cfg.Calls+cfg.Picks+cfg.Messages+cfg.Offline <= 0 {
		cfg.Calls, cfg.Picks, cfg.Messages, cfg.Offline = 50, 42, 4, 4
	}
	if len(cfg.Statuses) == 0 {
		for _, st := range s.cfg.Statuses {
			cfg.Statuses = append(cfg.Statuses, st.Name)
		}
	}
	for _, name := range cfg.Statuses {
		if _, ok := s.statusNamed(name); !ok {
			return cfg, fmt.Errorf("pbxsim: people: %w: %q", ErrNoStatus, name)
		}
	}
	return cfg, nil
}

// Pause freezes everybody where they are; Resume lets them go on.
func (p *People) Pause() { p.setState(PeoplePaused) }

// Resume lets paused people go on.
func (p *People) Resume() { p.setState(PeopleRunning) }

func (p *People) setState(to PeopleState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == PeopleStopped {
		return
	}
	p.state = to
	if to == PeoplePaused {
		p.agenda.pause()
	} else {
		p.agenda.resume()
	}
}

// Stop freezes everybody for good, and waits until nobody moves any more. Calls that go on stay as they are.
func (p *People) Stop() {
	p.mu.Lock()
	was := p.state
	p.state = PeopleStopped
	p.mu.Unlock()
	if was != PeopleStopped {
		close(p.stop)
	}
	<-p.done
}

// State says what the people do.
func (p *People) State() PeopleState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// SetRate changes how lively they are.
func (p *People) SetRate(rate float64) error {
	if !(rate > 0 && rate <= 1000) {
		return fmt.Errorf("pbxsim: people: rate is %v, want a fraction of members per minute above 0", rate)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg.Rate = rate
	return nil
}

// Begun counts what people have begun.
func (p *People) Begun() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun
}

// arrive lets somebody begin something, and plans the next time (a Poisson process).
func (p *People) arrive() {
	p.mu.Lock()
	cfg := p.cfg
	p.mu.Unlock()
	id, of := p.somebody(cfg)
	if of == 0 {
		p.agenda.after(time.Second, p.arrive)
		return
	}
	perSecond := cfg.Rate * float64(of) / 60
	wait := min(p.r.ExpFloat64()/perSecond, 3600)
	p.agenda.after(time.Duration(wait*float64(time.Second)), p.arrive)
	if p.begin(cfg, id) {
		p.mu.Lock()
		p.begun++
		p.mu.Unlock()
	}
}

// somebody is one of those who move, and of how many; nobody of 0.
func (p *People) somebody(cfg PeopleConfig) (id string, of int) {
	if n := len(cfg.Users); n > 0 {
		return cfg.Users[p.r.IntN(n)], n
	}
	p.sim.mu.Lock()
	defer p.sim.mu.Unlock()
	if of = len(p.sim.order); of > 0 {
		id = p.sim.order[p.r.IntN(of)]
	}
	return id, of
}

// begin lets one person begin something. Errors only say that the person left, or that the phone is
// unplugged: then nothing begins.
func (p *People) begin(cfg PeopleConfig, id string) bool {
	dice := p.r.Float64() * (cfg.Calls + cfg.Picks + cfg.Messages + cfg.Offline)
	switch {
	case dice < cfg.Calls:
		return p.call(cfg, id)
	case dice < cfg.Calls+cfg.Picks:
		return p.sim.Pick(id, p.another(cfg, id)) == nil
	case dice < cfg.Calls+cfg.Picks+cfg.Messages:
		message := fmt.Sprintf("Back at %d:%02d", 8+p.r.IntN(10), p.r.IntN(60))
		return p.sim.PickMessage(id, p.another(cfg, id), message) == nil
	default:
		if p.sim.GoOffline(id) != nil {
			return false
		}
		p.agenda.after(p.about(cfg.MeanCall), func() { _ = p.sim.GoOnline(id) })
		return true
	}
}

// another is a status that does not show: picking that one would leave no trace.
func (p *People) another(cfg PeopleConfig, id string) string {
	shown, _ := p.sim.Presence(id)
	for range 8 {
		if name := cfg.Statuses[p.r.IntN(len(cfg.Statuses))]; name != shown.Status {
			return name
		}
	}
	return cfg.Statuses[0]
}

// call is a call of some sort: outgoing or answered, sometimes missed, held or over in no time. It may
// overlap with one that goes on.
func (p *People) call(cfg PeopleConfig, id string) bool {
	if p.r.Float64() < 0.4 { // outgoing
		return p.talk(cfg, id) == nil
	}
	if p.sim.Ring(id) != nil {
		return false
	}
	missed := p.r.Float64() < 0.2
	p.agenda.after(p.about(cfg.MeanCall/10), func() {
		if missed {
			_ = p.sim.StopRinging(id)
			return
		}
		_ = p.talk(cfg, id)
	})
	return true
}

func (p *People) talk(cfg PeopleConfig, id string) error {
	if err := p.sim.StartCall(id); err != nil {
		return err
	}
	length := p.about(cfg.MeanCall)
	if p.r.Float64() < 0.2 {
		length = time.Duration(p.r.Int64N(int64(time.Second)))
	}
	// Somebody may hang up, hold or unplug by hand meanwhile: then there is nothing to do.
	if p.r.Float64() < 0.15 {
		p.agenda.after(length/3, func() { _ = p.sim.Hold(id) })
		p.agenda.after(length/2, func() { _ = p.sim.Resume(id) })
	}
	p.agenda.after(length, func() { _ = p.sim.EndCall(id) })
	return nil
}

// about is a random time around mean.
func (p *People) about(mean time.Duration) time.Duration {
	return time.Duration(min(p.r.ExpFloat64(), 5) * float64(mean))
}
