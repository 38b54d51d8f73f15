package bus

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hold keeps a writer from flushing until the returned function is called: what is put meanwhile
// waits together.
func hold(w *writer) (release func()) {
	entered, leave := make(chan struct{}), make(chan struct{})
	m := casMsg(State.prefix()+"hold."+token(fmt.Sprint(time.Now().UnixNano())), "hold", nil, 0)
	if err := w.tryEnqueue(m, true, func(uint64, error) { close(entered); <-leave }); err != nil {
		panic(err)
	}
	<-entered
	return func() { close(leave) }
}

type putResult struct {
	rev uint64
	err error
}

// putAll puts the keys while the writer is held, so that they form one group.
func putAll(k *Bucket, keys []string, revision func(i int) uint64) []putResult {
	release := hold(k.writer)
	results := make([]putResult, len(keys))
	var wg sync.WaitGroup
	for i, key := range keys {
		wg.Add(1)
		k.PutAsync("contoso", key, []byte(key), revision(i), func(rev uint64, err error) {
			results[i] = putResult{rev, err}
			wg.Done()
		})
	}
	release()
	wg.Wait()
	return results
}

func memberKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("member-%d", i)
	}
	return keys
}

// batches counts the atomic batches that a stream stored, by their commit headers.
func batches(t *testing.T, b *Bus, stream string) (n int) {
	t.Helper()
	err := b.scan(t.Context(), scan{stream: stream}, func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
		if m.Headers().Get(headerBatchCommit) != "" {
			n++
		}
		return nil
	})
	require.NoError(t, err)
	return n
}

func TestWaitingPutsGoAsOneBatch(t *testing.T) {
	b := openBus(t, testConfig(t))
	k := b.Bucket(State)
	for i, r := range putAll(k, memberKeys(batchFrom-1), func(int) uint64 { return 0 }) {
		require.NoError(t, r.err)
		e, err := k.Get(t.Context(), "contoso", memberKeys(batchFrom)[i])
		require.NoError(t, err)
		require.Equal(t, e.Revision, r.rev)
	}
	require.Zero(t, batches(t, b, k.stream), "seven go singly")
	keys := memberKeys(300)[100:]
	for i, r := range putAll(k, keys, func(int) uint64 { return 0 }) {
		require.NoError(t, r.err)
		e, err := k.Get(t.Context(), "contoso", keys[i])
		require.NoError(t, err)
		require.Equal(t, Entry{Key: keys[i], Value: []byte(keys[i]), Revision: r.rev, Stored: e.Stored}, e,
			"each put got its own revision out of the batch")
	}
	require.Equal(t, 1, batches(t, b, k.stream))
}

func TestOneBadRevisionCostsOnlyItself(t *testing.T) {
	b := openBus(t, testConfig(t))
	k := b.Bucket(State)
	keys := memberKeys(40)
	first := putAll(k, keys, func(int) uint64 { return 0 })
	second := putAll(k, keys, func(i int) uint64 {
		if i == 17 {
			return first[i].rev + 1000
		}
		return first[i].rev
	})
	for i, r := range second {
		if i == 17 {
			require.ErrorIs(t, r.err, ErrConflict)
			continue
		}
		require.NoError(t, r.err)
		require.Greater(t, r.rev, first[i].rev)
		e, err := k.Get(t.Context(), "contoso", keys[i])
		require.NoError(t, err)
		require.Equal(t, r.rev, e.Revision, "stored once, not in the batch and again")
	}
	info, err := b.stream(k.stream).Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1+40+1+39, info.State.LastSeq, "the refused batch stored nothing")
}

func TestOneTooLargeValueCostsOnlyItself(t *testing.T) {
	b := openBus(t, testConfig(t))
	k := b.Bucket(State)
	release := hold(k.writer)
	errs := make(chan error, 20)
	for i := range 20 {
		value := []byte("x")
		if i == 5 {
			value = make([]byte, b.nc.MaxPayload())
		}
		k.PutAsync("contoso", fmt.Sprint("member-", i), value, 0, func(_ uint64, err error) { errs <- err })
	}
	release()
	large := 0
	for range 20 {
		if err := receive(t, errs); err != nil {
			require.ErrorIs(t, err, ErrTooLarge)
			large++
		}
	}
	require.Equal(t, 1, large)
}

func TestOneWriteOfAKeyInFlight(t *testing.T) {
	k := openBus(t, testConfig(t)).Bucket(State)
	release := hold(k.writer)
	const n = 30
	results := make(chan putResult, n)
	for range n { // all claim that the key does not exist: exactly one is right
		k.PutAsync("contoso", "member", []byte("x"), 0, func(rev uint64, err error) { results <- putResult{rev, err} })
	}
	release()
	won := 0
	for range n {
		r := receive(t, results)
		if r.err == nil {
			won++
			continue
		}
		require.ErrorIs(t, r.err, ErrConflict)
	}
	require.Equal(t, 1, won)
}

