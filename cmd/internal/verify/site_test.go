package verify

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/bus"
)

// secured gives a world an HTTPS public_url that leads to the stand-in.
func secured(t *testing.T, w *world, host string) *authority {
	t.Helper()
	root := newAuthority(t, nil, "root")
	w.opts.Roots = root.pool()
	_, port, _ := strings.Cut(w.hook, ":")
	w.set("public_url", "https://"+host+":"+port)
	return root
}

func TestPublicCertificate(t *testing.T) {
	w := newWorld(t)
	root := secured(t, w, "127.0.0.1")
	between := newAuthority(t, root, "between")

	between.issue(w, "127.0.0.1", 90*24*time.Hour, between)
	r := w.run()
	expect(t, r, "public_certificate", "", OK, "89 days", "complete")
	expect(t, r, "certificate_file", "", OK)
	expect(t, r, "receiver", "", OK)

	between.issue(w, "127.0.0.1", 90*24*time.Hour)
	r = w.run()
	expect(t, r, "public_certificate", "", Failed, "incomplete", "intermediate")
	expect(t, r, "certificate_file", "", Failed, "incomplete")
	expect(t, r, "receiver", "", Failed)

	root.issue(w, "127.0.0.1", 3*24*time.Hour)
	expect(t, w.run(), "public_certificate", "", Warning, "in 2 days")
	root.issue(w, "127.0.0.1", -time.Hour)
	r = w.run()
	expect(t, r, "public_certificate", "", Failed, "expired")
	expect(t, r, "certificate_file", "", Failed, "expired")
	root.issue(w, "elsewhere.example.com", 90*24*time.Hour)
	r = w.run()
	expect(t, r, "public_certificate", "", Failed, "not for the host")
	expect(t, r, "certificate_file", "", Failed, "not for the host")
}

func TestProxyWithAnotherCertificate(t *testing.T) {
	w := newWorld(t)
	root := secured(t, w, "127.0.0.1")
	root.issue(w, "127.0.0.1", 90*24*time.Hour)
	proxy := httptest.NewTLSServer(http.NotFoundHandler())
	defer proxy.Close()
	w.opts.Roots.AddCert(proxy.Certificate())
	w.set("public_url", proxy.URL)
	r := w.run()
	expect(t, r, "public_certificate", "", OK)
	expect(t, r, "certificate_file", "", Warning, "another certificate")
	expect(t, r, "receiver", "", Failed, "404")
}

func TestPublicAddress(t *testing.T) {
	for _, c := range []struct {
		found  []netip.Addr
		err    error
		result Result
		text   string
	}{
		{nil, errors.New("no such host"), Failed, "cannot be resolved"},
		{nil, nil, Failed, "no address"},
		{[]netip.Addr{netip.MustParseAddr("10.1.2.3")}, nil, Warning, "Graph cannot reach"},
		{[]netip.Addr{netip.MustParseAddr("100.64.0.9"), netip.MustParseAddr("fe80::1")}, nil, Warning, "Graph cannot reach"},
		{[]netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil, Warning, "only simulators"},
		{[]netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("203.0.113.7")}, nil, OK, "203.0.113.7"},
	} {
		w := newWorld(t)
		// The name is resolved by the test; connections to it fail, as nobody knows it.
		w.set("public_url", "https://bridge.invalid")
		w.opts.Timeout = 2 * time.Second
		w.opts.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			require.Equal(t, "bridge.invalid", host)
			return c.found, c.err
		}
		r := w.run()
		expect(t, r, "public_address", "", c.result, c.text)
		if c.err != nil {
			expect(t, r, "receiver", "", Skipped)
			expect(t, r, "public_certificate", "", Skipped)
		} else {
			expect(t, r, "receiver", "", Failed, "listen.webhook")
			expect(t, r, "public_certificate", "", Failed)
		}
	}
	w := newWorld(t)
	w.set("monitors", "[]")
	w.set("public_url", "")
	r := w.run()
	expect(t, r, "public_address", "", Skipped)
	expect(t, r, "receiver", "", Skipped)
	expect(t, r, "graph_reach", "", Skipped)
}

// TestReceiverThatIsNone lets something else answer at public_url.
func TestReceiverThatIsNone(t *testing.T) {
	for text, answer := range map[string]http.HandlerFunc{
		"404":        http.NotFound,
		"text/plain": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/html") },
		"does not repeat": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write([]byte(r.URL.Query().Get("validationToken")[1:]))
		},
		"302": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"EOF": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		w := newWorld(t)
		other := httptest.NewServer(answer)
		t.Cleanup(other.Close)
		w.set("public_url", other.URL)
		expect(t, w.run(), "receiver", "", Failed, text)
	}
}

// TestStandInKeepsNothing: while it stands in, a notification is put off, never taken.
func TestStandInKeepsNothing(t *testing.T) {
	w := newWorld(t)
	s := &site{opts: Options{Config: w.config()}.withDefaults(), cfg: w.config()}
	stop := s.standIn(t.Context())
	require.Empty(t, s.helper)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.hook+"/graph/contoso/notifications", strings.NewReader(`{"value":[]}`))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	stop()
	listen(t, w.hook).Close() // free again
}

