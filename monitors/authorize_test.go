package monitors

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAuthorizationEndings(t *testing.T) {
	good := Authorization{UPN: upn(0), ObjectID: "o", RefreshToken: "secret-token", Scopes: []string{"Presence.Read.All"}}
	with := func(alter func(*Authorization)) Authorization { a := good; alter(&a); return a }
	for name, tc := range map[string]struct {
		auth Authorization
		err  error
		want FlowState
		code string
		text string
	}{
		"right":                {auth: good, want: FlowAuthorized, text: "is authorised"},
		"scopes not repeated":  {auth: with(func(a *Authorization) { a.Scopes = nil }), want: FlowAuthorized},
		"somebody else":        {auth: with(func(a *Authorization) { a.UPN = upn(1) }), want: FlowWrongUser, text: "somebody else"},
		"nobody":               {auth: with(func(a *Authorization) { a.UPN = "" }), want: FlowWrongUser},
		"global administrator": {auth: with(func(a *Authorization) { a.DirectoryRoles = []string{"x", "62E90394-69f5-4237-9190-012177145e10"} }), want: FlowAdministrator, text: "Global Administrator"},
		"another role":         {auth: with(func(a *Authorization) { a.DirectoryRoles = []string{"b79fbf4d-3ef9-4689-8143-76b194e85509"} }), want: FlowAuthorized},
		"scope missing":        {auth: with(func(a *Authorization) { a.Scopes = []string{"User.Read", "Presence.Read"} }), want: FlowScopesMissing, text: "Presence.Read.All"},
		"no refresh token":     {auth: with(func(a *Authorization) { a.RefreshToken = "" }), want: FlowScopesMissing, text: "offline_access"},
		"declined":             {err: &AuthError{State: FlowDeclined, Code: "AADSTS65004", Err: errNet}, want: FlowDeclined, code: "AADSTS65004", text: "declined"},
		"expired":              {err: &AuthError{State: FlowExpired, Code: "AADSTS70020", Err: errNet}, want: FlowExpired, code: "AADSTS70020", text: "expired"},
		"bad code":             {err: &AuthError{State: FlowBadCode, Err: errNet}, want: FlowBadCode, text: "exactly as shown"},
		"blocked":              {err: &AuthError{State: FlowFailed, Code: "AADSTS53003", Err: errNet}, want: FlowFailed, code: "AADSTS53003", text: "Conditional Access"},
		"said otherwise":       {err: &AuthError{State: FlowFailed, Code: "x", Text: "what the client says", Err: errNet}, want: FlowFailed, code: "x", text: "what the client says"},
		"unknown failure":      {err: errNet, want: FlowFailed, text: "connection reset"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 2, func(t *testing.T, w *world) {
				w.graph.signIn = func(ctx context.Context) (Authorization, error) {
					if !sleep(ctx, time.Minute) {
						return Authorization{}, ctx.Err()
					}
					return tc.auth, tc.err
				}
				w.start()
				f, err := w.m.Authorize(t.Context(), Order{UPN: "PRESENCE1@contoso.example", Method: ByDeviceCode})
				require.NoError(t, err)
				require.Equal(t, FlowPending, f.State)
				require.Equal(t, "ABCD-EFGH", f.UserCode)
				require.Equal(t, "https://login.test/device", f.VerificationURI)
				require.Equal(t, 15*time.Minute, time.Until(f.ExpiresAt))
				require.Equal(t, StateAuthorizing, w.info(0).State)
				require.Equal(t, StateUnset, w.info(1).State)
				w.pass(59 * time.Second)
				now, found := w.m.Authorization(f.ID)
				require.True(t, found)
				require.Equal(t, f, now)
				w.pass(time.Second)
				end, err := w.m.AwaitAuthorization(t.Context(), f.ID)
				require.NoError(t, err)
				require.Equal(t, tc.want, end.State, end.Text)
				require.Equal(t, tc.code, end.Code)
				require.Contains(t, end.Text, tc.text)
				require.NotEmpty(t, end.Text)
				require.Empty(t, end.UserCode)
				if tc.want == FlowAuthorized {
					require.Equal(t, StateAuthorized, w.info(0).State)
				} else {
					require.Equal(t, StateUnset, w.info(0).State)
				}
			})
		})
	}
}

