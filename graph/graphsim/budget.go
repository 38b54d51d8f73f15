package graphsim

import (
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

// budget counts requests per application and class in fixed windows, as the throttling of Graph
// appears from outside (learn:throttling-limits).
type budget struct {
	mu      sync.Mutex
	limits  map[class]limit    // guarded by mu
	windows map[string]*window // guarded by mu; by application and class
}

type limit struct {
	requests int
	per      time.Duration
}

type window struct {
	start time.Time
	used  int
}

func newBudget(b Budgets) *budget {
	x := &budget{windows: map[string]*window{}}
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

// take spends cost; when there is not enough left, it says how long to wait.
func (b *budget) take(app string, c class, cost int) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.limits[c]
	if l.requests <= 0 {
		return 0, true
	}
	key := app + "/" + string(c)
	w := b.windows[key]
	now := time.Now()
	if w == nil || now.Sub(w.start) >= l.per {
		w = &window{start: now}
		b.windows[key] = w
	}
	if w.used+cost > l.requests {
		return l.per - now.Sub(w.start), false
	}
	w.used += cost
	return 0, true
}
