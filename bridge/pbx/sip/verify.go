package sip

import (
	"context"
	"errors"
	"fmt"
	"time"

	"presencebridge/bridge/pbx"
)

// tryEach is how many extensions are tried; one that was misspelt must not hide that the others work.
const tryEach = 3

// noETag is a SIP-If-Match that no document has. It has the shape of Kamailio's, which answers 500 to any other.
const noETag = "a.1.1.1.1"

// errIgnoresIfMatch: what the connector publishes could not be told apart from somebody else's.
var errIgnoresIfMatch = errors.New("the PBX ignores SIP-If-Match: it must answer 412 when it holds no such document (RFC 3903 section 6)")

// Verify implements [pbx.Connector]. It asks for a sign of life, fetches from a few extensions, and tries the right to
// publish in a way that changes nothing: by removing a document that does not exist.
func (c *Client) Verify(ctx context.Context) error { return withRemedy(c.verify(ctx)) }

func (c *Client) verify(ctx context.Context) error {
	const op = "verify"
	l, err := c.flow(ctx)
	if err != nil {
		return typed(op, err)
	}
	if err := l.ping(ctx); err != nil {
		return typed(op, err)
	}
	people, _, err := c.users.load()
	if err != nil {
		return &pbx.Error{Kind: pbx.Refused, Op: op, Err: err}
	}
	if len(people) == 0 {
		return c.verifyList(ctx, l)
	}
	var last error
	for _, p := range people[:min(len(people), tryEach)] {
		if last = c.verifyOne(ctx, l, p); last == nil || pbx.KindOf(last) == pbx.Unauthorised || pbx.KindOf(last) == pbx.Unanswered {
			return last
		}
	}
	return last
}

func (c *Client) verifyOne(ctx context.Context, l *flow, p person) error {
	if _, err := c.fetchState(ctx, l, p); err != nil {
		return err
	}
	o := c.publishRequest(&publication{person: p, etag: noETag}, 0, nil)
	o.op = "verify the right to publish"
	_, err := l.do(ctx, o)
	switch {
	case err == nil:
		return &pbx.Error{Kind: pbx.Refused, Op: o.op, Err: errIgnoresIfMatch}
	case lost(err):
		return nil
	}
	return err
}

// verifyList subscribes to the resource list, and ends the subscription again.
func (c *Client) verifyList(ctx context.Context, l *flow) error {
	const op = "verify the list"
	if c.cfg.ListURI == "" {
		return &pbx.Error{Kind: pbx.Refused, Op: op, Err: errors.New("users_file lists nobody")}
	}
	aor, err := parseAOR(c.cfg.ListURI, c.cfg.Domain)
	if err != nil {
		return &pbx.Error{Kind: pbx.Refused, Op: op, Err: err}
	}
	s := &subscription{event: eventPresence, target: aor, list: true, handler: func(notice) {}}
	l.register(s)
	defer l.finish(s)
	if _, err := l.subscribe(ctx, s, time.Minute); err != nil {
		return err
	}
	_, err = l.subscribe(ctx, s, 0)
	return err
}

// withRemedy says what a person can do about an error.
func withRemedy(err error) error {
	if err == nil {
		return nil
	}
	var pe *pbx.Error
	if !errors.As(err, &pe) {
		return err
	}
	p := explain(err)
	if p.Remedy == "" || p.Code == "connection_lost" {
		return err
	}
	said := *pe
	said.Err, said.Remedy = fmt.Errorf("%s (%w)", p.Text, pe.Err), p.Remedy
	return &said
}