func TestNobodyCanStandIn(t *testing.T) {
	w := newWorld(t)
	ln := listen(t, w.hook)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	defer ln.Close()
	expect(t, w.run(), "receiver", "", Failed, "verify cannot answer in its place", "in use")
}

// TestNobodyIsThereToAnswer: this machine cannot listen at an address that is not its own, and nobody else does.
func TestNobodyIsThereToAnswer(t *testing.T) {
	w := newWorld(t)
	w.set("listen", strings.Replace(w.lines["listen"], w.hook, "203.0.113.7:8443", 1))
	w.set("public_url", "https://"+w.hook)
	r := w.run()
	expect(t, r, "receiver", "", Warning, "verify cannot answer in its place", "start the bridge")
	expect(t, r, "public_certificate", "", Warning, "start the bridge")
}

func TestEmbeddedBus(t *testing.T) {
	w := newWorld(t)
	dir := w.config().DataDir
	require.NoError(t, os.Mkdir(dir, 0o700))
	w.set("nats", "{sync: 200ms, min_free: 1GiB, max_store: 8GiB}")
	for free, want := range map[int64]struct {
		result Result
		text   string
	}{100 << 20: {Failed, "503"}, 5 << 30: {Warning, "would not fit"}, 20 << 30: {OK, "20 GiB"}} {
		w.opts.FreeSpace = func(string) (int64, error) { return free, nil }
		r := w.run()
		expect(t, r, "bus_space", "embedded", want.result, want.text)
		expect(t, r, "bus_durability", "embedded", Warning, "200ms", "power cut")
		expect(t, r, "bus", "embedded", OK, "no other process")
	}
	w.opts.FreeSpace = func(string) (int64, error) { return 0, errors.New("no such disk") }
	expect(t, w.run(), "bus_space", "embedded", Failed, "no such disk")

	b, err := bus.Open(t.Context(), bus.Config{DataDir: dir, MinFree: -1})
	require.NoError(t, err)
	r := w.run()
	expect(t, r, "bridge", "", Failed, "listen.admin")
	expect(t, r, "bus", "embedded", Skipped)
	require.NoError(t, b.Close(context.Background()))
}

func TestDataDirOfSomebodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	w := newWorld(t)
	dir := w.config().DataDir
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.Chown(dir, 12345, 12345))
	expect(t, w.run(), "bus", "embedded", Warning, "belongs to user id 12345")
}

func TestCannotWrite(t *testing.T) {
	require.ErrorContains(t, tryWriting("/proc/self", false), "may not write")
	require.Error(t, tryWriting("/does/not/exist", true))
	dir, exists := existing("/does/not/exist")
	require.Equal(t, "/", dir)
	require.False(t, exists)
}

func TestExternalBus(t *testing.T) {
	w := newWorld(t)
	key := w.file("master.key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")
	token := w.file("admin-token", "an-admin-token-of-some-length\n")
	w.secrets = append(w.secrets, "an-admin-token-of-some-length")
	keys := "\nmaster_key_file: " + key + "\nadmin: {token_file: " + token + "}"
	w.set("nats", "{url: \"nats://"+freeAddress(t)+"\"}"+keys)
	r := w.run()
	expect(t, r, "bus", "nats.url", Failed, "connecting")
	expect(t, r, "bus_durability", "nats.url", Skipped)
	expect(t, r, "bus_space", "nats.url", Skipped)

	nats, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, NoSigs: true, StoreDir: t.TempDir()})
	require.NoError(t, err)
	nats.Start()
	t.Cleanup(func() { nats.Shutdown(); nats.WaitForShutdown() })
	require.True(t, nats.ReadyForConnections(10*time.Second))
	w.set("nats", "{url: \""+nats.ClientURL()+"\"}"+keys)
	r = w.run()
	expect(t, r, "bus", "nats.url", OK, "first start makes")
	expect(t, r, "bus_durability", "nats.url", Warning, "single server")
}

func TestDurabilityOfACluster(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.NATS.URL = "nats://cluster:4222"
	see := func(streams ...bus.StreamInspection) *site {
		return &site{cfg: cfg, external: bus.Inspection{Version: "2.15.2", Usable: true, Cluster: "c1", Streams: streams}}
	}
	good := bus.StreamInspection{Name: "GRAPH_IN", Replicas: 3, Current: 3}
	require.Equal(t, OK, worst(checkDurability(see(good))))
	require.Equal(t, OK, worst(checkBus(see(good))))
	few := checkDurability(see(good, bus.StreamInspection{Name: "KV_state", Replicas: 1, Current: 1}))
	require.Equal(t, Warning, worst(few))
	require.Contains(t, few[0].Evidence, "KV_state has 1")
	behind := checkDurability(see(good, bus.StreamInspection{Name: "KV_state", Replicas: 3, Current: 2}))
	require.Equal(t, Warning, worst(behind))
	require.Contains(t, behind[0].Evidence, "KV_state has 2 of 3")
	old := see()
	old.external.Usable = false
	require.Equal(t, Failed, worst(checkBus(old)))
}

func TestConfigurationRemarks(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, os.Chmod(w.dir+"/secret", 0o644))
	expect(t, w.run(), "configuration", "accounts[0].graph.client_secret_file", Warning, "every user", "chmod o-r")
}
