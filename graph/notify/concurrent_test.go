package notify

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestConcurrentDecoders shares pool, keys and keyring between decoders while certificates rotate. It is
// for the race detector.
func TestConcurrentDecoders(t *testing.T) {
	pool := NewPool(2)
	w := newWorld(t, func(c *Config) { c.Pool = pool })
	second, err := New(Config{Account: "second", TenantID: tenant, Audiences: []string{appID}, Keys: w.keys, Certificates: w.ring, Pool: pool,
		CheckClientState: func(s string) bool { return s == goodState }, Now: w.clock, Metrics: w.metrics})
	require.NoError(t, err)
	item := richItem(alice, w.seal(alice, "Busy", "Busy"))
	var wg sync.WaitGroup
	for _, d := range []*Decoder{w.decoder, second, w.decoder, second} {
		wg.Go(func() {
			for i := range 5 {
				claims := with(claimsV2(w.clock()), map[string]any{"uti": i})
				r := d.Decode(context.Background(), bodyOf(t, []string{jwt256(testKeys()["sign"], "k1", claims)}, item, item, item), func() {})
				for i := range r.Items {
					assert.NoError(t, r.Items[i].Err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 5 {
			assert.NoError(t, w.ring.Set(Certificate{ID: "c1", Key: testKeys()["content"]}, Certificate{ID: "c2", Key: testKeys()["rotated"]}))
		}
	})
	wg.Wait()
	assert.Equal(t, int64(1), w.issuer.fetches.Load(), "who needs the keys waits for who fetches them")
}

// slowIssuer serves the key k1 at once, and then lets requests hang until released.
type slowIssuer struct {
	*httptest.Server
	asked   atomic.Int32
	hanging chan struct{} // one message per hanging request
	release chan struct{}
}

func newSlowIssuer(t *testing.T) (*slowIssuer, *KeySource) {
	t.Helper()
	s := &slowIssuer{hanging: make(chan struct{}, 10), release: make(chan struct{})}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.asked.Add(1) > 1 {
			s.hanging <- struct{}{}
			select {
			case <-s.release:
			case <-r.Context().Done():
				return
			}
		}
		b, _ := json.Marshal(map[string]any{"keys": []any{jwk("k1", &testKeys()["sign"].PublicKey)}})
		_, _ = w.Write(b)
	}))
	t.Cleanup(s.Close)
	ks, err := NewKeySource(KeySourceConfig{URLV2: s.URL, Client: s.Client()})
	require.NoError(t, err)
	return s, ks
}

func TestKnownKeysDoNotWaitForUnknownOnes(t *testing.T) {
	s, ks := newSlowIssuer(t)
	_, err := ks.key(t.Context(), "2.0", "k1")
	require.Nil(t, err)
	done := make(chan *Error)
	go func() {
		_, err := ks.key(context.Background(), "2.0", "strange")
		done <- err
	}()
	<-s.hanging
	_, err = ks.key(t.Context(), "2.0", "k1")
	require.Nil(t, err)
	close(s.release)
	assert.Equal(t, ReasonTokenUnknownKey, ReasonOf(<-done))
}

func TestWaitingForKeysEndsWithTheContext(t *testing.T) {
	s, ks := newSlowIssuer(t)
	_, err := ks.key(t.Context(), "1.0", "k1")
	require.Nil(t, err)
	first, cancelFirst := context.WithCancel(t.Context())
	second, cancelSecond := context.WithCancel(t.Context())
	fetching, waiting := make(chan *Error), make(chan *Error)
	go func() {
		_, err := ks.key(first, "2.0", "strange")
		fetching <- err
	}()
	<-s.hanging
	go func() {
		_, err := ks.key(second, "2.0", "strange")
		waiting <- err
	}()
	cancelSecond()
	assert.Equal(t, ReasonCancelled, ReasonOf(<-waiting))
	cancelFirst()
	assert.Equal(t, ReasonCancelled, ReasonOf(<-fetching))
}
