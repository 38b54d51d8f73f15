// Package directory says who is who: which person of the tenant owns which PBX endpoints. Matching
// is a pure function of what both sides list ([Match]); a [Keeper] remembers its last result, so
// that a bridge that starts while Graph or a PBX cannot be reached still knows its members.
//
// Nothing is guessed. A person may have several endpoints, an endpoint belongs to one person, and
// wherever the lists allow two readings, neither is taken: the candidates are listed instead.
package directory

import (
	"strings"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// User is one person as Entra lists them.
type User struct {
	ID      string `json:"id"` // Entra object id; compared and kept in lower case
	UPN     string `json:"upn"`
	Mail    string `json:"mail,omitempty"`
	Name    string `json:"name,omitempty"`
	Enabled bool   `json:"enabled"`
	// UserType is Entra's userType: "Member", "Guest", or empty, which Entra uses for accounts that
	// were synchronised long ago and which counts as a member.
	UserType string `json:"user_type,omitempty"`
	// Proxies are the person's SMTP addresses (proxyAddresses), the primary one included, without the prefix.
	Proxies []string `json:"proxies,omitempty"`
	// Phones are the business phones as Entra holds them, Mobile is the mobile one.
	Phones []string `json:"phones,omitempty"`
	Mobile string   `json:"mobile,omitempty"`
	// Extension is the value of the attribute in which the site keeps extensions.
	Extension string `json:"extension,omitempty"`
}

// guest tells whether the account belongs to another tenant. Its presence lives there too.
func (u User) guest() bool { return strings.EqualFold(u.UserType, "Guest") }

// Options steer [Match].
type Options struct {
	// Rules are tried in order for every endpoint that no override speaks of; the first one that finds
	// somebody decides. nil: [DefaultRules].
	Rules []Rule
	// Overrides go before every rule.
	Overrides []Override
	// Region is the country whose numbers are written without a country code: ISO 3166, two letters. Empty: such
	// numbers are not compared.
	Region string
	// Prefixes turn a PBX's short extensions into whole numbers, by the PBX's name: "+49301234" makes 201 the number
	// +49301234201.
	Prefixes map[string]string
	// Groups are the groups that policy names and a person is in, by object id.
	Groups map[string][]string
	// Exclude lists people who take no part: by object id, UPN or mail, case-insensitively. They
	// stay members, marked Excluded, so that what was asserted for them before can be withdrawn.
	Exclude []string
	// SeveralPerPBX takes all endpoints that one PBX lists under one person's addresses for that
	// person's several phones. By default such endpoints are ambiguous: one shared address may as
	// well mean several people.
	SeveralPerPBX bool
	// Unread names the PBXs that could not be listed. Their endpoints are taken from Last, so that a
	// PBX which is away at the start costs nobody their endpoint.
	Unread []string
	// Last is the last known result: for Unread, and so that a rename moves nothing. An endpoint that nobody has a
	// claim to any more stays with whom it was matched before, if the PBX lists it as it did then.
	Last []Member
}

// Reason says why somebody or something has no counterpart. It is stable: metrics and the API use it.
type Reason string

// The reasons.
const (
	ReasonNone       Reason = ""
	NoEndpoint       Reason = "no_endpoint"      // no PBX lists the person's mail or UPN
	NoMail           Reason = "no_mail"          // the PBX has no mail for the endpoint
	NoPerson         Reason = "no_person"        // nobody in Entra has the endpoint's mail
	Guest            Reason = "guest"            // the person is a guest of the tenant
	Disabled         Reason = "disabled"         // the account is switched off
	SharedByPeople   Reason = "shared_by_people" // several people have the endpoint's mail
	SharedByPhones   Reason = "shared_by_phones" // one PBX lists several endpoints for the person
	ListedTwice      Reason = "listed_twice"     // one PBX lists the endpoint twice, differently
	OnlyAmbiguous    Reason = "only_ambiguous"   // the person's endpoints are all ambiguous
	ExcludedByConfig Reason = "excluded_by_config"
	OverrideNobody   Reason = "override_nobody"  // an override says that the endpoint is nobody's
	OverrideUnknown  Reason = "override_unknown" // an override names somebody whom the tenant does not have
)

// Reasons lists all reasons but the empty one.
func Reasons() []Reason {
	return []Reason{
		NoEndpoint, NoMail, NoPerson, Guest, Disabled, SharedByPeople, SharedByPhones, ListedTwice, OnlyAmbiguous, ExcludedByConfig,
		OverrideNobody, OverrideUnknown,
	}
}

// Text is the reason in a sentence, with what a person can do about it.
func (r Reason) Text() string {
	switch r {
	case ReasonNone:
		return ""
	case NoEndpoint:
		return "no PBX lists an endpoint with this person's address, extension or number; enter the mail address on the PBX, or name the endpoint in the overrides"
	case NoMail:
		return "the PBX has no mail address for this endpoint, and no other rule found a person; enter the person's mail or user principal name there"
	case NoPerson:
		return "nobody in Entra has this endpoint's mail address, extension or number; correct it on the PBX or in Entra, or name the person in the overrides"
	case Guest:
		return "the person is a guest, whose presence belongs to another tenant"
	case Disabled:
		return "the account is disabled in Entra"
	case SharedByPeople:
		return "several people have this address, extension or number; make it unique in Entra or on the PBX, or name the person in the overrides"
	case SharedByPhones:
		return "one PBX lists several endpoints under this person's addresses; leave the address with one of them"
	case ListedTwice:
		return "the PBX lists this endpoint twice with different mail addresses; correct it on the PBX"
	case OnlyAmbiguous:
		return "all endpoints that could be this person's are ambiguous; see the list of ambiguous endpoints"
	case ExcludedByConfig:
		return "excluded by the configuration"
	case OverrideNobody:
		return "the overrides say that this endpoint is nobody's"
	case OverrideUnknown:
		return "the overrides name a person whom the tenant does not have; correct the line"
	}
	return string(r)
}

// Member is a person who takes part, or is known not to.
type Member struct {
	ID        string                `json:"id"` // Entra object id, lower case
	UPN       string                `json:"upn"`
	Mail      string                `json:"mail,omitempty"`
	Name      string                `json:"name,omitempty"`
	Endpoints []presence.EndpointID `json:"endpoints,omitempty"` // sorted
	Matched   []Matched             `json:"matched,omitempty"`   // one per endpoint, in the same order
	Groups    []string              `json:"groups,omitempty"`    // those of Options.Groups
	Excluded  bool                  `json:"excluded,omitempty"`
	Reason    Reason                `json:"reason,omitempty"` // why excluded
}

// Matched tells how a member came to an endpoint.
type Matched struct {
	ID   presence.EndpointID `json:"id"`
	Rule Rule                `json:"rule"`
	// Kept: the rule does not find the person any more, who was renamed; see Options.Last.
	Kept bool `json:"kept,omitempty"`
	// What the PBX said then.
	Mail      string `json:"mail,omitempty"`
	Extension string `json:"extension,omitempty"`
	Name      string `json:"name,omitempty"`
}

// Person is somebody without an endpoint.
type Person struct {
	ID     string `json:"id"`
	UPN    string `json:"upn"`
	Mail   string `json:"mail,omitempty"`
	Name   string `json:"name,omitempty"`
	Reason Reason `json:"reason"`
}

// Endpoint is a PBX endpoint without a person.
type Endpoint struct {
	ID        presence.EndpointID `json:"id"`
	Mail      string              `json:"mail,omitempty"`
	Extension string              `json:"extension,omitempty"`
	Name      string              `json:"name,omitempty"`
	Reason    Reason              `json:"reason"`
	Rule      Rule                `json:"rule,omitempty"` // that found several people
	// Candidates are the object ids of the people it could belong to: several where it is ambiguous,
	// the guest or the disabled account otherwise. Sorted.
	Candidates []string `json:"candidates,omitempty"`
}

// Result is what [Match] found. Every list is sorted, so equal inputs in any order give equal results.
type Result struct {
	// Members have at least one endpoint, or are excluded.
	Members []Member
	// People have no endpoint.
	People []Person
	// Endpoints have no person.
	Endpoints []Endpoint
	// Ambiguous endpoints could belong to several people, or share one with other endpoints of their PBX.
	Ambiguous []Endpoint
	// UnusedExclusions are entries of Options.Exclude that name nobody: most likely a typing error.
	UnusedExclusions []string
	// UnusedOverrides are those of Options.Overrides whose endpoint no PBX that was listed has.
	UnusedOverrides []Override
}

// Match joins the tenant's people with the users of each PBX (by the PBX's configured name). A PBX
// user belongs to the one enabled person, no guest, whom the first rule finds that finds anybody. It
// keeps no reference to its arguments.
func Match(entra []User, phones map[string][]pbx.User, opts Options) Result {
	m := newMatcher(entra, opts)
	for _, name := range sortedKeys(phones) {
		m.matchPBX(name, phones[name])
	}
	m.keepRenamed()
	m.keepUnread(phones)
	return m.result()
}

// key is the form in which addresses are compared.
func key(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
