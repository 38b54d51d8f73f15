package monitors

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// globalAdministrator is the role template id in the claim "wids" (facts section 12).
	globalAdministrator = "62e90394-69f5-4237-9190-012177145e10"
	neededScope         = "Presence.Read.All"
	// flowsKept is for how long the end of an authorisation can be asked for.
	flowsKept = 24 * time.Hour
)

// Flow shows an authorisation to whoever started it.
type Flow struct {
	ID              string    `json:"id"`
	UPN             string    `json:"upn"`
	ClientID        string    `json:"client_id"` // the application that is signed in for
	Method          Method    `json:"method"`
	State           FlowState `json:"state"`
	Text            string    `json:"text"`
	Code            string    `json:"code,omitempty"` // Entra's, where it said one
	UserCode        string    `json:"user_code,omitempty"`
	VerificationURI string    `json:"verification_uri,omitempty"`
	Message         string    `json:"message,omitempty"` // Entra's own, for the person who signs in
	URL             string    `json:"url,omitempty"`     // where to sign in; whoever has it can end the flow
	ExpiresAt       time.Time `json:"expires_at,omitzero"`
}

// Method is how somebody signs a monitor in.
type Method string

// The methods.
const (
	// ByDeviceCode: a code is entered on Entra's page, on whatever machine.
	ByDeviceCode Method = "device_code"
	// ByRedirect: whoever ordered it signs in now, in a browser.
	ByRedirect Method = "redirect"
	// ByLink: the address is sent to somebody else, who signs in within a day.
	ByLink Method = "copy_url"
)

// flow is an authorisation under way or ended. Its fields are under Manager.mu.
type flow struct {
	Flow
	mo      *monitor
	started time.Time
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when State is no longer pending
	wait    func(ctx context.Context) (Authorization, error)
	// Of a sign-in in a browser. The first answer is taken, any other finds the channel full.
	signIn  SignIn
	answers chan Answer
}

// ErrNotRunning says that an authorisation needs a running Manager, which waits for it.
var ErrNotRunning = errors.New("monitors: not running")

// ErrNoPublicURL says that Graph could not reach us.
var ErrNoPublicURL = errors.New("monitors: public_url is not set, so that Graph cannot reach the bridge; set it and restart before monitors are of use")

// ErrNoSubscriptions says that monitors are of no use in this cloud.
var ErrNoSubscriptions = errors.New("monitors: this cloud has no presence subscriptions, its members are polled; no monitor is needed")

// ErrMethod is about a method that does not exist, or that this bridge is not set up for.
var ErrMethod = errors.New("monitors: this method is not available")

// Authorize starts the sign-in of a monitor and returns what to show to the person who signs in; no method is
// the device code. Without ClientID it is for the first application that needs one. How it goes on is asked with
// [Manager.Authorization] or [Manager.AwaitAuthorization]. A monitor that is authorised already goes on working until
// the new sign-in has succeeded.
func (m *Manager) Authorize(ctx context.Context, o Order) (Flow, error) {
	places, err := m.placesOf(o)
	if err != nil {
		return Flow{}, err
	}
	return m.authorizePlace(ctx, unauthorized(places), o.Method)
}

func (m *Manager) authorizePlace(ctx context.Context, mo *monitor, method Method) (Flow, error) {
	if m.cfg.NoSubscriptions {
		return Flow{}, ErrNoSubscriptions
	}
	if m.cfg.PublicURL == "" {
		return Flow{}, ErrNoPublicURL
	}
	m.mu.Lock()
	running := m.running
	m.mu.Unlock()
	if running == nil {
		return Flow{}, ErrNotRunning
	}
	var f *flow
	var err error
	switch method {
	case "", ByDeviceCode:
		f, err = m.newDeviceFlow(ctx, mo)
	case ByRedirect, ByLink:
		f, err = m.newBrowserFlow(ctx, mo, method)
	default:
		err = fmt.Errorf("%w: %q: give %s, %s or %s", ErrMethod, method, ByDeviceCode, ByRedirect, ByLink)
	}
	if err != nil {
		return Flow{}, err
	}
	shown := f.Flow
	if !m.start(running, mo, f) {
		return Flow{}, ErrNotRunning
	}
	m.log.Info("sign-in of a monitor started", "monitor", mo.id, "method", string(f.Method))
	return shown, nil
}

