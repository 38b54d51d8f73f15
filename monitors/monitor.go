package monitors

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"presencebridge/monitors/shard"
)

const (
	// askedLife is the longest life of a presence subscription (learn:api/resources/subscription).
	askedLife = 60 * time.Minute
	// renewEvery leaves time for several attempts before the end.
	renewEvery = 25 * time.Minute
	// quietAfterRenewal: a challenge this soon after a renewal is ignored. Short subscriptions are
	// challenged all the time (learn:change-notifications-lifecycle-events; contrib#2166).
	quietAfterRenewal = 10 * time.Minute
	firstPause        = 5 * time.Second
	longestPause      = 2 * time.Minute
	firstProbe        = time.Minute
	longestProbe      = 15 * time.Minute
	flushPause        = 10 * time.Second
)

// monitor is one monitor. Its goroutine (run) makes all its calls to Graph, apart from signing in.
type monitor struct {
	m   *Manager
	id  string
	upn string // lower case
	app int    // number of the application, from 0

	graph     Graph // with the monitor's own credential; nil if the application is no longer configured
	delegated Delegated
	kick      chan struct{} // wakes run
	using     chan struct{} // holds one element while something is done with its subscription at Graph

	saving sync.Mutex // held while a record goes to the store; before mu

	mu      sync.Mutex
	rec     record
	rev     uint64          // of the stored record
	unsaved []func(*record) // changes that are not stored yet
	// Where the assignment wants it.
	want      []string
	wantShard string
	changedAt time.Time // since when want is not what the subscription watches; zero: it is
	joiners   bool      // somebody in want is not watched
	// Pauses and hints.
	failures  int
	retryAt   time.Time
	renewAt   time.Time
	refreshAt time.Time // when the sign-in is tried; zero: not planned
	refused   int       // attempts to do so in a row that said nothing
	rotateAt  time.Time // when its subscription, made before a rotation, is made anew; zero: it is not
	challenge bool
	check     bool // look at once whether the subscription is still there
	problem   Problem
	signIn    *flow // the authorisation under way
	// See handover.go.
	bequeathed bool     // another monitor is taking the shard over; the subscription stays until then
	testator   *monitor // whose shard this one is taking over
	hearing    hearing
	lent       bool // a probe uses its place; see probe.go
	// See members.go.
	doomed  bool          // it is to be removed, and takes nothing over
	leaving bool          // run is to retire it
	leaveBy time.Time     // until when it keeps its subscription for who takes its shard over
	gone    chan struct{} // closed when that is done
}

