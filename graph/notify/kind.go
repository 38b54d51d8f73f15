package notify

import (
	"time"

	"presencebridge/bridge/presence"
)

// Kind is what sort of item a body held.
type Kind uint8

// The kinds.
const (
	Ignored   Kind = iota // about something else than presence, or about nothing
	Rich                  // encryptedContent
	Basic                 // a presence has changed, without saying to what
	Lifecycle             // about the subscription itself
)

// String is the kind in lower case: a metric label.
func (k Kind) String() string {
	switch k {
	case Rich:
		return "rich"
	case Basic:
		return "basic"
	case Lifecycle:
		return "lifecycle"
	default:
		return "ignored"
	}
}

// MarshalText writes the String, for JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Item is what one element of "value" says. Only where Err is nil may it be acted upon; fields are
// filled in as far as they could be read even so.
type Item struct {
	Index          int
	Kind           Kind
	SubscriptionID string
	TenantID       string // lower case
	ClientState    string
	ChangeType     string // "updated"; "unknownFutureValue" and others are treated alike
	LifecycleEvent string
	// UserID is the Entra object id, GUIDs in lower case. Of a rich item it was compared with the
	// decrypted id.
	UserID string
	// Pair is what Teams shows; zero unless Kind is Rich. Words that nobody knows are kept.
	Pair presence.Pair
	// Sequence is the presence's sequenceNumber, where it is sent (it is not documented to be).
	Sequence string
	// Expiration is when the subscription ends, as the item says, in UTC; zero if it cannot be read.
	Expiration time.Time
	// CertificateID is encryptionCertificateId: which certificate is still being cited.
	CertificateID string
	Oddities      OdditySet
	// Err is an [*Error] or nil.
	Err error
}
