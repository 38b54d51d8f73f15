package micollab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

func userJSON(id string, version int) string {
	return fmt.Sprintf(`{"id":%q,"email":"%s@contoso.example","extension":"1001","display_name":"N","presence":%s}`, id, id, presenceJSON(version))
}

// pages answers each `after` with a page of its own.
func pages(byMark map[string]string) func(*http.Request) (int, string, []string) {
	return func(r *http.Request) (int, string, []string) {
		if r.URL.Path != "/v1/users" {
			return 200, "", nil
		}
		page, ok := byMark[r.URL.Query().Get("after")]
		if !ok {
			return 400, "", nil
		}
		return 200, page, nil
	}
}

func ids(users []pbx.User) (out []string) {
	for _, u := range users {
		out = append(out, fmt.Sprintf("%s@%d", u.ID, u.State.Version))
	}
	return out
}

func TestSnapshotPages(t *testing.T) {
	b := newBench(t)
	b.pbx.set(pages(map[string]string{
		"":        `{"users":[` + userJSON("a", 1) + `,` + userJSON("b", 5) + `],"next":"m 1&x=y"}`,
		"m 1&x=y": `{"users":[],"next":"m2"}`, // short, even empty, is no end
		"m2":      `{"users":[` + userJSON("b", 4) + `,` + userJSON("a", 2) + `,` + userJSON("c", 1) + `],"next":"m3"}`,
		"m3":      `{"users":[` + userJSON("d", 1) + `]}`,
	}))
	users, err := b.Snapshot(context.Background())
	require.NoError(t, err)
	require.Equal(t, []string{"a@2", "b@5", "c@1", "d@1"}, ids(users), "whoever is on two pages counts by version")
	require.Equal(t, pbx.User{ID: "d", Email: "d@contoso.example", Extension: "1001", DisplayName: "N", State: pbx.State{
		Line: presence.LineIdle, Status: presence.Status{Name: "Busy", Kind: presence.KindBusy}, Version: 1,
		ChangedAt: time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC), ChangedBy: pbx.AuthorUser,
	}}, users[3])
}

func TestSnapshotThatNeverEnds(t *testing.T) {
	n := 0
	for name, answer := range map[string]func(*http.Request) (int, string, []string){
		"a cycle of one": pages(map[string]string{"": `{"users":[` + userJSON("a", 1) + `],"next":"x"}`, "x": `{"users":[` + userJSON("b", 1) + `],"next":"x"}`}),
		"a cycle of two": pages(map[string]string{"": `{"users":[],"next":"x"}`, "x": `{"users":[],"next":"y"}`, "y": `{"users":[],"next":"x"}`}),
		"ever new marks": func(*http.Request) (int, string, []string) {
			n++
			return 200, fmt.Sprintf(`{"statuses":[],"users":[%s],"next":"m%d"}`, userJSON("a", 1), n), nil
		},
	} {
		b := newBench(t)
		b.pbx.set(answer)
		_, err := b.Snapshot(context.Background())
		require.ErrorIs(t, err, errEndless, name)
		require.Equal(t, pbx.Unanswered, kindOf(t, err), name)
		require.Less(t, b.pbx.count("GET /v1/users"), 2*maxIdlePages, name)
	}
	l := listing{marks: map[string]bool{}, added: 1, users: make([]pbx.User, maxUsers+1)}
	require.ErrorIs(t, l.mayGoOn("next"), errEndless)
}

func TestSnapshotOfBadUsers(t *testing.T) {
	b := newBench(t)
	b.pbx.set(pages(map[string]string{"": `{"users":[7, null, {}, {"id":""}, {"id":7}, {"id":"` + fmt.Sprintf("%0300d", 1) + `"},
		{"id":"a"}, {"id":"b","presence":null}, {"id":"c","presence":{"status":"Busy"}}, ` + userJSON("d", 1) + `, {"id":"e","extension":1001}],"next":""}`}))
	users, err := b.Snapshot(context.Background())
	require.NoError(t, err)
	require.Equal(t, []string{"a@0", "b@0", "c@0", "d@1"}, ids(users), "one that cannot be read costs no other")
	require.Equal(t, pbx.State{}, users[0].State, "whose presence cannot be read is unknown")
	require.EqualValues(t, 10, b.metric(t, "bad_input_total", "user"))
}

