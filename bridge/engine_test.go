package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

func TestTheEngineBridgesBothWays(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, versionedPBX, documentPBX} {
		t.Run(string(s), func(t *testing.T) {
			inBench(t, s, func(t *testing.T, b *bench) {
				b.start(2)
				b.person("m0", "Busy/InACall")
				b.line("1", presence.LineInCall)
				b.wait(10 * time.Second)
				assert.Equal(t, "In a call", b.status("0"))
				assert.Equal(t, "Busy/InACall", b.session("m1"))
				b.person("m0", "Available")
				b.line("1", presence.LineIdle)
				b.wait(10 * time.Second)
				assert.Equal(t, "Available", b.status("0"))
				assert.Equal(t, "unknown", b.session("m1"))
				assert.Equal(t, "unknown", b.session("m0"), "nothing was ever asserted for m0")
			})
		})
	}
}

// R6: the intent is in the record before the request leaves, however long that takes; every test of this file checks
// the order with each request.
func TestNoRequestLeavesBeforeItsIntentIsStored(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.store.set(func(s *memStore) { s.delay = 700 * time.Millisecond })
		began := time.Now()
		b.line("0", presence.LineInCall)
		b.wait(600 * time.Millisecond)
		assert.Empty(t, b.teams.of("set"))
		b.wait(time.Second)
		sets := b.teams.of("set")
		require.Len(t, sets, 1)
		assert.Equal(t, 700*time.Millisecond, sets[0].at.Sub(began))
	})
}

func TestABodyIsAcknowledgedWhenItsRecordsAreStored(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(3)
		b.store.set(func(s *memStore) { s.delay = time.Second })
		acked := make(chan struct{})
		b.engine.Push(t.Context(), []Push{
			{Member: "m0", Pair: presence.ParsePairString("Busy/InACall"), Mark: Mark{Seq: 1}},
			{Member: "stranger", Pair: available, Mark: Mark{Seq: 1, Item: 1}},
			{Member: "m1", Pair: presence.ParsePairString("Away"), Mark: Mark{Seq: 1, Item: 2}},
		}, func() { close(acked) })
		b.wait(900 * time.Millisecond)
		assert.False(t, closed(acked))
		b.wait(200 * time.Millisecond)
		assert.True(t, closed(acked))
		none := make(chan struct{})
		b.engine.Push(t.Context(), nil, func() { close(none) })
		assert.True(t, closed(none), "a body without observations is done at once")
	})
}

// Never acknowledge after a failed compare-and-set: reload, and fold again.
func TestAConflictIsFoldedAgainBeforeTheBodyIsAcknowledged(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		other, ok := b.store.record("m0")
		require.True(t, ok)
		other.Teams.Shown, other.Teams.Organic = presence.ParsePairString("Away"), presence.ParsePairString("Away")
		b.store.set(func(s *memStore) {
			s.records["m0"] = memRecord{data: mustJSON(&other), revision: s.records["m0"].revision + 5}
			s.delay = 300 * time.Millisecond
		})
		b.teams.set(func(m *memTeams) { m.own["m0"] = presence.ParsePairString("DoNotDisturb") })
		acked := b.push("m0", "DoNotDisturb")
		b.wait(350 * time.Millisecond)
		assert.False(t, closed(acked), "the first store met a conflict")
		assert.Empty(t, b.pbx.of("apply"))
		b.wait(5 * time.Second)
		assert.True(t, closed(acked))
		assert.Equal(t, "Do not disturb", b.status("0"), "the endpoint is known again without waiting for the next listing")
		assert.InDelta(t, 1, b.counter("record_conflicts_total"), 0)
	})
}

func TestAConflictWithADeletedRecord(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.store.set(func(s *memStore) { delete(s.records, "m0") })
		b.person("m0", "DoNotDisturb")
		b.wait(5 * time.Second)
		assert.Equal(t, "Do not disturb", b.status("0"), "the member's endpoints are told to the new record")
	})
}

