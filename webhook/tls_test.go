package webhook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// pair makes a certificate and key in PEM, with a serial number to tell them apart.
func pair(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "bridge"}, DNSNames: []string{"bridge"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Duration(serial) * time.Hour).Truncate(time.Second)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(priv)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// tlsKit is a receiver with a certificate, whose clock the test moves.
type tlsKit struct {
	*kit
	certFile, keyFile string
	clock             time.Time
	log               bytes.Buffer
	dial              func() net.Conn
}

func newTLSKit(t *testing.T) *tlsKit {
	dir := t.TempDir()
	k := &tlsKit{certFile: filepath.Join(dir, "tls.crt"), keyFile: filepath.Join(dir, "tls.key"), clock: time.Now()}
	cert, key := pair(t, 1)
	k.write(t, cert, key)
	k.kit = newKit(t, func(c *Config) {
		c.CertificateFile, c.KeyFile = k.certFile, k.keyFile
		c.Log = slog.New(slog.NewTextHandler(&k.log, nil))
	})
	k.certs.now = func() time.Time { return k.clock }
	k.certs.checked = k.clock
	k.dial, _ = k.serve(t)
	return k
}

// write replaces the files, as certbot and Kubernetes do it: by renaming.
func (k *tlsKit) write(t *testing.T, cert, key []byte) {
	t.Helper()
	for file, data := range map[string][]byte{k.certFile: cert, k.keyFile: key} {
		if data == nil {
			continue
		}
		k.clock = k.clock.Add(certificateCheck)
		require.NoError(t, os.WriteFile(file+".new", data, 0o600))
		require.NoError(t, os.Chtimes(file+".new", k.clock, k.clock))
		require.NoError(t, os.Rename(file+".new", file))
	}
}

// serial makes a handshake and says which certificate was shown.
func (k *tlsKit) serial(t *testing.T) int64 {
	t.Helper()
	c := tls.Client(k.dial(), &tls.Config{InsecureSkipVerify: true})
	defer c.Close()
	require.NoError(t, c.Handshake())
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestTLS(t *testing.T) {
	k := newTLSKit(t)
	c := tls.Client(k.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	body := envelope(rich(newState(t, "contoso")))
	_, err := io.WriteString(c, head(notifyURL, len(body))+body)
	require.NoError(t, err)
	require.Equal(t, http.StatusAccepted, answer(t, c).StatusCode)
	require.Equal(t, "http/1.1", c.ConnectionState().NegotiatedProtocol)
	_ = c.Close()

	old := tls.Client(k.dial(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11})
	require.Error(t, old.Handshake())
	_ = old.Close()
}

func TestCertificateIsReloaded(t *testing.T) {
	k := newTLSKit(t)
	require.EqualValues(t, 1, k.serial(t))
	before := testutil.ToFloat64(k.metrics.certificateExpiry)

	cert, key := pair(t, 2)
	k.write(t, cert, key)
	require.EqualValues(t, 2, k.serial(t))
	require.InDelta(t, before+3600, testutil.ToFloat64(k.metrics.certificateExpiry), 5)
	require.Contains(t, k.log.String(), "certificate reloaded")

	// Half of a new pair keeps the old one in use until the other half has come.
	cert, key = pair(t, 3)
	k.write(t, cert, nil)
	require.EqualValues(t, 2, k.serial(t))
	require.Contains(t, k.log.String(), "the old one stays in use")
	require.Contains(t, k.log.String(), k.certFile)
	k.write(t, nil, key)
	require.EqualValues(t, 3, k.serial(t))

	// And so do garbage and absence.
	k.write(t, []byte("garbage"), nil)
	require.EqualValues(t, 3, k.serial(t))
	require.NoError(t, os.Remove(k.keyFile))
	k.clock = k.clock.Add(certificateCheck)
	require.EqualValues(t, 3, k.serial(t))
	cert, key = pair(t, 4)
	k.write(t, cert, key)
	require.EqualValues(t, 4, k.serial(t))
}

func TestCertificateIsNotReadOnEveryHandshake(t *testing.T) {
	k := newTLSKit(t)
	cert, key := pair(t, 2)
	k.write(t, cert, key)
	k.clock = k.certs.checked.Add(certificateCheck - 1)
	require.EqualValues(t, 1, k.serial(t))
	k.clock = k.certs.checked.Add(certificateCheck)
	require.EqualValues(t, 2, k.serial(t))
}
