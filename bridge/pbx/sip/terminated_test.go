package sip

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What follows from each reason with which a PBX ends a subscription (RFC 6665 section 4.1.3).
func TestTerminatedReasons(t *testing.T) {
	c, err := New(Config{URL: "sip:127.0.0.1:1", Username: "bridge", ListURI: "sip:all@example.com"})
	require.NoError(t, err)
	for _, x := range []struct {
		reason   string
		retry    time.Duration
		min, max time.Duration // until the next try
		stopped  bool
		forgets  bool
	}{
		{reason: "deactivated"}, {reason: "timeout"}, {reason: "deactivated", retry: time.Minute, min: 59 * time.Second, max: time.Minute},
		{reason: "probation", retry: time.Minute, min: 59 * time.Second, max: 2 * time.Minute}, {reason: "giveup", max: time.Minute},
		{reason: "rejected", min: longWait - time.Second, max: longWait, forgets: true},
		{reason: "noresource", min: longWait - time.Second, max: longWait, forgets: true},
		{reason: "invariant", stopped: true, max: time.Hour}, {reason: "", max: time.Minute}, {reason: "something-new", max: time.Minute},
	} {
		s := c.newSession(nil)
		w := &watched{}
		w.calls = calls{known: true, synced: true}
		sub := s.track(eventDialog, w.aor, w, 0)
		sub.fresh = false
		s.terminated(sub, notice{state: "terminated", reason: x.reason, retry: x.retry})
		require.True(t, sub.fresh, "the next one is a new subscription")
		require.Equal(t, x.stopped, sub.stopped, x.reason)
		wait := time.Until(sub.due)
		require.GreaterOrEqual(t, wait, x.min-time.Second, x.reason)
		require.LessOrEqual(t, wait, x.max, x.reason)
		require.Equal(t, x.forgets, !w.calls.known, x.reason)
	}
}
