package threecxsim

import (
	"context"
	"sync"
	"time"

	"presencebridge/bridge/pbx/simkit"
)

// Sim is a running PBX. Its methods are safe for concurrent use.
type Sim struct {
	cfg     Config
	server  *simkit.Server
	crowd   *simkit.Crowd
	agenda  *simkit.Agenda // late frames, late writes
	hook    *simkit.Queue[Change]
	stop    chan struct{}  // closed by Close
	workers sync.WaitGroup // agenda, hook, ordered restarts

	mu      sync.Mutex // guards all below
	closed  bool
	users   map[int]*person
	limits  Limits
	faults  Faults
	dice    simkit.Dice
	lastID  int
	seq     int
	held    []frame // waiting for the next frame (reordered)
	pending int     // late frames and writes
	sockets map[*socket]struct{}
	stalled bool
	secret  string
	token   string // the only one that is valid
	tokenAt time.Time
	stats   Stats
}

// Start lets a PBX run until Close.
func Start(cfg Config) (*Sim, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sim{
		cfg: cfg, agenda: simkit.NewAgenda(), hook: simkit.NewQueue(cfg.OnChange), stop: make(chan struct{}), faults: cfg.Faults,
		limits: cfg.Limits, dice: simkit.NewDice(cfg.Seed, 0x336378), sockets: map[*socket]struct{}{}, users: map[int]*person{},
		secret: cfg.ClientSecret, lastID: 8100,
	}
	s.crowd = s.newCrowd()
	for _, u := range cfg.UserList {
		s.users[u.ID] = s.newPerson(u)
	}
	s.server, err = simkit.NewServer(simkit.ServerConfig{
		Sim: "threecxsim", Addr: cfg.Addr, Listen: cfg.Listen, TLS: cfg.TLS, Handler: s.handler(), Cut: s.CutSockets, Stop: s.stop, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	if err := s.server.Up(); err != nil {
		return nil, err
	}
	s.workers.Go(func() { s.agenda.Run(s.stop) })
	s.workers.Go(s.hook.Run)
	return s, nil
}

// URL is the base address of the PBX.
func (s *Sim) URL() string { return s.server.URL() }

// ClientID is the bridge's client id.
func (s *Sim) ClientID() string { return s.cfg.ClientID }

// ClientSecret is the bridge's key, as it is now.
func (s *Sim) ClientSecret() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secret
}

// CAPEM is the certificate of the simulator's own CA, nil without TLS.
func (s *Sim) CAPEM() []byte { return s.server.CAPEM() }

// SetLimits changes what the client may do. Connections stay as they are.
func (s *Sim) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
}

// RotateSecret makes secret the client's, and refuses the one it had, its token and its WebSockets.
func (s *Sim) RotateSecret(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = secret
	s.forgetToken()
}

// ExpireToken makes the client's token invalid, and breaks its WebSockets.
func (s *Sim) ExpireToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetToken()
}

func (s *Sim) forgetToken() {
	s.token = ""
	for c := range s.sockets {
		c.cut()
	}
}

// Close ends the PBX and everything that runs in it, and waits for that. Closing twice is no error.
func (s *Sim) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.crowd.Close()
	close(s.stop)
	s.Down()
	s.hook.Close()
	s.workers.Wait()
	return nil
}

// Down lets the PBX vanish: nobody answers any more, and every connection breaks. Its state is kept. Idempotent.
func (s *Sim) Down() { s.server.Down() }

// Up lets it come back at the same address, with the state that it had.
func (s *Sim) Up() error { return s.server.Up() }

// RestartOptions say how a restart goes.
type RestartOptions struct {
	// LoseState: profiles and messages are those of a fresh installation afterwards.
	LoseState bool
	// Down is how long the PBX is away.
	Down time.Duration
}

// Restart restarts the PBX and returns when it answers again. Every connection breaks, calls end, the token is
// forgotten, frames are counted from one.
func (s *Sim) Restart(ctx context.Context, opts RestartOptions) error {
	return s.server.Restart(func() {
		s.mu.Lock()
		s.seq, s.held, s.token = 0, nil, ""
		s.stats.Restarts++
		for _, p := range s.sorted() {
			_ = s.change(p, "line", func() error { p.legs = nil; return nil })
			if opts.LoseState {
				_ = s.change(p, "user", func() error { s.reset(p); return nil })
			}
		}
		s.mu.Unlock()
		simkit.Wait(ctx, s.stop, opts.Down)
	})
}

// later does something after a while, unless the simulator is closed before. The mutex is held, now and then.
func (s *Sim) later(d time.Duration, do func()) {
	s.pending++
	s.agenda.After(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending--
		do()
	})
}
