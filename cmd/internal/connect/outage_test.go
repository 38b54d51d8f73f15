package connect_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/micollab"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/pbx/threecx"
	"presencebridge/bridge/pbx/threecxsim"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/connect"
)

// exchange is a simulated PBX that can vanish, with its connector.
type exchange struct {
	connector connect.Connector
	preset    string
	users     []string
	down      func()
	up        func() error
	call      func(user string) error // in a call on the phone
	hangUp    func(user string) error
	shows     func(user string) string // the status
	close     func() error
}

// exchanges by type; wrote is told of each write of the bridge.
func exchanges() map[string]func(t *testing.T, n int, wrote func()) exchange {
	return map[string]func(*testing.T, int, func()) exchange{"micollab": miCollabExchange, "3cx": threeCXExchange}
}

func miCollabExchange(t *testing.T, n int, wrote func()) exchange {
	wire := &wire{}
	sim, err := pbxsim.Start(pbxsim.Config{Users: n, Listen: wire.listen, OnChange: func(c pbxsim.Change) {
		if c.By != "user" && c.By != "line" {
			wrote()
		}
	}})
	require.NoError(t, err)
	c, err := micollab.New(micollab.Config{URL: sim.URL(), Token: func() (string, error) { return sim.Token(), nil }, HTTPClient: wire.client()})
	require.NoError(t, err)
	x := exchange{
		connector: c, preset: "micollab", down: sim.Down, up: sim.Up, call: sim.StartCall, hangUp: sim.EndCall, close: sim.Close,
		shows: func(user string) string { p, _ := sim.Presence(user); return p.Status },
	}
	for _, u := range sim.Users() {
		x.users = append(x.users, u.ID)
	}
	return x
}

func threeCXExchange(t *testing.T, n int, wrote func()) exchange {
	wire := &wire{}
	sim, err := threecxsim.Start(threecxsim.Config{Users: n, Listen: wire.listen, OnChange: func(c threecxsim.Change) {
		if c.By == "api" {
			wrote()
		}
	}})
	require.NoError(t, err)
	c, err := threecx.New(threecx.Config{
		URL: sim.URL(), ClientID: sim.ClientID(), Secret: func() (string, error) { return sim.ClientSecret(), nil }, HTTPClient: wire.client(),
	})
	require.NoError(t, err)
	x := exchange{
		connector: c, preset: "3cx", down: sim.Down, up: sim.Up, call: sim.StartCall, hangUp: sim.EndCall, close: sim.Close,
		shows: func(user string) string { p, _ := sim.Presence(user); return p.Status },
	}
	for _, u := range sim.Users() {
		x.users = append(x.users, strconv.Itoa(u.ID))
	}
	return x
}

// TestOutage: a PBX is away for ten minutes, in which everybody moves on both sides. When it is back, everybody agrees
// after one snapshot, and the token bucket paces the writes.
func TestOutage(t *testing.T) {
	for kind, start := range exchanges() {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { outage(t, start) })
		})
	}
}

const (
	outageMembers = 200
	outageRate    = 5 // writes a second
)

func outage(t *testing.T, start func(*testing.T, int, func()) exchange) {
	var mu sync.Mutex
	var writes, snapshots []time.Time
	note := func(list *[]time.Time) {
		mu.Lock()
		defer mu.Unlock()
		*list = append(*list, time.Now())
	}
	x := start(t, outageMembers, func() { note(&writes) })
	defer func() { x.connector.Close(); require.NoError(t, x.close()) }()
	teams := &people{shown: map[string]presence.Pair{}, ours: map[string]presence.Pair{}}
	pol, err := policy.Parse([]byte("preset: " + x.preset))
	require.NoError(t, err)
	e, err := bridge.New(bridge.Config{
		Account: "contoso", Store: &memory{}, Teams: teams, Rules: bridge.Rules{Policy: pol},
		// The periodic snapshot is far away: what heals is the one that the connector asks for.
		PBX:        map[string]bridge.PBX{"main": {Connector: x.connector, WritesPerSecond: outageRate, SnapshotInterval: 24 * time.Hour}},
		OnSnapshot: func(string, []pbx.User) { note(&snapshots) },
	})
	require.NoError(t, err)
	w := &town{t: t, engine: e, teams: teams, x: x, policy: pol}
	stop := w.run()
	defer stop()

	// A third is in a call in Teams, a third in a call on the phone, a third does nothing.
	for i := range w.x.users {
		w.move(i, i%3)
	}
	w.pass(2 * time.Minute)
	w.agree("before the outage")

	x.down()
	w.pass(4 * time.Minute)
	for i := range w.x.users { // everybody does something else than before
		w.move(i, (i+1)%3)
	}
	w.pass(6 * time.Minute)
	mu.Lock()
	writes, snapshots = nil, nil
	mu.Unlock()
	require.NotEqual(t, pbx.ConnConnected, x.connector.Connection().State)

	require.NoError(t, x.up())
	w.pass(3 * time.Minute)
	w.agree("after the outage")
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, snapshots, 1, "one is enough")
	require.NotEmpty(t, writes)
	require.LessOrEqual(t, len(writes), outageMembers, "nobody is written twice")
	perSecond := 0
	for i, at := range writes {
		j := i
		for j < len(writes) && writes[j].Sub(at) < time.Second {
			j++
		}
		perSecond = max(perSecond, j-i)
	}
	require.LessOrEqual(t, perSecond, 2*outageRate, "a second's writes: the bucket's burst and its rate")
	took := writes[len(writes)-1].Sub(snapshots[0])
	require.LessOrEqual(t, took, time.Duration(len(writes)/outageRate+10)*time.Second, "paced by the bucket and by nothing else")
}

