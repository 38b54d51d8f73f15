package graphsim

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// agenda runs what is due later: sessions that fade or expire, notifications on their way, writes
// that land late. One goroutine and one timer serve all of it, so ten thousand waiting things cost
// a heap and not ten thousand timers. What runs must be short: it holds up whatever is due next.
type agenda struct {
	mu    sync.Mutex
	tasks taskHeap // guarded by mu
	order uint64   // guarded by mu; keeps tasks that are due together in the order they were given
	wake  chan struct{}
}

// task is something due; cancelled ones stay in the heap until their time.
type task struct {
	due   time.Time
	order uint64
	run   func()
}

func newAgenda() *agenda { return &agenda{wake: make(chan struct{}, 1)} }

// at runs f at the time given, on the agenda's goroutine.
func (a *agenda) at(due time.Time, f func()) {
	a.mu.Lock()
	a.order++
	heap.Push(&a.tasks, task{due, a.order, f})
	first := a.tasks[0].order == a.order
	a.mu.Unlock()
	if first {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

func (a *agenda) after(d time.Duration, f func()) { a.at(time.Now().Add(d), f) }

// run works the agenda off until the context ends. What is not due then never runs.
func (a *agenda) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := a.runDue()
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-a.wake:
		}
	}
}

// runDue runs everything that is due and says how long it is until the next.
func (a *agenda) runDue() time.Duration {
	for {
		a.mu.Lock()
		if len(a.tasks) == 0 {
			a.mu.Unlock()
			return time.Hour
		}
		if wait := time.Until(a.tasks[0].due); wait > 0 {
			a.mu.Unlock()
			return wait
		}
		t := a.tasks[0]
		heap.Pop(&a.tasks)
		a.mu.Unlock()
		t.run()
	}
}

type taskHeap []task

func (h taskHeap) Len() int { return len(h) }
func (h taskHeap) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].order < h[j].order
	}
	return h[i].due.Before(h[j].due)
}
func (h taskHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *taskHeap) Push(x any) {
	if t, ok := x.(task); ok {
		*h = append(*h, t)
	}
}
func (h *taskHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = task{}
	*h = old[:len(old)-1]
	return t
}
