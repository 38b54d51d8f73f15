package monitors

import (
	"context"
	"errors"
)

// appOf is the tenant as one of its applications, for one monitor's credential.
type appOf struct {
	*tenant
	suffix string // of the owners of its subscriptions; "" for the first application
	own    func() (Own, error)
}

// app is a further application. Its subscriptions belong to "<upn>#<name>".
func (g *tenant) app(name string) Graph { return &appOf{tenant: g, suffix: "#" + name} }

func (g *tenant) As(own func() (Own, error)) Graph { return &appOf{tenant: g, own: own} }

func (a *appOf) As(own func() (Own, error)) Graph {
	return &appOf{tenant: a.tenant, suffix: a.suffix, own: own}
}

func (a *appOf) Delegated(upn string, store TokenStore) Delegated {
	d := a.tenant.Delegated(upn+a.suffix, store)
	if s, ok := d.(*signedIn); ok {
		s.own = a.own
	}
	return d
}

func (a *appOf) RedeemCode(ctx context.Context, s SignIn, answer Answer) (Authorization, error) {
	if err := a.tenant.checkOwn(a.own); err != nil {
		return Authorization{}, &AuthError{State: FlowFailed, Code: err.Code, Err: err}
	}
	return a.tenant.RedeemCode(ctx, s, answer)
}

func (a *appOf) Credentials(ctx context.Context) ([]Credential, error) {
	list, err := a.tenant.Credentials(ctx)
	if a.own == nil {
		return list, err
	}
	own, _ := a.own()
	for i := range list {
		list[i].InUse = list[i].Name == own.Secret
	}
	return list, err
}

// checkOwn refuses a monitor's own secret that Entra does not know.
func (g *tenant) checkOwn(own func() (Own, error)) *CallError {
	if own == nil {
		return nil
	}
	o, err := own()
	if err != nil {
		return &CallError{Kind: Unauthorised, Code: "credential_unreadable", Text: err.Error(), Err: err}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.secretsUsed = append(g.secretsUsed, o.Secret)
	if o.Secret != "" && !g.secrets[o.Secret] {
		return &CallError{Kind: Unauthorised, Code: "AADSTS7000215", Err: errors.New("invalid_client")}
	}
	return nil
}

func (g *tenant) ResumeDeviceCode(saved DeviceCode) DeviceCode {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls["resume"]++
	saved.Wait = g.signIn
	if saved.Code != "secret-device-code" {
		saved.Wait = func(context.Context) (Authorization, error) {
			return Authorization{}, &AuthError{State: FlowBadCode, Err: errNet}
		}
	}
	return saved
}
