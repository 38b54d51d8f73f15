package monitors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Monitors come from the configuration. Beside that, an administrator can add one and remove one while the bridge
// runs; what differs from the configuration is kept in the monitor's own entry of the bucket (record.Added,
// record.Removed), so that it holds over restarts and nothing is kept twice. A monitor that the configuration
// drops, and that was not added, is retired at the next start.

// ErrKnownMonitor is about adding what there is already.
var ErrKnownMonitor = errors.New("monitors: this is a monitor of the account already")

// ErrRetiring is about a monitor whose subscription and secrets are just being done away with.
var ErrRetiring = errors.New("monitors: this monitor is being removed; try again in a moment")

// ErrUPN is about a name that cannot be a user's.
var ErrUPN = errors.New("monitors: this is no user principal name; write name@domain")

// errRemoved ends the sign-in of a monitor that is removed.
var errRemoved = errors.New("removed")

// takeIn runs the monitors that are added.
func (m *Manager) takeIn(ctx context.Context, g *errgroup.Group) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case mo := <-m.joins:
			g.Go(func() error { return mo.run(ctx) })
		}
	}
}

// runs is the context of Run, or an error where nobody can be added or removed.
func (m *Manager) runs() (context.Context, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.cfg.NoSubscriptions:
		return nil, ErrNoSubscriptions
	case m.running == nil:
		return nil, ErrNotRunning
	}
	return m.running, nil
}

// Name is the UPN of the monitor with that [ID].
func (m *Manager) Name(id string) (string, bool) {
	for _, mo := range m.active() {
		if mo.id == id {
			return mo.upn, true
		}
	}
	return "", false
}

func (m *Manager) configured(id string) bool {
	return slices.ContainsFunc(m.cfg.Monitors, func(upn string) bool {
		_, ok := placeOf(upn, id)
		return ok
	})
}

// Add takes a user in as a monitor, or takes back one that was removed. Somebody has to sign in for it then. A secret of its
// own is the one that the order has, for the application that it names or the first.
func (m *Manager) Add(ctx context.Context, o Order) (Info, error) {
	m.changing.Lock()
	defer m.changing.Unlock()
	running, err := m.runs()
	switch {
	case err != nil:
		return Info{}, err
	case m.cfg.PublicURL == "":
		return Info{}, ErrNoPublicURL
	}
	if name, domain, found := strings.Cut(canonicalUPN(o.UPN), "@"); !found || name == "" || domain == "" || strings.ContainsAny(domain, "@/ ") {
		return Info{}, ErrUPN
	}
	if m.byUPN(o.UPN) != nil {
		return Info{}, ErrKnownMonitor
	}
	places, secretive, err := m.newPlaces(o)
	if err != nil {
		return Info{}, err
	}
	for _, mo := range places {
		keep := func(*record) {}
		if o.Secret != "" && mo == secretive {
			if keep, err = mo.sealSecret(o.Secret); err != nil {
				return Info{}, err
			}
		}
		err = mo.change(ctx, func(r *record) {
			*r = record{UPN: mo.upn, Added: !m.configured(mo.id), Status: unset()}
			keep(r)
		})
		if err != nil {
			return Info{}, err
		}
	}
	m.mu.Lock()
	mons := slices.Concat(m.active(), places)
	m.mons.Store(&mons)
	m.retired = slices.DeleteFunc(slices.Clone(m.retired), func(x *monitor) bool { return x.upn == places[0].upn && x.app < len(places) })
	m.mu.Unlock()
	for _, mo := range places {
		select {
		case m.joins <- mo:
		case <-running.Done():
			return Info{}, ErrNotRunning
		}
	}
	m.log.Info("monitor added", "monitor", places[0].id)
	m.changed()
	return places[0].info(time.Now()), nil
}

// newPlaces makes the places of a monitor that is added, and says which one an order's secret is for.
func (m *Manager) newPlaces(o Order) (places []*monitor, secretive *monitor, err error) {
	for app, a := range m.apps() {
		mo := newMonitor(m, o.UPN, app)
		if err := mo.succeed(m.retiredByID(mo.id)); err != nil {
			return nil, nil, err
		}
		places = append(places, mo)
		if secretive == nil && (o.ClientID == "" || strings.EqualFold(a.ClientID, o.ClientID)) {
			secretive = mo
		}
	}
	if secretive == nil {
		return nil, nil, ErrUnknownApplication
	}
	return places, secretive, nil
}

