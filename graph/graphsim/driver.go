package graphsim

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// People are the tenant's simulated people: left to themselves they call, meet, present, pick
// statuses by hand, go out of the office, leave their desks and close their laptops, one on top of
// the other. Close of the Sim stops them.
type People struct {
	sim  *Sim
	cfg  PeopleConfig
	rand *rand.Rand // of the driver's goroutine

	mu      sync.Mutex
	rate    float64 // guarded by mu
	paused  bool    // guarded by mu
	actions int64   // guarded by mu
	changed chan struct{}
	cancel  context.CancelFunc
	done    chan struct{}
}

// PeopleConfig says how lively they are.
type PeopleConfig struct {
	Seed  uint64   // what they do follows from it
	Rate  float64  // changes per minute, as a fraction of the people: 0.1 is a tenth of them each minute
	Users []string // who takes part, by id or UPN; default: all of Users()
	Start bool     // sign most of them in first
}

// drivers are the People of a tenant, so that closing it stops them.
type drivers struct {
	mu  sync.Mutex
	all []*People // guarded by mu
}

func (d *drivers) stop() {
	d.mu.Lock()
	all := d.all
	d.all = nil
	d.mu.Unlock()
	for _, p := range all {
		p.Stop()
	}
}

// Live sets the people going.
func (s *Sim) Live(cfg PeopleConfig) *People {
	if cfg.Users == nil {
		for _, p := range s.Users() {
			cfg.Users = append(cfg.Users, p.ID)
		}
	}
	ctx, cancel := context.WithCancel(s.ctx)
	p := &People{sim: s, cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0x70656f706c65)), rate: cfg.Rate,
		changed: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	if cfg.Start {
		p.morning()
	}
	s.drivers.mu.Lock()
	s.drivers.all = append(s.drivers.all, p)
	s.drivers.mu.Unlock()
	s.running.Go(func() { defer close(p.done); p.run(ctx) })
	return p
}

// Pause has them stay as they are.
func (p *People) Pause() { p.set(func() { p.paused = true }) }

// Resume sets them going again.
func (p *People) Resume() { p.set(func() { p.paused = false }) }

// SetRate changes how lively they are.
func (p *People) SetRate(rate float64) { p.set(func() { p.rate = rate }) }

// Actions is how much they did.
func (p *People) Actions() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.actions
}

// Stop ends them for good, leaving everybody as they are; it waits for the action under way.
func (p *People) Stop() {
	p.cancel()
	<-p.done
}

func (p *People) set(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// pause is how long until the next action; false: until something is set.
func (p *People) pause() (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	perMinute := p.rate * float64(len(p.cfg.Users))
	if p.paused || perMinute <= 0 {
		return 0, false
	}
	return time.Duration(p.rand.ExpFloat64() * float64(time.Minute) / perMinute), true
}

func (p *People) run(ctx context.Context) {
	due := time.Now()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		wait, going := p.pause()
		if !going {
			select {
			case <-ctx.Done():
			case <-p.changed:
				due = time.Now()
			}
			continue
		}
		due = due.Add(wait) // of the plan, not of now: a late timer makes no fewer actions
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
		case <-p.changed:
			due = time.Now()
		case <-timer.C:
			p.turn(p.cfg.Users[p.rand.IntN(len(p.cfg.Users))])
		}
	}
}

// turn has a person act until it changes what they show of themselves: something may go on beneath
// what outranks it, and then more happens on top.
func (p *People) turn(user string) {
	before := p.sim.Organic(user)
	for range 5 {
		p.act(user)
		if p.sim.Organic(user) != before {
			return
		}
	}
}

// morning signs most people in; some have picked a status, some are still out.
func (p *People) morning() {
	for _, user := range p.cfg.Users {
		switch n := p.rand.IntN(100); {
		case n < 10: // still at home
		case n < 20:
			p.do(p.sim.SetClient(user, Away))
		case n < 25:
			p.do(p.sim.SignIn(user))
			p.do(p.sim.SetPreferred(user, DoNotDisturb, 0))
		default:
			p.do(p.sim.SignIn(user))
		}
	}
}

// do counts an action. One that failed met a leaver.
func (p *People) do(err error) {
	if err != nil {
		p.sim.log.Debug("a person could not act", "error", err)
		return
	}
	p.mu.Lock()
	p.actions++
	p.mu.Unlock()
}
