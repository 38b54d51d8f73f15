package notify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

func TestDecodeRich(t *testing.T) {
	for _, version := range []string{"1.0", "2.0"} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t)
			claims := claimsV2(w.clock())
			if version == "1.0" {
				claims = claimsV1(w.clock())
			}
			r := w.decode(bodyOf(t, []string{jwt256(testKeys()["sign"], "k1", claims)}, richItem(alice, w.seal(alice, "busy", "inACall"))))
			require.NoError(t, r.Err)
			require.Len(t, r.Items, 1)
			assert.Equal(t, Item{
				Kind: Rich, SubscriptionID: "37a10357-9c28-4cb8-8a4f-a85a1e9b5a7b", TenantID: tenant, ClientState: goodState, ChangeType: "updated",
				UserID: alice, Pair: presence.Pair{Availability: "Busy", Activity: "InACall"}, CertificateID: "c1",
				Expiration: time.Date(2023, 9, 14, 10, 0, 0, 0, time.UTC),
			}, r.Items[0])
			require.Len(t, r.Tokens, 1)
			assert.Equal(t, version, r.Tokens[0].Version)
			assert.NoError(t, r.Tokens[0].Err)
			_, retry := r.Retry()
			assert.False(t, retry)
		})
	}
}

func TestDecodeDocSamples(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.CheckClientState = func(s string) bool { return s == "PresenceTesting" || s == "secret" }
	})
	r := w.decode([]byte(docBasic))
	require.NoError(t, r.Err)
	assert.True(t, r.Oddities.Has(OddityTrailingComma))
	assert.Equal(t, []Item{{
		Kind: Basic, SubscriptionID: "37a10357-9c28-4cb8-8a4f-a85a1e9b5a7b", TenantID: tenant, ClientState: "PresenceTesting",
		ChangeType: "updated", UserID: alice, Expiration: time.Date(2024, 4, 19, 23, 58, 0, 456926400, time.UTC),
	}}, r.Items)
	assert.Empty(t, r.Tokens)

	r = w.decode([]byte(docLifecycle))
	require.NoError(t, r.Err)
	assert.Equal(t, []Item{{
		Kind: Lifecycle, SubscriptionID: "0c9d6a1d-5e4b-4e0b-9d49-0f0a0f3d1c11", TenantID: tenant, ClientState: "secret",
		LifecycleEvent: "reauthorizationRequired", Expiration: time.Date(2019, 3, 20, 11, 0, 0, 0, time.UTC),
	}}, r.Items)
	assert.Zero(t, w.issuer.fetches.Load(), "items without content need no tokens and no keys")
	assert.InDelta(t, 1, testutil.ToFloat64(w.decoder.metrics.oddities.WithLabelValues("contoso", "trailing_comma")), 0)
}

