package directory

import (
	"fmt"
	"slices"
	"strings"

	"presencebridge/bridge/pbx"
)

// Rule is one way of finding the person that a PBX user belongs to.
type Rule string

// The rules. None compares casing.
const (
	ByMail         Rule = "mail"            // the PBX's mail address is the person's mail
	ByUPN          Rule = "upn"             // it is the person's user principal name
	ByProxyAddress Rule = "proxy_addresses" // it is one of the person's further addresses
	ByExtension    Rule = "extension"       // the extension is the value of Entra's attribute for extensions
	ByPhone        Rule = "phone"           // the extension, as a whole number, is one of the person's numbers
	ByName         Rule = "display_name"    // the display names are equal: a guess that a site has to ask for
	ByOverride     Rule = "override"        // the site's list of overrides names the person; always tried first
)

// DefaultRules are all that guess nothing.
func DefaultRules() []Rule { return []Rule{ByMail, ByUPN, ByProxyAddress, ByExtension, ByPhone} }

// ParseRule reads a rule's name as it stands in a configuration.
func ParseRule(name string) (Rule, error) {
	known := append(DefaultRules(), ByName)
	if r := Rule(name); slices.Contains(known, r) {
		return r, nil
	}
	names := make([]string, len(known))
	for i, r := range known {
		names[i] = string(r)
	}
	return "", fmt.Errorf("%q is no rule; the rules are %s", name, strings.Join(names, ", "))
}

// address tells whether the rule goes by the endpoint's mail address.
func (r Rule) address() bool { return r == ByMail || r == ByUPN || r == ByProxyAddress }

// ofUser are the person's values that the rule compares.
func (m *matcher) ofUser(r Rule, u *User) []string {
	switch r {
	case ByMail:
		return []string{key(u.Mail)}
	case ByUPN:
		return []string{key(u.UPN)}
	case ByProxyAddress:
		out := make([]string, len(u.Proxies))
		for i, p := range u.Proxies {
			out[i] = key(p)
		}
		return out
	case ByExtension:
		return []string{key(u.Extension)}
	case ByPhone:
		var out []string
		for _, p := range u.Phones {
			out = append(out, m.numbers.ofPerson(p)...)
		}
		return append(out, m.numbers.ofPerson(u.Mobile)...)
	case ByName:
		return []string{nameKey(u.Name)}
	case ByOverride:
	}
	return nil
}

// ofPhone are the endpoint's values that the rule compares.
func (m *matcher) ofPhone(r Rule, name string, u *pbx.User) []string {
	switch r {
	case ByMail, ByUPN, ByProxyAddress:
		return []string{key(u.Email)}
	case ByExtension:
		return []string{key(u.Extension)}
	case ByPhone:
		return m.numbers.ofPhone(u.Extension, m.opts.Prefixes[name])
	case ByName:
		return []string{nameKey(u.DisplayName)}
	case ByOverride:
	}
	return nil
}

// nameKey is the form in which display names are compared.
func nameKey(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }

// index finds people by the values of one rule.
type index struct {
	// eligible finds people who can own endpoints; rivals holds the values that several of them have.
	eligible map[string]int32
	rivals   map[string][]int32
	// barred finds guests and disabled accounts, for the reason only.
	barred map[string]int32
}

// index of a rule is made when it is needed for the first time: numbers are dear to read, and where
// every PBX has mail addresses nobody asks for them.
func (m *matcher) index(r Rule) *index {
	if x := m.indices[r]; x != nil {
		return x
	}
	x := &index{eligible: make(map[string]int32, len(m.people)), rivals: map[string][]int32{}, barred: map[string]int32{}}
	for i := range m.people {
		u := &m.people[i]
		barred := m.bar(*u) != ReasonNone
		for _, k := range m.ofUser(r, u) {
			switch {
			case k == "":
			case barred:
				if _, taken := x.barred[k]; !taken {
					x.barred[k] = int32(i)
				}
			default:
				x.claim(k, int32(i))
			}
		}
	}
	m.indices[r] = x
	return x
}

func (x *index) claim(k string, i int32) {
	first, taken := x.eligible[k]
	switch {
	case !taken:
		x.eligible[k] = i
	case first == i: // a person may have a value twice
	case x.rivals[k] == nil:
		x.rivals[k] = []int32{first, i}
	case !slices.Contains(x.rivals[k], i):
		x.rivals[k] = append(x.rivals[k], i)
	}
}

// people are those who can own endpoints and have one of the values, ascending.
func (x *index) people(keys []string) []int32 {
	var out []int32
	for _, k := range keys {
		if k == "" {
			continue
		}
		if r := x.rivals[k]; r != nil {
			out = append(out, r...)
		} else if i, found := x.eligible[k]; found {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// kept is somebody who cannot own endpoints and has one of the values.
func (x *index) kept(keys []string) (int32, bool) {
	for _, k := range keys {
		if i, found := x.barred[k]; k != "" && found {
			return i, true
		}
	}
	return 0, false
}
