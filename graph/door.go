package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	abs "github.com/microsoft/kiota-abstractions-go"
)

// call is what the door must know about a request.
type call struct {
	op     string // for errors and metrics, for example "set presence"
	class  class
	lane   int
	tokens *tokenSource
	// repeatable: the request may be sent again although nobody knows whether it was applied.
	repeatable bool
	// secrets that the request carries, to be kept out of errors.
	secrets []string
}

// Bounds of the retries.
const (
	maxUnsure = 5        // attempts in all, when answers are 5xx or connections break
	maxBody   = 32 << 20 // bytes of an answer
)

// withDeadline gives a context without a deadline the default one.
func (c *Client) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.cfg.Deadline)
}

// send is the door: the one place that sends to Graph and the one that retries. It returns the body of
// a 2xx answer, or an [Error].
func (c *Client) send(ctx context.Context, k call, info *abs.RequestInformation, err error) ([]byte, error) {
	if err != nil {
		return nil, refused(k.op, clean(err.Error(), 200, k.secrets...))
	}
	native, failure := c.native(ctx, k.op, info)
	if failure != nil {
		return nil, failure
	}
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	var body []byte
	stale := "" // a token that Graph did not accept
	failure = c.retrying(ctx, &k, func() *Error {
		var e *Error
		body, e = c.attempt(ctx, &k, native, info.Content, &stale)
		return e
	})
	if failure != nil {
		return nil, failure
	}
	return body, nil
}

// native builds the request by the SDK's description of it. Only Graph itself is spoken to: a paging
// link that leads elsewhere would carry the token to a stranger.
func (c *Client) native(ctx context.Context, op string, info *abs.RequestInformation) (*http.Request, *Error) {
	built, err := c.adapter.ConvertToNativeRequest(ctx, info)
	if err != nil {
		return nil, refused(op, "cannot build the request: "+clean(err.Error(), 200))
	}
	req, ok := built.(*http.Request)
	if !ok {
		return nil, refused(op, fmt.Sprintf("cannot build the request: it is a %T", built))
	}
	home := strings.TrimPrefix(c.graph, "https://")
	host, _, _ := strings.Cut(home, "/")
	if req.URL.Scheme != "https" || req.URL.User != nil || !sameHost(req.URL.Host, host) {
		return nil, refused(op, "the address leads away from Graph ("+clean(req.URL.Host, 100)+"): no token is sent there")
	}
	return req, nil
}

// sameHost compares hosts with their ports, 443 being understood.
func sameHost(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, ":443"), strings.TrimSuffix(b, ":443"))
}

// retrying repeats try while that can help and does no harm, within ctx's deadline. Pauses that Graph asked
// for are waited out at the class's gate.
func (c *Client) retrying(ctx context.Context, k *call, try func() *Error) *Error {
	pace := backoff.NewExponentialBackOff()
	pace.InitialInterval, pace.MaxInterval, pace.RandomizationFactor = 500*time.Millisecond, 20*time.Second, 0.5
	unsure, renewed := 0, false
	var last *Error
	for {
		e := try()
		if e == nil {
			return nil
		}
		if last != nil && e.safe && (errors.Is(e, errPaused) || errors.Is(ctx.Err(), context.DeadlineExceeded)) {
			return last // Graph's answer says more than that time ran out before it could be asked again
		}
		last = e
		var delay time.Duration
		switch {
		case e.Kind == Unauthorised && e.Status == http.StatusUnauthorized && e.safe && !renewed && k.tokens != nil && e.Op == k.op:
			renewed = true // once, with a fresh token
		case e.Kind == Throttled && !e.own:
			delay = c.throttled(k, e, pace)
		case e.Kind == Transient && !e.own && (e.safe || k.repeatable):
			if unsure++; unsure >= maxUnsure {
				return e
			}
			delay = max(pace.NextBackOff(), e.RetryAfter)
		default:
			return e
		}
		if !c.again(ctx, k, e, delay) {
			return e
		}
	}
}

