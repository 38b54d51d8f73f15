package graphsim

import (
	"crypto/subtle"
	"crypto/x509"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// refreshLifetime is the default of Entra (identity-platform/refresh-tokens).
const refreshLifetime = 90 * 24 * time.Hour

// maxVerified bounds the cache of access tokens that were found good.
const maxVerified = 4096

// login is the login service: it knows the applications, and hands out tokens.
type login struct {
	sim  *Sim
	keys keySet

	mu       sync.Mutex
	apps     map[string]*app      // guarded by mu; by client id
	refresh  map[string]*grant    // guarded by mu; by refresh token
	codes    map[string]*authCode // guarded by mu; by authorization code
	devices  map[string]*device   // guarded by mu; by device code
	failures map[string]int       // guarded by mu; AADSTS numbers by user (UPN in lower case) or client id
	verified map[string]*identity // guarded by mu; access tokens found good
	approved map[string]int       // guarded by mu; how often each monitor was approved by itself
}

// app is an app registration.
type app struct {
	id           string
	secrets      []string
	certificates []*x509.Certificate
	roles        []string             // application permissions, with admin consent
	scopes       []string             // delegated permissions
	ends         map[string]time.Time // when secrets end that do not end with the first one
}

// grant is what a refresh token stands for.
type grant struct {
	user    string // object id
	app     string
	scopes  []string
	public  bool // made without client authentication, and used without
	issued  time.Time
	revoked bool
}

func newLogin(s *Sim) (*login, error) {
	l := &login{sim: s, apps: map[string]*app{}, refresh: map[string]*grant{}, codes: map[string]*authCode{}, devices: map[string]*device{},
		failures: map[string]int{}, verified: map[string]*identity{}, approved: map[string]int{}}
	l.apps[s.ClientID] = &app{id: s.ClientID, secrets: []string{s.ClientSecret}, certificates: s.cfg.Certificates,
		roles: s.cfg.AppRoles, scopes: s.cfg.Scopes}
	return l, l.keys.begin(s.cfg.SigningKey)
}

// AddApp registers a further application with the permissions of the first.
func (s *Sim) AddApp(clientID, secret string) {
	s.login.mu.Lock()
	defer s.login.mu.Unlock()
	id := strings.ToLower(clientID)
	s.login.apps[id] = &app{id: id, secrets: []string{secret}, roles: s.cfg.AppRoles, scopes: s.cfg.Scopes}
}

// AddSecret gives the app registration one more client secret, for rotation.
func (s *Sim) AddSecret(secret string) {
	s.login.editApp(s.ClientID, func(a *app) { a.secrets = append(a.secrets, secret) })
}

// AddSecretUntil gives an app registration, by client id, one more client secret and says when it ends.
func (s *Sim) AddSecretUntil(clientID, secret string, end time.Time) {
	s.login.editApp(strings.ToLower(clientID), func(a *app) {
		a.secrets = append(slices.Clone(a.secrets), secret)
		a.ends = maps.Clone(a.ends)
		if a.ends == nil {
			a.ends = map[string]time.Time{}
		}
		a.ends[secret] = end
	})
}

// RemoveSecret takes one away.
func (s *Sim) RemoveSecret(secret string) {
	s.login.editApp(s.ClientID, func(a *app) {
		a.secrets = slices.DeleteFunc(slices.Clone(a.secrets), func(x string) bool { return x == secret })
	})
}

// RegisterCertificate lets the app registration sign client assertions with that certificate's key.
func (s *Sim) RegisterCertificate(cert *x509.Certificate) {
	s.login.editApp(s.ClientID, func(a *app) { a.certificates = append(slices.Clone(a.certificates), cert) })
}

// Consent replaces the permissions of the app registration: application roles and delegated scopes.
// Tokens issued before keep theirs.
func (s *Sim) Consent(roles, scopes []string) {
	s.ConsentTo(s.ClientID, roles, scopes)
}

// ConsentTo does the same for any app registration, by client id.
func (s *Sim) ConsentTo(clientID string, roles, scopes []string) {
	s.login.editApp(strings.ToLower(clientID), func(a *app) { a.roles, a.scopes = slices.Clone(roles), slices.Clone(scopes) })
}

func (l *login) editApp(id string, f func(a *app)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.apps[id])
}

