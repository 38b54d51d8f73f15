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
	opts    Options
	rules   []Rule
	numbers numbers
	people  []User
	byID    map[string]int32
	indices map[Rule]*index

	overrides map[presence.EndpointID]Override // by the PBX's name, and id or extension in lower case
	used      map[presence.EndpointID]bool

	owned     [][]Matched // by person
	contested []bool      // by person: some endpoint could be theirs, ambiguously
	free      []pbxUser   // nobody has a claim to them
	out       Result
}

// pbxUser is a user of a PBX.
type pbxUser struct {
	pbx string
	pbx.User
}

func newMatcher(entra []User, opts Options) *matcher {
	m := &matcher{
		opts: opts, rules: opts.Rules, byID: make(map[string]int32, len(entra)), indices: map[Rule]*index{},
		overrides: map[presence.EndpointID]Override{}, used: map[presence.EndpointID]bool{},
	}
	m.numbers.region = opts.Region
	if m.rules == nil {
		m.rules = DefaultRules()
	}
	for _, o := range opts.Overrides {
		m.overrides[presence.EndpointID{PBX: o.PBX, User: key(o.Endpoint)}] = o
	}
	m.number(entra)
	m.owned = make([][]Matched, len(m.people))
	m.contested = make([]bool, len(m.people))
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
	owners := map[int32][]claim{}
	order := make([]int32, 0, len(distinct))
	for _, u := range distinct {
		u := pbxUser{name, u}
		owner, rule, e := m.ownerOf(&u, twice[u.ID])
		switch {
		case e == nil:
		case e.Reason == NoPerson, e.Reason == NoMail:
			m.free = append(m.free, u)
			continue
		default:
			m.leave(*e)
			continue
		}
		if owners[owner] == nil {
			order = append(order, owner)
		}
		owners[owner] = append(owners[owner], claim{u, rule})
	}
	for _, owner := range order {
		claims := owners[owner]
		for _, c := range claims {
			if len(claims) == 1 || m.opts.SeveralPerPBX || c.rule == ByOverride {
				m.owned[owner] = append(m.owned[owner], c.user.matched(c.rule))
				continue
			}
			e := endpoint(c.user, SharedByPhones)
			e.Candidates = []string{m.people[owner].ID}
			m.leave(e)
		}
	}
}

// claim is an endpoint with the rule that gave it to somebody.
type claim struct {
	user pbxUser
	rule Rule
}

func (u *pbxUser) id() presence.EndpointID { return presence.EndpointID{PBX: u.pbx, User: u.ID} }

func (u *pbxUser) matched(r Rule) Matched {
	return Matched{ID: u.id(), Rule: r, Mail: key(u.Email), Extension: u.Extension, Name: u.DisplayName}
}

// ownerOf finds the one person that a PBX user belongs to, or says why there is none.
func (m *matcher) ownerOf(u *pbxUser, mails []string) (int32, Rule, *Endpoint) {
	if o, found := m.override(u); found {
		return m.overridden(u, o)
	}
	if len(mails) > 0 {
		e := endpoint(*u, ListedTwice)
		e.Candidates = m.ids(m.byAddress(mails))
		return 0, "", &e
	}
	e := endpoint(*u, NoPerson)
	var barred []string
	for _, r := range m.rules {
		if barred != nil && !r.address() {
			break // the address is somebody's who has left: a namesake, or whoever has the number now, is a guess
		}
		x, keys := m.index(r), m.ofPhone(r, u.pbx, &u.User)
		switch found := x.people(keys); len(found) {
		case 0:
		case 1:
			return found[0], r, nil
		default:
			e.Reason, e.Rule, e.Candidates = SharedByPeople, r, m.ids(found)
			return 0, "", &e
		}
		if i, is := x.kept(keys); is && barred == nil {
			e.Reason, barred = m.bar(m.people[i]), []string{m.people[i].ID}
		}
	}
	e.Candidates = barred
	if barred == nil && key(u.Email) == "" {
		e.Reason = NoMail
	}
	return 0, "", &e
}

// override finds what the site says about an endpoint: by its id, otherwise by its extension.
func (m *matcher) override(u *pbxUser) (Override, bool) {
	for _, k := range []string{key(u.ID), key(u.Extension)} {
		at := presence.EndpointID{PBX: u.pbx, User: k}
		if o, found := m.overrides[at]; found && k != "" {
			m.used[at] = true
			return o, true
		}
	}
	return Override{}, false
}

// overridden obeys an override. What cannot be obeyed is not replaced by a guess.
func (m *matcher) overridden(u *pbxUser, o Override) (int32, Rule, *Endpoint) {
	e := endpoint(*u, OverrideNobody)
	e.Rule = ByOverride
	if o.Person == "" {
		return 0, "", &e
	}
	found := m.named(o.Person)
	switch {
	case len(found) == 0:
		e.Reason = OverrideUnknown
	case len(found) > 1:
		e.Reason, e.Candidates = SharedByPeople, m.ids(found)
	case m.bar(m.people[found[0]]) != ReasonNone:
		e.Reason, e.Candidates = m.bar(m.people[found[0]]), m.ids(found)
	default:
		return found[0], ByOverride, nil
	}
	return 0, "", &e
}

