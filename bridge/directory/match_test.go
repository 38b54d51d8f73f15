package directory

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

func person(id, upn, mail string) User {
	return User{ID: id, UPN: upn, Mail: mail, Name: "Name of " + id, Enabled: true, UserType: "Member"}
}

func phone(id, mail string) pbx.User { return pbx.User{ID: id, Email: mail, Extension: id} }

func ep(name, id string) presence.EndpointID { return presence.EndpointID{PBX: name, User: id} }

// matchCase is one line of the table: who there is, and what follows.
type matchCase struct {
	name   string
	people []User
	phones map[string][]pbx.User
	opts   Options
	want   Result
}

func TestMatch(t *testing.T) {
	for _, tc := range slices.Concat(addressCases(), accountCases()) {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, withoutMatched(Match(tc.people, tc.phones, tc.opts)))
		})
	}
}

// withoutMatched leaves out how the members came to their endpoints, after checking that it is said of each.
func withoutMatched(r Result) Result {
	for i := range r.Members {
		m := &r.Members[i]
		for n := range m.Endpoints {
			if len(m.Matched) != len(m.Endpoints) || m.Matched[n].ID != m.Endpoints[n] {
				panic("the endpoints and how they were matched differ")
			}
		}
		m.Matched = nil
	}
	return r
}

// addressCases are about whose address is whose.
func addressCases() []matchCase {
	return []matchCase{
		{
			name:   "mail and UPN in any casing, several PBXs",
			people: []User{person("A", "Anna@X.test", "anna.b@x.test"), person("b", "Bob@x.test", "")},
			phones: map[string][]pbx.User{
				"two": {phone("9", "ANNA@x.TEST")}, "one": {phone("1", " Anna.B@x.test "), phone("2", "bob@X.test")},
			},
			want: Result{Members: []Member{
				{ID: "a", UPN: "Anna@X.test", Mail: "anna.b@x.test", Name: "Name of A", Endpoints: []presence.EndpointID{ep("one", "1"), ep("two", "9")}},
				{ID: "b", UPN: "Bob@x.test", Name: "Name of b", Endpoints: []presence.EndpointID{ep("one", "2")}},
			}},
		},
		{
			name:   "one mail address of two people is ambiguous",
			people: []User{person("a", "a@x.test", "shared@x.test"), person("b", "b@x.test", "Shared@x.test")},
			phones: map[string][]pbx.User{"p": {phone("1", "shared@x.test"), phone("2", "b@x.test")}},
			want: Result{
				Members:   []Member{{ID: "b", UPN: "b@x.test", Mail: "Shared@x.test", Name: "Name of b", Endpoints: []presence.EndpointID{ep("p", "2")}}},
				People:    []Person{{ID: "a", UPN: "a@x.test", Mail: "shared@x.test", Name: "Name of a", Reason: OnlyAmbiguous}},
				Ambiguous: []Endpoint{{ID: ep("p", "1"), Mail: "shared@x.test", Extension: "1", Reason: SharedByPeople, Rule: ByMail, Candidates: []string{"a", "b"}}},
			},
		},
		{
			name:   "one's mail is another's UPN: the rule that comes first decides",
			people: []User{person("a", "a@x.test", "shared@x.test"), person("b", "shared@x.test", "b@x.test")},
			phones: map[string][]pbx.User{"p": {phone("1", "shared@x.test"), phone("2", "b@x.test")}},
			want: Result{Members: []Member{
				{ID: "a", UPN: "a@x.test", Mail: "shared@x.test", Name: "Name of a", Endpoints: []presence.EndpointID{ep("p", "1")}},
				{ID: "b", UPN: "shared@x.test", Mail: "b@x.test", Name: "Name of b", Endpoints: []presence.EndpointID{ep("p", "2")}},
			}},
		},
		{
			name:   "two endpoints of one PBX under one person are ambiguous",
			people: []User{person("a", "a@x.test", "anna@x.test")},
			phones: map[string][]pbx.User{"p": {phone("2", "anna@x.test"), phone("1", "a@x.test")}},
			want: Result{
				Members: []Member{},
				People:  []Person{{ID: "a", UPN: "a@x.test", Mail: "anna@x.test", Name: "Name of a", Reason: OnlyAmbiguous}},
				Ambiguous: []Endpoint{
					{ID: ep("p", "1"), Mail: "a@x.test", Extension: "1", Reason: SharedByPhones, Candidates: []string{"a"}},
					{ID: ep("p", "2"), Mail: "anna@x.test", Extension: "2", Reason: SharedByPhones, Candidates: []string{"a"}},
				},
			},
		},
		{
			name:   "unless the site says that it is one person's phones",
			people: []User{person("a", "a@x.test", "anna@x.test")},
			phones: map[string][]pbx.User{"p": {phone("2", "anna@x.test"), phone("1", "a@x.test")}},
			opts:   Options{SeveralPerPBX: true},
			want: Result{Members: []Member{
				{ID: "a", UPN: "a@x.test", Mail: "anna@x.test", Name: "Name of a", Endpoints: []presence.EndpointID{ep("p", "1"), ep("p", "2")}},
			}},
		},
	}
}

