package graphsim

import (
	"maps"
	"sync"
	"time"
)

// class is what a request counts against.
type class string

const (
	classRead        class = "read"
	classWrite       class = "write"
	classSubscribe   class = "subscription"
	classList        class = "subscription-list"
	classReauthorize class = "reauthorize"
	classDirectory   class = "directory"
)

// budget counts requests per application and class: no more than the limit within any window, wherever it begins.
// How Graph cuts its windows is not documented (learn:throttling-limits); this is the strictest reading.
type budget struct {
	mu     sync.Mutex
	limits map[class]limit  // guarded by mu
	used   map[string]*uses // guarded by mu; by application and class
	peaks  map[string]int64 // guarded by mu; by class: the most of one application within a window
}

type limit struct {
	requests int
	per      time.Duration
}

// uses are the requests of the last window, oldest first.
type uses struct {
	list []use
	sum  int
}

type use struct {
	at   time.Time
	cost int
}

// forget drops what is older than a window.
func (u *uses) forget(before time.Time) {
	n := 0
	for ; n < len(u.list) && !u.list[n].at.After(before); n++ {
		u.sum -= u.list[n].cost
	}
	u.list = u.list[n:]
}

// room is when so much has left the window that cost fits into the limit.
func (u *uses) room(cost, limit int) time.Time {
	over := u.sum + cost - limit
	for _, x := range u.list {
		if over -= x.cost; over <= 0 {
			return x.at
		}
	}
	return time.Time{} // never: it costs more than there is
}

func newBudget(b Budgets) *budget {
	x := &budget{used: map[string]*uses{}, peaks: map[string]int64{}}
	x.set(b)
	return x
}

func (b *budget) set(x Budgets) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limits = map[class]limit{
		classRead: {x.Reads, 30 * time.Second}, classWrite: {x.Writes, 30 * time.Second},
		classSubscribe: {x.SubscriptionWrites, 20 * time.Second}, classList: {x.SubscriptionLists, 20 * time.Second},
		classReauthorize: {x.Reauthorize, 20 * time.Second}, classDirectory: {x.Directory, 10 * time.Second},
	}
}

// SetBudgets changes how many requests are allowed.
func (s *Sim) SetBudgets(b Budgets) { s.budget.set(b) }

// take spends cost; when there is not enough left, it says how long to wait. What is refused does not count.
func (b *budget) take(app string, c class, cost int) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.limits[c]
	if l.per == 0 {
		return 0, true
	}
	key := app + "/" + string(c)
	u := b.used[key]
	if u == nil {
		u = &uses{}
		b.used[key] = u
	}
	now := time.Now()
	u.forget(now.Add(-l.per))
	if l.requests > 0 && u.sum+cost > l.requests {
		return u.room(cost, l.requests).Add(l.per).Sub(now), false
	}
	u.list, u.sum = append(u.list, use{now, cost}), u.sum+cost
	b.peaks[string(c)] = max(b.peaks[string(c)], int64(u.sum))
	return 0, true
}

// peak is the most requests of each class within one window so far.
func (b *budget) peak() map[string]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.peaks)
}
