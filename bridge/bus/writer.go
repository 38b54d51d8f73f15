package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"golang.org/x/sync/semaphore"
)

const (
	// batchFrom is how many writes have to wait together to go as one atomic batch: below it the
	// staging of a batch costs more than the flushes that it saves.
	batchFrom = 8
	// writeOverhead is what a waiting write counts beside its size, in bytes.
	writeOverhead = 1 << 10
	// batchRoom is left for the headers of a batch when a message is measured against the server's limit.
	batchRoom = 512

	// Headers of an atomic batch (NATS ADR-50).
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// limits bound one writer.
type limits struct {
	queue  int64         // bytes that may wait, each write counted as its size and writeOverhead
	writes int           // writes that are flushed together (the server takes 1,000 in a batch)
	bytes  int           // and their bytes
	linger time.Duration // how long the first write waits for company, unless a whole group waits already
}

// The limits of the three kinds of streams.
var (
	notificationLimits = limits{queue: 64 << 20, writes: 128, bytes: 4 << 20}
	bucketLimits       = limits{queue: 64 << 20, writes: 500, bytes: 4 << 20}
	// Nobody waits for a feed, so it collects: fewer flushes of the disk, and fewer batches, of which the
	// server stages each in a folder of its own.
	feedLimits = limits{queue: 16 << 20, writes: 500, bytes: 4 << 20, linger: 250 * time.Millisecond}
)

// write is one message that waits to be stored.
type write struct {
	msg    *nats.Msg
	single bool // its subject may be written once at a time (compare-and-set)
	done   func(seq uint64, err error)
	at     time.Time
	cost   int64
}

// writer stores the messages of one stream in groups: while one group is under way the next one
// gathers. That makes one flush of the disk serve many callers, and keeps one write per key in flight.
type writer struct {
	bus    *Bus
	stream string
	limits limits
	// batchFrom is how many writes have to wait together to go as one atomic batch; 0 is never.
	batchFrom int
	room      *semaphore.Weighted

	mu      sync.Mutex
	queue   []*write
	closing bool
	wake    chan struct{} // one token: something was queued, or the writer closes
	full    chan struct{} // one token: a whole group waits, or the writer closes
	ended   chan struct{} // closed when the goroutine has written everything
}

func newWriter(b *Bus, stream string, l limits) *writer {
	w := &writer{
		bus: b, stream: stream, limits: l,
		batchFrom: b.batchFrom(stream),
		room:      semaphore.NewWeighted(l.queue),
		wake:      make(chan struct{}, 1),
		full:      make(chan struct{}, 1),
		ended:     make(chan struct{}),
	}
	b.wg.Go(w.run)
	return w
}

// batchFrom is from how many writes on a batch is worth it for a stream: where every message would be
// flushed for itself, or agreed on by the replicas. Otherwise staging a batch costs ten times what it
// saves (DESIGN.md has the numbers).
func (b *Bus) batchFrom(stream string) int {
	c := b.stream(stream).CachedInfo().Config
	flushed := b.server != nil && b.cfg.Sync == SyncAlways && c.Storage == jetstream.FileStorage
	if flushed || c.Replicas > 1 {
		return batchFrom
	}
	return 0
}

// enqueue queues a write, waiting for room until ctx ends.
func (w *writer) enqueue(ctx context.Context, m *nats.Msg, single bool, done func(uint64, error)) error {
	p, err := w.newWrite(m, single, done)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // given up before it began; that says nothing about the queue
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := w.room.Acquire(ctx, p.cost); err != nil {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return w.push(p)
}

// tryEnqueue queues a write if there is room.
func (w *writer) tryEnqueue(m *nats.Msg, single bool, done func(uint64, error)) error {
	p, err := w.newWrite(m, single, done)
	if err != nil {
		return err
	}
	if !w.room.TryAcquire(p.cost) {
		return ErrBusy
	}
	return w.push(p)
}

func (w *writer) newWrite(m *nats.Msg, single bool, done func(uint64, error)) (*write, error) {
	size := int64(m.Size())
	// Here, since in a batch it would cost the others too.
	if limit := w.bus.nc.MaxPayload() - batchRoom; size > limit {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, size, limit)
	}
	return &write{msg: m, single: single, done: done, at: time.Now(), cost: size + writeOverhead}, nil
}

func (w *writer) push(p *write) error {
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		w.room.Release(p.cost)
		return ErrClosed
	}
	w.queue = append(w.queue, p)
	full := len(w.queue) >= w.limits.writes
	w.mu.Unlock()
	w.gauge(1, p.cost)
	signal(w.wake)
	if full {
		signal(w.full)
	}
	return nil
}