// TestDecodeRefusals spoils one thing at a time; nothing else may be wrong.
func TestDecodeRefusals(t *testing.T) {
	w := newWorld(t)
	content := &testKeys()["content"].PublicKey
	good := func() sealed { return w.seal(alice, "Busy", "InACall") }
	item := func(changes map[string]any) map[string]any { return with(richItem(alice, good()), changes) }
	encrypted := func(changes map[string]any) map[string]any {
		s := good()
		return item(map[string]any{"encryptedContent": with(s.object(), changes)})
	}
	plain := func(text string) map[string]any { return richItem(alice, seal(content, "c1", text)) }
	spoilt := func(f func(*sealed)) map[string]any { s := good(); f(&s); return richItem(alice, s) }

	for _, c := range []struct {
		name string
		item any
		want Reason
	}{
		{"null item", json.RawMessage(`null`), ReasonMalformedItem},
		{"item of the wrong type", "item", ReasonMalformedItem},
		{"clientState of the wrong type", item(map[string]any{"clientState": 5}), ReasonMalformedItem},
		{"expiration of the wrong type", item(map[string]any{"subscriptionExpirationDateTime": 5}), ReasonMalformedItem},
		{"resourceData of the wrong type", item(map[string]any{"resourceData": []int{1}}), ReasonMalformedItem},
		{"id of the wrong type", item(map[string]any{"resourceData": map[string]any{"id": 4}}), ReasonMalformedItem},
		{"content of the wrong type", item(map[string]any{"encryptedContent": "x"}), ReasonMalformedItem},
		{"data of the wrong type", encrypted(map[string]any{"data": 4}), ReasonMalformedItem},
		{"content twice", json.RawMessage(`{"clientState":"state-of-ours","encryptedContent":{},"encryptedContent":{}}`), ReasonMalformedItem},
		{"no clientState", item(map[string]any{"clientState": nil}), ReasonClientState},
		{"empty clientState", item(map[string]any{"clientState": ""}), ReasonClientState},
		{"foreign clientState", item(map[string]any{"clientState": "x"}), ReasonClientState},
		{"foreign clientState, basic", item(map[string]any{"clientState": "x", "encryptedContent": nil}), ReasonClientState},
		{"foreign clientState, lifecycle", map[string]any{"clientState": "x", "lifecycleEvent": "missed"}, ReasonClientState},
		{"no tenant", item(map[string]any{"tenantId": nil, "organizationId": nil}), ReasonTenant},
		{"foreign tenant", item(map[string]any{"tenantId": alice}), ReasonTenant},
		{"foreign tenant, basic", item(map[string]any{"tenantId": alice, "encryptedContent": nil}), ReasonTenant},
		{"foreign tenant, lifecycle", map[string]any{"clientState": goodState, "lifecycleEvent": "missed", "tenantId": alice}, ReasonTenant},
		{"basic without user", item(map[string]any{"encryptedContent": nil, "resourceData": nil, "resource": nil}), ReasonNoUser},
		{"empty content", item(map[string]any{"encryptedContent": map[string]any{}}), ReasonContentIncomplete},
		{"unknown certificate", encrypted(map[string]any{"encryptionCertificateId": "c9"}), ReasonUnknownCertificate},
		{"no certificate id", encrypted(map[string]any{"encryptionCertificateId": nil, "encryptionCertificateThumbprint": nil}), ReasonContentIncomplete},
		{"no data", encrypted(map[string]any{"data": nil}), ReasonContentIncomplete},
		{"no key", encrypted(map[string]any{"dataKey": nil}), ReasonContentIncomplete},
		{"no signature", encrypted(map[string]any{"dataSignature": nil}), ReasonContentIncomplete},
		{"data not base64", encrypted(map[string]any{"data": "!"}), ReasonContentIncomplete},
		{"signature in base64url", encrypted(map[string]any{"dataSignature": "__-_"}), ReasonContentIncomplete},
		{"short data key", encrypted(map[string]any{"dataKey": "AAAA"}), ReasonDataKey},
		{"data key for another certificate", spoilt(func(s *sealed) { s.wrap(&testKeys()["rotated"].PublicKey) }), ReasonDataKey},
		{"key of 16 bytes", spoilt(func(s *sealed) { s.Key = s.Key[:16]; s.wrap(content) }), ReasonDataKey},
		{"short signature", spoilt(func(s *sealed) { s.Signature = s.Signature[:31] }), ReasonSignature},
		{"signature of another key", spoilt(func(s *sealed) { s.Key[0] ^= 1; s.sign() }), ReasonSignature},
		{"signature of the plaintext", spoilt(func(s *sealed) { d := s.Data; s.Data = []byte("x"); s.sign(); s.Data = d }), ReasonSignature},
		{"no whole blocks", spoilt(func(s *sealed) { s.Data = s.Data[:17]; s.sign() }), ReasonDecrypt},
		{"padding of 0", spoilt(func(s *sealed) { s.encrypt(make([]byte, 32)) }), ReasonDecrypt},
		{"padding of 17", spoilt(func(s *sealed) { s.encrypt([]byte(strings.Repeat("\x11", 32))) }), ReasonDecrypt},
		{"padding of different bytes", spoilt(func(s *sealed) { s.encrypt([]byte(strings.Repeat(" ", 13) + "\x01\x02\x03")) }), ReasonDecrypt},
		{"nothing in it", spoilt(func(s *sealed) { s.encrypt([]byte(strings.Repeat("\x10", 16))) }), ReasonPlaintext},
		{"not JSON in it", plain("Busy"), ReasonPlaintext},
		{"JSON cut short", plain(`{"availability":"Busy"`), ReasonPlaintext},
		{"more than one value", plain(`{} {}`), ReasonPlaintext},
		{"an array in it", plain(`[]`), ReasonPlaintext},
		{"availability of the wrong type", plain(`{"availability":1,"activity":"Busy"}`), ReasonPlaintext},
		{"somebody else in it", richItem(alice, seal(content, "c1", plainPresenceJSON(appID, "Busy", "Busy"))), ReasonUserMismatch},
		{"somebody else in its @odata.id", plain(`{"@odata.id":"users/` + appID + `/presence","availability":"Busy","activity":"Busy"}`), ReasonUserMismatch},
		{"no availability", plain(`{"activity":"Busy"}`), ReasonNoPresence},
		{"null activity", plain(`{"availability":"Busy","activity":null}`), ReasonNoPresence},
		{"not a presence in it", plain(`{"@odata.type":"#microsoft.graph.chatMessage","availability":"Busy","activity":"Busy"}`), ReasonNoPresence},
		{"no user anywhere", with(richItem(alice, seal(content, "c1", `{"availability":"Busy","activity":"Busy"}`)), map[string]any{"resourceData": nil}), ReasonNoUser},
	} {
		t.Run(c.name, func(t *testing.T) {
			neighbour := richItem(alice, good())
			r := w.decode(bodyOf(t, []string{w.token()}, neighbour, c.item, neighbour))
			require.NoError(t, r.Err)
			require.Len(t, r.Items, 3)
			require.NoError(t, r.Items[0].Err, "a neighbour")
			require.NoError(t, r.Items[2].Err, "a neighbour")
			assert.Equal(t, c.want.String(), ReasonOf(r.Items[1].Err).String(), "%v", r.Items[1].Err)
			assert.True(t, r.Items[1].Pair.IsZero(), "what was refused shows nothing")
			_, retry := r.Retry()
			assert.False(t, retry)
		})
	}
}

