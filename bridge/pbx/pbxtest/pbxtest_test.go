package pbxtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/micollab"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/presence"
)

// target is a simulated PBX whose connector is made worse by spoil.
func target(spoil func(pbx.Connector) pbx.Connector) Target {
	return Target{Patience: 500 * time.Millisecond, Resumes: true, Start: func(t testing.TB) *World {
		sim, err := pbxsim.Start(pbxsim.Config{Users: 4, PageLimit: 3, Heartbeat: 20 * time.Millisecond})
		require.NoError(t, err)
		t.Cleanup(func() { _ = sim.Close() })
		w := &World{
			First: presence.Status{Name: "In a call", Kind: presence.KindBusy}, Second: presence.Status{Name: "Do not disturb", Kind: presence.KindDND},
			Pick: sim.Pick, CutWatch: sim.CutStreams, Restart: func(lose bool) error {
				return sim.Restart(context.Background(), pbxsim.RestartOptions{LoseState: lose})
			},
			Line:        Line(sim),
			FailApplied: func(on bool) { failApplied(t, sim, on) },
			Connect: func(t testing.TB) pbx.Connector {
				c, err := micollab.New(micollab.Config{
					URL: sim.URL(), Token: func() (string, error) { return sim.Token(), nil },
					Timeout: 10 * time.Second, BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond, PageSize: 2,
				})
				require.NoError(t, err)
				t.Cleanup(c.Close)
				return spoil(c)
			},
			Shown: func(u string) pbx.State {
				p, err := sim.Presence(u)
				require.NoError(t, err)
				return State(p.Line, p.Status, p.Message)
			},
		}
		for _, u := range sim.Users() {
			w.Users = append(w.Users, u.ID)
		}
		return w
	}}
}

func failApplied(t testing.TB, sim *pbxsim.Sim, on bool) {
	f := pbxsim.NoFaults()
	if on {
		f.AppliedButFailed = 1
	}
	require.NoError(t, sim.SetFaults(f))
}

// spoiled is a connector with one thing wrong.
type spoiled struct {
	pbx.Connector
	watch    func(ctx context.Context, inner pbx.Connector, deliver func(pbx.Event)) error
	snapshot func([]pbx.User) []pbx.User
	state    func(pbx.State) pbx.State
	err      func(error) error
	apply    func(ctx context.Context, inner pbx.Connector, user string, w pbx.Write) (pbx.State, error)
}

func (s *spoiled) Watch(ctx context.Context, deliver func(pbx.Event)) error {
	if s.watch == nil {
		return s.Connector.Watch(ctx, deliver)
	}
	return s.watch(ctx, s.Connector, deliver)
}

func (s *spoiled) Snapshot(ctx context.Context) ([]pbx.User, error) {
	users, err := s.Connector.Snapshot(ctx)
	if s.snapshot != nil && err == nil {
		users = s.snapshot(users)
	}
	return users, err
}

func (s *spoiled) Read(ctx context.Context, user string) (pbx.State, error) {
	st, err := s.Connector.Read(ctx, user)
	return s.spoil(st, err)
}

func (s *spoiled) Apply(ctx context.Context, user string, w pbx.Write) (pbx.State, error) {
	if s.apply != nil {
		return s.apply(ctx, s.Connector, user, w)
	}
	st, err := s.Connector.Apply(ctx, user, w)
	return s.spoil(st, err)
}

func (s *spoiled) spoil(st pbx.State, err error) (pbx.State, error) {
	if s.state != nil && err == nil {
		st = s.state(st)
	}
	if s.err != nil && err != nil {
		err = s.err(err)
	}
	return st, err
}

// filter is a watch that changes or drops events.
func filter(change func(n int, e pbx.Event) (pbx.Event, bool)) func(context.Context, pbx.Connector, func(pbx.Event)) error {
	return func(ctx context.Context, inner pbx.Connector, deliver func(pbx.Event)) error {
		n := 0
		return inner.Watch(ctx, func(e pbx.Event) {
			n++
			if e, keep := change(n, e); keep {
				deliver(e)
			}
		})
	}
}

