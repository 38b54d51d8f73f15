package graph

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

const (
	testTenant = "fec73c09-5f32-43fd-b767-9181f871fbcf"
	testClient = "22553876-f5ab-4529-bffb-cfe50aa89f87"
	testUser   = "fa8bf3dc-eca7-46b7-bad1-db199b62afc3"
	testSecret = "the-Secret~of.the_application"
)

// tenant is the other side, as the facts describe it: a login endpoint and a Graph.
type tenant struct {
	t        *testing.T
	loginURL string
	graphURL string
	caFile   string

	mu       sync.Mutex
	secret   string                                     // the secret that is accepted; "" accepts assertions
	tokens   int                                        // tokens handed out
	forms    []url.Values                               // requests to the token endpoint
	requests []*seen                                    // requests to Graph
	graph    func(http.ResponseWriter, *seen)           // answers Graph's requests
	login    func(http.ResponseWriter, url.Values) bool // answers the token endpoint if it returns true
	life     int                                        // seconds that tokens live
}

// seen is one request that reached Graph.
type seen struct {
	*http.Request
	body string
}

func newTenant(t *testing.T) *tenant {
	tn := &tenant{t: t, secret: testSecret, life: 3600}
	tn.graph = func(w http.ResponseWriter, r *seen) { reply(w, 200, `{"value":[]}`) }
	login := httptest.NewUnstartedServer(http.HandlerFunc(tn.serveLogin))
	graph := httptest.NewUnstartedServer(http.HandlerFunc(tn.serveGraph))
	for _, s := range []*httptest.Server{login, graph} {
		s.EnableHTTP2 = true
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		s.StartTLS()
		t.Cleanup(s.Close)
	}
	tn.loginURL, tn.graphURL = login.URL, graph.URL
	tn.caFile = filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: graph.Certificate().Raw})
	require.NoError(t, os.WriteFile(tn.caFile, ca, 0o600))
	return tn
}