func TestDecodeBodies(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxBody = 30000 })
	for _, c := range []struct {
		name, body string
		want       Reason
	}{
		{"not JSON", "{", ReasonMalformedBody},
		{"too large", `{"x":"` + strings.Repeat("a", 30000) + `"}`, ReasonTooLarge},
		{"no value", `{}`, ReasonNoItems},
		{"value null", `{"value":null}`, ReasonNoItems},
		{"not an object", `[]`, ReasonNoItems},
		{"too deep", `{"value":[` + strings.Repeat("[", 9999) + strings.Repeat("]", 9999) + `]}`, ReasonMalformedBody},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := w.decode([]byte(c.body))
			assert.Equal(t, c.want.String(), ReasonOf(r.Err).String())
			assert.Empty(t, r.Items)
			assert.InDelta(t, 1, testutil.ToFloat64(w.decoder.metrics.bodies.WithLabelValues("contoso", c.want.String())), 5)
		})
	}
	r := w.decode([]byte("\ufeff" + `{"value":[]}`))
	require.NoError(t, r.Err)
	assert.Equal(t, "bom", r.Oddities.String())
}

func TestDecodeMaxItems(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxItems = 3 })
	assert.NoError(t, w.decode([]byte(`{"value":[{},{},{}]}`)).Err)
	r := w.decode([]byte(`{"value":[{},{}],"value":[{},{}]}`))
	assert.Equal(t, ReasonTooLarge, ReasonOf(r.Err))
	assert.Empty(t, r.Items)
}

func TestEstimateWork(t *testing.T) {
	w := newWorld(t)
	rich := richItem(alice, w.seal(alice, "Busy", "Busy"))
	one := EstimateWork(bodyOf(t, nil, rich))
	ten := EstimateWork(bodyOf(t, nil, repeat(rich, 10)...))
	assert.InDelta(t, 10, float64(ten)/float64(one), 0.1)
	assert.Less(t, EstimateWork([]byte(docBasic)), 10*time.Microsecond)
}

