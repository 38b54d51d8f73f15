package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"presencebridge/bridge/presence"
)

// DescribeOptions says with what a captured notification is looked at. Everything is optional: what
// cannot be checked for want of something is said to be unchecked, never to be right.
type DescribeOptions struct {
	// Keys are tried on rich items: the one that the item cites by id or thumbprint, else all of
	// them. They need neither: a bare key from a file will do.
	Keys []Certificate
	// JWKS is a JWK set as the login endpoint serves it. Without it signatures of validation tokens
	// are not checked. Nothing is fetched.
	JWKS []byte
	// TenantID and Audiences are what tokens and items should be for.
	TenantID  string
	Audiences []string
	// Issuers, Publisher and Leeway are as in [Config].
	Issuers   Issuers
	Publisher string
	Leeway    time.Duration
	// CheckClientState tells whether a clientState is one of ours.
	CheckClientState func(state string) bool
	// Now is the moment at which expiry is judged. Default: now.
	Now time.Time
}

// Check is the outcome of one check.
type Check string

// The outcomes.
const (
	CheckOK        Check = "ok"
	CheckFailed    Check = "failed"
	CheckUnchecked Check = "unchecked" // there was nothing to check it with
	CheckAbsent    Check = "absent"    // there was nothing to check
)

// Description is what a captured notification says, for people and for scripts.
type Description struct {
	Bytes    int                `json:"bytes"`
	Problem  *Problem           `json:"problem,omitempty"` // what is wrong with the body as a whole
	Oddities []string           `json:"oddities,omitempty"`
	Items    []ItemDescription  `json:"items"`
	Tokens   []TokenDescription `json:"tokens"`
	// TokensNeeded tells that there are rich items, which are refused without tokens.
	TokensNeeded bool `json:"tokens_needed"`
	// TokenProblem is why rich items would be refused on account of the tokens as a whole.
	TokenProblem *Problem `json:"token_problem,omitempty"`
}

