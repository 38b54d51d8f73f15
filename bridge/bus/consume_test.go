package bus

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func storeAll(t *testing.T, b *Bus, account string, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, b.StoreNotification(t.Context(), account, fmt.Appendf(nil, "body-%d", i), time.Now(), ""))
	}
}

// ownerInfo is what the server says about an account's consumer.
func ownerInfo(t *testing.T, b *Bus, account string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := b.js.Consumer(t.Context(), streamGraphIn, durableName(account))
	require.NoError(t, err)
	info, err := c.Info(t.Context())
	require.NoError(t, err)
	return info
}

func TestPrefetchIsBoundedByNumber(t *testing.T) {
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 40)
	bodies := make(chan *Body, 100)
	consume(t, b, "contoso", nil, func(x *Body) { bodies <- x })
	var out []*Body
	take := func() {
		for {
			x := receive(t, bodies)
			if len(out) == 0 || x.Seq > out[len(out)-1].Seq { // on a slow machine one may come again
				out = append(out, x)
				return
			}
		}
	}
	for range maxBodies {
		take()
	}
	info := ownerInfo(t, b, "contoso")
	require.Equal(t, maxBodies, info.NumAckPending)
	for len(bodies) > 0 {
		require.LessOrEqual(t, (<-bodies).Seq, out[maxBodies-1].Seq, "16 are out, the rest waits")
	}
	next := 0
	for next < 40 {
		x := out[next]
		require.Equal(t, fmt.Sprintf("body-%d", next), string(x.Data), "in order")
		require.NoError(t, x.Ack())
		if next++; len(out) < 40 {
			take()
		}
	}
}

func TestPrefetchIsBoundedByWork(t *testing.T) {
	t.Parallel()
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 30)
	var mu sync.Mutex
	var out []*Body
	most, handed := 0, 0
	got := make(chan struct{}, 100)
	consume(t, b, "contoso", func([]byte) time.Duration { return 300 * time.Millisecond }, func(x *Body) {
		mu.Lock()
		defer mu.Unlock()
		out = append(out, x)
		handed++
		most = max(most, len(out))
		got <- struct{}{}
	})
	for handed := 0; handed < 30; {
		receive(t, got)
		handed++
		mu.Lock()
		assert.NoError(t, out[0].Ack())
		out = out[1:]
		mu.Unlock()
	}
	require.LessOrEqual(t, most, 3, "one second of work is three bodies")
}

func TestOneHeavyBodyGoesAlone(t *testing.T) {
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 6)
	bodies := make(chan *Body, 10)
	estimate := func(body []byte) time.Duration {
		if string(body) == "body-2" {
			return 5 * time.Second
		}
		return time.Millisecond
	}
	var out atomic.Int32
	consume(t, b, "contoso", estimate, func(x *Body) {
		n := out.Add(1)
		if string(x.Data) == "body-2" {
			assert.EqualValues(t, 1, n, "it is more than a second alone, and so alone")
		}
		bodies <- x
	})
	for i := range 6 {
		x := receive(t, bodies)
		require.Equal(t, fmt.Sprintf("body-%d", i), string(x.Data))
		out.Add(-1)
		require.NoError(t, x.Ack())
	}
}

func TestStalledConsumerStopsPulling(t *testing.T) {
	t.Parallel()
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 5)
	bodies := make(chan *Body, 100)
	consume(t, b, "contoso", nil, func(x *Body) { bodies <- x })
	var out []*Body
	for range 5 {
		out = append(out, receive(t, bodies))
	}
	c := out[0].c
	stalls := func() float64 { return testutil.ToFloat64(b.metrics.stalls.WithLabelValues("contoso")) }
	await(t, func() bool { return stalls() == 1 }, "it stalls")
	goOn := stayStalled(c)
	// The pull that was under way ends within its second; then nobody asks any more, though there
	// would be room for eleven more.
	await(t, func() bool { return ownerInfo(t, b, "contoso").NumWaiting == 0 }, "nobody asks")
	storeAll(t, b, "contoso", 3)
	require.EqualValues(t, 3, ownerInfo(t, b, "contoso").NumPending)
	require.EqualValues(t, 1, stalls())
	require.Empty(t, bodies)
	goOn()
	out[0].Progress()
	receive(t, bodies)
	c.mu.Lock()
	defer c.mu.Unlock()
	require.False(t, out[0].lost, "a sign of life starts the pulls again, not the end of the stall")
}

