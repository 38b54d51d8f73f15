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
	"slices"
	"time"
)

const (
	// certificateBits is the least that Graph takes (2048 to 4096, learn:change-notifications-with-resource-data);
	// each notification costs one private operation, which is several times as dear with more.
	certificateBits = 2048
	// certificateLife is long because nobody checks it: neither issuer nor expiry matter to Graph (same page).
	certificateLife = 5 * 365 * 24 * time.Hour
	// certificateRenewal is how long before its end a certificate is replaced.
	certificateRenewal = 30 * 24 * time.Hour
	// certificateGrace is how long a certificate is kept that no subscription names any more: Graph tries to deliver a
	// notification for 4 h (learn:change-notifications-delivery-webhooks).
	certificateGrace  = 5 * time.Hour
	certificatesEvery = 20 * time.Minute
	certificatesKey   = "certificates"
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
	// Unused is since when no subscription names it; zero for the present one, and while one does.
	Unused time.Time `json:"unused,omitzero"`

	private *rsa.PrivateKey // nil: no key of ours opens it
}

// ends is when the certificate expires, as it says itself. Nothing depends on it but its replacement.
func (c certificate) ends() time.Time {
	parsed, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return c.Created.Add(certificateLife)
	}
	return parsed.NotAfter
}

// loadCertificates reads the account's certificates, and makes the first one. A certificate whose key
// cannot be opened (another master key) is of no use, but stays stored: its key may be back later.
func (m *Manager) loadCertificates(ctx context.Context) error {
	m.certStore.Lock()
	defer m.certStore.Unlock()
	for try := 0; ; try++ {
		certs, rev, err := m.storedCertificates(ctx)
		if err != nil {
			return err
		}
		if present(certs).private != nil {
			m.useCertificates(certs)
			return nil
		}
		err = m.addCertificate(ctx, certs, rev)
		if err == nil || !errors.Is(err, ErrConflict) || try == 3 {
			return err
		}
	}
}

// CertificateRotation says what follows from [Manager.RotateCertificate].
type CertificateRotation struct {
	ID            string    // of the new certificate
	Subscriptions int       // that are to be made anew with it
	Until         time.Time // by when they are, unless Graph refuses
}

// RotateCertificate makes a new encryption certificate for new subscriptions. Existing ones are made anew with it,
// spread over [Config].RotateOver. The certificates before go on decrypting until no subscription names them, and
// as long after that as Graph may repeat a notification.
func (m *Manager) RotateCertificate(ctx context.Context) (CertificateRotation, error) {
	m.certStore.Lock()
	defer m.certStore.Unlock()
	certs, rev, err := m.storedCertificates(ctx)
	if err != nil {
		return CertificateRotation{}, err
	}
	if err := m.addCertificate(ctx, certs, rev); err != nil {
		return CertificateRotation{}, err
	}
	n, until := m.outdate()
	return CertificateRotation{ID: m.certificate().ID, Subscriptions: n, Until: until}, nil
}

