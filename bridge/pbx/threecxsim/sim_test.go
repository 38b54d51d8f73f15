package threecxsim

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// client is somebody who knows the API, and nothing of the connector.
type client struct {
	t     *testing.T
	sim   *Sim
	token string
}

func newClient(t *testing.T, cfg Config) *client {
	t.Helper()
	sim, err := Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	c := &client{t: t, sim: sim}
	c.token = c.fetch()["access_token"].(string)
	return c
}

// fetch asks for a token as a form.
func (c *client) fetch() map[string]any {
	c.t.Helper()
	form := url.Values{"client_id": {c.sim.ClientID()}, "client_secret": {c.sim.ClientSecret()}, "grant_type": {"client_credentials"}}
	status, body := c.do(http.MethodPost, "/connect/token", "application/x-www-form-urlencoded", form.Encode())
	require.Equal(c.t, http.StatusOK, status)
	return object(c.t, body)
}

func (c *client) do(method, path, kind, body string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.sim.URL()+path, strings.NewReader(body))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	return res.StatusCode, string(text)
}

func (c *client) get(path string) (int, string) {
	c.t.Helper()
	return c.do(http.MethodGet, path, "", "")
}

func (c *client) patch(path, body string) int {
	c.t.Helper()
	status, _ := c.do(http.MethodPatch, path, "application/json", body)
	return status
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &out), text)
	return out
}

func TestOneTokenPerClient(t *testing.T) {
	c := newClient(t, Config{})
	status, _ := c.get("/xapi/v1/SystemStatus")
	require.Equal(t, 200, status)
	second := c.fetch()
	require.EqualValues(t, 3600, second["expires_in"])
	status, _ = c.get("/xapi/v1/SystemStatus")
	require.Equal(t, 401, status, "the token before is invalid now")
	c.token = second["access_token"].(string)
	status, _ = c.get("/xapi/v1/SystemStatus")
	require.Equal(t, 200, status)

	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for k, v := range map[string]string{"client_id": "bridge", "client_secret": "wrong", "grant_type": "client_credentials"} {
		require.NoError(t, w.WriteField(k, v))
	}
	require.NoError(t, w.Close())
	status, body := c.do(http.MethodPost, "/connect/token", w.FormDataContentType(), form.String())
	require.Equal(t, 400, status)
	require.Contains(t, body, "invalid_client")
	require.EqualValues(t, 60, newClient(t, Config{Version: "20.0.8.1"}).fetch()["expires_in"], "minutes, before 20.0.9")
}

func TestUsersArePaged(t *testing.T) {
	c := newClient(t, Config{Users: 7, PageLimit: 3})
	status, body := c.get("/xapi/v1/Users?$select=Id,Number&$top=100&$skip=6&$count=true")
	require.Equal(t, 200, status)
	page := object(t, body)
	require.EqualValues(t, 7, page["@odata.count"])
	require.NotContains(t, page, "@odata.nextLink")
	require.Equal(t, []any{map[string]any{"Id": 17.0, "Number": "107"}}, page["value"])
	_, body = c.get("/xapi/v1/Users?$top=100")
	require.Len(t, object(t, body)["value"], 3, "$top is cut")
	_, body = c.get("/xapi/v1/Users(Number='103')?$expand=ForwardingProfiles")
	require.Len(t, object(t, body)["ForwardingProfiles"], 5)
	for _, path := range []string{"/xapi/v1/Users(99)", "/xapi/v1/Users(Number='9')", "/xapi/v1/Nonsense", "/xapi/v1/Users(x)"} {
		status, _ = c.get(path)
		require.Equal(t, 404, status, path)
	}
	status, _ = c.get("/xapi/v1/Users?$top=x")
	require.Equal(t, 400, status)
}

