package graph

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestNothingIsSentByWhoMayNot: the answer counts at every single attempt, not once for a call.
func TestNothingIsSentByWhoMayNot(t *testing.T) {
	tn := newTenant(t)
	var may atomic.Bool
	may.Store(true)
	c := tn.client(func(cfg *Config) { cfg.MaySend = may.Load })
	require.NoError(t, c.ClearPresence(t.Context(), testUser))
	sent := tn.requestCount()
	tn.mu.Lock()
	tn.graph = func(w http.ResponseWriter, _ *seen) { // the first attempt fails, and by the second this process may not any more
		may.Store(false)
		reply(w, http.StatusServiceUnavailable, graphError("serviceUnavailable", "later"), "Retry-After", "0")
	}
	tn.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	err := c.ClearPresence(ctx, testUser)
	require.Error(t, err)
	require.Equal(t, sent+1, tn.requestCount(), "one attempt")
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.Error(t, c.ClearPresence(ctx, testUser))
	require.Equal(t, sent+1, tn.requestCount())
	c.Close()
	g := guarded{next: roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("sent") }), maySend: may.Load}
	g.CloseIdleConnections()
}
