package threecxsim

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

	stop    chan struct{} // closed by Close
	workers sync.WaitGroup
	hook    hookQueue

	mu      sync.Mutex // guards all below
	closed  bool
	users   map[int]*person
	limits  Limits
	faults  Faults
	dice    dice
	lastID  int
	seq     int
	held    []frame // waiting for the next frame (reordered)
	pending int     // late frames and writes
	sockets map[*socket]struct{}
	stalled bool
	secret  string
	token   string // the only one that is valid
	tokenAt time.Time
	people  *People
	stats   Stats
}

// Start lets a PBX run until Close.
func Start(cfg Config) (*Sim, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sim{
		cfg: cfg, addr: cfg.Addr, stop: make(chan struct{}), faults: cfg.Faults, limits: cfg.Limits, dice: newDice(cfg.Seed),
		sockets: map[*socket]struct{}{}, users: map[int]*person{}, secret: cfg.ClientSecret, lastID: 8100,
	}
	s.hook.init(cfg.OnChange)
	for _, u := range cfg.UserList {
		s.users[u.ID] = s.newPerson(u)
	}
	if cfg.TLS {
		if s.ca, err = newAuthority(); err != nil {
			return nil, err
		}
	}
	if err := s.up(); err != nil {
		return nil, err
	}
	s.url = "http://" + reachable(s.addr)
	if cfg.TLS {
		s.url = "https://" + reachable(s.addr)
	}
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

// URL is the base address of the PBX.
func (s *Sim) URL() string { return s.url }

// ClientID is the bridge's client id.
func (s *Sim) ClientID() string { return s.cfg.ClientID }

// ClientSecret is the bridge's key, as it is now.
func (s *Sim) ClientSecret() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secret
}

// CAPEM is the certificate of the simulator's own CA, nil without TLS.
func (s *Sim) CAPEM() []byte {
	if s.ca == nil {
		return nil
	}
	return s.ca.pem
}

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
	was, people := s.closed, s.people
	s.closed = true
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

// Down lets the PBX vanish: nobody answers any more, and every connection breaks. Its state is kept. Idempotent.
func (s *Sim) Down() {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	s.down()
}

func (s *Sim) down() {
	if s.server == nil {
		return
	}
	s.CutSockets()
	_ = s.server.Close() // only says that the listener was closed already
	<-s.served
	s.server = nil
}

// Up lets it come back at the same address, with the state that it had.
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
	l, err := s.listen()
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
			s.cfg.Log.Error("simulated 3cx stopped serving", "error", err)
		}
	}()
	return nil
}

// listen listens, if need be after whoever held the address has let it go.
func (s *Sim) listen() (net.Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for {
		l, err := s.cfg.Listen(ctx, s.addr)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("threecxsim: listen on %s: %w", s.addr, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("threecxsim: listen on %s: %w", s.addr, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// RestartOptions say how a restart goes.
type RestartOptions struct {
	// LoseState: profiles and messages are those of a fresh installation afterwards.
	LoseState bool
	// Down is how long the PBX is away.
	Down time.Duration
}

var errClosed = errors.New("threecxsim: the simulator is closed")

// Restart restarts the PBX and returns when it answers again. Every connection breaks, calls end, the token is
// forgotten, frames are counted from one.
func (s *Sim) Restart(ctx context.Context, opts RestartOptions) error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	s.down()
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
	if !s.pause(ctx, opts.Down) {
		return errClosed
	}
	return s.up()
}

// pause waits, and tells whether the simulator still runs.
func (s *Sim) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-s.stop:
		return false
	}
	return true
}

// later does something after a while, unless the simulator is closed before. The mutex is held.
func (s *Sim) later(d time.Duration, do func()) {
	if s.closed {
		return
	}
	s.pending++
	s.workers.Go(func() {
		ok := s.pause(context.Background(), d)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending--
		if ok {
			do()
		}
	})
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
