package directory

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// ownersOf are who has which endpoint, and why the others have nobody.
func ownersOf(r Result) map[string]string {
	out := map[string]string{}
	for _, m := range r.Members {
		for _, x := range m.Matched {
			out[x.ID.String()] = fmt.Sprint(m.ID, " by ", x.Rule)
			if x.Kept {
				out[x.ID.String()] += ", kept"
			}
		}
	}
	for _, e := range append(r.Endpoints, r.Ambiguous...) {
		out[e.ID.String()] = strings.TrimSpace(fmt.Sprint(e.Reason, " ", strings.Join(e.Candidates, ",")))
	}
	return out
}

func TestRules(t *testing.T) {
	anna := User{
		ID: "anna", UPN: "anna@x.test", Mail: "anna.b@x.test", Name: "Anna  Berg", Enabled: true, Extension: "E17",
		Proxies: []string{"A.Berg@x.test", "anna@old.test"}, Phones: []string{"+49 30 123456-201"}, Mobile: "0171 2345678",
	}
	bob := User{
		ID: "bob", UPN: "bob@x.test", Name: "Bob Stone", Enabled: true, Proxies: []string{"anna.b@x.test"}, Extension: "202",
		Phones: []string{"+1 (212) 555-0100 x315", "+49 30 123456-202"},
	}
	left := User{ID: "left", UPN: "left@x.test", Mail: "left@x.test", Name: "Same Name", Phones: []string{"+49 30 123456-300"}, Extension: "300"}
	namesake := User{ID: "same", UPN: "s@x.test", Name: "same name", Enabled: true, Extension: "300"}
	germany := Options{Region: "DE", Prefixes: map[string]string{"p": "+4930123456"}}
	named := germany
	named.Rules = append(DefaultRules(), ByName)
	upnFirst := Options{Rules: []Rule{ByUPN, ByProxyAddress, ByMail}}
	for _, tc := range []struct {
		name string
		user pbx.User
		opts Options
		want string
	}{
		{"mail", pbx.User{Email: "ANNA.B@x.test "}, Options{}, "anna by mail"},
		{"UPN", pbx.User{Email: "Bob@x.test"}, Options{}, "bob by upn"},
		{"a further address", pbx.User{Email: "a.berg@X.test"}, Options{}, "anna by proxy_addresses"},
		{"the order of the rules is the site's", pbx.User{Email: "anna.b@x.test"}, upnFirst, "bob by proxy_addresses"},
		{"the attribute for extensions", pbx.User{Extension: "e17"}, Options{}, "anna by extension"},
		{"a number with its country code", pbx.User{Extension: "+4930123456201"}, Options{}, "anna by phone"},
		{"a number as it is dialled in the country", pbx.User{Extension: "0171/2345678"}, germany, "anna by phone"},
		{"the same without a country", pbx.User{Extension: "0171/2345678"}, Options{}, "no_mail"},
		{"a short extension behind the PBX's own number", pbx.User{Extension: "201"}, germany, "anna by phone"},
		{"the same without the PBX's number", pbx.User{Extension: "201"}, Options{}, "no_mail"},
		{"a short extension that Entra holds beside the number", pbx.User{Extension: "315"}, Options{}, "bob by phone"},
		{"the attribute goes before the number", pbx.User{Extension: "202"}, germany, "bob by extension"},
		{"a name, unless asked for", pbx.User{DisplayName: "anna berg"}, germany, "no_mail"},
		{"a name, if asked for", pbx.User{DisplayName: "anna berg"}, named, "anna by display_name"},
		{"an address that a disabled account has ends the search", pbx.User{Email: "left@x.test", DisplayName: "Same Name", Extension: "300"}, named, "disabled left"},
		{"unknown address and number", pbx.User{Email: "who@x.test", Extension: "+44 20 7946 0000"}, germany, "no_person"},
		{"nonsense for a number", pbx.User{Extension: "reception"}, germany, "no_mail"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.user.ID = "1"
			got := ownersOf(Match([]User{anna, bob, left, namesake}, map[string][]pbx.User{"p": {tc.user}}, tc.opts))
			require.Equal(t, tc.want, got["p/1"])
		})
	}
}

