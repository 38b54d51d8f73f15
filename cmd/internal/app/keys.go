package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"presencebridge/bridge/bus"
	"presencebridge/bridge/console"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/keyring"
	"presencebridge/cmd/internal/config"
	"presencebridge/monitors"
	"presencebridge/monitors/wire"
	"presencebridge/webhook"
)

// webhookKey is the key that clientStates are made with now.
func (a *App) webhookKey() []byte { return a.webhookKeys()[0] }

// ourClientState tells whether a clientState of the account was made by us, with whichever of the keys.
func (a *App) ourClientState(account, state string) bool {
	return slices.ContainsFunc(a.webhookKeys(), func(key []byte) bool { return webhook.CheckClientState(key, account, state) })
}

// reseal brings everything of the account under the newest master key. others: also what is stored of accounts that are
// not configured any more.
func (a *account) reseal(ctx context.Context, others bool) (reply, error) {
	if err := a.app.keys.Reload(); err != nil {
		return reply{}, fail("conflict", "%v", err)
	}
	sum, err := a.monitors.Reseal(ctx)
	if err == nil && others {
		err = a.resealOthers(ctx, &sum)
	}
	if err != nil {
		return reply{}, fail("unavailable", "account %s: not everything could be sealed again yet: %v; nothing is lost, run it again", a.name, err)
	}
	return reply{Resealed: resealedView(a.app.keys, sum)}, nil
}

// resumeRotation goes on with a rotation of the master key that was cut off: the key file still holds older keys. To take
// them out is left to keys rotate, which sees to it that every account was done.
func (a *account) resumeRotation(ctx context.Context) {
	if len(a.app.keys.IDs()) < 2 {
		return
	}
	a.log.Warn("the master key file holds more than one key; presence-bridge keys rotate ends the rotation")
	if _, err := a.monitors.Reseal(ctx); err != nil && ctx.Err() == nil {
		a.log.Warn("not everything could be sealed again under the newest key", "error", err)
	}
}

func (a *account) resealOthers(ctx context.Context, sum *monitors.Resealed) error {
	bucket := a.app.bus.Bucket(bus.Monitors)
	stored, err := bucket.Accounts(ctx)
	if err != nil {
		return err
	}
	for _, name := range stored {
		if (&backend{app: a.app}).configured(name) {
			continue
		}
		done, err := monitors.ResealStored(ctx, name, wire.Store(bucket), a.app.keys)
		if err != nil {
			return err
		}
		addResealed(sum, done)
	}
	return nil
}

func addResealed(sum *monitors.Resealed, done monitors.Resealed) {
	sum.Values += done.Values
	sum.Resealed += done.Resealed
	sum.Unreadable += done.Unreadable
}

func resealedView(keys *keyring.Keyring, r monitors.Resealed) *api.Resealed {
	return &api.Resealed{Key: keys.ID(), Values: r.Values, Resealed: r.Resealed, Unreadable: r.Unreadable}
}

// Reseal implements console.Backend: every account's owner seals its own. An account that nobody runs is an error, since
// the older keys are still needed then.
func (b *backend) Reseal(ctx context.Context) (api.Resealed, error) {
	var sum api.Resealed
	for i := range b.app.opts.Config.Accounts {
		c := command{Op: "reseal", Key: b.app.opts.Config.Accounts[i].Name}
		if i == 0 {
			c.Op = "reseal_all"
		}
		r, err := b.ask(ctx, c.Key, c)
		if err != nil {
			return api.Resealed{}, err
		}
		if r.Resealed == nil {
			return api.Resealed{}, console.Unavailable("the owner of the account %s does not know how to seal again: update it", c.Key)
		}
		if sum.Key != "" && r.Resealed.Key != sum.Key {
			return api.Resealed{}, console.Conflict("the replicas do not have the same newest master key: copy the key file to all of them and run this again")
		}
		sum.Key = r.Resealed.Key
		sum.Values += r.Resealed.Values
		sum.Resealed += r.Resealed.Resealed
		sum.Unreadable += r.Resealed.Unreadable
	}
	return sum, nil
}

// RotateCertificate implements console.Backend.
func (b *backend) RotateCertificate(ctx context.Context, account string) (api.CertificateRotation, error) {
	r, err := b.ask(ctx, account, command{Op: "rotate_certificate"})
	if err != nil || r.Certificate == nil {
		return api.CertificateRotation{}, err
	}
	return *r.Certificate, nil
}

func (a *account) rotateCertificate(ctx context.Context, _ command) (reply, error) {
	r, err := a.monitors.RotateCertificate(ctx)
	if err != nil {
		return reply{}, fail("unavailable", "account %s: %v", a.name, err)
	}
	return reply{Certificate: &api.CertificateRotation{CertificateID: r.ID, Subscriptions: r.Subscriptions, Until: r.Until}}, nil
}

// ResealStopped seals everything again that is stored, while no bridge runs. With the embedded bus nobody can, as the
// data directory is locked.
func ResealStopped(ctx context.Context, cfg *config.Config, log *slog.Logger) (out api.Resealed, err error) {
	file, _ := cfg.MasterKey()
	keys, err := keyring.OpenOrCreate(file, false)
	if err != nil {
		return out, err
	}
	b, err := bus.Open(ctx, busConfig(cfg, log))
	if err != nil {
		return out, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, b.Close(closing))
	}()
	bucket := b.Bucket(bus.Monitors)
	accounts, err := bucket.Accounts(ctx)
	if err != nil {
		return out, fmt.Errorf("list the accounts: %w", err)
	}
	var sum monitors.Resealed
	for _, account := range accounts {
		done, err := monitors.ResealStored(ctx, account, wire.Store(bucket), keys)
		if err != nil {
			return out, err
		}
		addResealed(&sum, done)
	}
	return *resealedView(keys, sum), nil
}

// busConfig is the bus as configured.
func busConfig(cfg *config.Config, log *slog.Logger) bus.Config {
	return bus.Config{
		URL: cfg.NATS.URL, CredentialsFile: cfg.NATS.CredentialsFile, CAFile: cfg.NATS.CAFile,
		Sync: bus.Sync(cfg.NATS.Sync), MaxStore: int64(cfg.NATS.MaxStore), MinFree: floor(cfg.NATS.MinFree),
		DataDir: cfg.DataDir, History: cfg.History, Log: log,
	}
}
