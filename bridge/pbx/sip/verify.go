package sip

import (
	"context"
	"errors"
	"fmt"

	"presencebridge/bridge/pbx"
)

// tryEach is how many extensions are tried; one that was misspelt must not hide that the others work.
const tryEach = 3

// noETag is a SIP-If-Match that no document has. It has the shape of Kamailio's, which answers 500 to any other.
const noETag = "a.1.1.1.1"

var errNobody = errors.New("neither users_file nor the list names an extension")

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
	if c.cfg.ListURI != "" {
		if _, _, err := c.fetchList(ctx, l, people); err != nil {
			return err
		}
		people = append(people, c.listedPeople()...)
	}
	if len(people) == 0 {
		return &pbx.Error{Kind: pbx.Refused, Op: op, Err: errNobody, Remedy: "Write a line for each extension into users_file, or put them on the list of list_uri."}
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

func (c *Client) listedPeople() []person {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]person, 0, len(c.listed))
	for _, p := range c.listed {
		out = append(out, p)
	}
	return out
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
