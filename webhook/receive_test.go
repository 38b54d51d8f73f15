package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestHandshake(t *testing.T) {
	k := newKit(t, nil)
	sentence := "Validation: Testing client application reachability for subscription Request-Id: 877cb92e-0000"
	for name, tt := range map[string]struct{ query, want string }{
		"opaque":           {"validationToken=abc123", "abc123"},
		"a sentence":       {"validationToken=" + url.QueryEscape(sentence), sentence},
		"percent escapes":  {"validationToken=" + url.PathEscape(sentence), sentence},
		"plus is a space":  {"validationToken=a+b%2Bc", "a b+c"},
		"markup unescaped": {"validationToken=" + url.QueryEscape(`<script>alert("&amp;'")</script>`), `<script>alert("&amp;'")</script>`},
		"decoded once":     {"validationToken=%2541%2520", "%41%20"},
		"other parameters": {"tenant=1&validationToken=x&b=2", "x"},
		"equals sign":      {"validationToken=a=b==", "a=b=="},
		"raw semicolon":    {"validationToken=a;b", "a;b"},
		"not ASCII":        {"validationToken=%E2%82%AC", "€"},
		"not UTF-8":        {"validationToken=%FF%00", "\xff\x00"},
		"first of two":     {"validationToken=1&validationToken=2", "1"},
		"longest":          {"validationToken=" + strings.Repeat("x", maxValidationToken), strings.Repeat("x", maxValidationToken)},
	} {
		for _, path := range []string{notifyURL, lifecycleURL, "/graph/nobody/notifications"} {
			w := k.post(path+"?"+tt.query, "")
			require.Equal(t, http.StatusOK, w.Code, name)
			require.Equal(t, tt.want, w.Body.String(), name)
			require.Equal(t, "text/plain", w.Header().Get("Content-Type"), name)
			require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), name)
		}
	}
	require.Empty(t, k.store.all())
	require.Equal(t, 26.0, k.requests("contoso", outcomeValidated))
	require.Equal(t, 13.0, k.requests("", outcomeValidated))
}

func TestHandshakeRefused(t *testing.T) {
	k := newKit(t, nil)
	for _, query := range []string{"validationToken=", "validationToken", "validationToken=%zz", "validationToken=%",
		"validationToken=" + strings.Repeat("x", maxValidationToken+1)} {
		w := k.post(notifyURL+"?"+query, "")
		require.Equal(t, http.StatusBadRequest, w.Code, query)
		require.Empty(t, w.Body.String(), query)
	}
	require.Equal(t, 5.0, k.requests("contoso", outcomeBadValidation))
	// The name is case-sensitive: this is a notification without a body.
	require.Equal(t, http.StatusBadRequest, k.post(notifyURL+"?validationtoken=x", "").Code)
	require.Equal(t, 1.0, k.requests("contoso", outcomeMalformed))
}

