package notify

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// describe describes body with what the world has, changed by the given functions.
func (w *world) describe(body []byte, change ...func(*DescribeOptions)) (d *Description, text string) {
	w.t.Helper()
	opts := DescribeOptions{Keys: []Certificate{{ID: "c1", Key: testKeys()["content"]}}, JWKS: w.issuer.set(), Now: w.clock()}
	for _, f := range change {
		f(&opts)
	}
	d, err := Describe(w.t.Context(), opts, body)
	require.NoError(w.t, err)
	var b strings.Builder
	require.NoError(w.t, d.WriteText(&b))
	return d, b.String()
}

func TestDescribeRich(t *testing.T) {
	w := newWorld(t)
	body := bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "InACall")))
	d, text := w.describe(body)
	require.Len(t, d.Items, 1)
	it := d.Items[0]
	assert.Nil(t, it.Problem)
	assert.Equal(t, []Check{CheckOK, CheckOK, CheckOK}, []Check{it.DataKey, it.Signature, it.Decryption})
	assert.Equal(t, []Check{CheckUnchecked, CheckUnchecked}, []Check{it.ClientState, it.Tenant})
	assert.Equal(t, "id", it.Key)
	assert.Equal(t, "Busy/InACall", it.Pair.String())
	assert.True(t, it.Expired)
	assert.JSONEq(t, plainPresenceJSON(alice, "Busy", "InACall"), string(it.Content))
	require.Len(t, d.Tokens, 1)
	assert.Equal(t, CheckOK, d.Tokens[0].Signature)
	assert.Nil(t, d.Tokens[0].Problem)
	assert.Equal(t, "2", d.Tokens[0].Claims["azpacr"])
	assert.Nil(t, d.TokenProblem)
	for _, want := range []string{
		"1 item, 1 validation token", "item 0: rich, a presence: Busy/InACall", "2023-09-14T10:00:00Z (past)", "clientState      there, unchecked",
		`id "c1" (key found by id)`, "data signature   ok", "decryption       ok", "version 2.0, signature ok", "claim azpacr     2", alice,
	} {
		assert.Contains(t, text, want)
	}
	assert.NotContains(t, text, goodState, "the secret is not shown")
	assert.NotContains(t, text, "refused")
}

func TestDescribeSaysWhatIsUnchecked(t *testing.T) {
	w := newWorld(t)
	body := bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "InACall")))
	d, text := w.describe(body, func(o *DescribeOptions) { o.Keys, o.JWKS = nil, nil })
	assert.Equal(t, CheckUnchecked, d.Items[0].Signature)
	assert.Equal(t, "none", d.Items[0].Key)
	assert.Equal(t, ReasonUnknownCertificate, d.Items[0].Problem.Reason)
	assert.Equal(t, CheckUnchecked, d.Tokens[0].Signature)
	assert.Nil(t, d.Tokens[0].Problem)
	assert.Contains(t, text, "signature unchecked")
	assert.Contains(t, text, "(no key given)")
}

func TestDescribeChecksWhatIsGiven(t *testing.T) {
	w := newWorld(t)
	body := bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "InACall")))
	d, _ := w.describe(body, func(o *DescribeOptions) {
		o.TenantID, o.Audiences, o.CheckClientState = strings.ToUpper(tenant), []string{appID}, func(s string) bool { return s == goodState }
	})
	assert.Equal(t, []Check{CheckOK, CheckOK}, []Check{d.Items[0].ClientState, d.Items[0].Tenant})
	assert.Equal(t, []Check{CheckOK, CheckOK}, []Check{d.Tokens[0].Tenant, d.Tokens[0].Aud})

	d, text := w.describe(body, func(o *DescribeOptions) {
		o.TenantID, o.Audiences, o.CheckClientState = alice, []string{alice}, func(string) bool { return false }
	})
	assert.Equal(t, []Check{CheckFailed, CheckFailed}, []Check{d.Items[0].ClientState, d.Items[0].Tenant})
	assert.Equal(t, ReasonClientState, d.Items[0].Problem.Reason)
	assert.Equal(t, "Busy/InACall", d.Items[0].Pair.String(), "it is decrypted all the same")
	assert.Equal(t, []Check{CheckFailed, CheckFailed}, []Check{d.Tokens[0].Tenant, d.Tokens[0].Aud})
	assert.Equal(t, ReasonTokenTenant, d.TokenProblem.Reason)
	assert.Contains(t, text, "there, not one of ours")
	assert.Contains(t, text, "rich items would be refused because of the validation tokens: token_tenant at validationTokens[0].tid")
}

