package sip

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

var (
	errLost   = errors.New("the connection to the PBX was lost")
	errSilent = errors.New("the PBX does not answer any more")
	errAnswer = errors.New("the PBX's answer is not what SIP promises")
)

// maxMessage bounds one SIP message; a notification about a list is the largest.
const maxMessage = maxList + 64<<10

// flow is one connection to the PBX: a socket, the SIP stack on it, and what was learnt on it. Everything travels on
// that socket in both directions, so that a notification reaches a bridge behind NAT too, and its end is known at once.
// When it ends it is thrown away whole.
type flow struct {
	c       *Client
	network string // UDP, TCP or TLS
	remote  string // address and port
	local   sip.Addr
	contact sip.Uri
	ua      *sipgo.UserAgent
	client  *sipgo.Client
	auth    *authenticator
	serving sync.WaitGroup

	life  context.Context // ends with the link; its cause is why
	end   context.CancelCauseFunc
	heard atomic.Int64 // when the PBX last said something

	busy atomic.Int32 // 1 while a session looks after the flow

	mu      sync.Mutex
	dialogs map[string]*subscription // by Call-ID
	over    []*subscription          // those that ended, oldest first: their last notifications are still answered
	no      map[string]bool          // packages that the PBX does not have
}

// dial opens a flow.
func (c *Client) dial(ctx context.Context) (*flow, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	l := &flow{
		c: c, network: sip.NetworkToUpper(c.server.network),
		dialogs: map[string]*subscription{}, no: map[string]bool{},
		auth: &authenticator{username: c.cfg.Username, password: c.cfg.Password},
	}
	l.life, l.end = context.WithCancelCause(context.Background())
	host, port, err := resolve(ctx, c.server)
	if err != nil {
		return nil, err
	}
	l.remote = net.JoinHostPort(host, strconv.Itoa(port))
	parser := sip.NewParser()
	parser.MaxMessageLength = maxMessage
	l.ua, err = sipgo.NewUA(
		sipgo.WithUserAgent("presence-bridge"), sipgo.WithUserAgentHostname(c.cfg.Domain), sipgo.WithUserAgentParser(parser),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(quiet())),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(quiet()),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {})))
	if err != nil {
		return nil, err
	}
	if err := l.open(ctx); err != nil {
		l.close()
		_ = l.ua.Close()
		return nil, err
	}
	return l, nil
}

// resolve finds the server's address. A host without a port of its own may have SRV records (RFC 3263 section 4.2).
func resolve(ctx context.Context, s server) (host string, port int, err error) {
	if ip := net.ParseIP(s.host); ip != nil {
		return s.host, s.port, nil
	}
	addrs, err := net.DefaultResolver.LookupIPAddr(ctx, s.host)
	if err == nil && len(addrs) > 0 {
		for _, a := range addrs {
			if a.IP.To4() != nil {
				return a.IP.String(), s.port, nil
			}
		}
		return addrs[0].IP.String(), s.port, nil
	}
	service, proto := "sip", s.network
	if s.network == "tls" {
		service, proto = "sips", "tcp"
	}
	_, records, srvErr := net.DefaultResolver.LookupSRV(ctx, service, proto, s.host)
	if srvErr != nil || len(records) == 0 {
		return "", 0, fmt.Errorf("resolve %s: %w", s.host, err)
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, records[0].Target)
	if err != nil || len(ips) == 0 {
		return "", 0, fmt.Errorf("resolve %s: %w", records[0].Target, err)
	}
	return ips[0].IP.String(), int(records[0].Port), nil
}

// open connects and starts the stack on the connection.
func (l *flow) open(ctx context.Context) error {
	srv, err := sipgo.NewServer(l.ua, sipgo.WithServerLogger(quiet()))
	if err != nil {
		return err
	}
	srv.OnNotify(l.answerNotify)
	srv.OnOptions(func(req *sip.Request, tx sip.ServerTransaction) { reply(req, tx, sip.StatusOK, "OK") })
	// The stack hands requests to goroutines of their own, in any order. This handler sees them before that, one
	// after the other as they came: the order of notifications is kept (RFC 6665 section 4.1.3 relies on CSeq).
	l.ua.TransportLayer().OnMessage(func(m sip.Message) {
		l.heard.Store(time.Now().UnixNano())
		if req, ok := m.(*sip.Request); ok && req.Method == sip.NOTIFY {
			l.notified(req)
		}
	})
	ready := make(chan struct{})
	serve, local, err := l.socket(ctx, srv, sync.OnceFunc(func() { close(ready) }))
	if err != nil {
		return err
	}
	l.heard.Store(time.Now().UnixNano())
	host, port, err := sip.ParseAddr(local.String())
	if err != nil {
		return err
	}
	l.local = sip.Addr{IP: net.ParseIP(host), Port: port}
	l.contact = sip.Uri{Scheme: "sip", User: l.c.cfg.Username, Host: uriHost(host), Port: port}
	if l.network != "UDP" {
		l.contact.UriParams.Add("transport", l.c.server.network)
	}
	if l.client, err = sipgo.NewClient(l.ua, sipgo.WithClientNAT(), sipgo.WithClientConnectionAddr(local.String()), sipgo.WithClientLogger(quiet())); err != nil {
		return err
	}
	l.serving.Go(func() {
		_ = serve()
		l.fail(errLost)
	})
	select { // the stack must know the socket before anything is sent, or it would open another
	case <-ready:
		return nil
	case <-l.life.Done():
		return context.Cause(l.life)
	}
}

