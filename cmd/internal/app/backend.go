package app

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"presencebridge/bridge/bus"
	"presencebridge/bridge/console"
	"presencebridge/bridge/console/client/api"
)

const (
	// commandTimeout bounds a command that does not wait for anything.
	commandTimeout = 10 * time.Second
	// listTimeout bounds the listing of all accounts, asksAtOnce how many owners are asked side by side.
	listTimeout = 5 * time.Second
	asksAtOnce  = 32
	// startPatience is how long a question waits for the accounts that this process is starting.
	startPatience = time.Minute
	// waitSlice is how long the owner of an account is asked to wait for news at a time.
	waitSlice = 2 * time.Second
	// resyncPoll is how often a resync is asked how far it is.
	resyncPoll = 200 * time.Millisecond
)

// backend is the bridge as the admin listener sees it: whatever concerns an account is asked of its owner over
// the bus, be it this process or another.
type backend struct{ app *App }

// ask sends a command to the owner of an account.
func (b *backend) ask(ctx context.Context, account string, c command) (reply, error) {
	return b.askWithin(ctx, commandTimeout, account, c)
}

// askWithin is ask for what may take longer.
func (b *backend) askWithin(ctx context.Context, within time.Duration, account string, c command) (reply, error) {
	if !b.configured(account) {
		return reply{}, console.NotFound("there is no account %q; GET /api/v1/accounts lists them", account)
	}
	req, err := json.Marshal(c)
	if err != nil {
		return reply{}, err
	}
	send := func() ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		return b.app.bus.Command(ctx, account, req)
	}
	data, err := send()
	if errors.Is(err, bus.ErrNoOwner) && b.awaitStart(ctx) {
		data, err = send()
	}
	switch {
	case errors.Is(err, bus.ErrNoOwner):
		return reply{}, console.Unavailable("no replica runs the account %s at the moment; another one takes over within 15 s if a process with the role engine is up: try again then, or look at /readyz of the replicas", account)
	case errors.Is(err, bus.ErrBusy), errors.Is(err, context.DeadlineExceeded):
		return reply{}, console.Unavailable("the owner of the account %s does not answer: %v; try again in a moment, when it or another replica does", account, err)
	case errors.Is(err, bus.ErrUnavailable), errors.Is(err, bus.ErrClosed):
		return reply{}, console.Unavailable("the account %s cannot be asked, since the bus does not answer: %v; see the check \"bus\" of /readyz", account, err)
	case err != nil:
		return reply{}, err
	}
	var r reply
	if err := json.Unmarshal(data, &r); err != nil {
		return reply{}, err
	}
	return r, consoleError(r.Error)
}

