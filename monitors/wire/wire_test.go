package wire

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/bus"
	"presencebridge/bridge/keyring"
	"presencebridge/bridge/presence"
	"presencebridge/graph"
	"presencebridge/graph/graphsim"
	"presencebridge/monitors"
)

const (
	account = "contoso"
	patient = time.Minute
)

// receiver answers Graph's validation and takes every notification.
func receiver(t *testing.T) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token := r.URL.Query().Get("validationToken"); token != "" {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, token)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s, pool
}

// sink records what the engine would be told.
type sink struct {
	mu    sync.Mutex
	swept map[string]presence.Pair
	owed  []string
}

func (s *sink) BeginSweep([]string) any { return nil }

func (s *sink) Swept(_ any, shown map[string]presence.Shown) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range shown {
		s.swept[id] = p.Pair
	}
}

func (s *sink) OweReads(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owed = append(s.owed, ids...)
}

func (s *sink) TeamsUnseen([]string) {}

func (s *sink) takeOwed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.owed)
	s.owed = nil
	return n
}

// site is a bridge's monitors against a simulated tenant.
type site struct {
	t      *testing.T
	sim    *graphsim.Sim
	bus    *bus.Bus
	ring   *keyring.Keyring
	public string
	caFile string
	client *graph.Client
	sink   *sink
	m      *monitors.Manager
	stop   func()
	change []func(*monitors.Config)
}

const (
	one  = "presence1@contoso.example"
	two  = "presence2@contoso.example"
	boss = "boss@contoso.example"
)

func newSite(t *testing.T, change ...func(*monitors.Config)) *site {
	t.Helper()
	hook, pool := receiver(t)
	sim, err := graphsim.Start(graphsim.Config{
		Users: 20, Monitors: []string{"presence1", "presence2"}, ClientID: "2f7c7d7a-6d0c-4b53-9d5e-2a8f1c9f0b11", ClientSecret: "a-client-secret",
		People:         []graphsim.Person{{UPN: boss, Mail: boss, DirectoryRoles: []string{graphsim.GlobalAdministrator}}},
		DeviceInterval: time.Second, Delivery: graphsim.Delivery{RootCAs: pool, ReauthorizeEvery: -1},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	dir := t.TempDir()
	s := &site{t: t, sim: sim, change: change, public: hook.URL, caFile: filepath.Join(dir, "ca.pem")}
	require.NoError(t, os.WriteFile(s.caFile, sim.CAPEM(), 0o600))
	s.ring, err = keyring.New(make([]byte, 32))
	require.NoError(t, err)
	s.bus, err = bus.Open(t.Context(), bus.Config{DataDir: filepath.Join(dir, "bus"), Sync: bus.Sync(time.Second), MinFree: -1, MaxStore: 256 << 20})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patient)
		defer cancel()
		require.NoError(t, s.bus.Close(ctx))
	})
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// start is the start of a process: a new client, a new Manager.
func (s *site) start() {
	s.t.Helper()
	var err error
	s.client, err = graph.New(graph.Config{
		Account: account, TenantID: s.sim.TenantID, ClientID: s.sim.ClientID,
		ClientSecret: func() (string, error) { return s.sim.ClientSecret, nil },
		Endpoints:    graph.Endpoints{Login: s.sim.LoginURL(), Graph: s.sim.GraphURL(), CAFile: s.caFile},
	})
	require.NoError(s.t, err)
	s.sink = &sink{swept: map[string]presence.Pair{}}
	cfg := monitors.Config{
		Account: account, Monitors: []string{one, two, boss}, Graph: Graph(s.client), Reads: Reads(graph.NewReaders(s.client)), Store: Store(s.bus.Bucket(bus.Monitors)),
		Sealer: s.ring, Sink: s.sink, TenantID: s.sim.TenantID, ClientID: s.sim.ClientID, PublicURL: s.public,
		NewClientState: func() (string, error) { return "a-client-state", nil },
		NewSignInState: func() (string, error) { return rand.Text(), nil },
		PolledInterval: time.Second, JoinDelay: 100 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(s.t.Output(), nil)), Metrics: prometheus.NewRegistry(),
	}
	for _, f := range s.change {
		f(&cfg)
	}
	s.m, err = monitors.New(cfg)
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.m.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(s.t, <-done)
		s.client.Close()
	})
	require.NoError(s.t, s.m.Prepare(s.t.Context()))
}

// people are the members, the first n of them.
func (s *site) people(n int) []monitors.Member {
	var out []monitors.Member
	for _, p := range s.sim.Users() {
		if p.UPN != one && p.UPN != two && p.UPN != boss && len(out) < n {
			out = append(out, monitors.Member{ID: p.ID, Matched: true})
		}
	}
	return out
}

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	require.Eventually(s.t, ok, patient, 20*time.Millisecond, what)
}

