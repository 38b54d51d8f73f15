package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

const example = "../../../deploy/example.yaml"

// minimal is the least configuration that is accepted.
const minimal = `accounts:
  - name: contoso
    graph:
      tenant_id: 11111111-2222-3333-4444-555555555555
      client_id: 66666666-7777-8888-9999-aaaaaaaaaaaa
      client_secret_file: secret
    pbx:
      - {name: main, type: micollab, url: "https://pbx.contoso.com", token_file: token}
`

func mustParse(t *testing.T, src string, o Options) *Config {
	t.Helper()
	c, err := Parse("", []byte(src), o)
	require.NoError(t, err)
	return c
}

// problems parses what must be refused, and returns each problem as a line.
func problems(t *testing.T, src string, o Options) []string {
	t.Helper()
	c, err := Parse("config.yaml", []byte(src), o)
	require.Nil(t, c)
	var e *Error
	require.ErrorAs(t, err, &e)
	var lines []string
	for _, p := range e.Problems {
		require.NotEmpty(t, p.Message)
		lines = append(lines, p.String())
	}
	return lines
}

func TestExampleIsAccepted(t *testing.T) {
	src, err := os.ReadFile(example)
	require.NoError(t, err)
	c, err := Parse(filepath.Base(example), src, Options{ParsePolicy: parsePolicy})
	require.NoError(t, err)
	require.Contains(t, string(c.Accounts[0].Policy.YAML), "preset: micollab")
	require.Equal(t, "https://bridge.example.com/graph/contoso/notifications", c.NotificationURL("contoso"))
	require.Equal(t, "https://bridge.example.com/graph/contoso/lifecycle", c.LifecycleURL("contoso"))
	require.Empty(t, c.Warnings)
}

// parsePolicy is the hook as the program sets it.
func parsePolicy(text []byte) error {
	_, err := policy.Parse(text)
	return err
}

func TestDefaults(t *testing.T) {
	c := mustParse(t, minimal, Options{})
	require.Equal(t, ":8443", c.Listen.Webhook)
	require.Equal(t, "127.0.0.1:8080", c.Listen.Admin)
	require.Equal(t, SyncAlways, c.NATS.Sync)
	require.Equal(t, Size(8<<30), c.NATS.MaxStore)
	require.Equal(t, Size(8<<20), c.Webhook.MaxBody)
	require.Equal(t, 2500*time.Millisecond, c.Webhook.Deadline)
	require.Equal(t, 24*time.Hour, c.History)
	a := c.Accounts[0]
	require.Equal(t, "global", a.Graph.Cloud)
	require.Equal(t, 5*time.Minute, a.Lease)
	require.Equal(t, 3*time.Second, a.HoldDown)
	require.Equal(t, 5*time.Second, a.Teams.Settle)
	require.Equal(t, Budgets{Reads: 1500, ConfirmShare: 0.2, Writes: 1200, WritesMost: 10_000, Subscriptions: 500}, a.Budgets)
	require.Equal(t, Sweep{Interval: time.Minute, PolledInterval: 15 * time.Second}, a.Sweep)
	require.Equal(t, PBX{
		Name: "main", Type: "micollab", URL: "https://pbx.contoso.com", TokenFile: "token",
		WritesPerSecond: 20, SnapshotInterval: 5 * time.Minute, Settle: time.Second, Timeout: 10 * time.Second,
	}, a.PBX[0])
	require.Empty(t, a.Policy.YAML)
}

func TestExplicitZeroAndNullAndEmpty(t *testing.T) {
	c := mustParse(t, "history: 0\nnats:\n  min_free: 0\n  max_store:\nlog:\n"+minimal, Options{})
	require.Zero(t, c.History, "0 is a value, not an absent key")
	require.Zero(t, c.NATS.MinFree)
	require.Equal(t, Size(8<<30), c.NATS.MaxStore, "a key without a value is an absent key")
	require.Equal(t, "info", c.Log.Level)
}

