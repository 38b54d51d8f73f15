package link

import (
	"slices"
	"sync"
	"time"

	"presencebridge/bridge/pbx"
)

// Tracker is the state of the watch as people see it: debounced, so that a break that resuming heals is
// no news, and a connection that comes and goes does not flicker.
type Tracker struct {
	debounce time.Duration

	mu       sync.Mutex
	up       bool
	upSince  time.Time
	downAt   time.Time // of the present, or last, break
	shownUp  bool      // connected was shown when the break came
	okSince  time.Time // what connected shows as Since
	problem  *Problem  // of the present, or not yet outlived, break
	begunAt  time.Time
	troubled time.Time // what degraded shows as Since
	warnings []pbx.Warning
}

// NewTracker makes one that takes a change for real when it has lasted for debounce.
func NewTracker(debounce time.Duration) *Tracker {
	return &Tracker{debounce: debounce, begunAt: time.Now()}
}

// Idle says that nobody watches any more: the next watch begins from the beginning.
func (t *Tracker) Idle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up, t.shownUp, t.problem, t.begunAt = false, false, nil, time.Now()
}

// Connected says that the PBX is being watched.
func (t *Tracker) Connected() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.up, t.upSince = true, now
	switch {
	case t.problem == nil:
		t.okSince = now
	case t.shownUp && now.Sub(t.downAt) < t.debounce:
		t.problem = nil // nobody was told
	}
}

// Failed says that the watch broke, or could not begin, and why.
func (t *Tracker) Failed(p Problem) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.up || t.problem == nil {
		t.shownUp = t.compute(now).State == pbx.ConnConnected
		t.downAt = now
		if t.shownUp || t.problem == nil {
			t.troubled = now
		}
	}
	t.up, t.problem = false, &p
}

// Show is the state at this moment.
func (t *Tracker) Show() pbx.Connection {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.compute(time.Now())
	c.Warnings = t.warnings
	return c
}

func (t *Tracker) compute(now time.Time) pbx.Connection {
	switch {
	case t.up && t.problem == nil:
		return pbx.Connection{State: pbx.ConnConnected, Since: t.okSince}
	case t.up && now.Sub(t.upSince) >= t.debounce:
		t.problem, t.okSince = nil, t.upSince
		return pbx.Connection{State: pbx.ConnConnected, Since: t.okSince}
	case t.problem == nil:
		return pbx.Connection{State: pbx.ConnConnecting, Since: t.begunAt}
	case !t.up && t.shownUp && now.Sub(t.downAt) < t.debounce:
		return pbx.Connection{State: pbx.ConnConnected, Since: t.okSince}
	}
	c := pbx.Connection{State: pbx.ConnDegraded, Since: t.troubled, Code: t.problem.Code, Text: t.problem.Text, Remedy: t.problem.Remedy}
	if t.problem.Person && !t.up {
		c.State = pbx.ConnNeedsPerson
	}
	return c
}

// Warn puts what a person should know although the PBX works into the place of all warnings of that code. An empty
// text takes it away.
func (t *Tracker) Warn(w pbx.Warning) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(t.warnings), func(have pbx.Warning) bool { return have.Code == w.Code })
	if w.Text != "" {
		kept = append(kept, w)
	}
	t.warnings = kept
}