// FailTokens has the login service refuse every token to a user (by id or UPN), or to an application
// (by client id), with that AADSTS number: 50173 password changed, 50057 account disabled, 65001
// consent missing, 53003 Conditional Access, 50076 multi-factor wanted, 700082 inactive for 90 days,
// 7000222 client secret expired, ... 0 ends that.
func (s *Sim) FailTokens(who string, code int) {
	key := strings.ToLower(who)
	s.look(who, func(p *person, _ time.Time) { key = strings.ToLower(p.UPN) })
	s.login.mu.Lock()
	defer s.login.mu.Unlock()
	if code == 0 {
		delete(s.login.failures, key)
	} else {
		s.login.failures[key] = code
	}
}

// RevokeSessions ends all refresh tokens of a user, as "Revoke sessions" in the admin center does.
func (s *Sim) RevokeSessions(user string) {
	id := ""
	s.look(user, func(p *person, _ time.Time) { id = p.ID })
	s.login.mu.Lock()
	defer s.login.mu.Unlock()
	for _, g := range s.login.refresh {
		if g.user == id {
			g.revoked = true
		}
	}
}

// failure is the refusal that was ordered for the user or application, if any.
func (l *login) failure(who string) *loginError {
	l.mu.Lock()
	defer l.mu.Unlock()
	if code := l.failures[strings.ToLower(who)]; code != 0 {
		return aadsts(code)
	}
	return nil
}

// mine tells whether a request's tenant is this one. Domain names and the words that stand for any
// tenant are taken too.
func (l *login) mine(tenant string) bool {
	switch strings.ToLower(tenant) {
	case l.sim.TenantID, strings.ToLower(l.sim.cfg.Domain), "common", "organizations":
		return true
	default:
		return false
	}
}

// client authenticates the application of a request. authenticated tells whether it gave a secret or
// an assertion, or is a public client that gave nothing.
func (l *login) client(r *http.Request) (a app, authenticated bool, refusal *loginError) {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		id, secret = user, password
	}
	l.mu.Lock()
	known := l.apps[strings.ToLower(id)]
	if known != nil {
		a = *known
	}
	l.mu.Unlock()
	switch {
	case id == "":
		return a, false, aadsts(aadInvalidRequest)
	case known == nil:
		return a, false, aadsts(aadNoApp)
	case secret != "":
		for _, s := range a.secrets {
			if subtle.ConstantTimeCompare([]byte(s), []byte(secret)) == 1 {
				return a, true, l.failure(a.id)
			}
		}
		return a, false, aadsts(aadBadSecret)
	case r.PostForm.Get("client_assertion") != "":
		if err := l.checkAssertion(a, r); err != nil {
			l.sim.log.Debug("client assertion refused", "error", err)
			return a, false, aadsts(aadBadAssertion)
		}
		return a, true, l.failure(a.id)
	default:
		return a, false, l.failure(a.id)
	}
}

// newRefresh makes a refresh token.
func (l *login) newRefresh(g grant) string {
	raw := "0." + l.sim.draw.token(64)
	g.issued = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh[raw] = &g
	return raw
}

// redeem finds what a refresh token stands for, and rotates it: the token stays good unless
// rotation is strict (identity-platform/refresh-tokens).
func (l *login) redeem(raw string, a app, authenticated bool) (grant, *loginError) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.refresh[raw]
	switch {
	case g == nil || g.app != a.id:
		return grant{}, aadsts(aadGrant)
	case g.revoked:
		return grant{}, aadsts(50173)
	case time.Since(g.issued) > refreshLifetime:
		return grant{}, aadsts(aadInactive)
	case !g.public && !authenticated:
		return grant{}, aadsts(aadNoSecret)
	}
	if l.sim.cfg.StrictRotation {
		delete(l.refresh, raw)
	}
	return *g, nil
}

func (l *login) forgetVerified() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.verified)
}

// remember caches a token that was found good. When full, it forgets those that ended, or all.
func (l *login) remember(raw string, id *identity) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.verified) >= maxVerified {
		now := time.Now()
		maps.DeleteFunc(l.verified, func(_ string, i *identity) bool { return !i.expires.After(now) })
		if len(l.verified) >= maxVerified {
			clear(l.verified)
		}
	}
	l.verified[raw] = id
}
