package micollab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Bounds of what is believed of an answer, in bytes.
const (
	maxPresence = 64 << 10 // one user, one event
	maxStatuses = 1 << 20
	maxPage     = 16 << 20
	maxErrBody  = 4 << 10
	maxID       = 256 // of a user
)

// wirePresence is a presence as it came. Fields that may be missing are pointers.
type wirePresence struct {
	Line      string  `json:"line"`
	Status    string  `json:"status"`
	Message   string  `json:"message"`
	Version   *uint64 `json:"version"`
	ChangedAt string  `json:"changed_at"`
	ChangedBy string  `json:"changed_by"`
}

func (p wirePresence) version() uint64 {
	if p.Version == nil {
		return 0
	}
	return *p.Version
}

// changedAt is only compared for equality: what cannot be read counts as not said.
func (p wirePresence) changedAt() time.Time {
	t, err := time.Parse(time.RFC3339Nano, p.ChangedAt)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// decodePresence refuses what says neither what shows nor which version it is: without a version, nobody
// could tell whether it is old.
func decodePresence(b []byte) (wirePresence, error) {
	var p wirePresence
	switch err := json.Unmarshal(b, &p); {
	case err != nil:
		return p, fmt.Errorf("presence: %w", err)
	case p.Version == nil:
		return p, errors.New("presence: version is missing")
	case p.Status == "":
		return p, errors.New("presence: status is missing")
	}
	return p, nil
}

type wireUser struct {
	ID          string          `json:"id"`
	Email       string          `json:"email"`
	Extension   string          `json:"extension"`
	DisplayName string          `json:"display_name"`
	Presence    json.RawMessage `json:"presence"`
}

// wirePage keeps its users as they came, so that one that cannot be read costs no other.
type wirePage struct {
	Users *[]json.RawMessage `json:"users"`
	Next  string             `json:"next"`
}

type wireStatuses struct {
	Statuses *[]json.RawMessage `json:"statuses"`
}

type wireStatus struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

type wireEvent struct {
	User     string          `json:"user"`
	Presence json.RawMessage `json:"presence"`
}

// decodeEvent reads the data of a `presence` event.
func decodeEvent(data []byte) (user string, p wirePresence, err error) {
	var ev wireEvent
	if err := json.Unmarshal(data, &ev); err != nil {
		return "", p, fmt.Errorf("event: %w", err)
	}
	if ev.User == "" || len(ev.User) > maxID {
		return "", p, errors.New("event: user is missing or too long")
	}
	p, err = decodePresence(ev.Presence)
	return ev.User, p, err
}

func encodeWrite(status string, message *string) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Status  string  `json:"status"`
		Message *string `json:"message,omitempty"`
	}{status, message})
	return bytes.TrimSpace(buf.Bytes()), err
}
