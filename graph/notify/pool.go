package notify

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// Pool bounds how many items are decrypted at the same time, over all decoders that share it: an RSA
// private operation is pure CPU (0.7 ms at 2048 bits), and more of them at once than there are CPUs
// only delays everything else.
type Pool struct {
	size  int
	slots *semaphore.Weighted
}

// NewPool makes a pool of n slots; n below 1 means one per CPU that Go uses (GOMAXPROCS).
func NewPool(n int) *Pool {
	if n < 1 {
		n = runtime.GOMAXPROCS(0)
	}
	return &Pool{size: n, slots: semaphore.NewWeighted(int64(n))}
}

// Size is the number of slots.
func (p *Pool) Size() int { return p.size }

// each calls work(i) for 0 ≤ i < n, in any order, each holding one slot, and returns when all that were
// begun have ended. Slots are handed out in order of asking, item by item, so a body of 2,000 items
// does not shut others out. After the end of ctx nothing is begun.
func (p *Pool) each(ctx context.Context, n int, work func(i int)) {
	if n == 0 {
		return
	}
	var next atomic.Int64
	worker := func() {
		for i := int(next.Add(1)) - 1; i < n && p.acquire(ctx); i = int(next.Add(1)) - 1 {
			work(i)
			p.slots.Release(1)
		}
	}
	if n == 1 {
		worker()
		return
	}
	var workers sync.WaitGroup
	for range min(p.size, n) {
		workers.Go(worker)
	}
	workers.Wait()
}

// acquire waits for a slot; false means that the context ended first.
func (p *Pool) acquire(ctx context.Context) bool { return p.slots.Acquire(ctx, 1) == nil }