// Problem is what keeps an authorised monitor from having its subscription; it is tried again.
type Problem struct {
	Code   string    `json:"code,omitempty"`
	Text   string    `json:"text,omitempty"`
	Remedy string    `json:"remedy,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

func newMonitor(m *Manager, upn string, app int) *monitor {
	mo := &monitor{m: m, id: placeID(upn, app), upn: canonicalUPN(upn), app: app, kick: make(chan struct{}, 1), gone: make(chan struct{}), using: make(chan struct{}, 1)}
	mo.rec = record{UPN: mo.upn, Status: unset()}
	mo.delegated = nobody{}
	if apps := m.apps(); app < len(apps) {
		mo.graph = apps[app].Graph.As(mo.own)
		mo.delegated = mo.graph.Delegated(mo.upn, mo)
	}
	return mo
}

// load takes over what was stored. The stored list is where the assignment begins.
func (mo *monitor) load(rec record, rev uint64, configured, active bool) {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	mo.rec, mo.rev = rec, rev
	m := mo.m.cfg
	switch {
	case !active && !configured && rec.Removed:
		mo.note(func(r *record) { r.Removed = false }) // configured again, it is a monitor again
	case rec.State == StateRetired && active:
		mo.note(func(r *record) { *r = record{UPN: r.UPN, Added: r.Added, Status: unset()} })
	case rec.Token != nil && (rec.TenantID != m.TenantID || rec.ClientID != mo.clientID()):
		mo.note(func(r *record) {
			r.Subscription, r.Asked = nil, nil // another application's
			r.Status = Status{State: StateNeedsUpdate, Since: time.Now(), Code: "application_changed",
				Text: "the monitor was authorised for another tenant_id or client_id", Remedy: authorizeAgain}
		})
	case rec.State == StateNeedsUpdate && rec.Token != nil:
		// The configuration went back to what it was.
		mo.note(func(r *record) { r.Status = Status{State: StateAuthorized, Since: time.Now()} })
	}
	if mo.rec.Shard != "" && len(mo.rec.Members) > 0 {
		mo.want, mo.wantShard = mo.rec.Members, mo.rec.Shard
	}
	mo.planRenewal()
}

// note changes the record without storing it; run does. mu is held.
func (mo *monitor) note(alter func(*record)) {
	alter(&mo.rec)
	mo.unsaved = append(mo.unsaved, alter)
}

func unset() Status {
	return Status{State: StateUnset, Since: time.Now(), Text: "nobody has signed in for this monitor yet", Remedy: authorize}
}

// wake has run look again.
func (mo *monitor) wake() {
	select {
	case mo.kick <- struct{}{}:
	default:
	}
}

// carrier is the monitor and its shard as the assignment sees them. A monitor that comes back without a
// shard offers the one it had (remembered), so that its subscription can go on if nobody else took over.
func (mo *monitor) carrier() (c shard.Monitor, s shard.Shard, remembered bool) {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	s = shard.Shard{ID: mo.wantShard, Members: mo.want, Stale: mo.rec.Subscription == nil || !mo.changedAt.IsZero()}
	c = shard.Monitor{ID: mo.id, Usable: mo.rec.State == StateAuthorized && !mo.doomed}
	if c.Usable && s.ID == "" && mo.rec.Shard != "" {
		s = shard.Shard{ID: mo.rec.Shard, Members: mo.rec.Members, Stale: mo.rec.Subscription == nil}
		remembered = true
	}
	c.Shard = s.ID
	return c, s, remembered
}

// assign says whom the monitor is to watch.
func (mo *monitor) assign(shardID string, members []string, now time.Time) {
	mo.mu.Lock()
	other := mo.wantShard != shardID
	mo.mu.Unlock()
	if other {
		mo.settleEstate() // what was to be taken over went elsewhere
	}
	mo.mu.Lock()
	defer mo.mu.Unlock()
	mo.bequeathed = mo.bequeathed && shardID == ""
	mo.want, mo.wantShard = members, shardID
	mo.wake()
	mo.compare(now)
}

// forget gives up the claim to a shard that another monitor has taken over.
func (mo *monitor) forget() {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	mo.note(func(r *record) {
		r.Shard = ""
		if r.Subscription == nil {
			r.Members = nil
		}
	})
	mo.wake()
}

// remembers is the shard that the monitor has a claim to without carrying it.
func (mo *monitor) remembers() string {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	if mo.wantShard != "" || mo.bequeathed {
		return ""
	}
	return mo.rec.Shard
}

// compare notes since when the subscription watches others than it should. mu is held.
func (mo *monitor) compare(now time.Time) {
	if slices.Equal(mo.want, mo.rec.Members) {
		mo.changedAt, mo.joiners = time.Time{}, false
		return
	}
	had := mo.joiners
	mo.joiners = slices.ContainsFunc(mo.want, func(id string) bool {
		_, watched := slices.BinarySearch(mo.rec.Members, id)
		return !watched
	})
	if mo.changedAt.IsZero() || mo.joiners && !had {
		mo.changedAt = now
	}
}

// live are the members whose pushes arrive now, and the shard they are.
func (mo *monitor) live(now time.Time) (string, []string) {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	if mo.rec.State != StateAuthorized || mo.rec.Subscription == nil || !now.Before(mo.rec.Subscription.Expires) {
		return "", nil
	}
	return mo.rec.Shard, mo.rec.Members
}

// planRenewal sets when to renew: about every 25 min, and never later than half of what Graph gave. mu is held.
func (mo *monitor) planRenewal() {
	s := mo.rec.Subscription
	if s == nil {
		mo.renewAt = time.Time{}
		return
	}
	half := s.Renewed.Add(s.Expires.Sub(s.Renewed) / 2)
	mo.renewAt = earliest(s.Renewed.Add(jitter(mo.m.cfg.RenewEvery, 0.1)), half)
}

// challenged takes a reauthorizationRequired.
func (mo *monitor) challenged() {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	if s := mo.rec.Subscription; s != nil && time.Since(s.Renewed) < quietAfterRenewal {
		mo.m.metrics.lifecycle.WithLabelValues("challenge_ignored").Inc()
		return
	}
	mo.m.metrics.lifecycle.WithLabelValues("challenge").Inc()
	mo.challenge = true
	mo.wake()
}

func (mo *monitor) checkNow() {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	mo.check = true
	mo.wake()
}

func (mo *monitor) retryNow() {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	mo.retryAt, mo.failures = time.Time{}, 0
	if mo.rec.State == StateNeedsAttention || mo.rec.State == StateAuthorized {
		mo.check = true // also of one that seems well: is its subscription there?
	}
	mo.wake()
}

// run does what decide says until ctx ends.
func (mo *monitor) run(ctx context.Context) error {
	if _, live := mo.live(time.Now()); len(live) > 0 {
		// A subscription that went on while the bridge did not run: Graph gives up on what it could not
		// deliver (learn:change-notifications-delivery-webhooks).
		mo.m.cfg.Sink.OweReads(live)
	}
	for {
		pending := mo.tryFlush(ctx)
		mo.mu.Lock()
		now := time.Now()
		if mo.leaving {
			waits := mo.bequeathed && now.Before(mo.leaveBy)
			until := mo.leaveBy
			mo.mu.Unlock()
			if !waits {
				return mo.leave(ctx)
			}
			if err := mo.await(ctx, until); err != nil {
				return err
			}
			continue
		}
		mo.planRefresh(now)
		act, wake := decide(mo.view(), now)
		if act == actNone && !now.Before(mo.retryAt) && mo.rec.State == StateAuthorized {
			mo.failures, mo.problem = 0, Problem{} // what failed need not be done any more
		}
		mo.mu.Unlock()
		if act == actRecreate && mo.m.handOver(mo) {
			continue
		}
		if act != actNone {
			mo.act(ctx, act)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		if err := mo.await(ctx, earliest(wake, pending)); err != nil {
			return err
		}
	}
}

// await returns at the given time (zero: never), when something has changed, or with ctx's error.
func (mo *monitor) await(ctx context.Context, at time.Time) error {
	var fires <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		fires = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-fires:
	case <-mo.kick:
	}
	return nil
}

// tryFlush stores what is not stored yet, and says when to try again if that fails.
func (mo *monitor) tryFlush(ctx context.Context) time.Time {
	if err := mo.flush(ctx); err != nil {
		mo.m.log.Warn("monitor cannot be stored yet", "monitor", mo.id, "error", err)
		return time.Now().Add(flushPause)
	}
	return time.Time{}
}

// view is what decide looks at. mu is held.
func (mo *monitor) view() view {
	v := view{
		State: mo.rec.State, HasToken: len(mo.rec.Token) > 0,
		Want: len(mo.want) > 0, Subscribed: mo.rec.Subscription != nil,
		Hold: !mo.m.known.Load(), Bequeathed: mo.bequeathed, OtherShard: mo.wantShard != mo.rec.Shard, Silent: mo.hearing.silent,
		RetryAt: mo.retryAt, RenewAt: mo.renewAt, RefreshAt: mo.refreshAt, RotateAt: mo.rotateAt, Challenge: mo.challenge, Check: mo.check,
	}
	if s := mo.rec.Subscription; s != nil {
		v.Expires = s.Expires
		v.Unreadable = !mo.m.decrypts(s.Certificate)
	}
	if !mo.changedAt.IsZero() {
		v.ChangeDue = mo.changedAt.Add(mo.m.cfg.LeaveDelay)
		if mo.joiners {
			v.ChangeDue = mo.changedAt.Add(mo.m.cfg.JoinDelay)
		}
	}
	return v
}

// act carries out one action and notes what came of it.
func (mo *monitor) act(ctx context.Context, act action) {
	if act == actRefresh {
		mo.refresh(ctx)
		return
	}
	select {
	case mo.m.ops <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-mo.m.ops }()
	select {
	case mo.using <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-mo.using }()
	var err error
	switch act {
	case actNone, actRefresh:
	case actCreate:
		err = mo.create(ctx)
	case actRecreate:
		err = mo.recreate(ctx)
	case actRenew:
		err = mo.renew(ctx)
	case actDelete:
		err = mo.remove(ctx)
	case actProbe:
		err = mo.probe(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	mo.outcome(act, err)
}

// outcome counts, and turns failures into pauses or into a state that needs a person.
func (mo *monitor) outcome(act action, err error) {
	result := "ok"
	if err != nil {
		result = callError(err).Kind.String()
	}
	mo.m.metrics.actions.WithLabelValues(string(act), result).Inc()
	if err == nil {
		mo.mu.Lock()
		mo.failures, mo.retryAt, mo.problem = 0, time.Time{}, Problem{}
		mo.mu.Unlock()
		return
	}
	e := callError(err)
	if e.Kind == Unauthorised || e.Kind == Consent {
		mo.needAttention(e)
		return
	}
	mo.mu.Lock()
	mo.failures++
	wait := max(backoff(mo.failures, firstPause, longestPause), e.RetryAfter)
	mo.retryAt = time.Now().Add(wait)
	mo.problem = problemOf(act, e, mo.problem)
	if act == actProbe {
		mo.check = false // it was asked for once
	}
	n := mo.failures
	mo.mu.Unlock()
	mo.m.log.Warn("monitor has to try again", "monitor", mo.id, "action", string(act), "error", err, "failures", n, "retry_in", wait.String())
}

// needAttention notes that a person has to act. The monitor is tried again now and then all the same:
// what was wrong may be set right in Entra without anybody telling us.
func (mo *monitor) needAttention(e *CallError) {
	t := mo.diagnose(e)
	mo.mu.Lock()
	was := mo.rec.State
	mo.failures++
	wait := backoff(mo.failures, firstProbe, longestProbe)
	if t.ofApplication {
		wait = jitter(firstProbe, 0.2) // all monitors wait for it
	}
	mo.retryAt = time.Now().Add(wait)
	mo.problem = Problem{} // the state says it
	mo.check = false
	mo.note(func(r *record) {
		if r.State == StateNeedsAttention && r.Code == t.code {
			return
		}
		r.Status = Status{State: StateNeedsAttention, Since: time.Now(), Code: t.code, Text: t.text, Remedy: t.remedy}
	})
	mo.mu.Unlock()
	if was == StateAuthorized {
		mo.m.log.Error("monitor needs attention", "monitor", mo.id, "code", t.code, "remedy", t.remedy, "error", e)
		mo.m.changed()
	}
}

func problemOf(act action, e *CallError, before Problem) Problem {
	p := Problem{Code: e.Kind.String(), Text: string(act) + ": " + e.Error(), Since: before.Since}
	if before.Code != p.Code {
		p.Since = time.Now()
	}
	switch e.Kind {
	case Refused:
		p.Remedy = "check that public_url reaches this bridge from the internet over HTTPS, and see the text; the bridge goes on trying"
	case Conflict:
		p.Remedy = "another program uses the same application and monitor; give the bridge a monitor of its own"
	case Throttled:
		p.Remedy = "none needed: the bridge waits as long as Graph asks"
	case Transient, Gone, Unauthorised, Consent:
		p.Remedy = "none needed: the bridge goes on trying"
	}
	return p
}

// errUnextended: Graph answered a renewal with the old expiry.
var errUnextended = errors.New("the renewal did not extend the subscription")
