package notify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTokenRefusals(t *testing.T) {
	w := newWorld(t)
	sign := testKeys()["sign"]
	now := w.clock()
	v1 := func(changes map[string]any) string { return jwt256(sign, "k1", with(claimsV1(now), changes)) }
	v2 := func(changes map[string]any) string { return jwt256(sign, "k1", with(claimsV2(now), changes)) }
	good := v2(nil)
	hs := func(secret []byte) string {
		return jwtWith(map[string]any{"alg": "HS256", "kid": "k1"}, claimsV2(now), func(s string) []byte {
			m := hmac.New(sha256.New, secret)
			m.Write([]byte(s))
			return m.Sum(nil)
		})
	}
	spki, err := x509.MarshalPKIXPublicKey(&sign.PublicKey)
	require.NoError(t, err)
	header := func(h map[string]any) string {
		parts := strings.Split(good, ".")
		return segment(h) + "." + parts[1] + "." + parts[2]
	}
	flip := func(i int) string {
		parts := strings.Split(good, ".")
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		require.NoError(t, err)
		b[len(b)/2] ^= 1
		parts[i] = base64.RawURLEncoding.EncodeToString(b)
		return strings.Join(parts, ".")
	}
	other := "11111111-2222-3333-4444-555555555555"

	for _, c := range []struct {
		name   string
		tokens any
		want   Reason
	}{
		{"null", nil, ReasonTokenMissing},
		{"none", []string{}, ReasonTokenMissing},
		{"null among them", []any{nil}, ReasonTokenMissing},
		{"null beside a good one", []any{good, nil}, ReasonTokenMissing},
		{"empty", []string{""}, ReasonTokenMissing},
		{"a number", []any{5}, ReasonTokenMissing},
		{"a string instead of an array", good, ReasonTokenMissing},
		{"too many", strings.Split(strings.Repeat(good+" ", 65), " "), ReasonTooManyTokens},
		{"no JWT", []string{"abc"}, ReasonTokenMalformed},
		{"three dots", []string{"a.b.c.d"}, ReasonTokenMalformed},
		{"too long", []string{strings.Repeat("a", 20000)}, ReasonTokenMalformed},
		{"claims no JSON", []string{strings.Split(good, ".")[0] + ".eA." + strings.Split(good, ".")[2]}, ReasonTokenMalformed},
		{"critical header", []string{jwtWith(map[string]any{"alg": "RS256", "kid": "k1", "crit": []string{"x"}}, claimsV2(now), func(string) []byte { return []byte("x") })}, ReasonTokenMalformed},
		{"alg none", []string{jwtWith(map[string]any{"alg": "none", "kid": "k1"}, claimsV2(now), func(string) []byte { return nil })}, ReasonTokenAlgorithm},
		{"alg None", []string{jwtWith(map[string]any{"alg": "None", "kid": "k1"}, claimsV2(now), func(string) []byte { return nil })}, ReasonTokenAlgorithm},
		{"alg missing", []string{jwtWith(map[string]any{"kid": "k1"}, claimsV2(now), func(string) []byte { return nil })}, ReasonTokenAlgorithm},
		{"HS256 with the modulus", []string{hs(sign.N.Bytes())}, ReasonTokenAlgorithm},
		{"HS256 with the public key", []string{hs(spki)}, ReasonTokenAlgorithm},
		{"ES256", []string{header(map[string]any{"alg": "ES256", "kid": "k1"})}, ReasonTokenAlgorithm},
		{"PS256 in the header, RS256 signed", []string{header(map[string]any{"alg": "PS256", "kid": "k1"})}, ReasonTokenSignature},
		{"another key id", []string{header(map[string]any{"alg": "RS256", "kid": "k9"})}, ReasonTokenUnknownKey},
		{"no key id", []string{header(map[string]any{"alg": "RS256"})}, ReasonTokenUnknownKey},
		{"another key", []string{jwt256(testKeys()["sign2"], "k1", claimsV2(now))}, ReasonTokenSignature},
		{"signature flipped", []string{flip(2)}, ReasonTokenSignature},
		{"signature missing", []string{strings.Join(strings.Split(good, ".")[:2], ".") + "."}, ReasonTokenSignature},
		{"version missing", []string{v2(map[string]any{"ver": nil})}, ReasonTokenVersion},
		{"version 3", []string{v2(map[string]any{"ver": "3.0"})}, ReasonTokenVersion},
		{"v1 claims of version 2", []string{v1(map[string]any{"ver": "2.0"})}, ReasonTokenIssuer},
		{"v2 issuer in version 1", []string{v1(map[string]any{"iss": claimsV2(now)["iss"]})}, ReasonTokenIssuer},
		{"issuer of another tenant", []string{v2(map[string]any{"iss": "https://login.microsoftonline.com/" + other + "/v2.0"})}, ReasonTokenIssuer},
		{"issuer without its slash", []string{v1(map[string]any{"iss": "https://sts.windows.net/" + tenant})}, ReasonTokenIssuer},
		{"issuer of another cloud", []string{v2(map[string]any{"iss": "https://login.microsoftonline.us/" + tenant + "/v2.0"})}, ReasonTokenIssuer},
		{"issuer missing", []string{v2(map[string]any{"iss": nil})}, ReasonTokenIssuer},
		{"another tenant", []string{v2(map[string]any{"tid": other, "iss": "https://login.microsoftonline.com/" + other + "/v2.0"})}, ReasonTokenTenant},
		{"tenant missing", []string{v2(map[string]any{"tid": nil})}, ReasonTokenTenant},
		{"another audience", []string{v2(map[string]any{"aud": other})}, ReasonTokenAudience},
		{"audiences, none ours", []string{v2(map[string]any{"aud": []string{other, other}})}, ReasonTokenAudience},
		{"audience missing", []string{v2(map[string]any{"aud": nil})}, ReasonTokenAudience},
		{"another publisher", []string{v2(map[string]any{"azp": other})}, ReasonTokenPublisher},
		{"another publisher, v1", []string{v1(map[string]any{"appid": other})}, ReasonTokenPublisher},
		{"appid instead of azp", []string{v2(map[string]any{"azp": nil, "appid": publisher})}, ReasonTokenPublisher},
		{"azp instead of appid", []string{v1(map[string]any{"appid": nil, "azp": publisher})}, ReasonTokenPublisher},
		{"expired", []string{v2(map[string]any{"exp": now.Add(-10 * time.Minute).Unix()})}, ReasonTokenExpired},
		{"no expiry", []string{v2(map[string]any{"exp": nil})}, ReasonTokenExpired},
		{"not yet valid", []string{v2(map[string]any{"nbf": now.Add(10 * time.Minute).Unix()})}, ReasonTokenNotYetValid},
		{"one bad among good ones", []string{good, v1(nil), v2(map[string]any{"aud": other})}, ReasonTokenAudience},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.pass(time.Minute) // so that the bound on fetches plays no role here
			defer w.pass(-time.Minute)
			basic := with(richItem(alice, w.seal(alice, "Busy", "Busy")), map[string]any{"encryptedContent": nil})
			r := w.decode(bodyOf(t, c.tokens, richItem(alice, w.seal(alice, "Busy", "Busy")), basic))
			require.NoError(t, r.Err)
			assert.Equal(t, c.want.String(), ReasonOf(r.Items[0].Err).String(), "%v", r.Items[0].Err)
			require.NoError(t, r.Items[1].Err, "basic items need no token")
			_, retry := r.Retry()
			assert.False(t, retry)
		})
	}
}

