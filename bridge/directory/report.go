package directory

import (
	"slices"
	"strings"
)

// FindingKind says what a line of a report is about.
type FindingKind string

// The kinds, in the order of a report: what a person has to look at comes first.
const (
	FoundProblem   FindingKind = "problem"   // of the configuration: an override or exclusion without effect, a group that cannot be read
	FoundAmbiguous FindingKind = "ambiguous" // an endpoint that could belong to several people
	FoundEndpoint  FindingKind = "endpoint"  // an endpoint without a person
	FoundPerson    FindingKind = "person"    // a person without an endpoint
	FoundMatched   FindingKind = "matched"   // an endpoint and its person
	FoundExcluded  FindingKind = "excluded"  // a person who takes no part
)

// FindingKinds lists all kinds in their order.
func FindingKinds() []FindingKind {
	return []FindingKind{FoundProblem, FoundAmbiguous, FoundEndpoint, FoundPerson, FoundMatched, FoundExcluded}
}

// Finding is one line of a report. Fields that say nothing are empty.
type Finding struct {
	Kind      FindingKind
	PBX       string
	User      string // the PBX's own id
	Extension string
	Endpoint  string // the endpoint's name
	Mail      string // the endpoint's mail address
	ID        string // the person's object id
	UPN       string
	Name      string
	Rule      Rule
	Kept      bool
	Reason    Reason
	Text      string // the reason in words, and what to do
	// Candidates are those between whom it is ambiguous; otherwise those who look most like it.
	Candidates []Near
}

// key orders the entries of one kind.
func (e *Finding) key() string {
	return strings.Join([]string{e.PBX, e.User, e.ID, e.Text}, "\x00")
}

// Problem is a remark on the configuration for a report.
type Problem struct{ Text, Remedy string }

// Report lists what [Match] found, for people. It is safe for concurrent use.
type Report struct {
	entries   map[FindingKind][]Finding
	people    *Finder // nil: nobody was left over, or nobody asked
	endpoints *Finder
	phones    map[string]*Endpoint // endpoints without a person, by "pbx/user"
	persons   map[string]*Person   // people without an endpoint, by id
}

// NewReport makes a report of a result and the people that it was made of. Finding who looks like what was left over
// takes about a second for 100,000 people, and happens only for entries that are asked for.
func NewReport(users []User, res Result, problems ...Problem) *Report {
	r := &Report{entries: map[FindingKind][]Finding{}, phones: map[string]*Endpoint{}, persons: map[string]*Person{}}
	for _, p := range problems {
		r.add(Finding{Kind: FoundProblem, Text: p.Text + "; " + p.Remedy})
	}
	for _, x := range res.UnusedExclusions {
		r.add(Finding{Kind: FoundProblem, Text: "exclude names " + x + ", whom the tenant does not have; correct or remove it"})
	}
	for _, o := range res.UnusedOverrides {
		r.add(Finding{Kind: FoundProblem, PBX: o.PBX, User: o.Endpoint, Text: "the overrides speak of an endpoint that the PBX does not list (" + o.String() + "); correct or remove the line"})
	}
	named := map[string]*User{}
	for i := range users {
		named[key(users[i].ID)] = &users[i]
	}
	for i := range res.Ambiguous {
		e := ofEndpoint(FoundAmbiguous, &res.Ambiguous[i])
		e.Candidates = candidates(res.Ambiguous[i].Candidates, named)
		r.add(e)
	}
	for i := range res.Endpoints {
		e := ofEndpoint(FoundEndpoint, &res.Endpoints[i])
		e.Candidates = candidates(res.Endpoints[i].Candidates, named)
		r.phones[res.Endpoints[i].ID.String()] = &res.Endpoints[i]
		r.add(e)
	}
	for i := range res.People {
		p := &res.People[i]
		r.persons[p.ID] = p
		r.add(Finding{Kind: FoundPerson, ID: p.ID, UPN: p.UPN, Mail: p.Mail, Name: p.Name, Reason: p.Reason, Text: p.Reason.Text()})
	}
	for i := range res.Members {
		r.member(&res.Members[i])
	}
	for _, list := range r.entries {
		slices.SortFunc(list, func(a, b Finding) int { return strings.Compare(a.key(), b.key()) })
	}
	if len(res.Endpoints) > 0 {
		r.people, r.endpoints = NewPeopleFinder(users), NewEndpointFinder(res.Endpoints)
	}
	return r
}

func (r *Report) add(e Finding) { r.entries[e.Kind] = append(r.entries[e.Kind], e) }

func (r *Report) member(m *Member) {
	if m.Excluded {
		r.add(Finding{Kind: FoundExcluded, ID: m.ID, UPN: m.UPN, Name: m.Name, Reason: m.Reason, Text: m.Reason.Text()})
	}
	for n := range m.Matched {
		x := &m.Matched[n]
		e := Finding{
			Kind: FoundMatched, PBX: x.ID.PBX, User: x.ID.User, Extension: x.Extension, Endpoint: x.Name, Mail: x.Mail,
			ID: m.ID, UPN: m.UPN, Name: m.Name, Rule: x.Rule, Kept: x.Kept,
		}
		if x.Kept {
			e.Text = "the person was renamed, and the endpoint is still listed as before; bring the two together again"
		}
		r.add(e)
	}
}

func ofEndpoint(kind FindingKind, e *Endpoint) Finding {
	return Finding{
		Kind: kind, PBX: e.ID.PBX, User: e.ID.User, Extension: e.Extension, Endpoint: e.Name, Mail: e.Mail, Rule: e.Rule,
		Reason: e.Reason, Text: e.Reason.Text(),
	}
}

func candidates(ids []string, named map[string]*User) []Near {
	var out []Near
	for _, id := range ids {
		n := Near{ID: id, Text: id, Score: 1}
		if u := named[id]; u != nil {
			n.Text = describe(u.Name, u.UPN, u.Mail)
		}
		out = append(out, n)
	}
	return out
}

// Counts are how many entries there are of each kind.
func (r *Report) Counts() map[FindingKind]int {
	out := map[FindingKind]int{}
	for _, k := range FindingKinds() {
		out[k] = len(r.entries[k])
	}
	return out
}

// Page is up to limit entries of one kind that come after a key; next is the key to go on after, empty at the end.
func (r *Report) Page(kind FindingKind, after string, limit int) (page []Finding, next string) {
	list := r.entries[kind]
	at, found := slices.BinarySearchFunc(list, after, func(e Finding, k string) int { return strings.Compare(e.key(), k) })
	if found {
		at++
	}
	page = slices.Clone(list[at:min(at+limit, len(list))])
	for i := range page {
		r.near(&page[i])
	}
	if at+limit < len(list) {
		next = page[len(page)-1].key()
	}
	return page, next
}

// near adds who looks like an entry that was left over. A person without an endpoint is only worth it where
// endpoints were left over too.
func (r *Report) near(e *Finding) {
	switch {
	case len(e.Candidates) > 0 || r.people == nil:
	case e.Kind == FoundEndpoint:
		e.Candidates = r.people.Person(r.phones[e.PBX+"/"+e.User])
	case e.Kind == FoundPerson && e.Reason == NoEndpoint:
		e.Candidates = r.endpoints.Endpoint(r.persons[e.ID])
	}
}