// accountCases are about guests, disabled accounts, exclusions and lists that are not clean.
func accountCases() []matchCase {
	disabled := person("d", "dora@x.test", "dora@x.test")
	disabled.Enabled = false
	guest := person("g", "gus_y.test#EXT#@x.test", "gus@y.test")
	guest.UserType = "guest"
	return []matchCase{
		{
			name:   "guests and disabled accounts own nothing, and do not make an active account ambiguous",
			people: []User{disabled, guest, person("n", "new@x.test", "dora@x.test")},
			phones: map[string][]pbx.User{"p": {phone("1", "dora@x.test"), phone("2", "gus@y.test"), phone("3", ""), phone("4", "who@x.test")}},
			want: Result{
				Members: []Member{{ID: "n", UPN: "new@x.test", Mail: "dora@x.test", Name: "Name of n", Endpoints: []presence.EndpointID{ep("p", "1")}}},
				People: []Person{
					{ID: "d", UPN: "dora@x.test", Mail: "dora@x.test", Name: "Name of d", Reason: Disabled},
					{ID: "g", UPN: "gus_y.test#EXT#@x.test", Mail: "gus@y.test", Name: "Name of g", Reason: Guest},
				},
				Endpoints: []Endpoint{
					{ID: ep("p", "2"), Mail: "gus@y.test", Extension: "2", Reason: Guest, Candidates: []string{"g"}},
					{ID: ep("p", "3"), Extension: "3", Reason: NoMail},
					{ID: ep("p", "4"), Mail: "who@x.test", Extension: "4", Reason: NoPerson},
				},
			},
		},
		{
			name:   "excluded people stay known, with and without endpoints",
			people: []User{person("a", "a@x.test", ""), person("b", "b@x.test", "bob@x.test"), person("c", "c@x.test", "")},
			phones: map[string][]pbx.User{"p": {phone("1", "a@x.test"), phone("3", "c@x.test")}},
			opts:   Options{Exclude: []string{"A", "BOB@x.test", "typo@x.test"}},
			want: Result{
				Members: []Member{
					{ID: "a", UPN: "a@x.test", Name: "Name of a", Endpoints: []presence.EndpointID{ep("p", "1")}, Excluded: true, Reason: ExcludedByConfig},
					{ID: "b", UPN: "b@x.test", Mail: "bob@x.test", Name: "Name of b", Excluded: true, Reason: ExcludedByConfig},
					{ID: "c", UPN: "c@x.test", Name: "Name of c", Endpoints: []presence.EndpointID{ep("p", "3")}},
				},
				UnusedExclusions: []string{"typo@x.test"},
			},
		},
		{
			name:   "an endpoint listed twice, alike and differently; people repeated by paging",
			people: []User{person("a", "old@x.test", ""), person("A", "a@x.test", ""), person("b", "b@x.test", ""), {}},
			phones: map[string][]pbx.User{"p": {phone("1", "a@x.test"), phone("1", "A@x.test"), phone("2", "a@x.test"), phone("2", "b@x.test"), {}}},
			want: Result{
				Members:   []Member{{ID: "a", UPN: "a@x.test", Name: "Name of A", Endpoints: []presence.EndpointID{ep("p", "1")}}},
				People:    []Person{{ID: "b", UPN: "b@x.test", Name: "Name of b", Reason: OnlyAmbiguous}},
				Ambiguous: []Endpoint{{ID: ep("p", "2"), Mail: "a@x.test", Extension: "2", Reason: ListedTwice, Candidates: []string{"a", "b"}}},
			},
		},
		{
			name:   "a PBX that could not be read keeps its endpoints",
			people: []User{person("a", "a@x.test", ""), disabled},
			phones: map[string][]pbx.User{"p": {phone("1", "a@x.test")}},
			opts: Options{Unread: []string{"q", "p"}, Last: []Member{
				{ID: "a", Endpoints: []presence.EndpointID{ep("p", "old"), ep("q", "7"), ep("gone", "1")}},
				{ID: "left", Endpoints: []presence.EndpointID{ep("q", "8")}},
				{ID: "d", Endpoints: []presence.EndpointID{ep("q", "9")}},
			}},
			want: Result{
				Members: []Member{{ID: "a", UPN: "a@x.test", Name: "Name of a", Endpoints: []presence.EndpointID{ep("p", "1"), ep("q", "7")}}},
				People:  []Person{{ID: "d", UPN: "dora@x.test", Mail: "dora@x.test", Name: "Name of d", Reason: Disabled}},
			},
		},
	}
}

