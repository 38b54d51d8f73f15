package graphsim

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// accessClaims are the claims of an access token for Graph (version 1.0, as Graph's are).
type accessClaims struct {
	Audience   string   `json:"aud"`
	Issuer     string   `json:"iss"`
	IssuedAt   int64    `json:"iat"`
	NotBefore  int64    `json:"nbf"`
	Expires    int64    `json:"exp"`
	AppID      string   `json:"appid"`
	AppACR     string   `json:"appidacr"`
	IDType     string   `json:"idtyp"`
	Object     string   `json:"oid"`
	Subject    string   `json:"sub"`
	Tenant     string   `json:"tid"`
	Unique     string   `json:"uti"`
	Version    string   `json:"ver"`
	Roles      []string `json:"roles,omitempty"`
	Scopes     string   `json:"scp,omitempty"`
	UPN        string   `json:"upn,omitempty"`
	UniqueName string   `json:"unique_name,omitempty"`
	Name       string   `json:"name,omitempty"`
	RoleIDs    []string `json:"wids,omitempty"`
}

// identity is who a request to Graph comes from.
type identity struct {
	app     string
	user    string // object id; empty: the application itself
	roles   []string
	scopes  []string
	expires time.Time
}

// may tells whether the token carries one of the permissions: application permissions when it is the
// application's own, delegated ones otherwise.
func (i *identity) may(application, delegated []string) bool {
	have, want := i.roles, application
	if i.user != "" {
		have, want = i.scopes, delegated
	}
	return slices.ContainsFunc(want, func(p string) bool { return slices.Contains(have, p) })
}

// identify verifies the request's access token, or says what is wrong with it.
func (l *login) identify(r *http.Request) (*identity, error) {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || raw == "" {
		return nil, errors.New("Access token is empty.") //nolint:staticcheck // Graph's own wording
	}
	now := time.Now()
	l.mu.Lock()
	known := l.verified[raw]
	l.mu.Unlock()
	if known == nil {
		var c accessClaims
		if err := l.keys.verify(raw, &c); err != nil {
			return nil, errors.New("Access token validation failure. Invalid signature.") //nolint:staticcheck // Graph's own wording
		}
		known = &identity{app: c.AppID, roles: c.Roles, scopes: strings.Fields(c.Scopes), expires: time.Unix(c.Expires, 0)}
		if c.IDType != "app" {
			known.user = c.Object
		}
		if c.Tenant != l.sim.TenantID || l.resource(c.Audience) != l.resource(l.sim.base) {
			return nil, errors.New("Access token validation failure. Invalid audience.") //nolint:staticcheck // Graph's own wording
		}
		l.remember(raw, known)
	}
	if !known.expires.After(now) {
		return nil, errors.New("Lifetime validation failed, the token is expired.") //nolint:staticcheck // Graph's own wording
	}
	if l.disabled(known.user) {
		return nil, errors.New("Continuous access evaluation resulted in challenge with result: InteractionRequired and code: UserDisabled") //nolint:staticcheck // Graph's own wording
	}
	return known, nil
}

// disabled tells whether a user's account was disabled since. Graph learns of that within minutes and no longer takes
// tokens issued before (entra: concept-continuous-access-evaluation, critical events); here it does so at once.
func (l *login) disabled(user string) (off bool) {
	if user != "" {
		l.sim.look(user, func(p *person, _ time.Time) { off = p.Disabled })
	}
	return off
}

// resource is the host of an audience, so that a port or a trailing slash makes no difference.
func (l *login) resource(audience string) string {
	u, err := url.Parse(audience)
	if err != nil || u.Host == "" {
		return audience
	}
	return u.Host
}

// issue makes the answer of the token endpoint. Without a user it is for the application itself.
func (l *login) issue(a app, user *Person, scopes []string, refresh string) (map[string]any, error) {
	now := time.Now()
	expires := now.Add(l.sim.cfg.TokenLifetime)
	c := accessClaims{Audience: l.sim.base, Issuer: "https://sts.windows.net/" + l.sim.TenantID + "/",
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: expires.Unix(), AppID: a.id, AppACR: "1", Tenant: l.sim.TenantID,
		Unique: l.sim.draw.token(22), Version: "1.0"}
	if user == nil {
		c.IDType, c.Roles = "app", a.roles
		c.Object = servicePrincipalID(a.id)
		c.Subject = c.Object
	} else {
		c.IDType, c.Scopes, c.Object, c.Subject = "user", strings.Join(resourceScopes(scopes), " "), user.ID, subject(a.id, user.ID)
		c.UPN, c.UniqueName, c.Name, c.RoleIDs = user.UPN, user.UPN, user.DisplayName, user.DirectoryRoles
		if len(c.RoleIDs) == 0 {
			c.RoleIDs = []string{"b79fbf4d-3ef9-4689-8143-76b194e85509"} // every user's own template
		}
	}
	signed, err := l.keys.sign(c)
	if err != nil {
		return nil, err
	}
	life := int(l.sim.cfg.TokenLifetime.Seconds())
	out := map[string]any{"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": signed}
	if user == nil {
		return out, nil
	}
	out["scope"] = strings.Join(scopes, " ")
	if refresh != "" {
		out["refresh_token"] = refresh
	}
	return out, l.addIDToken(out, a, user, scopes, now, expires)
}

