package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// GlobalAdministratorRole is the template id of the directory role Global Administrator, as in the claim
// wids.
const GlobalAdministratorRole = "62e90394-69f5-4237-9190-012177145e10"

// DeviceCode is a sign-in under way: somebody is to open VerificationURI and enter UserCode.
type DeviceCode struct {
	UserCode        string
	VerificationURI string
	Message         string // the login endpoint's sentence for the person
	ExpiresAt       time.Time

	client   *Client
	code     string
	interval time.Duration
}

// Authorization is what a finished sign-in gives.
type Authorization struct {
	UPN      string
	ObjectID string
	TenantID string
	// RefreshToken is secret: seal it. It is for [Client.Delegated].
	RefreshToken string
	Scopes       []string
	// DirectoryRoles are the template ids of the user's directory roles.
	DirectoryRoles []string
}

// GlobalAdministrator tells whether the user is a Global Administrator, whom no monitor should be.
func (a Authorization) GlobalAdministrator() bool {
	return slices.ContainsFunc(a.DirectoryRoles, func(r string) bool { return strings.EqualFold(r, GlobalAdministratorRole) })
}

// String does not tell the refresh token.
func (a Authorization) String() string { return fmt.Sprintf("authorization of %s", a.ObjectID) }

// GoString does not either.
func (a Authorization) GoString() string { return a.String() }

// LogValue is what a log gets to see.
func (a Authorization) LogValue() slog.Value { return slog.StringValue(a.String()) }

// AuthorizationState says what became of a sign-in.
type AuthorizationState string

// The states of a sign-in that did not succeed.
const (
	// AuthorizationPending: nobody has finished it yet, and the caller would not wait longer.
	AuthorizationPending AuthorizationState = "pending"
	// AuthorizationDeclined: the person declined.
	AuthorizationDeclined AuthorizationState = "declined"
	// AuthorizationExpired: the code's time, 15 minutes, is over.
	AuthorizationExpired AuthorizationState = "expired"
	// AuthorizationBadCode: the login endpoint does not know the device code.
	AuthorizationBadCode AuthorizationState = "bad_code"
	// AuthorizationFailed: anything else; the code tells.
	AuthorizationFailed AuthorizationState = "failed"
)

// AuthorizationError is the error of [DeviceCode.Wait] and [Client.RedeemCode].
type AuthorizationError struct {
	State AuthorizationState
	// Code is the AADSTS code, or OAuth's word where there is none.
	Code string
	// Text says in a sentence what happened and what to do.
	Text string
	// Err is the cause: an [Error] or the context's error.
	Err error
}

// Error is the sentence with the code.
func (e *AuthorizationError) Error() string {
	if e.Code == "" {
		return "graph: authorize: " + e.Text
	}
	return "graph: authorize: " + e.Text + " (" + e.Code + ")"
}

// Unwrap gives the cause.
func (e *AuthorizationError) Unwrap() error { return e.Err }

// Bounds of polling.
const (
	defaultPollInterval = 5 * time.Second // RFC 8628 section 3.2
	slowDownStep        = 5 * time.Second // RFC 8628 section 3.5
	maxPollInterval     = time.Minute
)

// String does not tell the device code, which is worth a token.
func (dc *DeviceCode) String() string { return "device code for user code " + dc.UserCode }

// GoString does not either.
func (dc *DeviceCode) GoString() string { return dc.String() }

// StartDeviceCode begins a sign-in (RFC 8628). Tenants may block this flow by Conditional Access, which
// shows when the person signs in.
func (c *Client) StartDeviceCode(ctx context.Context) (*DeviceCode, error) {
	return c.StartDeviceCodeFor(ctx, "")
}

