package graph

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

var inACall = presence.Pair{Availability: presence.Busy, Activity: presence.InACall}

// operations is one call of each operation, with what may be done about a failure that leaves open
// whether it was applied.
type operation struct {
	name       string
	class      class
	repeatable bool
	gone       bool // a 404 is success
	run        func(context.Context, *Client, *Delegated) error
}

func operations() []operation {
	request := goodRequest()
	return []operation{
		{"get presence", classRead, true, false, func(ctx context.Context, c *Client, _ *Delegated) error {
			_, err := c.Presence(ctx, testUser)
			return err
		}},
		{"get presences", classRead, true, false, func(ctx context.Context, c *Client, _ *Delegated) error {
			_, err := c.Presences(ctx, []string{testUser})
			return err
		}},
		{"set presence", classWrite, false, false, func(ctx context.Context, c *Client, _ *Delegated) error {
			return c.SetPresence(ctx, testUser, inACall, 5*time.Minute)
		}},
		{"clear presence", classWrite, false, true, func(ctx context.Context, c *Client, _ *Delegated) error {
			return c.ClearPresence(ctx, testUser)
		}},
		{"set preferred presence", classWrite, false, false, func(ctx context.Context, c *Client, _ *Delegated) error {
			return c.SetPreferredPresence(ctx, testUser, inACall, time.Hour)
		}},
		{"clear preferred presence", classWrite, false, false, func(ctx context.Context, c *Client, _ *Delegated) error {
			return c.ClearPreferredPresence(ctx, testUser)
		}},
		{"set status message", classWrite, false, false, func(ctx context.Context, c *Client, _ *Delegated) error {
			return c.SetStatusMessage(ctx, testUser, "hello", time.Time{})
		}},
		{"list users", classDirectory, true, false, func(ctx context.Context, c *Client, _ *Delegated) error {
			return c.Users(ctx, func(User) error { return nil })
		}},
		{"create subscription", classSubscription, false, false, func(ctx context.Context, _ *Client, d *Delegated) error {
			_, err := d.CreateSubscription(ctx, request)
			return err
		}},
		{"renew subscription", classSubscription, true, false, func(ctx context.Context, _ *Client, d *Delegated) error {
			_, err := d.RenewSubscription(ctx, "sub-1", time.Now().Add(time.Hour))
			return err
		}},
		{"list subscriptions", classList, true, false, func(ctx context.Context, _ *Client, d *Delegated) error {
			_, err := d.ListSubscriptions(ctx)
			return err
		}},
		{"delete subscription", classSubscription, true, true, func(ctx context.Context, _ *Client, d *Delegated) error {
			return d.DeleteSubscription(ctx, "sub-1")
		}},
	}
}

// good answers every operation well.
const goodBody = `{"id":"fa8bf3dc-eca7-46b7-bad1-db199b62afc3","expirationDateTime":"2026-11-25T10:00:00.1234567Z","value":[]}`

// delegated is a signed-in user of the tenant.
func (tn *tenant) delegated(c *Client) *Delegated {
	current := "refresh-token-0"
	tn.mu.Lock()
	tn.login = refreshing(tn, &current)
	tn.mu.Unlock()
	return c.Delegated("presence1@contoso.com", &memoryStore{token: current})
}

// What every operation makes of every answer, under virtual time: kind, repetitions, and nothing more.
func TestAnswersOfGraph(t *testing.T) {
	for _, a := range []struct {
		name        string
		status      int
		body        string
		kind        Kind
		repeat      bool // by the operations that may be repeated
		always      bool // by all
		retry, sure bool // Error.Retry, and whether it is sure that nothing was applied
	}{
		{"bad request", 400, graphError("BadRequest", "no"), Refused, false, false, false, true},
		{"validation timed out", 400, graphError("ValidationError", "Subscription validation request timed out."), Transient, true, true, true, true},
		{"wrapped conflict", 400, graphError("BadRequest", "conflict; Reason: A subscripton already exists. It must be deleted before a another can be made"), Conflict, false, false, false, true},
		{"forbidden", 403, graphError("Forbidden", ""), ConsentMissing, false, false, false, true},
		{"quota", 403, graphError("Forbidden", "The maximum limit of subscriptions per tenant has been reached"), Refused, false, false, false, true},
		{"conflict", 409, graphError("Conflict", "Subscription Id <1> already exists for the requested combination"), Conflict, false, false, false, true},
		{"second conflict", 409, graphError("Conflict", "A subscripton already exists. It must be deleted before a another can be made"), Conflict, false, false, false, true},
		{"gone", 410, "", Gone, false, false, false, true},
		{"not implemented", 501, "", Refused, false, false, false, true},
		{"redirect", 302, "", Refused, false, false, false, true},
		{"request timeout", 408, "", Transient, true, false, true, false},
		{"server error", 500, "<html>oops</html>", Transient, true, false, true, false},
		{"bad gateway", 502, "", Transient, true, false, true, false},
		{"unavailable", 503, graphError("ServiceUnavailable", "later"), Transient, true, false, true, false},
		{"gateway timeout", 504, "", Transient, true, false, true, false},
	} {
		for _, op := range operations() {
			t.Run(a.name+"/"+op.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tn := virtual(t)
					tn.graph = inTurn(status(a.status, a.body))
					c := tn.client(tn.onVirtual)
					err := op.run(t.Context(), c, tn.delegated(c))
					if a.kind == Gone && op.gone {
						require.NoError(t, err)
						require.Equal(t, 1, tn.requestCount())
						return
					}
					e := requireKind(t, err, a.kind)
					require.Equal(t, op.name, e.Op)
					require.Equal(t, a.status, e.Status)
					require.Equal(t, "req-1", e.RequestID)
					require.Equal(t, a.retry, e.Retry())
					require.Equal(t, !a.sure, e.Unanswered)
					want := 1
					if a.always || a.repeat && op.repeatable {
						want = maxUnsure
					}
					require.Equal(t, want, tn.requestCount())
				})
			})
		}
	}
}

