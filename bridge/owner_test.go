package bridge

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// An engine that may not act any more has stored its intent and sends nothing: the intent is waited out.
func TestNothingIsWrittenByWhoMayNot(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		var aside atomic.Bool
		b.cfg.MayWrite = func() bool { return !aside.Load() }
		b.start(2)
		aside.Store(true)
		b.person("m0", "DoNotDisturb")
		b.line("1", presence.LineInCall)
		b.wait(10 * time.Second)
		assert.Empty(t, b.pbx.of("apply"))
		assert.Empty(t, b.teams.of("set"))
		aside.Store(false) // nobody had taken over
		b.wait(time.Minute)
		assert.Equal(t, "Do not disturb", b.status("0"))
		assert.Equal(t, "Busy/InACall", b.session("m1"))
		assert.Len(t, b.pbx.of("apply"), 1)
		assert.Len(t, b.teams.of("set"), 1)
		aside.Store(true)
		b.line("1", presence.LineIdle)
		b.wait(10 * time.Second)
		assert.Empty(t, b.teams.of("clear"))
	})
}

// A failed compare-and-set by an owner that is one no more ends in nothing: neither a write nor an acknowledgement.
func TestTwoOwnersDoNotFight(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		var answer atomic.Pointer[error]
		var asked atomic.Int32
		b.cfg.Confirm = func(context.Context) error {
			asked.Add(1)
			return *answer.Load()
		}
		unreachable := errors.New("nobody answers")
		answer.Store(&unreachable)
		b.start(1)
		foreign := func() {
			b.store.set(func(s *memStore) {
				r := s.records["m0"]
				s.records["m0"] = memRecord{data: r.data, revision: r.revision + 1}
			})
		}
		foreign()
		b.teams.set(func(m *memTeams) { m.own["m0"] = presence.ParsePairString("DoNotDisturb") })
		acked := b.push("m0", "DoNotDisturb")
		b.wait(5 * time.Second)
		assert.False(t, closed(acked), "nobody knows who owns it")
		assert.Greater(t, asked.Load(), int32(3), "asked again")
		yes := error(nil)
		answer.Store(&yes)
		b.wait(10 * time.Second)
		assert.True(t, closed(acked), "still ours: folded again")
		assert.Equal(t, "Do not disturb", b.status("0"))

		foreign()
		answer.Store(&ErrNotOwner)
		before := asked.Load()
		puts := b.store.puts
		acked = b.push("m0", "Busy/InACall")
		later := b.push("m0", "Available")
		b.wait(5 * time.Minute)
		assert.False(t, closed(acked) || closed(later))
		assert.Len(t, b.pbx.of("apply"), 1)
		assert.Equal(t, before+1, asked.Load())
		assert.LessOrEqual(t, b.store.puts, puts+1)
	})
}

// A stop lets what is under way be answered and stored, so that the next owner has nothing to wait out; it takes nothing
// new meanwhile.
func TestAnEndLeavesNothingUnderWay(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(2)
		b.teams.set(func(m *memTeams) { m.takes = time.Second })
		b.line("0", presence.LineInCall)
		b.wait(500 * time.Millisecond)
		require.Len(t, b.teams.of("set"), 1)
		began := time.Now()
		b.halt()
		assert.InDelta(t, 500, time.Since(began).Milliseconds(), 20)
		rec, ok := b.store.record("m0")
		require.True(t, ok)
		assert.Nil(t, rec.Teams.Write, "answered and stored")
		require.NotNil(t, rec.Teams.Assertion)
		assert.Equal(t, PhaseStanding, rec.Teams.Assertion.Phase)
	})
}

// A store that does not answer holds an end up for its time only, and the retry of a store ends with the engine.
func TestAnEndIsBounded(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.store.set(func(s *memStore) { s.refuse = func(string) error { return errors.New("no quorum") } })
		b.line("0", presence.LineInCall)
		b.wait(5500 * time.Millisecond)
		began := time.Now()
		b.halt()
		assert.Equal(t, 2*time.Second, time.Since(began))
		puts := b.store.puts
		b.wait(time.Minute)
		assert.Equal(t, puts, b.store.puts)
	})
}

// A timer that is due while an engine ends is the next owner's, and keeps nobody busy.
func TestAnEndWithTimersDue(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(2)
		b.line("1", presence.LineInCall)
		b.wait(4 * time.Second)
		rec, _ := b.store.record("m1")
		_, due, ok := rec.NextTimer()
		require.True(t, ok)
		require.Less(t, time.Until(due), 2*time.Second, "Teams settles while the engine ends")
		b.teams.set(func(m *memTeams) { m.takes = 10 * time.Second })
		b.line("0", presence.LineInCall)
		b.wait(100 * time.Millisecond)
		began := time.Now()
		b.halt()
		assert.LessOrEqual(t, time.Since(began), 10*time.Second)
	})
}

// What a PBX tells while the store refuses is kept as the latest state of each endpoint.
func TestWhatWaitsBehindAStoreIsBounded(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.store.set(func(s *memStore) { s.refuse = func(string) error { return errors.New("no quorum") } })
		b.line("0", presence.LineInCall)
		for i := range 1000 {
			line := presence.LineIdle
			if i%2 == 1 {
				line = presence.LineInCall
			}
			b.pbx.change("0", true, func(st *pbx.State) { st.Line = line })
		}
		b.pbx.change("0", true, func(st *pbx.State) { st.Line = presence.LineIdle })
		b.wait(time.Second)
		l := b.engine.loopOf("m0")
		l.mu.Lock()
		waiting := len(l.cells["m0"].waiting)
		l.mu.Unlock()
		assert.LessOrEqual(t, waiting, 2)
		b.store.set(func(s *memStore) { s.refuse = nil })
		b.wait(time.Minute)
		rec, _ := b.store.record("m0")
		assert.Equal(t, presence.LineIdle, rec.Endpoints[0].Line, "the latest wins")
		assert.Nil(t, rec.Teams.Assertion)
	})
}

// A stream that was made anew counts from one: its pushes are news all the same.
func TestAnotherStreamIsAnotherOrder(t *testing.T) {
	old, anew := Mark{Stream: 1, Seq: 1000, Item: 3}, Mark{Stream: 2, Seq: 1}
	assert.True(t, anew.After(old))
	assert.False(t, Mark{Stream: 1, Seq: 999}.After(old))
	assert.True(t, Mark{Stream: 1, Seq: 1000, Item: 4}.After(old))
	assert.True(t, Mark{Stream: 1, Seq: 1}.After(Mark{Seq: 1000}), "a mark from before streams were told apart")
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		push := func(m Mark, pair string) {
			b.teams.set(func(mt *memTeams) { mt.own["m0"] = presence.ParsePairString(pair) })
			b.engine.Push(t.Context(), []Push{{Member: "m0", Pair: presence.ParsePairString(pair), Mark: m}}, func() {})
			b.wait(10 * time.Second)
		}
		push(Mark{Stream: 7, Seq: 5000}, "DoNotDisturb")
		assert.Equal(t, "Do not disturb", b.status("0"))
		push(Mark{Stream: 8, Seq: 2}, "Busy/InACall")
		assert.Equal(t, "In a call", b.status("0"))
		push(Mark{Stream: 8, Seq: 1}, "DoNotDisturb")
		assert.Equal(t, "In a call", b.status("0"), "older, in the new order")
	})
}
