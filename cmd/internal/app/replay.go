package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"presencebridge/bridge"
	"presencebridge/bridge/bus"
	"presencebridge/bridge/console"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/replay"
)

const (
	// replayTimeout is how long a replay may take.
	replayTimeout = time.Hour
	// replayPage is how many differences travel in one answer.
	replayPage = 500
	// replaysKept is how many finished ones are remembered.
	replaysKept = 4
	// replayMost is how many differences are listed at most.
	replayMost = 200_000
	// replayAtATime is how many members' days are in memory together: the records are read once for so many.
	replayAtATime = 5000
	// replayPoll is how often a replay is asked how far it is.
	replayPoll = 100 * time.Millisecond
	// replaySilence is how long nothing is said at most: the admin listener gives up on an answer that stands still.
	replaySilence = 10 * time.Second
)

// replayState is how a replay stands, on its way to whoever ordered it.
type replayState struct {
	ID       string                 `json:"id"`
	Progress api.ReplayProgress     `json:"progress"`
	Found    []api.ReplayDifference `json:"found,omitempty"` // from the one asked for on
	Finished bool                   `json:"finished"`
	Summary  api.ReplaySummary      `json:"summary"`
	Error    string                 `json:"error,omitempty"`
}

// replays are the replays of one account, one at a time. They belong to its owner; an administrator's console only asks.
type replays struct {
	a     *account
	queue chan *replayJob

	mu   sync.Mutex
	all  map[string]*replayJob
	ends []string // ids of finished ones, oldest first
}

// replayJob is one replay. state and found are guarded by replays.mu.
type replayJob struct {
	policy *policy.Policy
	since  time.Time
	ctx    context.Context
	cancel context.CancelFunc

	state replayState
	found []api.ReplayDifference
}

func newReplays(a *account) *replays {
	return &replays{a: a, queue: make(chan *replayJob, 4), all: map[string]*replayJob{}}
}

// run carries replays out, one after the other, until ctx ends.
func (r *replays) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case job := <-r.queue:
			r.carryOut(ctx, job)
		}
	}
}

func (r *replays) start(in api.ReplayRequest) (*replayState, error) {
	history := r.a.app.opts.Config.History
	if history == 0 {
		return nil, fail("conflict", "nothing was recorded, because history is 0 in the configuration; set history to 24h, and replay a day later")
	}
	p, err := policy.ParseFile([]byte(in.Policy))
	if err != nil {
		return nil, fail("invalid", "%v", err)
	}
	job := &replayJob{policy: p, since: in.Since}
	if oldest := time.Now().Add(-history); job.since.Before(oldest) {
		if !in.Since.IsZero() {
			job.state.Summary.Remarks = append(job.state.Summary.Remarks, fmt.Sprintf("records are kept for %s (history), so the replay begins at %s", history, oldest.UTC().Format(time.RFC3339)))
		}
		job.since = oldest
	}
	job.state.ID = uuid.NewString()
	job.ctx, job.cancel = context.WithTimeout(context.Background(), replayTimeout)
	select {
	case r.queue <- job:
	default:
		job.cancel()
		return nil, fail("unavailable", "too many replays are waiting; wait for one to finish")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[job.state.ID] = job
	st := job.state
	return &st, nil
}

func (r *replays) carryOut(ctx context.Context, job *replayJob) {
	defer job.cancel()
	stop := context.AfterFunc(ctx, job.cancel)
	defer stop()
	err := r.replay(job)
	r.mu.Lock()
	defer r.mu.Unlock()
	job.state.Finished = true
	if err != nil {
		job.state.Error = err.Error()
	}
	r.ends = append(r.ends, job.state.ID)
	if len(r.ends) > replaysKept {
		delete(r.all, r.ends[0])
		r.ends = r.ends[1:]
	}
}

// replay goes through all members, so many at a time.
func (r *replays) replay(job *replayJob) error {
	rules := r.a.engine.CurrentRules()
	cfg := replay.Config{Rules: rules, From: job.since.UTC(), Until: time.Now().UTC()}
	ids := r.a.engine.MemberIDs()
	slices.Sort(ids)
	r.note(job, func(st *replayState) {
		st.Progress.Total = len(ids)
		st.Summary.Since, st.Summary.Until, st.Summary.Members = cfg.From, cfg.Until, len(ids)
		st.Summary.Remarks = append(st.Summary.Remarks, remarksOn(rules.Policy, job.policy)...)
	})
	for chunk := range slices.Chunk(ids, replayAtATime) {
		if err := r.replayMembers(job, cfg, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (r *replays) note(job *replayJob, f func(*replayState)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&job.state)
}

// remarksOn says what the records cannot tell about a policy.
func remarksOn(old, now *policy.Policy) (out []string) {
	known := old.GroupNames()
	for _, g := range now.GroupNames() {
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, g) }) {
			out = append(out, fmt.Sprintf("who is in the group %q is not known, because the present policy does not name it: what the new one says of it was not tried", g))
		}
	}
	if now.AsksForDetails() && !old.AsksForDetails() {
		out = append(out, "out of office and status messages of Teams were not recorded, because the present policy does not ask for them: what the new one makes of them was not tried")
	}
	return out
}

