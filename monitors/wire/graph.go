// Package wire joins package monitors to the real Graph client and to the real bus. It translates words
// and errors, and decides nothing. It is apart from monitors so that monitors is built and tested without
// the SDK and without a NATS server.
package wire

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge/presence"
	"presencebridge/graph"
	"presencebridge/monitors"
)

// Graph is the client in the words of package monitors.
func Graph(c *graph.Client) monitors.Graph { return client{c} }

type client struct{ c *graph.Client }

// Reads is the account's bulk reads, within the sweep's share of each application's budget.
func Reads(r *graph.Readers) monitors.Reads { return reads{r} }

type reads struct{ r *graph.Readers }

// Presences reads in bulk.
func (g reads) Presences(ctx context.Context, ids []string) (map[string]presence.Shown, error) {
	list, err := g.r.Presences(graph.WithPriority(ctx, graph.PrioritySweep), ids)
	if err != nil {
		return nil, callError(err)
	}
	out := make(map[string]presence.Shown, len(list))
	for _, p := range list {
		out[strings.ToLower(p.UserID)] = p.Shown()
	}
	return out, nil
}

// StartDeviceCode begins a sign-in.
func (g client) StartDeviceCode(ctx context.Context, upn string) (monitors.DeviceCode, error) {
	dc, err := g.c.StartDeviceCodeFor(ctx, upn)
	if err != nil {
		return monitors.DeviceCode{}, callError(err)
	}
	return deviceCode(dc), nil
}

// ResumeDeviceCode goes on with a sign-in.
func (g client) ResumeDeviceCode(saved monitors.DeviceCode) monitors.DeviceCode {
	return deviceCode(g.c.ResumeDeviceCode(graph.SavedDeviceCode{
		UserCode: saved.UserCode, VerificationURI: saved.VerificationURI, Message: saved.Message, ExpiresAt: saved.ExpiresAt,
		Code: saved.Code, Interval: saved.Interval,
	}))
}

func deviceCode(dc *graph.DeviceCode) monitors.DeviceCode {
	saved := dc.Save()
	return monitors.DeviceCode{
		UserCode: saved.UserCode, VerificationURI: saved.VerificationURI, Message: saved.Message, ExpiresAt: saved.ExpiresAt,
		Code: saved.Code, Interval: saved.Interval,
		Wait: func(ctx context.Context) (monitors.Authorization, error) {
			a, err := dc.Wait(ctx)
			return authorization(a, err)
		},
	}
}

// As is the same application with a credential of one monitor's own.
func (g client) As(own func() (monitors.Own, error)) monitors.Graph {
	return client{g.c.As(func() (graph.Own, error) {
		o, err := own()
		return graph.Own(o), err
	})}
}

// Credentials reads when the application's credentials end.
func (g client) Credentials(ctx context.Context) ([]monitors.Credential, error) {
	list, err := g.c.Credentials(ctx)
	out := make([]monitors.Credential, 0, len(list))
	for _, c := range list {
		out = append(out, monitors.Credential{Kind: string(c.Kind), KeyID: c.KeyID, Name: c.Name, Expires: c.Expires, InUse: c.InUse})
	}
	return out, callError(err)
}

// SignInURL is where to sign in with a browser.
func (g client) SignInURL(s monitors.SignIn, upn string) string {
	return g.c.AuthCodeURL(graph.AuthCode(s), upn)
}

// RedeemCode ends such a sign-in.
func (g client) RedeemCode(ctx context.Context, s monitors.SignIn, a monitors.Answer) (monitors.Authorization, error) {
	if a.Code == "" || a.Error != "" {
		return monitors.Authorization{}, authError(graph.RefusedSignIn(a.Error, a.Description))
	}
	got, err := g.c.RedeemCode(ctx, graph.AuthCode(s), a.Code)
	return authorization(got, err)
}

func authorization(a graph.Authorization, err error) (monitors.Authorization, error) {
	if err != nil {
		return monitors.Authorization{}, authError(err)
	}
	return monitors.Authorization{
		UPN: a.UPN, ObjectID: a.ObjectID, RefreshToken: a.RefreshToken, Scopes: a.Scopes, DirectoryRoles: a.DirectoryRoles,
	}, nil
}

