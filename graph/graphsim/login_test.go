package graphsim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// refused checks an answer of the login service against the AADSTS number and the OAuth error.
func refused(t *testing.T, a answer, status, code int, kind string) {
	t.Helper()
	require.Equal(t, status, a.status, a.body)
	require.Equal(t, kind, a.text("error"))
	require.True(t, strings.HasPrefix(a.text("error_description"), fmt.Sprintf("AADSTS%d: ", code)), a.text("error_description"))
	require.Equal(t, []any{float64(code)}, a.json["error_codes"])
}

// claims reads a token without checking it.
func claims(t *testing.T, raw string) map[string]any {
	t.Helper()
	parts := strings.Split(raw, ".")
	require.Len(t, parts, 3)
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(body, &out))
	return out
}

func TestClientCredentials(t *testing.T) {
	x := two(t)
	c := claims(t, x.appToken())
	require.Equal(t, x.ClientID, c["appid"])
	require.Equal(t, x.TenantID, c["tid"])
	require.ElementsMatch(t, []any{"Presence.ReadWrite.All", "User.Read.All", "Application.Read.All", "GroupMember.Read.All"}, c["roles"])
	require.NotContains(t, c, "scp")

	scope := x.GraphURL() + "/.default"
	refused(t, x.tokenForm("grant_type", "client_credentials", "client_id", x.ClientID, "client_secret", "wrong", "scope", scope), 401, 7000215, "invalid_client")
	refused(t, x.tokenForm("grant_type", "client_credentials", "client_id", x.ClientID, "scope", scope), 401, 7000218, "invalid_client")
	refused(t, x.tokenForm("grant_type", "client_credentials", "client_id", "11111111-1111-4111-8111-111111111111", "client_secret", "x", "scope", scope), 400, 700016, "unauthorized_client")
	refused(t, x.tokenForm("grant_type", "client_credentials", "client_id", x.ClientID, "client_secret", x.ClientSecret, "scope", "Presence.Read.All"), 400, 70011, "invalid_scope")
	refused(t, x.tokenForm("grant_type", "password", "client_id", x.ClientID), 400, 70003, "unsupported_grant_type")
	refused(t, x.tokenForm("grant_type", "client_credentials"), 400, 9002313, "invalid_request")
	refused(t, x.form("another-tenant/oauth2/v2.0/token", "grant_type", "client_credentials", "client_id", x.ClientID), 400, 90002, "invalid_request")
}

func TestSecretsRotate(t *testing.T) {
	x := two(t)
	with := func(secret string) int {
		return x.tokenForm("grant_type", "client_credentials", "client_id", x.ClientID, "client_secret", secret, "scope", x.GraphURL()+"/.default").status
	}
	x.AddSecret("second")
	require.Equal(t, 200, with("second"))
	require.Equal(t, 200, with(x.ClientSecret))
	x.RemoveSecret(x.ClientSecret)
	require.Equal(t, 401, with(x.ClientSecret))
	require.Equal(t, 200, with("second"))
}

