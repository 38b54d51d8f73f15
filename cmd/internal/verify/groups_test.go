package verify

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGroupsOfThePolicy(t *testing.T) {
	w := newWorld(t)
	people := w.graph.Users()
	_, err := w.graph.SetGroup("", "Works council", people[0].ID, people[1].ID)
	require.NoError(t, err)
	w.set("policy", "{preset: micollab, groups: [{group: works council, opt_out: both}, {group: Nobody, opt_out: both}]}")
	r := w.run()
	expect(t, r, "permission", "GroupMember.Read.All", OK)
	expect(t, r, "group", "works council", OK, "2 people are in it")
	expect(t, r, "group", "Nobody", Failed, "no such group", "correct the name in the policy")
}

func TestGroupsWithoutPermission(t *testing.T) {
	w := newWorld(t, func(s *settings) { s.graph.AppRoles = []string{"Presence.ReadWrite.All", "User.Read.All"} })
	w.set("policy", "{preset: micollab, groups: [{group: Works council, opt_out: both}]}")
	r := w.run()
	expect(t, r, "permission", "GroupMember.Read.All", Failed, "know who is in the groups", "98830695-27a2-44f7-8c18-0c3ebc9698f6")
	expect(t, r, "group", "Works council", Failed, "may not read groups", "GroupMember.Read.All")
}
