package keyfile

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"

	"presencebridge/graph/notify"
)

type material struct {
	key         *rsa.PrivateKey
	cert, other *x509.Certificate
	pkcs1       []byte
	pkcs8       []byte
}

func certificate(t testing.TB, key *rsa.PrivateKey) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func make1(t testing.TB) material {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return material{key: key, cert: certificate(t, key), other: certificate(t, other), pkcs1: x509.MarshalPKCS1PrivateKey(key), pkcs8: pkcs8}
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// legacyPEM encrypts a key as OpenSSL did for PKCS 1 (RFC 1423), with the password "rich".
func legacyPEM(t *testing.T, der []byte) string {
	t.Helper()
	b, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", der, []byte("rich"), x509.PEMCipherAES256) //nolint:staticcheck // files like this exist
	require.NoError(t, err)
	return string(pem.EncodeToMemory(b))
}

func TestParse(t *testing.T) {
	m := make1(t)
	pfx := func(e *pkcs12.Encoder, password string) string {
		b, err := e.Encode(m.key, m.cert, []*x509.Certificate{m.other}, password)
		require.NoError(t, err)
		return string(b)
	}
	encrypted, err := pkcs8.MarshalPrivateKey(m.key, []byte("rich"), nil)
	require.NoError(t, err)
	own, other := block("CERTIFICATE", m.cert.Raw), block("CERTIFICATE", m.other.Raw)
	for _, c := range []struct {
		name, data, password string
		cert                 bool
	}{
		{"PEM PKCS 1", block("RSA PRIVATE KEY", m.pkcs1), "", false},
		{"PEM PKCS 8", block("PRIVATE KEY", m.pkcs8), "", false},
		{"PEM PKCS 1 under the other name", block("PRIVATE KEY", m.pkcs1), "", false},
		{"with text and BOM", "\xef\xbb\xbfBag Attributes\r\n  localKeyID: 01\r\n" + block("PRIVATE KEY", m.pkcs8), "", false},
		{"certificate after", block("PRIVATE KEY", m.pkcs8) + other + own, "", true},
		{"certificate before", own + block("PRIVATE KEY", m.pkcs8), "", true},
		{"certificate of another key", block("PRIVATE KEY", m.pkcs8) + other, "", false},
		{"broken certificate beside", block("CERTIFICATE", []byte("x")) + block("PRIVATE KEY", m.pkcs8), "", false},
		{"the same key twice", block("PRIVATE KEY", m.pkcs8) + block("RSA PRIVATE KEY", m.pkcs1), "", false},
		{"DER PKCS 1", string(m.pkcs1), "", false},
		{"DER PKCS 8", string(m.pkcs8), "", false},
		{"DER in base64", base64.StdEncoding.EncodeToString(m.pkcs8) + "\n", "", false},
		{"PKCS 12 modern", pfx(pkcs12.Modern2023, "rich"), "rich", true},
		{"PKCS 12 legacy", pfx(pkcs12.LegacyDES, "rich"), "rich", true},
		{"PKCS 12 without password", pfx(pkcs12.LegacyRC2, ""), "", true},
		{"PKCS 12 in base64", base64.StdEncoding.EncodeToString([]byte(pfx(pkcs12.Modern, "rich"))), "rich", true},
		{"PEM PKCS 8, encrypted", block("ENCRYPTED PRIVATE KEY", encrypted), "rich", false},
		{"DER PKCS 8, encrypted", string(encrypted), "rich", false},
		{"PEM PKCS 1, encrypted", legacyPEM(t, m.pkcs1), "rich", false},
		{"password for a plain key", block("PRIVATE KEY", m.pkcs8), "unused", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := Parse([]byte(c.data), c.password)
			require.NoError(t, err)
			assert.True(t, m.key.Equal(k.Private))
			assert.Equal(t, c.cert, k.Certificate != nil)
			d := k.Decryption("c1")
			assert.Equal(t, "c1", d.ID)
			if c.cert {
				assert.Equal(t, notify.Thumbprint(m.cert.Raw), d.Thumbprint)
				assert.Equal(t, m.cert.NotAfter, d.NotAfter)
			}
			_, err = notify.NewKeyring(d)
			require.NoError(t, err)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	m := make1(t)
	pfx, err := pkcs12.Modern.Encode(m.key, m.cert, nil, "rich")
	require.NoError(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ecDER, err := x509.MarshalECPrivateKey(ec)
	require.NoError(t, err)
	ec8, err := x509.MarshalPKCS8PrivateKey(ec)
	require.NoError(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	ed8, err := x509.MarshalPKCS8PrivateKey(ed)
	require.NoError(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	another, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	encrypted, err := pkcs8.MarshalPrivateKey(m.key, []byte("rich"), nil)
	require.NoError(t, err)

	for _, c := range []struct {
		name, data, password string
		want                 error
		text                 string
	}{
		{"empty", "", "", ErrUnknown, "PEM"},
		{"text", "hello", "", ErrUnknown, ""},
		{"JSON", `{"kty":"RSA"}`, "", ErrUnknown, ""},
		{"certificate alone, PEM", block("CERTIFICATE", m.cert.Raw), "", ErrNoKey, "1 certificates"},
		{"certificate alone, DER", string(m.cert.Raw), "", ErrNoKey, "certificate"},
		{"public key", block("PUBLIC KEY", []byte("x")), "", ErrNoKey, ""},
		{"EC", block("EC PRIVATE KEY", ecDER), "", ErrNotRSA, "elliptic"},
		{"EC in PKCS 8", block("PRIVATE KEY", ec8), "", ErrNotRSA, "P-256"},
		{"EC in DER", string(ec8), "", ErrNotRSA, "RSA"},
		{"EC in SEC 1 DER", string(ecDER), "", ErrNotRSA, "elliptic"},
		{"Ed25519", block("PRIVATE KEY", ed8), "", ErrNotRSA, "Ed25519"},
		{"too small", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small)), "", ErrNotRSA, "1024"},
		{"encrypted PKCS 8, broken", block("ENCRYPTED PRIVATE KEY", []byte("x")), "p", ErrPassword, "openssl pkey"},
		{"encrypted PKCS 8, no password", block("ENCRYPTED PRIVATE KEY", encrypted), "", ErrPassword, "openssl pkey"},
		{"encrypted PKCS 8, wrong password", string(encrypted), "poor", ErrPassword, "openssl pkey"},
		{"encrypted PKCS 1, no password", legacyPEM(t, m.pkcs1), "", ErrPassword, "openssl pkey"},
		{"encrypted PKCS 1, wrong password", legacyPEM(t, m.pkcs1), "poor", ErrPassword, "openssl pkey"},
		{"OpenSSH", block("OPENSSH PRIVATE KEY", []byte("x")), "", ErrUnknown, "ssh-keygen"},
		{"broken key", block("PRIVATE KEY", []byte("x")), "", ErrUnknown, "cannot be read"},
		{"PKCS 12, no password", string(pfx), "", ErrPassword, ""},
		{"PKCS 12, wrong password", string(pfx), "poor", ErrPassword, ""},
		{"PKCS 12, cut", string(pfx[:len(pfx)-40]), "rich", nil, ""},
		{"PKCS 12, indefinite length", "\x30\x80\x02\x01\x03\x30\x80", "rich", nil, "openssl pkcs12"},
		{"two keys", block("PRIVATE KEY", m.pkcs8) + block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(another)), "", nil, "several private keys"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := Parse([]byte(c.data), c.password)
			require.Error(t, err)
			assert.Nil(t, k.Private)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			assert.ErrorContains(t, err, c.text)
		})
	}
}

// TestEveryWrongPassword tries so many that some leave valid padding behind.
func TestEveryWrongPassword(t *testing.T) {
	data := []byte(legacyPEM(t, make1(t).pkcs1))
	for i := range 2000 {
		_, err := Parse(data, strconv.Itoa(i))
		require.ErrorIs(t, err, ErrPassword)
	}
}

func TestLoad(t *testing.T) {
	m := make1(t)
	file := filepath.Join(t.TempDir(), "key.anything")
	require.NoError(t, os.WriteFile(file, m.pkcs8, 0o600))
	k, err := Load(file, "")
	require.NoError(t, err)
	assert.True(t, m.key.Equal(k.Private))

	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	_, err = Load(file, "")
	require.ErrorContains(t, err, file)
	require.NoError(t, os.WriteFile(file, make([]byte, maxFileBytes+1), 0o600))
	_, err = Load(file, "")
	require.ErrorContains(t, err, "too many")
	_, err = Load(file+".missing", "")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzParse(f *testing.F) {
	m := make1(f)
	for _, s := range [][]byte{m.pkcs1, m.pkcs8, m.cert.Raw, []byte(block("PRIVATE KEY", m.pkcs8)), []byte(block("CERTIFICATE", m.cert.Raw)), {0x30, 0x80, 2, 1, 3}} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if sniff(data) == formPKCS12 {
			t.Skip("its number of rounds may be any, and then takes its time")
		}
		k, err := Parse(data, "")
		require.Equal(t, err == nil, k.Private != nil)
	})
}