func TestEveryReasonHasAText(t *testing.T) {
	for _, r := range Reasons() {
		require.NotEqual(t, string(r), r.Text())
		require.NotEmpty(t, r.Text())
	}
}

// world draws a small tenant in which addresses collide often.
func world(t *rapid.T) ([]User, map[string][]pbx.User, Options) {
	mail := rapid.SampledFrom([]string{"", "a@x", "A@x", "b@x", "c@x ", "d@x", "e@x", "É@x", "é@x"})
	people := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) User {
		return User{
			ID: rapid.SampledFrom([]string{"1", "2", "3", "4", "5", "a", "A"}).Draw(t, "id"), UPN: mail.Draw(t, "upn"), Mail: mail.Draw(t, "mail"),
			Enabled:  rapid.Float64().Draw(t, "on") < 0.8,
			UserType: rapid.SampledFrom([]string{"", "Member", "Guest"}).Draw(t, "type"),
		}
	}), 0, 7).Draw(t, "people")
	phones := map[string][]pbx.User{}
	for _, name := range []string{"p", "q"} {
		phones[name] = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) pbx.User {
			return phone(rapid.SampledFrom([]string{"1", "2", "3", "4"}).Draw(t, "user"), mail.Draw(t, "email"))
		}), 0, 6).Draw(t, name)
	}
	return people, phones, Options{
		Exclude:       rapid.SliceOfN(rapid.SampledFrom([]string{"1", "a@X", "b@x", "zz"}), 0, 2).Draw(t, "exclude"),
		SeveralPerPBX: rapid.Bool().Draw(t, "several"),
	}
}

func TestMatchProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		people, phones, opts := world(t)
		res := Match(people, phones, opts)
		byID := map[string]User{}
		for _, u := range people {
			u.ID = key(u.ID)
			byID[u.ID] = u
		}

		endpoints := map[presence.EndpointID]int{}
		persons := map[string]int{}
		for _, m := range res.Members {
			persons[m.ID]++
			perPBX := map[string]int{}
			for _, e := range m.Endpoints {
				endpoints[e]++
				perPBX[e.PBX]++
				u := byID[m.ID]
				if !u.Enabled || u.guest() {
					t.Fatalf("%s owns %s and may not", m.ID, e)
				}
				if !slices.ContainsFunc(phones[e.PBX], func(p pbx.User) bool {
					return p.ID == e.User && key(p.Email) != "" && (key(p.Email) == key(u.Mail) || key(p.Email) == key(u.UPN))
				}) {
					t.Fatalf("%s was given %s without a common address", m.ID, e)
				}
			}
			for name, n := range perPBX {
				if n > 1 && !opts.SeveralPerPBX {
					t.Fatalf("%s has %d endpoints of %s", m.ID, n, name)
				}
			}
			if len(m.Endpoints) == 0 && !m.Excluded || m.Excluded != (m.Reason != ReasonNone) {
				t.Fatalf("a member without endpoint or reason: %+v", m)
			}
		}
		for _, p := range res.People {
			persons[p.ID]++
			if p.Reason == ReasonNone {
				t.Fatalf("no reason for %s", p.ID)
			}
		}
		for _, e := range append(slices.Clone(res.Endpoints), res.Ambiguous...) {
			endpoints[e.ID]++
			if e.Reason == ReasonNone {
				t.Fatalf("no reason for %s", e.ID)
			}
		}
		// Everybody and every endpoint is somewhere, exactly once.
		for id := range byID {
			if persons[id] != 1 {
				t.Fatalf("person %s is listed %d times", id, persons[id])
			}
		}
		for name, users := range phones {
			for _, u := range users {
				if endpoints[ep(name, u.ID)] != 1 {
					t.Fatalf("endpoint %s/%s is listed %d times", name, u.ID, endpoints[ep(name, u.ID)])
				}
			}
		}
	})
}