func TestAmbiguousWithinARuleIsNotLeftToTheNext(t *testing.T) {
	a, b := person("a", "a@x", "shared@x"), person("b", "b@x", "shared@x")
	c := User{ID: "c", UPN: "shared@x", Enabled: true}
	r := Match([]User{a, b, c}, map[string][]pbx.User{"p": {phone("1", "shared@x")}}, Options{})
	require.Equal(t, map[string]string{"p/1": "shared_by_people a,b"}, ownersOf(r))
	require.Equal(t, ByMail, r.Ambiguous[0].Rule)
}

func TestOverrides(t *testing.T) {
	a, b := person("a", "a@x", "a@x"), person("b", "b@x", "b@x")
	out := person("out", "out@x", "out@x")
	out.Enabled = false
	phones := map[string][]pbx.User{"p": {phone("1", "a@x"), phone("2", "a@x"), {ID: "u3", Extension: "203", Email: "b@x"}, phone("4", "b@x"), phone("5", "a@x"), phone("6", "b@x")}}
	overrides := []Override{
		{PBX: "p", Endpoint: "1", Person: "B@x", Line: 2},
		{PBX: "p", Endpoint: "2", Line: 3},
		{PBX: "p", Endpoint: "203", Person: "A", Line: 4},
		{PBX: "p", Endpoint: "4", Person: "typo@x", Line: 5},
		{PBX: "p", Endpoint: "5", Person: "out@x", Line: 6},
		{PBX: "p", Endpoint: "99", Person: "a", Line: 7},
		{PBX: "away", Endpoint: "1", Person: "a", Line: 8},
	}
	r := Match([]User{a, b, out}, phones, Options{Overrides: overrides, SeveralPerPBX: true, Unread: []string{"away"}})
	require.Equal(t, map[string]string{
		"p/1": "b by override", "p/2": "override_nobody", "p/u3": "a by override", "p/4": "override_unknown", "p/5": "disabled out", "p/6": "b by mail",
	}, ownersOf(r))
	require.Equal(t, overrides[5:6], r.UnusedOverrides, "those of a PBX that was not listed are not known to be unused")
}

func TestARenameMovesNothing(t *testing.T) {
	before := []User{
		{ID: "a", UPN: "miller@x", Mail: "miller@x", Enabled: true},
		{ID: "b", UPN: "b@x", Enabled: true, Phones: []string{"+49 30 123456-202"}},
		{ID: "c", UPN: "c@x", Mail: "c@x", Enabled: true},
		{ID: "d", UPN: "d@x", Mail: "d@x", Enabled: true},
		{ID: "e", UPN: "e@x", Mail: "e@x", Enabled: true},
	}
	phones := map[string][]pbx.User{"p": {phone("1", "miller@x"), {ID: "2", Extension: "+4930123456202"}, phone("3", "c@x"), phone("4", "d@x"), phone("5", "e@x")}}
	first := Match(before, phones, Options{})
	after := []User{
		{ID: "a", UPN: "smith@x", Mail: "smith@x", Enabled: true},             // married
		{ID: "b", UPN: "b@x", Enabled: true, Phones: []string{"+49 89 99"}},   // moved to Munich
		{ID: "c", UPN: "c2@x", Enabled: true},                                 // has no mail any more
		{ID: "d", UPN: "d2@x", Mail: "d2@x", Enabled: false},                  // renamed and left
		{ID: "e", UPN: "e2@x", Mail: "e2@x", Enabled: true},                   // renamed, and:
		{ID: "f", UPN: "f@x", Mail: "e@x", Enabled: true, UserType: "Member"}, // somebody new has the address
	}
	second := Match(after, phones, Options{Last: first.Members})
	want := map[string]string{
		"p/1": "a by mail, kept", "p/2": "b by phone, kept", "p/3": "no_person", "p/4": "no_person", "p/5": "f by mail",
	}
	require.Equal(t, want, ownersOf(second))
	want["p/3"] = "no_person"
	require.Equal(t, want, ownersOf(Match(after, phones, Options{Last: second.Members})), "and it stays so")

	moved := map[string][]pbx.User{"p": {phone("1", "new@x")}}
	require.Equal(t, map[string]string{"p/1": "no_person"}, ownersOf(Match(after, moved, Options{Last: second.Members})), "the PBX says something else")
	require.Equal(t, map[string]string{"p/1": "no_person", "p/2": "no_mail", "p/3": "no_person", "p/4": "no_person", "p/5": "no_person"},
		ownersOf(Match(after, phones, Options{Last: second.Members, Rules: []Rule{ByUPN}})), "a rule that the site dropped keeps nobody")
	phones["p"] = append(phones["p"], phone("9", "smith@x"))
	require.Equal(t, "no_person", ownersOf(Match(after, phones, Options{Last: second.Members, SeveralPerPBX: true}))["p/1"], "a new endpoint takes the old one's place")
}