func TestDecodeWhoIsMeant(t *testing.T) {
	w := newWorld(t)
	big := strings.Repeat("%2737a10357-9c28-4cb8-8a4f-a85a1e9b5a7b%27,", 650)
	rd := func(id, odataID any) map[string]any {
		return map[string]any{"id": id, "@odata.id": odataID, "@odata.type": "#Microsoft.Graph.Presence"}
	}
	upper := strings.ToUpper(alice)
	for _, c := range []struct {
		name               string
		data, plain, basic any // resourceData; decrypted id; who a basic item would be about
		resource           string
	}{
		{"id", rd(alice, "users/x/presence"), alice, alice, ""},
		{"id in capitals", rd(upper, nil), alice, alice, ""},
		{"users path", rd(nil, "users/"+alice+"/presence"), nil, alice, ""},
		{"users key", rd(nil, "users('"+alice+"')/presence"), nil, alice, ""},
		{"presences path", rd(nil, "communications/presences/"+alice), nil, alice, ""},
		{"presences key", rd("", "communications/presences('"+alice+"')"), alice, alice, ""},
		{"absolute, escaped", rd(nil, "https://graph.microsoft.com/v1.0/communications/presences(%27"+upper+"%27)"), nil, alice, ""},
		{"decrypted id", rd(nil, nil), upper, "", "communications/presences?$filter=id+in+(" + big + ")"},
		{"no resourceData", nil, alice, "", ""},
		{"resource path", nil, alice, alice, "communications/presences/" + alice},
		{"resource key", nil, alice, alice, "/communications/presences('" + alice + "')"},
		{"filter of one", nil, alice, alice, "communications/presences?$filter=id+in+(%27" + alice + "%27)"},
		{"filter of one, plain", nil, alice, alice, "/communications/presences?$filter=id in ('" + alice + "')"},
		{"filter of two", nil, alice, "", "communications/presences?$filter=id+in+(%27" + alice + "%27,%27" + appID + "%27)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, _ := json.Marshal(map[string]any{"id": c.plain, "availability": "Away", "activity": "Away"})
			it := with(richItem(alice, seal(&testKeys()["content"].PublicKey, "c1", string(text))), map[string]any{"resourceData": c.data, "resource": c.resource})
			got := w.one([]string{w.token()}, it)
			require.NoError(t, got.Err)
			assert.Equal(t, alice, got.UserID)

			got = w.one(nil, with(it, map[string]any{"encryptedContent": nil}))
			assert.Equal(t, c.basic, got.UserID)
			assert.Equal(t, Basic, got.Kind)
			assert.Equal(t, c.basic == "", got.Err != nil)
		})
	}
}

func TestDecodeKinds(t *testing.T) {
	w := newWorld(t)
	content := w.seal(alice, "Busy", "Busy")
	rich := richItem(alice, content)
	for _, c := range []struct {
		name     string
		item     map[string]any
		want     Kind
		oddities string
	}{
		{"lifecycleEvent null", with(rich, map[string]any{"lifecycleEvent": json.RawMessage("null")}), Rich, ""},
		{"unknown changeType", with(rich, map[string]any{"changeType": "unknownFutureValue"}), Rich, "change_type"},
		{"no changeType", with(rich, map[string]any{"changeType": nil}), Rich, ""},
		{"both, with content", with(rich, map[string]any{"lifecycleEvent": "missed"}), Rich, "both_kinds"},
		{"both, without content", with(rich, map[string]any{"lifecycleEvent": "missed", "encryptedContent": nil}), Lifecycle, "both_kinds"},
		{"unknown lifecycle event", map[string]any{"clientState": goodState, "lifecycleEvent": "unknownFutureValue"}, Lifecycle, ""},
		{"content null", with(rich, map[string]any{"encryptedContent": json.RawMessage("null")}), Basic, ""},
		{"another resource", with(rich, map[string]any{"resourceData": map[string]any{"@odata.type": "#Microsoft.Graph.chatMessage"}}), Ignored, ""},
		{"no changeType, a presence", with(rich, map[string]any{"encryptedContent": nil, "changeType": nil}), Basic, ""},
		{"nothing", map[string]any{"clientState": goodState}, Ignored, ""},
		{"organizationId alone", with(rich, map[string]any{"tenantId": nil}), Rich, "organization_only"},
		{"odd time", with(rich, map[string]any{"subscriptionExpirationDateTime": "tomorrow"}), Rich, "time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := w.one([]string{w.token()}, c.item)
			require.NoError(t, got.Err)
			assert.Equal(t, c.want.String(), got.Kind.String())
			assert.Equal(t, c.oddities, got.Oddities.String())
			if got.Kind == Rich {
				assert.Equal(t, "Busy/Busy", got.Pair.String())
			}
		})
	}
}

