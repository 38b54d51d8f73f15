package pbxtest

import (
	"context"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
)

// follower does with a connector what the engine does: it watches, takes snapshots when it is told to,
// applies meanwhile's events afterwards, and goes by versions where there are any.
type follower struct {
	conn pbx.Connector

	ctx  context.Context
	work sync.WaitGroup

	mu      sync.Mutex
	events  []pbx.Event
	states  map[string]pbx.State
	queue   []pbx.Event // while a snapshot is being taken
	taking  bool
	again   bool // another snapshot is due
	ready   bool // a snapshot has been taken since the last reset
	changed chan struct{}
	gate    chan struct{} // not nil: deliver waits for it
}

// follow starts watching; the test's end stops it and waits.
func (r *run) follow(conn pbx.Connector) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{conn: conn, ctx: ctx, states: map[string]pbx.State{}, changed: make(chan struct{})}
	f.work.Go(func() {
		err := conn.Watch(ctx, f.deliver)
		if ctx.Err() == nil {
			r.Errorf("Watch ended by itself: %v", err)
		}
	})
	r.Cleanup(func() {
		cancel()
		f.open()
		f.work.Wait()
	})
	return f
}

// follower waits until the first snapshot is taken.
func (r *run) followReady(conn pbx.Connector) *follower {
	f := r.follow(conn)
	f.until(r, "the first reset and snapshot", func() bool { return f.ready })
	return f
}

func (f *follower) deliver(e pbx.Event) {
	f.mu.Lock()
	gate := f.gate
	f.mu.Unlock()
	if gate != nil {
		<-gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
	switch e.Kind {
	case pbx.EventReset:
		f.ready = false
		f.snapshot()
	case pbx.EventUsers:
		f.snapshot()
	case pbx.EventState:
		if f.taking {
			f.queue = append(f.queue, e)
		} else {
			f.fold(e)
		}
	case pbx.EventSeen:
	}
	f.tell()
}

// close lets deliver block; open lets it go on.
func (f *follower) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gate = make(chan struct{})
}

func (f *follower) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gate != nil {
		close(f.gate)
		f.gate = nil
	}
}

func (f *follower) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// fold takes a state in. With versions, what is below the last one is old.
func (f *follower) fold(e pbx.Event) {
	old, known := f.states[e.User]
	if known && f.conn.Capabilities().Versions && e.State.Version < old.Version {
		return
	}
	f.states[e.User] = e.State
}

// snapshot takes one in the background, or notes that another is due.
func (f *follower) snapshot() {
	if f.taking {
		f.again = true
		return
	}
	f.taking = true
	f.work.Go(f.takeSnapshot)
}

func (f *follower) takeSnapshot() {
	_, err := f.conn.Statuses(f.ctx)
	var users []pbx.User
	if err == nil {
		users, err = f.conn.Snapshot(f.ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taking = false
	if f.ctx.Err() != nil {
		return
	}
	if err != nil { // the engine tries again; so do we, a little later
		f.again = false
		f.work.Go(func() {
			select {
			case <-f.ctx.Done():
			case <-time.After(10 * time.Millisecond):
				f.mu.Lock()
				defer f.mu.Unlock()
				f.snapshot()
			}
		})
		return
	}
	f.states = make(map[string]pbx.State, len(users))
	for _, u := range users {
		f.states[u.ID] = u.State
	}
	for _, e := range f.queue {
		f.fold(e)
	}
	f.queue = nil
	f.ready = true
	if f.again {
		f.again = false
		f.snapshot()
	}
	f.tell()
}

// until waits for cond, which is called with the follower's mutex held.
func (f *follower) until(r *run, what string, cond func() bool) {
	r.Helper()
	late := time.NewTimer(r.target.Patience)
	defer late.Stop()
	poll := time.NewTicker(5 * time.Millisecond) // cond may look at the PBX, which tells nobody
	defer poll.Stop()
	for {
		f.mu.Lock()
		ok, changed := cond(), f.changed
		f.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-poll.C:
		case <-late.C:
			require.FailNow(r, "waited in vain for "+what)
		}
	}
}

// agree waits until the follower knows of every user what the PBX shows.
func (f *follower) agree(r *run, what string) {
	r.Helper()
	f.until(r, what+": everybody known as the PBX shows them", func() bool {
		for _, u := range r.Users {
			if got, ok := f.states[u]; !ok || !shows(got, r.Shown(u)) {
				return false
			}
		}
		return !f.taking
	})
}

// reread is the periodic snapshot.
func (f *follower) reread() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.snapshot()
}

// count counts the events of a kind. The mutex is held.
func (f *follower) count(k pbx.EventKind) (n int) {
	for _, e := range f.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

func (f *follower) resets() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count(pbx.EventReset)
}

// shows compares what is visible.
func shows(a, b pbx.State) bool {
	return a.Line == b.Line && a.Status.Name == b.Status.Name && a.Message == b.Message
}
