package sip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"presencebridge/bridge/pbx"
)

// maxRetryAfter is the longest wait that a PBX can ask for.
const maxRetryAfter = 10 * time.Minute

// quiet is the logger of the SIP stack: it would log whole messages, presence and all, when it cannot read them.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// statusError is a final answer that is no success.
type statusError struct {
	code  int
	retry time.Duration
	min   time.Duration // Min-Expires of a 423
	event string        // the package that was asked for
}

// Error implements error. The reason phrase is the PBX's own and stays out.
func (e *statusError) Error() string { return "the PBX answered " + strconv.Itoa(e.code) }

// outgoing is a request before it is sent.
type outgoing struct {
	op      string
	method  sip.RequestMethod
	target  sip.Uri // request URI
	to      sip.Uri
	toTag   string
	fromTag string
	callID  string
	cseq    *uint32 // counts within a dialog or a publication; nil for a request on its own
	routes  []sip.Uri
	headers [][2]string
	body    []byte
}

// do sends a request and returns its final answer, having answered challenges. Anything but 2xx is a [*pbx.Error].
func (l *flow) do(ctx context.Context, o outgoing) (*sip.Response, error) {
	began := time.Now()
	res, err := l.exchange(ctx, o)
	if err == nil && !res.IsSuccess() {
		err = refusal(res, o)
	}
	if err != nil {
		err = typed(o.op, err)
	}
	l.c.metrics.Request(o.op, err, time.Since(began))
	return res, err
}

// exchange sends a request, again after a challenge.
func (l *flow) exchange(ctx context.Context, o outgoing) (*sip.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, l.c.cfg.Timeout)
	defer cancel()
	if o.callID == "" {
		o.callID = newCallID()
	}
	if o.fromTag == "" {
		o.fromTag = newTag()
	}
	if o.cseq == nil {
		o.cseq = new(uint32)
	}
	asked, reread := map[int]bool{}, false
	for {
		req := l.build(o)
		if err := l.auth.authorize(req); err != nil {
			return nil, err
		}
		res, err := l.send(ctx, req)
		if err != nil || (res.StatusCode != sip.StatusUnauthorized && res.StatusCode != sip.StatusProxyAuthRequired) || l.auth.password == nil {
			return res, err
		}
		stale, err := l.auth.challenged(req, res)
		if err != nil {
			return nil, err
		}
		if asked[res.StatusCode] && !stale {
			if reread {
				return res, nil
			}
			reread = true
			if changed, err := l.auth.reread(); err != nil || !changed {
				return res, err
			}
		}
		asked[res.StatusCode] = true
	}
}

func newCallID() string { return uuid.NewString() }

func newTag() string { return strings.ReplaceAll(uuid.NewString()[:18], "-", "") }

// build makes the request. Everything goes to the PBX itself, whatever its URI says: it is our outbound proxy
// (RFC 3261 section 8.1.2).
func (l *flow) build(o outgoing) *sip.Request {
	*o.cseq++
	req := sip.NewRequest(o.method, o.target)
	req.SetTransport(l.network)
	req.SetDestination(l.remote)
	req.Laddr = l.local
	from := sip.FromHeader{Address: l.c.self()}
	from.Params.Add("tag", o.fromTag)
	to := sip.ToHeader{Address: o.to}
	if o.toTag != "" {
		to.Params.Add("tag", o.toTag)
	}
	callID := sip.CallIDHeader(o.callID)
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	for _, r := range o.routes {
		req.AppendHeader(&sip.RouteHeader{Address: r})
	}
	req.AppendHeader(&from)
	req.AppendHeader(&to)
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: *o.cseq, MethodName: o.method})
	req.AppendHeader(&sip.ContactHeader{Address: l.contact})
	req.AppendHeader(sip.NewHeader("User-Agent", "presence-bridge"))
	for _, h := range o.headers {
		req.AppendHeader(sip.NewHeader(h[0], h[1]))
	}
	req.SetBody(o.body)
	return req
}

// send is one transaction.
func (l *flow) send(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	if !l.alive() {
		return nil, context.Cause(l.life)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.life, func() { cancel(context.Cause(l.life)) })()
	began := time.Now()
	res, err := l.client.Do(ctx, req)
	switch {
	case err == nil && res == nil:
		return nil, errAnswer
	case err != nil && ctx.Err() != nil:
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			l.unanswered(began)
		}
		return nil, context.Cause(ctx)
	}
	return res, err
}

// unanswered doubts the link when nothing at all was heard since a request was sent. A session asks for a sign of life
// then; without one, the next request opens another link.
func (l *flow) unanswered(since time.Time) {
	if l.heard.Load() >= since.UnixNano() {
		return
	}
	if l.busy.Load() == 0 {
		l.fail(errSilent)
	}
}

// refusal reads an answer that is no success.
func refusal(res *sip.Response, o outgoing) error {
	e := &statusError{code: res.StatusCode}
	for _, h := range o.headers {
		if h[0] == "Event" {
			e.event = h[1]
		}
	}
	if h := res.GetHeader("Retry-After"); h != nil {
		e.retry = min(seconds(h.Value()), maxRetryAfter)
	}
	if h := res.GetHeader("Min-Expires"); h != nil {
		e.min = min(seconds(h.Value()), 24*time.Hour)
	}
	return e
}

// seconds reads delta-seconds, whatever follows them (RFC 3261 section 20.33: a comment, parameters).
func seconds(s string) time.Duration {
	s = strings.TrimSpace(s)
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(s[:end], 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// typed puts an error into the contract's words.
func typed(op string, err error) error {
	var pe *pbx.Error
	if errors.As(err, &pe) {
		return err
	}
	out := &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: err}
	var se *statusError
	switch {
	case errors.Is(err, errPassword), errors.Is(err, errChallenge):
		out.Kind = pbx.Unauthorised
	case errors.Is(err, sip.ErrUDPMTUCongestion):
		out.Kind, out.Err = pbx.Refused, fmt.Errorf("the request is too large for UDP: use tcp or tls in url: %w", err)
	case errors.As(err, &se):
		out.Kind, out.RetryAfter = se.kind(), se.retry
	}
	return out
}

// kind says what an answer means for whoever asked.
func (e *statusError) kind() pbx.ErrorKind {
	switch {
	case e.code == sip.StatusUnauthorized, e.code == sip.StatusProxyAuthRequired:
		return pbx.Unauthorised
	case e.code == sip.StatusNotFound, e.code == sip.StatusGone, e.code == 604:
		return pbx.Gone
	case e.code == sip.StatusServiceUnavailable && e.retry > 0, e.code == 429:
		return pbx.Throttled
	case e.code == sip.StatusRequestTimeout, e.code == sip.StatusTemporarilyUnavailable, e.code >= 500 && e.code < 600:
		return pbx.Unanswered
	default:
		return pbx.Refused
	}
}
