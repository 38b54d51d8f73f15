package directory

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// matcher is one run of [Match]. People are numbered, so that indices over 100,000 of them stay small.
type matcher struct {
	opts   Options
	people []User
	byID   map[string]int32
	// eligible finds people who can own endpoints by mail and UPN; rivals holds the addresses that
	// several of them have. barred finds guests and disabled accounts, for the reason only.
	eligible map[string]int32
	rivals   map[string][]int32
	barred   map[string]int32

	owned     [][]presence.EndpointID // by person
	contested []bool                  // by person: some endpoint could be theirs, ambiguously
	out       Result
}

func newMatcher(entra []User, opts Options) *matcher {
	m := &matcher{
		opts:     opts,
		byID:     make(map[string]int32, len(entra)),
		eligible: make(map[string]int32, 2*len(entra)),
		rivals:   map[string][]int32{},
		barred:   map[string]int32{},
	}
	m.number(entra)
	m.owned = make([][]presence.EndpointID, len(m.people))
	m.contested = make([]bool, len(m.people))
	for i := range m.people {
		m.index(int32(i))
	}
	return m
}

// number gives everybody a number in the order of their ids. Paging through /users may repeat
// somebody: the later one holds.
func (m *matcher) number(entra []User) {
	last := make(map[string]User, len(entra))
	for _, u := range entra {
		if u.ID = key(u.ID); u.ID != "" {
			last[u.ID] = u
		}
	}
	m.people = make([]User, 0, len(last))
	for _, id := range slices.Sorted(maps.Keys(last)) {
		m.byID[id] = int32(len(m.people))
		m.people = append(m.people, last[id])
	}
}

func (m *matcher) index(i int32) {
	u := m.people[i]
	mail, upn := key(u.Mail), key(u.UPN)
	if m.bar(u) != ReasonNone {
		for _, k := range []string{mail, upn} {
			if _, taken := m.barred[k]; k != "" && !taken {
				m.barred[k] = i
			}
		}
		return
	}
	m.claim(mail, i)
	if upn != mail {
		m.claim(upn, i)
	}
}

func (m *matcher) claim(k string, i int32) {
	if k == "" {
		return
	}
	first, taken := m.eligible[k]
	if !taken {
		m.eligible[k] = i
		return
	}
	if m.rivals[k] == nil {
		m.rivals[k] = []int32{first}
	}
	m.rivals[k] = append(m.rivals[k], i)
}

// bar says why an account cannot own endpoints.
func (m *matcher) bar(u User) Reason {
	switch {
	case u.guest():
		return Guest
	case !u.Enabled:
		return Disabled
	default:
		return ReasonNone
	}
}

// matchPBX matches the users of one PBX. Several endpoints of one person are found only when all of
// them have been seen, so owners are collected first.
func (m *matcher) matchPBX(name string, users []pbx.User) {
	distinct, twice := distinctUsers(users)
	owners := map[int32][]int{} // person -> positions in distinct
	order := make([]int32, 0, len(distinct))
	for i, u := range distinct {
		owner, e := m.ownerOf(name, u, twice[u.ID])
		if e != nil {
			m.leave(*e)
			continue
		}
		if owners[owner] == nil {
			order = append(order, owner)
		}
		owners[owner] = append(owners[owner], i)
	}
	for _, owner := range order {
		at := owners[owner]
		for _, i := range at {
			if len(at) == 1 || m.opts.SeveralPerPBX {
				m.owned[owner] = append(m.owned[owner], presence.EndpointID{PBX: name, User: distinct[i].ID})
				continue
			}
			e := endpoint(name, distinct[i], SharedByPhones)
			e.Candidates = []string{m.people[owner].ID}
			m.leave(e)
		}
	}
}

// ownerOf finds the one person that a PBX user belongs to, or says why there is none.
func (m *matcher) ownerOf(name string, u pbx.User, mails []string) (int32, *Endpoint) {
	if len(mails) > 0 {
		e := endpoint(name, u, ListedTwice)
		for _, k := range mails {
			e.Candidates = append(e.Candidates, m.candidates(k)...)
		}
		slices.Sort(e.Candidates)
		e.Candidates = slices.Compact(e.Candidates)
		return 0, &e
	}
	k := key(u.Email)
	e := endpoint(name, u, NoPerson)
	switch owner, found := m.eligible[k]; {
	case k == "":
		e.Reason = NoMail
	case m.rivals[k] != nil:
		e.Reason, e.Candidates = SharedByPeople, m.candidates(k)
	case found:
		return owner, nil
	default:
		if i, barred := m.barred[k]; barred {
			e.Reason, e.Candidates = m.bar(m.people[i]), []string{m.people[i].ID}
		}
	}
	return 0, &e
}

func (m *matcher) candidates(k string) []string {
	at := m.rivals[k]
	if at == nil {
		i, found := m.eligible[k]
		if !found {
			return nil
		}
		at = []int32{i}
	}
	ids := make([]string, len(at))
	for n, i := range at {
		ids[n] = m.people[i].ID
	}
	return ids // numbered in the order of ids, hence sorted
}

