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
	return slices.ContainsFunc(m.cfg.Monitors, func(upn string) bool { return ID(upn) == id })
}

// Add takes a user in as a monitor, or takes back one that was removed. Somebody has to sign in for it then.
func (m *Manager) Add(ctx context.Context, upn string) (Info, error) {
	m.changing.Lock()
	defer m.changing.Unlock()
	running, err := m.runs()
	if err != nil {
		return Info{}, err
	}
	if name, domain, found := strings.Cut(canonicalUPN(upn), "@"); !found || name == "" || domain == "" || strings.ContainsAny(domain, "@/ ") {
		return Info{}, ErrUPN
	}
	mo := newMonitor(m, upn)
	if m.byUPN(upn) != nil {
		return Info{}, ErrKnownMonitor
	}
	if err := mo.succeed(m.retiredByID(mo.id)); err != nil {
		return Info{}, err
	}
	err = mo.change(ctx, func(r *record) { *r = record{UPN: mo.upn, Added: !m.configured(mo.id), Status: unset()} })
	if err != nil {
		return Info{}, err
	}
	m.mu.Lock()
	mons := append(slices.Clone(m.active()), mo)
	m.mons.Store(&mons)
	m.retired = slices.DeleteFunc(slices.Clone(m.retired), func(x *monitor) bool { return x.id == mo.id })
	m.mu.Unlock()
	select {
	case m.joins <- mo:
	case <-running.Done():
		return Info{}, ErrNotRunning
	}
	m.log.Info("monitor added", "monitor", mo.id)
	m.changed()
	return mo.info(time.Now()), nil
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
// free places, or to the sweep. It returns when that is done, or when ctx ends; it goes on then, after a
// restart too.
func (m *Manager) Remove(ctx context.Context, upn string) (Info, error) {
	m.changing.Lock()
	defer m.changing.Unlock()
	if _, err := m.runs(); err != nil {
		return Info{}, err
	}
	mo := m.byUPN(upn)
	if mo == nil {
		return Info{}, ErrUnknownMonitor
	}
	configured := m.configured(mo.id)
	if err := mo.change(ctx, func(r *record) { r.Removed, r.Added, r.SignIn = configured, false, nil }); err != nil {
		// It is stored with the next change, at the latest when the secrets are wiped.
		m.log.Warn("monitor cannot be stored yet", "monitor", mo.id, "error", err)
	}
	mo.mu.Lock()
	mo.leaving, mo.signIn = true, nil
	mo.mu.Unlock()
	m.changed() // a spare takes the shard as it is
	m.mu.Lock()
	for _, f := range m.flows {
		if f.State == FlowPending && f.UPN == mo.upn {
			f.answers = nil
			f.cancel(errRemoved)
		}
	}
	mons := slices.DeleteFunc(slices.Clone(m.active()), func(x *monitor) bool { return x == mo })
	m.mons.Store(&mons)
	m.retired = append(slices.Clone(m.retired), mo)
	m.mu.Unlock()
	m.changed()
	mo.wake()
	m.log.Info("monitor removed", "monitor", mo.id)
	select {
	case <-mo.gone:
	case <-ctx.Done():
	}
	return mo.info(time.Now()), nil
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
	bare := newMonitor(mo.m, mo.upn)
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
// another application. Where its sign-in is accepted with that, nobody needs to sign in, and the flow has
// ended already; otherwise it is the beginning of a sign-in, as with [Manager.Authorize].
func (m *Manager) Renew(ctx context.Context, upn string, method Method) (Flow, error) {
	if _, err := m.runs(); err != nil {
		return Flow{}, err
	}
	mo := m.byUPN(upn)
	if mo == nil {
		return Flow{}, ErrUnknownMonitor
	}
	mo.mu.Lock()
	mine := len(mo.rec.Token) > 0 && mo.rec.TenantID == m.cfg.TenantID && mo.rec.ClientID == m.cfg.ClientID
	mo.mu.Unlock()
	if !mine {
		return m.Authorize(ctx, upn, method)
	}
	err := mo.delegated.Refresh(ctx)
	if err == nil {
		return m.accepted(ctx, mo, method), nil
	}
	e := callError(err)
	t := diagnose(e)
	switch {
	case e.Kind != Unauthorised && e.Kind != Consent:
		return Flow{}, fmt.Errorf("monitors: renew %s: %w", mo.id, err)
	case t.ofApplication:
		// No sign-in can succeed either.
		return Flow{}, &ApplicationError{Code: t.code, Text: t.text, Remedy: t.remedy, Err: err}
	}
	return m.Authorize(ctx, upn, method)
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
