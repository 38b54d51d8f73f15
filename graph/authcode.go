package graph

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
)

// AuthCode is a sign-in in a browser: authorization code with PKCE (RFC 6749 section 4.1, RFC 7636). State and
// Verifier are secret until the sign-in is over: together they are worth what the person brings.
type AuthCode struct {
	// State comes back with the code and tells which sign-in it belongs to.
	State string
	// Verifier proves that who trades the code began the sign-in: 43 to 128 of A-Z, a-z, 0-9, -._~.
	Verifier string
	// RedirectURI is where the browser is sent with the code; it must be registered for the application,
	// of type Web (entra: reply-url).
	RedirectURI string
}

// String does not tell the state and the verifier.
func (AuthCode) String() string { return "sign-in by redirect" }

// GoString does not either.
func (a AuthCode) GoString() string { return a.String() }

// AuthCodeURL is the address at which the person signs in. upn is a hint, no more: who signed in is in the
// [Authorization]. Whoever is signed in already in that browser is asked which account is meant, as the
// person's own would otherwise be taken without a question (entra: v2-oauth2-auth-code-flow, prompt).
func (c *Client) AuthCodeURL(a AuthCode, upn string) string {
	challenge := sha256.Sum256([]byte(a.Verifier))
	q := url.Values{
		"client_id": {c.cfg.ClientID}, "response_type": {"code"}, "response_mode": {"query"},
		"redirect_uri": {a.RedirectURI}, "scope": {c.delegatedScope()}, "state": {a.State},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
		"prompt": {"select_account"},
	}
	if upn != "" {
		q.Set("login_hint", upn)
	}
	return c.loginURL("authorize") + "?" + q.Encode()
}

// RedeemCode trades the code that the browser brought back for the sign-in, as a confidential client: with
// the application's secret or certificate. Errors are [AuthorizationError]s; those with an [Error] of kind
// Transient or Throttled inside may be tried again with the same code, though Entra may say then that it was used.
func (c *Client) RedeemCode(ctx context.Context, a AuthCode, code string) (Authorization, error) {
	const op = "redeem authorization code"
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	var got answer
	err := c.persist(ctx, op, func() *Error {
		p, e := c.readIdentity(op)
		if e != nil {
			return e
		}
		form := url.Values{
			"grant_type": {"authorization_code"}, "client_id": {c.cfg.ClientID}, "scope": {c.delegatedScope()},
			"code": {code}, "redirect_uri": {a.RedirectURI}, "code_verifier": {a.Verifier},
		}
		if err := p.addTo(form, c.cfg.ClientID, c.loginURL("token")); err != nil {
			return &Error{Kind: Unauthorised, Op: op, Code: "credential_unusable", Err: err, safe: true}
		}
		return c.postLogin(ctx, op, "token", form, &got, append(p.secrets(), code, a.Verifier)...)
	})
	if e := asError(op, err); e != nil {
		return Authorization{}, signInError(e)
	}
	return got.authorization()
}

// RefusedSignIn is the error of a sign-in that came back without a code: the parameters error and
// error_description of the redirect (RFC 6749 section 4.1.2.1). They come from the browser, so they are
// taken for what a stranger says.
func RefusedSignIn(word, description string) error {
	const op = "sign in"
	description, _, _ = strings.Cut(description, "Trace ID:")
	code := aadstsPattern.FindString(description)
	e := &Error{
		Kind: Unauthorised, Op: op, Code: clean(first(code, word, "no_code"), 60),
		Message: clean(strings.TrimLeft(strings.TrimPrefix(strings.TrimSpace(description), code), ": "), 300), safe: true,
	}
	if code != "" && word != "" {
		e.Err = oauthError(clean(word, 60))
	}
	return signInError(e)
}

// signInError says what became of a sign-in by redirect.
func signInError(e *Error) *AuthorizationError {
	a := &AuthorizationError{State: AuthorizationFailed, Code: e.Code, Text: failureText(e), Err: e}
	switch {
	case e.Code == "AADSTS65004", e.oauth() == "access_denied" && e.Code != "AADSTS65001" && e.Code != "AADSTS90094":
		a.State, a.Text = AuthorizationDeclined, "the sign-in was declined; start again when it was a mistake"
	case e.Code == "AADSTS70008":
		a.State, a.Text = AuthorizationExpired, "the sign-in took too long to come back; start again"
	case e.Retry():
		a.Text = "the login endpoint could not be reached to finish the sign-in; start again"
	}
	return a
}
