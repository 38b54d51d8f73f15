package graph

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"software.sslmate.com/src/go-pkcs12"
)

func TestSecretIsReadAgain(t *testing.T) {
	tn := newTenant(t)
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(" "+testSecret+"\n"), 0o600))
	c := tn.client(func(cfg *Config) { cfg.ClientSecret = SecretFile(file) })
	require.NoError(t, c.Verify(t.Context()))
	require.Equal(t, testSecret, tn.forms[0].Get("client_secret"))
	require.Contains(t, strings.Fields(tn.forms[0].Get("scope")), "https://graph.microsoft.com/.default", "the cloud's Graph, wherever it is reached")

	tn.mu.Lock()
	tn.secret = "second-secret"
	tn.mu.Unlock()
	e := requireKind(t, c.Verify(t.Context()), Unauthorised)
	require.Equal(t, "AADSTS7000215", e.Code)
	require.Equal(t, 401, e.Status)
	require.Equal(t, "trace-1", e.RequestID)
	require.NotContains(t, e.Error(), testSecret)
	require.NotContains(t, e.Error(), "anna@contoso.com")
	require.Contains(t, e.Error(), "Invalid client secret provided")

	require.NoError(t, os.WriteFile(file, []byte("second-secret"), 0o600))
	require.NoError(t, c.Verify(t.Context()), "at once, although the failure is remembered")
	require.NoError(t, os.Remove(file))
	e = requireKind(t, c.Verify(t.Context()), Unauthorised)
	require.Equal(t, "credential_unreadable", e.Code)
	require.Contains(t, e.Error(), "client_secret_file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, c.Verify(t.Context()), "empty")
}

func TestWrongSecretIsNotTriedForEachMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		tn.secret = "another"
		c := tn.client(tn.onVirtual)
		for range 50 {
			require.Equal(t, "AADSTS7000215", requireKind(t, c.SetPresence(t.Context(), testUser, inACall, time.Hour), Unauthorised).Code)
		}
		require.Len(t, tn.forms, 1)
		time.Sleep(11 * time.Second)
		require.Error(t, c.SetPresence(t.Context(), testUser, inACall, time.Hour))
		require.Len(t, tn.forms, 2)
		require.Zero(t, tn.requestCount())
	})
}

// testKey is a key with a certificate of it.
func testKey(t *testing.T) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key, selfSigned(t, key.Public(), key)
}

func selfSigned(t *testing.T, public, key any) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bridge"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

func pemOf(t *testing.T, key any, certs ...*x509.Certificate) (out []byte) {
	t.Helper()
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	return out
}

// assertions accepts client assertions signed with the key, for any grant.
func assertions(t *testing.T, tn *tenant, key *rsa.PrivateKey, cert *x509.Certificate) {
	tn.secret = ""
	next := tn.login
	tn.login = func(w http.ResponseWriter, form url.Values) bool {
		thumbprint := sha256.Sum256(cert.Raw)
		tok, err := jwt.Parse(form.Get("client_assertion"), func(tok *jwt.Token) (any, error) { return key.Public(), nil },
			jwt.WithAudience(tn.loginURL+"/"+testTenant+"/oauth2/v2.0/token"), jwt.WithIssuer(testClient), jwt.WithSubject(testClient), jwt.WithExpirationRequired())
		if err != nil || tok.Header["x5t#S256"] != base64.RawURLEncoding.EncodeToString(thumbprint[:]) && tok.Header["x5t#S256"] != base64.StdEncoding.EncodeToString(thumbprint[:]) {
			t.Logf("assertion refused: %v %v", err, tok)
			reply(w, 401, `{"error":"invalid_client","error_description":"AADSTS700027: bad assertion"}`)
			return true
		}
		if form.Get("client_secret") != "" {
			t.Error("a secret beside the assertion")
		}
		return next != nil && next(w, form)
	}
}