// throttled tells the class's gate of a 429 and returns what remains to be waited here.
func (c *Client) throttled(k *call, e *Error, pace *backoff.ExponentialBackOff) time.Duration {
	wait := e.RetryAfter
	if wait <= 0 {
		// Absent, or zero, which would have us ask again at once, for ever.
		wait = pace.NextBackOff()
	}
	if k.class >= classCount || e.Op != k.op {
		return wait // the login endpoint throttles for itself
	}
	if !c.gates[k.class].throttled(wait) {
		return 0 // the pause was known: those that were under way say the same
	}
	c.log.Warn("graph asks to wait", "class", k.class.String(), "op", k.op, "seconds", wait.Seconds(), "request_id", e.RequestID)
	return 0
}

// again waits before the next attempt; false if there is no time left for one.
func (c *Client) again(ctx context.Context, k *call, e *Error, delay time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Now().Add(delay).After(deadline) {
		return false
	}
	c.log.Debug("graph request is tried again", "op", k.op, "kind", e.Kind.String(), "status", e.Status,
		"code", e.Code, "request_id", e.RequestID, "delay_seconds", delay.Seconds())
	return sleep(ctx, delay)
}

// sleep waits; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt sends once: through the gate, with a token, within the attempt's time.
func (c *Client) attempt(ctx context.Context, k *call, req *http.Request, content []byte, stale *string) ([]byte, *Error) {
	token, err := k.tokens.get(ctx, *stale)
	if err != nil {
		return nil, asError(k.op, err)
	}
	waited, err := c.gates[k.class].acquire(ctx, k.lane)
	c.metrics.waits.WithLabelValues(k.class.String()).Observe(waited.Seconds())
	if err != nil {
		return nil, c.gateError(k, err)
	}
	start := time.Now()
	body, e := c.exchange(ctx, k, req, content, token)
	outcome := "ok"
	if e != nil {
		outcome = e.Kind.String()
		switch {
		case e.Status == http.StatusUnauthorized:
			*stale = token
		case e.Kind == ConsentMissing:
			k.tokens.doubt(token) // a permission that is granted now is not in a token from before
		}
	}
	c.metrics.attempt(k, outcome, time.Since(start))
	return body, e
}

// gateError is what it means that a request did not get through the gate. Nothing was sent.
func (c *Client) gateError(k *call, err error) *Error {
	e := &Error{Kind: Transient, Op: k.op, Err: err, safe: true, own: true}
	if !errors.Is(err, context.Canceled) {
		e.Kind, e.RetryAfter = Throttled, c.gates[k.class].pauseLeft()
		e.Message = "the budget or a pause of this class left no time to send it"
	}
	return e
}

// exchange is one HTTP exchange with Graph.
func (c *Client) exchange(ctx context.Context, k *call, req *http.Request, content []byte, token string) ([]byte, *Error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { sent.Store(true) },
	})
	r := req.Clone(ctx)
	setBody(r, content)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("User-Agent", "presence-bridge")
	r.Header.Set("client-request-id", uuid.NewString())
	status, header, body, err := c.roundTrip(r)
	if err != nil {
		return nil, transportError(k.op, err, sent.Load())
	}
	if status/100 != 2 {
		return nil, answerError(k.op, status, header, body, append(k.secrets, token)...)
	}
	return body, nil
}

// setBody gives a request a body of known length that can be sent again on another connection.
func setBody(r *http.Request, content []byte) {
	if len(content) == 0 {
		r.Body, r.GetBody, r.ContentLength = nil, nil, 0
		return
	}
	r.ContentLength = int64(len(content))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	r.Body = io.NopCloser(bytes.NewReader(content))
}

// roundTrip sends a request and reads the whole answer, so that a connection that breaks in mid-answer is
// found here, where it can be retried.
func (c *Client) roundTrip(r *http.Request) (status int, header http.Header, body []byte, err error) {
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	var buf bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= maxBody {
		buf.Grow(int(n) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(io.LimitReader(resp.Body, maxBody+1)); err != nil {
		return 0, nil, nil, fmt.Errorf("read answer: %w", err)
	}
	if buf.Len() > maxBody {
		return 0, nil, nil, fmt.Errorf("answer is larger than %d MiB", maxBody>>20)
	}
	return resp.StatusCode, resp.Header, buf.Bytes(), nil
}

// persist repeats a call to the login endpoint while that can help.
func (c *Client) persist(ctx context.Context, op string, try func() *Error) error {
	if e := c.retrying(ctx, &call{op: op, class: classCount}, try); e != nil {
		return e
	}
	return nil
}
