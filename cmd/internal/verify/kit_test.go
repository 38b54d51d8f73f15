package verify

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/policy"
	"presencebridge/cmd/internal/config"
	"presencebridge/graph/graphsim"
)

// world is a tenant, a PBX with the same people, and a configuration for both.
type world struct {
	t     *testing.T
	dir   string
	graph *graphsim.Sim
	pbx   *pbxsim.Sim
	front *front
	opts  Options

	hook, admin string            // addresses of the bridge's listeners
	lines       map[string]string // of the configuration, by the key that they begin with
	secrets     []string
}

// settings change a world before it begins.
type settings struct {
	graph graphsim.Config
	pbx   pbxsim.Config
}

func newWorld(t *testing.T, change ...func(*settings)) *world {
	t.Helper()
	s := settings{graph: graphsim.Config{
		Users: 20, Seed: 7, Monitors: []string{"presence1"}, AutoApprove: true, DeviceInterval: time.Second,
		Delivery: graphsim.Delivery{AllowHTTP: true},
	}}
	for _, f := range change {
		f(&s)
	}
	w := &world{t: t, dir: t.TempDir(), hook: freeAddress(t), admin: freeAddress(t), lines: map[string]string{}}
	var err error
	w.graph, err = graphsim.Start(s.graph)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.graph.Close()) })
	for i, u := range w.graph.Users() {
		if !strings.HasPrefix(u.UPN, "presence") {
			s.pbx.UserList = append(s.pbx.UserList, pbxsim.User{ID: fmt.Sprint("u", i), Email: u.Mail, Extension: fmt.Sprint(1000 + i)})
		}
	}
	w.pbx, err = pbxsim.Start(s.pbx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.pbx.Close()) })
	w.front = newFront(t, w.graph)
	w.secrets = []string{w.graph.ClientSecret, w.pbx.Token()}
	w.defaults()
	return w
}

// defaults are the lines of a configuration with which everything works.
func (w *world) defaults() {
	w.set("listen", fmt.Sprintf(`{webhook: %q, admin: %q}`, w.hook, w.admin))
	w.set("public_url", "http://"+w.hook)
	w.set("data_dir", filepath.Join(w.dir, "data"))
	w.set("nats", "{min_free: 0, max_store: 64MiB}")
	w.set("tls", "{}")
	w.set("credential", "client_secret_file: "+w.file("secret", w.graph.ClientSecret))
	w.set("endpoints", fmt.Sprintf("{login: %s, graph: %s, ca_file: %s}", w.front.URL, w.front.URL, w.file("ca.pem", string(w.front.ca)+string(w.graph.CAPEM()))))
	w.set("cloud", "global")
	w.set("applications", "[]")
	w.set("monitors", "[{upn: presence1@contoso.example}]")
	w.set("pbx", fmt.Sprintf("[{name: main, type: micollab, url: %s, token_file: %s, timeout: 2s}]", w.pbx.URL(), w.file("token", w.pbx.Token())))
	w.set("policy", "{preset: micollab}")
	w.set("exclude", "[]")
}

func (w *world) set(key, value string) { w.lines[key] = value }

