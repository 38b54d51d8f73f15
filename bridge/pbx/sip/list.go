package sip

import (
	"context"
	"fmt"

	"presencebridge/bridge/pbx"
)

// person finds a user; nobody else is asked for at the PBX. With a resource list that was not read yet it is read.
func (c *Client) person(ctx context.Context, op, user string) (person, error) {
	p, ok, err := c.users.find(user)
	if ok {
		return p, nil
	}
	if err != nil {
		return p, &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: err}
	}
	p, ok, read := c.fromList(user)
	if !ok && !read && c.cfg.ListURI != "" {
		l, err := c.flow(ctx)
		if err != nil {
			return p, typed(op, err)
		}
		if _, _, err := c.fetchList(ctx, l, nil); err != nil {
			return p, err
		}
		p, ok, _ = c.fromList(user)
	}
	if !ok {
		return p, &pbx.Error{Kind: pbx.Gone, Op: op, Err: fmt.Errorf("there is no extension %q", clip(user))}
	}
	return p, nil
}

func (c *Client) fromList(user string) (p person, ok, read bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok = c.listed[user]
	return p, ok, c.listRead
}

// fetchList fetches the resource list once for each package, and returns who is on it, and those of others who are not.
func (c *Client) fetchList(ctx context.Context, l *flow, others []person) ([]pbx.User, []person, error) {
	aor, err := parseAOR(c.cfg.ListURI, c.cfg.Domain)
	if err != nil { // New checked it
		return nil, nil, typed("fetch the list", err)
	}
	known := map[string]person{}
	for _, p := range others {
		known[aorKey(p.aor)] = p
	}
	found := map[string]*endpoint{}
	var order []*endpoint
	lacking := 0
	for _, event := range eventNames() {
		n, err := l.fetchOf(ctx, event, aor, true)
		if lacks(err) {
			if lacking++; lacking < 2 {
				l.setWithout(event)
				continue
			}
		}
		if err != nil {
			return nil, nil, err
		}
		info, err := parseList(n.contentType, n.body)
		if err != nil {
			c.metrics.Bad(event)
			return nil, nil, &pbx.Error{Kind: pbx.Unanswered, Op: "fetch the list", Err: err}
		}
		for _, r := range info.resources {
			e := c.listedAs(r, known, found)
			if e == nil {
				continue
			}
			if found[e.id] == nil {
				found[e.id] = e
				order = append(order, e)
			}
			e.hasDialog = !l.without(eventDialog)
			if _, err := e.fold(event, r.body); err != nil {
				c.metrics.Bad(event)
			}
		}
	}
	c.mu.Lock()
	c.listRead = true
	c.mu.Unlock()
	users := make([]pbx.User, len(order))
	for i, e := range order {
		users[i] = e.user(e.state())
		delete(known, aorKey(e.aor))
	}
	var rest []person
	for _, p := range others {
		if _, left := known[aorKey(p.aor)]; left {
			rest = append(rest, p)
		}
	}
	return users, rest, nil
}

// listedAs is the endpoint of a resource.
func (c *Client) listedAs(r resource, known map[string]person, found map[string]*endpoint) *endpoint {
	aor, err := parseAOR(r.uri, c.cfg.Domain)
	if err != nil {
		c.metrics.Bad("resource")
		return nil
	}
	p, inFile := known[aorKey(aor)]
	if !inFile {
		p = c.newListed(aor, r.name)
		c.remember(p)
	}
	if e := found[p.id]; e != nil {
		return e
	}
	return &endpoint{person: p}
}