// After one failure, the operations that may be repeated succeed.
func TestRepeatedAndSucceeded(t *testing.T) {
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tn := virtual(t)
				tn.graph = inTurn(status(503, ""), status(200, goodBody))
				c := tn.client(tn.onVirtual)
				err := op.run(t.Context(), c, tn.delegated(c))
				if op.repeatable {
					require.NoError(t, err)
					require.Equal(t, 2, tn.requestCount())
					return
				}
				require.True(t, requireKind(t, err, Transient).Unanswered)
				require.Equal(t, 1, tn.requestCount())
			})
		})
	}
}

// A 429 was not applied: every operation waits exactly as long as it says, and goes on.
func TestRetryAfterIsObeyedExactly(t *testing.T) {
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tn := virtual(t)
				tn.graph = inTurn(status(429, graphError("TooManyRequests", ""), "Retry-After", "17"), status(429, "", "Retry-After", "3"), status(200, goodBody))
				c := tn.client(tn.onVirtual)
				start := time.Now()
				require.NoError(t, op.run(t.Context(), c, tn.delegated(c)))
				require.Equal(t, 20*time.Second, time.Since(start))
				require.Equal(t, 3, tn.requestCount())
			})
		})
	}
}

func TestThrottlingPausesTheWholeClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		start := time.Now()
		var mu sync.Mutex
		at := map[string][]time.Duration{}
		throttled := false
		tn.graph = func(w http.ResponseWriter, r *seen) {
			mu.Lock()
			defer mu.Unlock()
			at[r.URL.Path] = append(at[r.URL.Path], time.Since(start))
			if strings.HasSuffix(r.URL.Path, "setPresence") && !throttled {
				throttled = true
				reply(w, 429, "", "Retry-After", "30")
				return
			}
			reply(w, 200, goodBody)
		}
		c := tn.client(tn.onVirtual)
		var wg sync.WaitGroup
		wg.Go(func() { require.NoError(t, c.SetPresence(t.Context(), "a", inACall, time.Hour)) })
		synctest.Wait()
		wg.Go(func() { require.NoError(t, c.ClearPresence(t.Context(), "b")) })
		wg.Go(func() {
			_, err := c.Presence(t.Context(), "c")
			require.NoError(t, err)
		})
		wg.Wait()
		require.Equal(t, []time.Duration{0, 30 * time.Second}, at["/v1.0/users/a/presence/setPresence"])
		require.Equal(t, []time.Duration{30 * time.Second}, at["/v1.0/users/b/presence/clearPresence"])
		require.Equal(t, []time.Duration{0}, at["/v1.0/users/c/presence"], "reads are another class")
	})
}

func TestThrottledWithoutRetryAfterBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		var mu sync.Mutex
		var at []time.Time
		tn.graph = func(w http.ResponseWriter, _ *seen) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			if len(at) < 9 {
				reply(w, 429, "")
				return
			}
			reply(w, 200, goodBody)
		}
		c := tn.client(tn.onVirtual)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.NoError(t, c.SetPresence(ctx, testUser, inACall, time.Hour))
		require.Len(t, at, 9, "a 429 is retried for as long as the deadline allows")
		require.Greater(t, at[1].Sub(at[0]), 200*time.Millisecond)
		for i := 1; i < len(at); i++ {
			require.LessOrEqual(t, at[i].Sub(at[i-1]), 30*time.Second, "bounded")
		}
		require.Greater(t, at[8].Sub(at[7]), 3*time.Second, "and growing, whatever the jitter")
	})
}

func TestDeadlineEndsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		tn.graph = inTurn(status(429, graphError("TooManyRequests", "slow down"), "Retry-After", "60"))
		c := tn.client(tn.onVirtual)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		e := requireKind(t, c.SetPresence(ctx, testUser, inACall, time.Hour), Throttled)
		require.Equal(t, time.Minute, e.RetryAfter)
		require.Equal(t, 429, e.Status)
		require.False(t, e.Unanswered)
		require.Zero(t, time.Since(start), "what cannot succeed in time is not waited for")

		// The pause still stands for the next one, which is not even sent.
		e = requireKind(t, c.ClearPresence(ctx, testUser), Throttled)
		require.Equal(t, time.Minute, e.RetryAfter)
		require.True(t, e.Retry())
		require.Equal(t, 1, tn.requestCount())
	})
}

func TestRetryAfterOf503IsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		tn.graph = inTurn(status(503, "", "Retry-After", "40"), status(200, goodBody))
		c := tn.client(tn.onVirtual)
		start := time.Now()
		_, err := c.Presence(t.Context(), testUser)
		require.NoError(t, err)
		require.Equal(t, 40*time.Second, time.Since(start))
	})
}

func TestDefaultDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		tn.graph = inTurn(status(429, "", "Retry-After", "50"))
		c := tn.client(tn.onVirtual)
		start := time.Now()
		e := requireKind(t, c.SetPresence(context.Background(), testUser, inACall, time.Hour), Throttled)
		require.Equal(t, 50*time.Second, e.RetryAfter)
		require.Equal(t, 100*time.Second, time.Since(start), "the third pause would end after two minutes")
	})
}

func TestFreshTokenOnceAfter401(t *testing.T) {
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tn := virtual(t)
				tn.graph = inTurn(status(401, graphError("InvalidAuthenticationToken", "expired")), status(200, goodBody))
				c := tn.client(tn.onVirtual)
				require.NoError(t, op.run(t.Context(), c, tn.delegated(c)))
				require.Equal(t, 2, tn.requestCount())
				require.Equal(t, 2, tn.tokenCount())
				require.NotEqual(t, tn.requests[0].Header.Get("Authorization"), tn.requests[1].Header.Get("Authorization"))
			})
		})
	}
}

func TestSecond401IsUnauthorised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		tn.graph = inTurn(status(401, graphError("InvalidAuthenticationToken", "no")))
		c := tn.client(tn.onVirtual)
		for range 5 {
			e := requireKind(t, c.SetPresence(t.Context(), testUser, inACall, time.Hour), Unauthorised)
			require.Equal(t, "InvalidAuthenticationToken", e.Code)
			require.False(t, e.Retry())
		}
		require.Equal(t, 10, tn.requestCount())
		require.Equal(t, 2, tn.tokenCount(), "the login endpoint is not asked again for each member")
	})
}

func TestConsentGivenLaterIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		tn.graph = func(w http.ResponseWriter, r *seen) {
			if r.Header.Get("Authorization") == "Bearer token-1" {
				reply(w, 403, graphError("Forbidden", ""))
				return
			}
			reply(w, 200, goodBody)
		}
		c := tn.client(tn.onVirtual)
		_, err := c.Presence(t.Context(), testUser)
		requireKind(t, err, ConsentMissing)
		_, err = c.Presence(t.Context(), testUser)
		requireKind(t, err, ConsentMissing)
		time.Sleep(2 * time.Minute)
		_, err = c.Presence(t.Context(), testUser)
		requireKind(t, err, ConsentMissing)
		_, err = c.Presence(t.Context(), testUser)
		require.NoError(t, err, "a token from before the consent is not used to its end")
	})
}

// A connection that breaks while the request is under way, over a real network.
func TestBrokenConnection(t *testing.T) {
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			tn := newTenant(t)
			tn.graph = inTurn(hangUp, status(200, goodBody))
			c := tn.client()
			err := op.run(within(t, time.Minute), c, tn.delegated(c))
			if op.repeatable {
				require.NoError(t, err)
				require.Equal(t, 2, tn.requestCount())
				return
			}
			require.True(t, requireKind(t, err, Transient).Unanswered)
			require.Equal(t, 1, tn.requestCount(), "nobody knows whether it landed: it is not repeated here")
		})
	}
}