func TestTokensAccepted(t *testing.T) {
	w := newWorld(t)
	now := w.clock()
	sign := testKeys()["sign"]
	for name, tokens := range map[string][]string{
		"both versions":      {jwt256(sign, "k1", claimsV1(now)), jwt256(sign, "k1", claimsV2(now))},
		"list of audiences":  {jwt256(sign, "k1", with(claimsV2(now), map[string]any{"aud": []string{"x", appID}}))},
		"capital tenant":     {jwt256(sign, "k1", with(claimsV2(now), map[string]any{"tid": strings.ToUpper(tenant)}))},
		"within the leeway":  {jwt256(sign, "k1", with(claimsV2(now), map[string]any{"exp": now.Add(-time.Minute).Unix()}))},
		"nbf in the leeway":  {jwt256(sign, "k1", with(claimsV2(now), map[string]any{"nbf": now.Add(time.Minute).Unix()}))},
		"no nbf":             {jwt256(sign, "k1", with(claimsV2(now), map[string]any{"nbf": nil}))},
		"the same one twice": {w.token(), w.token()},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.one(tokens, richItem(alice, w.seal(alice, "Busy", "Busy")))
			assert.NoError(t, got.Err)
		})
	}
	assert.Equal(t, int64(1), w.issuer.fetches.Load())
}