func (m *Manager) retiredByID(id string) *monitor {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mo := range m.retired {
		if mo.id == id {
			return mo
		}
	}
	return nil
}

// succeed takes the place of a monitor that was retired, if there is one.
func (mo *monitor) succeed(old *monitor) error {
	if old == nil {
		return nil
	}
	old.mu.Lock()
	defer old.mu.Unlock()
	if old.rec.State != StateRetired || len(old.rec.Token) > 0 || len(old.unsaved) > 0 {
		return ErrRetiring
	}
	mo.rev = old.rev
	return nil
}

// Remove retires a monitor: its subscription is deleted, its secrets are wiped, and its members go to a spare, to
// free places, or to the sweep. With a spare there is no gap: it subscribes to the members before the old subscription goes.
// Remove returns when all that is done, or when ctx ends; it goes on then, after a restart too.
func (m *Manager) Remove(ctx context.Context, upn string) (Info, error) {
	m.changing.Lock()
	defer m.changing.Unlock()
	if _, err := m.runs(); err != nil {
		return Info{}, err
	}
	places := m.places(upn)
	if len(places) == 0 {
		return Info{}, ErrUnknownMonitor
	}
	for _, mo := range places {
		mo.mark(ctx)
	}
	for _, mo := range places {
		mo.bequeathAll()
	}
	m.changed() // a spare takes the shard as it is
	m.mu.Lock()
	for _, f := range m.flows {
		if f.State == FlowPending && slices.Contains(places, f.mo) {
			f.answers = nil
			f.cancel(errRemoved)
		}
	}
	mons := slices.DeleteFunc(slices.Clone(m.active()), func(x *monitor) bool { return slices.Contains(places, x) })
	m.mons.Store(&mons)
	m.retired = slices.Concat(m.retired, places)
	m.mu.Unlock()
	m.changed()
	for _, mo := range places {
		mo.wake()
	}
	m.log.Info("monitor removed", "monitor", places[0].id)
	for _, mo := range places {
		select {
		case <-mo.gone:
		case <-ctx.Done():
		}
	}
	return places[0].info(time.Now()), nil
}

// mark writes down that the monitor is to be removed, and keeps it from taking a shard over meanwhile.
func (mo *monitor) mark(ctx context.Context) {
	configured := mo.m.configured(mo.id)
	if err := mo.change(ctx, func(r *record) { r.Removed, r.Added, r.SignIn = configured, false, nil }); err != nil {
		// It is stored with the next change, at the latest when the secrets are wiped.
		mo.m.log.Warn("monitor cannot be stored yet", "monitor", mo.id, "error", err)
	}
	mo.mu.Lock()
	defer mo.mu.Unlock()
	mo.doomed, mo.signIn = true, nil
}

// estateFor bounds how long a monitor that is removed keeps its subscription for a spare that takes its shard over.
const estateFor = 2 * time.Minute

// bequeathAll has a spare subscribe to the monitor's members while its subscription still stands, and then has run end.
func (mo *monitor) bequeathAll() {
	if _, live := mo.live(time.Now()); len(live) > 0 && mo.m.handOver(mo) {
		mo.mu.Lock()
		mo.leaveBy = time.Now().Add(estateFor)
		mo.mu.Unlock()
	}
	mo.mu.Lock()
	defer mo.mu.Unlock()
	mo.leaving = true
}

func (mo *monitor) isLeaving() bool {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	return mo.leaving
}

// leave is the end of run.
func (mo *monitor) leave(ctx context.Context) error {
	mo.settleEstate()
	if err := mo.retire(ctx); err != nil {
		return err
	}
	// What stays for the list holds no access token.
	bare := newMonitor(mo.m, mo.upn, mo.app)
	mo.mu.Lock()
	bare.rec, bare.rev = mo.rec, mo.rev
	mo.mu.Unlock()
	m := mo.m
	m.mu.Lock()
	retired := slices.Clone(m.retired)
	for i := range retired {
		if retired[i] == mo {
			retired[i] = bare
		}
	}
	m.retired = retired
	m.mu.Unlock()
	close(mo.gone)
	return nil
}

