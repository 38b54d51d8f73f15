package notify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxTokenBytes bounds one validation token; real ones have about 1.5 KB.
const maxTokenBytes = 16 << 10

// tokenAlgorithms are the only ones accepted: RSA signatures. Never none, never HMAC (with which a
// public key would be a shared secret; RFC 8725 section 3.1).
func tokenAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
}

// Issuers are templates of the iss claim per token version; {tid} stands for the tenant id.
type Issuers struct {
	V1, V2 []string
}

// GlobalIssuers are those of the global cloud
// (learn:change-notifications-with-resource-data, "Validating the authenticity of notifications").
func GlobalIssuers() Issuers {
	return Issuers{
		V1: []string{"https://sts.windows.net/{tid}/"},
		V2: []string{"https://login.microsoftonline.com/{tid}/v2.0"},
	}
}

// USGovIssuers are those of US Government L4 and L5.
func USGovIssuers() Issuers {
	return Issuers{
		V1: []string{"https://sts.windows.net/{tid}/"},
		V2: []string{"https://login.microsoftonline.us/{tid}/v2.0"},
	}
}

// ChinaIssuers are those of the cloud operated by 21Vianet.
func ChinaIssuers() Issuers {
	return Issuers{
		V1: []string{"https://sts.chinacloudapi.cn/{tid}/"},
		V2: []string{"https://login.partner.microsoftonline.cn/{tid}/v2.0", "https://login.chinacloudapi.cn/{tid}/v2.0"},
	}
}

func (i Issuers) of(version string) []string {
	if version == "1.0" {
		return i.V1
	}
	return i.V2
}

// match tells whether iss is one of the templates filled in with the tenant.
func match(templates []string, tenant, iss string) bool {
	return slices.ContainsFunc(templates, func(t string) bool {
		return strings.ReplaceAll(t, "{tid}", tenant) == iss
	})
}

// tokenClaims is what is read of a validation token.
type tokenClaims struct {
	jwt.RegisteredClaims
	Version string `json:"ver"`
	Tenant  string `json:"tid"`
	AppID   string `json:"appid"`
	AZP     string `json:"azp"`
}

// publisher is the claim that names who sent the notification: appid in version 1.0, azp in 2.0.
func (c *tokenClaims) publisher() string {
	if c.Version == "1.0" {
		return c.AppID
	}
	return c.AZP
}

// TokenResult is what became of one validation token. What it says was verified only if Err is nil.
type TokenResult struct {
	Index     int       `json:"index"`
	Version   string    `json:"version,omitempty"`
	Algorithm string    `json:"algorithm,omitempty"`
	KeyID     string    `json:"key_id,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	TenantID  string    `json:"tenant_id,omitempty"`
	Audience  []string  `json:"audience,omitempty"`
	Publisher string    `json:"publisher,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`
	// Cached tells that the token had been verified before.
	Cached bool `json:"cached,omitempty"`
	// Err is an [*Error] or nil.
	Err error `json:"-"`
}

// tokenVerifier verifies the validation tokens of one account.
type tokenVerifier struct {
	keys      *KeySource
	tenant    string // lower case
	audiences []string
	issuers   Issuers
	publisher string
	leeway    time.Duration
	now       func() time.Time
	cache     tokenCache
}

// verify verifies one token, from the cache where it can.
func (v *tokenVerifier) verify(ctx context.Context, raw rawToken) TokenResult {
	if raw.missing {
		return TokenResult{Err: fail(ReasonTokenMissing, "", nil)}
	}
	if len(raw.text) > maxTokenBytes {
		return TokenResult{Err: fail(ReasonTokenMalformed, "", fmt.Errorf("%d bytes long, at most %d are read", len(raw.text), maxTokenBytes))}
	}
	id := sha256.Sum256([]byte(raw.text))
	now := v.now()
	if res, ok := v.cache.get(id, now.Add(-v.leeway)); ok {
		res.Cached = true
		return res
	}
	res, err := v.check(ctx, raw.text)
	if err != nil {
		res.Err = err
		return res
	}
	v.cache.put(id, res, now.Add(-v.leeway))
	return res
}

// check verifies a token that is not in the cache. The claims come first: a token that is not for us
// anyway must not make us fetch keys.
func (v *tokenVerifier) check(ctx context.Context, text string) (TokenResult, *Error) {
	claims, res, err := readToken(text)
	if err != nil {
		return res, err
	}
	if err := v.checkClaims(claims); err != nil {
		return res, err
	}
	key, err := v.keys.key(ctx, claims.Version, res.KeyID)
	if err != nil {
		return res, err
	}
	return res, v.checkSignature(text, claims, res.Algorithm, key)
}