func TestCertificates(t *testing.T) {
	key, cert := testKey(t)
	_, other := testKey(t)
	p12, err := pkcs12.Modern.Encode(key, cert, []*x509.Certificate{other}, "pass")
	require.NoError(t, err)
	legacy, err := pkcs12.LegacyRC2.Encode(key, cert, nil, "")
	require.NoError(t, err)
	password := func() (string, error) { return "pass", nil }
	for name, change := range map[string]func(*Config){
		"pem":        func(c *Config) { c.Certificate = func() ([]byte, error) { return pemOf(t, key, cert), nil } },
		"pem, chain": func(c *Config) { c.Certificate = func() ([]byte, error) { return pemOf(t, key, other, cert), nil } },
		"pkcs12": func(c *Config) {
			c.Certificate = func() ([]byte, error) { return p12, nil }
			c.CertificatePassword = password
		},
		"pkcs12, old": func(c *Config) { c.Certificate = func() ([]byte, error) { return legacy, nil } },
		"beside a secret": func(c *Config) {
			c.Certificate = func() ([]byte, error) { return pemOf(t, key, cert), nil }
			c.ClientSecret = SecretFile("/x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			tn := newTenant(t)
			current := "refresh-token-0"
			tn.login = refreshing(tn, &current)
			assertions(t, tn, key, cert)
			c := tn.client(func(cfg *Config) { cfg.ClientSecret = nil }, change)
			require.NoError(t, c.Verify(t.Context()))
			require.NoError(t, c.Delegated("x", &memoryStore{token: current}).Refresh(t.Context()), "the delegated grant proves the application the same way")
		})
	}
}

func TestCertificatesThatCannotBeUsed(t *testing.T) {
	key, cert := testKey(t)
	_, other := testKey(t)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p12, err := pkcs12.Modern.Encode(key, cert, nil, "pass")
	require.NoError(t, err)
	for want, data := range map[string][]byte{
		"no RSA private key":            pemOf(t, curve, selfSigned(t, curve.Public(), curve)),
		"no certificate of its private": pemOf(t, key, other),
		"the password does not open":    p12,
		"neither PEM nor a PKCS#12":     []byte("hello"),
		"cannot be read":                pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
		"is encrypted":                  pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}),
		"a certificate cannot":          pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
	} {
		tn := virtual(t)
		c := tn.client(tn.onVirtual, func(cfg *Config) { cfg.Certificate = func() ([]byte, error) { return data, nil } })
		err := c.Verify(t.Context())
		require.ErrorContains(t, requireKind(t, err, Unauthorised), want)
		require.ErrorContains(t, err, "certificate_file")
	}
	tn := virtual(t)
	c := tn.client(tn.onVirtual, func(cfg *Config) {
		cfg.Certificate = func() ([]byte, error) { return p12, nil }
		cfg.CertificatePassword = func() (string, error) { return "", errors.New("no such file") }
	})
	require.ErrorContains(t, c.Verify(t.Context()), "certificate_password_file")
	c = tn.client(tn.onVirtual, func(cfg *Config) { cfg.Certificate = CertificateFile("/does/not/exist") })
	require.ErrorContains(t, c.Verify(t.Context()), "certificate_file")
}

func TestTokenIsSharedAndRenewedBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		c := tn.client(tn.onVirtual)
		read := func() {
			_, err := c.Presence(t.Context(), testUser)
			require.NoError(t, err)
		}
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(read)
		}
		wg.Wait()
		require.Equal(t, 1, tn.tokenCount())
		time.Sleep(54 * time.Minute)
		read()
		require.Equal(t, 1, tn.tokenCount())
		time.Sleep(2 * time.Minute)
		read()
		require.Equal(t, 2, tn.tokenCount())

		// The login endpoint is down: the token at hand is used to its end.
		time.Sleep(56 * time.Minute)
		tn.login = func(w http.ResponseWriter, _ url.Values) bool { reply(w, 503, ""); return true }
		read()
		time.Sleep(3*time.Minute + 20*time.Second)
		read()
		time.Sleep(time.Minute)
		_, err := c.Presence(t.Context(), testUser)
		require.Equal(t, 503, requireKind(t, err, Transient).Status)
		tn.login = nil
		time.Sleep(time.Second)
		read()
		require.Equal(t, 3, tn.tokenCount())
	})
}

