package app

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// writes is what the simulators were asked to change, tried or done.
func writes(s *site) (n int64) {
	st := s.graph.Stats()
	for op, took := range st.Writes {
		_ = op
		n += took
	}
	for op, by := range st.Requests {
		if strings.Contains(strings.ToLower(op), "presence") && !strings.Contains(strings.ToLower(op), "get") {
			for _, count := range by {
				n += count
			}
		}
	}
	p := s.pbx.Stats()
	return n + int64(p.WritesApplied+p.WritesNoChange+p.WritesConflict+p.WritesRefused+p.WritesGone)
}

// An account that only observes says what it would do, and asks neither side to change anything.
func TestAnObservingAccountWritesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 6, 1)
	s.extra = "    mode: observe\n"
	phone, other := s.phone(0), s.phone(1)
	upn, otherUPN := s.person(t, phone), s.person(t, other)
	for _, p := range []string{upn, otherUPN} {
		require.NoError(t, s.graph.SignIn(p))
	}
	require.NoError(t, s.graph.StartCall(otherUPN)) // before the bridge is there: nothing is cleared to find out whose it is
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	authorize(t, a, s)
	accounts, err := admin(t, a).Accounts(t.Context())
	require.NoError(t, err)
	require.Equal(t, "observe", accounts[0].Mode)
	eventually(t, func() bool {
		w := member(t, a, s, otherUPN).Endpoints[0].Would
		return w != nil && w.Value == "In a call"
	}, "what a phone would show")

	require.NoError(t, s.pbx.StartCall(phone))
	eventually(t, func() bool { w := member(t, a, s, upn).Teams.Would; return w != nil && w.Value == "Busy/InACall" }, "what Teams would show")
	require.Equal(t, []string{"observing"}, member(t, a, s, upn).Teams.Because)
	require.Nil(t, member(t, a, s, upn).Teams.Assertion)
	require.NoError(t, s.pbx.EndCall(phone))
	eventually(t, func() bool { return member(t, a, s, upn).Teams.Would == nil }, "and no longer")
	require.NoError(t, s.graph.EndCall(otherUPN))
	eventually(t, func() bool { return member(t, a, s, otherUPN).Endpoints[0].Would == nil }, "nor on the phone")

	require.Zero(t, writes(s), "%v %v", s.graph.Stats().Requests, s.pbx.Stats())
	for _, side := range []string{"teams", "main"} {
		require.GreaterOrEqual(t, metric(t, a.Registry(), "presence_bridge_writes_withheld_total", "side", side), 2.0, "%s: set, and taken away", side)
	}
	require.Zero(t, metric(t, a.Registry(), "presence_bridge_writes_total"))
}

// An account that is set to observe gives back what it asserted, and then is silent; set back, it bridges again.
func TestObservingBeginsByGivingBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 1)
	dir, hook := t.TempDir(), listen(t)
	phone, other := s.phone(0), s.phone(1)
	upn, otherUPN := s.person(t, phone), s.person(t, other)
	for _, p := range []string{upn, otherUPN} {
		require.NoError(t, s.graph.SignIn(p))
	}
	_ = hook.Close()
	a, err := launch{dir: dir, sites: []*site{s}, hook: listenAt(t, hook.Addr().String())}.try(t)
	require.NoError(t, err)
	authorize(t, a, s)
	require.NoError(t, s.pbx.StartCall(phone))
	require.NoError(t, s.graph.StartCall(otherUPN))
	eventually(t, func() bool { return s.graph.Shown(upn) == graphInACall && s.status(other) == "In a call" }, "both are bridged")
	stopApp(t, a)

	s.extra = "    mode: observe\n"
	a, err = launch{dir: dir, sites: []*site{s}, hook: listenAt(t, hook.Addr().String())}.try(t)
	require.NoError(t, err)
	eventually(t, func() bool { return s.status(other) == "Available" && s.graph.Shown(upn) == graphAvailable }, "both are given back")
	eventually(t, func() bool {
		w := member(t, a, s, otherUPN).Endpoints[0].Would
		return w != nil && w.Value == "In a call"
	}, "and what would be is said")
	before := writes(s)
	require.Positive(t, before)
	require.NoError(t, s.pbx.EndCall(phone))
	require.NoError(t, s.graph.EndCall(otherUPN))
	eventually(t, func() bool {
		return member(t, a, s, upn).Teams.Would == nil && member(t, a, s, otherUPN).Endpoints[0].Would == nil
	}, "both calls are over")
	require.Equal(t, before, writes(s), "silence")
	stopApp(t, a)

	s.extra = ""
	a, err = launch{dir: dir, sites: []*site{s}, hook: listenAt(t, hook.Addr().String())}.try(t)
	require.NoError(t, err)
	t.Cleanup(func() { stopApp(t, a) })
	awaitPhones(t, a, s)
	require.NoError(t, s.pbx.StartCall(phone))
	eventually(t, func() bool { return s.graph.Shown(upn) == graphInACall }, "it bridges again")
}
