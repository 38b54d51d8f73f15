package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // Graph's padding (learn:change-notifications-with-resource-data)
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"presencebridge/graph/graphsim"
)

const (
	// A quarter of the members have a change under way: the bridge never waits for the next one, and nobody moves
	// again before their last change was written and the hold-down (3 s) is over.
	backlogShare = 4
	// One member in so many moves at once. Their items fill the requests of the tenant's four lanes.
	burstShare = 13
)

// playRSA does nothing but what Graph's encryption leaves no way around: one RSA private operation per item.
func playRSA(context.Context, json.RawMessage) (*played, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, &key.PublicKey, make([]byte, 32), nil) //nolint:gosec // see the import
	if err != nil {
		return nil, err
	}
	return &played{hello: true, orders: map[string]func(json.RawMessage) (any, error){
		"run": func(raw json.RawMessage) (any, error) {
			var d time.Duration
			if err := json.Unmarshal(raw, &d); err != nil {
				return nil, err
			}
			return rsaCost(key, sealed, d)
		},
	}}, nil
}

// rsaCost is the CPU time of an operation, with all CPUs at it, in microseconds.
func rsaCost(key *rsa.PrivateKey, sealed []byte, d time.Duration) (float64, error) {
	before, err := ownUsage()
	if err != nil {
		return 0, err
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total int
		errs  []error
		until = time.Now().Add(d)
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			n := 0
			var err error
			for ; err == nil && time.Now().Before(until); n++ {
				_, err = rsa.DecryptOAEP(sha1.New(), nil, key, sealed, nil) //nolint:gosec // see the import
			}
			mu.Lock()
			defer mu.Unlock()
			total += n
			errs = append(errs, err)
		})
	}
	wg.Wait()
	after, err := ownUsage()
	if err = errors.Join(append(errs, err)...); err != nil {
		return 0, err
	}
	return float64((after.CPU - before.CPU).Microseconds()) / float64(max(total, 1)), nil
}

// itemPart measures what a change costs the bridge from Graph's POST to the write on the PBX.
func itemPart(ctx context.Context, b *bench) (err error) {
	monitors := pick(b, 8, 4)
	members := monitors * shardSize
	s, err := openSite(ctx, b, "item", siteArgs{Members: members, Monitors: monitors, Latency: time.Millisecond}, looseSync)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	var ok bool
	bare, err := start(ctx, "rsa", nil, &ok)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.stop()) }()
	return b.profiled(s.bridge, "item", func() error { return itemRounds(ctx, b, &workload{site: s, members: members}, bare) })
}

func itemRounds(ctx context.Context, b *bench, w *workload, bare *child) error {
	var ratios, costs, rsas, rates []float64
	var before, after graphsim.Notifications
	if err := w.site.tenant.order("stats", nil, &before); err != nil {
		return err
	}
	for round := range pick(b, 5, 2) {
		b.progress("item: round %d", round)
		var first, second float64
		if err := bare.order("run", pick(b, 1500*time.Millisecond, 300*time.Millisecond), &first); err != nil {
			return err
		}
		cost, rate, err := w.saturate(ctx, pick(b, 7*time.Second, 2*time.Second))
		if err != nil {
			return err
		}
		if err := bare.order("run", pick(b, 1500*time.Millisecond, 300*time.Millisecond), &second); err != nil {
			return err
		}
		if round == 0 {
			continue // to warm up
		}
		rsa := (first + second) / 2
		ratios, costs, rsas, rates = append(ratios, cost/rsa), append(costs, cost), append(rsas, rsa), append(rates, rate)
	}
	if err := w.site.tenant.order("stats", nil, &after); err != nil {
		return err
	}
	items, posts := after.Acked-before.Acked, max(after.Posts-before.Posts, 1)
	b.report.add(figure{Part: "item", Name: "RSA private operation, 2048 bits, OAEP", Rounds: rsas, Unit: "us CPU"})
	b.report.add(figure{Part: "item", Name: "rich item from POST to PBX write, saturated", Rounds: ratios, Unit: "x", Target: 1.7,
		Note: fmt.Sprintf("%.0f us of CPU a write, %.0f writes/s, %.0f items a body, without SyncAlways", median(costs), median(rates),
			float64(items)/float64(posts))})
	return nil
}

// workload keeps the bridge saturated.
type workload struct {
	site    *site
	members int
	moved   int // moves ordered so far
}

// saturate keeps a backlog before the bridge for a while: microseconds of its CPU per PBX write, and writes a second.
func (w *workload) saturate(ctx context.Context, d time.Duration) (cost, rate float64, err error) {
	if _, err := w.feed(); err != nil { // the backlog is there before the clock starts
		return 0, 0, err
	}
	if err := w.keep(ctx, time.Second); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	first, err := w.feed()
	if err != nil {
		return 0, 0, err
	}
	before, err := w.site.bridge.usage()
	if err != nil {
		return 0, 0, err
	}
	if err := w.keep(ctx, d); err != nil {
		return 0, 0, err
	}
	last, err := w.feed()
	if err != nil {
		return 0, 0, err
	}
	after, err := w.site.bridge.usage()
	if err != nil {
		return 0, 0, err
	}
	if last == first {
		return 0, 0, errors.New("nothing was written")
	}
	writes := float64(last - first)
	return float64((after.CPU - before.CPU).Microseconds()) / writes, writes / time.Since(began).Seconds(), w.drain(ctx)
}

// feed fills the backlog up and returns how many writes the PBX has seen.
func (w *workload) feed() (int, error) {
	var writes int
	if err := w.site.pbx.order("writes", nil, &writes); err != nil {
		return 0, err
	}
	if w.moved-writes < w.members/backlogShare {
		w.moved += w.members / burstShare
		return writes, w.site.tenant.order("burst", w.members/burstShare, nil)
	}
	return writes, nil
}

func (w *workload) keep(ctx context.Context, d time.Duration) error {
	for until := time.Now().Add(d); time.Now().Before(until); {
		if _, err := w.feed(); err != nil {
			return err
		}
		if err := rest(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// drain waits until everything that was fed has been written: what is missing was folded into a later write.
func (w *workload) drain(ctx context.Context) error {
	var writes, last int
	for still := 0; still < 10; still++ {
		if err := w.site.pbx.order("writes", nil, &writes); err != nil {
			return err
		}
		if writes > last {
			still = 0
		}
		last = writes
		if err := rest(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	w.moved = writes
	return nil
}