func TestLoginFailuresAreRetriedAndTyped(t *testing.T) {
	for name, f := range map[string]struct {
		status int
		body   string
		header []string
		kind   Kind
		code   string
		forms  int
	}{
		"consent":      {400, `{"error":"invalid_grant","error_description":"AADSTS65001: The user or administrator has not consented"}`, nil, ConsentMissing, "AADSTS65001", 1},
		"unknown app":  {400, `{"error":"unauthorized_client","error_description":"AADSTS700016: Application not found"}`, nil, Unauthorised, "AADSTS700016", 1},
		"expired":      {401, `{"error":"invalid_client","error_description":"AADSTS7000222: expired"}`, nil, Unauthorised, "AADSTS7000222", 1},
		"bad scope":    {400, `{"error":"invalid_scope","error_description":"AADSTS70011: scope"}`, nil, Refused, "AADSTS70011", 1},
		"no code":      {400, `{"error":"interaction_required"}`, nil, Unauthorised, "interaction_required", 1},
		"proxy":        {403, `<html>no</html>`, nil, Refused, "", 1},
		"down":         {503, ``, nil, Transient, "", maxUnsure},
		"temporarily":  {400, `{"error":"temporarily_unavailable","error_description":"AADSTS90033: A transient error"}`, nil, Transient, "AADSTS90033", maxUnsure},
		"throttled":    {429, `{"error":"temporarily_unavailable","error_description":"AADSTS90055: too many"}`, []string{"Retry-After", "50"}, Throttled, "AADSTS90055", 3},
		"not oauth":    {200, `"hello"`, nil, Transient, "login_answer", maxUnsure},
		"answer lacks": {200, `{}`, nil, Transient, "login_answer", maxUnsure},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tn := virtual(t)
				tn.login = func(w http.ResponseWriter, _ url.Values) bool { reply(w, f.status, f.body, f.header...); return true }
				c := tn.client(tn.onVirtual)
				// A token is fetched before anything leaves, so that even writes may repeat that.
				e := requireKind(t, c.SetPresence(t.Context(), testUser, inACall, time.Hour), f.kind)
				require.Equal(t, f.code, e.Code)
				require.False(t, e.Unanswered)
				require.Len(t, tn.forms, f.forms)
				require.Zero(t, tn.requestCount())

				tn.forms = nil
				e = requireKind(t, c.Delegated("x", &memoryStore{token: "refresh-token"}).Refresh(t.Context()), f.kind)
				require.Equal(t, f.code, e.Code)
				require.Equal(t, opDelegatedToken, e.Op)
				require.Len(t, tn.forms, f.forms)
			})
		})
	}
}

func TestRefreshTokenRotates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		current := "refresh-token-0"
		tn.login = refreshing(tn, &current)
		tn.graph = inTurn(status(200, goodBody))
		store := &memoryStore{token: current}
		d := tn.client(tn.onVirtual).Delegated("presence1@contoso.com", store)
		require.Equal(t, "presence1@contoso.com", d.UPN())
		list := func() {
			_, err := d.ListSubscriptions(t.Context())
			require.NoError(t, err)
		}
		list()
		list()
		time.Sleep(time.Hour)
		list()
		require.Equal(t, []string{"refresh-token-1", "refresh-token-2"}, store.saved)
		form := tn.forms[0]
		require.Equal(t, "https://graph.microsoft.com/Presence.Read.All offline_access openid profile", form.Get("scope"))
		require.Equal(t, testSecret, form.Get("client_secret"), "a confidential client")
		require.Equal(t, testClient, form.Get("client_id"))
	})
}

func TestStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		current := "refresh-token-0"
		tn.login = refreshing(tn, &current)
		store := &memoryStore{token: current, saveErr: errors.New("full")}
		d := tn.client(tn.onVirtual).Delegated("x", store)
		require.NoError(t, d.Refresh(t.Context()), "the access token is good all the same")
		require.NoError(t, d.Refresh(t.Context()), "the token that the store did not take is gone on with")
		store.saveErr = nil
		require.NoError(t, d.Refresh(t.Context()))
		require.Equal(t, []string{"refresh-token-3"}, store.saved)

		// A sign-in that came meanwhile is not written over.
		store.saveErr = errors.New("full")
		require.NoError(t, d.Refresh(t.Context()))
		store.saveErr = nil
		store.token, current = "signed-in-anew", "signed-in-anew"
		require.NoError(t, d.Refresh(t.Context()))
		require.Equal(t, "refresh-token-5", store.token)

		store.loadErr = errors.New("bus is away")
		e := requireKind(t, d.Refresh(within(t, time.Second)), Transient)
		require.Equal(t, "token_store", e.Code)
	})
}

func TestRevokedAndMissingSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		current := "refresh-token-0"
		tn.login = refreshing(tn, &current)
		store := &memoryStore{}
		d := tn.client(tn.onVirtual).Delegated("x", store)
		require.Equal(t, "not_signed_in", requireKind(t, d.Refresh(t.Context()), Unauthorised).Code)
		require.Empty(t, tn.forms)

		store.token = "revoked-refresh-token"
		e := requireKind(t, d.Refresh(t.Context()), Unauthorised)
		require.Equal(t, "AADSTS50173", e.Code)
		require.Equal(t, "invalid_grant", e.oauth())
		require.NotContains(t, e.Error(), "revoked-refresh-token")

		store.token = current // somebody signed in
		require.NoError(t, d.Refresh(t.Context()))
	})
}

func TestSaveOutlivesTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		ctx, cancel := context.WithCancel(t.Context())
		current := "refresh-token-0"
		tn.login = refreshing(tn, &current)
		store := &cancelledStore{memoryStore: memoryStore{token: current}, cancel: cancel}
		d := tn.client(tn.onVirtual).Delegated("x", store)
		_ = d.Refresh(ctx)
		require.NoError(t, store.saveCtx, "the new token is stored although the caller has gone")
	})
}

// cancelledStore has its caller go before the token is saved.
type cancelledStore struct {
	memoryStore
	cancel  context.CancelFunc
	saveCtx error
}

func (s *cancelledStore) SaveRefreshToken(ctx context.Context, token string) error {
	s.cancel()
	s.saveCtx = ctx.Err()
	return s.memoryStore.SaveRefreshToken(ctx, token)
}

func TestWaiterForATokenCanLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		s := newTokenSource(nil, func(ctx context.Context) (grant, *Error) {
			<-hold
			return grant{}, &Error{Kind: Transient}
		})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = s.get(t.Context(), "") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.get(ctx, "")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(hold)
		wg.Wait()
	})
}

func TestSeconds(t *testing.T) {
	for in, want := range map[string]time.Duration{`3600`: time.Hour, `"3600"`: time.Hour, `-1`: 0, `1e300`: 365 * 24 * time.Hour} {
		var s seconds
		require.NoError(t, s.UnmarshalJSON([]byte(in)))
		require.Equal(t, want, s.duration())
	}
	var s seconds
	require.Error(t, s.UnmarshalJSON([]byte(`"soon"`)))
	require.Equal(t, time.Hour, answer{AccessToken: "x"}.token(time.Unix(0, 0)).expires.Sub(time.Unix(0, 0)))
}

func TestClaims(t *testing.T) {
	require.Equal(t, claims{}, readClaims(""))
	require.Equal(t, claims{}, readClaims("opaque"))
	require.Equal(t, claims{}, readClaims("a.!!.c"))
	require.Equal(t, "a@b", readClaims(jwtOf(map[string]any{"upn": "a@b"})).UPN)
	require.Equal(t, "x", readClaims(jwtOf(map[string]any{"oid": "x", "wids": 5})).ObjectID)
	require.Equal(t, []string{"Presence.Read.All", "openid"}, scopes("https://graph.microsoft.com/Presence.Read.All  openid"))
}
