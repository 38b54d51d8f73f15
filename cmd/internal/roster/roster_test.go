package roster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/directory"
	"presencebridge/graph"
	"presencebridge/graph/graphsim"
)

// counted counts the calls of Graph, and fails those it is told to.
type counted struct {
	Graph
	full, delta int
	fail        error
}

func (c *counted) Users(ctx context.Context, each func(graph.User) error) error {
	c.full++
	if c.fail != nil {
		return c.fail
	}
	return c.Graph.Users(ctx, each)
}

func (c *counted) UserChanges(ctx context.Context, link string, each func(graph.UserChange) error) (string, error) {
	if link != "" {
		c.delta++
	}
	if c.fail != nil {
		return "", c.fail
	}
	return c.Graph.UserChanges(ctx, link, each)
}

// tenant is a simulated tenant, with a client of its Graph.
func tenant(t *testing.T, roles ...string) (*graphsim.Sim, *counted) {
	t.Helper()
	sim, err := graphsim.Start(graphsim.Config{Users: 20, Seed: 1, AppRoles: roles})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, sim.CAPEM(), 0o600))
	c, err := graph.New(graph.Config{
		Account: "contoso", TenantID: sim.TenantID, ClientID: sim.ClientID, UserAttribute: "extensionAttribute3",
		ClientSecret: func() (string, error) { return sim.ClientSecret, nil },
		Endpoints:    graph.Endpoints{Login: sim.LoginURL(), Graph: sim.GraphURL(), CAFile: ca},
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return sim, &counted{Graph: c}
}

// fresh is what a roster that begins now knows.
func fresh(t *testing.T, g Graph) []directory.User {
	t.Helper()
	r := New(Config{Graph: g})
	_, err := r.Refresh(t.Context())
	require.NoError(t, err)
	return sorted(r)
}

func sorted(r *Roster) []directory.User {
	users := r.Users()
	slices.SortFunc(users, func(a, b directory.User) int { return strings.Compare(a.ID, b.ID) })
	return users
}

func refresh(t *testing.T, r *Roster, changed bool) {
	t.Helper()
	got, err := r.Refresh(t.Context())
	require.NoError(t, err)
	require.Equal(t, changed, got)
}

func TestListThenChanges(t *testing.T) {
	sim, g := tenant(t)
	now := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	r := New(Config{Graph: g, Now: func() time.Time { return now }})
	refresh(t, r, true)
	refresh(t, r, false)
	require.Equal(t, 1, g.full)

	people := sim.Users()
	require.NoError(t, sim.UpdateUser(people[0].ID, func(p *graphsim.Person) {
		p.Mail, p.ProxyAddresses = "new@contoso.example", []string{"SMTP:new@contoso.example", "smtp:old@contoso.example", "SIP:x@contoso.example", "smtp:"}
		p.Attributes = map[string]string{"extensionAttribute3": "203"}
	}))
	require.NoError(t, sim.RemoveUser(people[1].ID))
	_, err := sim.AddUser(graphsim.Person{UPN: "joiner@contoso.example"})
	require.NoError(t, err)
	refresh(t, r, true)
	require.Equal(t, 1, g.full)
	require.Equal(t, fresh(t, g), sorted(r))
	u := r.users[people[0].ID]
	require.Equal(t, []string{"new@contoso.example", "old@contoso.example"}, u.Proxies)
	require.Equal(t, "203", u.Extension)

	full := g.full
	sim.ExpireDelta()
	refresh(t, r, true)
	require.Equal(t, full+1, g.full, "an old link leads to a full listing")
	now = now.Add(25 * time.Hour)
	refresh(t, r, true)
	require.Equal(t, full+2, g.full, "and so does a day")
}

func TestWhatFailsChangesNothing(t *testing.T) {
	sim, g := tenant(t)
	r := New(Config{Graph: g})
	r.Seed([]directory.User{{ID: "known"}})
	g.fail = errors.New("no answer")
	_, err := r.Refresh(t.Context())
	require.ErrorIs(t, err, g.fail)
	require.Equal(t, 1, r.Len())
	g.fail = nil
	refresh(t, r, true)
	require.Equal(t, len(sim.Users()), r.Len())
	g.fail = errors.New("no answer")
	_, err = r.Refresh(t.Context())
	require.ErrorIs(t, err, g.fail)
	require.Equal(t, len(sim.Users()), r.Len())
}

// noDelta is a Graph that cannot tell what changed.
type noDelta struct{ *counted }

func (noDelta) UserChanges(context.Context, string, func(graph.UserChange) error) (string, error) {
	return "", &graph.Error{Kind: graph.Gone, Status: 404}
}

func TestWithoutChangesEverybodyIsListed(t *testing.T) {
	_, g := tenant(t)
	r := New(Config{Graph: noDelta{g}})
	refresh(t, r, true)
	refresh(t, r, true)
	require.Equal(t, 2, g.full)
}

func TestGroups(t *testing.T) {
	sim, g := tenant(t)
	people := sim.Users()
	id, err := sim.SetGroup("", "Reception", people[0].ID)
	require.NoError(t, err)
	_, err = sim.SetGroup("", "Twice", people[0].ID)
	require.NoError(t, err)
	_, err = sim.SetGroup("", "twice", people[1].ID)
	require.NoError(t, err)
	r := New(Config{Graph: g, Groups: []string{"reception", id, "Nobody", "Twice"}})
	refresh(t, r, true)
	require.Equal(t, map[string][]string{people[0].ID: {"reception", id}}, r.Groups())
	require.Equal(t, []string{"Twice"}, r.Unread())
	problems := r.Problems()
	require.Len(t, problems, 2)
	require.Equal(t, Problem{Group: "Nobody", Text: "the tenant has no such group: nobody is in it", Remedy: "correct the name in the policy, or remove it"}, problems[0])
	require.Equal(t, "2 groups have this name", problems[1].Text)

	_, err = sim.SetGroup(id, "Reception", people[1].ID)
	require.NoError(t, err)
	refresh(t, r, true)
	require.Equal(t, map[string][]string{people[1].ID: {"reception", id}}, r.Groups())
	refresh(t, r, false)
}

func TestGroupsWithoutPermission(t *testing.T) {
	sim, g := tenant(t, "Presence.ReadWrite.All", "User.Read.All")
	id, err := sim.SetGroup("", "Reception", sim.Users()[0].ID)
	require.NoError(t, err)
	r := New(Config{Graph: g, Groups: []string{id}})
	refresh(t, r, true)
	require.Empty(t, r.Groups())
	require.Equal(t, []string{id}, r.Unread())
	require.Contains(t, r.Problems()[0].Remedy, "GroupMember.Read.All")
}
