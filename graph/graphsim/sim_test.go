package graphsim

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/stretchr/testify/require"
)

// trusting is a client that trusts the tenant's authority.
func trusting(t *testing.T, s *Sim) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(s.CAPEM()))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestOverHTTPS takes one change all the way: real TLS both ways, real tokens, real encryption.
func TestOverHTTPS(t *testing.T) {
	b := newInbox(t)
	bridge := httptest.NewTLSServer(b)
	defer bridge.Close()
	roots := x509.NewCertPool()
	roots.AddCert(bridge.Certificate())
	s, err := Start(Config{Users: 20, Monitors: []string{"presence1"}, Delivery: Delivery{RootCAs: roots}})
	require.NoError(t, err)
	x := &tenant{s, t, trusting(t, s)}
	users := s.Users()
	r := b.request(users[0].ID, users[1].ID)
	r["notificationUrl"], r["lifecycleNotificationUrl"] = bridge.URL+"/graph/contoso/notifications", bridge.URL+"/graph/contoso/lifecycle"
	a := x.call("POST", "/v1.0/subscriptions", x.userToken(mon), r)
	require.Equal(t, 201, a.status, a.body)
	require.Equal(t, 200, x.set(x.appToken(), users[0].ID, InACall, "").status)
	require.Eventually(t, func() bool { return len(b.items()) == 1 }, waitAtMost, waitStep)
	require.Equal(t, []Pair{InACall}, b.pairs(users[0].ID))
	require.Eventually(t, func() bool { return s.Stats().Notifications.Waiting == 0 }, waitAtMost, waitStep)

	s.SetFaults(Faults{AppliedFailed: 1})
	cutOnce := false
	for range 20 {
		cutOnce = cutOnce || x.clear(x.appToken(), users[0].ID).err != nil
		s.SetFaults(None())
		require.Equal(t, 200, x.set(x.appToken(), users[0].ID, InACall, "").status)
		s.SetFaults(Faults{AppliedFailed: 1})
	}
	require.True(t, cutOnce, "a connection can break")
	require.NoError(t, s.Close())
	require.Error(t, x.call("GET", "/v1.0/users", "", nil).err)
	require.NoError(t, s.Close(), "twice is once")
}

// TestAzureIdentityAccepts has Microsoft's own client take tokens: with a secret and with a certificate.
func TestAzureIdentityAccepts(t *testing.T) {
	s, err := Start(Config{})
	require.NoError(t, err)
	defer s.Close()
	options := azcore.ClientOptions{Transport: trusting(t, s), Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: s.LoginURL()}}
	ask := policy.TokenRequestOptions{Scopes: []string{s.GraphURL() + "/.default"}}

	secret, err := azidentity.NewClientSecretCredential(s.TenantID, s.ClientID, s.ClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	require.NoError(t, err)
	token, err := secret.GetToken(t.Context(), ask)
	require.NoError(t, err)
	require.Equal(t, s.ClientID, claims(t, token.Token)["appid"])

	key, cert := selfSigned(t, 2048)
	s.RegisterCertificate(cert)
	certificate, err := azidentity.NewClientCertificateCredential(s.TenantID, s.ClientID, []*x509.Certificate{cert}, crypto.PrivateKey(key),
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	require.NoError(t, err)
	_, err = certificate.GetToken(t.Context(), ask)
	require.NoError(t, err)

	s.FailTokens(s.ClientID, 7000222)
	expired, err := azidentity.NewClientSecretCredential(s.TenantID, s.ClientID, s.ClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	require.NoError(t, err)
	_, err = expired.GetToken(t.Context(), ask)
	require.ErrorContains(t, err, "AADSTS7000222")
}

func TestAzureIdentityTakesDeviceCodes(t *testing.T) {
	s, err := Start(Config{Monitors: []string{"presence1"}, DeviceInterval: time.Second})
	require.NoError(t, err)
	defer s.Close()
	credential, err := azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: trusting(t, s), Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: s.LoginURL()}},
		TenantID:      s.TenantID, ClientID: s.ClientID, DisableInstanceDiscovery: true,
		UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error { return s.Approve(m.UserCode, mon) },
	})
	require.NoError(t, err)
	token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{s.GraphURL() + "/Presence.Read.All"}})
	require.NoError(t, err)
	require.Equal(t, mon, claims(t, token.Token)["upn"])
}

