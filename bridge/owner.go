package bridge

import (
	"context"
	"errors"
	"time"
)

// An engine that shares its account's records with other processes (several replicas) writes only while it may, and
// stops in an order that leaves nothing under way.

// ErrNotOwner is what [Config].Confirm answers when another process runs the account.
var ErrNotOwner = errors.New("bridge: another replica runs this account")

// errStoodAside is the answer to a write that was not sent. As far as R6 goes it is unanswered.
var errStoodAside = errors.New("this replica may not act for the account at the moment")

// mayWrite tells whether a request that changes something may leave now.
func (e *Engine) mayWrite() bool { return e.cfg.MayWrite == nil || e.cfg.MayWrite() }

// confirm asks after a failed compare-and-set whether the account is still this process's. One answer serves every
// conflict that came before it was asked for.
func (l *loop) confirm(ctx context.Context, conflict time.Time) error {
	if l.e.cfg.Confirm == nil || l.confirmed.After(conflict) {
		return nil
	}
	began := time.Now()
	if err := l.e.cfg.Confirm(ctx); err != nil {
		return err
	}
	l.confirmed = began
	return nil
}

// endPoll is how often an ending engine looks whether all is done.
const endPoll = 5 * time.Millisecond

// end lets what is under way finish: from now on only the answers to writes are folded. It returns when all are
// stored, or when the time for that is over; what is then still under way is for the next owner to wait out (R6).
func (e *Engine) end() {
	e.ending.Store(true)
	over := time.NewTimer(e.cfg.EndTime)
	defer over.Stop()
	ticker := time.NewTicker(endPoll)
	defer ticker.Stop()
	for e.underWay.Load() > 0 {
		select {
		case <-over.C:
			return
		case <-ticker.C:
		}
	}
}

// foldsAtEnd tells whether an ending engine still folds an event.
func foldsAtEnd(ev Event) bool {
	switch ev.(type) {
	case TeamsAnswered, EndpointAnswered:
		return true
	}
	return false
}

// writes tells whether an effect changes something outside.
func writes(effects []Effect) bool {
	for _, eff := range effects {
		switch eff.(type) {
		case SetTeams, ClearTeams, ApplyEndpoint:
			return true
		}
	}
	return false
}

// supersedes names what a waiting event is about, where a later one of the same says all that the earlier one did:
// the latest state wins (R11). What waits behind a store that does not answer is bounded by that, since events that
// somebody waits for are bounded by whoever waits.
func supersedes(ev Event) any {
	switch ev := ev.(type) {
	case EndpointSeen:
		return EndpointSeen{Endpoint: ev.Endpoint}
	case EndpointSnapshot:
		return EndpointSnapshot{Endpoint: ev.Endpoint}
	case EndpointUnseen:
		return ev
	case EndpointReadFailed:
		return ev
	case TeamsSwept:
		return TeamsSwept{}
	case TeamsUnseen, TeamsReadFailed, ReadAgain, Granted:
		return ev
	}
	return nil
}

// wait queues an event behind the member's store.
func (c *cell) wait(env envelope) {
	if about := supersedes(env.event); about != nil && env.done == nil {
		for i := range c.waiting {
			if c.waiting[i].done == nil && supersedes(c.waiting[i].event) == about {
				c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
				break
			}
		}
	}
	c.waiting = append(c.waiting, env)
}