func TestAStoreThatIsDownLosesNothing(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(2)
		b.store.set(func(s *memStore) { s.refuse = func(string) error { return errors.New("no quorum") } })
		acked := b.push("m0", "DoNotDisturb")
		later := b.push("m0", "Busy/InACall")
		b.teams.set(func(m *memTeams) { m.own["m0"] = presence.ParsePairString("Busy/InACall") })
		b.line("1", presence.LineInCall)
		b.wait(time.Minute)
		assert.False(t, closed(acked) || closed(later))
		assert.Empty(t, b.pbx.of("apply"))
		assert.Empty(t, b.teams.of("set"))
		b.store.set(func(s *memStore) { s.refuse = nil })
		b.wait(10 * time.Second)
		assert.True(t, closed(acked) && closed(later))
		assert.Equal(t, "In a call", b.status("0"))
		assert.Equal(t, "Busy/InACall", b.session("m1"))
		assert.Greater(t, b.counter("record_store_failures_total"), 50.0)
	})
}

// An answer of the store that was lost looks like a conflict with ourselves.
func TestAStoreThatFailsAfterPersisting(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		once := true
		b.store.set(func(s *memStore) {
			s.after = func(string) error {
				if once {
					once = false
					return errors.New("connection lost")
				}
				return nil
			}
		})
		b.teams.set(func(m *memTeams) { m.own["m0"] = presence.ParsePairString("Busy/InACall") })
		acked := b.push("m0", "Busy/InACall")
		b.wait(5 * time.Second)
		assert.True(t, closed(acked))
		assert.Empty(t, b.pbx.of("apply"), "the stored intent may be another process's request: it is waited out")
		b.wait(time.Minute)
		assert.Equal(t, "In a call", b.status("0"))
		assert.Len(t, b.pbx.of("apply"), 1)
	})
}

// R14: reads owed within 100 ms travel together, at most ten requests a second at any size.
func TestReadsTravelTogether(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(3000)
		var ids []string
		for i := range 3000 {
			ids = append(ids, fmt.Sprintf("m%d", i))
		}
		before := len(b.teams.of("read"))
		began := time.Now()
		b.engine.OweReads(t.Context(), ids)
		b.wait(2 * time.Second)
		reads := b.teams.of("read")[before:]
		assert.LessOrEqual(t, len(reads), 6, "the first at once, the others 650 members a request")
		total := 0
		for i, r := range reads {
			total += r.n
			assert.LessOrEqual(t, r.n, 650)
			if i > 0 {
				assert.GreaterOrEqual(t, r.at.Sub(reads[i-1].at), 100*time.Millisecond)
			}
		}
		assert.Equal(t, 3000, total)
		assert.LessOrEqual(t, reads[0].at.Sub(began), 100*time.Millisecond)
	})
}

func TestAFailedReadStaysOwed(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.teams.set(func(m *memTeams) { m.err = errors.New("503") })
		b.engine.OweReads(t.Context(), []string{"m0"})
		b.wait(30 * time.Second)
		n := len(b.teams.of("read"))
		assert.GreaterOrEqual(t, n, 4)
		assert.LessOrEqual(t, n, 8, "not in a tight loop")
		b.teams.set(func(m *memTeams) { m.err, m.own["m0"] = nil, presence.ParsePairString("Busy/InACall") })
		b.wait(10 * time.Second)
		assert.Equal(t, "In a call", b.status("0"))
	})
}

// R13: an outage that ends is no storm, also where a read comes before each write.
func TestAnOutageThatEndsIsNoStorm(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX} {
		t.Run(string(s), func(t *testing.T) {
			inBench(t, s, func(t *testing.T, b *bench) {
				b.start(300)
				began := time.Now()
				for i := range 300 {
					b.person(fmt.Sprintf("m%d", i), "Busy/InACall")
				}
				b.wait(25 * time.Second)
				applies := b.pbx.of("apply")
				assert.Len(t, applies, 300, "everybody's turn comes")
				for i := range applies {
					window := 0
					for _, a := range applies[i:] {
						if a.at.Sub(applies[i].at) < time.Second {
							window++
						}
					}
					assert.LessOrEqual(t, window, 42, "20 a second, and a burst of 20")
				}
				if last := applies[len(applies)-1].at.Sub(began); last > 20*time.Second {
					t.Errorf("the last was written after %v: the budget was not used", last)
				}
			})
		})
	}
}