func TestEverythingIsToldAtOnce(t *testing.T) {
	got := problems(t, `listn: {webhook: ":1"}
public_url: http://bridge.example.com
history: 5
nats: {max_store: 8, sync: sometimes}
accounts:
  - name: X-files
    graph: {tenant_id: abc, client_secret: hunter2}
    monitors: [{upn: nobody}]
    pbx: [{name: main, type: threecx, url: pbx}]
`, Options{})
	require.Equal(t, []string{
		`line 1: listn: unknown key; did you mean listen?`,
		`line 2: public_url: must begin with https://; Graph sends notifications over HTTPS only; plain HTTP works on loopback addresses, with simulators`,
		`line 3: history: "5" is not a duration; write a number with its unit, for example 90s, 5m, 24h or 7d`,
		`line 4: nats.max_store: "8" is not a size; write a number with its unit, for example 512KiB, 8MiB or 8GiB`,
		`line 4: nats.sync: "sometimes" is neither always nor a duration; write always, or an interval such as 200ms`,
		`line 6: accounts[0].name: "X-files" is not a name; use 1 to 32 of a-z, 0-9 and -`,
		`line 7: accounts[0].graph.client_secret: secrets are not written into the configuration; put it into a file and name that with client_secret_file`,
		`line 7: accounts[0].graph.tenant_id: "abc" is not a GUID; copy it from the overview page of the app registration, in the form 00000000-0000-0000-0000-000000000000`,
		`line 7: accounts[0].graph.client_id: is missing; copy it from the overview page of the app registration`,
		`line 7: accounts[0].graph.client_secret_file: is missing; name the file with the client secret, or give certificate_file`,
		`line 8: accounts[0].monitors[0].upn: "nobody" is not a user principal name; write it in full, for example presence1@contoso.com`,
		`line 9: accounts[0].pbx[0].type: "threecx" is not a type of PBX that this version knows; known types are micollab, 3cx, sip`,
		`line 9: accounts[0].pbx[0].url: "pbx" is not an address; write it in full, for example https://pbx.example.com`,
	}, got)
}

func TestErrorText(t *testing.T) {
	_, err := Parse("/etc/b.yaml", []byte("data_dirr: /x\n"+minimal), Options{})
	require.EqualError(t, err, "/etc/b.yaml: line 1: data_dirr: unknown key; did you mean data_dir?")
	_, err = Parse("", []byte("data_dirr: /x\nhistory: x\n"+minimal), Options{})
	require.ErrorContains(t, err, "configuration: 2 problems:\n  line 1: ")
}

