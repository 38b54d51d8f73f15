package sipsim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// PeopleConfig says how lively the simulated people are.
type PeopleConfig struct {
	// Rate is the fraction of people that begin something new each minute. Default 0.1.
	Rate float64
	// MeanCall is how long calls last on average. Default 20 s; one in five is over within a second.
	MeanCall time.Duration
	// Seed of what people do. Default the simulator's.
	Seed uint64
}

// People are simulated people who call, answer, hang up and pick statuses, until stopped.
type People struct {
	sim  *Sim
	cfg  PeopleConfig
	stop chan struct{}
	work sync.WaitGroup
	once sync.Once

	mu sync.Mutex
	r  *rand.Rand
}

// NewPeople sets people in motion; they run until [People.Stop] or the simulator's Close. Those before are stopped.
func (s *Sim) NewPeople(cfg PeopleConfig) (*People, error) {
	if cfg.Rate == 0 {
		cfg.Rate = 0.1
	}
	if !(cfg.Rate > 0 && cfg.Rate <= 1000) {
		return nil, fmt.Errorf("sipsim: people: rate is %v, want a fraction of people per minute above 0", cfg.Rate)
	}
	if cfg.MeanCall <= 0 {
		cfg.MeanCall = 20 * time.Second
	}
	if cfg.Seed == 0 {
		cfg.Seed = s.cfg.Seed
	}
	p := &People{sim: s, cfg: cfg, stop: make(chan struct{}), r: rand.New(rand.NewPCG(cfg.Seed, 0x736970))}
	s.mu.Lock()
	before, closed := s.crowd, s.closed
	s.crowd = p
	s.mu.Unlock()
	if before != nil {
		before.Stop()
	}
	if closed {
		return nil, errClosed
	}
	p.work.Go(p.run)
	return p, nil
}

// Stop freezes everybody for good, and waits until nobody moves any more. Calls that go on stay as they are.
func (p *People) Stop() {
	p.once.Do(func() { close(p.stop) })
	p.work.Wait()
}

// run lets somebody begin something now and then (a Poisson process).
func (p *People) run() {
	for {
		users := p.sim.Users()
		wait := time.Second
		if n := len(users); n > 0 {
			wait = p.about(time.Duration(60 / (p.cfg.Rate * float64(n)) * float64(time.Second)))
		}
		if !p.sleep(wait) {
			return
		}
		if n := len(users); n > 0 {
			p.begin(users[p.number(n)].User)
		}
	}
}

// begin lets one person begin something. Errors only say that the person left, or that the phone is unplugged.
func (p *People) begin(user string) {
	switch dice := p.number(100); {
	case dice < 50:
		p.work.Go(func() { p.call(user) })
	case dice < 92:
		_ = p.sim.Pick(user, Statuses()[p.number(len(Statuses()))].Name)
	case dice < 96:
		_ = p.sim.PickMessage(user, Statuses()[p.number(len(Statuses()))].Name, fmt.Sprintf("Back at %d:%02d", 8+p.number(10), p.number(60)))
	default:
		if p.sim.GoOffline(user) == nil {
			p.work.Go(func() {
				p.sleep(p.about(p.cfg.MeanCall))
				_ = p.sim.GoOnline(user)
			})
		}
	}
}

// call is a call of some sort: outgoing or answered, sometimes missed, held or over in no time.
func (p *People) call(user string) {
	if p.number(10) >= 4 {
		if p.sim.Ring(user) != nil || !p.sleep(p.about(p.cfg.MeanCall/10)) {
			return
		}
		if p.number(5) == 0 {
			_ = p.sim.StopRinging(user)
			return
		}
	}
	if p.sim.StartCall(user) != nil {
		return
	}
	length := p.about(p.cfg.MeanCall)
	if p.number(5) == 0 {
		length = time.Duration(p.number(1000)) * time.Millisecond
	}
	if !p.sleep(length / 2) {
		return
	}
	if p.number(8) == 0 && p.sim.Hold(user) == nil {
		if !p.sleep(length / 4) {
			return
		}
		_ = p.sim.Resume(user) // somebody may have hung up by hand
	}
	if p.sleep(length / 2) {
		_ = p.sim.EndCall(user)
	}
}

func (p *People) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.stop:
		return false
	}
}

func (p *People) number(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.r.IntN(n)
}

// about is a random time around mean.
func (p *People) about(mean time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Duration(min(p.r.ExpFloat64(), 5) * float64(mean))
}
