package pbxsim

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
	agenda  *simkit.Agenda // late events, late writes
	hook    *simkit.Queue[Change]
	stop    chan struct{}  // closed by Close
	workers sync.WaitGroup // agenda, hook, ordered restarts, requests

	mu       sync.Mutex // guards all below
	closed   bool
	users    map[string]*person
	order    []string          // ids, sorted
	clients  map[string]string // bearer token to client name
	faults   Faults
	dice     simkit.Dice
	log      eventLog
	held     [][]byte // events waiting for the next one (reordered)
	streams  map[*stream]struct{}
	stalled  bool
	lastTime time.Time // of changed_at: never given twice
	stats    Stats
}

// Start lets a PBX run until Close.
func Start(cfg Config) (*Sim, error) {
	s, err := newSim(cfg)
	if err != nil {
		return nil, err
	}
	s.server, err = simkit.NewServer(simkit.ServerConfig{
		Sim: "pbxsim", Addr: s.cfg.Addr, Listen: s.cfg.Listen, TLS: s.cfg.TLS, Handler: s.handler(), Cut: s.CutStreams, Stop: s.stop, Log: s.cfg.Log,
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

// newSim is a PBX with its people that nobody can reach.
func newSim(cfg Config) (*Sim, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sim{
		cfg: cfg, agenda: simkit.NewAgenda(), hook: simkit.NewQueue(cfg.OnChange), stop: make(chan struct{}),
		faults: cfg.Faults, dice: simkit.NewDice(cfg.Seed, 0x70627873696d), streams: map[*stream]struct{}{},
		clients: map[string]string{cfg.Token: cfg.ClientName},
	}
	for token, name := range cfg.Clients {
		s.clients[token] = name
	}
	s.crowd = s.newCrowd()
	s.log.begin(cfg.EventBuffer)
	s.populate()
	return s, nil
}

// URL is the base address of the endpoint, without /v1.
func (s *Sim) URL() string { return s.server.URL() }

// Token is the bearer token of the bridge, as it was at the start (see [Sim.RotateToken]).
func (s *Sim) Token() string { return s.cfg.Token }

// ClientName is the client that Token belongs to.
func (s *Sim) ClientName() string { return s.cfg.ClientName }

// CAPEM is the certificate of the simulator's own CA, nil without TLS.
func (s *Sim) CAPEM() []byte { return s.server.CAPEM() }

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

// Down lets the PBX vanish: nobody answers any more, and every connection breaks. State and events
// are kept. Idempotent.
func (s *Sim) Down() { s.server.Down() }

// Up lets it come back at the same address, with the state and the events that it had.
func (s *Sim) Up() error { return s.server.Up() }

// RestartOptions say how a restart goes.
type RestartOptions struct {
	// LoseState: statuses, versions and calls are those of a fresh installation afterwards. Otherwise they
	// are kept. Events and their epoch are lost in any case.
	LoseState bool
	// Down is how long the PBX is away.
	Down time.Duration
}

// Restart restarts the PBX and returns when it answers again; ctx cuts the time
// away short. Every connection breaks, the epoch of event ids changes, calls end.
func (s *Sim) Restart(ctx context.Context, opts RestartOptions) error {
	return s.server.Restart(func() {
		s.mu.Lock()
		s.log.begin(s.cfg.EventBuffer)
		s.held = nil
		if opts.LoseState {
			s.forget()
		} else {
			s.endEveryCall()
		}
		s.stats.Restarts++
		s.mu.Unlock()
		simkit.Wait(ctx, s.stop, opts.Down)
	})
}

// RotateToken makes token the bridge's, and refuses the one it had. Streams opened with that one break.
func (s *Sim) RotateToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t, name := range s.clients {
		if name == s.cfg.ClientName {
			delete(s.clients, t)
		}
	}
	s.clients[token] = s.cfg.ClientName
	for st := range s.streams {
		if _, ok := s.clients[st.token]; !ok {
			st.cut()
		}
	}
}
