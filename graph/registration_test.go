package graph

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAppPermissions(t *testing.T) {
	roles := []string{"Presence.ReadWrite.All", "User.Read.All"}
	for _, c := range []struct {
		name, token string
		roles       []string
		readable    bool
	}{
		{"roles", jwtOf(map[string]any{"roles": roles}), roles, true},
		{"none", jwtOf(map[string]any{"aud": "x"}), nil, true},
		{"odd", jwtOf(map[string]any{"roles": 7}), nil, true},
		{"opaque", "not-a-jwt", nil, false},
		{"broken", "a.%%%.c", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tn := newTenant(t)
			tn.login = func(w http.ResponseWriter, _ url.Values) bool {
				reply(w, 200, `{"token_type":"Bearer","expires_in":3600,"access_token":"`+c.token+`"}`)
				return true
			}
			got, err := tn.client().AppPermissions(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.roles, got.Roles)
			require.Equal(t, c.readable, got.Readable)
			require.WithinDuration(t, time.Now().Add(time.Hour), got.Expires, time.Minute)
		})
	}
}

func TestAppPermissionsWithAWrongSecret(t *testing.T) {
	tn := newTenant(t)
	tn.secret = "another"
	_, err := tn.client().AppPermissions(within(t, 10*time.Second))
	e := requireKind(t, err, Unauthorised)
	require.Equal(t, "AADSTS7000215", e.Code)
	require.NotContains(t, err.Error(), testSecret)
}

func TestRegistration(t *testing.T) {
	tn := newTenant(t)
	tn.graph = func(w http.ResponseWriter, r *seen) {
		if r.URL.Path != "/v1.0/applications(appId='"+testClient+"')" || r.URL.Query().Get("$select") == "" {
			reply(w, 404, graphError("Request_ResourceNotFound", r.URL.Path))
			return
		}
		reply(w, 200, `{"id":"1","appId":"`+testClient+`","displayName":"Bridge","isFallbackPublicClient":true,
			"web":{"redirectUris":["https://bridge.example.com/authorize/callback"]},
			"requiredResourceAccess":[{"resourceAppId":"00000003-0000-0000-c000-000000000000","resourceAccess":[{"id":"r","type":"Role"},{"id":"s","type":"Scope"}]},
				{"resourceAppId":"other","resourceAccess":[{"id":"x","type":"Role"}]}]}`)
	}
	a, err := tn.client().Registration(t.Context())
	require.NoError(t, err)
	yes := true
	require.Equal(t, Registration{ID: "1", AppID: testClient, DisplayName: "Bridge", PublicClient: &yes,
		RedirectURIs: []string{"https://bridge.example.com/authorize/callback"},
		Declared:     []DeclaredPermission{{"r", true}, {"s", false}}}, a)
}

func TestRegistrationRefused(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		kind   Kind
	}{
		{403, graphError("Authorization_RequestDenied", "Insufficient privileges to complete the operation."), ConsentMissing},
		{404, graphError("Request_ResourceNotFound", "Resource does not exist."), Gone},
		{200, `[]`, Transient},
	} {
		tn := newTenant(t)
		tn.graph = func(w http.ResponseWriter, _ *seen) { reply(w, c.status, c.body) }
		_, err := tn.client().Registration(within(t, 10*time.Second))
		requireKind(t, err, c.kind)
	}
	tn := newTenant(t)
	tn.graph = func(w http.ResponseWriter, _ *seen) { reply(w, 200, `{"id":"1"}`) }
	a, err := tn.client().Registration(t.Context())
	require.NoError(t, err)
	require.Nil(t, a.RedirectURIs, "not told")
	require.Nil(t, a.PublicClient)
}

func TestProbe(t *testing.T) {
	tn := newTenant(t)
	c := tn.client()
	login, graph := c.Addresses()
	require.Equal(t, tn.loginURL, login)
	require.Equal(t, tn.graphURL, graph)
	status, header, err := c.Probe(t.Context(), login, "/"+testTenant+"/v2.0/.well-known/openid-configuration")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.NotEmpty(t, header.Get("Date"))
	require.Zero(t, tn.tokenCount(), "no token is asked for")

	stranger := tn.client(func(cfg *Config) { cfg.Endpoints.CAFile = "" })
	_, _, err = stranger.Probe(t.Context(), graph, "/")
	require.Contains(t, requireKind(t, err, Refused).Message, "not trusted")
}
