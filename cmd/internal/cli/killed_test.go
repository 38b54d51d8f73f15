package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// again starts a bridge that was killed.
func again(t *testing.T, file string) *child {
	t.Helper()
	c := start(t, "serve", "--config", file)
	c.says(t, "presence-bridge is running")
	return c
}

// TestKilledSignInGoesOn kills the bridge with SIGKILL while people sign in. The code and the link that they have are good
// when it runs again, and end in an authorised monitor with its subscription.
func TestKilledSignInGoesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	file, bridge := serving(t, s)
	waiting := start(t, "monitors", "authorize", s.monitor(), "--config", file)
	waiting.says(t, "Enter")
	require.NoError(t, killed(bridge))
	code := s.graph.DeviceCodes()[0].UserCode
	bridge = again(t, file)
	eventually(t, func() bool { return listed(t, file)[s.monitor()].State == "authorizing" }, "the code is still good")
	require.NoError(t, s.graph.Approve(code, s.monitor()))
	eventually(t, func() bool { return listed(t, file)[s.monitor()].State == "authorized" }, "it was entered")
	eventually(t, func() bool { return len(s.graph.Subscriptions()) == 1 }, "a subscription is made")

	// The same with a link, after which the sign-in begins anew.
	out := good(t, "monitors", "authorize", s.monitor(), "--copy-url", "--config", file)
	require.NoError(t, killed(bridge))
	bridge = again(t, file)
	address := ""
	for word := range strings.FieldsSeq(out) {
		if strings.HasPrefix(word, "https://") {
			address = word
		}
	}
	eventually(t, func() bool {
		status, _ := browsed(t, s, address+"&as="+s.monitor())
		return status == 200
	}, "the link is still good")
	stillSignedIn(t, file, s)

	// A code that ran out while the bridge was away: the state says that somebody has to sign in.
	good(t, "monitors", "remove", s.monitor(), "--config", file)
	good(t, "monitors", "add", s.monitor(), "--config", file)
	waiting = start(t, "monitors", "authorize", s.monitor(), "--config", file)
	waiting.says(t, "Enter")
	require.NoError(t, killed(bridge))
	require.NoError(t, s.graph.Expire(s.graph.DeviceCodes()[0].UserCode))
	bridge = again(t, file)
	eventually(t, func() bool { return listed(t, file)[s.monitor()].State == "unset" }, "nobody has signed in")
	require.Contains(t, listed(t, file)[s.monitor()].Remedy, "presence-bridge monitors authorize")
	approved(t, file, s, s.monitor())
	require.Equal(t, 0, bridge.terminate(t), bridge.err.String())
}

// TestKilledRecreationGoesOn kills the bridge with SIGKILL right after it was told to make a subscription anew. When it runs
// again there is one subscription, and what comes through it is read.
func TestKilledRecreationGoesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	file, bridge := serving(t, s)
	signedIn(t, file, s)
	upn := s.upn(0)
	require.NoError(t, s.graph.SignIn(upn))
	for range 3 {
		eventually(t, func() bool { return run(t, "keys", "rotate-certificate", "--config", file).code == 0 }, "it is told")
		require.NoError(t, killed(bridge))
		bridge = again(t, file)
		eventually(t, func() bool {
			m := listed(t, file)[s.monitor()]
			subs := s.graph.Subscriptions()
			return m.Subscription != nil && len(subs) == 1 && subs[0].ID == m.Subscription.ID && m.Members == 2
		}, "there is one subscription, and the bridge knows it")
		require.NoError(t, s.graph.StartCall(upn))
		eventually(t, func() bool { return shows(t, file, upn, "InACall") }, "a call is seen")
		require.NoError(t, s.graph.EndCall(upn))
		eventually(t, func() bool { return shows(t, file, upn, "Available") }, "it ends")
	}
	require.Equal(t, 0, bridge.terminate(t), bridge.err.String())
}

// shows tells whether the bridge, which may just be starting, knows a user's presence.
func shows(t *testing.T, file, upn, presence string) bool {
	t.Helper()
	r := run(t, "users", "get", upn, "--config", file)
	return r.code == 0 && strings.Contains(r.out, presence)
}
