package pbxsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx/simkit"
)

const one, two = "u000001", "u000002"

func TestVersionsCountStatusAndMessage(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	before := c.get(one)
	require.Equal(t, Presence{Line: "idle", Status: "Available", Version: 1, ChangedAt: before.ChangedAt, ChangedBy: "user"}, before)

	p := c.put(one, `{"status":"In a call","message":"until three"}`).presence(t)
	require.EqualValues(t, 2, p.Version)
	require.Equal(t, "api:bridge", p.ChangedBy)
	require.True(t, p.ChangedAt.After(before.ChangedAt))

	// The message alone: a new version, the same choice.
	m := c.put(one, `{"status":"In a call","message":"until four"}`).presence(t)
	require.EqualValues(t, 3, m.Version)
	require.Equal(t, p.ChangedAt, m.ChangedAt)

	require.NoError(t, s.Pick(one, "Away"))
	m = c.put(one, `{"status":"Away","message":"x"}`).presence(t)
	require.Equal(t, "user", m.ChangedBy, "who changes the message does not choose the status")

	// The line is no version, by default, and never a choice.
	require.NoError(t, s.StartCall(one))
	l := c.get(one)
	require.Equal(t, "in-call", l.Line)
	m.Line = "in-call"
	require.Equal(t, m, l)
}

func TestVersionsMayCountTheLine(t *testing.T) {
	s := start(t, Config{CountLineInVersion: true})
	c := dial(t, s)
	before := c.get(one)
	require.NoError(t, s.StartCall(one))
	after := c.get(one)
	require.Equal(t, before.Version+1, after.Version)
	require.Equal(t, before.ChangedAt, after.ChangedAt)
	require.Equal(t, before.ChangedBy, after.ChangedBy)
	require.Equal(t, 412, c.put(one, `{"status":"Away"}`, "If-Match", `"1"`).status, "because a call began")
	require.Equal(t, 200, c.put(one, `{"status":"Away"}`, "If-Match", `"2"`).status)
}

func TestPutWithoutMessageKeepsIt(t *testing.T) {
	c := dial(t, start(t, Config{}))
	c.put(one, `{"status":"Busy","message":"m"}`)
	require.Equal(t, "m", c.put(one, `{"status":"Away"}`).presence(t).Message)
	require.Equal(t, "m", c.put(one, `{"status":"Busy","message":null}`).presence(t).Message)
	require.Empty(t, c.put(one, `{"status":"Busy","message":""}`).presence(t).Message)
}

func TestPutThatChangesNothing(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	require.NoError(t, s.Pick(one, "Busy"))
	l := c.listen("")
	l.reset()
	before := c.get(one)
	after := c.put(one, `{"status":"Busy"}`).presence(t)
	require.Equal(t, before, after, "no new version, and the person's choice stays the person's")
	require.Equal(t, before, c.put(one, `{"status":"Busy","message":""}`, "If-Match", `"2"`).presence(t))
	l.nextIs(two, func() { require.NoError(t, s.Ring(two)) }) // and no event before
	require.Equal(t, 2, s.Stats().WritesNoChange)
}

func TestIfMatch(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	for match, want := range map[string]int{
		`"1"`: 200, `"2"`: 412, `*`: 200, `"7", "1"`: 200, `W/"1"`: 412, `"01"`: 412, `""`: 412,
		`1`: 400, `"1`: 400, `"1" "2"`: 400, `nonsense`: 400, `"1",`: 400,
	} {
		require.Equal(t, want, c.put(one, `{"status":"Available"}`, "If-Match", match).status, match)
	}
	require.Equal(t, 412, c.put(one, `{"status":"No such"}`, "If-Match", `"9"`).status, "compared before the content is looked at")
	require.Equal(t, 404, c.put("nobody", `{"status":"Busy"}`, "If-Match", `"9"`).status)
	require.Equal(t, `"1"`, c.call("GET", "/v1/users/"+one+"/presence", "").header.Get("ETag"))
	require.Equal(t, 5, s.Stats().WritesConflict)
	require.Equal(t, 1, s.Stats().WritesGone)
}

