package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// memStore is a [Store] that can be slow, refuse, and refuse after it has persisted.
type memStore struct {
	mu      sync.Mutex
	records map[string]memRecord
	puts    int
	delay   time.Duration
	refuse  func(member string) error // before anything is persisted
	after   func(member string) error // after it was
	gate    chan struct{}             // not nil: Put blocks until it is closed
}

type memRecord struct {
	data     []byte
	revision uint64
}

func (s *memStore) Load(_ context.Context, each func(string, []byte, uint64) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for m, r := range s.records {
		if err := each(m, r.data, r.revision); err != nil {
			return err
		}
	}
	return nil
}

func (s *memStore) Put(member string, data []byte, revision uint64, done func(uint64, error)) {
	s.mu.Lock()
	gate, delay := s.gate, s.delay
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if delay == 0 {
		go func() { done(s.put(member, data, revision)) }()
		return
	}
	time.AfterFunc(delay, func() { done(s.put(member, data, revision)) })
}

func (s *memStore) put(member string, data []byte, revision uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	if s.refuse != nil {
		if err := s.refuse(member); err != nil {
			return 0, err
		}
	}
	if s.records[member].revision != revision {
		return 0, ErrConflict
	}
	s.records[member] = memRecord{data: slices.Clone(data), revision: revision + 1}
	if s.after != nil {
		if err := s.after(member); err != nil {
			return 0, err
		}
	}
	return revision + 1, nil
}

func (s *memStore) Get(_ context.Context, member string) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[member]
	if !ok {
		return nil, 0, ErrNotFound
	}
	return r.data, r.revision, nil
}

func (s *memStore) Delete(_ context.Context, member string, revision uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records[member].revision != revision {
		return ErrConflict
	}
	delete(s.records, member)
	return nil
}

// set changes how the store behaves from now on.
func (s *memStore) set(f func(*memStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// record is what is stored of a member, and whether anything is.
func (s *memStore) record(member string) (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[member]
	if !ok {
		return Record{}, false
	}
	rec, err := decodeRecord(r.data)
	return rec, ok && err == nil
}

// call is a request that reached a service.
type call struct {
	at     time.Time
	what   string // set, renew, clear, read, apply
	member string
	value  string
	n      int // members of a read
	until  time.Time
}

// memTeams is a [Teams] of one session a person and ours.
type memTeams struct {
	t     testing.TB
	store *memStore

	mu        sync.Mutex
	own       map[string]presence.Pair
	ours      map[string]presence.Pair
	calls     []call
	messages  map[string]string // status messages
	preferred map[string]presence.Pair
	err       error
	takes     time.Duration // of a write, whatever its context says
	unstored  []string      // writes whose intent was not in the store
}

func (m *memTeams) Set(_ context.Context, member string, p presence.Pair, _ time.Duration, renewal bool) error {
	what := "set"
	if renewal {
		what = "renew"
	}
	return m.write(what, member, p)
}

func (m *memTeams) Clear(_ context.Context, member string) error {
	return m.write("clear", member, presence.Pair{})
}

func (m *memTeams) SetPreferred(_ context.Context, member string, p presence.Pair, lasts time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call{at: time.Now(), what: "prefer", member: member, value: p.String(), until: time.Now().Add(lasts)})
	if m.err == nil {
		m.preferred[member] = p
	}
	return m.err
}

func (m *memTeams) ClearPreferred(_ context.Context, member string, ours presence.Pair) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call{at: time.Now(), what: "clear preferred", member: member, value: ours.String()})
	if m.err == nil && m.preferred[member] == ours {
		delete(m.preferred, member)
	}
	return m.err
}

func (m *memTeams) SetMessage(_ context.Context, member, text string, ours []string, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call{at: time.Now(), what: "message", member: member, value: text, until: until})
	if m.err != nil {
		return m.err
	}
	if m.messages == nil {
		m.messages = map[string]string{}
	}
	if now := m.messages[member]; now == "" || slices.Contains(ours, now) {
		m.messages[member] = text
	}
	return nil
}

func (m *memTeams) write(what, member string, p presence.Pair) error {
	rec, ok := m.store.record(member)
	m.mu.Lock()
	takes := m.takes
	if what != "renew" && (!ok || rec.Teams.Write == nil) {
		m.unstored = append(m.unstored, what+" "+member)
	}
	m.calls = append(m.calls, call{at: time.Now(), what: what, member: member, value: p.String()})
	m.mu.Unlock()
	if takes > 0 {
		time.Sleep(takes)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if m.ours[member] = p; p.IsZero() {
		delete(m.ours, member)
	}
	return nil
}

func (m *memTeams) Read(_ context.Context, members []string) (map[string]presence.Shown, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call{at: time.Now(), what: "read", member: members[0], n: len(members)})
	if m.err != nil {
		return nil, m.err
	}
	out := map[string]presence.Shown{}
	for _, id := range members {
		out[id] = presence.Shown{Pair: m.shown(id), Message: m.messages[id]}
	}
	return out, nil
}

