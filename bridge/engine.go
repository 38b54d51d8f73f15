package bridge

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// ErrConflict is what a [Store] answers when the expected revision is not the present one.
var ErrConflict = errors.New("bridge: the record was changed by somebody else")

// ErrNotFound is what a [Store] answers for a member without a record.
var ErrNotFound = errors.New("bridge: no record")

// Store keeps the records of one account, durably and with compare-and-set.
type Store interface {
	// Load visits every record.
	Load(ctx context.Context, each func(member string, data []byte, revision uint64) error) error
	// Put replaces the record of that revision, 0 for one that must not exist, and calls done exactly once,
	// from any goroutine, after the record is durable or with the reason why not ([ErrConflict] for a wrong
	// revision). It may block while too many writes wait.
	Put(member string, data []byte, revision uint64, done func(revision uint64, err error))
	// Get reads the present record from where it is written, never from a copy that may be behind.
	Get(ctx context.Context, member string) (data []byte, revision uint64, err error)
	// Delete removes the record of that revision.
	Delete(ctx context.Context, member string, revision uint64) error
}

// Feed takes what others may read: it must not block, and losing an item is not an error.
type Feed interface {
	Observed(member, side string, data []byte)
	Decided(member string, data []byte)
}

// Teams is Graph in the engine's words. An error of a write means that nobody knows whether it landed.
type Teams interface {
	Set(ctx context.Context, member string, p presence.Pair, lease time.Duration, renewal bool) error
	Clear(ctx context.Context, member string) error
	// SetPreferred makes p the person's preferred presence, for that long at most.
	SetPreferred(ctx context.Context, member string, p presence.Pair, lasts time.Duration) error
	// ClearPreferred takes a preferred presence of ours away, unless what shows is another choice: then it is success, too.
	ClearPreferred(ctx context.Context, member string, ours presence.Pair) error
	// SetMessage makes text the person's status message until then, or takes it away (""), unless what shows is neither
	// nothing nor one of ours. What became of it nobody has to know: it ends by itself.
	SetMessage(ctx context.Context, member, text string, ours []string, until time.Time) error
	// Read returns what it could learn: a member that is not in the result was not read.
	Read(ctx context.Context, members []string) (map[string]presence.Shown, error)
}

// PBX is one PBX of the account and how it is treated.
type PBX struct {
	Connector        pbx.Connector
	WritesPerSecond  float64       // token bucket (R13); default 20
	Burst            int           // of that bucket; default one second's worth
	SnapshotInterval time.Duration // R16; default 5 min
	Settle           time.Duration // R7; default 1 s
	Timeout          time.Duration // of a request; default 10 s
}

// Config is what an [Engine] needs.
type Config struct {
	Account string
	Rules   Rules // its PBX map is filled in by the engine
	Store   Store
	Feed    Feed // nil: nobody listens
	Teams   Teams
	PBX     map[string]PBX

	TeamsWrites int // per 30 s (design section 6); default 1,200
	// TeamsWriteRate is what is allowed a second at the moment, where TeamsWrites is only where it begins. The
	// engine paces a little above it, so that whoever raises the limit sees that it is needed. Default: TeamsWrites.
	TeamsWriteRate func() float64
	ReadWindow     time.Duration // reads owed within it travel together; default 100 ms
	Workers        int           // goroutines that own members; default the CPUs
	OnSnapshot     func(pbx string, users []pbx.User)
	OnLatency      func(direction string, path Path, d time.Duration)
	Log            *slog.Logger
	Metrics        prometheus.Registerer
	UnseenAfter    time.Duration // R4; default Rules.Lease
	// MayWrite is asked right before every request that changes something outside: false while another replica may
	// have taken the account over. Default: always true.
	MayWrite func() bool
	// Confirm is called after a compare-and-set failed, and before anything is folded again: [ErrNotOwner] ends it,
	// any other error is tried again. Default: nobody else is there.
	Confirm func(ctx context.Context) error
	// EndTime is how long Run waits, when its context ends, for the answers to writes that are under way. Default 2 s.
	EndTime       time.Duration
	ReadBatchSize int // default 650, Graph's most
}

