package app

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

func TestBothWaysEndToEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 20, 1)
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	authorize(t, a, s)

	phone := s.phone(3)
	upn := s.person(t, phone)
	require.NoError(t, s.graph.SignIn(upn))
	require.NoError(t, s.graph.StartCall(upn))
	eventually(t, func() bool { return s.status(phone) == "In a call" }, "a call in Teams shows on the PBX")
	require.NoError(t, s.graph.EndCall(upn))
	eventually(t, func() bool { return s.status(phone) == "Available" }, "and ends there")

	require.NoError(t, s.pbx.StartCall(phone))
	eventually(t, func() bool { return s.graph.Shown(upn) == graphInACall }, "a call on the PBX shows in Teams")
	require.NoError(t, s.pbx.EndCall(phone))
	eventually(t, func() bool { return s.graph.Shown(upn) == graphAvailable }, "and ends there")
}

func TestExcludedMembersAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 1)
	phone, other := s.phone(0), s.phone(1)
	upn, otherUPN := s.person(t, phone), s.person(t, other)
	s.extra = "    exclude: [" + upn + "]\n"
	for _, p := range []string{upn, otherUPN} {
		require.NoError(t, s.graph.SignIn(p))
	}
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	authorize(t, a, s)
	m := member(t, a, s, upn)
	require.Equal(t, presence.CoverageExcluded, m.Coverage)
	require.NotEmpty(t, m.CoverageReasons, "it says why")

	for _, p := range []string{phone, other} {
		require.NoError(t, s.pbx.StartCall(p))
	}
	eventually(t, func() bool { return s.graph.Shown(otherUPN) == graphInACall }, "the other's call shows")
	require.NoError(t, s.pbx.EndCall(other))
	eventually(t, func() bool { return s.graph.Shown(otherUPN) == graphAvailable }, "and ends")
	for _, p := range []string{upn, otherUPN} {
		require.NoError(t, s.graph.StartCall(p))
	}
	eventually(t, func() bool { return s.status(other) == "In a call" }, "the other's call shows on the PBX")
	require.Equal(t, "Available", s.status(phone))
	_, ours := s.graph.AppSession(upn)
	require.False(t, ours)
	require.Equal(t, 1, s.pbx.Stats().WritesApplied)
}

// TestPBXThatComesLater starts without a PBX: the bridge runs, says what is missing, and bridges once it is there.
func TestPBXThatComesLater(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 1)
	s.pbx.Down()
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	c := admin(t, a)
	eventually(t, func() bool {
		accounts, err := c.Accounts(t.Context())
		return err == nil && len(accounts) == 1 && len(accounts[0].PBXs) == 1 && !accounts[0].PBXs[0].Connected && accounts[0].PBXs[0].Detail != ""
	}, "the account page says that the PBX is not there")
	eventually(t, func() bool {
		status, _ := get(t, "http://"+a.AdminAddr()+"/readyz", "")
		return status == http.StatusOK
	}, "a PBX that is away does not keep the bridge from being ready")
	phone := s.phone(0)
	upn := s.person(t, phone)
	require.NoError(t, s.graph.SignIn(upn))
	require.NoError(t, s.pbx.Up())
	awaitPhones(t, a, s)
	require.NoError(t, s.pbx.StartCall(phone))
	eventually(t, func() bool { return s.graph.Shown(upn) == graphInACall }, "a call shows in Teams")
	eventually(t, func() bool {
		accounts, err := c.Accounts(t.Context())
		return err == nil && accounts[0].PBXs[0].Connected && accounts[0].PBXs[0].Detail == ""
	}, "the account page says that it is there")
}

