package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"presencebridge/bridge"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

var (
	begin = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	desk  = presence.EndpointID{PBX: "main", User: "101"}
	site  = policy.Catalogue{
		{Name: "Available", Kind: presence.KindAvailable}, {Name: "In a call", Kind: presence.KindBusy}, {Name: "In a meeting", Kind: presence.KindBusy},
		{Name: "Do not disturb", Kind: presence.KindDND}, {Name: "Lunch", Kind: presence.KindAway}, {Name: "Gone", Kind: presence.KindOut},
	}
)

func config(caps pbx.Capabilities) Config {
	r := bridge.Rules{PBX: map[string]bridge.PBXRules{"main": {Capabilities: caps, Statuses: site}}}.WithDefaults()
	return Config{Rules: &r, From: begin, Until: begin.Add(10 * time.Hour)}
}

func parse(t require.TestingT, src string) *policy.Policy {
	p, err := policy.Parse([]byte(src))
	require.NoError(t, err)
	return p
}

func teams(pair string) bridge.Organic {
	return bridge.Organic{State: bridge.OrganicSeen, Pair: presence.ParsePairString(pair)}
}

func phoneOf(l presence.Line, status string) bridge.Organic {
	st, _ := site.Find(status)
	return bridge.Organic{State: bridge.OrganicSeen, Line: l, Status: st}
}

// day is a member who begins available on both sides.
func day(changes ...Change) *Member {
	return &Member{
		ID: "ann", Endpoints: []presence.EndpointID{desk}, Changes: changes,
		Start: map[string]bridge.Organic{"teams": teams("Available"), "pbx.main.101": phoneOf(presence.LineIdle, "Available")},
	}
}

func at(minutes int, side string, own bridge.Organic) Change {
	return Change{At: begin.Add(time.Duration(minutes) * time.Minute), Side: side, Own: own}
}

func minutes(d Difference) [2]int {
	return [2]int{int(d.From.Sub(begin).Round(time.Minute) / time.Minute), int(d.Until.Sub(begin).Round(time.Minute) / time.Minute)}
}

const meetings = `preset: micollab
teams_to_pbx:
  - {when: {activity: [InACall, InAConferenceCall, Presenting]}, set: {status: In a call}}
  - {when: {availability: DoNotDisturb}, set: {status: Do not disturb}}
  - {when: {activity: InAMeeting}, set: {status: In a meeting, message: copy}}
`

func TestAMeetingThatWouldCross(t *testing.T) {
	m := day(at(60, "teams", teams("Busy/InAMeeting")), at(120, "teams", teams("Available")), at(180, "teams", teams("Busy/InACall")), at(190, "teams", teams("Available")))
	for _, caps := range []pbx.Capabilities{{}, {OwnDocument: true}, {Versions: true, Authors: true, Messages: true}} {
		got := Run(config(caps), m, parse(t, "preset: micollab"), parse(t, meetings))
		require.Len(t, got, 1, "%v", got)
		assert.Equal(t, "pbx.main.101", got[0].Side)
		assert.Equal(t, "Available", got[0].Old)
		assert.Equal(t, "In a meeting", got[0].New)
		assert.Equal(t, [2]int{60, 120}, minutes(got[0]))
		assert.Less(t, got[0].From.Sub(begin.Add(time.Hour)), time.Minute)
	}
}

// What ranks higher is left alone in a replay, too, and what was chosen by hand ends our status.
func TestRanksAndPicksCountInAReplay(t *testing.T) {
	m := day(
		at(10, "pbx.main.101", phoneOf(presence.LineIdle, "Gone")), at(20, "teams", teams("Busy/InAMeeting")), at(30, "teams", teams("Available")),
		at(40, "pbx.main.101", phoneOf(presence.LineIdle, "Available")), at(60, "teams", teams("Busy/InAMeeting")),
		at(80, "pbx.main.101", phoneOf(presence.LineIdle, "Lunch")), at(120, "teams", teams("Available")))
	got := Run(config(pbx.Capabilities{}), m, parse(t, "preset: micollab"), parse(t, meetings))
	require.Len(t, got, 1, "%v", got)
	assert.Equal(t, [2]int{60, 80}, minutes(got[0]), "from the meeting until the pick")
}

func TestCallsThatWouldNoLongerCross(t *testing.T) {
	m := day(at(30, "pbx.main.101", phoneOf(presence.LineInCall, "Available")), at(45, "pbx.main.101", phoneOf(presence.LineIdle, "Available")))
	got := Run(config(pbx.Capabilities{}), m, parse(t, "preset: micollab"), parse(t, "preset: micollab\npbx_to_teams: []\n"))
	require.Len(t, got, 1, "%v", got)
	assert.Equal(t, Difference{Side: "teams", Old: "Busy/InACall", New: "Available/Available", From: got[0].From, Until: got[0].Until}, got[0])
	assert.Equal(t, [2]int{30, 45}, minutes(got[0]))
}

