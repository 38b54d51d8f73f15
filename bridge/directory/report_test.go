package directory

import (
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
)

func TestReport(t *testing.T) {
	a, b := person("a", "anna.berg@x.test", "shared@x.test"), person("b", "b@x.test", "shared@x.test")
	a.Name, b.Name = "Anna Berg", "Bob Stone"
	c, out := person("c", "carla@x.test", "carla@x.test"), person("out", "out@x.test", "out@x.test")
	phones := map[string][]pbx.User{"p": {
		phone("1", "shared@x.test"), {ID: "2", Email: "ana.berg@x.test", DisplayName: "Berg Ana", Extension: "202"}, phone("3", "carla@x.test"), phone("4", "out@x.test"),
	}}
	opts := Options{Exclude: []string{"out@x.test", "typo@x.test"}, Overrides: []Override{{PBX: "p", Endpoint: "99", Person: "a", Line: 2}}}
	people := []User{a, b, c, out}
	r := NewReport(people, Match(people, phones, opts), Problem{"the group Staff cannot be read", "grant the permission"})
	require.Equal(t, map[FindingKind]int{FoundProblem: 3, FoundAmbiguous: 1, FoundEndpoint: 1, FoundPerson: 2, FoundMatched: 2, FoundExcluded: 1}, r.Counts())

	page := func(k FindingKind) []Finding {
		all, next := r.Page(k, "", 100)
		require.Empty(t, next)
		return all
	}
	require.Equal(t, []string{
		"exclude names typo@x.test, whom the tenant does not have; correct or remove it",
		"the group Staff cannot be read; grant the permission",
		"the overrides speak of an endpoint that the PBX does not list (line 2: p 99 is a); correct or remove the line",
	}, []string{page(FoundProblem)[0].Text, page(FoundProblem)[1].Text, page(FoundProblem)[2].Text})
	require.Equal(t, []Near{{"a", "Anna Berg (anna.berg@x.test, shared@x.test)", 1}, {"b", "Bob Stone (b@x.test, shared@x.test)", 1}}, page(FoundAmbiguous)[0].Candidates)
	e := page(FoundEndpoint)[0]
	require.Equal(t, NoPerson, e.Reason)
	require.Equal(t, "a", e.Candidates[0].ID, "who looks like it")
	require.Equal(t, Finding{Kind: FoundMatched, PBX: "p", User: "3", Extension: "3", Mail: "carla@x.test", ID: "c", UPN: "carla@x.test", Name: "Name of c", Rule: ByMail}, page(FoundMatched)[0])
	require.Equal(t, OnlyAmbiguous, page(FoundPerson)[0].Reason)
	require.Equal(t, "out", page(FoundExcluded)[0].ID)
}

func TestReportPages(t *testing.T) {
	people, phones := tenant(250)
	r := NewReport(people, Match(people, phones, Options{}))
	var all []Finding
	after := ""
	for {
		page, next := r.Page(FoundMatched, after, 100)
		all = append(all, page...)
		if next == "" {
			break
		}
		after = next
	}
	require.Len(t, all, 250+84)
	seen := map[string]bool{}
	for i := range all {
		require.False(t, seen[all[i].key()])
		seen[all[i].key()] = true
	}
	page, next := r.Page(FoundEndpoint, "", 10)
	require.Empty(t, page)
	require.Empty(t, next)
}
