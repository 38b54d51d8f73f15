package threecx

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"presencebridge/bridge/pbx"
)

const (
	// listings is how often a listing is begun anew when users come or go while it is read.
	listings = 3
	// maxUsers bounds what a PBX can make us remember.
	maxUsers = 200_000
)

var errShifted = errors.New("users came or went while they were listed")

// Snapshot implements [pbx.Connector].
func (c *Client) Snapshot(ctx context.Context) ([]pbx.User, error) {
	op := c.users.begin()
	list, err := c.list(ctx, true)
	if err != nil {
		return nil, err
	}
	dns, err := c.allCalls(ctx)
	if err != nil {
		return nil, err
	}
	byNumber := make(map[string]*wireDN, len(dns))
	for i := range dns {
		byNumber[dns[i].DN] = &dns[i]
	}
	now, differ := time.Now(), false
	states := make(map[int]pbx.State, len(list))
	out := make([]pbx.User, 0, len(list))
	for _, u := range list {
		line, differs := c.calls.view(u.Number, byNumber[u.Number], now)
		differ = differ || differs
		states[u.ID] = u.state(line)
		out = append(out, pbx.User{ID: strconv.Itoa(u.ID), Email: u.EmailAddress, Extension: u.Number, DisplayName: u.name(), State: states[u.ID]})
	}
	c.users.snapshot(list, states, op)
	if differ {
		c.wantReconcile()
	}
	return out, nil
}

// list reads all users; full with their profiles' names and messages.
func (c *Client) list(ctx context.Context, full bool) ([]wireUser, error) {
	for range listings - 1 {
		list, err := c.listOnce(ctx, full)
		if !errors.Is(err, errShifted) {
			return list, err
		}
	}
	return c.listOnce(ctx, full)
}

// listOnce pages through the users. There is no next link, so each page begins with the last user of the one before:
// if that is somebody else, users came or went, and one may have been missed.
func (c *Client) listOnce(ctx context.Context, full bool) ([]wireUser, error) {
	const op = "list users"
	var list []wireUser
	seen := map[int]bool{}
	last := 0
	for got := 0; got < maxUsers; {
		page, err := c.page(ctx, op, max(got-1, 0), full)
		if err != nil {
			return nil, err
		}
		fresh := page.ids
		if got > 0 {
			if len(fresh) == 0 || fresh[0] != last {
				return nil, &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: errShifted}
			}
			fresh = fresh[1:]
		}
		for _, u := range page.users {
			if !seen[u.ID] {
				seen[u.ID] = true
				list = append(list, u)
			}
		}
		got += len(fresh)
		if len(fresh) == 0 || page.count >= 0 && got >= page.count {
			return list, nil
		}
		last = fresh[len(fresh)-1]
	}
	return nil, &pbx.Error{Kind: pbx.Refused, Op: op, Err: errTooLong}
}

func (c *Client) page(ctx context.Context, op string, skip int, full bool) (wirePage, error) {
	q := url.Values{
		"$select": {fields}, "$orderby": {"Id"}, "$count": {"true"}, "$top": {strconv.Itoa(c.cfg.PageSize)}, "$skip": {strconv.Itoa(skip)},
	}
	if full {
		q.Set("$expand", "ForwardingProfiles")
	}
	body, err := c.do(ctx, request{op: op, area: areaXAPI, method: http.MethodGet, path: "/xapi/v1/Users?" + query(q), maxBody: maxPage})
	if err != nil {
		return wirePage{}, err
	}
	page, err := decodePage(body)
	if err != nil {
		c.metrics.Bad("answer")
		return wirePage{}, bad(op, err)
	}
	for range page.bad {
		c.metrics.Bad("user")
	}
	return page, nil
}
