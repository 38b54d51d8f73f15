//go:build scale

package scale

import (
	"testing"
	"time"
)

// TestScale is the run with 100,000 members and with the intervals that the bridge has by default.
func TestScale(t *testing.T) {
	run(t, size{
		members: 100_000, monitors: 154, sweep: time.Minute, polled: 15 * time.Second, latency: time.Minute, slow: 50 * time.Second,
		promise: 150 * time.Second, life: 6 * time.Minute, background: 50 * time.Millisecond, patience: 20 * time.Minute, poll: time.Second, lag: 10 * time.Second,
	})
}
