package pbxsim

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestControlMovesPeople(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	c.token = "none is needed"
	do := func(path, body string, want int) controlUser {
		t.Helper()
		a := c.call("POST", "/sim/users/"+path, body)
		require.Equal(t, want, a.status, "%s: %s", path, a.body)
		var u controlUser
		if want == 200 {
			a.into(t, &u)
		}
		return u
	}
	for _, step := range []struct{ path, line string }{
		{"1001/ring", "ringing"}, {"u000001/stop-ringing", "idle"}, {"user1%40contoso.example/call", "in-call"}, {"1001/hold", "on-hold"},
		{"1001/resume", "in-call"}, {"1001/end", "idle"}, {"1001/offline", "offline"}, {"1001/online", "idle"},
	} {
		require.Equal(t, step.line, do(step.path, "", 200).Presence.Line, step.path)
	}
	u := do("1001/pick", `{"status":"Busy","message":"hm"}`, 200)
	require.Equal(t, "Busy", u.Presence.Status)
	require.Equal(t, "hm", u.Presence.Message)
	require.Equal(t, "Busy", u.Chosen)
	require.Equal(t, "user", u.LastWriter)
	do("1001/pick", `{"status":"nope"}`, 422)
	do("1001/pick", `{"statos":"Busy"}`, 400)
	do("1001/pick", ``, 400)
	do("1001/end", ``, 409)
	do("1001/dance", ``, 404)
	do("nobody/ring", ``, 404)
	require.Equal(t, 405, c.call("GET", "/sim/users/1001/ring", "").status)
}

func TestControlUsers(t *testing.T) {
	s := start(t, Config{Users: 30})
	c := dial(t, s)
	var list struct{ Users []controlUser }
	c.call("GET", "/sim/users", "").into(t, &list)
	require.Len(t, list.Users, 30)
	list.Users = nil
	c.call("GET", "/sim/users?q=user7@", "").into(t, &list)
	require.Len(t, list.Users, 1)
	require.Equal(t, 200, c.call("POST", "/sim/users", `{"id":"new","email":"new@contoso.example"}`).status)
	require.Equal(t, 400, c.call("POST", "/sim/users", `{"id":"new"}`).status)
	require.Equal(t, 400, c.call("POST", "/sim/users", `{`).status)
	require.Equal(t, 200, c.call("GET", "/sim/users/new", "").status)
	require.Equal(t, 204, c.call("DELETE", "/sim/users/new", "").status)
	require.Equal(t, 404, c.call("DELETE", "/sim/users/new", "").status)
	require.Equal(t, 404, c.call("GET", "/sim/users/new", "").status)
	require.Equal(t, 405, c.call("PUT", "/sim/users/1001", "").status)
	require.Equal(t, 405, c.call("PUT", "/sim/users", "").status)
	var statuses wireStatuses
	c.call("GET", "/sim/statuses", "").into(t, &statuses)
	require.Equal(t, s.Statuses(), statuses.Statuses)
	require.Equal(t, 404, c.call("GET", "/sim", "").status)
	require.Equal(t, 404, c.call("GET", "/sim/nothing", "").status)
}

func TestControlFaults(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	require.Equal(t, 200, c.call("PUT", "/sim/faults", `{"preset":"some"}`).status)
	require.Equal(t, SomeFaults(), s.Faults())
	require.Equal(t, 200, c.call("PUT", "/sim/faults", `{"preset":"none","errors":0.5,"slow":1,"slow_by":"1.5s"}`).status)
	require.Equal(t, Faults{Errors: 0.5, Slow: 1, SlowBy: 1500 * time.Millisecond}, s.Faults())
	require.Equal(t, 200, c.call("PUT", "/sim/faults", `{"errors":0}`).status, "the others stay")
	require.Equal(t, Faults{Slow: 1, SlowBy: 1500 * time.Millisecond}, s.Faults())
	for _, bad := range []string{`{"preset":"x"}`, `{"errors":2}`, `{"eroors":0.1}`, `{"slow_by":7}`, `{"slow_by":"-1s"}`, `{`, `[]`} {
		require.Equal(t, 400, c.call("PUT", "/sim/faults", bad).status, bad)
	}
	var shown map[string]any
	c.call("GET", "/sim/faults", "").into(t, &shown)
	require.Equal(t, "1.5s", shown["slow_by"])
	require.Equal(t, 405, c.call("POST", "/sim/faults", "").status)
}

func TestControlPeople(t *testing.T) {
	s := start(t, Config{Users: 50})
	c := dial(t, s)
	put := func(body string, want int) (p controlPeople) {
		t.Helper()
		a := c.call("PUT", "/sim/people", body)
		require.Equal(t, want, a.status, "%s", a.body)
		if want == 200 {
			a.into(t, &p)
		}
		return p
	}
	require.Equal(t, PeopleStopped, put(`{"state":"stop"}`, 200).State)
	put(`{"state":"pause"}`, 400)
	put(`{"state":"dance"}`, 400)
	put(`{"state":"run","rate":-1}`, 400)
	p := put(`{"state":"run","rate":500,"mean_call":"10ms"}`, 200)
	require.Equal(t, PeopleRunning, p.State)
	require.EqualValues(t, 500, p.Rate)
	require.Eventually(t, func() bool { return s.Stats().LineChanges > 5 }, time.Minute, time.Millisecond)
	require.Equal(t, PeoplePaused, put(`{"state":"pause"}`, 200).State)
	require.Equal(t, PeopleRunning, put(`{"state":"run","rate":1}`, 200).State)
	require.Equal(t, PeopleStopped, put(`{"state":"stop"}`, 200).State)
	var got controlPeople
	c.call("GET", "/sim/people", "").into(t, &got)
	require.Positive(t, got.Begun)
	require.Equal(t, 405, c.call("POST", "/sim/people", "").status)
}

func TestControlPlant(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	l := c.listen("")
	l.reset()
	require.Equal(t, 202, c.call("POST", "/sim/stall", `{"on":true}`).status)
	require.True(t, s.isStalled())
	require.Equal(t, 202, c.call("POST", "/sim/stall", `{"on":false}`).status)
	require.Equal(t, 202, c.call("POST", "/sim/cut", "").status)
	require.True(t, l.next().ended)
	require.NoError(t, s.Pick("u000001", "Busy"))
	require.Equal(t, 202, c.call("POST", "/sim/restart", `{"lose_state":true,"down":"1ms"}`).status)
	require.Eventually(t, func() bool { return s.Stats().Restarts == 1 }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { _, err := c.try("GET", "/sim/stats", ""); return err == nil }, time.Minute, time.Millisecond)
	require.Equal(t, "Available", must(s.Presence("u000001")).Status)
	require.Equal(t, 400, c.call("POST", "/sim/restart", `{"down":"-1s"}`).status)
	require.Equal(t, 400, c.call("POST", "/sim/restart", `{"down":1}`).status)
	require.Equal(t, 405, c.call("GET", "/sim/restart", "").status)
	var stats map[string]any
	c.call("GET", "/sim/stats", "").into(t, &stats)
	require.EqualValues(t, 1, stats["restarts"])
	b, err := json.Marshal(s.Stats())
	require.NoError(t, err)
	require.NotContains(t, string(b), "Token")
}
