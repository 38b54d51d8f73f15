package cases

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/policy"
)

const example = "../../../deploy/policy/"

func TestTheExamplePasses(t *testing.T) {
	src, err := os.ReadFile(example + "cases.yaml")
	require.NoError(t, err)
	table, err := Parse(src)
	require.NoError(t, err)
	require.Equal(t, "policy.yaml", table.Policy)
	src, err = os.ReadFile(example + "policy.yaml")
	require.NoError(t, err)
	p, err := policy.ParseFile(src)
	require.NoError(t, err)
	require.Empty(t, p.Check(policy.Site{}))
	rs := table.Run(p, "policy.yaml")
	require.Greater(t, len(rs), 12)
	for _, r := range rs {
		require.True(t, r.Pass, "%s: %v", r.Name, r.Wrong)
	}
	require.Zero(t, Failed(rs))
	require.Equal(t, "policy.yaml:11 teams_to_pbx[0]", rs[0].PhoneRule)
	require.Equal(t, `"In a call" (call)`, rs[0].Phone)
	require.Empty(t, rs[3].PhoneRule, "nothing decided")
}

const rules = `teams_to_pbx:
  - {when: {activity: InACall}, set: {status: Telephoning, status_kind: busy, message: copy}}
pbx_to_teams:
  - {when: {line: in-call}, set: {presence: Busy/InACall}}
  - {when: {status_kind: out}, set: {presence: Away, method: preferred, for: 8h, message: Gone}}
`

func TestWhatIsExpectedIsCompared(t *testing.T) {
	p, err := policy.Parse([]byte(rules))
	require.NoError(t, err)
	for name, tt := range map[string]struct{ given, expect, wrong string }{
		"status":            {"{teams: Busy/InACall}", "{status: telephoning}", ""},
		"another status":    {"{teams: Busy/InACall}", "{status: Busy}", "status is Telephoning, expected Busy"},
		"nothing wanted":    {"{teams: Busy}", "{status: nothing}", ""},
		"nothing expected":  {"{teams: Busy/InACall}", "{status: Nothing}", "status is Telephoning, expected Nothing"},
		"something instead": {"{teams: Busy}", "{status: Telephoning}", "status is nothing, expected Telephoning"},
		"kind":              {"{teams: Busy/InACall}", "{status_kind: dnd}", "status_kind is busy, expected dnd"},
		"class":             {"{teams: Busy/InACall}", "{phone_class: dnd}", "phone_class is call, expected dnd"},
		"message":           {"{teams: Busy/InACall, teams_message: Hello}", "{phone_message: Hello}", ""},
		"another message":   {"{teams: Busy/InACall, teams_message: Hello}", "{phone_message: Bye}", `phone_message is "Hello", expected "Bye"`},
		"no message":        {"{teams: Busy/InACall}", "{phone_message: ''}", ""},
		"unknown Teams":     {"{out_of_office: false}", "{status: nothing}", ""},
		"presence":          {"{line: in-call}", "{presence: busy/inacall, method: session, teams_class: call}", ""},
		"another presence":  {"{line: in-call}", "{presence: Away}", "presence is Busy/InACall, expected Away/Away"},
		"preferred":         {"{status_kind: out}", "{presence: Away, method: preferred, for: 480m, teams_message: Gone}", ""},
		"another method":    {"{status_kind: out}", "{method: session}", "method is preferred, expected session"},
		"another time":      {"{status_kind: out}", "{for: 1h}", "for is 8h0m0s, expected 1h0m0s"},
		"no presence":       {"{line: idle}", "{presence: nothing, method: nothing}", ""},
		"opted out":         {"{teams: Busy/InACall, line: in-call, opt_out: teams_to_pbx}", "{status: nothing, presence: Busy/InACall}", ""},
	} {
		table, err := Parse([]byte("cases:\n- name: x\n  given: " + tt.given + "\n  expect: " + tt.expect + "\n"))
		require.NoError(t, err, name)
		r := table.Run(p, "p.yaml")[0]
		require.Equal(t, tt.wrong == "", r.Pass, name)
		if tt.wrong != "" {
			require.Equal(t, []string{tt.wrong}, r.Wrong, name)
			require.Equal(t, 1, Failed([]Result{r}))
		}
		_, err = json.Marshal(r)
		require.NoError(t, err)
	}
}

func TestStatusesOfASite(t *testing.T) {
	p, err := policy.Parse([]byte(rules))
	require.NoError(t, err)
	table, err := Parse([]byte(`
statuses: {MAIN: [{name: Besetzt, kind: busy}, {name: Fort, kind: out}]}
cases:
  - {name: by kind, given: {teams: Busy/InACall}, expect: {status: Besetzt}}
  - {name: of another PBX, given: {teams: Busy/InACall, pbx: other}, expect: {status: Telephoning}}
  - {name: the kind of a status that is known, given: {status: fort}, expect: {presence: Away}}
  - {name: of one that is not, given: {status: Urlaub}, expect: {presence: nothing}}
`))
	require.NoError(t, err)
	require.Zero(t, Failed(table.Run(p, "p")))
}

func TestMistakesInATable(t *testing.T) {
	for src, want := range map[string]string{
		"":          "cases: is missing",
		"cases: []": "cases: is missing",
		"cases: [{given: {teams: Busy}, expect: {status: x}}]":                                  `line 1: case "": name: is missing`,
		"\ncases:\n- {name: a, given: {teams: Bsy}, expect: {status: x}}":                       `line 3: case "a": given.teams: Graph has no state "Bsy"`,
		"cases: [{name: a, given: {line: up}, expect: {presence: x}}]":                          `given.line: "up" is none of idle`,
		"cases: [{name: a, given: {status_kind: up}, expect: {presence: x}}]":                   `given.status_kind: "up"`,
		"cases: [{name: a, given: {opt_out: up}, expect: {presence: x}}]":                       `given.opt_out: "up" is none of none`,
		"cases: [{name: a, given: {teams: Busy}}]":                                              "expect: is missing",
		"cases: [{name: a, given: {line: idle, endpoints: [{line: idle}]}, expect: {for: 1h}}]": "given.endpoints: is given beside",
		"cases: [{name: a, expect: {for: long}}]":                                               `expect.for: "long" is no duration`,
		"cases: [{name: a, expects: {status: x}}]":                                              "expect has status",
		"case: []":     "line 1:",
		"cases: !x []": "line 1: the tag !x has no meaning here",
		"cases: {":     "line ",
		"statuses: {main: [{name: x, kind: y}]}\ncases: [{name: a, expect: {status: x}}]": "statuses.main: a status has a name and a kind",
	} {
		_, err := Parse([]byte(src))
		require.ErrorContains(t, err, want, src)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"cases: [{name: a, given: {teams: Busy}, expect: {status: x}}]", "cases: [null]", "cases: &a [*a]", "cases: !0 00", "statuses: {main: [null]}"} {
		f.Add([]byte(s))
	}
	p, err := policy.Parse([]byte(rules))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, src []byte) {
		if table, err := Parse(src); err == nil {
			if rs := table.Run(p, "p"); len(rs) != len(table.Cases) {
				t.Fatal("a case was lost")
			}
		}
	})
}