// awaitStart waits for the accounts that this process is about to run: the admin listener answers before they do, and
// whoever starts the bridge from a script gives its first command then. False if nothing was being started.
func (b *backend) awaitStart(ctx context.Context) bool {
	select {
	case <-b.app.up:
		return false
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	select {
	case <-b.app.up:
		return true
	case <-ctx.Done():
		return false
	}
}

func consoleError(e *replyError) error {
	if e == nil {
		return nil
	}
	switch e.Kind {
	case "not_found":
		return console.WithCandidates(console.NotFound("%s", e.Text), e.Candidates)
	case "conflict":
		return console.WithCandidates(console.Conflict("%s", e.Text), e.Candidates)
	case "invalid":
		return console.Invalid("%s", e.Text)
	case "unavailable":
		return console.Unavailable("%s", e.Text)
	}
	return e
}

func (b *backend) configured(account string) bool {
	for i := range b.app.opts.Config.Accounts {
		if b.app.opts.Config.Accounts[i].Name == account {
			return true
		}
	}
	return false
}

// Accounts implements console.Backend. An account that nobody runs is listed without figures.
func (b *backend) Accounts(ctx context.Context) ([]api.Account, error) {
	configured := b.app.opts.Config.Accounts
	out := make([]api.Account, len(configured))
	// Side by side, and not for long: one owner that does not answer must not keep the others from being shown.
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(asksAtOnce)
	for i := range configured {
		g.Go(func() error {
			acc := &configured[i]
			r, err := b.ask(ctx, acc.Name, command{Op: "account"})
			if err != nil || r.Account == nil {
				b.app.log.Warn("account could not be asked", "account", acc.Name, "error", err)
				out[i] = api.Account{Name: acc.Name, TenantID: acc.Graph.TenantID, PBXs: []api.PBX{}}
				return nil
			}
			out[i] = *r.Account
			return nil
		})
	}
	return out, g.Wait()
}

// Members implements console.Backend.
func (b *backend) Members(ctx context.Context, account string, q console.MemberQuery) (api.Members, error) {
	r, err := b.ask(ctx, account, command{Op: "members", Query: &q})
	if err != nil || r.Members == nil {
		return api.Members{}, err
	}
	return *r.Members, nil
}

// Member implements console.Backend.
func (b *backend) Member(ctx context.Context, account, key string) (api.Member, error) {
	r, err := b.ask(ctx, account, command{Op: "member", Key: key})
	if err != nil || r.Member == nil {
		return api.Member{}, err
	}
	return *r.Member, nil
}

// Directory implements console.Backend.
func (b *backend) Directory(ctx context.Context, account string, q console.DirectoryQuery) (api.Directory, error) {
	r, err := b.ask(ctx, account, command{Op: "directory", Directory: &q})
	if err != nil || r.Directory == nil {
		return api.Directory{}, err
	}
	return *r.Directory, nil
}

// Monitors implements console.Backend.
func (b *backend) Monitors(ctx context.Context, account string) ([]api.Monitor, error) {
	r, err := b.ask(ctx, account, command{Op: "monitors"})
	if r.Monitors == nil {
		r.Monitors = []api.Monitor{}
	}
	return r.Monitors, err
}

// Authorize implements console.Backend.
func (b *backend) Authorize(ctx context.Context, account, upn string, in api.AuthorizeRequest) (api.Authorization, error) {
	r, err := b.ask(ctx, account, command{Op: "authorize", Key: upn, Method: in.Method, ClientID: in.ClientID})
	if err != nil || r.Authorization == nil {
		return api.Authorization{}, err
	}
	return *r.Authorization, nil
}

// Authorization implements console.Backend.
func (b *backend) Authorization(ctx context.Context, account, id string, wait time.Duration) (api.Authorization, error) {
	until := time.Now().Add(wait)
	for {
		slice := min(max(time.Until(until), 0), waitSlice)
		r, err := b.ask(ctx, account, command{Op: "authorization", Key: id, WaitMS: slice.Milliseconds()})
		if err != nil || r.Authorization == nil {
			return api.Authorization{}, err
		}
		if !r.Authorization.Pending() || !time.Now().Before(until) || ctx.Err() != nil {
			return *r.Authorization, nil
		}
	}
}

// Resync implements console.Backend.
func (b *backend) Resync(ctx context.Context, account, member string, report func(console.Progress)) error {
	r, err := b.ask(ctx, account, command{Op: "resync", Key: member})
	if err != nil || r.Resync == nil {
		return err
	}
	id, told := r.Resync.ID, 0
	ticker := time.NewTicker(resyncPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			stopCtx := context.WithoutCancel(ctx)
			_, err := b.ask(stopCtx, account, command{Op: "resync_stop", Key: id})
			return errors.Join(ctx.Err(), err)
		}
		r, err := b.ask(ctx, account, command{Op: "resync_state", Key: id, Since: told})
		if err != nil || r.Resync == nil {
			return err
		}
		st := r.Resync
		told += len(st.Changed)
		report(console.Progress{Done: st.Done, Total: st.Total, Changed: st.Changed})
		if st.Finished && len(st.Changed) == 0 {
			if st.Error != "" {
				return console.Unavailable("%s", st.Error)
			}
			return nil
		}
	}
}
