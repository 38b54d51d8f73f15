package app

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
)

// What people did is run through another policy by the real bridge: who would have looked different, where and when.
func TestReplayOfWhatHappened(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 5, 1)
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	authorize(t, a, s)
	c := admin(t, a)
	meets, calls, idle := s.person(t, s.phone(0)), s.person(t, s.phone(1)), s.person(t, s.phone(2))
	for _, upn := range []string{meets, calls, idle} {
		require.NoError(t, s.graph.SignIn(upn))
	}
	eventually(t, func() bool {
		return member(t, a, s, idle).Teams.OrganicState == "seen" && member(t, a, s, meets).Teams.Shown.Availability == "Available"
	}, "everybody is seen")
	began := time.Now()
	require.NoError(t, s.graph.StartMeeting(meets))
	require.NoError(t, s.pbx.StartCall(s.phone(1)))
	eventually(t, func() bool {
		return s.graph.Shown(calls) == graphInACall && member(t, a, s, meets).Teams.Shown.Activity == "InAMeeting"
	}, "a meeting and a call")
	require.NoError(t, s.graph.EndMeeting(meets))
	require.NoError(t, s.pbx.EndCall(s.phone(1)))
	eventually(t, func() bool {
		return s.graph.Shown(calls) == graphAvailable && member(t, a, s, meets).Teams.Shown.Activity == "Available"
	}, "both are over")

	run := func(text string) (list []api.ReplayDifference, sum api.ReplaySummary) {
		sum, err := c.ReplayPolicy(t.Context(), s.name, api.ReplayRequest{Policy: text, Since: began.Add(-time.Minute)}, func(item api.ReplayItem) error {
			if item.Difference != nil {
				list = append(list, *item.Difference)
			}
			return nil
		})
		require.NoError(t, err)
		return list, sum
	}
	const other = "preset: micollab\nteams_to_pbx:\n- {when: {activity: InAMeeting}, set: {status: In a meeting, status_kind: busy}}\npbx_to_teams: []\n"
	var list []api.ReplayDifference
	var sum api.ReplaySummary
	eventually(t, func() bool { list, sum = run(other); return len(list) >= 2 }, "the records are there")
	require.Equal(t, 5, sum.Members)
	require.Equal(t, 2, sum.Changed, "%v", list)
	require.Positive(t, sum.Observations)
	require.Empty(t, sum.Remarks)
	for _, d := range list {
		require.WithinRange(t, d.From, began.Add(-time.Second), time.Now())
		require.True(t, d.Until.After(d.From))
		switch d.UPN {
		case meets:
			require.Equal(t, "pbx.main."+s.phone(0), d.Side)
			require.Equal(t, "Available", d.Old)
			require.NotEqual(t, d.Old, d.New)
		case calls:
			require.Equal(t, "teams", d.Side)
			require.Equal(t, []string{"Busy/InACall", "Available/Available"}, []string{d.Old, d.New})
		default:
			t.Fatalf("%+v", d)
		}
	}
	list, sum = run("preset: micollab")
	require.Empty(t, list, "the same rules make no difference")
	require.Zero(t, sum.Changed)
	_, sum = run("teams_to_pbx: [{when: {out_of_office: true, group: Board}, set: {status_kind: out}}]")
	require.Len(t, sum.Remarks, 2, "what the records do not hold is said")
	require.Contains(t, sum.Remarks[0], `"Board"`)
	require.Contains(t, sum.Remarks[1], "out of office")

	_, err := c.ReplayPolicy(t.Context(), s.name, api.ReplayRequest{Policy: "preset: none"}, nil)
	require.ErrorContains(t, err, `line 1: preset: there is no preset "none"`)
	_, sumErr := c.ReplayPolicy(t.Context(), s.name, api.ReplayRequest{Policy: "preset: sip", Since: began.Add(-1000 * time.Hour)}, func(api.ReplayItem) error { return nil })
	require.NoError(t, sumErr)
}

// Without records there is nothing to replay, and that is said.
func TestReplayWithoutHistory(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	a := launch{dir: t.TempDir(), sites: []*site{s}, head: "history: 0s"}.start(t)
	_, err := admin(t, a).ReplayPolicy(t.Context(), s.name, api.ReplayRequest{Policy: "preset: sip"}, nil)
	require.ErrorContains(t, err, "history is 0")
}
