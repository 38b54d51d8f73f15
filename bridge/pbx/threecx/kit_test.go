package threecx_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/threecx"
	"presencebridge/bridge/pbx/threecxsim"
)

// pipes is a network within the process, so that a whole PBX can live in virtual time.
type pipes struct {
	mu   sync.Mutex
	open *pipeListener
}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) listen(context.Context, string) (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	return p.open, nil
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	l := p.open
	p.mu.Unlock()
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
	case <-ctx.Done():
	}
	return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5001} }

// bench is a connector and its PBX in virtual time.
type bench struct {
	*threecx.Client
	t   *testing.T
	sim *threecxsim.Sim
	log *lockedBuffer
	reg *prometheus.Registry

	mu     sync.Mutex
	events []stamped
	stop   func()
}

type stamped struct {
	pbx.Event
	at time.Time
}

// inVirtualTime runs a test on a bench whose connector is watching.
func inVirtualTime(t *testing.T, cfg threecxsim.Config, change func(*threecx.Config), test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := &pipes{}
		cfg.Listen = net.listen
		sim, err := threecxsim.Start(cfg)
		require.NoError(t, err)
		tr := &http.Transport{DialContext: net.dial}
		b := &bench{t: t, sim: sim, log: &lockedBuffer{}, reg: prometheus.NewRegistry()}
		own := threecx.Config{
			Account: "contoso", Name: "main", URL: sim.URL(), ClientID: sim.ClientID(), HTTPClient: &http.Client{Transport: tr},
			Secret: func() (string, error) { return sim.ClientSecret() + "\n", nil }, Metrics: b.reg,
			Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
		if change != nil {
			change(&own)
		}
		b.Client, err = threecx.New(own)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = b.Watch(ctx, b.deliver)
		}()
		b.stop = sync.OnceFunc(func() { cancel(); <-done })
		defer func() {
			b.stop()
			b.Close()
			tr.CloseIdleConnections()
			require.NoError(t, sim.Close())
		}()
		synctest.Wait()
		test(b)
	})
}

func (b *bench) deliver(e pbx.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, stamped{e, time.Now()})
}

// pass lets time go by.
func (b *bench) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// got hands over the events since the last time, by kind, all if none is given.
func (b *bench) got(kinds ...pbx.EventKind) []stamped {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []stamped
	for _, e := range b.events {
		for _, k := range kinds {
			if e.Kind == k {
				out = append(out, e)
			}
		}
		if len(kinds) == 0 {
			out = append(out, e)
		}
	}
	b.events = nil
	return out
}

// lines are the lines of one user that were told since the last time.
func (b *bench) lines(user string) []string {
	var out []string
	for _, e := range b.got(pbx.EventState) {
		if e.User == user {
			out = append(out, string(e.State.Line))
		}
	}
	return out
}

func (b *bench) user(i int) string { return strconv.Itoa(b.sim.Users()[i].ID) }

// metric is one sample whose labels have these values.
func (b *bench) metric(name string, values ...string) float64 {
	b.t.Helper()
	families, err := b.reg.Gather()
	require.NoError(b.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			have := map[string]bool{}
			for _, l := range m.GetLabel() {
				have[l.GetValue()] = true
			}
			all := f.GetName() == "presence_bridge_pbx_"+name
			for _, v := range values {
				all = all && have[v]
			}
			if all {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