func (w *world) file(name, content string) string {
	w.t.Helper()
	file := filepath.Join(w.dir, name)
	require.NoError(w.t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

func (w *world) config() *config.Config {
	w.t.Helper()
	text := ""
	for _, key := range []string{"listen", "public_url", "data_dir", "nats", "tls"} {
		if w.lines[key] != "" {
			text += key + ": " + w.lines[key] + "\n"
		}
	}
	text += fmt.Sprintf("accounts:\n  - name: contoso\n    graph:\n      tenant_id: %s\n      client_id: %s\n      %s\n      endpoints: %s\n      cloud: %s\n      applications: %s\n",
		w.graph.TenantID, w.graph.ClientID, w.lines["credential"], w.lines["endpoints"], w.lines["cloud"], w.lines["applications"])
	for _, key := range []string{"monitors", "pbx", "policy", "exclude"} {
		text += "    " + key + ": " + w.lines[key] + "\n"
	}
	cfg, err := config.Parse("test.yaml", []byte(text), config.Options{Files: true, ParsePolicy: func(b []byte) error { _, err := policy.Parse(b); return err }})
	require.NoError(w.t, err, text)
	return cfg
}

// run verifies, and looks for secrets in everything that it says.
func (w *world) run() *Report {
	w.t.Helper()
	opts := w.opts
	opts.Config = w.config()
	var log lockedBuffer
	opts.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if opts.Timeout == 0 {
		opts.Timeout = 10 * time.Second
	}
	report, err := Run(w.t.Context(), opts)
	require.NoError(w.t, err)
	var text bytes.Buffer
	require.NoError(w.t, report.WriteText(&text))
	js, err := json.Marshal(report)
	require.NoError(w.t, err)
	w.t.Log(text.String())
	for _, secret := range w.secrets {
		require.NotContains(w.t, text.String(), secret)
		require.NotContains(w.t, string(js), secret)
		require.NotContains(w.t, log.String(), secret)
	}
	require.NotContains(w.t, string(js), "eyJ", "a token")
	require.Equal(w.t, worst(append(report.Bridge, report.Accounts[0].Checks...)), report.Result)
	for _, c := range append(report.Bridge, report.Accounts[0].Checks...) {
		require.NotEmpty(w.t, c.Evidence, c.Name)
		if c.Result == Warning || c.Result == Failed {
			require.NotEmpty(w.t, c.Remedy, "%s %s: %s", c.Name, c.Subject, c.Evidence)
		}
	}
	return report
}

// expect holds a check against what it should say; each text is in its evidence or its remedy.
func expect(t *testing.T, r *Report, name, subject string, result Result, texts ...string) {
	t.Helper()
	var alike []string
	for _, c := range append(r.Bridge, r.Accounts[0].Checks...) {
		if c.Name != name || c.Subject != subject {
			if c.Name == name {
				alike = append(alike, c.Subject)
			}
			continue
		}
		require.Equal(t, result, c.Result, "%s %s: %s", name, subject, c.Evidence)
		for _, text := range texts {
			require.Contains(t, c.Evidence+" -> "+c.Remedy, text)
		}
		return
	}
	t.Fatalf("no check %s %q; of that name: %q", name, subject, alike)
}

// front stands in front of the tenant, and may change what it says.
type front struct {
	*httptest.Server
	ca []byte

	mu   sync.Mutex
	skew time.Duration  // guarded by mu; of the Date header
	app  map[string]any // guarded by mu; what the application object holds besides
}

func newFront(t *testing.T, sim *graphsim.Sim) *front {
	t.Helper()
	f := &front{app: map[string]any{}}
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(sim.CAPEM()))
	behind, err := url.Parse(sim.GraphURL())
	require.NoError(t, err)
	f.Server = httptest.NewTLSServer(&httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(behind); r.Out.Header.Del("Accept-Encoding") },
		Transport:      &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableCompression: true},
		ModifyResponse: f.modify,
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	})
	f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(f.Close)
	f.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	return f
}

func (f *front) modify(r *http.Response) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.Header.Set("Date", time.Now().Add(f.skew).UTC().Format(http.TimeFormat))
	if !strings.Contains(r.Request.URL.Path, "/applications(") || r.StatusCode != http.StatusOK || len(f.app) == 0 {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	doc := map[string]any{}
	if err := json.Unmarshal(body, &doc); err != nil {
		return err
	}
	for k, v := range f.app {
		doc[k] = v
	}
	if body, err = json.Marshal(doc); err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

func (f *front) setSkew(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.skew = d
}

func (f *front) setApp(key string, value any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.app[key] = value
}

// lastPort goes through the ports below those that the system gives away by itself. It begins anywhere, so that the tests of
// another package are elsewhere, and no port is given twice.
var lastPort atomic.Uint32

func nextPort() uint32 {
	lastPort.CompareAndSwap(0, 1+mrand.Uint32N(20_000))
	return 10_000 + lastPort.Add(1)%20_000
}

// freeAddress is an address where nobody listens, and that nobody else is given.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprint("127.0.0.1:", nextPort())
		ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
		if err == nil {
			require.NoError(t, ln.Close())
			return address
		}
	}
	t.Fatal("no address is free")
	return ""
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	require.NoError(t, err)
	return ln
}

// lockedBuffer is a buffer for logs of several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T, parent *authority, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(5, 0, 0),
	}
	signer, issuer := a.key, template
	if parent != nil {
		signer, issuer = parent.key, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, a.key.Public(), signer)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return a
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue signs a server's certificate and writes it, with the chain given, into files.
func (a *authority) issue(w *world, host string, life time.Duration, chain ...*authority) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().Add(life),
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for _, c := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})...)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	w.set("tls", fmt.Sprintf("{certificate_file: %s, key_file: %s}", w.file("tls.crt", string(text)),
		w.file("tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))))
}