// readToken reads header and claims without believing them.
func readToken(text string) (*tokenClaims, TokenResult, *Error) {
	claims := &tokenClaims{}
	tok, _, err := jwt.NewParser().ParseUnverified(text, claims)
	var res TokenResult
	if tok != nil {
		res.Algorithm, _ = tok.Header["alg"].(string)
		res.KeyID, _ = tok.Header["kid"].(string)
		res.Version, res.Issuer, res.TenantID = claims.Version, claims.Issuer, claims.Tenant
		res.Audience, res.Publisher = claims.Audience, claims.publisher()
		if claims.NotBefore != nil {
			res.NotBefore = claims.NotBefore.UTC()
		}
		if claims.ExpiresAt != nil {
			res.Expires = claims.ExpiresAt.UTC()
		}
	}
	switch {
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return claims, res, fail(ReasonTokenAlgorithm, "", errAlgorithm)
	case err != nil:
		return claims, res, fail(ReasonTokenMalformed, "", errors.New("not a JWT"))
	case !slices.Contains(tokenAlgorithms(), res.Algorithm):
		return claims, res, fail(ReasonTokenAlgorithm, "", errAlgorithm)
	}
	if _, critical := tok.Header["crit"]; critical {
		// RFC 7515 section 4.1.11: what is critical and not understood refuses the token.
		return claims, res, fail(ReasonTokenMalformed, "", errors.New("it has critical header parameters"))
	}
	return claims, res, nil
}

var errAlgorithm = errors.New("not an RSA signature algorithm")

// checkClaims checks who the token is from and for, and when.
func (v *tokenVerifier) checkClaims(c *tokenClaims) *Error {
	switch {
	case c.Version != "1.0" && c.Version != "2.0":
		return fail(ReasonTokenVersion, "ver", errors.New("neither 1.0 nor 2.0"))
	case !strings.EqualFold(c.Tenant, v.tenant):
		return fail(ReasonTokenTenant, "tid", errors.New("not the expected tenant"))
	case !match(v.issuers.of(c.Version), v.tenant, c.Issuer):
		return fail(ReasonTokenIssuer, "iss", fmt.Errorf("not an issuer of version %s tokens for the expected tenant", c.Version))
	case !strings.EqualFold(c.publisher(), v.publisher):
		return fail(ReasonTokenPublisher, publisherClaim(c.Version), errors.New("not Microsoft Graph Change Tracking"))
	case !v.forUs(c):
		return fail(ReasonTokenAudience, "aud", errors.New("none of the expected audiences"))
	}
	err := jwt.NewValidator(jwt.WithLeeway(v.leeway), jwt.WithExpirationRequired(), jwt.WithTimeFunc(v.now)).Validate(c)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return fail(ReasonTokenExpired, "exp", errors.New("missing"))
	case errors.Is(err, jwt.ErrTokenExpired):
		return fail(ReasonTokenExpired, "exp", fmt.Errorf("it expired %s", c.ExpiresAt.UTC().Format(time.RFC3339)))
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return fail(ReasonTokenNotYetValid, "nbf", fmt.Errorf("it is valid from %s: is this machine's clock right?", c.NotBefore.UTC().Format(time.RFC3339)))
	default:
		return fail(ReasonTokenMalformed, "", err)
	}
}

// forUs tells whether one of the token's audiences is one of ours. They are GUIDs or URIs made of them, and
// an administrator may have written them in capitals.
func (v *tokenVerifier) forUs(c *tokenClaims) bool {
	return slices.ContainsFunc(c.Audience, func(theirs string) bool {
		return slices.ContainsFunc(v.audiences, func(ours string) bool { return ours != "" && strings.EqualFold(ours, theirs) })
	})
}

func publisherClaim(version string) string {
	if version == "1.0" {
		return "appid"
	}
	return "azp"
}

// checkSignature verifies the signature with the key, and that the key is for such a token.
func (v *tokenVerifier) checkSignature(text string, c *tokenClaims, alg string, key signingKey) *Error {
	if key.alg != "" && key.alg != alg {
		return fail(ReasonTokenAlgorithm, "", fmt.Errorf("the key is for %s", key.alg))
	}
	// A key may say which issuer it signs for; keys of tenants of their own are served beside the
	// common ones. For version 1.0 tokens it names the issuer of version 2.0.
	if key.issuer != "" {
		iss := strings.ReplaceAll(key.issuer, "{tenantid}", v.tenant)
		if !match(v.issuers.V2, v.tenant, iss) && !match(v.issuers.of(c.Version), v.tenant, iss) {
			return fail(ReasonTokenUnknownKey, "", errors.New("the key signs for another issuer"))
		}
	}
	parser := jwt.NewParser(jwt.WithValidMethods(tokenAlgorithms()), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(text, &tokenClaims{}, func(*jwt.Token) (any, error) { return key.public, nil })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return fail(ReasonTokenSignature, "", nil)
	default:
		return fail(ReasonTokenMalformed, "", errors.New("not a JWT"))
	}
}

// tokenCache remembers verified tokens until they expire, by hash, so that in the steady state an
// item costs its RSA decryption and nothing else. It is bounded.
type tokenCache struct {
	mu   sync.Mutex
	max  int
	have map[[sha256.Size]byte]TokenResult
}

// get returns a verified token, unless it expired before now.
func (c *tokenCache) get(id [sha256.Size]byte, now time.Time) (TokenResult, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	res, ok := c.have[id]
	if ok && !res.Expires.After(now) {
		delete(c.have, id)
		return TokenResult{}, false
	}
	return res, ok
}

// put remembers a verified token. When full, expired ones go first, then any one.
func (c *tokenCache) put(id [sha256.Size]byte, res TokenResult, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.have) >= c.max {
		for k, r := range c.have {
			if !r.Expires.After(now) {
				delete(c.have, k)
			}
		}
		for k := range c.have {
			if len(c.have) < c.max {
				break
			}
			delete(c.have, k)
		}
	}
	c.have[id] = res
}
