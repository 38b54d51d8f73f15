package wire

import (
	"context"
	"errors"
	"fmt"

	"presencebridge/bridge/bus"
	"presencebridge/monitors"
)

// Store is the monitors bucket in the words of package monitors.
func Store(b *bus.Bucket) monitors.Store { return store{b} }

type store struct{ b *bus.Bucket }

// Put writes at a revision.
func (s store) Put(ctx context.Context, account, key string, value []byte, revision uint64) (uint64, error) {
	rev, err := s.b.Put(ctx, account, key, value, revision)
	return rev, storeError(err)
}

// Get reads one entry.
func (s store) Get(ctx context.Context, account, key string) (monitors.Entry, error) {
	e, err := s.b.Get(ctx, account, key)
	return monitors.Entry{Key: e.Key, Value: e.Value, Revision: e.Revision}, storeError(err)
}

// All reads every entry of the account.
func (s store) All(ctx context.Context, account string, each func(monitors.Entry) error) error {
	return storeError(s.b.All(ctx, account, func(e bus.Entry) error {
		return each(monitors.Entry{Key: e.Key, Value: e.Value, Revision: e.Revision})
	}))
}

func storeError(err error) error {
	switch {
	case errors.Is(err, bus.ErrConflict):
		return fmt.Errorf("%w: %w", monitors.ErrConflict, err)
	case errors.Is(err, bus.ErrNotFound):
		return fmt.Errorf("%w: %w", monitors.ErrNotFound, err)
	}
	return err
}
