package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"presencebridge/bridge"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/bridge/teams"
	"presencebridge/graph"
	"presencebridge/graph/notify"
)

// store keeps the records over the lives of the bridge.
type store struct {
	mu       sync.Mutex
	records  map[string][]byte
	revision map[string]uint64
}

func newStore() *store { return &store{records: map[string][]byte{}, revision: map[string]uint64{}} }

func (s *store) has(member string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[member] != nil
}

// empty tells whether a record says no more than that there is nothing to say.
func (s *store) empty(member string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r bridge.Record
	if json.Unmarshal(s.records[member], &r) != nil {
		return false
	}
	teams, err := json.Marshal(r.Teams)
	return err == nil && r.Excluded && len(r.Endpoints) == 0 && string(teams) == "{}"
}

// lifeStore is the store as one life sees it: a dead one reaches it no more.
type lifeStore struct {
	*store
	life *life
}

// Load implements bridge.Store.
func (s lifeStore) Load(_ context.Context, each func(string, []byte, uint64) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for member, data := range s.records {
		s.life.restart = true
		if err := each(member, data, s.revision[member]); err != nil {
			return err
		}
	}
	return nil
}

// Put implements bridge.Store. It takes its time, as a disk does.
func (s lifeStore) Put(member string, data []byte, revision uint64, done func(uint64, error)) {
	time.AfterFunc(time.Millisecond, func() {
		if s.life.dead.Load() {
			return // nobody waits for the answer any more
		}
		s.mu.Lock()
		ok := s.revision[member] == revision
		if ok {
			s.records[member] = data
			s.revision[member] = revision + 1
		}
		s.mu.Unlock()
		if !ok {
			done(0, bridge.ErrConflict)
			return
		}
		done(revision+1, nil)
	})
}

// Get implements bridge.Store.
func (s lifeStore) Get(_ context.Context, member string) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records[member] == nil {
		return nil, 0, bridge.ErrNotFound
	}
	return s.records[member], s.revision[member], nil
}

// Delete implements bridge.Store.
func (s lifeStore) Delete(_ context.Context, member string, revision uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revision[member] != revision {
		return bridge.ErrConflict
	}
	delete(s.records, member)
	delete(s.revision, member)
	return nil
}

// life is the bridge from its start to its end.
type life struct {
	w       *world
	engine  *bridge.Engine
	teams   *teams.Teams
	graph   *graph.Client
	phones  []connector
	dead    atomic.Bool
	restart bool
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan error
}

