package graphsim

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

func (l *lane) ring() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run works the lane off until the context ends.
func (l *lane) run(ctx context.Context) {
	for {
		for parcel := l.next(); parcel != nil; parcel = l.next() {
			l.deliver(ctx, parcel)
			if ctx.Err() != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
	}
}

// next is the next parcel to send: a retry that is due, or fresh items packed together.
func (l *lane) next() *parcel {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.retries) > 0 {
		p := l.retries[0]
		l.retries = l.retries[1:]
		return p
	}
	if len(l.fresh) == 0 {
		return nil
	}
	n := min(len(l.fresh), l.post.sim.cfg.Delivery.MaxBatch)
	p := &parcel{items: l.fresh[:n:n], first: time.Now()}
	l.fresh = l.fresh[n:]
	return p
}

// deliver sends a parcel, and sees to it that it is sent again when that fails.
func (l *lane) deliver(ctx context.Context, p *parcel) {
	p.items = l.post.deliverable(p.items, p.attempts == 0)
	if len(p.items) == 0 {
		return
	}
	if p.body == nil {
		body, err := l.post.encode(p.items)
		if err != nil {
			l.post.sim.log.Error("could not encode notifications", "error", err)
			l.post.discard(p.items)
			return
		}
		p.body = body
	}
	began := time.Now()
	ok := l.attempt(ctx, p)
	l.endpoint.state.answered(time.Since(began), time.Now())
	if ok && l.post.sim.cruelty.post.hit(l.post.sim.cruelty.faults().AckLost) {
		ok = false
	}
	l.post.outcome(p, ok)
	if !ok && ctx.Err() == nil {
		l.again(p)
	}
}

// attempt makes one request.
func (l *lane) attempt(ctx context.Context, p *parcel) bool {
	timeout := firstTimeout
	if p.attempts > 0 {
		timeout = retryTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.endpoint.url, bytes.NewReader(p.body))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	resp, err := l.post.client.Do(req)
	if err != nil {
		l.post.sim.log.Debug("notification not delivered", "error", err)
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	return resp.StatusCode/100 == 2
}

// again has the parcel sent once more after a wait that doubles, up to RetryFor after the first.
func (l *lane) again(p *parcel) {
	d := l.post.sim.cfg.Delivery
	wait := min(maxRetryWait, d.RetryFirst<<min(p.attempts, 20))
	p.attempts++
	if time.Since(p.first)+wait > d.RetryFor {
		l.post.discard(p.items)
		return
	}
	l.post.sim.agenda.after(wait, func() {
		l.mu.Lock()
		l.retries = append(l.retries, p)
		l.mu.Unlock()
		l.ring()
	})
}
