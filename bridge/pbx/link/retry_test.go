package link

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-7": 0, "0": 0, "soon": 0, "1.5": 0, "99999999999999999999999": 0,
		"86400": time.Hour, "Wed, 25 Nov 2026 08:00:30 GMT": 30 * time.Second, "Wed, 25 Nov 2026 07:00:00 GMT": 0,
		"Fri, 25 Dec 2026 08:00:00 GMT": time.Hour, "Wednesday, 25-Nov-26 08:01:00 GMT": time.Minute,
	} {
		require.Equal(t, want, RetryAfter(v, now), v)
	}
}
