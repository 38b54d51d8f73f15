package verify

import (
	"context"
	"errors"

	"presencebridge/bridge/bus"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/app"
	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/connect"
)

// phone is one PBX.
type phone struct {
	cfg       *config.PBX
	owned     bool   // the owner of the account looked, over the session that it has
	left      string // why nobody looked; empty: somebody did
	err       error  // of Verify
	warnings  []pbx.Warning
	statuses  []presence.Status
	statusErr error
	users     []pbx.User // not known where the owner looked
	usersErr  error
	listed    int // users
}

var (
	errLeft  = errors.New("the PBX was left alone")
	errOwned = errors.New("the running bridge has the list")
	errNew   = errors.New("the running bridge has not listed them yet")
)

// lookAtPBXs has the owner of the account look at its PBXs, and looks from here where nobody runs the account. While it
// runs and cannot be asked, a PBX that would end its session is left alone.
func (t *tenant) lookAtPBXs(ctx context.Context) {
	found, why, runs := t.askOwner(ctx)
	each(t.pbxs, func(p *phone) {
		c, asked := found[p.cfg.Name]
		switch {
		case asked:
			p.told(c)
		case runs && connect.OneSession(p.cfg.Type):
			p.left = why
			p.err, p.statusErr, p.usersErr = errLeft, errLeft, errLeft
		default:
			p.look(ctx, t.cfg.Name, t.site)
		}
	})
}

// askOwner asks the owner of the account: over the admin API of a running bridge, or over an external bus. runs tells whether
// there is one, or may be; why is why it could not be asked.
func (t *tenant) askOwner(ctx context.Context) (found map[string]api.PBXCheck, why string, runs bool) {
	r := &t.site.running
	var (
		list []api.PBXCheck
		err  error
	)
	switch unusable, usable := r.usable(); {
	case usable:
		row, known := r.accounts[t.cfg.Name]
		if !known || row.Owner == "" {
			return nil, "", false
		}
		list, err = r.client.CheckPBXs(ctx, t.cfg.Name)
	case r.found || r.locked:
		return nil, unusable, true
	case t.site.cfg.NATS.URL != "":
		list, err = app.AskPBXs(ctx, t.site.cfg, t.cfg.Name, t.site.opts.Log)
		if errors.Is(err, bus.ErrNoOwner) || t.site.busErr != nil { // a bridge that the bus is cut off from does not work either
			return nil, "", false
		}
	default:
		return nil, "", false
	}
	if err != nil {
		return nil, err.Error(), true
	}
	found = map[string]api.PBXCheck{}
	for _, c := range list {
		found[c.Name] = c
	}
	return found, "the running bridge does not know it: restart it with this configuration", true
}

// ownersError is what the owner met.
type ownersError struct {
	text  string
	typed *pbx.Error
}

func (e *ownersError) Error() string { return e.text }

// Unwrap gives kind and remedy.
func (e *ownersError) Unwrap() error { return e.typed }

// told takes in what the owner found.
func (p *phone) told(c api.PBXCheck) {
	p.owned, p.statuses, p.usersErr = true, c.Statuses, errOwned
	if c.Error != "" {
		p.err = &ownersError{text: c.Error, typed: &pbx.Error{Kind: pbx.ParseErrorKind(c.Kind), Remedy: c.Remedy}}
	}
	if c.StatusesError != "" {
		p.statusErr = errors.New(c.StatusesError)
	}
	if c.Users != nil {
		p.listed = *c.Users
	} else {
		p.usersErr = errNew
	}
	for _, w := range c.Warnings {
		p.warnings = append(p.warnings, pbx.Warning(w))
	}
}

// look asks the PBX from here.
func (p *phone) look(ctx context.Context, account string, s *site) {
	client, err := connect.New(p.cfg, connect.Options{Account: account, Log: s.opts.Log})
	if err != nil {
		p.err, p.statusErr, p.usersErr = err, err, err
		return
	}
	defer client.Close()
	limited, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	p.err = client.Verify(limited)
	p.warnings = client.Connection().Warnings
	if p.statuses, p.statusErr = client.Statuses(limited); p.statusErr != nil {
		p.usersErr = p.statusErr
		return
	}
	patient, done := context.WithTimeout(ctx, listings*s.opts.Timeout)
	defer done()
	p.users, p.usersErr = client.Snapshot(patient)
	p.listed = len(p.users)
}
