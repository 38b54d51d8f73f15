package micollab

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

var busy = pbx.Write{Status: presence.Status{Name: "Busy", Kind: presence.KindBusy}}

func kindOf(t *testing.T, err error) pbx.ErrorKind {
	t.Helper()
	var pe *pbx.Error
	require.ErrorAs(t, err, &pe)
	require.NotEmpty(t, pe.Op)
	return pe.Kind
}

func TestAnswersBecomeKinds(t *testing.T) {
	for status, want := range map[int]pbx.ErrorKind{
		301: pbx.Refused, 302: pbx.Refused, 400: pbx.Refused, 401: pbx.Unauthorised, 403: pbx.Unauthorised, 404: pbx.Gone, 405: pbx.Refused,
		408: pbx.Unanswered, 410: pbx.Gone, 412: pbx.Conflict, 413: pbx.Refused, 422: pbx.Refused, 425: pbx.Unanswered, 428: pbx.Refused,
		429: pbx.Throttled, 500: pbx.Unanswered, 501: pbx.Unanswered, 503: pbx.Unanswered, 504: pbx.Unanswered, 599: pbx.Unanswered,
		201: pbx.Unanswered, 202: pbx.Unanswered, 204: pbx.Unanswered, -1: pbx.Unanswered,
	} {
		b := newBench(t)
		b.pbx.set(at("/v1/users/", status, `{"error":"some_code"}`, "Retry-After", "17"))
		_, err := b.Apply(context.Background(), "u1", busy)
		require.Equal(t, want, kindOf(t, err), status)
		require.Equal(t, 1, b.pbx.count("PUT"), "a write is sent once")
		_, err = b.Read(context.Background(), "u1")
		require.Equal(t, want, kindOf(t, err), status)
		if status > 0 {
			var pe *pbx.Error
			require.ErrorAs(t, err, &pe)
			require.Equal(t, 17*time.Second, pe.RetryAfter)
			require.ErrorContains(t, err, "some_code")
		}
	}
}

func TestListsThatAreNotThereAreNobodyGone(t *testing.T) {
	b := newBench(t)
	b.pbx.set(at("/v1/", 404, ""))
	_, err := b.Statuses(context.Background())
	require.Equal(t, pbx.Refused, kindOf(t, err))
	_, err = b.Read(context.Background(), "u1")
	require.Equal(t, pbx.Refused, kindOf(t, err), "the whole address is wrong")
}

func TestAnswersThatAreNoAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"nothing": " ", "HTML": "<html>", "an array": "[]", "null": "null", "no version": `{"line":"idle","status":"Busy"}`,
		"no status": `{"version":3}`, "a negative version": `{"status":"Busy","version":-3}`, "a fraction": `{"status":"Busy","version":1.5}`,
		"a wrong type": `{"status":["Busy"],"version":3}`, "more than one": presenceJSON(1) + presenceJSON(2),
		"huge": `{"status":"Busy","version":3,"message":"` + strings.Repeat("x", maxPresence) + `"}`,
	} {
		b := newBench(t)
		b.pbx.set(at("/v1/users/", 200, body))
		_, err := b.Apply(context.Background(), "u1", busy)
		require.Equal(t, pbx.Unanswered, kindOf(t, err), name)
		_, err = b.Read(context.Background(), "u1")
		require.Equal(t, pbx.Unanswered, kindOf(t, err), name)
	}
}

func TestWhatIsSent(t *testing.T) {
	b := newBench(t)
	var got *http.Request
	b.pbx.set(func(r *http.Request) (int, string, []string) {
		if r.Method == http.MethodPut {
			got = r
		}
		return 200, "", nil
	})
	message := `<&> "é"`
	for _, c := range []struct {
		write pbx.Write
		body  string
		match string
	}{
		{busy, `{"status":"Busy"}`, ""},
		{pbx.Write{Status: presence.Status{Name: "bUSY "}, IfVersion: 7}, `{"status":"Busy"}`, `"7"`},
		{pbx.Write{Status: presence.Status{Kind: presence.KindDND}, Message: &message}, `{"status":"Do not disturb","message":"<&> \"é\""}`, ""},
		{pbx.Write{Status: presence.Status{Name: "New since"}, IfVersion: 1<<64 - 1}, `{"status":"New since"}`, `"18446744073709551615"`},
	} {
		_, err := b.Apply(context.Background(), "a/b c%?#é", c.write)
		require.NoError(t, err)
		require.Equal(t, "/v1/users/a%2Fb%20c%25%3F%23%C3%A9/presence", got.URL.EscapedPath())
		require.Equal(t, c.match, got.Header.Get("If-Match"))
		require.Equal(t, "Bearer s3cret", got.Header.Get("Authorization"))
		require.Equal(t, "application/json", got.Header.Get("Content-Type"))
		require.Equal(t, c.body, b.pbx.bodies[len(b.pbx.bodies)-1])
	}
	sent := b.pbx.count("PUT")
	for _, st := range []presence.Status{{}, {Kind: presence.KindOut}, {Kind: presence.KindUnknown}} {
		_, err := b.Apply(context.Background(), "u1", pbx.Write{Status: st})
		require.Equal(t, pbx.Refused, kindOf(t, err), "%+v", st)
	}
	require.Equal(t, sent, b.pbx.count("PUT"))
}

