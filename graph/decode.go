package graph

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"presencebridge/bridge/presence"
)

// wirePresence is the part of a presence resource that is read (learn:api/resources/presence).
type wirePresence struct {
	ID           string `json:"id"`
	Availability string `json:"availability"`
	Activity     string `json:"activity"`
	Sequence     string `json:"sequenceNumber"`
	OutOfOffice  *struct {
		Is *bool `json:"isOutOfOffice"`
	} `json:"outOfOfficeSettings"`
	Status *struct {
		Message *struct {
			Content string `json:"content"`
		} `json:"message"`
	} `json:"statusMessage"`
}

func (w *wirePresence) presence(pairs map[presence.Pair]presence.Pair) Presence {
	raw := presence.Pair{Availability: w.Availability, Activity: w.Activity}
	pair, ok := pairs[raw]
	if !ok {
		pair = presence.ParsePair(w.Availability, w.Activity)
		pairs[raw] = pair // members show few different pairs
	}
	p := Presence{UserID: w.ID, Pair: pair, Sequence: w.Sequence}
	if w.OutOfOffice != nil {
		p.OutOfOffice = w.OutOfOffice.Is
	}
	if w.Status != nil && w.Status.Message != nil {
		p.StatusMessage = w.Status.Message.Content
	}
	return p
}

// decodePresence reads one presence.
func decodePresence(body []byte) (Presence, error) {
	var w wirePresence
	if err := tolerant(json.Unmarshal(body, &w)); err != nil {
		return Presence{}, err
	}
	return w.presence(map[presence.Pair]presence.Pair{}), nil
}

// decodePresences reads {"value":[…]} of about n members. A field of an unexpected type costs that field, an
// item without an id that item.
func decodePresences(body []byte, n int) ([]Presence, error) {
	doc := struct {
		Value []wirePresence `json:"value"`
	}{Value: make([]wirePresence, 0, n)}
	if err := tolerant(json.Unmarshal(body, &doc)); err != nil {
		return nil, err
	}
	list := make([]Presence, 0, len(doc.Value))
	pairs := make(map[presence.Pair]presence.Pair, 16)
	for i := range doc.Value {
		if doc.Value[i].ID != "" {
			list = append(list, doc.Value[i].presence(pairs))
		}
	}
	return list, nil
}

// tolerant takes off an error that says that a field has another type than expected: the decoder has
// read the rest.
func tolerant(err error) error {
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &mistyped) && mistyped.Field != "" && mistyped.Field != "value" {
		return nil
	}
	return err
}

// wireTime is a time of Graph: with or without zone (UTC is then meant), with up to seven digits of a
// second. Anything else, null too, is the zero time.
type wireTime struct{ time.Time }

// UnmarshalJSON never fails: a time that cannot be read is one that is not known.
func (t *wireTime) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		t.Time = parseTime(s)
	}
	return nil
}

// parseTime reads a time of Graph; the zero time if it cannot.
func parseTime(s string) time.Time {
	s = strings.ToUpper(strings.TrimSpace(s))
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05-0700"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