func TestTeamsIsWrittenWithinItsBudget(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.cfg.TeamsWrites = 60 // 2 a second, 5 at once
		b.start(100)
		for i := range 100 {
			b.line(fmt.Sprint(i), presence.LineInCall)
		}
		b.wait(10 * time.Second)
		assert.InDelta(t, 25, len(b.teams.of("set")), 2)
		for i := range 20 { // some hang up: clears go first, and who never was asserted needs none
			b.line(fmt.Sprint(i), presence.LineIdle)
		}
		b.wait(70 * time.Second)
		assert.Len(t, b.teams.of("clear"), 20-absent(b, 20))
		for i := 20; i < 100; i++ {
			assert.Equal(t, "Busy/InACall", b.session(fmt.Sprintf("m%d", i)))
		}
	})
}

// absent counts those of the first n for whom nothing was ever set.
func absent(b *bench, n int) int {
	was := map[string]bool{}
	for _, c := range b.teams.of("set") {
		was[c.member] = true
	}
	count := 0
	for i := range n {
		if !was[fmt.Sprintf("m%d", i)] {
			count++
		}
	}
	return count
}

// R11, R16: an event that was lost heals with the next listing.
func TestALostEventHeals(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.pbx.change("0", false, func(st *pbx.State) { st.Line = presence.LineInCall })
		b.wait(time.Minute)
		assert.Empty(t, b.teams.of("set"))
		b.wait(5 * time.Minute)
		assert.Equal(t, "Busy/InACall", b.session("m0"))
		b.pbx.change("0", false, func(st *pbx.State) { st.Line = presence.LineIdle })
		b.pbx.events <- pbx.Event{Kind: pbx.EventReset}
		b.wait(10 * time.Second)
		assert.Equal(t, "unknown", b.session("m0"), "a reset asks for a listing at once")
	})
}

func TestAListingThatFailsIsRepeated(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.pbx.err = errors.New("502")
		b.start(1)
		b.wait(20 * time.Second)
		assert.Greater(t, b.counter("pbx_snapshot_failures_total"), 3.0)
		b.pbx.set(func(p *memPBX) { p.err = nil })
		b.wait(70 * time.Second)
		b.person("m0", "Busy/InACall")
		b.wait(5 * time.Second)
		assert.Equal(t, "In a call", b.status("0"))
	})
}

// A member who is introduced while the PBX is read through need not wait for the next time.
func TestAMemberIntroducedDuringAListing(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.pbx.takes = 5 * time.Second
		b.start(1)
		b.person("m0", "DoNotDisturb")
		b.wait(10 * time.Second)
		assert.Equal(t, "Do not disturb", b.status("0"))
	})
}

// R4: a PBX that is not seen for a lease asserts nothing, and is believed again when it is back.
func TestAPBXOutOfSight(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.line("0", presence.LineInCall)
		b.wait(10 * time.Second)
		require.Equal(t, "Busy/InACall", b.session("m0"))
		b.pbx.set(func(p *memPBX) { p.silent, p.err = true, errors.New("no route") })
		b.wait(4 * time.Minute)
		assert.Equal(t, "Busy/InACall", b.session("m0"), "not yet a lease")
		b.wait(2 * time.Minute)
		assert.Equal(t, "unknown", b.session("m0"))
		n := len(b.teams.of("renew"))
		b.engine.SetMembers(t.Context(), append(members(1), Member{ID: "new", Endpoints: []presence.EndpointID{{PBX: "main", User: "9"}}}))
		b.wait(10 * time.Minute)
		assert.Len(t, b.teams.of("renew"), n, "nothing is kept alive without its cause")
		b.pbx.set(func(p *memPBX) { p.silent, p.err = false, nil })
		b.wait(2 * time.Minute)
		assert.Equal(t, "Busy/InACall", b.session("m0"))
	})
}