// Engine runs one account. Create it with [New], give it its members, and run it.
type Engine struct {
	cfg     Config
	log     *slog.Logger
	rules   atomic.Pointer[Rules]
	metrics *engineMetrics
	tally   *tally

	complaint complaint
	seed      maphash.Seed
	loops     []*loop
	reads     *readBatcher
	pacers    map[string]*pacer
	feeds     map[string]*pbxFeed

	mu      sync.Mutex
	owners  map[presence.EndpointID]string // the member whose record holds the endpoint
	members map[string]Member
	moving  map[presence.EndpointID]string // who gets an endpoint as soon as its owner's record let it go
	telling chan struct{}                  // holds one token while changes of members are worked out and posted

	effects  sync.WaitGroup // requests under way
	ctx      context.Context
	working  context.Context // ends after ctx: see end
	ending   atomic.Bool
	underWay atomic.Int64 // stores, and writes whose answers are not stored
}

// Member is a person of the account as the directory knows them.
type Member struct {
	ID        string // Entra object id, lower case
	UPN       string
	Mail      string
	Name      string
	Endpoints []presence.EndpointID
	Excluded  bool
	Groups    []string            // ids and display names of the Entra groups that the policy names and the member is in
	OptOut    presence.Directions // that do not cross for this member; both is Excluded
}

// New makes an engine. It starts nothing.
func New(cfg Config) (*Engine, error) {
	if cfg.Account == "" || cfg.Store == nil || cfg.Teams == nil {
		return nil, errors.New("bridge: an engine needs an account, a store and Teams")
	}
	cfg = cfg.withDefaults()
	e := &Engine{
		cfg: cfg, log: cfg.Log.With("account", cfg.Account), seed: maphash.MakeSeed(),
		metrics: newEngineMetrics(cfg.Metrics, cfg.Account), tally: newTally(cfg.Metrics, cfg.Account),
		owners: map[presence.EndpointID]string{}, members: map[string]Member{},
		moving: map[presence.EndpointID]string{}, telling: make(chan struct{}, 1), pacers: map[string]*pacer{}, feeds: map[string]*pbxFeed{},
	}
	e.complaint.e = e
	rules := cfg.Rules
	rules.PBX = map[string]PBXRules{}
	for name, p := range cfg.PBX {
		rules.PBX[name] = PBXRules{Capabilities: p.Connector.Capabilities(), Settle: p.Settle, Timeout: p.Timeout}
		e.pacers[name] = newPacer(rate.Limit(p.WritesPerSecond), p.Burst)
		e.feeds[name] = newPBXFeed(e, name, p)
	}
	teams := newPacer(rate.Limit(float64(cfg.TeamsWrites)/30), max(cfg.TeamsWrites/12, 1))
	if cfg.TeamsWriteRate != nil {
		teams.current = func() rate.Limit { return rate.Limit(1.1 * cfg.TeamsWriteRate()) }
	}
	e.pacers[TeamsSideName] = teams
	rules = rules.WithDefaults()
	e.rules.Store(&rules)
	e.reads = newReadBatcher(e)
	for range cfg.Workers {
		e.loops = append(e.loops, newLoop(e))
	}
	return e, nil
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.TeamsWrites == 0 {
		c.TeamsWrites = 1200
	}
	if c.ReadWindow == 0 {
		c.ReadWindow = 100 * time.Millisecond
	}
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.ReadBatchSize == 0 {
		c.ReadBatchSize = 650
	}
	c.Rules = c.Rules.WithDefaults()
	if c.EndTime == 0 {
		c.EndTime = 2 * time.Second
	}
	if c.UnseenAfter == 0 {
		c.UnseenAfter = c.Rules.Lease
	}
	pbxs := make(map[string]PBX, len(c.PBX))
	for name, p := range c.PBX {
		if p.WritesPerSecond == 0 {
			p.WritesPerSecond = 20
		}
		if p.Burst == 0 {
			p.Burst = max(int(p.WritesPerSecond), 1)
		}
		if p.SnapshotInterval == 0 {
			p.SnapshotInterval = 5 * time.Minute
		}
		if p.Timeout == 0 {
			p.Timeout = 10 * time.Second
		}
		if p.Settle == 0 {
			p.Settle = time.Second
		}
		pbxs[name] = p
	}
	c.PBX = pbxs
	return c
}

