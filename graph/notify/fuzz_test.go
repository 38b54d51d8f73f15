package notify

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// seeds are bodies that a fuzzer should start from; good ones, and each trap.
func seeds(t testing.TB, w *world) []string {
	t.Helper()
	rich := richItem(alice, w.seal(alice, "Busy", "InACall"))
	return []string{
		docBasic, docLifecycle, "", "{}", `{"value":[]}`, `{"value":null,"validationTokens":null}`, "\ufeff{}", `{"value":[{},]}`,
		string(bodyOf(t, []string{w.token()}, rich)), string(bodyOf(t, nil, rich, nil, 5, rich)),
		string(bodyOf(t, []any{nil, 3}, with(rich, map[string]any{"resourceData": nil}))),
		`{"value":[{"clientState":"\ud800","client\u0053tate":1}],"value":[{}]}`,
		`{"value":[` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `]}`,
		`{"value":[{"clientState":"state-of-ours","lifecycleEvent":"missed","subscriptionExpirationDateTime":"2026-11-20T18:23:45.9356913+00:00"}]}`,
		`{"value":[{"clientState":"state-of-ours","changeType":"updated","resource":"communications/presences('x')"}]}`,
	}
}

func FuzzScanHeads(f *testing.F) {
	w := newWorld(f)
	for _, s := range seeds(f, w) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		items := 0
		err := ScanHeads(body, func(h Head) bool {
			require.Equal(t, items, h.Index)
			items++
			return true
		})
		// What the standard library takes for JSON is taken here, up to the nesting that it allows; and
		// what is taken here without a repair is JSON there.
		trimmed := strings.TrimPrefix(string(body), "\ufeff")
		if _, repaired := dropTrailingCommas([]byte(trimmed)); json.Valid([]byte(trimmed)) {
			require.NoError(t, err)
		} else if !repaired {
			require.Error(t, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	w := newWorld(f)
	for _, s := range seeds(f, w) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		agree(t, w, body)
		r := w.decoder.Decode(context.Background(), body, nil)
		for i := range r.Items {
			it := &r.Items[i]
			if it.Err == nil {
				require.Equal(t, goodState, it.ClientState)
				require.Equal(t, it.Kind == Rich, !it.Pair.IsZero())
				require.True(t, it.UserID != "" || (it.Kind != Rich && it.Kind != Basic))
			}
			require.NotEqual(t, ReasonCancelled, ReasonOf(it.Err))
		}
		d, err := Describe(context.Background(), DescribeOptions{Keys: []Certificate{{Key: testKeys()["content"]}}, JWKS: w.issuer.set()}, body)
		require.NoError(t, err)
		require.NoError(t, d.WriteText(discard{}))
		_, err = json.Marshal(d)
		require.NoError(t, err)
	})
}

// FuzzPlaintext is about what stands behind the HMAC: the sender may be right and the content not.
func FuzzPlaintext(f *testing.F) {
	for _, s := range []string{plainPresenceJSON(alice, "Busy", "Busy"), "", "null", "[]", `{"id":1}`, "\ufeff{}", `{"availability":"a","activity":"b","availability":"c"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		it := Item{UserID: alice}
		if err := it.fill(plain); err == nil {
			require.False(t, it.Pair.IsZero())
			require.Equal(t, alice, it.UserID)
		} else {
			require.True(t, it.Pair.IsZero())
		}
	})
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2024-04-19T23:58:00.4569264", "2023-09-14T10:00:00.0000000Z", "2020-01-01T00:00:00+00:00", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if at, err := ParseTime(s); err == nil {
			again, err := ParseTime(at.Format("2006-01-02T15:04:05.999999999Z07:00"))
			require.NoError(t, err)
			require.True(t, at.Equal(again))
		}
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
