package webhook

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// stored is one call of a memStore.
type stored struct {
	account, body, id string
	arrived           time.Time
}

// memStore keeps what it is given. A hook may refuse, wait or panic before anything is kept.
type memStore struct {
	hook func(context.Context) error

	mu  sync.Mutex
	got []stored
}

func (s *memStore) StoreNotification(ctx context.Context, account string, body []byte, arrived time.Time, id string) error {
	if s.hook != nil {
		if err := s.hook(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, stored{account, string(body), id, arrived})
	return nil
}

func (s *memStore) all() []stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]stored(nil), s.got...)
}

// kit is a receiver for two accounts with a store and a registry of its own.
type kit struct {
	*Receiver
	store *memStore
	reg   *prometheus.Registry
}

func newKit(t testing.TB, change func(*Config)) *kit {
	t.Helper()
	k := &kit{store: &memStore{}, reg: prometheus.NewPedanticRegistry()}
	cfg := Config{Accounts: []string{"contoso", "fabrikam"}, Key: testKey, Store: k.store, Metrics: k.reg}
	if change != nil {
		change(&cfg)
	}
	r, err := New(cfg)
	require.NoError(t, err)
	k.Receiver = r
	return k
}

// post sends a body straight to the handler.
func (k *kit) post(path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	k.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return w
}

// requests is the counter of requests with an outcome, over both URLs.
func (k *kit) requests(account string, o outcome) float64 {
	v := 0.0
	for _, url := range []string{"notifications", "lifecycle"} {
		v += testutil.ToFloat64(k.metrics.requests.WithLabelValues(account, url, o.String()))
	}
	return v
}

// serve runs the receiver on an in-memory listener and returns a dialer. Inside a synctest bubble time
// is virtual for both sides of it.
func (k *kit) serve(t testing.TB) (dial func() net.Conn, stop func() error) {
	t.Helper()
	ln := newPipeListener()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Serve(ctx, ln) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return ln.dial, stop
}

// pipeListener is a listener in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
	case <-l.closed:
		_ = client.Close()
	}
	return client
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// head is the header of a POST with a body of n bytes; n < 0 means chunked.
func head(path string, n int) string {
	length := fmt.Sprintf("Content-Length: %d", n)
	if n < 0 {
		length = "Transfer-Encoding: chunked"
	}
	return "POST " + path + " HTTP/1.1\r\nHost: bridge\r\n" + length + "\r\n\r\n"
}

// answer reads one response off a connection.
func answer(t testing.TB, c net.Conn) *http.Response {
	t.Helper()
	resp, err := readAnswer(c)
	require.NoError(t, err)
	return resp
}

func readAnswer(c net.Conn) (*http.Response, error) {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return resp, errors.Join(err, resp.Body.Close())
}

// rich, basic and lifecycle are items as Graph sends them (facts/graph.md section 4).
func rich(state string) string {
	return `{"subscriptionId":"s","clientState":"` + state + `","changeType":"updated","tenantId":"t",` +
		`"resource":"communications/presences/u","subscriptionExpirationDateTime":"2023-09-14T10:00:00.0000000Z",` +
		`"resourceData":{"@odata.id":"users/u/presence","@odata.type":"#microsoft.graph.presence","id":"u"},` +
		`"encryptedContent":{"data":"ZGF0YQ==","dataSignature":"c2ln","dataKey":"a2V5","encryptionCertificateId":"c","encryptionCertificateThumbprint":"AB"}}`
}

func basic(state string) string {
	return `{"subscriptionId":"s","clientState":"` + state + `","changeType":"updated","tenantId":"t","resource":"communications/presences/u",` +
		`"resourceData":{"@odata.type":"#Microsoft.Graph.presence","@odata.id":"users/u/presence","id":"u"}}`
}

func lifecycle(state string) string {
	return `{"subscriptionId":"s","subscriptionExpirationDateTime":"2019-03-20T11:00:00.0000000Z","tenantId":"t","clientState":"` + state +
		`","lifecycleEvent":"reauthorizationRequired"}`
}

func envelope(items ...string) string {
	return `{"value":[` + strings.Join(items, ",") + `],"validationTokens":["e30.e30.x"]}`
}

func sha(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

const (
	notifyURL    = "/graph/contoso/notifications"
	lifecycleURL = "/graph/contoso/lifecycle"
)