func TestTokenAudienceInCapitals(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Audiences = []string{"", strings.ToUpper(appID)} })
	item := richItem(alice, w.seal(alice, "Busy", "Busy"))
	require.NoError(t, w.one([]string{w.token()}, item).Err)
	empty := jwt256(testKeys()["sign"], "k1", with(claimsV2(w.clock()), map[string]any{"aud": ""}))
	assert.Equal(t, ReasonTokenAudience, ReasonOf(w.one([]string{empty}, item).Err), "an empty audience is nobody's")
}

func TestTokenNationalCloud(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Issuers = USGovIssuers() })
	w.issuer.mu.Lock()
	delete(w.issuer.keys["k1"], "issuer")
	w.issuer.mu.Unlock()
	now := w.clock()
	got := w.one([]string{jwt256(testKeys()["sign"], "k1", with(claimsV2(now), map[string]any{"iss": "https://login.microsoftonline.us/" + tenant + "/v2.0"}))}, richItem(alice, w.seal(alice, "Busy", "Busy")))
	require.NoError(t, got.Err)
	got = w.one([]string{w.token()}, richItem(alice, w.seal(alice, "Busy", "Busy")))
	assert.Equal(t, ReasonTokenIssuer, ReasonOf(got.Err))
	assert.Len(t, ChinaIssuers().V2, 2)
}

func TestTokenKeyOfAnotherIssuer(t *testing.T) {
	for issuer, want := range map[string]Reason{
		"https://login.microsoftonline.com/" + appID + "/v2.0":   ReasonTokenUnknownKey,
		"https://login.microsoftonline.us/{tenantid}/v2.0":       ReasonTokenUnknownKey,
		"https://login.microsoftonline.com/" + tenant + "/v2.0":  ReasonNone,
		"https://login.microsoftonline.com/{tenantid}/v2.0":      ReasonNone,
		"https://sts.windows.net/{tenantid}/":                    ReasonNone,
		"https://login.microsoftonline.com.evil.example/{tid}/":  ReasonTokenUnknownKey,
		"https://login.microsoftonline.com/{tenantid}/v2.0/more": ReasonTokenUnknownKey,
	} {
		w := newWorld(t)
		w.issuer.keys["k1"]["issuer"] = issuer
		got := w.one([]string{jwt256(testKeys()["sign"], "k1", claimsV1(w.clock()))}, richItem(alice, w.seal(alice, "Busy", "Busy")))
		assert.Equal(t, want.String(), ReasonOf(got.Err).String(), issuer)
	}
}

func TestTokenKeyForAnotherUse(t *testing.T) {
	for name, change := range map[string]map[string]any{
		"encryption": {"use": "enc"}, "another algorithm": {"alg": "RS512"}, "no id": {"kid": ""},
	} {
		w := newWorld(t)
		w.issuer.publish("k2", &testKeys()["sign2"].PublicKey)
		w.issuer.keys["k1"] = with(w.issuer.keys["k1"], change)
		got := w.one([]string{w.token()}, richItem(alice, w.seal(alice, "Busy", "Busy")))
		assert.Contains(t, []Reason{ReasonTokenUnknownKey, ReasonTokenAlgorithm}, ReasonOf(got.Err), name)
	}
}

func TestTokenCache(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.TokenCache = 4 })
	tok := w.token()
	item := richItem(alice, w.seal(alice, "Busy", "Busy"))
	body := bodyOf(t, []string{tok}, item)
	assert.False(t, w.decode(body).Tokens[0].Cached)
	assert.True(t, w.decode(body).Tokens[0].Cached)

	// A cached token does not outlive its expiry, leeway included.
	w.pass(24*time.Hour + DefaultLeeway - time.Second)
	require.NoError(t, w.decode(body).Items[0].Err)
	w.pass(2 * time.Second)
	assert.Equal(t, ReasonTokenExpired, ReasonOf(w.decode(body).Items[0].Err))

	// It is bounded.
	for i := range 20 {
		claims := with(claimsV2(w.clock()), map[string]any{"uti": i})
		require.NoError(t, w.one([]string{jwt256(testKeys()["sign"], "k1", claims)}, item).Err)
		assert.LessOrEqual(t, len(w.decoder.tokens.cache.have), 4)
	}
}