// stayStalled keeps the stall from being over, however long a slow machine takes, until the returned function is called.
func stayStalled(c *consumer) (goOn func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			c.mu.Lock()
			c.progress = time.Now().Add(-stallAfter)
			c.mu.Unlock()
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

func TestMissingAckIsHandedOutAgain(t *testing.T) {
	t.Parallel()
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 2)
	bodies := make(chan *Body, 100)
	began := time.Now()
	consume(t, b, "contoso", nil, func(x *Body) { bodies <- x })
	lost, kept := receive(t, bodies), receive(t, bodies)
	// The second one progresses, so pulling goes on, and the first comes again after AckWait.
	alive := time.NewTicker(100 * time.Millisecond)
	defer alive.Stop()
	for {
		select {
		case <-alive.C:
			kept.Progress()
			continue
		case x := <-bodies:
			if x.Seq == kept.Seq { // the signs of life came too late, on a slow machine
				kept = x
				continue
			}
			require.Equal(t, lost.Seq, x.Seq)
			require.NoError(t, x.Ack())
		}
		break
	}
	require.GreaterOrEqual(t, time.Since(began), ackWait)
	require.NoError(t, kept.Ack())
	require.NoError(t, lost.Ack(), "a late acknowledgement does no harm")
	require.NoError(t, lost.Ack(), "nor does a second one")
	lost.Progress()
	require.Positive(t, testutil.ToFloat64(b.metrics.redelivered.WithLabelValues("contoso")))
}

func TestLoneBodyWithoutAckComesAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the eight seconds after which a stall is over")
	}
	t.Parallel()
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 1)
	bodies := make(chan *Body, 100)
	consume(t, b, "contoso", nil, func(x *Body) { bodies <- x })
	first := receive(t, bodies)
	again := receive(t, bodies)
	require.Equal(t, first.Seq, again.Seq)
	require.NoError(t, again.Ack())
}

func TestRetry(t *testing.T) {
	t.Parallel()
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 1)
	bodies := make(chan *Body, 10)
	gaps := make(chan Gap, 10)
	consume(t, b, "contoso", nil, func(x *Body) { bodies <- x }, OnGap(func(g Gap) { gaps <- g }))
	x := receive(t, bodies)
	began := time.Now()
	require.NoError(t, x.Retry(300*time.Millisecond))
	require.NoError(t, x.Ack(), "the body was settled")
	again := receive(t, bodies)
	require.Equal(t, x.Seq, again.Seq)
	require.GreaterOrEqual(t, time.Since(began), 250*time.Millisecond)
	require.NoError(t, again.Retry(MaxBodyAge))
	require.Equal(t, GapExpired, receive(t, gaps).Reason, "it would be too old by then")
	require.Eventually(t, func() bool { return ownerInfo(t, b, "contoso").NumAckPending == 0 }, patience, 20*time.Millisecond)
	require.Empty(t, bodies)
}

func TestOneConsumeForAnAccount(t *testing.T) {
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 1)
	bodies := make(chan *Body, 10)
	stop := consume(t, b, "contoso", nil, func(x *Body) { bodies <- x })
	require.NoError(t, receive(t, bodies).Ack())
	require.ErrorIs(t, b.Consume(t.Context(), "contoso", nil, func(*Body) {}), ErrInvalid)
	require.ErrorIs(t, b.Consume(t.Context(), "Con.toso", nil, func(*Body) {}), ErrInvalid)
	stop()
	consume(t, b, "contoso", nil, func(*Body) {})
}

func TestStopReturnsWhatWasNotHandedOut(t *testing.T) {
	t.Parallel()
	fastest(t, ackWait/2, func(int) time.Duration { return stopAndGoOn(t) }) // at once, not after their time
}

// stopAndGoOn stops a consumer that has fetched more than it handed out, and tells how long the next one takes.
func stopAndGoOn(t *testing.T) time.Duration {
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 6)
	bodies, leave := make(chan *Body, 10), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Consume(ctx, "contoso", nil, func(x *Body) { bodies <- x; <-leave }) }()
	x := receive(t, bodies)
	await(t, func() bool { return ownerInfo(t, b, "contoso").NumAckPending > 2 }, "more than one was fetched")
	require.NoError(t, x.Ack())
	cancel()
	close(leave)
	require.NoError(t, receive(t, ended))
	for len(bodies) > 0 { // handed out before the stop
		require.NoError(t, (<-bodies).Ack())
	}
	seqs := make(chan uint64, 10)
	began := time.Now()
	consume(t, b, "contoso", nil, func(x *Body) { seqs <- x.Seq; assert.NoError(t, x.Ack()) })
	last := receive(t, seqs)
	for last < 6 {
		next := receive(t, seqs)
		require.LessOrEqual(t, next, last+1, "in order")
		last = max(last, next)
	}
	return time.Since(began)
}