func TestProfiles(t *testing.T) {
	var mu sync.Mutex
	var by []string
	c := newClient(t, Config{OnChange: func(ch Change) {
		mu.Lock()
		defer mu.Unlock()
		by = append(by, ch.By+" "+ch.After.Status)
	}})
	require.Equal(t, 204, c.patch("/xapi/v1/Users(11)", `{"CurrentProfileName":"Away"}`))
	require.Equal(t, 400, c.patch("/xapi/v1/Users(11)", `{"CurrentProfileName":"Holiday"}`))
	require.Equal(t, 404, c.patch("/xapi/v1/Users(99)", `{"CurrentProfileName":"Away"}`))
	require.Equal(t, 204, c.patch("/xapi/v1/Users(11)", `{}`))
	require.NoError(t, c.sim.Pick("101", "Custom 1"))
	require.NoError(t, c.sim.Pick("user1@contoso.example", "Custom 1"))
	require.ErrorIs(t, c.sim.Pick("11", "Holiday"), ErrNoStatus)
	require.ErrorIs(t, c.sim.Pick("4711", "Away"), ErrNoUser)
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(by) == 2 }, time.Minute, time.Millisecond)
	require.Equal(t, []string{"api Away", "user Custom 1"}, by, "what shows already leaves no trace")
	chosen, err := c.sim.Chosen("11")
	require.NoError(t, err)
	require.Equal(t, "Custom 1", chosen)

	// A profile that is written in part loses the rest.
	require.Equal(t, 204, c.patch("/xapi/v1/Users(12)", `{"ForwardingProfiles":[{"Id":121,"CustomMessage":"x"}]}`))
	seconds, _, err := c.sim.Settings("12", "Away")
	require.NoError(t, err)
	require.Zero(t, seconds)
}

// told reads frames until one that a test waits for.
func told(t *testing.T, ws *websocket.Conn, n int) []map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out []map[string]any
	for range n {
		_, text, err := ws.Read(ctx)
		require.NoError(t, err)
		out = append(out, object(t, string(text)))
	}
	return out
}

func (c *client) socket() *websocket.Conn {
	c.t.Helper()
	ws, _, err := websocket.Dial(c.t.Context(), c.sim.URL()+"/callcontrol/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + c.token}}})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = ws.CloseNow() })
	require.Eventually(c.t, func() bool { return c.sim.Stats().Sockets > 0 }, time.Minute, time.Millisecond)
	return ws
}

func TestCalls(t *testing.T) {
	c := newClient(t, Config{Limits: Limits{Monitored: []string{"101", "102"}}})
	ws := c.socket()
	require.NoError(t, c.sim.Ring("103"), "of whom nobody is told")
	require.NoError(t, c.sim.Ring("101"))
	require.NoError(t, c.sim.StartCall("101"))
	require.NoError(t, c.sim.Hold("101"))
	require.NoError(t, c.sim.EndCall("101"))
	frames := told(t, ws, 4)
	for i, kind := range []float64{0, 0, 0, 1} {
		event := frames[i]["event"].(map[string]any)
		require.Equal(t, kind, event["event_type"])
		require.Nil(t, event["attached_data"])
		require.Regexp(t, `^/callcontrol/101/participants/\d+$`, event["entity"])
		require.Equal(t, frames[0]["sequence"].(float64)+float64(i), frames[i]["sequence"])
	}
	status, _ := c.get(frames[3]["event"].(map[string]any)["entity"].(string))
	require.Equal(t, 404, status, "gone")

	require.NoError(t, c.sim.StartCall("102"))
	require.NoError(t, c.sim.Hold("102"))
	entity := told(t, ws, 1)[0]["event"].(map[string]any)["entity"].(string)
	_, body := c.get(entity)
	require.Equal(t, "Connected", object(t, body)["status"], "a held call is one like any other")
	_, body = c.get("/callcontrol")
	var all []map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &all))
	require.Len(t, all, 4, "two extensions, the queue and the client's route point")
	status, _ = c.get("/callcontrol/103")
	require.Equal(t, 403, status)
	status, _ = c.get("/callcontrol/4711")
	require.Equal(t, 404, status)
	require.ErrorIs(t, c.sim.EndCall("101"), ErrNoCall)
	require.NoError(t, c.sim.GoOffline("102"))
	require.ErrorIs(t, c.sim.Ring("102"), ErrOffline)
	p, err := c.sim.Presence("102")
	require.NoError(t, err)
	require.Equal(t, "offline", p.Line)
}

