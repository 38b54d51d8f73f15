package monitors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/keyring"
	"presencebridge/bridge/presence"
)

const (
	account  = "contoso"
	tenantID = "tenant-1"
	clientID = "client-1"
	public   = "https://bridge.example.com/"
	ourURL   = "https://bridge.example.com/graph/contoso/notifications"
)

var errNet = errors.New("connection reset")

// fault says what happens to the next calls of one kind. A call can fail after it was carried out.
type fault struct {
	times  int
	err    error
	landed bool
}

// tenant is Graph as the package sees it, with Graph's rules about subscriptions.
type tenant struct {
	mu     sync.Mutex
	subs   map[string]*remoteSub // by id
	next   int
	tokens map[string]bool // valid refresh tokens
	stores map[string]TokenStore
	faults map[string]*fault // by call: create, renew, list, delete, presences
	calls  map[string]int
	life   time.Duration // given to subscriptions; 0: as asked for
	frozen bool          // renewals do not extend
	shown  presence.Pair
	// shows is what a read shows of a member; nil: shown
	shows  func(id string) presence.Pair
	hidden map[string]bool // left out of bulk reads
	refuse map[string]bool // a bulk read with one of them is refused
	reads  [][]string
	readAt []time.Time
	wait   time.Duration // of a bulk read
	signIn func(ctx context.Context) (Authorization, error)
	// credentials are told even beside a failure
	credentials []Credential
	times       map[string][]time.Time
	secrets     map[string]bool // that monitors may have for their own
	secretsUsed []string
	tokenLife   time.Duration // how long a monitor's access token is taken without another look; 0: not at all
	fuse        *fuse
}

type remoteSub struct {
	Subscription
	owner string
	state string
}

func newTenant() *tenant {
	return &tenant{
		subs: map[string]*remoteSub{}, tokens: map[string]bool{}, stores: map[string]TokenStore{}, faults: map[string]*fault{},
		calls: map[string]int{}, shown: presence.Pair{Availability: presence.Available, Activity: presence.Available},
		hidden: map[string]bool{}, refuse: map[string]bool{}, times: map[string][]time.Time{},
		secrets: map[string]bool{},
	}
}

func (g *tenant) fail(call string, f fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults[call] = &f
}

// begin counts a call and says how it fails. mu is held.
func (g *tenant) begin(call string) (landed bool, err error) {
	g.calls[call]++
	g.times[call] = append(g.times[call], time.Now())
	f := g.faults[call]
	if f == nil || f.times == 0 {
		return true, nil
	}
	f.times--
	return f.landed, f.err
}

func (g *tenant) with(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// when is the times of the calls of one kind.
func (g *tenant) when(call string) []time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.times[call])
}

func (g *tenant) count(call string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[call]
}

