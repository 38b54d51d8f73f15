package graph

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Kind says what a failure means for the caller.
type Kind uint8

// The kinds of failure.
const (
	// Transient: a 5xx, a broken connection, a time-out, an ended context. Error.Unanswered tells whether the
	// request may have been applied.
	Transient Kind = iota
	// Throttled: Graph, or our own budget, says to wait (Error.RetryAfter). Nothing was applied.
	Throttled
	// Unauthorised: the credential or the token is not accepted, a fresh one neither. A person must act.
	Unauthorised
	// ConsentMissing: the application, or the signed-in user, lacks a permission. A person must act.
	ConsentMissing
	// Gone: there is no such thing (404, 410). A subscription is created anew, not retried.
	Gone
	// Conflict: a subscription of this application and user exists already (409): list, adopt or delete.
	Conflict
	// Refused: Graph will not do this however often it is asked.
	Refused
)

// String is the kind as a metric label and log value.
func (k Kind) String() string {
	switch k {
	case Transient:
		return "transient"
	case Throttled:
		return "throttled"
	case Unauthorised:
		return "unauthorised"
	case ConsentMissing:
		return "consent_missing"
	case Gone:
		return "gone"
	case Conflict:
		return "conflict"
	case Refused:
		return "refused"
	default:
		return "kind_" + strconv.Itoa(int(k))
	}
}

// Error is the error type of every call. It holds nothing secret and no address of a person.
type Error struct {
	Kind Kind
	// Status is the HTTP status; 0 if there was no answer.
	Status int
	// Code is Graph's error code, or the AADSTS code of the login endpoint.
	Code string
	// Message is the other side's own text, or ours: shortened, secrets and e-mail addresses taken out.
	Message string
	// RequestID is Graph's request-id, which Microsoft's support asks for.
	RequestID string
	// Op is what was tried, for example "set presence".
	Op string
	// RetryAfter is how long to wait before trying again; 0 if nobody said.
	RetryAfter time.Duration
	// Unanswered: the request went out and nobody knows whether it was applied.
	Unanswered bool
	// Err is the cause where there is one, such as the context's error.
	Err error

	// safe: the request was certainly not applied, so repeating it cannot double it.
	safe bool
	// own: our own budget or time was the reason, not an answer.
	own bool
}

// Error tells what was tried and what came of it.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "graph: %s: %s", e.Op, strings.ReplaceAll(e.Kind.String(), "_", " "))
	if e.Status != 0 {
		fmt.Fprintf(&b, ": %d", e.Status)
	}
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil && e.Message == "" {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.RequestID != "" {
		b.WriteString(" (request " + e.RequestID + ")")
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Retry tells whether the same call can succeed later without anybody doing something. It does not
// say that repeating is harmless: see Unanswered.
func (e *Error) Retry() bool { return e.Kind == Throttled || e.Kind == Transient }

// KindOf returns the kind of an error of this package; anything else counts as [Transient].
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Transient
}

// IsKind tells whether err is an [Error] of that kind.
func IsKind(err error, k Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == k
}

// refused is an error found before anything was sent.
func refused(op, message string) *Error {
	return &Error{Kind: Refused, Op: op, Message: message, safe: true}
}

// asError makes any error an [Error]; nil stays nil.
func asError(op string, err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Transient, Op: op, Err: err}
}

// answerError classifies an answer of Graph that is no 2xx (learn:errors).
func answerError(op string, status int, header http.Header, body []byte, secrets ...string) *Error {
	code, inner, message, id := parseGraphError(body)
	e := &Error{
		Op: op, Status: status, Code: clean(code, 60, secrets...), Message: clean(message, 300, secrets...),
		RequestID: clean(first(header.Get("request-id"), id), 60, secrets...), RetryAfter: retryAfter(header, time.Now()),
	}
	e.Kind, e.safe = kindOfAnswer(status, code+" "+inner, message)
	e.Unanswered = e.Kind == Transient && !e.safe
	return e
}

