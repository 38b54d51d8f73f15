package bus

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// BucketName names one of the buckets.
type BucketName string

// The buckets (design, section 4). A key is `<account>.<key>`; in Replicas, which lives in memory,
// there are no accounts and the account is "".
const (
	State     BucketName = "state"
	Directory BucketName = "directory"
	Monitors  BucketName = "monitors"
	Replicas  BucketName = "replicas"
)

// prefix is what JetStream's key-value buckets put before the key.
func (n BucketName) prefix() string { return "$KV." + string(n) + "." }

const (
	// headerKey is the caller's own key, escaped, where it cannot be told from the subject.
	headerKey = "Presence-Key"
	// headerOperation and its values are those of JetStream's key-value buckets.
	headerOperation = "KV-Operation"
	operationDelete = "DEL"
	// headerTTL lets a message expire.
	headerTTL = "Nats-TTL"
	// tombstoneTTL is how long a deleted entry's marker stays. Compare-and-set is right without
	// it; it is there for watchers of the bucket.
	tombstoneTTL = time.Hour
	// barrierTTL is how long the marker of a full read stays.
	barrierTTL = time.Minute
	// maxKey is the longest key in bytes; it has to fit into a header, escaped.
	maxKey = 4 << 10
)

// Entry is one stored value.
type Entry struct {
	Key      string    // as the caller gave it when it was put
	Value    []byte    // owned by the receiver
	Revision uint64    // what the next Put has to name
	Stored   time.Time // by the server's clock
}

// Bucket is a set of values with revisions. Its streams are ordinary JetStream key-value buckets,
// which other tools can read.
type Bucket struct {
	bus    *Bus
	name   BucketName
	stream string
	writer *writer
}

// Bucket returns the bucket of that name, nil if there is none.
func (b *Bus) Bucket(name BucketName) *Bucket { return b.buckets[name] }

// subject is where a key lives.
func (k *Bucket) subject(account, key string) (string, error) {
	pre, err := k.accountPrefix(account)
	if err != nil {
		return "", err
	}
	if key == "" || len(key) > maxKey {
		return "", fmt.Errorf("%w: a key of %d bytes: use 1 to %d", ErrInvalid, len(key), maxKey)
	}
	return pre + token(key), nil
}

// accountPrefix is the part of the subject that all keys of the account have in common.
func (k *Bucket) accountPrefix(account string) (string, error) {
	if k.name == Replicas {
		if account != "" {
			return "", fmt.Errorf("%w: account %q: bucket %s has no accounts", ErrInvalid, account, k.name)
		}
		return k.name.prefix(), nil
	}
	if err := checkAccount(account); err != nil {
		return "", err
	}
	return k.name.prefix() + account + ".", nil
}

// Put stores a value if the entry is still at that revision (0: does not exist), and returns the
// new revision. [ErrConflict]: it is not, read it again. [ErrUnavailable]: nobody knows whether it
// was stored, read it again. Puts that wait together are stored together: one flush of the disk.
func (k *Bucket) Put(ctx context.Context, account, key string, value []byte, revision uint64) (uint64, error) {
	answer := make(chan result, 1)
	err := k.put(account, key, value, revision, func(p putting) error {
		return k.writer.enqueue(ctx, p.msg(), true, p.done)
	}, func(seq uint64, err error) { answer <- result{seq, err} })
	if err != nil {
		return 0, k.wrap("putting", account, err)
	}
	select {
	case r := <-answer:
		return r.seq, r.err
	case <-ctx.Done():
		return 0, k.wrap("putting", account, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err()))
	}
}

