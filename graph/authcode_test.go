package graph_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/graph"
	"presencebridge/graph/graphsim"
)

const redirectURI = "https://bridge.example.com/authorize/callback"

var signInTried = graph.AuthCode{State: "the-state", Verifier: strings.Repeat("verifier-", 6), RedirectURI: redirectURI}

// browse opens the sign-in page as a person would, who says who they are, and returns what the browser is sent
// back with.
func browse(t *testing.T, sim *graphsim.Sim, address string, says url.Values) url.Values {
	t.Helper()
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(sim.CAPEM()))
	browser := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer browser.CloseIdleConnections()
	if len(says) > 0 {
		address += "&" + says.Encode()
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	resp, err := browser.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusFound, resp.StatusCode)
	back, err := resp.Location()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(back.String(), redirectURI+"?"))
	return back.Query()
}

func TestAuthCodeURL(t *testing.T) {
	_, c := simulated(t)
	u, err := url.Parse(c.AuthCodeURL(signInTried, "presence1@contoso.example"))
	require.NoError(t, err)
	q := u.Query()
	require.Equal(t, "presence1@contoso.example", q.Get("login_hint"))
	require.Equal(t, "S256", q.Get("code_challenge_method"))
	require.Equal(t, "select_account", q.Get("prompt"))
	require.Equal(t, redirectURI, q.Get("redirect_uri"))
	require.NotContains(t, u.String(), signInTried.Verifier)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", signInTried, signInTried, signInTried), "verifier")
	require.NotContains(t, c.AuthCodeURL(signInTried, ""), "login_hint")
}

func TestRedeemCode(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	cert := certificate(t, key)
	file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	file = append(file, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})...)
	for name, change := range map[string]func(*graph.Config){
		"secret":      func(*graph.Config) {},
		"certificate": func(cfg *graph.Config) { cfg.Certificate = func() ([]byte, error) { return file, nil } },
	} {
		t.Run(name, func(t *testing.T) {
			sim, c := simulated(t, change)
			sim.RegisterCertificate(cert)
			back := browse(t, sim, c.AuthCodeURL(signInTried, "presence1@contoso.example"), nil)
			require.Equal(t, signInTried.State, back.Get("state"))
			a, err := c.RedeemCode(t.Context(), signInTried, back.Get("code"))
			require.NoError(t, err)
			require.Equal(t, "presence1@contoso.example", a.UPN)
			require.Contains(t, a.Scopes, "Presence.Read.All")
			d := c.Delegated(a.UPN, &store{token: a.RefreshToken})
			require.NoError(t, d.Refresh(t.Context()))

			var failed *graph.AuthorizationError
			_, err = c.RedeemCode(t.Context(), signInTried, back.Get("code"))
			require.ErrorAs(t, err, &failed)
			require.Equal(t, "AADSTS54005", failed.Code)
			require.Contains(t, failed.Text, "used already")
			require.NotContains(t, err.Error(), back.Get("code"))
		})
	}
}

func TestRedeemCodeOfAnotherSignIn(t *testing.T) {
	sim, c := simulated(t)
	var failed *graph.AuthorizationError
	redeem := func(with graph.AuthCode, code string) {
		_, err := c.RedeemCode(t.Context(), with, code)
		require.ErrorAs(t, err, &failed)
		require.Equal(t, graph.AuthorizationFailed, failed.State)
	}
	other := signInTried
	other.Verifier = strings.Repeat("another-", 6)
	redeem(other, browse(t, sim, c.AuthCodeURL(signInTried, ""), nil).Get("code"))
	require.Equal(t, "AADSTS501481", failed.Code)
	other = signInTried
	other.RedirectURI += "/else"
	redeem(other, browse(t, sim, c.AuthCodeURL(signInTried, ""), nil).Get("code"))
	require.Equal(t, "AADSTS50011", failed.Code)
	require.Contains(t, failed.Text, "/authorize/callback")
	redeem(signInTried, "made-up")
	sim.FailTokens("presence1@contoso.example", 53003)
	redeem(signInTried, browse(t, sim, c.AuthCodeURL(signInTried, ""), nil).Get("code"))
	require.Contains(t, failed.Text, "Conditional Access")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.RedeemCode(ctx, signInTried, "x")
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, context.Canceled)
}

func TestRefusedSignIn(t *testing.T) {
	sim, c := simulated(t)
	back := browse(t, sim, c.AuthCodeURL(signInTried, ""), url.Values{"deny": {"1"}})
	for _, tc := range []struct {
		word, description string
		state             graph.AuthorizationState
		code, text        string
	}{
		{back.Get("error"), back.Get("error_description"), graph.AuthorizationDeclined, "AADSTS65004", "declined"},
		{"access_denied", "", graph.AuthorizationDeclined, "access_denied", "declined"},
		{"access_denied", "AADSTS90094: admin consent", graph.AuthorizationFailed, "AADSTS90094", "Presence.Read.All"},
		{"consent_required", "AADSTS65001: no consent Trace ID: 1", graph.AuthorizationFailed, "AADSTS65001", "Presence.Read.All"},
		{"server_error", "who knows, anna@contoso.com", graph.AuthorizationFailed, "server_error", "who knows"},
		{"", "", graph.AuthorizationFailed, "no_code", "refused"},
	} {
		var e *graph.AuthorizationError
		require.ErrorAs(t, graph.RefusedSignIn(tc.word, tc.description), &e)
		require.Equal(t, tc.state, e.State)
		require.Equal(t, tc.code, e.Code)
		require.Contains(t, e.Text, tc.text)
		require.NotContains(t, e.Error(), "anna@")
	}
}

func FuzzRefusedSignIn(f *testing.F) {
	f.Add("access_denied", "AADSTS65004: User declined. Trace ID: 1")
	f.Add("", "\x00\xff")
	f.Fuzz(func(t *testing.T, word, description string) {
		err := graph.RefusedSignIn(word, description)
		require.Error(t, err)
		require.Less(t, len(err.Error()), 600)
		require.NotContains(t, err.Error(), "\n")
	})
}