// kindOfAnswer says what an answer means, and whether it is certain that nothing was applied.
func kindOfAnswer(status int, code, message string) (kind Kind, safe bool) {
	text := strings.ToLower(code + " " + message)
	switch {
	case status == http.StatusTooManyRequests:
		return Throttled, true
	case status == http.StatusUnauthorized:
		return Unauthorised, true
	case status == http.StatusConflict, isSubscriptionConflict(text):
		return Conflict, true
	case status == http.StatusForbidden && strings.Contains(text, "limit"):
		// The quota of Teams subscriptions (learn:api/subscription-post-subscriptions): "message
		// names the limit". No consent helps.
		return Refused, true
	case status == http.StatusForbidden:
		// A missing scope comes as code "Forbidden" with an empty message.
		return ConsentMissing, true
	case status == http.StatusNotFound, status == http.StatusGone:
		return Gone, true
	case status == http.StatusBadRequest && strings.Contains(text, "validation request timed out"):
		// A create or a renewal had its URL validated and our receiver was slow
		// (msgraph-sdk-dotnet#2805): nothing was changed, retry it.
		return Transient, true
	case status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
		return Refused, true
	case status >= 500, status == http.StatusRequestTimeout:
		return Transient, false
	default:
		return Refused, true
	}
}

// isSubscriptionConflict knows the two texts of a subscription that exists already. The second comes
// wrapped at times ("conflict; Reason: A subscripton…", Graph's own spelling), under a status of its wrapper.
func isSubscriptionConflict(text string) bool {
	return strings.Contains(text, "a subscripton already exists") ||
		strings.Contains(text, "a subscription already exists") ||
		strings.Contains(text, "already exists for the requested combination")
}

// parseGraphError reads {"error":{"code","message","innerError":{"code","request-id"}}}; anything else gives
// empty strings. A body that is not JSON (a proxy's page) is not repeated in errors.
func parseGraphError(body []byte) (code, inner, message, id string) {
	var doc struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Inner   struct {
				Code string `json:"code"`
				ID   string `json:"request-id"`
			} `json:"innerError"`
		} `json:"error"`
	}
	// A field of the wrong type costs that field alone.
	_ = json.Unmarshal(body, &doc)
	return doc.Error.Code, doc.Error.Inner.Code, doc.Error.Message, doc.Error.Inner.ID
}

// transportError classifies a request that got no complete answer. sent tells whether anything of it
// went out.
func transportError(op string, err error, sent bool) *Error {
	e := &Error{Kind: Transient, Op: op, Unanswered: sent, safe: !sent, Err: err}
	var u *url.Error
	if errors.As(err, &u) {
		e.Err = u.Err // the URL holds ids and paging tokens
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		e.Kind, e.Unanswered, e.safe = Refused, false, true
		e.Message = "the server's certificate is not trusted: set endpoints.ca_file, or correct the clock"
	}
	return e
}

// contextError is what an ended context means for a request that was not sent.
func contextError(ctx context.Context, op string) *Error {
	return &Error{Kind: Transient, Op: op, Err: context.Cause(ctx), safe: true}
}

// retryAfter reads Retry-After, in seconds or as a date (RFC 9110 section 10.2.3); 0 if there is none. A day
// is the most that is believed.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	const most = 24 * time.Hour
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		if !(s > 0) {
			return 0
		}
		return time.Duration(min(s, most.Seconds()) * float64(time.Second))
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), most)
	}
	return 0
}

// What must never stand in an error: addresses of people and anything that looks like a token.
var (
	mailPattern  = regexp.MustCompile(`[^\s'"<>(),;:=]+@[^\s'"<>(),;:=]+`)
	tokenPattern = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{10,}(\.[A-Za-z0-9_-]*)*`)
)

// clean makes a stranger's text fit for an error: one line, at most limit bytes, without the given
// secrets, tokens or e-mail addresses.
func clean(s string, limit int, secrets ...string) string {
	for _, secret := range secrets {
		if len(secret) >= 4 {
			s = strings.ReplaceAll(s, secret, "[secret]")
			s = strings.ReplaceAll(s, url.QueryEscape(secret), "[secret]")
		}
	}
	s = tokenPattern.ReplaceAllString(s, "[token]")
	s = mailPattern.ReplaceAllString(s, "[address]")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// first is the first string that is not empty.
func first(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}
