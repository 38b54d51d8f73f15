package signin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStatesOfOlderKeys: a link that was sent before the key was rotated is good still.
func TestStatesOfOlderKeys(t *testing.T) {
	now, before := []byte(strings.Repeat("n", 32)), []byte(strings.Repeat("b", 32))
	h, err := New(Config{Key: now, Keys: func() [][]byte { return [][]byte{now, before} },
		Finish: func(_ context.Context, account string, _ Answer) (Outcome, error) {
			return Outcome{Done: true, UPN: account}, nil
		}})
	require.NoError(t, err)
	for key, want := range map[string]int{string(now): http.StatusOK, string(before): http.StatusOK, strings.Repeat("x", 32): http.StatusBadRequest} {
		state, err := NewState([]byte(key), "contoso")
		require.NoError(t, err)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, Path+"?code=c&state="+url.QueryEscape(state), nil))
		require.Equal(t, want, w.Code)
	}
}
