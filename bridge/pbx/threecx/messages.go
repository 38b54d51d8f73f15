package threecx

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"sync"

	"presencebridge/bridge/pbx"
)

// messageBook remembers the messages that ours took the place of. A 3CX keeps one per profile, so the one of the profile
// that we leave is given back to it. It is forgotten with the process: what we wrote then stays on that profile until
// somebody changes it.
type messageBook struct {
	mu    sync.Mutex
	users map[int]map[string]ownMessage // by profile
}

// ownMessage is a message of ours on a profile.
type ownMessage struct{ ours, theirs string }

// left tells whether a message of ours is on another profile than the one that is set now.
func (b *messageBook) left(id int, profile string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name := range b.users[id] {
		if name != profile {
			return true
		}
	}
	return false
}

func (b *messageBook) of(id int) map[string]ownMessage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.users[id])
}

func (b *messageBook) keep(id int, messages map[string]ownMessage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(messages) == 0:
		delete(b.users, id)
	case b.users == nil:
		b.users = map[int]map[string]ownMessage{id: messages}
	default:
		b.users[id] = messages
	}
}

// withMessage is all profiles of a user as the PBX has them, but for the message of the one that is set, and for those that
// get their own message back. What a profile does not say in a write becomes its default, so everything is sent back, also
// what we do not know. kept is what to remember when it was written.
func (c *Client) withMessage(ctx context.Context, id int, name string, message *string) (profiles []map[string]json.RawMessage, kept map[string]ownMessage, err error) {
	const op = "get profiles"
	body, err := c.do(ctx, request{
		op: op, area: areaXAPI, method: http.MethodGet, path: fmt.Sprintf("/xapi/v1/Users(%d)/ForwardingProfiles", id), maxBody: maxOne, one: true,
	})
	if err != nil {
		return nil, nil, err
	}
	var list struct {
		Value []map[string]json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		c.metrics.Bad("answer")
		return nil, nil, bad(op, err)
	}
	kept = map[string]ownMessage{}
	own, found := c.messages.of(id), false
	for _, profile := range list.Value {
		var have, shown string
		if json.Unmarshal(profile["Name"], &have) != nil {
			continue
		}
		if text := profile["CustomMessage"]; text != nil && json.Unmarshal(text, &shown) != nil {
			continue
		}
		found = found || have == name
		next, mine := nextMessage(own, have, name, shown, message)
		if mine != (ownMessage{}) {
			kept[have] = mine
		}
		if next == shown {
			continue
		}
		if profile["CustomMessage"], err = json.Marshal(next); err != nil {
			return nil, nil, &pbx.Error{Kind: pbx.Refused, Op: op, Err: err}
		}
	}
	if !found {
		return nil, nil, bad(op, fmt.Errorf("the user has no profile %q", name))
	}
	return list.Value, kept, nil
}

// nextMessage is what becomes of the message of one profile when another, or that one, is set, and what is ours of it then.
func nextMessage(own map[string]ownMessage, profile, set, shown string, message *string) (string, ownMessage) {
	mine, ours := own[profile]
	ours = ours && mine.ours == shown // else somebody has changed it since
	switch {
	case profile == set && message == nil && ours:
		return shown, mine
	case profile == set && message != nil:
		theirs := shown
		if ours {
			theirs = mine.theirs
		}
		if *message == theirs {
			return theirs, ownMessage{}
		}
		return *message, ownMessage{ours: *message, theirs: theirs}
	case profile != set && ours:
		return mine.theirs, ownMessage{}
	}
	return shown, ownMessage{}
}
