package bridge

import (
	"context"
	"sync"
	"time"
)

// readBatcher lets the Teams reads that are owed within a window travel together (R14): at most ten requests a
// second for an account of any size.
type readBatcher struct {
	e    *Engine
	wake chan struct{}

	mu   sync.Mutex
	owed []owedRead
}

type owedRead struct {
	member string
	epoch  uint32
}

func newReadBatcher(e *Engine) *readBatcher { return &readBatcher{e: e, wake: make(chan struct{}, 1)} }

// add owes a read. Its epoch is from the step that asked: what happens until the request leaves makes the answer
// unbelievable, and then it is asked again.
func (b *readBatcher) add(member string, epoch uint32) {
	b.mu.Lock()
	b.owed = append(b.owed, owedRead{member: member, epoch: epoch})
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *readBatcher) take(n int) []owedRead {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, len(b.owed))
	batch := b.owed[:n:n]
	b.owed = b.owed[n:]
	if len(b.owed) == 0 {
		b.owed = nil
	}
	return batch
}

func (b *readBatcher) run(ctx context.Context) error {
	window := time.NewTimer(0) // the distance between two requests; a first one goes at once
	defer window.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-b.wake:
		}
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-window.C:
			}
			batch := b.take(b.e.cfg.ReadBatchSize)
			if len(batch) == 0 {
				window.Reset(0)
				break
			}
			window.Reset(b.e.cfg.ReadWindow)
			b.e.request(func(ctx context.Context) { b.read(ctx, batch) })
		}
	}
}

func (b *readBatcher) read(ctx context.Context, batch []owedRead) {
	ids := make([]string, len(batch))
	for i, o := range batch {
		ids[i] = o.member
	}
	rctx, cancel := context.WithTimeout(ctx, b.e.rules.Load().TeamsTimeout)
	defer cancel()
	b.e.metrics.reads.Add(float64(len(ids)))
	shown, err := b.e.cfg.Teams.Read(rctx, ids)
	if err != nil {
		b.e.log.Warn("confirming read of teams failed, it stays owed", "members", len(ids), "error", err)
	}
	for _, o := range batch {
		if p, ok := shown[o.member]; ok {
			b.e.post(ctx, o.member, TeamsRead{Pair: p.Pair, Epoch: o.epoch, Details: detailsOf(p)}, nil)
		} else {
			b.e.post(ctx, o.member, TeamsReadFailed{}, nil)
		}
	}
}