func newFlow(mo *monitor, method Method, expires time.Time) *flow {
	return &flow{mo: mo, started: time.Now(), done: make(chan struct{}), Flow: Flow{
		ID: rand.Text(), UPN: mo.upn, ClientID: mo.clientID(), Method: method, State: FlowPending, Text: FlowPending.Text(), ExpiresAt: expires.UTC(),
	}}
}

// newDeviceFlow makes a flow that ends when somebody has entered its code. It is stored, sealed, so that it goes on after a
// restart; a store that fails keeps nobody from signing in.
func (m *Manager) newDeviceFlow(ctx context.Context, mo *monitor) (*flow, error) {
	dc, err := mo.graph.StartDeviceCode(ctx, mo.upn)
	if err != nil {
		return nil, fmt.Errorf("monitors: start the sign-in of %s: %w", mo.id, err)
	}
	f := newFlow(mo, ByDeviceCode, dc.ExpiresAt)
	f.await(dc)
	if err := mo.keepSignIn(ctx, f, dc); err != nil {
		m.log.Warn("monitor cannot be stored yet", "monitor", mo.id, "error", err)
	}
	return f, nil
}

// await completes a flow that waits for a code to be entered.
func (f *flow) await(dc DeviceCode) {
	f.UserCode, f.VerificationURI, f.Message, f.wait = dc.UserCode, dc.VerificationURI, dc.Message, dc.Wait
}

// start has a goroutine of its own wait for the end of the flow.
func (m *Manager) start(running context.Context, mo *monitor, f *flow) bool {
	ctx, cancel := context.WithCancelCause(running)
	f.cancel = cancel
	if !m.enter(f, mo) {
		cancel(ErrNotRunning)
		return false
	}
	go func() {
		defer m.flowing.Done()
		defer cancel(nil)
		m.finish(ctx, mo, f, m.signIn(ctx, mo, f))
	}()
	return true
}

// errSuperseded ends an authorisation when a newer one of the same monitor begins.
var errSuperseded = errors.New("superseded")

// enter registers a flow and ends an older one of the same monitor.
func (m *Manager) enter(f *flow, mo *monitor) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running == nil {
		return false
	}
	for id, old := range m.flows {
		if old.State == FlowPending && old.mo == f.mo && old != f {
			old.answers = nil // what comes back now is too late
			old.cancel(errSuperseded)
		}
		if old.State != FlowPending && time.Since(old.started) > flowsKept {
			delete(m.flows, id)
		}
	}
	m.flows[f.ID] = f
	m.flowing.Add(1)
	mo.mu.Lock()
	mo.signIn = f
	mo.mu.Unlock()
	return true
}

// Authorization tells how an authorisation stands; false if there is none of that id.
func (m *Manager) Authorization(id string) (Flow, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, found := m.flows[id]
	if !found {
		return Flow{}, false
	}
	return f.Flow, true
}

