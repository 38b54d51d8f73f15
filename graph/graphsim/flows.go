package graphsim

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
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
	if !strings.HasSuffix(r.PostForm.Get("scope"), "/.default") {
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

// granted are the scopes of a request that the application was given, by their short names.
func (a app) granted(requested string) []string {
	var out []string
	for scope := range strings.FieldsSeq(requested) {
		short := scope[strings.LastIndexByte(scope, '/')+1:]
		if short == ".default" {
			return a.scopes
		}
		for _, have := range a.scopes {
			if strings.EqualFold(have, short) && !slices.Contains(out, have) {
				out = append(out, have)
			}
		}
	}
	return out
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

// serveDeviceCode is POST /{tenant}/oauth2/v2.0/devicecode. A login_hint, which Entra ignores, says
// whom an automatic approval signs in.
func (l *login) serveDeviceCode(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		l.writeLoginError(w, aadsts(aadInvalidRequest))
		return
	}
	a, _, refusal := l.client(r)
	switch {
	case !l.mine(r.PathValue("tenant")):
		refusal = aadsts(aadNoTenant)
	case refusal == nil && r.PostForm.Get("scope") == "":
		refusal = aadsts(aadScope)
	}
	if refusal != nil {
		l.writeLoginError(w, refusal)
		return
	}
	d := &device{userCode: strings.ToUpper(l.sim.draw.token(9)), app: a.id, hint: r.PostForm.Get("login_hint"),
		scopes: a.granted(r.PostForm.Get("scope")), expires: time.Now().Add(deviceLifetime)}
	raw := l.sim.draw.token(80)
	l.mu.Lock()
	l.devices[raw] = d
	l.mu.Unlock()
	if l.sim.cfg.AutoApprove {
		l.autoApprove(d)
	}
	page := l.sim.base + "/devicelogin"
	writeJSON(w, http.StatusOK, map[string]any{
		"user_code": d.userCode, "device_code": raw, "verification_uri": page, "expires_in": int(deviceLifetime.Seconds()),
		"interval": max(1, int(l.sim.cfg.DeviceInterval.Seconds())),
		"message":  fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", page, d.userCode),
	})
}

// deviceToken is the polling of a device code.
func (l *login) deviceToken(a app, authenticated bool, r *http.Request) (map[string]any, *loginError) {
	raw := cmp.Or(r.PostForm.Get("device_code"), r.PostForm.Get("code"))
	now := time.Now()
	l.mu.Lock()
	found := l.devices[raw]
	var d device
	if found != nil {
		d = *found
		found.polled = now
		if d.user != "" {
			delete(l.devices, raw)
		}
	}
	l.mu.Unlock()
	switch {
	case found == nil || d.app != a.id:
		return nil, aadsts(aadBadCode)
	case d.declined:
		return nil, declined()
	case !d.expires.After(now):
		return nil, aadsts(aadExpiredCode)
	case d.user != "":
		return l.delegated(a, grant{user: d.user, app: a.id, scopes: d.scopes, public: !authenticated})
	case now.Sub(d.polled) < l.sim.cfg.DeviceInterval/2: // RFC 8628 section 3.5
		return nil, aadsts(aadSlowDown)
	default:
		return nil, aadsts(aadPending)
	}
}

// autoApprove signs a monitor in: the one that the request hints at, else the one that was approved
// least often so far.
func (l *login) autoApprove(d *device) {
	user := l.nextMonitor(d.hint)
	l.mu.Lock()
	defer l.mu.Unlock()
	if user != "" {
		d.user = user
		l.approved[user]++
	}
}

func (l *login) nextMonitor(hint string) string {
	id := ""
	if hint != "" {
		l.sim.look(hint, func(p *person, _ time.Time) { id = p.ID })
		return id
	}
	for _, state := range l.sim.monitors() {
		l.mu.Lock()
		if id == "" || l.approved[state] < l.approved[id] {
			id = state
		}
		l.mu.Unlock()
	}
	return id
}

// monitors are the ids of the monitors, in the order of the configuration.
func (s *Sim) monitors() []string {
	var ids []string
	for _, upn := range s.cfg.Monitors {
		if !strings.Contains(upn, "@") {
			upn += "@" + s.cfg.Domain
		}
		s.look(upn, func(p *person, _ time.Time) { ids = append(ids, p.ID) })
	}
	return ids
}

// DeviceCodes are the device codes that wait for a person.
func (s *Sim) DeviceCodes() []DeviceCode {
	s.login.mu.Lock()
	defer s.login.mu.Unlock()
	codes := []DeviceCode{}
	for _, d := range s.login.devices {
		if d.user == "" && !d.declined && d.expires.After(time.Now()) {
			codes = append(codes, DeviceCode{d.userCode, d.scopes, d.expires})
		}
	}
	slices.SortFunc(codes, func(a, b DeviceCode) int {
		return cmp.Or(a.Expires.Compare(b.Expires), strings.Compare(a.UserCode, b.UserCode))
	})
	return codes
}

// Approve signs a user in with the code that a device shows.
func (s *Sim) Approve(userCode, user string) error {
	id := ""
	s.look(user, func(p *person, _ time.Time) { id = p.ID })
	if id == "" {
		return unknownUser(user)
	}
	return s.login.decide(userCode, func(d *device) { d.user = id })
}

// Decline refuses the code that a device shows.
func (s *Sim) Decline(userCode string) error {
	return s.login.decide(userCode, func(d *device) { d.declined = true })
}

// Expire ends the code that a device shows before its time.
func (s *Sim) Expire(userCode string) error {
	return s.login.decide(userCode, func(d *device) { d.expires = time.Now() })
}

func (l *login) decide(userCode string, f func(d *device)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.devices {
		if strings.EqualFold(d.userCode, userCode) && d.user == "" && !d.declined {
			f(d)
			return nil
		}
	}
	return fmt.Errorf("graphsim: no device code %q waits: list those that do", userCode)
}

// serveAuthorize is GET /{tenant}/oauth2/v2.0/authorize: it signs in whom the login_hint names when
// monitors approve themselves, and else shows a page to choose. The choice comes back as `as`, a
// refusal as `deny`.
func (l *login) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	l.mu.Lock()
	a := l.apps[strings.ToLower(q.Get("client_id"))]
	l.mu.Unlock()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	switch {
	case !l.mine(r.PathValue("tenant")):
		l.writeLoginError(w, aadsts(aadNoTenant))
		return
	case a == nil:
		l.writeLoginError(w, aadsts(aadNoApp))
		return
	case err != nil || !redirect.IsAbs() || (len(l.sim.cfg.RedirectURIs) > 0 && !slices.Contains(l.sim.cfg.RedirectURIs, q.Get("redirect_uri"))):
		l.writeLoginError(w, aadsts(aadRedirect))
		return
	}
	back := url.Values{"state": {q.Get("state")}}
	switch user := l.chosen(q); {
	case q.Get("response_type") != "code" || (q.Get("code_challenge") != "" && q.Get("code_challenge_method") != "S256"):
		back.Set("error", "unsupported_response_type")
		back.Set("error_description", "AADSTS700054: response_type must be code, code_challenge_method S256.")
	case q.Has("deny"):
		back.Set("error", "access_denied")
		back.Set("error_description", "AADSTS65004: User declined to consent to access the app.")
	case user == "":
		l.chooser(w, q)
		return
	default:
		code := l.sim.draw.token(60)
		l.mu.Lock()
		l.codes[code] = &authCode{user: user, app: a.id, redirect: q.Get("redirect_uri"), challenge: q.Get("code_challenge"),
			scopes: a.granted(q.Get("scope")), expires: time.Now().Add(codeLifetime)}
		l.mu.Unlock()
		back.Set("code", code)
		back.Set("session_state", l.sim.draw.guid())
	}
	query := redirect.Query()
	maps2(query, back)
	redirect.RawQuery = query.Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound)
}

