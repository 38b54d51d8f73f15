package config

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

func TestNotYAML(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"tab", "listen:\n\tadmin: x\n", "line 2: is not YAML"},
		{"unclosed", "history: [\nsecret: hunter2\n", "is not YAML"},
		{"twice", "history: 1h\nhistory: 2h\n" + minimal, "line 2: is not YAML: mapping key \"history\" already defined"},
		{"two documents", minimal + "---\n" + minimal, "holds more than one document"},
		{"list", "- a\n- b\n", "must be a mapping of keys to values"},
		{"text", "hello\n", "must be a mapping"},
		{"empty", "", "accounts: is missing"},
		{"comment", "# nothing\n", "accounts: is missing"},
		{"null", "accounts:\n", "accounts: is missing"},
		{"empty list", "accounts: []\n", "accounts: is missing"},
		{"null account", "accounts:\n  -\n", "accounts[0].name: is missing"},
		{"binary", "\x00\x01\xff", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Join(problems(t, c.src, Options{}), "\n")
			require.Contains(t, text, c.want)
			require.NotContains(t, text, "hunter2")
		})
	}
}

func TestFilesFromOtherSystems(t *testing.T) {
	mustParse(t, strings.ReplaceAll(minimal, "\n", "\r\n"), Options{})
	mustParse(t, "\ufeff"+minimal, Options{})
	mustParse(t, "%YAML 1.2\n---\n"+minimal+"...\n", Options{})
}

func TestAnchorsAndMerges(t *testing.T) {
	c := mustParse(t, `
accounts:
  - &first
    name: contoso
    graph:
      &app
      tenant_id: 11111111-2222-3333-4444-555555555555
      client_id: 66666666-7777-8888-9999-aaaaaaaaaaaa
      client_secret_file: !!str secret
    lease: &lease 10m
    pbx:
      - &pbx {name: main, type: micollab, url: "https://pbx.contoso.com", token_file: token, settle: 2s}
    policy: &policy
      preset: 3cx
  - name: fabrikam
    graph: {<<: *app, client_id: 66666666-7777-8888-9999-bbbbbbbbbbbb}
    lease: *lease
    pbx:
      - <<: *pbx
        url: https://pbx.fabrikam.com
    policy: *policy
`, Options{})
	a, b := c.Accounts[0], c.Accounts[1]
	require.Equal(t, a.Graph.TenantID, b.Graph.TenantID)
	require.Equal(t, "66666666-7777-8888-9999-bbbbbbbbbbbb", b.Graph.ClientID, "what stands here wins over what is merged in")
	require.Equal(t, "secret", b.Graph.ClientSecretFile)
	require.Equal(t, a.Lease, b.Lease)
	require.Equal(t, a.PBX[0].Settle, b.PBX[0].Settle)
	require.Equal(t, "https://pbx.fabrikam.com", b.PBX[0].URL)
	require.Equal(t, string(a.Policy.YAML), string(b.Policy.YAML))
}

func TestAnchorsThatEatThemselves(t *testing.T) {
	for _, src := range []string{
		"accounts: &a\n  - *a\n",
		"accounts: &a [*a, *a]\n",
		"listen: &l {<<: *l}\n",
		"listen: &l {<<: [*l, *l, *l]}\n" + minimal,
		"history: &h *h\n",
		"listen: &l {<<: [" + strings.Repeat("*l,", 100) + "*l]}\n" + minimal,
	} {
		_, err := Parse("", []byte(src), Options{})
		if err != nil {
			var e *Error
			require.ErrorAs(t, err, &e)
		}
	}
}

func TestPolicyKeepsItsTextAndLines(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"block":                   {"    policy:\n      preset: micollab  # why\n\n      # and\n      teams_to_pbx:\n        - when: {activity: [InACall]}\n          set: {status: \"In a call\"}\n    lease: 6m\n", "preset: micollab  # why\n\n"},
		"flow":                    {"    policy: {preset: micollab}   # why\n", "{preset: micollab}"},
		"flow over lines":         {"    policy: {preset: micollab,\n       pbx_to_teams: [{when: {line: [in-call]}, set: {presence: Busy/InACall}}]\n    }\n", "presence: Busy/InACall"},
		"last line without break": {"    policy:\n      preset: sip", "preset: sip"},
		"text with braces":        {"    policy: {preset: micollab, note: \"a } b\"} # }\n", `"a } b"`},
		"windows":                 {"    policy:\r\n      preset: micollab\r\n      x: [1]\r\n", "preset: micollab"},
		"long text":               {"    policy:\n      note: |\n        one\n        two\n      preset: micollab\n", "two"},
	} {
		t.Run(name, func(t *testing.T) {
			src := minimal + c.text
			yamlText := mustParse(t, src, Options{}).Accounts[0].Policy.YAML
			require.Contains(t, string(yamlText), c.want)
			var whole struct {
				Accounts []struct{ Policy any }
			}
			require.NoError(t, yaml.Unmarshal([]byte(src), &whole))
			var got any
			require.NoError(t, yaml.Unmarshal(yamlText, &got))
			require.Equal(t, whole.Accounts[0].Policy, got)
			line := func(text, word string) int {
				before, _, ok := strings.Cut(text, word)
				require.True(t, ok, word)
				return strings.Count(before, "\n")
			}
			for _, word := range []string{"preset", "pbx_to_teams", "set: {status"} {
				if strings.Contains(src, word) {
					require.Equal(t, line(src, word), line(string(yamlText), word), word)
				}
			}
		})
	}
}

