package graphsim

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestControlMovesPeople(t *testing.T) {
	x := two(t)
	post := func(body any) answer { return x.call("POST", "/sim/people/"+anna, "", body) }
	for _, step := range []struct {
		move move
		want Pair
	}{
		{move{Do: "sign-in"}, Available}, {move{Do: "call"}, InACall}, {move{Do: "presenting"}, Presenting}, {move{Do: "presenting-end"}, InACall},
		{move{Do: "call-end"}, Available}, {move{Do: "conference"}, InAConferenceCall}, {move{Do: "call-end"}, Available},
		{move{Do: "meeting"}, InAMeeting}, {move{Do: "meeting-end"}, Available}, {move{Do: "away"}, Away}, {move{Do: "available"}, Available},
		{move{Do: "client", Pair: "Busy", Client: "mobile"}, Busy}, {move{Do: "close", Client: "mobile"}, Available},
		{move{Do: "pick", Pair: "DoNotDisturb", For: "1h"}, DoNotDisturb}, {move{Do: "pick-reset"}, Available},
		{move{Do: "appear-offline"}, AppearOffline}, {move{Do: "pick-reset"}, Available},
		{move{Do: "out-of-office", Text: "gone"}, OutOfOffice}, {move{Do: "in-office"}, Available}, {move{Do: "sign-out"}, Offline},
	} {
		a := post(step.move)
		require.Equal(t, 200, a.status, a.body)
		var state State
		require.NoError(t, json.Unmarshal([]byte(a.body), &state))
		require.Equal(t, step.want, state.Shown, step.move.Do)
	}
	for _, name := range moveNames {
		require.Contains(t, x.moves(anna, move{}), name)
	}
	require.Len(t, x.moves(anna, move{}), len(moveNames))
	for _, bad := range []any{move{Do: "dance"}, move{Do: "client"}, move{Do: "pick", Pair: "Busy/InACall"}, move{Do: "pick", Pair: "Busy", For: "soon"}, `{"doo":1}`, "["} {
		a := post(bad)
		require.Equal(t, 400, a.status, a.body)
		require.NotEmpty(t, a.text("error"))
	}
	require.Equal(t, 404, x.call("POST", "/sim/people/nobody", "", move{Do: "call"}).status)
	require.Equal(t, 404, x.call("GET", "/sim/people/nobody", "", nil).status)
	require.Equal(t, 200, x.call("GET", "/sim/people/"+anna, "", nil).status)
}

func TestControlListsPeople(t *testing.T) {
	x := two(t)
	var states []State
	require.NoError(t, json.Unmarshal([]byte(x.call("GET", "/sim/people", "", nil).body), &states))
	require.Len(t, states, 4)
	require.NoError(t, json.Unmarshal([]byte(x.call("GET", "/sim/people?match="+url.QueryEscape("ANNA"), "", nil).body), &states))
	require.Len(t, states, 1)
	a := x.call("POST", "/sim/people", "", Person{UPN: "carl@contoso.example"})
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, 400, x.call("POST", "/sim/people", "", Person{UPN: "carl@contoso.example"}).status)
	require.Equal(t, 200, x.call("DELETE", "/sim/people/carl@contoso.example", "", nil).status)
	require.Equal(t, 404, x.call("DELETE", "/sim/people/carl@contoso.example", "", nil).status)
}

func TestControlFaults(t *testing.T) {
	x := two(t)
	put := func(body string) answer { return x.call("PUT", "/sim/faults", "", body) }
	require.Equal(t, 200, put(`{"preset":"cruel","drop":0}`).status)
	want := Cruel()
	want.Drop = 0
	require.Equal(t, want, x.Faults())
	require.Equal(t, 200, put(`{"slow_by":"1s"}`).status)
	want.SlowBy = 1e9
	require.Equal(t, want, x.Faults())
	require.Equal(t, "1s", x.call("GET", "/sim/faults", "", nil).text("slow_by"))
	for _, bad := range []string{`{"preset":"worse"}`, `{"dropp":1}`, `{"drop":7}`, `[`} {
		require.Equal(t, 400, put(bad).status, bad)
	}
	require.Equal(t, want, x.Faults())
	require.Equal(t, 200, put(`{"preset":"none"}`).status)
	require.Equal(t, None(), x.Faults())
}

