package bus

import (
	"context"
	"fmt"
	"math"
	"time"
)

const (
	gaugeInterval = 15 * time.Second
	// restartAfter is how many publishes in a row may go unanswered (design, "Back-pressure").
	restartAfter = 3
	restartRetry = 2 * time.Second
	ensureWait   = 10 * time.Second
)

// answered forgets the timeouts: somebody is there.
func (b *Bus) answered() { b.timeouts.Store(0) }

// timedOut counts a publish that nobody answered. After three in a row the embedded server is
// restarted: a write error (a full disk) leaves a stream dead until then, even when there is room again.
func (b *Bus) timedOut() {
	b.timedOutAt.Store(time.Now().UnixNano())
	if b.timeouts.Add(1) < restartAfter || b.server == nil {
		return
	}
	select {
	case b.restart <- struct{}{}:
	default: // already asked for
	}
}

// housekeep restarts the embedded server when asked to, and keeps the gauges of the streams.
func (b *Bus) housekeep() {
	tick := time.NewTicker(gaugeInterval)
	defer tick.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-b.restart:
			b.restartServer()
		case <-tick.C:
			b.measureStreams()
		}
	}
}

func (b *Bus) measureStreams() {
	ctx, cancel := context.WithTimeout(b.ctx, b.cfg.PublishTimeout)
	defer cancel()
	for _, cfg := range streamConfigs(b.cfg) {
		stream, err := b.js.Stream(ctx, cfg.Name)
		if err != nil {
			return // the next tick tries again; Ready tells what is wrong
		}
		state := stream.CachedInfo().State
		b.metrics.bytes.WithLabelValues(cfg.Name).Set(float64(state.Bytes))
		b.metrics.messages.WithLabelValues(cfg.Name).Set(float64(state.Msgs))
	}
}

// restartServer stops the embedded server and starts it until it stays up. The client reconnects by
// itself, durable consumers are on disk, and what lived in memory is made anew.
func (b *Bus) restartServer() {
	b.restarting.Store(true)
	defer b.restarting.Store(false)
	b.metrics.restarts.Inc()
	b.cfg.Log.Error("restarting the embedded nats server: stores go unanswered", "timeouts", b.timeouts.Load())
	b.server.stop()
	for {
		err := b.startAgain()
		if err == nil {
			break
		}
		b.cfg.Log.Error("the embedded nats server does not start", "err", err)
		select {
		case <-b.ctx.Done():
			return
		case <-time.After(restartRetry):
		}
	}
	b.timeouts.Store(0)
	select { // a request from before the restart has been served
	case <-b.restart:
	default:
	}
	b.cfg.Log.Info("embedded nats server restarted")
}

func (b *Bus) startAgain() error {
	ctx, cancel := context.WithTimeout(b.ctx, serverReadyWait)
	defer cancel()
	if b.server.running() != nil {
		b.server.stop()
		if err := b.server.start(ctx); err != nil {
			return err
		}
	}
	if err := b.awaitReconnect(ctx); err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(b.ctx, ensureWait)
	defer cancel()
	return b.ensureStreams(ctx)
}

// awaitReconnect waits until the client has found the server that runs now.
func (b *Bus) awaitReconnect(ctx context.Context) error {
	for b.nc.ConnectedServerId() != b.server.id() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reconnectWait / 10):
		}
	}
	return nil
}

// shrinkStreams makes room for a max_store that was lowered: the server refuses every change of a
// stream, also to less, while all together may hold more than its own limit. So the streams shrink
// under a server without one.
func (b *Bus) shrinkStreams(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serverReadyWait)
	defer cancel()
	b.cfg.Log.Info("nats.max_store was lowered, shrinking the streams", "max_store", b.cfg.MaxStore)
	for _, limit := range []int64{math.MaxInt64 / 2, b.cfg.MaxStore} {
		b.server.stop()
		b.server.max = limit
		if err := b.server.start(ctx); err != nil {
			return err
		}
		if err := b.awaitReconnect(ctx); err != nil {
			return fmt.Errorf("bus: reconnecting to the embedded server: %w", err)
		}
		if err := b.ensureStreams(ctx); err != nil {
			return err
		}
	}
	return nil
}
