package graphsim

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inbox is an endpoint for notifications. What it decrypts it decrypts as Microsoft's page says.
type inbox struct {
	t    *testing.T
	key  *rsa.PrivateKey
	cert *x509.Certificate

	mu          sync.Mutex
	validations []string
	arrived     []delivery
	answer      func(n int, r *http.Request) int // status of the n-th delivery; nil: 202
	echo        func(token string) (status int, kind, body string)
}

// delivery is one POST.
type delivery struct {
	at     time.Time
	path   string
	body   string
	items  []wireItem
	tokens []string
}

func newInbox(t *testing.T) *inbox {
	key, cert := selfSigned(t, 2048)
	return &inbox{t: t, key: key, cert: cert}
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if token := r.URL.Query().Get("validationToken"); token != "" {
		b.mu.Lock()
		b.validations = append(b.validations, r.URL.Path)
		echo := b.echo
		b.mu.Unlock()
		status, kind, body := 200, "text/plain; charset=utf-8", token
		if echo != nil {
			status, kind, body = echo(token)
		}
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var in struct {
		Value            []wireItem
		ValidationTokens []string
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		b.t.Errorf("delivery: %v", err)
	}
	b.mu.Lock()
	b.arrived = append(b.arrived, delivery{time.Now(), r.URL.Path, string(raw), in.Value, in.ValidationTokens})
	n, answer := len(b.arrived), b.answer
	b.mu.Unlock()
	status := http.StatusAccepted
	if answer != nil {
		status = answer(n, r)
	}
	w.WriteHeader(status)
}

func (b *inbox) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *inbox) deliveries() []delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]delivery(nil), b.arrived...)
}

// items are all items that arrived, in order.
func (b *inbox) items() []wireItem {
	var out []wireItem
	for _, d := range b.deliveries() {
		out = append(out, d.items...)
	}
	return out
}

// open decrypts an item; ok is false when its signature is wrong.
func (b *inbox) open(e *wireEncrypted) (content map[string]string, ok bool) {
	b.t.Helper()
	unbase := func(s string) []byte {
		raw, err := base64.StdEncoding.DecodeString(s)
		require.NoError(b.t, err)
		return raw
	}
	key, err := rsa.DecryptOAEP(sha1.New(), nil, b.key, unbase(e.Key), nil)
	require.NoError(b.t, err)
	require.Len(b.t, key, 32)
	data := unbase(e.Data)
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	if !hmac.Equal(mac.Sum(nil), unbase(e.Signature)) {
		return nil, false
	}
	block, err := aes.NewCipher(key)
	require.NoError(b.t, err)
	cipher.NewCBCDecrypter(block, key[:16]).CryptBlocks(data, data)
	data = data[:len(data)-int(data[len(data)-1])]
	require.NoError(b.t, json.Unmarshal(data, &content))
	return content, true
}

// pairs are the states that arrived for a user, in order, forged ones left out.
func (b *inbox) pairs(user string) []Pair {
	b.t.Helper()
	var out []Pair
	for _, item := range b.items() {
		if item.Encrypted == nil {
			continue
		}
		if c, ok := b.open(item.Encrypted); ok && c["id"] == user {
			out = append(out, Pair{c["availability"], c["activity"]})
		}
	}
	return out
}

// request is a good subscription of users, to be spoilt by tests.
func (b *inbox) request(ids ...string) map[string]any {
	resource := "/communications/presences?$filter=id in ("
	for i, id := range ids {
		if i > 0 {
			resource += ","
		}
		resource += "'" + id + "'"
	}
	return map[string]any{"changeType": "updated", "notificationUrl": "https://bridge.test/graph/contoso/notifications?a=b",
		"lifecycleNotificationUrl": "https://bridge.test/graph/contoso/lifecycle", "resource": resource + ")",
		"expirationDateTime": time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano), "includeResourceData": true,
		"encryptionCertificate": base64.StdEncoding.EncodeToString(b.cert.Raw), "encryptionCertificateId": "key-1", "clientState": "state"}
}

// subscribed is a tenant of two whose anna and ben are watched by a monitor. The token is the monitor's.
func subscribed(t *testing.T, edit ...func(*Config)) (x *tenant, b *inbox, token, id string) {
	t.Helper()
	b = newInbox(t)
	x = two(t, append([]func(*Config){func(c *Config) { c.Delivery.Transport = direct{b} }}, edit...)...)
	token = x.userToken(mon)
	a := x.call("POST", "/v1.0/subscriptions", token, b.request(x.id(anna), x.id(ben)))
	require.Equal(t, 201, a.status, a.body)
	return x, b, token, a.text("id")
}
