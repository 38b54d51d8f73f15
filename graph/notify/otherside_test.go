package notify

// The other side: Microsoft Graph as seen from here, written from facts/graph.md section 5 with the
// standard library alone. It shares nothing with the code under test.

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

const (
	tenant    = "fec73c09-5f32-43fd-b767-9181f871fbcf"
	appID     = "8e460676-ae3f-4b1e-8790-ee0fb5d6ad2c"
	publisher = "0bf30f3b-4a52-48df-9a82-234910c4a086"
	alice     = "64de7fb3-06d9-44b6-a8e6-c1a17e1a3bc4"
	goodState = "state-of-ours"
)

// selfSigned makes a certificate for a key.
func selfSigned(t testing.TB, key *rsa.PrivateKey, notAfter time.Time) []byte {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "presence"},
		NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	return der
}

// sealed is encryptedContent with all that went into it, so that tests can spoil each step.
type sealed struct {
	Key, Data, Signature, WrappedKey []byte
	ID, Thumbprint                   string
}

func seal(public *rsa.PublicKey, id, plain string) sealed {
	s := sealed{Key: make([]byte, 32), ID: id}
	if _, err := rand.Read(s.Key); err != nil {
		panic(err)
	}
	n := 16 - len(plain)%16
	s.encrypt([]byte(plain + strings.Repeat(string(rune(n)), n)))
	s.wrap(public)
	return s
}

// encrypt encrypts padded plaintext and signs it.
func (s *sealed) encrypt(padded []byte) {
	block, err := aes.NewCipher(s.Key)
	if err != nil {
		panic(err)
	}
	s.Data = make([]byte, len(padded))
	if len(padded)%16 == 0 {
		cipher.NewCBCEncrypter(block, s.Key[:16]).CryptBlocks(s.Data, padded)
	}
	s.sign()
}

func (s *sealed) sign() {
	mac := hmac.New(sha256.New, s.Key)
	mac.Write(s.Data)
	s.Signature = mac.Sum(nil)
}

func (s *sealed) wrap(public *rsa.PublicKey) {
	var err error
	if s.WrappedKey, err = rsa.EncryptOAEP(sha1.New(), rand.Reader, public, s.Key, nil); err != nil {
		panic(err)
	}
}

func (s *sealed) object() map[string]any {
	b64 := base64.StdEncoding.EncodeToString
	return map[string]any{
		"data": b64(s.Data), "dataSignature": b64(s.Signature), "dataKey": b64(s.WrappedKey),
		"encryptionCertificateId": s.ID, "encryptionCertificateThumbprint": s.Thumbprint,
	}
}

func plainPresenceJSON(user, availability, activity string) string {
	b, _ := json.Marshal(map[string]any{
		"@odata.id": "users/" + user + "/presence", "@odata.type": "#microsoft.graph.presence",
		"id": user, "availability": availability, "activity": activity,
	})
	return string(b)
}

// richItem is an item as learn:changenotifications-for-presence shows it.
func richItem(user string, s sealed) map[string]any {
	return map[string]any{
		"subscriptionId": "37a10357-9c28-4cb8-8a4f-a85a1e9b5a7b", "clientState": goodState, "changeType": "updated",
		"tenantId": tenant, "resource": "communications/presences/" + user,
		"subscriptionExpirationDateTime": "2023-09-14T10:00:00.0000000Z",
		"resourceData":                   map[string]any{"@odata.id": "users/" + user + "/presence", "@odata.type": "#microsoft.graph.presence", "id": user},
		"organizationId":                 tenant, "encryptedContent": s.object(),
	}
}

func with(m map[string]any, changes map[string]any) map[string]any {
	out := maps.Clone(m)
	for k, v := range changes {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = v
	}
	return out
}

func bodyOf(t testing.TB, tokens any, items ...any) []byte {
	t.Helper()
	if items == nil {
		items = []any{}
	}
	b, err := json.Marshal(map[string]any{"value": items, "validationTokens": tokens})
	require.NoError(t, err)
	return b
}

// issuer signs validation tokens and serves its keys over HTTPS.
type issuer struct {
	t       testing.TB
	server  *httptest.Server
	fetches atomic.Int64
	mu      sync.Mutex
	keys    map[string]map[string]any // kid to JWK
	status  int
}

func newIssuer(t testing.TB) *issuer {
	i := &issuer{t: t, keys: make(map[string]map[string]any), status: http.StatusOK}
	i.publish("k1", &testKeys()["sign"].PublicKey)
	i.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.fetches.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		w.WriteHeader(i.status)
		_, _ = w.Write(i.set())
	}))
	t.Cleanup(i.server.Close)
	return i
}

