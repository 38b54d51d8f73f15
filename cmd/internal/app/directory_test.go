package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/presence"
	"presencebridge/graph/graphsim"
)

// findings are those of one kind, by the PBX's user id or the UPN.
func findings(t *testing.T, a *App, s *site, kind string) map[string]api.Finding {
	t.Helper()
	out := map[string]api.Finding{}
	for f, err := range admin(t, a).Directory(t.Context(), s.name, kind) {
		require.NoError(t, err)
		key := f.User
		if key == "" {
			key = f.UPN
		}
		out[key] = f
	}
	return out
}

// crosses makes a call on a phone and waits until it shows in Teams and is over.
func crosses(t *testing.T, s *site, phone, upn string) {
	t.Helper()
	require.NoError(t, s.pbx.StartCall(phone))
	eventually(t, func() bool { return s.graph.Shown(upn) == graphInACall }, "the call shows in Teams")
	require.NoError(t, s.pbx.EndCall(phone))
	eventually(t, func() bool { return s.graph.Shown(upn) == graphAvailable }, "and ends")
}

func TestPeopleChange(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 1)
	s.extra = "    directory: {interval: 1s}\n"
	renamed, left, joined := s.phone(0), s.phone(1), s.phone(2)
	for _, phone := range []string{renamed, left, joined} {
		require.NoError(t, s.graph.SignIn(s.person(t, phone)))
	}
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	authorize(t, a, s)
	upn := s.person(t, renamed)
	crosses(t, s, renamed, upn)

	require.NoError(t, s.graph.UpdateUser(upn, func(p *graphsim.Person) { p.Mail = "married@contoso.example" }))
	require.NoError(t, s.graph.RenameUser(upn, "married@contoso.example"))
	eventually(t, func() bool { return findings(t, a, s, "matched")[renamed].Kept }, "a rename moves nothing")
	require.Equal(t, "married@contoso.example", findings(t, a, s, "matched")[renamed].UPN)
	crosses(t, s, renamed, "married@contoso.example")

	require.NoError(t, s.graph.UpdateUser(s.person(t, left), func(p *graphsim.Person) { p.Disabled = true }))
	eventually(t, func() bool { return findings(t, a, s, "endpoint")[left].Reason == "disabled" }, "whoever is disabled has no endpoint")

	mail := s.person(t, joined)
	require.NoError(t, s.graph.RemoveUser(mail))
	_, err := s.graph.AddUser(graphsim.Person{UPN: "joiner@contoso.example", Mail: mail})
	require.NoError(t, err)
	require.NoError(t, s.graph.SignIn("joiner@contoso.example"))
	eventually(t, func() bool { return findings(t, a, s, "matched")[joined].UPN == "joiner@contoso.example" }, "somebody else has the address now")
	crosses(t, s, joined, "joiner@contoso.example")
}

func TestGroupThatOptedOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 1)
	s.extra = "    directory: {interval: 1s}\n"
	s.rules = "{preset: micollab, groups: [{group: Works council, opt_out: both}]}"
	out, in := s.phone(0), s.phone(1)
	outUPN, inUPN := s.person(t, out), s.person(t, in)
	for _, upn := range []string{outUPN, inUPN} {
		require.NoError(t, s.graph.SignIn(upn))
	}
	one, err := s.graph.SetGroup("", "Works Council", outUPN)
	require.NoError(t, err)
	two, err := s.graph.SetGroup("", "works council", inUPN)
	require.NoError(t, err)
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	for _, phone := range []string{out, in} {
		require.NoError(t, s.pbx.StartCall(phone))
	}
	eventually(t, func() bool {
		accounts, err := admin(t, a).Accounts(t.Context())
		return err == nil && accounts[0].PBXs[0].Connected
	}, "the PBX is there")
	for m, err := range admin(t, a).Members(t.Context(), s.name, "") {
		require.NoError(t, err)
		require.Failf(t, "somebody is bridged while it is not known who opted out", "%s", m.UPN)
	}

	s.graph.RemoveGroup(two)
	authorize(t, a, s)
	eventually(t, func() bool { return s.graph.Shown(inUPN) == graphInACall }, "whoever is not in the group is bridged")
	require.NotEqual(t, graphInACall, s.graph.Shown(outUPN))
	eventually(t, func() bool { return member(t, a, s, outUPN).Coverage == presence.CoverageExcluded }, "and whoever is in it is not")
	_, err = s.graph.SetGroup(one, "Works council", inUPN)
	require.NoError(t, err)
	eventually(t, func() bool {
		return s.graph.Shown(outUPN) == graphInACall && s.graph.Shown(inUPN) == graphAvailable
	}, "changing the group changes it at once: what was asserted is withdrawn")
}