func TestSnapshotOfNoListing(t *testing.T) {
	for _, body := range []string{`{}`, `[]`, `null`, `{"users":null}`, `{"users":{}}`, `{"users":[]`, `<html>`, `{"users":[],"next":7}`} {
		b := newBench(t)
		b.pbx.set(pages(map[string]string{"": body}))
		_, err := b.Snapshot(context.Background())
		require.Equal(t, pbx.Unanswered, kindOf(t, err), "%s must not look like a PBX without users", body)
		require.Equal(t, 1, b.pbx.count("GET /v1/users"), "asking again does not make it better")
	}
	b := newBench(t)
	b.pbx.set(pages(map[string]string{"": `{"users":[],"next":""}`}))
	users, err := b.Snapshot(context.Background())
	require.NoError(t, err)
	require.Empty(t, users)
}

func TestSnapshotAsksAgainForAPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		n := 0
		b.pbx.set(func(r *http.Request) (int, string, []string) {
			if r.URL.Path != "/v1/users" {
				return 200, "", nil
			}
			switch n++; {
			case n == 1:
				return 503, "", []string{"Retry-After", "2"}
			case n == 2:
				return -1, "", nil
			case n == 3:
				return 429, "", []string{"Retry-After", "20"}
			}
			return 200, "", nil
		})
		began := time.Now()
		users, err := b.Snapshot(context.Background())
		require.NoError(t, err)
		require.Len(t, users, 1)
		require.GreaterOrEqual(t, time.Since(began), 22*time.Second)
		b.pbx.set(at("/v1/users", 503, ""))
		_, err = b.Snapshot(context.Background())
		require.Equal(t, pbx.Unanswered, kindOf(t, err))
		require.Equal(t, 4+pageTries, b.pbx.count("GET /v1/users"))
		b.pbx.set(at("/v1/users", 429, "", "Retry-After", "600"))
		began = time.Now()
		_, err = b.Snapshot(context.Background())
		require.Equal(t, pbx.Throttled, kindOf(t, err))
		require.Less(t, time.Since(began), time.Second, "too long to sit out")
		b.pbx.set(at("/v1/users", 422, ""))
		_, err = b.Snapshot(context.Background())
		require.Equal(t, pbx.Refused, kindOf(t, err))
	})
}

func TestStatusNames(t *testing.T) {
	b := newBench(t)
	b.pbx.set(at("/v1/statuses", 200, `{"statuses":[{"name":"Da","kind":"available"},{"name":"da","kind":"busy"},{"name":" "},{"kind":"busy"},7,
		{"name":"Ruhe","kind":"DND"},{"name":"Kaffee","kind":"refreshment"},{"name":"Egal"}]}`))
	list, err := b.Statuses(context.Background())
	require.NoError(t, err)
	require.Equal(t, []presence.Status{
		{Name: "Da", Kind: presence.KindAvailable}, {Name: "Ruhe", Kind: presence.KindDND},
		{Name: "Kaffee", Kind: presence.KindCustom}, {Name: "Egal", Kind: presence.KindCustom},
	}, list)
	list[0].Name = "changed by the caller"
	again, err := b.siteName(presence.Status{Kind: presence.KindAvailable})
	require.NoError(t, err)
	require.Equal(t, "Da", again)
	for _, body := range []string{`{}`, `[]`, `{"statuses":null}`, `{"statuses":"x"}`, `<html>`} {
		b.pbx.set(at("/v1/statuses", 200, body))
		_, err := b.Statuses(context.Background())
		require.Equal(t, pbx.Unanswered, kindOf(t, err), body)
	}
	st, found, _ := b.statuses.find("ruhe ")
	require.True(t, found, "what was known stays known")
	require.Equal(t, presence.KindDND, st.Kind)
}

func TestUnknownStatusNamesAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ctx := context.Background()
		asked := func() int { return b.pbx.count("GET /v1/statuses") }
		require.NoError(t, b.ensureStatuses(ctx))
		require.NoError(t, b.ensureStatuses(ctx))
		require.Equal(t, 1, asked())
		require.Equal(t, presence.KindDND, b.status(ctx, "Do not disturb").Kind)
		require.Equal(t, presence.Status{Name: "DO NOT DISTURB", Kind: presence.KindDND}, b.status(ctx, "DO NOT DISTURB"), "as the PBX spells it")
		require.Equal(t, presence.Status{}, b.status(ctx, ""))
		require.Equal(t, 1, asked())
		time.Sleep(unknownGap)
		require.Equal(t, presence.KindCustom, b.status(ctx, "Siesta").Kind)
		require.Equal(t, 2, asked())
		for range 100 {
			require.Equal(t, presence.KindCustom, b.status(ctx, "Siesta").Kind)
			require.Equal(t, presence.KindCustom, b.status(ctx, "Fiesta").Kind)
		}
		require.Equal(t, 2, asked(), "not for every event")
		time.Sleep(unknownAgain + time.Second)
		b.pbx.set(at("/v1/statuses", 200, `{"statuses":[{"name":"Siesta","kind":"away"}]}`))
		require.Equal(t, presence.KindAway, b.status(ctx, "siesta").Kind, "a new one is learnt when it shows")
		require.Equal(t, 3, asked())

		b.statuses.expire()
		require.False(t, b.statuses.stale, "it is fresh")
		time.Sleep(unknownGap + time.Second)
		b.statuses.expire() // as a reset does
		b.pbx.set(at("/v1/statuses", 503, ""))
		require.Equal(t, presence.KindAway, b.status(ctx, "Siesta").Kind, "the old list is better than none")
		require.Equal(t, 4, asked())
		time.Sleep(unknownGap)
		require.Equal(t, presence.KindCustom, b.status(ctx, "New").Kind)
		b.pbx.set(at("/v1/statuses", 200, `{"statuses":[{"name":"New","kind":"out"}]}`))
		time.Sleep(unknownGap)
		require.Equal(t, presence.KindOut, b.status(ctx, "New").Kind, "a listing that failed proves nothing")
		b.pbx.set(nil)
		time.Sleep(unknownGap)
		require.Equal(t, presence.KindCustom, b.status(ctx, "Siesta").Kind)
		for i := range 2 * maxUnknown {
			b.status(ctx, fmt.Sprint("x", i))
		}
		require.LessOrEqual(t, len(b.statuses.unknown), maxUnknown)
	})
}

// memory is a ClientStore.
type memory struct {
	mu    sync.Mutex
	name  string
	saves int
	err   error
}

func (m *memory) Load() (string, error) { return m.name, m.err }

func (m *memory) Save(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.name = name
	m.saves++
	return m.err
}

func putAnswer(version int, status, by string) func(*http.Request) (int, string, []string) {
	return func(r *http.Request) (int, string, []string) {
		if r.Method != http.MethodPut {
			return 200, "", nil
		}
		return 200, fmt.Sprintf(`{"line":"idle","status":%q,"version":%d,"changed_by":%q}`, status, version, by), nil
	}
}

func TestOwnClientIsLearntFromProofOnly(t *testing.T) {
	store := &memory{}
	b := newBench(t, func(c *Config) { c.LearntClient = store })
	ctx := context.Background()
	_, err := b.Snapshot(ctx) // u1 shows Busy, version 1
	require.NoError(t, err)
	require.Equal(t, pbx.AuthorSelf, b.author("api:anybody"), "before anything is learnt, every client may have been ours")
	apply := func(status string, ifVersion uint64) {
		t.Helper()
		_, err := b.Apply(ctx, "u1", pbx.Write{Status: presence.Status{Name: status}, IfVersion: ifVersion})
		require.NoError(t, err)
	}
	for name, c := range map[string]struct {
		version   int
		shows, by string
		write     string
		ifVersion uint64
	}{
		"without a version":        {2, "In a call", "api:calendar", "In a call", 0},
		"nothing changed":          {1, "Busy", "api:calendar", "Busy", 1},
		"the status showed before": {2, "Busy", "api:calendar", "Busy", 1},
		"no new version":           {1, "In a call", "api:calendar", "In a call", 1},
		"another status shows":     {2, "Available", "api:calendar", "In a call", 1},
		"by a user":                {2, "In a call", "user", "In a call", 1},
		"by nobody":                {2, "In a call", "api:", "In a call", 1},
		"not the version we saw":   {9, "In a call", "api:calendar", "In a call", 8},
	} {
		b.users.known["u1"] = seen{1, "Busy"}
		b.pbx.set(putAnswer(c.version, c.shows, c.by))
		apply(c.write, c.ifVersion)
		require.Empty(t, b.self.get(), name)
	}
	b.users.known["u1"] = seen{1, "Busy"}
	b.pbx.set(putAnswer(2, "In a call", "api:bridge"))
	apply("in a call", 1)
	require.Equal(t, "bridge", store.name)
	require.Equal(t, pbx.AuthorSelf, b.author("api:bridge"))
	require.Equal(t, pbx.AuthorOther, b.author("api:calendar"))
	require.Equal(t, pbx.AuthorOther, b.author("api:Bridge"))
	require.Equal(t, pbx.AuthorUser, b.author("user"))
	require.Equal(t, pbx.AuthorUnknown, b.author("fate"))
	require.Equal(t, pbx.AuthorUnknown, b.author(""))

	b.pbx.set(putAnswer(3, "Busy", "api:bridge"))
	apply("Busy", 2)
	require.Equal(t, 1, store.saves, "saved when it is news")
	store.err = errors.New("disk full")
	b.pbx.set(putAnswer(4, "In a call", "api:renamed"))
	apply("In a call", 3)
	require.Equal(t, pbx.AuthorSelf, b.author("api:renamed"), "the PBX may rename us")
	require.Contains(t, b.log.String(), "was not saved")

	c := newBench(t, func(c *Config) { c.LearntClient = &memory{name: "bridge"} })
	require.Equal(t, pbx.AuthorOther, c.author("api:calendar"), "remembered")
}