func TestConsumeEndsWithTheBus(t *testing.T) {
	b := openBus(t, testConfig(t))
	ended := make(chan error, 1)
	go func() { ended <- b.Consume(t.Context(), "contoso", nil, func(*Body) {}) }()
	require.Eventually(t, func() bool {
		_, err := b.js.Consumer(t.Context(), streamGraphIn, durableName("contoso"))
		return err == nil
	}, patience, 10*time.Millisecond)
	closeBus(t, b)
	require.ErrorIs(t, receive(t, ended), ErrClosed)
	require.ErrorIs(t, b.Consume(t.Context(), "contoso", nil, func(*Body) {}), ErrClosed)
}

func TestAccountsDoNotSeeEachOther(t *testing.T) {
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 3)
	storeAll(t, b, "fabrikam", 3)
	var wrong atomic.Int32
	seqs := make(chan uint64, 100)
	for _, account := range []string{"contoso", "fabrikam"} {
		consume(t, b, account, nil, func(x *Body) {
			if x.msg.Subject() != subjectGraphIn+account {
				wrong.Add(1)
			}
			assert.NoError(t, x.Ack())
			seqs <- x.Seq
		})
	}
	for seen := map[uint64]bool{}; len(seen) < 6; {
		seen[receive(t, seqs)] = true
	}
	require.Zero(t, wrong.Load())
}

// oldMsg is a message as the server would deliver it after that time.
type oldMsg struct {
	jetstream.Msg
	stored time.Time
	termed atomic.Bool
}

func (m *oldMsg) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Timestamp: m.stored, Sequence: jetstream.SequencePair{Stream: 7}, NumDelivered: 1}, nil
}
func (m *oldMsg) Data() []byte         { return []byte("old") }
func (m *oldMsg) Headers() nats.Header { return nil }
func (m *oldMsg) Term() error          { m.termed.Store(true); return nil }

func TestOldBodiesAreAGap(t *testing.T) {
	b := openBus(t, testConfig(t))
	var gaps []Gap
	c := newConsumer(b, "contoso", nil, func(*Body) { t.Error("handed out") })
	c.onGap = func(g Gap) { gaps = append(gaps, g) }
	c.readTo = time.Now().Add(-time.Minute)
	m := &oldMsg{stored: time.Now().Add(-MaxBodyAge - time.Second)}
	require.NoError(t, c.accept(m, time.Now()))
	require.True(t, m.termed.Load(), "dropped")
	c.reportGaps()
	require.Len(t, gaps, 1)
	require.Equal(t, Gap{Account: "contoso", Reason: GapExpired, Since: c.readTo}, gaps[0])

	// Nothing was handed out for longer than bodies live: what was stored right after readTo is gone.
	since := time.Now().Add(-MaxBodyAge - time.Minute)
	c.readTo = since
	c.caughtUp(time.Now())
	c.caughtUp(time.Now())
	c.reportGaps()
	require.Equal(t, []Gap{{"contoso", GapExpired, since}}, gaps[1:], "reported once")

	// A body that was taken, and never dealt with until it was too old.
	m = &oldMsg{stored: time.Now().Add(-MaxBodyAge + stallOver - time.Second)}
	require.NoError(t, c.accept(m, time.Now()))
	c.room(time.Now().Add(stallOver))
	c.room(time.Now().Add(stallOver + time.Minute))
	c.reportGaps()
	require.Len(t, gaps, 3)
	require.Empty(t, c.bodies)
}

func TestFirstStartHasNoGap(t *testing.T) {
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 3)
	bodies := make(chan *Body, 10)
	var gaps atomic.Int32
	stop := consume(t, b, "contoso", nil, func(x *Body) { assert.NoError(t, x.Ack()); bodies <- x }, OnGap(func(Gap) { gaps.Add(1) }))
	for range 3 {
		receive(t, bodies)
	}
	stop()
	stop = consume(t, b, "contoso", nil, func(x *Body) { assert.NoError(t, x.Ack()); bodies <- x }, OnGap(func(Gap) { gaps.Add(1) }))
	storeAll(t, b, "contoso", 1)
	receive(t, bodies)
	stop()
	require.Zero(t, gaps.Load(), "nothing was removed before, and the same process consumed before")
}

func TestProgressKeepsABody(t *testing.T) {
	t.Parallel()
	b := openBus(t, testConfig(t))
	storeAll(t, b, "contoso", 2)
	var handed atomic.Int32
	done := make(chan struct{})
	consume(t, b, "contoso", func([]byte) time.Duration { return 2 * time.Second }, func(x *Body) {
		if handed.Add(1) == 2 {
			defer close(done)
		}
		// Longer than AckWait, one item after the other; the second body waits behind the first.
		ctx, cancel := context.WithTimeout(t.Context(), ackWait+time.Second)
		defer cancel()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			x.Progress()
		}
		assert.NoError(t, x.Ack())
	})
	receive(t, done)
	require.EqualValues(t, 2, handed.Load())
	require.Zero(t, testutil.ToFloat64(b.metrics.redelivered.WithLabelValues("contoso")))
}