// begin starts a sign-in, as soon as the Manager runs.
func (s *site) begin(upn string) monitors.Flow {
	s.t.Helper()
	var f monitors.Flow
	s.eventually("sign-in started", func() bool {
		var err error
		f, err = s.m.Authorize(s.t.Context(), monitors.Order{UPN: upn, Method: monitors.ByDeviceCode})
		return err == nil
	})
	return f
}

func (s *site) authorize(upn, by string) monitors.Flow {
	s.t.Helper()
	f := s.begin(upn)
	require.NoError(s.t, s.sim.Approve(f.UserCode, by))
	return s.end(f)
}

func (s *site) end(f monitors.Flow) monitors.Flow {
	s.t.Helper()
	end, err := s.m.AwaitAuthorization(s.t.Context(), f.ID)
	require.NoError(s.t, err)
	return end
}

// signedIn is somebody else at work with the same application and monitor.
func (s *site) signedIn(upn string) *graph.Delegated {
	s.t.Helper()
	dc, err := s.client.StartDeviceCode(s.t.Context())
	require.NoError(s.t, err)
	require.NoError(s.t, s.sim.Approve(dc.UserCode, upn))
	a, err := dc.Wait(s.t.Context())
	require.NoError(s.t, err)
	return s.client.Delegated(upn, &memory{token: a.RefreshToken})
}

type memory struct{ token string }

func (m *memory) LoadRefreshToken(context.Context) (string, error)   { return m.token, nil }
func (m *memory) SaveRefreshToken(_ context.Context, t string) error { m.token = t; return nil }

func (s *site) info(upn string) monitors.Info {
	list := s.m.Monitors()
	return list[slices.IndexFunc(list, func(i monitors.Info) bool { return i.UPN == upn })]
}

// watching is the one subscription at Graph, if it watches that many.
func (s *site) watching(n int) string {
	subs := s.sim.Subscriptions()
	if len(subs) == 1 && subs[0].Watched == n && s.info(one).SubscriptionID == subs[0].ID && s.info(one).Members == n {
		return subs[0].ID
	}
	return ""
}

func (s *site) awaitWatching(n int, not string) string {
	s.t.Helper()
	id := ""
	s.eventually("a subscription", func() bool { id = s.watching(n); return id != "" && id != not })
	return id
}

func TestAgainstTheSimulatedTenant(t *testing.T) {
	s := newSite(t)
	members := s.people(20)
	s.m.SetMembers(members[:15])

	// Everybody is read by the sweep before any monitor is there.
	s.eventually("swept", func() bool {
		s.sink.mu.Lock()
		defer s.sink.mu.Unlock()
		return len(s.sink.swept) == 15
	})

	// Device code, and the subscription that follows.
	f := s.authorize(one, one)
	require.Equal(t, monitors.FlowAuthorized, f.State, f.Text)
	first := s.awaitWatching(15, "")
	require.Equal(t, 15, s.sink.takeOwed())
	c, _ := s.m.Coverage(members[3].ID)
	require.Equal(t, presence.CoveragePushed, c.Coverage)
	require.Greater(t, time.Until(s.info(one).Expires), 45*time.Minute)

	// Renewed by PATCH.
	renewed := s.info(one).Renewed
	s.m.OnLifecycle(first, "reauthorizationRequired")
	require.Equal(t, renewed, s.info(one).Renewed, "it is too early for that")
	s.m.OnLifecycle(first, "subscriptionRemoved") // it was not: a look settles it
	s.eventually("renewal", func() bool { return s.info(one).Renewed.After(renewed) })
	require.Equal(t, first, s.watching(15))

	// Gone: made anew, and the shard is read.
	other := s.signedIn(one)
	require.NoError(t, other.DeleteSubscription(t.Context(), first))
	s.m.OnLifecycle(first, "subscriptionRemoved")
	second := s.awaitWatching(15, first)
	require.Equal(t, 15, s.sink.takeOwed())

	// Joiners come with the next subscription.
	s.m.SetMembers(members)
	third := s.awaitWatching(20, second)

	// A restart takes over what there is.
	s.stop()
	s.start()
	s.m.SetMembers(members)
	require.Equal(t, third, s.awaitWatching(20, ""))
	require.Equal(t, third, s.info(one).SubscriptionID)

	// Another subscription is in the way of ours (409): it is deleted.
	require.NoError(t, other.DeleteSubscription(t.Context(), third))
	der, id := certificate(t, s)
	foreign, err := other.CreateSubscription(t.Context(), graph.SubscriptionRequest{
		UserIDs: []string{members[0].ID}, NotificationURL: s.public + "/graph/contoso/notifications", ClientState: "x",
		Expiration: time.Now().Add(time.Hour), EncryptionCertificate: der, EncryptionCertificateID: id,
	})
	require.NoError(t, err)
	s.m.OnLifecycle(third, "subscriptionRemoved")
	fourth := s.awaitWatching(20, third)
	require.NotEqual(t, foreign.ID, fourth)
}

