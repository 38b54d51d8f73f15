package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"presencebridge/bridge/presence"
)

const groupsYAML = `preset: micollab
pbx_to_teams:
  - when: {line: in-call, group: Sales}
    set: {presence: Busy/InAConferenceCall}
  - when: {line: in-call}
    set: {presence: Busy/InACall}
groups:
  - {group: Board, opt_out: pbx_to_teams}
  - group: 5B0C4C5E-0000-4000-8000-000000000001
    teams_to_pbx:
      - when: {activity: InAMeeting}
        set: {status: Meeting}
  - {group: Guests, opt_out: both}
`

func TestOverridesByGroup(t *testing.T) {
	p, err := Parse([]byte(groupsYAML))
	require.NoError(t, err)
	call := []Endpoint{{ID: presence.EndpointID{PBX: "main"}, Line: presence.LineInCall}}
	meeting := TeamsState{Pair: presence.ParsePairString("Busy/InAMeeting")}
	talk := TeamsState{Pair: presence.ParsePairString("Busy/InACall")}

	nobody := p.For(nil, 0)
	assert.Equal(t, "Busy/InACall", nobody.ForTeams(call).Pair.String())
	assert.Equal(t, nobody.ForTeams(call), p.ForTeams(call), "the account's own answers for members of no group")
	assert.Equal(t, "Busy/InAConferenceCall", p.For([]string{"other", "SALES"}, 0).ForTeams(call).Pair.String())

	board := p.For([]string{"board", "sales", "guests"}, 0)
	assert.True(t, board.ForTeams(call).IsZero())
	assert.Equal(t, presence.PBXToTeams, board.OptOut, "the first group that holds counts, the later ones do not")
	assert.Equal(t, "In a call", board.ForPBX("main", nil, talk).Status.Name, "the other direction is everybody's")

	floor := p.For([]string{"5b0c4c5e-0000-4000-8000-000000000001", "sales"}, 0)
	assert.Equal(t, "Meeting", floor.ForPBX("main", nil, meeting).Status.Name)
	assert.True(t, floor.ForPBX("main", nil, talk).IsZero(), "a group's list takes the place of the account's")
	assert.Equal(t, "Busy/InAConferenceCall", floor.ForTeams(call).Pair.String(), "rules that are not overridden may ask for groups as well")

	guest := p.For([]string{"Guests"}, 0)
	assert.Equal(t, presence.BothDirections, guest.OptOut)
	assert.True(t, guest.ForTeams(call).IsZero())
	assert.True(t, guest.ForPBX("main", nil, talk).IsZero())
	out := p.For(nil, presence.TeamsToPBX)
	assert.True(t, out.ForPBX("main", nil, talk).IsZero(), "a person's own opt-out")
	assert.False(t, out.ForTeams(call).IsZero())
}

// What a member's policy says of values that the bridge may have left somewhere is the account's: the member may have
// been in another group then.
func TestAMembersPolicyKnowsTheAccountsValues(t *testing.T) {
	p, err := Parse([]byte(groupsYAML))
	require.NoError(t, err)
	guest := p.For([]string{"Guests"}, 0)
	assert.Equal(t, p.TeamsValues(), guest.TeamsValues())
	assert.Len(t, guest.TeamsValues(), 2)
	assert.True(t, guest.SetsOnPBX("main", nil, presence.Status{Name: "Meeting"}))
	assert.True(t, guest.SetsOnPBX("main", nil, presence.Status{Name: "In a call"}))
	assert.False(t, guest.SetsOnPBX("main", nil, presence.Status{}), "nothing is set by nobody")
	assert.Same(t, p.For([]string{"board"}, 0), guest.For([]string{"BOARD"}, 0), "a member's policy answers for the account's")
}

// 100,000 members have as many policies as there are answers, not one each.
func TestPoliciesAreShared(t *testing.T) {
	p, err := Parse([]byte(groupsYAML))
	require.NoError(t, err)
	assert.Same(t, p.For([]string{"a", "sales"}, 0), p.For([]string{"Sales", "b"}, 0))
	assert.NotSame(t, p.For([]string{"sales"}, 0), p.For([]string{"sales"}, presence.TeamsToPBX))
	plain, err := Parse([]byte("preset: sip"))
	require.NoError(t, err)
	assert.Same(t, plain, plain.For([]string{"sales"}, 0), "where nobody asks for groups there is one policy")
	assert.Same(t, plain.For(nil, presence.PBXToTeams), plain.For([]string{"x"}, presence.PBXToTeams))
}