// leave lists an endpoint that nobody gets.
func (m *matcher) leave(e Endpoint) {
	switch e.Reason {
	case SharedByPeople, SharedByPhones, ListedTwice:
		m.out.Ambiguous = append(m.out.Ambiguous, e)
		for _, id := range e.Candidates {
			m.contested[m.byID[id]] = true
		}
	default:
		m.out.Endpoints = append(m.out.Endpoints, e)
	}
}

// keepUnread gives people the endpoints that they last had on PBXs which could not be listed.
func (m *matcher) keepUnread(phones map[string][]pbx.User) {
	if len(m.opts.Unread) == 0 {
		return
	}
	unread := map[string]bool{}
	for _, name := range m.opts.Unread {
		if _, read := phones[name]; !read {
			unread[name] = true
		}
	}
	given := map[presence.EndpointID]bool{}
	for _, last := range m.opts.Last {
		i, found := m.byID[key(last.ID)]
		if !found || m.bar(m.people[i]) != ReasonNone {
			continue
		}
		for _, e := range last.Endpoints {
			if unread[e.PBX] && !given[e] {
				given[e] = true
				m.owned[i] = append(m.owned[i], e)
			}
		}
	}
}

func (m *matcher) result() Result {
	excluded := m.excluded()
	m.out.Members = make([]Member, 0, len(m.people))
	for i, u := range m.people {
		switch {
		case excluded[int32(i)]:
			m.out.Members = append(m.out.Members, m.member(i, u, ExcludedByConfig))
		case len(m.owned[i]) > 0:
			m.out.Members = append(m.out.Members, m.member(i, u, ReasonNone))
		default:
			reason := m.bar(u)
			if reason == ReasonNone {
				reason = NoEndpoint
				if m.contested[i] {
					reason = OnlyAmbiguous
				}
			}
			m.out.People = append(m.out.People, Person{ID: u.ID, UPN: u.UPN, Mail: u.Mail, Name: u.Name, Reason: reason})
		}
	}
	slices.SortFunc(m.out.Endpoints, byEndpoint)
	slices.SortFunc(m.out.Ambiguous, byEndpoint)
	return m.out
}

func (m *matcher) member(i int, u User, reason Reason) Member {
	eps := m.owned[i]
	slices.SortFunc(eps, compareID)
	return Member{
		ID: u.ID, UPN: u.UPN, Mail: u.Mail, Name: u.Name, Endpoints: eps,
		Excluded: reason != ReasonNone, Reason: reason,
	}
}

// excluded resolves Options.Exclude. An address that several people have excludes all of them: an
// opt-out is obeyed rather too widely than not at all.
func (m *matcher) excluded() map[int32]bool {
	out := map[int32]bool{}
	if len(m.opts.Exclude) == 0 {
		return out
	}
	used := make(map[string]bool, len(m.opts.Exclude))
	for _, x := range m.opts.Exclude {
		used[key(x)] = false
	}
	for i, u := range m.people {
		for _, k := range []string{u.ID, key(u.UPN), key(u.Mail)} {
			if _, listed := used[k]; listed && k != "" {
				used[k] = true
				out[int32(i)] = true
			}
		}
	}
	for _, x := range m.opts.Exclude {
		if !used[key(x)] {
			m.out.UnusedExclusions = append(m.out.UnusedExclusions, x)
		}
	}
	slices.Sort(m.out.UnusedExclusions)
	m.out.UnusedExclusions = slices.Compact(m.out.UnusedExclusions)
	return out
}

// distinctUsers drops repetitions, in the order of ids. Users that are listed with different
// addresses come back with those addresses in the second result.
func distinctUsers(users []pbx.User) ([]pbx.User, map[string][]string) {
	out := make([]pbx.User, 0, len(users))
	for _, u := range users {
		if u.ID != "" {
			out = append(out, u)
		}
	}
	slices.SortStableFunc(out, func(a, b pbx.User) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(key(a.Email), key(b.Email)),
			strings.Compare(a.Extension, b.Extension), strings.Compare(a.DisplayName, b.DisplayName))
	})
	twice := map[string][]string{}
	for i := 1; i < len(out); i++ {
		if out[i].ID == out[i-1].ID && key(out[i].Email) != key(out[i-1].Email) {
			if twice[out[i].ID] == nil {
				twice[out[i].ID] = []string{key(out[i-1].Email)}
			}
			twice[out[i].ID] = append(twice[out[i].ID], key(out[i].Email))
		}
	}
	return slices.CompactFunc(out, func(a, b pbx.User) bool { return a.ID == b.ID }), twice
}

func endpoint(name string, u pbx.User, reason Reason) Endpoint {
	return Endpoint{
		ID: presence.EndpointID{PBX: name, User: u.ID}, Mail: u.Email, Extension: u.Extension,
		Name: u.DisplayName, Reason: reason,
	}
}

func byEndpoint(a, b Endpoint) int { return compareID(a.ID, b.ID) }

func compareID(a, b presence.EndpointID) int {
	return cmp.Or(strings.Compare(a.PBX, b.PBX), strings.Compare(a.User, b.User))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
