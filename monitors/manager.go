package monitors

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"presencebridge/monitors/shard"
)

// Config is what a [Manager] needs. Durations of 0 take the default.
type Config struct {
	Account  string
	Monitors []string // UPNs of the configured monitors
	Graph    Graph
	Reads    Reads
	Store    Store
	Sealer   Sealer
	Sink     Sink
	// TenantID and ClientID are compared with those a monitor was authorised for.
	TenantID string
	ClientID string
	// More are further applications: each gives every monitor one more place. Their order
	// is their identity: one that takes another's place in the list needs its sign-ins anew.
	More []Application
	// Own are credentials of the first application for one monitor each, by UPN; read whenever a token is fetched.
	Own map[string]func() (Own, error)
	// PublicURL is the bridge's address as Graph reaches it, for example https://bridge.example.com.
	PublicURL string
	// NewClientState makes the secret that Graph repeats in every notification of a subscription.
	NewClientState func() (string, error)
	// NewSignInState makes the state that a browser brings back from a sign-in. nil: monitors can only be
	// authorised by device code.
	NewSignInState func() (string, error)
	// CurrentClientState tells whether a clientState was made with the present key. Subscriptions with another one are
	// made anew, spread over RotateOver. nil: all are.
	CurrentClientState func(state string) bool
	// OnCertificates is told the account's encryption certificates whenever they change, before a subscription
	// uses a new one. It is called once at a time. nil: ask [Manager.DecryptionKeys].
	OnCertificates func(map[string]DecryptionKey)
	// SignInTime is how long a sign-in by redirect may take, LinkTime how long a link can be used that is
	// sent to somebody else. Default 15 min and 24 h.
	SignInTime, LinkTime time.Duration
	// PushesReported: every decoded notification is reported with [Manager.Heard]. Then a subscription that
	// delivers nothing although its members change is made anew; otherwise it would look dead always.
	PushesReported bool
	// PushLatency is Graph's greatest delay of a notification: what has not been told for so long was lost. Default 1 min
	// (learn:change-notifications-overview).
	PushLatency time.Duration
	// RenewEvery is how often a subscription is renewed, or earlier where Graph gives less than twice that. Default 25 min.
	RenewEvery time.Duration
	// RefreshEvery is how often a sign-in is tried by fetching a token before its time; see refresh.go. Default 10 min.
	RefreshEvery time.Duration
	// NoSubscriptions: the cloud has no presence subscriptions, the sweep does everything.
	NoSubscriptions bool

	// SweepInterval bounds how stale a pushed member can become. Default 60 s.
	SweepInterval time.Duration
	// PolledInterval is the same for members that no subscription covers. Default 15 s.
	PolledInterval time.Duration
	// Lease is how long a member may be unseen before it counts as unknown. Default 5 min.
	Lease time.Duration
	// JoinDelay is how long joiners are collected (and polled) before their shard's subscription is made
	// anew. Default 2 min.
	JoinDelay time.Duration
	// LeaveDelay is how long a subscription goes on watching somebody who left or opted out, if no
	// joiner makes it anew before. What it brings about them is ignored. Default 1 h.
	LeaveDelay time.Duration
	// RotateOver is the time over which subscriptions are made anew after a rotation of the encryption certificate, or
	// of the key of clientStates. Default 1 h.
	RotateOver time.Duration

	Log     *slog.Logger          // default: discard
	Metrics prometheus.Registerer // default: none
}