// certificate is one that the tenant takes.
func certificate(t *testing.T, s *site) ([]byte, string) {
	t.Helper()
	m, err := monitors.New(monitors.Config{
		Account: "fabrikam", Graph: Graph(s.client), Reads: Reads(graph.NewReaders(s.client)), Store: Store(s.bus.Bucket(bus.Monitors)), Sealer: s.ring, Sink: s.sink,
		NoSubscriptions: true,
	})
	require.NoError(t, err)
	require.NoError(t, m.Prepare(t.Context()))
	for id, key := range m.DecryptionKeys() {
		der, err := x509.CreateCertificate(rand.Reader, template(), template(), &key.Private.PublicKey, key.Private)
		require.NoError(t, err)
		return der, id
	}
	t.Fatal("no certificate")
	return nil, ""
}

func TestLostAnswerIsAdopted(t *testing.T) {
	s := newSite(t)
	members := s.people(20)
	s.m.SetMembers(members[:5])
	// The subscription is made, but the answer says 503.
	s.sim.SetFaults(graphsim.Faults{AppliedFailed: 1})
	require.Equal(t, monitors.FlowAuthorized, s.authorize(one, one).State)
	s.eventually("made", func() bool { return len(s.sim.Subscriptions()) == 1 })
	made := s.sim.Subscriptions()[0].ID
	s.eventually("failed", func() bool { return s.info(one).Problem.Code == "transient" })
	require.Empty(t, s.info(one).SubscriptionID)
	s.sim.SetFaults(graphsim.None())
	require.NoError(t, s.m.Retry(one))
	require.Equal(t, made, s.awaitWatching(5, ""))
	owed := 0
	s.eventually("reads owed", func() bool { owed += s.sink.takeOwed(); return owed == 5 })
	require.Empty(t, s.info(one).Problem)
}

func TestSignInsThatFail(t *testing.T) {
	s := newSite(t)
	require.Equal(t, monitors.FlowWrongUser, s.authorize(two, one).State)
	require.Equal(t, monitors.FlowAdministrator, s.authorize(boss, boss).State)

	f := s.begin(two)
	require.Equal(t, monitors.StateAuthorizing, s.info(two).State)
	require.NoError(t, s.sim.Decline(f.UserCode))
	require.Equal(t, monitors.FlowDeclined, s.end(f).State)
	f = s.begin(two)
	require.NoError(t, s.sim.Expire(f.UserCode))
	require.Equal(t, monitors.FlowExpired, s.end(f).State)

	s.sim.FailTokens(two, 53003)
	end := s.authorize(two, two)
	require.Equal(t, monitors.FlowFailed, end.State)
	require.Equal(t, "AADSTS53003", end.Code)
	require.Contains(t, end.Text, "Conditional Access")
	s.sim.FailTokens(two, 0)
	require.Equal(t, monitors.StateUnset, s.info(two).State)
	require.Equal(t, monitors.FlowAuthorized, s.authorize(two, two).State)
}

func TestEntraSaysWhatIsWrong(t *testing.T) {
	s := newSite(t)
	s.m.SetMembers(s.people(5))
	require.Equal(t, monitors.FlowAuthorized, s.authorize(one, one).State)
	id := s.awaitWatching(5, "")
	restart := func() { // so that neither an access token nor a refusal is at hand
		s.stop()
		s.start()
		s.m.SetMembers(s.people(5))
		s.eventually("loaded", func() bool { return s.info(one).SubscriptionID == id })
	}
	for number, code := range map[int]string{
		50173: "password_changed", 50057: "account_disabled", 65001: "consent_revoked", 53003: "conditional_access", 50076: "mfa_required",
		700082: "sign_in_expired",
	} {
		s.sim.FailTokens(one, number)
		restart()
		s.m.OnLifecycle(id, "subscriptionRemoved")
		s.eventually(code, func() bool { return s.info(one).State == monitors.StateNeedsAttention })
		require.Equal(t, code, s.info(one).Code)
		require.NotEmpty(t, s.info(one).Remedy)
		s.sim.FailTokens(one, 0)
		restart()
		require.NoError(t, s.m.Retry(one))
		s.eventually("accepted again", func() bool { return s.info(one).State == monitors.StateAuthorized })
		require.Equal(t, id, s.awaitWatching(5, ""), "its subscription was there all the while")
	}
}