func TestTokenCacheKeepsOnlyVerified(t *testing.T) {
	w := newWorld(t)
	bad := jwt256(testKeys()["sign2"], "k1", claimsV2(w.clock()))
	for range 3 {
		got := w.one([]string{bad}, richItem(alice, w.seal(alice, "Busy", "Busy")))
		assert.Equal(t, ReasonTokenSignature, ReasonOf(got.Err))
	}
	assert.Empty(t, w.decoder.tokens.cache.have)
}

func TestKeysOutOfReachPostpone(t *testing.T) {
	w := newWorld(t)
	w.issuer.answer(http.StatusServiceUnavailable)
	basic := with(richItem(alice, w.seal(alice, "Busy", "Busy")), map[string]any{"encryptedContent": nil})
	body := bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "Busy")), basic)
	r := w.decode(body)
	assert.Equal(t, ReasonKeysUnavailable, ReasonOf(r.Items[0].Err))
	require.NoError(t, r.Items[1].Err)
	wait, retry := r.Retry()
	assert.True(t, retry)
	assert.Equal(t, DefaultKeyMinInterval, wait)

	// What is refused anyway is refused, keys or no keys.
	r = w.decode(bodyOf(t, []string{w.token(), jwt256(testKeys()["sign"], "k1", with(claimsV2(w.clock()), map[string]any{"aud": "x"}))}, richItem(alice, w.seal(alice, "Busy", "Busy"))))
	assert.Equal(t, ReasonTokenAudience, ReasonOf(r.Items[0].Err))

	w.issuer.answer(http.StatusOK)
	w.pass(wait)
	r = w.decode(body)
	require.NoError(t, r.Items[0].Err)
	_, retry = r.Retry()
	assert.False(t, retry)
}

func TestKeyRotation(t *testing.T) {
	w := newWorld(t)
	item := richItem(alice, w.seal(alice, "Busy", "Busy"))
	require.NoError(t, w.one([]string{w.token()}, item).Err)
	w.pass(time.Minute)
	w.issuer.publish("k2", &testKeys()["sign2"].PublicKey)
	require.NoError(t, w.one([]string{jwt256(testKeys()["sign2"], "k2", claimsV2(w.clock()))}, item).Err)
	assert.Equal(t, int64(2), w.issuer.fetches.Load())
}

func TestKeyFetchesAreBounded(t *testing.T) {
	w := newWorld(t)
	item := richItem(alice, w.seal(alice, "Busy", "Busy"))
	strange := func(kid string) Result {
		return w.decode(bodyOf(t, []string{jwt256(testKeys()["sign2"], kid, claimsV2(w.clock()))}, item))
	}
	for i := range 200 {
		r := strange(fmt.Sprintf("strange-%d", i))
		assert.Contains(t, []Reason{ReasonTokenUnknownKey, ReasonKeysUnavailable}, ReasonOf(r.Items[0].Err))
		require.NoError(t, w.one([]string{w.token()}, item).Err, "known keys are served all the same")
	}
	assert.Equal(t, int64(keyFetchBurst), w.issuer.fetches.Load())

	// Over time there is one fetch per interval, however many ask.
	for range 10 {
		w.pass(DefaultKeyMinInterval)
		for i := range 10 {
			strange(fmt.Sprintf("strange-%d", i))
		}
	}
	assert.LessOrEqual(t, w.issuer.fetches.Load(), int64(keyFetchBurst+10))
	assert.InDelta(t, float64(w.issuer.fetches.Load()), testutil.ToFloat64(w.keys.v2.fetches.WithLabelValues("ok")), 0)
	assert.LessOrEqual(t, len(w.keys.v2.missing), maxMissing)
}