// The order in which the two sides list their people decides nothing, with one exception: of a person
// that paging repeats, the later listing holds.
func TestMatchIgnoresOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		people, phones, opts := world(t)
		seen := map[string]bool{}
		people = slices.DeleteFunc(people, func(u User) bool { dup := seen[key(u.ID)]; seen[key(u.ID)] = true; return dup })
		want := Match(people, phones, opts)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		shuffled := slices.Clone(people)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		mixed := map[string][]pbx.User{}
		for name, users := range phones {
			mixed[name] = slices.Clone(users)
			rng.Shuffle(len(users), func(i, j int) { mixed[name][i], mixed[name][j] = mixed[name][j], mixed[name][i] })
		}
		require.Equal(t, stripSpelling(want), stripSpelling(Match(shuffled, mixed, opts)))
	})
}

// stripSpelling drops how an address was written, since either of two equal ones may be shown.
func stripSpelling(r Result) Result {
	for _, list := range [][]Endpoint{r.Endpoints, r.Ambiguous} {
		for i := range list {
			list[i].Mail = key(list[i].Mail)
			list[i].Candidates = slices.Clone(list[i].Candidates)
		}
	}
	return r
}

func tenant(n int) ([]User, map[string][]pbx.User) {
	people := make([]User, n)
	one, two := make([]pbx.User, 0, n), make([]pbx.User, 0, n)
	for i := range people {
		id := fmt.Sprintf("%08X-0000-4000-8000-%012X", i*2654435761%(1<<32), i)
		people[i] = person(id, fmt.Sprintf("User%d@contoso.example", i), fmt.Sprintf("first.last%d@contoso.example", i))
		one = append(one, phone(fmt.Sprint(i), strings.ToUpper(people[i].Mail)))
		if i%3 == 0 {
			two = append(two, phone(fmt.Sprint("x", i), people[i].UPN))
		}
	}
	return people, map[string][]pbx.User{"one": one, "two": two}
}

// byNumber is a tenant whose PBXs know no addresses, only extensions: the dearest way of matching.
func byNumber(n int) ([]User, map[string][]pbx.User, Options) {
	people, phones := tenant(n)
	for i := range people {
		people[i].Phones = []string{fmt.Sprintf("+49 30 12%06d", i), fmt.Sprintf("0171 %07d", i)}
		phones["one"][i] = pbx.User{ID: fmt.Sprint(i), Extension: fmt.Sprintf("%06d", i)}
	}
	return people, phones, Options{Region: "DE", Prefixes: map[string]string{"one": "+493012"}}
}

// Figures: BenchmarkMatch100k. The limit leaves room for the race detector on a busy machine, and is
// still far below anything quadratic.
func TestMatchIsFast(t *testing.T) {
	people, phones := tenant(100_000)
	start := time.Now()
	res := Match(people, phones, Options{Exclude: []string{"user7@contoso.example"}})
	require.Less(t, time.Since(start), 30*time.Second)
	require.Len(t, res.Members, 100_000)
	require.Empty(t, res.People)
}

func TestMatchByNumberIsFast(t *testing.T) {
	const n = 10_000
	people, phones, opts := byNumber(n)
	start := time.Now()
	res := Match(people, phones, opts)
	require.Less(t, time.Since(start), time.Minute)
	require.Len(t, res.Members, n)
	require.Equal(t, ByPhone, res.Members[1].Matched[0].Rule)
}

// BenchmarkMatch100k tells the time and the memory of 100,000 people with 133,333 endpoints: what is on the heap
// at the end, lists and result included, and what was allocated on the way.
func BenchmarkMatch100k(b *testing.B) {
	people, phones := tenant(100_000)
	numbered, extensions, opts := byNumber(100_000)
	for _, c := range []struct {
		name   string
		people []User
		phones map[string][]pbx.User
		opts   Options
	}{{"address", people, phones, Options{}}, {"number", numbered, extensions, opts}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var res Result
			for b.Loop() {
				res = Match(c.people, c.phones, c.opts)
			}
			var ms runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&ms)
			b.ReportMetric(float64(ms.HeapAlloc)/(1<<20), "MiB-heap")
			runtime.KeepAlive(res)
		})
	}
}
