package threecx

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// wireUser is a user as far as we read it. Ids are numbers; what cannot be read is left out, and costs no other.
type wireUser struct {
	ID                 int
	Number             string
	DisplayName        string
	FirstName          string
	LastName           string
	EmailAddress       string
	CurrentProfileName string
	IsRegistered       *bool
	ForwardingProfiles []wireProfile // nil where they were not asked for
}

// wireProfile is what a forwarding profile shows.
type wireProfile struct {
	ID            int    `json:"Id"`
	Name          string `json:"Name"`
	CustomName    string `json:"CustomName"`
	CustomMessage string `json:"CustomMessage"`
}

// name is what to call the user.
func (u wireUser) name() string {
	if u.DisplayName != "" {
		return u.DisplayName
	}
	return strings.TrimSpace(u.FirstName + " " + u.LastName)
}

var errNoUser = errors.New("a user without id or number")

func decodeUser(text []byte) (wireUser, error) {
	var u wireUser
	if err := json.Unmarshal(text, &u); err != nil {
		return u, err
	}
	if u.ID <= 0 || u.Number == "" {
		return u, errNoUser
	}
	return u, nil
}

// wirePage is one page of users.
type wirePage struct {
	users []wireUser
	ids   []int // in order, 0 for users that cannot be read
	count int   // of all users, -1 where the PBX does not say
	bad   int
}

func decodePage(text []byte) (wirePage, error) {
	var raw struct {
		Count *int              `json:"@odata.count"`
		Value []json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return wirePage{}, err
	}
	if raw.Value == nil {
		return wirePage{}, errors.New("no list of users")
	}
	p := wirePage{count: -1}
	if raw.Count != nil {
		p.count = *raw.Count
	}
	for _, item := range raw.Value {
		u, err := decodeUser(item)
		p.ids = append(p.ids, u.ID)
		if err != nil {
			p.bad++
			continue
		}
		p.users = append(p.users, u)
	}
	return p, nil
}

// wireLeg is a participant.
type wireLeg struct {
	ID     int    `json:"id"`
	Status string `json:"status"`
	DN     string `json:"dn"`
}

// wireDN is an extension with its participants.
type wireDN struct {
	DN           string    `json:"dn"`
	Participants []wireLeg `json:"participants"`
}

func decodeCalls(text []byte) ([]wireDN, error) {
	var dns []wireDN
	if err := json.Unmarshal(text, &dns); err != nil {
		return nil, err
	}
	if dns == nil {
		return nil, errors.New("no list of extensions")
	}
	return dns, nil
}

// The kinds of events that are about participants (facts: 3CX call control).
const (
	eventUpsert = 0
	eventRemove = 1
)

// wireFrame is a message of the WebSocket.
type wireFrame struct {
	sequence int // 0 where there is none
	kind     int
	dn       string
	leg      int      // 0 for an entity that is no participant
	attached *wireLeg // mostly nil, whatever the documentation says
}

func decodeFrame(text []byte) (wireFrame, error) {
	var raw struct {
		Sequence int `json:"sequence"`
		Event    *struct {
			Type     *int            `json:"event_type"`
			Entity   string          `json:"entity"`
			Attached json.RawMessage `json:"attached_data"`
		} `json:"event"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return wireFrame{}, err
	}
	if raw.Event == nil || raw.Event.Type == nil {
		return wireFrame{}, errors.New("no event")
	}
	f := wireFrame{sequence: raw.Sequence, kind: *raw.Event.Type}
	// /callcontrol/150/participants/8107
	parts := strings.Split(strings.TrimPrefix(raw.Event.Entity, "/"), "/")
	if len(parts) != 4 || parts[0] != "callcontrol" || parts[2] != "participants" {
		return f, nil
	}
	id, err := strconv.Atoi(parts[3])
	if err != nil || id <= 0 || !isDN(parts[1]) {
		return f, nil //nolint:nilerr // an entity of another kind
	}
	f.dn, f.leg = parts[1], id
	var leg wireLeg
	if json.Unmarshal(raw.Event.Attached, &leg) == nil && leg.Status != "" && (leg.ID == 0 || leg.ID == id) {
		f.attached = &leg
	}
	return f, nil
}

// isDN tells whether a text can be an extension's number, so that it may stand in a path.
func isDN(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, ".") != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_' && r != '.' && r != '*' && r != '+'
	})
}

// decodeLeg reads one participant.
func decodeLeg(text []byte) (wireLeg, error) {
	var l wireLeg
	if err := json.Unmarshal(text, &l); err != nil {
		return l, err
	}
	if l.Status == "" {
		return l, errors.New("a participant without a status")
	}
	return l, nil
}
