package notify

import (
	"errors"
	"time"
)

// Reason says why a body, a token or an item was not believed. Its String is a metric label and a log
// attribute; the set is closed, and no reason carries what a stranger sent.
type Reason uint8

// The reasons. The zero value means that nothing is wrong.
const (
	ReasonNone Reason = iota

	// Of a body.
	ReasonMalformedBody // not JSON
	ReasonTooLarge      // above Config.MaxBody or MaxItems
	ReasonNoItems       // JSON without an array "value"
	ReasonCancelled     // the context ended first; transient

	// Of an item, before any cryptography.
	ReasonMalformedItem // not an object, a member of the wrong type, or one that is there twice
	ReasonClientState   // clientState missing or not one of ours
	ReasonTenant        // tenantId missing (rich items) or not the expected one
	ReasonNoUser        // nothing in the item names a user

	// Of a validation token, and of the rich items that it should have covered.
	ReasonTokenMissing     // validationTokens absent, null, empty, or with a null in it
	ReasonTooManyTokens    // more than Config.MaxTokens
	ReasonTokenMalformed   // not a JWT
	ReasonTokenAlgorithm   // not RS or PS: none, HS256, ...
	ReasonTokenUnknownKey  // signed with a key that is not among Microsoft's
	ReasonTokenSignature   // the signature does not match
	ReasonTokenVersion     // ver is neither 1.0 nor 2.0
	ReasonTokenIssuer      // not Microsoft's issuer of that version and tenant
	ReasonTokenTenant      // tid is not the expected tenant
	ReasonTokenAudience    // aud is none of our application ids
	ReasonTokenPublisher   // appid/azp is not Graph Change Tracking
	ReasonTokenExpired     // exp is past
	ReasonTokenNotYetValid // nbf or iat is ahead
	ReasonTokenCover       // no passing token covers the item's tenant
	ReasonKeysUnavailable  // Microsoft's signing keys could not be read; transient

	// Of a rich item's content.
	ReasonContentIncomplete  // a member of encryptedContent is missing or not base64
	ReasonUnknownCertificate // encrypted for a certificate that we hold no key of
	ReasonDataKey            // dataKey does not decrypt
	ReasonSignature          // dataSignature does not match the ciphertext
	ReasonDecrypt            // AES or its padding
	ReasonPlaintext          // what was decrypted is not a JSON object that can be read
	ReasonUserMismatch       // the decrypted id is not the one that the item names
	ReasonNoPresence         // decrypted, but without availability and activity

	reasonCount
)

var reasonNames = [reasonCount]string{
	ReasonNone:               "none",
	ReasonMalformedBody:      "malformed_body",
	ReasonTooLarge:           "too_large",
	ReasonNoItems:            "no_items",
	ReasonCancelled:          "cancelled",
	ReasonMalformedItem:      "malformed_item",
	ReasonClientState:        "client_state",
	ReasonTenant:             "tenant",
	ReasonNoUser:             "no_user",
	ReasonTokenMissing:       "token_missing",
	ReasonTooManyTokens:      "too_many_tokens",
	ReasonTokenMalformed:     "token_malformed",
	ReasonTokenAlgorithm:     "token_algorithm",
	ReasonTokenUnknownKey:    "token_unknown_key",
	ReasonTokenSignature:     "token_signature",
	ReasonTokenVersion:       "token_version",
	ReasonTokenIssuer:        "token_issuer",
	ReasonTokenTenant:        "token_tenant",
	ReasonTokenAudience:      "token_audience",
	ReasonTokenPublisher:     "token_publisher",
	ReasonTokenExpired:       "token_expired",
	ReasonTokenNotYetValid:   "token_not_yet_valid",
	ReasonTokenCover:         "token_cover",
	ReasonKeysUnavailable:    "keys_unavailable",
	ReasonContentIncomplete:  "content_incomplete",
	ReasonUnknownCertificate: "unknown_certificate",
	ReasonDataKey:            "data_key",
	ReasonSignature:          "signature",
	ReasonDecrypt:            "decrypt",
	ReasonPlaintext:          "plaintext",
	ReasonUserMismatch:       "user_mismatch",
	ReasonNoPresence:         "no_presence",
}

// String is the reason in snake case: a metric label.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return "unknown"
}

// MarshalText writes the String, for JSON.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Transient tells whether the same bytes may be believed later: they must be kept.
func (r Reason) Transient() bool { return r == ReasonKeysUnavailable || r == ReasonCancelled }

// Reasons lists every reason, for tests and for pre-setting metrics.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount)
	for r := range reasonCount {
		all = append(all, r)
	}
	return all
}

// Error is the error of this package: what is wrong with a body, a token or an item.
type Error struct {
	Reason Reason
	// Field is the JSON member concerned, such as "resourceData.id"; empty where there is none.
	Field string
	// Err is the cause; may be nil. It never holds a secret, a token or a presence.
	Err error
	// RetryAfter is, for a transient reason, how long it makes sense to wait; 0 when unknown.
	RetryAfter time.Duration
}

// Error is one lower-case line: the reason, the field, the cause, and the remedy if there is one.
func (e *Error) Error() string {
	s := "notification: " + e.Reason.String()
	if e.Field != "" {
		s += " at " + e.Field
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if r := e.Reason.Remedy(); r != "" {
		s += " (" + r + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Retry tells whether the same bytes may be believed later: they must be kept.
func (e *Error) Retry() bool { return e.Reason.Transient() }

// ReasonOf returns the reason of an error of this package, or [ReasonNone].
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok && e != nil {
		return e.Reason
	}
	return ReasonNone
}

func fail(r Reason, field string, cause error) *Error {
	return &Error{Reason: r, Field: field, Err: cause}
}

// Remedy is what an administrator can do about it, or "".
func (r Reason) Remedy() string {
	switch r {
	case ReasonTokenMissing:
		// learn:change-notifications-with-resource-data, "Validation tokens".
		return "the service principal of the application has appRoleAssignmentRequired=true, so Graph cannot get a token for it:" +
			" set it to false, or assign Microsoft Graph Change Tracking (appId " + DefaultPublisher + ") to one of its app roles"
	case ReasonUnknownCertificate:
		return "the subscription was made with a certificate whose key is not loaded: load it, or let the subscription be re-created"
	case ReasonKeysUnavailable:
		return "the signing keys of the login endpoint must be reachable over HTTPS: the notification is kept and tried again"
	case ReasonTokenAudience:
		return "audiences must list the client id of the application that made the subscription"
	case ReasonTenant, ReasonTokenTenant:
		return "tenant_id must be the directory id of the tenant whose subscription this is"
	default:
		return ""
	}
}

// DefaultPublisher is the application id of Microsoft Graph Change Tracking, the only publisher of
// change notifications (learn:change-notifications-with-resource-data).
const DefaultPublisher = "0bf30f3b-4a52-48df-9a82-234910c4a086"