func TestControlDeviceCodesAndTokens(t *testing.T) {
	x := two(t)
	start := func() string {
		a := x.form(x.TenantID+"/oauth2/v2.0/devicecode", "client_id", x.ClientID, "scope", "Presence.Read.All")
		return "/sim/devicecodes/" + a.text("user_code")
	}
	code := start()
	require.Contains(t, x.call("GET", "/sim/devicecodes", "", nil).body, "Presence.Read.All")
	require.Equal(t, 400, x.call("POST", code, "", "{}").status)
	require.Equal(t, 404, x.call("POST", code, "", `{"approve":"nobody"}`).status)
	require.Equal(t, 200, x.call("POST", code, "", `{"approve":"`+mon+`"}`).status)
	require.Equal(t, 404, x.call("POST", code, "", `{"decline":true}`).status)
	require.Equal(t, 200, x.call("POST", start(), "", `{"decline":true}`).status)
	require.Equal(t, 200, x.call("POST", start(), "", `{"expire":true}`).status)
	require.Equal(t, "[]", x.call("GET", "/sim/devicecodes", "", nil).body)

	refresh := x.signIn(mon).text("refresh_token")
	again := func() answer {
		return x.tokenForm("grant_type", "refresh_token", "client_id", x.ClientID, "refresh_token", refresh)
	}
	require.Equal(t, 200, x.call("PUT", "/sim/tokens/"+mon, "", `{"code":53003}`).status)
	refused(t, again(), 400, 53003, "invalid_grant")
	require.Equal(t, 200, x.call("PUT", "/sim/tokens/"+mon, "", `{"code":0}`).status)
	require.Equal(t, 200, again().status)
	require.Equal(t, 200, x.call("PUT", "/sim/tokens/"+mon, "", `{"revoke":true}`).status)
	refused(t, again(), 400, 50173, "invalid_grant")
	require.Equal(t, 400, x.call("PUT", "/sim/tokens/"+mon, "", `{"cod":1}`).status)
	require.Equal(t, 200, x.call("POST", "/sim/keys", "", `{"retire":true}`).status)
	require.Equal(t, 400, x.call("POST", "/sim/keys", "", `[]`).status)
}

func TestControlSubscriptions(t *testing.T) {
	x, b, _, id := subscribed(t)
	require.Contains(t, x.call("GET", "/sim/subscriptions", "", nil).body, id)
	poke := func(do string) int {
		return x.call("POST", "/sim/subscriptions/"+id, "", map[string]string{"do": do}).status
	}
	require.Equal(t, 200, poke("kill"))
	require.True(t, x.Subscriptions()[0].Dead)
	require.Equal(t, 200, poke("revive"))
	require.Equal(t, 200, poke("challenge"))
	require.Equal(t, 400, poke("dance"))
	require.Equal(t, 404, x.call("POST", "/sim/subscriptions/x", "", `{"do":"kill"}`).status)
	require.Eventually(t, func() bool { return len(b.items()) == 1 }, waitAtMost, waitStep)
}

func TestControlDriver(t *testing.T) {
	x := newTenant(t, Config{Users: 50})
	put := func(body string) answer { return x.call("PUT", "/sim/driver", "", body) }
	require.Equal(t, false, x.call("GET", "/sim/driver", "", nil).json["running"])
	require.Equal(t, 400, put(`{"rate":-1}`).status)
	require.Equal(t, 400, put(`{"speed":1}`).status)
	require.Equal(t, true, put(`{"rate":100}`).json["running"])
	require.Eventually(t, func() bool { return x.drivers.state().Actions > 60 }, waitAtMost, waitStep)
	require.Equal(t, true, put(`{"paused":true}`).json["paused"])
	require.Equal(t, false, put(`{"paused":false,"rate":1}`).json["paused"])
	require.Len(t, x.drivers.all, 1)
}

func TestControlOverview(t *testing.T) {
	x := two(t)
	a := x.call("GET", "/sim/", "", nil)
	require.Equal(t, x.TenantID, a.text("tenant_id"))
	require.Equal(t, x.ClientSecret, a.text("client_secret"))
	require.EqualValues(t, 2, a.json["people"])
	require.Equal(t, 200, x.call("GET", "/sim/stats", "", nil).status)
	require.Equal(t, 200, x.call("GET", "/sim/ca.pem", "", nil).status)
}
