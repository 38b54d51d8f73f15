package graph

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// answer is what the token endpoint says (RFC 6749 section 5.1).
type answer struct {
	AccessToken  string  `json:"access_token"`
	RefreshToken string  `json:"refresh_token"`
	IDToken      string  `json:"id_token"`
	ExpiresIn    seconds `json:"expires_in"`
	Scope        string  `json:"scope"`
}

// seconds is a number of seconds, which some endpoints send as a string.
type seconds float64

// UnmarshalJSON reads 3600 and "3600".
func (s *seconds) UnmarshalJSON(b []byte) error {
	return json.Unmarshal([]byte(strings.Trim(string(b), `"`)), (*float64)(s))
}

// duration is the number as a duration, within a year.
func (s seconds) duration() time.Duration {
	return time.Duration(min(max(float64(s), 0), 365*24*3600) * float64(time.Second))
}

// token is the access token, with the time it was asked for as its beginning.
func (a answer) token(issued time.Time) token {
	life := a.ExpiresIn.duration()
	if life == 0 {
		life = time.Hour // RFC 6749 leaves expires_in out at times
	}
	return token{value: a.AccessToken, issued: issued, expires: issued.Add(life)}
}

// loginURL is an OAuth endpoint of the tenant.
func (c *Client) loginURL(endpoint string) string {
	return c.login + "/" + c.cfg.TenantID + "/oauth2/v2.0/" + endpoint
}

// postLogin posts a form to an OAuth endpoint once and reads the answer into out. secrets are kept out
// of errors.
func (c *Client) postLogin(ctx context.Context, op, endpoint string, form url.Values, out any, secrets ...string) *Error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.loginURL(endpoint), nil)
	if err != nil {
		return refused(op, "cannot build the request")
	}
	setBody(r, []byte(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "presence-bridge")
	status, header, body, err := c.roundTrip(r)
	if err != nil {
		// A refresh token stays good after use and a pending code stays pending: these may be repeated.
		return transportError(op, err, false)
	}
	if status/100 != 2 {
		return loginError(op, status, header, body, secrets...)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return &Error{Kind: Transient, Op: op, Status: status, Code: "login_answer", Message: "the answer is not what RFC 6749 describes", safe: true}
	}
	return nil
}

// aadstsPattern finds the code that Entra begins its descriptions with.
var aadstsPattern = regexp.MustCompile(`AADSTS\d+`)

// loginError classifies an answer of the login endpoint that is no 2xx. The code is the AADSTS code where there is
// one, otherwise OAuth's word (entra: reference-error-codes).
func loginError(op string, status int, header http.Header, body []byte, secrets ...string) *Error {
	var doc struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		TraceID     string `json:"trace_id"`
	}
	_ = json.Unmarshal(body, &doc) // what is no such document has no code
	description, _, _ := strings.Cut(doc.Description, "Trace ID:")
	code := aadstsPattern.FindString(description)
	description = strings.TrimLeft(strings.TrimPrefix(strings.TrimSpace(description), code), ": ")
	e := &Error{
		Op: op, Status: status, Code: clean(first(code, doc.Error), 60, secrets...), Message: clean(description, 300, secrets...),
		RequestID: clean(first(header.Get("x-ms-request-id"), doc.TraceID), 60, secrets...), RetryAfter: retryAfter(header, time.Now()),
		safe: true,
	}
	e.Kind = kindOfLogin(status, doc.Error, code)
	if code != "" && doc.Error != "" {
		e.Err = oauthError(clean(doc.Error, 60, secrets...))
	}
	return e
}

// kindOfLogin says what a failure at the login endpoint means.
func kindOfLogin(status int, word, code string) Kind {
	switch {
	case status == http.StatusTooManyRequests:
		return Throttled
	case status >= 500, status == http.StatusRequestTimeout, word == "temporarily_unavailable", word == "server_error":
		return Transient
	case word == "consent_required", code == "AADSTS65001", code == "AADSTS65004", code == "AADSTS90094":
		return ConsentMissing
	case word == "invalid_request", word == "invalid_scope", word == "unsupported_grant_type":
		return Refused
	case word == "", status/100 == 3:
		return Refused // not the login endpoint that we know
	default:
		return Unauthorised
	}
}

// oauthError is OAuth's own word for a failure, kept as the cause beside the AADSTS code.
type oauthError string

// Error is the word.
func (w oauthError) Error() string { return string(w) }

// oauth is OAuth's own word for a failure at the login endpoint.
func (e *Error) oauth() string {
	var w oauthError
	if errors.As(e.Err, &w) {
		return string(w)
	}
	return e.Code
}
