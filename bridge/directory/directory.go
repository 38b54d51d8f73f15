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
}

// guest tells whether the account belongs to another tenant. Its presence lives there too.
func (u User) guest() bool { return strings.EqualFold(u.UserType, "Guest") }

// Options steer [Match].
type Options struct {
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
	// Last is the last known result, used for Unread only.
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
)

// Text is the reason in a sentence, with what a person can do about it.
func (r Reason) Text() string {
	switch r {
	case ReasonNone:
		return ""
	case NoEndpoint:
		return "no PBX lists an endpoint under this person's mail or user principal name; enter it on the PBX"
	case NoMail:
		return "the PBX has no mail address for this endpoint; enter the person's mail or user principal name"
	case NoPerson:
		return "nobody in Entra has this endpoint's mail address as mail or user principal name; correct it on the PBX"
	case Guest:
		return "the person is a guest, whose presence belongs to another tenant"
	case Disabled:
		return "the account is disabled in Entra"
	case SharedByPeople:
		return "several people have this mail address; make it unique in Entra or on the PBX"
	case SharedByPhones:
		return "one PBX lists several endpoints under this person's addresses; leave the address with one of them"
	case ListedTwice:
		return "the PBX lists this endpoint twice with different mail addresses; correct it on the PBX"
	case OnlyAmbiguous:
		return "all endpoints that could be this person's are ambiguous; see the list of ambiguous endpoints"
	case ExcludedByConfig:
		return "excluded by the configuration"
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
	Excluded  bool                  `json:"excluded,omitempty"`
	Reason    Reason                `json:"reason,omitempty"` // why excluded
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
}

// Match joins the tenant's people with the users of each PBX (by the PBX's configured name). A PBX
// user belongs to the one enabled person, no guest, whose mail or UPN equals its mail address,
// whatever the casing. It keeps no reference to its arguments.
func Match(entra []User, phones map[string][]pbx.User, opts Options) Result {
	m := newMatcher(entra, opts)
	for _, name := range sortedKeys(phones) {
		m.matchPBX(name, phones[name])
	}
	m.keepUnread(phones)
	return m.result()
}

// key is the form in which addresses are compared.
func key(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
