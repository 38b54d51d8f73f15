package app

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/keyring"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/graph/graphsim"
)

// front stands before a tenant as a proxy, and keeps every secret that passes.
type front struct {
	url, ca string
	behind  string // the tenant's own address

	mu      sync.Mutex
	secrets map[string]string // by what it is
}

func newFront(t *testing.T, s *site) *front {
	t.Helper()
	to, err := url.Parse(s.graph.GraphURL())
	require.NoError(t, err)
	f := &front{behind: s.graph.GraphURL(), secrets: map[string]string{}}
	direct := graphClient(t, s)
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(to); f.request(r.In, r.Out) },
		ModifyResponse: f.response, Transport: direct.Transport,
	}
	server := httptest.NewTLSServer(proxy)
	t.Cleanup(server.Close)
	f.url = server.URL
	f.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return f
}

func (f *front) keep(what, secret string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if secret != "" {
		f.secrets[what+" "+secret] = secret
	}
}

// request keeps the clientState of a subscription and the bearer tokens.
func (f *front) request(in, out *http.Request) {
	f.keep("bearer token", strings.TrimPrefix(in.Header.Get("Authorization"), "Bearer "))
	if in.Method == http.MethodPost && strings.Contains(in.URL.Path, "/oauth2/") {
		f.form(in, out)
		return
	}
	if in.Method != http.MethodPost || !strings.HasSuffix(in.URL.Path, "/subscriptions") {
		return
	}
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return // the tenant refuses what is cut
	}
	out.Body = io.NopCloser(bytes.NewReader(body))
	var sub struct {
		ClientState string `json:"clientState"`
	}
	if json.Unmarshal(body, &sub) == nil {
		f.keep("client state", sub.ClientState)
	}
}

// form keeps what the login service is given.
func (f *front) form(in, out *http.Request) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return // the tenant refuses what is cut
	}
	out.Body = io.NopCloser(bytes.NewReader(body))
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return
	}
	for _, name := range []string{"client_secret", "code", "code_verifier", "refresh_token", "device_code"} {
		f.keep(name, values.Get(name))
	}
}

// response keeps what the login service hands out, and has the addresses that it names lead through here.
func (f *front) response(r *http.Response) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	body = bytes.ReplaceAll(body, []byte(f.behind), []byte(f.url))
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	if !strings.Contains(r.Request.URL.Path, "/oauth2/") {
		return nil
	}
	var answer map[string]any
	if json.Unmarshal(body, &answer) == nil {
		for _, name := range []string{"access_token", "refresh_token", "id_token", "device_code"} {
			secret, _ := answer[name].(string)
			f.keep(name, secret)
		}
	}
	return nil
}

