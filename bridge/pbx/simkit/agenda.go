package simkit

import (
	"slices"
	"sync"
	"time"
)

// Agenda runs things later, in order, one at a time, on the goroutine that calls [Agenda.Run].
type Agenda struct {
	mu     sync.Mutex
	items  []agendaItem // by time
	wake   chan struct{}
	paused time.Time // not zero while paused

	running sync.Mutex // held while something is being carried out
}

type agendaItem struct {
	at time.Time
	do func()
}

// NewAgenda makes an empty one.
func NewAgenda() *Agenda { return &Agenda{wake: make(chan struct{}, 1)} }

// After lets do happen d from now.
func (a *Agenda) After(d time.Duration, do func()) {
	a.mu.Lock()
	item := agendaItem{at: time.Now().Add(d), do: do}
	i, _ := slices.BinarySearchFunc(a.items, item.at, func(it agendaItem, at time.Time) int {
		if it.at.After(at) {
			return 1
		}
		return -1 // what is due at the same time comes in the order of asking
	})
	a.items = slices.Insert(a.items, i, item)
	a.mu.Unlock()
	a.nudge()
}

func (a *Agenda) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Pending counts what is still to come.
func (a *Agenda) Pending() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.items)
}

// Pause stops the clock of the agenda, and waits for what is being carried out. Not to be called from
// there.
func (a *Agenda) Pause() {
	a.mu.Lock()
	if a.paused.IsZero() {
		a.paused = time.Now()
	}
	a.mu.Unlock()
	a.running.Lock()
	defer a.running.Unlock()
}

// Resume starts the clock again; everything comes that much later.
func (a *Agenda) Resume() {
	a.mu.Lock()
	if !a.paused.IsZero() {
		by := time.Since(a.paused)
		for i := range a.items {
			a.items[i].at = a.items[i].at.Add(by)
		}
		a.paused = time.Time{}
	}
	a.mu.Unlock()
	a.nudge()
}

// next takes what is due, or says how long to wait.
func (a *Agenda) next() (do func(), wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.paused.IsZero() || len(a.items) == 0 {
		return nil, time.Hour
	}
	if wait := time.Until(a.items[0].at); wait > 0 {
		return nil, wait
	}
	do = a.items[0].do
	a.items = slices.Delete(a.items, 0, 1)
	return do, 0
}

func (a *Agenda) step() (did bool, wait time.Duration) {
	a.running.Lock()
	defer a.running.Unlock()
	do, wait := a.next()
	if do != nil {
		do()
	}
	return do != nil, wait
}

// Run carries things out until stop is closed.
func (a *Agenda) Run(stop <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		default:
		}
		did, wait := a.step()
		if did {
			continue
		}
		timer.Reset(wait)
		select {
		case <-stop:
			return
		case <-a.wake:
		case <-timer.C:
		}
	}
}
