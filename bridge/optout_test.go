package bridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

func TestADirectionThatIsOptedOutOfIsTakenBackAtOnce(t *testing.T) {
	w := known(t, trustedPBX)
	inTeams(w, doNot)
	w.setLine(presence.LineInCall)
	w.drain()
	w.advance(6 * time.Second)
	w.drain()
	w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep}, Policy: w.rules.Policy.For(nil, presence.PBXToTeams)})
	assert.Equal(t, "clear", did(w), "the phone keeps what it shows")
	assert.Equal(t, []Reason{ReasonWithdrawn, ReasonExcluded}, w.rec.Teams.Because)
	w.drain()
	w.advance(6 * time.Second)
	w.drain()
	assert.Equal(t, []Reason{ReasonExcluded}, w.rec.Teams.Because)
	assert.Zero(t, w.session)

	w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep}, Policy: w.rules.Policy.For(nil, presence.TeamsToPBX)})
	assert.Equal(t, "set Busy/InACall, write Available", did(w), "the one way is on again, the other is off")
	w.drain()
	w.advance(6 * time.Second)
	w.drain()
	assert.Equal(t, inACall, w.session)
	assert.Equal(t, statusAvailable, w.phone.Status)
	assert.Equal(t, []Reason{ReasonExcluded}, side(w).Because)
}

// What a phone still waits for does not depend on Teams, so that nobody asks there again and again meanwhile.
func TestTeamsIsNotAskedAboutWhoeverOptedOut(t *testing.T) {
	w := assertedBy(t, trustedPBX, doNot)
	w.advance(6 * time.Second)
	w.drain()
	w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep}, Excluded: true})
	assert.Equal(t, "write Available", did(w))
	w.step(TeamsSwept{Pair: inACall, Epoch: w.rec.Teams.epoch})
	assert.Empty(t, did(w))
	assert.Equal(t, "forget", pbxAnswers(w, Answered))
}

// What a listing showed of the phone while ours stood there is no choice of whoever opts in again.
func TestWhoeverOptsInAgainIsReadAnew(t *testing.T) {
	inBench(t, plainPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.person("m0", "Busy/InACall")
		b.wait(6 * time.Minute) // a listing is among it
		ms := members(1)
		ms[0].OptOut = presence.BothDirections
		b.engine.SetMembers(t.Context(), ms)
		b.wait(10 * time.Second)
		require.Equal(t, "Available", b.status("0"))
		b.engine.SetMembers(t.Context(), members(1))
		b.wait(10 * time.Second)
		require.Equal(t, "In a call", b.status("0"))
		b.wait(6 * time.Minute)
		require.Equal(t, "In a call", b.status("0"))
	})
}

// The record of a former life says nothing about who opted out meanwhile: until the directory has spoken, nothing is
// written, whatever arrives.
func TestNothingIsDecidedBeforeItIsKnownWhoseRecordItIs(t *testing.T) {
	w := known(t, trustedPBX)
	w.step(Recovered{})
	push(w, inACall)
	lineIs(w, presence.LineInCall)
	w.snapshot()
	fire(w, TimerDeadline)
	assert.Empty(t, w.requests)
	w.step(MemberChanged{Excluded: true})
	assert.Equal(t, "forget", did(w))
	assert.Empty(t, w.requests)
}

func TestMembersInGroupsHaveAPolicyOfTheirOwn(t *testing.T) {
	p, err := policy.Parse([]byte("preset: micollab\ngroups:\n  - group: Board\n    opt_out: teams_to_pbx\n  - group: Silent\n    opt_out: both\n"))
	require.NoError(t, err)
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.cfg.Rules.Policy = p
		b.start(3)
		b.person("m0", "Busy/InACall")
		b.person("m1", "Busy/InACall")
		b.person("m2", "Busy/InACall")
		b.wait(10 * time.Second)
		for _, phone := range []string{"0", "1", "2"} {
			require.Equal(t, "In a call", b.status(phone))
		}
		ms := members(3)
		ms[1].Groups = []string{"board"}
		ms[2].Groups = []string{"Silent"}
		b.engine.SetMembers(t.Context(), ms)
		b.wait(10 * time.Second)
		assert.Equal(t, "In a call", b.status("0"))
		assert.Equal(t, "Available", b.status("1"))
		assert.Equal(t, "Available", b.status("2"))
		steps := b.counter("steps_total")
		b.engine.SetMembers(t.Context(), ms)
		b.wait(time.Second)
		assert.InDelta(t, steps, b.counter("steps_total"), 0, "nobody changed")
		rec, ok := b.store.record("m2")
		require.True(t, ok)
		assert.Equal(t, Record{Member: "m2", Excluded: true, Wiped: true}, rec, "both directions: nothing is kept")
		rec, ok = b.store.record("m1")
		require.True(t, ok)
		assert.Equal(t, inACall, rec.Teams.Organic, "the other direction still needs it")
		ms[2].OptOut = presence.BothDirections
		ms[2].Groups = nil
		b.engine.SetMembers(t.Context(), ms)
		b.wait(time.Second)
		assert.Equal(t, "Available", b.status("2"))
		ms[2].OptOut = 0
		b.engine.SetMembers(t.Context(), ms)
		b.wait(10 * time.Second)
		assert.Equal(t, "In a call", b.status("2"), "in again")
		b.engine.SetMembers(t.Context(), ms[:2])
		b.wait(10 * time.Second)
		assert.Equal(t, "Available", b.status("2"))
		_, ok = b.store.record("m2")
		assert.False(t, ok, "a leaver's record goes")
	})
}

// What the rules ask of Teams beside the pair comes with reads only, and of members for whom no rule asks nothing is kept.
func TestOutOfOfficeCrossesWhereARuleAsks(t *testing.T) {
	p, err := policy.Parse([]byte(`
preset: micollab
teams_to_pbx:
  - {when: {out_of_office: true, group: Sales}, set: {status: "Do not disturb"}}
`))
	require.NoError(t, err)
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.cfg.Rules.Policy = p
		b.start(2)
		ms := members(2)
		ms[1].Groups = []string{"sales"}
		b.engine.SetMembers(t.Context(), ms)
		b.wait(time.Second)
		out := map[string]presence.Shown{}
		for _, m := range []string{"m0", "m1"} {
			out[m] = presence.Shown{Pair: available, OutOfOffice: presence.AbsenceYes, Message: "back on Monday"}
		}
		got := b.engine.Swept(t.Context(), b.engine.BeginSweep([]string{"m0", "m1"}), out)
		b.wait(10 * time.Second)
		assert.Empty(t, got, "no notification tells of it")
		assert.Equal(t, "Available", b.status("0"))
		assert.Equal(t, "Do not disturb", b.status("1"))
		rec, _ := b.store.record("m0")
		assert.Empty(t, string(rec.Teams.OutOfOffice)+rec.Teams.Message, "no rule of theirs asks")
	})
}

// A leaver's record goes although more about them waited behind its store.
func TestALeaverIsForgottenWhateverComesMeanwhile(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.start(1)
		b.store.set(func(s *memStore) { s.delay = time.Second })
		b.engine.SetMembers(t.Context(), nil)
		b.push("m0", "Busy/InACall")
		b.push("m0", "Available")
		b.wait(time.Minute)
		_, kept := b.store.record("m0")
		require.False(t, kept)
	})
}