// lockedBuffer is a log that is written and read at the same time.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestNothingSecretComesOut runs a bridge with its log at debug through work and trouble, and looks for every secret
// that it handled in everything that it says.
func TestNothingSecretComesOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 2)
	s.front = newFront(t, s)
	log, said := &lockedBuffer{}, &lockedBuffer{}
	dir := t.TempDir()
	l := launch{dir: dir, sites: []*site{s}, log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	a := l.start(t)
	authorize(t, a, s)
	awaitPhones(t, a, s)
	work(t, a, s)
	given := monitorSecrets(t, a, s, said)
	masters := rotateKeys(t, a, s, filepath.Join(dir, "data", "master.key"), said)
	trouble(t, a, s)
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/api/v1/accounts", "/api/v1/accounts/contoso/members", "/api/v1/accounts/contoso/monitors", "/api/v1/jobs", "/api/v1/accounts/nobody/members"} {
		for _, token := range []string{a.AdminToken(), "a wrong token"} {
			_, text := get(t, "http://"+a.AdminAddr()+path, token)
			_, _ = io.WriteString(said, text)
		}
	}
	_, err := l.try(t) // on the same data
	require.Error(t, err)
	_, _ = io.WriteString(said, err.Error())
	stopApp(t, a)

	secrets := s.front.secrets
	kinds := map[string]bool{}
	for name := range secrets {
		kinds[strings.SplitN(name, " ", 2)[0]] = true
	}
	for _, kind := range []string{"bearer", "client", "access_token", "refresh_token", "device_code", "client_secret", "code", "code_verifier"} {
		require.True(t, kinds[kind], "a %s passed", kind)
	}
	secrets["the client secret"], secrets["the PBX token"], secrets["the admin token"] = s.graph.ClientSecret, s.pbx.Token(), a.AdminToken()
	for i, key := range masters {
		secrets[fmt.Sprint("master key ", i)] = key
	}
	for i, key := range a.webhookKeys() {
		secrets[fmt.Sprint("key of clientState ", i)] = base64.StdEncoding.EncodeToString(key)
		secrets[fmt.Sprint("key of clientState in hex ", i)] = hex.EncodeToString(key)
	}
	require.GreaterOrEqual(t, len(a.webhookKeys()), 2, "that of the retired key is accepted")
	maps.Copy(secrets, given)
	require.Contains(t, log.String(), "level=DEBUG")
	for name, secret := range secrets {
		require.Greater(t, len(secret), 15, name)
		requireNowhere(t, log.String(), secret, name+", in the log")
		requireNowhere(t, said.String(), secret, name+", in an answer")
	}
	requireNowhere(t, readAll(t, filepath.Join(dir, "data")), secrets["the client secret"], "the client secret, in data_dir")
	for name, secret := range secrets {
		if kind, _, _ := strings.Cut(name, " "); slices.Contains([]string{"refresh_token", "access_token", "device_code", "client_secret", "code_verifier", "given", "state"}, kind) {
			requireNowhere(t, readAll(t, filepath.Join(dir, "data")), secret, name+", in data_dir")
		}
	}
}

// monitorSecrets gives a monitor secrets of its own, good and bad, and signs it in by redirect. It returns what is secret of that.
func monitorSecrets(t *testing.T, a *App, s *site, said io.Writer) map[string]string {
	t.Helper()
	c, upn := admin(t, a), "presence2@contoso.example"
	secrets := map[string]string{"given secret": "first-secret-of-a-monitor", "given new secret": "second-secret-of-a-monitor", "given bad secret": "a-secret-that-entra-does-not-know"}
	tell := func(what any, err error) {
		text, e := json.Marshal(what)
		require.NoError(t, e)
		_, e = fmt.Fprintf(said, "%s %+v %v\n", text, what, err)
		require.NoError(t, e)
	}
	s.graph.AddSecret(secrets["given secret"])
	m, err := c.AddMonitorWith(t.Context(), s.name, api.AddMonitorRequest{UPN: upn, ClientSecret: secrets["given secret"]})
	require.NoError(t, err)
	tell(m, err)
	for _, end := range []string{"&deny=1", "&as=" + upn} {
		auth, err := c.AuthorizeBy(t.Context(), s.name, upn, api.ByRedirect)
		require.NoError(t, err)
		address, err := url.Parse(auth.URL) // for whoever ordered it, and nobody else
		require.NoError(t, err)
		secrets["state "+end] = address.Query().Get("state")
		_, page := browse(t, s, auth.URL+end)
		_, err = io.WriteString(said, page)
		require.NoError(t, err)
		done, err := c.AwaitAuthorization(t.Context(), auth)
		tell(done, err)
	}
	s.graph.AddSecret(secrets["given new secret"])
	for _, name := range []string{"given bad secret", "given new secret"} {
		done, err := c.RenewMonitorWith(t.Context(), s.name, upn, api.AuthorizeRequest{ClientSecret: secrets[name]})
		tell(done, err)
		require.Equal(t, name == "given new secret", err == nil, "%v", err)
	}
	return secrets
}

