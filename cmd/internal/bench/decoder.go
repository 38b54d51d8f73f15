package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// decoderPart runs package graph's own benchmark, which compares the two decoders within each round.
func decoderPart(ctx context.Context, b *bench) error {
	b.progress("decoder: building and running graph.BenchmarkPresences650")
	count := "-count=" + strconv.Itoa(pick(b, 5, 1))
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench=^BenchmarkPresences650$", count, "presencebridge/graph") //nolint:gosec // all ours
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go test in the repository: %w: %s", err, out)
	}
	var lean, ratios []float64
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 0 && strings.HasPrefix(f[0], "Benchmark") {
			lean, ratios = append(lean, metric(f, "ns/op")/1000), append(ratios, metric(f, "sdk/lean"))
		}
	}
	if len(ratios) == 0 {
		return fmt.Errorf("the benchmark printed no figures: %s", out)
	}
	share := make([]float64, len(ratios))
	for i, r := range ratios {
		share[i] = 1 / r
	}
	// The SDK's own decode costs 6.5 times as much as a lean decoder has to (design).
	b.report.add(figure{Part: "decoder", Name: "650 members, ours against the SDK's", Rounds: share, Unit: "x",
		Note: fmt.Sprintf("the SDK's takes %s times as long; ours %s us", number(median(ratios)), number(median(lean)))})
	return nil
}

// metric finds the value before a unit in a line of `go test -bench`.
func metric(fields []string, unit string) float64 {
	for i, f := range fields {
		if f == unit && i > 0 {
			v, err := strconv.ParseFloat(fields[i-1], 64)
			if err == nil {
				return v
			}
		}
	}
	return 0
}
