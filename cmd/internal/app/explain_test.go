package app

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/graph/graphsim"
)

// TestExplainEndToEnd asks a running bridge about its members, over the admin API.
func TestExplainEndToEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 1)
	phone := s.phone(0)
	upn, other, twin := s.person(t, phone), s.person(t, s.phone(1)), s.person(t, s.phone(2))
	s.extra = "    exclude: [" + other + "]\n"
	require.NoError(t, s.graph.UpdateUser(s.graph.Users()[3].ID, func(p *graphsim.Person) { p.Mail = twin }))
	require.NoError(t, s.graph.SignIn(upn))
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	authorize(t, a, s)
	c := admin(t, a)
	require.NoError(t, s.pbx.StartCall(phone))
	var text string
	eventually(t, func() bool {
		e, err := c.Explain(t.Context(), s.name, upn, time.Time{}, time.Time{}, time.UTC)
		text = e.Text
		return err == nil && strings.Contains(text, "Teams shows Busy (in a call), since ") && len(e.Sides) == 2 && e.Sides[0].Assertion != nil && len(e.Chain) > 0
	}, "explain says what shows since when")
	require.Contains(t, text, "because phone 1000 on main was in a call")
	require.Contains(t, text, "It lasts until ")

	e, err := c.Explain(t.Context(), s.name, other, time.Time{}, time.Time{}, time.UTC)
	require.NoError(t, err)
	require.True(t, e.Excluded)
	require.Empty(t, e.Chain)
	require.Empty(t, e.Sides)

	_, err = c.Explain(t.Context(), s.name, "nobody@contoso.example", time.Time{}, time.Time{}, time.UTC)
	require.True(t, client.IsNotFound(err))
	_, err = c.Explain(t.Context(), s.name, twin[:len(twin)-1], time.Time{}, time.Time{}, time.UTC)
	require.Contains(t, client.Candidates(err), twin)
}

// Without history only the record can be explained, and the answer says so.
func TestExplainWithoutHistory(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	phone := s.phone(0)
	upn := s.person(t, phone)
	require.NoError(t, s.graph.SignIn(upn))
	a := launch{dir: t.TempDir(), sites: []*site{s}, head: "history: 0\n"}.start(t)
	authorize(t, a, s)
	require.NoError(t, s.pbx.StartCall(phone))
	c := admin(t, a)
	eventually(t, func() bool {
		e, err := c.Explain(t.Context(), s.name, upn, time.Time{}, time.Time{}, time.UTC)
		return err == nil && !e.History && len(e.Chain) == 0 && strings.Contains(e.Text, "No history is kept (history: 0") &&
			strings.Contains(e.Text, "because phone 1000 on main was in a call")
	}, "explain works from the record")
}

func TestLookUpRefusesWhatCouldMeanSeveral(t *testing.T) {
	all := []named{{id: "1", upn: "a@contoso.example", mail: "info@contoso.example"}, {id: "2", upn: "b@contoso.example", mail: "INFO@contoso.example"}, {id: "3", upn: "info@contoso.example"}}
	who, err := find(all, "contoso", "INFO@contoso.example")
	require.NoError(t, err)
	require.Equal(t, "3", who.id, "a UPN is one person's, whatever mail addresses are")
	_, err = find(all[:2], "contoso", "info@contoso.example")
	var re *replyError
	require.ErrorAs(t, err, &re)
	require.Equal(t, "conflict", re.Kind)
	require.Equal(t, []string{"1", "2"}, re.Candidates)
	require.Contains(t, re.Text, "a@contoso.example (id 1), b@contoso.example (id 2)")
	_, err = find(all, "contoso", "")
	require.ErrorAs(t, err, &re)
	require.Equal(t, "not_found", re.Kind)
}