// named finds people by id, UPN or mail, those who cannot own endpoints last.
func (m *matcher) named(name string) []int32 {
	if i, found := m.byID[key(name)]; found {
		return []int32{i}
	}
	for _, r := range []Rule{ByUPN, ByMail} {
		if found := m.index(r).people([]string{key(name)}); len(found) > 0 {
			return found
		}
	}
	for _, r := range []Rule{ByUPN, ByMail} {
		if i, found := m.index(r).kept([]string{key(name)}); found {
			return []int32{i}
		}
	}
	return nil
}

// byAddress finds everybody who has one of the addresses.
func (m *matcher) byAddress(mails []string) []int32 {
	var out []int32
	for _, r := range m.rules {
		if r.address() {
			out = append(out, m.index(r).people(mails)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ids of people, who are numbered in the order of them.
func (m *matcher) ids(at []int32) []string {
	if len(at) == 0 {
		return nil
	}
	out := make([]string, len(at))
	for n, i := range at {
		out[n] = m.people[i].ID
	}
	return out
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

// keepRenamed leaves endpoints that nobody has a claim to with whom they were matched before, when it is the person
// who changed and not the endpoint: a new mail address in Entra, or another number, is a rename. Whoever lost the value
// altogether, or got another endpoint of the same PBX, has really let go of it.
func (m *matcher) keepRenamed() {
	last := m.lastMatched()
	kept := make([]Matched, 0)
	owners := make([]int32, 0)
	for i := range m.free {
		u := &m.free[i]
		was, known := last[u.id()]
		now := u.matched(was.rule)
		if known && now == was.Matched && slices.Contains(m.rules, was.rule) && m.stillHas(was.rule, was.owner) && !m.owns(was.owner, u.pbx) {
			now.Kept = true
			kept, owners = append(kept, now), append(owners, was.owner)
			continue
		}
		reason := NoPerson
		if key(u.Email) == "" {
			reason = NoMail
		}
		m.leave(endpoint(*u, reason))
	}
	for i, owner := range owners {
		m.owned[owner] = append(m.owned[owner], kept[i])
	}
}

// formerly is a match of the last result. Whether it was kept then does not matter.
type formerly struct {
	Matched
	rule  Rule
	owner int32
}

func (m *matcher) lastMatched() map[presence.EndpointID]formerly {
	out := map[presence.EndpointID]formerly{}
	if len(m.free) == 0 {
		return out
	}
	for i := range m.opts.Last {
		owner, found := m.byID[key(m.opts.Last[i].ID)]
		if !found || m.bar(m.people[owner]) != ReasonNone {
			continue
		}
		for _, was := range m.opts.Last[i].Matched {
			was.Kept = false
			out[was.ID] = formerly{was, was.Rule, owner}
		}
	}
	return out
}

// stillHas tells whether the person has any value that the rule compares.
func (m *matcher) stillHas(r Rule, owner int32) bool {
	return slices.ContainsFunc(m.ofUser(r, &m.people[owner]), func(k string) bool { return k != "" })
}

func (m *matcher) owns(owner int32, name string) bool {
	return slices.ContainsFunc(m.owned[owner], func(x Matched) bool { return x.ID.PBX == name })
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
	for i := range m.opts.Last {
		last := &m.opts.Last[i]
		owner, found := m.byID[key(last.ID)]
		if !found || m.bar(m.people[owner]) != ReasonNone {
			continue
		}
		for n, e := range last.Endpoints {
			if !unread[e.PBX] || given[e] {
				continue
			}
			given[e] = true
			was := Matched{ID: e}
			if n < len(last.Matched) && last.Matched[n].ID == e {
				was = last.Matched[n]
			}
			m.owned[owner] = append(m.owned[owner], was)
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
	m.unusedOverrides()
	return m.out
}

// unusedOverrides finds those whose endpoint does not exist. A PBX that was not listed says nothing about its own.
func (m *matcher) unusedOverrides() {
	for _, o := range m.opts.Overrides {
		if !m.used[presence.EndpointID{PBX: o.PBX, User: key(o.Endpoint)}] && !slices.Contains(m.opts.Unread, o.PBX) {
			m.out.UnusedOverrides = append(m.out.UnusedOverrides, o)
		}
	}
}

func (m *matcher) member(i int, u User, reason Reason) Member {
	matched := m.owned[i]
	slices.SortFunc(matched, func(a, b Matched) int { return compareID(a.ID, b.ID) })
	var eps []presence.EndpointID
	for n := range matched {
		eps = append(eps, matched[n].ID)
	}
	return Member{
		ID: u.ID, UPN: u.UPN, Mail: u.Mail, Name: u.Name, Endpoints: eps, Matched: matched, Groups: m.opts.Groups[u.ID],
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

func endpoint(u pbxUser, reason Reason) Endpoint {
	return Endpoint{
		ID: u.id(), Mail: u.Email, Extension: u.Extension,
		Name: u.DisplayName, Reason: reason,
	}
}

func byEndpoint(a, b Endpoint) int { return compareID(a.ID, b.ID) }

func compareID(a, b presence.EndpointID) int {
	return cmp.Or(strings.Compare(a.PBX, b.PBX), strings.Compare(a.User, b.User))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