func (g *tenant) Presences(ctx context.Context, ids []string) (map[string]presence.Shown, error) {
	g.mu.Lock()
	_, err := g.begin("presences")
	g.reads = append(g.reads, ids)
	g.readAt = append(g.readAt, time.Now())
	wait := g.wait
	g.mu.Unlock()
	if wait > 0 && !sleep(ctx, wait) {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[string]presence.Shown{}
	for _, id := range ids {
		if g.refuse[id] {
			return nil, &CallError{Kind: Refused, Code: "BadRequest", Err: errors.New("no such user")}
		}
		switch {
		case g.hidden[id]:
		case g.shows != nil:
			out[id] = presence.Shown{Pair: g.shows(id)}
		default:
			out[id] = presence.Shown{Pair: g.shown}
		}
	}
	return out, nil
}

func (g *tenant) StartDeviceCode(context.Context, string) (DeviceCode, error) {
	if do, answer := g.strike(); !do || !answer {
		return DeviceCode{}, errNet
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := g.begin("devicecode"); err != nil {
		return DeviceCode{}, err
	}
	return DeviceCode{
		UserCode: "ABCD-EFGH", VerificationURI: "https://login.test/device", Message: "To sign in…",
		ExpiresAt: time.Now().Add(15 * time.Minute), Code: "secret-device-code", Interval: 5 * time.Second, Wait: g.signIn,
	}, nil
}

func (g *tenant) Credentials(context.Context) ([]Credential, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, err := g.begin("credentials")
	return g.credentials, err
}

func (g *tenant) SignInURL(s SignIn, upn string) string {
	return "https://login.test/authorize?state=" + s.State + "&login_hint=" + upn
}

func (g *tenant) RedeemCode(ctx context.Context, s SignIn, a Answer) (Authorization, error) {
	do, answer := g.strike()
	if !do {
		return Authorization{}, errNet
	}
	if !answer {
		return Authorization{}, errNet // Entra has used the code up
	}
	g.mu.Lock()
	g.calls["redeem"]++
	signIn := g.signIn
	g.mu.Unlock()
	if a.Error != "" {
		return Authorization{}, &AuthError{State: FlowDeclined, Code: a.Error, Err: errors.New(a.Description)}
	}
	if len(s.Verifier) < 43 || s.RedirectURI != "https://bridge.example.com/authorize/callback" {
		return Authorization{}, &AuthError{State: FlowFailed, Text: "a bad request", Err: errNet}
	}
	return signIn(ctx)
}

func (g *tenant) Delegated(upn string, store TokenStore) Delegated {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stores[upn] = store
	return &signedIn{g: g, upn: upn, store: store}
}

// signedIn is one monitor. Every call uses the refresh token and gets a new one.
type signedIn struct {
	g     *tenant
	upn   string
	store TokenStore
	own   func() (Own, error)
	until time.Time // of its access token; guarded by g.mu
}

func (d *signedIn) enter(ctx context.Context, call string) (landed bool, err error) {
	token, err := d.store.LoadRefreshToken(ctx)
	if err != nil {
		return false, err
	}
	do, answer := d.g.strike()
	if !do {
		return false, errNet
	}
	if !answer {
		defer func() { landed, err = err == nil, errNet }()
	}
	if err := d.g.checkOwn(d.own); err != nil {
		return false, err
	}
	d.g.mu.Lock()
	if call != "refresh" && time.Now().Before(d.until) {
		defer d.g.mu.Unlock()
		return d.g.begin(call)
	}
	valid := d.g.tokens[token]
	next := fmt.Sprintf("secret-token-%d-of-%s", d.g.calls[call]+100*len(d.g.calls), d.upn)
	d.g.tokens[next] = valid
	d.g.mu.Unlock()
	if token == "" {
		return false, &CallError{Kind: Unauthorised, Code: "not_signed_in", Err: errors.New("no token")}
	}
	if !valid {
		return false, &CallError{Kind: Unauthorised, Code: "AADSTS50173", Err: errors.New("invalid_grant")}
	}
	d.g.with(func() { d.until = time.Now().Add(d.g.tokenLife) })
	_ = d.store.SaveRefreshToken(ctx, next) // as the client does: a store that fails costs nothing now
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	for id, s := range d.g.subs {
		if !time.Now().Before(s.Expiration) {
			delete(d.g.subs, id)
		}
	}
	return d.g.begin(call)
}

func (d *signedIn) CreateSubscription(ctx context.Context, r SubscriptionRequest) (Subscription, error) {
	landed, err := d.enter(ctx, "create")
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	if err != nil && !landed {
		return Subscription{}, err
	}
	for _, s := range d.g.subs {
		if s.owner == d.upn {
			return Subscription{}, &CallError{Kind: Conflict, Err: errors.New("a subscripton already exists")}
		}
	}
	if len(r.UserIDs) == 0 || len(r.UserIDs) > 650 || len(r.EncryptionCertificate) == 0 || r.ClientState == "" {
		return Subscription{}, &CallError{Kind: Refused, Err: fmt.Errorf("bad request: %d users", len(r.UserIDs))}
	}
	d.g.next++
	s := &remoteSub{owner: d.upn, state: r.ClientState, Subscription: Subscription{
		ID: fmt.Sprint("sub-", d.g.next), Expiration: d.g.expiration(r.Expiration), NotificationURL: r.NotificationURL,
		CertificateID: r.EncryptionCertificateID, UserIDs: slices.Clone(r.UserIDs),
	}}
	d.g.subs[s.ID] = s
	return s.Subscription, err
}

func (g *tenant) expiration(asked time.Time) time.Time {
	if g.life != 0 {
		return time.Now().Add(g.life)
	}
	return asked
}

func (d *signedIn) Refresh(ctx context.Context) error {
	_, err := d.enter(ctx, "refresh")
	return err
}

func (d *signedIn) RenewSubscription(ctx context.Context, id string, until time.Time) (Subscription, error) {
	landed, err := d.enter(ctx, "renew")
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	if err != nil && !landed {
		return Subscription{}, err
	}
	s := d.g.subs[id]
	if s == nil {
		return Subscription{}, &CallError{Kind: Gone, Err: errors.New("not found")}
	}
	if !d.g.frozen {
		s.Expiration = d.g.expiration(until)
	}
	return s.Subscription, err
}

func (d *signedIn) ListSubscriptions(ctx context.Context) ([]Subscription, error) {
	if _, err := d.enter(ctx, "list"); err != nil {
		return nil, err
	}
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	var out []Subscription
	for _, s := range d.g.subs {
		if s.owner == d.upn {
			out = append(out, s.Subscription)
		}
	}
	return out, nil
}

func (d *signedIn) DeleteSubscription(ctx context.Context, id string) error {
	landed, err := d.enter(ctx, "delete")
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	if err != nil && !landed {
		return err
	}
	if d.g.subs[id] == nil {
		return &CallError{Kind: Gone, Err: errors.New("not found")}
	}
	delete(d.g.subs, id)
	return err
}

// watched is who is watched by whom, at Graph.
func (g *tenant) watched() map[string][]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[string][]string{}
	for _, s := range g.subs {
		if time.Now().Before(s.Expiration) {
			out[s.owner] = s.UserIDs
		}
	}
	return out
}

func (g *tenant) kill(owner string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.subs, func(_ string, s *remoteSub) bool { return s.owner == owner })
}

