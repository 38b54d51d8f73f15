package graphsim

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUsersInPages(t *testing.T) {
	x := newTenant(t, Config{Users: 250, Monitors: []string{"presence1"}})
	app := x.appToken()
	seen := map[string]bool{}
	pages := 0
	for path := "/v1.0/users?$select=id,userPrincipalName,accountEnabled"; path != ""; pages++ {
		a := x.call("GET", path, app, nil)
		require.Equal(t, 200, a.status, a.body)
		for _, v := range a.json["value"].([]any) {
			u := v.(map[string]any)
			require.Len(t, u, 3)
			require.Equal(t, true, u["accountEnabled"])
			require.False(t, seen[u["id"].(string)])
			seen[u["id"].(string)] = true
		}
		path = strings.TrimPrefix(a.text("@odata.nextLink"), x.GraphURL())
	}
	require.Len(t, seen, 251, "monitors are ordinary users")
	require.Equal(t, 3, pages, "a hundred is the usual page")

	a := x.call("GET", "/v1.0/users?$top=999", app, nil)
	require.Len(t, a.json["value"], 251)
	require.Empty(t, a.text("@odata.nextLink"))
	first := a.json["value"].([]any)[0].(map[string]any)
	require.Len(t, first, 11, "eleven properties without $select")
	for _, bad := range []string{"$top=0", "$top=1000", "$top=x", "$skip=10", "$filter=" + url.QueryEscape("startswith(mail,'a')"), "$skiptoken=%25"} {
		require.Equal(t, 400, x.call("GET", "/v1.0/users?"+bad, app, nil).status, bad)
	}
}

func TestJoinersAndLeaversShiftNobody(t *testing.T) {
	x := newTenant(t, Config{Users: 20})
	app := x.appToken()
	a := x.call("GET", "/v1.0/users?$top=10", app, nil)
	page := a.json["value"].([]any)
	require.NoError(t, x.RemoveUser(page[9].(map[string]any)["id"].(string)))
	_, err := x.AddUser(Person{ID: "00000000-0000-4000-8000-000000000000", UPN: "early@contoso.example"})
	require.NoError(t, err)
	rest := x.call("GET", strings.TrimPrefix(a.text("@odata.nextLink"), x.GraphURL()), app, nil)
	require.Len(t, rest.json["value"], 10)
	require.Error(t, x.RemoveUser("nobody"))
	_, err = x.AddUser(Person{UPN: "early@contoso.example"})
	require.Error(t, err)
	_, err = x.AddUser(Person{})
	require.Error(t, err)
}

func TestUserFilters(t *testing.T) {
	x := two(t)
	app := x.appToken()
	require.NoError(t, x.UpdateUser(ben, func(p *Person) { p.Disabled, p.UserType, p.UPN = true, "Guest", "changed" }))
	count := func(filter string) int {
		a := x.call("GET", "/v1.0/users?$filter="+url.QueryEscape(filter), app, nil)
		require.Equal(t, 200, a.status, a.body)
		return len(a.json["value"].([]any))
	}
	require.Equal(t, 3, count("accountEnabled eq true"))
	require.Equal(t, 1, count("accountEnabled eq false and userType eq 'Guest'"))
	require.Equal(t, 1, count(fmt.Sprintf("userPrincipalName eq '%s'", strings.ToUpper(ben))), "the UPN stays")
	require.Equal(t, 0, count("mail eq 'nobody'"))
}

func TestOneUser(t *testing.T) {
	x := two(t)
	app := x.appToken()
	a := x.call("GET", "/v1.0/users/"+strings.ToUpper(anna)+"?$select=mail,mobilePhone", app, nil)
	require.Equal(t, 200, a.status)
	require.Equal(t, anna, a.text("mail"))
	require.Equal(t, x.id(anna), a.text("id"))
	a = x.call("GET", "/v1.0/users/nobody", app, nil)
	require.Equal(t, 404, a.status)
	require.Equal(t, "Request_ResourceNotFound", a.errorCode())
	require.Equal(t, 403, x.call("GET", "/v1.0/users", x.userToken(mon), nil).status, "User.Read is for oneself")
}

func TestSecretExpiryCanBeRead(t *testing.T) {
	end := time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)
	x := two(t, func(c *Config) { c.SecretExpiry = end })
	app := x.appToken()
	_, cert := selfSigned(t, 2048)
	x.RegisterCertificate(cert)
	for _, path := range []string{"/v1.0/applications(appId='" + x.ClientID + "')", "/v1.0/servicePrincipals(appId='" + x.ClientID + "')"} {
		a := x.call("GET", path, app, nil)
		require.Equal(t, 200, a.status, a.body)
		require.Equal(t, end.Format(time.RFC3339), a.json["passwordCredentials"].([]any)[0].(map[string]any)["endDateTime"])
		require.Len(t, a.json["keyCredentials"], 1)
		require.NotContains(t, a.body, x.ClientSecret)
	}
	list := x.call("GET", "/v1.0/applications?$filter="+url.QueryEscape("appId eq '"+x.ClientID+"'"), app, nil)
	require.Len(t, list.json["value"], 1)
	id := list.json["value"].([]any)[0].(map[string]any)["id"].(string)
	require.Equal(t, 200, x.call("GET", "/v1.0/applications/"+id, app, nil).status)
	require.Equal(t, 404, x.call("GET", "/v1.0/applications/x", app, nil).status)
	require.Equal(t, 404, x.call("GET", "/v1.0/applications(appId='x')", app, nil).status)
	require.Empty(t, x.call("GET", "/v1.0/applications?$filter="+url.QueryEscape("appId eq 'x'"), app, nil).json["value"])
	x.Consent([]string{"User.Read.All"}, nil)
	require.Equal(t, 403, x.call("GET", "/v1.0/applications", x.appToken(), nil).status)
}

func TestRedirectURIsCanBeRead(t *testing.T) {
	path := func(x *tenant) string { return "/v1.0/applications(appId='" + x.ClientID + "')" }
	x := two(t, func(c *Config) { c.RedirectURIs = []string{"https://bridge.example.com/authorize/callback"} })
	web := x.call("GET", path(x), x.appToken(), nil).json["web"].(map[string]any)
	require.Equal(t, []any{"https://bridge.example.com/authorize/callback"}, web["redirectUris"])
	x = two(t, func(*Config) {})
	require.NotContains(t, x.call("GET", path(x), x.appToken(), nil).json, "web", "any is accepted")
}

func TestSameSeedSameTenant(t *testing.T) {
	a, b := newTenant(t, Config{Users: 5, Seed: 4}), newTenant(t, Config{Users: 5, Seed: 4, Faults: Cruel()})
	require.Equal(t, a.Users(), b.Users())
	require.Equal(t, a.ClientSecret, b.ClientSecret)
	c := newTenant(t, Config{Users: 5, Seed: 5})
	require.NotEqual(t, a.TenantID, c.TenantID)
	require.NotEqual(t, a.Users()[0].ID, c.Users()[0].ID)
}
