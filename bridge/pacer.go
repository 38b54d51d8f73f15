package bridge

import (
	"context"
	"sync"

	"golang.org/x/time/rate"
)

// pacer is one side's write budget (R13). A write that finds budget left goes at once; the others wait here by
// member, and ask again with the state they then have, so that a storm writes last states only.
type pacer struct {
	limiter *rate.Limiter
	current func() rate.Limit // nil: the limit never changes
	wake    chan struct{}

	mu      sync.Mutex
	waiting map[string]WriteKind
	queues  [3][]string // clears, sets, renewals (design section 6)
}

func newPacer(limit rate.Limit, burst int) *pacer {
	return &pacer{limiter: rate.NewLimiter(limit, burst), wake: make(chan struct{}, 1), waiting: map[string]WriteKind{}}
}

func priority(k WriteKind) int {
	switch k {
	case WriteClear:
		return 0
	case WriteRenew:
		return 2
	case WriteSet:
		return 1
	}
	return 1
}

// exhausted tells whether a write has to wait: no budget, or others who came first.
func (p *pacer) exhausted() bool {
	if p.current != nil {
		if l := p.current(); l != p.limiter.Limit() {
			p.limiter.SetLimit(l)
		}
	}
	p.mu.Lock()
	n := len(p.waiting)
	p.mu.Unlock()
	return n > 0 || p.limiter.Tokens() < 1
}

// spend takes one write from the budget, into debt if several owners found the same token.
func (p *pacer) spend() { p.limiter.Reserve() }

// await queues a member, once, at its most urgent.
func (p *pacer) await(member string, k WriteKind) {
	p.mu.Lock()
	have, ok := p.waiting[member]
	if !ok || priority(k) < priority(have) {
		p.waiting[member] = k
		p.queues[priority(k)] = append(p.queues[priority(k)], member)
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// next takes the member whose turn it is.
func (p *pacer) next() (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.queues {
		for len(p.queues[i]) > 0 {
			m := p.queues[i][0]
			p.queues[i] = p.queues[i][1:]
			if k, ok := p.waiting[m]; ok && priority(k) == i {
				delete(p.waiting, m)
				return m, true
			}
		}
		p.queues[i] = nil
	}
	return "", false
}

func (p *pacer) length() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// run grants writes as the budget allows.
func (p *pacer) run(ctx context.Context, grant func(member string)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.wake:
		}
		for p.length() > 0 {
			if err := p.limiter.Wait(ctx); err != nil {
				return err
			}
			if m, ok := p.next(); ok {
				grant(m)
			}
		}
	}
}
