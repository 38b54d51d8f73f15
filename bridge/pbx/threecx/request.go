package threecx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/link"
)

// The most that is read of an answer.
const (
	maxToken  = 64 << 10
	maxOne    = 1 << 20
	maxPage   = 16 << 20
	maxCalls  = 32 << 20
	maxErrors = 8 << 10
)

var (
	errBadAnswer = errors.New("the answer is not what a 3CX gives")
	errTooLong   = errors.New("the answer is too long")
)

// area is the part of the PBX that a request is about, by which a refusal is explained.
type area uint8

const (
	areaToken area = iota
	areaXAPI
	areaWrite
	areaCalls
)

// statusError is an answer that is no success.
type statusError struct {
	status   int
	area     area
	licensed bool // the token says that the licence includes the APIs
}

func (e *statusError) Error() string { return fmt.Sprintf("answered %d", e.status) }

// request is one request.
type request struct {
	op, method, path string
	area             area
	body             []byte
	contentType      string
	maxBody          int64
	one              bool // the path names a user, an extension or a participant: 404 is about them
}

// do carries a request out with our token, and once more with a fresh one if that is not accepted: a 401 says that
// nothing was done. It returns the body of a success. Every error is a *pbx.Error.
func (c *Client) do(ctx context.Context, rq request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	token, err := c.tokens.get(ctx)
	if err != nil {
		return nil, typed(rq.op, err)
	}
	body, err := c.exchange(ctx, rq, token)
	if !isStatus(err, http.StatusUnauthorized) {
		return body, err
	}
	if token, err = c.tokens.renew(ctx, token); err != nil {
		return nil, typed(rq.op, err)
	}
	return c.exchange(ctx, rq, token)
}

func isStatus(err error, status int) bool {
	var se *statusError
	return errors.As(err, &se) && se.status == status
}

// exchange sends one request and reads its answer.
func (c *Client) exchange(ctx context.Context, rq request, token string) ([]byte, error) {
	began := time.Now()
	body, err := c.try(ctx, rq, token)
	c.metrics.Request(rq.op, err, time.Since(began))
	return body, err
}

func (c *Client) try(ctx context.Context, rq request, token string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, rq.method, c.cfg.URL+rq.path, bytes.NewReader(rq.body))
	if err != nil {
		return nil, typed(rq.op, err)
	}
	req.Header.Set("Accept", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if rq.contentType != "" {
		req.Header.Set("Content-Type", rq.contentType)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, typed(rq.op, err)
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxErrors)) // so that the connection can be used again
		return nil, c.refusal(rq, res)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, rq.maxBody+1))
	switch {
	case err != nil:
		return nil, typed(rq.op, err)
	case int64(len(body)) > rq.maxBody:
		return nil, typed(rq.op, errTooLong)
	}
	return body, nil
}

// typed makes an error one of the contract's. A url.Error repeats the address, and with it a user's id.
func typed(op string, err error) error {
	var pe *pbx.Error
	if errors.As(err, &pe) {
		return err
	}
	if ue := (*url.Error)(nil); errors.As(err, &ue) {
		err = ue.Err
	}
	return &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: err}
}

func bad(op string, err error) error {
	return &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: fmt.Errorf("%w: %w", errBadAnswer, err)}
}

// refusal types an answer that is no success. What the PBX wrote about it is a stranger's text, and goes nowhere.
func (c *Client) refusal(rq request, res *http.Response) error {
	se := &statusError{status: res.StatusCode, area: rq.area, licensed: c.tokens.licensed()}
	err := &pbx.Error{Op: rq.op, Err: se, RetryAfter: link.RetryAfter(res.Header.Get("Retry-After"), time.Now())}
	switch s := res.StatusCode; {
	case rq.area == areaToken && s == http.StatusBadRequest, s == http.StatusUnauthorized:
		err.Kind = pbx.Unauthorised
	case s == http.StatusForbidden && rq.area == areaWrite && se.licensed:
		err.Kind = pbx.Refused
	case s == http.StatusForbidden:
		err.Kind = pbx.Unauthorised
	case s == http.StatusNotFound && rq.one, s == http.StatusGone && rq.one:
		err.Kind = pbx.Gone
	case s == http.StatusTooManyRequests:
		err.Kind = pbx.Throttled
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly:
		err.Kind = pbx.Unanswered
	case s >= 300 && s < 500: // the same request will meet the same answer
		err.Kind = pbx.Refused
	}
	if p := explain(err); p.Person {
		err.Remedy = p.Remedy
	}
	return err
}
