package threecx

import (
	"strconv"
	"sync"
	"time"

	"presencebridge/bridge/pbx"
)

// userBook knows who there is, what was last read of whom, and what the caller was last told. Operations are numbered
// by when they began: what began before something newer was learnt of a user is not believed about them; the next poll
// says it again.
type userBook struct {
	calls *callBook

	mu    sync.Mutex
	op    uint64
	users map[int]*userEntry
	byDN  map[string]*userEntry
}

// userEntry is one user.
type userEntry struct {
	user wireUser // with the profiles as they were last read
	seen uint64   // the operation that this comes from

	// shown is what the watch last said; said is when. answered is what a snapshot, a read or a write answered after
	// that, nil if nothing, or the zero State if a write's outcome is unknown: whatever is not like both is news.
	shown    pbx.State
	said     uint64
	answered *pbx.State
}

func newUserBook(calls *callBook) *userBook {
	return &userBook{calls: calls, users: map[int]*userEntry{}, byDN: map[string]*userEntry{}}
}

// begin numbers an operation.
func (b *userBook) begin() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.op++
	return b.op
}

// fold takes in what an operation read of a user. The mutex is held.
func (b *userBook) fold(u wireUser, op uint64) (e *userEntry, joined bool) {
	e = b.users[u.ID]
	if e == nil {
		e = &userEntry{}
		b.users[u.ID] = e
		joined = true
	} else if op < e.seen {
		return e, false
	}
	if u.ForwardingProfiles == nil {
		u.ForwardingProfiles = e.user.ForwardingProfiles
	}
	if e.user.Number != u.Number {
		if b.byDN[e.user.Number] == e {
			delete(b.byDN, e.user.Number)
		}
		b.byDN[u.Number] = e
	}
	e.user, e.seen = u, op
	return e, joined
}

// drop forgets who is not in a complete list. The mutex is held.
func (b *userBook) drop(list []wireUser, op uint64) (left bool) {
	there := make(map[int]bool, len(list))
	for _, u := range list {
		there[u.ID] = true
	}
	for id, e := range b.users {
		if there[id] || e.seen > op {
			continue
		}
		delete(b.users, id)
		if b.byDN[e.user.Number] == e {
			delete(b.byDN, e.user.Number)
		}
		left = true
	}
	return left
}

// listed takes a complete list in, and tells whether somebody joined or left.
func (b *userBook) listed(list []wireUser, op uint64, now time.Time) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range list {
		e, joined := b.fold(u, op)
		if joined { // nobody knows them before the next snapshot
			e.shown, e.said = b.state(e, now), b.op
			changed = true
		}
	}
	return b.drop(list, op) || changed
}

// snapshot takes in a complete list whose states are handed to the caller.
func (b *userBook) snapshot(list []wireUser, states map[int]pbx.State, op uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range list {
		e, joined := b.fold(u, op)
		st := states[u.ID]
		switch {
		case joined:
			e.shown, e.said = st, op
		case e.said < op: // else the caller applies after the snapshot what the watch said meanwhile
			e.answered = &st
		}
	}
	b.drop(list, op)
}

// answer takes in what a read or a write answered.
func (b *userBook) answer(u wireUser, st pbx.State, op uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e, joined := b.fold(u, op); !joined && e.seen == op {
		e.answered = &st
	} else if joined {
		e.shown, e.said = st, op
	}
}

// doubt notes that a write's outcome is unknown: whatever is read next is news.
func (b *userBook) doubt(id int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.users[id]; e != nil {
		b.op++
		e.seen, e.answered = b.op, &pbx.State{}
	}
}

func (b *userBook) state(e *userEntry, now time.Time) pbx.State {
	return e.user.state(b.calls.line(e.user.Number, now))
}

// news lists what differs from what the caller knows, and takes it for said: of one extension, or of everybody.
func (b *userBook) news(dn string, now time.Time) []pbx.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []pbx.Event
	look := func(e *userEntry) {
		st := b.state(e, now)
		if st == e.shown && (e.answered == nil || st == *e.answered) {
			return
		}
		b.op++
		e.shown, e.said, e.answered = st, b.op, nil
		out = append(out, pbx.Event{Kind: pbx.EventState, User: strconv.Itoa(e.user.ID), State: st})
	}
	if dn == "" {
		for _, e := range b.users {
			look(e)
		}
	} else if e := b.byDN[dn]; e != nil {
		look(e)
	}
	return out
}

// baseline takes what is known for said: a snapshot follows.
func (b *userBook) baseline(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.users {
		b.op++
		e.shown, e.said, e.answered = b.state(e, now), b.op, nil
	}
}

// has tells whether an extension is a user's. Before anybody is known, everything is.
func (b *userBook) has(dn string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.users) == 0 || b.byDN[dn] != nil
}

// of returns a user's profiles and number, as last read.
func (b *userBook) of(id int) wireUser {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.users[id]; e != nil {
		return e.user
	}
	return wireUser{ID: id}
}

// numbers lists the extensions of all users.
func (b *userBook) numbers() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]string, 0, len(b.users))
	for _, e := range b.users {
		out = append(out, e.user.Number)
	}
	return out
}