// AwaitAuthorization returns when an authorisation has ended, or with ctx's error.
func (m *Manager) AwaitAuthorization(ctx context.Context, id string) (Flow, error) {
	m.mu.Lock()
	f, found := m.flows[id]
	m.mu.Unlock()
	if !found {
		return Flow{}, fmt.Errorf("monitors: no authorisation %q", id)
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return Flow{}, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return f.Flow, nil
}

// ending is how a flow ended.
type ending struct {
	state FlowState
	code  string
	text  string // more than the state's own text
	// stopped: the process ends, which is no end for a sign-in that is stored.
	stopped bool
}

// signIn waits for the person and stores what they bring, if they are the monitor.
func (m *Manager) signIn(ctx context.Context, mo *monitor, f *flow) ending {
	auth, err := f.wait(ctx)
	if err != nil {
		return endingOf(ctx, err)
	}
	if e := vet(mo.upn, auth); e.state != FlowAuthorized {
		return e
	}
	for n := 1; ; n++ {
		if mo.isLeaving() {
			return ending{state: FlowFailed, text: "the monitor was removed"}
		}
		err := mo.authorized(ctx, auth)
		if err == nil {
			return ending{state: FlowAuthorized}
		}
		m.log.Warn("a monitor's sign-in cannot be stored yet", "monitor", mo.id, "error", err)
		if !sleep(ctx, backoff(n, time.Second, 30*time.Second)) {
			return endingOf(ctx, err)
		}
	}
}

func endingOf(ctx context.Context, err error) ending {
	if errors.Is(context.Cause(ctx), errSuperseded) {
		return ending{state: FlowSuperseded}
	}
	if errors.Is(context.Cause(ctx), errRemoved) {
		return ending{state: FlowFailed, text: "the monitor was removed"}
	}
	if ctx.Err() != nil {
		return ending{state: FlowFailed, stopped: true, text: "the bridge was stopped before the sign-in was complete: finish it when the bridge runs again, or start again"}
	}
	var a *AuthError
	if errors.As(err, &a) {
		e := ending{state: a.State, code: a.Code}
		if a.State == FlowFailed {
			e.text = a.Text
			if e.text == "" {
				e.text = causeOf(a.Code, a.Err)
			}
		}
		return e
	}
	e := callError(err)
	return ending{state: FlowFailed, code: e.Code, text: causeOf(e.Code, e)}
}

// causeOf explains a failed sign-in, with the remedy where the code is known.
func causeOf(code string, err error) string {
	if t, known := troubles()[aadsts(code)]; known {
		return t.text + "; " + t.remedy
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// vet decides whether a sign-in may serve as the monitor's.
func vet(upn string, a Authorization) ending {
	if canonicalUPN(a.UPN) != upn {
		return ending{state: FlowWrongUser, text: "it was " + a.UPN + ", and the monitor is " + upn}
	}
	if slices.ContainsFunc(a.DirectoryRoles, func(role string) bool { return strings.EqualFold(role, globalAdministrator) }) {
		return ending{state: FlowAdministrator}
	}
	if a.RefreshToken == "" {
		return ending{state: FlowScopesMissing, text: "the sign-in brought no refresh token: offline_access was not granted"}
	}
	granted := len(a.Scopes) == 0
	for _, s := range a.Scopes {
		// A scope may come with its resource before it: https://graph.microsoft.com/Presence.Read.All.
		granted = granted || strings.EqualFold(s[strings.LastIndexByte(s, '/')+1:], neededScope)
	}
	if !granted {
		return ending{state: FlowScopesMissing}
	}
	return ending{state: FlowAuthorized}
}

// authorized stores a sign-in. A subscription of the same application goes on.
func (mo *monitor) authorized(ctx context.Context, a Authorization) error {
	sealed, err := mo.m.cfg.Sealer.Seal([]byte(a.RefreshToken), mo.sealContext(sealedToken))
	if err != nil {
		return fmt.Errorf("seal the refresh token: %w", err)
	}
	tenant, client, now := mo.m.cfg.TenantID, mo.clientID(), time.Now()
	return mo.change(ctx, func(r *record) {
		if r.State == StateRetired {
			return // removed meanwhile
		}
		if r.TenantID != tenant || r.ClientID != client {
			r.Subscription, r.Asked = nil, nil
		}
		r.Token, r.ObjectID, r.SignedIn = sealed, a.ObjectID, now
		r.TenantID, r.ClientID = tenant, client
		r.SignIn = nil
		if r.State != StateAuthorized {
			r.Status = Status{State: StateAuthorized, Since: now}
		}
	})
}

// finish ends a flow and puts an authorised monitor to work.
func (m *Manager) finish(ctx context.Context, mo *monitor, f *flow, e ending) {
	if !e.stopped {
		mo.forgetSignIn(ctx, f.ID)
	}
	m.mu.Lock()
	f.State, f.Code, f.Text, f.UserCode, f.URL, f.signIn = e.state, e.code, e.state.Text(), "", "", SignIn{}
	if e.text != "" {
		f.Text += ": " + e.text
	}
	m.mu.Unlock()
	mo.mu.Lock()
	if mo.signIn == f {
		mo.signIn = nil
	}
	if e.state == FlowAuthorized {
		mo.failures, mo.retryAt, mo.problem, mo.check = 0, time.Time{}, Problem{}, false
	}
	mo.mu.Unlock()
	if e.state == FlowAuthorized {
		m.log.Info("monitor authorised", "monitor", mo.id)
		m.changed()
		mo.wake()
	} else {
		m.log.Warn("sign-in of a monitor ended without success", "monitor", mo.id, "state", string(e.state), "code", e.code)
	}
	m.metrics.authorizations.WithLabelValues(string(e.state)).Inc()
	close(f.done)
}