// An endpoint that moves is restored for the one, then given to the other.
func TestAnEndpointMoves(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(2)
		b.person("m0", "Busy/InACall")
		b.person("m1", "DoNotDisturb")
		b.wait(10 * time.Second)
		ms := members(2)
		ms[0].Endpoints, ms[1].Endpoints = nil, append(ms[1].Endpoints, ms[0].Endpoints...)
		b.engine.SetMembers(t.Context(), ms)
		b.wait(20 * time.Second)
		var values []string
		for _, c := range b.pbx.of("apply") {
			if c.member == "0" && (len(values) == 0 || values[len(values)-1] != c.value) {
				values = append(values, c.value)
			}
		}
		assert.Equal(t, []string{"In a call", "Available", "Do not disturb"}, values)
		v, _ := b.engine.Find("m0")
		assert.Empty(t, v.Record.Endpoints)
		v, _ = b.engine.Find("M1@CONTOSO.COM")
		assert.Len(t, v.Record.Endpoints, 2)
	})
}

func TestTwoMembersSwapEndpoints(t *testing.T) {
	for range 8 { // whose record is told first is chance
		inBench(t, trustedPBX, func(t *testing.T, b *bench) {
			b.start(2)
			b.person("m0", "Busy/InACall")
			b.wait(10 * time.Second)
			ms := members(2)
			ms[0].Endpoints, ms[1].Endpoints = ms[1].Endpoints, ms[0].Endpoints
			b.engine.SetMembers(t.Context(), ms)
			b.wait(30 * time.Second)
			require.Equal(t, "Available", b.status("0"))
			require.Equal(t, "In a call", b.status("1"))
			b.person("m1", "DoNotDisturb")
			b.wait(10 * time.Second)
			require.Equal(t, "Do not disturb", b.status("0"))
		})
	}
}

// What a listing showed of a phone may be what was written there for the one who let it go: it is no choice of whoever gets it.
func TestEndpointsThatGoBackAndForthAreReadAnew(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX} {
		inBench(t, s, func(t *testing.T, b *bench) {
			b.start(2)
			b.person("m0", "Busy/InACall")
			b.wait(10 * time.Second)
			ms := members(2)
			for range 9 {
				ms[0].Endpoints, ms[1].Endpoints = ms[1].Endpoints, ms[0].Endpoints
				b.engine.SetMembers(t.Context(), slices.Clone(ms))
				b.wait(40 * time.Second)
			}
			b.wait(time.Minute)
			require.Equal(t, "Available", b.status("0"))
			require.Equal(t, "In a call", b.status("1"))
		})
	}
}

// An endpoint that is taken away and given back in one go stays, and what happens there is heard.
func TestAnEndpointThatIsGivenBackAtOnce(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		for range 10 {
			ms := members(1)
			ms[0].Endpoints = nil
			b.engine.SetMembers(t.Context(), ms)
			b.engine.SetMembers(t.Context(), members(1))
			b.wait(time.Minute)
			b.line("0", presence.LineInCall)
			b.wait(10 * time.Second)
			require.Equal(t, "Busy/InACall", b.session("m0"))
			b.line("0", presence.LineIdle)
			b.wait(time.Minute)
			require.NotEqual(t, "Busy/InACall", b.session("m0"))
		}
	})
}

// An idle endpoint that is replaced by another in one step is let go all the same.
func TestAReplacedEndpointIsPassedOn(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.pbx.users["9"] = b.idle()
		b.start(2)
		ms := members(2)
		ms[1].Endpoints, ms[0].Endpoints = ms[0].Endpoints, []presence.EndpointID{{PBX: "main", User: "9"}}
		b.engine.SetMembers(t.Context(), ms)
		b.wait(5 * time.Second)
		b.person("m1", "Busy/InACall")
		b.wait(10 * time.Second)
		assert.Equal(t, "In a call", b.status("0"))
	})
}

func TestALeaversRecordIsDeletedAfterWithdrawing(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(2)
		b.person("m0", "Busy/InACall")
		b.line("1", presence.LineInCall)
		b.wait(10 * time.Second)
		b.engine.SetMembers(t.Context(), nil)
		b.wait(30 * time.Second)
		assert.Equal(t, "Available", b.status("0"))
		assert.Equal(t, "unknown", b.session("m1"))
		assert.Empty(t, b.store.records)
		assert.Zero(t, b.engine.MemberCount())
		n := len(b.pbx.of("apply")) + len(b.teams.of("set")) + len(b.teams.of("clear"))
		b.person("m0", "DoNotDisturb")
		b.line("1", presence.LineIdle)
		b.wait(10 * time.Minute)
		assert.Equal(t, n, len(b.pbx.of("apply"))+len(b.teams.of("set"))+len(b.teams.of("clear")), "nothing more is written")
		b.engine.SetMembers(t.Context(), members(2)) // they come back
		b.engine.OweReads(t.Context(), []string{"m0"})
		b.wait(20 * time.Second)
		assert.Equal(t, "Do not disturb", b.status("0"))
	})
}