// A WebSocket ends with the token that it was opened with.
func TestSocketsEndWithTheirToken(t *testing.T) {
	c := newClient(t, Config{})
	ws := c.socket()
	c.fetch()
	_, _, err := ws.Read(t.Context())
	require.Error(t, err)
	require.Eventually(t, func() bool { return c.sim.Stats().Sockets == 0 }, time.Minute, time.Millisecond)
}

func TestLimits(t *testing.T) {
	for path, l := range map[string]Limits{
		"/xapi/v1/Users": {NoXAPI: true}, "/callcontrol": {NoCallControl: true}, "/callcontrol/101": {NoEnterprise: true}, "/xapi/v1/SystemStatus": {ForeignIP: true},
	} {
		c := newClient(t, Config{})
		c.sim.SetLimits(l)
		status, _ := c.get(path)
		require.Equal(t, 403, status, path)
	}
	c := newClient(t, Config{Limits: Limits{ReadOnly: true, TeamsSync: true}})
	require.Equal(t, 403, c.patch("/xapi/v1/Users(11)", `{"CurrentProfileName":"Away"}`))
	_, body := c.get("/xapi/v1/Microsoft365Integration")
	require.Equal(t, true, object(t, body)["AdUsers"].(map[string]any)["SetTeamsPresence"])
}

func TestFaults(t *testing.T) {
	c := newClient(t, Config{})
	set := func(f Faults) { require.NoError(t, c.sim.SetFaults(f)) }
	set(Faults{Errors: 1})
	status, _ := c.get("/callcontrol")
	require.Equal(t, 500, status)
	set(Faults{Throttled: 1, RetryAfter: 30 * time.Second})
	status, _ = c.get("/callcontrol")
	require.Equal(t, 429, status)
	set(Faults{TokenLost: 1})
	status, _ = c.get("/callcontrol")
	require.Equal(t, 401, status)
	set(NoFaults())
	c.token = c.fetch()["access_token"].(string)

	set(Faults{AppliedLate: 1, ApplyLateBy: 20 * time.Millisecond})
	require.Equal(t, 504, c.patch("/xapi/v1/Users(11)", `{"CurrentProfileName":"Away"}`))
	require.Eventually(t, func() bool { p, _ := c.sim.Presence("11"); return p.Status == "Away" }, time.Minute, time.Millisecond)
	set(Faults{ReadLag: 1, ReadLagBy: time.Hour})
	require.Equal(t, 204, c.patch("/xapi/v1/Users(11)", `{"CurrentProfileName":"Available"}`))
	_, body := c.get("/xapi/v1/Users(11)")
	require.Equal(t, "Away", object(t, body)["CurrentProfileName"], "a read shows what was before")
	set(NoFaults())

	ws := c.socket()
	set(Faults{Doubled: 1})
	require.NoError(t, c.sim.Ring("101"))
	require.Len(t, told(t, ws, 2), 2)
	set(Faults{Dropped: 1})
	require.NoError(t, c.sim.StopRinging("101"))
	set(NoFaults())
	require.NoError(t, c.sim.Ring("101"))
	gap := told(t, ws, 1)[0]["sequence"].(float64)
	set(Faults{Reordered: 1})
	require.NoError(t, c.sim.StopRinging("101"))
	require.Equal(t, 1, c.sim.Stats().Pending)
	set(NoFaults())
	require.Equal(t, gap+1, told(t, ws, 1)[0]["sequence"], "it is sent when the next one is, or the fault ends")
	require.EqualValues(t, 4, gap, "two for the first ring, and one of which nobody was told")
	require.ErrorContains(t, c.sim.SetFaults(Faults{Late: 2}), "Late is 2")
	for _, name := range []string{"none", "some", "cruel", ""} {
		f, err := FaultPreset(name)
		require.NoError(t, err)
		require.NoError(t, f.check())
	}
	_, err := FaultPreset("brutal")
	require.ErrorContains(t, err, "none, some or cruel")
}

