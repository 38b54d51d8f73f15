package setup

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/cmd/internal/config"
	"presencebridge/graph"
	"presencebridge/graph/graphsim"
)

var update = flag.Bool("update", false, "write the golden files anew")

func example(change ...func(*config.Config)) (*config.Config, *config.Account) {
	cfg := &config.Config{PublicURL: "https://bridge.example.com", Accounts: []config.Account{{
		Name: "contoso",
		Graph: config.Graph{TenantID: "fec73c09-5f32-43fd-b767-9181f871fbcf", ClientID: "22553876-f5ab-4529-bffb-cfe50aa89f87",
			ClientSecretFile: "/etc/presence-bridge/contoso-secret", Cloud: "global"},
		Monitors: []config.Monitor{{UPN: "presence1@contoso.com"}, {UPN: "o'hara@contoso.com"}},
	}}}
	for _, f := range change {
		f(cfg)
	}
	return cfg, &cfg.Accounts[0]
}

func government(cfg *config.Config) {
	a := &cfg.Accounts[0]
	a.Graph.Cloud, a.Monitors, a.Graph.ClientSecretFile, a.Graph.CertificateFile = "usgov-l5", nil, "", "/etc/presence-bridge/it's.pem"
}

func several(cfg *config.Config) {
	cfg.Accounts[0].Graph.Applications = []config.Application{
		{ClientID: "33333333-3333-4333-8333-333333333333", ClientSecretFile: "/etc/presence-bridge/contoso-second"},
		{ClientID: "44444444-4444-4444-8444-444444444444", CertificateFile: "/etc/presence-bridge/third.pem"},
	}
}