func TestDescribeBareKey(t *testing.T) {
	// A key from a PEM file has no name: it is tried.
	w := newWorld(t)
	keys := testKeys()
	body := bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "InACall")))
	d, text := w.describe(body, func(o *DescribeOptions) { o.Keys = []Certificate{{Key: keys["big"]}, {Key: keys["content"]}} })
	assert.Equal(t, "tried", d.Items[0].Key)
	assert.Equal(t, "Busy/InACall", d.Items[0].Pair.String())
	assert.Contains(t, text, "all were tried")

	d, _ = w.describe(body, func(o *DescribeOptions) { o.Keys = []Certificate{{Key: keys["rotated"]}} })
	assert.Equal(t, CheckFailed, d.Items[0].DataKey)
	assert.Equal(t, ReasonDataKey, d.Items[0].Problem.Reason)
}

func TestDescribeFailures(t *testing.T) {
	w := newWorld(t)
	good := w.seal(alice, "Busy", "InACall")
	signature, padding, plain := good, good, seal(&testKeys()["content"].PublicKey, "c1", "no JSON")
	signature.Signature = make([]byte, 32)
	padding.encrypt(make([]byte, 32))
	d, text := w.describe(bodyOf(t, []string{w.token()}, richItem(alice, signature), richItem(alice, padding), richItem(alice, plain),
		with(richItem(alice, good), map[string]any{"encryptedContent": map[string]any{"encryptionCertificateId": "c1"}})))
	checks := func(i int) []Check {
		return []Check{d.Items[i].DataKey, d.Items[i].Signature, d.Items[i].Decryption}
	}
	assert.Equal(t, []Check{CheckOK, CheckFailed, CheckUnchecked}, checks(0))
	assert.Equal(t, []Check{CheckOK, CheckOK, CheckFailed}, checks(1))
	assert.Equal(t, []Check{CheckOK, CheckOK, CheckOK}, checks(2))
	assert.Equal(t, []Check{CheckUnchecked, CheckUnchecked, CheckUnchecked}, checks(3))
	assert.JSONEq(t, `"no JSON"`, string(d.Items[2].Content))
	for i, want := range []Reason{ReasonSignature, ReasonDecrypt, ReasonPlaintext, ReasonContentIncomplete} {
		assert.Equal(t, want, d.Items[i].Problem.Reason)
	}
	assert.Contains(t, text, "data signature   failed")
	assert.Contains(t, text, "rich, could not be read")
}

func TestDescribeTokens(t *testing.T) {
	w := newWorld(t)
	now := w.clock()
	rich := richItem(alice, w.seal(alice, "Busy", "InACall"))
	expired := jwt256(testKeys()["sign"], "k1", with(claimsV1(now), map[string]any{"exp": now.Add(-time.Hour).Unix()}))
	d, text := w.describe(bodyOf(t, []any{expired, jwt256(testKeys()["sign2"], "k1", claimsV2(now)), jwt256(testKeys()["sign"], "k8", claimsV2(now)), nil, "x.y.z", "hello"}, rich))
	assert.True(t, d.Tokens[0].Expired)
	assert.Equal(t, CheckOK, d.Tokens[0].Signature, "expired, but genuine")
	assert.Equal(t, publisher, d.Tokens[0].Publisher)
	for i, want := range []Reason{ReasonTokenExpired, ReasonTokenSignature, ReasonTokenUnknownKey, ReasonTokenMissing, ReasonTokenMalformed, ReasonTokenMalformed} {
		require.NotNil(t, d.Tokens[i].Problem, i)
		assert.Equal(t, want.String(), d.Tokens[i].Problem.Reason.String(), i)
		assert.Equal(t, i, d.Tokens[i].Index)
	}
	assert.Equal(t, CheckFailed, d.Tokens[1].Signature)
	assert.Contains(t, text, "(past)")

	d, text = w.describe(bodyOf(t, nil, rich))
	assert.Equal(t, ReasonTokenMissing, d.TokenProblem.Reason)
	assert.Contains(t, text, "appRoleAssignmentRequired")
	d, _ = w.describe([]byte(docLifecycle))
	assert.Nil(t, d.TokenProblem, "only rich items need tokens")
}

