package sipsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"presencebridge/bridge/pbx/simkit"
)

// listUser is the user part of the resource list of everybody.
const listUser = "everybody"

// Sim is a running PBX.
type Sim struct {
	cfg   Config
	crowd *simkit.Crowd
	hook  *simkit.Queue[Change]
	stop  chan struct{}
	work  sync.WaitGroup
	http  *simkit.Server // of the control API; nil without

	mu     sync.Mutex // guards the rest
	closed bool
	server *server // nil while the PBX is down
	addr   string  // the one that it got first
	people map[string]*person
	order  []string
	subs   map[string]*subscription // by Call-ID and tag
	nonces map[string]time.Time     // until when
	etags  int
	faults Faults
	dice   simkit.Dice
	stats  Stats
}

// server is the SIP side of one life of the PBX.
type server struct {
	ua     *sipgo.UserAgent
	client *sipgo.Client
	tcp    *cuttable
	udp    net.PacketConn // nil: TCP alone
	work   sync.WaitGroup
	life   context.Context // ends with it
	end    context.CancelFunc
}

// Start starts a PBX.
func Start(cfg Config) (*Sim, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sim{
		cfg: cfg, hook: simkit.NewQueue(cfg.OnChange), stop: make(chan struct{}), people: map[string]*person{}, subs: map[string]*subscription{},
		nonces: map[string]time.Time{}, faults: cfg.Faults, dice: simkit.NewDice(cfg.Seed, 0x736970), addr: cfg.Addr,
	}
	s.crowd = s.newCrowd()
	for _, u := range cfg.UserList {
		s.add(u)
	}
	if err := s.up(); err != nil {
		return nil, err
	}
	if cfg.Control != "" {
		if err := s.serveControl(); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	s.work.Go(s.hook.Run)
	s.work.Go(s.expire)
	return s, nil
}

func (s *Sim) add(u User) {
	s.people[u.User] = &person{User: u, chosen: Statuses()[0].Name}
	s.order = append(s.order, u.User)
}

// up begins to listen, on the address that it had before if there was one.
func (s *Sim) up() error {
	tcp, udp, err := s.listen()
	if err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	ua, err := sipgo.NewUA(sipgo.WithUserAgent("sipsim"), sipgo.WithUserAgentHostname(s.cfg.Domain),
		sipgo.WithUserAgentTransportLayerOptions(s.transport(quiet)...),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(quiet),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {})))
	if err != nil {
		return errors.Join(err, closeBoth(tcp, udp))
	}
	srv, err := sipgo.NewServer(ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		return errors.Join(err, closeBoth(tcp, udp))
	}
	host, port, _ := sip.ParseAddr(tcp.Addr().String())
	client, err := sipgo.NewClient(ua, sipgo.WithClientHostname(host), sipgo.WithClientPort(port), sipgo.WithClientLogger(quiet))
	if err != nil {
		return errors.Join(err, closeBoth(tcp, udp))
	}
	v := &server{ua: ua, client: client, tcp: &cuttable{Listener: tcp, conns: map[net.Conn]bool{}}, udp: udp}
	v.life, v.end = context.WithCancel(context.Background())
	srv.OnSubscribe(s.guarded(v, s.subscribe))
	srv.OnPublish(s.guarded(v, s.publish))
	srv.OnOptions(func(req *sip.Request, tx sip.ServerTransaction) {
		respond(tx, sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil))
	})
	v.work.Go(func() { _ = srv.ServeTCP(v.tcp) })
	if udp != nil {
		v.work.Go(func() { _ = srv.ServeUDP(udp) })
	}
	s.mu.Lock()
	s.server, s.addr = v, tcp.Addr().String()
	s.mu.Unlock()
	return nil
}

// transport are the options of the stack's transports. On a listener of the caller's there is no network to dial, where
// the stack would look for a peer whose connection has just ended.
func (s *Sim) transport(quiet *slog.Logger) []sip.TransportLayerOption {
	out := []sip.TransportLayerOption{sip.WithTransportLayerLogger(quiet)}
	if s.cfg.Listen == nil {
		return out
	}
	nowhere := func(string, string, syscall.RawConn) error { return net.ErrClosed }
	return append(out, sip.WithTransportLayerTransports(sip.TransportsConfig{TCP: &sip.TransportTCP{
		DialerCreate: func(net.Addr) net.Dialer { return net.Dialer{Control: nowhere} },
	}}))
}

// listen opens what the configuration says.
func (s *Sim) listen() (net.Listener, net.PacketConn, error) {
	if s.cfg.Listen == nil {
		return listen(s.addr)
	}
	tcp, err := s.cfg.Listen(context.Background(), s.addr)
	if err != nil {
		return nil, nil, fmt.Errorf("sipsim: %w", err)
	}
	return tcp, nil, nil
}

func closeBoth(tcp net.Listener, udp net.PacketConn) error {
	err := tcp.Close()
	if udp != nil {
		err = errors.Join(err, udp.Close())
	}
	return err
}

// listen takes one port for both, as SIP servers do.
func listen(addr string) (net.Listener, net.PacketConn, error) {
	var err error
	var listening net.ListenConfig
	for range 20 {
		var tcp net.Listener
		if tcp, err = simkit.Listen(nil, addr); err != nil {
			return nil, nil, fmt.Errorf("sipsim: %w", err)
		}
		var udp net.PacketConn
		if udp, err = listening.ListenPacket(context.Background(), "udp", tcp.Addr().String()); err == nil {
			return tcp, udp, nil
		}
		_ = tcp.Close() // the UDP port is somebody else's
	}
	return nil, nil, fmt.Errorf("sipsim: %w", err)
}

