package app

import (
	"context"
	"errors"
	"fmt"

	"presencebridge/bridge"
	"presencebridge/bridge/bus"
	"presencebridge/bridge/presence"
)

// recordStore is the state bucket in the engine's words.
type recordStore struct {
	bucket  *bus.Bucket
	account string
}

// Load implements bridge.Store.
func (s recordStore) Load(ctx context.Context, each func(member string, data []byte, revision uint64) error) error {
	return s.bucket.All(ctx, s.account, func(e bus.Entry) error {
		return each(e.Key, e.Value, e.Revision)
	})
}

// Put implements bridge.Store.
func (s recordStore) Put(member string, data []byte, revision uint64, done func(revision uint64, err error)) {
	s.bucket.PutAsync(s.account, member, data, revision, func(rev uint64, err error) { done(rev, storeError(err)) })
}

// Get implements bridge.Store.
func (s recordStore) Get(ctx context.Context, member string) ([]byte, uint64, error) {
	e, err := s.bucket.Get(ctx, s.account, member)
	return e.Value, e.Revision, storeError(err)
}

// Delete implements bridge.Store.
func (s recordStore) Delete(ctx context.Context, member string, revision uint64) error {
	return storeError(s.bucket.Delete(ctx, s.account, member, revision))
}

// storeError names the two errors that the engine acts upon. After an unanswered write the revision is not known
// any more, which only a fresh read mends: to the engine that is a conflict.
func storeError(err error) error {
	switch {
	case errors.Is(err, bus.ErrConflict), errors.Is(err, bus.ErrUnavailable):
		return fmt.Errorf("%w: %w", bridge.ErrConflict, err)
	case errors.Is(err, bus.ErrNotFound):
		return fmt.Errorf("%w: %w", bridge.ErrNotFound, err)
	}
	return err
}

// feed is the open feeds in the engine's words.
type feed struct {
	bus     *bus.Bus
	account string
}

// Observed implements bridge.Feed.
func (f feed) Observed(member, side string, data []byte) {
	f.bus.PublishObservation(f.account, member, side, data)
}

// Decided implements bridge.Feed.
func (f feed) Decided(member string, data []byte) { f.bus.PublishDecision(f.account, member, data) }

// sink hands what the monitors learn to the engine.
type sink struct{ a *account }

// BeginSweep implements monitors.Sink.
func (s sink) BeginSweep(ids []string) any { return s.a.engine.BeginSweep(ids) }

// Swept implements monitors.Sink.
func (s sink) Swept(mark any, shown map[string]presence.Shown) {
	if m, ok := mark.(bridge.SweepMark); ok {
		s.a.engine.Swept(s.a.engine.Context(), m, shown)
	}
}

// OweReads implements monitors.Sink.
func (s sink) OweReads(ids []string) { s.a.engine.OweReads(s.a.engine.Context(), ids) }

// TeamsUnseen implements monitors.Sink.
func (s sink) TeamsUnseen(ids []string) { s.a.engine.TeamsUnseen(s.a.engine.Context(), ids) }