// TestUnknownKeyIsDecidedInTheEnd: while fetching is not allowed a strange key id is not refused, because
// it may have been rotated in; one interval later at most it is decided, even while others ask for more.
func TestUnknownKeyIsDecidedInTheEnd(t *testing.T) {
	w := newWorld(t)
	item := richItem(alice, w.seal(alice, "Busy", "Busy"))
	body := bodyOf(t, []string{jwt256(testKeys()["sign2"], "k2", claimsV2(w.clock()))}, item)
	spend := func() {
		for i := range 5 {
			w.decode(bodyOf(t, []string{jwt256(testKeys()["sign2"], fmt.Sprintf("x%d", i), claimsV2(w.clock()))}, item))
		}
	}
	spend()
	r := w.decode(body)
	assert.Equal(t, ReasonKeysUnavailable, ReasonOf(r.Items[0].Err))
	_, retry := r.Retry()
	require.True(t, retry)

	w.pass(DefaultKeyMinInterval)
	spend() // somebody else's turn
	r = w.decode(body)
	assert.Equal(t, ReasonTokenUnknownKey, ReasonOf(r.Items[0].Err))

	w.issuer.publish("k2", &testKeys()["sign2"].PublicKey)
	w.pass(DefaultKeyMinInterval)
	require.NoError(t, w.decode(body).Items[0].Err)
}

func TestOldKeysWhileFetchingFails(t *testing.T) {
	w := newWorld(t)
	item := richItem(alice, w.seal(alice, "Busy", "Busy"))
	require.NoError(t, w.one([]string{w.token()}, item).Err)
	w.issuer.answer(http.StatusInternalServerError)

	w.pass(DefaultKeyTTL + time.Minute)
	require.NoError(t, w.one([]string{w.token()}, item).Err, "an old key is better than none")
	assert.Equal(t, int64(2), w.issuer.fetches.Load(), "but a new one was asked for")
	w.pass(DefaultKeyMaxStale)
	assert.Equal(t, ReasonKeysUnavailable, ReasonOf(w.one([]string{w.token()}, item).Err))
	w.issuer.answer(http.StatusOK)
	w.pass(time.Minute)
	require.NoError(t, w.one([]string{w.token()}, item).Err)
}

func TestWithdrawnKeyIsForgottenAfterTTL(t *testing.T) {
	w := newWorld(t)
	item := richItem(alice, w.seal(alice, "Busy", "Busy"))
	require.NoError(t, w.one([]string{w.token()}, item).Err)
	w.issuer.publish("k2", &testKeys()["sign2"].PublicKey)
	delete(w.issuer.keys, "k1")
	w.pass(DefaultKeyTTL)
	assert.Equal(t, ReasonTokenUnknownKey, ReasonOf(w.one([]string{w.token()}, item).Err))
}

func TestKeySetPerVersion(t *testing.T) {
	var asked [2]atomic.Int32
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kid, n := "v1", 0
		if strings.Contains(r.URL.Path, "v2.0") {
			kid, n = "v2", 1
		}
		asked[n].Add(1)
		b, _ := json.Marshal(map[string]any{"keys": []any{jwk(kid, &testKeys()["sign"].PublicKey)}})
		_, _ = w.Write(b)
	}))
	defer srv.Close()
	v1, v2 := KeyURLs(srv.URL + "/")
	assert.Equal(t, srv.URL+"/common/discovery/keys", v1)
	assert.Equal(t, srv.URL+"/common/discovery/v2.0/keys", v2)
	ks, err := NewKeySource(KeySourceConfig{URLV1: v1, URLV2: v2, Client: srv.Client()})
	require.NoError(t, err)
	w := newWorld(t, func(c *Config) { c.Keys = ks })
	r := w.decode(bodyOf(t, []string{jwt256(testKeys()["sign"], "v1", claimsV1(w.clock())), jwt256(testKeys()["sign"], "v2", claimsV2(w.clock()))},
		richItem(alice, w.seal(alice, "Busy", "Busy"))))
	require.NoError(t, r.Items[0].Err)
	assert.Equal(t, int32(1), asked[0].Load())
	assert.Equal(t, int32(1), asked[1].Load())
}

