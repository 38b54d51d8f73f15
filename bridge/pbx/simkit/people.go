package simkit

import (
	"errors"
	"fmt"
	"slices"
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

// Verbs are what the people of a simulator can do. Errors of theirs only say that the person left, that the phone is
// unplugged or that there is no such call: then nothing happens.
type Verbs struct {
	Ring, StopRinging, StartCall, EndCall, GoOffline, GoOnline func(user string) error
	// Dial comes before the StartCall of an outgoing call. Default: such a call begins at once.
	Dial func(user string) error
	// Hold and Resume happen in some calls. Default: in none.
	Hold, Resume func(user string) error
	// Transfer happens in some calls. Default: in none.
	Transfer func(user string) error

	Pick        func(user, status string) error
	PickMessage func(user, status, message string) error
	// Status is what a person shows: picking that one would leave no trace.
	Status func(user string) string
}

// CrowdConfig says whose people they are. Everything must be given.
type CrowdConfig struct {
	// Sim is the simulator's name, in errors.
	Sim string
	// Seed of people whose config has none.
	Seed uint64
	// Statuses are the names of all that can be picked.
	Statuses []string
	// ErrNoStatus is what a config's unknown status is.
	ErrNoStatus error
	// Somebody is one of everybody, by a number below how many they are; of is that, and 0 if there is nobody.
	Somebody func(number func(below int) int) (user string, of int)
	Verbs
}

// Crowd is the place of a simulator's people: one set of them at a time.
type Crowd struct {
	cfg CrowdConfig

	mu     sync.Mutex // guards the rest
	people *People
	closed bool
}

// NewCrowd makes a place where nobody moves yet.
func NewCrowd(cfg CrowdConfig) *Crowd { return &Crowd{cfg: cfg} }

// Begin sets people in motion; they run until [People.Stop] or the crowd's Close. Those before are stopped first.
func (c *Crowd) Begin(cfg PeopleConfig) (*People, error) {
	cfg, err := c.defaults(cfg)
	if err != nil {
		return nil, err
	}
	p := &People{
		crowd: c.cfg, agenda: NewAgenda(), stop: make(chan struct{}), done: make(chan struct{}),
		cfg: cfg, state: PeopleRunning, dice: NewDice(cfg.Seed, 0x70656f706c65),
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, fmt.Errorf("%s: people: %w", c.cfg.Sim, ErrClosed)
	}
	before := c.people
	c.people = p
	c.mu.Unlock()
	if before != nil {
		before.Stop()
	}
	go func() { // waited for in Stop
		defer close(p.done)
		p.agenda.Run(p.stop)
	}()
	p.agenda.After(0, p.arrive)
	return p, nil
}

// People are those who were set in motion last, nil if nobody was.
func (c *Crowd) People() *People {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.people
}

// Close stops the people; there will be no others.
func (c *Crowd) Close() {
	c.mu.Lock()
	p := c.people
	c.closed = true
	c.mu.Unlock()
	if p != nil {
		p.Stop()
	}
}

func (c *Crowd) defaults(cfg PeopleConfig) (PeopleConfig, error) {
	if cfg.Rate == 0 {
		cfg.Rate = 0.1
	}
	if err := checkRate(cfg.Rate); err != nil {
		return cfg, fmt.Errorf("%s: people: %w", c.cfg.Sim, err)
	}
	if cfg.MeanCall == 0 {
		cfg.MeanCall = 20 * time.Second
	}
	if cfg.MeanCall < 0 {
		return cfg, fmt.Errorf("%s: people: mean_call is %v, want more than 0", c.cfg.Sim, cfg.MeanCall)
	}
	if cfg.Seed == 0 {
		cfg.Seed = c.cfg.Seed
	}
	if cfg.Calls+cfg.Picks+cfg.Messages+cfg.Offline <= 0 {
		cfg.Calls, cfg.Picks, cfg.Messages, cfg.Offline = 50, 42, 4, 4
	}
	if len(cfg.Statuses) == 0 {
		cfg.Statuses = c.cfg.Statuses
	}
	for _, name := range cfg.Statuses {
		if !slices.Contains(c.cfg.Statuses, name) {
			return cfg, fmt.Errorf("%s: people: %w: %q", c.cfg.Sim, c.cfg.ErrNoStatus, name)
		}
	}
	return cfg, nil
}

func checkRate(rate float64) error {
	if !(rate > 0 && rate <= 1000) {
		return fmt.Errorf("rate is %v, want a fraction of members per minute above 0", rate)
	}
	return nil
}

// People are simulated people who call, answer, hold, hang up, and pick statuses, until stopped.
type People struct {
	crowd  CrowdConfig
	agenda *Agenda
	stop   chan struct{}
	done   chan struct{}
	dice   Dice // of the goroutine that runs agenda

	orders sync.Mutex // serialises Pause and Resume; mu is free meanwhile, since who is waited for may want it

	mu    sync.Mutex // guards the rest
	cfg   PeopleConfig
	state PeopleState
	begun int
}

// Pause freezes everybody where they are; Resume lets them go on.
func (p *People) Pause() { p.setState(PeoplePaused) }

// Resume lets paused people go on.
func (p *People) Resume() { p.setState(PeopleRunning) }

func (p *People) setState(to PeopleState) {
	p.orders.Lock()
	defer p.orders.Unlock()
	p.mu.Lock()
	if p.state == PeopleStopped {
		p.mu.Unlock()
		return
	}
	p.state = to
	p.mu.Unlock()
	if to == PeoplePaused {
		p.agenda.Pause()
	} else {
		p.agenda.Resume()
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

// Config is how lively they are, defaults filled in.
func (p *People) Config() PeopleConfig {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg
}

// SetRate changes how lively they are.
func (p *People) SetRate(rate float64) error {
	if err := checkRate(rate); err != nil {
		return fmt.Errorf("%s: people: %w", p.crowd.Sim, err)
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
	cfg := p.Config()
	id, of := p.somebody(cfg)
	if of == 0 {
		p.agenda.After(time.Second, p.arrive)
		return
	}
	perSecond := cfg.Rate * float64(of) / 60
	wait := min(p.dice.r.ExpFloat64()/perSecond, 3600)
	p.agenda.After(time.Duration(wait*float64(time.Second)), p.arrive)
	if p.begin(cfg, id) {
		p.mu.Lock()
		p.begun++
		p.mu.Unlock()
	}
}

// somebody is one of those who move, and of how many; nobody of 0.
func (p *People) somebody(cfg PeopleConfig) (id string, of int) {
	if n := len(cfg.Users); n > 0 {
		return cfg.Users[p.dice.Number(n)], n
	}
	return p.crowd.Somebody(p.dice.Number)
}

// begin lets one person begin something, if it can.
func (p *People) begin(cfg PeopleConfig, id string) bool {
	dice := p.dice.r.Float64() * (cfg.Calls + cfg.Picks + cfg.Messages + cfg.Offline)
	switch {
	case dice < cfg.Calls:
		return p.call(cfg, id) == nil
	case dice < cfg.Calls+cfg.Picks:
		return p.crowd.Pick(id, p.another(cfg, id)) == nil
	case dice < cfg.Calls+cfg.Picks+cfg.Messages:
		message := fmt.Sprintf("Back at %d:%02d", 8+p.dice.Number(10), p.dice.Number(60))
		return p.crowd.PickMessage(id, p.another(cfg, id), message) == nil
	default:
		if p.crowd.GoOffline(id) != nil {
			return false
		}
		p.agenda.After(p.dice.About(cfg.MeanCall), func() { _ = p.crowd.GoOnline(id) })
		return true
	}
}

// another is a status that does not show: picking that one would leave no trace.
func (p *People) another(cfg PeopleConfig, id string) string {
	shown := p.crowd.Status(id)
	for range 8 {
		if name := cfg.Statuses[p.dice.Number(len(cfg.Statuses))]; name != shown {
			return name
		}
	}
	return cfg.Statuses[0]
}

// call is a call of some sort: outgoing or answered, sometimes missed, held, transferred or over in no time. It may
// overlap with one that goes on.
func (p *People) call(cfg PeopleConfig, id string) error {
	first, missed := p.crowd.Ring, false
	if p.dice.r.Float64() < 0.4 {
		if first = p.crowd.Dial; first == nil {
			return p.talk(cfg, id)
		}
	} else {
		missed = p.dice.r.Float64() < 0.2
	}
	if err := first(id); err != nil {
		return err
	}
	p.agenda.After(p.dice.About(cfg.MeanCall/10), func() {
		if missed {
			_ = p.crowd.StopRinging(id)
			return
		}
		_ = p.talk(cfg, id)
	})
	return nil
}

func (p *People) talk(cfg PeopleConfig, id string) error {
	if err := p.crowd.StartCall(id); err != nil {
		return err
	}
	length := p.dice.About(cfg.MeanCall)
	if p.dice.r.Float64() < 0.2 {
		length = time.Duration(p.dice.Number(int(time.Second)))
	}
	// Somebody may hang up, hold or unplug by hand meanwhile: then there is nothing to do.
	if p.crowd.Hold != nil && p.dice.r.Float64() < 0.15 {
		p.agenda.After(length/3, func() { _ = p.crowd.Hold(id) })
		p.agenda.After(length/2, func() { _ = p.crowd.Resume(id) })
	}
	if p.crowd.Transfer != nil && p.dice.r.Float64() < 0.15 {
		p.agenda.After(length/2, func() { _ = p.crowd.Transfer(id) })
	}
	p.agenda.After(length, func() { _ = p.crowd.EndCall(id) })
	return nil
}

// Order starts, pauses or stops people. Running ones get a new pace if cfg names one.
func (c *Crowd) Order(to PeopleState, cfg PeopleConfig) error {
	p := c.People()
	alive := p != nil && p.State() != PeopleStopped
	switch {
	case to == PeopleStopped && p != nil:
		p.Stop()
	case to == PeopleStopped:
	case to == PeoplePaused && alive:
		p.Pause()
	case to == PeoplePaused:
		return errors.New("nobody moves: nothing to pause")
	case to != PeopleRunning && to != "":
		return errors.New(`state must be "run", "pause" or "stop"`)
	case alive && cfg.MeanCall == 0 && cfg.Seed == 0:
		if cfg.Rate != 0 {
			if err := p.SetRate(cfg.Rate); err != nil {
				return err
			}
		}
		if to == PeopleRunning {
			p.Resume()
		}
	default:
		_, err := c.Begin(cfg)
		return err
	}
	return nil
}