func TestWhatCannotBeRead(t *testing.T) {
	c := dial(t, start(t, Config{}))
	for _, body := range []string{
		``, `{`, `[]`, `"Busy"`, `{"status":7}`, `{"message":"m"}`, `{"status":null}`, `{"status":"Busy","message":1}`,
		"{\"status\":\"\xff\"}", `{"status":"Busy"} trailing`, `{"status":"` + strings.Repeat("x", 70_000) + `"}`,
	} {
		a := c.put(one, body)
		require.Equal(t, 400, a.status, "%.60s", body)
	}
	for _, q := range []string{"?limit=0", "?limit=-1", "?limit=many", "?limit=1.5", "?after=nonsense", "?after=%21"} {
		require.Equal(t, 400, c.call("GET", "/v1/users"+q, "").status, q)
	}
	require.Equal(t, 422, c.put(one, `{"status":"No such status"}`).status)
	require.Equal(t, 422, c.put(one, `{"status":""}`).status)
	require.Equal(t, 422, c.put(one, `{"status":"busy"}`).status, "names are compared exactly")
	require.EqualValues(t, 1, c.get(one).Version)
}

func TestMethodsAndAddresses(t *testing.T) {
	c := dial(t, start(t, Config{}))
	for path, allowed := range map[string]string{
		"/v1/users": "GET", "/v1/statuses": "GET", "/v1/events": "GET", "/v1/users/" + one + "/presence": "GET, PUT",
	} {
		for _, m := range []string{"POST", "DELETE", "PATCH"} {
			a := c.call(m, path, "")
			require.Equal(t, 405, a.status, m+path)
			require.Equal(t, allowed, a.header.Get("Allow"))
		}
	}
	for _, path := range []string{"/v1/", "/v1/user", "/v1/users/", "/v1/users//presence", "/v1/users/" + one, "/v1/users/" + one + "/presence/", "/v1/users/a/b/presence"} {
		require.Equal(t, 404, c.call("GET", path, "").status, path)
	}
	require.Equal(t, 404, c.call("GET", "/", "").status)
	require.Equal(t, 404, c.call("GET", "/v1/users/nobody/presence", "").status)
}

func TestIdsAreOpaque(t *testing.T) {
	odd := []string{"a/b", "a b", "..", "ä?&#%", "presence", "x/presence"}
	var users []User
	for _, id := range odd {
		users = append(users, User{ID: id})
	}
	c := dial(t, start(t, Config{UserList: users}))
	for _, id := range odd {
		if id == ".." {
			continue // no client can send it: it vanishes on the way (RFC 3986 section 5.2.4)
		}
		require.EqualValues(t, 1, c.get(url.PathEscape(id)).Version, id)
	}
}

func TestBearer(t *testing.T) {
	s := start(t, Config{Clients: map[string]string{"t2": "calendar"}})
	c := dial(t, s)
	for _, h := range []string{"", "Bearer", "Bearer wrong", "Basic " + s.Token(), s.Token()} {
		a := c.call("GET", "/v1/users", "", "Authorization", h)
		require.Equal(t, 401, a.status, h)
		require.Contains(t, a.header.Get("WWW-Authenticate"), "Bearer")
	}
	require.Equal(t, 401, c.call("GET", "/v1/no/such/thing", "", "Authorization", "").status, "nobody learns what there is")
	require.Equal(t, 200, c.call("GET", "/v1/users", "", "Authorization", "bearer  "+s.Token()).status)
	c.token = "t2"
	require.Equal(t, "api:calendar", c.put(one, `{"status":"In a meeting"}`).presence(t).ChangedBy)
	chosen, err := s.Chosen(one)
	require.NoError(t, err)
	require.Equal(t, "In a meeting", chosen, "what another program wants for the person counts as theirs")
	require.Equal(t, 6, s.Stats().Unauthorised)
}