// rotateKeys rotates the master key and the encryption certificate, and returns all lines that the key file ever had.
func rotateKeys(t *testing.T, a *App, s *site, file string, said io.Writer) (keys []string) {
	t.Helper()
	note := func() {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, field := range strings.Fields(string(text)) {
			if len(field) == 44 { // base64 of 32 bytes
				keys = append(keys, field)
			}
		}
	}
	note()
	r, err := keyring.AddKey(file)
	require.NoError(t, err)
	note()
	c := admin(t, a)
	done, err := c.Reseal(t.Context())
	require.NoError(t, err)
	require.Equal(t, r.Newest, done.Key)
	require.Positive(t, done.Resealed)
	retired, err := keyring.RetireKeys(file)
	require.NoError(t, err)
	note()
	certificate, err := c.RotateCertificate(t.Context(), s.name)
	require.NoError(t, err)
	_, err = fmt.Fprintf(said, "%+v %+v %+v %+v %v\n", r, done, retired, certificate, a.keys)
	require.NoError(t, err)
	return keys
}

func requireNowhere(t *testing.T, text, secret, what string) {
	t.Helper()
	if i := strings.Index(text, secret); i >= 0 {
		require.Failf(t, "a secret came out", "%s: %s", what, text[max(0, i-200):i])
	}
}

// readAll is everything that the bridge keeps on disk.
func readAll(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		out.Write(text)
		return err
	}))
	return out.String()
}

// work lets something happen in both directions.
func work(t *testing.T, a *App, s *site) {
	t.Helper()
	phone := s.phone(0)
	upn := s.person(t, phone)
	require.NoError(t, s.graph.SignIn(upn))
	require.NoError(t, s.graph.StartCall(upn))
	eventually(t, func() bool { return s.status(phone) == "In a call" }, "a call shows on the PBX")
	require.NoError(t, s.graph.EndCall(upn))
	eventually(t, func() bool { return s.status(phone) == "Available" }, "and ends")
	require.NoError(t, s.pbx.StartCall(phone))
	eventually(t, func() bool { return s.graph.Shown(upn) == graphInACall }, "a call shows in Teams")
	runResync(t, a, s.name, upn)
}

// trouble lets everything fail that the bridge logs about.
func trouble(t *testing.T, a *App, s *site) {
	t.Helper()
	s.graph.FailTokens(s.graph.ClientID, 7000222)
	s.graph.FailTokens(s.monitor(), 50173)
	_, err := admin(t, a).Authorize(t.Context(), s.name, s.monitor())
	if err == nil {
		eventually(t, func() bool {
			list, err := admin(t, a).Monitors(t.Context(), s.name)
			return err == nil && list[0].State != "authorizing"
		}, "the sign-in fails")
	}
	s.graph.FailTokens(s.graph.ClientID, 0)
	require.NoError(t, s.pbx.SetFaults(pbxsim.Faults{Errors: 0.3, Cut: 0.2}))
	s.graph.SetFaults(graphsim.Faults{ServerError: 0.4, Throttle: 0.2, RetryAfter: time.Second, Refuse: 0.2, AppliedFailed: 0.2, Poison: 0.5})
	s.pbx.CutStreams()
	phone := s.phone(1)
	upn := s.person(t, phone)
	writes := func() float64 { return metric(t, a.Registry(), "presence_bridge_write_answers_total") }
	before := writes()
	require.NoError(t, s.graph.StartCall(upn))
	require.NoError(t, s.pbx.StartCall(s.phone(2)))
	eventually(t, func() bool { return writes() >= before+2 }, "writes are answered, well or not")
	s.pbx.RotateToken("another token, which nobody told")
	s.pbx.CutStreams()
	eventually(t, func() bool {
		accounts, err := admin(t, a).Accounts(t.Context())
		return err == nil && len(accounts[0].PBXs) == 1 && !accounts[0].PBXs[0].Connected && strings.Contains(accounts[0].PBXs[0].Detail, "token")
	}, "the PBX refuses the token")
}