func TestStrangersAreBounded(t *testing.T) {
	var b userBook
	b.init()
	now := time.Now()
	b.listed(map[string]seen{}, now)
	for i := range maxStrangers {
		require.True(t, b.event(fmt.Sprint(i), now))
	}
	require.False(t, b.event("one more", now))
	require.Len(t, b.strangers, maxStrangers)
	require.False(t, b.event("7", now.Add(askAgain-1)))
	require.True(t, b.event("7", now.Add(askAgain)))
	b.listed(map[string]seen{"8": {}}, now.Add(askAgain+1))
	require.Len(t, b.strangers, 1)
}

func TestVersionsOfTheBookAreForgottenAtAReset(t *testing.T) {
	var b userBook
	b.init()
	b.listed(map[string]seen{"u": {5, "Busy"}}, time.Now())
	one, nine := uint64(1), uint64(9)
	b.saw("u", wirePresence{Version: &one, Status: "Away"})
	s, ok := b.last("u")
	require.True(t, ok)
	require.Equal(t, seen{5, "Busy"}, s, "older")
	b.saw("u", wirePresence{Version: &nine, Status: "Away"})
	b.listed(map[string]seen{"u": {7, "Busy"}}, time.Now())
	s, _ = b.last("u")
	require.Equal(t, seen{9, "Away"}, s, "an event overtook the listing")
	b.forgetVersions()
	b.listed(map[string]seen{"u": {1, "Busy"}}, time.Now())
	s, _ = b.last("u")
	require.Equal(t, seen{1, "Busy"}, s, "a PBX that restarted counts from one")
	b.saw("nobody", wirePresence{Version: &one})
	_, ok = b.last("nobody")
	require.False(t, ok)
}

func TestVerify(t *testing.T) {
	put := func(status int) func(*http.Request) (int, string, []string) {
		return func(r *http.Request) (int, string, []string) {
			if r.Method == http.MethodPut {
				return status, "", nil
			}
			return 200, "", nil
		}
	}
	b := newBench(t)
	b.pbx.set(put(412))
	require.NoError(t, b.Verify(context.Background()))
	b.pbx.set(put(403))
	require.Equal(t, pbx.Unauthorised, kindOf(t, b.Verify(context.Background())), "it may read and not write")
	b.pbx.set(put(200))
	require.ErrorIs(t, b.Verify(context.Background()), errIgnoresIfMatch)
	b.pbx.set(put(404))
	require.NoError(t, b.Verify(context.Background()), "who left meanwhile proves nothing")
	for _, path := range []string{"/v1/statuses", "/v1/users", "/v1/events"} {
		b.pbx.set(at(path, 403, ""))
		require.Equal(t, pbx.Unauthorised, kindOf(t, b.Verify(context.Background())), path)
	}
	b.pbx.set(at("/v1/users", 200, `{"users":[],"next":""}`))
	require.NoError(t, b.Verify(context.Background()))
}

func TestTwoConnectorsShareTheirMetrics(t *testing.T) {
	b := newBench(t)
	other := newBench(t, func(c *Config) { c.Name, c.Metrics = "second", b.reg })
	_, err := b.Statuses(context.Background())
	require.NoError(t, err)
	other.pbx.set(at("/v1/", 500, ""))
	_, err = other.Statuses(context.Background())
	require.Error(t, err)
	require.EqualValues(t, 1, b.metric(t, "requests_total", "list statuses", "ok"))
	require.EqualValues(t, 1, metricOf(t, b.reg, "second", "requests_total", "list statuses", "unanswered"))
	problems, err := testutil.GatherAndLint(b.reg)
	require.NoError(t, err)
	require.Empty(t, problems)
	names, err := b.reg.Gather()
	require.NoError(t, err)
	for _, mf := range names {
		require.Regexp(t, "^presence_bridge_pbx_", mf.GetName())
	}
}