// guarded puts in front of a handler what happens to every request: faults, and authentication.
func (s *Sim) guarded(v *server, next func(*server, *sip.Request, sip.ServerTransaction)) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		s.mu.Lock()
		s.stats.Requests++
		cut, broken, busy := s.dice.Hit(s.faults.Cut), s.dice.Hit(s.faults.Errors), s.dice.Hit(s.faults.Throttled)
		wait := s.faults.RetryAfter
		s.mu.Unlock()
		switch {
		case cut:
			v.tcp.cut()
		case broken:
			respond(tx, sip.NewResponseFromRequest(req, sip.StatusInternalServerError, "Server Internal Error", nil))
		case busy:
			res := sip.NewResponseFromRequest(req, sip.StatusServiceUnavailable, "Service Unavailable", nil)
			res.AppendHeader(sip.NewHeader("Retry-After", fmt.Sprint(int(max(wait, time.Second)/time.Second))))
			respond(tx, res)
		default:
			if s.admitted(req, tx) {
				next(v, req, tx)
			}
		}
	}
}

// down ends this life of the PBX.
func (s *Sim) down() {
	s.mu.Lock()
	v := s.server
	s.server = nil
	clear(s.subs)
	s.mu.Unlock()
	if v == nil {
		return
	}
	v.end()
	_ = closeBoth(v.tcp, v.udp)
	v.tcp.cut()
	_ = v.ua.Close()
	v.work.Wait()
}

// RestartOptions say how the PBX comes back.
type RestartOptions struct {
	// LoseState: what was published is gone, people's choices too.
	LoseState bool
	// Down is how long the PBX is away.
	Down time.Duration
}

// Restart restarts the PBX and returns when it answers again. All connections break and all subscriptions end.
func (s *Sim) Restart(ctx context.Context, opts RestartOptions) error {
	s.down()
	s.mu.Lock()
	s.stats.Restarts++
	for _, p := range s.people {
		_ = s.moved(p, "api", func() error {
			p.published = nil
			if opts.LoseState {
				p.chosen, p.message, p.calls = Statuses()[0].Name, "", nil
			}
			return nil
		})
	}
	clear(s.nonces)
	s.mu.Unlock()
	t := time.NewTimer(opts.Down)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.Up())
	}
	return s.Up()
}

// Down takes the PBX off the network; people go on. Up brings it back.
func (s *Sim) Down() { s.down() }

// Up brings the PBX back.
func (s *Sim) Up() error {
	s.mu.Lock()
	there, closed := s.server != nil, s.closed
	s.mu.Unlock()
	if there || closed {
		return nil
	}
	return s.up()
}

// Close ends the PBX and everybody in it.
func (s *Sim) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.crowd.Close()
	if s.http != nil {
		s.http.Down()
	}
	s.down()
	close(s.stop)
	s.hook.Close()
	s.work.Wait()
	return nil
}

// URL is what the bridge is configured with.
func (s *Sim) URL() string { return "sip:" + s.Addr() + ";transport=tcp" }

// Addr is where the PBX listens.
func (s *Sim) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// ControlURL is where the control API listens, "" if it does not.
func (s *Sim) ControlURL() string {
	if s.http == nil {
		return ""
	}
	return s.http.URL()
}

// Domain is the domain of the people's addresses.
func (s *Sim) Domain() string { return s.cfg.Domain }

// Username is who the bridge is.
func (s *Sim) Username() string { return s.cfg.Username }

// Password is the bridge's password.
func (s *Sim) Password() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Password
}

// SetPassword gives the bridge's user another password. Nonces are void, and connections break.
func (s *Sim) SetPassword(password string) {
	s.mu.Lock()
	s.cfg.Password = password
	clear(s.nonces)
	s.mu.Unlock()
	s.CutConnections()
}

// ListURI is the address of the resource list of everybody.
func (s *Sim) ListURI() string { return "sip:" + listUser + "@" + s.cfg.Domain }

// UsersFile is the people as a file for the bridge: extension, uri, mail and name.
func (s *Sim) UsersFile() string {
	var b strings.Builder
	b.WriteString("extension,uri,mail,name\n")
	for _, u := range s.Users() {
		fmt.Fprintf(&b, "%s,sip:%s@%s,%s,%q\n", u.User, u.User, s.cfg.Domain, u.Email, u.DisplayName)
	}
	return b.String()
}

// ExpireNonces lets every nonce count as old.
func (s *Sim) ExpireNonces() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.nonces)
}

// CutConnections breaks every connection.
func (s *Sim) CutConnections() {
	s.mu.Lock()
	v := s.server
	s.mu.Unlock()
	if v != nil {
		v.tcp.cut()
	}
}

// expire ends what is over, once in a while.
func (s *Sim) expire() {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case now := <-t.C:
			s.mu.Lock()
			s.expirePublications(now)
			s.expireSubscriptions(now)
			for n, until := range s.nonces {
				if now.After(until) {
					delete(s.nonces, n)
				}
			}
			s.mu.Unlock()
		}
	}
}

// cuttable is a listener whose connections can be broken.
type cuttable struct {
	net.Listener

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// Accept implements net.Listener.
func (c *cuttable) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns[conn] = true
	return &counted{Conn: conn, of: c}, nil
}

func (c *cuttable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.Close()
	}
	clear(c.conns)
}

type counted struct {
	net.Conn

	of *cuttable
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c.Conn)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

var _ io.Closer = (*Sim)(nil)