// withKey puts one line into a group of the minimal configuration: "" the top, otherwise account, graph or pbx.
func withKey(group, line string) string {
	switch group {
	case "account":
		return minimal + "    " + line + "\n"
	case "graph":
		return strings.Replace(minimal, "    graph:\n", "    graph:\n      "+line+"\n", 1)
	case "pbx":
		return strings.Replace(minimal, ", token_file: token}", ", token_file: token, "+line+"}", 1)
	}
	return line + "\n" + minimal
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ group, line, want string }{
		{"", "listen: {webhook: 8443}", `listen.webhook: "8443" is not an address to listen on`},
		{"", `listen: {webhook: ":99999"}`, `port "99999" is not a number`},
		{"", `listen: {webhook: "a b:1"}`, `"a b" is neither an address nor a host name`},
		{"", `listen: {webhook: ":80", admin: ":80"}`, "listen.admin: is the same address as listen.webhook"},
		{"", "listen: :8443", "listen: must be a mapping of keys to values; the keys are webhook, admin"},
		{"", "public_url: bridge.example.com", "public_url: \"bridge.example.com\" is not an address"},
		{"", "public_url: https://u:hunter2@bridge.example.com", "holds a user name or password"},
		{"", "public_url: https://bridge.example.com/?a=b", "has a query"},
		{"", "public_url: ftp://bridge.example.com", `scheme "ftp" is not supported`},
		{"", "data_dir: \"\"", "data_dir: is empty"},
		{"", "tls: {certificate_file: a}", "tls.key_file: is missing; it must be given together with tls.certificate_file"},
		{"", "tls: {key_file: a}", "tls.certificate_file: is missing"},
		{"", "nats: {sync: 1ms}", "nats.sync: 1ms is too small; use 10ms to 10m"},
		{"", "nats: {sync: -5s}", "is neither always nor a duration"},
		{"", "nats: {max_store: 1MiB}", "nats.max_store: 1MiB is too small"},
		{"", "nats: {max_store: 9999999PiB}", "is too large"},
		{"", "nats: {min_free: -1GiB}", "is not a size"},
		{"", "nats: {ca_file: a}", "nats.ca_file: is given without nats.url"},
		{"", "nats: {credentials_file: a}", "nats.credentials_file: is given without nats.url"},
		{"", "nats: {url: 'http://nats:4222'}", "nats.url: \"http://nats:4222\" is not the address of a NATS server"},
		{"", "nats: {url: 'nats://user:hunter2@nats:4222'}", "nats.url: holds a user name or password"},
		{"", "nats: {url: 'nats://nats:4222'}", "master_key_file: is missing"},
		{"", "nats: {url: 'nats://nats:4222'}", "admin.token_file: is missing"},
		{"", "master_key: hunter2", "master_key: secrets are not written"},
		{"", "webhook: {max_body: 9MiB}", "more than the embedded bus takes"},
		{"", "webhook: {max_body: 1KiB}", "too small"},
		{"", "webhook: {deadline: 3s}", "3s is too large; use 100ms to 2900ms"},
		{"", "log: {level: trace}", `log.level: "trace" is not supported; use one of debug, info, warn, error`},
		{"", "history: forever", "history: \"forever\" is not a duration"},
		{"", "history: 99999999d", "is not a duration"},
		{"", "history: 31d", "too large"},
		{"", "history: [1h]", "history: must be a single value"},
		{"", "history: *nowhere", "anchor"},
		{"", "client_id: x", "client_id: unknown key here; it belongs at accounts[].graph.client_id"},
		{"", "frobnicate: x", "unknown key; known here are listen, public_url"},
		{"account", "lease: 1m", "accounts[0].lease: 1m is too small; use 5m to 4h"},
		{"account", "lease: 5h", "too large"},
		{"account", "budgets: {reads: many}", `budgets.reads: "many" is not a whole number; use 30 to 10000`},
		{"account", "budgets: {writes: 1}", "too small"},
		{"account", "budgets: {sweep_share: 0.5}", "too large"},
		{"account", "budgets: {confirm_share: 0}", "too small"},
		{"account", "budgets: {subscriptions: 2001}", "too large"},
		{"account", "sweep: {interval: 10s}", "sweep.polled_interval: 15s is longer than sweep.interval, 10s"},
		{"account", "exclude: reception@contoso.com", "accounts[0].exclude: must be a list"},
		{"account", "exclude: [reception]", "accounts[0].exclude[0]: \"reception\" is not a user principal name"},
		{"account", "exclude: [{upn: a}]", "accounts[0].exclude[0].upn: \"a\" is not a user principal name"},
		{"account", "exclude: [{upn: a@b.c, direction: up}]", "accounts[0].exclude[0].direction: \"up\""},
		{"account", "mode: silent", "accounts[0].mode: \"silent\""},
		{"account", "exclude: [[a@b.c]]", "exclude[0]: must be a mapping of keys to values; the keys are upn, direction"},
		{"account", "monitors: [{upn: a@b.c}]", "public_url: is missing"},
		{"account", "monitors: [a@b.c]", "monitors[0]: must be a mapping of keys to values; the keys are upn"},
		{"account", "monitors: [{upn: a@b.c}, {upn: A@B.C}]", "monitors[1].upn: is also at accounts[0].monitors[0].upn"},
		{"account", "monitors: {upn: a@b.c}", "accounts[0].monitors: must be a list; write a list of groups"},
		{"account", "policy: micollab", "accounts[0].policy: must be a mapping"},
		{"graph", "cloud: germany", `cloud: "germany" is not supported; use one of global, usgov-l4, usgov-l5, china`},
		{"graph", "certificate_file: a", "certificate_file: is given beside client_secret_file; keep one of the two"},
		{"graph", "certificate_password_file: a", "is given without certificate_file"},
		{"graph", "certificate_password: hunter2", "put it into a file and name that with certificate_password_file"},
		{"graph", "endpoints: {login: 'http://127.0.0.1:1', graph: 'https://127.0.0.1:2'}", "endpoints.login: must begin with https://"},
		{"graph", "endpoints: {login: 'https://127.0.0.1:1/entra', graph: 'https://127.0.0.1:2/x/'}", "endpoints.login: has the path \"/entra\""},
		{"graph", "endpoints: {login: 'https://127.0.0.1:1/', graph: 'https://127.0.0.1:2/v1.0/'}", "endpoints.graph: ends with /v1.0"},
		{"graph", "endpoints: {login: 'https://127.0.0.1:1'}", "endpoints.graph: is missing"},
		{"graph", "endpoints: {ca_file: a}", "endpoints.ca_file: is given without addresses"},
		{"pbx", "token: hunter2", "pbx[0].token: secrets are not written"},
		{"pbx", "writes_per_second: 0", "writes_per_second: 0 is too small; use 0.1 to 1000"},
		{"pbx", "writes_per_second: NaN", "is not a number"},
		{"pbx", "timeout: 0", "timeout: 0 is too small"},
		{"pbx", "setle: 1s", "did you mean settle?"},
	} {
		t.Run(c.line, func(t *testing.T) {
			text := strings.Join(problems(t, withKey(c.group, c.line), Options{}), "\n")
			require.Contains(t, text, c.want)
			require.NotContains(t, text, "hunter2")
			require.Regexp(t, "^line |is missing", text, "where it stands in the file")
		})
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"contoso": true, "a": true, "3com": true, "a-b": true, strings.Repeat("a", 32): true, "xy": true,
		"": false, "A": false, "x-a": false, "h-a": false, "a_b": false, "a.b": false, strings.Repeat("a", 33): false, "ä": false, "a b": false,
	} {
		require.Equal(t, ok, validName(name), name)
		_, err := Parse("", []byte(strings.Replace(minimal, "name: contoso", "name: '"+name+"'", 1)), Options{})
		require.Equal(t, ok, err == nil, name)
	}
}