// PutAsync is Put that does not wait: done is called later, once, from another goroutine, and must
// not block, for it holds up every other write of the bucket. At most 64 MiB may wait per bucket,
// each write counted as its size and 1 KiB; beyond that done gets [ErrBusy], and nothing was stored.
// The value must not be changed until done is called. After [Bus.Close] done is called from within
// PutAsync, with [ErrClosed].
func (k *Bucket) PutAsync(account, key string, value []byte, revision uint64, done func(revision uint64, err error)) {
	err := k.put(account, key, value, revision, func(p putting) error {
		return k.writer.tryEnqueue(p.msg(), true, p.done)
	}, done)
	if err == nil {
		return
	}
	err = k.wrap("putting", account, err)
	// Not from within this call: the caller may hold a lock that done takes.
	if !k.bus.spawn(func() { done(0, err) }) {
		done(0, err)
	}
}

// Delete removes the entry if it is still at that revision.
func (k *Bucket) Delete(ctx context.Context, account, key string, revision uint64) error {
	subject, err := k.subject(account, key)
	if err != nil {
		return err
	}
	m := casMsg(subject, key, nil, revision)
	m.Header.Set(headerOperation, operationDelete)
	if k.name != Replicas { // those expire with the bucket's age
		m.Header.Set(headerTTL, tombstoneTTL.String())
	}
	if _, err := k.writer.store(ctx, m, true); err != nil {
		return k.wrap("deleting", account, err)
	}
	return nil
}

// wrap says what was tried. Keys stay out of errors: they name people.
func (k *Bucket) wrap(verb, account string, err error) error {
	return fmt.Errorf("bus: %s in bucket %s, account %q: %w", verb, k.name, account, err)
}

// putting is one Put on its way.
type putting struct {
	subject, key string
	value        []byte
	revision     uint64
	done         func(uint64, error)
}

func (p putting) msg() *nats.Msg { return casMsg(p.subject, p.key, p.value, p.revision) }

// put sends a value off. "Must not exist" is also true of an entry that was deleted, whose marker
// may still be there: then it is sent once more, against the marker's revision.
func (k *Bucket) put(account, key string, value []byte, revision uint64, send func(putting) error, done func(uint64, error)) error {
	subject, err := k.subject(account, key)
	if err != nil {
		return err
	}
	wrapped := func(seq uint64, err error) {
		if err != nil {
			err = k.wrap("putting", account, err)
		}
		done(seq, err)
	}
	p := putting{subject: subject, key: key, value: value, revision: revision, done: wrapped}
	if revision > 0 {
		return send(p)
	}
	p.done = func(seq uint64, err error) {
		if !errors.Is(err, ErrConflict) {
			wrapped(seq, err)
			return
		}
		// Not here: the answer to a read would wait for the writer that waits for it.
		if !k.bus.spawn(func() { k.putOverMarker(p, wrapped, err) }) {
			wrapped(0, err)
		}
	}
	return send(p)
}

// putOverMarker writes a value in place of a deleted entry's marker, if that is what is there.
func (k *Bucket) putOverMarker(p putting, done func(uint64, error), conflict error) {
	ctx, cancel := context.WithTimeout(k.bus.ctx, k.bus.cfg.PublishTimeout)
	defer cancel()
	last, err := k.last(ctx, p.subject)
	if err != nil || !isMarker(last.Header) {
		done(0, conflict)
		return
	}
	p.revision = last.Sequence
	done(k.writer.store(ctx, p.msg(), true))
}

// casMsg is a message that is stored only if the subject's last one has that sequence.
func casMsg(subject, key string, value []byte, revision uint64) *nats.Msg {
	m := &nats.Msg{Subject: subject, Data: value, Header: nats.Header{}}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	if back, ok := untoken(token(key)); !ok || back != key {
		m.Header.Set(headerKey, url.QueryEscape(key))
	}
	return m
}

func isMarker(h nats.Header) bool {
	return h.Get(headerOperation) != "" || h.Get(jetstream.MarkerReasonHeader) != ""
}

// Get reads the entry from the stream's leader; [ErrNotFound] if there is none.
func (k *Bucket) Get(ctx context.Context, account, key string) (Entry, error) {
	subject, err := k.subject(account, key)
	if err != nil {
		return Entry{}, err
	}
	last, err := k.last(ctx, subject)
	if err != nil {
		return Entry{}, k.wrap("reading", account, err)
	}
	if isMarker(last.Header) {
		return Entry{}, k.wrap("reading", account, ErrNotFound)
	}
	return Entry{Key: key, Value: last.Data, Revision: last.Sequence, Stored: last.Time}, nil
}

