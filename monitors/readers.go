package monitors

import (
	"context"
	"sync"
	"time"

	"presencebridge/bridge/presence"
)

// readers spreads the bulk reads over the account's applications: budgets are per application and tenant. Further
// applications need not have the permission to read (their monitors' sign-ins are enough to subscribe): one that is
// refused is left out for a while, and the first one reads in its place.
type readers struct {
	apps []Application

	mu    sync.Mutex
	next  int
	until []time.Time // when one that was refused is tried again
}

// refusedFor is how long an application is left out.
const refusedFor = 10 * time.Minute

// pick is the application whose turn it is.
func (r *readers) pick(now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range r.apps {
		at := r.next
		r.next = (r.next + 1) % len(r.apps)
		if !now.Before(r.until[at]) {
			return at
		}
	}
	return 0
}

func (r *readers) presences(ctx context.Context, ids []string) (map[string]presence.Shown, error) {
	at := r.pick(time.Now())
	shown, err := r.apps[at].Graph.Presences(ctx, ids)
	if err == nil || at == 0 {
		return shown, err
	}
	if kind := callError(err).Kind; kind != Consent && kind != Unauthorised {
		return shown, err
	}
	r.mu.Lock()
	r.until[at] = time.Now().Add(refusedFor)
	r.mu.Unlock()
	return r.apps[0].Graph.Presences(ctx, ids)
}
