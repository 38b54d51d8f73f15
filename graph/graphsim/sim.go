package graphsim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Sim is one simulated tenant: its login, its Graph and its people.
type Sim struct {
	// The tenant and its app registration.
	TenantID, ClientID, ClientSecret string

	cfg     Config
	log     *slog.Logger
	draw    *dice
	agenda  *agenda
	world   *world
	groups  groups
	cruelty *cruelty
	counts  *counts
	budget  *budget
	login   *login
	hub     *hub
	post    *post
	drivers drivers
	hooks   []func(Change) // guarded by world.mu

	handler  http.Handler
	server   *http.Server
	base     string // https://host:port
	caPEM    []byte
	cancel   context.CancelFunc
	ctx      context.Context
	running  sync.WaitGroup // the agenda, the server, the post's lanes, the drivers
	serving  sync.RWMutex   // held for reading by requests under way
	closing  sync.Once
	closeErr error
}

// New makes a tenant that does not listen: its Handler serves requests in process, and time passes
// in it. Close it when done.
func New(cfg Config) (*Sim, error) {
	r := rand.New(rand.NewPCG(cfg.Seed, 0x6772617068)) // a stream of its own: the tenant is the same whatever the faults
	cfg, err := cfg.withDefaults(r)
	if err != nil {
		return nil, err
	}
	s := &Sim{TenantID: cfg.TenantID, ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret, cfg: cfg, log: cfg.Log,
		draw: newDice(cfg.Seed, 3), agenda: newAgenda(), cruelty: newCruelty(cfg.Faults, cfg.Seed), counts: newCounts(),
		budget: newBudget(*cfg.Budgets), base: "https://graph.invalid"}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.world = newWorld(s.agenda)
	s.world.log, s.world.readLag, s.world.appWins = s.changed, s.nextReadLag, s.nextTie
	if cfg.OnChange != nil {
		s.hooks = append(s.hooks, cfg.OnChange)
	}
	s.hub = newHub(s)
	s.world.notified = s.hub.notified
	s.post = newPost(s)
	if s.login, err = newLogin(s); err != nil {
		return nil, err
	}
	if err := s.populate(r); err != nil {
		return nil, err
	}
	s.handler = s.routes()
	s.running.Go(func() { s.agenda.run(s.ctx) })
	return s, nil
}

// Start makes a tenant that listens with TLS, under a certificate authority of its own.
func Start(cfg Config) (*Sim, error) {
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sim) listen() error {
	listener := s.cfg.Listener
	if listener == nil {
		var err error
		if listener, err = (&net.ListenConfig{}).Listen(s.ctx, "tcp", s.cfg.Listen); err != nil {
			return fmt.Errorf("graphsim: listen on %q (Config.Listen): %w", s.cfg.Listen, err)
		}
	}
	host := listener.Addr().String()
	if s.cfg.Host != "" {
		_, port, err := net.SplitHostPort(host)
		if err != nil {
			port = "443"
		}
		host = net.JoinHostPort(s.cfg.Host, port)
	}
	caPEM, cert, err := serverCertificate(host)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s.caPEM, s.base = caPEM, "https://"+reachable(host)
	s.server = &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog:  slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}
	s.running.Go(func() {
		if err := s.server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("simulated tenant stopped serving", "error", err)
		}
	})
	return nil
}

// reachable is the address under which a listener is reached from this machine.
func reachable(hostPort string) string {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return hostPort
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Close stops the tenant: requests under way are cut, what is on its way to subscribers is dropped.
func (s *Sim) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.CloseContext(ctx)
	if errors.Is(err, context.Canceled) {
		return nil // the requests that were cut
	}
	return err
}

// CloseContext stops the tenant, leaving requests under way until the context ends to finish. It
// waits for every goroutine of the tenant.
func (s *Sim) CloseContext(ctx context.Context) error {
	s.closing.Do(func() {
		s.drivers.stop()
		if s.server != nil {
			if s.closeErr = s.server.Shutdown(ctx); s.closeErr != nil {
				s.closeErr = errors.Join(s.closeErr, s.server.Close())
			}
		}
		s.cancel()
		s.running.Wait()
		s.serving.Lock() // requests under way see the end of the context soon
		s.post.close()
		s.serving.Unlock()
	})
	return s.closeErr
}

// LoginURL is what stands for https://login.microsoftonline.com, without a path.
func (s *Sim) LoginURL() string { return s.base }

// GraphURL is what stands for https://graph.microsoft.com, without a path: the API is under /v1.0.
func (s *Sim) GraphURL() string { return s.base }

// CAPEM is the certificate of the authority that a client must trust.
func (s *Sim) CAPEM() []byte { return s.caPEM }

// Handler serves the tenant's requests in process, without a network.
func (s *Sim) Handler() http.Handler { return s.handler }

// SetFaults makes the tenant as cruel as said, from now on.
func (s *Sim) SetFaults(f Faults) { s.cruelty.now.Store(&f) }

// Faults says how cruel it is.
func (s *Sim) Faults() Faults { return *s.cruelty.faults() }

// changed counts a change and tells the hook. Under the world's lock.
func (s *Sim) changed(c Change) {
	s.counts.change(c)
	for _, hook := range s.hooks {
		hook(c)
	}
}

// OnChange calls f for each change from now on, in order, beside the hook of the configuration. It
// is called under the tenant's lock: it must be quick and not call the Sim.
func (s *Sim) OnChange(f func(Change)) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.hooks = append(s.hooks, f)
}

// nextReadLag is how late reads show the next change.
func (s *Sim) nextReadLag() time.Duration {
	return s.cruelty.requests.upTo(max(s.cfg.ReadLag, s.cruelty.faults().ReadLag))
}

// nextTie is how ties are broken for the next person.
func (s *Sim) nextTie() bool {
	if s.cfg.Tie == TieSeeded {
		return s.draw.hit(0.5)
	}
	return s.cfg.Tie == TieApp
}

// populate takes in the generated people, those given, and the monitors.
func (s *Sim) populate(r *rand.Rand) error {
	for i := range s.cfg.Users {
		if err := s.world.add(generated(r, i, s.cfg.Domain), false); err != nil {
			return err
		}
	}
	for _, p := range s.cfg.People {
		if p.ID == "" {
			p.ID = guid(r)
		}
		if err := s.world.add(p, false); err != nil {
			return err
		}
	}
	for _, upn := range s.cfg.Monitors {
		name, _, _ := strings.Cut(upn, "@")
		if err := s.world.add(Person{ID: guid(r), UPN: upn, DisplayName: name}, true); err != nil {
			return err
		}
	}
	return nil
}

// generated is the i-th generated person: a plausible name, with the number to keep it unique.
func generated(r *rand.Rand, i int, domain string) Person {
	first := []string{"Ada", "Ben", "Carla", "Dev", "Elif", "Finn", "Greta", "Hugo", "Ines", "Jan", "Katja", "Luis", "Mara", "Noor", "Otto", "Pia"}
	last := []string{"Adler", "Berg", "Costa", "Dorn", "Egger", "Falk", "Graf", "Haas", "Ibsen", "Jung", "Kern", "Lang", "Moser", "Nagel", "Ohm", "Voss"}
	f, l := first[r.IntN(len(first))], last[r.IntN(len(last))]
	upn := fmt.Sprintf("%s.%s%d@%s", strings.ToLower(f), strings.ToLower(l), i+1, domain)
	return Person{ID: guid(r), UPN: upn, Mail: upn, DisplayName: fmt.Sprintf("%s %s %d", f, l, i+1),
		BusinessPhones: []string{fmt.Sprintf("+49 30 5550 %04d", i+1)}}
}
