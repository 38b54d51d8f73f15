package monitors

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Graph allows one presence subscription for each application and signed-in user. So an account with several applications has
// several places for each monitor, one per application, and each is a monitor of its own to the rest of this package:
// with its own sign-in, state, token and subscription.

// Application is an app registration of the account.
type Application struct {
	ClientID string
	Graph    Graph
}

// Own is a credential of the application that belongs to one monitor; the zero value is none. Secret.
type Own struct {
	Secret              string
	Certificate         []byte // PEM or PKCS#12
	CertificatePassword string
}

// String tells nothing of it.
func (Own) String() string { return "own credential" }

// GoString does not either.
func (o Own) GoString() string { return o.String() }

// Order says what an administrator wants done with a monitor.
type Order struct {
	UPN string
	// ClientID is the application that is meant; empty: see each method.
	ClientID string
	Method   Method
	// Secret is a client secret of the application for this monitor alone. Empty: none is given.
	Secret string
}

// String does not tell the secret.
func (o Order) String() string { return "order about a monitor" }

// GoString does not either.
func (o Order) GoString() string { return o.String() }

// placeID is how a monitor is called in keys, logs and metrics: its ID for the first application, and with the
// application's number for another one.
func placeID(upn string, app int) string {
	if app == 0 {
		return ID(upn)
	}
	return ID(upn) + "-" + strconv.Itoa(app+1)
}

// placeOf is the application that a key of the bucket is about, if it is the monitor's.
func placeOf(upn, key string) (app int, ok bool) {
	rest, ok := strings.CutPrefix(key, ID(upn))
	if !ok {
		return 0, false
	}
	if rest == "" {
		return 0, true
	}
	n, err := strconv.Atoi(strings.TrimPrefix(rest, "-"))
	if err != nil || n < 2 || placeID(upn, n-1) != key {
		return 0, false
	}
	return n - 1, true
}

// apps are the account's applications, the first one first.
func (m *Manager) apps() []Application {
	return append([]Application{{ClientID: m.cfg.ClientID, Graph: m.cfg.Graph}}, m.cfg.More...)
}

// clientID is the application that the monitor's place is for; "" if there is none of that number any more.
func (mo *monitor) clientID() string {
	if apps := mo.m.apps(); mo.app < len(apps) {
		return apps[mo.app].ClientID
	}
	return ""
}

// places are the monitor's, in the order of the applications; none if it is not configured.
func (m *Manager) places(upn string) []*monitor {
	var out []*monitor
	for _, mo := range m.active() {
		if mo.upn == canonicalUPN(upn) {
			out = append(out, mo)
		}
	}
	return out
}

// ErrUnknownApplication is about a client id that the account has not.
var ErrUnknownApplication = errors.New("monitors: the account has no application of this client_id")

// placesOf are the places that an order is about.
func (m *Manager) placesOf(o Order) ([]*monitor, error) {
	all := m.places(o.UPN)
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: add it under accounts.monitors of account %s", ErrUnknownMonitor, m.cfg.Account)
	}
	if o.ClientID == "" {
		return all, nil
	}
	for _, mo := range all {
		if strings.EqualFold(mo.clientID(), o.ClientID) {
			return []*monitor{mo}, nil
		}
	}
	return nil, fmt.Errorf("%w: see graph.client_id and graph.applications of account %s", ErrUnknownApplication, m.cfg.Account)
}

// isAuthorized tells whether the place's sign-in is good as far as is known.
func (mo *monitor) isAuthorized() bool {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	return mo.rec.State == StateAuthorized
}

// unauthorized is the place that a sign-in is for if nobody says which: the first that needs one and for which none is
// under way, else the first that needs one, else the first.
func unauthorized(places []*monitor) *monitor {
	var waiting *monitor
	for _, mo := range places {
		if mo.isAuthorized() {
			continue
		}
		mo.mu.Lock()
		busy := mo.signIn != nil
		mo.mu.Unlock()
		if !busy {
			return mo
		}
		if waiting == nil {
			waiting = mo
		}
	}
	if waiting != nil {
		return waiting
	}
	return places[0]
}