func TestOptOutAndIn(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.person("m0", "Busy/InACall")
		b.wait(10 * time.Second)
		ms := members(1)
		ms[0].Excluded = true
		b.engine.SetMembers(t.Context(), ms)
		b.wait(10 * time.Second)
		assert.Equal(t, "Available", b.status("0"))
		_, ok := b.store.record("m0")
		assert.True(t, ok, "an opt-out is remembered")
		b.teams.set(func(m *memTeams) { m.own["m0"] = presence.ParsePairString("DoNotDisturb") }) // nobody looks
		b.wait(time.Minute)
		b.engine.SetMembers(t.Context(), members(1))
		b.wait(10 * time.Second)
		assert.Equal(t, "Do not disturb", b.status("0"))
	})
}

// Recovered comes first, whatever is told first, and once.
func TestATakeOverWaitsOutWhatMayBeUnderWay(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.line("0", presence.LineInCall)
		b.wait(10 * time.Second)
		b.halt()
		b.pbx.change("0", false, func(st *pbx.State) { st.Line = presence.LineIdle })
		b.metrics, b.cfg.Metrics = nil, nil
		b.run()
		b.wait(time.Second) // the watch tells of the idle line before anybody says that this is a take-over
		b.engine.SetMembers(t.Context(), members(1))
		b.push("m0", "Busy/InACall")
		b.wait(30 * time.Second)
		assert.Empty(t, b.teams.of("clear"), "a renewal of the process before may be under way")
		b.engine.Recover(t.Context())
		b.wait(15 * time.Second)
		assert.Len(t, b.teams.of("clear"), 1)
		b.person("m0", "DoNotDisturb")
		b.wait(10 * time.Second)
		assert.Equal(t, "Do not disturb", b.status("0"), "the endpoint is not unknown again")
	})
}

func TestARecordThatCannotBeReadIsBegunAnew(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.store.records["m0"] = memRecord{data: []byte(`{"teams":`), revision: 7}
		b.start(1)
		b.person("m0", "Busy/InACall")
		b.wait(10 * time.Second)
		assert.Equal(t, "In a call", b.status("0"))
		_, ok := b.store.record("m0")
		assert.True(t, ok)
	})
}

func TestResyncSaysWhatItChanged(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(3)
		b.pbx.change("1", false, func(st *pbx.State) { st.Line = presence.LineInCall })
		b.teams.set(func(m *memTeams) { m.own["m2"] = presence.ParsePairString("Busy/InACall") })
		var changes []Change
		ids := []string{"m0", "M1@contoso.com", "m2"}
		var steps []int
		err := b.engine.Resync(t.Context(), ids, func(done int, cs []Change) {
			steps = append(steps, done)
			changes = append(changes, cs...)
		})
		require.NoError(t, err)
		assert.Equal(t, []int{1, 2, 3}, steps)
		assert.Equal(t, "M1@contoso.com", ids[1], "the caller's list is the caller's")
		byMember := map[string][]string{}
		for _, c := range changes {
			byMember[c.Member] = append(byMember[c.Member], c.Side)
		}
		assert.Empty(t, byMember["m0"])
		assert.Contains(t, byMember["m1"], "pbx.main/1")
		assert.Contains(t, byMember["m2"], "teams")
		assert.Contains(t, byMember["m2"], "pbx.main/2", "what follows is applied before a member is done")
		assert.Equal(t, "In a call", b.status("2"))
		assert.Equal(t, "Busy/InACall", b.session("m1"))

		require.ErrorContains(t, b.engine.Resync(t.Context(), []string{"nobody"}, func(int, []Change) {}), "nobody")
		b.teams.set(func(m *memTeams) { m.err = errors.New("503") })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = b.engine.Resync(ctx, []string{"m0"}, func(int, []Change) {})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "0 of 1")
	})
}

