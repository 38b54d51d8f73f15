package notify

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Defaults of [KeySourceConfig].
const (
	DefaultKeyTTL         = time.Hour
	DefaultKeyMaxStale    = 24 * time.Hour
	DefaultKeyMinInterval = 10 * time.Second
	DefaultKeyTimeout     = 5 * time.Second
)

const (
	keyFetchBurst  = 3       // fetches that may follow each other at once, for a rotation and its first failures
	maxKeySetBytes = 1 << 20 // Microsoft's sets are below 20 KB
	maxMissing     = 128     // key ids remembered as missing
	minSigningBits = 2048
	maxSigningBits = 8192
)

// KeyURLs are the addresses of Microsoft's signing keys below a login endpoint, such as
// https://login.microsoftonline.com: for tokens of version 1.0 and 2.0
// (learn:change-notifications-with-resource-data, "Validating the authenticity of notifications").
func KeyURLs(login string) (v1, v2 string) {
	login = strings.TrimRight(login, "/")
	return login + "/common/discovery/keys", login + "/common/discovery/v2.0/keys"
}

// KeySourceConfig configures a [KeySource].
type KeySourceConfig struct {
	// URLV1 and URLV2 are where the JWK sets are, for tokens of version 1.0 and 2.0; see
	// [KeyURLs]. HTTPS only. One of them may be empty: the other then serves both.
	URLV1, URLV2 string
	// Client makes the requests. It is copied. Default: one without particularities.
	Client *http.Client
	// TTL is for how long a set counts as fresh. Default 1 h (the keys are rotated daily).
	TTL time.Duration
	// MaxStale is for how long a key of an old set is still used while fetching fails. Default 24 h.
	MaxStale time.Duration
	// MinInterval is the mean time between two fetches of one set, whatever the cause; up to
	// three may follow each other at once. Default 10 s.
	MinInterval time.Duration
	// Timeout of one fetch. Default 5 s.
	Timeout time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log gets failed fetches. Default: nothing.
	Log *slog.Logger
	// Metrics registers presence_bridge_notify_key_fetches_total{result}. Default: nowhere.
	Metrics prometheus.Registerer
}

func (c *KeySourceConfig) defaults() error {
	if c.URLV1 == "" {
		c.URLV1 = c.URLV2
	}
	if c.URLV2 == "" {
		c.URLV2 = c.URLV1
	}
	for _, s := range []string{c.URLV1, c.URLV2} {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("signing keys: the address %q must be an https URL, such as https://login.microsoftonline.com/common/discovery/v2.0/keys", s)
		}
	}
	for _, d := range []struct {
		to  *time.Duration
		def time.Duration
	}{
		{&c.TTL, DefaultKeyTTL}, {&c.MaxStale, DefaultKeyMaxStale}, {&c.MinInterval, DefaultKeyMinInterval}, {&c.Timeout, DefaultKeyTimeout},
	} {
		if *d.to <= 0 {
			*d.to = d.def
		}
	}
	client := http.Client{}
	if c.Client != nil {
		client = *c.Client
	}
	client.CheckRedirect = httpsOnly(client.CheckRedirect)
	c.Client = &client
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// errNotHTTPS refuses a redirect: who can change an answer on its way could make us trust any key.
var errNotHTTPS = errors.New("redirected to an address without https")

// httpsOnly follows redirects as given does, but to https only.
func httpsOnly(given func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		switch {
		case r.URL.Scheme != "https":
			return errNotHTTPS
		case given != nil:
			return given(r, via)
		case len(via) >= 10: // as http.Client does
			return errors.New("redirected 10 times")
		default:
			return nil
		}
	}
}

