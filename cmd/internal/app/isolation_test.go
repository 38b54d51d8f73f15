package app

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/webhook"
)

// TestAccountsAreKeptApart bridges two customers in one process. The second one's PBX even has a phone with the mail
// address of somebody of the first one: it stays nobody's.
func TestAccountsAreKeptApart(t *testing.T) {
	t.Parallel()
	one, two := newSite(t, "contoso", 5, 1), newSite(t, "fabrikam", 3, 1)
	phone := one.phone(0)
	upn := one.person(t, phone)
	require.NoError(t, two.pbx.AddUser(pbxsim.User{ID: "stray", Email: upn, Extension: "9999"}))
	a := launch{dir: t.TempDir(), sites: []*site{one, two}}.start(t)
	authorize(t, a, one)
	authorize(t, a, two)

	c := admin(t, a)
	eventually(t, func() bool { return len(members(t, c, "contoso")) == 5 && len(members(t, c, "fabrikam")) == 3 }, "all members")
	for account, s := range map[string]*site{"contoso": one, "fabrikam": two} {
		for _, m := range members(t, c, account) {
			require.True(t, strings.HasSuffix(m, "@"+s.name+".example"), "%s in %s", m, account)
		}
	}
	_, err := c.Member(t.Context(), "fabrikam", upn)
	require.True(t, client.IsNotFound(err), "%v", err)
	require.ErrorContains(t, err, "fabrikam has no member", "it says what is missing where")
	_, err = c.Member(t.Context(), "nobody", upn)
	require.True(t, client.IsNotFound(err), "%v", err)

	require.NoError(t, one.graph.SignIn(upn))
	require.NoError(t, one.graph.StartCall(upn))
	eventually(t, func() bool { return one.status(phone) == "In a call" }, "a call of contoso's shows on its PBX")
	require.NoError(t, one.graph.EndCall(upn))
	eventually(t, func() bool { return one.status(phone) == "Available" }, "and ends")
	require.NoError(t, one.pbx.StartCall(phone))
	eventually(t, func() bool { return one.graph.Shown(upn) == graphInACall }, "a call on contoso's PBX shows in its Teams")

	require.Zero(t, two.pbx.Stats().WritesApplied+two.pbx.Stats().WritesNoChange+two.pbx.Stats().WritesConflict)
	require.Empty(t, two.graph.Stats().Writes)
	require.Equal(t, "Available", two.status("stray"))

	// fabrikam still works, all this time.
	other := two.phone(1) // after the stray one
	require.NoError(t, two.graph.StartCall(two.person(t, other)))
	eventually(t, func() bool { return two.status(other) == "In a call" }, "a call of fabrikam's shows on its PBX")
}

// TestNotificationAtTheWrongAccount has a genuine notification of one account posted to the other's address, as it
// came and with a clientState of the other's: neither makes the other believe anything.
func TestNotificationAtTheWrongAccount(t *testing.T) {
	t.Parallel()
	one, two := newSite(t, "contoso", 2, 1), newSite(t, "fabrikam", 2, 1)
	a := launch{dir: t.TempDir(), sites: []*site{one, two}}.start(t)
	authorize(t, a, one)
	phone := one.phone(0)
	require.NoError(t, one.graph.StartCall(one.person(t, phone)))
	eventually(t, func() bool { return one.status(phone) == "In a call" }, "the call shows")
	genuine, ok := one.posts.last("encryptedContent")
	require.True(t, ok)
	require.Equal(t, notifyURL(a, "contoso"), genuine.url)

	stored := func(account, outcome string) float64 {
		return metric(t, a.Registry(), "presence_bridge_webhook_requests_total", "account", account, "outcome", outcome)
	}
	status, _ := send(t, http.MethodPost, notifyURL(a, "fabrikam"), "", string(genuine.body))
	require.Equal(t, http.StatusAccepted, status, "a prober learns nothing")
	require.EqualValues(t, 1, stored("fabrikam", "unused"))
	require.Zero(t, stored("fabrikam", "stored"))

	forged := withClientState(t, a, genuine.body, "fabrikam")
	status, _ = send(t, http.MethodPost, notifyURL(a, "fabrikam"), "", forged)
	require.Equal(t, http.StatusAccepted, status)
	require.EqualValues(t, 1, stored("fabrikam", "stored"))
	items := func(reason string) float64 {
		return metric(t, a.Registry(), "presence_bridge_notify_items_total", "account", "fabrikam", "reason", reason)
	}
	eventually(t, func() bool {
		return metric(t, a.Registry(), "presence_bridge_notify_items_total", "account", "fabrikam") > 0
	}, "the body is looked at")
	require.Zero(t, items("none"), "and not believed")
	require.Zero(t, two.pbx.Stats().WritesApplied)
}

// withClientState gives every item of a body a clientState that the receiver takes for the account's.
func withClientState(t *testing.T, a *App, body []byte, account string) string {
	t.Helper()
	var env map[string]any
	require.NoError(t, json.Unmarshal(body, &env))
	for _, it := range env["value"].([]any) {
		it.(map[string]any)["clientState"] = clientState(t, a, account)
	}
	out, err := json.Marshal(env)
	require.NoError(t, err)
	return string(out)
}

func clientState(t *testing.T, a *App, account string) string {
	t.Helper()
	state, err := webhook.NewClientState(a.webhookKey(), account)
	require.NoError(t, err)
	return state
}

// members are the UPNs of the matched ones.
func members(t *testing.T, c *client.Client, account string) []string {
	t.Helper()
	var out []string
	for m, err := range c.Members(t.Context(), account, "") {
		require.NoError(t, err)
		if len(m.Endpoints) > 0 {
			out = append(out, m.UPN)
		}
	}
	return out
}