// Writers of one key race with compare-and-set: none of their increments is lost.
func TestCompareAndSetLosesNoUpdate(t *testing.T) {
	k := openBus(t, testConfig(t)).Bucket(State)
	var wg sync.WaitGroup
	const writers, each = 8, 10
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				e, err := k.Get(t.Context(), "contoso", "counter")
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
					return
				}
				_, err = k.Put(t.Context(), "contoso", "counter", append(e.Value, 'x'), e.Revision)
				switch {
				case err == nil:
					done++
				case !errors.Is(err, ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	e, err := k.Get(t.Context(), "contoso", "counter")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("x", writers*each), string(e.Value))
}

func TestQueueIsBounded(t *testing.T) {
	b := openBus(t, testConfig(t))
	k := b.Bucket(State)
	release := hold(k.writer)
	value := make([]byte, 1<<20)
	const n = 80 // more than the 64 MiB that may wait
	results := make(chan error, n)
	var held sync.Mutex
	held.Lock() // done takes a lock that the caller of PutAsync holds
	for i := range n {
		k.PutAsync("contoso", fmt.Sprint("member-", i), value, 0, func(_ uint64, err error) {
			held.Lock()
			defer held.Unlock()
			results <- err
		})
	}
	held.Unlock()
	require.LessOrEqual(t, testutil.ToFloat64(b.metrics.queueBytes.WithLabelValues(k.stream)), float64(64<<20))
	require.ErrorIs(t, receive(t, results), ErrBusy)
	release()
	busy := 1
	for range n - 1 {
		if err := receive(t, results); err != nil {
			assert.ErrorIs(t, err, ErrBusy)
			busy++
		}
	}
	require.Greater(t, busy, 10)
	require.Less(t, busy, n/2)
	require.Zero(t, testutil.ToFloat64(b.metrics.queue.WithLabelValues(k.stream)))
	require.Zero(t, testutil.ToFloat64(b.metrics.queueBytes.WithLabelValues(k.stream)))
}

func TestKeysComeBackAsTheyWere(t *testing.T) {
	k := openBus(t, testConfig(t)).Bucket(Directory)
	keys := []string{
		"plain", "6C1F9D2E-0000-4000-8000-00000000000A", "jörg müller@contoso.com", strings.Repeat("long/", 30),
		"x-61", "h-", "a.b.c", "*", ">", " ", "\n\r\x00", strings.Repeat("a", 65), "%41+", strings.Repeat("é", 2000),
	}
	for _, key := range keys {
		_, err := k.Put(t.Context(), "contoso", key, []byte(key), 0)
		require.NoError(t, err, "%q", key)
		e, err := k.Get(t.Context(), "contoso", key)
		require.NoError(t, err)
		require.Equal(t, key, e.Key)
	}
	_, err := k.Put(t.Context(), "fabrikam", "plain", []byte("other"), 0)
	require.NoError(t, err)
	e, err := k.Get(t.Context(), "contoso", strings.ToLower(keys[1]))
	require.NoError(t, err, "a GUID is the same in any case")
	require.Equal(t, keys[1], string(e.Value))
	var got []string
	require.NoError(t, k.All(t.Context(), "contoso", func(e Entry) error {
		require.Equal(t, e.Key, string(e.Value))
		got = append(got, e.Key)
		return nil
	}))
	require.Equal(t, keys, got, "in the order of writing, and nobody else's")

	for _, bad := range []string{"", strings.Repeat("a", maxKey+1)} {
		_, err := k.Put(t.Context(), "contoso", bad, nil, 0)
		require.ErrorIs(t, err, ErrInvalid)
	}
	_, err = k.Get(t.Context(), "Contoso", "plain")
	require.ErrorIs(t, err, ErrInvalid)
}

func TestDelete(t *testing.T) {
	k := openBus(t, testConfig(t)).Bucket(State)
	require.ErrorIs(t, k.Delete(t.Context(), "contoso", "member", 7), ErrConflict)
	rev, err := k.Put(t.Context(), "contoso", "member", []byte("v"), 0)
	require.NoError(t, err)
	require.ErrorIs(t, k.Delete(t.Context(), "contoso", "member", rev+1), ErrConflict)
	require.NoError(t, k.Delete(t.Context(), "contoso", "member", rev))
	_, err = k.Get(t.Context(), "contoso", "member")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = k.Put(t.Context(), "contoso", "member", []byte("late"), rev)
	require.ErrorIs(t, err, ErrConflict, "a write that was under way does not bring it back")
	require.NoError(t, k.All(t.Context(), "contoso", func(e Entry) error { return fmt.Errorf("visited %s", e.Key) }))
	again, err := k.Put(t.Context(), "contoso", "member", []byte("new"), 0)
	require.NoError(t, err)
	require.Greater(t, again, rev)
}

