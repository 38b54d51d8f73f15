package graph_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/graph"
)

func TestCredentials(t *testing.T) {
	sim, c := simulated(t)
	list, err := c.Credentials(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, graph.CredentialSecret, list[0].Kind)
	require.True(t, list[0].InUse)
	require.WithinDuration(t, time.Now().AddDate(1, 0, 0), list[0].Expires, time.Minute)

	sim.Consent([]string{"User.Read.All"}, nil)
	require.NoError(t, c.Verify(t.Context()))
	_, err = c.Credentials(t.Context())
	require.True(t, graph.IsKind(err, graph.ConsentMissing), "%v", err)
}

func TestCredentialsOfACertificate(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	cert := certificate(t, key)
	file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	file = append(file, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})...)
	sim, c := simulated(t, func(cfg *graph.Config) { cfg.Certificate = func() ([]byte, error) { return file, nil } })
	sim.RegisterCertificate(cert)
	used := func(list []graph.Credential) (n int) {
		for _, x := range list {
			if x.InUse {
				n++
				require.Equal(t, graph.CredentialCertificate, x.Kind)
				require.Equal(t, cert.NotAfter.UTC(), x.Expires)
			}
		}
		return n
	}
	list, err := c.Credentials(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, used(list))
	require.Len(t, list, 3, "the secret, Entra's certificate, and ours, which Entra does not name here")

	// Without the permission the file still says when it ends.
	sim.Consent([]string{"User.Read.All"}, nil)
	require.NoError(t, c.Verify(t.Context()))
	list, err = c.Credentials(t.Context())
	require.True(t, graph.IsKind(err, graph.ConsentMissing), "%v", err)
	require.Equal(t, 1, used(list))
}
