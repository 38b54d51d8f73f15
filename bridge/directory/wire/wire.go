// Package wire joins package directory to the bus. It translates words and errors, and decides nothing.
package wire

import (
	"context"
	"errors"
	"fmt"

	"presencebridge/bridge/bus"
	"presencebridge/bridge/directory"
)

// Store is the directory bucket in the words of package directory.
func Store(b *bus.Bucket) directory.Store { return store{b} }

type store struct{ b *bus.Bucket }

// Put writes at a revision.
func (s store) Put(ctx context.Context, account, key string, value []byte, revision uint64) (uint64, error) {
	rev, err := s.b.Put(ctx, account, key, value, revision)
	return rev, storeError(err)
}

// Delete removes an entry; that there is none is success.
func (s store) Delete(ctx context.Context, account, key string, revision uint64) error {
	err := s.b.Delete(ctx, account, key, revision)
	if errors.Is(err, bus.ErrConflict) {
		if _, gone := s.b.Get(ctx, account, key); errors.Is(gone, bus.ErrNotFound) {
			return nil
		}
	}
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	return storeError(err)
}

// All reads every entry of the account.
func (s store) All(ctx context.Context, account string, each func(directory.Entry) error) error {
	return s.b.All(ctx, account, func(e bus.Entry) error {
		return each(directory.Entry{Key: e.Key, Value: e.Value, Revision: e.Revision})
	})
}

func storeError(err error) error {
	if errors.Is(err, bus.ErrConflict) {
		return fmt.Errorf("%w: %w", directory.ErrConflict, err)
	}
	return err
}
