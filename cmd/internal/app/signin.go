package app

import (
	"context"
	"errors"
	"time"

	"presencebridge/bridge/console/client/api"
	"presencebridge/monitors"
	"presencebridge/webhook/signin"
)

// answerMargin is what the owner of an account needs to answer a command before its caller gives up.
const answerMargin = 500 * time.Millisecond

// finishSignIn hands what a browser brought back to the owner of the account: the receiver may run in a process
// that knows no secret of Graph's. It is [signin.Config].Finish.
func (b *backend) finishSignIn(ctx context.Context, account string, answer signin.Answer) (signin.Outcome, error) {
	r, err := b.ask(ctx, account, command{Op: "sign_in", Answer: &answer})
	switch {
	case err != nil:
		return signin.Outcome{}, err
	case r.Authorization == nil:
		return signin.Outcome{}, signin.ErrUnknown
	}
	f := r.Authorization
	return signin.Outcome{
		Done: f.State == string(monitors.FlowAuthorized), Pending: f.Pending(), UPN: f.UPN, Text: f.Message, Code: f.Code,
	}, nil
}

// finishSignIn takes the answer at the owner's. A reply without an authorisation says that none waits for it.
func (a *account) finishSignIn(ctx context.Context, c command) (reply, error) {
	if c.Answer == nil {
		return reply{}, fail("invalid", "the answer is missing")
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-answerMargin))
		defer cancel()
	}
	f, err := a.monitors.FinishSignIn(ctx, monitors.Answer(*c.Answer))
	switch {
	case errors.Is(err, monitors.ErrUnknownSignIn):
		return reply{}, nil
	case err != nil:
		return reply{}, err
	}
	return reply{Authorization: a.authorization(f)}, nil
}

// signInStarted is the reply to an order to sign a monitor in.
func (a *account) signInStarted(upn string, f monitors.Flow, err error) (reply, error) {
	var app *monitors.ApplicationError
	switch {
	case errors.Is(err, monitors.ErrUnknownMonitor):
		return reply{}, a.noMonitor(upn)
	case errors.As(err, &app):
		return reply{}, fail("conflict", "%s", app.Error())
	case errors.Is(err, monitors.ErrMethod), errors.Is(err, monitors.ErrUnknownApplication):
		return reply{}, fail("invalid", "%v", err)
	case errors.Is(err, monitors.ErrNoSubscriptions), errors.Is(err, monitors.ErrNoPublicURL), errors.Is(err, monitors.ErrSecretConfigured):
		return reply{}, fail("conflict", "%v", err)
	case err != nil:
		return reply{}, fail("unavailable", "the sign-in could not be started: %v", err)
	}
	return reply{Authorization: a.authorization(f)}, nil
}

func (a *account) noMonitor(upn string) error {
	return fail("not_found", "%s is not among the account's monitors: add it with presence-bridge monitors add, or to accounts[%s].monitors and restart", upn, a.name)
}

// removeMonitor leaves time to answer when the removal takes longer: it goes on by itself.
func (a *account) removeMonitor(ctx context.Context, upn string) (monitors.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout/2)
	defer cancel()
	return a.monitors.Remove(ctx, upn)
}

func (a *account) retryMonitor(_ context.Context, c command) (reply, error) {
	err := a.monitors.Retry(c.Key)
	for _, in := range a.monitors.Monitors() {
		if err == nil && in.ID == monitors.ID(c.Key) {
			return a.monitorChanged(c.Key, in, nil)
		}
	}
	return a.monitorChanged(c.Key, monitors.Info{}, err)
}

// monitorChanged is the reply to an order about a monitor.
func (a *account) monitorChanged(upn string, in monitors.Info, err error) (reply, error) {
	switch {
	case errors.Is(err, monitors.ErrUnknownMonitor):
		return reply{}, a.noMonitor(upn)
	case errors.Is(err, monitors.ErrUPN), errors.Is(err, monitors.ErrUnknownApplication):
		return reply{}, fail("invalid", "%q: %v", upn, err)
	case errors.Is(err, monitors.ErrKnownMonitor), errors.Is(err, monitors.ErrNoSubscriptions), errors.Is(err, monitors.ErrNoPublicURL),
		errors.Is(err, monitors.ErrRetiring), errors.Is(err, monitors.ErrSecretConfigured), errors.Is(err, monitors.ErrNotSignedIn):
		return reply{}, fail("conflict", "%s: %v", upn, err)
	case err != nil:
		return reply{}, fail("unavailable", "%s: %v", upn, err)
	}
	m := monitorView(in, len(a.graphs))
	return reply{Monitor: &m}, nil
}

// monitorOrder sends an order about a monitor to the owner of the account.
func (b *backend) monitorOrder(ctx context.Context, account string, c command) (api.Monitor, error) {
	r, err := b.ask(ctx, account, c)
	if err != nil || r.Monitor == nil {
		return api.Monitor{}, err
	}
	return *r.Monitor, nil
}

// AddMonitor implements console.Backend.
func (b *backend) AddMonitor(ctx context.Context, account string, in api.AddMonitorRequest) (api.Monitor, error) {
	return b.monitorOrder(ctx, account, command{Op: "add_monitor", Key: in.UPN, ClientID: in.ClientID, Own: in.ClientSecret})
}

// RemoveMonitor implements console.Backend.
func (b *backend) RemoveMonitor(ctx context.Context, account, upn string) (api.Monitor, error) {
	return b.monitorOrder(ctx, account, command{Op: "remove_monitor", Key: upn})
}

// RetryMonitor implements console.Backend.
func (b *backend) RetryMonitor(ctx context.Context, account, upn string) (api.Monitor, error) {
	return b.monitorOrder(ctx, account, command{Op: "retry_monitor", Key: upn})
}

// RenewMonitor implements console.Backend.
func (b *backend) RenewMonitor(ctx context.Context, account, upn string, in api.AuthorizeRequest) (api.Authorization, error) {
	r, err := b.ask(ctx, account, command{Op: "renew", Key: upn, Method: in.Method, ClientID: in.ClientID, Own: in.ClientSecret})
	if err != nil || r.Authorization == nil {
		return api.Authorization{}, err
	}
	return *r.Authorization, nil
}
