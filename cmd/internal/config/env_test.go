package config

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEnvironmentOverrides(t *testing.T) {
	c := mustParse(t, "public_url: https://b.example.com\n"+minimal, Options{Env: []string{
		"HOME=/root",
		"PRESENCE_BRIDGE_LISTEN_WEBHOOK=:1",
		"PRESENCE_BRIDGE_HISTORY=0",
		"PRESENCE_BRIDGE_NATS_MAX_STORE=1GiB",
		"PRESENCE_BRIDGE_NATS_SYNC=1s",
		"PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_GRAPH_CLIENT_ID=99999999-7777-8888-9999-aaaaaaaaaaaa",
		"PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_PBX_MAIN_URL=https://other.example.com",
		"PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_PBX_MAIN_WRITES_PER_SECOND=2.5",
		"PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_BUDGETS_READS=100",
		"PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_EXCLUDE= a@b.c, d@e.f,",
		"PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_MONITORS=p1@b.c,p2@b.c",
	}})
	require.Equal(t, ":1", c.Listen.Webhook)
	require.Zero(t, c.History)
	require.Equal(t, Size(1<<30), c.NATS.MaxStore)
	require.Equal(t, Sync(time.Second), c.NATS.Sync)
	a := c.Accounts[0]
	require.Equal(t, "99999999-7777-8888-9999-aaaaaaaaaaaa", a.Graph.ClientID)
	require.Equal(t, "https://other.example.com", a.PBX[0].URL)
	require.InDelta(t, 2.5, a.PBX[0].WritesPerSecond, 0)
	require.Equal(t, 100, a.Budgets.Reads)
	require.Equal(t, []string{"a@b.c", "d@e.f"}, a.ExcludedUPNs())
	require.Equal(t, []string{"p1@b.c", "p2@b.c"}, a.MonitorUPNs())
}

func TestEnvironmentOverridesWhatTheFileGotWrong(t *testing.T) {
	c := mustParse(t, "history: x\n"+withKey("account", "exclude: 5"), Options{Env: []string{
		"PRESENCE_BRIDGE_HISTORY=1h", "PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_EXCLUDE=a@b.c",
	}})
	require.Equal(t, time.Hour, c.History)
	require.Equal(t, []string{"a@b.c"}, c.Accounts[0].ExcludedUPNs())
}

func TestEnvironmentProblems(t *testing.T) {
	got := problems(t, minimal, Options{Env: []string{
		"PRESENCE_BRIDGE_HISTORY=soon",
		"PRESENCE_BRIDGE_LISTEN_WEBHOK=:1",
		"PRESENCE_BRIDGE_ACCOUNTS_FABRIKAM_GRAPH_CLIENT_ID=x",
		"PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_GRAPH_CLIENT_SECRET=hunter2",
		"PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_NAME=other",
		"PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_GRAPH_TENANT_ID=nope",
		"PRESENCE_BRIDGE_", "PRESENCE_BRIDGE_FOO=1",
	}})
	text := strings.Join(got, "\n")
	require.Contains(t, text, `history: (set by PRESENCE_BRIDGE_HISTORY) "soon" is not a duration`)
	require.Contains(t, text, "PRESENCE_BRIDGE_LISTEN_WEBHOK: environment variable names no key of the configuration; did you mean PRESENCE_BRIDGE_LISTEN_WEBHOOK?")
	require.Contains(t, text, "PRESENCE_BRIDGE_ACCOUNTS_FABRIKAM_GRAPH_CLIENT_ID: environment variable names no key")
	require.Contains(t, text, "put it into a file and name that with PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_GRAPH_CLIENT_SECRET_FILE")
	require.Contains(t, text, "PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_NAME: environment variable names no key")
	require.Contains(t, text, `accounts[0].graph.tenant_id: (set by PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_GRAPH_TENANT_ID) "nope" is not a GUID`)
	require.NotContains(t, text, "hunter2")
	require.Contains(t, text, "PRESENCE_BRIDGE_FOO: environment variable names no key of the configuration; unset it")
	require.Len(t, got, 8)
}

