package micollab

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"presencebridge/bridge/pbx"
)

// errIgnoresIfMatch: without versions, people's choices would be written over.
var errIgnoresIfMatch = errors.New("the pbx ignores If-Match: its adapter must answer 412 when the version is not the present one")

// Verify implements [pbx.Connector]. It lists statuses and users, opens the event stream, and tries the
// right to write in a way that cannot write: what shows already, under a version that is not the present
// one.
func (c *Client) Verify(ctx context.Context) error {
	if _, err := c.Statuses(ctx); err != nil {
		return err
	}
	page, err := c.onePage(ctx, "")
	if err != nil {
		return err
	}
	streamCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := c.openStream(streamCtx, cancel, "")
	if err != nil {
		return err
	}
	_ = body.Close()
	return c.verifyWrite(ctx, page)
}

func (c *Client) verifyWrite(ctx context.Context, page wirePage) error {
	const op = "verify the right to write"
	var l listing
	l.index, l.book = map[string]int{}, map[string]seen{}
	c.take(ctx, &l, page)
	for _, u := range l.users {
		if u.State.Version == 0 {
			continue
		}
		body, err := encodeWrite(u.State.Status.Name, nil)
		if err != nil {
			return &pbx.Error{Kind: pbx.Refused, Op: op, Err: err}
		}
		_, err = c.do(ctx, request{
			op: op, method: http.MethodPut, path: presencePath(u.ID), user: true,
			body: body, maxBody: maxPresence, ifMatch: fmt.Sprintf(`"%d"`, u.State.Version+1<<40),
		})
		switch {
		case err == nil:
			return &pbx.Error{Kind: pbx.Refused, Op: op, Err: errIgnoresIfMatch}
		case pbx.KindOf(err) == pbx.Conflict:
			return nil
		case pbx.KindOf(err) != pbx.Gone: // who left meanwhile proves nothing
			return err
		}
	}
	return nil // nobody to try it on
}
