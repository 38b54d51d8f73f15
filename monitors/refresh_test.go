package monitors

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// revoke ends every sign-in of monitor i; what access token it has stays good.
func (w *world) revoke(i int) {
	w.graph.with(func() {
		for token := range w.graph.tokens {
			w.graph.tokens[token] = w.graph.tokens[token] && !belongs(token, i)
		}
	})
}

// belongs tells whether a token is of monitor i.
func belongs(token string, i int) bool {
	return strings.HasPrefix(token, fmt.Sprintf("secret-token-first-%d-", i)) || strings.HasSuffix(token, "-of-"+owner(i))
}

// logged is how often a text was.
func (w *world) logged(text string) int { return strings.Count(w.logs.String(), text) }

// patience is how long it takes at most until a sign-in has been tried: a third more than on average, and a moment.
const patience = refreshEvery*13/10 + time.Minute

// A monitor whose sign-in was revoked has a good access token yet: it is noticed long before that ends.
func TestRevokedSignInIsNoticedBeforeTheTokenEnds(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.graph.with(func() { w.graph.tokenLife = time.Hour })
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.pass(time.Second)
		w.authorize(1)
		w.pass(time.Second)
		require.Equal(t, ids(0, 5), w.graph.watched()[owner(0)])

		w.revoke(0)
		w.pass(patience)
		in := w.info(0)
		require.Equal(t, StateNeedsAttention, in.State)
		require.Equal(t, "password_changed", in.Code)
		require.Equal(t, ids(0, 5), w.graph.watched()[owner(1)], "the spare has taken over")
		require.Equal(t, 1, w.logged("monitor needs attention"))

		// Graph takes the token from before all the same, and that must not count as being accepted again.
		w.pass(30 * time.Minute)
		require.Equal(t, StateNeedsAttention, w.info(0).State)
		require.Equal(t, 1, w.logged("monitor needs attention"))
		require.Zero(t, w.logged("monitor is accepted again"))

		w.authorize(0)
		w.pass(patience)
		require.Equal(t, StateAuthorized, w.info(0).State)
	})
}

// A spare makes no other call: nobody would notice before it is needed.
func TestRevokedSpareIsNoticed(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.graph.with(func() { w.graph.tokenLife = time.Hour })
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.pass(time.Second)
		w.authorize(1)
		w.pass(patience)
		w.revoke(1)
		w.pass(patience)
		require.Equal(t, StateNeedsAttention, w.info(1).State)
		require.Equal(t, StateAuthorized, w.info(0).State)
		require.Equal(t, ids(0, 5), w.graph.watched()[owner(0)])
	})
}

func TestSignInsAreTriedSeldom(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.graph.with(func() { w.graph.tokenLife = time.Hour })
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.pass(time.Second)
		before := w.graph.count("refresh")
		w.pass(10 * time.Hour)
		require.InDelta(t, 60, w.graph.count("refresh")-before, 20)
		require.Equal(t, StateAuthorized, w.info(0).State)
	})
}

// A login endpoint that does not answer says nothing about the sign-in, and keeps nothing from going on.
func TestNoAnswerAboutASignIn(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.graph.with(func() { w.graph.tokenLife = 2 * time.Hour })
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.pass(time.Second)
		w.graph.fail("refresh", fault{times: 1000, err: errNet})
		renewed := w.graph.count("renew")
		w.pass(80 * time.Minute)
		require.Equal(t, StateAuthorized, w.info(0).State)
		require.Empty(t, w.info(0).Problem.Code)
		require.GreaterOrEqual(t, w.graph.count("renew")-renewed, 2, "its subscription is renewed")
		require.Equal(t, ids(0, 5), w.graph.watched()[owner(0)])
		tried := w.graph.count("refresh")
		require.InDelta(t, 10, tried, 5, "with growing pauses")
		w.graph.fail("refresh", fault{})
		w.pass(patience)
		require.Greater(t, w.graph.count("refresh"), tried)
	})
}

// What is wrong with the application is wrong for every monitor: the tokens that there are are used to their end.
func TestRefusedApplicationLeavesTokensInUse(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.graph.with(func() { w.graph.tokenLife = time.Hour })
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.pass(time.Second)
		w.authorize(1)
		w.pass(time.Second)
		w.graph.fail("refresh", fault{times: 1000, err: &CallError{Kind: Unauthorised, Code: "AADSTS7000222", Err: errNet}})
		w.pass(patience)
		require.Equal(t, StateAuthorized, w.info(0).State)
		require.Equal(t, StateAuthorized, w.info(1).State)
		require.Positive(t, w.logged("its token is used to its end"))
		// At the end of the token the calls themselves are refused, as ever.
		w.graph.fail("renew", fault{times: 1000, err: &CallError{Kind: Unauthorised, Code: "AADSTS7000222", Err: errNet}})
		w.pass(renewEvery * 2)
		require.Equal(t, "client_secret_expired", w.info(0).Code)
	})
}

func TestDecideTriesTheSignIn(t *testing.T) {
	now := time.Now()
	v := view{State: StateAuthorized, HasToken: true, RefreshAt: now.Add(time.Minute)}
	act, wake := decide(v, now)
	require.Equal(t, actNone, act)
	require.Equal(t, v.RefreshAt, wake)
	v.RefreshAt = now
	act, _ = decide(v, now)
	require.Equal(t, actRefresh, act)
	v.Want = true
	act, _ = decide(v, now)
	require.Equal(t, actCreate, act, "what there is to do goes first")
	v.RetryAt = now.Add(time.Minute)
	act, _ = decide(v, now)
	require.Equal(t, actRefresh, act, "a pause after a failure is about something else")
	v.State = StateNeedsAttention
	act, wake = decide(v, now)
	require.Equal(t, actNone, act)
	require.Equal(t, v.RetryAt, wake)
}
