package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"presencebridge/bridge/console/client/api"
)

// keepJobs is how many finished jobs are remembered.
const keepJobs = 100

// resyncsAtOnce is how many accounts a job over all of them works on at one time. Each has budgets of
// its own, but they share the CPUs.
const resyncsAtOnce = 4

// errClosing says that the bridge is being stopped.
var errClosing = errors.New("the bridge is being stopped")

// jobs runs resyncs, each in a goroutine that close waits for. Of two jobs whose scopes overlap only
// one runs.
type jobs struct {
	backend Backend
	log     *slog.Logger
	running sync.WaitGroup

	mu     sync.Mutex // guards what follows, and what is in each job
	closed bool
	byID   map[string]*job
	order  []string // ids, oldest first
}

// job is one resync. jobs.mu guards it.
type job struct {
	view     api.Job
	accounts map[string]Progress // how far each account has come; Changed is not kept here
	changed  []api.Change
	news     chan struct{} // closed and replaced with every change
	cancel   context.CancelFunc
}

func newJobs(backend Backend, log *slog.Logger) *jobs {
	return &jobs{backend: backend, log: log, byID: map[string]*job{}}
}

// start begins a resync of a scope: of one member, or of everybody in accounts. If a running job
// overlaps, it is returned instead with started false. The job outlives ctx.
func (s *jobs) start(ctx context.Context, scope api.Scope, accounts []string) (view api.Job, started bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return api.Job{}, false, errClosing
	}
	for _, id := range s.order {
		if j := s.byID[id]; j.view.Running() && j.view.Scope.Overlaps(scope) {
			return j.snapshot(), false, nil
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	j := &job{accounts: map[string]Progress{}, news: make(chan struct{}), cancel: cancel,
		view: api.Job{ID: rand.Text(), Scope: scope, State: api.JobRunning, Revision: 1, StartedAt: time.Now().UTC()}}
	s.byID[j.view.ID] = j
	s.order = append(s.order, j.view.ID)
	s.forget()
	s.log.Info("resync started", "job", j.view.ID, "account", scope.Account, "member", scope.Member)
	s.running.Go(func() { s.run(ctx, j, scope, accounts) })
	return j.snapshot(), true, nil
}

// forget drops the oldest finished jobs beyond keepJobs.
func (s *jobs) forget() {
	finished := len(s.order) - keepJobs
	s.order = slices.DeleteFunc(s.order, func(id string) bool {
		if finished <= 0 || s.byID[id].view.Running() {
			return false
		}
		finished--
		delete(s.byID, id)
		return true
	})
}

// run works through the accounts. One that fails does not keep the others from being done.
func (s *jobs) run(ctx context.Context, j *job, scope api.Scope, accounts []string) {
	defer j.cancel()
	errs := make([]error, len(accounts))
	var group errgroup.Group
	group.SetLimit(resyncsAtOnce)
	for i, account := range accounts {
		group.Go(func() error {
			err := s.backend.Resync(ctx, account, scope.Member, func(p Progress) { s.report(j, account, p) })
			if err != nil {
				errs[i] = fmt.Errorf("account %s: %w", account, err)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	s.finish(j, errors.Join(errs...), ctx.Err() != nil)
}

// report takes in how far one account has come. A report without news wakes nobody.
func (s *jobs) report(j *job, account string, p Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, told := j.accounts[account]; told && len(p.Changed) == 0 && p.Done == last.Done && p.Total == last.Total {
		return
	}
	j.view.ChangedCount += len(p.Changed)
	if room := api.MaxChanges - len(j.changed); room > 0 {
		j.changed = append(j.changed, p.Changed[:min(room, len(p.Changed))]...)
	}
	p.Changed = nil
	j.accounts[account] = p
	j.view.Done, j.view.Total = 0, 0
	for _, p := range j.accounts {
		j.view.Done += p.Done
		j.view.Total += p.Total
	}
	j.touch()
}

func (s *jobs) finish(j *job, err error, stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.view.State = api.JobDone
	switch {
	case err != nil && stopped:
		j.view.State, j.view.Error = api.JobStopped, errClosing.Error()
	case err != nil:
		j.view.State, j.view.Error = api.JobFailed, err.Error()
	}
	j.view.FinishedAt = time.Now().UTC()
	j.view.Changed = j.changed
	j.touch()
	s.log.Info("resync finished", "job", j.view.ID, "state", j.view.State, "members", j.view.Done, "changed", j.view.ChangedCount, "error", err)
}

// touch lets those know who wait for news.
func (j *job) touch() {
	j.view.Revision++
	close(j.news)
	j.news = make(chan struct{})
}

func (j *job) snapshot() api.Job {
	v := j.view
	v.Changed = list(v.Changed)
	return v
}

// get returns a job once it has changed since revision, or has finished, or when stop is closed, whichever
// comes first.
func (s *jobs) get(ctx context.Context, id string, revision uint64, wait time.Duration, stop <-chan struct{}) (api.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		s.mu.Lock()
		j := s.byID[id]
		if j == nil {
			s.mu.Unlock()
			return api.Job{}, NotFound("there is no job %s; finished ones are forgotten after a while, and when the bridge is restarted", id)
		}
		view, news := j.snapshot(), j.news
		s.mu.Unlock()
		if wait == 0 || !view.Running() || view.Revision > revision {
			return view, nil
		}
		select {
		case <-news:
		case <-stop:
			return view, nil
		case <-ctx.Done():
			return view, nil
		}
	}
}

// all returns the jobs that are remembered, newest first, without their changes.
func (s *jobs) all() []api.Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]api.Job, 0, len(s.order))
	for _, id := range slices.Backward(s.order) {
		v := s.byID[id].snapshot()
		v.Changed = []api.Change{}
		out = append(out, v)
	}
	return out
}

// close stops every job and waits for it. No job starts afterwards.
func (s *jobs) close() {
	s.mu.Lock()
	s.closed = true
	for _, j := range s.byID {
		j.cancel()
	}
	s.mu.Unlock()
	s.running.Wait()
}
