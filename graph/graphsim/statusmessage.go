package graphsim

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// setStatusMessage writes the status message. Only text is taken; a time without a zone is read in
// the zone named beside it (learn:api/presence-setstatusmessage).
func (c *call) setStatusMessage() (reply, effect) {
	var in struct {
		StatusMessage struct {
			Message *struct {
				Content     string `json:"content"`
				ContentType string `json:"contentType"`
			} `json:"message"`
			Expiry *struct {
				DateTime string `json:"dateTime"`
				TimeZone string `json:"timeZone"`
			} `json:"expiryDateTime"`
		} `json:"statusMessage"`
	}
	user, refusal, ok := c.write(&in)
	if !ok {
		return refusal, nil
	}
	m := in.StatusMessage
	if m.Message == nil {
		return badRequest("statusMessage.message is required.")
	}
	if t := m.Message.ContentType; t != "" && !strings.EqualFold(t, "text") {
		return badRequest("statusMessage.message.contentType %q is not supported, only text.", t)
	}
	var expires time.Time
	if m.Expiry != nil {
		var err error
		if expires, err = parseZoned(m.Expiry.DateTime, m.Expiry.TimeZone); err != nil {
			return badRequest("statusMessage.expiryDateTime: %v", err)
		}
	}
	return done(), c.sim.effect(user, "status-message", func(p *person, now time.Time) {
		p.message = &statusMessage{content: m.Message.Content, published: now, expires: expires}
		if m.Message.Content == "" {
			p.message = nil
		}
	})
}

// parseZoned reads a dateTimeTimeZone. Of Windows' zone names, those that need no table are known.
func parseZoned(dateTime, zone string) (time.Time, error) {
	windows := map[string]string{"UTC": "UTC", "Pacific Standard Time": "America/Los_Angeles", "W. Europe Standard Time": "Europe/Berlin",
		"GMT Standard Time": "Europe/London", "Eastern Standard Time": "America/New_York"}
	if iana, ok := windows[zone]; ok {
		zone = iana
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("timeZone %q is not known", zone)
	}
	t, err := time.ParseInLocation("2006-01-02T15:04:05", strings.TrimSuffix(dateTime, "Z"), location)
	if err != nil {
		return time.Time{}, fmt.Errorf("dateTime %q is not of the form 2006-01-02T15:04:05.0000000", dateTime)
	}
	return t, nil
}

// durationPattern is the one of Graph's own OpenAPI description.
var durationPattern = regexp.MustCompile(`^(-)?P(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+(?:[.][0-9]+)?)S)?)?$`)

// parseDuration reads an ISO 8601 duration of days, hours, minutes and seconds.
func parseDuration(s string) (time.Duration, error) {
	m := durationPattern.FindStringSubmatch(s)
	if m == nil || strings.HasSuffix(s, "P") || strings.HasSuffix(s, "T") {
		return 0, fmt.Errorf("%q is not an ISO 8601 duration", s)
	}
	var total float64
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+2] == "" {
			continue
		}
		n, err := strconv.ParseFloat(m[i+2], 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not an ISO 8601 duration: %w", s, err)
		}
		total += n * float64(unit)
	}
	if total > float64(1<<62) {
		return 0, fmt.Errorf("%q is too long", s)
	}
	if m[1] == "-" {
		total = -total
	}
	return time.Duration(total), nil
}