// town is an engine between people and a PBX.
type town struct {
	t      *testing.T
	engine *bridge.Engine
	teams  *people
	x      exchange
	policy *policy.Policy
	seq    uint64
}

func member(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012d", i) }

func (w *town) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(w.t, w.engine.Load(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.engine.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			w.t.Error(err)
		}
	}()
	synctest.Wait()
	w.engine.Recover(ctx)
	var list []bridge.Member
	for i, user := range w.x.users {
		list = append(list, bridge.Member{ID: member(i), Endpoints: []presence.EndpointID{{PBX: "main", User: user}}})
		w.teams.is(member(i), presence.ParsePairString("Available"))
	}
	w.engine.SetMembers(ctx, list)
	w.pass(time.Minute)
	return func() { cancel(); <-done }
}

func (w *town) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// move lets somebody be in a call in Teams (0), in a call on the phone (1), or do nothing (2).
func (w *town) move(i, what int) {
	teams := "Available"
	if what == 0 {
		teams = "Busy/InACall"
	}
	_ = w.x.hangUp(w.x.users[i]) // nobody may be in a call
	if what == 1 {
		require.NoError(w.t, w.x.call(w.x.users[i]))
	}
	pair := presence.ParsePairString(teams)
	w.teams.is(member(i), pair)
	w.seq++
	w.engine.Push(w.t.Context(), []bridge.Push{{Member: member(i), Pair: w.teams.shows(member(i)), Mark: bridge.Mark{Seq: w.seq}, Arrived: time.Now()}}, func() {})
}

// agree checks everybody on both sides by what they do.
func (w *town) agree(when string) {
	w.t.Helper()
	statuses, err := w.x.connector.Statuses(context.Background())
	require.NoError(w.t, err)
	catalogue := policy.Catalogue(statuses)
	for i, user := range w.x.users {
		own, session := w.teams.state(member(i))
		want := w.policy.ForPBX("main", catalogue, policy.TeamsState{Pair: own}).Status
		if want.IsZero() {
			want = catalogue.Default()
		}
		require.Equal(w.t, want.Name, w.x.shows(user), "%s, user %d, who is %s in Teams", when, i, own)
		onPhone := session == presence.ParsePairString("Busy/InACall")
		v, ok := w.engine.Find(member(i))
		require.True(w.t, ok)
		line := v.Record.Endpoints[0].Line
		require.Equal(w.t, line == presence.LineInCall, onPhone, "%s, user %d, whose line is %s and whose session is %s", when, i, line, session)
	}
}

// people is Teams: what people do, and our sessions over it.
type people struct {
	mu    sync.Mutex
	shown map[string]presence.Pair
	ours  map[string]presence.Pair
}

func (p *people) is(member string, pair presence.Pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown[member] = pair
}

func (p *people) state(member string) (own, session presence.Pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown[member], p.ours[member]
}

func (p *people) shows(member string) presence.Pair {
	own, session := p.state(member)
	if !session.IsZero() {
		return session
	}
	return own
}

// Set implements bridge.Teams.
func (p *people) Set(_ context.Context, member string, pair presence.Pair, _ time.Duration, _ bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ours[member] = pair
	return nil
}

// Clear implements bridge.Teams.
func (p *people) Clear(_ context.Context, member string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ours, member)
	return nil
}

// SetPreferred implements bridge.Teams; the presets set none.
func (p *people) SetPreferred(context.Context, string, presence.Pair, time.Duration) error {
	return nil
}

// ClearPreferred implements bridge.Teams.
func (p *people) ClearPreferred(context.Context, string, presence.Pair) error { return nil }

// SetMessage implements bridge.Teams.
func (p *people) SetMessage(context.Context, string, string, []string, time.Time) error { return nil }

// Read implements bridge.Teams.
func (p *people) Read(_ context.Context, members []string) (map[string]presence.Shown, error) {
	out := map[string]presence.Shown{}
	for _, m := range members {
		out[m] = presence.Shown{Pair: p.shows(m)}
	}
	return out, nil
}

// memory is a store.
type memory struct {
	mu        sync.Mutex
	records   map[string][]byte
	revisions map[string]uint64
}

// Load implements bridge.Store.
func (*memory) Load(context.Context, func(string, []byte, uint64) error) error { return nil }

// Put implements bridge.Store.
func (m *memory) Put(member string, data []byte, revision uint64, done func(uint64, error)) {
	m.mu.Lock()
	if m.records == nil {
		m.records, m.revisions = map[string][]byte{}, map[string]uint64{}
	}
	now, err := m.revisions[member], error(nil)
	if now != revision {
		err = bridge.ErrConflict
	} else {
		now++
		m.records[member], m.revisions[member] = slices.Clone(data), now
	}
	m.mu.Unlock()
	done(now, err)
}

// Get implements bridge.Store.
func (m *memory) Get(_ context.Context, member string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.records[member], m.revisions[member], nil
}

// Delete implements bridge.Store.
func (m *memory) Delete(_ context.Context, member string, _ uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, member)
	delete(m.revisions, member)
	return nil
}

// wire is a network in memory with one listener.
type wire struct {
	mu   sync.Mutex
	open *end
}

type end struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (w *wire) listen(context.Context, string) (net.Listener, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = &end{conns: make(chan net.Conn), done: make(chan struct{})}
	return w.open, nil
}

func (w *wire) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		w.mu.Lock()
		l := w.open
		w.mu.Unlock()
		client, server := net.Pipe()
		select {
		case l.conns <- server:
			return client, nil
		case <-l.done:
		case <-ctx.Done():
		}
		return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
	}}}
}

// Accept implements net.Listener.
func (l *end) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *end) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *end) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5001} }
