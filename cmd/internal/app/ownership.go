package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"presencebridge/bridge"
	"presencebridge/bridge/bus"
)

const (
	// lookEvery is how often an owner makes sure that its time is not over, whatever else happens.
	lookEvery = 200 * time.Millisecond
	// confirmTimeout bounds the question who else is there.
	confirmTimeout = 3 * time.Second
	// handOverPatience is how long a new owner waits for one that lives and does not let go. The pin and the
	// compare-and-set hold from there on.
	handOverPatience = 10 * time.Second
	// firstRetry and longestRetry are the pauses before an account is started again that could not be.
	firstRetry   = time.Second
	longestRetry = 30 * time.Second
)

// ownership starts the accounts that belong to this replica and stops those that no longer do (DESIGN.md of package
// bus, "Replicas").
type ownership struct {
	app     *App
	log     *slog.Logger
	members *bus.Membership
	metrics *ownerMetrics
	names   []string // of the configured accounts, sorted

	mu      sync.Mutex
	leaving bool
	tenures map[string]*tenure
	waits   map[string]time.Time // since when an account of ours is run by somebody else
	retries map[string]retry
	changed chan struct{}  // a tenure has ended
	ending  sync.WaitGroup // tenures
}

// tenure is one time that this replica runs an account.
type tenure struct {
	name    string
	term    uint64
	cancel  context.CancelFunc
	stopped bool     // cancel was called
	acc     *account // nil until it is prepared
	members *bus.Membership
}

type retry struct {
	at    time.Time
	pause time.Duration
}

// ownerMetrics say who runs what.
type ownerMetrics struct {
	owner      *prometheus.GaugeVec
	takeOvers  *prometheus.CounterVec
	standDowns *prometheus.CounterVec
}

// why an account is stopped; a metric label.
type why string

const (
	whyMoved   why = "moved"   // it belongs to another replica now
	whyLapsed  why = "lapsed"  // this replica could not renew its entry: others may have taken over
	whyLeaving why = "leaving" // the process stops
	whyFailed  why = "failed"  // it ended by itself
)

func newOwnerMetrics(reg prometheus.Registerer, accounts []string) *ownerMetrics {
	m := &ownerMetrics{
		owner: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "presence_bridge_account_owner", Help: "1 on the replica that runs the account, 0 on the others.",
		}, []string{"account"}),
		takeOvers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "presence_bridge_account_takeovers_total", Help: "Times that this replica began to run the account.",
		}, []string{"account"}),
		standDowns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "presence_bridge_account_standdowns_total", Help: "Times that this replica stopped running the account, by reason.",
		}, []string{"account", "reason"}),
	}
	reg.MustRegister(m.owner, m.takeOvers, m.standDowns)
	for _, a := range accounts {
		m.owner.WithLabelValues(a)
		m.takeOvers.WithLabelValues(a)
	}
	return m
}

// replicaID names this process among the replicas: the machine, for people, and something that no other process has.
func replicaID() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "replica"
	}
	host = strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return '-'
	}, strings.ToLower(host))
	var unique [4]byte
	if _, err := rand.Read(unique[:]); err != nil {
		return "", fmt.Errorf("naming this replica: %w", err)
	}
	return strings.Trim(host[:min(len(host), 40)], "-") + "-" + hex.EncodeToString(unique[:]), nil
}

// newOwnership takes this process's place among the replicas.
func newOwnership(ctx context.Context, a *App) (*ownership, error) {
	o := &ownership{
		app: a, log: a.log, tenures: map[string]*tenure{}, waits: map[string]time.Time{}, retries: map[string]retry{},
		changed: make(chan struct{}, 1),
	}
	for i := range a.opts.Config.Accounts {
		o.names = append(o.names, a.opts.Config.Accounts[i].Name)
	}
	slices.Sort(o.names)
	o.metrics = newOwnerMetrics(a.registry, o.names)
	var err error
	if o.members, err = a.bus.Join(ctx, bus.MembershipConfig{ID: a.id, Describe: o.describe}); err != nil {
		return nil, err
	}
	return o, nil
}