func TestAnswerThatBreaksOffIsRepeated(t *testing.T) {
	tn := newTenant(t)
	tn.graph = inTurn(func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte(`{"value":[`))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}, status(200, string(presencesBody(3))))
	list, err := tn.client().Presences(within(t, time.Minute), ids(3))
	require.NoError(t, err)
	require.Len(t, list, 3)
}

func TestSlowAnswerTimesOut(t *testing.T) {
	tn := newTenant(t)
	release := make(chan struct{})
	defer close(release)
	tn.graph = func(http.ResponseWriter, *seen) { <-release }
	c := tn.client()
	require.NoError(t, c.Verify(t.Context()))
	c.cfg.Timeout = 500 * time.Millisecond
	e := requireKind(t, c.SetPresence(within(t, time.Minute), testUser, inACall, time.Hour), Transient)
	require.True(t, e.Unanswered)
	require.ErrorIs(t, e, context.DeadlineExceeded)
	require.Equal(t, 1, tn.requestCount())
}

func TestNothingListens(t *testing.T) {
	tn := newTenant(t)
	dead := httptest.NewTLSServer(http.NotFoundHandler())
	dead.Close()
	c := tn.client(func(cfg *Config) { cfg.Endpoints.Graph = dead.URL })
	e := requireKind(t, c.SetPresence(within(t, 300*time.Millisecond), testUser, inACall, time.Hour), Transient)
	require.False(t, e.Unanswered, "it never went out")
	require.NotContains(t, e.Error(), testUser)
}

func TestCancelledBeforeSending(t *testing.T) {
	tn := newTenant(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := tn.client().SetPresence(ctx, testUser, inACall, time.Hour)
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, requireKind(t, err, Transient).Unanswered)
	require.Zero(t, tn.requestCount())
}

func TestForeignLinkGetsNoToken(t *testing.T) {
	var mu sync.Mutex
	stolen := 0
	foreign := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		stolen++
	}))
	defer foreign.Close()
	tn := newTenant(t)
	home, err := url.Parse(tn.graphURL)
	require.NoError(t, err)
	for name, link := range map[string]string{
		"another host": foreign.URL + "/v1.0/users?$skiptoken=x",
		"another port": "https://" + home.Hostname() + ":1/v1.0/users",
		"no port":      "https://" + home.Hostname() + "/v1.0/users",
		"plain":        "http://" + home.Host + "/v1.0/users",
		"user":         "https://" + home.Host + "@" + strings.TrimPrefix(foreign.URL, "https://") + "/v1.0/users",
		"userinfo":     "https://x:y@" + home.Host + "/v1.0/users",
		"nonsense":     "::::",
		"relative":     "/v1.0/users",
	} {
		t.Run(name, func(t *testing.T) {
			next, _ := json.Marshal(link)
			tn.graph = func(w http.ResponseWriter, r *seen) {
				reply(w, 200, `{"value":[{"id":"1"}],"@odata.nextLink":`+string(next)+`}`)
			}
			before := tn.requestCount()
			c := tn.client()
			requireKind(t, c.Users(t.Context(), func(User) error { return nil }), Refused)
			_, err := tn.delegated(c).ListSubscriptions(t.Context())
			requireKind(t, err, Refused)
			require.Equal(t, before+2, tn.requestCount())
		})
	}
	require.Zero(t, stolen)
}

func TestRedirectIsNotFollowed(t *testing.T) {
	tn := newTenant(t)
	hits := 0
	foreign := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits++ }))
	defer foreign.Close()
	tn.graph = inTurn(status(307, "", "Location", foreign.URL))
	_, err := tn.client().Presence(t.Context(), testUser)
	requireKind(t, err, Refused)
	require.Zero(t, hits)
}

func TestConnectionsAreReusedAndHTTP2IsSpoken(t *testing.T) {
	tn := newTenant(t)
	var mu sync.Mutex
	connections, protos := map[string]bool{}, map[string]bool{}
	tn.graph = func(w http.ResponseWriter, r *seen) {
		mu.Lock()
		connections[r.RemoteAddr], protos[r.Proto] = true, true
		mu.Unlock()
		require.Empty(t, r.Header.Get("Content-Encoding"))
		require.Empty(t, r.TransferEncoding)
		require.Equal(t, int64(len(r.body)), r.ContentLength)
		reply(w, 200, goodBody)
	}
	c := tn.client()
	for range 10 {
		require.NoError(t, c.SetPresence(t.Context(), testUser, inACall, time.Hour))
		_, err := c.Presences(t.Context(), ids(650))
		require.NoError(t, err)
	}
	require.Len(t, connections, 1)
	require.Equal(t, map[string]bool{"HTTP/2.0": true}, protos)
	require.Equal(t, 1, tn.tokenCount())
}
