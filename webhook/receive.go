package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// maxValidationToken bounds what we are ready to echo, in bytes. Graph's tokens are opaque; a few
// hundred bytes have been seen.
const maxValidationToken = 4096

// receive handles one POST from arrival to answer. It answers by itself and returns no error.
func (r *Receiver) receive(c echo.Context, k kind) (err error) {
	arrived := time.Now()
	a := r.account(c.Param("account"))
	if raw := c.Request().URL.RawQuery; raw != "" {
		if token, found, ok := validationToken(raw); found {
			return r.validate(c, a, k, token, ok)
		}
	}
	out := outcomePanic
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("webhook handler panicked", "account", a.name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = r.answer(c, http.StatusServiceUnavailable)
		}
		a.meters.done(k, out, time.Since(arrived))
	}()
	out = r.take(c, a, arrived)
	if out == outcomeTooLarge {
		r.drain(c.Request())
	}
	if out == outcomeAborted {
		// Nobody is there to read an answer, and the connection cannot be used again.
		c.Response().Header().Set(echo.HeaderConnection, "close")
	}
	return r.answer(c, out.status())
}

// take receives, checks and stores the body, and says what became of it.
func (r *Receiver) take(c echo.Context, a *account, arrived time.Time) outcome {
	req, deadline := c.Request(), arrived.Add(r.cfg.Deadline)
	// A body that has not come by the deadline cannot be stored by then. Not every writer has
	// deadlines (recorders have none), and the server's own ReadTimeout stands behind this one.
	_ = http.NewResponseController(c.Response()).SetReadDeadline(deadline)
	if req.ContentLength > r.cfg.MaxBody {
		return outcomeTooLarge
	}
	body, held, out := r.readBody(req)
	defer r.inFlight.Add(-held)
	if out != outcomeNone {
		return out
	}
	a.meters.bytes.Add(float64(len(body)))
	seen := a.inspect(body)
	switch {
	case seen.err != nil:
		return outcomeMalformed
	case seen.genuine == 0:
		return outcomeUnused
	}
	return r.store(req.Context(), a, body, seen, arrived, deadline)
}

// store has the body stored. A client that goes away does not stop that: whether it was stored would
// then be anybody's guess.
func (r *Receiver) store(ctx context.Context, a *account, body []byte, seen findings, arrived, deadline time.Time) outcome {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	if ctx.Err() != nil {
		return outcomeDeadline
	}
	id := ""
	if seen.rich {
		// Equal ciphertext is one notification sent twice, since each has a key of its own. A basic
		// body can come again and mean a new change.
		sum := sha256.Sum256(body)
		id = hex.EncodeToString(sum[:])
	}
	err := r.cfg.Store.StoreNotification(ctx, a.name, body, arrived, id)
	if err == nil {
		return outcomeStored
	}
	out := outcomeRefused
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		out = outcomeDeadline
	}
	r.refusals.Do(func() {
		r.log.Warn("notification not stored, Graph will send it again", "account", a.name, "reason", out.String(), "error", err)
	})
	return out
}

// readBody reads the body into memory that grows with what has truly come, so that a stranger who
// announces much and sends nothing holds nothing. It returns how many bytes of the common bound are
// held for it, which the caller gives back.
func (r *Receiver) readBody(req *http.Request) (body []byte, held int64, out outcome) {
	const first = 64 << 10
	size := min(max(req.ContentLength, 0), first)
	if req.ContentLength < 0 {
		size = min(4<<10, r.cfg.MaxBody) // chunked: the length is not known
	}
	for {
		if !r.hold(size - held) {
			return nil, held, outcomeBusy
		}
		held = size
		body = append(make([]byte, 0, size), body...)
		n, err := readFull(req.Body, body[len(body):size])
		body = body[:len(body)+n]
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return body, held, outcomeNone
		default:
			return nil, held, readOutcome(err)
		}
		if req.ContentLength == int64(len(body)) {
			return body, held, outcomeNone
		}
		if size == r.cfg.MaxBody {
			return r.atLimit(req, body, held)
		}
		size = min(2*size, r.cfg.MaxBody)
		if req.ContentLength > 0 {
			size = min(size, req.ContentLength)
		}
	}
}