func TestReadOverrides(t *testing.T) {
	known := func(name string) bool { return name == "main" }
	got, err := ReadOverrides(strings.NewReader("\ufeffPBX, Person ,endpoint,remark\n# by hand\nmain,anna@x.test,201,\"a, b\"\n\nmain, none ,202\n"), known)
	require.NoError(t, err)
	require.Equal(t, []Override{{PBX: "main", Endpoint: "201", Person: "anna@x.test", Line: 3}, {PBX: "main", Endpoint: "202", Line: 5}}, got)
	require.Equal(t, "line 5: main 202 is nobody", got[1].String())
	for text, want := range map[string]string{
		"":                          "the file is empty; begin it with the line pbx,endpoint,person",
		"pbx,person\n":              `line 1: the column "endpoint" is missing`,
		"pbx,person,endpoint,pbx\n": `line 1: the column "pbx" stands there twice`,
		"pbx,endpoint,person\nmain,1,a\nmian,2,b\n":   `line 3: the account has no PBX "mian"`,
		"pbx,endpoint,person\n,1,a\n":                 "line 2: pbx is empty",
		"pbx,endpoint,person\nmain,,a\n":              "line 2: endpoint is empty",
		"pbx,endpoint,person\nmain,1\n":               "line 2: person is missing",
		"pbx,endpoint,person\nmain,A,a\nmain,a,b\n":   "line 3: the endpoint a of main stands in line 2 already",
		"pbx,endpoint,person\nmain,1,a\nmain,\"1,b\n": "line 3: ",
	} {
		_, err := ReadOverrides(strings.NewReader(text), known)
		require.ErrorContains(t, err, want, "%q", text)
	}
}

func FuzzReadOverrides(f *testing.F) {
	f.Add("pbx,endpoint,person\nmain,1,a\n")
	f.Add("\ufeffperson;pbx\n\"")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ReadOverrides(strings.NewReader(text), func(name string) bool { return name != "" })
		if err != nil {
			return
		}
		for _, o := range list {
			if o.PBX == "" || o.Endpoint == "" || o.Line < 2 {
				t.Fatalf("an override without its parts: %+v", o)
			}
		}
	})
}

func TestRuleNames(t *testing.T) {
	for _, r := range append(DefaultRules(), ByName) {
		got, err := ParseRule(string(r))
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
	_, err := ParseRule("override")
	require.ErrorContains(t, err, "the rules are mail, upn, proxy_addresses, extension, phone, display_name")
}

func TestNearest(t *testing.T) {
	people := []User{
		{ID: "a", Name: "Anna Berg", UPN: "anna.berg@x.test", Mail: "anna.berg@x.test", Enabled: true},
		{ID: "b", Name: "Bob Stone", UPN: "bob@x.test", Enabled: true},
		{ID: "g", Name: "Anna Berk", UPN: "g@y.test", Enabled: true, UserType: "Guest"},
	}
	f := NewPeopleFinder(people)
	near := f.Person(&Endpoint{Name: "Berg, Ana", Mail: "ana.berg@x.test"})
	require.Len(t, near, 1)
	require.Equal(t, "a", near[0].ID)
	require.Equal(t, "Anna Berg (anna.berg@x.test)", near[0].Text)
	require.Empty(t, f.Person(&Endpoint{Name: "Reception", Mail: "desk@x.test"}))
	require.Empty(t, f.Person(&Endpoint{}))
	e := NewEndpointFinder([]Endpoint{{ID: presence.EndpointID{PBX: "p", User: "7"}, Name: "Stone Robert", Extension: "207"}, {ID: ep("p", "8"), Name: "Bob Stohne", Extension: "208"}})
	got := e.Endpoint(&Person{Name: "Bob Stone", UPN: "bob.stone@x.test"})
	require.NotEmpty(t, got)
	require.Equal(t, "p/8", got[0].ID)
}