func TestDecodePlaintextOddities(t *testing.T) {
	w := newWorld(t)
	text := "\ufeff" + `{"id":null,"availability":"inACall","activity":"SomethingNew","sequenceNumber":"A0129311063","x":{"id":"no"}}` + "\r\n"
	got := w.one([]string{w.token()}, richItem(alice, seal(&testKeys()["content"].PublicKey, "c1", text)))
	require.NoError(t, got.Err)
	assert.Equal(t, presence.Pair{Availability: "InACall", Activity: "SomethingNew"}, got.Pair)
	assert.Equal(t, "A0129311063", got.Sequence)
	assert.Equal(t, "bom", got.Oddities.String())
}

func TestDecodeEscapedBase64(t *testing.T) {
	// Some serialisers write + and / of base64 as escapes.
	w := newWorld(t)
	b := string(bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Away", "Away"))))
	i := strings.Index(b, `"encryptedContent"`)
	r := w.decode([]byte(b[:i] + strings.NewReplacer("+", `\u002B`, "/", `\/`).Replace(b[i:])))
	require.Len(t, r.Items, 1)
	require.NoError(t, r.Items[0].Err)
}

func TestDecodeRotation(t *testing.T) {
	w := newWorld(t)
	keys := testKeys()
	oldDER := selfSigned(t, keys["content"], time.Now().Add(-time.Hour)) // expired
	newDER := selfSigned(t, keys["big"], time.Now().Add(time.Hour))
	oldCert, err := NewCertificate("c1", oldDER, keys["content"])
	require.NoError(t, err)
	newCert, err := NewCertificate("c2", newDER, keys["big"])
	require.NoError(t, err)
	require.NoError(t, w.ring.Set(oldCert, newCert))

	text := plainPresenceJSON(alice, "Busy", "Busy")
	byThumb := seal(&keys["big"].PublicKey, "renamed", text)
	byThumb.Thumbprint = hexSHA1(newDER)
	body := bodyOf(t, []string{w.token()},
		richItem(alice, seal(&keys["content"].PublicKey, "c1", text)),
		richItem(alice, seal(&keys["big"].PublicKey, "c2", text)),
		richItem(alice, byThumb))
	r := w.decode(body)
	for i := range r.Items {
		require.NoError(t, r.Items[i].Err, i)
	}
	assert.Equal(t, "second_key", r.Items[2].Oddities.String())

	require.NoError(t, w.ring.Set(newCert))
	r = w.decode(body)
	assert.Equal(t, ReasonUnknownCertificate, ReasonOf(r.Items[0].Err))
	require.NoError(t, r.Items[1].Err)
}

func TestDecodeOrderAndProgress(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Pool = NewPool(3) })
	words := []string{"Available", "Away", "Busy", "DoNotDisturb", "BeRightBack"}
	var items []any
	for i := range 50 {
		items = append(items, richItem(alice, w.seal(alice, words[i%len(words)], "Available")))
	}
	var inside, calls atomic.Int32
	r := w.decoder.Decode(t.Context(), bodyOf(t, []string{w.token()}, items...), func() {
		assert.Equal(t, int32(1), inside.Add(1), "never two at once")
		calls.Add(1)
		inside.Add(-1)
	})
	require.Len(t, r.Items, 50)
	for i := range r.Items {
		require.NoError(t, r.Items[i].Err)
		assert.Equal(t, i, r.Items[i].Index)
		assert.Equal(t, words[i%len(words)], r.Items[i].Pair.Availability)
	}
	assert.Equal(t, int32(50), calls.Load())
}

