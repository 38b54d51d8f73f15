package console

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
)

// visitor is a browser without scripts: it keeps cookies and follows redirects.
type visitor struct {
	t      *testing.T
	url    string
	client *http.Client
}

func visit(t *testing.T, k *kit) *visitor {
	t.Helper()
	srv := httptest.NewServer(k.Handler())
	t.Cleanup(srv.Close)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &visitor{t: t, url: srv.URL, client: &http.Client{Jar: jar}}
}

func (v *visitor) open(path string) (*http.Response, string) {
	v.t.Helper()
	resp, err := v.client.Get(v.url + path)
	require.NoError(v.t, err)
	return resp, v.read(resp)
}

func (v *visitor) send(path string, form url.Values) (*http.Response, string) {
	v.t.Helper()
	resp, err := v.client.PostForm(v.url+path, form)
	require.NoError(v.t, err)
	return resp, v.read(resp)
}

func (v *visitor) read(resp *http.Response) string {
	v.t.Helper()
	body, err := io.ReadAll(resp.Body)
	require.NoError(v.t, err)
	require.NoError(v.t, resp.Body.Close())
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		require.Equal(v.t, pagePolicy, resp.Header.Get("Content-Security-Policy"))
		require.Equal(v.t, "no-store", resp.Header.Get("Cache-Control"))
		require.Equal(v.t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
		require.NotContains(v.t, string(body), "<script")
	}
	require.NotContains(v.t, string(body), testToken)
	return string(body)
}

// signIn fills in the form that a page led to.
func (v *visitor) signIn(next string) string {
	v.t.Helper()
	resp, body := v.send("/login", url.Values{"token": {testToken}, "next": {next}})
	require.Equal(v.t, http.StatusOK, resp.StatusCode)
	return body
}

func TestPagesNeedASignIn(t *testing.T) {
	k := newKit(t, nil)
	v := visit(t, k)
	for _, path := range []string{"/", "/explain?user=user04@contoso.com"} {
		resp, body := v.open(path)
		require.Equal(t, "/login", resp.Request.URL.Path)
		require.Contains(t, body, `name="token"`)
		require.NotContains(t, body, "Explain")
	}
	resp, body := v.send("/login", url.Values{"token": {"a wrong one"}, "next": {"/explain?user=x"}})
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Contains(t, body, "That is not the token of this bridge.")
	require.Contains(t, body, `value="/explain?user=x"`, "what was wanted is not forgotten")
	require.Equal(t, 1.0, testutil.ToFloat64(k.metrics.refused))
	resp, _ = v.send("/login", url.Values{"token": {strings.Repeat("x", maxForm)}})
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)

	resp, body = v.open("/explain?user=user04@contoso.com&zone=%2B02:00")
	require.Contains(t, body, `name="next" value="/explain?user=user04@contoso.com&amp;zone=%2B02:00"`)
	require.Equal(t, "/login", resp.Request.URL.Path)
	require.Contains(t, v.signIn("/explain?user=user04@contoso.com&zone=%2B02:00"), "in &#43;02:00", "the sign-in leads to what was wanted")
	_, body = v.open("/")
	require.Contains(t, body, "<button>Explain</button>")

	_, body = v.send("/logout", nil)
	require.Contains(t, body, `name="token"`)
	resp, _ = v.open("/")
	require.Equal(t, "/login", resp.Request.URL.Path)
}

// A sign-in leads nowhere but to the console's own pages.
func TestSignInLeadsHome(t *testing.T) {
	for next, want := range map[string]string{
		"": "/", "/": "/", "/metrics": "/", "https://evil.example/explain": "/", "//evil.example/explain": "/", `/\evil.example/explain`: "/",
		"explain": "/", "javascript:alert(1)": "/", "%zz": "/", "/explain": "/explain", "/explain?user=a&at=10:15": "/explain?at=10%3A15&user=a",
	} {
		require.Equal(t, want, ownPage(next), next)
	}
}

func TestSessionCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		req := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(url.Values{"token": {" " + testToken + "\n"}}.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Forwarded-Proto", "https")
		w := do(k, req)
		require.Equal(t, http.StatusSeeOther, w.Code)
		cookie := w.Result().Cookies()[0]
		require.True(t, cookie.HttpOnly)
		require.True(t, cookie.Secure)
		require.Equal(t, http.SameSiteLaxMode, cookie.SameSite, "a link in an alert leads to the page")
		with := func(path, value string) int {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.AddCookie(&http.Cookie{Name: sessionCookie, Value: value})
			return do(k, r).Code
		}
		require.Equal(t, http.StatusOK, with("/", cookie.Value))
		require.Equal(t, http.StatusUnauthorized, with("/api/v1/accounts", cookie.Value), "the API takes no cookie")
		end, mark, _ := strings.Cut(cookie.Value, ".")
		for _, wrong := range []string{"", ".", end, end + ".", "1" + cookie.Value, end + "." + strings.Repeat("0", len(mark)), testToken, "9999999999." + mark} {
			require.Equal(t, http.StatusSeeOther, with("/", wrong), wrong)
		}
		require.False(t, newKit(t, func(c *Config) { c.Token = "another-token-012345" }).signedIn(
			&http.Request{Header: http.Header{"Cookie": {sessionCookie + "=" + cookie.Value}}}), "another token ends it")
		time.Sleep(sessionLife)
		require.Equal(t, http.StatusSeeOther, with("/", cookie.Value), "it is over")
		require.Equal(t, http.StatusOK, do(k, newRequest(http.MethodGet, "/", "")).Code, "who has the token needs no cookie")
	})
}

func TestExplainPage(t *testing.T) {
	v := visit(t, newKit(t, nil))
	v.signIn("")
	for _, key := range []string{"id-04", "USER04@contoso.com", "mail04@contoso.com"} {
		resp, body := v.open("/explain?zone=UTC&user=" + url.QueryEscape(key))
		require.Equal(t, http.StatusOK, resp.StatusCode, body)
		require.Contains(t, body, `<p class="lead">in &#43;00:00</p>`)
		require.Contains(t, body, `name="user" value="`+key+`"`)
	}
	_, body := v.open("/explain?user=id-04&account=contoso&at=2026-11-25+10:15&since=2h&zone=%2B01:00")
	require.Contains(t, body, "in &#43;01:00")
	require.Contains(t, body, `<option selected>contoso</option>`)
	require.Contains(t, body, `name="at" value="2026-11-25 10:15"`)
	require.Contains(t, body, `name="since" value="2h"`)

	// Whoever is not named exactly is proposed, with the moment that was asked for.
	resp, body := v.open("/explain?user=user+1&at=10:15&zone=UTC")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Contains(t, body, `Nobody has exactly &#34;user 1&#34; as id, UPN, mail address or extension. Do you mean one of these?`)
	require.Contains(t, body, `<a href="/explain?account=contoso&amp;user=id-14&amp;at=10%3a15&amp;since=&amp;zone=UTC">User 14</a> &lt;user14@contoso.com&gt;, 107 on main <small>contoso</small>`)
	require.NotContains(t, body, "User 04")
	resp, body = v.open("/explain?user=nobody+at+all")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	require.Contains(t, body, "Nobody has &#34;nobody at all&#34; as id, UPN, mail address or extension, nor in any of these or the name.")

	for query, says := range map[string]string{
		"user=id-04&at=noon":           "Moment: &#34;noon&#34; is no moment: write 10:15",
		"user=id-04&since=yesterday":   "Since: &#34;yesterday&#34; is neither a duration such as 24h nor a moment",
		"user=id-04&zone=nowhere":      "Time zone: want an offset such as &#43;01:00",
		"user=id-04&account=northwind": "there is no account &#34;northwind&#34;",
	} {
		resp, body := v.open("/explain?" + query)
		require.GreaterOrEqual(t, resp.StatusCode, 400, query)
		require.Contains(t, body, says)
		require.Contains(t, body, "<button>Explain</button>", "it can be mended at once")
	}
}