// start lets the bridge live, on the records that are there.
func (w *world) start() {
	l := &life{w: w, graph: w.newClient(), done: make(chan error, 1)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	var err error
	l.teams, err = teams.New(teams.Config{Graph: l.graph})
	require.NoError(w.t, err)
	p := w.policy()
	cfg := bridge.Config{
		Account: "contoso", Rules: bridge.Rules{Policy: &p}, Store: lifeStore{w.store, l}, Feed: feed{w}, Teams: tellingTeams{l.teams, l},
		PBX: map[string]bridge.PBX{}, Workers: 2, MayWrite: func() bool { return !l.dead.Load() }, Log: slog.New(slog.NewTextHandler(noteWriter{w}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for name := range w.pbxs {
		cfg.PBX[name] = bridge.PBX{Connector: w.connector(l, name)}
	}
	l.engine, err = bridge.New(cfg)
	require.NoError(w.t, err)
	require.NoError(w.t, l.engine.Load(l.ctx))
	go func() { l.done <- l.run() }()
	w.mu.Lock()
	w.life = l
	w.mu.Unlock()
}

// noteWriter puts what the bridge warns of into the timeline.
type noteWriter struct{ w *world }

// Write implements io.Writer.
func (n noteWriter) Write(line []byte) (int, error) {
	n.w.note("    %s", strings.TrimSpace(string(line)))
	return len(line), nil
}

// policy is the one that the story is about.
func (w *world) policy() policy.Policy {
	p := policy.Presets()["micollab"]
	if w.kind == "3cx" || w.kind == "sip" {
		p = policy.Presets()[w.kind]
	}
	if w.s.Policy == "meetings" {
		p.TeamsToPBX = append(p.TeamsToPBX, policy.TeamsRule{
			When: policy.TeamsCondition{Activity: []string{presence.InAMeeting}},
			Set:  policy.SetStatus{Name: "In a meeting", Kind: presence.KindBusy, Class: presence.ClassBusy},
		})
	}
	switch w.s.Policy {
	case "messages":
		copied := policy.Message{Copy: true}
		for i := range p.TeamsToPBX {
			p.TeamsToPBX[i].Set.Message = copied
		}
		for i := range p.PBXToTeams {
			p.PBXToTeams[i].Set.Message = copied
		}
		p.TeamsToPBX = append(p.TeamsToPBX, policy.TeamsRule{Set: policy.SetStatus{Message: copied}})
		p.PBXToTeams = append(p.PBXToTeams, policy.PBXRule{Set: policy.SetPresence{Message: copied}})
	case "notices":
		p.TeamsToPBX[0].Set.Message = policy.Message{Text: "In a Teams call"}
		p.PBXToTeams[0].Set.Message = policy.Message{Text: "On the phone"}
	}
	if w.s.Policy == "groups" {
		p.Groups = []policy.GroupPolicy{
			{Group: "Works council", OptOut: presence.BothDirections}, {Group: "Reception", OptOut: presence.TeamsToPBX},
			{Group: "Doctors", OptOut: presence.PBXToTeams},
		}
	}
	return p
}

// run is what the app does with an account, the bus aside.
func (l *life) run() error {
	g, ctx := errgroup.WithContext(l.ctx)
	g.Go(func() error { return l.engine.Run(ctx) })
	g.Go(func() error {
		l.engine.Recover(ctx)
		l.engine.SetMembers(ctx, l.w.members())
		l.engine.OweReads(ctx, l.engine.MemberIDs()) // as package monitors does after every gap
		if l.restart {
			_ = l.engine.RefreshPBX(ctx) // a PBX that is away is read when it is back
		}
		return l.sweep(ctx)
	})
	return g.Wait()
}

// sweepEvery is the design's.
const sweepEvery = time.Minute

// sweep reads everybody, at once and then periodically.
func (l *life) sweep(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		ids := l.engine.MemberIDs()
		mark := l.engine.BeginSweep(ids)
		if shown, err := l.teams.Read(ctx, ids); err == nil {
			l.engine.Swept(ctx, mark, shown)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// intake takes a body of notifications, and returns when all of it is stored.
func (l *life) intake(seq uint64, body []byte) {
	res := l.w.decoder.Decode(l.ctx, body, nil)
	var pushes []bridge.Push
	for i := range res.Items {
		it := &res.Items[i]
		if it.Err != nil {
			l.w.note("a notification could not be read: %v", it.Err)
		} else if it.Kind == notify.Rich {
			pushes = append(pushes, bridge.Push{Member: it.UserID, Pair: it.Pair, Mark: bridge.Mark{Seq: seq, Item: it.Index}, Arrived: time.Now()})
		}
	}
	stored := make(chan struct{})
	l.engine.Push(l.ctx, pushes, func() { close(stored) })
	select {
	case <-stored:
	case <-l.ctx.Done():
	}
}

// kill ends the bridge at once.
func (w *world) kill() {
	w.mu.Lock()
	l := w.life
	w.life = nil
	w.mu.Unlock()
	if l == nil {
		return
	}
	l.dead.Store(true)
	l.cancel()
	<-l.done // why it ended is known
	for _, c := range l.phones {
		c.Close()
	}
	l.graph.Close()
}

// connector is the real one, or one to whom the PBX does not say what a plain PBX does not say.
func (w *world) connector(l *life, name string) pbx.Connector {
	c, err := w.pbxs[name].connect(name, w.net)
	require.NoError(w.t, err)
	l.phones = append(l.phones, c)
	told := tellingPhones{Connector: c, l: l, name: name}
	if n := w.longest[name]; n > 0 {
		told.Connector = limited{c, n}
	}
	if w.kind == "plain" {
		return plain{told}
	}
	return told
}

// limited is a PBX whose messages hold no more than some characters.
type limited struct {
	pbx.Connector
	longest int
}

// Capabilities implements pbx.Connector.
func (l limited) Capabilities() pbx.Capabilities {
	c := l.Connector.Capabilities()
	c.MessageLimit = l.longest
	return c
}

// tellingPhones notes what is written to a PBX.
type tellingPhones struct {
	pbx.Connector
	l    *life
	name string
}

// Apply implements pbx.Connector.
func (p tellingPhones) Apply(ctx context.Context, user string, write pbx.Write) (pbx.State, error) {
	st, err := p.Connector.Apply(ctx, user, write)
	p.l.w.note("    the bridge writes %q%s to phone %s on %s: %s", write.Status, message(write.Message), user, p.name, answer(err))
	if err == nil {
		p.l.w.wrote("phone " + user)
	}
	if err == nil && write.Message != nil && *write.Message != "" {
		p.l.w.wrote("message on phone " + user)
	}
	return st, err
}

func message(text *string) string {
	if text == nil {
		return ""
	}
	return fmt.Sprintf(" with the message %q", *text)
}

func answer(err error) string {
	if err != nil {
		return err.Error()
	}
	return "accepted"
}

func (w *world) wrote(side string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes[side]++
}

// tellingTeams notes what is written to Teams.
type tellingTeams struct {
	*teams.Teams
	l *life
}

// Set implements bridge.Teams.
func (t tellingTeams) Set(ctx context.Context, member string, p presence.Pair, lease time.Duration, renewal bool) error {
	err := t.l.teams.Set(ctx, member, p, lease, renewal)
	t.l.w.note("    the bridge sets %s in Teams (renewal: %v): %s", p, renewal, answer(err))
	if !renewal {
		t.l.w.wrote(member)
	}
	return err
}

// Clear implements bridge.Teams.
func (t tellingTeams) Clear(ctx context.Context, member string) error {
	err := t.l.teams.Clear(ctx, member)
	t.l.w.note("    the bridge clears its session in Teams: %s", answer(err))
	t.l.w.wrote(member)
	return err
}

// SetPreferred implements bridge.Teams.
func (t tellingTeams) SetPreferred(ctx context.Context, member string, p presence.Pair, lasts time.Duration) error {
	err := t.l.teams.SetPreferred(ctx, member, p, lasts)
	t.l.w.note("    the bridge sets %s as the preferred presence in Teams: %s", p, answer(err))
	t.l.w.wrote(member)
	return err
}

// ClearPreferred implements bridge.Teams.
func (t tellingTeams) ClearPreferred(ctx context.Context, member string, ours presence.Pair) error {
	err := t.l.teams.ClearPreferred(ctx, member, ours)
	t.l.w.note("    the bridge takes its preferred presence away from Teams: %s", answer(err))
	t.l.w.wrote(member)
	return err
}

// SetMessage implements bridge.Teams.
func (t tellingTeams) SetMessage(ctx context.Context, member, text string, ours []string, until time.Time) error {
	err := t.l.teams.SetMessage(ctx, member, text, ours, until)
	t.l.w.note("    the bridge sets the message %q in Teams, unless there is one of the person's own: %s", text, answer(err))
	if text != "" {
		t.l.w.wrote("message of " + member)
	}
	return err
}

// feed keeps the decisions, which explain reads.
type feed struct{ w *world }

// Observed implements bridge.Feed.
func (feed) Observed(string, string, []byte) {}

// Decided implements bridge.Feed.
func (f feed) Decided(member string, data []byte) {
	var d bridge.Decision
	if err := json.Unmarshal(data, &d); err != nil {
		f.w.note("a decision that cannot be read: %v", err)
		return
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.decisions[member] = append(f.w.decisions[member], d)
}

// plain is a PBX that neither says who chose a status nor counts its changes.
type plain struct{ pbx.Connector }

// Capabilities implements pbx.Connector.
func (p plain) Capabilities() pbx.Capabilities {
	c := p.Connector.Capabilities()
	return pbx.Capabilities{Messages: c.Messages, MessageLimit: c.MessageLimit}
}

func (plain) state(st pbx.State) pbx.State {
	st.Version, st.ChangedAt, st.ChangedBy = 0, time.Time{}, pbx.AuthorUnknown
	return st
}

// Snapshot implements pbx.Connector.
func (p plain) Snapshot(ctx context.Context) ([]pbx.User, error) {
	users, err := p.Connector.Snapshot(ctx)
	for i := range users {
		users[i].State = p.state(users[i].State)
	}
	return users, err
}

// Watch implements pbx.Connector.
func (p plain) Watch(ctx context.Context, deliver func(pbx.Event)) error {
	return p.Connector.Watch(ctx, func(ev pbx.Event) {
		ev.State = p.state(ev.State)
		deliver(ev)
	})
}

// Read implements pbx.Connector.
func (p plain) Read(ctx context.Context, user string) (pbx.State, error) {
	st, err := p.Connector.Read(ctx, user)
	return p.state(st), err
}

// Apply implements pbx.Connector.
func (p plain) Apply(ctx context.Context, user string, w pbx.Write) (pbx.State, error) {
	w.IfVersion = 0
	st, err := p.Connector.Apply(ctx, user, w)
	return p.state(st), err
}
