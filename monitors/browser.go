package monitors

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrUnknownSignIn is about a state that no sign-in under way has: it is over, was superseded, or never was.
var ErrUnknownSignIn = errors.New("monitors: no sign-in waits for this")

// newBrowserFlow makes a flow that a browser ends. It is stored, sealed, before anybody learns its address, so
// that it can be finished after a restart too.
func (m *Manager) newBrowserFlow(ctx context.Context, mo *monitor, method Method) (*flow, error) {
	if m.cfg.NewSignInState == nil || m.cfg.PublicURL == "" {
		return nil, fmt.Errorf("%w: signing in with a browser needs public_url", ErrMethod)
	}
	state, err := m.cfg.NewSignInState()
	if err != nil {
		return nil, fmt.Errorf("monitors: make the state of a sign-in: %w", err)
	}
	life := m.cfg.SignInTime
	if method == ByLink {
		life = m.cfg.LinkTime
	}
	f := newFlow(mo, method, time.Now().Add(life))
	// 260 bits in 52 characters (RFC 7636 section 4.1 wants 43 to 128).
	s := SignIn{State: state, Verifier: rand.Text() + rand.Text(), RedirectURI: m.redirectURI()}
	if err := mo.keepSignIn(ctx, f, s); err != nil {
		return nil, err
	}
	m.browse(mo, f, s)
	return f, nil
}

// keepSignIn stores a sign-in that is about to begin, sealed.
func (mo *monitor) keepSignIn(ctx context.Context, f *flow, secret any) error {
	plain, err := json.Marshal(secret)
	if err != nil {
		return fmt.Errorf("monitors: encode a sign-in: %w", err)
	}
	sealed, err := mo.m.cfg.Sealer.Seal(plain, mo.sealContext(sealedSignIn))
	if err != nil {
		return fmt.Errorf("monitors: seal a sign-in: %w", err)
	}
	p := pendingSignIn{ID: f.ID, Method: f.Method, Sealed: sealed, Started: f.started, Expires: f.ExpiresAt,
		TenantID: mo.m.cfg.TenantID, ClientID: mo.clientID()}
	if err := mo.change(ctx, func(r *record) { r.SignIn = &p }); err != nil {
		return fmt.Errorf("monitors: store a sign-in: %w", err)
	}
	return nil
}

// browse completes a flow that waits for a browser.
func (m *Manager) browse(mo *monitor, f *flow, s SignIn) {
	answers := make(chan Answer, 1)
	f.signIn, f.answers = s, answers
	f.URL = mo.graph.SignInURL(s, mo.upn)
	f.wait = func(ctx context.Context) (Authorization, error) {
		t := time.NewTimer(time.Until(f.ExpiresAt))
		defer t.Stop()
		select {
		case a := <-answers:
			return mo.graph.RedeemCode(ctx, s, a)
		case <-t.C:
			return Authorization{}, &AuthError{State: FlowExpired, Err: errors.New("nobody came back in time")}
		case <-ctx.Done():
			return Authorization{}, ctx.Err()
		}
	}
}

// FinishSignIn takes what a browser brought back, and returns when it is known what comes of it, or when ctx ends;
// the flow is then pending still and goes on. Each sign-in takes one answer.
func (m *Manager) FinishSignIn(ctx context.Context, a Answer) (Flow, error) {
	f, answers := m.takeByState(a.State)
	if f == nil {
		return Flow{}, ErrUnknownSignIn
	}
	answers <- a // there is room for one
	select {
	case <-f.done:
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return f.Flow, nil
}

// takeByState finds the flow that waits for a state, which waits for nothing more then.
func (m *Manager) takeByState(state string) (*flow, chan<- Answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running == nil {
		return nil, nil
	}
	for _, f := range m.flows {
		if f.State == FlowPending && f.answers != nil && subtle.ConstantTimeCompare([]byte(f.signIn.State), []byte(state)) == 1 {
			answers := f.answers
			f.answers = nil
			return f, answers
		}
	}
	return nil, nil
}

// forgetSignIn takes a stored sign-in that is over out of the record. If the store fails, that goes out with the
// next change: until then a restart would wait for it once more, and Entra would refuse its code.
func (mo *monitor) forgetSignIn(ctx context.Context, id string) {
	mo.mu.Lock()
	stored := mo.rec.SignIn != nil && mo.rec.SignIn.ID == id
	mo.mu.Unlock()
	if !stored {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := mo.change(ctx, func(r *record) {
		if r.SignIn != nil && r.SignIn.ID == id {
			r.SignIn = nil
		}
	})
	if err != nil {
		mo.m.log.Warn("monitor cannot be stored yet", "monitor", mo.id, "error", err)
	}
}

// resumeSignIns goes on waiting for the sign-ins that were under way when the bridge stopped.
func (m *Manager) resumeSignIns(running context.Context) {
	for _, mo := range m.active() {
		mo.mu.Lock()
		p := mo.rec.SignIn
		mo.mu.Unlock()
		if p == nil {
			continue
		}
		f := &flow{mo: mo, started: p.Started, done: make(chan struct{}), Flow: Flow{
			ID: p.ID, UPN: mo.upn, ClientID: mo.clientID(), Method: p.Method, State: FlowPending, Text: FlowPending.Text(), ExpiresAt: p.Expires.UTC(),
		}}
		if err := m.resume(mo, f, p); err != nil {
			f.wait = func(context.Context) (Authorization, error) { return Authorization{}, err }
		}
		if m.start(running, mo, f) {
			m.log.Info("sign-in of a monitor goes on after a restart", "monitor", mo.id, "method", string(p.Method))
		}
	}
}

// resume completes the flow of a stored sign-in, unless nobody can finish it any more.
func (m *Manager) resume(mo *monitor, f *flow, p *pendingSignIn) error {
	if p.Method == ByDeviceCode {
		var dc DeviceCode
		if err := mo.openSignIn(p, &dc); err != nil {
			return err
		}
		f.await(mo.graph.ResumeDeviceCode(dc))
		return nil
	}
	var s SignIn
	if err := mo.openSignIn(p, &s); err != nil {
		return err
	}
	if s.RedirectURI != m.redirectURI() {
		return configurationChanged()
	}
	m.browse(mo, f, s)
	return nil
}

func configurationChanged() error {
	return &AuthError{State: FlowFailed, Text: "tenant_id, client_id or public_url was changed meanwhile; start again", Err: errors.New("configuration changed")}
}

// openSignIn opens a stored sign-in.
func (mo *monitor) openSignIn(p *pendingSignIn, secret any) error {
	plain, err := mo.m.cfg.Sealer.Open(p.Sealed, mo.sealContext(sealedSignIn))
	if err == nil {
		err = json.Unmarshal(plain, secret)
	}
	switch {
	case err != nil:
		return &AuthError{State: FlowFailed, Text: "it was stored under another master key; start again", Err: err}
	case mo.m.cfg.NoSubscriptions, p.TenantID != mo.m.cfg.TenantID, p.ClientID != mo.clientID():
		return configurationChanged()
	}
	return nil
}
