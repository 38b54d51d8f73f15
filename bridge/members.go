package bridge

import (
	"context"
	"slices"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// SetMembers says who the account's members are. Whoever is missing left: what we asserted for them is
// withdrawn, then their record goes. An endpoint that moves to somebody else is given back first.
func (e *Engine) SetMembers(ctx context.Context, members []Member) {
	now := make(map[string]Member, len(members))
	for _, m := range members {
		now[m.ID] = m
	}
	if !e.tell(ctx) {
		return
	}
	defer e.told()
	changes := e.changeMembers(now)
	for member, change := range changes {
		e.introduce(ctx, member, change)
	}
}

// tell waits for its turn to work out changes and to post them: a change holds all of a member's endpoints, so an older one
// that arrived after a newer one would take away what that one gave. False: ctx ended. Afterwards call told.
func (e *Engine) tell(ctx context.Context) bool {
	select {
	case e.telling <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (e *Engine) told() { <-e.telling }

// changeMembers works out what changes for whom.
func (e *Engine) changeMembers(now map[string]Member) map[string]MemberChanged {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.members
	e.members = now
	changes := map[string]MemberChanged{}
	for id, m := range now {
		was, ok := before[id]
		if ok && was.Excluded == m.Excluded && was.OptOut == m.OptOut && slices.Equal(was.Groups, m.Groups) && slices.Equal(was.Endpoints, m.Endpoints) {
			continue
		}
		changes[id] = e.changeOf(&m, e.takeEndpoints(m))
	}
	for id := range before {
		if _, ok := now[id]; !ok {
			changes[id] = MemberChanged{Excluded: true}
		}
	}
	// Records of a former life whose members are gone.
	for _, l := range e.loops {
		l.mu.Lock()
		for id := range l.cells {
			if _, ok := now[id]; !ok {
				changes[id] = MemberChanged{Excluded: true}
			}
		}
		l.mu.Unlock()
	}
	return changes
}

// policyOf is the policy that applies to a member. Members in the same groups share it.
func (e *Engine) policyOf(m *Member) *policy.Policy {
	return e.rules.Load().Policy.For(m.Groups, m.OptOut)
}

// changeOf is what a member's record is told of them.
func (e *Engine) changeOf(m *Member, endpoints []presence.EndpointID) MemberChanged {
	p := e.policyOf(m)
	return MemberChanged{Excluded: m.Excluded || p.OptOut == presence.BothDirections, Endpoints: endpoints, Policy: p}
}

// takeEndpoints gives a member those endpoints that nobody else's record holds; the others follow when they are
// let go. Call with e.mu held.
func (e *Engine) takeEndpoints(m Member) []presence.EndpointID {
	var own []presence.EndpointID
	for _, id := range m.Endpoints {
		owner, taken := e.owners[id]
		if taken && owner != m.ID {
			e.moving[id] = m.ID
			continue
		}
		e.owners[id] = m.ID
		own = append(own, id)
	}
	return own
}

// introduce tells a member's owner, and has the PBXs of its endpoints read through. What they showed before may be what was
// written there for whoever had them before, or for the member until it opted out: where a PBX does not say who wrote, it
// would be taken for the member's choice, and what was given back since for another one.
func (e *Engine) introduce(ctx context.Context, member string, change MemberChanged) {
	e.post(ctx, member, change, nil)
	for _, id := range change.Endpoints {
		if f := e.feeds[id.PBX]; f != nil {
			f.requestSnapshot()
		}
	}
}

// introduction is what a record has to be told that was read anew from the store: whose endpoints these are by now, and
// what they last showed.
func (e *Engine) introduction(member string) []envelope {
	e.mu.Lock()
	m, ok := e.members[member]
	change := e.changeOf(&m, nil)
	for _, id := range m.Endpoints {
		if e.owners[id] == member {
			change.Endpoints = append(change.Endpoints, id)
		}
	}
	e.mu.Unlock()
	if !ok {
		return nil
	}
	out := []envelope{{member: member, event: change}}
	for _, id := range change.Endpoints {
		if f := e.feeds[id.PBX]; f != nil {
			if st, known := f.lastKnown(id.User); known {
				out = append(out, envelope{member: member, event: EndpointSnapshot{Endpoint: id, State: st}})
			}
		}
	}
	return out
}

// endpointsReleased passes on the endpoints that a record let go. It runs in the loop of the member that let go,
// so it must not wait for another one.
func (e *Engine) endpointsReleased(member string, was, next *Record) {
	var moves []string
	e.mu.Lock()
	for i := range was.Endpoints {
		id := was.Endpoints[i].ID
		if next.Endpoint(id) != nil || e.owners[id] != member || e.getsBack(member, id) {
			continue
		}
		delete(e.owners, id)
		if to, ok := e.moving[id]; ok {
			delete(e.moving, id)
			moves = append(moves, to)
		}
	}
	e.mu.Unlock()
	for _, to := range moves {
		e.request(func(ctx context.Context) {
			if !e.tell(ctx) {
				return
			}
			defer e.told()
			e.mu.Lock()
			m, ok := e.members[to]
			var change MemberChanged
			if ok {
				change = e.changeOf(&m, e.takeEndpoints(m))
			}
			e.mu.Unlock()
			if ok {
				e.introduce(ctx, to, change)
			}
		})
	}
}

// getsBack tells whether an endpoint that the member's record let go has been given to it again since: then the change
// that says so is on its way. Call with e.mu held.
func (e *Engine) getsBack(member string, id presence.EndpointID) bool {
	m, ok := e.members[member]
	return ok && slices.Contains(m.Endpoints, id) && !e.changeOf(&m, nil).Excluded
}

func (e *Engine) ownerOf(id presence.EndpointID) (string, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m, ok := e.owners[id]
	return m, ok
}

func (e *Engine) endpointsOf(pbxName string) map[presence.EndpointID]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[presence.EndpointID]string{}
	for id, m := range e.owners {
		if id.PBX == pbxName {
			out[id] = m
		}
	}
	return out
}

func (e *Engine) endpointEpoch(member string, id presence.EndpointID) uint32 {
	l := e.loopOf(member)
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.cells[member]; c != nil {
		return c.rec.EndpointEpoch(id)
	}
	return 0
}

func (e *Engine) endpointEpochs(pbxName string) map[presence.EndpointID]uint32 {
	out := map[presence.EndpointID]uint32{}
	for id, member := range e.endpointsOf(pbxName) {
		out[id] = e.endpointEpoch(member, id)
	}
	return out
}
