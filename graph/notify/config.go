package notify

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

// Defaults of [Config].
const (
	DefaultMaxBody    = 64 << 20
	DefaultMaxItems   = 50_000
	DefaultMaxTokens  = 64
	DefaultLeeway     = 2 * time.Minute
	DefaultTokenCache = 256
)

// Config configures a [Decoder].
type Config struct {
	// Account is the metric label and log attribute.
	Account string
	// TenantID is the directory (tenant) id that items and tokens must be of. A GUID; required.
	TenantID string
	// Audiences are what tokens may be for: the client id of the application that made the
	// subscriptions, and its application id URI where tokens name that. Required.
	Audiences []string
	// Issuers of tokens. Default [GlobalIssuers].
	Issuers Issuers
	// Publisher is who must have sent the notifications. Default [DefaultPublisher].
	Publisher string
	// Leeway is how far clocks may be apart when exp and nbf are checked. Default 2 min.
	Leeway time.Duration
	// Keys are the keys that tokens are signed with; may be shared. Required.
	Keys *KeySource
	// Certificates are the decryption keys. Required; may be empty for now.
	Certificates *Keyring
	// CheckClientState tells whether a clientState is one of this account's. Required.
	CheckClientState func(state string) bool
	// Pool bounds decryption; one for all decoders of a process. Default: one of its own, of one
	// slot per CPU.
	Pool *Pool
	// MaxBody is the largest body read, in bytes. Default 64 MiB, well above what a receiver lets in.
	MaxBody int
	// MaxItems is how many items a body may hold. Default 50,000; Graph sends 2,000 at most that we
	// know of.
	MaxItems int
	// MaxTokens is how many validation tokens a body may hold; Graph sends one per application
	// and tenant in it. Default 64.
	MaxTokens int
	// TokenCache is how many verified tokens are remembered. Default 256.
	TokenCache int
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log gets refusals, each reason once a minute at most. Default: nothing.
	Log *slog.Logger
	// Metrics registers presence_bridge_notify_…. Default: nowhere.
	Metrics prometheus.Registerer
}

func (c *Config) defaults() error {
	if uuid.Validate(c.TenantID) != nil || len(c.TenantID) != 36 {
		return fmt.Errorf("notify: TenantID %q is no GUID: give the directory (tenant) id", c.TenantID)
	}
	switch {
	case len(c.Audiences) == 0:
		return errors.New("notify: Audiences is empty: give the client id of the application")
	case c.Keys == nil:
		return errors.New("notify: Keys is missing")
	case c.Certificates == nil:
		return errors.New("notify: Certificates is missing")
	case c.CheckClientState == nil:
		return errors.New("notify: CheckClientState is missing")
	}
	if len(c.Issuers.V1) == 0 && len(c.Issuers.V2) == 0 {
		c.Issuers = GlobalIssuers()
	}
	if c.Publisher == "" {
		c.Publisher = DefaultPublisher
	}
	if c.Leeway <= 0 {
		c.Leeway = DefaultLeeway
	}
	if c.Pool == nil {
		c.Pool = NewPool(0)
	}
	if c.MaxBody <= 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.MaxItems <= 0 {
		c.MaxItems = DefaultMaxItems
	}
	if c.MaxTokens <= 0 {
		c.MaxTokens = DefaultMaxTokens
	}
	if c.TokenCache <= 0 {
		c.TokenCache = DefaultTokenCache
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
