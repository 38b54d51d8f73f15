package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// headerPin is the server's name for the pin that a body was delivered under.
const headerPin = "Nats-Pin-Id"

func durableName(account string) string { return "owner-" + account }

// consumerConfig is the durable consumer of an account. The pinned client makes ownership by several
// replicas possible; with one replica it changes nothing.
func consumerConfig(account string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:        durableName(account),
		Description:    "bodies of " + account + " on their way to its owner",
		FilterSubject:  subjectGraphIn + account,
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        ackWait,
		MaxDeliver:     -1,
		MaxAckPending:  maxBodies,
		PriorityPolicy: jetstream.PriorityPolicyPinned,
		PinnedTTL:      pinnedTTL,
		PriorityGroups: []string{pinGroup},
	}
}

// fetchLoop pulls bodies while there is room for them. An error of the server's is waited out.
func (c *consumer) fetchLoop(ctx context.Context) error {
	defer c.reportGaps()
	for ctx.Err() == nil {
		if err := c.fetch(ctx); err != nil && ctx.Err() == nil {
			c.bus.cfg.Log.Warn("taking bodies off the bus failed, trying again", "account", c.account, "err", err)
			pause(ctx, retryPause, nil)
		}
		c.reportGaps()
		c.removeProcessed(ctx)
	}
	return nil
}

// pause waits for the time to pass, for a change, or for ctx to end.
func pause(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-ctx.Done():
	}
}

// fetch makes one pull, or waits until there is room for one.
func (c *consumer) fetch(ctx context.Context) error {
	if c.durable == nil {
		if err := c.attach(ctx); err != nil {
			return err
		}
	}
	n, again, changed := c.room(time.Now())
	if n > 0 && n < maxBodies/2 && c.busy() {
		pause(ctx, gatherRoom, nil)
		n, again, changed = c.room(time.Now())
	}
	if n == 0 {
		pause(ctx, again, changed)
		return nil
	}
	began := time.Now()
	// The library asks the server for nine tenths of what the context allows.
	pctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pullExpiry*10/9)
	defer cancel()
	// Leaving with bodies to give back waits for the pull to end: the server would try to give them
	// to a pull that was withdrawn first, and lose their order.
	defer context.AfterFunc(ctx, func() {
		if !c.busy() {
			cancel()
		}
	})()
	batch, err := c.durable.Fetch(n, jetstream.FetchContext(pctx), jetstream.FetchPriorityGroup(pinGroup))
	if err != nil {
		c.durable = nil
		return fmt.Errorf("pulling: %w", err)
	}
	got := 0
	for m := range batch.Messages() {
		got++
		if err := c.accept(m, began); err != nil {
			return err
		}
	}
	err = batch.Error()
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, jetstream.ErrPinIDMismatch) {
		c.durable = nil // it may be gone: made anew with the next attempt
		return fmt.Errorf("pulling: %w", err)
	}
	if got == 0 && err == nil {
		c.caughtUp(began)
	}
	return nil
}

// busy tells whether the handler has something to do meanwhile.
func (c *consumer) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.bodies) > 0
}

// attach creates or finds the consumer, and works out what may have been missed before.
func (c *consumer) attach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.bus.cfg.PublishTimeout)
	defer cancel()
	durable, err := c.bus.js.CreateOrUpdateConsumer(ctx, streamGraphIn, consumerConfig(c.account))
	if err != nil {
		return fmt.Errorf("consumer %s: %w", durableName(c.account), fromNATS(err))
	}
	stream, err := c.bus.js.Stream(ctx, streamGraphIn)
	if err != nil {
		return fmt.Errorf("stream %s: %w", streamGraphIn, fromNATS(err))
	}
	c.begin(durable.CachedInfo(), stream.CachedInfo().State)
	c.durable = durable
	return nil
}

// begin decides, once, from when on this process answers for every body. Streams drop what is too
// old without a trace, so "nothing was lost" has to be known: from the same process before, from a
// clean stop, from the consumer's last delivery, or because nothing was ever stored.
func (c *consumer) begin(info *jetstream.ConsumerInfo, state jetstream.StreamState) {
	known := c.bus.knownReadTo(c.account)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.readTo.IsZero():
	case !known.IsZero():
		c.readTo = known
	case state.FirstSeq <= 1 && state.Msgs == state.LastSeq: // nothing was ever removed
		c.readTo = time.Now()
	case c.bus.dir == nil && info.Delivered.Last != nil:
		c.readTo = *info.Delivered.Last
		if floor := info.AckFloor.Last; info.NumAckPending > 0 && floor != nil && floor.Before(c.readTo) {
			c.readTo = *floor
		}
	default:
		c.gapLocked(GapUnknown)
		c.readTo = time.Now()
	}
}

// knownReadTo is how far this process, or the one that stopped cleanly before it, had read.
func (b *Bus) knownReadTo(account string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t, ok := b.readTo[account]; ok {
		return t
	}
	if b.dir != nil && b.dir.clean != nil {
		return b.dir.clean.ReadTo[account]
	}
	return time.Time{}
}

