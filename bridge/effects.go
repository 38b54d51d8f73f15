package bridge

import (
	"context"
	"errors"
	"time"

	"presencebridge/bridge/pbx"
)

// carryOut lets an effect go. Requests run in goroutines of their own, which Run waits for; their answers come
// back as events.
func (l *loop) carryOut(c *cell, member string, eff Effect) {
	e := l.e
	switch eff := eff.(type) {
	case SetTeams:
		e.countWrite(TeamsSideName, eff.Cause, eff.Renewal)
		e.write(func(ctx context.Context, answered func()) { e.setTeams(ctx, member, eff, answered) })
	case ClearTeams:
		e.countWrite(TeamsSideName, eff.Cause, false)
		e.write(func(ctx context.Context, answered func()) { e.clearTeams(ctx, member, eff, answered) })
	case TeamsMessage:
		e.countWrite(TeamsSideName, Cause{}, false)
		e.request(func(ctx context.Context) { e.setMessage(ctx, member, eff) })
	case ReadTeams:
		e.reads.add(member, eff.Epoch)
	case ApplyEndpoint:
		e.countWrite(eff.Endpoint.PBX, eff.Cause, false)
		e.write(func(ctx context.Context, answered func()) { e.applyEndpoint(ctx, member, eff, answered) })
	case ReadEndpoint:
		e.request(func(ctx context.Context) { e.readEndpoint(ctx, member, eff) })
	case AwaitGrant:
		if p := e.pacers[eff.Side]; p != nil {
			p.await(member, eff.Kind)
		}
	case Withheld:
		e.metrics.withheld.WithLabelValues(eff.label()).Inc()
	case ForgetMember:
		l.forget(c, member)
	}
}

// request runs f unless the engine is stopping.
func (e *Engine) request(f func(context.Context)) {
	ctx := e.runContext()
	if ctx.Err() != nil {
		return
	}
	e.effects.Add(1)
	go func() {
		defer e.effects.Done()
		f(ctx)
	}()
}

// write runs f, which changes something outside. It may go on while the engine ends, until its answer is stored: then f's
// last argument is to be called.
func (e *Engine) write(f func(ctx context.Context, answered func())) {
	e.mu.Lock()
	ctx := e.working
	e.mu.Unlock()
	if ctx == nil {
		ctx = context.Background()
	}
	if ctx.Err() != nil {
		return
	}
	e.underWay.Add(1)
	e.effects.Add(1)
	go func() {
		defer e.effects.Done()
		f(ctx, func() { e.underWay.Add(-1) })
	}()
}

func (e *Engine) runContext() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil {
		return context.Background()
	}
	return e.ctx
}

func (e *Engine) setTeams(ctx context.Context, member string, eff SetTeams, answered func()) {
	rctx, cancel := context.WithTimeout(ctx, e.rules.Load().TeamsTimeout)
	defer cancel()
	err := errStoodAside
	if e.mayWrite() {
		err = e.setOnce(rctx, member, eff)
	}
	e.post(ctx, member, TeamsAnswered{ID: eff.ID, Outcome: e.teamsOutcome(member, "set", err)}, answered)
}

func (e *Engine) clearTeams(ctx context.Context, member string, eff ClearTeams, answered func()) {
	rctx, cancel := context.WithTimeout(ctx, e.rules.Load().TeamsTimeout)
	defer cancel()
	err := errStoodAside
	if e.mayWrite() {
		err = e.clearOnce(rctx, member, eff)
	}
	e.post(ctx, member, TeamsAnswered{ID: eff.ID, Outcome: e.teamsOutcome(member, "clear", err)}, answered)
}

func (e *Engine) setOnce(ctx context.Context, member string, eff SetTeams) error {
	if eff.Preferred {
		return e.cfg.Teams.SetPreferred(ctx, member, eff.Value, eff.Lease)
	}
	return e.cfg.Teams.Set(ctx, member, eff.Value, eff.Lease, eff.Renewal)
}

func (e *Engine) clearOnce(ctx context.Context, member string, eff ClearTeams) error {
	if !eff.Preferred.IsZero() {
		return e.cfg.Teams.ClearPreferred(ctx, member, eff.Preferred)
	}
	return e.cfg.Teams.Clear(ctx, member)
}

func (e *Engine) setMessage(ctx context.Context, member string, eff TeamsMessage) {
	rctx, cancel := context.WithTimeout(ctx, e.rules.Load().TeamsTimeout)
	defer cancel()
	err := errStoodAside
	if e.mayWrite() {
		err = e.cfg.Teams.SetMessage(rctx, member, eff.Text, eff.Ours, eff.Until)
	}
	if err != nil {
		e.log.Warn("status message of teams was not written, it is tried again at half of its time", "member", member, "error", err)
	}
}

