package webhook

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzHandler sends what strangers might. No body, path or query may make the receiver panic, say
// anything of its own, or answer 5xx; and nothing without a genuine client state is stored.
func FuzzHandler(f *testing.F) {
	good := newState(f, "contoso")
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		for _, body := range []string{"", "{}", envelope(rich(good)), envelope(basic("x"), lifecycle(good)), `{"value":[` + rich(good) + `,]}`,
			envelope(rich(good))[:200], `{"value":[{"clientState":"` + good + `","clientState":"x"}]}`, "[[[[", "\xef\xbb\xbf{}"} {
			f.Add(method, notifyURL, "", body, true)
			f.Add(method, lifecycleURL, "", body, false)
		}
		f.Add(method, "/graph/nobody/notifications", "validationToken=a%20b&x=;", "", true)
		f.Add(method, "/graph/%2e%2e/lifecycle", "validationToken=%", "", false)
		f.Add(method, "//graph//", "validationToken", "x", false)
	}
	k := newKit(f, func(c *Config) { c.MaxBody = 16 << 10 })
	f.Fuzz(func(t *testing.T, method, path, query, body string, chunked bool) {
		if !strings.HasPrefix(path, "/") {
			return
		}
		k.store.got = nil
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		req.Method = method
		req.URL = &url.URL{Path: path, RawQuery: query}
		if chunked {
			req.ContentLength = -1
		}
		w := httptest.NewRecorder()
		k.Handler().ServeHTTP(w, req)
		checkFuzzed(t, k, w, method, query, body)
	})
}

func checkFuzzed(t *testing.T, k *kit, w *httptest.ResponseRecorder, method, query, body string) {
	t.Helper()
	got := k.store.all()
	switch w.Code {
	case http.StatusOK:
		require.Equal(t, http.MethodPost, method)
		require.Contains(t, query, "validationToken=")
		require.Equal(t, "text/plain", w.Header().Get("Content-Type"))
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		require.LessOrEqual(t, w.Body.Len(), maxValidationToken)
		require.Empty(t, got)
		return
	case http.StatusAccepted:
		if len(got) == 1 {
			require.Equal(t, body, got[0].body)
			require.Contains(t, body, `"`)
		}
	case http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge:
		require.Empty(t, got)
	default:
		t.Fatalf("answered %d", w.Code)
	}
	said, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	require.Empty(t, said)
	require.Zero(t, k.inFlight.Load())
}