func TestAuthorizationOfAWorkingMonitorDisturbsNothing(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 3))
		w.authorize(0)
		before := w.graph.sub(owner(0)).ID
		w.graph.mu.Lock()
		w.graph.signIn = func(ctx context.Context) (Authorization, error) { <-ctx.Done(); return Authorization{}, ctx.Err() }
		w.graph.mu.Unlock()
		first, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByDeviceCode})
		require.NoError(t, err)
		require.Equal(t, StateAuthorized, w.info(0).State)
		require.Equal(t, before, w.graph.sub(owner(0)).ID)

		second, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByDeviceCode})
		require.NoError(t, err)
		end, err := w.m.AwaitAuthorization(t.Context(), first.ID)
		require.NoError(t, err)
		require.Equal(t, FlowSuperseded, end.State)

		require.Equal(t, FlowAuthorized, w.authorize(0).State)
		synctest.Wait()
		require.Equal(t, before, w.graph.sub(owner(0)).ID, "the subscription goes on")
		end, err = w.m.AwaitAuthorization(t.Context(), second.ID)
		require.NoError(t, err)
		require.Equal(t, FlowSuperseded, end.State)
	})
}

func TestAuthorizationNeeds(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		_, err := w.m.Authorize(t.Context(), Order{UPN: "stranger@contoso.example", Method: ByDeviceCode})
		require.ErrorIs(t, err, ErrUnknownMonitor)
		require.NotContains(t, err.Error(), "stranger", "no address in errors")
		w.graph.fail("devicecode", fault{times: 1, err: &CallError{Kind: Unauthorised, Code: "AADSTS700016", Err: errors.New("unknown application")}})
		_, err = w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByDeviceCode})
		require.ErrorContains(t, err, "unknown application")
		_, found := w.m.Authorization("nothing")
		require.False(t, found)
		_, err = w.m.AwaitAuthorization(t.Context(), "nothing")
		require.Error(t, err)

		// The bridge stops in the middle: the state is what it was, and it can be started again.
		w.graph.signIn = func(ctx context.Context) (Authorization, error) { <-ctx.Done(); return Authorization{}, ctx.Err() }
		f, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByDeviceCode})
		require.NoError(t, err)
		w.stop()
		end, found := w.m.Authorization(f.ID)
		require.True(t, found)
		require.Equal(t, FlowFailed, end.State)
		require.Contains(t, end.Text, "start again")
		_, err = w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByDeviceCode})
		require.ErrorIs(t, err, ErrNotRunning)
		w.start()
		require.Equal(t, StateAuthorizing, w.info(0).State, "it goes on")
		again, found := w.m.Authorization(f.ID)
		require.True(t, found)
		require.Equal(t, FlowPending, again.State)
		require.Equal(t, "ABCD-EFGH", again.UserCode)
		require.Equal(t, FlowAuthorized, w.authorize(0).State)
		again, _ = w.m.Authorization(f.ID)
		require.Equal(t, FlowSuperseded, again.State)
	})
}

