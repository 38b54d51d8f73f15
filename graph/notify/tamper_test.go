package notify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestTamperedContentIsRefused changes one byte or cuts each of the three parts of a rich item, before
// base64 and in it.
func TestTamperedContentIsRefused(t *testing.T) {
	w := newWorld(t)
	token := []string{w.token()}
	good := w.seal(alice, "Busy", "InACall")
	rapid.Check(t, func(t *rapid.T) {
		s := sealed{Key: good.Key, ID: "c1", Data: clone(good.Data), Signature: clone(good.Signature), WrappedKey: clone(good.WrappedKey)}
		part := rapid.SampledFrom([]*[]byte{&s.Data, &s.Signature, &s.WrappedKey}).Draw(t, "part")
		at := rapid.IntRange(0, len(*part)-1).Draw(t, "at")
		switch rapid.SampledFrom([]string{"flip", "cut", "grow", "swap"}).Draw(t, "how") {
		case "flip":
			(*part)[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		case "cut":
			*part = (*part)[:at]
		case "grow":
			*part = append(*part, (*part)[:at+1]...)
		case "swap":
			if to := (at + 16) % len(*part); (*part)[at] != (*part)[to] {
				(*part)[at], (*part)[to] = (*part)[to], (*part)[at]
			} else {
				(*part)[at] ^= 1
			}
		}
		got := w.one(token, richItem(alice, s))
		want := map[*[]byte]Reason{&s.Data: ReasonSignature, &s.Signature: ReasonSignature, &s.WrappedKey: ReasonDataKey}[part]
		if len(*part) == 0 {
			want = ReasonContentIncomplete
		}
		assert.Equal(t, want.String(), ReasonOf(got.Err).String())
		assert.True(t, got.Pair.IsZero())
	})
}

// TestTamperedTextIsRefused changes one character of the base64 as written: no two spellings are the same.
func TestTamperedTextIsRefused(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_ !"
	w := newWorld(t)
	token := []string{w.token()}
	object := new(w.seal(alice, "Busy", "InACall")).object()
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.SampledFrom([]string{"data", "dataSignature", "dataKey"}).Draw(t, "field")
		text := []byte(object[field].(string))
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		c := alphabet[rapid.IntRange(0, len(alphabet)-1).Draw(t, "character")]
		if text[at] == c {
			t.Skip("the same")
		}
		text[at] = c
		item := with(richItem(alice, sealed{}), map[string]any{"encryptedContent": with(object, map[string]any{field: string(text)})})
		got := w.one(token, item)
		assert.Contains(t, []Reason{ReasonContentIncomplete, ReasonDataKey, ReasonSignature}, ReasonOf(got.Err))
	})
}

// TestTamperedTokenIsRefused changes one byte of what a token's three segments stand for.
func TestTamperedTokenIsRefused(t *testing.T) {
	w := newWorld(t)
	good := w.token()
	item := richItem(alice, w.seal(alice, "Busy", "InACall"))
	require.NoError(t, w.one([]string{good}, item).Err)
	rapid.Check(t, func(t *rapid.T) {
		w.pass(DefaultKeyMinInterval) // the bound on fetches is not the subject
		parts := strings.Split(good, ".")
		i := rapid.IntRange(0, 2).Draw(t, "segment")
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		require.NoError(t, err)
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		parts[i] = base64.RawURLEncoding.EncodeToString(b)
		r := w.decode(bodyOf(w.t, []string{strings.Join(parts, ".")}, item))
		require.Error(t, r.Items[0].Err)
		assert.True(t, strings.HasPrefix(ReasonOf(r.Items[0].Err).String(), "token_"), "%v", r.Items[0].Err)
	})
}

// TestPoisonNeverCostsNeighbours puts any JSON value, or an item with any member replaced by one, among
// good items.
func TestPoisonNeverCostsNeighbours(t *testing.T) {
	w := newWorld(t)
	token := []string{w.token()}
	good := richItem(alice, w.seal(alice, "Busy", "InACall"))
	names := []string{"clientState", "tenantId", "resource", "resourceData", "encryptedContent", "changeType", "lifecycleEvent", "subscriptionId",
		"subscriptionExpirationDateTime", "organizationId"}
	rapid.Check(t, func(t *rapid.T) {
		poison := anyJSON(3).Draw(t, "poison")
		if rapid.Bool().Draw(t, "in a member") {
			poison = with(good, map[string]any{rapid.SampledFrom(names).Draw(t, "member"): poison})
		}
		r := w.decode(bodyOf(w.t, token, good, poison, good))
		require.NoError(t, r.Err)
		require.Len(t, r.Items, 3)
		require.NoError(t, r.Items[0].Err)
		require.NoError(t, r.Items[2].Err)
		assert.Equal(t, "Busy/InACall", r.Items[2].Pair.String())
	})
}

// TestHeadsAndDecoderAgree compares what the receiver and the decoder see in any body.
func TestHeadsAndDecoderAgree(t *testing.T) {
	w := newWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		body, err := json.Marshal(map[string]any{"value": anyJSON(4).Draw(t, "value"), "validationTokens": anyJSON(2).Draw(t, "tokens")})
		require.NoError(t, err)
		agree(t, w, body)
	})
}

// agree fails when the receiver and the decoder see different things in a body.
func agree(t require.TestingT, w *world, body []byte) {
	var heads []Head
	headErr := ScanHeads(body, func(h Head) bool { heads = append(heads, h); return true })
	r := w.decoder.Decode(context.Background(), body, nil)
	require.Equal(t, headErr != nil, ReasonOf(r.Err) == ReasonMalformedBody, "%v, %v", headErr, r.Err)
	if headErr != nil {
		return
	}
	require.Len(t, r.Items, len(heads))
	for i, h := range heads {
		it := r.Items[i]
		require.Equal(t, h.ClientState, it.ClientState)
		require.Equal(t, h.SubscriptionID, it.SubscriptionID)
		require.Equal(t, normalID(h.TenantID), it.TenantID)
		require.Equal(t, h.LifecycleEvent, it.LifecycleEvent)
		require.Equal(t, i, h.Index)
		if h.Malformed {
			require.Equal(t, ReasonMalformedItem, ReasonOf(it.Err))
		}
	}
}

// anyJSON draws any JSON value, with a liking for the names that matter.
func anyJSON(depth int) *rapid.Generator[any] {
	leaf := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Float64Range(-1e9, 1e9).AsAny(), rapid.String().AsAny(),
		rapid.SampledFrom([]any{goodState, tenant, alice, "updated", "missed", "unknownFutureValue", "2026-01-02T03:04:05.1234567"}),
	}
	if depth == 0 {
		return rapid.OneOf(leaf...)
	}
	inner := rapid.Deferred(func() *rapid.Generator[any] { return anyJSON(depth - 1) })
	name := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"clientState", "tenantId", "id", "@odata.id", "@odata.type", "data", "dataKey", "dataSignature", "resourceData", "encryptedContent", "lifecycleEvent", "changeType",
	}))
	return rapid.OneOf(append(leaf, rapid.SliceOfN(inner, 0, 4).AsAny(), rapid.MapOfN(name, inner, 0, 6).AsAny())...)
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }
