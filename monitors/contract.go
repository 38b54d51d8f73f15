package monitors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"presencebridge/bridge/presence"
)

// Sink takes what monitors learn: the engine of the account. Its methods must not call the Manager.
type Sink interface {
	// BeginSweep is called before a bulk read goes out, and returns a mark for Swept.
	BeginSweep(ids []string) any
	// Swept hands over what the read showed; a member that Graph left out is missing. A read that
	// failed has no Swept.
	Swept(mark any, shown map[string]presence.Shown)
	// OweReads says that pushes for these members may have been lost: read them in full.
	OweReads(ids []string)
	// TeamsUnseen says that nothing was seen of these members for a lease: they are unknown (R4). It
	// is called once for each time a member passes the lease.
	TeamsUnseen(ids []string)
}

// Reads is how everybody is read: by whichever application of the account can do it soonest. Safe for concurrent use.
// Errors are [*CallError]; anything else counts as transient.
type Reads interface {
	// Presences reads at most 650 members, app-only, within the sweep's share of the read budget.
	Presences(ctx context.Context, ids []string) (map[string]presence.Shown, error)
}

// Graph is one application of the account, as far as the package needs it. Safe for concurrent use. Errors are [*CallError];
// anything else counts as transient.
type Graph interface {
	// StartDeviceCode begins an authorisation. Who is to sign in is a hint to the login endpoint, no more.
	StartDeviceCode(ctx context.Context, upn string) (DeviceCode, error)
	// ResumeDeviceCode goes on with one that was begun before a restart.
	ResumeDeviceCode(saved DeviceCode) DeviceCode
	// As is the same application, proving itself with a credential of one monitor's own where that is set.
	As(own func() (Own, error)) Graph
	// Credentials reads when the application's secrets and certificates end. What is known without Entra is
	// returned beside an error; the permission for it is optional, Consent says that it is missing.
	Credentials(ctx context.Context) ([]Credential, error)
	// SignInURL is where somebody signs in with a browser (authorization code with PKCE).
	SignInURL(s SignIn, upn string) string
	// RedeemCode trades what the browser brought back for the sign-in. Errors are [*AuthError].
	RedeemCode(ctx context.Context, s SignIn, a Answer) (Authorization, error)
	// Delegated acts as a signed-in user, with refresh tokens kept by store.
	Delegated(upn string, store TokenStore) Delegated
}

// SignIn is a sign-in in a browser. State and verifier are secret.
type SignIn struct {
	State       string `json:"state"`
	Verifier    string `json:"verifier"`
	RedirectURI string `json:"redirect_uri"`
}

// String tells nothing of it.
func (SignIn) String() string { return "sign-in in a browser" }

// GoString does not either.
func (s SignIn) GoString() string { return s.String() }

// Answer is what the browser brought back to the redirect URI: a code, or Entra's reason why there is none.
type Answer struct {
	State       string
	Code        string
	Error       string
	Description string
}

// String tells neither the state nor the code.
func (Answer) String() string { return "answer of a sign-in" }

// GoString does not either.
func (a Answer) GoString() string { return a.String() }

// Delegated is Graph as one signed-in monitor sees it.
type Delegated interface {
	CreateSubscription(ctx context.Context, r SubscriptionRequest) (Subscription, error)
	RenewSubscription(ctx context.Context, id string, until time.Time) (Subscription, error)
	// ListSubscriptions lists the presence subscriptions that this application made for this user
	// (learn:api/subscription-list).
	ListSubscriptions(ctx context.Context) ([]Subscription, error)
	DeleteSubscription(ctx context.Context, id string) error
	// Refresh fetches a token afresh, and so checks that the sign-in and the application are accepted.
	Refresh(ctx context.Context) error
}

// TokenStore keeps one monitor's refresh token; each use brings a new one.
type TokenStore interface {
	LoadRefreshToken(ctx context.Context) (string, error)
	SaveRefreshToken(ctx context.Context, token string) error
}

// SubscriptionRequest is one subscription to make.
type SubscriptionRequest struct {
	UserIDs                 []string // at most 650
	NotificationURL         string
	LifecycleURL            string
	ClientState             string
	Expiration              time.Time
	EncryptionCertificate   []byte // DER
	EncryptionCertificateID string
}

// Subscription is what Graph says of one.
type Subscription struct {
	ID              string
	Expiration      time.Time
	NotificationURL string
	CertificateID   string
	// UserIDs are the watched users where Graph says them; nil: not known.
	UserIDs []string
}

// DeviceCode is an authorisation under way.
type DeviceCode struct {
	UserCode        string        `json:"user_code"`
	VerificationURI string        `json:"verification_uri"`
	Message         string        `json:"message"` // Entra's own, for the person who signs in
	ExpiresAt       time.Time     `json:"expires_at"`
	Code            string        `json:"code"` // what Entra is asked with; secret
	Interval        time.Duration `json:"interval"`
	// Wait returns when the person has signed in, or an [*AuthError].
	Wait func(ctx context.Context) (Authorization, error) `json:"-"`
}

// String tells nothing of it.
func (DeviceCode) String() string { return "device code" }

// GoString does not either.
func (d DeviceCode) GoString() string { return d.String() }

// Authorization is what a sign-in gave. The token is secret.
type Authorization struct {
	UPN            string
	ObjectID       string
	RefreshToken   string
	Scopes         []string // granted; empty: as asked for (RFC 6749 section 5.1)
	DirectoryRoles []string // role template ids, claim "wids"
}

// AuthError says how a sign-in ended without a token.
type AuthError struct {
	State FlowState // FlowDeclined, FlowExpired, FlowBadCode or FlowFailed
	Code  string    // Entra's code, such as AADSTS70020
	Text  string    // what happened and what to do, in a sentence; optional
	Err   error
}

// Error tells what came of the sign-in.
func (e *AuthError) Error() string { return fmt.Sprintf("monitors: sign-in %s: %v", e.State, e.Err) }

// Unwrap gives the cause.
func (e *AuthError) Unwrap() error { return e.Err }

// ErrorKind says what a failed call means.
type ErrorKind uint8

// The kinds of failure.
const (
	Transient    ErrorKind = iota // try again later
	Throttled                     // try again after RetryAfter; nothing was done
	Unauthorised                  // the token or the application is not accepted: a person must act
	Consent                       // a permission is missing: a person must act
	Gone                          // there is no such subscription
	Conflict                      // there is a subscription of this application and user already
	Refused                       // Graph will not do this, however often it is asked
)

// String is the kind as a metric label.
func (k ErrorKind) String() string {
	switch k {
	case Transient:
		return "transient"
	case Throttled:
		return "throttled"
	case Unauthorised:
		return "unauthorised"
	case Consent:
		return "consent_missing"
	case Gone:
		return "gone"
	case Conflict:
		return "conflict"
	case Refused:
		return "refused"
	}
	return "other"
}

// CallError is the error type of [Graph] and [Delegated].
type CallError struct {
	Kind       ErrorKind
	Code       string // Graph's error code, or Entra's AADSTS code
	Text       string // what the other side said, free of secrets and addresses
	RetryAfter time.Duration
	Err        error
}

// Error tells what came of the call.
func (e *CallError) Error() string { return fmt.Sprintf("monitors: %s: %v", e.Kind, e.Err) }

// Unwrap gives the cause.
func (e *CallError) Unwrap() error { return e.Err }

// callError makes any error a CallError.
func callError(err error) *CallError {
	var e *CallError
	if errors.As(err, &e) {
		return e
	}
	return &CallError{Kind: Transient, Text: "no answer", Err: err}
}

// ErrNotFound and ErrConflict are what a [Store] wraps.
var (
	ErrNotFound = errors.New("monitors: no such entry")
	ErrConflict = errors.New("monitors: the stored entry was changed by somebody else")
)

// Entry is one stored entry.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
}

// Store is where monitors are kept: the monitors bucket. Safe for concurrent use.
type Store interface {
	// Put writes if the key is at revision (0: does not exist) and returns the new one. A revision that
	// is not the present one is an error that wraps [ErrConflict]; any other error leaves open
	// whether the value was written.
	Put(ctx context.Context, account, key string, value []byte, revision uint64) (uint64, error)
	// Get reads the key; an error that wraps [ErrNotFound] if there is none.
	Get(ctx context.Context, account, key string) (Entry, error)
	// All calls each for every entry of the account, and ends with each's error, if any.
	All(ctx context.Context, account string, each func(Entry) error) error
}

// Sealer seals what must not be read in the store: package keyring.
type Sealer interface {
	Seal(plaintext, context []byte) ([]byte, error)
	Open(sealed, context []byte) ([]byte, error)
	// Newest tells whether a sealed value was sealed under the newest key.
	Newest(sealed []byte) bool
}