// ErrSecretConfigured is about a secret for a monitor whose own one comes from the configuration.
var ErrSecretConfigured = errors.New("monitors: the monitor's own secret is in the configuration: put the new one into the file that accounts[].monitors[].client_secret_file names")

// configuredOwn reads the credential that the configuration has for the monitor: one of the first application.
func (mo *monitor) configuredOwn() (source func() (Own, error), ok bool) {
	if mo.app != 0 {
		return nil, false
	}
	source, ok = mo.m.cfg.Own[mo.upn]
	return source, ok
}

// own is the credential that the monitor's tokens are fetched with, the zero one for the application's common one: what the
// configuration says, else what an administrator gave.
func (mo *monitor) own() (Own, error) {
	if source, ok := mo.configuredOwn(); ok {
		return source()
	}
	mo.mu.Lock()
	sealed, of := mo.rec.Own, mo.rec.OwnOf
	mo.mu.Unlock()
	if len(sealed) == 0 || !strings.EqualFold(of, mo.clientID()) {
		return Own{}, nil
	}
	plain, err := mo.m.cfg.Sealer.Open(sealed, mo.sealContext(sealedSecret))
	if err != nil {
		return Own{}, fmt.Errorf("it was sealed under another master key; give it again: presence-bridge monitors renew UPN --client-secret-file FILE: %w", err)
	}
	return Own{Secret: string(plain)}, nil
}

// hasOwn tells whether there is such a credential.
func (mo *monitor) hasOwn() bool {
	if _, ok := mo.configuredOwn(); ok {
		return true
	}
	mo.mu.Lock()
	defer mo.mu.Unlock()
	return len(mo.rec.Own) > 0 && strings.EqualFold(mo.rec.OwnOf, mo.clientID())
}

// sealSecret makes the change to the record that stores a secret of the monitor's own.
func (mo *monitor) sealSecret(secret string) (func(*record), error) {
	if _, ok := mo.configuredOwn(); ok {
		return nil, ErrSecretConfigured
	}
	sealed, err := mo.m.cfg.Sealer.Seal([]byte(secret), mo.sealContext(sealedSecret))
	if err != nil {
		return nil, fmt.Errorf("monitors: seal a client secret: %w", err)
	}
	of := mo.clientID()
	return func(r *record) { r.Own, r.OwnOf = sealed, of }, nil
}

// takeSecret stores a new secret of the monitor's own and returns how to take it back.
func (mo *monitor) takeSecret(ctx context.Context, secret string) (undo func(context.Context) error, err error) {
	set, err := mo.sealSecret(secret)
	if err != nil {
		return nil, err
	}
	mo.mu.Lock()
	before, of := mo.rec.Own, mo.rec.OwnOf
	mo.mu.Unlock()
	if err := mo.change(ctx, set); err != nil {
		return nil, fmt.Errorf("monitors: store a client secret: %w", err)
	}
	return func(ctx context.Context) error {
		return mo.change(ctx, func(r *record) { r.Own, r.OwnOf = before, of })
	}, nil
}

// nobody is signed in for an application that the account has no longer.
type nobody struct{}

func (nobody) refuse() error {
	return &CallError{Kind: Unauthorised, Code: "application_gone", Err: errors.New("the application is no longer configured")}
}

func (n nobody) CreateSubscription(context.Context, SubscriptionRequest) (Subscription, error) {
	return Subscription{}, n.refuse()
}

func (n nobody) RenewSubscription(context.Context, string, time.Time) (Subscription, error) {
	return Subscription{}, n.refuse()
}

func (n nobody) ListSubscriptions(context.Context) ([]Subscription, error) { return nil, n.refuse() }
func (n nobody) DeleteSubscription(context.Context, string) error          { return n.refuse() }
func (n nobody) Refresh(context.Context) error                             { return n.refuse() }