func TestKeyFetchErrors(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for name, h := range map[string]http.HandlerFunc{
		"not JSON":        func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no keys":         func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"other object":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"error":"x"}`)) },
		"too long":        func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxKeySetBytes+2)) },
		"away from https": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) },
		"hangs":           func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"small key": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"RSA","kid":"k1","n":"AQAB","e":"AQAB"}]}`))
		},
		"symmetric secret": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","kid":"k1","k":"AAAA"}]}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewTLSServer(h)
			defer srv.Close()
			ks, err := NewKeySource(KeySourceConfig{URLV1: srv.URL, Client: srv.Client(), Timeout: 50 * time.Millisecond})
			require.NoError(t, err)
			w := newWorld(t, func(c *Config) { c.Keys = ks })
			r := w.decode(bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "Busy"))))
			assert.Equal(t, ReasonKeysUnavailable, ReasonOf(r.Items[0].Err), "%v", r.Items[0].Err)
		})
	}
}

func TestTokenRSAFamily(t *testing.T) {
	// PS256 is in the family; signed here with the standard library.
	w := newWorld(t)
	tok := jwtWith(map[string]any{"alg": "PS256", "kid": "k1"}, claimsV2(w.clock()), func(s string) []byte {
		sig, err := signPSS(s)
		require.NoError(t, err)
		return sig
	})
	require.NoError(t, w.one([]string{tok}, richItem(alice, w.seal(alice, "Busy", "Busy"))).Err)
}

// bareTransport answers without setting what net/http's own transport sets.
type bareTransport struct{ body []byte }

func (b bareTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(b.body))}, nil
}

func TestKeysThroughAnyTransport(t *testing.T) {
	w := newWorld(t)
	ks, err := NewKeySource(KeySourceConfig{URLV2: "https://login.test/keys", Client: &http.Client{Transport: bareTransport{w.issuer.set()}}})
	require.NoError(t, err)
	k, fault := ks.key(t.Context(), "2.0", "k1")
	require.Nil(t, fault)
	assert.True(t, testKeys()["sign"].PublicKey.Equal(k.public))
}

func TestKeysBehindARedirect(t *testing.T) {
	w := newWorld(t)
	var seen atomic.Int32
	front := httptest.NewTLSServer(http.RedirectHandler(w.issuer.server.URL, http.StatusFound))
	defer front.Close()
	for name, given := range map[string]func(*http.Request, []*http.Request) error{
		"followed":  nil,
		"counted":   func(*http.Request, []*http.Request) error { seen.Add(1); return nil },
		"forbidden": func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	} {
		client := w.issuer.server.Client()
		client = &http.Client{Transport: client.Transport, CheckRedirect: given}
		ks, err := NewKeySource(KeySourceConfig{URLV2: front.URL, Client: client})
		require.NoError(t, err)
		_, fault := ks.key(t.Context(), "2.0", "k1")
		assert.Equal(t, name == "forbidden", fault != nil, "%s: %v", name, fault)
	}
	assert.Equal(t, int32(1), seen.Load(), "the given client's own rule is kept")
	loop := httptest.NewTLSServer(nil)
	defer loop.Close()
	loop.Config.Handler = http.RedirectHandler(loop.URL, http.StatusFound)
	ks, err := NewKeySource(KeySourceConfig{URLV2: loop.URL, Client: loop.Client()})
	require.NoError(t, err)
	_, fault := ks.key(t.Context(), "2.0", "k1")
	assert.Equal(t, ReasonKeysUnavailable, ReasonOf(fault))
}

// A key counts by its "kid" and its numbers. What a set says beside them in X.509 is optional (RFC 7517 sections 4.6
// to 4.9), and a set in which it is unusual or unreadable is as good as one without.
func TestKeySetIgnoresX509Parameters(t *testing.T) {
	for name, value := range map[string]any{
		"x5c":      []string{"MIIB"},
		"x5t":      "k1",
		"x5t#S256": "not a digest",
		"x5u":      7,
	} {
		t.Run(name, func(t *testing.T) {
			key := jwk("k1", &testKeys()["sign"].PublicKey)
			key[name] = value
			body, err := json.Marshal(map[string]any{"keys": []any{key}})
			require.NoError(t, err)
			keys, err := parseKeySet(body)
			require.NoError(t, err)
			assert.True(t, keys["k1"].public.Equal(&testKeys()["sign"].PublicKey))
		})
	}
}
