package graph

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"software.sslmate.com/src/go-pkcs12"
)

// SecretFile reads a secret from a file whenever it is needed; space around it is taken off.
func SecretFile(path string) func() (string, error) {
	return func() (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		return strings.TrimSpace(string(b)), nil
	}
}

// CertificateFile reads a PEM or PKCS#12 file whenever it is needed.
func CertificateFile(path string) func() ([]byte, error) {
	return func() ([]byte, error) { return os.ReadFile(path) }
}

// identity is how the application proves itself. It is read anew for every token.
type identity struct {
	secret      func() (string, error)
	certificate func() ([]byte, error)
	password    func() (string, error)
	own         func() (Own, error) // see [Client.As]
}

// proof is an identity as it was read: a secret, or a certificate with its key.
type proof struct {
	fingerprint  [32]byte
	secret       string
	certificates []*x509.Certificate // the key's own first
	key          *rsa.PrivateKey
}

// read reads the identity. Errors say which key of the configuration is meant and hold nothing of its content.
func (i identity) read() (proof, error) {
	if p, own, err := i.ownProof(); own || err != nil {
		return p, err
	}
	if i.certificate == nil {
		secret, err := i.secret()
		if err != nil {
			return proof{}, fmt.Errorf("client_secret_file: %w", err)
		}
		if secret == "" {
			return proof{}, errors.New("client_secret_file: it is empty: put the secret's value into it")
		}
		return proof{fingerprint: sha256.Sum256([]byte("secret " + secret)), secret: secret}, nil
	}
	data, err := i.certificate()
	if err != nil {
		return proof{}, fmt.Errorf("certificate_file: %w", err)
	}
	password := ""
	if i.password != nil {
		if password, err = i.password(); err != nil {
			return proof{}, fmt.Errorf("certificate_password_file: %w", err)
		}
	}
	chain, key, err := parseCertificate(data, password)
	if err != nil {
		return proof{}, fmt.Errorf("certificate_file: %w", err)
	}
	return proof{fingerprint: sha256.Sum256(append([]byte("certificate "), data...)), certificates: chain, key: key}, nil
}

// parseCertificate reads a key and its certificate from PEM or PKCS#12. The chain begins with the key's own.
func parseCertificate(data []byte, password string) ([]*x509.Certificate, *rsa.PrivateKey, error) {
	var chain []*x509.Certificate
	var key any
	var err error
	if block, _ := pem.Decode(data); block != nil {
		chain, key, err = parsePEM(data)
	} else {
		var leaf *x509.Certificate
		var rest []*x509.Certificate
		key, leaf, rest, err = pkcs12.DecodeChain(data, password)
		chain = append([]*x509.Certificate{leaf}, rest...)
		if errors.Is(err, pkcs12.ErrIncorrectPassword) {
			err = errors.New("the password does not open it")
		} else if err != nil {
			err = errors.New("neither PEM nor a PKCS#12 file with one key and its certificate")
		}
	}
	if err != nil {
		return nil, nil, err
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, nil, errors.New("no RSA private key in it: Entra takes RSA certificates")
	}
	for i, c := range chain {
		if public, ok := c.PublicKey.(*rsa.PublicKey); ok && public.Equal(private.Public()) {
			chain[0], chain[i] = chain[i], chain[0]
			return chain, private, nil
		}
	}
	return nil, nil, errors.New("no certificate of its private key in it: put both into the file")
}

// parsePEM reads all certificates and the one key of a PEM file.
func parsePEM(data []byte) (chain []*x509.Certificate, key any, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return chain, key, nil
		}
		switch block.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("a certificate cannot be read: %w", err)
			}
			chain = append(chain, c)
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, nil, errors.New("the PEM key is encrypted: use an unencrypted one, or PKCS#12 with a password")
		}
		if err != nil {
			return nil, nil, errors.New("the private key cannot be read")
		}
	}
}

// secrets are what must be kept out of errors.
func (p proof) secrets() []string {
	if p.secret == "" {
		return nil
	}
	return []string{p.secret}
}

// addTo adds the proof to a request for the token endpoint: the secret, or an assertion signed with the
// certificate's key (entra: certificate-credentials), good for ten minutes and for this endpoint only.
func (p proof) addTo(form url.Values, clientID, audience string) error {
	if p.key == nil {
		form.Set("client_secret", p.secret)
		return nil
	}
	now := time.Now()
	// The page has aud as one string; the library's own claims would write a list of one.
	assertion := jwt.NewWithClaims(jwt.SigningMethodPS256, jwt.MapClaims{
		"aud": audience, "iss": clientID, "sub": clientID, "jti": uuid.NewString(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	})
	thumbprint := sha256.Sum256(p.certificates[0].Raw)
	assertion.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(thumbprint[:])
	signed, err := assertion.SignedString(crypto.PrivateKey(p.key))
	if err != nil {
		return fmt.Errorf("sign client assertion: %w", err)
	}
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", signed)
	return nil
}

// readIdentity reads the application's proof, as an [Error] of op.
func (c *Client) readIdentity(op string) (proof, *Error) {
	p, err := c.identity.read()
	if err != nil {
		return proof{}, &Error{Kind: Unauthorised, Op: op, Code: "credential_unreadable", Message: clean(err.Error(), 300), Err: err, safe: true}
	}
	return p, nil
}

// prepareApp is the grant of the app-only token.
func (c *Client) prepareApp(context.Context) (grant, *Error) {
	p, e := c.readIdentity(opAppToken)
	if e != nil {
		return grant{}, e
	}
	return grant{fingerprint: p.fingerprint, fetch: func(ctx context.Context) (token, *Error) {
		t, e := c.fetchApp(ctx, p)
		c.metrics.token("app", e)
		return t, e
	}}, nil
}
