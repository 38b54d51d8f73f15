package app

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
)

// Another program puts back what the bridge writes. How often that may happen is the account's configuration; that the
// bridge then stays away is said wherever the member is shown, under the name of the alert.
func TestCompetingWritersAreConfiguredAndShown(t *testing.T) {
	t.Parallel()
	counted, never := newSite(t, "contoso", 3, 1), newSite(t, "fabrikam", 3, 1)
	counted.extra = "    competing_writers: {flips: 2, window: 1h, pause: 2h}\n"
	never.extra = "    competing_writers: {flips: 0}\n"
	a := launch{dir: t.TempDir(), sites: []*site{counted, never}}.start(t)
	for _, s := range []*site{counted, never} {
		require.NoError(t, s.graph.SignIn(s.person(t, s.phone(0))))
		authorize(t, a, s)
		awaitPhones(t, a, s)
	}
	fight := func(s *site) {
		upn := s.person(t, s.phone(0))
		require.NoError(t, s.graph.StartCall(upn))
		eventually(t, func() bool { return s.status(s.phone(0)) == "In a call" }, "the bridge writes")
		require.NoError(t, s.pbx.WriteAs("another-sync", s.phone(0), "Available"))
		eventually(t, func() bool { return member(t, a, s, upn).Endpoints[0].Override != nil }, "that ended it")
		require.NoError(t, s.graph.EndCall(upn))
		eventually(t, func() bool { return member(t, a, s, upn).Teams.Organic.Activity == "Available" }, "the call is over")
	}
	for range 2 {
		fight(counted)
	}
	for range 4 {
		fight(never)
	}
	upn := counted.person(t, counted.phone(0))
	require.Nil(t, member(t, a, counted, upn).Endpoints[0].Competing)
	require.NoError(t, counted.graph.StartCall(upn))
	eventually(t, func() bool { return member(t, a, counted, upn).Endpoints[0].Competing != nil }, "it is noticed")
	m := member(t, a, counted, upn)
	c := m.Endpoints[0].Competing
	require.Equal(t, api.AlertCompetingWriters, c.Alert)
	require.Equal(t, 2*time.Hour, c.Until.Sub(c.Since))
	require.Equal(t, []string{"competing_writers"}, m.Endpoints[0].Because)
	require.Nil(t, m.Teams.Competing)
	require.Equal(t, "Available", counted.status(counted.phone(0)))
	eventually(t, func() bool {
		return metric(t, a.Registry(), "presence_bridge_competing_writers", "account", "contoso", "side", "main") == 1
	}, "the alert is raised")

	e, err := admin(t, a).Explain(t.Context(), counted.name, upn, time.Time{}, time.Time{}, time.UTC)
	require.NoError(t, err)
	require.Equal(t, c, e.Sides[1].Competing) // from the record, not from what is recorded
	require.Contains(t, e.Text, "Another program keeps changing what the bridge writes there (competing writers), so the bridge stays away since ")
	js, err := json.Marshal(m)
	require.NoError(t, err)
	require.Contains(t, string(js), `"competing_writers":{"alert":"PresenceBridgeCompetingWriters","since":"`)
	rules, err := os.ReadFile("../../../deploy/prometheus/alerts.yml")
	require.NoError(t, err)
	require.Contains(t, string(rules), "alert: "+api.AlertCompetingWriters+"\n")

	require.NoError(t, never.graph.StartCall(never.person(t, never.phone(0))))
	eventually(t, func() bool { return never.status(never.phone(0)) == "In a call" }, "where flips are not counted, the bridge goes on")
}
