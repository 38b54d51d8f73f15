package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"presencebridge/bridge/bus"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/config"
)

// pbxCheckTimeout bounds trying the PBXs of an account; the owner leaves a tenth of it for the way back.
const pbxCheckTimeout = 60 * time.Second

// CheckPBXs implements console.Backend.
func (b *backend) CheckPBXs(ctx context.Context, account string) ([]api.PBXCheck, error) {
	r, err := b.askWithin(ctx, pbxCheckTimeout, account, command{Op: "check_pbx"})
	return r.PBXs, err
}

// checkPBXs tries every PBX through the connectors that the account works with, so that a PBX that knows one session of a
// client sees no second one. Users are not listed anew: what a connector reads is for the engine.
func (a *account) checkPBXs(ctx context.Context, _ command) (reply, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/10))
		defer cancel()
	}
	out := make([]api.PBXCheck, len(a.pbxs))
	var looking sync.WaitGroup
	for i, conn := range a.pbxs {
		looking.Go(func() {
			out[i] = checkPBX(ctx, conn)
			out[i].Name = a.cfg.PBX[i].Name
			if n, listed := a.dir.listed(out[i].Name); listed {
				out[i].Users = &n
			}
		})
	}
	looking.Wait()
	return reply{PBXs: out}, nil
}

func checkPBX(ctx context.Context, conn pbx.Connector) api.PBXCheck {
	out := api.PBXCheck{Statuses: []presence.Status{}, Warnings: []api.PBXWarning{}}
	if err := conn.Verify(ctx); err != nil {
		out.Error, out.Kind = err.Error(), pbx.KindOf(err).String()
		var e *pbx.Error
		if errors.As(err, &e) {
			out.Remedy = e.Remedy
		}
	}
	list, err := conn.Statuses(ctx)
	if err != nil {
		out.StatusesError = err.Error()
	} else {
		out.Statuses = append(out.Statuses, list...)
	}
	for _, w := range conn.Connection().Warnings {
		out.Warnings = append(out.Warnings, api.PBXWarning(w))
	}
	return out
}

// listed is how many users the last listing of a PBX had.
func (d *directoryLoop) listed(pbxName string) (n int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	users, ok := d.phones[pbxName]
	return len(users), ok
}

// AskPBXs has the owner of an account try its PBXs, asked over the external bus from a process that is no part of the
// bridge. The error is [bus.ErrNoOwner] if nobody runs the account.
func AskPBXs(ctx context.Context, cfg *config.Config, account string, log *slog.Logger) ([]api.PBXCheck, error) {
	r, err := askFromOutside(ctx, cfg, account, command{Op: "check_pbx"}, pbxCheckTimeout, log)
	return r.PBXs, err
}

// HasOwner tells whether some replica runs the account, asked in the same way.
func HasOwner(ctx context.Context, cfg *config.Config, account string, log *slog.Logger) (bool, error) {
	_, err := askFromOutside(ctx, cfg, account, command{Op: "account"}, commandTimeout, log)
	if errors.Is(err, bus.ErrNoOwner) {
		return false, nil
	}
	return err == nil, err
}

func askFromOutside(ctx context.Context, cfg *config.Config, account string, c command, within time.Duration, log *slog.Logger) (reply, error) {
	req, err := json.Marshal(c)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	data, err := bus.Ask(ctx, busConfig(cfg, log), account, req)
	if err != nil {
		return reply{}, err
	}
	var r reply
	if err := json.Unmarshal(data, &r); err != nil {
		return reply{}, fmt.Errorf("account %s: the owner's answer cannot be read: %w", account, err)
	}
	if r.Error != nil {
		return reply{}, r.Error
	}
	return r, nil
}
