package bus

import (
	"context"
	"errors"
)

// Ask sends one command to the owner of an account over the external server of cfg, like [Bus.Command], changes nothing
// there and keeps no connection. [ErrNoOwner]: nobody serves the account. [ErrUnavailable]: the server cannot be reached.
func Ask(ctx context.Context, cfg Config, account string, req []byte) ([]byte, error) {
	if cfg.URL == "" {
		return nil, errors.New("bus: ask: there is no nats.url; the embedded server belongs to the process that runs it")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Bus{cfg: cfg}
	if err := b.connect(); err != nil {
		return nil, err
	}
	defer b.nc.Close()
	defer b.closed.Store(true)
	return b.Command(ctx, account, req)
}