// assertion signs a client assertion by hand, as certificate-credentials describes it.
func assertion(t *testing.T, key *rsa.PrivateKey, cert *x509.Certificate, edit func(map[string]any), claims map[string]any) string {
	t.Helper()
	sum := sha256.Sum256(cert.Raw)
	header := map[string]any{"alg": "RS256", "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
	if edit != nil {
		edit(claims)
	}
	encode := func(v any) string {
		raw, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	signed := encode(header) + "." + encode(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	require.NoError(t, err)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func selfSigned(t *testing.T, bits int) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	template := certificateTemplate(1, "test")
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return key, cert
}

func TestClientAssertion(t *testing.T) {
	x := two(t)
	key, cert := selfSigned(t, 2048)
	other, _ := selfSigned(t, 2048)
	ask := func(key *rsa.PrivateKey, edit func(map[string]any)) answer {
		now := time.Now()
		raw := assertion(t, key, cert, edit, map[string]any{"aud": x.LoginURL() + "/" + x.TenantID + "/oauth2/v2.0/token", "iss": x.ClientID, "sub": x.ClientID,
			"jti": "1", "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()})
		return x.tokenForm("grant_type", "client_credentials", "client_id", x.ClientID, "scope", x.GraphURL()+"/.default",
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", raw)
	}
	refused(t, ask(key, nil), 401, 700027, "invalid_client") // not registered
	x.RegisterCertificate(cert)
	require.Equal(t, 200, ask(key, nil).status)
	refused(t, ask(other, nil), 401, 700027, "invalid_client")
	for name, edit := range map[string]func(map[string]any){
		"audience": func(c map[string]any) { c["aud"] = "https://elsewhere.example/oauth2/v2.0/token" },
		"issuer":   func(c map[string]any) { c["iss"] = x.TenantID },
		"expired":  func(c map[string]any) { c["exp"] = time.Now().Add(-time.Second).Unix() },
		"future":   func(c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() },
	} {
		t.Run(name, func(t *testing.T) { refused(t, ask(key, edit), 401, 700027, "invalid_client") })
	}
}

func TestDeviceCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t)
		start := func() answer {
			a := x.form(x.TenantID+"/oauth2/v2.0/devicecode", "client_id", x.ClientID, "scope", x.GraphURL()+"/Presence.Read.All offline_access openid")
			require.Equal(t, 200, a.status, a.body)
			require.EqualValues(t, 900, a.json["expires_in"])
			require.EqualValues(t, 5, a.json["interval"])
			require.Contains(t, a.text("message"), a.text("user_code"))
			return a
		}
		poll := func(a answer) answer {
			time.Sleep(5 * time.Second)
			return x.tokenForm("grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", x.ClientID, "device_code", a.text("device_code"))
		}
		a := start()
		refused(t, poll(a), 400, 70016, "authorization_pending")
		refused(t, x.tokenForm("grant_type", "device_code", "client_id", x.ClientID, "device_code", a.text("device_code")), 400, 70017, "slow_down")
		require.Len(t, x.DeviceCodes(), 1)
		require.NoError(t, x.Approve(strings.ToLower(a.text("user_code")), mon))
		require.Error(t, x.Decline(a.text("user_code")), "it was approved")
		token := poll(a)
		require.Equal(t, 200, token.status, token.body)
		require.Equal(t, mon, claims(t, token.text("access_token"))["upn"])
		require.Equal(t, "Presence.Read.All openid", claims(t, token.text("access_token"))["scp"])
		require.Equal(t, mon, claims(t, token.text("id_token"))["preferred_username"])
		require.NotEmpty(t, token.text("refresh_token"))
		refused(t, poll(a), 400, 70018, "bad_verification_code") // only once

		a = start()
		require.NoError(t, x.Decline(a.text("user_code")))
		refused(t, poll(a), 400, 70018, "authorization_declined")
		a = start()
		time.Sleep(15 * time.Minute)
		require.Empty(t, x.DeviceCodes())
		refused(t, poll(a), 400, 70020, "expired_token")
		a = start()
		require.NoError(t, x.Expire(a.text("user_code")))
		refused(t, poll(a), 400, 70020, "expired_token")
		require.Error(t, x.Approve("NONE", mon))
		require.Error(t, x.Approve(a.text("user_code"), "nobody"))
		refused(t, x.form(x.TenantID+"/oauth2/v2.0/devicecode", "client_id", x.ClientID), 400, 70011, "invalid_scope")
	})
}

func TestMonitorsApproveThemselves(t *testing.T) {
	x := two(t, func(c *Config) { c.AutoApprove = true })
	approved := func(hint string) any {
		a := x.form(x.TenantID+"/oauth2/v2.0/devicecode", "client_id", x.ClientID, "scope", "Presence.Read.All", "login_hint", hint)
		a = x.tokenForm("grant_type", "device_code", "client_id", x.ClientID, "device_code", a.text("device_code"))
		require.Equal(t, 200, a.status, a.body)
		return claims(t, a.text("access_token"))["upn"]
	}
	require.Equal(t, "presence1@contoso.example", approved(""))
	require.Equal(t, "presence2@contoso.example", approved(""))
	require.Equal(t, "presence1@contoso.example", approved(""))
	require.Equal(t, "presence1@contoso.example", approved("presence1@contoso.example"))
}

func TestRefreshTokensRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t)
		first := x.signIn(mon).text("refresh_token")
		refresh := func(token string) answer {
			return x.tokenForm("grant_type", "refresh_token", "client_id", x.ClientID, "refresh_token", token, "scope", x.GraphURL()+"/Presence.Read.All offline_access")
		}
		a := refresh(first)
		require.Equal(t, 200, a.status, a.body)
		second := a.text("refresh_token")
		require.NotEqual(t, first, second)
		require.Equal(t, 200, refresh(first).status, "the old one is not revoked")
		refused(t, refresh("0.rubbish"), 400, 70000, "invalid_grant")
		time.Sleep(90*24*time.Hour + time.Second)
		refused(t, refresh(second), 400, 700082, "invalid_grant")
		third := x.signIn(mon).text("refresh_token")
		x.RevokeSessions(mon)
		refused(t, refresh(third), 400, 50173, "invalid_grant")
	})
}

