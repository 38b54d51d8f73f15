package bridge

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"presencebridge/bridge/presence"
)

// View is a member as an administrator sees them.
type View struct {
	Member Member
	Record Record
}

// Views lists the members in order of their ids, after one id, at most limit (0: all).
func (e *Engine) Views(after string, limit int) []View {
	e.mu.Lock()
	ids := slices.Sorted(maps.Keys(e.members))
	members := e.members
	e.mu.Unlock()
	start, _ := slices.BinarySearch(ids, after)
	if start < len(ids) && ids[start] == after {
		start++
	}
	ids = ids[start:]
	if limit > 0 && len(ids) > limit {
		ids = ids[:limit]
	}
	out := make([]View, 0, len(ids))
	for _, id := range ids {
		out = append(out, e.view(members[id]))
	}
	return out
}

func (e *Engine) view(m Member) View {
	l := e.loopOf(m.ID)
	l.mu.Lock()
	defer l.mu.Unlock()
	v := View{Member: m, Record: Record{Member: m.ID}}
	if c := l.cells[m.ID]; c != nil {
		v.Record = c.rec.Clone()
	}
	return v
}

// Find looks a member up by id, UPN or mail, whatever the casing.
func (e *Engine) Find(key string) (View, bool) {
	e.mu.Lock()
	m, ok := e.members[strings.ToLower(key)]
	if !ok {
		for _, x := range e.members {
			if strings.EqualFold(x.UPN, key) || strings.EqualFold(x.Mail, key) {
				m, ok = x, true
				break
			}
		}
	}
	e.mu.Unlock()
	if !ok {
		return View{}, false
	}
	return e.view(m), true
}

// Members lists who the members are, in no order.
func (e *Engine) Members() []Member {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Values(e.members))
}

// MemberCount is the number of members.
func (e *Engine) MemberCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.members)
}

// Change is something that a resync changed.
type Change struct {
	Member  string   `json:"member"`
	Side    string   `json:"side"`
	From    string   `json:"from"`
	To      string   `json:"to"`
	Because []Reason `json:"because,omitempty"`
}

// Resync reads both sides of these members in full and applies what follows (R11). progress is called with the
// number of members that are done and what changed for the last of them. It returns when every member is done or
// ctx ends.
func (e *Engine) Resync(ctx context.Context, ids []string, progress func(done int, changes []Change)) error {
	ids = slices.Clone(ids)
	before := make(map[string]View, len(ids)) // before anything is read: a listing changes members too
	for i, id := range ids {
		v, ok := e.Find(id)
		if !ok {
			return fmt.Errorf("resync: there is no member %q", id)
		}
		before[v.Member.ID] = v
		ids[i] = v.Member.ID
	}
	if len(ids) > 1 {
		if err := e.RefreshPBX(ctx); err != nil {
			e.log.Warn("resync goes on without a pbx that could not be read", "error", err)
		}
	}
	waits := make([]chan struct{}, len(ids))
	for i, id := range ids {
		waits[i] = e.settledAfter(ctx, id, ReadAgain{Teams: true, PBX: true, Anew: true})
	}
	for i, id := range ids {
		select {
		case <-waits[i]:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d members done: %w", i, len(ids), ctx.Err())
		}
		was := before[id]
		now := e.view(was.Member)
		progress(i+1, changesBetween(&was.Record, &now.Record))
	}
	return nil
}

// settledAfter posts an event and returns a channel that is closed once the member has settled afterwards.
func (e *Engine) settledAfter(ctx context.Context, member string, ev Event) chan struct{} {
	ch := make(chan struct{})
	var once sync.Once
	l := e.loopOf(member)
	e.post(ctx, member, ev, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		c := l.cells[member]
		if c == nil || c.rec.Settled() {
			once.Do(func() { close(ch) })
			return
		}
		c.settled = append(c.settled, ch)
	})
	return ch
}

// changesBetween lists what shows differently.
func changesBetween(was, now *Record) []Change {
	var out []Change
	if a, b := was.Teams.Shown, now.Teams.Shown; a != b {
		out = append(out, Change{Member: now.Member, Side: "teams", From: a.String(), To: b.String(), Because: now.Teams.Because})
	}
	for i := range now.Endpoints {
		ep := &now.Endpoints[i]
		old := was.Endpoint(ep.ID)
		if old == nil {
			old = &EndpointSide{}
		}
		if a, b := old.shown(), ep.shown(); a != b {
			out = append(out, Change{Member: now.Member, Side: "pbx." + ep.ID.String(), From: a, To: b, Because: ep.Because})
		}
	}
	return out
}

// shown is line and status as the endpoint shows them, as far as we know.
func (ep *EndpointSide) shown() string {
	if !ep.Seen {
		return "unknown"
	}
	return string(ep.Line) + ", " + ep.ShownStatus().String()
}

// ShownStatus is the status that the endpoint shows, as far as we know: ours while it stands.
func (ep *EndpointSide) ShownStatus() presence.Status {
	if ep.Assertion != nil {
		return ep.Assertion.Value
	}
	return ep.Status
}

// LastSeen is when a PBX was last heard of.
func (e *Engine) LastSeen(pbxName string) time.Time {
	f := e.feeds[pbxName]
	if f == nil || f.lastSeen.Load() == 0 {
		return time.Time{}
	}
	return time.Unix(0, f.lastSeen.Load()).UTC()
}

// MemberIDs lists the members.
func (e *Engine) MemberIDs() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.members))
}

// Context ends when the engine's run ends: for callers that have none of their own.
func (e *Engine) Context() context.Context { return e.runContext() }

// CurrentRules is what steps decide by at this moment. It must not be changed.
func (e *Engine) CurrentRules() *Rules { return e.rules.Load() }
