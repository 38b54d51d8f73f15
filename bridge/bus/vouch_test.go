package bus

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// processed has an owner of its own deal with some bodies of an account.
func processed(t *testing.T, cfg Config, account string, n int) {
	t.Helper()
	b := openBus(t, cfg)
	bodies := make(chan *Body, n)
	stop := consume(t, b, account, nil, func(x *Body) { bodies <- x })
	storeAll(t, b, account, n)
	for range n {
		require.NoError(t, receive(t, bodies).Ack())
	}
	stop()
	require.WithinDuration(t, time.Now(), b.Vouched(account), time.Minute)
	// Until the acknowledgements have arrived and what was acknowledged is gone.
	require.Eventually(t, func() bool { return ownerInfo(t, b, account).NumAckPending == 0 }, patience, 10*time.Millisecond)
	require.NoError(t, b.stream(streamGraphIn).Purge(t.Context(), jetstream.WithPurgeSubject(subjectGraphIn+account)))
	closeBus(t, b)
}

// TestTakeOverVouches: an owner that follows another one, or comes back, knows what was dealt with before: it neither
// invents a gap nor misses one.
func TestTakeOverVouches(t *testing.T) {
	t.Parallel()
	s := runServer(t, &server.Options{})
	cfg := externalConfig(t, s.ClientURL())
	gapsOf := func(account string, opts ...ConsumeOption) []Gap {
		b := openBus(t, cfg)
		gaps := make(chan Gap, 10)
		began := time.Now()
		stop := consume(t, b, account, nil, func(x *Body) { assert.NoError(t, x.Ack()) }, append(opts, OnGap(func(g Gap) { gaps <- g }))...)
		// It has looked, when it vouches for the time since it began.
		await(t, func() bool { return b.Vouched(account).After(began.Add(-time.Second)) }, "it vouches")
		stop()
		closeBus(t, b)
		close(gaps)
		var out []Gap
		for g := range gaps {
			out = append(out, g)
		}
		return out
	}
	processed(t, cfg, "contoso", 3)
	require.Empty(t, gapsOf("contoso"), "nothing was removed that had not been acknowledged")

	// Another account's bodies came and went since: what the stream dropped cannot be told apart any more.
	processed(t, cfg, "fabrikam", 3)
	require.Empty(t, gapsOf("contoso", ReadTo(time.Now().Add(-time.Minute))), "the owner before had said how far it was")
	gaps := gapsOf("contoso", ReadTo(time.Now().Add(-2*MaxBodyAge)))
	require.Len(t, gaps, 1)
	require.Equal(t, GapExpired, gaps[0].Reason, "longer ago than bodies live")
	require.Empty(t, gapsOf("contoso"), "the account is too new to have lost anything")
	gaps = gapsOf("contoso", func(c *consumer) { c.young = 0 })
	require.Len(t, gaps, 1)
	require.Equal(t, GapUnknown, gaps[0].Reason)
	require.Empty(t, gapsOf("tailspin"), "one that nobody owned before")
}

// TestStandbyVouchesForNothing: a pull that brings nothing to a replica without the pin says nothing.
func TestStandbyVouchesForNothing(t *testing.T) {
	t.Parallel()
	s := runServer(t, &server.Options{})
	cfg := externalConfig(t, s.ClientURL())
	owner, standby := openBus(t, cfg), openBus(t, cfg)
	bodies := make(chan *Body, 10)
	consume(t, owner, "contoso", nil, func(x *Body) { bodies <- x })
	storeAll(t, owner, "contoso", 1)
	body := receive(t, bodies)
	stop := consume(t, standby, "contoso", nil, func(x *Body) { t.Errorf("body %d came to the standby", x.Seq) })
	await(t, func() bool { return !standby.Vouched("contoso").IsZero() }, "it is attached")
	for range 5 { // pulls of the standby
		body.Progress()
		pause(t.Context(), pullExpiry, nil)
	}
	require.False(t, standby.Vouched("contoso").After(body.Stored), "the owner has not dealt with it")
	require.NoError(t, body.Ack())
	await(t, func() bool { return owner.Vouched("contoso").After(body.Stored) }, "the holder of the pin knows")
	stop()
}

// TestOldestThatWaits: what waits bounds what may be vouched for.
func TestOldestThatWaits(t *testing.T) {
	t.Parallel()
	s := runServer(t, &server.Options{})
	cfg := externalConfig(t, s.ClientURL())
	b := openBus(t, cfg)
	storeAll(t, b, "contoso", 2)
	first := time.Now()
	bodies := make(chan *Body, 10)
	consume(t, b, "contoso", nil, func(x *Body) { bodies <- x })
	receive(t, bodies)
	require.False(t, b.Vouched("contoso").After(first), "the first one is not dealt with")
}
