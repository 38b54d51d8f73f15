package pbxsim

import (
	"encoding/json"
	"time"
)

// The lines of the wire.
const (
	LineIdle    = "idle"
	LineRinging = "ringing"
	LineInCall  = "in-call"
	LineOnHold  = "on-hold"
	LineOffline = "offline"
)

// Status is one status that people of this site can pick.
type Status struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // available, busy, dnd, away, out, custom
}

// User is a person of the PBX, without presence.
type User struct {
	ID          string `json:"id"`
	Email       string `json:"email"`
	Extension   string `json:"extension"`
	DisplayName string `json:"display_name"`
}

// Presence is what the PBX shows for a user, as it travels.
type Presence struct {
	Line      string    `json:"line"`
	Status    string    `json:"status"`
	Message   string    `json:"message"`
	Version   uint64    `json:"version"`
	ChangedAt time.Time `json:"changed_at"`
	ChangedBy string    `json:"changed_by"` // "user", or "api:" and a client's name
}

type wireUser struct {
	User
	Presence Presence `json:"presence"`
}

type wirePage struct {
	Users []wireUser `json:"users"`
	Next  string     `json:"next"`
}

type wireStatuses struct {
	Statuses []Status `json:"statuses"`
}

type wireEvent struct {
	User     string   `json:"user"`
	Presence Presence `json:"presence"`
}

// wirePut is the body of a PUT. Both are pointers: absent, null and empty are different things.
type wirePut struct {
	Status  *string `json:"status"`
	Message *string `json:"message"`
}

// wireError is the body of every answer that is no success.
type wireError struct {
	Error   string `json:"error"` // stable, snake_case
	Message string `json:"message"`
}

// duration travels as a string such as "1.5s" in the control API.
type duration time.Duration

func (d duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

func (d *duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	*d = duration(v)
	return err
}