func TestDecodeCancelled(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Pool = NewPool(1) })
	items := make([]any, 20)
	for i := range items {
		items[i] = richItem(alice, w.seal(alice, "Busy", "Busy"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	r := w.decoder.Decode(ctx, bodyOf(t, []string{w.token()}, items...), func() {
		if n++; n == 3 {
			cancel()
		}
	})
	assert.Equal(t, ReasonCancelled, ReasonOf(r.Err))
	require.ErrorIs(t, r.Err, context.Canceled)
	_, retry := r.Retry()
	assert.True(t, retry)
	require.NoError(t, r.Items[0].Err)
	assert.Equal(t, ReasonCancelled, ReasonOf(r.Items[19].Err))
}

func TestDecodeMetrics(t *testing.T) {
	w := newWorld(t)
	_, err := New(Config{Account: "other", TenantID: tenant, Audiences: []string{appID}, Keys: w.keys, Certificates: w.ring,
		CheckClientState: func(string) bool { return true }, Metrics: w.metrics})
	require.NoError(t, err, "accounts share the collectors")
	body := bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "Busy")), nil)
	w.decode(body)
	w.decode(body)
	m := w.decoder.metrics
	assert.InDelta(t, 2, testutil.ToFloat64(m.items.WithLabelValues("contoso", "rich", "none")), 0)
	assert.InDelta(t, 2, testutil.ToFloat64(m.items.WithLabelValues("contoso", "ignored", "malformed_item")), 0)
	assert.InDelta(t, 2, testutil.ToFloat64(m.bodies.WithLabelValues("contoso", "none")), 0)
	assert.InDelta(t, 1, testutil.ToFloat64(m.tokens.WithLabelValues("contoso", "none", "yes")), 0)
	problems, err := testutil.GatherAndLint(w.metrics)
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestDecodeLogsNoSecrets(t *testing.T) {
	var log strings.Builder
	w := newWorld(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	})
	tok := w.token()
	plain := seal(&testKeys()["content"].PublicKey, "c1", `{"availability":"Secretive"`)
	for _, item := range []map[string]any{
		with(richItem(alice, plain), map[string]any{"clientState": "hush-hush"}), richItem(alice, plain),
		richItem(appID, w.seal(alice, "Busy", "InACall")),
	} {
		for range 5 {
			w.decode(bodyOf(t, []string{tok}, item))
		}
		w.decode(bodyOf(t, []string{"garbage-token." + tok}, richItem(alice, plain)))
	}
	w.decode([]byte(`{"value":[{"clientState":"hush-hush"]}`))
	out := log.String()
	for _, leak := range []string{"hush-hush", "Secretive", "InACall", tok, "garbage-token", alice, base64.StdEncoding.EncodeToString(plain.Data)} {
		assert.NotContains(t, out, leak)
	}
	for _, reason := range []string{"client_state", "plaintext", "user_mismatch", "token_malformed", "malformed_body"} {
		assert.Equal(t, 1, strings.Count(out, "reason="+reason+" "), "%s: once a minute\n%s", reason, out)
	}
}

func TestConfigErrors(t *testing.T) {
	w := newWorld(t)
	ok := Config{TenantID: tenant, Audiences: []string{appID}, Keys: w.keys, Certificates: w.ring, CheckClientState: func(string) bool { return true }}
	for field, spoil := range map[string]func(*Config){
		"TenantID":         func(c *Config) { c.TenantID = "contoso.onmicrosoft.com" },
		"Audiences":        func(c *Config) { c.Audiences = nil },
		"Keys":             func(c *Config) { c.Keys = nil },
		"Certificates":     func(c *Config) { c.Certificates = nil },
		"CheckClientState": func(c *Config) { c.CheckClientState = nil },
	} {
		cfg := ok
		spoil(&cfg)
		_, err := New(cfg)
		assert.ErrorContains(t, err, field)
	}
	for _, u := range []string{"", "http://login.example/keys", "login", "https://"} {
		_, err := NewKeySource(KeySourceConfig{URLV2: u, Client: http.DefaultClient})
		assert.ErrorContains(t, err, "https")
	}
}

func TestReasonsAreLabels(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Reasons() {
		s := r.String()
		assert.Regexp(t, `^[a-z0-9_]+$`, s)
		assert.False(t, seen[s], s)
		seen[s] = true
		err := &Error{Reason: r, Field: "f", Err: errors.New("cause")}
		assert.Contains(t, err.Error(), s)
	}
	assert.Equal(t, "unknown", Reason(200).String())
	assert.Contains(t, (&Error{Reason: ReasonTokenMissing}).Error(), "appRoleAssignmentRequired")
}