func TestPages(t *testing.T) {
	s := start(t, Config{Users: 25, PageLimit: 10})
	c := dial(t, s)
	list := func(limit string, between func()) (ids []string, pages int) {
		for after := ""; ; pages++ {
			var page wirePage
			c.call("GET", "/v1/users?after="+url.QueryEscape(after)+"&limit="+limit, "").into(t, &page)
			for _, u := range page.Users {
				ids = append(ids, u.ID)
			}
			if after = page.Next; after == "" {
				return ids, pages + 1
			}
			between()
		}
	}
	for limit, want := range map[string]int{"": 3, "10": 3, "99999999999999999999": 3, "1000": 3, "4": 7, "5": 5, "25": 3} {
		ids, pages := list(limit, func() {})
		require.Len(t, ids, 25)
		require.Equal(t, want, pages, limit)
	}
	// Somebody at the end of a page leaves: nobody else is missed.
	left := false
	ids, _ := list("10", func() {
		if !left {
			left = true
			require.NoError(t, s.RemoveUser("u000010"))
			require.NoError(t, s.AddUser(User{ID: "u000010a"}))
		}
	})
	require.Len(t, ids, 26)
	require.Contains(t, ids, "u000011")
	require.Contains(t, ids, "u000010a")
}

func TestStatuses(t *testing.T) {
	c := dial(t, start(t, Config{Statuses: []Status{{"Da", "available"}, {"Weg", "away"}}}))
	var got wireStatuses
	c.call("GET", "/v1/statuses", "").into(t, &got)
	require.Equal(t, []Status{{"Da", "available"}, {"Weg", "away"}}, got.Statuses)
	require.Equal(t, "Da", c.get(one).Status)
}

func TestEventsFollowEveryChange(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	l := c.listen("")
	l.reset()
	for _, step := range []struct {
		move func(string) error
		line string
	}{
		{s.Ring, "ringing"}, {s.StartCall, "in-call"}, {s.Hold, "on-hold"}, {s.Resume, "in-call"},
		{s.EndCall, "idle"}, {s.GoOffline, "offline"}, {s.GoOnline, "idle"}, {s.Ring, "ringing"}, {s.StopRinging, "idle"},
	} {
		p := l.nextIs(one, func() { require.NoError(t, step.move(one)) })
		require.Equal(t, step.line, p.Line)
		require.Equal(t, p, c.get(one))
	}
	p := l.nextIs(one, func() { require.NoError(t, s.PickMessage(one, "Busy", "hm")) })
	require.Equal(t, "hm", p.Message)
	p = l.nextIs(two, func() { c.put(two, `{"status":"Away"}`) })
	require.Equal(t, "api:bridge", p.ChangedBy)
	require.NoError(t, s.Pick(two, "Away"), "picking what shows leaves no trace")
	l.nextIs(one, func() { require.NoError(t, s.Ring(one)) })
	by, err := s.LastWriter(two)
	require.NoError(t, err)
	require.Equal(t, "api:bridge", by)
}

func TestOverlappingCalls(t *testing.T) {
	s := start(t, Config{})
	line := func() string {
		p, err := s.Presence(one)
		require.NoError(t, err)
		return p.Line
	}
	require.NoError(t, s.StartCall(one))
	require.NoError(t, s.Ring(one))
	require.Equal(t, "in-call", line())
	require.NoError(t, s.StartCall(one))
	require.NoError(t, s.Hold(one))
	require.NoError(t, s.EndCall(one))
	require.Equal(t, "on-hold", line())
	require.NoError(t, s.EndCall(one))
	require.Equal(t, "idle", line())
	require.ErrorIs(t, s.EndCall(one), ErrNoCall)
	require.ErrorIs(t, s.StopRinging(one), ErrNoCall)
	require.NoError(t, s.GoOffline(one))
	require.ErrorIs(t, s.Ring(one), ErrOffline)
	require.ErrorIs(t, s.StartCall(one), ErrOffline)
}

