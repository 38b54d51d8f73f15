package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// scanBatch is how many messages a scan asks for at a time.
const scanBatch = 1000

// scan is one read through a stream.
type scan struct {
	stream  string
	config  jetstream.OrderedConsumerConfig
	barrier uint64 // a sequence that the read has to reach; 0: what is there when it begins
}

// scan visits the messages of a stream in order, each once, until the barrier, or until none is left.
func (b *Bus) scan(ctx context.Context, s scan, each func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	if b.closed.Load() {
		return ErrClosed
	}
	consumer, err := b.js.OrderedConsumer(ctx, s.stream, s.config)
	if err != nil {
		return fromNATS(err)
	}
	info := consumer.CachedInfo()
	defer b.dropConsumer(s.stream, consumer)
	if s.barrier == 0 && info.NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(scanBatch))
	if err != nil {
		return fromNATS(err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return scanError(ctx, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if err := each(m, meta); err != nil {
			return err
		}
		if s.barrier == 0 && meta.NumPending == 0 || s.barrier > 0 && meta.Sequence.Stream >= s.barrier {
			return nil
		}
	}
}

func scanError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
		return ErrClosed
	}
	return fromNATS(err)
}

// dropConsumer removes a scan's consumer at once instead of after its time of inactivity.
func (b *Bus) dropConsumer(stream string, c jetstream.Consumer) {
	info := c.CachedInfo()
	if info == nil || b.closed.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.cfg.PublishTimeout)
	defer cancel()
	err := b.js.DeleteConsumer(ctx, stream, info.Name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		b.cfg.Log.Debug("a reader's consumer was left to expire", "stream", stream, "err", err)
	}
}
