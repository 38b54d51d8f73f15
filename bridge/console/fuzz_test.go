package console

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzAPI sends what a broken client might, with the token and without. Nothing may panic or be a 500,
// every answer must be what openapi.yaml says, and without the token nothing happens.
func FuzzAPI(f *testing.F) {
	for _, path := range []string{"/api/v1/accounts", "/api/v1/accounts/contoso/members", "/api/v1/accounts/contoso/members/id-01", "/api/v1/accounts/%2e%2e/monitors",
		"/api/v1/jobs", "/api/v1/jobs/x", "/healthz", "/readyz", "/metrics", "/api/v1/accounts/contoso/authorizations/flow%2f0", "/api//v1", "/"} {
		f.Add(http.MethodGet, path, "limit=1&after=id-01&q=u&wait=0&revision=18446744073709551615", "", true)
		f.Add(http.MethodGet, path, "limit=%zz&;", "", false)
	}
	for _, path := range []string{"/api/v1/resync", "/api/v1/accounts/contoso/resync", "/api/v1/accounts/contoso/monitors/a%2fb/authorize"} {
		f.Add(http.MethodPost, path, "", `{"member":"id-01"}`, true)
		f.Add(http.MethodPost, path, "x=1", `{"member":null}{`, true)
		f.Add(http.MethodPost, path, "", `[[[[`, false)
	}
	f.Add(http.MethodPost, "/api/v1/accounts/contoso/monitors//authorize", "", "", true)
	k := newKit(f, nil)
	f.Fuzz(func(t *testing.T, method, rawPath, query, body string, token bool) {
		path, err := url.PathUnescape(rawPath)
		if err != nil || !strings.HasPrefix(path, "/") || strings.Contains(query, "wait=") && !strings.Contains(query, "wait=0") {
			return
		}
		asked := len(k.backend.asked)
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		req.Method, req.URL = method, &url.URL{Path: path, RawPath: rawPath, RawQuery: query}
		req.Header.Set("Content-Type", "application/json")
		if token {
			req.Header.Set("Authorization", "Bearer "+testToken)
		}
		w := do(k, req)
		require.Less(t, w.Code, 500, "%s %s?%s: %s", method, rawPath, query, w.Body)
		require.NotContains(t, w.Body.String(), testToken)
		if w.Code >= 400 {
			require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
		}
		if underAPI(path) && (method == http.MethodGet || method == http.MethodPost) {
			k.conforms(t, req, w)
		}
		k.jobs.running.Wait()
		if !token {
			require.Len(t, k.backend.asked, asked)
			if underAPI(path) {
				require.Equal(t, http.StatusUnauthorized, w.Code)
			}
		}
	})
}