// For neither looks at the order or the casing of groups, nor at groups that the policy does not name.
func TestForProperties(t *testing.T) {
	p, err := Parse([]byte(groupsYAML))
	require.NoError(t, err)
	names := append(p.GroupNames(), "Other", "Another")
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.SliceOfDistinct(rapid.SampledFrom(names), func(s string) string { return s }).Draw(t, "groups")
		optOut := rapid.SampledFrom([]presence.Directions{0, presence.TeamsToPBX, presence.PBXToTeams, presence.BothDirections}).Draw(t, "opt-out")
		m := p.For(groups, optOut)
		turned := slices.Clone(groups)
		slices.Reverse(turned)
		for i := range turned {
			turned[i] = strings.ToUpper(turned[i])
		}
		if p.For(append(turned, "yet another"), optOut) != m {
			t.Fatal("order, casing or a stranger's group matters")
		}
		if !m.OptOut.Has(optOut) {
			t.Fatalf("opted out of %s, got %s", optOut, m.OptOut)
		}
		if m.OptOut.Has(presence.TeamsToPBX) && len(m.TeamsToPBX) > 0 || m.OptOut.Has(presence.PBXToTeams) && len(m.PBXToTeams) > 0 {
			t.Fatal("a direction that does not cross has rules")
		}
	})
}

func TestMessages(t *testing.T) {
	p, err := Parse([]byte(`
teams_to_pbx:
  - {when: {out_of_office: true}, set: {status_kind: out, message: copy}}
  - {when: {availability: Busy}, set: {status_kind: busy, message: "In Teams"}}
  - {set: {message: copy}}
pbx_to_teams:
  - {when: {status_kind: out}, set: {presence: Away, message: copy}}
`))
	require.NoError(t, err)
	site := Catalogue{{Name: "Gone", Kind: presence.KindOut}, {Name: "Talking", Kind: presence.KindBusy}}
	gone := p.ForPBX("main", site, TeamsState{Pair: presence.ParsePairString("Busy"), OutOfOffice: presence.AbsenceYes, Message: " In Rome "})
	assert.Equal(t, PBXWant{Status: site[0], Class: presence.ClassAway, Message: "In Rome"}, gone)
	for _, absent := range []presence.Absence{presence.AbsenceNo, presence.AbsenceUnknown} {
		w := p.ForPBX("main", site, TeamsState{Pair: presence.ParsePairString("Busy"), OutOfOffice: absent})
		assert.Equal(t, "In Teams", w.Message)
	}
	assert.Equal(t, site[0], p.ForPBX("main", site, TeamsState{Pair: presence.ParsePairString("Available/OutOfOffice")}).Status, "the activity says it too")
	w := p.ForPBX("main", site, TeamsState{Pair: presence.ParsePairString("Available"), Message: "Hello"})
	assert.True(t, w.IsZero(), "a rule may be about the message alone")
	assert.Equal(t, "Hello", w.Message)

	long := p.ForTeams([]Endpoint{{Status: site[0], Message: strings.Repeat("x", 300)}})
	assert.Equal(t, TeamsMessageLimit, messageLen(long.Message), "Teams has a limit")
	assert.Equal(t, MethodSession, long.Method)
}

func TestMessagesAreClipped(t *testing.T) {
	assert.Equal(t, "abc", ClipMessage(" abc ", 3))
	assert.Equal(t, "ab…", ClipMessage("abcd", 3))
	assert.Equal(t, "a…", ClipMessage("a\U0001F600b", 3), "what Teams counts twice is not cut in two")
	assert.Equal(t, "abcd", ClipMessage("abcd", 0), "no limit")
	rapid.Check(t, func(t *rapid.T) {
		text, limit := rapid.String().Draw(t, "text"), rapid.IntRange(1, 20).Draw(t, "limit")
		if got := ClipMessage(text, limit); messageLen(got) > limit {
			t.Fatalf("%q is longer than %d", got, limit)
		}
	})
}
