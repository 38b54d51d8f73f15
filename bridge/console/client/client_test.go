package client

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
)

// answers plays a bridge: each request gets the next answer, the last one again and again.
type answers struct {
	list []func(*http.Request) (*http.Response, error)
	got  []*http.Request
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.got = append(a.got, r)
	return a.list[min(len(a.got), len(a.list))-1](r)
}

func says(status int, kind, body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {kind}},
			Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

func breaks(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }

func client(t *testing.T, list ...func(*http.Request) (*http.Response, error)) (*Client, *answers) {
	t.Helper()
	a := &answers{list: list}
	c, err := New("http://bridge:8080", "secret-token", WithTransport(a))
	require.NoError(t, err)
	return c, a
}

func TestNew(t *testing.T) {
	for _, address := range []string{"", "bridge:8080", "127.0.0.1:8080", "ftp://bridge", "http://", "http://u:hidden@bridge", "http://bridge?x=1", "http://bridge#x", "http://bri dge", "://"} {
		_, err := New(address, "t")
		require.ErrorContains(t, err, "address of the bridge", address)
		require.NotContains(t, err.Error(), "hidden")
	}
	_, err := New("http://bridge", "")
	require.ErrorContains(t, err, "admin-token")
	for _, address := range []string{"http://bridge", "https://bridge/", "http://[::1]:8080", "http://bridge/behind/a/proxy/"} {
		c, err := New(address, "t")
		require.NoError(t, err, address)
		require.Equal(t, strings.TrimRight(address, "/"), c.base)
	}
}

func TestReadsAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a := client(t, breaks, breaks, says(200, "application/json", `{"accounts":[{"name":"x"}]}`))
		start := time.Now()
		accounts, err := c.Accounts(t.Context())
		require.NoError(t, err)
		require.Len(t, accounts, 1)
		require.Len(t, a.got, 3)
		require.Equal(t, 3*retryPause, time.Since(start))
		require.Equal(t, "Bearer secret-token", a.got[0].Header.Get("Authorization"))

		c, a = client(t, breaks)
		_, err = c.Accounts(t.Context())
		require.ErrorContains(t, err, "cannot reach the bridge at http://bridge:8080")
		require.ErrorContains(t, err, "is it running")
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.NotContains(t, err.Error(), "secret-token")
		require.Len(t, a.got, retries)
	})
}

func TestOrdersAreNotTriedAgain(t *testing.T) {
	c, a := client(t, breaks)
	_, err := c.Resync(t.Context(), "contoso", "")
	require.ErrorContains(t, err, "cannot reach")
	_, err = c.Authorize(t.Context(), "contoso", "x")
	require.ErrorContains(t, err, "cannot reach")
	require.Len(t, a.got, 2)
}

func TestAnswersOfOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(*http.Request) (*http.Response, error)
		want   string
	}{
		"a web page":         {says(200, "text/html", "<html>"), "no bridge, or another version"},
		"a proxy's error":    {says(502, "text/html", "<html>"), "is this its admin listener"},
		"a redirect":         {says(302, "text/html", ""), "is this its admin listener"},
		"JSON but no":        {says(404, "application/json", `{"message":"Not Found"}`), "is this its admin listener"},
		"an empty problem":   {says(500, "application/problem+json", `{}`), "is this its admin listener"},
		"a broken problem":   {says(500, "application/problem+json", `{`), "is this its admin listener"},
		"a problem":          {says(500, "application/problem+json", `{"status":500,"title":"T","detail":"D","request_id":"R"}`), "D (request R)"},
		"without detail":     {says(409, "application/problem+json; charset=utf-8", `{"status":409,"title":"Conflict"}`), "Conflict"},
		"more than it could": {says(200, "application/json", strings.Repeat(" ", maxAnswer+1)), "longer than"},
	} {
		c, a := client(t, tt.answer)
		_, err := c.Accounts(t.Context())
		require.ErrorContains(t, err, tt.want, name)
		require.Len(t, a.got, 1, name)
	}
}

func TestTheTokenFollowsNoRedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer elsewhere.Close()
	bridge := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer bridge.Close()
	c, err := New(bridge.URL, "secret-token")
	require.NoError(t, err)
	_, err = c.Accounts(t.Context())
	require.Error(t, err)
}

func TestTheSamePageTwice(t *testing.T) {
	c, a := client(t, says(200, "application/json", `{"members":[{"id":"1"}],"next":"1"}`))
	n := 0
	var last error
	for _, err := range c.Members(t.Context(), "contoso", "") {
		n++
		last = err
	}
	require.Equal(t, 3, n, "two pages and the error")
	require.ErrorContains(t, last, "the same page of members twice")
	require.Len(t, a.got, 2)
}

func TestWaitingIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A bridge that does not wait for news, asked for ten seconds.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ends := func(body string) func(*http.Request) (*http.Response, error) {
			return func(r *http.Request) (*http.Response, error) {
				if err := r.Context().Err(); err != nil {
					return nil, err
				}
				return says(200, "application/json", body)(r)
			}
		}
		c, a := client(t, ends(`{"id":"1","account":"a","state":"pending"}`))
		_, err := c.AwaitAuthorization(ctx, api.Authorization{ID: "1", Account: "a", State: "pending"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.LessOrEqual(t, len(a.got), 12)

		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, a = client(t, ends(`{"id":"1","state":"running","revision":1}`))
		n := 0
		_, err = c.AwaitJob(ctx, "1", func(api.Job) { n++ })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.LessOrEqual(t, len(a.got), 102)
		require.Equal(t, 1, n, "no news, no progress")
	})
}

func TestNobodyThere(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	address := srv.URL
	srv.Close()
	c, err := New(address, "t")
	require.NoError(t, err)
	_, err = c.Resync(t.Context(), "", "")
	require.ErrorContains(t, err, "connection refused")
	require.ErrorContains(t, err, "is it running")
	require.NotContains(t, err.Error(), "/api/v1", "the URL says nothing new")
}