func (i *issuer) set() []byte {
	keys := []any{map[string]any{"kty": "EC", "kid": "broken", "crv": "P-256"}, "not even an object"}
	for _, k := range i.keys {
		keys = append(keys, k)
	}
	b, _ := json.Marshal(map[string]any{"keys": keys})
	return b
}

func jwk(kid string, public *rsa.PublicKey) map[string]any {
	return map[string]any{
		"kty": "RSA", "use": "sig", "kid": kid, "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0",
		"n": base64.RawURLEncoding.EncodeToString(public.N.Bytes()), "e": "AQAB",
	}
}

func (i *issuer) publish(kid string, public *rsa.PublicKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[kid] = jwk(kid, public)
	for _, private := range testKeys() {
		if private.PublicKey.Equal(public) { // Microsoft's sets have the certificate beside the key
			der := selfSigned(i.t, private, time.Now())
			sum := sha1.Sum(der)
			i.keys[kid]["x5c"], i.keys[kid]["x5t"] = []string{base64.StdEncoding.EncodeToString(der)}, base64.RawURLEncoding.EncodeToString(sum[:])
		}
	}
}

func (i *issuer) answer(status int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status = status
}

// claimsV1 and claimsV2 are the claims of the samples in learn:change-notifications-with-resource-data.
func claimsV1(now time.Time) map[string]any {
	return map[string]any{
		"aud": appID, "iss": "https://sts.windows.net/" + tenant + "/", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(8 * time.Hour).Unix(),
		"appid": publisher, "appidacr": "2", "tid": tenant, "ver": "1.0",
	}
}

func claimsV2(now time.Time) map[string]any {
	return map[string]any{
		"aud": appID, "iss": "https://login.microsoftonline.com/" + tenant + "/v2.0", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(24 * time.Hour).Unix(),
		"azp": publisher, "azpacr": "2", "tid": tenant, "ver": "2.0",
	}
}

func segment(v any) string {
	b, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b)
}

// jwt256 signs claims with RS256.
func jwt256(key *rsa.PrivateKey, kid string, claims map[string]any) string {
	return jwtWith(map[string]any{"typ": "JWT", "alg": "RS256", "kid": kid}, claims, func(signed string) []byte {
		sum := sha256.Sum256([]byte(signed))
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		if err != nil {
			panic(err)
		}
		return sig
	})
}

func jwtWith(header, claims map[string]any, sign func(signed string) []byte) string {
	signed := segment(header) + "." + segment(claims)
	return signed + "." + base64.RawURLEncoding.EncodeToString(sign(signed))
}

// world is a decoder, and everything around it.
type world struct {
	t       testing.TB
	now     time.Time
	mu      sync.Mutex
	issuer  *issuer
	keys    *KeySource
	ring    *Keyring
	metrics *prometheus.Registry
	decoder *Decoder
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC), issuer: newIssuer(t), metrics: prometheus.NewRegistry()}
	var err error
	w.keys, err = NewKeySource(KeySourceConfig{URLV2: w.issuer.server.URL + "/keys", Client: w.issuer.server.Client(), Now: w.clock, Metrics: w.metrics})
	require.NoError(t, err)
	w.ring, err = NewKeyring(Certificate{ID: "c1", Key: testKeys()["content"]})
	require.NoError(t, err)
	cfg := Config{
		Account: "contoso", TenantID: strings.ToUpper(tenant), Audiences: []string{"api://other", appID}, Keys: w.keys, Certificates: w.ring,
		CheckClientState: func(s string) bool { return s == goodState }, Now: w.clock, Metrics: w.metrics,
	}
	for _, f := range change {
		f(&cfg)
	}
	w.decoder, err = New(cfg)
	require.NoError(t, err)
	return w
}

func (w *world) token() string { return jwt256(testKeys()["sign"], "k1", claimsV2(w.clock())) }

func (w *world) seal(user, availability, activity string) sealed {
	return seal(&testKeys()["content"].PublicKey, "c1", plainPresenceJSON(user, availability, activity))
}

func (w *world) decode(body []byte) Result {
	w.t.Helper()
	return w.decoder.Decode(w.t.Context(), body, nil)
}

// one decodes a body of one item and returns it.
func (w *world) one(tokens any, item any) Item {
	w.t.Helper()
	r := w.decode(bodyOf(w.t, tokens, item))
	require.NoError(w.t, r.Err)
	require.Len(w.t, r.Items, 1)
	return r.Items[0]
}

func hexSHA1(der []byte) string {
	sum := sha1.Sum(der)
	return hex.EncodeToString(sum[:])
}

func signPSS(signed string) ([]byte, error) {
	sum := sha256.Sum256([]byte(signed))
	return rsa.SignPSS(rand.Reader, testKeys()["sign"], crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
}
