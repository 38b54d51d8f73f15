package graph_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"presencebridge/graph"
	"presencebridge/graph/graphsim"
)

// randomName is a name that nobody has.
func randomName() string { return uuid.NewString() }

// everybody is a list of users that is kept up to date by changes.
type everybody struct {
	t     *testing.T
	c     *graph.Client
	users map[string]graph.User
	link  string
}

// list takes the link first, so that what happens during the listing is told afterwards.
func list(t *testing.T, c *graph.Client) *everybody {
	t.Helper()
	e := &everybody{t: t, c: c, users: map[string]graph.User{}}
	var err error
	e.link, err = c.UserChanges(t.Context(), "", func(graph.UserChange) error { t.Error("nothing of the past was asked for"); return nil })
	require.NoError(t, err)
	require.NoError(t, c.Users(t.Context(), func(u graph.User) error { e.users[u.ID] = u; return nil }))
	return e
}

func (e *everybody) update() error {
	next, err := e.c.UserChanges(e.t.Context(), e.link, func(ch graph.UserChange) error {
		if ch.Removed {
			delete(e.users, ch.ID)
			return nil
		}
		u, known := e.users[ch.ID]
		if !known {
			require.True(e.t, ch.Complete)
			u.Enabled = true
		}
		ch.Onto(&u)
		e.users[ch.ID] = u
		return nil
	})
	if err == nil {
		e.link = next
	}
	return err
}

// fresh is what a listing says now.
func (e *everybody) fresh() map[string]graph.User {
	out := map[string]graph.User{}
	require.NoError(e.t, e.c.Users(e.t.Context(), func(u graph.User) error { out[u.ID] = u; return nil }))
	return out
}

func TestChangesOfUsers(t *testing.T) {
	sim, c := simulated(t, func(cfg *graph.Config) { cfg.UserAttribute = "extensionAttribute7" })
	e := list(t, c)
	some := sim.Users()
	require.NoError(t, sim.UpdateUser(some[0].ID, func(p *graphsim.Person) {
		p.Mail, p.ProxyAddresses, p.Attributes = "", []string{"SMTP:new@contoso.example", "smtp:old@contoso.example"}, map[string]string{"extensionAttribute7": "217"}
	}))
	require.NoError(t, sim.UpdateUser(some[1].ID, func(p *graphsim.Person) { p.Disabled, p.MobilePhone = true, "+49 171 1" }))
	require.NoError(t, sim.RemoveUser(some[2].ID))
	require.NoError(t, sim.RenameUser(some[3].ID, "married@contoso.example"))
	id, err := sim.AddUser(graphsim.Person{UPN: "joiner@contoso.example", Mail: "joiner@contoso.example", DisplayName: "Joiner"})
	require.NoError(t, err)
	require.NoError(t, e.update())
	require.Equal(t, e.fresh(), e.users)
	require.Equal(t, "217", e.users[some[0].ID].Attribute)
	require.Empty(t, e.users[some[0].ID].Mail, "null empties a property")
	require.NotEmpty(t, e.users[some[1].ID].UPN, "what did not change keeps its value")
	require.False(t, e.users[some[1].ID].Enabled)
	require.Equal(t, "married@contoso.example", e.users[some[3].ID].UPN)
	require.Contains(t, e.users, id)

	require.NoError(t, e.update(), "what comes twice changes nothing")
	require.Equal(t, e.fresh(), e.users)

	for range 450 { // several pages of changes
		_, err := sim.AddUser(graphsim.Person{UPN: randomName() + "@contoso.example"})
		require.NoError(t, err)
	}
	require.NoError(t, e.update())
	require.Equal(t, e.fresh(), e.users)

	sim.ExpireDelta()
	require.True(t, graph.IsKind(e.update(), graph.Gone), "after seven days")
	require.NoError(t, list(t, c).update())
}

func TestGroups(t *testing.T) {
	sim, c := simulated(t)
	some := sim.Users()
	inner, err := sim.SetGroup("", "Inner", some[0].UPN, some[1].ID)
	require.NoError(t, err)
	outer, err := sim.SetGroup("", "Anna's team", some[1].ID, some[2].ID, inner)
	require.NoError(t, err)
	_, err = sim.SetGroup(inner, "Inner", some[0].UPN, some[1].ID, outer) // in a circle
	require.NoError(t, err)

	got, err := c.FindGroups(t.Context(), "anna's TEAM")
	require.NoError(t, err)
	require.Equal(t, []graph.Group{{ID: outer, DisplayName: "Anna's team"}}, got)
	got, err = c.FindGroups(t.Context(), outer)
	require.NoError(t, err)
	require.Equal(t, []graph.Group{{ID: outer, DisplayName: "Anna's team"}}, got)
	for _, none := range []string{"Nobody", "00000000-0000-4000-8000-000000000000"} {
		got, err = c.FindGroups(t.Context(), none)
		require.NoError(t, err)
		require.Empty(t, got)
	}

	var ids []string
	collect := func(id string) error { ids = append(ids, id); return nil }
	require.NoError(t, c.GroupMembers(t.Context(), outer, collect))
	require.ElementsMatch(t, []string{some[0].ID, some[1].ID, some[2].ID}, ids)
	require.True(t, graph.IsKind(c.GroupMembers(t.Context(), "00000000-0000-4000-8000-000000000000", collect), graph.Gone))

	var many []string
	for range 1_200 {
		id, err := sim.AddUser(graphsim.Person{UPN: randomName() + "@contoso.example"})
		require.NoError(t, err)
		many = append(many, id)
	}
	_, err = sim.SetGroup(outer, "Anna's team", many...)
	require.NoError(t, err)
	ids = nil
	require.NoError(t, c.GroupMembers(t.Context(), outer, collect))
	require.ElementsMatch(t, many, ids, "over two pages")
}