func TestTwoTenantsKeepApart(t *testing.T) {
	a, err := Start(Config{Users: 1, Seed: 1})
	require.NoError(t, err)
	defer a.Close()
	b, err := Start(Config{Users: 1, Seed: 2})
	require.NoError(t, err)
	defer b.Close()
	xa, xb := &tenant{a, t, trusting(t, a)}, &tenant{b, t, trusting(t, b)}
	require.Equal(t, 401, xb.call("GET", "/v1.0/users", xa.appToken(), nil).status)
	require.Equal(t, 200, xb.call("GET", "/v1.0/users", xb.appToken(), nil).status)
	require.Equal(t, 404, xb.call("GET", "/v1.0/users/"+a.Users()[0].ID, xb.appToken(), nil).status)
}

func TestConfigIsChecked(t *testing.T) {
	for name, cfg := range map[string]Config{
		"users":      {Users: -1},
		"tie":        {Tie: "heads"},
		"latency":    {Delivery: Delivery{LatencyMin: time.Second, LatencyMean: time.Second, LatencyMax: time.Millisecond}},
		"lanes":      {Delivery: Delivery{Lanes: -1}},
		"people":     {People: []Person{{}}},
		"twins":      {People: []Person{{UPN: "a@b.example"}, {UPN: "A@b.example"}}},
		"monitors":   {People: []Person{{UPN: mon}}, Monitors: []string{"presence1"}},
		"the Listen": {Listen: "256.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Start(cfg)
			require.ErrorContains(t, err, "graphsim: ")
		})
	}
}

func TestHostIsInURLsAndCertificate(t *testing.T) {
	s, err := Start(Config{Host: "localhost"})
	require.NoError(t, err)
	defer s.Close()
	require.Contains(t, s.GraphURL(), "https://localhost:")
	require.Equal(t, 200, (&tenant{s, t, trusting(t, s)}).call("GET", "/sim/", "", nil).status)
}

func TestHooksSeeChangesInOrder(t *testing.T) {
	var first, second []Pair
	x := two(t, func(c *Config) { c.OnChange = func(c Change) { first = append(first, c.To) } })
	require.NoError(t, x.StartCall(anna))
	x.OnChange(func(c Change) { second = append(second, c.To) })
	require.NoError(t, x.EndCall(anna))
	require.NoError(t, x.SignOut(anna))
	require.Equal(t, []Pair{InACall, Available, Offline}, first)
	require.Equal(t, first[1:], second)
}

func TestCloseCutsWhatIsSlow(t *testing.T) {
	s, err := Start(Config{})
	require.NoError(t, err)
	x := &tenant{s, t, trusting(t, s)}
	app := x.appToken()
	s.SetFaults(Faults{Slow: 1, SlowBy: time.Hour})
	finished := make(chan answer)
	go func() { finished <- x.call("GET", "/v1.0/users", app, nil) }()
	require.Eventually(t, func() bool {
		if s.serving.TryLock() {
			s.serving.Unlock()
			return false
		}
		return true
	}, waitAtMost, waitStep)
	require.NoError(t, s.Close())
	<-finished
}

func TestNothingSecretIsLogged(t *testing.T) {
	var out bytes.Buffer
	x, _, _, _ := subscribed(t, func(c *Config) { c.Log = debugLogger(&out) })
	x.SetFaults(Cruel())
	refresh := x.signIn(mon).text("refresh_token")
	require.NotContains(t, out.String(), x.ClientSecret)
	require.NotContains(t, out.String(), refresh)
}

func TestStateIsJSON(t *testing.T) {
	x := two(t)
	require.NoError(t, x.StartCall(anna))
	require.NoError(t, x.SetPreferred(anna, DoNotDisturb, 0))
	state, ok := x.State(anna)
	require.True(t, ok)
	raw, err := json.Marshal(state)
	require.NoError(t, err)
	for _, want := range []string{`"shown":{"availability":"DoNotDisturb"`, `"desktop: Busy/InACall"`, `"userPrincipalName":"anna@contoso.example"`} {
		require.Contains(t, string(raw), want)
	}
	_, ok = x.State("nobody")
	require.False(t, ok)
	require.Equal(t, Offline, x.Shown("nobody"))
}
