package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// changesPerSecond of both sides together.
const changesPerSecond = 200

// latencyPart measures the bridge's own share of latency while people on both sides move: from the arrival of a
// notification, or of the PBX's event, to the moment at which the write leaves for the other side. Half of the
// people move in Teams and the others on the PBX, so that no change needs a confirming read or waits for another.
func latencyPart(ctx context.Context, b *bench) (err error) {
	monitors := pick(b, 4, 2)
	members := monitors * shardSize
	s, err := openSite(ctx, b, "latency", siteArgs{Members: members, Monitors: monitors, Latency: 20 * time.Millisecond}, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := errors.Join(s.tenant.order("first", members/2, nil), s.pbx.order("rest", members/2, nil)); err != nil {
		return err
	}
	if err := s.both(5 * time.Second); err != nil { // to warm up
		return err
	}
	if err := s.bridge.order("latencies", nil, nil); err != nil {
		return err
	}
	b.progress("latency: %d changes a second", changesPerSecond)
	return b.profiled(s.bridge, "latency", func() error { return s.latencyRounds(b) })
}

func (s *site) latencyRounds(b *bench) error {
	var p50, p99, cores, counts []float64
	others := map[string][]float64{}
	for range pick(b, 5, 1) {
		before, err := s.bridge.usage()
		if err != nil {
			return err
		}
		began := time.Now()
		if err := s.both(pick(b, 8*time.Second, 4*time.Second)); err != nil {
			return err
		}
		took := time.Since(began)
		after, err := s.bridge.usage()
		if err != nil {
			return err
		}
		var by map[string][]float64
		if err := s.bridge.order("latencies", nil, &by); err != nil {
			return err
		}
		var direct []float64
		for key, xs := range by {
			if strings.HasSuffix(key, " direct") {
				direct = append(direct, xs...)
			}
			others[key] = append(others[key], xs...)
		}
		p50, p99 = append(p50, quantile(direct, 0.5)), append(p99, quantile(direct, 0.99))
		cores = append(cores, float64(after.CPU-before.CPU)/float64(took))
		counts = append(counts, float64(len(direct))/took.Seconds())
	}
	b.report.add(figure{Part: "latency", Name: "own share, no confirming read, p99", Rounds: p99, Unit: "ms", Target: 100,
		Note: fmt.Sprintf("p50 %s ms; %.0f such writes/s at %d changes/s, SyncAlways", number(median(p50)), median(counts), changesPerSecond)})
	for _, key := range []string{"main direct", "main confirmed", "main held", "teams direct", "teams confirmed", "teams held"} {
		if xs := others[key]; len(xs) > 0 {
			b.report.add(figure{Part: "latency", Name: "writes to " + key + ", p99", Value: quantile(xs, 0.99), Unit: "ms",
				Note: fmt.Sprintf("p50 %s ms, %d writes", number(quantile(xs, 0.5)), len(xs))})
		}
	}
	b.report.add(figure{Part: "latency", Name: "CPU that the bridge takes meanwhile", Rounds: cores, Unit: "cores"})
	return nil
}

// both has people on both sides move for a while.
func (s *site) both(d time.Duration) error {
	var g errgroup.Group
	args := driveArgs{Rate: changesPerSecond / 2, For: d}
	g.Go(func() error { return s.tenant.order("drive", args, nil) })
	g.Go(func() error { return s.pbx.order("drive", args, nil) })
	return g.Wait()
}