// StartDeviceCodeFor is [Client.StartDeviceCode] for a user who is known beforehand. The hint decides nothing: who
// signed in is in the [Authorization].
func (c *Client) StartDeviceCodeFor(ctx context.Context, upn string) (*DeviceCode, error) {
	const op = "start device code"
	ctx, cancel := c.withDeadline(ctx)
	defer cancel()
	var doc struct {
		DeviceCode      string  `json:"device_code"`
		UserCode        string  `json:"user_code"`
		VerificationURI string  `json:"verification_uri"`
		VerificationURL string  `json:"verification_url"` // the old spelling
		ExpiresIn       seconds `json:"expires_in"`
		Interval        seconds `json:"interval"`
		Message         string  `json:"message"`
	}
	started := time.Now()
	err := c.persist(ctx, op, func() *Error {
		started = time.Now()
		form := url.Values{"client_id": {c.cfg.ClientID}, "scope": {c.delegatedScope()}}
		if upn != "" {
			form.Set("login_hint", upn)
		}
		return c.postLogin(ctx, op, "devicecode", form, &doc)
	})
	if err != nil {
		return nil, err
	}
	if doc.DeviceCode == "" || doc.UserCode == "" {
		return nil, &Error{Kind: Transient, Op: op, Code: "login_answer", Message: "the answer holds no device code"}
	}
	dc := &DeviceCode{
		UserCode: doc.UserCode, VerificationURI: first(doc.VerificationURI, doc.VerificationURL), Message: doc.Message,
		client: c, code: doc.DeviceCode, interval: doc.Interval.duration(),
	}
	if dc.interval <= 0 {
		dc.interval = defaultPollInterval
	}
	life := doc.ExpiresIn.duration()
	if life <= 0 {
		life = 15 * time.Minute // what Entra documents
	}
	dc.ExpiresAt = started.Add(life)
	if dc.Message == "" {
		dc.Message = fmt.Sprintf("Open %s and enter the code %s.", dc.VerificationURI, dc.UserCode)
	}
	return dc, nil
}

// Wait polls until the person has signed in or the sign-in has failed for good; errors are
// [AuthorizationError]s. When ctx ends first the state is pending, and Wait may be called again.
func (dc *DeviceCode) Wait(ctx context.Context) (Authorization, error) {
	for {
		if wait := min(dc.interval, time.Until(dc.ExpiresAt)); !sleep(ctx, wait) {
			return Authorization{}, &AuthorizationError{State: AuthorizationPending, Err: context.Cause(ctx),
				Text: "nobody has finished signing in yet; the code is good until " + dc.ExpiresAt.Format(time.TimeOnly)}
		}
		a, e := dc.poll(ctx)
		if e == nil {
			return a.authorization()
		}
		if err := dc.next(ctx, e); err != nil {
			return Authorization{}, err
		}
	}
}

// poll asks the token endpoint once.
func (dc *DeviceCode) poll(ctx context.Context) (answer, *Error) {
	const op = "poll device code"
	c := dc.client
	p, e := c.readIdentity(op)
	if e != nil {
		return answer{}, e
	}
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {c.cfg.ClientID}, "device_code": {dc.code},
	}
	if err := p.addTo(form, c.cfg.ClientID, c.loginURL("token")); err != nil {
		return answer{}, &Error{Kind: Unauthorised, Op: op, Code: "credential_unusable", Err: err}
	}
	var a answer
	e = c.postLogin(ctx, op, "token", form, &a, append(p.secrets(), dc.code)...)
	return a, e
}