// A state that goes on when the replay ends is different until then; messages and preferred presences are seen.
func TestMessagesAndPreferredPresences(t *testing.T) {
	lunch := phoneOf(presence.LineIdle, "Lunch")
	m := day(at(240, "pbx.main.101", lunch))
	got := Run(config(pbx.Capabilities{Messages: true}), m, parse(t, "preset: micollab"),
		parse(t, "preset: micollab\npbx_to_teams:\n- {when: {status: Lunch}, set: {presence: BeRightBack, method: preferred, for: 10h, message: At lunch}}\n"))
	require.NotEmpty(t, got)
	last := got[len(got)-1]
	assert.Equal(t, "teams", last.Side)
	assert.Equal(t, "BeRightBack/BeRightBack, “At lunch”", last.New)
	assert.Equal(t, [2]int{240, 600}, minutes(last))

	m = day()
	out := teams("Available")
	out.OutOfOffice, out.Message = presence.AbsenceYes, "Back on Monday"
	m.Changes = []Change{at(60, "teams", out), at(120, "teams", teams("Available"))}
	got = Run(config(pbx.Capabilities{Messages: true}), m, parse(t, "preset: micollab"),
		parse(t, "teams_to_pbx:\n- {when: {out_of_office: true}, set: {status_kind: away, message: copy}}\n"))
	require.Len(t, got, 1, "%v", got)
	assert.Equal(t, "Lunch, “Back on Monday”", got[0].New)
	assert.Equal(t, [2]int{60, 120}, minutes(got[0]))
}

// Somebody who opted out under the new policy shows what is their own.
func TestGroupsInAReplay(t *testing.T) {
	p := parse(t, "preset: micollab\ngroups: [{group: Board, opt_out: both}]\n")
	m := day(at(30, "pbx.main.101", phoneOf(presence.LineInCall, "Available")), at(45, "pbx.main.101", phoneOf(presence.LineIdle, "Available")))
	got := Run(config(pbx.Capabilities{}), m, p.For(nil, 0), p.For([]string{"Board"}, 0))
	require.Len(t, got, 1)
	assert.Equal(t, "Available/Available", got[0].New)
	assert.Empty(t, Run(config(pbx.Capabilities{}), m, p.For([]string{"Board"}, 0), p.For([]string{"board"}, 0)))
}

// What was never seen decides nothing, and a PBX that is gone is left out.
func TestUnknownStates(t *testing.T) {
	m := &Member{ID: "ann", Endpoints: []presence.EndpointID{desk, {PBX: "gone", User: "1"}}, Changes: []Change{
		at(10, "pbx.gone.1", phoneOf(presence.LineInCall, "Available")), at(20, "teams", teams("Busy/InAMeeting")),
	}}
	assert.Empty(t, Run(config(pbx.Capabilities{}), m, parse(t, "preset: micollab"), parse(t, meetings)), "a phone that was never seen is not written to")
}

// drawDay makes any day.
func drawDay(t *rapid.T) *Member {
	m := day()
	now := 0
	for range rapid.IntRange(0, 20).Draw(t, "changes") {
		now += rapid.IntRange(0, 30).Draw(t, "minutes")
		if rapid.Bool().Draw(t, "in teams") {
			own := teams(rapid.SampledFrom([]string{"Available", "Busy/InACall", "Busy/InAMeeting", "DoNotDisturb", "Away", "Offline"}).Draw(t, "pair"))
			own.State = rapid.SampledFrom([]bridge.OrganicState{bridge.OrganicSeen, bridge.OrganicSeen, bridge.OrganicHidden}).Draw(t, "state")
			own.Message = rapid.SampledFrom([]string{"", "", "Hello"}).Draw(t, "message")
			m.Changes = append(m.Changes, at(now, "teams", own))
			continue
		}
		own := phoneOf(rapid.SampledFrom([]presence.Line{presence.LineIdle, presence.LineInCall, presence.LineRinging}).Draw(t, "line"),
			rapid.SampledFrom([]string{"Available", "Lunch", "Do not disturb", "Gone"}).Draw(t, "status"))
		m.Changes = append(m.Changes, at(now, "pbx.main.101", own))
	}
	return m
}

// The same rules make no difference; every difference has two sides, lies within the replay, and none overlaps another
// of its side; and a day ends as the policy says.
func TestReplayProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawDay(t)
		cfg := config(rapid.SampledFrom([]pbx.Capabilities{{}, {OwnDocument: true}, {Messages: true}}).Draw(t, "pbx"))
		cfg.Until = begin.Add(24 * time.Hour)
		if got := Run(cfg, m, parse(t, meetings), parse(t, meetings)); len(got) > 0 {
			t.Fatalf("the same policy makes a difference: %+v", got)
		}
		last := map[string]time.Time{}
		for _, d := range Run(cfg, m, parse(t, "preset: micollab"), parse(t, meetings)) {
			if d.Old == d.New || !d.Until.After(d.From) || d.From.Before(cfg.From) || d.Until.After(cfg.Until) || d.From.Before(last[d.Side]) {
				t.Fatalf("%+v", d)
			}
			last[d.Side] = d.Until
		}
		quiet := show(cfg, m, policy.Default(nil).For(nil, presence.BothDirections))
		end := quiet[len(quiet)-1].shows
		own := m.Start
		for _, c := range m.Changes {
			own[c.Side] = c.Own
		}
		if want := own["pbx.main.101"].Status.Name; end["pbx.main.101"] != want {
			t.Fatalf("without rules the phone shows %q, the person chose %q", end["pbx.main.101"], want)
		}
	})
}