// atLimit finds out whether a chunked body that fills the limit ends there.
func (r *Receiver) atLimit(req *http.Request, body []byte, held int64) ([]byte, int64, outcome) {
	var one [1]byte
	n, err := readFull(req.Body, one[:])
	switch {
	case n > 0:
		return nil, held, outcomeTooLarge
	case errors.Is(err, io.EOF):
		return body, held, outcomeNone
	default:
		return nil, held, readOutcome(err)
	}
}

// drain reads on past a body that is too long, keeping nothing: who sends the whole of it before reading the answer
// would otherwise find a broken connection instead of the 413 (RFC 9112 section 9.6). It ends with twice the limit,
// with the deadline of the request, or at once for a body that announces more.
func (r *Receiver) drain(req *http.Request) {
	bound := 2 * r.cfg.MaxBody
	if req.ContentLength <= bound {
		_, _ = io.CopyN(io.Discard, req.Body, bound) // the answer is the same however this ends
	}
}

// readFull is io.ReadFull that reports the end as io.EOF wherever it falls, and an error of the
// connection as it is.
func readFull(from io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = from.Read(buf[n:])
		n += m
	}
	if n == len(buf) {
		err = nil
	}
	return n, err
}

func readOutcome(err error) outcome {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return outcomeSlow
	}
	return outcomeAborted
}

// hold takes n bytes of the bound on all bodies together.
func (r *Receiver) hold(n int64) bool {
	if r.inFlight.Add(n) <= r.cfg.MaxInFlight {
		return true
	}
	r.inFlight.Add(-n)
	return false
}

// validationToken finds the token in a raw query. The query of our own URL is preserved by Graph, so
// that other parameters may stand beside it. ok is false when the token cannot be decoded or is empty
// or too long. url.ParseQuery is not used because it drops a pair with a raw semicolon.
func validationToken(raw string) (token string, found, ok bool) {
	for pair := range strings.SplitSeq(raw, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if key != "validationToken" {
			continue
		}
		token, err := url.QueryUnescape(value)
		return token, true, err == nil && token != "" && len(token) <= maxValidationToken
	}
	return "", false, false
}

// validate answers the handshake: the decoded token, verbatim, as plain text
// (learn:change-notifications-delivery-webhooks). It is the same for accounts that do not exist.
func (r *Receiver) validate(c echo.Context, a *account, k kind, token string, ok bool) error {
	if !ok {
		a.meters.count(k, outcomeBadValidation)
		return r.answer(c, http.StatusBadRequest)
	}
	a.meters.count(k, outcomeValidated)
	r.log.Debug("validation handshake answered", "account", a.name, "url", k.String())
	h := c.Response().Header()
	// The token is a stranger's text: no browser may take it for anything else.
	h.Set(echo.HeaderXContentTypeOptions, "nosniff")
	h.Set(echo.HeaderContentType, "text/plain")
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(token)))
	c.Response().WriteHeader(http.StatusOK)
	_, err := io.WriteString(c.Response(), token)
	return err
}

// answer sends a status without a body. All answers with the same status are alike.
func (r *Receiver) answer(c echo.Context, status int) error {
	h := c.Response().Header()
	switch status {
	case http.StatusServiceUnavailable:
		h.Set(echo.HeaderRetryAfter, strconv.Itoa(int((r.cfg.RetryAfter+time.Second-1)/time.Second)))
	case http.StatusRequestEntityTooLarge, http.StatusRequestTimeout:
		h.Set(echo.HeaderConnection, "close") // whatever else comes of the body is not worth reading
	}
	c.Response().WriteHeader(status)
	return nil
}
