package verify

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/config"
)

// TestGraphIsHadToReachTheBridge has a spare monitor, so that Graph can be made to try.
func TestGraphIsHadToReachTheBridge(t *testing.T) {
	w := newWorld(t, func(s *settings) { s.graph.Monitors = []string{"presence1", "presence2"}; s.graph.AutoApprove = false })
	w.set("monitors", "[{upn: presence1@contoso.example}, {upn: presence2@contoso.example}]")
	a := w.start()
	c, err := client.New("http://"+a.AdminAddr(), a.AdminToken())
	require.NoError(t, err)
	sign := func(upn string) {
		var auth api.Authorization
		require.Eventually(t, func() bool { auth, err = c.Authorize(t.Context(), "contoso", upn); return err == nil }, time.Minute, 50*time.Millisecond)
		require.NoError(t, w.graph.Approve(auth.UserCode, upn))
		auth, err = c.AwaitAuthorization(t.Context(), auth)
		require.NoError(t, err)
		require.Equal(t, api.AuthorizationDone, auth.State, auth.Message)
	}
	sign("presence1@contoso.example")
	require.Eventually(t, func() bool {
		accounts, err := c.Accounts(t.Context())
		return err == nil && accounts[0].Members[presence.CoveragePushed] == 20
	}, 60*time.Second, 50*time.Millisecond)
	expect(t, w.run(), "graph_reach", "", OK, "not tried now", "add a spare one", "has validated both URLs for the subscription of presence1")

	sign("presence2@contoso.example")
	live := w.graph.Subscriptions()
	require.Len(t, live, 1)
	expect(t, w.run(), "graph_reach", "", OK, "validated both URLs within", "presence2@contoso.example", "deleted again")
	require.Equal(t, live, w.graph.Subscriptions(), "the live one was not touched, and the other one is gone")
	require.EqualValues(t, 2, w.graph.Stats().Requests["createSubscription"][http.StatusCreated])

	accounts, err := c.Accounts(t.Context())
	require.NoError(t, err)
	sum := accounts[0].Coverage
	require.Equal(t, 1, sum.Spares)
	require.Contains(t, sum.Text, "one more would change nothing")
	require.EqualValues(t, "unmatched", sum.Reasons[0].Coverage)

}

// TestGraphReachWords judges what the bridge says of the probe.
func TestGraphReachWords(t *testing.T) {
	now := time.Now()
	tn := func(p api.Probe, err error, monitors ...api.Monitor) Check {
		monitors = append(monitors, api.Monitor{UPN: "spare@contoso.example", State: "authorized"})
		x := &tenant{site: &site{now: now}, cfg: &config.Account{Name: "contoso"}, monitors: monitors, probed: p, probedErr: err}
		x.cloud.Subscriptions = true
		return checkGraphReach(x)[0]
	}
	c := tn(api.Probe{State: api.ProbeFailed, UPN: "spare@contoso.example", Code: "InvalidRequest", Text: "Subscription validation request timed out."}, nil)
	require.Equal(t, Failed, c.Result)
	require.Contains(t, c.Evidence, "timed out")
	require.Contains(t, c.Remedy, "let the internet reach public_url")
	live := api.Monitor{UPN: "m@contoso.example", Subscription: &api.Subscription{ExpiresAt: now.Add(time.Hour), HeardAt: now}}
	c = tn(api.Probe{State: api.ProbeNotTested, Text: "Graph made no subscription: throttled"}, nil, live)
	require.Equal(t, OK, c.Result)
	require.Contains(t, c.Evidence, "throttled")
	c = tn(api.Probe{}, errors.New("an older bridge does not know how"), live)
	require.Contains(t, c.Evidence, "an older bridge")
	require.Equal(t, Warning, tn(api.Probe{State: api.ProbeNotTested, Text: "x"}, nil).Result)
}
