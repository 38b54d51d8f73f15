package signin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var key = bytes.Repeat([]byte{7}, 32)

func TestState(t *testing.T) {
	one, err := NewState(key, "contoso")
	require.NoError(t, err)
	two, err := NewState(key, "contoso")
	require.NoError(t, err)
	require.NotEqual(t, one, two)
	account, ours := Account(key, one)
	require.True(t, ours)
	require.Equal(t, "contoso", account)
	require.Equal(t, one, url.QueryEscape(one), "it needs no escaping")

	_, ours = Account(bytes.Repeat([]byte{8}, 32), one)
	require.False(t, ours, "another key")
	_, ours = Account(key, strings.Replace(one, "contoso", "fabrikam", 1))
	require.False(t, ours, "another account")
	for i := range one {
		altered := []byte(one)
		altered[i] ^= 1
		_, ours = Account(key, string(altered))
		require.False(t, ours, "byte %d", i)
	}
	for _, s := range []string{"", ".", "..", "contoso", "contoso.", one + "x", one[:len(one)-1], strings.Repeat("a", 1<<16)} {
		_, ours = Account(key, s)
		require.False(t, ours, s)
	}
	for _, account := range []string{"", "a.b", strings.Repeat("a", 33)} {
		_, err = NewState(key, account)
		require.Error(t, err)
	}
	_, err = NewState(nil, "contoso")
	require.Error(t, err)
	_, ours = Account(nil, one)
	require.False(t, ours)
}

func FuzzAccount(f *testing.F) {
	good, err := NewState(key, "contoso")
	require.NoError(f, err)
	f.Add(good)
	f.Add("contoso..")
	f.Fuzz(func(t *testing.T, state string) {
		account, ours := Account(key, state)
		require.False(t, ours && state != good && account != "contoso", "nobody can make one")
	})
}

// kit is a callback with an owner behind it.
type kit struct {
	t       *testing.T
	handler http.Handler
	state   string
	log     bytes.Buffer
	got     []Answer
	out     Outcome
	err     error
}

func newKit(t *testing.T) *kit {
	k := &kit{t: t}
	var err error
	k.handler, err = New(Config{Key: key, Log: slog.New(slog.NewTextHandler(&k.log, nil)), Finish: func(_ context.Context, account string, a Answer) (Outcome, error) {
		require.Equal(t, "contoso", account)
		k.got = append(k.got, a)
		return k.out, k.err
	}})
	require.NoError(t, err)
	k.state, err = NewState(key, "contoso")
	require.NoError(t, err)
	return k
}

func (k *kit) get(q url.Values) (int, string) {
	k.t.Helper()
	w := httptest.NewRecorder()
	k.handler.ServeHTTP(w, httptest.NewRequestWithContext(k.t.Context(), http.MethodGet, Path+"?"+q.Encode(), nil))
	require.Equal(k.t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	require.Contains(k.t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	require.Equal(k.t, "no-referrer", w.Header().Get("Referrer-Policy"))
	require.Equal(k.t, "no-store", w.Header().Get("Cache-Control"))
	require.NotContains(k.t, w.Body.String(), "<script")
	require.NotContains(k.t, w.Body.String(), k.state)
	return w.Code, w.Body.String()
}

func TestCallback(t *testing.T) {
	k := newKit(t)
	good := url.Values{"state": {k.state}, "code": {"the-code"}}
	k.out = Outcome{Done: true, UPN: "presence1@contoso.com"}
	status, body := k.get(good)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "presence1@contoso.com")
	require.Equal(t, Answer{State: k.state, Code: "the-code"}, k.got[0])
	require.NotContains(t, body, "the-code")

	k.out = Outcome{UPN: "presence1@contoso.com", Text: `somebody <script>alert(1)</script> else`, Code: "AADSTS65004"}
	status, body = k.get(good)
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, body, "&lt;script&gt;")
	require.Contains(t, body, "AADSTS65004")

	k.out = Outcome{Pending: true}
	status, _ = k.get(good)
	require.Equal(t, http.StatusAccepted, status)

	k.err = fmt.Errorf("gone: %w", ErrUnknown)
	status, body = k.get(good)
	require.Equal(t, http.StatusGone, status)
	require.Contains(t, body, "over")

	k.err = errors.New("nobody is at home")
	status, body = k.get(good)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NotContains(t, body, "at home")
	require.Contains(t, k.log.String(), "nobody is at home")
	require.NotContains(t, k.log.String(), "the-code")
	require.NotContains(t, k.log.String(), k.state)

	k.err, k.got = nil, nil
	refused := url.Values{"state": {k.state}, "error": {"access_denied"}, "error_description": {strings.Repeat("x", 1<<14)}}
	_, _ = k.get(refused)
	require.Equal(t, "access_denied", k.got[0].Error)
	require.Len(t, k.got[0].Description, maxText)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", k.got[0], k.got[0], k.got[0]), k.state)
}

func TestCallbackOfStrangers(t *testing.T) {
	k := newKit(t)
	for name, q := range map[string]url.Values{
		"nothing":        {},
		"no state":       {"code": {"x"}},
		"made up":        {"code": {"x"}, "state": {"contoso.aaaa.bbbb"}},
		"markup":         {"code": {"x"}, "state": {"<script>alert(1)</script>"}},
		"no code":        {"state": {k.state}},
		"a code too big": {"state": {k.state}, "code": {strings.Repeat("x", maxCode+1)}},
	} {
		status, body := k.get(q)
		require.Equal(t, http.StatusBadRequest, status, name)
		require.NotContains(t, body, "alert")
	}
	require.Empty(t, k.got)
	_, err := New(Config{Key: key})
	require.Error(t, err)
	_, err = New(Config{Finish: func(context.Context, string, Answer) (Outcome, error) { return Outcome{}, nil }})
	require.Error(t, err)
}

func TestCallbackLosesPatience(t *testing.T) {
	h, err := New(Config{Key: key, Patience: time.Millisecond, Finish: func(ctx context.Context, _ string, _ Answer) (Outcome, error) {
		<-ctx.Done()
		return Outcome{}, ctx.Err()
	}})
	require.NoError(t, err)
	state, err := NewState(key, "contoso")
	require.NoError(t, err)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, Path+"?code=x&state="+state, nil))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
}
