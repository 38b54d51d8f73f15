package graphsim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"sync"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// signingKey is one of the login service's keys.
type signingKey struct {
	private *rsa.PrivateKey
	cert    *x509.Certificate
	id      string
	signer  jose.Signer
}

// keySet are the keys that tokens are signed with: the last signs, all are published and believed.
type keySet struct {
	mu   sync.Mutex
	keys []*signingKey // guarded by mu
}

// rotate adds a key and signs with it from now on.
func (k *keySet) rotate() error {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("graphsim: make a signing key: %w", err)
	}
	return k.begin(private)
}

// begin signs with a key from now on; nil: a new one.
func (k *keySet) begin(private *rsa.PrivateKey) error {
	if private == nil {
		return k.rotate()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	template := certificateTemplate(int64(len(k.keys)+1), "accounts.accesscontrol.windows.net")
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return fmt.Errorf("graphsim: make a signing certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("graphsim: read the signing certificate back: %w", err)
	}
	thumb := sha1.Sum(der)
	id := base64.RawURLEncoding.EncodeToString(thumb[:])
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: private, KeyID: id}},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("x5t", id))
	if err != nil {
		return fmt.Errorf("graphsim: make a signer: %w", err)
	}
	k.keys = append(k.keys, &signingKey{private, cert, id, signer})
	return nil
}

// forget stops publishing and believing all keys but the last.
func (k *keySet) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = k.keys[len(k.keys)-1:]
}

// sign makes a token of the claims.
func (k *keySet) sign(claims any) (string, error) {
	k.mu.Lock()
	key := k.keys[len(k.keys)-1]
	k.mu.Unlock()
	signed, err := jwt.Signed(key.signer).Claims(claims).Serialize()
	if err != nil {
		return "", fmt.Errorf("graphsim: sign a token: %w", err)
	}
	return signed, nil
}

// verify checks a token of ours and reads its claims.
func (k *keySet) verify(raw string, claims any) error {
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return fmt.Errorf("graphsim: parse token: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if key.id == parsed.Headers[0].KeyID {
			return parsed.Claims(key.private.Public(), claims)
		}
	}
	return fmt.Errorf("graphsim: no signing key %q", parsed.Headers[0].KeyID)
}

// published is the key set document.
func (k *keySet) published() jose.JSONWebKeySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, key := range k.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.private.Public(), KeyID: key.id, Use: "sig",
			Certificates: []*x509.Certificate{key.cert}})
	}
	return set
}

// RotateSigningKey has the login service sign with a new key, as it does daily. The old keys stay
// published unless retire is set.
func (s *Sim) RotateSigningKey(retire bool) error {
	if err := s.login.keys.rotate(); err != nil {
		return err
	}
	if retire {
		s.login.keys.forget()
	}
	s.login.forgetVerified()
	s.post.forgetTokens()
	return nil
}
