package graphsim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"
)

// changeTracking is the application that publishes notifications.
const changeTracking = "0bf30f3b-4a52-48df-9a82-234910c4a086"

// wireItem is one item of a notification request (learn:change-notifications-delivery-webhooks).
type wireItem struct {
	SubscriptionID string         `json:"subscriptionId"`
	ClientState    string         `json:"clientState,omitempty"`
	ChangeType     string         `json:"changeType,omitempty"`
	LifecycleEvent string         `json:"lifecycleEvent,omitempty"`
	TenantID       string         `json:"tenantId"`
	Resource       string         `json:"resource,omitempty"`
	Expiration     string         `json:"subscriptionExpirationDateTime"`
	ResourceData   *wireData      `json:"resourceData,omitempty"`
	OrganizationID string         `json:"organizationId,omitempty"`
	Encrypted      *wireEncrypted `json:"encryptedContent,omitempty"`
}

// wireData is resourceData; its id is null in some samples.
type wireData struct {
	ODataID   string  `json:"@odata.id,omitempty"`
	ODataType string  `json:"@odata.type"`
	ID        *string `json:"id"`
}

type wireEncrypted struct {
	Data       string `json:"data"`
	Signature  string `json:"dataSignature"`
	Key        string `json:"dataKey"`
	CertID     string `json:"encryptionCertificateId"`
	Thumbprint string `json:"encryptionCertificateThumbprint"`
}

// envelope is what the items need of their subscription.
type envelope struct {
	id, state, resource string
	app                 string
	expires             time.Time
	rich                bool
	key                 *rsa.PublicKey
	keyID, thumb        string
}

func (p *post) envelope(s *subscription) envelope {
	p.sim.hub.mu.Lock()
	defer p.sim.hub.mu.Unlock()
	return envelope{s.id, s.clientState, s.resource, s.app, s.expires, s.rich, s.key, s.keyID, s.thumb}
}

// encode makes the body of a request: the items, and for rich ones a validation token per application.
func (p *post) encode(items []item) ([]byte, error) {
	var out struct {
		Value  []wireItem `json:"value"`
		Tokens any        `json:"validationTokens,omitempty"`
	}
	apps := map[string]bool{}
	for _, x := range items {
		e := p.envelope(x.sub)
		w, err := p.item(e, x)
		if err != nil {
			return nil, err
		}
		out.Value = append(out.Value, w)
		if w.Encrypted == nil {
			continue
		}
		if x.poison {
			out.Value = append(out.Value, forged(w))
			p.sim.counts.do(func(c *Stats) { c.Notifications.Poisoned++ })
		}
		apps[e.app] = true
	}
	v2 := p.sim.cruelty.post.hit(p.sim.cfg.Forms.TokensV2)
	var tokens []string
	for _, app := range slices.Sorted(maps.Keys(apps)) {
		token, err := p.validationToken(app, v2)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, token)
	}
	switch {
	case tokens == nil: // basic and lifecycle items alone
	case p.sim.cruelty.post.hit(p.sim.cruelty.faults().NoTokens):
		out.Tokens = json.RawMessage("null")
	default:
		out.Tokens = tokens
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(out); err != nil {
		return nil, fmt.Errorf("graphsim: encode notifications: %w", err)
	}
	return buffer.Bytes(), nil
}

// item makes one item in one of the forms that were observed.
func (p *post) item(e envelope, x item) (wireItem, error) {
	w := wireItem{SubscriptionID: e.id, ClientState: e.state, TenantID: p.sim.TenantID, Expiration: p.timestamp(e.expires)}
	if x.lifecycle != "" {
		w.LifecycleEvent = x.lifecycle
		return w, nil
	}
	f, chance := p.sim.cfg.Forms, p.sim.cruelty.post
	w.ChangeType, w.OrganizationID = "updated", p.sim.TenantID
	w.Resource = "communications/presences/" + x.user
	switch {
	case chance.hit(f.FilterEcho):
		w.Resource = echo(e.resource)
	case chance.hit(f.Parens):
		w.Resource = "communications/presences('" + x.user + "')"
	}
	w.ResourceData = &wireData{ODataType: "#microsoft.graph.presence", ODataID: "users/" + x.user + "/presence", ID: &x.user}
	if chance.hit(f.ODataCase) {
		w.ResourceData.ODataType = "#Microsoft.Graph.presence"
	}
	if !e.rich { // basic items carry no state (Microsoft 365 developer blog, June 2024)
		w.OrganizationID = ""
		return w, nil
	}
	switch {
	case chance.hit(f.NullData):
		w.ResourceData.ID, w.ResourceData.ODataID = nil, ""
	case chance.hit(f.NullID):
		w.ResourceData.ID = nil
	}
	content, err := json.Marshal(map[string]string{"@odata.id": "users/" + x.user + "/presence", "@odata.type": "#microsoft.graph.presence",
		"id": x.user, "availability": x.pair.Availability, "activity": x.pair.Activity})
	if err != nil {
		return w, fmt.Errorf("graphsim: encode content: %w", err)
	}
	w.Encrypted, err = seal(e, content)
	return w, err
}