// reply writes a JSON answer.
func reply(w http.ResponseWriter, status int, body string, header ...string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("request-id", "req-1")
	for i := 0; i+1 < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// graphError is an error body of Graph.
func graphError(code, message string) string {
	b, _ := json.Marshal(map[string]any{"error": map[string]any{"code": code, "message": message}})
	return string(b)
}

func (tn *tenant) serveLogin(w http.ResponseWriter, r *http.Request) {
	base := "https://" + r.Host + "/" + testTenant
	switch r.URL.Path {
	case "/" + testTenant + "/v2.0/.well-known/openid-configuration":
		reply(w, 200, fmt.Sprintf(`{"issuer":"https://login.microsoftonline.com/%s/v2.0","token_endpoint":"%s/oauth2/v2.0/token","authorization_endpoint":"%s/oauth2/v2.0/authorize"}`, testTenant, base, base))
	case "/" + testTenant + "/oauth2/v2.0/token", "/" + testTenant + "/oauth2/v2.0/devicecode":
		_ = r.ParseForm()
		tn.serveToken(w, r.PostForm)
	default:
		http.NotFound(w, r)
	}
}

func (tn *tenant) serveToken(w http.ResponseWriter, form url.Values) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	tn.forms = append(tn.forms, form)
	if tn.login != nil && tn.login(w, form) {
		return
	}
	if tn.secret != form.Get("client_secret") {
		reply(w, 401, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided: '`+form.Get("client_secret")+`' for anna@contoso.com. Trace ID: 1 Correlation ID: 2","error_codes":[7000215],"trace_id":"trace-1"}`)
		return
	}
	reply(w, 200, tn.tokenAnswer())
}

// tokenAnswer hands out the next token. The caller holds mu.
func (tn *tenant) tokenAnswer() string {
	tn.tokens++
	return fmt.Sprintf(`{"token_type":"Bearer","expires_in":%d,"access_token":"token-%d"}`, tn.life, tn.tokens)
}

func (tn *tenant) serveGraph(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s := &seen{r, string(body)}
	tn.mu.Lock()
	tn.requests = append(tn.requests, s)
	graph := tn.graph
	tn.mu.Unlock()
	graph(w, s)
}

func (tn *tenant) requestCount() int {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	return len(tn.requests)
}

func (tn *tenant) tokenCount() int {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	return tn.tokens
}

// config is a configuration for this tenant; change alters it.
func (tn *tenant) config(change ...func(*Config)) Config {
	cfg := Config{
		Account: "contoso", TenantID: testTenant, ClientID: testClient,
		ClientSecret: func() (string, error) { return testSecret, nil },
		Endpoints:    Endpoints{Login: tn.loginURL, Graph: tn.graphURL, CAFile: tn.caFile},
		Log:          slog.New(slog.NewTextHandler(tn.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics:      prometheus.NewRegistry(),
	}
	for _, f := range change {
		f(&cfg)
	}
	return cfg
}

func (tn *tenant) client(change ...func(*Config)) *Client {
	tn.t.Helper()
	c, err := New(tn.config(change...))
	require.NoError(tn.t, err)
	tn.t.Cleanup(c.Close)
	return c
}

// virtual is a tenant without a network: its answers are given in the caller's goroutine, so that tests under
// virtual time (testing/synctest) can use it.
func virtual(t *testing.T) *tenant {
	tn := &tenant{t: t, secret: testSecret, life: 3600, loginURL: "https://login.test", graphURL: "https://graph.test"}
	tn.graph = func(w http.ResponseWriter, r *seen) { reply(w, 200, `{"value":[]}`) }
	return tn
}

// onVirtual puts the tenant in place of the network.
func (tn *tenant) onVirtual(cfg *Config) {
	cfg.Endpoints = Endpoints{Login: tn.loginURL, Graph: tn.graphURL}
	cfg.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.WroteHeaders != nil {
			trace.WroteHeaders()
		}
		w := httptest.NewRecorder()
		r.RequestURI = ""
		if r.Body == nil {
			r.Body = http.NoBody
		}
		if r.URL.Host == "login.test" {
			r.Host = r.URL.Host
			tn.serveLogin(w, r)
		} else {
			tn.serveGraph(w, r)
		}
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		return w.Result(), nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// inTurn answers each request with the next of the answers, the last one for ever.
func inTurn(answers ...func(http.ResponseWriter)) func(http.ResponseWriter, *seen) {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, _ *seen) {
		mu.Lock()
		i := min(n, len(answers)-1)
		n++
		mu.Unlock()
		answers[i](w)
	}
}

func status(code int, body string, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { reply(w, code, body, header...) }
}

// hangUp breaks the connection after the request was read.
func hangUp(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// memoryStore is a TokenStore.
type memoryStore struct {
	mu      sync.Mutex
	token   string
	saved   []string
	loadErr error
	saveErr error
}

func (m *memoryStore) LoadRefreshToken(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.token, m.loadErr
}

func (m *memoryStore) SaveRefreshToken(_ context.Context, token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.saveErr != nil {
		return m.saveErr
	}
	m.token, m.saved = token, append(m.saved, token)
	return nil
}

// jwtOf is an unsigned token with these claims.
func jwtOf(claims map[string]any) string {
	b, _ := json.Marshal(claims)
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(b) + ".c2ln"
}

// refreshing answers refresh grants: the token must be the current one, the next is handed out.
func refreshing(tn *tenant, current *string) func(http.ResponseWriter, url.Values) bool {
	n := 0
	return func(w http.ResponseWriter, form url.Values) bool {
		if form.Get("grant_type") != "refresh_token" {
			return false
		}
		if form.Get("refresh_token") != *current {
			reply(w, 400, `{"error":"invalid_grant","error_description":"AADSTS50173: The provided grant has expired due to it being revoked: `+form.Get("refresh_token")+`. Trace ID: x"}`)
			return true
		}
		n++
		*current = fmt.Sprintf("refresh-token-%d", n)
		tn.tokens++
		reply(w, 200, fmt.Sprintf(`{"token_type":"Bearer","expires_in":"%d","access_token":"user-token-%d","refresh_token":"%s"}`, tn.life, n, *current))
		return true
	}
}

// syncBuffer is a buffer for logs of several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// requireKind checks an error's kind and returns it.
func requireKind(t *testing.T, err error, k Kind) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, k, e.Kind, "%v", err)
	return e
}

// within is a context that ends soon.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// ids are n object ids.
func ids(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%08d-5f32-43fd-b767-9181f871fbcf", i)
	}
	return list
}

// presencesBody is an answer about n users as Graph gives it.
func presencesBody(n int) []byte {
	pairs := [][2]string{{"Available", "Available"}, {"Busy", "InACall"}, {"Busy", "InAMeeting"}, {"Away", "Away"}, {"DoNotDisturb", "Presenting"}, {"Offline", "Offline"}}
	var b strings.Builder
	b.WriteString(`{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#Collection(presence)","value":[`)
	for i, id := range ids(n) {
		if i > 0 {
			b.WriteByte(',')
		}
		p := pairs[i%len(pairs)]
		fmt.Fprintf(&b, `{"id":"%s","availability":"%s","activity":"%s","outOfOfficeSettings":{"message":null,"isOutOfOffice":%t},"statusMessage":{"message":{"content":"Back at %d o'clock","contentType":"text"}},"sequenceNumber":"A0129311%03d","workLocation":null}`,
			id, p[0], p[1], i%7 == 0, i%12, i)
	}
	b.WriteString(`]}`)
	return []byte(b.String())
}