// next says what follows from a poll that did not give a token: nil to go on.
func (dc *DeviceCode) next(ctx context.Context, e *Error) error {
	fail := func(s AuthorizationState, text string) error {
		return &AuthorizationError{State: s, Code: e.Code, Text: text, Err: e}
	}
	word := e.oauth()
	over := !time.Now().Before(dc.ExpiresAt)
	switch {
	case word == "authorization_declined", word == "access_denied":
		return fail(AuthorizationDeclined, "the sign-in was declined; start again when it was a mistake")
	case word == "bad_verification_code":
		return fail(AuthorizationBadCode, "the login endpoint does not know this sign-in; start again")
	case word == "expired_token", word == "code_expired", e.Code == "AADSTS70020":
		return fail(AuthorizationExpired, "nobody signed in before the code expired; start again")
	case over && (word == "authorization_pending" || word == "slow_down" || e.Retry()):
		return fail(AuthorizationExpired, "nobody signed in before the code expired; start again")
	case word == "authorization_pending":
		return nil
	case word == "slow_down":
		dc.interval = min(dc.interval+slowDownStep, maxPollInterval)
		return nil
	case e.Retry():
		// RFC 8628 section 3.5: back off where the endpoint cannot be reached or is busy.
		if ctx.Err() == nil {
			dc.interval = min(max(dc.interval*2, e.RetryAfter), maxPollInterval)
		}
		return nil
	default:
		return fail(AuthorizationFailed, failureText(e))
	}
}

// failureText says what a refusal of the login endpoint means (entra: reference-error-codes).
func failureText(e *Error) string {
	switch e.Code {
	case "AADSTS7000215", "AADSTS7000222":
		return "the application's client secret is not accepted, or has expired: put a new one into client_secret_file"
	case "AADSTS7000218":
		return "the login endpoint wants the application's credential: check client_secret_file or certificate_file"
	case "AADSTS700016":
		return "the tenant does not know the application: check client_id and tenant_id"
	case "AADSTS90002":
		return "the tenant is not known: check tenant_id"
	case "AADSTS65001", "AADSTS65004", "AADSTS90094":
		return "the permission Presence.Read.All was not granted: consent to it, or have an administrator do so"
	case "AADSTS53003", "AADSTS53000", "AADSTS50005":
		return "Conditional Access does not let this sign-in through: except the monitor from the policy that the Entra sign-in log names; where it blocks device codes, authorise by redirect"
	case "AADSTS50011":
		return "the redirect URI is not registered: add public_url with /authorize/callback to the application in Entra, Authentication, platform Web"
	case "AADSTS54005":
		return "this sign-in's code was used already: start again"
	case "AADSTS501481":
		return "the code belongs to another sign-in: start again, and finish it in the same browser"
	case "AADSTS50105":
		return "the user is not assigned to the application: assign it, or switch off that assignment is required"
	case "AADSTS50057":
		return "the user's account is disabled"
	case "AADSTS50076", "AADSTS50079":
		return "the sign-in needs another factor: sign in again and finish it"
	}
	return first(e.Message, "the login endpoint refused the sign-in")
}

// authorization is what the answer to a sign-in says.
func (a answer) authorization() (Authorization, error) {
	id, access := readClaims(a.IDToken), readClaims(a.AccessToken)
	out := Authorization{
		UPN:            first(id.UPN, access.UPN, id.PreferredUsername, access.PreferredUsername, access.UniqueName),
		ObjectID:       strings.ToLower(first(id.ObjectID, access.ObjectID)),
		TenantID:       strings.ToLower(first(id.TenantID, access.TenantID)),
		RefreshToken:   a.RefreshToken,
		Scopes:         scopes(first(a.Scope, access.Scopes)),
		DirectoryRoles: access.Roles,
	}
	for _, r := range id.Roles {
		if !slices.Contains(out.DirectoryRoles, r) {
			out.DirectoryRoles = append(out.DirectoryRoles, r)
		}
	}
	var missing string
	switch {
	case out.RefreshToken == "":
		missing = "a refresh token (offline_access was not granted)"
	case out.UPN == "":
		missing = "the user's name"
	default:
		return out, nil
	}
	return Authorization{}, &AuthorizationError{State: AuthorizationFailed, Code: "login_answer",
		Text: "the sign-in succeeded, but the answer lacks " + missing, Err: errors.New(http.StatusText(http.StatusOK))}
}

// scopes splits a list of scopes and takes Graph's address off them.
func scopes(s string) []string {
	list := strings.Fields(s)
	for i, scope := range list {
		list[i] = scope[strings.LastIndexByte(scope, '/')+1:]
	}
	return list
}
