package bus

import (
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Body is a notification body, handed out to be processed. Its methods may be called from any
// goroutine, and after [Bus.Consume] has returned.
type Body struct {
	Data    []byte
	Seq     uint64    // the order of storing: a later body has a higher one, a body that is handed out again its own
	Stream  uint64    // which stream it is from: one that was made anew counts Seq anew
	Arrived time.Time // at the receiver, by its clock
	Stored  time.Time // by the server's clock

	msg jetstream.Msg
	c   *consumer

	// Guarded by the consumer's lock.
	work    time.Duration // estimated
	handed  bool          // to the handler
	lost    bool          // its time is over: the server hands it out again
	touched time.Time     // when the server last heard of it
	settled bool          // acknowledged or given back
}

func newBody(c *consumer, m jetstream.Msg, meta *jetstream.MsgMetadata) *Body {
	b := &Body{
		Data: m.Data(), Seq: meta.Sequence.Stream, Stored: meta.Timestamp, Arrived: meta.Timestamp,
		Stream: c.stream, msg: m, c: c, touched: time.Now(),
	}
	if at, err := time.Parse(time.RFC3339Nano, m.Headers().Get(headerArrived)); err == nil {
		b.Arrived = at
	}
	return b
}

// Ack says that the body was dealt with: it is removed. A second call does nothing. An error means
// that the body will be handed out again.
func (b *Body) Ack() error {
	if !b.settle() {
		return nil
	}
	b.c.acked.Store(true)
	if err := b.msg.Ack(); err != nil {
		return fmt.Errorf("bus: acknowledging body %d: %w", b.Seq, fromNATS(err))
	}
	return nil
}

// Retry gives the body back, to be handed out again after the delay. One that would be too old by
// then is dropped, and reported as a gap.
func (b *Body) Retry(delay time.Duration) error {
	if !b.settle() {
		return nil
	}
	b.c.mu.Lock()
	tooOld := b.c.serverTime(time.Now()).Sub(b.Stored)+delay >= MaxBodyAge
	b.c.mu.Unlock()
	var err error
	if tooOld {
		err = b.msg.Term()
	} else {
		err = b.msg.NakWithDelay(delay)
	}
	b.c.mu.Lock()
	if tooOld {
		b.c.gapLocked(GapExpired)
	} else {
		b.c.remember(b)
	}
	b.c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("bus: giving body %d back: %w", b.Seq, fromNATS(err))
	}
	return nil
}

// Progress says that work on the body goes on: it gets three seconds more. It is cheap, so call it
// for every item. A call after Ack or Retry does nothing.
func (b *Body) Progress() {
	now := time.Now()
	for _, o := range b.c.progressed(b, now) {
		if err := o.msg.InProgress(); err != nil {
			b.c.bus.cfg.Log.Debug("a sign of life was lost", "account", b.c.account, "err", err)
		}
	}
}

// settle takes the body out of the count; false if that was done before.
func (b *Body) settle() bool {
	b.c.mu.Lock()
	defer b.c.mu.Unlock()
	if b.settled {
		return false
	}
	b.settled = true
	b.c.forget(b)
	if again, ok := b.c.bodies[b.Seq]; ok && !again.handed {
		again.settled = true // a second delivery that nobody has seen yet
		b.c.forget(again)
	}
	b.c.progress = time.Now()
	b.c.broadcast()
	return true
}

// forget takes a body out of the count. The lock is held.
func (c *consumer) forget(b *Body) {
	if c.bodies[b.Seq] == b {
		delete(c.bodies, b.Seq)
	}
	c.held = slices.DeleteFunc(c.held, func(o *Body) bool { return o == b })
}

// remember keeps a body that was given back in mind, in case it grows too old before it is handed
// out again. The lock is held.
func (c *consumer) remember(b *Body) {
	if _, ok := c.bodies[b.Seq]; !ok {
		b.lost = true
		c.bodies[b.Seq] = b
	}
}

// progressed notes a sign of life and returns the bodies that the server has to hear of: the one that
// gave it, and those that wait behind it without having been handed out.
func (c *consumer) progressed(b *Body, now time.Time) []*Body {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.settled {
		return nil
	}
	woken := now.Sub(c.progress) >= stallAfter
	c.progress = now
	if woken {
		c.broadcast()
	}
	var tell []*Body
	for _, o := range append([]*Body{b}, c.held...) {
		if now.Sub(o.touched) >= touchEvery {
			o.touched = now
			tell = append(tell, o)
		}
	}
	return tell
}