// Problem is an [*Error] in words.
type Problem struct {
	Reason Reason `json:"reason"`
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// ItemDescription is what one item says.
type ItemDescription struct {
	Index          int      `json:"index"`
	Kind           Kind     `json:"kind"`
	SubscriptionID string   `json:"subscription_id,omitempty"`
	TenantID       string   `json:"tenant_id,omitempty"`
	OrganizationID string   `json:"organization_id,omitempty"`
	ChangeType     string   `json:"change_type,omitempty"`
	LifecycleEvent string   `json:"lifecycle_event,omitempty"`
	Resource       string   `json:"resource,omitempty"` // shortened
	ResourceBytes  int      `json:"resource_bytes,omitempty"`
	UserID         string   `json:"user_id,omitempty"`
	ODataType      string   `json:"odata_type,omitempty"`
	Oddities       []string `json:"oddities,omitempty"`

	Expiration     time.Time `json:"subscription_expires,omitzero"`
	ExpirationText string    `json:"subscription_expires_text,omitempty"` // as written
	Expired        bool      `json:"subscription_expired,omitempty"`

	// ClientState is "absent", "unchecked" (it is there), "ok" or "failed". The secret itself is
	// not shown.
	ClientState Check `json:"client_state"`
	Tenant      Check `json:"tenant"`

	// Of rich items only.
	CertificateID string          `json:"certificate_id,omitempty"`
	Thumbprint    string          `json:"certificate_thumbprint,omitempty"`
	Key           string          `json:"key,omitempty"` // how the key was found: "id", "thumbprint", "tried", "none"
	DataKey       Check           `json:"data_key,omitempty"`
	Signature     Check           `json:"data_signature,omitempty"` // the HMAC
	Decryption    Check           `json:"decryption,omitempty"`
	Content       json.RawMessage `json:"content,omitempty"` // what was decrypted
	Pair          *presence.Pair  `json:"presence,omitempty"`
	Sequence      string          `json:"sequence_number,omitempty"`

	// Problem is the first thing for which the bridge would refuse the item, leaving tokens aside.
	Problem *Problem `json:"problem,omitempty"`
}

// TokenDescription is what one validation token says.
type TokenDescription struct {
	TokenResult
	Claims    map[string]any `json:"claims,omitempty"`
	Signature Check          `json:"signature"`
	Tenant    Check          `json:"tenant"`
	Aud       Check          `json:"audience_check"`
	Expired   bool           `json:"expired,omitempty"`
	// Problem is the first thing for which the bridge would refuse the token.
	Problem *Problem `json:"problem,omitempty"`
}

// Describe reads a captured notification body with the code that the bridge itself uses, and says per
// item and per token what it holds and what the checks say. The error is about the options; what is
// wrong with the body is in the Description. ctx ends a long one early.
func Describe(ctx context.Context, opts DescribeOptions, body []byte) (*Description, error) {
	s, err := newDescriber(opts)
	if err != nil {
		return nil, err
	}
	d := &Description{Bytes: len(body), Items: []ItemDescription{}, Tokens: []TokenDescription{}}
	out, err := walk(body, false, func(it *rawItem) bool {
		d.Items = append(d.Items, s.item(it))
		return ctx.Err() == nil
	})
	if ctx.Err() != nil {
		return nil, fmt.Errorf("describe a notification: %w", context.Cause(ctx))
	}
	d.Oddities = oddityNamesOf(out.oddities)
	switch {
	case err != nil:
		d.Problem = problem(err)
	case !out.hasValue:
		d.Problem = problem(fail(ReasonNoItems, "value", errors.New("no such array")))
	}
	for i, raw := range out.tokens {
		d.Tokens = append(d.Tokens, s.token(i, raw))
	}
	for i := range d.Items {
		d.TokensNeeded = d.TokensNeeded || d.Items[i].Kind == Rich
	}
	d.TokenProblem = d.tokenProblem()
	return d, nil
}

// tokenProblem is why the tokens would have rich items refused.
func (d *Description) tokenProblem() *Problem {
	if !d.TokensNeeded {
		return nil
	}
	if len(d.Tokens) == 0 {
		return problem(fail(ReasonTokenMissing, "validationTokens", nil))
	}
	for i := range d.Tokens {
		if p := d.Tokens[i].Problem; p != nil {
			at := *p
			at.Field = strings.TrimSuffix(fmt.Sprintf("validationTokens[%d].%s", i, p.Field), ".")
			return &at
		}
	}
	return nil
}

// describer holds the options in the form in which they are needed.
type describer struct {
	opts    DescribeOptions
	keyring *Keyring
	signing map[string]signingKey
}

func newDescriber(opts DescribeOptions) (*describer, error) {
	s := &describer{opts: opts, keyring: &Keyring{}}
	if s.opts.Now.IsZero() {
		s.opts.Now = time.Now()
	}
	if s.opts.Publisher == "" {
		s.opts.Publisher = DefaultPublisher
	}
	if s.opts.Leeway <= 0 {
		s.opts.Leeway = DefaultLeeway
	}
	if len(opts.Issuers.V1) == 0 && len(opts.Issuers.V2) == 0 {
		s.opts.Issuers = GlobalIssuers()
	}
	var named []Certificate
	for i, k := range opts.Keys {
		if err := k.check(); err != nil {
			return nil, fmt.Errorf("describe a notification: key %d: %w", i+1, err)
		}
		if k.ID != "" || k.Thumbprint != "" {
			named = append(named, k)
		}
	}
	if err := s.keyring.Set(named...); err != nil {
		return nil, fmt.Errorf("describe a notification: %w", err)
	}
	if len(opts.JWKS) > 0 {
		keys, err := parseKeySet(opts.JWKS)
		if err != nil {
			return nil, fmt.Errorf("describe a notification: %w", err)
		}
		s.signing = keys
	}
	return s, nil
}

func (s *describer) item(raw *rawItem) ItemDescription {
	it := newItem(raw)
	d := ItemDescription{
		Index: raw.index, Kind: it.Kind, SubscriptionID: raw.subscriptionID, TenantID: raw.tenantID, OrganizationID: raw.organizationID,
		ChangeType: raw.changeType, LifecycleEvent: raw.lifecycleEvent, Resource: shorten(raw.resource), ResourceBytes: raw.resourceBytes,
		ODataType: raw.dataODataType, Expiration: it.Expiration, ExpirationText: raw.expiration,
		Expired:     !it.Expiration.IsZero() && it.Expiration.Before(s.opts.Now),
		ClientState: CheckUnchecked, Tenant: CheckUnchecked,
		CertificateID: raw.content.certificateID, Thumbprint: raw.content.thumbprint,
	}
	err := s.authenticate(raw, &it, &d)
	if it.Kind == Rich {
		if e := s.open(raw, &it, &d); err == nil {
			err = e
		}
	}
	d.UserID, d.Sequence = it.UserID, it.Sequence
	if !it.Pair.IsZero() {
		d.Pair = &it.Pair
	}
	d.Oddities = oddityNamesOf(it.Oddities)
	if err != nil {
		d.Problem = problem(err)
	}
	return d
}

// authenticate is the decoder's authenticate, with "unchecked" where there is nothing to compare with.
func (s *describer) authenticate(raw *rawItem, it *Item, d *ItemDescription) *Error {
	tenant, accept := normalID(s.opts.TenantID), s.opts.CheckClientState
	if tenant == "" {
		tenant = it.TenantID
	} else {
		d.Tenant = okIf(it.TenantID == tenant)
	}
	if it.TenantID == "" {
		d.Tenant = CheckAbsent
	}
	if accept == nil {
		accept = func(string) bool { return true }
	} else {
		d.ClientState = okIf(accept(raw.clientState))
	}
	if raw.clientState == "" {
		d.ClientState = CheckAbsent
	}
	return authenticate(raw, it, tenant, accept)
}

// open decrypts with the first key that unwraps the item's own key.
func (s *describer) open(raw *rawItem, it *Item, d *ItemDescription) *Error {
	var certs []Certificate
	certs, d.Key = s.candidates(raw)
	var o opened
	err := fail(ReasonUnknownCertificate, "encryptedContent.encryptionCertificateId", errors.New("none of the given keys"))
	for _, c := range certs {
		if o, err = raw.content.open(c.Key); o.unwrapped {
			break
		}
	}
	d.DataKey = outcome(o.decoded, o.unwrapped)
	d.Signature = outcome(o.unwrapped, o.signed)
	d.Decryption = outcome(o.signed, o.decrypted)
	if err != nil {
		return err
	}
	d.Content = contentJSON(o.plain)
	return it.fill(o.plain)
}

// outcome of a step that was reached or not.
func outcome(reached, ok bool) Check {
	if !reached {
		return CheckUnchecked
	}
	return okIf(ok)
}

// candidates are the keys to try on an item, and how they were found.
func (s *describer) candidates(raw *rawItem) ([]Certificate, string) {
	if c, byThumbprint := s.keyring.find(raw.content.certificateID, raw.content.thumbprint); c != nil {
		if byThumbprint {
			return []Certificate{*c}, "thumbprint"
		}
		return []Certificate{*c}, "id"
	}
	if len(s.opts.Keys) == 0 {
		return nil, "none"
	}
	return s.opts.Keys, "tried"
}

// contentJSON is the plaintext as JSON: as it is, or quoted when it is none.
func contentJSON(plain []byte) json.RawMessage {
	if json.Valid(plain) {
		return append(json.RawMessage(nil), plain...)
	}
	quoted, err := json.Marshal(string(plain))
	if err != nil {
		return nil
	}
	return quoted
}

const shownResource = 160 // bytes of a resource that are shown

func shorten(s string) string {
	if len(s) <= shownResource {
		return s
	}
	return strings.ToValidUTF8(s[:shownResource], "") + "…"
}

func okIf(ok bool) Check {
	if ok {
		return CheckOK
	}
	return CheckFailed
}

func problem(err error) *Problem {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return nil
	}
	p := &Problem{Reason: e.Reason, Field: e.Field, Remedy: e.Reason.Remedy()}
	if e.Err != nil {
		p.Detail = e.Err.Error()
	}
	return p
}

func oddityNamesOf(s OdditySet) []string {
	var names []string
	for _, o := range s.List() {
		names = append(names, o.String())
	}
	return names
}