func TestTroublesAreExplained(t *testing.T) {
	for number, want := range troubles() {
		for _, e := range []*CallError{
			{Kind: Unauthorised, Code: "AADSTS" + number}, {Kind: Unauthorised, Code: "invalid_grant", Text: "aadsts" + number + ": The provided grant"},
		} {
			got := diagnose(e)
			require.Equal(t, want, got, number)
			require.NotEmpty(t, got.code)
			require.NotEmpty(t, got.text)
			require.NotEmpty(t, got.remedy)
		}
	}
	require.Equal(t, "permission_missing", diagnose(&CallError{Kind: Consent, Code: "Forbidden"}).code)
	require.Equal(t, "client_secret_wrong", diagnose(&CallError{Kind: Unauthorised, Code: "invalid_client"}).code)
	require.Equal(t, "token_unreadable", diagnose(&CallError{Kind: Unauthorised, Code: "not_signed_in"}).code)
	require.Equal(t, "sign_in_refused", diagnose(&CallError{Kind: Unauthorised, Code: "AADSTS1"}).code)
	require.Equal(t, "sign_in_refused", diagnose(&CallError{Kind: Unauthorised, Text: "ends in AADSTS"}).code)
	for s := range map[FlowState]bool{
		FlowPending: true, FlowAuthorized: true, FlowDeclined: true, FlowExpired: true, FlowBadCode: true, FlowWrongUser: true,
		FlowAdministrator: true, FlowScopesMissing: true, FlowSuperseded: true, FlowFailed: true,
	} {
		require.NotEqual(t, string(s), s.Text())
	}
	for _, why := range []Why{WhyUnmatched, WhyNoSubscriptions, WhyNoMonitor, WhyCapacity, WhyJoining, WhySubscribing} {
		require.NotEqual(t, string(why), why.Text())
	}
}

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	live := view{State: StateAuthorized, HasToken: true, Want: true, Subscribed: true, Expires: now.Add(time.Hour), RenewAt: now.Add(25 * time.Minute)}
	with := func(alter func(*view)) view { v := live; alter(&v); return v }
	for name, tc := range map[string]struct {
		v    view
		want action
		wake time.Time
	}{
		"at rest":              {live, actNone, now.Add(25 * time.Minute)},
		"renewal due":          {with(func(v *view) { v.RenewAt = now }), actRenew, time.Time{}},
		"challenged":           {with(func(v *view) { v.Challenge = true }), actRenew, time.Time{}},
		"challenged, paused":   {with(func(v *view) { v.Challenge = true; v.RetryAt = now.Add(time.Minute) }), actNone, now.Add(time.Minute)},
		"at rest after pause":  {with(func(v *view) { v.RetryAt = now.Add(time.Minute) }), actNone, now.Add(25 * time.Minute)},
		"expired":              {with(func(v *view) { v.Expires = now }), actCreate, time.Time{}},
		"expired, nobody":      {with(func(v *view) { v.Expires = now; v.Want = false }), actNone, time.Time{}},
		"nobody":               {with(func(v *view) { v.Want = false }), actDelete, time.Time{}},
		"change due":           {with(func(v *view) { v.ChangeDue = now }), actRecreate, time.Time{}},
		"change later":         {with(func(v *view) { v.ChangeDue = now.Add(time.Minute) }), actNone, now.Add(time.Minute)},
		"another shard":        {with(func(v *view) { v.OtherShard = true }), actRecreate, time.Time{}},
		"key lost":             {with(func(v *view) { v.Unreadable = true }), actRecreate, time.Time{}},
		"not subscribed":       {view{State: StateAuthorized, Want: true}, actCreate, time.Time{}},
		"unset":                {view{State: StateUnset, Want: true}, actNone, time.Time{}},
		"needs update":         {with(func(v *view) { v.State = StateNeedsUpdate }), actNone, time.Time{}},
		"needs attention":      {with(func(v *view) { v.State = StateNeedsAttention; v.RetryAt = now.Add(time.Minute) }), actNone, now.Add(time.Minute)},
		"needs attention, due": {with(func(v *view) { v.State = StateNeedsAttention }), actProbe, time.Time{}},
		"asked for":            {with(func(v *view) { v.State = StateNeedsAttention; v.RetryAt = now.Add(time.Minute); v.Check = true }), actProbe, time.Time{}},
		"retired":              {view{State: StateRetired}, actNone, time.Time{}},
	} {
		act, wake := decide(tc.v, now)
		require.Equal(t, tc.want, act, name)
		require.Equal(t, tc.wake, wake, name)
	}
}