func (c *Config) defaults() {
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{
		{&c.SweepInterval, time.Minute}, {&c.PolledInterval, 15 * time.Second}, {&c.Lease, 5 * time.Minute},
		{&c.JoinDelay, 2 * time.Minute}, {&c.LeaveDelay, time.Hour}, {&c.RotateOver, time.Hour}, {&c.PushLatency, pushLatency}, {&c.RenewEvery, renewEvery}, {&c.RefreshEvery, refreshEvery},
		{&c.SignInTime, 15 * time.Minute}, {&c.LinkTime, 24 * time.Hour},
	} {
		if *d.value <= 0 {
			*d.value = d.or
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func (c *Config) check() error {
	switch {
	case c.Account == "":
		return errors.New("monitors: Account is empty")
	case c.Graph == nil || c.Reads == nil || c.Store == nil || c.Sealer == nil || c.Sink == nil:
		return errors.New("monitors: Graph, Reads, Store, Sealer and Sink are needed")
	case !c.NoSubscriptions && c.PublicURL == "" && len(c.Monitors) > 0:
		return errors.New("monitors: public_url is empty; set it to the address under which Graph reaches the bridge")
	case !c.NoSubscriptions && c.NewClientState == nil:
		return errors.New("monitors: NewClientState is needed")
	}
	seen := map[string]bool{}
	for _, upn := range c.Monitors {
		u := canonicalUPN(upn)
		if name, domain, found := strings.Cut(u, "@"); !found || name == "" || domain == "" {
			return fmt.Errorf("monitors: upn %q of account %s is no user principal name; write name@domain", upn, c.Account)
		}
		if seen[u] {
			return fmt.Errorf("monitors: upn %q of account %s is configured twice; remove one", upn, c.Account)
		}
		seen[u] = true
	}
	own := map[string]func() (Own, error){}
	for upn, source := range c.Own {
		own[canonicalUPN(upn)] = source
	}
	c.Own = own
	return nil
}

// Member is one person as the directory knows them.
type Member struct {
	ID       string // Entra object id, lower case
	Matched  bool   // has a counterpart on the other side
	Excluded bool   // opted out, or by policy
	Reason   string // why excluded or unmatched, in a sentence
}

// wants tells whether the member takes a place and is read.
func (m Member) wants() bool { return m.Matched && !m.Excluded }

// callsAtOnce bounds the subscription calls under way: creating one makes Graph call back twice.
const callsAtOnce = 32

// Manager runs the monitors of one account. Its methods are safe for concurrent use.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	sweep   *sweeper
	keys    *keyWatch
	ops     chan struct{} // bounds subscription calls under way
	// version grows whenever the coverage of anybody may have changed.
	version atomic.Uint64
	known   atomic.Bool // SetMembers was called

	probing   sync.Mutex // held by Probe
	preparing sync.Mutex // held by Prepare
	prepared  bool       // under preparing

	mu       sync.Mutex // before a monitor's mu
	members  []Member   // by id
	retired  []*monitor // stored ones that are not configured any more, or were removed
	flows    map[string]*flow
	running  context.Context // of Run; nil before and after
	flowing  sync.WaitGroup  // flows under way
	lastPlan plan

	// mons are the configured monitors, in the order of the configuration, and those that were added since.
	// The slice is replaced under mu and never changed.
	mons     atomic.Pointer[[]*monitor]
	joins    chan *monitor // to Run, which has them run
	changing sync.Mutex    // held while a monitor is added or removed; before mu

	certStore sync.Mutex // held while the stored certificates are changed; before certMu
	certMu    sync.Mutex
	certs     []certificate
}

// plan is what the last assignment came to, for coverage and metrics.
type plan struct {
	place  map[string]*monitor // where a member has a place
	wanted int                 // members that want one
	spares int                 // usable monitors without a shard
}

// New makes a Manager. It does nothing before [Manager.Prepare] or [Manager.Run].
func New(cfg Config) (*Manager, error) {
	cfg.defaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, log: cfg.Log.With("account", cfg.Account), ops: make(chan struct{}, callsAtOnce), flows: map[string]*flow{},
		joins: make(chan *monitor)}
	mons := make([]*monitor, 0, len(cfg.Monitors))
	for _, upn := range cfg.Monitors {
		for app := range m.apps() {
			mons = append(mons, newMonitor(m, upn, app))
		}
	}
	m.mons.Store(&mons)
	m.metrics = newMetrics(m)
	m.sweep = newSweeper(m)
	m.keys = &keyWatch{m: m, told: map[string]int{}}
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(m.metrics); err != nil {
			return nil, fmt.Errorf("monitors: register metrics of account %s: %w", cfg.Account, err)
		}
	}
	return m, nil
}

// active are the monitors that are configured or were added, and not removed.
func (m *Manager) active() []*monitor { return *m.mons.Load() }

