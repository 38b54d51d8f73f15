package scenario

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// network is one in memory, so that time can be virtual.
type network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	port      int // of the last connection that holds what is written
}

type address string

func (address) Network() string  { return "memory" }
func (a address) String() string { return string(a) }

// listener is where a simulated PBX is reached.
type listener struct {
	network *network
	addr    address
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (n *network) listen(_ context.Context, addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &listener{network: n, addr: address(addr), conns: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// dial connects to whoever listens.
func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	here, there := net.Pipe()
	return l.take(ctx, here, there)
}

// client speaks HTTP through the network.
func (n *network) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: n.dial, Proxy: nil}}
}

// dialTCP connects to whoever listens, by a connection that holds what is written until it is read, with addresses as
// TCP has them.
func (n *network) dialTCP(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.port++
	from := address(fmt.Sprintf("198.51.100.1:%d", 10000+n.port))
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	here, there := connect(from, l.addr)
	return l.take(ctx, here, there)
}

// take hands one end of a connection to whoever accepts, and returns the other one.
func (l *listener) take(ctx context.Context, here, there net.Conn) (net.Conn, error) {
	addr := l.addr
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		if l.network.listeners[string(l.addr)] == l {
			delete(l.network.listeners, string(l.addr))
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }
