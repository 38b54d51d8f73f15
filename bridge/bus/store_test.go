package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFullStoreRefuses(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.MaxStore = minMaxStore
	b := openBus(t, cfg)
	body := bytes.Repeat([]byte("x"), 4<<20)
	var err error
	for i := 0; i < 20 && err == nil; i++ {
		err = b.StoreNotification(t.Context(), "contoso", body, time.Now(), "")
	}
	require.ErrorIs(t, err, ErrFull)
	require.Positive(t, testutil.ToFloat64(b.metrics.refused.WithLabelValues("contoso", string(reasonFull))))
	require.NoError(t, b.Ready(), "a full store answers: it is not broken")
	_, err = b.Bucket(State).Put(t.Context(), "contoso", "member", bytes.Repeat([]byte("x"), 1<<20), 0)
	require.NoError(t, err, "records can still be written when bodies cannot")

	// Many callers together are refused one by one, too.
	var wg sync.WaitGroup
	var full atomic.Int32
	for range 20 {
		wg.Go(func() {
			if assert.ErrorIs(t, b.StoreNotification(t.Context(), "contoso", body, time.Now(), ""), ErrFull) {
				full.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 20, full.Load())

	// Processing makes room again.
	freed := make(chan struct{}, 100)
	consume(t, b, "contoso", nil, func(x *Body) {
		require.NoError(t, x.Ack())
		freed <- struct{}{}
	})
	receive(t, freed)
	await(t, func() bool {
		return b.StoreNotification(t.Context(), "contoso", body, time.Now(), "") == nil
	}, "there is room")
}

func TestNoSpaceRefusesAtOnce(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	var free, asked atomic.Int64
	free.Store(1 << 30)
	cfg.MinFree = 1 << 20
	cfg.FreeSpace = func(dir string) (int64, error) {
		asked.Add(1)
		require.Equal(t, cfg.DataDir, dir)
		return free.Load(), nil
	}
	opened := time.Now()
	b := openBus(t, cfg)
	for range 50 {
		require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), ""))
	}
	seconds := int64(time.Since(opened) / time.Second)
	require.LessOrEqual(t, asked.Load(), seconds+3, "the disk is asked once a second, not once a body")

	free.Store(1<<20 - 1)
	await(t, func() bool { return b.Ready() != nil }, "the disk is full")
	require.ErrorIs(t, b.Ready(), ErrNoSpace)
	err := b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), "")
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, cfg.DataDir)
	_, err = b.Bucket(State).Put(t.Context(), "contoso", "member", []byte("x"), 0)
	require.NoError(t, err, "below the floor is the room for what the engine has to write")
	b.PublishDecision("contoso", "member", []byte("{}"))
	require.EqualValues(t, 1, testutil.ToFloat64(b.metrics.dropped.WithLabelValues("contoso", streamDecisions, string(reasonNoSpace))))

	free.Store(2 << 20)
	await(t, func() bool { return b.Ready() == nil }, "the disk has room")
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), ""))
}

func TestLargestBodyIsStored(t *testing.T) {
	t.Parallel()
	b := openBus(t, testConfig(t))
	body := bytes.Repeat([]byte("x"), int(b.MaxBody()))
	require.Greater(t, len(body), 8<<20, "the receiver's default limit fits")
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", body, time.Now(), strings.Repeat("a", 64)))
	err := b.StoreNotification(t.Context(), "contoso", append(body, 'x'), time.Now(), "")
	require.ErrorIs(t, err, ErrTooLarge, "no JSON, so it cannot be split")

	item, err := json.Marshal(map[string]string{"data": strings.Repeat("y", 4<<20)})
	require.NoError(t, err)
	split := fmt.Appendf(nil, `{"value":[%s,%s,%s],"validationTokens":["t"]}`, item, item, item)
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", split, time.Now(), "id"))
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", split, time.Now(), "id"), "the retry of a split body")
	bodies := make(chan *Body, 10)
	consume(t, b, "contoso", nil, func(x *Body) { bodies <- x; require.NoError(t, x.Ack()) })
	require.Equal(t, body, receive(t, bodies).Data)
	require.Contains(t, string(receive(t, bodies).Data), `"validationTokens":["t"]`)
	require.Contains(t, string(receive(t, bodies).Data), `"validationTokens":["t"]`)
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte("end"), time.Now(), ""))
	require.Equal(t, "end", string(receive(t, bodies).Data), "the retry was a duplicate")
}

func TestDuplicatesAmongWaitingStores(t *testing.T) {
	b := openBus(t, testConfig(t))
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			err := b.StoreNotification(t.Context(), "contoso", fmt.Appendf(nil, "body-%d", i%8), time.Now(), fmt.Sprint("id-", i%8))
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	info, err := b.stream(streamGraphIn).Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 8, info.State.Msgs)
}

func TestDuplicateAfterItWasProcessed(t *testing.T) {
	t.Parallel()
	b := openBus(t, testConfig(t))
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), "id"))
	consume(t, b, "contoso", nil, func(x *Body) { require.NoError(t, x.Ack()) })
	require.Eventually(t, func() bool {
		info, err := b.stream(streamGraphIn).Info(t.Context())
		return err == nil && info.State.Msgs == 0
	}, time.Minute, 20*time.Millisecond, "what was processed is removed")
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), "id"))
	info, err := b.stream(streamGraphIn).Info(t.Context())
	require.NoError(t, err)
	require.Zero(t, info.State.Msgs, "a retry of Graph's that comes after it was processed is no news")
}

func TestStoreRefusals(t *testing.T) {
	b := openBus(t, testConfig(t))
	require.ErrorIs(t, b.StoreNotification(t.Context(), "Contoso.>", []byte("x"), time.Now(), ""), ErrInvalid)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.StoreNotification(ctx, "contoso", []byte("x"), time.Now(), ""), context.Canceled)
	closeBus(t, b)
	require.ErrorIs(t, b.StoreNotification(t.Context(), "contoso", []byte("x"), time.Now(), ""), ErrClosed)
	require.ErrorIs(t, b.Ready(), ErrClosed)
}

func TestNothingLeaksIntoLogsOrMetrics(t *testing.T) {
	const secret = "S3CRET-body-of-somebody"
	var logs bytes.Buffer
	reg := prometheus.NewRegistry()
	cfg := testConfig(t)
	cfg.Log = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Metrics = reg
	b := openBus(t, cfg)
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte(secret), time.Now(), secret))
	k := b.Bucket(State)
	_, err := k.Put(t.Context(), "contoso", secret, []byte(secret), 0)
	require.NoError(t, err)
	_, err = k.Put(t.Context(), "contoso", secret, []byte(secret), 0)
	require.ErrorIs(t, err, ErrConflict)
	require.NotContains(t, err.Error(), secret)
	b.PublishObservation("contoso", secret, "teams", []byte(secret))
	b.PublishDecision("contoso", secret, []byte(secret))
	closeBus(t, b)
	require.NotContains(t, logs.String(), secret)
	families, err := reg.Gather()
	require.NoError(t, err)
	require.Empty(t, families, "a closed bus leaves no metrics behind")
}