func (m *memTeams) shown(id string) presence.Pair {
	if p, chosen := m.preferred[id]; chosen {
		return p
	}
	own, ok := m.own[id]
	if !ok {
		own = available
	}
	if teamsRank[m.ours[id].Availability] > teamsRank[own.Availability] {
		return m.ours[id]
	}
	return own
}

// of lists the calls of one sort, in their order.
func (m *memTeams) of(what string) []call {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []call
	for _, c := range m.calls {
		if c.what == what {
			out = append(out, c)
		}
	}
	return out
}

func (m *memTeams) set(f func(*memTeams)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

// memPBX is a [pbx.Connector].
type memPBX struct {
	caps   pbx.Capabilities
	events chan pbx.Event

	mu     sync.Mutex
	users  map[string]pbx.State
	docs   map[string]presence.Status // ours, beside the person's
	seq    uint64
	calls  []call
	err    error
	silent bool
	takes  time.Duration // of a listing
}

func (p *memPBX) Capabilities() pbx.Capabilities { return p.caps }

func (p *memPBX) Statuses(context.Context) ([]presence.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return catalogue, p.err
}

func (p *memPBX) Snapshot(context.Context) ([]pbx.User, error) {
	p.mu.Lock()
	takes := p.takes
	p.mu.Unlock()
	if takes > 0 {
		time.Sleep(takes)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call{at: time.Now(), what: "snapshot"})
	if p.err != nil {
		return nil, p.err
	}
	var out []pbx.User
	for id, st := range p.users {
		out = append(out, pbx.User{ID: id, State: st})
	}
	return out, nil
}

func (p *memPBX) Watch(ctx context.Context, deliver func(pbx.Event)) error {
	deliver(pbx.Event{Kind: pbx.EventReset})
	alive := time.NewTicker(30 * time.Second)
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev := <-p.events:
			deliver(ev)
		case <-alive.C:
			p.mu.Lock()
			silent := p.silent
			p.mu.Unlock()
			if !silent {
				deliver(pbx.Event{Kind: pbx.EventSeen})
			}
		}
	}
}

func (p *memPBX) Read(_ context.Context, user string) (pbx.State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call{at: time.Now(), what: "read", member: user})
	if p.err != nil {
		return pbx.State{}, p.err
	}
	return p.users[user], nil
}

func (p *memPBX) Apply(_ context.Context, user string, w pbx.Write) (pbx.State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call{at: time.Now(), what: "apply", member: user, value: w.Status.Name})
	if p.err != nil {
		return pbx.State{}, p.err
	}
	st := p.users[user]
	if w.IfVersion != 0 && w.IfVersion != st.Version {
		return pbx.State{}, &pbx.Error{Kind: pbx.Conflict, Op: "apply", Err: errors.New("412")}
	}
	if p.caps.OwnDocument {
		p.docs[user] = w.Status
		return st, nil
	}
	if w.Message != nil {
		st.Message = *w.Message
	}
	if st.Status.Same(w.Status) { // who chose the status, and when, is about the status alone
		st.Version++
		p.users[user] = st
		return st, nil
	}
	st.Status = w.Status
	if p.caps.Versions {
		st.Version++
	}
	if p.caps.Authors {
		st.ChangedBy, st.ChangedAt = pbx.AuthorSelf, time.Now()
	}
	p.users[user] = st
	return st, nil
}

func (p *memPBX) Verify(context.Context) error { return p.err }

func (p *memPBX) Connection() pbx.Connection { return pbx.Connection{State: pbx.ConnConnected} }

func (p *memPBX) set(f func(*memPBX)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

// change lets a person do something, and tells it unless the event is to be lost.
func (p *memPBX) change(user string, told bool, f func(*pbx.State)) {
	p.mu.Lock()
	st := p.users[user]
	f(&st)
	p.users[user] = st
	p.seq++
	ev := pbx.Event{Kind: pbx.EventState, User: user, Seq: p.seq, State: st}
	p.mu.Unlock()
	if told {
		p.events <- ev
	}
}

func (p *memPBX) of(what string) []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []call
	for _, c := range p.calls {
		if c.what == what {
			out = append(out, c)
		}
	}
	return out
}

