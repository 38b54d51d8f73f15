package notify

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// keyServer is a login endpoint whose keys come and go, in virtual time.
type keyServer struct {
	now     time.Time
	up      bool
	keys    map[string]bool
	fetches []time.Time
	served  map[string]time.Time // when a key was last in an answer
	answers []time.Time          // when there was an answer
}

func (s *keyServer) RoundTrip(*http.Request) (*http.Response, error) {
	s.fetches = append(s.fetches, s.now)
	rec := httptest.NewRecorder()
	if !s.up {
		rec.WriteHeader(http.StatusBadGateway)
		return rec.Result(), nil
	}
	s.answers = append(s.answers, s.now)
	list := []any{jwk("always", &testKeys()["sign"].PublicKey)}
	for kid := range s.keys {
		s.served[kid] = s.now
		list = append(list, jwk(kid, &testKeys()["sign"].PublicKey))
	}
	if err := json.NewEncoder(rec).Encode(map[string]any{"keys": list}); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

// TestKeySourceModel lets keys come and go, the server fail and time pass, in any order, and checks what
// KeySource promises.
func TestKeySourceModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &keyServer{now: time.Unix(1e9, 0), up: true, keys: map[string]bool{}, served: map[string]time.Time{}}
		ks, err := NewKeySource(KeySourceConfig{URLV2: "https://login.test/keys", Client: &http.Client{Transport: s}, Now: func() time.Time { return s.now }})
		require.NoError(t, err)
		asked := map[string]time.Time{} // since when a key is asked for in vain
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			kid := fmt.Sprintf("k%d", rapid.IntRange(0, 5).Draw(t, "kid"))
			switch rapid.SampledFrom([]string{"ask", "ask", "ask", "publish", "withdraw", "fail", "pass", "pass long"}).Draw(t, "step") {
			case "publish":
				s.keys[kid] = true
			case "withdraw":
				delete(s.keys, kid)
			case "fail":
				s.up = !s.up
			case "pass":
				s.now = s.now.Add(time.Duration(rapid.IntRange(0, 15).Draw(t, "seconds")) * time.Second)
			case "pass long":
				s.now = s.now.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "minutes")) * time.Minute)
			case "ask":
				s.ask(t, ks, kid, asked)
			}
			s.bounded(t)
		}
	})
}

// ask asks for a key and checks the answer.
func (s *keyServer) ask(t *rapid.T, ks *KeySource, kid string, asked map[string]time.Time) {
	if _, waiting := asked[kid]; !waiting {
		asked[kid] = s.now
	}
	since := asked[kid]
	before := len(s.fetches)
	_, err := ks.key(t.Context(), "2.0", kid)
	switch ReasonOf(err) {
	case ReasonNone:
		delete(asked, kid)
		at, ever := s.served[kid]
		require.True(t, ever, "a key that was never served")
		require.LessOrEqual(t, s.now.Sub(at), DefaultKeyMaxStale+DefaultKeyTTL, "a key that is too old")
	case ReasonTokenUnknownKey:
		require.Less(t, s.now.Sub(s.answers[len(s.answers)-1]), DefaultKeyMinInterval, "refused on old evidence")
		require.True(t, slices.ContainsFunc(s.answers, func(at time.Time) bool { return !at.Before(since) }),
			"refused for good without an answer since it was first asked for")
		if len(s.fetches) > before {
			require.False(t, s.keys[kid], "refused though it was just served")
		}
	case ReasonKeysUnavailable:
		require.Positive(t, err.RetryAfter)
		if len(s.fetches) > before {
			require.False(t, s.up, "postponed though there was an answer")
		}
	default:
		require.Fail(t, "unexpected", "%v", err)
	}
}

// bounded checks every window of fetches against the bound.
func (s *keyServer) bounded(t *rapid.T) {
	for i, from := range s.fetches {
		for j := i; j < len(s.fetches); j++ {
			most := keyFetchBurst + int(s.fetches[j].Sub(from)/DefaultKeyMinInterval)
			require.LessOrEqual(t, j-i+1, most, "fetches %d to %d", i, j)
		}
	}
}

// TestTokenCacheModel compares the cache with a map that forgets nothing.
func TestTokenCacheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 5).Draw(t, "max")
		c := tokenCache{max: most, have: map[[sha256.Size]byte]TokenResult{}}
		all := map[[sha256.Size]byte]TokenResult{}
		now := time.Unix(1e9, 0)
		for range 40 {
			id := [sha256.Size]byte{byte(rapid.IntRange(0, 9).Draw(t, "token"))}
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				res := TokenResult{KeyID: fmt.Sprint(id[0]), Expires: now.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "life")) * time.Second)}
				c.put(id, res, now)
				all[id] = res
				got, ok := c.get(id, now)
				require.True(t, ok, "what was just put is there")
				require.Equal(t, res, got)
			case 1:
				now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			case 2:
				if got, ok := c.get(id, now); ok {
					require.Equal(t, all[id], got)
					require.True(t, got.Expires.After(now), "expired")
				}
			}
			require.LessOrEqual(t, len(c.have), most)
			require.Subset(t, slices.Collect(maps.Keys(all)), slices.Collect(maps.Keys(c.have)))
		}
	})
}
