package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"presencebridge/bridge/console"
	"presencebridge/bridge/console/client/api"
	"presencebridge/monitors"
	"presencebridge/webhook/signin"
)

// command is what an administrator orders, on its way to the owner of the account (cmd.v1.<account>).
type command struct {
	Op        string                  `json:"op"`
	Key       string                  `json:"key,omitempty"` // a member's id, UPN or mail; a monitor's UPN; an id of a sign-in or job
	Query     *console.MemberQuery    `json:"query,omitempty"`
	Directory *console.DirectoryQuery `json:"directory,omitempty"`
	Method    api.Method              `json:"method,omitempty"` // of a sign-in
	Answer    *signin.Answer          `json:"answer,omitempty"` // what a browser brought back from one
	WaitMS    int64                   `json:"wait_ms,omitempty"`
	// ClientID is the application that an order about a monitor means, and Own a client secret of it for the monitor alone.
	ClientID string `json:"client_id,omitempty"`
	Own      string `json:"own,omitempty"`
	Since    int    `json:"since,omitempty"` // changes of a resync, or differences of a replay, that were told already

	Replay  *api.ReplayRequest `json:"replay,omitempty"`
	Explain *explainQuery      `json:"explain,omitempty"`
}

// order is what the command wants done with a monitor.
func (c command) order() monitors.Order {
	return monitors.Order{UPN: c.Key, ClientID: c.ClientID, Method: monitors.Method(c.Method), Secret: c.Own}
}

// String does not tell the secret and the answer.
func (c command) String() string { return "command " + c.Op }

// GoString does not either.
func (c command) GoString() string { return c.String() }

// reply answers a command.
type reply struct {
	Error         *replyError        `json:"error,omitempty"`
	Account       *api.Account       `json:"account,omitempty"`
	Members       *api.Members       `json:"members,omitempty"`
	Directory     *api.Directory     `json:"directory,omitempty"`
	Member        *api.Member        `json:"member,omitempty"`
	Monitors      []api.Monitor      `json:"monitors,omitempty"`
	Monitor       *api.Monitor       `json:"monitor,omitempty"`
	Authorization *api.Authorization `json:"authorization,omitempty"`
	Resync        *resyncState       `json:"resync,omitempty"`
	Replay        *replayState       `json:"replay,omitempty"`

	Resealed    *api.Resealed            `json:"resealed,omitempty"`
	Certificate *api.CertificateRotation `json:"certificate,omitempty"`
	Probe       *api.Probe               `json:"probe,omitempty"`
	PBXs        []api.PBXCheck           `json:"pbxs,omitempty"`
	Explanation *api.Explanation         `json:"explanation,omitempty"`
}

// own notes in a reply which replica owns the account.
func (r *reply) own(id string) {
	if r.Account != nil {
		r.Account.Owner = id
	}
	if r.Members != nil {
		for i := range r.Members.Members {
			r.Members.Members[i].Owner = id
		}
	}
	if r.Member != nil {
		r.Member.Owner = id
	}
	for i := range r.Monitors {
		r.Monitors[i].Owner = id
	}
	if r.Monitor != nil {
		r.Monitor.Owner = id
	}
}

// replyError is an error on its way back; its kind decides about the status that the caller sees.
type replyError struct {
	Kind string `json:"kind"` // not_found, conflict, invalid, unavailable, or internal
	Text string `json:"text"`
	// Candidates are keys that exist, where one did not, or that it could mean.
	Candidates []string `json:"candidates,omitempty"`
}

func (e *replyError) Error() string { return e.Text }

func fail(kind, format string, args ...any) error {
	return &replyError{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// command carries one out. While another replica may own the account it says nothing: that one answers.
func (a *account) command(ctx context.Context, req []byte) []byte {
	if !a.mayAct() {
		return nil
	}
	var (
		c command
		r reply
	)
	err := json.Unmarshal(req, &c)
	if err == nil {
		r, err = a.carryOut(ctx, c)
		r.own(a.app.id)
	}
	if err != nil {
		var re *replyError
		if !errors.As(err, &re) {
			re = &replyError{Kind: "internal", Text: err.Error()}
		}
		r = reply{Error: re}
	}
	data, err := json.Marshal(r)
	if err != nil {
		a.log.Error("answer to a command cannot be written", "op", c.Op, "error", err)
		return []byte(`{"error":{"kind":"internal","text":"the answer could not be written"}}`)
	}
	return data
}

func (a *account) carryOut(ctx context.Context, c command) (reply, error) {
	do, ok := orders()[c.Op]
	if !ok {
		return reply{}, fail("invalid", "this replica does not know the command %q", c.Op)
	}
	return do(a, ctx, c)
}

// startingUp is how often the monitors are asked again whether they run by now.
const startingUp = 50 * time.Millisecond

// whenRunning tries again what comes in the moment between the first answer of a starting bridge and its monitors.
func whenRunning[T any](ctx context.Context, f func() (T, error)) (T, error) {
	ticker := time.NewTicker(startingUp)
	defer ticker.Stop()
	for {
		v, err := f()
		if !errors.Is(err, monitors.ErrNotRunning) {
			return v, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return v, err
		}
	}
}

// awaitAuthorization waits a moment for news: the caller asks again.
func (a *account) awaitAuthorization(ctx context.Context, c command) (reply, error) {
	f, ok := a.monitors.Authorization(c.Key)
	if !ok {
		return reply{}, fail("not_found", "there is no sign-in %s: it may have been superseded, or the bridge was restarted", c.Key)
	}
	if f.State == monitors.FlowPending && c.WaitMS > 0 {
		wctx, cancel := context.WithTimeout(ctx, time.Duration(c.WaitMS)*time.Millisecond)
		defer cancel()
		if later, err := a.monitors.AwaitAuthorization(wctx, c.Key); err == nil {
			f = later
		}
	}
	return reply{Authorization: a.authorization(f)}, nil
}

func (a *account) authorization(f monitors.Flow) *api.Authorization {
	out := &api.Authorization{ID: f.ID, Account: a.name, UPN: f.UPN, ClientID: f.ClientID, Method: api.Method(f.Method), State: string(f.State), Code: f.Code, Message: f.Text}
	if f.State == monitors.FlowPending {
		out.UserCode, out.VerificationURI, out.URL, out.ExpiresAt = f.UserCode, f.VerificationURI, f.URL, f.ExpiresAt
	}
	return out
}
