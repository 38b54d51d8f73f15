package bridge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// concurrentReads bounds the direct reads under way on one PBX.
const concurrentReads = 16

// pbxFeed watches one PBX and hands what it says to the members.
type pbxFeed struct {
	e        *Engine
	name     string
	p        PBX
	reads    *semaphore.Weighted
	snapshot chan struct{} // one is due
	lastSeen atomic.Int64  // Unix nanoseconds
	lastRead atomic.Int64  // when the last snapshot began that was complete

	mu    sync.Mutex
	known map[string]pbx.State // what each user of the PBX last showed, for records that are read again from the store
}

func newPBXFeed(e *Engine, name string, p PBX) *pbxFeed {
	return &pbxFeed{
		e: e, name: name, p: p, reads: semaphore.NewWeighted(concurrentReads),
		snapshot: make(chan struct{}, 1), known: map[string]pbx.State{},
	}
}

func (f *pbxFeed) run(ctx context.Context) error {
	f.lastSeen.Store(time.Now().UnixNano())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.p.Connector.Watch(ctx, func(ev pbx.Event) { f.deliver(ctx, ev) }) })
	g.Go(func() error { return f.snapshots(ctx) })
	g.Go(func() error { return f.watchSilence(ctx) })
	return g.Wait()
}

// deliver takes an event of the watch. It may block: that is the back-pressure.
func (f *pbxFeed) deliver(ctx context.Context, ev pbx.Event) {
	f.seen()
	switch ev.Kind {
	case pbx.EventState:
		f.remember(ev.User, ev.State)
		id := presence.EndpointID{PBX: f.name, User: ev.User}
		if member, ok := f.e.ownerOf(id); ok {
			f.e.post(ctx, member, EndpointSeen{Endpoint: id, State: ev.State, Seq: ev.Seq, Arrived: time.Now()}, nil)
		}
	case pbx.EventReset, pbx.EventUsers:
		f.requestSnapshot()
	case pbx.EventSeen:
	}
}

func (f *pbxFeed) seen() { f.lastSeen.Store(time.Now().UnixNano()) }

func (f *pbxFeed) silent() bool {
	return time.Since(time.Unix(0, f.lastSeen.Load())) > f.e.cfg.UnseenAfter
}

func (f *pbxFeed) remember(user string, st pbx.State) {
	f.mu.Lock()
	f.known[user] = st
	f.mu.Unlock()
}

func (f *pbxFeed) requestSnapshot() {
	select {
	case f.snapshot <- struct{}{}:
	default:
	}
}

// snapshots reads the PBX through when events may be missing, and periodically (R16).
func (f *pbxFeed) snapshots(ctx context.Context) error {
	retry := time.NewTimer(f.p.SnapshotInterval)
	defer retry.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.snapshot:
		case <-retry.C:
		}
		next := f.p.SnapshotInterval
		if err := f.takeSnapshot(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failures++
			next = min(time.Second<<min(failures-1, 6), f.p.SnapshotInterval)
			f.e.metrics.snapshotFailures.WithLabelValues(f.name).Inc()
			f.e.log.Warn("pbx could not be read through, trying again", "pbx", f.name, "retry_in", next, "error", err)
		} else {
			failures = 0
		}
		retry.Reset(next)
	}
}

// takeSnapshot reads all users. What overtook it, by the records' epochs from before it began, is not folded.
func (f *pbxFeed) takeSnapshot(ctx context.Context) error {
	started := time.Now()
	statuses, err := f.p.Connector.Statuses(ctx)
	if err != nil {
		return err
	}
	f.e.setStatuses(f.name, policy.Catalogue(statuses))
	epochs := f.e.endpointEpochs(f.name)
	users, err := f.p.Connector.Snapshot(ctx)
	if err != nil {
		return err
	}
	f.seen()
	f.lastRead.Store(started.UnixNano())
	f.replaceKnown(users)
	if f.e.cfg.OnSnapshot != nil {
		f.e.cfg.OnSnapshot(f.name, users)
	}
	for _, u := range users {
		id := presence.EndpointID{PBX: f.name, User: u.ID}
		if member, ok := f.e.ownerOf(id); ok { // one given to a member since the listing began has the epoch 0
			f.e.post(ctx, member, EndpointSnapshot{Endpoint: id, State: u.State, Epoch: epochs[id]}, nil)
		}
	}
	f.e.metrics.snapshotSeconds.WithLabelValues(f.name).Observe(time.Since(started).Seconds())
	return nil
}

func (f *pbxFeed) replaceKnown(users []pbx.User) {
	known := make(map[string]pbx.State, len(users))
	for _, u := range users {
		known[u.ID] = u.State
	}
	f.mu.Lock()
	f.known = known
	f.mu.Unlock()
}

// lastKnown is what a user last showed; a PBX that was not seen for a lease says nothing (R4).
func (f *pbxFeed) lastKnown(user string) (pbx.State, bool) {
	if f.silent() {
		return pbx.State{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	st, ok := f.known[user]
	return st, ok
}

// watchSilence tells the members of a PBX that was not seen for a lease that it is unknown (R4).
func (f *pbxFeed) watchSilence(ctx context.Context) error {
	ticker := time.NewTicker(max(f.e.cfg.UnseenAfter/10, 10*time.Millisecond))
	defer ticker.Stop()
	told := false
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		silent := f.silent()
		if silent && !told {
			since = time.Now()
			f.e.log.Warn("pbx was not seen for a lease, its endpoints are unknown", "pbx", f.name)
			for id, member := range f.e.endpointsOf(f.name) {
				f.e.post(ctx, member, EndpointUnseen{Endpoint: id}, nil)
			}
		}
		if told && !silent && f.lastRead.Load() < since.UnixNano() { // what was read since then is known
			f.requestSnapshot()
		}
		told = silent
	}
}

// Verify asks every PBX whether address, credentials and rights are usable.
func (e *Engine) Verify(ctx context.Context) map[string]error {
	out := make(map[string]error, len(e.cfg.PBX))
	for name, p := range e.cfg.PBX {
		out[name] = p.Connector.Verify(ctx)
	}
	return out
}

// Connections reports the state of every PBX's watch.
func (e *Engine) Connections() map[string]pbx.Connection {
	out := make(map[string]pbx.Connection, len(e.cfg.PBX))
	for name, p := range e.cfg.PBX {
		out[name] = p.Connector.Connection()
	}
	return out
}

// RefreshPBX reads every PBX through now, and returns when that is done.
func (e *Engine) RefreshPBX(ctx context.Context) error {
	var errs []error
	for _, f := range e.feeds {
		errs = append(errs, f.takeSnapshot(ctx))
	}
	return errors.Join(errs...)
}
