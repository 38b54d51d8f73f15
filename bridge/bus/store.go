package bus

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// headerArrived is when the body reached the receiver, RFC 3339 with nanoseconds.
	headerArrived = "Presence-Arrived"
	// headerPart is "1/3" on a body that was split.
	headerPart = "Presence-Part"
)

// StoreNotification stores one body as Graph posted it, and returns once it is safe. id is the
// de-duplication id ("" for none): a second body of this account with the same id within five
// minutes counts as stored. A body above the server's limit is split between its items.
//
// Errors: [ErrNoSpace], [ErrFull], [ErrBusy], [ErrUnavailable], [ErrTooLarge] (one item does not
// fit into a message, or the body cannot be split), [ErrClosed], [ErrInvalid].
func (b *Bus) StoreNotification(ctx context.Context, account string, body []byte, arrived time.Time, id string) error {
	if err := checkAccount(account); err != nil {
		return err
	}
	err := b.storeNotification(ctx, account, body, arrived, id)
	if err != nil {
		b.metrics.refused.WithLabelValues(account, string(reasonOf(err))).Inc()
		return fmt.Errorf("storing a notification of %s: %w", account, err)
	}
	b.metrics.stored.WithLabelValues(account).Inc()
	b.metrics.storedBytes.WithLabelValues(account).Add(float64(len(body)))
	return nil
}

func (b *Bus) storeNotification(ctx context.Context, account string, body []byte, arrived time.Time, id string) error {
	if err := b.accepting(); err != nil {
		return err
	}
	if int64(len(body)) <= b.MaxBody() {
		return b.storeBody(ctx, notification(account, body, arrived, id))
	}
	parts, err := split(body, int(b.MaxBody()))
	if err != nil {
		return err
	}
	b.metrics.split.WithLabelValues(account).Inc()
	for i, part := range parts {
		m := notification(account, part, arrived, "")
		place := strconv.Itoa(i+1) + "/" + strconv.Itoa(len(parts))
		m.Header.Set(headerPart, place)
		if id != "" {
			// A retry of a body of which only some parts were stored stores the others.
			m.Header.Set(jetstream.MsgIDHeader, account+"."+id+"."+place)
		}
		if err := b.storeBody(ctx, m); err != nil {
			return fmt.Errorf("part %s: %w", place, err)
		}
	}
	return nil
}

// accepting tells why nothing new can be taken, if so.
func (b *Bus) accepting() error {
	if b.closed.Load() {
		return ErrClosed
	}
	if b.restarting.Load() {
		return fmt.Errorf("%w: the embedded server is being restarted", ErrUnavailable)
	}
	return b.space.check()
}

func notification(account string, body []byte, arrived time.Time, id string) *nats.Msg {
	m := &nats.Msg{Subject: subjectGraphIn + account, Data: body, Header: nats.Header{}}
	m.Header.Set(headerArrived, arrived.UTC().Format(time.RFC3339Nano))
	if id != "" {
		m.Header.Set(jetstream.MsgIDHeader, account+"."+id)
	}
	return m
}

func (b *Bus) storeBody(ctx context.Context, m *nats.Msg) error {
	_, err := b.notifications.store(ctx, m, false)
	return err
}

// result is the answer to one write.
type result struct {
	seq uint64
	err error
}

// store queues a write and waits for its answer. When ctx ends first the write may still land.
func (w *writer) store(ctx context.Context, m *nats.Msg, single bool) (uint64, error) {
	answer := make(chan result, 1)
	if err := w.enqueue(ctx, m, single, func(seq uint64, err error) { answer <- result{seq, err} }); err != nil {
		return 0, err
	}
	select {
	case r := <-answer:
		return r.seq, r.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}
