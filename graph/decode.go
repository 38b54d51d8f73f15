package graph

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"presencebridge/bridge/presence"
)

// decodePresence reads one presence (learn:api/resources/presence).
func decodePresence(body []byte) (Presence, error) {
	d := presenceDecoder{scanner: scanner{b: body}}
	isObject := d.peek() == '{'
	p := d.presence()
	if !isObject || !d.end() {
		return Presence{}, errUnreadable
	}
	return p, nil
}

// decodePresences reads {"value":[…]} of about n members. Only the fields that are needed are built; a field of
// an unexpected type costs that field, an item without an id that item. Of a key that comes twice the last counts.
func decodePresences(body []byte, n int) ([]Presence, error) {
	d := presenceDecoder{scanner: scanner{b: body}, pairs: make(map[presence.Pair]presence.Pair, 16)}
	list := make([]Presence, 0, n)
	found := false
	isObject := d.object(maxDepth, func(key []byte) {
		if !is(key, "value") {
			d.skip(maxDepth - 1)
			return
		}
		list = list[:0]
		found = d.array(maxDepth-1, func() {
			if p := d.presence(); p.UserID != "" {
				list = append(list, p)
			}
		})
	})
	if !isObject || !found || !d.end() {
		return nil, errUnreadable
	}
	return list, nil
}

// errUnreadable: a body is not what Graph documents. It says nothing of the body.
var errUnreadable = errors.New("not what Graph documents")

// presenceDecoder reads presence resources.
type presenceDecoder struct {
	scanner
	// pairs are those that were seen already, raw to canonical: members show few different ones.
	pairs map[presence.Pair]presence.Pair
}

// presence takes one presence; what is none gives one without an id.
func (d *presenceDecoder) presence() (p Presence) {
	const depth = maxDepth - 3
	var availability, activity []byte
	d.object(depth, func(key []byte) {
		switch {
		case is(key, "id"):
			p.UserID = string(d.str(depth - 1))
		case is(key, "availability"):
			availability = d.str(depth - 1)
		case is(key, "activity"):
			activity = d.str(depth - 1)
		case is(key, "sequenceNumber"):
			p.Sequence = string(d.str(depth - 1))
		case is(key, "outOfOfficeSettings"):
			p.OutOfOffice = d.outOfOffice(depth - 1)
		case is(key, "statusMessage"):
			p.StatusMessage = d.statusMessage(depth - 1)
		default:
			d.skip(depth - 1)
		}
	})
	p.Pair = d.pair(availability, activity)
	return p
}

// pair reads the two words.
func (d *presenceDecoder) pair(availability, activity []byte) presence.Pair {
	if p, ok := d.pairs[presence.Pair{Availability: string(availability), Activity: string(activity)}]; ok {
		return p
	}
	raw := presence.Pair{Availability: string(availability), Activity: string(activity)}
	p := presence.ParsePair(raw.Availability, raw.Activity)
	if d.pairs != nil {
		d.pairs[raw] = p
	}
	return p
}

func (d *presenceDecoder) outOfOffice(depth int) (out *bool) {
	d.object(depth, func(key []byte) {
		if is(key, "isOutOfOffice") {
			out = d.boolean(depth - 1)
		} else {
			d.skip(depth - 1)
		}
	})
	return out
}

func (d *presenceDecoder) statusMessage(depth int) (text string) {
	d.object(depth, func(key []byte) {
		if !is(key, "message") {
			d.skip(depth - 1)
			return
		}
		text = ""
		d.object(depth-1, func(key []byte) {
			if is(key, "content") {
				text = string(d.str(depth - 2))
			} else {
				d.skip(depth - 2)
			}
		})
	})
	return text
}

// is compares keys as encoding/json does, whatever their casing.
func is(key []byte, name string) bool {
	return len(key) == len(name) && strings.EqualFold(string(key), name)
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
