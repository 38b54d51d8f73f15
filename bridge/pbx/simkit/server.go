package simkit

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

// ErrClosed is what a simulator says that is asked to go on after its Close.
var ErrClosed = errors.New("the simulator is closed")

// ServerConfig says how a simulator serves HTTP. What has no default must be given.
type ServerConfig struct {
	// Sim is the simulator's name, in errors and in its certificate.
	Sim string
	// Addr to listen on.
	Addr string
	// Listen makes the listener, each time that the server comes up. Default: TCP.
	Listen func(ctx context.Context, addr string) (net.Listener, error)
	// TLS serves HTTPS with a certificate of a CA made for it. Default: plain HTTP.
	TLS bool
	// Handler answers requests.
	Handler http.Handler
	// Cut breaks the connections that the server does not know any more (hijacked ones), when it goes down. Default: none.
	Cut func()
	// Stop is closed when the simulator ends: the server does not come up again.
	Stop <-chan struct{}
	// Log of the server.
	Log *slog.Logger
}

// Server is an HTTP server that can vanish, and come back at the address that it had.
type Server struct {
	cfg ServerConfig
	ca  *Authority // nil without TLS
	url string     // set by the first Up, before anything is served

	mu     sync.Mutex // serialises going down and up again; guards the rest
	addr   string
	server *http.Server // nil while down
	served chan struct{}
}

// NewServer makes a server that is down.
func NewServer(cfg ServerConfig) (*Server, error) {
	s := &Server{cfg: cfg, addr: cfg.Addr}
	var err error
	if cfg.TLS {
		s.ca, err = NewAuthority(cfg.Sim)
	}
	return s, err
}

// reachable is how a client on this machine says a listening address.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// URL is the server's base address, once it was up; it stays the same.
func (s *Server) URL() string { return s.url }

// CAPEM is the certificate of the server's own CA, nil without TLS.
func (s *Server) CAPEM() []byte {
	if s.ca == nil {
		return nil
	}
	return s.ca.PEM
}

// Down lets the server vanish: nobody answers any more, and every connection breaks. Idempotent.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down()
}

func (s *Server) down() {
	if s.server == nil {
		return
	}
	if s.cfg.Cut != nil {
		s.cfg.Cut()
	}
	_ = s.server.Close() // only says that the listener was closed already
	<-s.served
	s.server = nil
}

// Up lets it come back at the same address. Idempotent; [ErrClosed] after the simulator's end.
func (s *Server) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up()
}

// Restart lets the server vanish, and come back when away has returned, unless the simulator has ended meanwhile.
func (s *Server) Restart(away func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down()
	away()
	return s.up()
}

func (s *Server) up() error {
	if s.server != nil {
		return nil
	}
	select {
	case <-s.cfg.Stop:
		return fmt.Errorf("%s: %w", s.cfg.Sim, ErrClosed)
	default:
	}
	l, err := Listen(s.cfg.Listen, s.addr)
	if err != nil {
		return fmt.Errorf("%s: listen on %s: %w", s.cfg.Sim, s.addr, err)
	}
	s.addr = l.Addr().String()
	scheme := "http://"
	if s.ca != nil {
		scheme, l = "https://", tls.NewListener(l, s.ca.config())
	}
	if s.url == "" {
		s.url = scheme + reachable(s.addr)
	}
	srv := &http.Server{Handler: s.cfg.Handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)}
	served := make(chan struct{})
	s.server, s.served = srv, served
	go func() { // waited for in down
		defer close(served)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Log.Error("simulated pbx stopped serving", "sim", s.cfg.Sim, "error", err)
		}
	}()
	return nil
}

// Listen listens, if need be after whoever held the address has let it go. Without a function it is TCP.
func Listen(listen func(context.Context, string) (net.Listener, error), addr string) (net.Listener, error) {
	if listen == nil {
		listen = func(ctx context.Context, addr string) (net.Listener, error) {
			return (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for {
		l, err := listen(ctx, addr)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || !Wait(ctx, nil, 20*time.Millisecond) || ctx.Err() != nil {
			return l, err
		}
	}
}

// Wait waits d, or not so long if ctx ends or stop is closed. It is false if stop was what ended it.
func Wait(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-stop:
		return false
	}
	return true
}