func TestAccountsGetOutOfEachOthersWay(t *testing.T) {
	other := strings.TrimPrefix(minimal, "accounts:\n")
	got := problems(t, minimal+other, Options{})
	require.Equal(t, []string{
		"line 9: accounts[1].name: is also the name of accounts[0].name; account names must differ",
		"line 12: accounts[1].graph.client_id: is used with the same tenant at accounts[0].graph.client_id; one application in one tenant serves one account: its budgets and its presence sessions cannot be shared",
		"line 15: accounts[1].pbx[0].url: is the same PBX as accounts[0].pbx[0].url; each PBX belongs to one account, once: two connectors would write over each other",
	}, got)
	second := strings.NewReplacer("contoso", "fabrikam", "aaaaaaaaaaaa", "bbbbbbbbbbbb").Replace(other)
	require.Len(t, mustParse(t, minimal+second, Options{}).Accounts, 2)
}

func TestEqualAddressesOfPBXs(t *testing.T) {
	for _, same := range []string{"https://PBX.contoso.com", "https://pbx.contoso.com:443/", "https://pbx.contoso.com/"} {
		second := `      - {name: b, type: micollab, url: "` + same + `", token_file: t}` + "\n"
		require.Contains(t, strings.Join(problems(t, minimal+second, Options{}), "\n"), "is the same PBX", same)
	}
	for _, other := range []string{"https://pbx.contoso.com:8443", "https://pbx.contoso.com/site", "https://pbx2.contoso.com"} {
		second := `      - {name: b, type: micollab, url: "` + other + `", token_file: t}` + "\n"
		require.Len(t, mustParse(t, minimal+second, Options{}).Accounts[0].PBX, 2)
	}
}

func TestNoSubscriptionsOutsideTheGlobalCloud(t *testing.T) {
	src := withKey("graph", "cloud: usgov-l4") + "    monitors: [{upn: a@b.c}]\n"
	got := strings.Join(problems(t, "public_url: https://b.example.com\n"+src, Options{}), "\n")
	require.Contains(t, got, "accounts[0].monitors: cloud usgov-l4 has no presence subscriptions; remove the monitors")
	require.Empty(t, mustParse(t, withKey("graph", "cloud: usgov-l5"), Options{}).Warnings)
	require.Len(t, mustParse(t, withKey("graph", "cloud: china"), Options{}).Warnings, 1)
}