func (g *tenant) sub(owner string) remoteSub {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.subs {
		if s.owner == owner {
			return *s
		}
	}
	return remoteSub{}
}

// shelf is a store that fails on request, before or after it wrote.
type shelf struct {
	mu      sync.Mutex
	entries map[string]Entry
	rev     uint64
	fault   fault
	away    bool
	fuse    *fuse
}

func newShelf() *shelf { return &shelf{entries: map[string]Entry{}} }

func (s *shelf) Put(_ context.Context, account, key string, value []byte, revision uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return 0, errNet
	}
	do, answer := s.fuse.strike()
	if !do {
		return 0, errNet
	}
	k := account + "." + key
	if s.entries[k].Revision != revision {
		return 0, fmt.Errorf("put: %w", ErrConflict)
	}
	var err error
	if !answer {
		err = errNet
	}
	if s.fault.times > 0 {
		s.fault.times--
		if err = s.fault.err; !s.fault.landed {
			return 0, err
		}
	}
	s.rev++
	s.entries[k] = Entry{Key: key, Value: bytes.Clone(value), Revision: s.rev}
	if err != nil {
		return 0, err
	}
	return s.rev, nil
}

func (s *shelf) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *shelf) Get(_ context.Context, account, key string) (Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return Entry{}, errNet
	}
	e, found := s.entries[account+"."+key]
	if !found {
		return Entry{}, fmt.Errorf("get: %w", ErrNotFound)
	}
	return e, nil
}

func (s *shelf) All(_ context.Context, account string, each func(Entry) error) error {
	s.mu.Lock()
	entries := maps.Clone(s.entries)
	away := s.away
	s.mu.Unlock()
	if away {
		return errNet
	}
	for k, e := range entries {
		if strings.HasPrefix(k, account+".") {
			if err := each(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// engine records what the sink is told.
type engine struct {
	mu     sync.Mutex
	begun  int
	swept  map[string]int
	owed   []string
	unseen [][]string
}

func (e *engine) BeginSweep(ids []string) any {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.begun++
	return len(ids)
}

func (e *engine) Swept(mark any, shown map[string]presence.Shown) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n, ok := mark.(int); !ok || n < len(shown) {
		panic("not the mark of this read")
	}
	if e.swept == nil {
		e.swept = map[string]int{}
	}
	for id := range shown {
		e.swept[id]++
	}
}

func (e *engine) OweReads(ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owed = append(e.owed, ids...)
}

func (e *engine) TeamsUnseen(ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unseen = append(e.unseen, ids)
}

func (e *engine) begins() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.begun
}

// told is who was reported as unseen, call by call.
func (e *engine) told() [][]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.unseen)
}

// takeOwed is whose reads became owed since the last call.
func (e *engine) takeOwed() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.owed
	e.owed = nil
	slices.Sort(out)
	return out
}

// world is one account with everything around it.
type world struct {
	t      *testing.T
	graph  *tenant
	store  *shelf
	ring   *keyring.Keyring
	sink   *engine
	logs   *lockedBuffer
	reg    *prometheus.Registry
	cfg    Config
	m      *Manager
	cancel context.CancelFunc
	done   chan error
}

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

