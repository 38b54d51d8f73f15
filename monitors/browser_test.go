package monitors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/keyring"
)

// state is what the browser would bring back.
func state(t *testing.T, f Flow) string {
	t.Helper()
	u, err := url.Parse(f.URL)
	require.NoError(t, err)
	return u.Query().Get("state")
}

// signsIn has whoever comes back be the monitor, with a token that is good.
func (w *world) signsIn(i int) {
	w.graph.with(func() {
		w.graph.tokens["secret-token-by-browser"] = true
		w.graph.signIn = func(context.Context) (Authorization, error) {
			return Authorization{UPN: upn(i), ObjectID: "o", RefreshToken: "secret-token-by-browser"}, nil
		}
	})
}

func TestSignInByBrowser(t *testing.T) {
	for _, method := range []Method{ByRedirect, ByLink} {
		t.Run(string(method), func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				w.start()
				w.m.SetMembers(people(0, 3))
				w.signsIn(0)
				f, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: method})
				require.NoError(t, err)
				require.Equal(t, method, f.Method)
				require.Empty(t, f.UserCode)
				require.Equal(t, map[Method]time.Duration{ByRedirect: 15 * time.Minute, ByLink: 24 * time.Hour}[method], time.Until(f.ExpiresAt))
				require.Equal(t, StateAuthorizing, w.info(0).State)

				_, err = w.m.FinishSignIn(t.Context(), Answer{State: "secret-sign-in-of-nobody", Code: "x"})
				require.ErrorIs(t, err, ErrUnknownSignIn)
				end, err := w.m.FinishSignIn(t.Context(), Answer{State: state(t, f), Code: "x"})
				require.NoError(t, err)
				require.Equal(t, FlowAuthorized, end.State, end.Text)
				require.Empty(t, end.URL)
				synctest.Wait()
				require.Equal(t, StateAuthorized, w.info(0).State)
				require.Len(t, w.graph.watched()[owner(0)], 3)

				_, err = w.m.FinishSignIn(t.Context(), Answer{State: state(t, f), Code: "x"})
				require.ErrorIs(t, err, ErrUnknownSignIn, "once only")
				require.Equal(t, 1, w.graph.count("redeem"))
			})
		})
	}
}

func TestSignInByBrowserThatFails(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		try := func(a Answer, signIn func(context.Context) (Authorization, error)) Flow {
			t.Helper()
			w.graph.with(func() { w.graph.signIn = signIn })
			f, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByRedirect})
			require.NoError(t, err)
			a.State = state(t, f)
			end, err := w.m.FinishSignIn(t.Context(), a)
			require.NoError(t, err)
			require.Equal(t, StateUnset, w.info(0).State)
			return end
		}
		somebody := func(a Authorization) func(context.Context) (Authorization, error) {
			return func(context.Context) (Authorization, error) { return a, nil }
		}
		require.Equal(t, FlowDeclined, try(Answer{Error: "access_denied"}, nil).State)
		end := try(Answer{Code: "x"}, somebody(Authorization{UPN: "anna@contoso.example", RefreshToken: "secret"}))
		require.Equal(t, FlowWrongUser, end.State)
		require.Contains(t, end.Text, "it was anna@contoso.example")
		require.Equal(t, FlowAdministrator, try(Answer{Code: "x"}, somebody(Authorization{UPN: upn(0), RefreshToken: "s", DirectoryRoles: []string{globalAdministrator}})).State)
		end = try(Answer{Code: "x"}, somebody(Authorization{UPN: upn(0), RefreshToken: "s", Scopes: []string{"User.Read"}}))
		require.Equal(t, FlowScopesMissing, end.State)
		require.Contains(t, end.Text, "Presence.Read.All")

		_, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: "telepathy"})
		require.ErrorIs(t, err, ErrMethod)
		require.ErrorContains(t, err, "copy_url")
		w.store.with(func() { w.store.away = true })
		_, err = w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.ErrorIs(t, err, errNet, "an address that a restart would forget is not given out")
		w.store.with(func() { w.store.away = false })
	})
}