func TestRolesApart(t *testing.T) {
	keys := "nats: {url: 'tls://nats:4222'}\nmaster_key_file: m\nwebhook_key_file: w\nadmin: {token_file: a}\n"
	require.NotNil(t, mustParse(t, keys+minimal, Options{}))

	// The receiver needs neither the tenant's secrets nor the master key.
	receiver := "nats: {url: 'tls://nats:4222'}\nwebhook_key_file: w\naccounts: [{name: contoso}]\n"
	require.NotNil(t, mustParse(t, receiver, Options{Roles: []Role{RoleWebhook}}))
	require.NotNil(t, mustParse(t, "nats: {url: 'tls://nats:4222'}\nadmin: {token_file: a}\naccounts: [{name: contoso}]\n", Options{Roles: []Role{RoleConsole}}))

	got := strings.Join(problems(t, "accounts: [{name: contoso}]\n", Options{Roles: []Role{RoleWebhook}}), "\n")
	require.Contains(t, got, "nats.url: is missing, but this process has only the roles webhook")
	got = strings.Join(problems(t, "nats: {url: 'tls://nats:4222'}\naccounts: [{name: contoso}]\n", Options{Roles: []Role{RoleWebhook}}), "\n")
	require.Contains(t, got, "webhook_key_file: is missing")
	got = strings.Join(problems(t, "nats: {url: 'tls://nats:4222'}\n"+minimal, Options{Roles: []Role{RoleEngine}}), "\n")
	require.Contains(t, got, "master_key_file: is missing")

	// An engine without the receivers' key works with receivers that have the master key only.
	c := mustParse(t, "nats: {url: 'tls://nats:4222'}\nmaster_key_file: m\n"+minimal, Options{Roles: []Role{RoleEngine}})
	require.Len(t, c.Warnings, 1)
	require.Contains(t, c.Warnings[0].String(), "webhook_key_file: is missing, so clientState is derived from the master key")
	require.Empty(t, mustParse(t, keys+minimal, Options{Roles: []Role{RoleEngine}}).Warnings)
	file, create := c.MasterKey()
	require.Equal(t, "m", file)
	require.False(t, create, "a replica never makes a key")
}

func TestParseRoles(t *testing.T) {
	roles, err := ParseRoles("")
	require.NoError(t, err)
	require.Equal(t, AllRoles(), roles)
	roles, err = ParseRoles("engine, webhook,engine")
	require.NoError(t, err)
	require.Equal(t, []Role{RoleEngine, RoleWebhook}, roles)
	_, err = ParseRoles("engine,worker")
	require.EqualError(t, err, `unknown role "worker"; known are webhook, engine and console, separated by commas`)
}

func TestPathsAreTakenFromTheFilesFolder(t *testing.T) {
	c, err := Parse("/etc/pb/config.yaml", []byte("data_dir: /data\nwebhook_key_file: keys/w\n"+minimal), Options{})
	require.NoError(t, err)
	require.Equal(t, "/data", c.DataDir)
	require.Equal(t, "/etc/pb/keys/w", c.WebhookKeyFile)
	require.Equal(t, "/etc/pb/secret", c.Accounts[0].Graph.ClientSecretFile)
	require.Equal(t, "/etc/pb/token", c.Accounts[0].PBX[0].TokenFile)
	require.Empty(t, c.TLS.KeyFile)
}

func TestFilesOfKeysThatAreMade(t *testing.T) {
	c := mustParse(t, "data_dir: /d\n"+minimal, Options{})
	file, create := c.MasterKey()
	require.Equal(t, "/d/master.key", file)
	require.True(t, create)
	file, create = c.AdminToken()
	require.Equal(t, "/d/admin-token", file)
	require.True(t, create)
	c = mustParse(t, "master_key_file: /k\nadmin: {token_file: /t}\n"+minimal, Options{})
	file, create = c.MasterKey()
	require.Equal(t, "/k", file)
	require.False(t, create)
	file, create = c.AdminToken()
	require.Equal(t, "/t", file)
	require.False(t, create)
}

