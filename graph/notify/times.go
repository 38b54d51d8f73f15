package notify

import (
	"fmt"
	"strings"
	"time"
)

// timeLayouts are the forms of subscriptionExpirationDateTime that were seen: with a zone, as RFC 3339
// wants it, and without (the samples of 2024), which means UTC. Fractions of any length are read.
var timeLayouts = []string{
	time.RFC3339,
	"2006-01-02T15:04:05",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
}

// ParseTime reads a time as Graph writes it: RFC 3339 with up to any number of fraction digits (Graph
// writes seven), where the zone may be missing and then is UTC. The result is in UTC.
func ParseTime(s string) (time.Time, error) {
	s = strings.ToUpper(strings.TrimSpace(s))
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q is no time: want RFC 3339, the zone may be missing", s)
}
