package graphsim

import (
	"fmt"
	"net/http"
	"time"
)

// loginError is a refusal of the login service, as Entra words it. Clients branch on `error` and on
// the AADSTS number at the head of the description.
type loginError struct {
	code     int
	status   int
	kind     string // the OAuth error
	text     string
	suberror string
}

// Error is the description.
func (e *loginError) Error() string { return fmt.Sprintf("AADSTS%d: %s", e.code, e.text) }

// The refusals that the flows below make of themselves; the others come on request.
const (
	aadInvalidRequest  = 9002313
	aadNoTenant        = 90002
	aadNoApp           = 700016
	aadBadSecret       = 7000215
	aadNoSecret        = 7000218
	aadBadAssertion    = 700027
	aadScope           = 70011
	aadGrant           = 70000
	aadPending         = 70016
	aadDeclined        = 70018 // shares its number with the bad code; `error` tells them apart
	aadBadCode         = 70018
	aadExpiredCode     = 70020
	aadSlowDown        = 70017
	aadCodeRedeemed    = 54005
	aadExpiredAuthCode = 70008
	aadPKCE            = 501481
	aadRedirect        = 50011
	aadBadGrantType    = 70003
	aadTemporarilyGone = 90033
	aadUserDisabled    = 50057
	aadUserGone        = 50034
	aadInactive        = 700082
	aadConsent         = 65001
)

// aadsts is the refusal of that number; one that is not in the list is an invalid_grant.
func aadsts(code int) *loginError {
	e, ok := aadstsTable()[code]
	if !ok {
		e = loginError{kind: "invalid_grant", text: "The request was refused."}
	}
	e.code = code
	if e.status == 0 {
		e.status = http.StatusBadRequest
	}
	return &e
}

func aadstsTable() map[int]loginError {
	grant := func(suberror, text string) loginError {
		return loginError{kind: "invalid_grant", suberror: suberror, text: text}
	}
	client := func(text string) loginError {
		return loginError{kind: "invalid_client", status: http.StatusUnauthorized, text: text}
	}
	return map[int]loginError{
		aadInvalidRequest:  {kind: "invalid_request", text: "Invalid request. Request is malformed or invalid."},
		aadNoTenant:        {kind: "invalid_request", text: "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."},
		aadNoApp:           {kind: "unauthorized_client", text: "Application was not found in the directory. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant."},
		aadBadSecret:       client("Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID."),
		aadNoSecret:        client("The request body must contain the following parameter: 'client_assertion' or 'client_secret'."),
		aadBadAssertion:    client("The certificate with identifier used to sign the client assertion is not registered on application, or its signature is not valid."),
		7000222:            client("The provided client secret keys are expired. Visit the Azure portal to create new keys for your app."),
		aadScope:           {kind: "invalid_scope", text: "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid."},
		aadBadGrantType:    {kind: "unsupported_grant_type", text: "The app requested an unsupported grant type."},
		aadPending:         {kind: "authorization_pending", text: "OAuth 2.0 device flow error. Authorization is pending. Continue polling."},
		aadSlowDown:        {kind: "slow_down", text: "OAuth 2.0 device flow error. Polling too frequently."},
		aadBadCode:         {kind: "bad_verification_code", text: "The user code or device code is not valid."},
		aadExpiredCode:     {kind: "expired_token", text: "OAuth 2.0 device flow error. The provided device code has expired."},
		aadTemporarilyGone: {kind: "temporarily_unavailable", status: http.StatusServiceUnavailable, text: "A transient error has occurred. Please try again."},
		aadGrant:           grant("bad_token", "The provided grant is invalid or malformed."),
		aadInactive:        grant("bad_token", "The refresh token has expired due to inactivity. The token was inactive for 90.00:00:00."),
		aadCodeRedeemed:    grant("", "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."),
		aadExpiredAuthCode: grant("", "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource."),
		aadPKCE:            grant("", "The Code_Verifier does not match the code_challenge supplied in the authorization request."),
		aadRedirect:        {kind: "invalid_request", text: "The redirect URI specified in the request does not match the redirect URIs configured for the application."},
		aadUserDisabled:    grant("", "The user account is disabled."),
		aadUserGone:        grant("", "The user account does not exist in the directory. To sign into this application, the account must be added to the directory."),
		50055:              grant("", "The password is expired."),
		50076:              grant("basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access the resource."),
		50078:              grant("basic_action", "Presented multi-factor authentication has expired due to policies configured by your administrator, you must refresh your multi-factor authentication."),
		50079:              grant("basic_action", "Due to a configuration change made by your administrator, you must enroll in multi-factor authentication to access the resource."),
		50105:              grant("", "Your administrator has configured the application to block users unless they are specifically granted ('assigned') access to the application."),
		50173:              grant("token_expired", "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password."),
		53003:              grant("message_only", "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."),
		aadConsent:         grant("consent_required", "The user or administrator has not consented to use the application. Send an interactive authorization request for this user and resource."),
		70043:              grant("token_expired", "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access."),
	}
}

// declined is what the device flow says after the person said no.
func declined() *loginError {
	return &loginError{code: aadDeclined, status: http.StatusBadRequest, kind: "authorization_declined",
		text: "OAuth 2.0 device flow error. The end user declined the authorization request."}
}

// writeLoginError answers as the token endpoint does.
func (l *login) writeLoginError(w http.ResponseWriter, e *loginError) {
	trace, correlation, now := l.sim.draw.guid(), l.sim.draw.guid(), time.Now().UTC()
	stamp := now.Format("2006-01-02 15:04:05Z")
	body := map[string]any{
		"error":             e.kind,
		"error_description": fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", e.Error(), trace, correlation, stamp),
		"error_codes":       []int{e.code}, "timestamp": stamp, "trace_id": trace, "correlation_id": correlation,
		"error_uri": fmt.Sprintf("%s/error?code=%d", l.sim.base, e.code),
	}
	if e.suberror != "" {
		body["suberror"] = e.suberror
	}
	writeJSON(w, e.status, body)
}