// Prepare reads the stored monitors and certificates and makes the first certificate, so that
// [Manager.DecryptionKeys] is complete. Run does it too; calling it again does nothing.
func (m *Manager) Prepare(ctx context.Context) error {
	m.preparing.Lock()
	defer m.preparing.Unlock()
	if m.prepared {
		return nil
	}
	if err := m.loadCertificates(ctx); err != nil {
		return err
	}
	if err := m.loadMonitors(ctx); err != nil {
		return err
	}
	m.prepared = true
	m.replan()
	return nil
}

func (m *Manager) loadMonitors(ctx context.Context) error {
	byID := map[string]*monitor{}
	for _, mo := range m.active() {
		byID[mo.id] = mo
	}
	mons := slices.Clone(m.active())
	var retired []*monitor
	err := m.cfg.Store.All(ctx, m.cfg.Account, func(e Entry) error {
		if e.Key == certificatesKey {
			return nil
		}
		var rec record
		err := json.Unmarshal(e.Value, &rec)
		app, ours := placeOf(rec.UPN, e.Key)
		if err != nil || !ours {
			m.log.Warn("stored monitor cannot be read", "monitor", e.Key)
			if mo := byID[e.Key]; mo != nil {
				mo.rev = e.Revision // authorising it again writes it anew
			}
			return nil
		}
		mo, configured := byID[e.Key]
		if !configured {
			mo = newMonitor(m, rec.UPN, app)
		}
		active := (configured && !rec.Removed || rec.Added) && app < len(m.apps())
		switch {
		case !active:
			mons = slices.DeleteFunc(mons, func(x *monitor) bool { return x == mo })
			retired = append(retired, mo)
		case !configured:
			mons = append(mons, mo)
		}
		mo.load(rec, e.Revision, configured, active)
		return nil
	})
	if err != nil {
		return fmt.Errorf("monitors: load account %s: %w", m.cfg.Account, err)
	}
	mons, retired = m.completePlaces(mons, retired)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired = retired
	m.mons.Store(&mons)
	return nil
}

// completePlaces gives the monitors that were added while the bridge ran their places for applications that were configured
// since, and takes away those of monitors that were removed.
func (m *Manager) completePlaces(mons, retired []*monitor) (active, gone []*monitor) {
	known, first := map[string]bool{}, map[string]*monitor{}
	for _, mo := range mons {
		known[mo.id] = true
		if mo.app == 0 {
			first[mo.upn] = mo
		}
	}
	var out []*monitor
	for _, mo := range mons {
		if first[mo.upn] == nil {
			continue // a new place of a monitor that was removed
		}
		out = append(out, mo)
		if mo.app != 0 || !mo.rec.Added {
			continue
		}
		for app := 1; app < len(m.apps()); app++ {
			if known[placeID(mo.upn, app)] {
				continue
			}
			place := newMonitor(m, mo.upn, app)
			if at := slices.IndexFunc(retired, func(x *monitor) bool { return x.id == place.id }); at >= 0 {
				place.rev = retired[at].rev // of an application that was there before
				retired = slices.Delete(retired, at, at+1)
			}
			place.note(func(r *record) { *r = record{UPN: r.UPN, Added: true, Status: unset()} })
			out = append(out, place)
		}
	}
	slices.SortStableFunc(out, func(a, b *monitor) int {
		return cmp.Or(m.rank(a.upn)-m.rank(b.upn), strings.Compare(a.upn, b.upn), a.app-b.app)
	})
	return out, retired
}

// rank is where the configuration lists a monitor; those that were added come after.
func (m *Manager) rank(upn string) int {
	at := slices.IndexFunc(m.cfg.Monitors, func(c string) bool { return canonicalUPN(c) == upn })
	if at < 0 {
		return len(m.cfg.Monitors)
	}
	return at
}

