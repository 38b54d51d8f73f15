package notify

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// token checks one token as far as the options allow.
func (s *describer) token(i int, raw rawToken) TokenDescription {
	d := TokenDescription{Signature: CheckUnchecked, Tenant: CheckUnchecked, Aud: CheckUnchecked}
	if raw.missing {
		d.Index, d.Signature = i, CheckAbsent
		d.Problem = problem(fail(ReasonTokenMissing, "", nil))
		return d
	}
	claims, res, err := readToken(raw.text)
	d.TokenResult, d.Claims = res, allClaims(raw.text)
	d.Index = i
	d.Expired = !res.Expires.IsZero() && !res.Expires.Add(s.opts.Leeway).After(s.opts.Now)
	if err != nil {
		d.Problem = problem(err)
		return d
	}
	v := tokenVerifier{
		tenant: normalID(claims.Tenant), audiences: claims.Audience, issuers: s.opts.Issuers, publisher: s.opts.Publisher,
		leeway: s.opts.Leeway, now: func() time.Time { return s.opts.Now },
	}
	if s.opts.TenantID != "" {
		v.tenant = normalID(s.opts.TenantID)
		d.Tenant = okIf(normalID(claims.Tenant) == v.tenant)
	}
	if len(s.opts.Audiences) > 0 {
		v.audiences = s.opts.Audiences
		d.Aud = okIf(v.forUs(claims))
	}
	err = v.checkClaims(claims)
	if len(s.signing) > 0 {
		e := fail(ReasonTokenUnknownKey, "kid", errUnknownKey)
		if key, found := s.signing[res.KeyID]; found {
			e = v.checkSignature(raw.text, claims, res.Algorithm, key)
		}
		d.Signature = okIf(e == nil)
		if err == nil {
			err = e
		}
	}
	if err != nil {
		d.Problem = problem(err)
	}
	return d
}

// allClaims decodes the claims for display; nil when they are none. Numbers stay as they are written.
func allClaims(text string) map[string]any {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var claims map[string]any
	in := json.NewDecoder(bytes.NewReader(b))
	in.UseNumber()
	if in.Decode(&claims) != nil {
		return nil
	}
	return claims
}