func TestPolicyProblemsAreTheConfigurations(t *testing.T) {
	refuse := func([]byte) error { return errors.New("line 10: unknown preset") }
	got := problems(t, minimal+"    policy: {preset: none}\n", Options{ParsePolicy: refuse})
	require.Equal(t, []string{"line 9: accounts[0].policy: line 10: unknown preset"}, got)
	// Without a policy there is nothing to parse.
	mustParse(t, minimal, Options{ParsePolicy: refuse})
}

// The lines that the policy's parser names are lines of the file.
func TestPolicyProblemsNameTheFilesLines(t *testing.T) {
	got := problems(t, minimal+"    policy:\n      preset: micollab\n\n      teams_to_pbx:\n        - when: {activity: [InACal]}\n          set: {status: x}\n", Options{ParsePolicy: parsePolicy})
	require.Len(t, got, 1)
	require.Contains(t, got[0], "InACal")
	require.Contains(t, got[0], "line 13: accounts[0].policy.teams_to_pbx[0].when.activity:", got[0])

	got = problems(t, minimal+"    policy:\n      teams_to_pbx:\n        - {set: {}}\n        - {when: {line: idle}, set: {status: x}}\n", Options{ParsePolicy: parsePolicy})
	require.Len(t, got, 2, "each by itself")
	require.Contains(t, got[0], "line 11: accounts[0].policy.teams_to_pbx[0].set:")
	require.Contains(t, got[1], "line 12: accounts[0].policy.teams_to_pbx[1].when.line:")
}

// What is allowed and hardly meant is a remark, with the line.
func TestPolicyRemarks(t *testing.T) {
	c := mustParse(t, minimal+"    policy:\n      teams_to_pbx:\n        - {when: {activity: InACall}, set: {status: x}}\n        - {when: {availability: Busy, activity: InACall, pbx: main}, set: {status: y}}\n        - {when: {pbx: branch}, set: {status: z}}\n", Options{ParsePolicy: parsePolicy})
	var got []string
	for _, w := range c.Warnings {
		got = append(got, w.String())
	}
	require.Equal(t, []string{
		"line 12: accounts[0].policy.teams_to_pbx[1]: it can never decide: teams_to_pbx[0] (line 11) takes everything that it matches; move it up, narrow what stands before it, or remove it",
		`line 13: accounts[0].policy.teams_to_pbx[2]: it is for the PBX "branch", which is not configured; use one of: main`,
	}, got)
	require.Empty(t, mustParse(t, minimal+"    policy: {preset: micollab}\n", Options{ParsePolicy: parsePolicy}).Warnings)
	c = mustParse(t, minimal+"    policy:\n      teams_to_pbx:\n        - {when: {activity: InACall}, set: {status: Talking}}\n", Options{
		ParsePolicy: parsePolicy, Catalogue: func(string) []presence.Status { return []presence.Status{{Name: "Away", Kind: presence.KindAway}} },
	})
	require.Len(t, c.Warnings, 1)
	require.Contains(t, c.Warnings[0].String(), `line 11: accounts[0].policy.teams_to_pbx[0]: the PBX main has no status "Talking", so nothing is set there; use one of: "Away"`)
}

func TestPolicyThatRefersOutside(t *testing.T) {
	src := strings.Replace(minimal, "  - name: contoso\n", "  - name: &n contoso\n", 1) + "    policy: {preset: *n}\n"
	require.Contains(t, strings.Join(problems(t, src, Options{}), "\n"), "accounts[0].policy: cannot be read on its own; anchors must be defined inside it")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	example, err := os.ReadFile(example)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("accounts: &a\n  - *a\n"))
	f.Add([]byte("listen: &l {<<: [*l, *l]}\n? x\n: !!binary y\n"))
	f.Add([]byte("accounts: [{policy: {a: |\n  x\n}}]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := Parse("config.yaml", src, Options{Env: []string{"PRESENCE_BRIDGE_HISTORY=1h"}, ParsePolicy: func(text []byte) error {
			var v any
			return yaml.Unmarshal(text, &v)
		}})
		if err == nil {
			if len(c.Accounts) == 0 || c.Webhook.Deadline <= 0 {
				t.Fatal("accepted without what is needed")
			}
			return
		}
		var e *Error
		if !errors.As(err, &e) || len(e.Problems) == 0 || c != nil {
			t.Fatalf("refused without a problem: %v", err)
		}
	})
}
