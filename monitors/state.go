package monitors

import (
	"strings"
	"time"
)

// State is what a monitor is good for, as data.
type State string

// The states of a monitor.
const (
	StateUnset          State = "unset"           // nobody has signed in for it
	StateAuthorizing    State = "authorizing"     // a sign-in is under way
	StateAuthorized     State = "authorized"      // can carry a subscription
	StateNeedsUpdate    State = "needs_update"    // authorised for another tenant or application
	StateNeedsAttention State = "needs_attention" // Entra or Graph refuses it: see the code
	StateRetired        State = "retired"         // no longer configured; its secrets are wiped
)

// States are all states of a monitor.
func States() []State {
	return []State{StateUnset, StateAuthorizing, StateAuthorized, StateNeedsUpdate, StateNeedsAttention, StateRetired}
}

// Status is a state with its story.
type Status struct {
	State  State     `json:"state"`
	Since  time.Time `json:"since"`
	Code   string    `json:"code,omitempty"`   // stable, snake_case
	Text   string    `json:"text,omitempty"`   // what happened, free of secrets
	Remedy string    `json:"remedy,omitempty"` // what a person can do
}

// trouble is a cause for needs_attention: a stable code, what it means, and what to do.
type trouble struct {
	code, text, remedy string
	// ofApplication: it is not about the monitor; no other monitor works either.
	ofApplication bool
	// ofSecret: it is about what the application proves itself with.
	ofSecret bool
}

const (
	authorize      = "authorise the monitor: presence-bridge monitors authorize UPN"
	authorizeAgain = "authorise the monitor again: presence-bridge monitors authorize UPN"
)

// troubles by Entra's AADSTS number (learn: entra reference-error-codes).
func troubles() map[string]trouble {
	of := func(code, text, remedy string) trouble { return trouble{code: code, text: text, remedy: remedy} }
	ofApp := func(code, text, remedy string) trouble {
		return trouble{code: code, text: text, remedy: remedy, ofApplication: true}
	}
	password := of("password_changed", "the monitor's password was changed or reset, which revoked its sign-in", authorizeAgain)
	expired := of("password_expired", "the monitor's password has expired", "set a new password, then "+authorizeAgain)
	session := of("sign_in_expired", "the monitor's sign-in has expired or was revoked", authorizeAgain)
	mfa := of("mfa_required", "Entra demands multi-factor authentication of the monitor",
		"exempt the monitor in Conditional Access, or complete it while authorising: presence-bridge monitors authorize UPN")
	access := of("conditional_access", "a Conditional Access policy blocks the monitor's sign-in",
		"exempt the monitor from the policy that the Entra sign-in log names; the bridge tries again by itself")
	consent := of("consent_revoked", "the consent for Presence.Read.All (delegated) is missing or was revoked",
		"grant it again in Entra, API permissions of the application; then authorise the monitor again: presence-bridge monitors authorize UPN")
	missing := of("account_missing", "Entra does not know the monitor's account", "restore the user in Entra, or configure another monitor")
	disabled := of("account_disabled", "the monitor's account is disabled", "enable the account in Entra; the bridge tries again by itself")
	secret := ofApp("client_secret_wrong", "Entra does not accept the application's secret or certificate",
		"put the present secret into client_secret_file (or the certificate into certificate_file); the bridge tries again by itself")
	secretExpired := ofApp("client_secret_expired", "the application's secret has expired",
		"make a new secret in Entra and put it into client_secret_file; the bridge tries again by itself")
	secret.ofSecret, secretExpired.ofSecret = true, true
	app := ofApp("application_missing", "Entra does not know the application or it is disabled",
		"correct tenant_id and client_id, or enable the application in Entra")
	return map[string]trouble{
		"50173": password, "50133": password, "50132": password, "50055": expired,
		"50089": session, "70008": session, "70043": session, "700082": session, "700084": session,
		"50057": disabled, "50034": missing, "50020": missing,
		"53000": access, "53001": access, "53002": access, "53003": access, "53004": access, "530003": access,
		"50072": mfa, "50074": mfa, "50076": mfa, "50078": mfa, "50079": mfa,
		"65001": consent, "65004": consent, "650051": consent,
		"7000215": secret, "700027": secret, "700024": secret, "7000222": secretExpired,
		"700016": app, "7000112": app, "90002": app, "700054": app,
	}
}