// keepCertificates replaces the certificate before it expires, has subscriptions with an older one made anew, and
// forgets those that nothing needs any more.
func (m *Manager) keepCertificates(ctx context.Context) error {
	for failures := 0; ; {
		wait := certificatesEvery
		if err := m.tendCertificates(ctx, time.Now()); err != nil && ctx.Err() == nil {
			failures++
			wait = backoff(failures, firstPause, certificatesEvery)
			m.log.Warn("the encryption certificates could not be looked after", "error", err, "retry_in", wait.String())
		} else {
			failures = 0
		}
		m.outdate()
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

func (m *Manager) tendCertificates(ctx context.Context, now time.Time) error {
	m.certStore.Lock()
	defer m.certStore.Unlock()
	certs, rev, err := m.storedCertificates(ctx)
	if err != nil {
		return err
	}
	if last := present(certs); last.private == nil || last.ends().Sub(now) < certificateRenewal {
		return m.addCertificate(ctx, certs, rev)
	}
	kept, changed := m.tidyCertificates(certs, now)
	if !changed {
		m.useCertificates(certs)
		return nil
	}
	return m.storeCertificates(ctx, kept, rev)
}

// tidyCertificates notes since when a certificate is not used, and leaves out those for which that is long enough.
func (m *Manager) tidyCertificates(certs []certificate, now time.Time) (kept []certificate, changed bool) {
	used := m.usedCertificates()
	used[present(certs).ID] = true
	for _, c := range certs {
		switch {
		case used[c.ID]:
			changed = changed || !c.Unused.IsZero()
			c.Unused = time.Time{}
		case c.Unused.IsZero():
			c.Unused, changed = now, true
		case now.Sub(c.Unused) >= certificateGrace:
			m.log.Info("forgot an encryption certificate that nothing uses", "certificate", c.ID)
			changed = true
			continue
		}
		kept = append(kept, c)
	}
	return kept, changed
}

// usedCertificates are those that subscriptions name, or may name.
func (m *Manager) usedCertificates() map[string]bool {
	m.mu.Lock()
	all := slices.Concat(m.active(), m.retired)
	m.mu.Unlock()
	used := map[string]bool{}
	for _, mo := range all {
		mo.mu.Lock()
		if s := mo.rec.Subscription; s != nil {
			used[s.Certificate] = true
		}
		if a := mo.rec.Asked; a != nil {
			used[a.Certificate] = true
		}
		mo.mu.Unlock()
	}
	return used
}

// outdate plans when the subscriptions are made anew that name an older certificate, or whose clientState was made
// with an older key: one after the other. It returns how many are waiting, and for how long.
func (m *Manager) outdate() (waiting int, until time.Time) {
	certificate, now := m.certificate().ID, time.Now()
	var old []*monitor
	for _, mo := range m.active() {
		if mo.outdated(certificate) {
			old = append(old, mo)
		}
	}
	for i, mo := range old {
		mo.mu.Lock()
		if mo.rotateAt.IsZero() {
			mo.rotateAt = now.Add(m.cfg.RotateOver * time.Duration(i) / time.Duration(len(old)))
			mo.wake()
		}
		if mo.rotateAt.After(until) {
			until = mo.rotateAt
		}
		mo.mu.Unlock()
	}
	return len(old), until
}

// outdated tells whether the monitor's subscription was made before a rotation.
func (mo *monitor) outdated(certificate string) bool {
	mo.mu.Lock()
	s := mo.rec.Subscription
	mo.mu.Unlock()
	if s == nil {
		return false
	}
	if s.Certificate != certificate {
		return true
	}
	current := mo.m.cfg.CurrentClientState
	if current == nil {
		return false
	}
	state, err := mo.m.cfg.Sealer.Open(s.ClientState, mo.sealContext(sealedClientState))
	return err == nil && !current(string(state))
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
	m.certMu.Lock()
	opened := m.certs
	m.certMu.Unlock()
	for i := range stored.Certificates {
		c := &stored.Certificates[i]
		if at := slices.IndexFunc(opened, func(o certificate) bool { return o.ID == c.ID && o.private != nil }); at >= 0 {
			c.private = opened[at].private // the id is a digest of the certificate
			continue
		}
		if c.private, err = m.openKey(*c); err != nil {
			m.log.Error("an encryption certificate's key cannot be opened", "certificate", c.ID, "error", err)
		}
	}
	return stored.Certificates, e.Revision, nil
}

// present is the newest certificate that can be used; the zero one if there is none.
func present(certs []certificate) certificate {
	for _, c := range slices.Backward(certs) {
		if c.private != nil {
			return c
		}
	}
	return certificate{}
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

func (m *Manager) certificateContext(id string) []byte { return certificateContext(m.cfg.Account, id) }

func (m *Manager) addCertificate(ctx context.Context, certs []certificate, rev uint64) error {
	c, err := m.makeCertificate()
	if err != nil {
		return fmt.Errorf("monitors: make an encryption certificate: %w", err)
	}
	if err := m.storeCertificates(ctx, append(certs, c), rev); err != nil {
		return err
	}
	m.log.Info("made an encryption certificate", "certificate", c.ID)
	return nil
}

func (m *Manager) storeCertificates(ctx context.Context, certs []certificate, rev uint64) error {
	x := resealer{sealer: m.cfg.Sealer, account: m.cfg.Account}
	x.certificates(certs)
	value, err := json.Marshal(certificates{Certificates: certs})
	if err != nil {
		return fmt.Errorf("monitors: encode the encryption certificates: %w", err)
	}
	if _, err := m.cfg.Store.Put(ctx, m.cfg.Account, certificatesKey, value, rev); err != nil {
		return fmt.Errorf("monitors: store the encryption certificates: %w", err)
	}
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

// useCertificates takes over what is stored. Whoever decrypts has the keys before a subscription is asked for with them.
func (m *Manager) useCertificates(certs []certificate) {
	m.certMu.Lock()
	same := slices.EqualFunc(m.certs, certs, func(a, b certificate) bool { return a.ID == b.ID && (a.private != nil) == (b.private != nil) })
	m.certMu.Unlock()
	if tell := m.cfg.OnCertificates; tell != nil && !same {
		tell(decryptionKeys(certs))
	}
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
	return decryptionKeys(m.certs)
}

func decryptionKeys(certs []certificate) map[string]DecryptionKey {
	out := make(map[string]DecryptionKey, len(certs))
	for _, c := range certs {
		if c.private != nil {
			out[c.ID] = DecryptionKey{Certificate: c.DER, Private: c.private}
		}
	}
	return out
}

// certificate is the one for new subscriptions.
func (m *Manager) certificate() certificate {
	m.certMu.Lock()
	defer m.certMu.Unlock()
	return present(m.certs)
}

// decrypts tells whether notifications under this certificate can be read.
func (m *Manager) decrypts(id string) bool {
	m.certMu.Lock()
	defer m.certMu.Unlock()
	return slices.ContainsFunc(m.certs, func(c certificate) bool { return c.ID == id && c.private != nil })
}
