package graph_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
	"presencebridge/graph"
	"presencebridge/graph/graphsim"
)

// store keeps a refresh token.
type store struct{ token string }

func (s *store) LoadRefreshToken(context.Context) (string, error)   { return s.token, nil }
func (s *store) SaveRefreshToken(_ context.Context, t string) error { s.token = t; return nil }

// simulated starts a simulated tenant, which was written from the other side's view, and a client of it.
func simulated(t *testing.T, change ...func(*graph.Config)) (*graphsim.Sim, *graph.Client) {
	t.Helper()
	sim, err := graphsim.Start(graphsim.Config{
		Users: 30, Seed: 1, Monitors: []string{"presence1"}, AutoApprove: true, DeviceInterval: time.Second, StrictRotation: true,
		Delivery: graphsim.Delivery{AllowHTTP: true},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, sim.CAPEM(), 0o600))
	cfg := graph.Config{
		Account: "contoso", TenantID: sim.TenantID, ClientID: sim.ClientID,
		ClientSecret: func() (string, error) { return sim.ClientSecret, nil },
		Endpoints:    graph.Endpoints{Login: sim.LoginURL(), Graph: sim.GraphURL(), CAFile: ca},
		Log:          slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := graph.New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return sim, c
}

// members lists the tenant's users.
func members(t *testing.T, c *graph.Client) (ids []string) {
	t.Helper()
	require.NoError(t, c.Users(t.Context(), func(u graph.User) error { ids = append(ids, u.ID); return nil }))
	require.GreaterOrEqual(t, len(ids), 30)
	return ids
}

// signIn signs the monitor in by device code.
func signIn(t *testing.T, c *graph.Client) *graph.Delegated {
	t.Helper()
	dc, err := c.StartDeviceCode(t.Context())
	require.NoError(t, err)
	a, err := dc.Wait(t.Context())
	require.NoError(t, err)
	require.Contains(t, a.UPN, "presence1")
	require.Contains(t, a.Scopes, "Presence.Read.All")
	require.False(t, a.GlobalAdministrator())
	return c.Delegated(a.UPN, &store{token: a.RefreshToken})
}

var inACall = presence.Pair{Availability: presence.Busy, Activity: presence.InACall}

func TestSimulatedTenant(t *testing.T) {
	sim, c := simulated(t)
	ctx := t.Context()
	require.NoError(t, c.Verify(ctx))
	ids := members(t, c)
	list, err := c.Presences(ctx, ids)
	require.NoError(t, err)
	require.Len(t, list, len(ids))
	for _, p := range list {
		shown := sim.Shown(p.UserID)
		require.Equal(t, presence.ParsePair(shown.Availability, shown.Activity), p.Pair)
	}

	require.NoError(t, c.SetPresence(ctx, ids[0], inACall, 5*time.Minute))
	p, err := c.Presence(ctx, ids[0])
	require.NoError(t, err)
	require.Equal(t, inACall, p.Pair)
	require.NoError(t, c.ClearPresence(ctx, ids[0]))
	require.NoError(t, c.ClearPresence(ctx, ids[0]), "nothing to clear is success")
	require.NoError(t, c.SetPreferredPresence(ctx, ids[0], presence.ParsePairString("DoNotDisturb"), time.Hour))
	require.NoError(t, c.ClearPreferredPresence(ctx, ids[0]))
	require.NoError(t, c.SetStatusMessage(ctx, ids[0], "hello", time.Now().Add(time.Hour)))
}

func TestSimulatedSubscription(t *testing.T) {
	_, c := simulated(t)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(r.URL.Query().Get("validationToken")))
	}))
	defer receiver.Close()
	d := signIn(t, c)
	require.NoError(t, d.Refresh(t.Context()))
	require.NoError(t, d.Refresh(t.Context()), "the tenant refuses a refresh token that was replaced")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	request := graph.SubscriptionRequest{
		UserIDs: members(t, c), NotificationURL: receiver.URL + "/n", LifecycleURL: receiver.URL + "/l", ClientState: "state",
		Expiration: time.Now().Add(time.Minute), EncryptionCertificate: certificate(t, key).Raw, EncryptionCertificateID: "one",
	}
	s, err := d.CreateSubscription(t.Context(), request)
	require.NoError(t, err)
	require.True(t, s.IsPresence())
	require.WithinDuration(t, time.Now().Add(45*time.Minute), s.Expiration, time.Minute, "raised, and read back")

	_, err = d.CreateSubscription(t.Context(), request)
	require.True(t, graph.IsKind(err, graph.Conflict), "%v", err)
	request.UserIDs = request.UserIDs[1:]
	_, err = d.CreateSubscription(t.Context(), request)
	require.True(t, graph.IsKind(err, graph.Conflict), "%v", err)

	s, err = d.RenewSubscription(t.Context(), s.ID, time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Hour), s.Expiration, time.Minute)
	list, err := d.ListSubscriptions(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, d.DeleteSubscription(t.Context(), s.ID))
	require.NoError(t, d.DeleteSubscription(t.Context(), s.ID))
	_, err = d.RenewSubscription(t.Context(), s.ID, time.Now().Add(time.Hour))
	require.True(t, graph.IsKind(err, graph.Gone), "%v", err)
}

// certificate is a certificate of the key.
func certificate(t *testing.T, key *rsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

func TestSimulatedCertificate(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	cert := certificate(t, key)
	file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	file = append(file, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})...)
	sim, c := simulated(t, func(cfg *graph.Config) {
		cfg.Certificate = func() ([]byte, error) { return file, nil }
	})
	sim.RegisterCertificate(cert)
	require.NoError(t, c.Verify(t.Context()))
	require.NoError(t, signIn(t, c).Refresh(t.Context()))
}

func TestSimulatedTrouble(t *testing.T) {
	sim, c := simulated(t)
	ids := members(t, c)
	sim.SetFaults(graphsim.Faults{ServerError: .3, Throttle: .2, RetryAfter: time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 4 {
		list, err := c.Presences(ctx, ids)
		if err != nil {
			require.True(t, graph.IsKind(err, graph.Transient), "five failures in a row can be: %v", err)
			continue
		}
		require.Len(t, list, len(ids))
	}
}