// day is what is being gathered of one member.
type day struct {
	view bridge.View
	m    replay.Member
	last map[string]bridge.Organic
}

func (r *replays) replayMembers(job *replayJob, cfg replay.Config, ids []string) error {
	days := make(map[string]*day, len(ids))
	for _, id := range ids {
		v, ok := r.a.engine.Find(id)
		if !ok {
			continue
		}
		days[id] = &day{view: v, m: replay.Member{ID: id, Endpoints: v.Member.Endpoints, Start: map[string]bridge.Organic{}}, last: map[string]bridge.Organic{}}
	}
	read := 0
	err := r.a.app.bus.Observations(job.ctx, r.a.name, cfg.From, func(o bus.Observation) error {
		if d := days[o.Member]; d != nil && !o.At.After(cfg.Until) {
			read++
			d.observe(o)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.note(job, func(st *replayState) { st.Summary.Observations += read })
	for _, id := range ids {
		if err := job.ctx.Err(); err != nil {
			return err
		}
		r.replayMember(job, cfg, days[id])
	}
	return nil
}

// observe takes what one observation says of the person's own.
func (d *day) observe(o bus.Observation) {
	var data bridge.Observation
	if err := json.Unmarshal(o.Data, &data); err != nil {
		return // another version's
	}
	last, seen := d.last[o.Side]
	if !seen {
		last = data.Organic
		if data.Before != nil {
			last = *data.Before
		}
		d.m.Start[o.Side] = last
	}
	d.last[o.Side] = data.Organic
	if last != data.Organic {
		d.m.Changes = append(d.m.Changes, replay.Change{At: o.At.UTC(), Side: o.Side, Own: data.Organic})
	}
}

func (r *replays) replayMember(job *replayJob, cfg replay.Config, d *day) {
	var diffs []replay.Difference
	if d != nil {
		// Of a side of which nothing was heard, all that time held what holds now.
		for side, own := range d.view.Record.Organics() {
			if _, heard := d.last[side]; !heard {
				d.m.Start[side] = own
			}
		}
		who := d.view.Member
		diffs = replay.Run(cfg, &d.m, cfg.Rules.Policy.For(who.Groups, who.OptOut), job.policy.For(who.Groups, who.OptOut))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	job.state.Progress.Done++
	if len(diffs) > 0 {
		job.state.Summary.Changed++
	}
	for _, x := range diffs {
		if len(job.found) == replayMost {
			if n := len(job.state.Summary.Remarks); n == 0 || !strings.HasPrefix(job.state.Summary.Remarks[n-1], "only the first") {
				job.state.Summary.Remarks = append(job.state.Summary.Remarks, fmt.Sprintf("only the first %d differences are listed", replayMost))
			}
			return
		}
		job.found = append(job.found, api.ReplayDifference{
			Member: d.m.ID, UPN: d.view.Member.UPN, Side: x.Side, From: x.From.UTC(), Until: x.Until.UTC(), Old: x.Old, New: x.New,
		})
	}
}

func (r *replays) state(id string, since int) (*replayState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	job := r.all[id]
	if job == nil {
		return nil, fail("not_found", "there is no replay %s: another replica may have taken the account over", id)
	}
	st := job.state
	st.Summary.Remarks = slices.Clone(st.Summary.Remarks)
	if since = max(since, 0); since < len(job.found) {
		st.Found = job.found[since:min(len(job.found), since+replayPage)]
	}
	return &st, nil
}

func (r *replays) stop(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if job := r.all[id]; job != nil {
		job.cancel()
	}
}

// ReplayPolicy implements console.Backend.
func (b *backend) ReplayPolicy(ctx context.Context, account string, in api.ReplayRequest, each func(api.ReplayItem) error) error {
	r, err := b.ask(ctx, account, command{Op: "replay", Replay: &in})
	if err != nil || r.Replay == nil {
		return err
	}
	err = b.followReplay(ctx, account, r.Replay.ID, each)
	if err != nil { // nobody reads on
		_, stopErr := b.ask(context.WithoutCancel(ctx), account, command{Op: "replay_stop", Key: r.Replay.ID})
		return errors.Join(err, stopErr)
	}
	return nil
}

// followReplay hands a replay on as it comes.
func (b *backend) followReplay(ctx context.Context, account, id string, each func(api.ReplayItem) error) error {
	told, done, spoke := 0, -1, time.Now()
	for {
		r, err := b.ask(ctx, account, command{Op: "replay_state", Key: id, Since: told})
		if err != nil || r.Replay == nil {
			return err
		}
		st := r.Replay
		for i := range st.Found {
			if err := each(api.ReplayItem{Difference: &st.Found[i]}); err != nil {
				return err
			}
		}
		told += len(st.Found)
		if st.Finished && len(st.Found) < replayPage {
			if st.Error != "" {
				return console.Unavailable("%s", st.Error)
			}
			return each(api.ReplayItem{Summary: &st.Summary})
		}
		if st.Progress.Done != done || len(st.Found) > 0 || time.Since(spoke) > replaySilence {
			done, spoke = st.Progress.Done, time.Now()
			if err := each(api.ReplayItem{Progress: &st.Progress}); err != nil {
				return err
			}
		}
		if len(st.Found) == replayPage {
			continue
		}
		timer := time.NewTimer(replayPoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}