func TestDescribeOtherBodies(t *testing.T) {
	w := newWorld(t)
	d, text := w.describe([]byte(docBasic))
	assert.Equal(t, Basic, d.Items[0].Kind)
	assert.Equal(t, alice, d.Items[0].UserID)
	assert.Equal(t, []string{"trailing_comma"}, d.Oddities)
	assert.Contains(t, text, "basic, a presence has changed")
	_, text = w.describe([]byte(docLifecycle))
	assert.Contains(t, text, "lifecycle event  reauthorizationRequired")
	d, text = w.describe([]byte(`{"value":`))
	assert.Equal(t, ReasonMalformedBody, d.Problem.Reason)
	assert.Contains(t, text, "malformed_body")
	d, _ = w.describe([]byte(`{}`))
	assert.Equal(t, ReasonNoItems, d.Problem.Reason)
	d, text = w.describe(bodyOf(t, nil, map[string]any{"resource": echoedFilter(650), "changeType": "updated"}, 7,
		map[string]any{"clientState": "a\x1b[31mb", "subscriptionId": "x\x1b[2Jy", "lifecycleEvent": "missed"}))
	assert.Less(t, len(d.Items[0].Resource), 200)
	assert.Contains(t, text, "bytes)")
	assert.NotContains(t, text, "\x1b")
	assert.Equal(t, ReasonMalformedItem, d.Items[1].Problem.Reason)
}

func TestDescribeJSON(t *testing.T) {
	w := newWorld(t)
	d, _ := w.describe(bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "InACall")), 5))
	b, err := json.Marshal(d)
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(b, &m))
	item := m["items"].([]any)[0].(map[string]any)
	assert.Equal(t, "rich", item["kind"])
	assert.Equal(t, "ok", item["data_signature"])
	assert.Equal(t, map[string]any{"availability": "Busy", "activity": "InACall"}, item["presence"])
	assert.Equal(t, "malformed_item", m["items"].([]any)[1].(map[string]any)["problem"].(map[string]any)["reason"])
	assert.Equal(t, publisher, m["tokens"].([]any)[0].(map[string]any)["publisher"])
	assert.NotContains(t, string(b), goodState)
}

