package simkit

import "sync"

// Queue hands over what is put into it in order, from one goroutine and without anybody's mutex.
type Queue[T any] struct {
	call func(T)
	wake chan struct{}

	mu     sync.Mutex // guards the rest
	q      []T
	closed bool
}

// NewQueue makes a queue that hands over to call. With nil, what is put in vanishes.
func NewQueue[T any](call func(T)) *Queue[T] {
	return &Queue[T]{call: call, wake: make(chan struct{}, 1)}
}

// Put never waits.
func (h *Queue[T]) Put(v T) {
	if h.call == nil {
		return
	}
	h.mu.Lock()
	h.q = append(h.q, v)
	h.mu.Unlock()
	h.nudge()
}

func (h *Queue[T]) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Close lets Run return when everything is handed over.
func (h *Queue[T]) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.nudge()
}

// Run hands over until Close.
func (h *Queue[T]) Run() {
	for {
		h.mu.Lock()
		q, closed := h.q, h.closed
		h.q = nil
		h.mu.Unlock()
		for _, v := range q {
			h.call(v)
		}
		if len(q) > 0 {
			continue
		}
		if closed {
			return
		}
		<-h.wake
	}
}