func printed(t *testing.T, format Format, change ...func(*config.Config)) string {
	t.Helper()
	cfg, account := example(change...)
	var b strings.Builder
	require.NoError(t, Azure(&b, cfg, account, format))
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, change := range map[string][]func(*config.Config){"global": nil, "government": {government}, "several": {several}} {
		for _, format := range Formats() {
			t.Run(name+" "+string(format), func(t *testing.T) {
				got := printed(t, format, change...)
				file := filepath.Join("testdata", name+"."+string(format))
				if *update {
					require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
				}
				want, err := os.ReadFile(file)
				require.NoError(t, err)
				require.Equal(t, string(want), got, "go test ./cmd/internal/setup -update writes it anew")
				require.NotContains(t, got, "<no value>")
				for line := range strings.SplitSeq(got, "\n") {
					require.Equal(t, strings.TrimRight(line, " "), line, "space at the end")
				}
				for _, p := range ApplicationPermissions(false) {
					require.Contains(t, got, p.ID)
				}
			})
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	cfg, account := example()
	require.ErrorContains(t, Azure(&strings.Builder{}, cfg, account, "terraform"), "cli, powershell or list")
	account.Graph.Cloud = "moon"
	require.Error(t, Azure(&strings.Builder{}, cfg, account, FormatCLI))
}

// bash runs a script; a machine without bash skips the test, unless CI says that it must run.
func bash(t *testing.T, dir, script string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("bash")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("there is no bash")
	}
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "script.sh")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o600))
	cmd := exec.CommandContext(t.Context(), path, append(args, file)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func TestScriptIsShell(t *testing.T) {
	bash(t, t.TempDir(), printed(t, FormatCLI), "-n")
	bash(t, t.TempDir(), printed(t, FormatCLI, government), "-n")
	bash(t, t.TempDir(), printed(t, FormatCLI, several), "-n")
}

// az stands in for the Azure CLI: it notes what it is called with, and answers as if nothing existed.
const az = `#!/usr/bin/env bash
printf '%s' "az" >>calls
for arg in "$@"; do printf ' [%s]' "$arg" >>calls; done
printf '\n' >>calls
for arg in "$@"; do
  if [[ $arg == @*.json ]]; then cat "${arg#@}" >>calls; fi
done
case "$1 $2 $3" in
"ad app list") ;;
"ad app create") if [[ "$*" == *contoso\ 2* ]]; then echo second-app; else echo new-app; fi ;;
"ad app credential") echo fresh-secret ;;
"ad app show")
  if [[ "$*" == *redirectUris* ]]; then echo https://old.example.com/cb; else [[ -e "made-$5" || $5 == 4444* ]]; fi ;;
"ad app update") touch "made-$5" ;;
"ad sp show")
  if [[ "$*" == *"--query id"* ]]; then echo "sp-of-$5"; else exit 3; fi ;;
"ad user show") exit 3 ;;
esac
`

// TestScriptRuns runs the script, with a stand-in for the Azure CLI, the way an administrator would: for a tenant in which
// nothing is there yet.
func TestScriptRuns(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "az"), []byte(az), 0o700))
	out := bash(t, dir, printed(t, FormatCLI))
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	require.NoError(t, err)
	text := string(calls)
	for _, want := range []string{
		"[--display-name] [presence-bridge contoso] [--sign-in-audience] [AzureADMyOrg]",
		"[--web-redirect-uris] [https://bridge.example.com/authorize/callback] [https://old.example.com/cb]",
		`{"principalId": "sp-of-new-app", "resourceId": "sp-of-00000003-0000-0000-c000-000000000000", "appRoleId": "83cded22-8297-4ff6-a7fa-e97e9545a259"}`,
		`"scope": "Presence.Read.All offline_access openid profile"`,
		`"userPrincipalName": "o'hara@contoso.com"`,
		"[--is-fallback-public-client] [true]",
	} {
		require.Contains(t, text, want)
	}
	secret, err := os.ReadFile(filepath.Join(dir, "contoso-client-secret"))
	require.NoError(t, err)
	require.Equal(t, "fresh-secret\n", string(secret))
	passwords := filepath.Join(dir, "contoso-monitors")
	for _, file := range []string{passwords, filepath.Join(dir, "contoso-client-secret")} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode().Perm(), "only its owner may read it")
	}
	require.Contains(t, out, "client_id: new-app")
	require.NotContains(t, out, "fresh-secret")
	made, err := os.ReadFile(passwords)
	require.NoError(t, err)
	for line := range strings.Lines(string(made)) {
		_, password, found := strings.Cut(strings.TrimSpace(line), " ")
		require.True(t, found)
		require.Regexp(t, `^[A-Za-z0-9]{20,}aA1-$`, password)
		require.NotContains(t, out, password)
		require.NotContains(t, strings.ReplaceAll(text, `"password": "`+password, ""), password, "not on a command line")
	}
}

// TestScriptRunsForEachApplication runs it where the third one exists already.
func TestScriptRunsForEachApplication(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "az"), []byte(az), 0o700))
	out := bash(t, dir, printed(t, FormatCLI, several))
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	require.NoError(t, err)
	text := string(calls)
	grant := func(app, role string) string {
		return `{"principalId": "sp-of-` + app + `", "resourceId": "sp-of-00000003-0000-0000-c000-000000000000", "appRoleId": "` + role + `"}`
	}
	require.Contains(t, text, grant("new-app", ApplicationPermissions(false)[0].ID))
	for _, app := range []string{"second-app", "44444444-4444-4444-8444-444444444444"} {
		require.NotContains(t, text, grant(app, ApplicationPermissions(false)[0].ID), "only the first sets presence")
		for _, p := range FurtherPermissions() {
			require.Contains(t, text, grant(app, p.ID))
		}
		require.Contains(t, text, "[ad] [app] [update] [--id] ["+app+"] [--web-redirect-uris] [https://bridge.example.com/authorize/callback]")
		require.Contains(t, text, `{"clientId": "sp-of-`+app+`", "consentType": "AllPrincipals"`)
	}
	for _, want := range []string{"[presence-bridge contoso]", "[presence-bridge contoso 2]"} {
		require.Contains(t, text, "[--display-name] "+want+" [--sign-in-audience]")
	}
	require.NotContains(t, text, "[presence-bridge contoso 3]", "it exists")
	for _, file := range []string{"contoso-client-secret", "contoso-2-client-secret"} {
		require.FileExists(t, filepath.Join(dir, file))
	}
	require.NoFileExists(t, filepath.Join(dir, "contoso-3-client-secret"))
	for _, want := range []string{
		"  client_id: new-app\n", "  applications[0].client_id: second-app\n", "  applications[1].client_id: 44444444-",
		"  move contoso-2-client-secret to /etc/presence-bridge/contoso-second\n", "contoso-3-certificate.pem",
	} {
		require.Contains(t, out, want)
	}
}