// Run keeps everybody covered until ctx ends, and returns nil when all that it started has ended.
// Failures of the store or of Graph never end it. It runs once.
func (m *Manager) Run(ctx context.Context) error {
	if err := m.prepareUntil(ctx); err != nil {
		return nil //nolint:nilerr // ctx ended, which is how Run is meant to end
	}
	if m.cfg.NoSubscriptions {
		m.log.Info("this cloud has no presence subscriptions: every member is polled", "interval", m.cfg.PolledInterval.String())
	}
	m.mu.Lock()
	m.running = ctx
	retired := m.retired
	m.mu.Unlock()
	m.resumeSignIns(ctx)
	g, running := errgroup.WithContext(ctx)
	if !m.cfg.NoSubscriptions {
		for _, mo := range m.active() {
			g.Go(func() error { return mo.run(running) })
		}
		g.Go(func() error { return m.takeIn(running, g) })
	}
	for _, mo := range retired {
		g.Go(func() error { return mo.retire(running) })
	}
	g.Go(func() error { return m.sweep.run(running) })
	g.Go(func() error { return m.keys.run(running) })
	g.Go(func() error { return m.keepCertificates(running) })
	err := g.Wait()
	m.mu.Lock()
	m.running = nil
	m.mu.Unlock()
	m.flowing.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// prepareUntil prepares, however often the store fails.
func (m *Manager) prepareUntil(ctx context.Context) error {
	for n := 1; ; n++ {
		err := m.Prepare(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := backoff(n, time.Second, 30*time.Second)
		m.log.Warn("monitors cannot be loaded yet", "error", err, "retry_in", wait.String())
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// SetMembers replaces the list of members. Those that are matched and not excluded take places in shards
// and are read; the others are only remembered. It may be called before Run, and is called again
// whenever the directory has changed.
func (m *Manager) SetMembers(members []Member) {
	sorted := slices.Clone(members)
	slices.SortStableFunc(sorted, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	sorted = slices.CompactFunc(sorted, func(a, b Member) bool { return a.ID == b.ID })
	m.mu.Lock()
	m.members = sorted
	m.known.Store(true)
	m.mu.Unlock()
	m.replan()
}

// replan assigns the members to the monitors anew and wakes those whose list has changed.
func (m *Manager) replan() {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.version.Add(1)
	if !m.known.Load() {
		// The stored lists hold until the directory is known.
		for _, mo := range m.active() {
			mo.wake()
		}
		return
	}
	wanting := make([]string, 0, len(m.members))
	for _, mem := range m.members {
		if mem.wants() {
			wanting = append(wanting, mem.ID)
		}
	}
	present, carriers := m.present()
	a := shard.Assign(present, carriers, wanting)
	m.lastPlan = plan{place: make(map[string]*monitor, len(wanting)), wanted: len(wanting), spares: a.Spares}
	given := map[string]shard.Shard{}
	for _, s := range a.Shards {
		given[a.Carrier[s.ID]] = s
	}
	defer m.forgetTaken(a)
	now := time.Now()
	for _, mo := range m.active() {
		s := given[mo.id]
		mo.assign(s.ID, s.Members, now)
		for _, id := range s.Members {
			m.lastPlan.place[id] = mo
		}
	}
	if a.Moved > 0 {
		m.log.Info("members moved between shards", "moved", a.Moved)
	}
}

// forgetTaken ends the claims to shards that went to other monitors. mu is held.
func (m *Manager) forgetTaken(a shard.Assignment) {
	for _, mo := range m.active() {
		if id := mo.remembers(); id != "" && a.Carrier[id] != "" {
			mo.forget()
		}
	}
}

// present lists the shards there are and who carries them. Two monitors may know the same one, if the
// process ended while it passed from one to the other: the monitor that can be used is listed first. What
// a monitor merely remembers comes last, and is no claim to a shard that another one has. mu is held.
func (m *Manager) present() ([]shard.Shard, []shard.Monitor) {
	var usable, dead, remembered []shard.Shard
	carriers := make([]shard.Monitor, len(m.active()))
	taken, memory := map[string]bool{}, map[int]bool{}
	for i, mo := range m.active() {
		c, s, isMemory := mo.carrier()
		c.Usable = c.Usable && !m.cfg.NoSubscriptions && m.cfg.PublicURL != ""
		carriers[i] = c
		switch {
		case s.ID == "":
		case isMemory:
			remembered = append(remembered, s)
			memory[i] = true
		case c.Usable:
			usable = append(usable, s)
			taken[s.ID] = true
		default:
			dead = append(dead, s)
			taken[s.ID] = true
		}
	}
	for i := range memory {
		if taken[carriers[i].Shard] {
			carriers[i].Shard = ""
		}
	}
	return slices.Concat(usable, dead, remembered), carriers
}

// changed is called when a monitor became usable or stopped being so.
func (m *Manager) changed() { m.replan() }

// OnLifecycle takes a lifecycle notification whose clientState was checked
// (learn:change-notifications-lifecycle-events). It returns at once. Presence subscriptions are only sent
// reauthorizationRequired; the other two are obeyed should Graph send them.
func (m *Manager) OnLifecycle(subscriptionID, event string) {
	mo := m.bySubscription(subscriptionID)
	switch {
	case mo == nil:
		m.metrics.lifecycle.WithLabelValues("unknown_subscription").Inc()
	case event == "reauthorizationRequired":
		mo.challenged()
	case event == "subscriptionRemoved":
		m.metrics.lifecycle.WithLabelValues("removed").Inc()
		mo.checkNow()
	case event == "missed":
		m.metrics.lifecycle.WithLabelValues("missed").Inc()
		_, live := mo.live(time.Now())
		m.cfg.Sink.OweReads(live)
	default:
		m.metrics.lifecycle.WithLabelValues("unknown_event").Inc()
	}
}

// Heard notes that a subscription delivered something about these members, at the time of arrival: it is
// alive, and they were seen. See [Config].PushesReported.
func (m *Manager) Heard(subscriptionID string, members []string, at time.Time) {
	pushes := make([]Push, len(members))
	for i, id := range members {
		pushes[i].ID = id
	}
	m.Told(subscriptionID, pushes, at)
}

// Told is [Manager.Heard] where it is known what was said, in the order in which it was said.
func (m *Manager) Told(subscriptionID string, pushes []Push, at time.Time) {
	life := m.sweep.saw(pushes, at)
	if mo := m.bySubscription(subscriptionID); mo != nil {
		mo.hears(len(pushes), at, life)
	}
}

func (m *Manager) bySubscription(id string) *monitor {
	if id == "" {
		return nil
	}
	for _, mo := range m.active() {
		mo.mu.Lock()
		found := mo.rec.Subscription != nil && strings.EqualFold(mo.rec.Subscription.ID, id)
		mo.mu.Unlock()
		if found {
			return mo
		}
	}
	return nil
}

// byUPN is the monitor's place for the first application.
func (m *Manager) byUPN(upn string) *monitor {
	for _, mo := range m.active() {
		if mo.id == ID(upn) {
			return mo
		}
	}
	return nil
}

// Retry has a monitor that needs attention tried again at once, and one in a pause as well. The Graph client
// remembers a refusal for some seconds; if that is still in the way, the next try follows within a minute.
func (m *Manager) Retry(upn string) error {
	places, err := m.placesOf(Order{UPN: upn})
	if err != nil {
		return err
	}
	tried := false
	for _, mo := range places {
		mo.mu.Lock()
		state := mo.rec.State
		mo.mu.Unlock()
		if state != StateUnset && state != StateNeedsUpdate {
			mo.retryNow()
			tried = true
		}
	}
	if !tried {
		return fmt.Errorf("%w: %s", ErrNotSignedIn, authorize)
	}
	return nil
}

// ErrNotSignedIn says that there is nothing to try again: somebody has to sign in first.
var ErrNotSignedIn = errors.New("monitors: nobody has signed in for this monitor and application")

// ErrUnknownMonitor is wrapped where a monitor is not configured.
var ErrUnknownMonitor = errors.New("monitors: this monitor is not configured")

// redirectURI is where browsers come back to; customers register it (design: GET /authorize/callback).
func (m *Manager) redirectURI() string {
	return strings.TrimRight(m.cfg.PublicURL, "/") + "/authorize/callback"
}

func (m *Manager) notificationURL() string { return m.url("notifications") }
func (m *Manager) lifecycleURL() string    { return m.url("lifecycle") }

func (m *Manager) url(what string) string {
	return strings.TrimRight(m.cfg.PublicURL, "/") + "/graph/" + m.cfg.Account + "/" + what
}
