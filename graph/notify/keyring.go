package notify

import (
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // a thumbprint is the SHA-1 of the certificate by definition
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// The sizes of RSA keys that Graph accepts for an encryption certificate, in bits
// (learn:change-notifications-with-resource-data, "Creating subscriptions").
const (
	MinKeyBits = 2048
	MaxKeyBits = 4096
)

// Certificate is one decryption key and the names under which a notification cites it.
type Certificate struct {
	// ID is the encryptionCertificateId that subscriptions were made with.
	ID string
	// Thumbprint is the hex SHA-1 of the certificate's DER, in any casing; may be empty.
	Thumbprint string
	// Key decrypts. RSA, 2048 to 4096 bits.
	Key *rsa.PrivateKey
	// NotAfter is for display. An expired certificate still decrypts: Graph does not look at
	// the dates, and a subscription outlives nothing.
	NotAfter time.Time
}

// NewCertificate makes a Certificate from its DER and private key, and checks that they belong
// together.
func NewCertificate(id string, der []byte, key *rsa.PrivateKey) (Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Certificate{}, fmt.Errorf("certificate %q: %w", id, err)
	}
	if key == nil || !key.PublicKey.Equal(cert.PublicKey) {
		return Certificate{}, fmt.Errorf("certificate %q: the private key is not the one of this certificate", id)
	}
	c := Certificate{ID: id, Thumbprint: Thumbprint(der), Key: key, NotAfter: cert.NotAfter}
	if err := c.check(); err != nil {
		return Certificate{}, err
	}
	return c, nil
}

// Thumbprint is the hex SHA-1 of a certificate's DER, as Graph writes it in
// encryptionCertificateThumbprint.
func Thumbprint(der []byte) string {
	sum := sha1.Sum(der) //nolint:gosec // see the import
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func (c *Certificate) check() error {
	switch {
	case c.Key == nil:
		return fmt.Errorf("certificate %q: no private key", c.ID)
	case c.Key.N.BitLen() < MinKeyBits || c.Key.N.BitLen() > MaxKeyBits:
		return fmt.Errorf("certificate %q: an RSA key of %d bits; Graph takes %d to %d", c.ID, c.Key.N.BitLen(), MinKeyBits, MaxKeyBits)
	}
	if err := c.Key.Validate(); err != nil {
		return fmt.Errorf("certificate %q: %w", c.ID, err)
	}
	return nil
}

// Keyring holds the decryption keys of one account: several at a time, because old keys are needed
// until no notification cites them. It is safe for concurrent use; a lookup takes no lock.
type Keyring struct {
	current atomic.Pointer[keys]
}

type keys struct {
	byID         map[string]*Certificate
	byThumbprint map[string]*Certificate
}

// NewKeyring makes a keyring that holds the given certificates.
func NewKeyring(certs ...Certificate) (*Keyring, error) {
	k := &Keyring{}
	if err := k.Set(certs...); err != nil {
		return nil, err
	}
	return k, nil
}

// Set replaces the certificates. On an error the old ones stay. Lookups that are under way finish
// with what they found.
func (k *Keyring) Set(certs ...Certificate) error {
	next := &keys{byID: make(map[string]*Certificate), byThumbprint: make(map[string]*Certificate)}
	var errs []error
	for _, c := range certs {
		if c.ID == "" && c.Thumbprint == "" {
			errs = append(errs, errors.New("a certificate has neither id nor thumbprint: nothing could select it"))
			continue
		}
		if err := c.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		c.Key.Precompute()
		if c.ID != "" {
			if old := next.byID[c.ID]; old != nil && !old.Key.Equal(c.Key) {
				errs = append(errs, fmt.Errorf("certificate %q: the id is there twice, with different keys", c.ID))
				continue
			}
			next.byID[c.ID] = &c
		}
		if t := normalThumbprint(c.Thumbprint); t != "" {
			next.byThumbprint[t] = &c
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	k.current.Store(next)
	return nil
}

// find returns the certificate that an item cites, by id, else by thumbprint; nil when there is none.
func (k *Keyring) find(id, thumbprint string) (cert *Certificate, byThumbprint bool) {
	current := k.current.Load()
	if current == nil {
		return nil, false
	}
	if id != "" {
		if c := current.byID[id]; c != nil {
			return c, false
		}
	}
	if t := normalThumbprint(thumbprint); t != "" {
		if c := current.byThumbprint[t]; c != nil {
			return c, true
		}
	}
	return nil, false
}

func normalThumbprint(t string) string {
	return strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(t))
}
