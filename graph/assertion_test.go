package graph

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The claims are written as the page has them (entra: certificate-credentials, "Assertion format"): aud is one string.
func TestClaimsOfAnAssertion(t *testing.T) {
	key, cert := testKey(t)
	const client, endpoint = "0f0c2f6e-0000-4000-8000-000000000001", "https://login.example.com/t/oauth2/v2.0/token"
	form := url.Values{}
	require.NoError(t, proof{key: key, certificates: []*x509.Certificate{cert}}.addTo(form, client, endpoint))
	parts := strings.Split(form.Get("client_assertion"), ".")
	require.Len(t, parts, 3)
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, json.Unmarshal(text, &claims))
	require.Equal(t, endpoint, claims["aud"])
	require.Equal(t, client, claims["iss"])
	require.Equal(t, client, claims["sub"])
	require.NotEmpty(t, claims["jti"])
	require.InDelta(t, 600, claims["exp"].(float64)-claims["nbf"].(float64), 0)
	require.InDelta(t, 0, claims["iat"].(float64)-claims["nbf"].(float64), 0)
}
