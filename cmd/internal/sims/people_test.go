package sims

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheSamePeopleInEveryProcess is what lets two simulators in processes of their own have the same people.
func TestTheSamePeopleInEveryProcess(t *testing.T) {
	people := People(2000, "contoso.example")
	require.Equal(t, people, People(2000, "contoso.example"))
	require.Equal(t, people[:10], People(10, "contoso.example"), "fewer are the first ones")
	require.Equal(t, "user00001@contoso.example", people[0].Mail)
	require.NotEqual(t, people[0].ID, People(1, "fabrikam.example")[0].ID)
	for what, of := range map[string]func(Person) string{
		"id":        func(p Person) string { return p.ID },
		"mail":      func(p Person) string { return p.Mail },
		"extension": func(p Person) string { return p.Extension },
		"phone":     func(p Person) string { return p.Phone },
	} {
		seen := map[string]bool{}
		for _, p := range people {
			require.NotEmpty(t, of(p), what)
			require.False(t, seen[of(p)], "%s %s is given twice", what, of(p))
			seen[of(p)] = true
		}
	}
}

func TestBothSidesHaveThePeople(t *testing.T) {
	people := People(30, "contoso.example")
	tenant, phones, extensions, desks := Tenant(people), Phones(people), ThreeCX(people), SIP(people)
	require.Len(t, tenant, 30)
	require.Len(t, extensions, 30)
	require.Len(t, phones, 30)
	require.Len(t, desks, 30)
	for i, p := range people {
		require.Equal(t, p.ID, tenant[i].ID)
		require.Equal(t, p.Mail, tenant[i].UPN)
		require.Equal(t, tenant[i].Mail, phones[i].Email, "by which they are matched")
		require.Equal(t, tenant[i].Mail, extensions[i].Email)
		require.Equal(t, phones[i].Extension, extensions[i].Number)
		require.Equal(t, tenant[i].Mail, desks[i].Email)
		require.Equal(t, phones[i].Extension, desks[i].User)
		require.Contains(t, tenant[i].BusinessPhones[0], phones[i].Extension)
	}
	require.Empty(t, People(0, "contoso.example"))
}

func TestMonitors(t *testing.T) {
	require.Equal(t, []string{"presence1@contoso.example", "presence2@contoso.example"}, Monitors(2, "contoso.example"))
	require.Empty(t, Monitors(0, "contoso.example"))
}
