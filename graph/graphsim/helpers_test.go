package graphsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// direct serves requests without a network, so that the tests of time can run in a synctest bubble.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if cut := recover(); cut != nil {
			resp, err = nil, errors.New("the connection was cut")
		}
	}()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// tenant is a Sim with a client.
type tenant struct {
	*Sim
	t      *testing.T
	client *http.Client
}

func newTenant(t *testing.T, cfg Config) *tenant {
	t.Helper()
	s, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &tenant{s, t, &http.Client{Transport: direct{s.Handler()}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
}

// answer is a response, read.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
	err    error
}

// errorCode is the code of Graph's error.
func (a answer) errorCode() string {
	e, _ := a.json["error"].(map[string]any)
	code, _ := e["code"].(string)
	return code
}

func (a answer) errorMessage() string {
	e, _ := a.json["error"].(map[string]any)
	message, _ := e["message"].(string)
	return message
}

func (a answer) text(key string) string {
	v, _ := a.json[key].(string)
	return v
}

func (x *tenant) send(r *http.Request) answer {
	x.t.Helper()
	resp, err := x.client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(x.t, err)
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(raw)}
	_ = json.Unmarshal(raw, &a.json)
	return a
}

// call calls Graph.
func (x *tenant) call(method, path, token string, body any) answer {
	x.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		require.NoError(x.t, err)
		in = bytes.NewReader(raw)
	}
	r, err := http.NewRequest(method, x.GraphURL()+path, in)
	require.NoError(x.t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return x.send(r)
}

// form posts to the login service.
func (x *tenant) form(path string, pairs ...string) answer {
	x.t.Helper()
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	r, err := http.NewRequest(http.MethodPost, x.LoginURL()+"/"+path, strings.NewReader(values.Encode()))
	require.NoError(x.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return x.send(r)
}

func (x *tenant) tokenForm(pairs ...string) answer {
	return x.form(x.TenantID+"/oauth2/v2.0/token", pairs...)
}

// appToken is a token of the application's own.
func (x *tenant) appToken() string {
	x.t.Helper()
	a := x.tokenForm("grant_type", "client_credentials", "client_id", x.ClientID, "client_secret", x.ClientSecret, "scope", x.GraphURL()+"/.default")
	require.Equal(x.t, 200, a.status, a.body)
	return a.text("access_token")
}

// signIn takes a user through the device code flow.
func (x *tenant) signIn(upn string) answer {
	x.t.Helper()
	a := x.form(x.TenantID+"/oauth2/v2.0/devicecode", "client_id", x.ClientID, "scope", x.GraphURL()+"/Presence.Read.All offline_access openid")
	require.Equal(x.t, 200, a.status, a.body)
	require.NoError(x.t, x.Approve(a.text("user_code"), upn))
	a = x.tokenForm("grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", x.ClientID, "device_code", a.text("device_code"))
	require.Equal(x.t, 200, a.status, a.body)
	return a
}

func (x *tenant) userToken(upn string) string { return x.signIn(upn).text("access_token") }

// set writes the application's session.
func (x *tenant) set(token, user string, p Pair, life string) answer {
	body := map[string]any{"sessionId": x.ClientID, "availability": p.Availability, "activity": p.Activity}
	if life != "" {
		body["expirationDuration"] = life
	}
	return x.call("POST", "/v1.0/users/"+user+"/presence/setPresence", token, body)
}

func (x *tenant) clear(token, user string) answer {
	return x.call("POST", "/v1.0/users/"+user+"/presence/clearPresence", token, map[string]any{"sessionId": x.ClientID})
}

// read is what Graph shows for a user.
func (x *tenant) read(token, user string) Pair {
	x.t.Helper()
	a := x.call("GET", "/v1.0/users/"+user+"/presence", token, nil)
	require.Equal(x.t, 200, a.status, a.body)
	return Pair{a.text("availability"), a.text("activity")}
}

const (
	anna = "anna@contoso.example"
	ben  = "ben@contoso.example"
	mon  = "presence1@contoso.example"
)

// two is a tenant of two people and two monitors.
func two(t *testing.T, edit ...func(*Config)) *tenant {
	t.Helper()
	cfg := Config{People: []Person{{UPN: anna, Mail: anna, DisplayName: "Anna"}, {UPN: ben, Mail: ben, DisplayName: "Ben"}},
		Monitors: []string{"presence1", "presence2"}, Tie: TieApp, Delivery: Delivery{AllowHTTP: true}}
	for _, e := range edit {
		e(&cfg)
	}
	return newTenant(t, cfg)
}

func (x *tenant) id(user string) string {
	state, ok := x.State(user)
	require.True(x.t, ok, user)
	return state.ID
}

// Tests that cannot run in virtual time wait on a condition, at most so long.
const (
	waitAtMost = time.Minute
	waitStep   = 5 * time.Millisecond
)

func debugLogger(out io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
