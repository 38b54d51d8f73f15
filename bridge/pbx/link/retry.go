package link

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter reads the header's value (RFC 9110 section 10.2.3): seconds or a date. Nonsense is 0, more than an hour is
// an hour.
func RetryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	var d time.Duration
	if secs, err := strconv.ParseUint(v, 10, 64); err == nil {
		d = time.Duration(min(secs, 3600)) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), time.Hour)
}