// Renew has a monitor take up what was changed in Entra or in the configuration: a new secret or certificate, or
// another application. An order with a secret brings the monitor's own, which replaces the one before if Entra accepts it.
// Where the sign-ins are accepted with that, for the application that the order names or for all, nobody needs to sign in,
// and the flow has ended already; otherwise it is the beginning of a sign-in, as with [Manager.Authorize].
func (m *Manager) Renew(ctx context.Context, o Order) (Flow, error) {
	if _, err := m.runs(); err != nil {
		return Flow{}, err
	}
	places, err := m.placesOf(o)
	if err != nil {
		return Flow{}, err
	}
	if o.Secret != "" {
		places = places[:1]
	}
	var last Flow
	for _, mo := range places {
		f, signIn, err := m.renewPlace(ctx, mo, o)
		if err != nil || signIn {
			return f, err
		}
		last = f
	}
	return last, nil
}

// renewPlace tries one place, and tells whether somebody has to sign in.
func (m *Manager) renewPlace(ctx context.Context, mo *monitor, o Order) (f Flow, signIn bool, err error) {
	undo := func(context.Context) error { return nil }
	if o.Secret != "" {
		if undo, err = mo.takeSecret(ctx, o.Secret); err != nil {
			return Flow{}, false, err
		}
	}
	mo.mu.Lock()
	mine := len(mo.rec.Token) > 0 && mo.rec.TenantID == m.cfg.TenantID && mo.rec.ClientID == mo.clientID()
	mo.mu.Unlock()
	if !mine {
		f, err = m.authorizePlace(ctx, mo, o.Method)
		return f, true, err
	}
	if err = mo.delegated.Refresh(ctx); err == nil {
		return m.accepted(ctx, mo, o.Method), false, nil
	}
	e := callError(err)
	t := mo.diagnose(e)
	switch {
	case e.Kind != Unauthorised && e.Kind != Consent:
		return Flow{}, false, fmt.Errorf("monitors: renew %s: %w", mo.id, err)
	case t.ofApplication || t.ofSecret:
		// No sign-in can succeed either. A new secret that Entra does not know does not replace the one before.
		return Flow{}, false, errors.Join(&ApplicationError{Code: t.code, Text: t.text, Remedy: t.remedy, Err: err}, undo(ctx))
	}
	f, err = m.authorizePlace(ctx, mo, o.Method)
	return f, true, err
}

// ApplicationError says that Entra does not accept the application itself, whoever signs in.
type ApplicationError struct {
	Code, Text, Remedy string
	Err                error
}

// Error tells what is wrong and what to do.
func (e *ApplicationError) Error() string { return e.Text + "; " + e.Remedy }

// Unwrap gives the cause.
func (e *ApplicationError) Unwrap() error { return e.Err }

// accepted notes that a monitor's sign-in works, and makes the flow that says so.
func (m *Manager) accepted(ctx context.Context, mo *monitor, method Method) Flow {
	err := mo.change(ctx, func(r *record) {
		if r.State == StateNeedsAttention || r.State == StateNeedsUpdate {
			r.Status = Status{State: StateAuthorized, Since: time.Now()}
		}
	})
	if err != nil {
		m.log.Warn("monitor cannot be stored yet", "monitor", mo.id, "error", err)
	}
	mo.mu.Lock()
	mo.failures, mo.retryAt, mo.problem = 0, time.Time{}, Problem{}
	mo.mu.Unlock()
	m.changed()
	mo.wake()
	f := newFlow(mo, cmp.Or(method, ByDeviceCode), time.Time{})
	f.State, f.Text, f.ExpiresAt = FlowAuthorized, "the monitor's sign-in is accepted; nobody has to sign in again", time.Time{}
	close(f.done)
	m.mu.Lock()
	m.flows[f.ID] = f
	m.mu.Unlock()
	return f.Flow
}
