package bus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever waits, groups keep to their limits, hold a key once, take each key's writes in order, and
// lose nothing.
func TestGroups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &writer{limits: limits{
			writes: rapid.IntRange(1, 8).Draw(t, "writes"),
			bytes:  rapid.IntRange(1, 200).Draw(t, "bytes"),
		}}
		keys := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 60).Draw(t, "keys")
		for i, key := range keys {
			m := &nats.Msg{Subject: fmt.Sprint("key-", key), Data: make([]byte, rapid.IntRange(0, 80).Draw(t, "size"))}
			w.queue = append(w.queue, &write{msg: m, single: key > 0, cost: int64(i)})
		}
		last := make(map[string]int64)
		taken := 0
		for len(w.queue) > 0 {
			group := w.take()
			require.NotEmpty(t, group)
			require.LessOrEqual(t, len(group), w.limits.writes)
			size, seen := 0, make(map[string]bool)
			for _, p := range group {
				size += p.msg.Size()
				require.False(t, p.single && seen[p.msg.Subject], "a key twice in one group")
				seen[p.msg.Subject] = true
				require.GreaterOrEqual(t, p.cost, last[p.msg.Subject], "a key's writes out of order")
				last[p.msg.Subject] = p.cost
			}
			require.True(t, len(group) == 1 || size <= w.limits.bytes)
			taken += len(group)
		}
		require.Equal(t, len(keys), taken)
	})
}

func TestBatchesOnlyWhereTheyPay(t *testing.T) {
	cfg := testConfig(t)
	b := openBus(t, cfg)
	require.Equal(t, batchFrom, b.Bucket(State).writer.batchFrom)
	require.Equal(t, batchFrom, b.notifications.batchFrom)
	require.Zero(t, b.Bucket(Replicas).writer.batchFrom, "memory is not flushed")
	cfg = testConfig(t)
	cfg.Sync = Sync(time.Minute)
	b = openBus(t, cfg)
	require.Zero(t, b.Bucket(State).writer.batchFrom)
	for _, r := range putAll(b.Bucket(State), memberKeys(50), func(int) uint64 { return 0 }) {
		require.NoError(t, r.err)
	}
	require.Zero(t, batches(t, b, "KV_state"))
}

func TestErrorsOfTheServer(t *testing.T) {
	for _, c := range []struct {
		err  error
		want error
	}{
		{&jetstream.APIError{ErrorCode: codeWrongLastSequence}, ErrConflict},
		{&jetstream.APIError{ErrorCode: codeWrongLastConstant}, ErrConflict},
		{&jetstream.APIError{ErrorCode: codeStoreFailed}, ErrFull},
		{&jetstream.APIError{ErrorCode: codeInsufficient}, ErrFull},
		{&jetstream.APIError{ErrorCode: codeMessageTooLarge}, ErrTooLarge},
		{&jetstream.APIError{ErrorCode: 1}, ErrUnavailable},
		{nats.ErrMaxPayload, ErrTooLarge},
		{nats.ErrTimeout, ErrUnavailable},
		{nats.ErrNoResponders, ErrUnavailable},
		{errors.New("anything"), ErrUnavailable},
	} {
		got := fromNATS(c.err)
		require.ErrorIs(t, got, c.want)
		require.ErrorIs(t, got, c.err, "the cause stays")
	}
	require.NoError(t, fromNATS(nil))
	require.Equal(t, reasonOther, reasonOf(errors.New("anything")))
	require.Equal(t, reasonFull, reasonOf(fmt.Errorf("storing: %w", ErrFull)))
}

func TestTimeoutsInARow(t *testing.T) {
	cfg := testConfig(t)
	cfg.PublishTimeout = 5 * time.Second // what is under way while the server starts again is not answered
	b := openBus(t, cfg)
	w := b.notifications
	w.heard(jetstream.ErrAsyncPublishTimeout)
	require.ErrorIs(t, b.Ready(), ErrUnavailable)
	w.heard(nats.ErrConnectionClosed)
	require.EqualValues(t, 1, b.timeouts.Load(), "what was not sent says nothing")
	w.heard(&jetstream.APIError{ErrorCode: codeStoreFailed})
	require.NoError(t, b.Ready(), "a refusal is an answer")
	w.heard(nats.ErrTimeout)
	w.heard(nats.ErrTimeout)
	require.Empty(t, b.restart, "two are not three")
	b.timedOutAt.Store(time.Now().Add(-readyAfter).UnixNano())
	require.NoError(t, b.Ready(), "an old timeout does not keep the stores away that would find the server well")
	before := b.server.server
	w.heard(nats.ErrTimeout)
	await(t, func() bool {
		b.server.mu.Lock()
		defer b.server.mu.Unlock()
		return b.server.server != nil && b.server.server != before
	}, "the server was started again")
	await(t, func() bool {
		return b.Ready() == nil && b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), "") == nil
	}, "it stores again")
}

func TestFailedOpenLetsGo(t *testing.T) {
	cfg := testConfig(t)
	blocked := filepath.Join(cfg.DataDir, storeName)
	require.NoError(t, os.WriteFile(blocked, []byte("a file where a folder has to be"), 0o600))
	_, err := Open(t.Context(), cfg)
	require.ErrorContains(t, err, blocked, "it says where")
	require.ErrorContains(t, err, "not a directory", "and why")
	require.NoError(t, os.Remove(blocked))
	b := openBus(t, cfg)
	require.NoError(t, b.Ready(), "the lock was given back")
}

func TestReopenWithAnotherConfiguration(t *testing.T) {
	cfg := testConfig(t)
	b := openBus(t, cfg)
	rev, err := b.Bucket(Monitors).Put(t.Context(), "contoso", "monitor", []byte("v"), 0)
	require.NoError(t, err)
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte("kept"), time.Now(), ""))
	closeBus(t, b)
	cfg.MaxStore, cfg.History, cfg.Sync = 128<<20, 48*time.Hour, Sync(time.Second)
	b = openBus(t, cfg)
	got := b.stream(streamDecisions).CachedInfo().Config
	require.Equal(t, 48*time.Hour, got.MaxAge)
	require.EqualValues(t, 16<<20, got.MaxBytes)
	got = b.stream(streamGraphIn).CachedInfo().Config
	require.EqualValues(t, 64<<20, got.MaxBytes)
	require.Equal(t, MaxBodyAge, got.MaxAge)
	require.Equal(t, jetstream.DiscardNew, got.Discard)
	e, err := b.Bucket(Monitors).Get(t.Context(), "contoso", "monitor")
	require.NoError(t, err)
	require.Equal(t, rev, e.Revision)
	bodies := make(chan *Body, 1)
	consume(t, b, "contoso", nil, func(x *Body) { bodies <- x })
	require.Equal(t, "kept", string(receive(t, bodies).Data))
}
