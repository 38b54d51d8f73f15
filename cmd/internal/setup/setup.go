// Package setup prints what has to be done in Entra before the bridge can serve an account: as a list, and as scripts
// that do it. Everything that differs between accounts is filled in; nothing secret is: scripts make secrets where they
// run, and write them to files there.
package setup

import (
	"presencebridge/bridge/policy"
	"presencebridge/cmd/internal/config"
)

// GraphAppID is Microsoft Graph's own application id, the same in every tenant and cloud.
const GraphAppID = "00000003-0000-0000-c000-000000000000"

// Permission is a permission of Microsoft Graph.
type Permission struct {
	Name string
	ID   string // the same in every tenant (devx-content: permissions-descriptions.json)
	// Optional: the bridge works without it.
	Optional bool
	Purpose  string // what the bridge needs it for
	Without  string // what then comes of lacking an optional one, where that is worth a warning
}

// ApplicationPermissions are what the bridge itself is allowed, whoever is signed in; groups tells whether the policy
// names any. All need an administrator's consent.
func ApplicationPermissions(groups bool) []Permission {
	list := []Permission{
		{Name: "Presence.ReadWrite.All", ID: "83cded22-8297-4ff6-a7fa-e97e9545a259", Purpose: "read everybody's presence, and set the bridge's own presence session"},
		{Name: "User.Read.All", ID: "df021288-bdef-4463-88db-98f22de89214", Purpose: "list the people, to match them with the users of the PBX"},
		{Name: "Application.Read.All", ID: "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30", Optional: true, Purpose: "tell weeks ahead when the client secret ends"},
	}
	if groups {
		list = append(list, Permission{
			Name: "GroupMember.Read.All", ID: "98830695-27a2-44f7-8c18-0c3ebc9698f6", Purpose: "know who is in the groups that the policy names",
		})
	}
	return list
}

// ReadPresence is the application permission to read presence and no more.
func ReadPresence() Permission {
	return Permission{
		Name: "Presence.Read.All", ID: "a70e0c2d-e793-494c-94c4-118fa0a67f42", Optional: true,
		Purpose: "read presence out of its own budget, beside the first application",
		Without: "the first application reads in its place, out of its own budget",
	}
}

// FurtherPermissions are what an application is allowed that an account has beside its first one: it reads, and monitors
// sign in for it. Only the first sets presence and lists people.
func FurtherPermissions() []Permission {
	end := ApplicationPermissions(false)[2]
	return []Permission{ReadPresence(), end}
}

// NamesGroups tells whether the account's policy names groups. A policy that cannot be read names none.
func NamesGroups(a *config.Account) bool {
	if len(a.Policy.YAML) == 0 {
		return false
	}
	p, err := policy.Parse(a.Policy.YAML)
	return err == nil && len(p.GroupNames()) > 0
}

// DelegatedPermissions are what monitors sign in with.
func DelegatedPermissions() []Permission {
	return []Permission{
		{Name: "Presence.Read.All", ID: "9c7a330d-35b3-4aa1-963d-cb2b9f927841", Purpose: "subscribe to the presence of others"},
		{Name: "offline_access", ID: "7427e0e9-2fba-42fe-b0c0-848c9e6a8182", Purpose: "stay signed in"},
		{Name: "openid", ID: "37f7f235-527c-4136-accd-4a02d197296e", Purpose: "see who has signed in"},
		{Name: "profile", ID: "14dad69e-099b-42c9-810b-d002981feec1", Purpose: "see the name of who has signed in"},
	}
}

// CallbackPath is where Entra sends whoever has signed a monitor in, on the public listener.
const CallbackPath = "/authorize/callback"

// RedirectURI is the redirect URI to register; "" without a public_url.
func RedirectURI(publicURL string) string {
	if publicURL == "" {
		return ""
	}
	return publicURL + CallbackPath
}