// masterKey is the same in all tests, so that one certificate serves them.
func masterKey(t *testing.T) *keyring.Keyring {
	t.Helper()
	ring, err := keyring.New(bytes.Repeat([]byte{7}, 32))
	require.NoError(t, err)
	return ring
}

// storedCertificate is made once: RSA keys take their time.
var storedCertificate = sync.OnceValue(func() []byte {
	ring, err := keyring.New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	s := newShelf()
	m := &Manager{cfg: Config{Account: account, Store: s, Sealer: ring}, log: slog.New(slog.DiscardHandler)}
	if err := m.loadCertificates(context.Background()); err != nil {
		panic(err)
	}
	return s.entries[account+"."+certificatesKey].Value
})

// bubble runs a test in virtual time with a world whose monitors are mon1, mon2, …
func bubble(t *testing.T, monitors int, test func(t *testing.T, w *world)) {
	t.Helper()
	cert := storedCertificate() // outside of the bubble
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, graph: newTenant(), store: newShelf(), ring: masterKey(t), sink: &engine{}, logs: &lockedBuffer{}}
		_, err := w.store.Put(t.Context(), account, certificatesKey, cert, 0)
		require.NoError(t, err)
		for i := range monitors {
			w.cfg.Monitors = append(w.cfg.Monitors, upn(i))
		}
		defer func() { // of a test that failed: virtual time would run on for ever
			if w.cancel != nil {
				w.cancel()
				<-w.done
			}
		}()
		test(t, w)
		w.stop()
	})
}

func upn(i int) string { return fmt.Sprintf("Presence%d@contoso.example", i+1) }

// owner is the monitor's name at the fake Graph.
func owner(i int) string { return strings.ToLower(upn(i)) }

// start runs a Manager, as after a restart.
func (w *world) start() {
	w.t.Helper()
	w.reg = prometheus.NewRegistry()
	cfg := w.cfg
	cfg.Account, cfg.Graph, cfg.Reads, cfg.Store, cfg.Sealer, cfg.Sink = account, w.graph, w.graph, w.store, w.ring, w.sink
	if cfg.TenantID == "" {
		cfg.TenantID = tenantID
	}
	if cfg.ClientID == "" {
		cfg.ClientID = clientID
	}
	cfg.PublicURL, cfg.Metrics = public, w.reg
	var n atomic.Int64
	cfg.NewClientState = func() (string, error) { return fmt.Sprint("secret-state-", n.Add(1)), nil }
	if cfg.NewSignInState == nil {
		cfg.NewSignInState = func() (string, error) {
			return fmt.Sprint("secret-sign-in-", time.Now().UnixNano(), "-", n.Add(1)), nil
		}
	}
	cfg.Log = slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelInfo}))
	var err error
	w.m, err = New(cfg)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(w.t.Context())
	w.cancel, w.done = cancel, make(chan error, 1)
	go func() { w.done <- w.m.Run(ctx) }()
	synctest.Wait()
}

func (w *world) stop() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	require.NoError(w.t, <-w.done)
	w.cancel = nil
}

// authorize signs monitor i in.
func (w *world) authorize(i int) Flow {
	w.t.Helper()
	token := fmt.Sprintf("secret-token-first-%d-%s", i, time.Now().Format(time.TimeOnly))
	w.graph.mu.Lock()
	w.graph.tokens[token] = true
	w.graph.signIn = func(context.Context) (Authorization, error) {
		return Authorization{UPN: strings.ToUpper(upn(i)), ObjectID: fmt.Sprint("object-", i), RefreshToken: token, Scopes: []string{"openid", "https://graph.test/presence.read.all"}}, nil
	}
	w.graph.mu.Unlock()
	f, err := w.m.Authorize(w.t.Context(), Order{UPN: upn(i), Method: ByDeviceCode})
	require.NoError(w.t, err)
	f, err = w.m.AwaitAuthorization(w.t.Context(), f.ID)
	require.NoError(w.t, err)
	synctest.Wait()
	return f
}

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// people are n matched members, from the given number on.
func people(from, n int) []Member {
	out := make([]Member, n)
	for i := range out {
		out[i] = Member{ID: id(from + i), Matched: true}
	}
	return out
}

func id(i int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", i) }

func ids(from, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = id(from + i)
	}
	return out
}

func (w *world) cover(i int) Cover {
	w.t.Helper()
	c, found := w.m.Coverage(id(i))
	require.True(w.t, found)
	return c
}

func (w *world) info(i int) Info { return w.m.Monitors()[i] }
