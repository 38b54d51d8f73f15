package api

import (
	"fmt"
	"strings"
	"time"
)

// ParseMoment reads a moment as people write it, in the zone of now; zero for nothing. A time of day is the last one that
// has been, today or yesterday.
func ParseMoment(s string, now time.Time) (time.Time, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		t, err := time.ParseInLocation(layout, s, now.Location())
		if err != nil {
			continue
		}
		y, m, d := now.Date()
		t = time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location())
		if t.After(now) {
			t = t.AddDate(0, 0, -1)
		}
		return t, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		t, err := time.ParseInLocation(layout, s, now.Location())
		if err != nil {
			continue
		}
		if t.After(now) {
			return time.Time{}, fmt.Errorf("%s has not come yet", s)
		}
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%q is no moment: write 10:15, \"2026-11-25 10:15\" or 2026-11-25T10:15:00+01:00", s)
}

// ParseSince reads how far back to go: a duration before the moment to explain (zero: now), or a moment.
func ParseSince(s string, moment, now time.Time) (time.Time, error) {
	if moment.IsZero() {
		moment = now
	}
	if s = strings.TrimSpace(s); s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		if d <= 0 {
			return time.Time{}, fmt.Errorf("%s is not above 0", s)
		}
		return moment.Add(-d), nil
	}
	t, err := ParseMoment(s, now)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a duration such as 24h nor a moment such as 10:15", s)
	}
	return t, nil
}
