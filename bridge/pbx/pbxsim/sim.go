package pbxsim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Sim is a running PBX. Its methods are safe for concurrent use.
type Sim struct {
	cfg Config
	url string
	ca  *authority // nil without TLS

	lifeMu sync.Mutex // serialises going down and up again
	addr   string
	server *http.Server // nil while down
	served chan struct{}

	agenda  *agenda        // late events, late writes
	stop    chan struct{}  // closed by Close
	workers sync.WaitGroup // agenda, hook, ordered restarts, requests
	hook    hookQueue

	mu       sync.Mutex // guards all below
	closed   bool
	users    map[string]*person
	order    []string          // ids, sorted
	clients  map[string]string // bearer token to client name
	faults   Faults
	dice     dice
	log      eventLog
	held     [][]byte // events waiting for the next one (reordered)
	streams  map[*stream]struct{}
	stalled  bool
	people   *People
	lastTime time.Time // of changed_at: never given twice
	stats    Stats
}

// Start lets a PBX run until Close.
func Start(cfg Config) (*Sim, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sim{
		cfg: cfg, addr: cfg.Addr, agenda: newAgenda(), stop: make(chan struct{}),
		faults: cfg.Faults, dice: newDice(cfg.Seed), streams: map[*stream]struct{}{},
		clients: map[string]string{cfg.Token: cfg.ClientName},
	}
	for token, name := range cfg.Clients {
		s.clients[token] = name
	}
	s.hook.init(cfg.OnChange)
	s.log.begin(cfg.EventBuffer)
	s.populate()
	if cfg.TLS {
		if s.ca, err = newAuthority(); err != nil {
			return nil, err
		}
	}
	if err := s.up(); err != nil {
		return nil, err
	}
	scheme := "http://"
	if cfg.TLS {
		scheme = "https://"
	}
	s.url = scheme + reachable(s.addr)
	s.workers.Go(func() { s.agenda.run(s.stop) })
	s.workers.Go(s.hook.run)
	return s, nil
}

// reachable is how a client on this machine says a listening address.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// URL is the base address of the endpoint, without /v1.
func (s *Sim) URL() string { return s.url }

// Token is the bearer token of the bridge, as it was at the start (see [Sim.RotateToken]).
func (s *Sim) Token() string { return s.cfg.Token }

// ClientName is the client that Token belongs to.
func (s *Sim) ClientName() string { return s.cfg.ClientName }

// CAPEM is the certificate of the simulator's own CA, nil without TLS.
func (s *Sim) CAPEM() []byte {
	if s.ca == nil {
		return nil
	}
	return s.ca.pem
}

// Close ends the PBX and everything that runs in it, and waits for that. Closing twice is no error.
func (s *Sim) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	people := s.people
	s.mu.Unlock()
	if was {
		return nil
	}
	if people != nil {
		people.Stop()
	}
	close(s.stop)
	s.Down()
	s.hook.close()
	s.workers.Wait()
	return nil
}

// Down lets the PBX vanish: nobody answers any more, and every connection breaks. State and events
// are kept. Idempotent.
func (s *Sim) Down() {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	s.down()
}

func (s *Sim) down() {
	if s.server == nil {
		return
	}
	s.CutStreams()
	_ = s.server.Close() // only says that the listener was closed already
	<-s.served
	s.server = nil
}

// Up lets it come back at the same address, with the state and the events that it had.
func (s *Sim) Up() error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	return s.up()
}

func (s *Sim) up() error {
	if s.server != nil {
		return nil
	}
	select {
	case <-s.stop:
		return errClosed
	default:
	}
	l, err := listenAgain(s.cfg.Listen, s.addr)
	if err != nil {
		return err
	}
	s.addr = l.Addr().String()
	if s.ca != nil {
		l = tls.NewListener(l, s.ca.config())
	}
	srv := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)}
	served := make(chan struct{})
	s.server, s.served = srv, served
	go func() { // waited for in down
		defer close(served)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Log.Error("simulated pbx stopped serving", "error", err)
		}
	}()
	return nil
}

// listenAgain listens, if need be after whoever held the address has let it go.
func listenAgain(listen func(context.Context, string) (net.Listener, error), addr string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for {
		l, err := listen(ctx, addr)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("pbxsim: listen on %s: %w", addr, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("pbxsim: listen on %s: %w", addr, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// RestartOptions say how a restart goes.
type RestartOptions struct {
	// LoseState: statuses, versions and calls are those of a fresh installation afterwards. Otherwise they
	// are kept. Events and their epoch are lost in any case.
	LoseState bool
	// Down is how long the PBX is away.
	Down time.Duration
}

var errClosed = errors.New("pbxsim: the simulator is closed")

// Restart restarts the PBX and returns when it answers again; ctx cuts the time
// away short. Every connection breaks, the epoch of event ids changes, calls end.
func (s *Sim) Restart(ctx context.Context, opts RestartOptions) error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	s.down()
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
	if opts.Down > 0 {
		t := time.NewTimer(opts.Down)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		case <-s.stop:
			return errClosed
		}
	}
	return s.up()
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

// hookQueue hands changes to Config.OnChange in order, without the simulator's mutex.
type hookQueue struct {
	call func(Change)
	mu   sync.Mutex
	q    []Change
	wake chan struct{}
	done bool
}

func (h *hookQueue) init(call func(Change)) { h.call, h.wake = call, make(chan struct{}, 1) }

func (h *hookQueue) put(c Change) {
	if h.call == nil {
		return
	}
	h.mu.Lock()
	h.q = append(h.q, c)
	h.mu.Unlock()
	h.nudge()
}

func (h *hookQueue) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hookQueue) close() {
	h.mu.Lock()
	h.done = true
	h.mu.Unlock()
	h.nudge()
}

func (h *hookQueue) run() {
	for {
		h.mu.Lock()
		q, done := h.q, h.done
		h.q = nil
		h.mu.Unlock()
		for _, c := range q {
			h.call(c)
		}
		if len(q) > 0 {
			continue
		}
		if done {
			return
		}
		<-h.wake
	}
}
