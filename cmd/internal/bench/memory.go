package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"presencebridge/bridge"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/sims"
)

// assertedShare of the members have something of ours on them: one in so many (design section 6: 13 %).
const assertedShare = 8

// engineHello is the heap of an engine at rest.
type engineHello struct{ PerMember float64 }

// playEngine is an engine alone, whose members were all seen on both sides.
func playEngine(ctx context.Context, raw json.RawMessage) (*played, error) {
	var args siteArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return nil, err
	}
	pol, err := policy.Parse([]byte("preset: micollab"))
	if err != nil {
		return nil, err
	}
	people := sims.People(args.Members, domain)
	before := heap()
	conn := &phones{n: args.Members, written: map[string]pbx.State{}}
	e, err := bridge.New(bridge.Config{
		Account: benchAccount, Store: forgetful{}, Teams: quietTeams{}, Rules: bridge.Rules{Policy: pol},
		PBX:         map[string]bridge.PBX{"main": {Connector: conn, WritesPerSecond: 1e6, Burst: 1e6}},
		TeamsWrites: 1e7, ReadWindow: time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop := func() error { cancel(); return <-done }
	if err := fillEngine(ctx, e, people); err != nil {
		return nil, errors.Join(err, stop())
	}
	after := heap()
	runtime.KeepAlive(people)
	return &played{hello: engineHello{PerMember: float64(after-before) / float64(args.Members)}, stop: stop}, nil
}

// fillEngine introduces everybody, has each seen in Teams, one in a few in a call, and waits for rest.
func fillEngine(ctx context.Context, e *bridge.Engine, people []sims.Person) error {
	members := make([]bridge.Member, len(people))
	for i, p := range people {
		members[i] = bridge.Member{
			// The engine's own copies: as many bytes as the directory's strings have.
			ID: string([]byte(p.ID)), UPN: string([]byte(p.Mail)), Mail: string([]byte(p.Mail)), Name: string([]byte(p.Name)),
			Endpoints: []presence.EndpointID{{PBX: "main", User: string([]byte(p.Phone))}},
		}
	}
	for e.Context() == context.Background() { // Run has not begun
		if err := rest(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	e.SetMembers(ctx, members)
	if err := e.RefreshPBX(ctx); err != nil {
		return err
	}
	var seen sync.WaitGroup
	for i := range members {
		pair := presence.Pair{Availability: "Available", Activity: "Available"}
		if i%assertedShare == 0 {
			pair = presence.Pair{Availability: "Busy", Activity: "InAConferenceCall"}
		}
		seen.Add(1)
		e.Push(ctx, []bridge.Push{{Member: members[i].ID, Pair: pair, Mark: bridge.Mark{Seq: uint64(i + 1)}, Arrived: time.Now()}}, seen.Done)
	}
	seen.Wait()
	return settled(ctx, e, len(members))
}

// settled waits until nobody has anything under way.
func settled(ctx context.Context, e *bridge.Engine, n int) error {
	for {
		open, asserted := 0, 0
		for _, v := range e.Views("", 0) {
			if !v.Record.Settled() {
				open++
			}
			if len(v.Record.Endpoints) == 1 && v.Record.Endpoints[0].Assertion != nil {
				asserted++
			}
		}
		if open == 0 {
			if want := (n + assertedShare - 1) / assertedShare; asserted != want {
				return fmt.Errorf("%d members have an assertion, not %d", asserted, want)
			}
			return nil
		}
		if err := rest(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// heap is the bytes in use.
func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// forgetful stores nothing and says that it did.
type forgetful struct{}

func (forgetful) Load(context.Context, func(string, []byte, uint64) error) error { return nil }
func (forgetful) Put(_ string, _ []byte, revision uint64, done func(uint64, error)) {
	done(revision+1, nil)
}
func (forgetful) Get(context.Context, string) ([]byte, uint64, error) {
	return nil, 0, bridge.ErrNotFound
}
func (forgetful) Delete(context.Context, string, uint64) error { return nil }

// quietTeams takes every write and shows Available to whoever reads.
type quietTeams struct{}

func (quietTeams) Set(context.Context, string, presence.Pair, time.Duration, bool) error { return nil }
func (quietTeams) Clear(context.Context, string) error                                   { return nil }
func (quietTeams) SetPreferred(context.Context, string, presence.Pair, time.Duration) error {
	return nil
}
func (quietTeams) ClearPreferred(context.Context, string, presence.Pair) error           { return nil }
func (quietTeams) SetMessage(context.Context, string, string, []string, time.Time) error { return nil }
func (quietTeams) Read(_ context.Context, members []string) (map[string]presence.Shown, error) {
	out := make(map[string]presence.Shown, len(members))
	for _, m := range members {
		out[m] = presence.Shown{Pair: presence.Pair{Availability: "Available", Activity: "Available"}}
	}
	return out, nil
}

// phones is a PBX on which nobody does anything: it shows what was written.
type phones struct {
	n int

	mu      sync.Mutex // guards written
	written map[string]pbx.State
}

// state is what a user shows.
func (p *phones) state(user string) pbx.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	if st, ok := p.written[user]; ok {
		return st
	}
	return idle(1)
}

func (*phones) Capabilities() pbx.Capabilities {
	return pbx.Capabilities{Versions: true, Authors: true, Messages: true}
}
func (*phones) Statuses(context.Context) ([]presence.Status, error) {
	var out []presence.Status
	for name, kind := range map[string]presence.Kind{"Available": presence.KindAvailable, "In a call": presence.KindBusy, "Do not disturb": presence.KindDND} {
		out = append(out, presence.Status{Name: name, Kind: kind})
	}
	return out, nil
}

func (p *phones) Snapshot(context.Context) ([]pbx.User, error) {
	people := sims.People(p.n, domain)
	out := make([]pbx.User, p.n)
	for i, x := range people {
		out[i] = pbx.User{ID: x.Phone, Email: x.Mail, Extension: x.Extension, DisplayName: x.Name, State: p.state(x.Phone)}
	}
	return out, nil
}

func (*phones) Watch(ctx context.Context, deliver func(pbx.Event)) error {
	deliver(pbx.Event{Kind: pbx.EventSeen})
	<-ctx.Done()
	return ctx.Err()
}
func (p *phones) Read(_ context.Context, user string) (pbx.State, error) { return p.state(user), nil }
func (p *phones) Apply(_ context.Context, user string, w pbx.Write) (pbx.State, error) {
	st := idle(w.IfVersion + 1)
	st.Status, st.ChangedBy, st.ChangedAt = w.Status, pbx.AuthorSelf, time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written[user] = st
	return st, nil
}
func (*phones) Verify(context.Context) error { return nil }
func (*phones) Connection() pbx.Connection   { return pbx.Connection{State: pbx.ConnConnected} }

func idle(version uint64) pbx.State {
	return pbx.State{Line: presence.LineIdle, Status: presence.Status{Name: "Available", Kind: presence.KindAvailable}, Version: version,
		ChangedAt: time.Unix(1700000000, 0), ChangedBy: pbx.AuthorUser}
}

// memoryPart measures memory per member, of an engine alone and of a whole process.
func memoryPart(ctx context.Context, b *bench) error {
	for _, n := range []int{10_000, pick(b, 100_000, 20_000)} {
		b.progress("memory: an engine with %d members", n)
		var hello engineHello
		c, err := start(ctx, "engine", siteArgs{Members: n}, &hello)
		if err != nil {
			return err
		}
		if err := c.stop(); err != nil {
			return err
		}
		b.report.add(figure{Part: "memory", Name: fmt.Sprintf("engine heap per member, %d members", n), Value: hello.PerMember / 1024, Unit: "KiB",
			Target: 3, Note: fmt.Sprintf("all seen on both sides, one in %d asserted", assertedShare)})
	}
	return processMemory(ctx, b, pick(b, 100_000, 5_000))
}

// processMemory measures the whole process with its embedded bus.
func processMemory(ctx context.Context, b *bench, n int) (err error) {
	monitors := (n + shardSize - 1) / shardSize
	began := time.Now()
	s, err := openSite(ctx, b, "memory", siteArgs{Members: n, Monitors: monitors, Latency: 20 * time.Millisecond}, looseSync)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	ready := time.Since(began)
	first, err := s.bridge.usage()
	if err != nil {
		return err
	}
	if err := s.bridge.order("trim", nil, nil); err != nil {
		return err
	}
	u, err := s.bridge.usage()
	if err != nil {
		return err
	}
	const mib = 1 << 20
	b.report.add(figure{Part: "memory", Name: fmt.Sprintf("RSS of the whole process, %d members", n), Value: float64(first.RSS) / mib, Unit: "MiB",
		Note: fmt.Sprintf("%.1f KiB per member; at the peak %d MiB; %d monitors, %.0f s from nothing to rest", float64(first.RSS)/1024/float64(n),
			u.Peak/mib, monitors, ready.Seconds())})
	b.report.add(figure{Part: "memory", Name: "the same, once what the start took was given back", Value: float64(u.RSS) / mib, Unit: "MiB",
		Note: fmt.Sprintf("%.1f KiB per member", float64(u.RSS)/1024/float64(n))})
	return nil
}