func TestStrictRotation(t *testing.T) {
	x := two(t, func(c *Config) { c.StrictRotation = true })
	first := x.signIn(mon).text("refresh_token")
	require.Equal(t, 200, x.tokenForm("grant_type", "refresh_token", "client_id", x.ClientID, "refresh_token", first).status)
	refused(t, x.tokenForm("grant_type", "refresh_token", "client_id", x.ClientID, "refresh_token", first), 400, 70000, "invalid_grant")
}

func TestTokensFailOnRequest(t *testing.T) {
	x := two(t)
	refresh := x.signIn(mon).text("refresh_token")
	for code, status := range map[int]int{50173: 400, 50057: 400, 65001: 400, 53003: 400, 50076: 400, 700082: 400, 123456: 400} {
		x.FailTokens(mon, code)
		refused(t, x.tokenForm("grant_type", "refresh_token", "client_id", x.ClientID, "refresh_token", refresh), status, code, "invalid_grant")
	}
	x.FailTokens(mon, 0)
	require.Equal(t, 200, x.tokenForm("grant_type", "refresh_token", "client_id", x.ClientID, "refresh_token", refresh).status)
	x.FailTokens(x.ClientID, 7000222)
	refused(t, x.tokenForm("grant_type", "client_credentials", "client_id", x.ClientID, "client_secret", x.ClientSecret, "scope", "x/.default"), 401, 7000222, "invalid_client")
	x.FailTokens(x.ClientID, 0)
	require.NoError(t, x.UpdateUser(mon, func(p *Person) { p.Disabled = true }))
	refused(t, x.tokenForm("grant_type", "refresh_token", "client_id", x.ClientID, "refresh_token", refresh), 400, 50057, "invalid_grant")
	require.NoError(t, x.RemoveUser(mon))
	refused(t, x.tokenForm("grant_type", "refresh_token", "client_id", x.ClientID, "refresh_token", refresh), 400, 50034, "invalid_grant")
}

func TestAuthorizationCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const redirect = "https://bridge.example.com/authorize/callback?x=1"
		x := two(t, func(c *Config) { c.RedirectURIs = []string{redirect} })
		sum := sha256.Sum256([]byte("verifier"))
		query := func(pairs ...string) url.Values {
			q := url.Values{"client_id": {x.ClientID}, "response_type": {"code"}, "redirect_uri": {redirect}, "state": {"s1"},
				"scope": {"Presence.Read.All offline_access"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}
			for i := 0; i < len(pairs); i += 2 {
				q.Set(pairs[i], pairs[i+1])
			}
			return q
		}
		visit := func(q url.Values) (answer, url.Values) {
			a := x.call("GET", "/"+x.TenantID+"/oauth2/v2.0/authorize?"+q.Encode(), "", nil)
			to, err := url.Parse(a.header.Get("Location"))
			require.NoError(t, err)
			return a, to.Query()
		}
		redeem := func(code, verifier, uri string) answer {
			return x.tokenForm("grant_type", "authorization_code", "client_id", x.ClientID, "client_secret", x.ClientSecret, "code", code,
				"redirect_uri", uri, "code_verifier", verifier)
		}
		page, _ := visit(query())
		require.Equal(t, 200, page.status)
		require.Contains(t, page.body, mon, "a person chooses")
		a, back := visit(query("as", mon))
		require.Equal(t, http.StatusFound, a.status)
		require.Equal(t, "s1", back.Get("state"))
		require.Equal(t, "1", back.Get("x"))
		token := redeem(back.Get("code"), "verifier", redirect)
		require.Equal(t, 200, token.status, token.body)
		require.Equal(t, mon, claims(t, token.text("access_token"))["upn"])
		refused(t, redeem(back.Get("code"), "verifier", redirect), 400, 54005, "invalid_grant")
		refused(t, x.tokenForm("grant_type", "refresh_token", "client_id", x.ClientID, "refresh_token", token.text("refresh_token")), 401, 7000218, "invalid_client")

		_, back = visit(query("as", mon))
		refused(t, redeem(back.Get("code"), "wrong", redirect), 400, 501481, "invalid_grant")
		_, back = visit(query("as", mon))
		refused(t, redeem(back.Get("code"), "verifier", "https://elsewhere.example"), 400, 50011, "invalid_request")
		_, back = visit(query("as", mon))
		time.Sleep(10 * time.Minute)
		refused(t, redeem(back.Get("code"), "verifier", redirect), 400, 70008, "invalid_grant")
		refused(t, redeem("rubbish", "verifier", redirect), 400, 70000, "invalid_grant")

		_, back = visit(query("deny", "1"))
		require.Equal(t, "access_denied", back.Get("error"))
		_, back = visit(query("response_type", "token"))
		require.Equal(t, "unsupported_response_type", back.Get("error"))
		a, _ = visit(query("redirect_uri", "https://elsewhere.example"))
		refused(t, a, 400, 50011, "invalid_request")
		a, _ = visit(query("client_id", "nobody"))
		refused(t, a, 400, 700016, "unauthorized_client")
	})
}

func TestGraphChecksTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t)
		path := "/v1.0/users/" + anna + "/presence"
		check := func(token string) {
			t.Helper()
			a := x.call("GET", path, token, nil)
			require.Equal(t, 401, a.status)
			require.Equal(t, "InvalidAuthenticationToken", a.errorCode())
		}
		check("")
		check("rubbish")
		good := x.appToken()
		require.Equal(t, 200, x.call("GET", path, good, nil).status)
		check(good[:len(good)-4] + "AAAA")
		other := two(t, func(c *Config) { c.Seed = 99 })
		check(other.appToken())
		time.Sleep(time.Hour)
		check(good)

		x.Consent([]string{"User.Read.All"}, []string{"User.Read"})
		a := x.call("GET", path, x.appToken(), nil)
		require.Equal(t, 403, a.status)
		require.Equal(t, "Forbidden", a.errorCode())
		require.Empty(t, a.errorMessage())
		require.Equal(t, 200, x.call("GET", "/v1.0/users", x.appToken(), nil).status)
		x.Consent([]string{"Presence.Read.All"}, nil)
		app := x.appToken()
		require.Equal(t, 200, x.call("GET", path, app, nil).status)
		require.Equal(t, 403, x.set(app, anna, InACall, "").status)
		require.Equal(t, "Authorization_RequestDenied", x.call("GET", "/v1.0/users", app, nil).errorCode())
	})
}

