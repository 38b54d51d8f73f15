package graph

import (
	"context"
	"sync"
	"time"
)

// Readers spreads the reads of presence over the applications of an account: budgets are per application and tenant
// (learn:throttling-limits), and what is read does not depend on who asks. Each read goes to the application that can
// send it soonest, within its own budget and pauses, and among equals to each in turn.
//
// Applications beside the first need not have the permission to read, since a monitor's sign-in is enough to subscribe: one
// that is refused is left out for a while, and the first one reads in its place. It is safe for concurrent use.
type Readers struct {
	clients []*Client

	mu    sync.Mutex
	next  int
	until []time.Time // when one that was refused is tried again
	reads []int       // under way: many come at the same moment, before any of them waits at a gate
}

// refusedFor is how long an application is left out. Permissions are granted by people, who look at the clock meanwhile.
const refusedFor = 10 * time.Minute

// NewReaders makes one of the account's clients, the first application's first.
func NewReaders(first *Client, more ...*Client) *Readers {
	return &Readers{clients: append([]*Client{first}, more...), until: make([]time.Time, 1+len(more)), reads: make([]int, 1+len(more))}
}

// Presences is [Client.Presences] of one of the applications.
func (r *Readers) Presences(ctx context.Context, ids []string) ([]Presence, error) {
	at := r.pick(readLane(ctx), time.Now())
	list, err := r.clients[at].Presences(ctx, ids)
	r.done(at)
	if at == 0 || !IsKind(err, ConsentMissing) && !IsKind(err, Unauthorised) {
		return list, err
	}
	r.leaveOut(at, err)
	return r.clients[0].Presences(ctx, ids)
}

// pick is the application for the next read.
func (r *Readers) pick(lane int, now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	best, least := 0, time.Duration(-1)
	for i := range r.clients {
		at := (r.next + i) % len(r.clients)
		if now.Before(r.until[at]) {
			continue
		}
		if wait := r.clients[at].gates[classRead].expect(lane, r.reads[at], now); least < 0 || wait < least {
			best, least = at, wait
		}
	}
	r.next = (best + 1) % len(r.clients)
	r.reads[best]++
	return best
}

func (r *Readers) done(at int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads[at]--
}

func (r *Readers) leaveOut(at int, err error) {
	r.mu.Lock()
	r.until[at] = time.Now().Add(refusedFor)
	r.mu.Unlock()
	c := r.clients[at]
	c.log.Warn("application may not read presence, the first one reads in its place; verify says what it lacks",
		"application", first(c.cfg.Application, "1"), "try_again_in", refusedFor, "error", err)
}