// accept takes a body over. The pull that brought it began at that time.
func (c *consumer) accept(m jetstream.Msg, began time.Time) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("reading a body's metadata: %w", err)
	}
	body := newBody(c, m, meta)
	body.work = c.estimate(body.Data)
	if meta.NumDelivered > 1 {
		c.bus.metrics.redelivered.WithLabelValues(c.account).Inc()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed(began, meta.Timestamp)
	c.learn(body.work)
	if pin := m.Headers().Get(headerPin); pin != "" {
		c.pin = pin
	}
	if time.Since(body.Stored) > MaxBodyAge {
		c.gapLocked(GapExpired)
		return fromNATS(m.Term())
	}
	if old, ok := c.bodies[body.Seq]; ok {
		c.forget(old) // handed out again: the new one replaces it
	}
	if taken, _ := c.load(func(*Body) bool { return true }); taken == 0 {
		c.progress = time.Now() // the clock of a stall starts with the first body
	}
	c.bodies[body.Seq] = body
	c.held = append(c.held, body)
	c.broadcast()
	return nil
}

// passed moves the mark up to which everything was handed out, and reports what aged away between the
// mark and now. The lock is held.
func (c *consumer) passed(now, to time.Time) {
	if now.Sub(c.readTo) > MaxBodyAge {
		c.gapLocked(GapExpired)
	}
	if to.After(c.readTo) {
		c.readTo = to
	}
}

// caughtUp notes that a pull that began then found nothing that waits.
func (c *consumer) caughtUp(began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed(began, began)
}

// learn keeps the average work of a body; a heavy one counts at once, so that the next pull is small.
func (c *consumer) learn(work time.Duration) {
	c.known = true
	c.average = max(work, (7*c.average+work)/8)
}

// removeProcessed removes, once a second at most, the bodies of the account up to the consumer's
// acknowledgement floor: below it everything was acknowledged.
func (c *consumer) removeProcessed(ctx context.Context) {
	now := time.Now()
	if c.durable == nil || !c.acked.Load() || now.Sub(c.removed) < removeEvery {
		return
	}
	c.removed = now
	c.acked.Store(false)
	if err := c.remove(ctx); err != nil && ctx.Err() == nil {
		c.acked.Store(true)
		c.bus.cfg.Log.Warn("processed bodies were not removed, trying again", "account", c.account, "err", err)
	}
}

func (c *consumer) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.bus.cfg.PublishTimeout)
	defer cancel()
	info, err := c.durable.Info(ctx)
	if err != nil {
		return fromNATS(err)
	}
	floor := info.AckFloor.Stream
	if info.NumAckPending > 0 {
		c.acked.Store(true) // more to come
	}
	if floor <= c.floor {
		return nil
	}
	err = c.bus.stream(streamGraphIn).Purge(ctx,
		jetstream.WithPurgeSubject(subjectGraphIn+c.account), jetstream.WithPurgeSequence(floor+1))
	if err != nil {
		return fromNATS(err)
	}
	c.floor = floor
	return nil
}

// leave stops for good: what was not handed out goes back at once, in order, and so does the pin.
func (c *consumer) leave() {
	c.mu.Lock()
	held := c.held
	c.held = nil
	for _, b := range held {
		delete(c.bodies, b.Seq)
	}
	readTo, pin := c.readTo, c.pin
	if len(held) > 0 {
		readTo = held[0].Stored
	}
	for _, b := range c.bodies { // handed out, and not acknowledged: not dealt with
		if b.Stored.Before(readTo) {
			readTo = b.Stored
		}
	}
	c.gauges(0, 0)
	c.mu.Unlock()
	c.bus.mu.Lock()
	c.bus.readTo[c.account] = readTo
	c.bus.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.bus.ctx), c.bus.cfg.PublishTimeout)
	defer cancel()
	c.removed = time.Time{}
	c.removeProcessed(ctx)
	for _, b := range held {
		if err := b.msg.Nak(); err != nil {
			c.bus.cfg.Log.Debug("a body was not given back, it will be handed out after its time", "account", c.account, "err", err)
		}
	}
	if err := c.unpin(ctx, pin); err != nil {
		c.bus.cfg.Log.Debug("the pin was left to lapse", "account", c.account, "err", err)
	}
}

// unpin lets whoever comes next have the account now rather than when the pin lapses.
func (c *consumer) unpin(ctx context.Context, pin string) error {
	if pin == "" {
		return nil
	}
	stream := c.bus.stream(streamGraphIn)
	durable, err := stream.Consumer(ctx, durableName(c.account))
	if err != nil {
		return err
	}
	for _, g := range durable.CachedInfo().PriorityGroups {
		if g.Group == pinGroup && g.PinnedClientID == pin {
			return stream.UnpinConsumer(ctx, durableName(c.account), pinGroup)
		}
	}
	return nil
}