// teamsOutcome: an error of whatever sort counts as unanswered (R6).
func (e *Engine) teamsOutcome(member, op string, err error) Outcome {
	if err == nil {
		e.metrics.answers.WithLabelValues(TeamsSideLabel, "answered").Inc()
		return Answered
	}
	e.metrics.answers.WithLabelValues(TeamsSideLabel, "unanswered").Inc()
	e.log.Warn("write to teams was not answered, it is waited out", "op", op, "member", member, "error", err)
	return Unanswered
}

func (e *Engine) applyEndpoint(ctx context.Context, member string, eff ApplyEndpoint, answered func()) {
	conn := e.cfg.PBX[eff.Endpoint.PBX].Connector
	rctx, cancel := context.WithTimeout(ctx, e.cfg.PBX[eff.Endpoint.PBX].Timeout)
	defer cancel()
	st, err := e.applyThrottled(rctx, conn, eff)
	outcome := pbxOutcome(err)
	e.metrics.answers.WithLabelValues(eff.Endpoint.PBX, outcome.String()).Inc()
	if outcome == Unanswered || outcome == Refused {
		e.log.Warn("write to the pbx was not answered, it is waited out", "pbx", eff.Endpoint.PBX, "member", member,
			"outcome", outcome.String(), "error", err)
	}
	e.post(ctx, member, EndpointAnswered{Endpoint: eff.Endpoint, ID: eff.ID, Outcome: outcome, State: st}, answered)
}

// applyThrottled repeats a write that the PBX asked to wait for, while the request's own time lasts: a throttled
// write did not land, and what is repeated is the same intent within the same deadline.
func (e *Engine) applyThrottled(ctx context.Context, conn pbx.Connector, eff ApplyEndpoint) (pbx.State, error) {
	for {
		if !e.mayWrite() {
			return pbx.State{}, errStoodAside
		}
		st, err := conn.Apply(ctx, eff.Endpoint.User, eff.Write)
		var pe *pbx.Error
		if !errors.As(err, &pe) || pe.Kind != pbx.Throttled {
			return st, err
		}
		wait := max(pe.RetryAfter, 100*time.Millisecond)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
			return st, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return st, err
		}
	}
}

// pbxOutcome is what R6 makes of a connector's error.
func pbxOutcome(err error) Outcome {
	if err == nil {
		return Answered
	}
	switch pbx.KindOf(err) {
	case pbx.Conflict:
		return Conflicted
	case pbx.Refused, pbx.Gone, pbx.Unauthorised:
		return Refused
	case pbx.Unanswered, pbx.Throttled:
		return Unanswered
	}
	return Unanswered
}

// String is the outcome as a metric label.
func (o Outcome) String() string {
	switch o {
	case Answered:
		return "answered"
	case Unanswered:
		return "unanswered"
	case Conflicted:
		return "conflict"
	case Refused:
		return "refused"
	}
	return "unknown"
}

func (e *Engine) readEndpoint(ctx context.Context, member string, eff ReadEndpoint) {
	p := e.cfg.PBX[eff.Endpoint.PBX]
	rctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	f := e.feeds[eff.Endpoint.PBX]
	if err := f.reads.Acquire(rctx, 1); err != nil {
		e.post(ctx, member, EndpointReadFailed{Endpoint: eff.Endpoint}, nil)
		return
	}
	defer f.reads.Release(1)
	st, err := p.Connector.Read(rctx, eff.Endpoint.User)
	if err != nil {
		e.log.Debug("read of an endpoint failed", "pbx", eff.Endpoint.PBX, "member", member, "error", err)
		e.post(ctx, member, EndpointReadFailed{Endpoint: eff.Endpoint}, nil)
		return
	}
	e.post(ctx, member, EndpointRead{Endpoint: eff.Endpoint, State: st, Epoch: eff.Epoch}, nil)
}

// forget drops the record of a member that left and holds nothing of ours.
func (l *loop) forget(c *cell, member string) {
	l.e.mu.Lock()
	_, back := l.e.members[member]
	l.e.mu.Unlock()
	if back || len(c.waiting) > 0 || l.cells[member] != c { // excluded, but still a member of the directory: the record stays, empty; or more to fold
		return
	}
	l.mu.Lock()
	delete(l.cells, member)
	l.e.changed(&c.rec, &Record{Member: member})
	waiters := c.settled
	c.settled = nil
	l.mu.Unlock()
	for _, w := range waiters {
		close(w)
	}
	if c.revision == 0 {
		return
	}
	revision := c.revision
	l.e.request(func(ctx context.Context) {
		if err := l.e.cfg.Store.Delete(ctx, member, revision); err != nil {
			l.e.log.Warn("record of a leaver was not deleted", "member", member, "error", err)
		}
	})
}
