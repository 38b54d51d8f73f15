package graph

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"

	abs "github.com/microsoft/kiota-abstractions-go"
)

// UserChange is what Graph says has changed about a user, who may be new.
type UserChange struct {
	ID string
	// Removed: the user was deleted, softly or for good.
	Removed bool
	// Complete: the user principal name is there, so that a user who was not known can be made of it.
	Complete bool

	properties userProperties
	attribute  string
}

// Onto brings u up to date: what did not change keeps its value.
func (ch *UserChange) Onto(u *User) { ch.properties.onto(u, ch.attribute) }

// UserChanges reads what changed since link was handed out, in order, and returns the link to ask with next time.
// The empty link asks for none of the past: take it before [Client.Users], so that nothing is missed between. Changes may
// come twice. An [Error] of kind Gone means that the link is too old (directory links live for seven days,
// learn:concepts/delta-query-overview): list everybody again. After any error the old link stays good, and an error of each
// is returned as it is.
func (c *Client) UserChanges(ctx context.Context, link string, each func(UserChange) error) (next string, err error) {
	const op = "list user changes"
	k := call{op: op, class: classDirectory, lane: laneOnly, tokens: c.app, repeatable: true}
	if link == "" {
		link = c.graph + "/v1.0/users/delta?$deltatoken=latest&$select=" + url.QueryEscape(strings.Join(c.selectOfUsers(), ","))
	}
	for range maxPages {
		body, err := c.get(ctx, k, link)
		if err != nil {
			return "", err
		}
		var page struct {
			Value []userProperties `json:"value"`
			Next  string           `json:"@odata.nextLink"`
			Delta string           `json:"@odata.deltaLink"`
		}
		if err := tolerant(json.Unmarshal(body, &page)); err != nil {
			return "", answerUnreadable(op)
		}
		for _, p := range page.Value {
			ch := UserChange{properties: p, attribute: c.cfg.UserAttribute}
			_, ch.Removed = p["@removed"]
			var u User
			p.onto(&u, "")
			if ch.ID, ch.Complete = u.ID, u.UPN != ""; ch.ID == "" {
				continue
			}
			if err := each(ch); err != nil {
				return "", err
			}
		}
		switch {
		case page.Delta != "":
			return page.Delta, nil
		case page.Next == "" || page.Next == link:
			return "", refused(op, "the pages end without a link to go on from")
		}
		link = page.Next
	}
	return "", refused(op, "the pages do not end")
}

// get reads one address of Graph's; header is pairs of names and values.
func (c *Client) get(ctx context.Context, k call, address string, header ...string) ([]byte, error) {
	info := abs.NewRequestInformation()
	info.Method = abs.GET
	u, err := url.Parse(address)
	if err == nil {
		info.SetUri(*u)
	}
	info.Headers.Add("Accept", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		info.Headers.Add(header[i], header[i+1])
	}
	return c.send(ctx, k, info, err)
}