func TestTokenIsReadAgainOnce(t *testing.T) {
	reads, valid := 0, "first"
	token := func() (string, error) { reads++; return valid, nil }
	b := newBench(t, func(c *Config) { c.Token = token })
	accepted := "first"
	b.pbx.set(func(r *http.Request) (int, string, []string) {
		if r.Header.Get("Authorization") != "Bearer "+accepted {
			return 401, "", nil
		}
		return 200, "", nil
	})
	for range 3 {
		_, err := b.Apply(context.Background(), "u1", busy)
		require.NoError(t, err)
	}
	require.Equal(t, 1, reads, "not for every request")
	accepted, valid = "second", "second"
	_, err := b.Apply(context.Background(), "u1", busy)
	require.NoError(t, err)
	require.Equal(t, 2, reads)
	require.Equal(t, 5, b.pbx.count("PUT"), "a 401 says that nothing was done: it is sent once more")
	require.JSONEq(t, `{"status":"Busy"}`, b.pbx.bodies[len(b.pbx.bodies)-1], "with its body")
	accepted = "third"
	_, err = b.Apply(context.Background(), "u1", busy)
	require.Equal(t, pbx.Unauthorised, kindOf(t, err))
	require.Equal(t, 6, b.pbx.count("PUT"), "not with a token that was refused already")
}

func TestTokensThatCannotBe(t *testing.T) {
	for name, token := range map[string]func() (string, error){
		"unreadable": func() (string, error) { return "", os.ErrPermission }, "empty": func() (string, error) { return " \n", nil },
		"two words": func() (string, error) { return "a b", nil }, "two lines": func() (string, error) { return "a\r\nX-Evil: b", nil },
	} {
		b := newBench(t, func(c *Config) { c.Token = token })
		_, err := b.Read(context.Background(), "u1")
		require.Equal(t, pbx.Unauthorised, kindOf(t, err), name)
		require.Empty(t, b.pbx.asked)
		p := explain(err)
		require.Equal(t, "token_unreadable", p.Code)
		require.True(t, p.Person)
	}
}

func TestTimeoutIsUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, err := b.Statuses(context.Background())
		require.NoError(t, err)
		b.pbx.set(func(r *http.Request) (int, string, []string) { <-r.Context().Done(); return -1, "", nil })
		began := time.Now()
		_, err = b.Apply(context.Background(), "u1", busy)
		require.Equal(t, pbx.Unanswered, kindOf(t, err))
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}

// Over real connections: they are used again, redirects are not followed, a slow body ends in time.
func TestOverRealConnections(t *testing.T) {
	var conns, elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	mode := atomic.Value{}
	mode.Store("")
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch mode.Load() {
		case "redirect":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case "endless":
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte(strings.Repeat(" ", 1<<16))); err != nil {
					return
				}
			}
		case "drip":
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
		case "error":
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, strings.Repeat("x", 2000))
		default:
			_, _ = io.WriteString(w, ordinary(r))
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	client := func(timeout time.Duration) *Client {
		c, err := New(Config{URL: srv.URL + "/", Token: func() (string, error) { return "t", nil }, Timeout: timeout})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	c, ctx := client(time.Minute), context.Background()
	for range 20 {
		_, err := c.Apply(ctx, "u1", busy)
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, conns.Load())
	mode.Store("error")
	for range 5 {
		_, err := c.Read(ctx, "u1")
		require.Equal(t, pbx.Unanswered, kindOf(t, err))
	}
	require.LessOrEqual(t, conns.Load(), int32(6))
	mode.Store("redirect")
	_, err := c.Apply(ctx, "u1", busy)
	require.Equal(t, pbx.Refused, kindOf(t, err))
	require.Zero(t, elsewhere.Load(), "a token goes where it was configured to go")
	mode.Store("endless")
	_, err = c.Read(ctx, "u1")
	require.ErrorIs(t, err, errTooLong)
	mode.Store("drip")
	_, err = client(300*time.Millisecond).Read(ctx, "u1")
	require.Equal(t, pbx.Unanswered, kindOf(t, err))
	require.Equal(t, "timed_out", explain(err).Code)
	srv.Close()
	_, err = c.Read(ctx, "u1")
	require.Equal(t, pbx.Unanswered, kindOf(t, err))
	require.Equal(t, "unreachable", explain(err).Code)
}