func (w *writer) gauge(writes float64, bytes int64) {
	w.bus.metrics.queue.WithLabelValues(w.stream).Add(writes)
	w.bus.metrics.queueBytes.WithLabelValues(w.stream).Add(float64(bytes))
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// close refuses new writes and waits until the queued ones are written or ctx ends; then the rest
// fails when the bus goes down.
func (w *writer) close(ctx context.Context) error {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	signal(w.wake)
	signal(w.full)
	select {
	case <-w.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("bus: stream %s: writes still wait: %w", w.stream, ctx.Err())
	}
}

func (w *writer) run() {
	defer close(w.ended)
	for {
		w.gather()
		group := w.take()
		if len(group) > 0 {
			w.flush(group)
			continue
		}
		w.mu.Lock()
		over := w.closing && len(w.queue) == 0
		w.mu.Unlock()
		if over {
			return
		}
		select {
		case <-w.wake:
		case <-w.bus.ctx.Done():
			w.abandon()
			return
		}
	}
}

// gather lets company arrive, where the stream's limits allow for it: also for what was queued while the last
// group was being written, or else a steady trickle would go one by one.
func (w *writer) gather() {
	wait, ok := w.patience()
	if !ok {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-w.bus.ctx.Done():
			return
		case <-w.full: // may be a token of an earlier group
			if _, ok := w.patience(); !ok {
				return
			}
		}
	}
}

// patience is how much longer the first write of the queue waits for company; false: not at all.
func (w *writer) patience() (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 || w.closing || len(w.queue) >= w.limits.writes {
		return 0, false
	}
	wait := w.limits.linger - time.Since(w.queue[0].at)
	return wait, wait > 0
}

// take removes the next group from the queue: in order, and never two writes of one single subject.
// Once a write has to wait, so do all later ones of its subject.
func (w *writer) take() []*write {
	w.mu.Lock()
	defer w.mu.Unlock()
	var group, rest []*write
	seen := make(map[string]bool)
	size := 0
	for i, p := range w.queue {
		if len(group) == w.limits.writes || (len(group) > 0 && size+p.msg.Size() > w.limits.bytes) {
			rest = append(rest, w.queue[i:]...)
			break
		}
		if p.single && seen[p.msg.Subject] {
			rest = append(rest, p)
			continue
		}
		seen[p.msg.Subject] = true
		group = append(group, p)
		size += p.msg.Size()
	}
	w.queue = rest
	return group
}

// abandon fails what was not written when the bus went down.
func (w *writer) abandon() {
	w.mu.Lock()
	rest := w.queue
	w.queue, w.closing = nil, true
	w.mu.Unlock()
	for _, p := range rest {
		w.finish(p, 0, ErrClosed)
	}
}

func (w *writer) finish(p *write, seq uint64, err error) {
	w.room.Release(p.cost)
	w.gauge(-1, -p.cost)
	w.bus.metrics.wrote(w.stream, p.at, err)
	p.done(seq, err)
}