func TestDiscoveryAndKeys(t *testing.T) {
	x := two(t)
	for path, issuer := range map[string]string{
		"/common/.well-known/openid-configuration":               "https://sts.windows.net/" + x.TenantID + "/",
		"/common/v2.0/.well-known/openid-configuration":          "https://login.microsoftonline.com/" + x.TenantID + "/v2.0",
		"/contoso.example/v2.0/.well-known/openid-configuration": "https://login.microsoftonline.com/" + x.TenantID + "/v2.0",
	} {
		a := x.call("GET", path, "", nil)
		require.Equal(t, 200, a.status)
		require.Equal(t, issuer, a.text("issuer"))
		keys := x.call("GET", strings.TrimPrefix(a.text("jwks_uri"), x.LoginURL()), "", nil)
		require.Len(t, keys.json["keys"], 1)
	}
	refused(t, x.call("GET", "/elsewhere/v2.0/.well-known/openid-configuration", "", nil), 400, 90002, "invalid_request")

	app := x.appToken()
	require.NoError(t, x.RotateSigningKey(false))
	require.Len(t, x.call("GET", "/common/discovery/keys", "", nil).json["keys"], 2)
	require.Equal(t, 200, x.call("GET", "/v1.0/users", app, nil).status, "the old key is still believed")
	require.NoError(t, x.RotateSigningKey(true))
	require.Len(t, x.call("GET", "/common/discovery/v2.0/keys", "", nil).json["keys"], 1)
	require.Equal(t, 401, x.call("GET", "/v1.0/users", app, nil).status)
}

func TestGlobalAdministratorsShow(t *testing.T) {
	x := two(t, func(c *Config) {
		c.People = append(c.People, Person{UPN: "root@contoso.example", DirectoryRoles: []string{GlobalAdministrator}})
	})
	require.Equal(t, []any{GlobalAdministrator}, claims(t, x.userToken("root@contoso.example"))["wids"])
	require.NotContains(t, claims(t, x.userToken(mon))["wids"], GlobalAdministrator)
}

func TestFurtherApplications(t *testing.T) {
	x := two(t)
	x.AddApp("AAAAAAAA-0000-4000-8000-000000000001", "s2")
	a := x.tokenForm("grant_type", "client_credentials", "client_id", "aaaaaaaa-0000-4000-8000-000000000001", "client_secret", "s2", "scope", "x/.default")
	require.Equal(t, 200, a.status, a.body)
	refresh := x.signIn(mon).text("refresh_token")
	refused(t, x.tokenForm("grant_type", "refresh_token", "client_id", "aaaaaaaa-0000-4000-8000-000000000001", "client_secret", "s2", "refresh_token", refresh),
		400, 70000, "invalid_grant") // bound to the application
}

func TestDeviceLoginPage(t *testing.T) {
	x := two(t)
	a := x.form(x.TenantID+"/oauth2/v2.0/devicecode", "client_id", x.ClientID, "scope", "Presence.Read.All")
	page := x.call("GET", "/devicelogin", "", nil)
	require.Contains(t, page.body, mon)
	require.Contains(t, x.form("devicelogin", "user_code", "WRONG", "as", mon).body, "no device code")
	require.Contains(t, x.form("devicelogin", "user_code", a.text("user_code")).body, "who you are")
	require.Contains(t, x.form("devicelogin", "user_code", a.text("user_code"), "as", mon).body, "signed in")
	require.Empty(t, x.DeviceCodes())
	a = x.form(x.TenantID+"/oauth2/v2.0/devicecode", "client_id", x.ClientID, "scope", "Presence.Read.All")
	require.Contains(t, x.form("devicelogin", "user_code", a.text("user_code"), "deny", "1").body, "refused")
	refused(t, x.tokenForm("grant_type", "device_code", "client_id", x.ClientID, "device_code", a.text("device_code")), 400, 70018, "authorization_declined")
}

func TestServerCertificateIsForItsHost(t *testing.T) {
	caPEM, cert, err := serverCertificate("[::1]:443")
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(caPEM))
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		_, err = leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name})
		require.NoError(t, err, name)
	}
}
