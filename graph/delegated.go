package graph

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"
)

// TokenStore keeps the refresh token of one signed-in user, sealed. The methods are called by one goroutine
// at a time.
type TokenStore interface {
	// LoadRefreshToken returns the token, "" if there is none. It is called before each refresh, so that
	// a new sign-in is noticed.
	LoadRefreshToken(ctx context.Context) (string, error)
	// SaveRefreshToken replaces the token: each use of one gives the next (entra: refresh-tokens).
	SaveRefreshToken(ctx context.Context, token string) error
}

// Delegated talks to Graph as a user who signed in once for the application. It is safe for concurrent use;
// there should be one for each signed-in user.
type Delegated struct {
	client *Client
	upn    string
	store  TokenStore
	tokens *tokenSource

	// unsaved is a refresh token that the store did not take, and the one it follows. Only the holder of
	// the token source's turn touches them.
	unsaved, after string
}

const opDelegatedToken = "renew delegated token"

// Delegated returns the client for the signed-in user upn, whose refresh token is in store. It does not touch
// the network.
func (c *Client) Delegated(upn string, store TokenStore) *Delegated {
	d := &Delegated{client: c, upn: upn, store: store}
	d.tokens = newTokenSource(c.log, d.prepare)
	return d
}

// UPN is the signed-in user's name.
func (d *Delegated) UPN() string { return d.upn }

// String does not tell the tokens.
func (d *Delegated) String() string { return "signed-in user of tenant " + d.client.cfg.TenantID }

// GoString does not either.
func (d *Delegated) GoString() string { return d.String() }

// Refresh fetches an access token afresh, and so checks that the sign-in still stands.
func (d *Delegated) Refresh(ctx context.Context) error {
	ctx, cancel := d.client.withDeadline(ctx)
	defer cancel()
	return d.client.persist(ctx, opDelegatedToken, func() *Error {
		return asError(opDelegatedToken, d.tokens.renew(ctx))
	})
}

// delegatedScope is what users sign in for: presence of others, a refresh token, and who they are.
func (c *Client) delegatedScope() string {
	return c.cloud.Graph + "/Presence.Read.All offline_access openid profile"
}

// prepare is the grant of the user's token.
func (d *Delegated) prepare(ctx context.Context) (grant, *Error) {
	refresh, err := d.store.LoadRefreshToken(ctx)
	if err != nil {
		return grant{}, &Error{Kind: Transient, Op: opDelegatedToken, Code: "token_store", Message: clean(err.Error(), 200), Err: err, safe: true}
	}
	if d.unsaved != "" {
		if refresh == d.after {
			refresh = d.unsaved // nobody signed in meanwhile: go on with what the store did not take
		} else {
			d.unsaved, d.after = "", ""
		}
	}
	if refresh == "" {
		return grant{}, &Error{Kind: Unauthorised, Op: opDelegatedToken, Code: "not_signed_in", Message: "nobody has signed in for this monitor: authorise it", safe: true}
	}
	p, e := d.client.readIdentity(opDelegatedToken)
	if e != nil {
		return grant{}, e
	}
	return grant{
		fingerprint: sha256.Sum256(slices.Concat(p.fingerprint[:], []byte(refresh))),
		fetch: func(ctx context.Context) (token, *Error) {
			t, e := d.refresh(ctx, p, refresh)
			d.client.metrics.token("delegated", e)
			return t, e
		},
	}, nil
}

// refresh trades the refresh token for an access token and the next refresh token (RFC 6749 section 6).
func (d *Delegated) refresh(ctx context.Context, p proof, refresh string) (token, *Error) {
	c := d.client
	form := url.Values{
		"grant_type": {"refresh_token"}, "client_id": {c.cfg.ClientID},
		"refresh_token": {refresh}, "scope": {c.delegatedScope()},
	}
	if err := p.addTo(form, c.cfg.ClientID, c.loginURL("token")); err != nil {
		return token{}, &Error{Kind: Unauthorised, Op: opDelegatedToken, Code: "credential_unusable", Err: err, safe: true}
	}
	issued := time.Now()
	var a answer
	if e := c.postLogin(ctx, opDelegatedToken, "token", form, &a, append(p.secrets(), refresh)...); e != nil {
		return token{}, e
	}
	if a.AccessToken == "" {
		return token{}, &Error{Kind: Transient, Op: opDelegatedToken, Code: "login_answer", Message: "the answer holds no access token", safe: true}
	}
	d.save(ctx, refresh, first(a.RefreshToken, refresh))
	return a.token(issued), nil
}

// save hands the next refresh token to the store, even if the caller has just gone. The old one is not
// revoked by Entra, so a store that fails costs nothing now; the token is kept and offered again.
func (d *Delegated) save(ctx context.Context, used, next string) {
	previous := used
	if d.unsaved != "" {
		previous = d.after
	}
	if next == previous {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := d.store.SaveRefreshToken(ctx, next); err != nil {
		d.unsaved, d.after = next, previous
		d.client.log.Warn("refresh token could not be stored, it is offered again with the next one", "error", clean(err.Error(), 200, used, next))
		return
	}
	d.unsaved, d.after = "", ""
}

// claims are what a token says about its user. The tokens come straight from the token endpoint over
// TLS, which OpenID Connect Core section 3.1.3.7 takes in place of the signature.
type claims struct {
	PreferredUsername string   `json:"preferred_username"`
	UPN               string   `json:"upn"`
	UniqueName        string   `json:"unique_name"`
	ObjectID          string   `json:"oid"`
	TenantID          string   `json:"tid"`
	Scopes            string   `json:"scp"`
	Roles             []string `json:"wids"`
}

// readClaims reads a JWT's claims without checking it; nothing for what is no JWT.
func readClaims(jwt string) (c claims) {
	if payload, ok := jwtPayload(jwt); ok {
		_ = json.Unmarshal(payload, &c) // a claim of another type is no claim
	}
	return c
}

// jwtPayload is what a JWT says, unchecked; false for what is no JWT.
func jwtPayload(jwt string) ([]byte, bool) {
	parts := strings.Split(jwt, ".")
	if len(parts) < 2 {
		return nil, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	return payload, err == nil
}