func TestControlAPI(t *testing.T) {
	c := newClient(t, Config{Users: 3})
	call := func(method, path, body string) (int, string) {
		t.Helper()
		return c.do(method, path, "application/json", body)
	}
	for _, step := range []struct{ do, line string }{
		{"ring", "ringing"}, {"stop-ringing", "idle"}, {"dial", "in-call"}, {"call", "in-call"}, {"hold", "in-call"}, {"resume", "in-call"}, {"end", "idle"},
		{"offline", "offline"}, {"online", "idle"},
	} {
		status, body := call(http.MethodPost, "/sim/users/101/"+step.do, "")
		require.Equal(t, 200, status, body)
		require.Equal(t, step.line, object(t, body)["presence"].(map[string]any)["line"], step.do)
	}
	status, body := call(http.MethodPost, "/sim/users/101/pick", `{"status":"Custom 2","message":"Fishing"}`)
	require.Equal(t, 200, status)
	require.Equal(t, map[string]any{"line": "idle", "status": "Custom 2", "message": "Fishing"}, object(t, body)["presence"])
	for _, bad := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/sim/users/101/pick", `{"status":"Holiday"}`, 400}, {"POST", "/sim/users/101/pick", `{`, 400}, {"POST", "/sim/users/9/call", "", 404},
		{"GET", "/sim/users/9", "", 404}, {"POST", "/sim/users/101/end", "", 409}, {"PUT", "/sim/faults", `{"preset":"brutal"}`, 400}, {"POST", "/sim/restart", `{"down":"x"}`, 400},
	} {
		status, _ := call(bad.method, bad.path, bad.body)
		require.Equal(t, bad.status, status, bad.path)
	}
	for _, good := range []struct{ method, path, body string }{
		{"PUT", "/sim/faults", `{"preset":"none"}`}, {"PUT", "/sim/limits", `{"teams_sync":true}`}, {"POST", "/sim/cut", ""}, {"POST", "/sim/stall", `{"on":false}`},
		{"GET", "/sim/stats", ""}, {"GET", "/sim/users", ""}, {"GET", "/sim/users/101", ""},
	} {
		status, _ := call(good.method, good.path, good.body)
		require.Equal(t, 200, status, good.path)
	}
	status, _ = call(http.MethodPost, "/sim/restart", `{"lose_state":true,"down":"1ms"}`)
	require.Equal(t, 200, status)
	require.Eventually(t, func() bool {
		p, _ := c.sim.Presence("101")
		return p.Status == "Available" && c.sim.Stats().Restarts == 1
	}, time.Minute, time.Millisecond)
}

// People move by themselves, and stand still when they are stopped.
func TestPeople(t *testing.T) {
	c := newClient(t, Config{Users: 20})
	people, err := c.sim.NewPeople(PeopleConfig{Rate: 1000, MeanCall: 5 * time.Millisecond})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		picked := 0
		for _, u := range c.sim.Users() {
			if chosen, _ := c.sim.Chosen(strconv.Itoa(u.ID)); chosen != "Available" {
				picked++
			}
		}
		return picked > 5 && c.sim.Stats().Frames > 20
	}, 60*time.Second, time.Millisecond)
	people.Stop()
	before := c.sim.Stats().Frames
	people.Stop()
	require.Equal(t, before, c.sim.Stats().Frames)
	_, err = c.sim.NewPeople(PeopleConfig{Rate: -1})
	require.Error(t, err)
}

func TestBadConfigs(t *testing.T) {
	for _, cfg := range []Config{
		{UserList: []User{{ID: 1, Number: "1"}, {ID: 1, Number: "2"}}}, {UserList: []User{{ID: 1, Number: "1"}, {ID: 2, Number: "1"}}}, {UserList: []User{{Number: "1"}}},
		{Faults: Faults{Errors: -1}},
	} {
		_, err := Start(cfg)
		require.Error(t, err)
	}
}