// A reverse proxy may speak HTTP/2: then the stream and the requests share a connection.
func TestOverHTTP2(t *testing.T) {
	var one atomic.Int32
	stop := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			one.Add(1)
		}
		if r.URL.Path != "/v1/events" {
			_, _ = io.WriteString(w, ordinary(r))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, "id: e-0\nevent: reset\ndata: {}\n\nid: e-1\nevent: presence\ndata: "+sampleEvent+"\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	defer close(stop)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))
	c, err := New(Config{URL: srv.URL, CAFile: ca, Token: func() (string, error) { return "t", nil }})
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	events, done := make(chan pbx.Event, 10), make(chan struct{})
	go func() { defer close(done); _ = c.Watch(ctx, func(e pbx.Event) { events <- e }) }()
	require.Equal(t, pbx.EventReset, (<-events).Kind)
	require.Equal(t, presence.LineInCall, (<-events).State.Line)
	_, err = c.Apply(ctx, "u1", busy)
	require.NoError(t, err)
	cancel()
	<-done
	require.EqualValues(t, 3, one.Load())
}

func TestUntrustedCertificates(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, ordinary(r)) }))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	defer srv.Close()
	c, err := New(Config{URL: srv.URL, Token: func() (string, error) { return "t", nil }})
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Read(context.Background(), "u1")
	require.Equal(t, "tls_untrusted", explain(err).Code)
	_, err = New(Config{URL: srv.URL, Token: func() (string, error) { return "t", nil }, CAFile: filepath.Join(t.TempDir(), "none")})
	require.ErrorContains(t, err, "ca_file")
	bad := filepath.Join(t.TempDir(), "bad.pem")
	require.NoError(t, os.WriteFile(bad, []byte("no PEM"), 0o600))
	_, err = New(Config{URL: srv.URL, Token: func() (string, error) { return "t", nil }, CAFile: bad})
	require.ErrorContains(t, err, "ca_file")
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	token := func() (string, error) { return "t", nil }
	for url, word := range map[string]string{
		"": "https://", "pbx.example.com": "https://", "ftp://pbx": "https://", "https://": "host", "https://a:b@pbx": "token_file",
		"https://pbx/?x=1": "?", "https://pbx/#x": "#", "https://pbx:port": "url", "http://[::1": "url",
	} {
		_, err := New(Config{URL: url, Token: token})
		require.ErrorContains(t, err, word, url)
		require.ErrorContains(t, err, "url", url)
		require.NotContains(t, err.Error(), "a:b")
	}
	_, err := New(Config{URL: "https://pbx"})
	require.ErrorContains(t, err, "token_file")
	_, err = New(Config{URL: "https://pbx", Token: token, LearntClient: &memory{err: errors.New("broken")}})
	require.ErrorContains(t, err, "learnt client")
}

func TestExplainNames(t *testing.T) {
	require.Equal(t, "name_not_found", explain(&net.DNSError{}).Code)
	require.Equal(t, "bad_answer", explain(errBadAnswer).Code)
	require.Equal(t, "connection_lost", explain(io.ErrUnexpectedEOF).Code)
	require.Equal(t, "wrong_address", explain(&statusError{status: 405}).Code)
	require.Equal(t, "timed_out", explain(context.DeadlineExceeded).Code)
}

func TestErrorTextsAreDecent(t *testing.T) {
	b := newBench(t)
	b.pbx.set(at("/v1/users/", 500, `{"error":"s3cret TOKEN of anna@contoso.example"}`))
	_, err := b.Read(context.Background(), "anna@contoso.example")
	require.NotContains(t, err.Error(), "anna")
	require.NotContains(t, err.Error(), "s3cret")
	b.pbx.set(at("/v1/users/", -1, ""))
	_, err = b.Read(context.Background(), "anna@contoso.example")
	require.NotContains(t, err.Error(), "anna")
	require.False(t, json.Valid([]byte(err.Error())))
}