// bench is an engine of one account among fakes, in virtual time.
type bench struct {
	t       *testing.T
	store   *memStore
	teams   *memTeams
	pbx     *memPBX
	metrics *prometheus.Registry
	engine  *Engine
	cfg     Config
	seq     uint64

	stop    context.CancelFunc
	stopped chan error
}

// inBench runs a test in virtual time. It starts nothing.
func inBench(t *testing.T, s sort, test func(*testing.T, *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, store: &memStore{records: map[string]memRecord{}}, metrics: prometheus.NewRegistry()}
		b.teams = &memTeams{t: t, store: b.store, own: map[string]presence.Pair{}, ours: map[string]presence.Pair{}, preferred: map[string]presence.Pair{}}
		b.pbx = &memPBX{caps: s.capabilities(), users: map[string]pbx.State{}, docs: map[string]presence.Status{}, events: make(chan pbx.Event)}
		p := policy.Presets()["micollab"]
		b.cfg = Config{
			Account: "contoso", Rules: Rules{Policy: &p}, Store: b.store, Teams: b.teams, Metrics: b.metrics, Workers: 2,
			PBX: map[string]PBX{"main": {Connector: b.pbx}},
		}
		test(t, b)
		b.halt()
		if len(b.teams.unstored) > 0 {
			t.Errorf("requests left before their intent was stored: %v", b.teams.unstored)
		}
	})
}

// start runs the engine with members 0 to n-1, each with one idle endpoint of the same number.
func (b *bench) start(n int) {
	b.t.Helper()
	for i := range n {
		id := fmt.Sprint(i)
		if _, ok := b.pbx.users[id]; !ok {
			b.pbx.users[id] = b.idle()
		}
	}
	b.run()
	b.engine.Recover(b.engine.Context())
	b.engine.SetMembers(b.engine.Context(), members(n))
	b.engine.OweReads(b.engine.Context(), b.engine.MemberIDs())
	b.wait(10 * time.Second)
}

func (b *bench) idle() pbx.State {
	st := pbx.State{Line: presence.LineIdle, Status: statusAvailable}
	if b.pbx.caps.Versions {
		st.Version, st.ChangedAt, st.ChangedBy = 1, time.Now(), pbx.AuthorUser
	}
	return st
}

func members(n int) []Member {
	var out []Member
	for i := range n {
		id := fmt.Sprint(i)
		out = append(out, Member{
			ID: "m" + id, UPN: "m" + id + "@contoso.com",
			Endpoints: []presence.EndpointID{{PBX: "main", User: id}},
		})
	}
	return out
}

// run makes the engine, loads it and lets it run.
func (b *bench) run() {
	b.t.Helper()
	e, err := New(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.engine = e
	if err := e.Load(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.t.Context())
	b.stop, b.stopped = stop, make(chan error, 1)
	go func() { b.stopped <- e.Run(ctx) }()
	synctest.Wait()
}

// halt stops the engine and waits for it.
func (b *bench) halt() {
	b.t.Helper()
	if b.stop == nil {
		return
	}
	b.stop()
	if err := <-b.stopped; err != nil {
		b.t.Fatal(err)
	}
	b.stop = nil
}

// wait lets virtual time pass.
func (b *bench) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// push delivers a notification's one observation; the channel is closed when it may be acknowledged.
func (b *bench) push(member, pair string) chan struct{} {
	b.seq++
	acked := make(chan struct{})
	b.engine.Push(b.t.Context(), []Push{{
		Member: member, Pair: presence.ParsePairString(pair), Mark: Mark{Seq: b.seq}, Arrived: time.Now(),
	}}, func() { close(acked) })
	return acked
}

// person lets somebody be something in Teams, which is pushed.
func (b *bench) person(member, pair string) {
	b.teams.set(func(m *memTeams) { m.own[member] = presence.ParsePairString(pair) })
	b.push(member, pair)
}

func (b *bench) line(user string, l presence.Line) {
	b.pbx.change(user, true, func(st *pbx.State) { st.Line = l })
}

func (b *bench) status(user string) string {
	b.pbx.mu.Lock()
	defer b.pbx.mu.Unlock()
	if doc := b.pbx.docs[user]; !doc.IsZero() {
		return doc.Name
	}
	return b.pbx.users[user].Status.Name
}

func (b *bench) session(member string) string {
	b.teams.mu.Lock()
	defer b.teams.mu.Unlock()
	return b.teams.ours[member].String()
}

func closed(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// counter adds up a metric of the engine over its labels, except account.
func (b *bench) counter(name string) float64 {
	b.t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "presence_bridge_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
