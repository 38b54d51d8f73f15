package app

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLostDataDirectory stops a bridge while it asserts on both sides, and starts it without anything that it knew. What
// its client wrote is recognised, since the PBX says who wrote it: it is taken back when its cause is over, and never given
// back as if somebody had chosen it. A session of ours in Teams that nothing asks for any more ends.
func TestLostDataDirectory(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 3, 1)
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	authorize(t, a, s)
	awaitPhones(t, a, s)
	phone, other := s.phone(0), s.phone(1)
	upn, otherUPN := s.person(t, phone), s.person(t, other)
	require.NoError(t, s.graph.SignIn(upn))
	require.NoError(t, s.graph.SignIn(otherUPN))
	require.NoError(t, s.pbx.StartCall(other))
	require.NoError(t, s.graph.StartCall(upn))
	eventually(t, func() bool { return s.graph.Shown(otherUPN) == graphInACall }, "a call on the PBX shows in Teams")
	eventually(t, func() bool { return s.status(phone) == "In a call" }, "a call in Teams shows on the PBX")
	stopApp(t, a)
	require.NoError(t, s.pbx.EndCall(other)) // while nobody looks

	b := launch{dir: t.TempDir(), sites: []*site{s}}.start(t) // another directory: nothing of the first is there
	authorize(t, b, s)
	awaitPhones(t, b, s)
	eventually(t, func() bool {
		as := member(t, b, s, upn).Endpoints[0].Assertion
		return as != nil && as.Value == "In a call"
	}, "what our client wrote is ours again")
	require.Equal(t, "Available", member(t, b, s, upn).Endpoints[0].Assertion.Previous, "policy's default, not our own value")
	require.Equal(t, "In a call", s.status(phone), "its cause goes on")
	require.NoError(t, s.graph.EndCall(upn))
	eventually(t, func() bool { return s.status(phone) == "Available" }, "and is taken back with it")
	require.Nil(t, member(t, b, s, upn).Endpoints[0].Override, "nobody chose anything")
	eventually(t, func() bool { return s.graph.Shown(otherUPN) == graphAvailable }, "the session of the first bridge ends")
}
