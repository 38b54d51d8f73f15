package bus

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// A group that is small waits for company for as long as its first write may; one that is full, or the last one
// before the bus closes, does not.
func TestWriterGathers(t *testing.T) {
	const linger = 250 * time.Millisecond
	for name, tc := range map[string]struct {
		queued []time.Duration // when each write is queued, before or after gathering begins
		closes time.Duration   // when the writer closes; 0: never
		begins time.Duration   // when gathering begins
		ends   time.Duration
	}{
		"nothing waits":               {},
		"one write":                   {queued: []time.Duration{0}, ends: linger},
		"queued during the last one":  {queued: []time.Duration{0}, begins: 100 * time.Millisecond, ends: linger},
		"queued long ago":             {queued: []time.Duration{0}, begins: time.Second, ends: time.Second},
		"full from the start":         {queued: []time.Duration{0, 0, 0}},
		"full meanwhile":              {queued: []time.Duration{0, 10 * time.Millisecond, 20 * time.Millisecond}, ends: 20 * time.Millisecond},
		"closing meanwhile":           {queued: []time.Duration{0}, closes: 30 * time.Millisecond, ends: 30 * time.Millisecond},
		"closed before, nothing full": {queued: []time.Duration{0, 0}, closes: time.Millisecond, begins: 2 * time.Millisecond, ends: 2 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, began := gatherer(t, limits{writes: 3, linger: linger}), time.Now()
				for _, at := range tc.queued {
					time.AfterFunc(at, func() { _ = w.push(&write{msg: &nats.Msg{}, at: time.Now(), done: func(uint64, error) {}}) })
				}
				if tc.closes > 0 {
					time.AfterFunc(tc.closes, func() { go func() { _ = w.close(t.Context()) }() })
				}
				time.Sleep(tc.begins)
				synctest.Wait()
				w.gather()
				require.Equal(t, tc.ends, time.Since(began))
				require.Len(t, w.take(), len(tc.queued))
				close(w.ended)
				synctest.Wait()
			})
		})
	}
}

// Tokens that an earlier full group left behind do not cut the next group's waiting short.
func TestWriterGathersAfterFullGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, began := gatherer(t, limits{writes: 2, linger: time.Second}), time.Now()
		add := func() {
			require.NoError(t, w.push(&write{msg: &nats.Msg{}, at: time.Now(), done: func(uint64, error) {}}))
		}
		add()
		add()
		w.gather()
		require.Len(t, w.take(), 2)
		add()
		w.gather()
		require.Equal(t, time.Second, time.Since(began))
		require.Len(t, w.take(), 1)
	})
}

// gatherer is a writer without a server.
func gatherer(t *testing.T, l limits) *writer {
	t.Helper()
	m, err := newMetrics(nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	l.bytes = 1 << 20
	return &writer{bus: &Bus{ctx: ctx, metrics: m}, limits: l, wake: make(chan struct{}, 1), full: make(chan struct{}, 1), ended: make(chan struct{})}
}