// last is the last message of a subject. The stream has no direct gets, so the leader answers.
func (k *Bucket) last(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := k.bus.stream(k.stream).GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fromNATS(err)
	}
	return m, nil
}

// All visits every entry of the account, in the order in which they were last written, and stops at
// the first error. What is written meanwhile may or may not be visited. On a cluster the server that reads may be
// catching up with what was written before: then an entry of State is visited twice, the older one first, so that a
// large account need not be held in memory; of the other buckets only the newest is.
func (k *Bucket) All(ctx context.Context, account string, each func(Entry) error) error {
	pre, err := k.accountPrefix(account)
	if err != nil {
		return err
	}
	barrier, err := k.barrier(ctx, pre)
	if err != nil {
		return k.wrap("reading", account, err)
	}
	visit, drop, finish := each, func(string) {}, func() error { return nil }
	if barrier > 0 && k.name != State {
		visit, drop, finish = newest(each)
	}
	scan := scan{
		stream:  k.stream,
		config:  jetstream.OrderedConsumerConfig{FilterSubjects: []string{pre + ">"}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy},
		barrier: barrier,
	}
	err = k.bus.scan(ctx, scan, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		key, err := originalKey(strings.TrimPrefix(m.Subject(), pre), m.Headers())
		if isMarker(m.Headers()) {
			drop(key)
			return nil
		}
		if err != nil {
			return err
		}
		return visit(Entry{Key: key, Value: m.Data(), Revision: meta.Sequence.Stream, Stored: meta.Timestamp})
	})
	if err == nil {
		err = finish()
	}
	if err != nil {
		return k.wrap("reading", account, err)
	}
	return nil
}

// newest holds entries back until all are there, and then visits the last one of each key, in their order.
func newest(each func(Entry) error) (visit func(Entry) error, drop func(key string), finish func() error) {
	var entries []Entry
	at := map[string]int{}
	drop = func(key string) {
		if i, ok := at[key]; ok {
			entries[i].Revision = 0
		}
	}
	visit = func(e Entry) error {
		drop(e.Key) // a later one takes its place
		at[e.Key] = len(entries)
		entries = append(entries, e)
		return nil
	}
	return visit, drop, func() error {
		for _, e := range entries {
			if e.Revision == 0 {
				continue
			}
			if err := each(e); err != nil {
				return err
			}
		}
		return nil
	}
}

// barrierKey names no entry: it is only ever a marker.
const barrierKey = "barrier"

// barrier makes a full read see everything that was acknowledged before it, on a cluster too, where
// the server that reads may be behind the leader: it writes a marker that the read has to reach. With
// one replica there is nothing to be behind, and the barrier is 0.
func (k *Bucket) barrier(ctx context.Context, pre string) (uint64, error) {
	if k.bus.stream(k.stream).CachedInfo().Config.Replicas < 2 {
		return 0, nil
	}
	// Not a token of any key: those that are not plain begin with x- or h-.
	m := &nats.Msg{Subject: pre + "x-" + barrierKey, Header: nats.Header{}}
	m.Header.Set(headerOperation, operationDelete)
	if k.name != Replicas {
		m.Header.Set(headerTTL, barrierTTL.String())
	}
	return k.writer.store(ctx, m, true)
}

// originalKey is the key that a message was put under.
func originalKey(tok string, h nats.Header) (string, error) {
	if escaped := h.Get(headerKey); escaped != "" {
		key, err := url.QueryUnescape(escaped)
		if err != nil {
			return "", fmt.Errorf("entry %s: header %s: %w", tok, headerKey, err)
		}
		return key, nil
	}
	key, ok := untoken(tok)
	if !ok {
		return "", fmt.Errorf("entry %s: header %s is missing", tok, headerKey)
	}
	return key, nil
}
