package graph

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What holds tokens tells none of them, however it is printed.
func TestPrintingTellsNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		current := "refresh-token-0"
		tn.login = refreshing(tn, &current)
		c := tn.client(tn.onVirtual)
		d := c.Delegated("x", &memoryStore{token: current, saveErr: errors.New("full refresh-token-1")})
		require.NoError(t, d.Refresh(t.Context()))
		require.NotEmpty(t, d.unsaved)
		dc := &DeviceCode{UserCode: "ABCD", code: "the-device-code", client: c}
		a := Authorization{ObjectID: "o", RefreshToken: "refresh-token-9"}
		var logs syncBuffer
		for _, h := range []slog.Handler{slog.NewJSONHandler(&logs, nil), slog.NewTextHandler(&logs, nil)} {
			slog.New(h).Info("all", "a", a, "pointer", &a, "dc", dc, "d", d, "group", slog.GroupValue(slog.Any("a", a)))
		}
		text := logs.String() + fmt.Sprintf("%v %+v %#v %v %+v %#v %v %+v %#v %v", a, a, a, dc, dc, dc, d, d, d, &a)
		require.Contains(t, text, "ABCD")
		for _, secret := range []string{"refresh-token", "user-token", "the-device-code", testSecret} {
			require.NotContains(t, text, secret)
		}
	})
}

func TestAnswerThatIsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		huge := strings.Repeat("x", maxBody+1)
		tn.graph = inTurn(status(200, huge), status(200, string(presencesBody(2))))
		list, err := tn.client(tn.onVirtual).Presences(t.Context(), ids(2))
		require.NoError(t, err, "it is taken as broken")
		require.Len(t, list, 2)
	})
}

// Over HTTP/1.1 connections are kept for the next requests as well.
func TestConnectionsAreReusedOverHTTP1(t *testing.T) {
	tn := newTenant(t)
	var mu sync.Mutex
	connections := map[string]bool{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		connections[r.RemoteAddr] = r.ProtoMajor == 1
		mu.Unlock()
		reply(w, 200, goodBody)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS() // HTTP/1.1 only
	defer server.Close()
	c := tn.client(func(cfg *Config) { cfg.Endpoints.Graph = server.URL })
	for range 5 {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { require.NoError(t, c.SetPresence(t.Context(), testUser, inACall, time.Hour)) })
		}
		wg.Wait()
	}
	// Go may open a connection while another becomes free, so a few more than eight can be.
	require.LessOrEqual(t, len(connections), 16)
	for _, one := range connections {
		require.True(t, one)
	}
}

// The client that fetches keys trusts the CA file and carries no token.
func TestHTTPClientCarriesNoToken(t *testing.T) {
	tn := newTenant(t)
	c := tn.client()
	require.NoError(t, c.Verify(t.Context()))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tn.graphURL+"/keys", nil)
	require.NoError(t, err)
	response, err := c.HTTPClient().Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Empty(t, tn.requests[0].Header.Get("Authorization"))
}

func TestLoginThatDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		c := tn.client(tn.onVirtual, func(cfg *Config) { cfg.TenantID = "another-tenant" })
		e := requireKind(t, c.Verify(t.Context()), Refused)
		require.Equal(t, 404, e.Status, "the tenant's discovery document is not there")
	})
}

// An answer to the refresh that holds no next token keeps the one that was used.
func TestRefreshTokenThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		tn.login = func(w http.ResponseWriter, form url.Values) bool { reply(w, 200, tn.tokenAnswer()); return true }
		store := &memoryStore{token: "refresh-token-0"}
		d := tn.client(tn.onVirtual).Delegated("x", store)
		require.NoError(t, d.Refresh(t.Context()))
		require.NoError(t, d.Refresh(t.Context()))
		require.Empty(t, store.saved)
		require.Equal(t, "refresh-token-0", tn.forms[1].Get("refresh_token"))
	})
}

// isoPattern is the pattern of Graph's OpenAPI document.
var isoPattern = regexp.MustCompile(`^-?P([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+([.][0-9]+)?S)?)?$`)

func TestDurationsProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := time.Duration(rapid.Int64Range(int64(time.Second), int64(30*24*time.Hour)).Draw(r, "d"))
		text := isoDuration(d)
		if !isoPattern.MatchString(text) {
			r.Fatalf("%s is not what Graph takes", text)
		}
		days, rest, _ := strings.Cut(strings.TrimPrefix(text, "P"), "T")
		back := time.Duration(0)
		if days != "" {
			n := 0
			if _, err := fmt.Sscanf(days, "%dD", &n); err != nil {
				r.Fatal(err)
			}
			back = time.Duration(n) * 24 * time.Hour
		}
		if rest != "" {
			part, err := time.ParseDuration(strings.ToLower(rest))
			if err != nil {
				r.Fatal(err)
			}
			back += part
		}
		if back < d || back-d >= time.Second {
			r.Fatalf("%v became %s", d, text)
		}
	})
}

func TestCleanProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		secret := rapid.StringMatching(`[A-Za-z0-9~._-]{8,40}`).Draw(r, "secret")
		mail := rapid.StringMatching(`[a-z.]{1,8}@[a-z]{1,8}\.example`).Draw(r, "mail")
		glue := rapid.SampledFrom([]string{" ", "'", "\"", "<", "=", ": ", "\n", "(", ","}).Draw(r, "glue")
		text := rapid.String().Draw(r, "before") + glue + secret + glue + mail + glue + rapid.String().Draw(r, "after")
		limit := rapid.IntRange(1, 400).Draw(r, "limit")
		out := clean(text, limit, secret)
		if strings.Contains(out, secret) || strings.Contains(out, mail) {
			r.Fatalf("%q tells what it must not", out)
		}
		if len(out) > limit+len("…") || strings.ContainsAny(out, "\n\r\t") {
			r.Fatalf("%q is not one short line", out)
		}
	})
}

// FuzzSubscription: whatever the answer to a renewal is, what is read of it has an id and an expiry.
func FuzzSubscription(f *testing.F) {
	f.Add([]byte(goodBody))
	f.Add([]byte(`{"expirationDateTime":"2026-11-25T10:00:00"}`))
	f.Add([]byte(`{"id":5,"expirationDateTime":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := readSubscription("renew", body, "known")
		if err == nil && (s.ID == "" || s.Expiration.IsZero()) {
			t.Fatalf("%+v", s)
		}
		if err == nil && !json.Valid(body) {
			t.Fatalf("read what is no JSON: %q", body)
		}
	})
}