func TestSignInByBrowserEnds(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.signsIn(0)
		f, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.NoError(t, err)
		w.pass(24*time.Hour - time.Second)
		require.Equal(t, StateAuthorizing, w.info(0).State)
		w.pass(time.Second)
		end, _ := w.m.Authorization(f.ID)
		require.Equal(t, FlowExpired, end.State)
		_, err = w.m.FinishSignIn(t.Context(), Answer{State: state(t, f), Code: "x"})
		require.ErrorIs(t, err, ErrUnknownSignIn)
		require.NotContains(t, string(w.stored(0)), "sign_in\"")

		// A newer one, of whatever kind, ends the older.
		first, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.NoError(t, err)
		second, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByRedirect})
		require.NoError(t, err)
		_, err = w.m.FinishSignIn(t.Context(), Answer{State: state(t, first), Code: "x"})
		require.ErrorIs(t, err, ErrUnknownSignIn)
		end, err = w.m.FinishSignIn(t.Context(), Answer{State: state(t, second), Code: "x"})
		require.NoError(t, err)
		require.Equal(t, FlowAuthorized, end.State)
	})
}

// A link is good after a restart, and after one in the middle of finishing it.
func TestLinkSurvivesARestart(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		f, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.NoError(t, err)
		w.stop()
		w.pass(time.Hour)
		w.start()
		again, found := w.m.Authorization(f.ID)
		require.True(t, found)
		require.Equal(t, f, again)

		// The process ends while the code is being traded.
		w.graph.with(func() {
			w.graph.signIn = func(ctx context.Context) (Authorization, error) { <-ctx.Done(); return Authorization{}, ctx.Err() }
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		pending, err := w.m.FinishSignIn(ctx, Answer{State: state(t, f), Code: "x"})
		require.NoError(t, err)
		require.Equal(t, FlowPending, pending.State)
		_, err = w.m.FinishSignIn(t.Context(), Answer{State: state(t, f), Code: "x"})
		require.ErrorIs(t, err, ErrUnknownSignIn, "it takes one answer")
		w.stop()
		w.start()
		w.signsIn(0)
		end, err := w.m.FinishSignIn(t.Context(), Answer{State: state(t, f), Code: "y"})
		require.NoError(t, err)
		require.Equal(t, FlowAuthorized, end.State, end.Text)
		w.stop()
		w.start()
		_, found = w.m.Authorization(f.ID)
		require.False(t, found, "what is over is not begun again")
		require.Equal(t, StateAuthorized, w.info(0).State)
	})
}

func TestLinkIsWorthNothingAfterAChange(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"application":   func(w *world) { w.cfg.ClientID = "another" },
		"tenant":        func(w *world) { w.cfg.TenantID = "another" },
		"expired":       func(w *world) { w.pass(25 * time.Hour) },
		"master key":    func(w *world) { w.ring = otherRing(w.t) },
		"subscriptions": func(w *world) { w.cfg.NoSubscriptions = true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				w.start()
				f, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByLink})
				require.NoError(t, err)
				w.stop()
				change(w)
				if name == "master key" { // certificates are sealed under it too
					w.store.with(func() { delete(w.store.entries, account+"."+certificatesKey) })
				}
				w.start()
				synctest.Wait()
				end, err := w.m.AwaitAuthorization(t.Context(), f.ID)
				require.NoError(t, err)
				require.Contains(t, []FlowState{FlowFailed, FlowExpired}, end.State)
				require.Contains(t, end.Text, "start again")
				_, err = w.m.FinishSignIn(t.Context(), Answer{State: state(t, f), Code: "x"})
				require.ErrorIs(t, err, ErrUnknownSignIn)
			})
		})
	}
}

func otherRing(t *testing.T) *keyring.Keyring {
	t.Helper()
	ring, err := keyring.New(bytes.Repeat([]byte{8}, 32))
	require.NoError(t, err)
	return ring
}

// A sign-in is stored sealed, and its state is nowhere else.
func TestSignInIsSecret(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		f, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.NoError(t, err)
		require.NotContains(t, string(w.stored(0)), "secret-sign-in")
		families, err := w.reg.Gather()
		require.NoError(t, err)
		require.NotContains(t, fmt.Sprint(families), "secret-sign-in")
		require.NotContains(t, w.logs.String(), "secret-sign-in")
		s := SignIn{State: state(t, f), Verifier: "secret"}
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", s, s, s), "secret")
		a := Answer{State: state(t, f), Code: "secret"}
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", a, a, a), "secret")
	})
	bubble(t, 1, func(t *testing.T, w *world) {
		w.cfg.NewSignInState = func() (string, error) { return "", errors.New("no randomness") }
		w.start()
		_, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByLink})
		require.ErrorContains(t, err, "no randomness")
	})
}

// stored is monitor i as it lies in the store.
func (w *world) stored(i int) []byte {
	w.t.Helper()
	e, err := w.store.Get(w.t.Context(), account, ID(upn(i)))
	require.NoError(w.t, err)
	return e.Value
}