func TestResume(t *testing.T) {
	s := start(t, Config{EventBuffer: 8})
	c := dial(t, s)
	l := c.listen("")
	l.reset()
	l.nextIs(one, func() { require.NoError(t, s.Ring(one)) })
	id := l.lastID
	s.CutStreams()
	require.True(t, l.next().ended)
	for range 4 {
		require.NoError(t, s.StopRinging(one))
		require.NoError(t, s.Ring(one))
	}
	l = c.listen(id)
	for range 8 {
		l.presence() // everything, no reset
	}
	l.nextIs(two, func() { require.NoError(t, s.Ring(two)) })
	l = c.listen(id)
	l.reset() // one too many for the buffer
	l.nextIs(two, func() { require.NoError(t, s.StopRinging(two)) })

	epoch, _, _ := strings.Cut(id, "-")
	for _, bad := range []string{"nonsense", "-", epoch + "-", epoch + "-99", epoch + "--1", "000-1", epoch + "-18446744073709551616"} {
		l := c.listen(bad)
		l.reset()
	}
	s.CutStreams()
	resumed := c.listen(l.lastID)
	resumed.nextIs(one, func() { require.NoError(t, s.StopRinging(one)) }) // the id of a reset can be resumed from
}

func TestHeartbeat(t *testing.T) {
	s := start(t, Config{Heartbeat: 5 * time.Millisecond})
	c := dial(t, s)
	l := c.listen("")
	l.reset()
	beat := func() bool {
		select {
		case e := <-l.events:
			return e.comment != ""
		case <-time.After(time.Minute):
			return false
		}
	}
	require.True(t, beat())
	require.True(t, beat())
	require.Equal(t, 15*time.Second, start(t, Config{}).cfg.Heartbeat)
}

func TestRestart(t *testing.T) {
	for _, lose := range []bool{false, true} {
		t.Run(fmt.Sprint("lose=", lose), func(t *testing.T) {
			changes := make(chan Change, 100)
			s := start(t, Config{OnChange: func(c Change) { changes <- c }})
			c := dial(t, s)
			c.put(one, `{"status":"Busy","message":"m"}`)
			require.NoError(t, s.StartCall(one))
			l := c.listen("")
			l.reset()
			l.nextIs(two, func() { require.NoError(t, s.Ring(two)) })
			address := s.URL()
			require.NoError(t, s.Restart(t.Context(), RestartOptions{LoseState: lose, Down: time.Millisecond}))
			require.Equal(t, address, s.URL())
			require.True(t, l.next().ended, "connections are cut")
			p := c.get(one)
			require.Equal(t, "idle", p.Line)
			if lose {
				require.EqualValues(t, 1, p.Version, "it counts from one again")
				require.Equal(t, "Available", p.Status)
			} else {
				require.EqualValues(t, 2, p.Version)
				require.Equal(t, "m", p.Message)
			}
			for ch := range changes { // whoever listens to the simulator knows
				if ch.User == one && ch.After == p {
					break
				}
			}
			again := c.listen(l.lastID)
			again.reset() // the epoch is another one
			again.nextIs(one, func() { require.NoError(t, s.Ring(one)) })
		})
	}
}

func TestDownAndUp(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	l := c.listen("")
	l.reset()
	s.Down()
	s.Down()
	_, err := c.try("GET", "/v1/users", "")
	require.Error(t, err)
	require.NoError(t, s.Ring(one), "people go on")
	require.NoError(t, s.Up())
	require.NoError(t, s.Up())
	again := c.listen(l.lastID)
	user, _ := again.presence() // nothing was lost
	require.Equal(t, one, user)
}

