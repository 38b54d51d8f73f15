package bridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

var doNotPreferred = presence.ParsePairString("DoNotDisturb")

// preferring is an account whose phones' Do not disturb becomes the preferred presence, for eight hours.
func preferring(t *testing.T, b *bench) {
	t.Helper()
	b.cfg.Rules.Policy = parsePolicy(t, `
pbx_to_teams:
  - {when: {line: in-call}, set: {presence: Busy/InACall}}
  - {when: {status_kind: dnd}, set: {presence: DoNotDisturb/DoNotDisturb, method: preferred, for: 8h}}
  - {when: {status_kind: away}, set: {presence: Away/Away, method: preferred, for: 1h}}
`)
	b.start(1)
}

// picks lets the person choose a status on the phone.
func (b *bench) picks(s presence.Status) {
	b.pbx.change("0", true, func(st *pbx.State) {
		st.Status, st.ChangedBy, st.ChangedAt = s, pbx.AuthorUser, time.Now()
		st.Version++
	})
	b.wait(15 * time.Second)
}

// shows tells what Teams shows to whoever reads, and pushes it.
func (b *bench) shows(p presence.Pair) {
	b.teams.set(func(m *memTeams) { m.preferred["m0"] = p })
	b.person("m0", p.String())
	b.wait(15 * time.Second)
}

func (b *bench) teamsSide() *TeamsSide {
	v, _ := b.engine.Find("m0")
	return &v.Record.Teams
}

func TestAPreferredPresenceIsSetProlongedAndCleared(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		preferring(t, b)
		b.picks(statusDND)
		require.Len(t, b.teams.of("prefer"), 1)
		first := b.teams.of("prefer")[0]
		assert.Equal(t, "DoNotDisturb/DoNotDisturb", first.value)
		assert.WithinDuration(t, first.at.Add(8*time.Hour), first.until, time.Second)
		assert.Empty(t, b.teams.of("set"))
		assert.Equal(t, available, b.teamsSide().Assertion.Preferred.Previous, "what was there is remembered")

		b.wait(5 * time.Hour)
		assert.Len(t, b.teams.of("prefer"), 2, "prolonged at half of its time, after a look")
		b.picks(statusAway)
		assert.Len(t, b.teams.of("prefer"), 3, "a change takes no clear")
		assert.Empty(t, b.teams.of("clear preferred"))
		b.picks(statusAvailable)
		require.Len(t, b.teams.of("clear preferred"), 1)
		assert.Equal(t, "Away/Away", b.teams.of("clear preferred")[0].value)
		assert.Nil(t, b.teamsSide().Assertion)
	})
}

func TestAPreferredPresenceThatThePersonReplacedIsTheirs(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		preferring(t, b)
		b.picks(statusDND)
		b.shows(presence.ParsePairString("BeRightBack"))
		assert.True(t, b.teamsSide().Assertion.Preferred.Taken)
		assert.Equal(t, []Reason{ReasonOverride}, b.teamsSide().Because)
		b.wait(5 * time.Hour)
		b.picks(statusAvailable)
		assert.Empty(t, b.teams.of("clear preferred"), "cleared only if it is still ours")
		assert.Len(t, b.teams.of("prefer"), 1)
		assert.Nil(t, b.teamsSide().Assertion)
		b.teams.set(func(m *memTeams) { delete(m.preferred, "m0") })
		b.person("m0", "Available")
		b.wait(15 * time.Second)
		b.picks(statusDND)
		assert.Len(t, b.teams.of("prefer"), 2, "something else was wanted meanwhile")
	})
}

// R9: what is set over a person's choice is no session beside it, so a higher choice is left alone, whatever the class.
func TestAPreferredPresenceGoesOverLesserChoicesOnly(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		preferring(t, b)
		b.shows(presence.ParsePairString("Busy"))
		b.picks(statusAway)
		assert.Empty(t, b.teams.of("prefer"))
		assert.Equal(t, []Reason{ReasonOutranked}, b.teamsSide().Because)
		b.picks(statusDND)
		assert.Len(t, b.teams.of("prefer"), 1)
	})
}

// A session and a preferred presence are different things: the one goes before the other comes.
func TestTheMethodChangesByClearingFirst(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		preferring(t, b)
		b.picks(statusDND)
		b.pbx.change("0", true, func(st *pbx.State) { st.Line = presence.LineInCall })
		b.wait(30 * time.Second)
		require.Len(t, b.teams.of("clear preferred"), 1)
		require.Len(t, b.teams.of("set"), 1)
		assert.True(t, b.teams.of("clear preferred")[0].at.Before(b.teams.of("set")[0].at))
		b.pbx.change("0", true, func(st *pbx.State) { st.Line = presence.LineIdle })
		b.wait(30 * time.Second)
		assert.Len(t, b.teams.of("clear"), 1)
		assert.Len(t, b.teams.of("prefer"), 2)
	})
}

// Who is offline has no session for a preferred presence to show in: that says nothing about whose it is.
func TestAPreferredPresenceOutlivesAClosedLaptop(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		preferring(t, b)
		b.picks(statusDND)
		b.teams.set(func(m *memTeams) { m.preferred["m0"] = offline })
		b.person("m0", "Offline")
		b.wait(time.Minute)
		require.NotNil(t, b.teamsSide().Assertion)
		assert.False(t, b.teamsSide().Assertion.Preferred.Taken)
		assert.False(t, b.teamsSide().WokenWatch, "it wakes nothing")
		b.teams.set(func(m *memTeams) { m.preferred["m0"] = doNotPreferred })
		b.person("m0", "DoNotDisturb")
		b.wait(time.Minute)
		assert.Equal(t, OrganicHidden, b.teamsSide().OrganicState, "an echo, no choice")
		b.picks(statusAvailable)
		assert.Len(t, b.teams.of("clear preferred"), 1)
	})
}
