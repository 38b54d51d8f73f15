package micollab

import (
	"sync"
	"time"
)

const (
	// askAgain is how long a user whom no listing shows is not asked for again.
	askAgain = 5 * time.Minute
	// maxStrangers bounds what is remembered of them.
	maxStrangers = 10_000
)

// userBook remembers who there is, and what was last seen of whom.
type userBook struct {
	mu    sync.Mutex
	known map[string]seen // nil before the first snapshot
	// strangers are ids that events were about and that no listing has shown, with when a listing was last
	// asked for because of them.
	strangers map[string]stranger

	wanted chan struct{} // a listing is to be asked for; the watch says so
}

type seen struct {
	version uint64
	status  string
}

type stranger struct {
	asked time.Time // zero: not yet
}

func (b *userBook) init() {
	b.strangers, b.wanted = map[string]stranger{}, make(chan struct{}, 1)
}

func (b *userBook) want() {
	select {
	case b.wanted <- struct{}{}:
	default:
	}
}

// last is what was last seen of a user.
func (b *userBook) last(id string) (seen, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.known[id]
	return s, ok
}

// saw remembers what a user shows, if it is not older than what is known.
func (b *userBook) saw(id string, p wirePresence) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.known[id]; ok && p.version() >= old.version {
		b.known[id] = seen{p.version(), p.Status}
	}
}

// event notes that an event was about id, and says whether a listing must be asked for.
func (b *userBook) event(id string, now time.Time) (ask bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.known[id]; ok {
		return false
	}
	s, met := b.strangers[id]
	if !met && len(b.strangers) >= maxStrangers {
		return false // the periodic snapshot will show them
	}
	if b.known == nil {
		// The reset before has asked for a listing. Whether it shows this one is seen when it is there.
		b.strangers[id] = s
		return false
	}
	if !s.asked.IsZero() && now.Sub(s.asked) < askAgain {
		return false
	}
	b.strangers[id] = stranger{now}
	return true
}

// listed takes a complete listing over. It says whether another one must be asked for, because an event
// that came meanwhile was about somebody whom it does not show.
func (b *userBook) listed(users map[string]seen, now time.Time) (ask bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, s := range b.known { // an event may have overtaken the listing
		if n, ok := users[id]; ok && s.version > n.version {
			users[id] = s
		}
	}
	b.known = users
	for id, s := range b.strangers {
		_, found := users[id]
		switch {
		case found, !s.asked.IsZero() && now.Sub(s.asked) >= askAgain:
			delete(b.strangers, id)
		case s.asked.IsZero():
			b.strangers[id] = stranger{now}
			ask = true
		}
	}
	return ask
}

// forgetVersions is for after a reset: a PBX that restarted counts from one again.
func (b *userBook) forgetVersions() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.known {
		b.known[id] = seen{}
	}
}
