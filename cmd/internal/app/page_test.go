package app

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An administrator without the command line opens the console in a browser, signs in and asks why somebody looks as they do:
// by id, UPN, mail or extension. The page says what the command says.
func TestExplainInABrowser(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 3, 1)
	phone := s.phone(0)
	upn := s.person(t, phone)
	require.NoError(t, s.graph.SignIn(upn))
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	authorize(t, a, s)
	awaitPhones(t, a, s)
	require.NoError(t, s.pbx.StartCall(phone))
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	t.Cleanup(browser.CloseIdleConnections)
	read := func(resp *http.Response, err error) string {
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
		return html.UnescapeString(string(body))
	}
	base := "http://" + a.AdminAddr()
	require.Contains(t, read(browser.Get(base+"/")), "Admin token")
	page := read(browser.PostForm(base+"/login", url.Values{"token": {a.AdminToken()}}))
	require.Contains(t, page, "Why does somebody look like that?")

	// The page and the command are asked one after the other, and what is recorded follows what is decided: they are asked
	// until nothing came between.
	agree := func(key string) bool {
		e, err := admin(t, a).Explain(t.Context(), s.name, upn, time.Time{}, time.Time{}, time.UTC)
		if err != nil || len(e.Sides) != 2 || !strings.Contains(e.Text, "Teams accepted Busy (in a call).") {
			return false
		}
		resp, err := browser.Get(base + "/explain?" + url.Values{"user": {key}, "zone": {"UTC"}}.Encode())
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		page := html.UnescapeString(string(body))
		for _, side := range e.Sides {
			for _, sentence := range side.Sentences {
				if !strings.Contains(page, sentence) {
					return false
				}
			}
		}
		return err == nil && strings.Contains(page, "Coverage: pushed: through the subscription of "+s.monitor()) &&
			strings.Contains(page, "phone 1000 on main was in no call and is in a call now. The bridge sets Busy (in a call) in Teams")
	}
	for _, key := range []string{s.id(t, upn), strings.ToUpper(upn), "1000"} {
		eventually(t, func() bool { return agree(key) }, "the page says what the command says, asked for "+key)
	}
	// Part of a name finds people.
	page = read(browser.Get(base + "/explain?" + url.Values{"user": {upn[1:]}}.Encode()))
	require.Contains(t, page, "user="+s.id(t, upn))
}