func TestWatchedUsersOfAResource(t *testing.T) {
	a, b := "0a0b0c0d-0000-4000-8000-00000000000a", "0a0b0c0d-0000-4000-8000-00000000000b"
	for _, r := range []string{
		"/communications/presences?$filter=id in ('" + b + "','0A0B0C0D-0000-4000-8000-00000000000A')",
		"communications/presences?$filter=id+in+(%27" + a + "%27%2c%27" + b + "%27)",
	} {
		require.Equal(t, []string{a, b}, watched(r))
	}
	require.Equal(t, []string{a}, watched("communications/presences/"+a))
	require.Empty(t, watched("communications/presences"))
}

// browse opens a sign-in page, says who signs in (nobody: refuses), and returns what the browser brings back.
func (s *site) browse(f monitors.Flow, as string) monitors.Answer {
	s.t.Helper()
	pem, err := os.ReadFile(s.caFile)
	require.NoError(s.t, err)
	pool := x509.NewCertPool()
	require.True(s.t, pool.AppendCertsFromPEM(pem))
	browser := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer browser.CloseIdleConnections()
	says := url.Values{"as": {as}}
	if as == "" {
		says = url.Values{"deny": {"1"}}
	}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, f.URL+"&"+says.Encode(), nil)
	require.NoError(s.t, err)
	resp, err := browser.Do(req)
	require.NoError(s.t, err)
	require.NoError(s.t, resp.Body.Close())
	back, err := resp.Location()
	require.NoError(s.t, err)
	q := back.Query()
	return monitors.Answer{State: q.Get("state"), Code: q.Get("code"), Error: q.Get("error"), Description: q.Get("error_description")}
}

func (s *site) beginBy(upn string, method monitors.Method) monitors.Flow {
	s.t.Helper()
	var f monitors.Flow
	s.eventually("sign-in started", func() bool {
		var err error
		f, err = s.m.Authorize(s.t.Context(), monitors.Order{UPN: upn, Method: method})
		return err == nil
	})
	return f
}

func TestSignInWithABrowser(t *testing.T) {
	s := newSite(t)
	s.m.SetMembers(s.people(5))
	finish := func(f monitors.Flow, as string) monitors.Flow {
		t.Helper()
		end, err := s.m.FinishSignIn(t.Context(), s.browse(f, as))
		require.NoError(t, err)
		return end
	}
	require.Equal(t, monitors.FlowWrongUser, finish(s.beginBy(one, monitors.ByRedirect), two).State)
	require.Equal(t, monitors.FlowAdministrator, finish(s.beginBy(boss, monitors.ByRedirect), boss).State)
	require.Equal(t, monitors.FlowDeclined, finish(s.beginBy(one, monitors.ByRedirect), "").State)
	s.sim.FailTokens(one, 50076)
	end := finish(s.beginBy(one, monitors.ByRedirect), one)
	require.Equal(t, monitors.FlowFailed, end.State)
	require.Equal(t, "AADSTS50076", end.Code)
	s.sim.FailTokens(one, 0)

	// The link outlives the process.
	f := s.beginBy(one, monitors.ByLink)
	s.stop()
	s.start()
	s.m.SetMembers(s.people(5))
	s.eventually("sign-in resumed", func() bool { _, found := s.m.Authorization(f.ID); return found })
	require.Equal(t, monitors.FlowAuthorized, finish(f, one).State)
	s.awaitWatching(5, "")

	s.sim.Consent([]string{"Presence.ReadWrite.All", "User.Read.All"}, []string{"User.Read", "offline_access", "openid", "profile"})
	end = finish(s.beginBy(two, monitors.ByRedirect), two)
	require.Contains(t, end.Text, "Presence.Read.All", "the scope that is missing is named")
	require.NotEqual(t, monitors.FlowAuthorized, end.State)
}

func TestWhenTheSecretEnds(t *testing.T) {
	s := newSite(t)
	s.eventually("read", func() bool { return !s.m.Credentials().Read.IsZero() })
	list := s.m.Credentials().List
	require.Len(t, list, 1)
	require.True(t, list[0].InUse)
	require.Equal(t, "secret", list[0].Kind)
	require.Greater(t, time.Until(list[0].Expires), 360*24*time.Hour)
	require.Equal(t, -1, list[0].EndsWithin(time.Now()))

	s.sim.Consent([]string{"Presence.ReadWrite.All", "User.Read.All"}, []string{"Presence.Read.All", "offline_access", "openid"})
	s.stop()
	s.start()
	s.eventually("missing", func() bool { return s.m.Credentials().Problem.Code == "consent_missing" })
	require.Contains(t, s.m.Credentials().Problem.Remedy, "Application.Read.All")
}