// TestSuiteNoticesBrokenConnectors: each fault that the engine could not live with fails the check that
// is there for it, and a good connector passes.
func TestSuiteNoticesBrokenConnectors(t *testing.T) {
	var writes atomic.Int32
	for name, c := range map[string]struct {
		check string
		bad   spoiled
	}{
		"good":             {"", spoiled{}},
		"no first reset":   {"WatchThenSnapshot", spoiled{watch: filter(func(n int, e pbx.Event) (pbx.Event, bool) { return e, n > 1 })}},
		"loses events":     {"CutWatch", spoiled{watch: filter(func(n int, e pbx.Event) (pbx.Event, bool) { return e, n%4 != 0 })}},
		"no later resets":  {"RestartLosingState", spoiled{watch: filter(func(n int, e pbx.Event) (pbx.Event, bool) { return e, n == 1 || e.Kind != pbx.EventReset })}},
		"resets for ever":  {"CutWatch", spoiled{watch: filter(func(n int, e pbx.Event) (pbx.Event, bool) { return resetFor(n, e), true })}},
		"no numbers":       {"SequenceGrows", spoiled{watch: filter(func(_ int, e pbx.Event) (pbx.Event, bool) { e.Seq = 1; return e, true })}},
		"watch that ends":  {"WatchThenSnapshot", spoiled{watch: func(context.Context, pbx.Connector, func(pbx.Event)) error { return errors.New("over") }}},
		"deaf to ctx":      {"ContextEnds", spoiled{watch: deaf}},
		"listing too late": {"Snapshot", spoiled{snapshot: func(u []pbx.User) []pbx.User { return u[:len(u)-1] }}},
		"listing twice":    {"Snapshot", spoiled{snapshot: func(u []pbx.User) []pbx.User { return append(u, u[0]) }}},
		"kinds forgotten": {"Snapshot", spoiled{snapshot: func(u []pbx.User) []pbx.User {
			for i := range u {
				u[i].State.Status.Kind = ""
			}
			return u
		}}},
		"line as status": {"LineIsNoChoice", spoiled{state: func(s pbx.State) pbx.State {
			if s.Line == presence.LineInCall {
				s.Status = presence.Status{Name: "In a call now", Kind: presence.KindBusy}
			}
			return s
		}}},
		"no authors":       {"Authors", spoiled{state: func(s pbx.State) pbx.State { s.ChangedBy = pbx.AuthorUnknown; return s }}},
		"no versions":      {"Conflict", spoiled{state: func(s pbx.State) pbx.State { s.Version = 0; return s }}},
		"untyped errors":   {"NoSuchUser", spoiled{err: func(err error) error { return errors.New(err.Error()) }}},
		"wrong kinds":      {"NoSuchStatus", spoiled{err: func(err error) error { return &pbx.Error{Kind: pbx.Unanswered, Op: "x", Err: err} }}},
		"ignores versions": {"Conflict", spoiled{apply: unconditional}},
		"drops messages":   {"ApplyKeepsTheMessage", spoiled{apply: emptied}},
		"claims success":   {"AppliedButFailed", spoiled{apply: claims}},
		"stale answers": {"ApplyReadsBack", spoiled{apply: func(ctx context.Context, inner pbx.Connector, user string, w pbx.Write) (pbx.State, error) {
			before, _ := inner.Read(ctx, user)
			_, err := inner.Apply(ctx, user, w)
			return before, err
		}}},
		"writes twice": {"ApplyWhatShows", spoiled{apply: func(ctx context.Context, inner pbx.Connector, user string, w pbx.Write) (pbx.State, error) {
			m := fmt.Sprint(writes.Add(1))
			w.Message = &m
			return inner.Apply(ctx, user, w)
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tg := target(func(inner pbx.Connector) pbx.Connector { bad := c.bad; bad.Connector = inner; return &bad })
			if c.check == "" {
				tg.Patience = time.Minute
			}
			ran := false
			for _, ck := range checks() {
				if c.check != "" && ck.name != c.check {
					continue
				}
				got := tryOne(t.Context(), ck, tg)
				ran = ran || !got.Skipped
				require.Equal(t, c.check != "" && !got.Skipped, got.Failed, "%s: %q", ck.name, got.Text)
			}
			require.True(t, ran)
		})
	}
}

// resetFor makes every fifth event a reset.
func resetFor(n int, e pbx.Event) pbx.Event {
	if n%5 == 0 {
		e.Kind = pbx.EventReset
	}
	return e
}

func deaf(ctx context.Context, inner pbx.Connector, deliver func(pbx.Event)) error {
	err := inner.Watch(ctx, deliver)
	<-time.After(2 * time.Second)
	return err
}

func unconditional(ctx context.Context, inner pbx.Connector, user string, w pbx.Write) (pbx.State, error) {
	w.IfVersion = 0
	return inner.Apply(ctx, user, w)
}

func emptied(ctx context.Context, inner pbx.Connector, user string, w pbx.Write) (pbx.State, error) {
	if w.Message == nil {
		w.Message = new(string)
	}
	return inner.Apply(ctx, user, w)
}

func claims(ctx context.Context, inner pbx.Connector, user string, w pbx.Write) (pbx.State, error) {
	st, err := inner.Apply(ctx, user, w)
	if pbx.KindOf(err) == pbx.Unanswered {
		return st, nil
	}
	return st, err
}

// document is a connector as if the PBX held a document of ours: what was there before comes back.
type document struct {
	pbx.Connector
	forgetful bool // of the removal

	mu   *sync.Mutex
	docs map[string]presence.Status
}

func (d *document) Capabilities() pbx.Capabilities { return pbx.Capabilities{OwnDocument: true} }

func (d *document) Apply(ctx context.Context, user string, w pbx.Write) (pbx.State, error) {
	st, err := d.Read(ctx, user)
	if err != nil {
		return st, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !w.Status.IsZero() {
		d.docs[user] = w.Status
	} else if !d.forgetful {
		delete(d.docs, user)
	}
	return st, nil
}

func TestSuiteKnowsDocumentsOfOurOwn(t *testing.T) {
	for _, forgetful := range []bool{false, true} {
		var mu sync.Mutex
		docs := map[string]presence.Status{}
		tg := target(func(inner pbx.Connector) pbx.Connector {
			return &document{Connector: inner, forgetful: forgetful, mu: &mu, docs: docs}
		})
		start := tg.Start
		tg.Start = func(t testing.TB) *World {
			w := start(t)
			clear(docs)
			w.Published = func(user string) pbx.State {
				mu.Lock()
				defer mu.Unlock()
				return pbx.State{Status: docs[user]}
			}
			return w
		}
		for _, ck := range checks() {
			if ck.name == "Withdraw" || ck.name == "Capabilities" || ck.name == "ApplyReadsBack" {
				fails := forgetful && ck.name == "Withdraw"
				if tg.Patience = time.Minute; fails {
					tg.Patience = 500 * time.Millisecond
				}
				got := tryOne(t.Context(), ck, tg)
				require.False(t, got.Skipped)
				require.Equal(t, fails, got.Failed, "%s: %q", ck.name, got.Text)
			}
		}
	}
}

func TestChecksAreSkippedByName(t *testing.T) {
	tg := target(func(c pbx.Connector) pbx.Connector { return c })
	for _, ck := range checks() {
		if ck.name == "SilentWatch" || ck.name == "Throttled" || ck.name == "Joiner" {
			require.True(t, tryOne(t.Context(), ck, tg).Skipped, ck.name)
		}
	}
	few := Target{Start: func(testing.TB) *World { return &World{Users: []string{"a"}} }}
	require.True(t, tryOne(t.Context(), checks()[0], few).Failed, "a world of one is too small")
}