func TestPowerShellIsPlausible(t *testing.T) {
	for _, change := range [][]func(*config.Config){nil, {government}, {several}} {
		text := printed(t, FormatPowerShell, change...)
		var open []rune
		for line := range strings.SplitSeq(text, "\n") {
			code := regexp.MustCompile(`'[^']*'|"[^"]*"`).ReplaceAllString(line, "")
			code, _, _ = strings.Cut(code, "#")
			for _, r := range code {
				switch r {
				case '(', '{', '[':
					open = append(open, r)
				case ')', '}', ']':
					require.NotEmpty(t, open, line)
					require.Equal(t, map[rune]rune{')': '(', '}': '{', ']': '['}[r], open[len(open)-1], line)
					open = open[:len(open)-1]
				}
			}
		}
		require.Empty(t, open)
	}
	require.Contains(t, printed(t, FormatPowerShell), "New-Monitor 'o''hara@contoso.com' 'o-hara'")
	require.Contains(t, printed(t, FormatPowerShell, government), "-Environment USGovDoD")
}

func TestQuotes(t *testing.T) {
	require.Equal(t, `'a'\''b$(x)'`, shQuote(`a'b$(x)`))
	require.Equal(t, "'a''b\u2019\u2019c'", psQuote("a'b\u2019c"))
	m, err := newMonitor("ü@contoso.com")
	require.NoError(t, err)
	require.Equal(t, "presence-monitor", m.Nickname)
}

func TestNothingOfASecretFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("very~secret"), 0o600))
	for _, format := range Formats() {
		require.NotContains(t, printed(t, format, func(c *config.Config) { c.Accounts[0].Graph.ClientSecretFile = file }), "very~secret")
	}
}

// TestDelegatedPermissionsAreWhatIsAskedFor holds the list against what a sign-in asks for.
func TestDelegatedPermissionsAreWhatIsAskedFor(t *testing.T) {
	sim, err := graphsim.Start(graphsim.Config{Monitors: []string{"presence1"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, sim.CAPEM(), 0o600))
	client, err := graph.New(graph.Config{
		Account: "contoso", TenantID: sim.TenantID, ClientID: sim.ClientID, ClientSecret: func() (string, error) { return sim.ClientSecret, nil },
		Endpoints: graph.Endpoints{Login: sim.LoginURL(), Graph: sim.GraphURL(), CAFile: ca},
	})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	_, err = client.StartDeviceCode(t.Context())
	require.NoError(t, err)
	codes := sim.DeviceCodes()
	require.Len(t, codes, 1)
	var asked, listed []string
	for _, scope := range codes[0].Scopes {
		asked = append(asked, scope[strings.LastIndexByte(scope, '/')+1:])
	}
	for _, p := range DelegatedPermissions() {
		listed = append(listed, p.Name)
	}
	require.ElementsMatch(t, asked, listed)
}

func TestGroupsOfThePolicyNeedAPermission(t *testing.T) {
	for _, format := range Formats() {
		require.NotContains(t, printed(t, format), "GroupMember.Read.All")
		text := printed(t, format, func(cfg *config.Config) {
			cfg.Accounts[0].Policy.YAML = []byte("{preset: micollab, groups: [{group: Works council, opt_out: both}]}")
		})
		require.Contains(t, text, "GroupMember.Read.All")
		require.Contains(t, text, "98830695-27a2-44f7-8c18-0c3ebc9698f6")
	}
}