// echo is the subscription's resource as it comes back: the filter encoded like a form.
func echo(resource string) string {
	const mark = "?$filter="
	for i := range resource {
		if len(resource)-i > len(mark) && resource[i:i+len(mark)] == mark {
			filter, err := url.QueryUnescape(resource[i+len(mark):])
			if err == nil {
				return resource[:i] + mark + url.QueryEscape(filter)
			}
		}
	}
	return resource
}

// timestamp is a time in one of the observed forms, always in UTC and with 7 digits.
func (p *post) timestamp(t time.Time) string {
	s := t.UTC().Format("2006-01-02T15:04:05.0000000")
	switch {
	case p.sim.cruelty.post.hit(p.sim.cfg.Forms.NoZone):
		return s
	case p.sim.cruelty.post.hit(p.sim.cfg.Forms.OffsetZone):
		return s + "+00:00"
	default:
		return s + "Z"
	}
}

// seal encrypts the content (learn:change-notifications-with-resource-data): a key of its own,
// AES-256-CBC with PKCS #7 padding and the head of the key as IV, HMAC-SHA256 over the ciphertext
// with the same key, and the key itself by RSA-OAEP with SHA-1.
func seal(e envelope, content []byte) (*wireEncrypted, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("graphsim: draw a key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("graphsim: AES: %w", err)
	}
	padding := aes.BlockSize - len(content)%aes.BlockSize
	data := slices.Concat(content, bytes.Repeat([]byte{byte(padding)}, padding))
	cipher.NewCBCEncrypter(block, key[:aes.BlockSize]).CryptBlocks(data, data)
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, e.key, key, nil)
	if err != nil {
		return nil, fmt.Errorf("graphsim: RSA-OAEP: %w", err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return &wireEncrypted{Data: b64(data), Signature: b64(mac.Sum(nil)), Key: b64(sealed), CertID: e.keyID, Thumbprint: e.thumb}, nil
}

// forged is a copy of an item whose content was tampered with.
func forged(w wireItem) wireItem {
	e := *w.Encrypted
	sum := sha256.Sum256([]byte(e.Signature))
	e.Signature = base64.StdEncoding.EncodeToString(sum[:])
	w.Encrypted = &e
	return w
}

// validationToken is a signed token that a subscriber checks; it is made anew every five minutes.
type validationToken struct {
	raw  string
	made time.Time
}

// validationToken makes or finds the token for an application: of version 1.0 with Microsoft's older
// issuer and the publisher in appid, or of version 2.0 with the newer and the publisher in azp.
func (p *post) validationToken(app string, v2 bool) (string, error) {
	key := fmt.Sprintf("%s/%t", app, v2)
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tokens[key]; t != nil && now.Sub(t.made) < 5*time.Minute {
		return t.raw, nil
	}
	claims := map[string]any{"aud": app, "iat": now.Unix(), "nbf": now.Unix(), "tid": p.sim.TenantID,
		"oid": servicePrincipalID(changeTracking), "sub": servicePrincipalID(changeTracking), "uti": p.sim.draw.token(22)}
	if v2 {
		claims["ver"], claims["azp"], claims["azpacr"] = "2.0", changeTracking, "2"
		claims["iss"], claims["exp"] = p.sim.login.issuer(), now.Add(24*time.Hour+5*time.Minute).Unix()
	} else {
		claims["ver"], claims["appid"], claims["appidacr"] = "1.0", changeTracking, "2"
		claims["iss"], claims["exp"] = "https://sts.windows.net/"+p.sim.TenantID+"/", now.Add(8*time.Hour+5*time.Minute).Unix()
	}
	raw, err := p.sim.login.keys.sign(claims)
	if err != nil {
		return "", err
	}
	p.tokens[key] = &validationToken{raw, now}
	return raw, nil
}

func (p *post) forgetTokens() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.tokens)
}
