package graphsim

import (
	"maps"
	"sync"
)

// Stats counts what happened since the start.
type Stats struct {
	Changes int64 `json:"changes"` // visible changes
	Organic int64 `json:"organic"` // changes of what people themselves do
	Ours    int64 `json:"ours"`    // visible changes that an application caused

	Notifications Notifications `json:"notifications"`
	Subscriptions int           `json:"subscriptions"` // live ones, those that died silently included

	Requests map[string]map[int]int64 `json:"requests"` // by operation and status; status 0 was cut
	Refused  map[string]int64         `json:"refused"`  // 429s by class, of budgets and of faults
	Peaks    map[string]int64         `json:"peaks"`    // by class: the most requests of one application within a window of its budget
	Writes   map[string]int64         `json:"writes"`   // presence writes that took effect, by operation
	Pending  int64                    `json:"pending"`  // writes that were answered or failed and take effect yet
}

// Notifications counts what goes to subscribers. An item that was doubled counts twice as sent.
type Notifications struct {
	Queued    int64 `json:"queued"`  // items that were due to subscribers
	Sent      int64 `json:"sent"`    // items sent at least once
	Acked     int64 `json:"acked"`   // items answered 2xx in time
	Dropped   int64 `json:"dropped"` // items given up: by faults, dead or ended subscriptions, endpoint states, after the retries
	Doubled   int64 `json:"doubled"`
	Late      int64 `json:"late"`
	Poisoned  int64 `json:"poisoned"`
	Posts     int64 `json:"posts"`     // requests sent, retries included
	Failed    int64 `json:"failed"`    // requests not answered 2xx in time
	Lifecycle int64 `json:"lifecycle"` // lifecycle items sent
	Waiting   int64 `json:"waiting"`   // items on their way now
}

// counts is the Stats under their lock.
type counts struct {
	mu sync.Mutex
	s  Stats // guarded by mu
}

func newCounts() *counts {
	return &counts{s: Stats{Requests: map[string]map[int]int64{}, Refused: map[string]int64{}, Writes: map[string]int64{}}}
}

func (c *counts) do(f func(s *Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.s)
}

func (c *counts) change(ch Change) {
	c.do(func(s *Stats) {
		if ch.Visible() {
			s.Changes++
			if ch.Ours {
				s.Ours++
			}
		}
		if ch.Before != ch.Organic {
			s.Organic++
		}
	})
}

func (c *counts) request(op string, status int) {
	c.do(func(s *Stats) {
		if s.Requests[op] == nil {
			s.Requests[op] = map[int]int64{}
		}
		s.Requests[op][status]++
	})
}

// Stats counts what happened since the start.
func (s *Sim) Stats() Stats {
	var out Stats
	s.counts.do(func(c *Stats) {
		out = *c
		out.Refused, out.Writes = maps.Clone(c.Refused), maps.Clone(c.Writes)
		out.Requests = make(map[string]map[int]int64, len(c.Requests))
		for op, statuses := range c.Requests {
			out.Requests[op] = maps.Clone(statuses)
		}
	})
	out.Subscriptions, out.Peaks = s.hub.count(), s.budget.peak()
	return out
}
