package cli

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"software.sslmate.com/src/go-pkcs12"
)

// TestDecodeWithPKCS12 opens a key file with a password, given in either way, and refuses a wrong one.
func TestDecodeWithPKCS12(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "presence"}, NotAfter: time.Now().Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pfx, err := pkcs12.Modern2023.Encode(key, cert, nil, "a password")
	require.NoError(t, err)
	file := write(t, filepath.Join(t.TempDir(), "key.pfx"), string(pfx))
	body, err := json.Marshal(map[string]any{"validationTokens": []string{unsignedToken()}, "value": []any{
		sealed(t, &key.PublicKey, `{"id":"`+someone+`","availability":"DoNotDisturb","activity":"Presenting"}`),
	}})
	require.NoError(t, err)
	decode := func(args ...string) result {
		return runWith(t, string(body), append([]string{"notification", "decode", "--key", file}, args...)...)
	}
	r := decode("--password", "a password")
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.out, "DoNotDisturb/Presenting", "an expired certificate still decrypts")
	r = decode("--password-file", write(t, filepath.Join(t.TempDir(), "password"), "a password\n"))
	require.Zero(t, r.code, r.err)
	for _, args := range [][]string{{"--password", "another one"}, nil} {
		r = decode(args...)
		require.Equal(t, 1, r.code)
		require.Contains(t, r.err, file)
		require.Contains(t, r.err, "password")
		require.NotContains(t, r.err, "another one")
		require.Empty(t, r.out)
	}
	require.Contains(t, bad(t, "notification", "decode", "--key", file+"-absent"), file+"-absent")
	require.Contains(t, bad(t, "notification", "decode", "--key", file, "--password-file", file+"-absent"), file+"-absent")
}
