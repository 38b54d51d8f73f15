package config

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// withGraph is a configuration with more lines under graph and in the account.
func withGraph(graph, account string) string {
	return strings.Replace(minimal, "    graph:\n", "    graph:\n"+graph, 1) + account
}

const otherID = "77777777-7777-8888-9999-aaaaaaaaaaaa"

func TestApplicationsAndOwnCredentials(t *testing.T) {
	c, err := Parse("", []byte(withGraph(
		"      applications:\n        - {client_id: "+otherID+", certificate_file: /other.pem, certificate_password_file: /password}\n",
		"    monitors:\n      - {upn: a@contoso.com, client_secret_file: /own}\n      - {upn: b@contoso.com, certificate_file: /own.pem}\n"+
			"    subscriptions: {join_delay: 5s, rotate_over: 10m}\n")+"public_url: https://bridge.contoso.com\n"), Options{})
	require.NoError(t, err)
	a := c.Accounts[0]
	require.Equal(t, []Application{{ClientID: otherID, CertificateFile: "/other.pem", CertificatePasswordFile: "/password"}}, a.Graph.Applications)
	require.Equal(t, []string{a.Graph.ClientID, otherID}, a.Graph.ClientIDs())
	require.Equal(t, "/own", a.Monitors[0].ClientSecretFile)
	require.Equal(t, "/own.pem", a.Monitors[1].CertificateFile)
	require.Equal(t, Subscriptions{JoinDelay: 5 * time.Second, LeaveDelay: time.Hour, RotateOver: 10 * time.Minute}, a.Subscriptions)
}

func TestWrongApplicationsAndOwnCredentials(t *testing.T) {
	for _, tt := range []struct{ name, graph, account, want string }{
		{"no id", "      applications: [{client_secret_file: /s}]\n", "", "accounts[0].graph.applications[0].client_id: is missing"},
		{"no GUID", "      applications: [{client_id: x, client_secret_file: /s}]\n", "", "accounts[0].graph.applications[0].client_id"},
		{"no credential", "      applications: [{client_id: " + otherID + "}]\n", "", "accounts[0].graph.applications[0].client_secret_file: is missing"},
		{"two credentials", "      applications: [{client_id: " + otherID + ", client_secret_file: /s, certificate_file: /c}]\n", "", "accounts[0].graph.applications[0].certificate_file"},
		{"twice", "      applications: [{client_id: " + otherID + ", client_secret_file: /s}, {client_id: " + otherID + ", client_secret_file: /s}]\n", "", "accounts[0].graph.applications[1].client_id"},
		{"cloud", "      cloud: usgov-l4\n      applications: [{client_id: " + otherID + ", client_secret_file: /s}]\n", "", "accounts[0].graph.applications: cloud usgov-l4 has no presence subscriptions"},
		{"monitor with both", "", "    monitors: [{upn: a@contoso.com, client_secret_file: /s, certificate_file: /c}]\n", "accounts[0].monitors[0].certificate_file: is given beside"},
		{"password alone", "", "    monitors: [{upn: a@contoso.com, certificate_password_file: /p}]\n", "accounts[0].monitors[0].certificate_password_file"},
		{"delay", "", "    subscriptions: {join_delay: 0s}\n", "accounts[0].subscriptions.join_delay"},
	} {
		_, err := Parse("", []byte(withGraph(tt.graph, tt.account)+"public_url: https://bridge.contoso.com\n"), Options{})
		require.ErrorContains(t, err, tt.want, tt.name)
	}
	_, err := Parse("", []byte(withGraph("      applications: [{client_id: "+otherID+", client_secret_file: /absent/app}]\n",
		"    monitors: [{upn: a@contoso.com, client_secret_file: /absent/own}]\n")+"public_url: https://bridge.contoso.com\n"), Options{Files: true})
	require.ErrorContains(t, err, "accounts[0].graph.applications[0].client_secret_file: /absent/app does not exist")
	require.ErrorContains(t, err, "accounts[0].monitors[0].client_secret_file: /absent/own does not exist")
}
