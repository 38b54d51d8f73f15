package bridge

import (
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// FuzzRecord: whatever the store holds, the engine goes on, and comes to rest.
func FuzzRecord(f *testing.F) {
	w := newWorld(f, trustedPBX)
	w.introduce()
	w.setLine(presence.LineInCall)
	w.drain()
	f.Add(mustJSON(&w.rec))
	f.Add([]byte(`{"member":"m","endpoints":[{"id":{"pbx":"main","user":"101"},"assertion":{"phase":"withdrawing"},"write":{"id":1}}]}`))
	f.Add([]byte(`{"teams":{"assertion":{},"write":{"kind":"renew"},"withdrawn":[{},{}],"purge":true},"endpoints":[{},{"leaving":true}]}`))
	f.Add([]byte(`{"teams":{"write":{"kind":"set"},"woken_owed":true},"excluded":true}`))
	f.Add([]byte(`{"teams":{"assertion":null,"write":{"kind":"odd"},"timers":{"forget":"2026-11-02T09:00:00Z"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := decodeRecord(data)
		if err != nil {
			return
		}
		for _, s := range []sort{trustedPBX, documentPBX} {
			comesToRest(t, rec, s)
		}
	})
}

// comesToRest carries a record on among services that answer, until it asks for nothing but renewals.
func comesToRest(t *testing.T, rec Record, s sort) {
	t.Helper()
	rules := testRules(s)
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	ep := presence.EndpointID{PBX: "main", User: "101"}
	phone := pbx.State{Line: presence.LineIdle, Status: statusAvailable, Version: 1, ChangedBy: pbx.AuthorUser}
	queue := []Event{Recovered{}, MemberChanged{Endpoints: []presence.EndpointID{ep}}, EndpointSnapshot{Endpoint: ep, State: phone}}
	for range 400 {
		if len(queue) == 0 {
			ref, due, ok := rec.NextTimer()
			if !ok || (rec.Settled() && ref.Kind == TimerForget) {
				return
			}
			if due.After(now) {
				now = due
			}
			queue = append(queue, TimerFired{Timer: ref})
		}
		e := queue[0]
		queue = queue[1:]
		var effects []Effect
		rec, effects = Step(rules, rec, e, now)
		for _, eff := range effects {
			switch eff := eff.(type) {
			case SetTeams:
				queue = append(queue, TeamsAnswered{ID: eff.ID})
			case ClearTeams:
				queue = append(queue, TeamsAnswered{ID: eff.ID})
			case ReadTeams:
				queue = append(queue, TeamsRead{Pair: available, Epoch: eff.Epoch})
			case ApplyEndpoint:
				if s == trustedPBX {
					phone.Status, phone.Version, phone.ChangedBy = eff.Write.Status, phone.Version+1, pbx.AuthorSelf
				}
				queue = append(queue, EndpointAnswered{Endpoint: eff.Endpoint, ID: eff.ID, State: phone})
			case ReadEndpoint:
				queue = append(queue, EndpointRead{Endpoint: eff.Endpoint, State: phone, Epoch: eff.Epoch})
			}
		}
	}
	if !rec.Settled() {
		t.Fatalf("no rest from %s", mustJSON(&rec))
	}
}

// A timer that waited behind a store and was set anew meanwhile is not due.
func TestDue(t *testing.T) {
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	id := presence.EndpointID{PBX: "main", User: "1"}
	r := Record{Endpoints: []EndpointSide{{ID: id, Timers: EndpointTimers{Hold: now}}}}
	r.Teams.Timers.Settle = now.Add(time.Second)
	assert.False(t, r.due(TimerRef{Kind: TimerSettle}, now))
	assert.True(t, r.due(TimerRef{Kind: TimerSettle}, now.Add(time.Second)))
	assert.True(t, r.due(TimerRef{Kind: TimerHold, Endpoint: id}, now))
	assert.False(t, r.due(TimerRef{Kind: TimerSettle, Endpoint: id}, now), "not pending")
	assert.False(t, r.due(TimerRef{Kind: TimerRenew, Endpoint: id}, now), "an endpoint has none")
	assert.False(t, r.due(TimerRef{Kind: TimerHold, Endpoint: presence.EndpointID{PBX: "x"}}, now))
	ref, due, ok := r.NextTimer()
	assert.Equal(t, TimerRef{Kind: TimerHold, Endpoint: id}, ref)
	assert.Equal(t, now, due)
	assert.True(t, ok)
	// One that is not pending means nothing, whoever it names.
	for _, ref := range []TimerRef{{Kind: TimerHold}, {Kind: 99}, {Kind: TimerRenew, Endpoint: id}, {Kind: 99, Endpoint: id}} {
		next, _ := Step(testRules(trustedPBX), r, TimerFired{Timer: ref}, now)
		assert.Equal(t, r.Teams.Timers.Settle, next.Teams.Timers.Settle)
	}
}

// A member costs what the budget of 20,000 members allows.
func TestARecordIsSmall(t *testing.T) {
	assert.LessOrEqual(t, int(unsafe.Sizeof(Record{})), 900)
	assert.LessOrEqual(t, int(unsafe.Sizeof(EndpointSide{})), 560)
}

func TestMarks(t *testing.T) {
	assert.True(t, Mark{Seq: 2}.After(Mark{Seq: 1, Item: 9}))
	assert.True(t, Mark{Seq: 1, Item: 2}.After(Mark{Seq: 1, Item: 1}))
	assert.False(t, Mark{Seq: 1, Item: 1}.After(Mark{Seq: 1, Item: 1}))
}
