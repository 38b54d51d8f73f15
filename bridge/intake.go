package bridge

import (
	"context"
	"sync/atomic"
	"time"

	"presencebridge/bridge/presence"
)

// Push is one observation that a change notification carried.
type Push struct {
	Member  string
	Pair    presence.Pair
	Mark    Mark
	Arrived time.Time // at the webhook
}

// Push folds the observations of one notification body, in their order. done is called once all are folded and
// stored: then the body may be acknowledged. It is not called when ctx ends first. Push blocks while the
// members' owners are behind: that is the back-pressure.
func (e *Engine) Push(ctx context.Context, ps []Push, done func()) {
	if len(ps) == 0 {
		done()
		return
	}
	var left atomic.Int64
	left.Store(int64(len(ps)))
	one := func() {
		if left.Add(-1) == 0 {
			done()
		}
	}
	for _, p := range ps {
		e.post(ctx, p.Member, TeamsPushed{Pair: p.Pair, Mark: p.Mark, Arrived: p.Arrived}, one)
	}
}

// SweepMark remembers the members' epochs from when a bulk read began.
type SweepMark struct{ epochs map[string]uint32 }

// BeginSweep is called before a bulk read of these members.
func (e *Engine) BeginSweep(ids []string) SweepMark {
	m := SweepMark{epochs: make(map[string]uint32, len(ids))}
	for _, id := range ids {
		l := e.loopOf(id)
		l.mu.Lock()
		if c := l.cells[id]; c != nil {
			m.epochs[id] = c.rec.TeamsEpoch()
		}
		l.mu.Unlock()
	}
	return m
}

// Swept compares what a bulk read showed with the records in memory; only contradictions are folded. It returns
// the members whose pair it contradicted: of the rest no notification tells.
func (e *Engine) Swept(ctx context.Context, m SweepMark, shown map[string]presence.Shown) []string {
	var contradicted []string
	for id, p := range shown {
		epoch, ok := m.epochs[id]
		differs, paired := e.contradicts(id, epoch, p)
		if !ok || !differs {
			continue
		}
		if paired {
			contradicted = append(contradicted, id)
		}
		e.post(ctx, id, TeamsSwept{Pair: p.Pair, Epoch: epoch, Details: detailsOf(p)}, nil)
	}
	return contradicted
}

func (e *Engine) contradicts(id string, epoch uint32, p presence.Shown) (differs, paired bool) {
	l := e.loopOf(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.cells[id]
	if c == nil || c.rec.Wiped || c.rec.TeamsEpoch() != epoch || c.rec.Teams.fenced() {
		return false, false
	}
	return c.rec.differs(p, e.rules.Load().Policy), c.rec.Teams.Shown != p.Pair
}

// OweReads has these members' Teams presence read directly: after a gap in the notifications.
func (e *Engine) OweReads(ctx context.Context, ids []string) {
	for _, id := range ids {
		e.post(ctx, id, ReadAgain{Teams: true}, nil)
	}
}

// TeamsUnseen says that Teams was not seen for a lease for these members (R4).
func (e *Engine) TeamsUnseen(ctx context.Context, ids []string) {
	for _, id := range ids {
		e.post(ctx, id, TeamsUnseen{}, nil)
	}
}

// Recover tells every loaded record that this process took it over. Call it once after Load, when Run is running.
func (e *Engine) Recover(ctx context.Context) {
	for _, l := range e.loops {
		l.mu.Lock()
		ids := make([]string, 0, len(l.cells))
		for id := range l.cells {
			ids = append(ids, id)
		}
		l.mu.Unlock()
		for _, id := range ids {
			e.post(ctx, id, Recovered{}, nil)
		}
	}
}