func TestAdminURL(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080", ":9000": "http://127.0.0.1:9000", "0.0.0.0:1": "http://127.0.0.1:1",
		"[::]:1": "http://127.0.0.1:1", "[::1]:80": "http://[::1]:80", "bridge:8080": "http://bridge:8080",
	} {
		require.Equal(t, want, (&Config{Listen: Listen{Admin: listen}}).AdminURL())
	}
}

func TestWarnings(t *testing.T) {
	c := mustParse(t, "listen: {admin: \":8080\"}\n"+strings.Replace(minimal, "https://pbx", "http://pbx", 1), Options{})
	require.Len(t, c.Warnings, 2)
	require.Contains(t, c.Warnings[0].String(), "line 1: listen.admin: the admin listener is reachable from other machines")
	require.Contains(t, c.Warnings[1].String(), "accounts[0].pbx[0].url: the token and people's presence cross the network in the clear")
}

func TestLoopbackNeedsNoHTTPS(t *testing.T) {
	for _, u := range []string{"http://127.0.0.1:8443", "http://localhost:1", "http://[::1]:1", "https://b.example.com/x/"} {
		c := mustParse(t, "public_url: "+u+"\n"+minimal, Options{})
		require.Equal(t, strings.TrimRight(u, "/"), c.PublicURL)
	}
}

func TestUserPrincipalNames(t *testing.T) {
	for upn, ok := range map[string]bool{
		"o'brien@contoso.com": true, "a.b_c-d!#^~@contoso.com": true, "guest_fabrikam.com#EXT#@contoso.onmicrosoft.com": true, "a@b.c": true, "ä@contoso.com": true,
		"": false, "@contoso.com": false, "a@": false, "a@b@c.d": false, "a b@c.d": false, "a@b": false, "a@b.c,d@e.f": false, "<a@b.c>": false,
	} {
		_, err := Parse("", []byte(minimal+"    exclude: [\""+upn+"\"]\n"), Options{})
		require.Equal(t, ok, err == nil, upn)
	}
}

func TestAccountHelpers(t *testing.T) {
	c := mustParse(t, "public_url: https://b.example.com\n"+minimal+"    exclude: [Reception@contoso.com]\n    monitors: [{upn: p1@contoso.com}]\n", Options{})
	a, ok := c.Account("contoso")
	require.True(t, ok)
	require.True(t, a.Excluded("reception@CONTOSO.com"))
	require.False(t, a.Excluded("other@contoso.com"))
	require.Equal(t, []string{"p1@contoso.com"}, a.MonitorUPNs())
	_, ok = c.Account("fabrikam")
	require.False(t, ok)
}

func TestExclusionsByDirection(t *testing.T) {
	c := mustParse(t, minimal+"    mode: observe\n    exclude: [a@b.c, {upn: d@b.c, direction: teams_to_pbx}, {upn: D@b.c, direction: pbx_to_teams}, {upn: e@b.c, direction: pbx_to_teams}, {upn: f@b.c}]\n", Options{})
	a := c.Accounts[0]
	require.True(t, a.Observing())
	for upn, want := range map[string]presence.Directions{
		"A@b.c": presence.BothDirections, "d@b.c": presence.BothDirections, "e@b.c": presence.PBXToTeams, "f@b.c": presence.BothDirections, "g@b.c": 0,
	} {
		require.Equal(t, want, a.OptOut(upn), upn)
		require.Equal(t, want == presence.BothDirections, a.Excluded(upn), upn)
	}
	require.Equal(t, presence.PBXToTeams, a.OptOut("other@b.c", "e@b.c"), "by any of a person's names")
	require.Equal(t, []string{"a@b.c", "d@b.c", "D@b.c", "f@b.c"}, a.ExcludedUPNs())
	require.False(t, mustParse(t, minimal, Options{}).Accounts[0].Observing(), "an account writes unless it is told not to")
}

func TestLoadReadsAFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NotErrorAs(t, err, new(*Error), "the content is not to blame")
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(minimal), 0o600))
	c, err := Load(file, Options{})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(filepath.Dir(file), "secret"), c.Accounts[0].Graph.ClientSecretFile)
}
