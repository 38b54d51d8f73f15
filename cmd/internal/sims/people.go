// Package sims starts the two simulators as one site: people of a tenant who have phones on a PBX.
package sims

import (
	"fmt"

	"github.com/google/uuid"

	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/pbx/sipsim"
	"presencebridge/bridge/pbx/threecxsim"
	"presencebridge/graph/graphsim"
)

// namespace makes the people's object ids: the same person has the same id in every process.
var namespace = uuid.MustParse("6f1c1b3e-52a4-4b57-9d1a-0c6f0e6f7f10")

var (
	givenNames  = []string{"Ada", "Ben", "Clara", "David", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kaja", "Liam", "Mina", "Nils", "Olga", "Pia", "Quim", "Rosa", "Sven", "Tara", "Uma", "Vito", "Wanda", "Xenia", "Yara", "Zeno"}
	familyNames = []string{"Abel", "Bauer", "Costa", "Diaz", "Eriksen", "Fischer", "Grant", "Haas", "Ivanova", "Jensen", "Kaya", "Lopez", "Moreau", "Novak", "Okafor", "Peters", "Rossi", "Schmidt", "Tanaka", "Ulrich", "Vogel", "Weber", "Young", "Zeller"}
)

// Person is somebody with an account in the tenant and a phone on the PBX.
type Person struct {
	ID, Mail, Name, Extension, Phone string
}

// People makes up n people of a domain, always the same ones.
func People(n int, domain string) []Person {
	out := make([]Person, n)
	for i := range out {
		given, family := givenNames[i%len(givenNames)], familyNames[(i/len(givenNames)+i)%len(familyNames)]
		mail := fmt.Sprintf("user%05d@%s", i+1, domain)
		out[i] = Person{
			ID: uuid.NewSHA1(namespace, []byte(mail)).String(), Mail: mail, Name: given + " " + family,
			Extension: fmt.Sprint(10001 + i), Phone: fmt.Sprintf("p%05d", i+1),
		}
	}
	return out
}

// Tenant is the people as the tenant lists them.
func Tenant(people []Person) []graphsim.Person {
	out := make([]graphsim.Person, len(people))
	for i, p := range people {
		out[i] = graphsim.Person{ID: p.ID, UPN: p.Mail, Mail: p.Mail, DisplayName: p.Name, BusinessPhones: []string{"+1 425 555 " + p.Extension}}
	}
	return out
}

// Phones is the people as the PBX lists them.
func Phones(people []Person) []pbxsim.User {
	out := make([]pbxsim.User, len(people))
	for i, p := range people {
		out[i] = pbxsim.User{ID: p.Phone, Email: p.Mail, Extension: p.Extension, DisplayName: p.Name}
	}
	return out
}

// ThreeCX is the people as a 3CX lists them.
func ThreeCX(people []Person) []threecxsim.User {
	out := make([]threecxsim.User, len(people))
	for i, p := range people {
		out[i] = threecxsim.User{ID: i + 1, Number: p.Extension, Email: p.Mail, DisplayName: p.Name}
	}
	return out
}

// SIP is the people as a SIP PBX lists them.
func SIP(people []Person) []sipsim.User {
	out := make([]sipsim.User, len(people))
	for i, p := range people {
		out[i] = sipsim.User{User: p.Extension, Email: p.Mail, DisplayName: p.Name}
	}
	return out
}

// Monitors names n monitors of a domain.
func Monitors(n int, domain string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("presence%d@%s", i+1, domain)
	}
	return out
}