func TestStored(t *testing.T) {
	good, other := newState(t, "contoso"), newState(t, "contoso")
	forged, foreign := "x"+good, newState(t, "fabrikam")
	for name, tt := range map[string]struct {
		path, body string
		hasID      bool
	}{
		"rich":                        {notifyURL, envelope(rich(good)), true},
		"basic":                       {notifyURL, envelope(basic(good)), false},
		"lifecycle":                   {lifecycleURL, envelope(lifecycle(good)), false},
		"lifecycle on the other URL":  {notifyURL, envelope(lifecycle(good)), false},
		"two subscriptions":           {notifyURL, envelope(rich(good), rich(other)), true},
		"rich and basic":              {notifyURL, envelope(basic(good), rich(other)), true},
		"one genuine among forged":    {notifyURL, envelope(rich(forged), rich(foreign), rich(""), rich(good), rich(forged)), true},
		"the rich one is forged":      {notifyURL, envelope(rich(forged), basic(good)), false},
		"neighbour is no object":      {notifyURL, envelope(`7`, rich(good), `null`), true},
		"trailing comma":              {notifyURL, `{"value":[` + basic(good) + `,]}`, false},
		"big":                         {notifyURL, envelope(append([]string{rich(good)}, repeat(rich(good), 600)...)...), true},
		"query of our own is kept":    {notifyURL + "?x=1", envelope(rich(good)), true},
		"white space and byte order":  {notifyURL, "\xef\xbb\xbf \n" + envelope(rich(good)) + "\n", true},
		"unknown members are ignored": {notifyURL, `{"new":{"a":[1]},"value":[` + rich(good) + `],"z":null}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t, nil)
			before := time.Now()
			w := k.post(tt.path, tt.body)
			require.Equal(t, http.StatusAccepted, w.Code)
			require.Empty(t, w.Body.String())
			got := k.store.all()
			require.Len(t, got, 1)
			require.Equal(t, "contoso", got[0].account)
			require.Equal(t, sha(tt.body), sha(got[0].body), "the body is kept to the byte")
			require.False(t, got[0].arrived.Before(before))
			want := ""
			if tt.hasID {
				want = sha(tt.body)
			}
			require.Equal(t, want, got[0].id)
			require.Equal(t, 1.0, k.requests("contoso", outcomeStored))
			require.Zero(t, k.inFlight.Load())
		})
	}
}

func repeat(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

// A prober learns nothing: not whether an account exists, not whether a client state was nearly right,
// not whether an item was looked at.
func TestUnused(t *testing.T) {
	k := newKit(t, nil)
	good := newState(t, "contoso")
	bodies := map[string]string{
		"no items":            `{"value":[]}`,
		"empty object":        `{}`,
		"null":                `null`,
		"a number":            `1`,
		"a string":            `"x"`,
		"value is no array":   `{"value":{"clientState":"` + good + `"}}`,
		"state elsewhere":     `{"clientState":"` + good + `","value":[{"resourceData":{"clientState":"` + good + `"}}]}`,
		"no client state":     envelope(`{"subscriptionId":"s"}`),
		"null client state":   envelope(`{"clientState":null}`),
		"number":              envelope(`{"clientState":7}`),
		"forged":              envelope(rich(good[:len(good)-1] + "!")),
		"of another account":  envelope(rich(newState(t, "fabrikam"))),
		"nested far":          strings.Repeat("[", 500) + strings.Repeat("]", 500),
		"deep inside an item": envelope(`{"x":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`),
	}
	for name, body := range bodies {
		for _, path := range []string{notifyURL, lifecycleURL, "/graph/nobody/notifications", "/graph/nobody/lifecycle", "/graph/%00/lifecycle"} {
			w := k.post(path, body)
			require.Equal(t, http.StatusAccepted, w.Code, "%s at %s", name, path)
			require.Empty(t, w.Body.String())
			require.Empty(t, w.Header(), "%s at %s", name, path)
		}
	}
	// Nor is a genuine state of use at an account that does not exist.
	require.Equal(t, http.StatusAccepted, k.post("/graph/nobody/notifications", envelope(rich(good))).Code)
	require.Empty(t, k.store.all())
	require.Equal(t, float64(2*len(bodies)), k.requests("contoso", outcomeUnused))
	require.Equal(t, float64(3*len(bodies)+1), k.requests("", outcomeUnused))
	require.Equal(t, 4.0, testutil.ToFloat64(k.metrics.refused.WithLabelValues("contoso", "wrong_client_state")))
	require.Greater(t, testutil.ToFloat64(k.metrics.refused.WithLabelValues("contoso", "no_client_state")), 0.0)
	require.Zero(t, testutil.ToFloat64(k.metrics.itemsSeen.WithLabelValues("contoso")))

	// To the one who knows the key the answer is the same, too.
	w := k.post(notifyURL, envelope(rich(good)))
	require.Equal(t, http.StatusAccepted, w.Code)
	require.Empty(t, w.Header())
}

func TestMalformed(t *testing.T) {
	k := newKit(t, nil)
	good := newState(t, "contoso")
	whole := envelope(rich(good))
	for name, body := range map[string]string{
		"empty": "", "blank": "  ", "text": "hello", "cut off": whole[:len(whole)-1], "cut off in an item": whole[:100],
		"two documents": whole + whole, "binary": "\x00\xff\xfe", "form": "a=b&c=d",
	} {
		for _, path := range []string{notifyURL, "/graph/nobody/notifications"} {
			w := k.post(path, body)
			require.Equal(t, http.StatusBadRequest, w.Code, name)
			require.Empty(t, w.Body.String(), name)
			require.Empty(t, w.Header(), name)
		}
	}
	require.Empty(t, k.store.all(), "what was seen before the error does not count")
	require.Equal(t, 8.0, k.requests("contoso", outcomeMalformed))
}

func TestEverythingElseIsNotFound(t *testing.T) {
	k := newKit(t, nil)
	for _, tt := range []struct{ method, path string }{
		{http.MethodGet, notifyURL}, {http.MethodGet, notifyURL + "?validationToken=x"}, {http.MethodHead, notifyURL},
		{http.MethodPut, notifyURL}, {http.MethodDelete, lifecycleURL}, {http.MethodOptions, notifyURL}, {http.MethodPatch, notifyURL},
		{"TRACE", notifyURL}, {"FOO", notifyURL}, {http.MethodConnect, notifyURL},
		{http.MethodGet, "/"}, {http.MethodPost, "/"}, {http.MethodPost, "/graph/contoso"}, {http.MethodPost, "/graph//notifications"},
		{http.MethodPost, notifyURL + "/"}, {http.MethodPost, "/graph/contoso/other"}, {http.MethodPost, "/Graph/contoso/notifications"},
		{http.MethodPost, "/graph/a/b/notifications"}, {http.MethodGet, "/metrics"}, {http.MethodGet, "/healthz"},
	} {
		w := httptest.NewRecorder()
		k.Handler().ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if tt.path == "/graph//notifications" {
			require.Contains(t, []int{http.StatusNotFound, http.StatusBadRequest}, w.Code)
			continue
		}
		require.Equal(t, http.StatusNotFound, w.Code, "%s %s", tt.method, tt.path)
		require.Empty(t, w.Body.String(), "%s %s", tt.method, tt.path)
		require.Empty(t, w.Header(), "%s %s", tt.method, tt.path)
	}
	require.Empty(t, k.store.all())
}

func TestRoutes(t *testing.T) {
	k := newKit(t, func(c *Config) {
		c.Routes = []Route{{http.MethodGet, "/authorize/callback", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "state "+r.URL.Query().Get("state"))
		})}}
	})
	w := httptest.NewRecorder()
	k.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/authorize/callback?state=1", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "state 1", w.Body.String())
	require.Equal(t, http.StatusNotFound, k.post("/authorize/callback", "").Code)
}

func TestStoreRefuses(t *testing.T) {
	k := newKit(t, nil)
	k.store.hook = func(context.Context) error { return errors.New("the disk is full") }
	w := k.post(notifyURL, envelope(rich(newState(t, "contoso"))))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "5", w.Header().Get("Retry-After"))
	require.Empty(t, w.Body.String())
	require.Equal(t, 1.0, k.requests("contoso", outcomeRefused))

	// Nobody but Graph can see that: a stranger's body is not stored.
	require.Equal(t, http.StatusAccepted, k.post(notifyURL, envelope(rich("forged"))).Code)

	k.store.hook = func(context.Context) error { panic("a bug") }
	w = k.post(notifyURL, envelope(rich(newState(t, "contoso"))))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, 1.0, k.requests("contoso", outcomePanic))
	require.Zero(t, k.inFlight.Load())
}

func TestStoreRunsOnWhenTheClientGoesAway(t *testing.T) {
	k := newKit(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	k.store.hook = func(storing context.Context) error {
		cancel()
		return storing.Err()
	}
	req := httptest.NewRequest(http.MethodPost, notifyURL, strings.NewReader(envelope(rich(newState(t, "contoso"))))).WithContext(ctx)
	k.Handler().ServeHTTP(httptest.NewRecorder(), req)
	require.Len(t, k.store.all(), 1)
}

func TestBodyLimit(t *testing.T) {
	good := newState(t, "contoso")
	const limit = 200 << 10
	exact := envelope(rich(good))
	exact += strings.Repeat(" ", limit-len(exact))
	for name, chunked := range map[string]bool{"length": false, "chunked": true} {
		k := newKit(t, func(c *Config) { c.MaxBody = limit })
		send := func(path, body string) *httptest.ResponseRecorder {
			req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
			if chunked {
				req.ContentLength = -1
			}
			w := httptest.NewRecorder()
			k.Handler().ServeHTTP(w, req)
			return w
		}
		require.Equal(t, http.StatusAccepted, send(notifyURL, exact).Code, name)
		require.Equal(t, exact, k.store.all()[0].body, name)
		for _, path := range []string{notifyURL, lifecycleURL, "/graph/nobody/notifications"} {
			w := send(path, exact+" ")
			require.Equal(t, http.StatusRequestEntityTooLarge, w.Code, name)
			require.Equal(t, "close", w.Header().Get("Connection"), name)
			require.Empty(t, w.Body.String(), name)
		}
		require.Len(t, k.store.all(), 1, name)
		require.Equal(t, 2.0, k.requests("contoso", outcomeTooLarge), name)
		require.Zero(t, k.inFlight.Load())
	}
}

func TestEverySizeArrivesWhole(t *testing.T) {
	const limit = 300 << 10
	k := newKit(t, func(c *Config) { c.MaxBody = limit })
	item := envelope(rich(newState(t, "contoso")))
	var want []string
	for _, n := range []int{len(item), 4095, 4096, 4097, 8192, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 128<<10 + 1, limit - 1, limit} {
		body := item + strings.Repeat(" ", n-len(item))
		for _, chunked := range []bool{false, true} {
			req := httptest.NewRequest(http.MethodPost, notifyURL, io.MultiReader(strings.NewReader(body[:7]), strings.NewReader(body[7:])))
			req.ContentLength = int64(n)
			if chunked {
				req.ContentLength = -1
			}
			w := httptest.NewRecorder()
			k.Handler().ServeHTTP(w, req)
			require.Equal(t, http.StatusAccepted, w.Code, "%d bytes, chunked %v", n, chunked)
			want = append(want, body)
		}
	}
	for i, got := range k.store.all() {
		require.Equal(t, sha(want[i]), sha(got.body), "body %d", i)
	}
	require.Zero(t, k.inFlight.Load())
}

func TestNothingSecretIsLogged(t *testing.T) {
	var log bytes.Buffer
	k := newKit(t, func(c *Config) {
		c.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	good := newState(t, "contoso")
	k.store.hook = func(context.Context) error { return errors.New("full") }
	k.post(notifyURL, envelope(rich(good)))
	k.post(notifyURL, envelope(rich("forged-state")))
	k.post(notifyURL+"?validationToken=opaque-token", "")
	require.Contains(t, log.String(), "not stored")
	for _, secret := range []string{good, "forged-state", "opaque-token", "communications/presences"} {
		require.NotContains(t, log.String(), secret)
	}
}

func TestConfig(t *testing.T) {
	valid := func() Config { return Config{Accounts: []string{"a"}, Key: testKey, Store: &memStore{}} }
	_, err := New(valid())
	require.NoError(t, err)
	for want, change := range map[string]func(*Config){
		"the key has 5 bytes":           func(c *Config) { c.Key = testKey[:5] },
		"Store is missing":              func(c *Config) { c.Store = nil },
		`account name "Contoso"`:        func(c *Config) { c.Accounts = []string{"Contoso"} },
		`account name ""`:               func(c *Config) { c.Accounts = []string{""} },
		`"a" stands twice`:              func(c *Config) { c.Accounts = []string{"a", "b", "a"} },
		"body limit of -1":              func(c *Config) { c.MaxBody = -1 },
		"less than one body":            func(c *Config) { c.MaxInFlight = 1 << 20 },
		"limit of -1 connections":       func(c *Config) { c.MaxConnections = -1 },
		"deadline of 4s":                func(c *Config) { c.Deadline = 4 * time.Second },
		"deadline of -1ns":              func(c *Config) { c.Deadline = -1 },
		"tls.certificate_file and tls.": func(c *Config) { c.CertificateFile = "x" },
		"tls.certificate_file absent.":  func(c *Config) { c.CertificateFile, c.KeyFile = "absent.pem", "absent.key" },
	} {
		cfg := valid()
		change(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
	}
	k := newKit(t, nil)
	_, err = New(Config{Accounts: []string{"a"}, Key: testKey, Store: &memStore{}, Metrics: k.reg})
	require.ErrorContains(t, err, "metrics", "registered twice")
}