func maps2(into, from url.Values) {
	for k, v := range from {
		into[k] = v
	}
}

// chosen is the user that signs in, or "" when a person has to say.
func (l *login) chosen(q url.Values) string {
	id := ""
	if as := q.Get("as"); as != "" {
		l.sim.look(as, func(p *person, _ time.Time) { id = p.ID })
	} else if l.sim.cfg.AutoApprove {
		id = l.nextMonitor(q.Get("login_hint"))
	}
	return id
}

var chooserPage = template.Must(template.New("chooser").Parse(`<!doctype html>
<title>Sign in (simulated)</title><h1>Sign in as</h1>
<form>{{range $k, $v := .Query}}{{range $v}}<input type="hidden" name="{{$k}}" value="{{.}}">{{end}}{{end}}
{{range .Monitors}}<p><button name="as" value="{{.}}">{{.}}</button></p>{{end}}
<p><input name="as" placeholder="somebody else"> <button>Sign in</button> <button name="deny" value="1">Refuse</button></p></form>
`))

// chooser shows the page on which a person says who they are.
func (l *login) chooser(w http.ResponseWriter, q url.Values) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := chooserPage.Execute(w, map[string]any{"Query": q, "Monitors": l.sim.cfg.Monitors}); err != nil {
		l.sim.log.Debug("sign-in page was not sent", "error", err)
	}
}

// serveConfiguration is the OpenID Connect discovery document, of version 1.0 or 2.0 tokens.
func (l *login) serveConfiguration(version string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !l.mine(r.PathValue("tenant")) {
			l.writeLoginError(w, aadsts(aadNoTenant))
			return
		}
		tenant := l.sim.base + "/" + r.PathValue("tenant")
		issuer, keys := l.issuer(), tenant+"/discovery/v2.0/keys"
		if version == "1.0" {
			issuer, keys = "https://sts.windows.net/"+l.sim.TenantID+"/", tenant+"/discovery/keys"
		}
		writeJSON(w, http.StatusOK, map[string]any{
			"issuer": issuer, "jwks_uri": keys,
			"authorization_endpoint":                tenant + "/oauth2/v2.0/authorize",
			"token_endpoint":                        tenant + "/oauth2/v2.0/token",
			"device_authorization_endpoint":         tenant + "/oauth2/v2.0/devicecode",
			"end_session_endpoint":                  tenant + "/oauth2/v2.0/logout",
			"response_types_supported":              []string{"code"},
			"response_modes_supported":              []string{"query"},
			"subject_types_supported":               []string{"pairwise"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
			"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
			"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
			"tenant_region_scope":                   "EU", "cloud_instance_name": "microsoftonline.com", "msgraph_host": "graph.microsoft.com",
		})
	}
}

// serveKeys is the key set document.
func (l *login) serveKeys(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, l.keys.published())
}