func TestRotateToken(t *testing.T) {
	s := start(t, Config{Clients: map[string]string{"t2": "calendar"}})
	c := dial(t, s)
	l := c.listen("")
	l.reset()
	s.RotateToken("fresh")
	require.True(t, l.next().ended, "streams of the old token break")
	require.Equal(t, 401, c.call("GET", "/v1/users", "").status)
	c.token = "fresh"
	require.Equal(t, "api:bridge", c.put(one, `{"status":"Busy"}`).presence(t).ChangedBy)
	c.token = "t2"
	require.Equal(t, 200, c.call("GET", "/v1/users", "").status)
}

func TestChosenIsWhatThePersonWants(t *testing.T) {
	s := start(t, Config{})
	c := dial(t, s)
	chosen := func() string {
		st, err := s.Chosen(one)
		require.NoError(t, err)
		return st
	}
	require.Equal(t, "Available", chosen())
	require.NoError(t, s.Pick(one, "Gone for lunch"))
	c.put(one, `{"status":"In a call"}`)
	require.Equal(t, "Gone for lunch", chosen(), "what the bridge writes is nobody's wish")
	require.NoError(t, s.WriteAs("calendar", one, "In a meeting"))
	require.Equal(t, "In a meeting", chosen())
}

func TestOnChange(t *testing.T) {
	changes := make(chan Change, 100)
	var s *Sim
	s = start(t, Config{OnChange: func(c Change) {
		_, _ = s.Presence(c.User) // the hook may ask
		changes <- c
	}})
	require.NoError(t, s.Ring(one))
	require.NoError(t, s.Pick(one, "Busy"))
	dial(t, s).put(one, `{"status":"Away"}`)
	var got []string
	for range 3 {
		c := <-changes
		require.Equal(t, one, c.User)
		require.False(t, c.At.IsZero())
		got = append(got, fmt.Sprintf("%s: %s/%s -> %s/%s", c.By, c.Before.Line, c.Before.Status, c.After.Line, c.After.Status))
	}
	require.Equal(t, []string{
		"line: idle/Available -> ringing/Available", "user: ringing/Available -> ringing/Busy", "api:bridge: ringing/Busy -> ringing/Away",
	}, got)
}

func TestChangedAtIsNeverGivenTwice(t *testing.T) {
	still := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	s := start(t, Config{Clock: func() time.Time { return still }})
	seen := map[time.Time]bool{}
	for i := range 50 {
		require.NoError(t, s.Pick(one, s.Statuses()[1+i%2].Name))
		p, err := s.Presence(one)
		require.NoError(t, err)
		require.False(t, seen[p.ChangedAt])
		seen[p.ChangedAt] = true
	}
	b, err := json.Marshal(still.Add(time.Microsecond))
	require.NoError(t, err)
	require.Contains(t, string(b), "2026-11-25T08:00:00.000001Z")
}

func TestBadConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"twice the same id": {UserList: []User{{ID: "a"}, {ID: "a"}}},
		"an empty id":       {UserList: []User{{}}},
		"an unknown kind":   {Statuses: []Status{{"A", "sleepy"}}},
		"twice a name":      {Statuses: []Status{{"A", "busy"}, {"a", "busy"}}},
		"a rate above 1":    {Faults: Faults{Errors: 2}},
		"a bad address":     {Addr: "127.0.0.1:http-ish"},
	} {
		_, err := Start(cfg)
		require.Error(t, err, name)
	}
}

func TestAddressesThatAreEverywhere(t *testing.T) {
	s := start(t, Config{Addr: ":0"})
	require.True(t, strings.HasPrefix(s.URL(), "http://127.0.0.1:"), s.URL())
	require.Equal(t, 200, dial(t, s).call("GET", "/v1/users", "").status)
}

func TestCloseTwice(t *testing.T) {
	s, err := Start(Config{TLS: true})
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(s.URL(), "https://127.0.0.1:"))
	require.Contains(t, string(s.CAPEM()), "BEGIN CERTIFICATE")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Up(), simkit.ErrClosed)
	_, err = http.Get(s.URL())
	require.Error(t, err)
	_, err = s.NewPeople(PeopleConfig{})
	require.Error(t, err)
}
