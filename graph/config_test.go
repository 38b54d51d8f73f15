package graph

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCloudsAndEndpoints(t *testing.T) {
	for cloud, want := range map[Cloud]CloudInfo{
		"":           {CloudGlobal, "https://login.microsoftonline.com", "https://graph.microsoft.com", true, true},
		CloudGlobal:  {CloudGlobal, "https://login.microsoftonline.com", "https://graph.microsoft.com", true, true},
		CloudUSGovL4: {CloudUSGovL4, "https://login.microsoftonline.us", "https://graph.microsoft.us", true, false},
		CloudUSGovL5: {CloudUSGovL5, "https://login.microsoftonline.us", "https://dod-graph.microsoft.us", true, false},
		CloudChina:   {CloudChina, "https://login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn", false, false},
	} {
		info, err := cloud.Info()
		require.NoError(t, err)
		require.Equal(t, want, info)
	}
	tn := virtual(t)
	bad := func(want string, change func(*Config)) {
		t.Helper()
		_, err := New(tn.config(tn.onVirtual, change))
		require.ErrorContains(t, err, want)
	}
	bad("cloud", func(c *Config) { c.Cloud = "mars" })
	bad("endpoints.login", func(c *Config) { c.Endpoints.Login = "http://127.0.0.1" })
	bad("endpoints.login", func(c *Config) { c.Endpoints.Login = "https://127.0.0.1/tenant" })
	bad("endpoints.graph", func(c *Config) { c.Endpoints.Graph = "127.0.0.1:80" })
	bad("endpoints.graph", func(c *Config) { c.Endpoints.Graph = "https://u:p@127.0.0.1" })
	bad("v1.0", func(c *Config) { c.Endpoints.Graph = "https://127.0.0.1/v1.0/" })
	bad("ca_file", func(c *Config) { c.Endpoints.CAFile = "/does/not/exist" })
	bad("tenant_id", func(c *Config) { c.TenantID = "a/b" })
	bad("client_id", func(c *Config) { c.ClientID = "" })
	bad("client_secret_file", func(c *Config) { c.ClientSecret = nil })
	bad("budgets", func(c *Config) { c.Budgets.Reads.Limit = -3 })
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, []byte("nothing"), 0o600))
	bad("no certificate", func(c *Config) { c.Endpoints.CAFile = empty })

	c := tn.client(tn.onVirtual, func(c *Config) {
		c.Endpoints.Login = "https://login.test/"
		c.Endpoints.Graph = "https://graph.test:444/gate/"
	})
	require.Equal(t, []string{"https://login.test/common/discovery/v2.0/keys", "https://login.test/common/discovery/keys"}, c.ValidationKeysURLs())
	require.Equal(t, "https://graph.test:444/gate", c.graph)
	require.True(t, c.Cloud().Subscriptions)
}

func TestCloudsWithoutAbilities(t *testing.T) {
	tn := virtual(t)
	china := tn.client(tn.onVirtual, func(c *Config) { c.Cloud = CloudChina })
	_, err := china.Presence(t.Context(), testUser)
	require.ErrorContains(t, requireKind(t, err, Refused), "no presence API")
	requireKind(t, china.SetPresence(t.Context(), testUser, inACall, time.Hour), Refused)
	gov := tn.client(tn.onVirtual, func(c *Config) { c.Cloud = CloudUSGovL4 })
	_, err = gov.Presence(t.Context(), testUser)
	require.NoError(t, err)
	require.Contains(t, tn.forms[0].Get("scope"), "https://graph.microsoft.us/.default")
	_, err = gov.Delegated("x", &memoryStore{}).CreateSubscription(t.Context(), goodRequest())
	require.ErrorContains(t, requireKind(t, err, Refused), "polled")
}

func TestUntrustedCertificate(t *testing.T) {
	tn := newTenant(t)
	c := tn.client()
	require.NoError(t, c.Verify(t.Context()))
	other := tn.client(func(cfg *Config) { cfg.Endpoints.CAFile = "" })
	e := requireKind(t, other.Verify(t.Context()), Refused)
	require.Contains(t, e.Error(), "ca_file")
	require.False(t, e.Retry())
}

func TestBudgetsReachTheGates(t *testing.T) {
	tn := virtual(t)
	c := tn.client(tn.onVirtual, func(c *Config) {
		c.Budgets = Budgets{Reads: Budget{Limit: 100, Window: time.Second}, Writes: Budget{Limit: 7, Window: time.Minute, Max: 9}}
	})
	require.Equal(t, 100, c.gates[classRead].limit)
	require.Equal(t, Budget{Limit: 7, Window: time.Minute, Max: 9}, c.gates[classWrite].budget)
	require.Equal(t, 500, c.gates[classSubscription].limit, "the others keep their defaults")
	require.InDelta(t, .6, c.gates[classRead].lanes[laneNormal].share, 1e-9)
	gov := tn.client(tn.onVirtual, func(c *Config) { c.Cloud = CloudUSGovL5 })
	require.InDelta(t, .25, gov.gates[classRead].lanes[laneSweep].share, 1e-9)
}

func TestFilesAreReadOnUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	secret, certificate := SecretFile(file), CertificateFile(file)
	_, err := secret()
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = certificate()
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, content := range []string{"one\n", "\t two "} {
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		got, err := secret()
		require.NoError(t, err)
		require.Contains(t, []string{"one", "two"}, got)
		raw, err := certificate()
		require.NoError(t, err)
		require.Equal(t, content, string(raw))
	}
}
