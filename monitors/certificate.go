package monitors

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // only an identifier; Graph names certificates by it too
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// certificateBits is the least that Graph takes (2048 to 4096, learn:change-notifications-with-resource-data);
	// each notification costs one private operation, which is several times as dear with more.
	certificateBits = 2048
	// certificateLife is long because nobody checks it: neither issuer nor expiry matter to Graph (same page).
	certificateLife = 5 * 365 * 24 * time.Hour
	// certificatesKept is the present certificate and the one before, which notifications may still cite.
	certificatesKept = 2
	certificatesKey  = "certificates"
)

// certificates is the stored form: the last one is used for new subscriptions.
type certificates struct {
	Certificates []certificate `json:"certificates"`
}

type certificate struct {
	ID      string    `json:"id"`
	DER     []byte    `json:"der"`
	Key     []byte    `json:"key"` // PKCS#8, sealed
	Created time.Time `json:"created"`

	private *rsa.PrivateKey
}

// loadCertificates reads the account's certificates, and makes the first one. A certificate whose key
// cannot be opened (another master key) is of no use and left out.
func (m *Manager) loadCertificates(ctx context.Context) error {
	for try := 0; ; try++ {
		certs, rev, err := m.storedCertificates(ctx)
		if err != nil {
			return err
		}
		if len(certs) > 0 {
			m.useCertificates(certs)
			return nil
		}
		err = m.addCertificate(ctx, nil, rev)
		if err == nil || !errors.Is(err, ErrConflict) || try == 3 {
			return err
		}
	}
}

// RotateCertificate makes a new encryption certificate for new subscriptions. The one before stays, for
// what is still encrypted under it; an older one goes. Existing subscriptions keep theirs until they are
// made anew.
func (m *Manager) RotateCertificate(ctx context.Context) error {
	certs, rev, err := m.storedCertificates(ctx)
	if err != nil {
		return err
	}
	return m.addCertificate(ctx, certs, rev)
}

func (m *Manager) storedCertificates(ctx context.Context) ([]certificate, uint64, error) {
	e, err := m.cfg.Store.Get(ctx, m.cfg.Account, certificatesKey)
	if errors.Is(err, ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("monitors: read the encryption certificates: %w", err)
	}
	var stored certificates
	if err := json.Unmarshal(e.Value, &stored); err != nil {
		m.log.Error("stored encryption certificates cannot be read, a new one is made", "error", err)
		return nil, e.Revision, nil
	}
	var usable []certificate
	for _, c := range stored.Certificates {
		if c.private, err = m.openKey(c); err != nil {
			m.log.Error("an encryption certificate's key cannot be opened, it is given up", "certificate", c.ID, "error", err)
			continue
		}
		usable = append(usable, c)
	}
	return usable, e.Revision, nil
}

func (m *Manager) openKey(c certificate) (*rsa.PrivateKey, error) {
	der, err := m.cfg.Sealer.Open(c.Key, m.certificateContext(c.ID))
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	return private, nil
}

func (m *Manager) certificateContext(id string) []byte {
	return []byte("monitors/" + m.cfg.Account + "/certificate/" + id)
}

func (m *Manager) addCertificate(ctx context.Context, certs []certificate, rev uint64) error {
	c, err := m.makeCertificate()
	if err != nil {
		return fmt.Errorf("monitors: make an encryption certificate: %w", err)
	}
	certs = append(certs, c)
	certs = certs[max(0, len(certs)-certificatesKept):]
	value, err := json.Marshal(certificates{Certificates: certs})
	if err != nil {
		return fmt.Errorf("monitors: encode the encryption certificates: %w", err)
	}
	if _, err := m.cfg.Store.Put(ctx, m.cfg.Account, certificatesKey, value, rev); err != nil {
		return fmt.Errorf("monitors: store an encryption certificate: %w", err)
	}
	m.log.Info("made an encryption certificate", "certificate", c.ID)
	m.useCertificates(certs)
	return nil
}

func (m *Manager) makeCertificate() (certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, certificateBits)
	if err != nil {
		return certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "presence-bridge " + m.cfg.Account},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(certificateLife), // a day, for clocks that differ
		KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return certificate{}, err
	}
	sum := sha1.Sum(der) //nolint:gosec // see the import
	c := certificate{ID: m.cfg.Account + "-" + hex.EncodeToString(sum[:8]), DER: der, Created: now, private: key}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return certificate{}, err
	}
	c.Key, err = m.cfg.Sealer.Seal(plain, m.certificateContext(c.ID))
	return c, err
}

func (m *Manager) useCertificates(certs []certificate) {
	m.certMu.Lock()
	defer m.certMu.Unlock()
	m.certs = certs
}

// DecryptionKey is one of the account's encryption certificates.
type DecryptionKey struct {
	Certificate []byte // DER
	Private     *rsa.PrivateKey
}

// DecryptionKeys are the account's encryption certificates and their keys, by certificate id: what package
// notify decrypts with. Empty before [Manager.Prepare]. The map is the caller's.
func (m *Manager) DecryptionKeys() map[string]DecryptionKey {
	m.certMu.Lock()
	defer m.certMu.Unlock()
	out := make(map[string]DecryptionKey, len(m.certs))
	for _, c := range m.certs {
		out[c.ID] = DecryptionKey{Certificate: c.DER, Private: c.private}
	}
	return out
}

// certificate is the one for new subscriptions.
func (m *Manager) certificate() certificate {
	m.certMu.Lock()
	defer m.certMu.Unlock()
	if len(m.certs) == 0 {
		return certificate{}
	}
	return m.certs[len(m.certs)-1]
}

// decrypts tells whether notifications under this certificate can be read.
func (m *Manager) decrypts(id string) bool {
	m.certMu.Lock()
	defer m.certMu.Unlock()
	for _, c := range m.certs {
		if c.ID == id {
			return true
		}
	}
	return false
}
