package graphsim

import (
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Config says what tenant to simulate. The zero value is a tenant of no people whose ids follow
// from the seed 0, on a free loopback port, without any cruelty.
type Config struct {
	Listen   string       // address to listen on; default "127.0.0.1:0"
	Host     string       // name or address by which clients reach it, for its URLs and its certificate; default: the listener's
	Listener net.Listener // used instead of Listen when set, for a network in memory; TLS is put on top

	TenantID     string              // default: drawn from the seed
	ClientID     string              // the one app registration; default: drawn from the seed
	ClientSecret string              // default: drawn from the seed
	SecretExpiry time.Time           // end of the client secret, shown on the application object; default a year from the start
	Certificates []*x509.Certificate // certificates registered for client assertions; more with RegisterCertificate
	RedirectURIs []string            // redirect URIs of the app registration; empty: any is accepted

	AppRoles []string // application permissions granted; default Presence.ReadWrite.All, User.Read.All, Application.Read.All, GroupMember.Read.All
	Scopes   []string // delegated permissions granted; default Presence.Read.All, User.Read, offline_access, openid, profile, email

	Domain   string   // domain of generated names; default "contoso.example"
	Users    int      // how many people to generate
	People   []Person // further people, as given
	Monitors []string // ordinary users that sign in for the bridge, by UPN (or by name, in Domain); they have no Teams client
	Seed     uint64   // everything random follows from it, as far as goroutines let it

	AutoApprove    bool            // device codes and sign-in pages are approved at once, by the Monitors in turn
	DeviceInterval time.Duration   // polling interval asked of device code clients; default 5 s
	TokenLifetime  time.Duration   // life of access tokens; default 1 h
	SigningKey     *rsa.PrivateKey // the first key that tokens are signed with; default: a new one
	StrictRotation bool            // a refresh token that was replaced is refused; Entra itself keeps it valid

	Government bool // a US Government cloud: no presence subscriptions, and presence without sequenceNumber, outOfOfficeSettings and workLocation

	Tie      Tie           // which of two sessions of equal rank shows; default TieSeeded
	ReadLag  time.Duration // reads show any change up to this much late; default 0
	WriteLag time.Duration // an answered write takes effect up to this much late; default 0

	// SubscriptionLife is the longest life that subscriptions get, whatever was asked for; default 60 min, as documented. A
	// shorter one, for runs that have no hour, is granted instead of the documented least of 45 min too.
	SubscriptionLife time.Duration

	Delivery Delivery // how notifications travel
	Forms    *Forms   // which of the observed forms notifications take; default ObservedForms()
	Budgets  *Budgets // requests allowed; default DefaultBudgets()
	Faults   Faults   // cruelty from the start

	OnChange func(Change) // called for each change, in order, under the tenant's lock: it must be quick and not call the Sim

	Log *slog.Logger // default: none
}

// Person is an Entra user.
type Person struct {
	ID             string   `json:"id"`
	UPN            string   `json:"userPrincipalName"`
	Mail           string   `json:"mail"`
	DisplayName    string   `json:"displayName"`
	BusinessPhones []string `json:"businessPhones"`
	UserType       string   `json:"userType"` // Member (default) or Guest
	MobilePhone    string   `json:"mobilePhone,omitempty"`
	ProxyAddresses []string `json:"proxyAddresses,omitempty"` // with "SMTP:" or "smtp:" before each
	// Attributes are further properties by name: employeeId, and extensionAttribute1 to 15.
	Attributes     map[string]string `json:"attributes,omitempty"`
	Disabled       bool              `json:"disabled"`
	DirectoryRoles []string          `json:"directoryRoles,omitempty"` // role template ids, the wids of delegated tokens
}

// GlobalAdministrator is the role template id of that role.
const GlobalAdministrator = "62e90394-69f5-4237-9190-012177145e10"

// Delivery says how notifications travel to their endpoint.
type Delivery struct {
	RootCAs   *x509.CertPool    // who is trusted for https:// endpoints; default: the system's
	AllowHTTP bool              // take http:// endpoints too when they are on loopback; Graph itself does not
	Transport http.RoundTripper // used instead of a transport of its own, for a network in memory

	LatencyMin  time.Duration // least time from a change to its notification; default 20 ms
	LatencyMean time.Duration // mean time; default 50 ms (Graph: under 10 s)
	LatencyMax  time.Duration // greatest time; default 500 ms (Graph: 1 min)

	Lanes      int           // requests at a time to one endpoint; a person's items keep to one lane; default 4
	MaxBatch   int           // most items in one request; default 50
	RetryFirst time.Duration // wait before the first retry, doubled each time up to 10 min; default 1 s
	RetryFor   time.Duration // how long a notification is retried; default 4 h

	ReauthorizeEvery time.Duration // a reauthorizationRequired per subscription this often; default 15 min, negative: never
	EndpointStates   bool          // slow and drop states of endpoints (learn:change-notifications-delivery-webhooks)
}

// Budgets are requests per window, as learn:throttling-limits and the operation pages print them; 0
// means no limit. They are counted per application in this tenant.
type Budgets struct {
	Reads              int `json:"reads"`               // GET presence and getPresencesByUserId, per 30 s
	Writes             int `json:"writes"`              // presence writes, per 30 s
	SubscriptionWrites int `json:"subscription_writes"` // POST, PATCH, DELETE and GET of one subscription, per 20 s
	SubscriptionLists  int `json:"subscription_lists"`  // GET of the list, per 20 s
	Reauthorize        int `json:"reauthorize"`         // per 20 s
	Directory          int `json:"directory"`           // resource units of directory reads, per 10 s
}

// DefaultBudgets are the documented limits; where two sources disagree, the lower.
func DefaultBudgets() Budgets {
	return Budgets{Reads: 1500, Writes: 10000, SubscriptionWrites: 500, SubscriptionLists: 25, Reauthorize: 1000, Directory: 8000}
}

// Forms gives the share of notification items, 0 to 1, that take a form that was observed in the
// wild beside the documented one.
type Forms struct {
	FilterEcho float64 `json:"filter_echo"` // resource is the whole $filter, encoded: about 28 KB with 650 people
	Parens     float64 `json:"parens"`      // communications/presences('{id}')
	NullID     float64 `json:"null_id"`     // resourceData.id is null, @odata.id is there
	NullData   float64 `json:"null_data"`   // resourceData.id is null and @odata.id absent: only the content says who
	NoZone     float64 `json:"no_zone"`     // subscriptionExpirationDateTime without zone, 7 fractional digits
	OffsetZone float64 `json:"offset_zone"` // +00:00 instead of Z
	ODataCase  float64 `json:"odata_case"`  // #Microsoft.Graph.presence
	TokensV2   float64 `json:"tokens_v2"`   // share of requests whose validation tokens are of version 2.0
}

// ObservedForms mixes everything in, the documented form most often.
func ObservedForms() Forms {
	return Forms{FilterEcho: 0.02, Parens: 0.1, NullID: 0.05, NullData: 0.02, NoZone: 0.2, OffsetZone: 0.1, ODataCase: 0.2, TokensV2: 0.5}
}

// withDefaults fills in what was left open; it refuses what cannot be meant.
func (c Config) withDefaults(r *rand.Rand) (Config, error) {
	setDefault(&c.Listen, "127.0.0.1:0")
	setDefault(&c.TenantID, guid(r))
	setDefault(&c.ClientID, guid(r))
	setDefault(&c.ClientSecret, "secret~"+token(r, 24))
	setDefault(&c.Domain, "contoso.example")
	setDefault(&c.DeviceInterval, 5*time.Second)
	setDefault(&c.TokenLifetime, time.Hour)
	setDefault(&c.Tie, TieSeeded)
	setDefault(&c.SubscriptionLife, maxLife)
	if c.SecretExpiry.IsZero() {
		c.SecretExpiry = time.Now().AddDate(1, 0, 0)
	}
	if c.AppRoles == nil {
		c.AppRoles = []string{"Presence.ReadWrite.All", "User.Read.All", "Application.Read.All", "GroupMember.Read.All"}
	}
	if c.Scopes == nil {
		c.Scopes = []string{"Presence.Read.All", "User.Read", "offline_access", "openid", "profile", "email"}
	}
	if c.Forms == nil {
		f := ObservedForms()
		c.Forms = &f
	}
	if c.Budgets == nil {
		b := DefaultBudgets()
		c.Budgets = &b
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.TenantID, c.ClientID = strings.ToLower(c.TenantID), strings.ToLower(c.ClientID)
	c.Delivery = c.Delivery.withDefaults()
	c.Monitors = slices.Clone(c.Monitors)
	for i, upn := range c.Monitors {
		if !strings.Contains(upn, "@") {
			c.Monitors[i] = upn + "@" + c.Domain
		}
	}
	return c, c.check()
}

func (d Delivery) withDefaults() Delivery {
	setDefault(&d.LatencyMin, 20*time.Millisecond)
	setDefault(&d.LatencyMean, max(50*time.Millisecond, d.LatencyMin))
	setDefault(&d.LatencyMax, max(500*time.Millisecond, d.LatencyMean))
	setDefault(&d.Lanes, 4)
	setDefault(&d.MaxBatch, 50)
	setDefault(&d.RetryFirst, time.Second)
	setDefault(&d.RetryFor, 4*time.Hour)
	setDefault(&d.ReauthorizeEvery, 15*time.Minute)
	return d
}

func (c Config) check() error {
	switch {
	case c.SubscriptionLife < 0 || c.SubscriptionLife > maxLife:
		return fmt.Errorf("graphsim: SubscriptionLife is %v: give more than 0 and at most %v", c.SubscriptionLife, maxLife)
	case c.Users < 0:
		return fmt.Errorf("graphsim: Users is %d: give 0 or more", c.Users)
	case c.Tie != TieSeeded && c.Tie != TieApp && c.Tie != TieClient:
		return fmt.Errorf("graphsim: Tie is %q: give %q, %q or %q", c.Tie, TieSeeded, TieApp, TieClient)
	case c.Delivery.LatencyMin > c.Delivery.LatencyMean || c.Delivery.LatencyMean > c.Delivery.LatencyMax:
		return fmt.Errorf("graphsim: Delivery latencies %v, %v, %v: give least, mean and greatest in ascending order",
			c.Delivery.LatencyMin, c.Delivery.LatencyMean, c.Delivery.LatencyMax)
	case c.Delivery.Lanes < 1 || c.Delivery.MaxBatch < 1:
		return fmt.Errorf("graphsim: Delivery.Lanes %d and MaxBatch %d: give 1 or more", c.Delivery.Lanes, c.Delivery.MaxBatch)
	}
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// guid draws a GUID of version 4.
func guid(r *rand.Rand) string {
	hi, lo := r.Uint64(), r.Uint64()
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(0xc0<<56) | 0x80<<56
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xffff, lo>>48, lo&0xffffffffffff)
}

// token draws n characters that are safe in URLs and forms.
func token(r *rand.Rand, n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}