// Load takes the account's records over from the store; call it once, before Run.
func (e *Engine) Load(ctx context.Context) error {
	return e.cfg.Store.Load(ctx, func(member string, data []byte, revision uint64) error {
		rec, err := decodeRecord(data)
		if err != nil {
			// A record that cannot be read is as good as none: both sides are read anew (R15 covers what we left).
			e.log.Error("record cannot be read, starting it anew", "member", member, "error", err)
			rec = NewRecord(member, e.rules.Load())
		}
		e.loopOf(member).adopt(member, rec, revision)
		e.mu.Lock()
		for i := range rec.Endpoints {
			e.owners[rec.Endpoints[i].ID] = member
		}
		e.mu.Unlock()
		return nil
	})
}

// Run carries the account until ctx ends. Then it takes nothing new, lets the writes that are under way be answered and
// stored for at most Config.EndTime, and waits for every request.
func (e *Engine) Run(ctx context.Context) error {
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	loops, working := errgroup.WithContext(working)
	g, ctx := errgroup.WithContext(ctx)
	e.mu.Lock()
	e.ctx, e.working = ctx, working
	e.mu.Unlock()
	for _, l := range e.loops {
		loops.Go(func() error { return l.run(working) })
	}
	g.Go(func() error { return e.reads.run(ctx) })
	for side, p := range e.pacers {
		g.Go(func() error {
			return p.run(ctx, func(member string) { e.post(ctx, member, Granted{Side: side}, nil) })
		})
	}
	for _, f := range e.feeds {
		g.Go(func() error { return f.run(ctx) })
	}
	err := g.Wait()
	e.end()
	cancel()
	err = errors.Join(ignoreCanceled(err), ignoreCanceled(loops.Wait()))
	e.effects.Wait()
	return err
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (e *Engine) loopOf(member string) *loop {
	return e.loops[maphash.String(e.seed, member)%uint64(len(e.loops))]
}

// post hands an event to the member's owner. done, if any, is called once the event is folded and what it
// changed is stored; it is not called when ctx ends first.
func (e *Engine) post(ctx context.Context, member string, ev Event, done func()) {
	l := e.loopOf(member)
	select {
	case l.in <- envelope{member: member, event: ev, done: done}:
	case <-ctx.Done():
	}
}

// currentRules is the rules with the sides that are out of budget at this moment.
func (e *Engine) currentRules() *Rules {
	base := e.rules.Load()
	var paced map[string]bool
	for side, p := range e.pacers {
		if p.exhausted() {
			if paced == nil {
				paced = map[string]bool{}
			}
			paced[side] = true
		}
	}
	crowded := e.crowded()
	if paced == nil && !crowded {
		return base
	}
	r := *base
	r.Paced, r.Crowded = paced, crowded
	return &r
}

// setStatuses publishes a PBX's catalogue to all later steps.
func (e *Engine) setStatuses(name string, statuses policy.Catalogue) {
	for {
		old := e.rules.Load()
		r := *old
		r.PBX = make(map[string]PBXRules, len(old.PBX))
		for n, p := range old.PBX {
			if n == name {
				p.Statuses = statuses
			}
			r.PBX[n] = p
		}
		if e.rules.CompareAndSwap(old, &r) {
			return
		}
	}
}