func TestDescribeOptionsErrors(t *testing.T) {
	for name, o := range map[string]DescribeOptions{
		"no private key": {Keys: []Certificate{{ID: "x"}}},
		"JWK set":        {JWKS: []byte("x")},
		"RSA signing":    {JWKS: []byte(`{"keys":[]}`)},
	} {
		_, err := Describe(t.Context(), o, []byte("{}"))
		assert.ErrorContains(t, err, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Describe(ctx, DescribeOptions{}, []byte(docBasic))
	require.ErrorIs(t, err, context.Canceled)
}

func TestDescribeWriteError(t *testing.T) {
	w := newWorld(t)
	d, _ := w.describe(bodyOf(t, nil, repeat(map[string]any{"clientState": "x"}, 500)...))
	require.ErrorIs(t, d.WriteText(brokenPipe{}), errBroken)
	require.ErrorIs(t, (&Description{}).WriteText(brokenPipe{}), errBroken)
}

var errBroken = errors.New("broken pipe")

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }

// TestDescribeText shows a whole page, as support sees it.
func TestDescribeText(t *testing.T) {
	w := newWorld(t)
	claims := claimsV1(w.clock())
	spoilt := w.seal(alice, "Busy", "Busy")
	spoilt.Signature[0] ^= 1
	spoilt.Thumbprint = "4B95353E086AD37196606ACF834A14532F03E6DB"
	body := bodyOf(t, []any{jwt256(testKeys()["sign"], "k1", claims)},
		richItem(alice, w.seal(alice, "DoNotDisturb", "Presenting")),
		with(richItem(alice, spoilt), map[string]any{"clientState": nil, "subscriptionExpirationDateTime": "soon", "resource": nil}),
		map[string]any{"lifecycleEvent": "reauthorizationRequired", "clientState": "x", "tenantId": appID})
	d, text := w.describe(body, func(o *DescribeOptions) { o.TenantID = tenant })
	d.Bytes = 0
	_, rest, ok := strings.Cut(text, "\n")
	require.True(t, ok)
	assert.Equal(t, `
item 0: rich, a presence: DoNotDisturb/Presenting
  subscription     37a10357-9c28-4cb8-8a4f-a85a1e9b5a7b
  ends             2023-09-14T10:00:00Z (past)
  tenant           fec73c09-5f32-43fd-b767-9181f871fbcf (ok)
  clientState      there, unchecked
  user             64de7fb3-06d9-44b6-a8e6-c1a17e1a3bc4
  change type      updated
  resource         communications/presences/64de7fb3-06d9-44b6-a8e6-c1a17e1a3bc4
  type             #microsoft.graph.presence
  certificate      id "c1" (key found by id)
  data key         ok
  data signature   ok
  decryption       ok
  content          `+plainPresenceJSON(alice, "DoNotDisturb", "Presenting")+`

item 1: rich, could not be read
  subscription     37a10357-9c28-4cb8-8a4f-a85a1e9b5a7b
  ends             soon
  tenant           fec73c09-5f32-43fd-b767-9181f871fbcf (ok)
  clientState      absent
  user             64de7fb3-06d9-44b6-a8e6-c1a17e1a3bc4
  change type      updated
  type             #microsoft.graph.presence
  oddities         time
  certificate      id "c1", thumbprint 4B95353E086AD37196606ACF834A14532F03E6DB (key found by id)
  data key         ok
  data signature   failed
  decryption       unchecked
  refused          client_state at clientState

item 2: lifecycle, about the subscription itself
  tenant           8e460676-ae3f-4b1e-8790-ee0fb5d6ad2c (failed)
  clientState      there, unchecked
  lifecycle event  reauthorizationRequired
  refused          tenant at tenantId: not the expected tenant (tenant_id must be the directory id of the tenant whose subscription this is)

validation token 0: version 1.0, signature ok
  algorithm        RS256
  key id           k1
  issuer           https://sts.windows.net/fec73c09-5f32-43fd-b767-9181f871fbcf/
  tenant           fec73c09-5f32-43fd-b767-9181f871fbcf (ok)
  audience         8e460676-ae3f-4b1e-8790-ee0fb5d6ad2c (unchecked)
  publisher        0bf30f3b-4a52-48df-9a82-234910c4a086
  valid from       2026-11-20T09:00:00Z
  expires          2026-11-20T17:00:00Z
  claim appid      0bf30f3b-4a52-48df-9a82-234910c4a086
  claim appidacr   2
  claim aud        8e460676-ae3f-4b1e-8790-ee0fb5d6ad2c
  claim exp        1795194000
  claim iat        1795165200
  claim iss        https://sts.windows.net/fec73c09-5f32-43fd-b767-9181f871fbcf/
  claim nbf        1795165200
  claim tid        fec73c09-5f32-43fd-b767-9181f871fbcf
  claim ver        1.0
`, "\n"+strings.TrimPrefix(rest, "\n"))
}
