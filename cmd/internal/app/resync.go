package app

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"presencebridge/bridge"
	"presencebridge/bridge/console/client/api"
)

const (
	// resyncTimeout is how long a resync may take: a write that stays unanswered is waited out first.
	resyncTimeout = 15 * time.Minute
	// resyncPage is how many changes travel in one answer.
	resyncPage = 500
	// resyncsKept is how many finished ones are remembered.
	resyncsKept = 32
)

// resyncState is how a resync stands, on its way to whoever ordered it.
type resyncState struct {
	ID       string       `json:"id"`
	Done     int          `json:"done"`
	Total    int          `json:"total"`
	Changed  []api.Change `json:"changed,omitempty"` // from the one asked for on
	Finished bool         `json:"finished"`
	Error    string       `json:"error,omitempty"`
}

// resyncs are the resyncs of one account. They belong to its owner; an administrator's console only asks.
type resyncs struct {
	a     *account
	queue chan *resync

	mu   sync.Mutex
	all  map[string]*resync
	ends []string // ids of finished ones, oldest first
}

type resync struct {
	id     string
	ids    []string
	cancel context.CancelFunc
	ctx    context.Context
	state  resyncState
	log    []api.Change
}

func newResyncs(a *account) *resyncs {
	return &resyncs{a: a, queue: make(chan *resync, 16), all: map[string]*resync{}}
}

// run carries resyncs out until ctx ends.
func (r *resyncs) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), g.Wait())
		case job := <-r.queue:
			g.Go(func() error {
				r.carryOut(ctx, job)
				return nil
			})
		}
	}
}

// start begins one for a member, or for all with "".
func (r *resyncs) start(key string) (*resyncState, error) {
	var ids []string
	if key == "" {
		ids = r.a.engine.MemberIDs()
		slices.Sort(ids)
	} else {
		who, err := r.a.lookUp(key)
		switch {
		case err != nil:
			return nil, err
		case who.unmatched != nil:
			return nil, fail("not_found", "the account %s has no member %q with a phone", r.a.name, key)
		}
		ids = []string{who.id}
	}
	job := &resync{id: uuid.NewString(), ids: ids}
	job.state = resyncState{ID: job.id, Total: len(ids)}
	job.ctx, job.cancel = context.WithTimeout(context.Background(), resyncTimeout)
	select {
	case r.queue <- job:
	default:
		job.cancel()
		return nil, fail("unavailable", "too many resyncs are under way; wait for one to finish")
	}
	r.mu.Lock()
	r.all[job.id] = job
	st := job.state
	r.mu.Unlock()
	return &st, nil
}

func (r *resyncs) carryOut(ctx context.Context, job *resync) {
	defer job.cancel()
	stop := context.AfterFunc(ctx, job.cancel)
	defer stop()
	err := r.a.engine.Resync(job.ctx, job.ids, func(done int, changes []bridge.Change) {
		r.mu.Lock()
		defer r.mu.Unlock()
		job.state.Done = done
		for _, c := range changes {
			job.log = append(job.log, r.change(c))
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	job.state.Finished = true
	if err != nil {
		job.state.Error = err.Error()
	}
	r.ends = append(r.ends, job.id)
	if len(r.ends) > resyncsKept {
		delete(r.all, r.ends[0])
		r.ends = r.ends[1:]
	}
}

func (r *resyncs) change(c bridge.Change) api.Change {
	out := api.Change{Account: r.a.name, Member: c.Member, Side: strings.ReplaceAll(c.Side, "/", "."), Before: c.From, After: c.To}
	for _, because := range c.Because {
		out.Reason = strings.TrimPrefix(out.Reason+", "+string(because), ", ")
	}
	if v, ok := r.a.engine.Find(c.Member); ok {
		out.UPN = v.Member.UPN
	}
	return out
}

func (r *resyncs) state(id string, since int) (*resyncState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	job := r.all[id]
	if job == nil {
		return nil, fail("not_found", "there is no resync %s: another replica may have taken the account over", id)
	}
	st := job.state
	if since < len(job.log) {
		st.Changed = job.log[max(since, 0):min(len(job.log), max(since, 0)+resyncPage)]
	}
	return &st, nil
}

func (r *resyncs) stop(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if job := r.all[id]; job != nil {
		job.cancel()
	}
}