// TestGraphThatComesLater starts without Graph: the bridge is alive but not ready, and bridges once Graph is there.
func TestGraphThatComesLater(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 1)
	s.door.shut.Store(true)
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	status, text := get(t, "http://"+a.AdminAddr()+"/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, text, "account contoso")
	require.Contains(t, text, "the members are not known yet")
	status, text = get(t, "http://"+a.AdminAddr()+"/healthz", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, "test", "the version")
	_, err := admin(t, a).Authorize(t.Context(), s.name, s.monitor())
	require.ErrorContains(t, err, "the sign-in could not be started")

	phone := s.phone(0)
	upn := s.person(t, phone)
	require.NoError(t, s.graph.SignIn(upn))
	s.door.shut.Store(false)
	eventually(t, func() bool {
		status, _ := get(t, "http://"+a.AdminAddr()+"/readyz", "")
		return status == http.StatusOK
	}, "ready")
	awaitPhones(t, a, s)
	require.NoError(t, s.pbx.StartCall(phone))
	eventually(t, func() bool { return s.graph.Shown(upn) == graphInACall }, "a call shows in Teams")
}

func TestSecondBridgeOnTheSameDataIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	l := launch{dir: t.TempDir(), sites: []*site{s}}
	a := l.start(t)
	_, err := l.try(t)
	require.ErrorContains(t, err, filepath.Join(l.dir, "data"))
	require.ErrorContains(t, err, "data_dir", "the key to change")
	status, _ := get(t, "http://"+a.AdminAddr()+"/healthz", "")
	require.Equal(t, http.StatusOK, status, "the first one goes on")
}

func TestAddressThatIsTakenIsNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	taken := listen(t)
	defer func() { require.NoError(t, taken.Close()) }()
	l := launch{dir: t.TempDir(), sites: []*site{s}}
	t.Run("admin", func(t *testing.T) {
		_, err := startWith(t, l, map[string]string{"127.0.0.1:0": taken.Addr().String()})
		require.ErrorContains(t, err, "listen.admin")
		require.ErrorContains(t, err, "choose an address that is free")
	})
	t.Run("nothing stays behind", func(t *testing.T) { l.start(t) })
}

// TestRestart stops a bridge in the middle of a call and starts it again: what it had asked for at Graph is used
// on, and what it had put on the PBX is taken back when its cause ends.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 6, 1)
	address := listen(t)
	require.NoError(t, address.Close())
	l := launch{dir: t.TempDir(), sites: []*site{s}, hook: listenAt(t, address.Addr().String())}
	a := l.start(t)
	authorize(t, a, s)
	awaitPhones(t, a, s)
	phone, other := s.phone(0), s.phone(1)
	upn, otherUPN := s.person(t, phone), s.person(t, other)
	require.NoError(t, s.graph.SignIn(otherUPN))
	require.NoError(t, s.pbx.Pick(phone, "Gone for lunch"))
	require.NoError(t, s.pbx.StartCall(other))
	eventually(t, func() bool { return s.graph.Shown(otherUPN) == graphInACall }, "a call on the PBX shows in Teams")
	eventually(t, func() bool { // and what Teams showed when it was made (R17): the call must come later
		m := member(t, a, s, upn)
		return m.Endpoints[0].Organic.String() == "Gone for lunch" && len(m.Teams.Pending) == 0
	}, "the bridge has seen the choice")
	require.NoError(t, s.graph.StartCall(upn))
	eventually(t, func() bool { return s.status(phone) == "In a call" }, "a call in Teams shows on the PBX")
	subscription := s.graph.Subscriptions()[0].ID
	created := s.graph.Stats().Requests["createSubscription"]
	stopApp(t, a)
	require.Equal(t, "In a call", s.status(phone), "a stop is no end of a call")

	require.NoError(t, s.pbx.EndCall(other)) // while nobody looks
	l.hook = listenAt(t, address.Addr().String())
	b := l.start(t)
	eventually(t, func() bool { return s.graph.Shown(otherUPN) == graphAvailable }, "what ended meanwhile ends in Teams")
	require.NoError(t, s.graph.EndCall(upn))
	eventually(t, func() bool { return s.status(phone) == "Gone for lunch" }, "what was there before is there again")
	require.Equal(t, created, s.graph.Stats().Requests["createSubscription"], "the subscription was not made again")
	require.Equal(t, subscription, s.graph.Subscriptions()[0].ID)
	monitors, err := admin(t, b).Monitors(t.Context(), s.name)
	require.NoError(t, err)
	require.Equal(t, subscription, monitors[0].Subscription.ID)
	require.Equal(t, "authorized", monitors[0].State)
	require.Equal(t, a.AdminToken(), b.AdminToken())
}
