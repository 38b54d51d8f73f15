package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
)

func read[T any](t *testing.T, w *httptest.ResponseRecorder, status int) T {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body)
	var v T
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
	return v
}

// requireProblem checks an error's answer.
func requireProblem(t *testing.T, w *httptest.ResponseRecorder, status int, detail string) api.Problem {
	t.Helper()
	p := read[api.Problem](t, w, status)
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.Equal(t, status, p.Status)
	require.Equal(t, http.StatusText(status), p.Title)
	require.Contains(t, p.Detail, detail)
	require.NotEmpty(t, p.RequestID)
	return p
}

// openapi.yaml and the routes must name the same things.
func TestSpecAndRoutesAgree(t *testing.T) {
	var want, got []string
	for path, item := range loadDoc(t).Paths.Map() {
		for method := range item.Operations() {
			want = append(want, method+" /api/v1"+path)
		}
	}
	for _, r := range newKit(t, nil).echo.Routes() {
		if !strings.HasPrefix(r.Path, "/api/") || r.Method == echo.RouteNotFound {
			continue
		}
		segments := strings.Split(r.Path, "/")
		for i, s := range segments {
			if name, ok := strings.CutPrefix(s, ":"); ok {
				segments[i] = "{" + name + "}"
			}
		}
		got = append(got, r.Method+" "+strings.Join(segments, "/"))
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)
}

func TestSpecIsServed(t *testing.T) {
	k := newKit(t, nil)
	w := k.call(t, http.MethodGet, "/api/v1/openapi.yaml", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.True(t, bytes.Equal(openapiYAML, w.Body.Bytes()))
	w = k.call(t, http.MethodGet, "/api/v1/openapi.json", "")
	require.Equal(t, http.StatusOK, w.Code)
	var fromJSON, fromYAML any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &fromJSON))
	js, err := yaml.YAMLToJSON(openapiYAML)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(js, &fromYAML))
	require.Equal(t, fromYAML, fromJSON)
	require.Equal(t, "3.1.0", fromJSON.(map[string]any)["openapi"])
}

// Nothing under /api answers without the token, whether it exists or not.
func TestTokenIsRequired(t *testing.T) {
	k := newKit(t, nil)
	type target struct{ method, path string }
	var targets []target
	for _, r := range k.echo.Routes() {
		if strings.HasPrefix(r.Path, "/api/") && r.Method != echo.RouteNotFound {
			targets = append(targets, target{r.Method, strings.NewReplacer(":account", "contoso", ":member", "id-00", ":upn", "x", ":id", "y").Replace(r.Path)})
		}
	}
	require.Len(t, targets, 23)
	for _, path := range []string{"/api", "/api/", "/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/accounts", "/api/v1/accounts/", "/api/v1//accounts"} {
		targets = append(targets, target{http.MethodGet, path})
	}
	targets = append(targets, target{http.MethodDelete, "/api/v1/accounts"}, target{http.MethodOptions, "/api/v1/accounts"}, target{http.MethodHead, "/api/v1/accounts"},
		target{http.MethodGet, "/%61pi/v1/accounts"}, target{http.MethodGet, "/api/v1/accounts?token=" + testToken + "&access_token=" + testToken})
	for _, tt := range targets {
		for name, header := range map[string]string{"none": "", "empty": "Bearer ", "wrong": "Bearer " + testToken + "x", "shorter": "Bearer " + testToken[:10],
			"basic": "Basic " + testToken, "bare": testToken, "two": "Bearer x " + testToken} {
			req := httptest.NewRequest(tt.method, tt.path, nil)
			if header != "" {
				req.Header.Set("Authorization", header)
			}
			w := httptest.NewRecorder()
			k.Handler().ServeHTTP(w, req)
			require.Equal(t, http.StatusUnauthorized, w.Code, "%s %s with %s", tt.method, tt.path, name)
			require.Equal(t, `Bearer realm="presence-bridge"`, w.Header().Get("WWW-Authenticate"))
			require.NotContains(t, w.Body.String(), testToken)
			k.conforms(t, req, w)
		}
	}
	require.Equal(t, float64(7*len(targets)), testutil.ToFloat64(k.metrics.refused))
	require.Empty(t, k.backend.asked, "nothing was done")
	require.Empty(t, k.backend.auths, "nothing was done")
}

func TestTokenIsAccepted(t *testing.T) {
	k := newKit(t, nil)
	for _, header := range []string{"Bearer " + testToken, "bearer " + testToken, "BEARER  " + testToken + " "} {
		req := httptest.NewRequest(http.MethodGet, "/api/v1/accounts", nil)
		req.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		k.Handler().ServeHTTP(w, req)
		require.Equal(t, http.StatusOK, w.Code, header)
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	}
}

