package micollab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/link"
)

var (
	errBadAnswer = errors.New("the answer is not what the endpoint promises")
	errTooLong   = errors.New("the answer is too long")
	errNoToken   = errors.New("the token cannot be read")
)

// statusError is an answer that is no success.
type statusError struct {
	status int
	code   string // what the PBX calls it, if it says so decently
}

func (e *statusError) Error() string {
	if e.code == "" {
		return fmt.Sprintf("answered %d", e.status)
	}
	return fmt.Sprintf("answered %d (%s)", e.status, e.code)
}

// request is one request of the REST part.
type request struct {
	op, method, path string
	ifMatch          string
	body             []byte
	maxBody          int64
	user             bool // the path names a user: 404 is about them
	stream           bool // the answer is an event stream, after lastID if there is one
	lastID           string
}

// do carries a request out and returns the body of a 200. Every error is a *pbx.Error.
func (c *Client) do(ctx context.Context, rq request) ([]byte, error) {
	began := time.Now()
	body, err := c.try(ctx, rq)
	c.metrics.Request(rq.op, err, time.Since(began))
	return body, err
}

func (c *Client) try(ctx context.Context, rq request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	res, err := c.send(ctx, rq)
	if err != nil {
		return nil, c.typed(rq.op, err, 0)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, c.refusal(rq, res)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, rq.maxBody+1))
	switch {
	case err != nil:
		return nil, c.typed(rq.op, err, 0)
	case int64(len(body)) > rq.maxBody:
		return nil, c.typed(rq.op, errTooLong, 0)
	}
	return body, nil
}

func (c *Client) typed(op string, err error, retryAfter time.Duration) *pbx.Error {
	kind := pbx.Unanswered
	if errors.Is(err, errNoToken) {
		kind = pbx.Unauthorised
	}
	// url.Error repeats the address, and with it a user's id.
	if ue := (*url.Error)(nil); errors.As(err, &ue) {
		err = ue.Err
	}
	return &pbx.Error{Kind: kind, RetryAfter: retryAfter, Op: op, Err: err}
}

// send sends a request with our token, and once more with a fresh one if that is not accepted: a 401
// says that nothing was done.
func (c *Client) send(ctx context.Context, rq request) (*http.Response, error) {
	token, err := c.token.get()
	if err != nil {
		return nil, err
	}
	res, err := c.sendWith(ctx, rq, token)
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		return res, err
	}
	fresh, err := c.token.renew(token)
	if err != nil || fresh == token {
		return res, nil //nolint:nilerr // the 401 at hand says more
	}
	drain(res)
	return c.sendWith(ctx, rq, fresh)
}

func (c *Client) sendWith(ctx context.Context, rq request, token string) (*http.Response, error) {
	var body io.Reader
	if rq.body != nil {
		body = bytes.NewReader(rq.body)
	}
	req, err := http.NewRequestWithContext(ctx, rq.method, c.cfg.URL+rq.path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	if rq.stream {
		req.Header.Set("Accept", "text/event-stream")
		req.Header.Set("Cache-Control", "no-store")
	}
	if rq.lastID != "" {
		req.Header.Set("Last-Event-ID", rq.lastID)
	}
	if rq.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if rq.ifMatch != "" {
		req.Header.Set("If-Match", rq.ifMatch)
	}
	return c.http.Do(req)
}

// drain reads the rest of a short answer, so that its connection can be used again.
func drain(res *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxErrBody))
	_ = res.Body.Close()
}

// refusal types an answer that is no 200.
func (c *Client) refusal(rq request, res *http.Response) *pbx.Error {
	err := c.typed(rq.op, &statusError{res.StatusCode, errorCode(res.Body)}, link.RetryAfter(res.Header.Get("Retry-After"), time.Now()))
	switch s := res.StatusCode; {
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		err.Kind = pbx.Unauthorised
	case s == http.StatusNotFound && rq.user, s == http.StatusGone && rq.user:
		err.Kind = pbx.Gone
	case s == http.StatusPreconditionFailed:
		err.Kind = pbx.Conflict
	case s == http.StatusTooManyRequests:
		err.Kind = pbx.Throttled
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly:
		err.Kind = pbx.Unanswered
	case s >= 300 && s < 500: // 422, 400, 405, ...: the same request will meet the same answer
		err.Kind = pbx.Refused
	}
	return err
}

var decentCode = regexp.MustCompile(`^[a-z][a-z_]{0,39}$`)

// errorCode takes the PBX's own word for an error if it looks like one: what else is in there is a
// stranger's text, and goes into no log.
func errorCode(body io.Reader) string {
	b, err := io.ReadAll(io.LimitReader(body, maxErrBody))
	var e struct {
		Error string `json:"error"`
	}
	if err != nil || json.Unmarshal(b, &e) != nil || !decentCode.MatchString(e.Error) {
		return ""
	}
	return e.Error
}

// tokenCache holds the token between two 401.
type tokenCache struct {
	read func() (string, error)

	mu    sync.Mutex
	token string
}

func (t *tokenCache) get() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != "" {
		return t.token, nil
	}
	return t.load()
}

// renew reads the token again, unless somebody else has done so since refused was in use.
func (t *tokenCache) renew(refused string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != refused {
		return t.token, nil
	}
	return t.load()
}

func (t *tokenCache) load() (string, error) {
	s, err := t.read()
	s = strings.TrimSpace(s)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: %w", errNoToken, err)
	case s == "":
		return "", fmt.Errorf("%w: token_file is empty", errNoToken)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("%w: token_file holds more than one word of ASCII", errNoToken)
	}
	t.token = s
	return s, nil
}