// flush writes one group and answers every one of its callers.
func (w *writer) flush(group []*write) {
	w.bus.metrics.batch.WithLabelValues(w.stream).Observe(float64(len(group)))
	if w.batchFrom == 0 || len(group) < w.batchFrom {
		w.flushSingly(group)
		return
	}
	last, err := w.publishBatch(group)
	if api := (*jetstream.APIError)(nil); errors.As(err, &api) {
		// One bad revision (or id already stored, or a full stream) refuses the whole batch:
		// nothing of it was stored, so each finds out for itself.
		w.flushSingly(group)
		return
	}
	w.heard(err)
	first := last - uint64(len(group)) + 1
	for i, p := range group {
		if err != nil {
			w.finish(p, 0, fromNATS(err))
			continue
		}
		w.finish(p, first+uint64(i), nil)
	}
}

// heard keeps the count of publishes that nobody answered: one for a whole group. A publish that
// could not even be sent says nothing.
func (w *writer) heard(err error) {
	var api *jetstream.APIError
	switch {
	case err == nil || errors.As(err, &api):
		w.bus.answered()
	case isTimeout(err):
		w.bus.timedOut()
	}
}

// flushSingly publishes the group as single messages, one behind the other, and then waits for all.
func (w *writer) flushSingly(group []*write) {
	futures := make([]jetstream.PubAckFuture, len(group))
	errs := make([]error, len(group))
	for i, p := range group {
		// The library adds its reply subject to the message, which is ours and used once.
		futures[i], errs[i] = w.bus.js.PublishMsgAsync(p.msg)
	}
	var worst error
	for i, p := range group {
		seq, err := uint64(0), errs[i]
		if err == nil {
			seq, err = wait(futures[i])
		}
		if err != nil && (worst == nil || isTimeout(err)) {
			worst = err
		}
		w.finish(p, seq, fromNATS(err))
	}
	w.heard(worst)
}

func wait(f jetstream.PubAckFuture) (uint64, error) {
	select {
	case ack := <-f.Ok():
		return ack.Sequence, nil
	case err := <-f.Err():
		return 0, err
	}
}

// batchAck is the answer to the commit of a batch.
type batchAck struct {
	Error    *jetstream.APIError `json:"error"`
	Sequence uint64              `json:"seq"`
	Batch    string              `json:"batch"`
	Count    int                 `json:"count"`
}

// publishBatch stores the group as one atomic batch and returns the sequence of its last message;
// the others have the ones right before it. An error of type *jetstream.APIError means that nothing
// was stored; any other, that nobody knows.
func (w *writer) publishBatch(group []*write) (uint64, error) {
	ctx, cancel := context.WithTimeout(w.bus.ctx, w.bus.cfg.PublishTimeout)
	defer cancel()
	id := nuid.Next()
	for i, p := range group[:len(group)-1] {
		if err := w.bus.nc.PublishMsg(batchMsg(p.msg, id, i+1, false)); err != nil {
			return 0, fmt.Errorf("publishing a batch: %w", err)
		}
	}
	answer, err := w.bus.nc.RequestMsgWithContext(ctx, batchMsg(group[len(group)-1].msg, id, len(group), true))
	if err != nil {
		return 0, fmt.Errorf("committing a batch: %w", err)
	}
	var ack batchAck
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("reading the answer to a batch: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Batch != id || ack.Count != len(group) {
		return 0, fmt.Errorf("%w: the server committed %d messages of batch %q, expected %d of %q",
			ErrUnavailable, ack.Count, ack.Batch, len(group), id)
	}
	return ack.Sequence, nil
}

// batchMsg is a copy of the message with the headers of its place in the batch.
func batchMsg(m *nats.Msg, id string, seq int, commit bool) *nats.Msg {
	h := make(nats.Header, len(m.Header)+3)
	maps.Copy(h, m.Header)
	h.Set(headerBatchID, id)
	h.Set(headerBatchSeq, strconv.Itoa(seq))
	if commit {
		h.Set(headerBatchCommit, "1")
	}
	return &nats.Msg{Subject: m.Subject, Header: h, Data: m.Data}
}