func TestAllStopsWhenTold(t *testing.T) {
	k := openBus(t, testConfig(t)).Bucket(State)
	require.NoError(t, k.All(t.Context(), "contoso", func(Entry) error { return errors.New("empty") }))
	putAll(k, memberKeys(20), func(int) uint64 { return 0 })
	stop := errors.New("enough")
	n := 0
	require.ErrorIs(t, k.All(t.Context(), "contoso", func(Entry) error { n++; return stop }), stop)
	require.Equal(t, 1, n)
}

func TestLoadOfAWholeAccount(t *testing.T) {
	b := openBus(t, testConfig(t))
	k := b.Bucket(State)
	const n = 20_000
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		done := func(_ uint64, err error) {
			assert.NoError(t, err)
			wg.Done()
		}
		k.PutAsync("contoso", fmt.Sprint("member-", i), make([]byte, 500), 0, done)
	}
	wg.Wait()
	seen := make(map[string]bool, n)
	began := time.Now()
	require.NoError(t, k.All(t.Context(), "contoso", func(e Entry) error { seen[e.Key] = true; return nil }))
	t.Logf("%d entries in %s", len(seen), time.Since(began))
	require.Len(t, seen, n)
}

func TestReplicasBucket(t *testing.T) {
	b := openBus(t, testConfig(t))
	k := b.Bucket(Replicas)
	rev, err := k.Put(t.Context(), "", "replica-1", []byte("1"), 0)
	require.NoError(t, err)
	rev, err = k.Put(t.Context(), "", "replica-1", []byte("2"), rev)
	require.NoError(t, err)
	require.NoError(t, k.All(t.Context(), "", func(e Entry) error {
		require.Equal(t, "replica-1", e.Key)
		require.WithinDuration(t, time.Now(), e.Stored, time.Minute)
		return nil
	}))
	_, err = k.Put(t.Context(), "contoso", "replica-1", nil, 0)
	require.ErrorIs(t, err, ErrInvalid)
	require.NoError(t, k.Delete(t.Context(), "", "replica-1", rev))
	require.Nil(t, b.Bucket("nothing"))
}

func TestBucketsAreKeyValueBuckets(t *testing.T) {
	b := openBus(t, testConfig(t))
	_, err := b.Bucket(State).Put(t.Context(), "contoso", "member", []byte("v"), 0)
	require.NoError(t, err)
	kv, err := b.js.KeyValue(t.Context(), "state")
	require.NoError(t, err)
	e, err := kv.Get(t.Context(), "contoso.member")
	require.NoError(t, err)
	require.Equal(t, "v", string(e.Value()))
	_, err = kv.Update(t.Context(), "contoso.member", []byte("w"), e.Revision())
	require.NoError(t, err)
	got, err := b.Bucket(State).Get(t.Context(), "contoso", "member")
	require.NoError(t, err)
	require.Equal(t, "w", string(got.Value))
}

func TestPutAfterClose(t *testing.T) {
	b := openBus(t, testConfig(t))
	k := b.Bucket(State)
	release := hold(k.writer)
	written := make(chan error, 20)
	for i := range 20 {
		k.PutAsync("contoso", fmt.Sprint("member-", i), []byte("x"), 0, func(_ uint64, err error) { written <- err })
	}
	closed := make(chan error, 1)
	go func() { closed <- b.Close(t.Context()) }()
	require.Eventually(t, b.closed.Load, patience, time.Millisecond)
	release()
	for range 20 {
		require.NoError(t, receive(t, written), "what waited is written before the bus closes")
	}
	require.NoError(t, receive(t, closed))
	_, err := k.Put(t.Context(), "contoso", "member", nil, 0)
	require.ErrorIs(t, err, ErrClosed)
	k.PutAsync("contoso", "member", nil, 0, func(_ uint64, err error) { written <- err })
	require.ErrorIs(t, receive(t, written), ErrClosed)
}

func TestNewestEntriesAreVisitedOnce(t *testing.T) {
	var got []string
	visit, drop, finish := newest(func(e Entry) error {
		got = append(got, fmt.Sprint(e.Key, e.Revision))
		return nil
	})
	for i, key := range []string{"a", "b", "a", "c", "b"} {
		require.NoError(t, visit(Entry{Key: key, Revision: uint64(i + 1)}))
	}
	require.NoError(t, visit(Entry{Key: "d", Revision: 6}))
	drop("d")
	drop("nobody")
	require.Empty(t, got)
	require.NoError(t, finish())
	require.Equal(t, []string{"a3", "c4", "b5"}, got)
	_, _, finish = newest(func(Entry) error { return nil })
	require.NoError(t, finish())
	visit, _, finish = newest(func(Entry) error { return ErrBusy })
	require.NoError(t, visit(Entry{Key: "a", Revision: 1}))
	require.ErrorIs(t, finish(), ErrBusy)
}