func TestEnvironmentThatTheCallerKnows(t *testing.T) {
	mustParse(t, minimal, Options{Env: []string{"PRESENCE_BRIDGE_CONFIG=/x"}, IgnoreEnv: []string{"PRESENCE_BRIDGE_CONFIG"}})
}

func TestEnvironmentOfKubernetes(t *testing.T) {
	mustParse(t, minimal, Options{Env: []string{
		"PRESENCE_BRIDGE_SERVICE_HOST=10.0.0.1", "PRESENCE_BRIDGE_SERVICE_PORT=8443", "PRESENCE_BRIDGE_SERVICE_PORT_HTTPS=8443",
		"PRESENCE_BRIDGE_PORT=tcp://10.0.0.1:8443", "PRESENCE_BRIDGE_PORT_8443_TCP=tcp://10.0.0.1:8443",
		"PRESENCE_BRIDGE_PORT_8443_TCP_PROTO=tcp", "PRESENCE_BRIDGE_PORT_8443_TCP_PORT=8443", "PRESENCE_BRIDGE_PORT_8443_TCP_ADDR=10.0.0.1",
		"PRESENCE_BRIDGE_ADMIN_SERVICE_HOST=10.0.0.2", "PRESENCE_BRIDGE_ADMIN_PORT_8080_TCP=tcp://10.0.0.2:8080",
	}})
	for _, k := range Keys() {
		require.False(t, serviceLink.MatchString(k.Env), k.Env)
	}
	require.Len(t, problems(t, minimal, Options{Env: []string{"PRESENCE_BRIDGE_LISTEN_PORTS=1"}}), 1)
}

// "a" with a PBX named "graph-x" and "a-pbx"... : two keys may have one name; then neither is guessed.
func TestEnvironmentNameOfTwoKeys(t *testing.T) {
	first := strings.Replace(minimal, "name: contoso", "name: a", 1)
	first = strings.Replace(first, "name: main", "name: b-pbx-c", 1)
	second := strings.TrimPrefix(minimal, "accounts:\n")
	second = strings.NewReplacer("name: contoso", "name: a-pbx-b", "name: main", "name: c", "pbx.contoso.com", "pbx2.contoso.com", "aaaaaaaaaaaa", "bbbbbbbbbbbb").Replace(second)
	got := problems(t, first+second, Options{Env: []string{"PRESENCE_BRIDGE_ACCOUNTS_A_PBX_B_PBX_C_URL=https://x.y"}})
	require.Equal(t, []string{"PRESENCE_BRIDGE_ACCOUNTS_A_PBX_B_PBX_C_URL: could mean accounts[0].pbx[0].url or accounts[1].pbx[0].url; set that key in the file, or rename one of the entries"}, got)
}

// Every variable that Describe prints does override the key it is printed with.
func TestEveryVariableThatIsDescribedWorks(t *testing.T) {
	values := map[string]string{
		"duration": "10m", "size": "64MiB", "always, or a duration": "1s", "whole number": "1000", "number": "3", "text": "https://127.0.0.1:7",
		"file name": "/f", "folder name": "/d", "list of text": "a@b.c", "list of groups": "a@b.c", "list of text or of groups": "a@b.c",
	}
	for _, k := range Keys() {
		if k.Env == "" {
			continue
		}
		value, ok := values[k.Type]
		if !ok {
			value = k.OneOf[0]
		}
		name := strings.NewReplacer("ACCOUNTS_<NAME>", "ACCOUNTS_CONTOSO", "PBX_<NAME>", "PBX_MAIN").Replace(k.Env)
		_, err := Parse("", []byte("public_url: https://b.example.com\n"+minimal), Options{Env: []string{name + "=" + value}})
		if err != nil { // it may not fit the rest; but it was known, and it was this key that was set
			require.NotContains(t, err.Error(), "names no key", k.Path)
			require.NotContains(t, err.Error(), "could mean", k.Path)
		}
	}
}