func TestUnknownAddresses(t *testing.T) {
	k := newKit(t, nil)
	requireProblem(t, k.call(t, http.MethodGet, "/api/v1/nothing", ""), http.StatusNotFound, "openapi.json")
	for _, path := range []string{"/api/v1/accounts//members", "/api/v1/accounts/contoso/members/", "/api/v1/accounts/contoso/monitors//authorize", "/api/v1/jobs/"} {
		method := http.MethodGet
		if strings.HasSuffix(path, "authorize") {
			method = http.MethodPost
		}
		requireProblem(t, k.call(t, method, path, ""), http.StatusNotFound, "openapi.json")
	}
	w := k.call(t, http.MethodDelete, "/api/v1/accounts", "")
	requireProblem(t, w, http.StatusMethodNotAllowed, "Allow")
	require.Contains(t, w.Header().Get("Allow"), "GET")
	requireProblem(t, k.call(t, http.MethodGet, "/nothing", ""), http.StatusNotFound, "")
}

func TestAccounts(t *testing.T) {
	k := newKit(t, nil)
	got := read[api.Accounts](t, k.call(t, http.MethodGet, "/api/v1/accounts", ""), http.StatusOK)
	require.Len(t, got.Accounts, 2)
	require.Equal(t, 25, got.Accounts[0].Members["pushed"])
	require.NotNil(t, got.Accounts[1].PBXs)
}

func TestMembers(t *testing.T) {
	k := newKit(t, nil)
	list := func(query string) api.Members {
		return read[api.Members](t, k.call(t, http.MethodGet, "/api/v1/accounts/contoso/members"+query, ""), http.StatusOK)
	}
	all := list("")
	require.Len(t, all.Members, 25)
	require.Empty(t, all.Next)

	first := list("?limit=10")
	require.Len(t, first.Members, 10)
	second := list("?limit=10&after=" + first.Next)
	third := list("?limit=10&after=" + second.Next)
	require.Empty(t, third.Next)
	require.Equal(t, all.Members, slices.Concat(first.Members, second.Members, third.Members))

	require.Len(t, list("?q=USER+1").Members, 10)
	require.Empty(t, list("?q=nobody").Members)
	for _, limit := range []string{"0", "-1", "1001", "x", "1.5", "99999999999999999999"} {
		requireProblem(t, k.call(t, http.MethodGet, "/api/v1/accounts/contoso/members?limit="+limit, ""), http.StatusBadRequest, "limit: want a number from 1 to 1000")
	}
	require.Len(t, list("?limit=1000").Members, 25)
	requireProblem(t, k.call(t, http.MethodGet, "/api/v1/accounts/nobody/members", ""), http.StatusNotFound, `"nobody"`)
}

func TestMember(t *testing.T) {
	k := newKit(t, nil)
	for _, key := range []string{"id-04", "user04@contoso.com", "USER04@Contoso.com", "mail04%40contoso.com"} {
		m := read[api.Member](t, k.call(t, http.MethodGet, "/api/v1/accounts/contoso/members/"+key, ""), http.StatusOK)
		require.Equal(t, testMember(4).Teams, m.Teams, key)
		require.Equal(t, "In a call", m.Endpoints[0].Shown.Name)
		require.NotNil(t, m.Endpoints[0].Because)
	}
	bare := read[api.Member](t, k.call(t, http.MethodGet, "/api/v1/accounts/contoso/members/id-05", ""), http.StatusOK)
	require.Equal(t, "unknown", bare.Teams.OrganicState)
	requireProblem(t, k.call(t, http.MethodGet, "/api/v1/accounts/contoso/members/nobody", ""), http.StatusNotFound, `"nobody"`)

	// Whatever stands in a UPN, it arrives as it was.
	for _, key := range []string{"a/b@x", "50%25", "a b", "ä@x", "a+b@x", "..", "a?b#c"} {
		k.backend.members["fabrikam"] = []api.Member{{ID: "x", UPN: key, Coverage: "polled"}}
		escaped := strings.NewReplacer("%", "%25", "/", "%2F", " ", "%20", "?", "%3F", "#", "%23", "ä", "%C3%A4").Replace(key)
		m := read[api.Member](t, k.call(t, http.MethodGet, "/api/v1/accounts/fabrikam/members/"+escaped, ""), http.StatusOK)
		require.Equal(t, key, m.UPN)
	}
}