// KeySource is the cache of the keys that Microsoft signs validation tokens with. Several decoders
// may share one. It has no goroutines: whoever needs a key that is not there fetches, one at a time.
//
// The bound: a set is fetched at most three times at once and then once per MinInterval, whatever
// arrives. A key id that is missing from the set is refused for good only when the set was fetched
// after that id was first asked for; while the bound forbids that fetch the answer is
// [ReasonKeysUnavailable], so a key that was rotated in meanwhile costs time, not a notification.
type KeySource struct {
	v1, v2 *keySet
}

// NewKeySource makes a source; it fetches nothing yet.
func NewKeySource(cfg KeySourceConfig) (*KeySource, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	fetches, err := keyFetches(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	s := &KeySource{v2: newKeySet(&cfg, cfg.URLV2, fetches)}
	s.v1 = s.v2
	if cfg.URLV1 != cfg.URLV2 {
		s.v1 = newKeySet(&cfg, cfg.URLV1, fetches)
	}
	return s, nil
}

// signingKey is one key of a set.
type signingKey struct {
	public *rsa.PublicKey
	// issuer is the non-standard member "issuer", a template with {tenantid}; may be empty.
	issuer string
	// alg is the only algorithm that the key is for; may be empty.
	alg string
}

// key finds the key of a token of the given version.
func (s *KeySource) key(ctx context.Context, version, kid string) (signingKey, *Error) {
	if version == "1.0" {
		return s.v1.key(ctx, kid)
	}
	return s.v2.key(ctx, kid)
}

// keySet is one cached JWK set.
type keySet struct {
	cfg     *KeySourceConfig
	url     string
	fetches *prometheus.CounterVec

	// current is what was fetched last, never nil; it is replaced under the gate, and never changed.
	current atomic.Pointer[fetchedKeys]

	// gate holds one token: who has it may touch what follows, and may fetch.
	gate    chan struct{}
	limiter *rate.Limiter
	missing map[string]uint64 // key ids that were asked for in vain, in which generation first
}

// fetchedKeys is what one fetch brought.
type fetchedKeys struct {
	keys       map[string]signingKey
	at         time.Time // when the request began; zero: there was none yet
	generation uint64    // how many fetches had succeeded
}

func newKeySet(cfg *KeySourceConfig, url string, fetches *prometheus.CounterVec) *keySet {
	s := &keySet{
		cfg: cfg, url: url, fetches: fetches,
		gate:    make(chan struct{}, 1),
		limiter: rate.NewLimiter(rate.Every(cfg.MinInterval), keyFetchBurst),
		missing: make(map[string]uint64),
	}
	s.current.Store(&fetchedKeys{})
	return s
}

// key finds kid, and fetches the set when it is not there or the set is old. Who must fetch waits for
// who does already, so that what one has fetched serves all.
func (s *keySet) key(ctx context.Context, kid string) (signingKey, *Error) {
	set := s.current.Load()
	if k, found := set.keys[kid]; found && s.cfg.Now().Sub(set.at) < s.cfg.TTL {
		return k, nil
	}
	select {
	case s.gate <- struct{}{}:
		defer func() { <-s.gate }()
	case <-ctx.Done():
		return signingKey{}, fail(ReasonCancelled, "", ctx.Err())
	}
	set = s.current.Load()
	now := s.cfg.Now()
	k, found := set.keys[kid]
	age := now.Sub(set.at)
	if found && age < s.cfg.TTL {
		return k, nil
	}
	if !found && s.missedBefore(kid, set.generation) && age < s.cfg.MinInterval {
		return signingKey{}, fail(ReasonTokenUnknownKey, "kid", errUnknownKey)
	}
	err := s.refresh(ctx, now)
	if err == nil {
		if k, found = s.current.Load().keys[kid]; found {
			return k, nil
		}
		s.miss(kid, set.generation)
		return signingKey{}, fail(ReasonTokenUnknownKey, "kid", errUnknownKey)
	}
	if found && age < s.cfg.MaxStale {
		return k, nil
	}
	if ctx.Err() != nil {
		return signingKey{}, fail(ReasonCancelled, "", ctx.Err())
	}
	s.miss(kid, set.generation)
	return signingKey{}, &Error{Reason: ReasonKeysUnavailable, Err: err, RetryAfter: s.cfg.MinInterval}
}

var (
	errUnknownKey = errors.New("the key id is not among the keys of the login endpoint")
	errTooSoon    = errors.New("the signing keys were fetched too recently to fetch them again")
)

// missedBefore tells whether kid was asked for before the set of this generation was fetched.
func (s *keySet) missedBefore(kid string, generation uint64) bool {
	since, known := s.missing[kid]
	return known && since < generation
}

// miss remembers that kid is not in the set of this generation.
func (s *keySet) miss(kid string, generation uint64) {
	if _, known := s.missing[kid]; known {
		return
	}
	if len(s.missing) >= maxMissing {
		clear(s.missing) // they start over; the bound on fetches does not depend on it
	}
	s.missing[kid] = generation
}

// refresh fetches the set, if that may be done now. On an error the old keys stay.
func (s *keySet) refresh(ctx context.Context, now time.Time) error {
	if !s.limiter.AllowN(now, 1) {
		return errTooSoon
	}
	keys, err := s.fetch(ctx)
	if err != nil {
		s.fetches.WithLabelValues("error").Inc()
		s.cfg.Log.WarnContext(ctx, "signing keys cannot be fetched", "url", s.url, "error", err)
		return err
	}
	s.fetches.WithLabelValues("ok").Inc()
	before := s.current.Load().generation
	s.current.Store(&fetchedKeys{keys: keys, at: now, generation: before + 1})
	// What was missed before an earlier fetch has had its answer.
	maps.DeleteFunc(s.missing, func(_ string, since uint64) bool { return since < before })
	return nil
}

func (s *keySet) fetch(ctx context.Context) (map[string]signingKey, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.cfg.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("signing keys: %s answered %s", s.url, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	if len(body) > maxKeySetBytes {
		return nil, fmt.Errorf("signing keys: %s answered more than %d bytes", s.url, maxKeySetBytes)
	}
	return parseKeySet(body)
}

// parseKeySet reads a JWK set (RFC 7517 section 5). A key that is of no use here (another type, another
// use, too small, broken) is left out and costs no other; a set without any usable key is an error.
func parseKeySet(body []byte) (map[string]signingKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("signing keys: not a JWK set: %w", err)
	}
	keys := make(map[string]signingKey, len(set.Keys))
	for _, raw := range set.Keys {
		var more struct {
			Issuer string `json:"issuer"`
		}
		jwk, err := parseKey(raw)
		if err != nil || json.Unmarshal(raw, &more) != nil {
			continue
		}
		public, isRSA := jwk.Key.(*rsa.PublicKey)
		if !isRSA || jwk.KeyID == "" || (jwk.Use != "" && jwk.Use != "sig") ||
			public.N.BitLen() < minSigningBits || public.N.BitLen() > maxSigningBits {
			continue
		}
		keys[jwk.KeyID] = signingKey{public: public, issuer: more.Issuer, alg: jwk.Algorithm}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("signing keys: none of the %d keys in the set is an RSA signing key", len(set.Keys))
	}
	return keys, nil
}

// parseKey reads one key without its X.509 parameters: "x5c", "x5t" and "x5u" are optional (RFC 7517 sections
// 4.6 to 4.9) and say nothing that is used here, where a key is found by "kid" and comes from the login endpoint
// over HTTPS. The JOSE library refuses a key for a thumbprint of unusual length, or for a chain that it cannot read.
func parseKey(raw json.RawMessage) (jose.JSONWebKey, error) {
	var jwk jose.JSONWebKey
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return jwk, err
	}
	for _, name := range []string{"x5c", "x5t", "x5t#S256", "x5u"} {
		delete(members, name)
	}
	plain, err := json.Marshal(members)
	if err != nil {
		return jwk, err
	}
	return jwk, jwk.UnmarshalJSON(plain)
}
