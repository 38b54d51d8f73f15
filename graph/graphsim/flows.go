package graphsim

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
)

// codeLifetime is how long an authorization code, and deviceLifetime how long a device code is good
// (identity-platform/v2-oauth2-auth-code-flow, v2-oauth2-device-code).
const (
	codeLifetime   = 10 * time.Minute
	deviceLifetime = 15 * time.Minute
)

// authCode is an authorization code that was not redeemed yet, or was.
type authCode struct {
	user, app, redirect, challenge string
	scopes                         []string
	expires                        time.Time
	redeemed                       bool
}

// device is a device code: pending until a person says yes or no.
type device struct {
	userCode string
	app      string
	hint     string
	scopes   []string
	expires  time.Time
	polled   time.Time
	user     string // object id, once approved
	declined bool
}

// DeviceCode is a device code that waits for a person.
type DeviceCode struct {
	UserCode string    `json:"user_code"`
	Scopes   []string  `json:"scopes"`
	Expires  time.Time `json:"expires"`
}

// serveToken is POST /{tenant}/oauth2/v2.0/token.
func (l *login) serveToken(w http.ResponseWriter, r *http.Request) {
	out, refusal := l.token(r)
	if refusal != nil {
		l.writeLoginError(w, refusal)
		return
	}
	w.Header().Set("Cache-Control", "no-store, no-cache")
	writeJSON(w, http.StatusOK, out)
}

func (l *login) token(r *http.Request) (map[string]any, *loginError) {
	if err := r.ParseForm(); err != nil {
		return nil, aadsts(aadInvalidRequest)
	}
	if !l.mine(r.PathValue("tenant")) {
		return nil, aadsts(aadNoTenant)
	}
	a, authenticated, refusal := l.client(r)
	if refusal != nil {
		return nil, refusal
	}
	switch r.PostForm.Get("grant_type") {
	case "client_credentials":
		return l.clientCredentials(a, authenticated, r)
	case "refresh_token":
		return l.refreshToken(a, authenticated, r)
	case "authorization_code":
		return l.authorizationCode(a, authenticated, r)
	case "device_code", "urn:ietf:params:oauth:grant-type:device_code":
		return l.deviceToken(a, authenticated, r)
	default:
		return nil, aadsts(aadBadGrantType)
	}
}

func (l *login) clientCredentials(a app, authenticated bool, r *http.Request) (map[string]any, *loginError) {
	if !authenticated {
		return nil, aadsts(aadNoSecret)
	}
	if !slices.ContainsFunc(strings.Fields(r.PostForm.Get("scope")), func(f string) bool { return strings.HasSuffix(f, "/.default") }) {
		return nil, aadsts(aadScope)
	}
	return l.answer(l.issue(a, nil, nil, ""))
}

// answer turns our own failure into one that Entra gives.
func (l *login) answer(out map[string]any, err error) (map[string]any, *loginError) {
	if err != nil {
		l.sim.log.Error("could not issue a token", "error", err)
		return nil, aadsts(aadTemporarilyGone)
	}
	return out, nil
}

// granted are the scopes of a request that the application was given, spelt as they were asked for:
// short, or behind the resource's address. Clients compare.
func (a app) granted(requested string) []string {
	var out []string
	for scope := range strings.FieldsSeq(requested) {
		if resource, all := strings.CutSuffix(scope, ".default"); all {
			for _, have := range a.scopes {
				out = append(out, qualified(resource, have))
			}
			return out
		}
		for _, have := range a.scopes {
			if strings.EqualFold(have, short(scope)) {
				out = append(out, strings.TrimSuffix(scope, short(scope))+have)
			}
		}
	}
	return out
}

// short is a scope without its resource.
func short(scope string) string { return scope[strings.LastIndexByte(scope, '/')+1:] }

// qualified puts the resource before a scope of its own; those of OpenID Connect belong to none.
func qualified(resource, scope string) string {
	if slices.Contains([]string{"openid", "profile", "email", "offline_access"}, scope) {
		return scope
	}
	return resource + scope
}

// user finds who a token is for, unless they are gone or refused.
func (l *login) user(id string) (*Person, *loginError) {
	var found *Person
	l.sim.look(id, func(p *person, _ time.Time) {
		copied := p.Person
		found = &copied
	})
	switch {
	case found == nil:
		return nil, aadsts(aadUserGone)
	case found.Disabled:
		return nil, aadsts(aadUserDisabled)
	default:
		return found, l.failure(found.UPN)
	}
}

// delegated makes the answer for a user, with a refresh token when offline_access was asked for.
func (l *login) delegated(a app, g grant) (map[string]any, *loginError) {
	user, refusal := l.user(g.user)
	if refusal != nil {
		return nil, refusal
	}
	if len(resourceScopes(g.scopes)) == 0 {
		return nil, aadsts(aadConsent)
	}
	refresh := ""
	if slices.Contains(g.scopes, "offline_access") {
		refresh = l.newRefresh(g)
	}
	return l.answer(l.issue(a, user, g.scopes, refresh))
}

func (l *login) refreshToken(a app, authenticated bool, r *http.Request) (map[string]any, *loginError) {
	g, refusal := l.redeem(r.PostForm.Get("refresh_token"), a, authenticated)
	if refusal != nil {
		return nil, refusal
	}
	scopes := a.granted(strings.Join(g.scopes, " "))
	if requested := r.PostForm.Get("scope"); requested != "" {
		scopes = a.granted(requested)
	}
	if !slices.Contains(scopes, "offline_access") && slices.Contains(g.scopes, "offline_access") {
		scopes = append(slices.Clone(scopes), "offline_access") // a refresh always brings a new refresh token
	}
	g.scopes = scopes
	return l.delegated(a, g)
}

func (l *login) authorizationCode(a app, authenticated bool, r *http.Request) (map[string]any, *loginError) {
	if !authenticated {
		return nil, aadsts(aadNoSecret)
	}
	l.mu.Lock()
	code := l.codes[r.PostForm.Get("code")]
	var c authCode
	if code != nil {
		c = *code
		code.redeemed = true
	}
	l.mu.Unlock()
	verifier := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	switch {
	case code == nil || c.app != a.id:
		return nil, aadsts(aadGrant)
	case c.redeemed:
		return nil, aadsts(aadCodeRedeemed)
	case !c.expires.After(time.Now()):
		return nil, aadsts(aadExpiredAuthCode)
	case c.redirect != r.PostForm.Get("redirect_uri"):
		return nil, aadsts(aadRedirect)
	case c.challenge != "" && c.challenge != base64.RawURLEncoding.EncodeToString(verifier[:]):
		return nil, aadsts(aadPKCE)
	}
	return l.delegated(a, grant{user: c.user, app: a.id, scopes: c.scopes})
}