// addIDToken adds what OpenID Connect wants, and the client info of MSAL.
func (l *login) addIDToken(out map[string]any, a app, user *Person, scopes []string, now, expires time.Time) error {
	info, err := json.Marshal(map[string]string{"uid": user.ID, "utid": l.sim.TenantID})
	if err != nil {
		return fmt.Errorf("graphsim: client info: %w", err)
	}
	out["client_info"] = base64.RawURLEncoding.EncodeToString(info)
	if !slices.Contains(scopes, "openid") {
		return nil
	}
	signed, err := l.keys.sign(map[string]any{
		"aud": a.id, "iss": l.issuer(), "iat": now.Unix(), "nbf": now.Unix(), "exp": expires.Unix(),
		"name": user.DisplayName, "oid": user.ID, "preferred_username": user.UPN, "sub": subject(a.id, user.ID),
		"tid": l.sim.TenantID, "ver": "2.0",
	})
	if err != nil {
		return err
	}
	out["id_token"] = signed
	return nil
}

// issuer is the issuer of version 2.0 tokens: Microsoft's, whatever address the simulator has.
func (l *login) issuer() string {
	return "https://login.microsoftonline.com/" + l.sim.TenantID + "/v2.0"
}

// resourceScopes are the scopes that the access token carries, by their short names.
func resourceScopes(scopes []string) []string {
	var out []string
	for _, scope := range scopes {
		if scope != "offline_access" && !slices.Contains(out, short(scope)) {
			out = append(out, short(scope))
		}
	}
	return out
}

// subject is pairwise: other for each application.
func subject(app, user string) string {
	sum := sha256.Sum256([]byte(app + "/" + user))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// servicePrincipalID is the object id of an application in this tenant.
func servicePrincipalID(app string) string {
	sum := sha256.Sum256([]byte("servicePrincipal/" + app))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// assertionClaims are the claims of a client assertion (identity-platform/certificate-credentials).
type assertionClaims struct {
	jwt.Claims
}

// checkAssertion verifies that a certificate of the application signed the request.
func (l *login) checkAssertion(a app, r *http.Request) error {
	if kind := r.PostForm.Get("client_assertion_type"); kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return fmt.Errorf("client_assertion_type is %q", kind)
	}
	parsed, err := jwt.ParseSigned(r.PostForm.Get("client_assertion"), []jose.SignatureAlgorithm{jose.RS256, jose.PS256})
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	header := parsed.Headers[0]
	sha1Thumb, _ := header.ExtraHeaders["x5t"].(string)
	sha256Thumb, _ := header.ExtraHeaders["x5t#S256"].(string)
	for _, cert := range a.certificates {
		s1, s256 := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw)
		if !thumbIs(sha1Thumb, s1[:]) && !thumbIs(sha256Thumb, s256[:]) {
			continue
		}
		var c assertionClaims
		if err := parsed.Claims(cert.PublicKey, &c); err != nil {
			return fmt.Errorf("signature: %w", err)
		}
		return l.checkAssertionClaims(a, c)
	}
	return errors.New("no certificate of that thumbprint is registered")
}

// thumbIs compares a thumbprint header: base64url as RFC 7515 wants it, or the standard alphabet
// with padding, which MSAL sends and Entra takes.
func thumbIs(header string, sum []byte) bool {
	return header == base64.RawURLEncoding.EncodeToString(sum) || header == base64.StdEncoding.EncodeToString(sum)
}

func (l *login) checkAssertionClaims(a app, c assertionClaims) error {
	now := time.Now()
	switch {
	case !strings.EqualFold(c.Issuer, a.id) || !strings.EqualFold(c.Subject, a.id):
		return fmt.Errorf("iss %q and sub %q are not the client id", c.Issuer, c.Subject)
	case c.Expiry == nil || !c.Expiry.Time().After(now):
		return errors.New("exp is missing or past")
	case c.NotBefore != nil && c.NotBefore.Time().After(now.Add(5*time.Minute)):
		return errors.New("nbf is in the future")
	case !slices.ContainsFunc(c.Audience, func(aud string) bool {
		u, err := url.Parse(aud)
		return err == nil && strings.HasPrefix(aud, l.sim.base) && strings.Contains(u.Path, "/oauth2/v2.0/token")
	}):
		return fmt.Errorf("aud %q is not the token endpoint", c.Audience)
	}
	return nil
}
