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
	c.pinned = c.pinned && !errors.Is(err, jetstream.ErrPinIDMismatch)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, jetstream.ErrPinIDMismatch) {
		c.durable = nil // it may be gone: made anew with the next attempt
		return fmt.Errorf("pulling: %w", err)
	}
	if got == 0 && err == nil {
		return c.vouch(ctx, began)
	}
	return nil
}

// vouch draws what follows from a pull that began then and brought nothing. To the holder of the pin it says that nothing
// waits; to anybody else it says nothing, since the bodies go to the holder: the server is asked instead. On an
// embedded server there is nobody else.
func (c *consumer) vouch(ctx context.Context, began time.Time) error {
	if c.pinned || c.bus.server != nil {
		c.caughtUp(began)
		return nil
	}
	if began.Sub(c.asked) < vouchEvery {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.bus.cfg.PublishTimeout)
	defer cancel()
	asked := time.Now()
	info, err := c.durable.Info(ctx)
	if err != nil {
		c.durable = nil
		return fmt.Errorf("asking what waits: %w", fromNATS(err))
	}
	c.asked = asked
	if info.NumPending == 0 && info.NumAckPending == 0 {
		c.caughtUp(asked)
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
	info := stream.CachedInfo()
	if c.bus.server == nil {
		c.mu.Lock()
		c.ahead = time.Until(info.TimeStamp)
		c.mu.Unlock()
	}
	oldest, err := c.oldest(ctx, stream, durable.CachedInfo())
	if err != nil {
		return fmt.Errorf("what waits in %s: %w", streamGraphIn, fromNATS(err))
	}
	c.stream = uint64(info.Created.UnixNano())
	c.begin(durable.CachedInfo(), info, oldest)
	c.durable, c.pinned = durable, false
	return nil
}

// oldest is when the first body was stored that still has to be dealt with: now, if there is none.
func (c *consumer) oldest(ctx context.Context, stream jetstream.Stream, info *jetstream.ConsumerInfo) (time.Time, error) {
	now := c.serverTime(time.Now())
	if info.NumPending == 0 && info.NumAckPending == 0 {
		return now, nil
	}
	first, err := stream.GetMsg(ctx, info.AckFloor.Stream+1, jetstream.WithGetMsgSubject(subjectGraphIn+c.account))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return now, nil
	case err != nil:
		return now, err
	}
	return first.Time, nil
}

// begin decides, once, from when on this process answers for every body. Streams drop what is too
// old without a trace, so "nothing was lost" has to be known: from the same process before, from a
// clean stop, from the owner before, or because nothing was removed that had not been acknowledged.
func (c *consumer) begin(info *jetstream.ConsumerInfo, stream *jetstream.StreamInfo, oldest time.Time) {
	known := c.bus.knownReadTo(c.account)
	c.mu.Lock()
	defer c.mu.Unlock()
	if known.Before(c.before) {
		known = c.before
	}
	state := stream.State
	switch {
	case !c.readTo.IsZero():
	case c.bus.server != nil && !known.IsZero():
		c.readTo = known
	case state.FirstSeq <= 1 && state.Msgs == state.LastSeq: // nothing was ever removed
		c.readTo = oldest
	case c.bus.server == nil && state.FirstSeq <= info.AckFloor.Stream+1:
		c.readTo = oldest // nothing that was not acknowledged was removed: streams lose their oldest first
	case !known.IsZero():
		c.readTo = known
	case c.bus.server == nil && stream.TimeStamp.Sub(info.Created) < c.young:
		c.readTo = oldest // nobody owned the account before there was a consumer, and what came since is not that old
	default:
		c.gapLocked(GapUnknown)
		c.readTo = c.serverTime(time.Now())
	}
}

// serverTime is a time by the clock that dates bodies and lets them age.
func (c *consumer) serverTime(t time.Time) time.Time { return t.Add(c.ahead) }

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
		c.pin, c.pinned = pin, true
	}
	if c.serverTime(time.Now()).Sub(body.Stored) > MaxBodyAge {
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
	if c.serverTime(now).Sub(c.readTo) > MaxBodyAge {
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
	c.passed(began, c.serverTime(began))
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
	pin := c.pin
	readTo := c.vouchedLocked() // what was handed out and not acknowledged was not dealt with
	if len(held) > 0 && held[0].Stored.Before(readTo) {
		readTo = held[0].Stored
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