// describe is what this replica tells the others. What is being started or stopped counts as run.
func (o *ownership) describe() bus.Replica {
	o.mu.Lock()
	r := bus.Replica{Accounts: o.names, Leaving: o.leaving, Running: make(map[string]time.Time, len(o.tenures))}
	names := slices.Collect(maps.Keys(o.tenures))
	o.mu.Unlock()
	for _, name := range names {
		r.Running[name] = o.app.bus.Vouched(name)
	}
	return r
}

// run starts and stops accounts until ctx ends; then it stops all, in a way that another replica takes over at once. The
// accounts that are this replica's from the beginning run when ready is called, with what kept one from it.
func (o *ownership) run(ctx context.Context, ready func(error)) error {
	renewing, stopRenewing := context.WithCancel(context.WithoutCancel(ctx))
	g, renewing := errgroup.WithContext(renewing)
	g.Go(func() error { return o.members.Run(renewing) })
	ready(o.evaluate(ctx, true))
	ticker := time.NewTicker(lookEvery)
	for ctx.Err() == nil {
		view := o.members.Changed()
		_ = o.evaluate(ctx, false) // logged, and tried again
		select {
		case <-ctx.Done():
		case <-view:
		case <-o.changed:
		case <-ticker.C:
		}
	}
	ticker.Stop()
	o.leave()
	stopRenewing()
	err := g.Wait()
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if e := o.members.Leave(leaving); e != nil {
		o.log.Warn("the other replicas were not told that this one leaves; they find out", "error", e)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// leave stops every account. The others know at once that this replica owns nothing any more, and of each account when it
// has let go of it.
func (o *ownership) leave() {
	o.mu.Lock()
	o.leaving = true
	for _, t := range o.tenures {
		o.stopLocked(t, whyLeaving)
	}
	o.mu.Unlock()
	o.members.Renew()
	o.ending.Wait()
}

// evaluate compares what runs with what should. wait: begin what has to be begun before it returns.
func (o *ownership) evaluate(ctx context.Context, wait bool) error {
	v := o.members.View()
	var begin []*tenure
	var contexts []context.Context
	o.mu.Lock()
	for _, name := range o.names {
		t, ours := o.tenures[name], v.Owner(name) == o.app.id
		switch {
		case t != nil && o.members.Lapsed(t.term):
			o.stopLocked(t, whyLapsed)
		case t != nil && v.Fresh && !ours:
			o.stopLocked(t, whyMoved)
		case t == nil && v.Fresh && ours && o.freeLocked(v, name):
			tctx, cancel := context.WithCancel(ctx)
			t = &tenure{name: name, term: o.members.Term(), members: o.members, cancel: cancel}
			o.tenures[name] = t
			begin, contexts = append(begin, t), append(contexts, tctx)
		}
		if !ours {
			delete(o.waits, name)
		}
	}
	o.mu.Unlock()
	var errs []error
	for i, t := range begin {
		if wait {
			errs = append(errs, o.begin(contexts[i], t))
			continue
		}
		o.ending.Go(func() {
			if err := o.begin(contexts[i], t); err != nil && ctx.Err() == nil {
				o.log.Error("the account could not be started here, trying again", "account", t.name, "error", err)
			}
		})
	}
	return errors.Join(errs...)
}

// freeLocked tells whether an account that belongs to this replica may be begun now. mu is held.
func (o *ownership) freeLocked(v bus.View, name string) bool {
	now := time.Now()
	if now.Before(o.retries[name].at) || !o.members.Holds(o.members.Term()) {
		return false
	}
	other := v.RunBy(name, o.app.id)
	if other == "" {
		delete(o.waits, name)
		return true
	}
	if o.waits[name].IsZero() {
		o.waits[name] = now
		o.log.Info("waiting for the account's owner to let go of it", "account", name, "replica", other)
	}
	return now.Sub(o.waits[name]) > handOverPatience
}

// stopLocked has a tenure end. mu is held.
func (o *ownership) stopLocked(t *tenure, reason why) {
	if t.stopped {
		return
	}
	t.stopped = true
	t.cancel()
	if t.acc != nil {
		o.metrics.standDowns.WithLabelValues(t.name, string(reason)).Inc()
		o.metrics.owner.WithLabelValues(t.name).Set(0)
		o.log.Info("this replica gives the account up", "account", t.name, "reason", string(reason))
	}
}

// begin claims an account, reads its state and lets it run. An error means that it does not run.
func (o *ownership) begin(ctx context.Context, t *tenure) error {
	acc, err := o.claim(ctx, t)
	if acc == nil {
		if err != nil {
			o.pauseAfter(t.name)
		}
		o.ended(t)
		return err
	}
	o.ending.Go(func() { o.carry(ctx, t, acc) })
	return nil
}

// carry runs an account until ctx ends.
func (o *ownership) carry(ctx context.Context, t *tenure, acc *account) {
	began := time.Now()
	err := acc.run(ctx)
	acc.close()
	if ctx.Err() == nil {
		o.log.Error("the account ended by itself, starting it again", "account", t.name, "error", err)
		o.mu.Lock()
		if time.Since(began) > longestRetry {
			delete(o.retries, t.name)
		}
		o.stopLocked(t, whyFailed)
		o.mu.Unlock()
		o.pauseAfter(t.name)
	}
	o.ended(t)
}

// claim tells the others that this replica runs the account, looks once more whether nobody else does, and prepares it. No
// account and no error: it is not to be had.
func (o *ownership) claim(ctx context.Context, t *tenure) (*account, error) {
	cctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	if err := o.members.Confirm(cctx); err != nil {
		return nil, err
	}
	if v := o.members.View(); !v.Fresh || v.Owner(t.name) != o.app.id || o.taken(v, t.name) {
		return nil, nil
	}
	acc, err := newAccount(o.app, t.name, o.app.shared.of(t.name), t)
	if err != nil {
		return nil, err
	}
	if err := acc.prepare(ctx, o.members.Vouched(t.name)); err != nil {
		acc.close()
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.stopped { // meanwhile
		acc.close()
		return nil, nil
	}
	t.acc = acc
	o.metrics.takeOvers.WithLabelValues(t.name).Inc()
	o.metrics.owner.WithLabelValues(t.name).Set(1)
	o.log.Info("this replica runs the account", "account", t.name, "replica", o.app.id)
	return acc, nil
}

// taken tells whether another replica runs the account and may go on for now.
func (o *ownership) taken(v bus.View, name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	since := o.waits[name]
	return v.RunBy(name, o.app.id) != "" && (since.IsZero() || time.Since(since) <= handOverPatience)
}

func (o *ownership) pauseAfter(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.retries[name]
	r.pause = min(max(2*r.pause, firstRetry), longestRetry)
	r.at = time.Now().Add(r.pause)
	o.retries[name] = r
}

// ended lets go of an account: the others may have it now.
func (o *ownership) ended(t *tenure) {
	o.mu.Lock()
	t.cancel()
	if o.tenures[t.name] == t {
		delete(o.tenures, t.name)
	}
	o.mu.Unlock()
	o.members.Renew()
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// account is the account as it runs here, nil if it does not.
func (o *ownership) account(name string) *account {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := o.tenures[name]; t != nil && !t.stopped {
		return t.acc
	}
	return nil
}

// mayAct is asked before every request that changes something.
func (t *tenure) mayAct() bool { return t.members.Holds(t.term) }

// confirm finds out after a failed compare-and-set whether the account is still this replica's.
func (t *tenure) confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	if err := t.members.Confirm(ctx); err != nil {
		return err
	}
	if t.members.Lapsed(t.term) || t.members.View().Owner(t.name) != t.members.ID() {
		return bridge.ErrNotOwner
	}
	return nil
}

// ready tells whether this replica does its part for an account, and in words what that is.
func (o *ownership) ready(name string) (string, error) {
	if acc := o.account(name); acc != nil {
		return "owned by this replica, " + o.app.id, acc.ready()
	}
	v := o.members.View()
	switch owner := v.Owner(name); {
	case !v.Fresh:
		return "", errors.New("the other replicas cannot be seen: nats does not answer")
	case owner == o.app.id:
		return "", errors.New("this replica is taking the account over")
	default:
		return "owned by the replica " + owner, nil
	}
}