// A sweep folds differences only, and not those that something overtook.
func TestASweepContradicts(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(2)
		steps := b.counter("steps_total")
		mark := b.engine.BeginSweep([]string{"m0", "m1", "stranger"})
		got := b.engine.Swept(t.Context(), mark, showing("m0", available, "m1", available, "stranger", available))
		b.wait(time.Second)
		assert.Empty(t, got)
		assert.InDelta(t, steps, b.counter("steps_total"), 0, "what the record says already costs no step")
		mark = b.engine.BeginSweep([]string{"m0", "m1"})
		b.person("m1", "Away")
		b.teams.set(func(m *memTeams) { m.own["m0"] = presence.ParsePairString("Busy/InACall") })
		b.wait(time.Second)
		got = b.engine.Swept(t.Context(), mark, showing("m0", inACall, "m1", available))
		assert.Equal(t, []string{"m0"}, got)
		b.wait(5 * time.Second)
		assert.Equal(t, "In a call", b.status("0"), "confirmed by a read, then believed")
		b.engine.TeamsUnseen(t.Context(), []string{"m0"})
		b.wait(10 * time.Second)
		assert.Equal(t, "Available", b.status("0"), "R4: unknown asserts nothing")
	})
}

func TestStoppingWaitsForRequests(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.teams.set(func(m *memTeams) { m.takes = 4 * time.Second })
		b.line("0", presence.LineInCall)
		b.wait(time.Second)
		require.Len(t, b.teams.of("set"), 1)
		began := time.Now()
		b.halt()
		assert.Equal(t, 3*time.Second, time.Since(began))
	})
}

// A store that takes no more makes the sources wait, and nothing is lost.
func TestBackPressure(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.cfg.Workers = 1
		b.start(1000)
		gate := make(chan struct{})
		b.store.set(func(s *memStore) { s.gate = gate })
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			for i := range 1000 {
				b.person(fmt.Sprintf("m%d", i), "Away")
			}
		}()
		b.wait(time.Minute)
		assert.False(t, closed(finished), "the queue is bounded")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		b.engine.Push(ctx, []Push{{Member: "m0", Pair: available, Mark: Mark{Seq: 1 << 40}}}, func() { t.Error("acknowledged") })
		cancel()
		b.store.set(func(s *memStore) { s.gate = nil })
		close(gate)
		b.wait(10 * time.Second)
		assert.True(t, closed(finished))
		for i := range 1000 {
			rec, _ := b.store.record(fmt.Sprintf("m%d", i))
			assert.Equal(t, "Away", rec.Teams.Shown.Availability)
		}
	})
}

// What is at rest costs renewals, and no store.
func TestAtRestNothingIsStored(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(20)
		for i := range 20 {
			b.line(fmt.Sprint(i), presence.LineInCall)
		}
		b.wait(20 * time.Second)
		puts := b.store.puts
		b.wait(30 * time.Minute)
		assert.Equal(t, puts, b.store.puts)
		renewals := len(b.teams.of("renew"))
		assert.InDelta(t, 20*13, renewals, 30, "at half-life, with jitter")
		assert.Len(t, b.teams.of("set"), 20)
	})
}

// throttledPBX asks to wait, once.
type throttledPBX struct {
	*memPBX
	asked bool
}

func (p *throttledPBX) Apply(ctx context.Context, user string, w pbx.Write) (pbx.State, error) {
	if !p.asked {
		p.asked = true
		return pbx.State{}, &pbx.Error{Kind: pbx.Throttled, RetryAfter: 2 * time.Second, Op: "apply", Err: errors.New("429")}
	}
	return p.memPBX.Apply(ctx, user, w)
}

func TestAThrottledWriteIsRepeatedInItsOwnTime(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.cfg.PBX["main"] = PBX{Connector: &throttledPBX{memPBX: b.pbx}}
		b.start(1)
		b.person("m0", "DoNotDisturb")
		b.wait(3 * time.Second)
		assert.Equal(t, "Do not disturb", b.status("0"))
	})
}

