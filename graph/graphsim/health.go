package graphsim

import (
	"sync"
	"time"
)

// Rules of endpoint states (learn:change-notifications-delivery-webhooks). How many answers it takes
// before Graph judges is not documented; 100 is what older pages say.
const (
	healthWindow  = 10 * time.Minute
	healthPenalty = 10 * time.Minute
	healthLeast   = 100
	slowAnswer    = 3 * time.Second
	lostAnswer    = 10 * time.Second
	slowShare     = 0.10
	dropShare     = 0.15
)

// condition is the state of an endpoint.
type condition int

const (
	healthy condition = iota
	slow              // what is new waits ten minutes
	dropped           // what is new is lost
)

// health judges an endpoint by how long its answers take.
type health struct {
	mu      sync.Mutex
	start   time.Time // guarded by mu; of the window
	total   int       // guarded by mu; answers in the window
	slow    int       // guarded by mu
	lost    int       // guarded by mu
	state   condition // guarded by mu
	penalty time.Time // guarded by mu; end of the state
}

// answered counts an answer that took so long.
func (h *health) answered(took time.Duration, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renew(now)
	h.total++
	if took > slowAnswer {
		h.slow++
	}
	if took > lostAnswer {
		h.lost++
	}
	if h.total < healthLeast || h.state != healthy {
		return
	}
	switch {
	case float64(h.lost) > dropShare*float64(h.total):
		h.state, h.penalty = dropped, now.Add(healthPenalty)
	case float64(h.slow) > slowShare*float64(h.total):
		h.state, h.penalty = slow, now.Add(healthPenalty)
	}
}

// now is the state.
func (h *health) now(now time.Time) condition {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renew(now)
	return h.state
}

// renew judges afresh when the state or the window is ten minutes old. Under mu.
func (h *health) renew(now time.Time) {
	ended := h.state != healthy && !h.penalty.After(now)
	if ended || (h.state == healthy && now.Sub(h.start) > healthWindow) {
		h.state, h.start, h.total, h.slow, h.lost = healthy, now, 0, 0, 0
	}
}