// A member who is in several accounts is chosen from a list.
func TestExplainPageOfSeveralAccounts(t *testing.T) {
	k := newKit(t, nil)
	k.backend.members["fabrikam"] = []api.Member{testMember(4)}
	v := visit(t, k)
	v.signIn("")
	_, body := v.open("/explain?user=id-04&zone=UTC")
	require.Contains(t, body, "&#34;id-04&#34; is in several accounts. Choose one:")
	require.Contains(t, body, "/explain?account=fabrikam&amp;user=id-04&amp;")
	_, body = v.open("/explain?user=id-04&account=fabrikam&zone=UTC")
	require.Contains(t, body, `<p class="lead">in &#43;00:00</p>`)
	for i := range 30 {
		k.backend.members["fabrikam"] = append(k.backend.members["fabrikam"], api.Member{ID: fmt.Sprintf("twin-%02d", i), Name: "Twin"})
	}
	_, body = v.open("/explain?user=twin")
	require.Equal(t, maxFound, strings.Count(body, ">Twin</a>"))
	require.Contains(t, body, "There are more")
}

// Whatever a name or a message holds, it is shown and not obeyed.
func TestPagesEscape(t *testing.T) {
	const evil = `<img src=x onerror=alert(1)>"'&`
	k := newKit(t, nil)
	m := testMember(4)
	m.Name, m.UPN = evil, evil
	k.backend.members["contoso"] = []api.Member{m}
	k.backend.text = "Anna <anna@contoso.com>, account contoso\n\nTeams shows Available.\n  The bridge put the message “" + evil + "” there.\n"
	v := visit(t, k)
	v.signIn("")
	_, body := v.open("/explain?user=onerror")
	require.Contains(t, body, "&lt;img src=x onerror=alert(1)&gt;")
	require.NotContains(t, body, "<img")
	_, body = v.open("/explain?user=id-04")
	require.Contains(t, body, `<p class="lead">Anna &lt;anna@contoso.com&gt;, account contoso</p>`)
	require.Contains(t, body, "<li>The bridge put the message “&lt;img src=x onerror=alert(1)&gt;")
	require.NotContains(t, body, "<img")
	for _, field := range []string{"user", "at", "since", "zone", "account"} {
		_, body = v.open("/explain?" + url.Values{field: {`"><img src=x>`}}.Encode())
		require.NotContains(t, body, "<img", field)
	}
	_, body = v.send("/login", url.Values{"token": {"x"}, "next": {`"><img src=x>`}})
	require.NotContains(t, body, "<img")
}

// What goes wrong inside is logged and not shown.
func TestPageProblems(t *testing.T) {
	var log bytes.Buffer
	k := newKit(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	open := func(path string) *httptest.ResponseRecorder { return do(k, newRequest(http.MethodGet, path, "")) }
	k.backend.err = fmt.Errorf("dial 10.0.0.7: no route to host")
	for _, path := range []string{"/", "/explain?user=id-04"} {
		w := open(path)
		require.Equal(t, http.StatusInternalServerError, w.Code)
		require.NotContains(t, w.Body.String(), "10.0.0.7")
	}
	k.backend.err = Unavailable("nobody runs the account contoso")
	w := open("/explain?user=id-04")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), "nobody runs the account contoso")
	require.Contains(t, log.String(), "10.0.0.7")
}

func TestBlocks(t *testing.T) {
	require.Equal(t, []block{
		{Lead: "Anna, account contoso, now", Lines: []string{"Note: no history."}}, {Lead: "Teams shows Busy.", Lines: []string{"The bridge put it there."}},
		{Lead: "The bridge is waiting for:", Lines: []string{"a direct read of Teams"}},
	}, blocksOf("Anna, account contoso, now\nNote: no history.\n\nTeams shows Busy.\n  The bridge put it there.\n\nThe bridge is waiting for:\n  - a direct read of Teams\n"))
	require.Empty(t, blocksOf("\n"))
}