func TestOutcomesOfConnectorErrors(t *testing.T) {
	for kind, want := range map[pbx.ErrorKind]Outcome{
		pbx.Conflict: Conflicted, pbx.Refused: Refused, pbx.Gone: Refused, pbx.Unauthorised: Refused,
		pbx.Unanswered: Unanswered, pbx.Throttled: Unanswered, 99: Unanswered,
	} {
		assert.Equal(t, want, pbxOutcome(&pbx.Error{Kind: kind, Err: errors.New("x")}), "%d", kind)
	}
	assert.Equal(t, Unanswered, pbxOutcome(errors.New("anything")))
	assert.Equal(t, Answered, pbxOutcome(nil))
	names := map[string]bool{}
	for _, o := range []Outcome{Answered, Unanswered, Conflicted, Refused, 99} {
		names[o.String()] = true
	}
	assert.Len(t, names, 5)
}

func TestMetricsAndFeed(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		feed := &memFeed{}
		b.cfg.Feed = feed
		var latencies []string
		b.cfg.OnLatency = func(side string, path Path, d time.Duration) {
			latencies = append(latencies, fmt.Sprintf("%s %s %v", side, path, d >= 0))
		}
		b.cfg.Workers = 1
		b.start(1)
		b.person("m0", "DoNotDisturb")
		b.wait(5 * time.Second)
		b.push("m0", "DoNotDisturb")
		b.wait(5 * time.Minute)
		assert.Greater(t, b.counter("steps_total"), 3.0)
		assert.InDelta(t, 1, b.counter("writes_total"), 0)
		assert.InDelta(t, 1, b.counter("write_answers_total"), 0)
		assert.Equal(t, []string{"main direct true"}, latencies)
		families, err := b.metrics.Gather()
		require.NoError(t, err)
		for _, f := range families {
			assert.True(t, strings.HasPrefix(f.GetName(), "presence_bridge_"), f.GetName())
			for _, m := range f.GetMetric() {
				labels := map[string]string{}
				for _, l := range m.GetLabel() {
					labels[l.GetName()] = l.GetValue()
				}
				assert.Equal(t, "contoso", labels["account"], f.GetName())
			}
		}
		assert.Contains(t, feed.observed, "m0 teams")
		assert.NotEmpty(t, feed.decided)
	})
}

type memFeed struct{ observed, decided []string }

func (f *memFeed) Observed(member, side string, _ []byte) {
	f.observed = append(f.observed, member+" "+side)
}
func (f *memFeed) Decided(_ string, data []byte) { f.decided = append(f.decided, string(data)) }

func TestViews(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(5)
		ids := func(vs []View) (out []string) {
			for _, v := range vs {
				out = append(out, v.Member.ID)
			}
			return out
		}
		assert.Equal(t, []string{"m0", "m1", "m2", "m3", "m4"}, ids(b.engine.Views("", 0)))
		assert.Equal(t, []string{"m2", "m3"}, ids(b.engine.Views("m1", 2)))
		assert.Equal(t, []string{"m2"}, ids(b.engine.Views("m1x", 1)))
		assert.Empty(t, b.engine.Views("z", 0))
		_, ok := b.engine.Find("nobody")
		assert.False(t, ok)
		assert.Equal(t, 5, b.engine.MemberCount())
		assert.Len(t, b.engine.MemberIDs(), 5)
		assert.WithinDuration(t, time.Now(), b.engine.LastSeen("main"), time.Minute)
		assert.True(t, b.engine.LastSeen("other").IsZero())
		assert.NoError(t, b.engine.Verify(t.Context())["main"])
		assert.Equal(t, pbx.ConnConnected, b.engine.Connections()["main"].State)
	})
}

func TestNewNeedsItsParts(t *testing.T) {
	for _, cfg := range []Config{{}, {Account: "a"}, {Account: "a", Store: &memStore{}}} {
		_, err := New(cfg)
		require.ErrorContains(t, err, "needs an account, a store and Teams")
	}
}

// showing is what a bulk read of Teams shows: ids and pairs in turn.
func showing(of ...any) map[string]presence.Shown {
	out := map[string]presence.Shown{}
	for i := 0; i < len(of); i += 2 {
		out[of[i].(string)] = presence.Shown{Pair: of[i+1].(presence.Pair)} //nolint:forcetypeassert // of this package's tests
	}
	return out
}
