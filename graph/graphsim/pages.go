package graphsim

import (
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

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
	maps.Copy(query, back)
	redirect.RawQuery = query.Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound)
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

var devicePage = template.Must(template.New("device").Parse(`<!doctype html>
<title>Enter code (simulated)</title><h1>Enter the code that your device shows</h1>{{with .Said}}<p>{{.}}</p>{{end}}
<form method="post"><p><input name="user_code" value="{{.Code}}" placeholder="code"></p>
{{range .Monitors}}<p><button name="as" value="{{.}}">Sign in as {{.}}</button></p>{{end}}
<p><input name="as" placeholder="somebody else"> <button>Sign in</button> <button name="deny" value="1">Refuse</button></p></form>
`))

// serveDeviceLogin is the page on which a person enters a device code.
func (l *login) serveDeviceLogin(w http.ResponseWriter, r *http.Request) {
	code, said := strings.TrimSpace(r.FormValue("user_code")), ""
	if r.Method == http.MethodPost {
		var err error
		as := slices.DeleteFunc(slices.Clone(r.PostForm["as"]), func(v string) bool { return v == "" })
		switch {
		case r.PostForm.Has("deny"):
			said, err = "You have refused.", l.sim.Decline(code)
		case len(as) == 0:
			said = "Say who you are."
		default:
			said, err = "You have signed in. You can close this window.", l.sim.Approve(code, as[0])
		}
		if err != nil {
			said = err.Error()
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := devicePage.Execute(w, map[string]any{"Code": code, "Said": said, "Monitors": l.sim.cfg.Monitors}); err != nil {
		l.sim.log.Debug("device page was not sent", "error", err)
	}
}