// Delegated is the client as one signed-in user.
func (g client) Delegated(upn string, store monitors.TokenStore) monitors.Delegated {
	return delegated{g.c.Delegated(upn, store)}
}

type delegated struct{ d *graph.Delegated }

// CreateSubscription makes a presence subscription.
func (d delegated) CreateSubscription(ctx context.Context, r monitors.SubscriptionRequest) (monitors.Subscription, error) {
	s, err := d.d.CreateSubscription(ctx, graph.SubscriptionRequest{
		UserIDs: r.UserIDs, NotificationURL: r.NotificationURL, LifecycleURL: r.LifecycleURL, ClientState: r.ClientState,
		Expiration: r.Expiration, EncryptionCertificate: r.EncryptionCertificate, EncryptionCertificateID: r.EncryptionCertificateID,
	})
	return subscription(s), callError(err)
}

// RenewSubscription extends one.
func (d delegated) RenewSubscription(ctx context.Context, id string, until time.Time) (monitors.Subscription, error) {
	s, err := d.d.RenewSubscription(ctx, id, until)
	return subscription(s), callError(err)
}

// ListSubscriptions lists those of presence; what else the application has made for the user is not ours.
func (d delegated) ListSubscriptions(ctx context.Context) ([]monitors.Subscription, error) {
	list, err := d.d.ListSubscriptions(ctx)
	if err != nil {
		return nil, callError(err)
	}
	var out []monitors.Subscription
	for _, s := range list {
		if s.IsPresence() {
			out = append(out, subscription(s))
		}
	}
	return out, nil
}

// DeleteSubscription deletes one.
func (d delegated) DeleteSubscription(ctx context.Context, id string) error {
	return callError(d.d.DeleteSubscription(ctx, id))
}

// Refresh checks the sign-in.
func (d delegated) Refresh(ctx context.Context) error { return callError(d.d.Refresh(ctx)) }

func subscription(s graph.Subscription) monitors.Subscription {
	return monitors.Subscription{
		ID: s.ID, Expiration: s.Expiration, NotificationURL: s.NotificationURL, CertificateID: s.EncryptionCertificateID,
		UserIDs: watched(s.Resource),
	}
}

// idPattern finds the users in a resource: communications/presences?$filter=id in ('a','b'), or
// communications/presences/a.
var idPattern = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// watched are the users that a resource names, whatever its encoding; nil if it names none. Ids are
// GUIDs, of whose characters none is ever escaped.
func watched(resource string) []string {
	ids := idPattern.FindAllString(strings.ToLower(resource), -1)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// callError translates an error of the client. It returns an error type that may be nil.
func callError(err error) error {
	if err == nil {
		return nil
	}
	e := &monitors.CallError{Kind: monitors.Transient, Err: err}
	var g *graph.Error
	if !errors.As(err, &g) {
		return e
	}
	e.Code, e.Text, e.RetryAfter = g.Code, g.Message, g.RetryAfter
	switch g.Kind {
	case graph.Transient:
		e.Kind = monitors.Transient
	case graph.Throttled:
		e.Kind = monitors.Throttled
	case graph.Unauthorised:
		e.Kind = monitors.Unauthorised
	case graph.ConsentMissing:
		e.Kind = monitors.Consent
	case graph.Gone:
		e.Kind = monitors.Gone
	case graph.Conflict:
		e.Kind = monitors.Conflict
	case graph.Refused:
		e.Kind = monitors.Refused
	}
	return e
}

// authError translates what a sign-in ended with.
func authError(err error) error {
	var a *graph.AuthorizationError
	if !errors.As(err, &a) {
		return callError(err)
	}
	state := monitors.FlowFailed
	switch a.State {
	case graph.AuthorizationDeclined:
		state = monitors.FlowDeclined
	case graph.AuthorizationExpired:
		state = monitors.FlowExpired
	case graph.AuthorizationBadCode:
		state = monitors.FlowBadCode
	case graph.AuthorizationPending, graph.AuthorizationFailed:
	}
	return &monitors.AuthError{State: state, Code: a.Code, Text: a.Text, Err: err}
}