func uriHost(host string) string {
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		return "[" + host + "]"
	}
	return host
}

// socket opens the connection and says how to serve it. ready is called once the stack knows the connection.
func (l *flow) socket(ctx context.Context, srv *sipgo.Server, ready func()) (serve func() error, local net.Addr, err error) {
	if l.network == "UDP" {
		var d net.Dialer
		// A connected socket tells which address of ours the PBX is reached from.
		probe, err := d.DialContext(ctx, "udp", l.remote)
		if err != nil {
			return nil, nil, err
		}
		host, _, _ := net.SplitHostPort(probe.LocalAddr().String())
		_ = probe.Close()
		conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, nil, err
		}
		if u, ok := conn.(*net.UDPConn); ok {
			_ = u.SetReadBuffer(4 << 20) // thousands of first notifications come at once
		}
		l.closing(conn)
		return func() error { return srv.ServeUDP(&readyPacketConn{PacketConn: conn, ready: ready}) }, conn.LocalAddr(), nil
	}
	conn, err := l.c.cfg.Dial(ctx, "tcp", l.remote)
	if err != nil {
		return nil, nil, err
	}
	if l.network == "TLS" {
		cfg, err := l.c.cfg.tlsConfig(l.c.server.host)
		if err != nil {
			_ = conn.Close()
			return nil, nil, err
		}
		secured := tls.Client(conn, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, nil, err
		}
		conn = secured
	}
	one := newOneConn(&watchedConn{Conn: conn, timeout: l.c.cfg.Timeout, ended: func() { l.fail(errLost) }}, ready)
	l.closing(one)
	if l.network == "TLS" {
		return func() error { return srv.ServeTLS(one) }, conn.LocalAddr(), nil
	}
	return func() error { return srv.ServeTCP(one) }, conn.LocalAddr(), nil
}

// closing closes the socket when the link is over.
func (l *flow) closing(s interface{ Close() error }) {
	l.serving.Go(func() {
		<-l.life.Done()
		_ = s.Close()
		_ = l.ua.Close()
	})
}

// fail ends the link. The first cause is kept.
func (l *flow) fail(err error) { l.end(err) }

// close ends the link and waits for its goroutines.
func (l *flow) close() {
	l.fail(errLost)
	l.serving.Wait()
}

func (l *flow) alive() bool { return l.life.Err() == nil }

// watchedConn tells when its connection ends, and does not let a write hang on a peer that stopped reading.
type watchedConn struct {
	net.Conn

	timeout time.Duration
	ended   func()
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.ended()
	}
	return n, err
}

func (c *watchedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	if err != nil {
		c.ended() // what was written in part cannot be mended
	}
	return n, err
}

// readyPacketConn tells when its first read begins.
type readyPacketConn struct {
	net.PacketConn

	ready func()
}

func (c *readyPacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.ready()
	return c.PacketConn.ReadFrom(b)
}

// oneConn is a listener of a connection that exists already: the stack serves what was dialled here, so that it never
// dials by itself where nobody would notice.
type oneConn struct {
	conn   net.Conn
	ready  func()
	given  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newOneConn(conn net.Conn, ready func()) *oneConn {
	o := &oneConn{conn: conn, ready: ready, given: make(chan net.Conn, 1), closed: make(chan struct{})}
	o.given <- conn
	return o
}

// Accept implements net.Listener.
func (o *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-o.given:
		return c, nil
	default:
		o.ready() // the first one is known by now
	}
	<-o.closed
	return nil, net.ErrClosed
}

// Close implements net.Listener. It closes the connection too.
func (o *oneConn) Close() error {
	o.once.Do(func() { close(o.closed) })
	return o.conn.Close()
}

// Addr implements net.Listener.
func (o *oneConn) Addr() net.Addr { return o.conn.LocalAddr() }

func reply(req *sip.Request, tx sip.ServerTransaction, code int, reason string) {
	_ = tx.Respond(sip.NewResponseFromRequest(req, code, reason, nil)) // the peer repeats the request
}