// diagnose turns a refused call into a trouble. It goes by the kind and by Entra's number, never by words.
func diagnose(e *CallError) trouble {
	if t, known := troubles()[aadsts(e.Code, e.Text)]; known {
		return t
	}
	switch {
	case e.Kind == Consent:
		return trouble{code: "permission_missing", text: "Graph says that a permission is missing",
			remedy: "grant Presence.Read.All (delegated) to the application in Entra, then " + authorizeAgain}
	case strings.EqualFold(e.Code, "invalid_client"), strings.EqualFold(e.Code, "unauthorized_client"), e.Code == "credential_unusable":
		return troubles()["7000215"]
	case e.Code == "credential_unreadable":
		return trouble{code: "credential_unreadable", text: "the application's credential cannot be read: " + e.Text,
			remedy: "correct what it names; the bridge tries again by itself", ofApplication: true, ofSecret: true}
	case e.Code == "not_signed_in":
		return trouble{code: "token_unreadable", text: "the monitor's stored sign-in cannot be read: it is missing, or was sealed under another master key", remedy: authorizeAgain}
	default:
		return trouble{code: "sign_in_refused", text: "Entra or Graph does not accept the monitor's sign-in", remedy: authorizeAgain}
	}
}

// aadsts finds Entra's error number: "50173" in "AADSTS50173" or "AADSTS50173: The provided grant…".
func aadsts(texts ...string) string {
	for _, s := range texts {
		_, rest, found := strings.Cut(strings.ToUpper(s), "AADSTS")
		if !found {
			continue
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(rest)
		}
		if end > 0 {
			return rest[:end]
		}
	}
	return ""
}

// FlowState is how an authorisation stands.
type FlowState string

// The states of an authorisation.
const (
	FlowPending       FlowState = "pending"
	FlowAuthorized    FlowState = "authorized"
	FlowDeclined      FlowState = "declined"
	FlowExpired       FlowState = "expired"
	FlowBadCode       FlowState = "bad_code"
	FlowWrongUser     FlowState = "wrong_user"
	FlowAdministrator FlowState = "global_administrator"
	FlowScopesMissing FlowState = "scopes_missing"
	FlowSuperseded    FlowState = "superseded"
	FlowFailed        FlowState = "failed"
)

// Text is the state in a sentence for the person who authorises.
func (s FlowState) Text() string {
	switch s {
	case FlowPending:
		return "waiting for the sign-in"
	case FlowAuthorized:
		return "the monitor is authorised"
	case FlowDeclined:
		return "the sign-in was declined; start again when whoever signs in agrees"
	case FlowExpired:
		return "the sign-in has expired, nobody finished it in time; start again"
	case FlowBadCode:
		return "Entra does not know the code; start again and enter the code exactly as shown"
	case FlowWrongUser:
		return "somebody else signed in; start again, choose \"use another account\" and sign in as the monitor"
	case FlowAdministrator:
		return "the account is a Global Administrator, which a monitor must not be: its token could do far more than watch presence, and it would be sent data that nobody needs; use an ordinary user"
	case FlowScopesMissing:
		return "the sign-in did not grant all permissions; grant Presence.Read.All (delegated) to the application in Entra and start again"
	case FlowSuperseded:
		return "a newer authorisation of the same monitor was started"
	case FlowFailed:
		return "the sign-in failed"
	}
	return string(s)
}

// diagnose is what a refused call means for this monitor. One with a secret of its own shares that trouble with nobody.
func (mo *monitor) diagnose(e *CallError) trouble {
	t := diagnose(e)
	if !t.ofSecret || !mo.hasOwn() {
		return t
	}
	t.ofApplication = false
	t.text = strings.Replace(t.text, "the application's", "the monitor's own", 1)
	if _, configured := mo.configuredOwn(); configured {
		t.remedy = "put a good one into the file that accounts[].monitors[].client_secret_file (or certificate_file) names for this monitor; the bridge tries again by itself"
	} else {
		t.remedy = "give a good one: presence-bridge monitors renew UPN --client-secret-file FILE"
	}
	return t
}
