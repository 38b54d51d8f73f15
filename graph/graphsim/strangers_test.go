package graphsim

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzBodies sends anything to everything: whatever a client sends, the answer is not the simulator's
// own failure.
func FuzzBodies(f *testing.F) {
	paths := []string{"/v1.0/users/" + anna + "/presence/setPresence", "/v1.0/users/" + anna + "/presence/clearPresence",
		"/v1.0/users/" + anna + "/presence/setUserPreferredPresence", "/v1.0/users/" + anna + "/presence/setStatusMessage",
		"/v1.0/communications/getPresencesByUserId", "/v1.0/subscriptions", "/sim/people/" + anna, "/sim/people", "/sim/devicecodes/x",
		"/sim/subscriptions/x", "/common/oauth2/v2.0/token", "/common/oauth2/v2.0/devicecode", "/devicelogin"}
	for i, body := range []string{`{"sessionId":"x","availability":"Busy","activity":"InACall","expirationDuration":"PT1H"}`, `{}`,
		`{"availability":null}`, `{"statusMessage":{"message":{"content":"x"},"expiryDateTime":{}}}`, `{"ids":[null,"x"]}`,
		`{"changeType":"updated","resource":"communications/presences/x"}`, `{"do":"call"}`, `{"userPrincipalName":"x"}`, `{"approve":"x"}`,
		`{"do":"kill"}`, `grant_type=client_credentials&client_id=x`, `client_id=x&scope=y`, `user_code=x&as=y`} {
		f.Add(uint(i), []byte(body))
	}
	s, err := New(Config{People: []Person{{UPN: anna}}, Budgets: &Budgets{}, TokenLifetime: 1e6 * time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	client := &http.Client{Transport: direct{s.Handler()}}
	app := (&tenant{s, &testing.T{}, client}).appToken()
	f.Fuzz(func(t *testing.T, which uint, body []byte) {
		r := httptest.NewRequest(http.MethodPost, paths[which%uint(len(paths))], bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+app)
		if r.URL.Path[1] != 'v' && r.URL.Path[1] != 's' {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%s %q: %d %s", r.URL.Path, body, w.Code, w.Body)
		}
	})
}

func FuzzUserQuery(f *testing.F) {
	for _, q := range []string{"$top=5&$select=id,mail", "$filter=accountEnabled eq true and userType eq 'Member'", "$skiptoken=AAAA", "$top=-1", "$skip=1"} {
		f.Add(q)
	}
	s, err := New(Config{Users: 20, Budgets: &Budgets{}, TokenLifetime: 1e6 * time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	app := (&tenant{s, &testing.T{}, &http.Client{Transport: direct{s.Handler()}}}).appToken()
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, "/v1.0/users", nil)
		r.URL.RawQuery = query
		r.Header.Set("Authorization", "Bearer "+app)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != 200 && w.Code != 400 {
			t.Fatalf("%q: %d %s", query, w.Code, w.Body)
		}
	})
}

// TestEverythingAtOnce is for the race detector: people, applications, subscribers, faults and those
// who look on, all at the same time.
func TestEverythingAtOnce(t *testing.T) {
	x, b, token, _ := subscribed(t, func(c *Config) { c.Users = 50; c.Budgets = &Budgets{}; c.Delivery.RetryFirst = time.Millisecond })
	b.set(func() { b.answer = func(n int, _ *http.Request) int { return []int{202, 202, 503}[n%3] } })
	f := Cruel()
	f.SlowBy, f.LateBy, f.LandWithin, f.WriteLag = time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond
	x.SetFaults(f)
	people := x.Live(PeopleConfig{Rate: 600, Start: true})
	app := x.appToken
	x.SetFaults(None())
	shared := app()
	x.SetFaults(f)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 100 {
				x.set(shared, anna, InACall, "PT"+strconv.Itoa(5+i%9)+"M")
				x.clear(shared, anna)
				x.call("POST", "/v1.0/communications/getPresencesByUserId", shared, map[string]any{"ids": []string{x.id(anna), x.id(ben)}})
				x.call("GET", "/v1.0/subscriptions", token, nil)
				switch {
				case i%20 == worker:
					x.States()
					x.Stats()
					x.SetFaults(f)
				case i%50 == worker:
					if err := x.RotateSigningKey(false); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	people.Stop()
	x.SetFaults(None())
	require.Eventually(t, func() bool { s := x.Stats(); return s.Pending == 0 && s.Notifications.Waiting == 0 }, waitAtMost, waitStep)
	n := x.Stats().Notifications
	require.Equal(t, n.Queued+n.Doubled, n.Acked+n.Dropped, "every item is accounted for: %+v", n)
}