func TestMonitors(t *testing.T) {
	k := newKit(t, nil)
	got := read[api.Monitors](t, k.call(t, http.MethodGet, "/api/v1/accounts/contoso/monitors", ""), http.StatusOK)
	require.Equal(t, k.backend.monitors["contoso"], got.Monitors)
	got = read[api.Monitors](t, k.call(t, http.MethodGet, "/api/v1/accounts/fabrikam/monitors", ""), http.StatusOK)
	require.NotNil(t, got.Monitors)
	requireProblem(t, k.call(t, http.MethodGet, "/api/v1/accounts/nobody/monitors", ""), http.StatusNotFound, "nobody")
}

func TestAuthorize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		w := k.call(t, http.MethodPost, "/api/v1/accounts/contoso/monitors/presence1@contoso.com/authorize", "")
		a := read[api.Authorization](t, w, http.StatusAccepted)
		require.True(t, a.Pending())
		require.Equal(t, "presence1@contoso.com", a.UPN)
		require.Equal(t, "ABCD-EFGH", a.UserCode)
		where := w.Header().Get("Location")
		require.Equal(t, "/api/v1/accounts/contoso/authorizations/flow%2F0", where)

		start := time.Now()
		require.True(t, read[api.Authorization](t, k.call(t, http.MethodGet, where, ""), http.StatusOK).Pending())
		require.Zero(t, time.Since(start))
		require.True(t, read[api.Authorization](t, k.call(t, http.MethodGet, where+"?wait=20", ""), http.StatusOK).Pending())
		require.Equal(t, 20*time.Second, time.Since(start))

		start = time.Now()
		time.AfterFunc(3*time.Second, func() { k.backend.settle(a.ID, "declined", "the sign-in was declined") })
		got := read[api.Authorization](t, k.call(t, http.MethodGet, where+"?wait=60", ""), http.StatusOK)
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Equal(t, "declined", got.State)
		require.Empty(t, got.UserCode)

		requireProblem(t, k.call(t, http.MethodGet, where+"?wait=61", ""), http.StatusBadRequest, "wait: want a number from 0 to 60")
		requireProblem(t, k.call(t, http.MethodGet, where+"x", ""), http.StatusNotFound, "no sign-in")
		requireProblem(t, k.call(t, http.MethodPost, "/api/v1/accounts/nobody/monitors/x/authorize", ""), http.StatusNotFound, "nobody")
	})
}

func TestErrorsOfTheBackend(t *testing.T) {
	var log bytes.Buffer
	k := newKit(t, func(c *Config) { c.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
	for _, tt := range []struct {
		err    error
		status int
		detail string
	}{
		{Conflict("as things are, %s", "no"), http.StatusConflict, "as things are, no"},
		{Invalid("senseless"), http.StatusBadRequest, "senseless"},
		{Unavailable("the owner is away"), http.StatusServiceUnavailable, "the owner is away"},
		{fmt.Errorf("wrapped: %w", NotFound("gone")), http.StatusNotFound, "gone"},
		{context.DeadlineExceeded, http.StatusServiceUnavailable, "try again"},
	} {
		k.backend.err = tt.err
		requireProblem(t, k.call(t, http.MethodGet, "/api/v1/accounts/contoso/members", ""), tt.status, tt.detail)
	}
	k.backend.err = errors.New("nats: cannot open secret-place")
	p := requireProblem(t, k.call(t, http.MethodGet, "/api/v1/accounts/contoso/members", ""), http.StatusInternalServerError, "its log has more")
	require.NotContains(t, p.Detail, "secret-place", "what is not for the caller stays in the log")
	require.Contains(t, log.String(), "secret-place")
	require.Contains(t, log.String(), p.RequestID)
	require.NotContains(t, log.String(), testToken)
}

// What is logged holds no token, no code, no name and no state of anybody.
func TestNothingSecretIsLogged(t *testing.T) {
	var log bytes.Buffer
	k := newKit(t, func(c *Config) {
		c.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	})
	k.call(t, http.MethodPost, "/api/v1/accounts/contoso/monitors/presence1@contoso.com/authorize", "")
	k.call(t, http.MethodGet, "/api/v1/accounts/contoso/members/user04@contoso.com", "")
	k.call(t, http.MethodPost, "/api/v1/accounts/contoso/resync", `{"member":"user04@contoso.com"}`)
	k.Close()
	require.Contains(t, log.String(), "authorisation of a monitor started")
	require.Contains(t, log.String(), "resync finished")
	for _, secret := range []string{testToken, "ABCD-EFGH", "presence1", "user04", "Busy", "In a call"} {
		require.NotContains(t, log.String(), secret)
	}
}

func TestHealth(t *testing.T) {
	k := newKit(t, nil)
	w := httptest.NewRecorder()
	k.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	require.Equal(t, api.Health{Status: "ok", Version: "v1"}, read[api.Health](t, w, http.StatusOK))
}

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := func(checks ...ReadyCheck) *httptest.ResponseRecorder {
			k := newKit(t, func(c *Config) { c.Checks = checks })
			w := httptest.NewRecorder()
			k.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			return w
		}
		good := ReadyCheck{Name: "bus", Check: func(context.Context) error { return nil }}
		bad := ReadyCheck{Name: "pbx main", Check: func(context.Context) error { return errors.New("connection refused") }}
		slow := ReadyCheck{Name: "graph", Check: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}

		require.Equal(t, api.Readiness{Ready: true, Checks: []api.Check{}}, read[api.Readiness](t, ready(), http.StatusOK))
		require.True(t, read[api.Readiness](t, ready(good), http.StatusOK).Ready)
		start := time.Now()
		got := read[api.Readiness](t, ready(good, bad, slow, slow), http.StatusServiceUnavailable)
		require.Equal(t, 2*time.Second, time.Since(start), "all at once")
		require.Equal(t, []api.Check{{Name: "bus", OK: true}, {Name: "pbx main", Detail: "connection refused"},
			{Name: "graph", Detail: "no answer within 2s"}, {Name: "graph", Detail: "no answer within 2s"}}, got.Checks)
		require.False(t, got.Ready)
	})
}

