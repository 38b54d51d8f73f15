package app

import (
	"context"
	"errors"
	"time"

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
func (a *account) finishSignIn(ctx context.Context, answer *signin.Answer) (reply, error) {
	if answer == nil {
		return reply{}, fail("invalid", "the answer is missing")
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-answerMargin))
		defer cancel()
	}
	f, err := a.monitors.FinishSignIn(ctx, monitors.Answer(*answer))
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
	switch {
	case errors.Is(err, monitors.ErrUnknownMonitor):
		return reply{}, a.noMonitor(upn)
	case errors.Is(err, monitors.ErrMethod):
		return reply{}, fail("invalid", "%v", err)
	case errors.Is(err, monitors.ErrNoSubscriptions):
		return reply{}, fail("conflict", "%v", err)
	case err != nil:
		return reply{}, fail("unavailable", "the sign-in could not be started: %v", err)
	}
	return reply{Authorization: a.authorization(f)}, nil
}

func (a *account) noMonitor(upn string) error {
	return fail("not_found", "%s is not among the account's monitors: add it to accounts[%s].monitors and restart", upn, a.name)
}