func TestMetrics(t *testing.T) {
	k := newKit(t, nil)
	k.call(t, http.MethodGet, "/api/v1/accounts/contoso/members", "")
	for _, tt := range []struct{ method, path string }{{"FOO", "/api/v1/accounts"}, {"GET", "/made/up"}, {"GET", "/api/made/up"}, {"BAR", "/x"}, {"OPTIONS", "/healthz"}} {
		k.call(t, tt.method, tt.path, "")
	}
	w := httptest.NewRecorder()
	k.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), `presence_bridge_console_requests_total{method="GET",route="/api/v1/accounts/:account/members",status="200"} 1`)
	for _, made := range []string{"FOO", "BAR", "made", "contoso"} {
		require.NotContains(t, w.Body.String(), made, "strangers make no label values")
	}
	without := newKit(t, func(c *Config) { c.Gatherer = nil })
	require.Equal(t, http.StatusNotFound, without.call(t, http.MethodGet, "/metrics", "").Code)
}

func TestConfig(t *testing.T) {
	_, err := New(Config{Token: testToken})
	require.ErrorContains(t, err, "Backend is missing")
	_, err = New(Config{Token: "short", Backend: newMemBackend()})
	require.ErrorContains(t, err, "want at least 16")
	require.NotContains(t, err.Error(), "short", "the token stays out of the error")
	k := newKit(t, nil)
	_, err = New(Config{Token: testToken, Backend: newMemBackend(), Metrics: k.reg})
	require.ErrorContains(t, err, "console: metrics")
}

func TestServe(t *testing.T) {
	k := newKit(t, nil)
	var listener net.ListenConfig
	ln, err := listener.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Serve(ctx, ln) }()

	// A request that waits for news is sent home when the console stops.
	_, err = k.backend.Authorize(ctx, "contoso", "x", api.AuthorizeRequest{})
	require.NoError(t, err)
	waiting := make(chan int, 1)
	client := &http.Client{Transport: &http.Transport{}}
	go func() {
		req, _ := http.NewRequest(http.MethodGet, "http://"+ln.Addr().String()+"/api/v1/accounts/contoso/authorizations/flow%2F0?wait=60", nil)
		req.Header.Set("Authorization", "Bearer "+testToken)
		resp, err := client.Do(req)
		if err != nil {
			waiting <- 0
			return
		}
		_ = resp.Body.Close()
		waiting <- resp.StatusCode
	}()
	require.Eventually(t, func() bool { return k.backend.waits.Load() == 1 }, time.Minute, time.Millisecond)
	cancel()
	require.NoError(t, <-done, "it did not have to be cut")
	require.Equal(t, http.StatusOK, <-waiting)
	client.CloseIdleConnections()

	require.ErrorContains(t, newKit(t, nil).Serve(t.Context(), ln), "console: serve", "a closed listener")
}
