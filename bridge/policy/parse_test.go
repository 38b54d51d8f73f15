package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

// The example of the design is what the preset says.
const micollabYAML = `preset: micollab
teams_to_pbx:
  - when: {activity: [InACall, InAConferenceCall, Presenting]}
    set: {status: "In a call"}
  - when: {availability: DoNotDisturb}
    set: {status: "Do not disturb"}
pbx_to_teams:
  - when: {line: [in-call, on-hold]}
    set: {presence: Busy/InACall}
  - when: {status_kind: dnd}
    set: {presence: DoNotDisturb/Presenting}
`

func TestTheExampleOfTheDesignIsThePreset(t *testing.T) {
	written, err := Parse([]byte(micollabYAML))
	require.NoError(t, err)
	preset, err := Parse([]byte("preset: micollab"))
	require.NoError(t, err)
	c := siteCatalogues()["micollab"]
	for _, s := range shownPairs {
		p := TeamsState{Pair: presence.ParsePairString(s)}
		assert.Equal(t, preset.ForPBX("main", c, p), written.ForPBX("main", c, p), s)
	}
	for _, l := range allLines {
		for _, k := range allKinds {
			eps := []Endpoint{{Line: l, Status: presence.Status{Kind: k}}}
			assert.Equal(t, preset.ForTeams(eps), written.ForTeams(eps), "%s %s", l, k)
		}
	}
	assert.Equal(t, []int{3, 5}, []int{written.TeamsToPBX[0].Line, written.TeamsToPBX[1].Line}, "rules know their lines")
}

func TestParseTakesOverWhatIsNotSaid(t *testing.T) {
	for name, src := range map[string]string{
		"nothing said":      "preset: sip",
		"an empty key":      "preset: sip\nteams_to_pbx:\n",
		"in another order":  "pbx_to_teams:\npreset: sip\n",
		"keys in quotes":    "\"preset\": \"sip\"",
		"empty lines first": "\n\n\n\n  preset: sip\n",
	} {
		p, err := Parse([]byte(src))
		require.NoError(t, err, name)
		assert.Equal(t, Presets()["sip"].TeamsToPBX, p.TeamsToPBX, name)
		assert.Equal(t, Presets()["sip"].PBXToTeams, p.PBXToTeams, name)
		assert.Equal(t, "sip", p.Preset, name)
	}
	p, err := Parse([]byte("preset: sip\nteams_to_pbx: []\n"))
	require.NoError(t, err)
	assert.Empty(t, p.TeamsToPBX, "an empty list maps nothing")
	assert.Len(t, p.PBXToTeams, 2, "the other direction is the preset's")
	p, err = Parse(nil)
	require.NoError(t, err)
	assert.Empty(t, p.TeamsToPBX)
	assert.Empty(t, p.PBXToTeams)
	assert.Empty(t, p.Groups)
}

func TestParseReadsEveryKey(t *testing.T) {
	p, err := Parse([]byte(`
teams_to_pbx:
  - when: {availability: busy, activity: &calls [inacall], pbx: [main, Second]}
    set: {status: 404, status_kind: busy}
    class: busy
  - when: {activity: *calls}
    set: {status_kind: custom}
pbx_to_teams:
  - when:
      line: ringing
      status: ["Lunch", 7]
      status_kind: [custom, out]
      pbx: main
    set: {presence: away}
  - set: {presence: available/available}
    class: call
`))
	require.NoError(t, err)
	assert.Equal(t, TeamsRule{
		When: TeamsCondition{Availability: []string{"busy"}, Activity: []string{"inacall"}, PBX: []string{"main", "Second"}},
		Set:  SetStatus{Name: "404", Kind: presence.KindBusy, Class: presence.ClassBusy}, Line: 3, Path: "teams_to_pbx[0]",
	}, p.TeamsToPBX[0])
	assert.Equal(t, []string{"inacall"}, p.TeamsToPBX[1].When.Activity)
	assert.Equal(t, PBXRule{
		When: PBXCondition{
			Line: []presence.Line{presence.LineRinging}, Status: []string{"Lunch", "7"},
			StatusKind: []presence.Kind{presence.KindCustom, presence.KindOut}, PBX: []string{"main"},
		},
		Set: SetPresence{Pair: presence.ParsePairString("Away"), Class: presence.ClassAway, Method: MethodSession}, Line: 9, Path: "pbx_to_teams[0]",
	}, p.PBXToTeams[0])
	assert.Equal(t, presence.ClassCall, p.PBXToTeams[1].Set.Class, "a rule may say its class")
	assert.Equal(t, presence.ParsePairString("Available"), p.PBXToTeams[1].Set.Pair)
}

func TestParseReadsTheKeysOfPeopleAndMessages(t *testing.T) {
	p, err := Parse([]byte(`
teams_to_pbx:
  - when: {out_of_office: true, group: [Sales, "5b0c4c5e-0000-4000-8000-000000000001"]}
    set: {status_kind: out, message: copy}
  - set: {message: "Talking to Teams", class: away}
pbx_to_teams:
  - when: {status_kind: out, group: Sales}
    set: {presence: Offline, method: preferred, for: 8h, message: " At lunch "}
  - when: {status: Meeting}
    set: {presence: Busy, method: Preferred, for: 30m}
  - set: {message: COPY}
groups:
  - {group: Board, opt_out: pbx_to_teams}
  - group: Reception
    preset: 3cx
    pbx_to_teams: []
  - group: Floor
    teams_to_pbx:
      - when: {activity: InAMeeting}
        set: {status: Meeting}
`))
	require.NoError(t, err)
	assert.Equal(t, TeamsCondition{OutOfOffice: presence.AbsenceYes, Group: []string{"Sales", "5b0c4c5e-0000-4000-8000-000000000001"}}, p.TeamsToPBX[0].When)
	assert.Equal(t, SetStatus{Kind: presence.KindOut, Message: Message{Copy: true}}, p.TeamsToPBX[0].Set)
	assert.Equal(t, SetStatus{Class: presence.ClassAway, Message: Message{Text: "Talking to Teams"}}, p.TeamsToPBX[1].Set)
	assert.Equal(t, SetPresence{
		Pair: presence.Pair{Availability: presence.Offline, Activity: presence.OffWork}, Class: presence.ClassAway,
		Method: MethodPreferred, For: 8 * time.Hour, Message: Message{Text: "At lunch"},
	}, p.PBXToTeams[0].Set)
	assert.Equal(t, presence.ClassBusy, p.PBXToTeams[1].Set.Class)
	assert.Equal(t, SetPresence{Message: Message{Copy: true}}, p.PBXToTeams[2].Set)
	require.Len(t, p.Groups, 3)
	assert.Equal(t, GroupPolicy{Group: "Board", OptOut: presence.PBXToTeams, Line: 13}, p.Groups[0])
	assert.True(t, p.Groups[1].HasTeamsToPBX)
	assert.True(t, p.Groups[1].HasPBXToTeams)
	assert.Equal(t, Presets()["3cx"].TeamsToPBX[0].Set, p.Groups[1].TeamsToPBX[0].Set)
	assert.Empty(t, p.Groups[1].PBXToTeams)
	assert.False(t, p.Groups[2].HasPBXToTeams)
	assert.Equal(t, 19, p.Groups[2].TeamsToPBX[0].Line)
	assert.Equal(t, []string{"Board", "Reception", "Floor", "Sales", "5b0c4c5e-0000-4000-8000-000000000001"}, p.GroupNames())
}

func TestParseErrorsNameLineFieldAndRemedy(t *testing.T) {
	expectMistakes(t, map[string]mistake{
		"unknown preset": {"  preset: avaya\n", []string{"line 12: preset:", `"avaya"`, "3cx, micollab, sip"}},
		"unknown key":    {"  preset: sip\n  prset: sip\n", []string{"line 13:", `"prset"; did you mean preset?`, "teams_to_pbx"}},
		"unknown key of a rule": {
			"  teams_to_pbx:\n    - when: {activity: InACall}\n      set: {status: X}\n      klass: call\n",
			[]string{"line 15:", `"klass"`, "when, set and class"},
		},
		"unknown key of a condition": {"  pbx_to_teams:\n    - when: {lines: in-call}\n      set: {presence: Away}\n", []string{"line 13:", `"lines"; did you mean line?`}},
		"unknown key of a value":     {"  teams_to_pbx:\n    - when: {activity: InACall}\n      set: {statu: X}\n", []string{"line 14:", `"statu"; did you mean status?`}},
		"unknown word": {
			"  teams_to_pbx:\n    - when: {activity: [InACall, InACalll]}\n      set: {status: X}\n",
			[]string{"line 13: teams_to_pbx[0].when.activity:", `"InACalll"`, "InAMeeting"},
		},
		"unknown word in a long list": {
			"  teams_to_pbx:\n    - when:\n        availability:\n          - Busy\n          - Bsy\n      set: {status: X}\n",
			[]string{"line 16: teams_to_pbx[0].when.availability:", `"Bsy"`},
		},
		"unknown line": {"  pbx_to_teams:\n    - when: {line: talking}\n      set: {presence: Away}\n", []string{"line 13: pbx_to_teams[0].when.line:", `"talking"`, "in-call"}},
		"empty line":   {"  pbx_to_teams:\n    - when: {line: ''}\n      set: {presence: Away}\n", []string{"line 13: pbx_to_teams[0].when.line:"}},
		"unknown kind": {"  pbx_to_teams:\n    - when: {status_kind: [dnd, lunch]}\n      set: {presence: Away}\n", []string{"line 13: pbx_to_teams[0].when.status_kind:", `"lunch"`, "custom"}},
		"unknown kind to set": {
			"  teams_to_pbx:\n    - set: {status_kind: offline}\n", []string{"line 13: teams_to_pbx[0].set.status_kind:", `"offline"`, "away"},
		},
		"pair that Graph refuses": {
			"  pbx_to_teams:\n    - set: {presence: Away}\n    - when: {line: in-call}\n      set: {presence: Busy/InAMeeting}\n",
			[]string{"line 15: pbx_to_teams[1].set.presence:", `"Busy/InAMeeting"`, "Busy/InAConferenceCall", "DoNotDisturb/Presenting"},
		},
		"no presence":      {"  pbx_to_teams:\n    - when: {line: in-call}\n", []string{"line 13: pbx_to_teams[0].set:", "Busy/InACall", "or message"}},
		"no status":        {"  teams_to_pbx:\n    - when: {activity: InACall}\n", []string{"line 13: teams_to_pbx[0].set:", "status_kind"}},
		"blank status":     {"  teams_to_pbx:\n    - set: {status: '  '}\n", []string{"line 13: teams_to_pbx[0].set:", "status_kind"}},
		"unknown class":    {"  teams_to_pbx:\n    - set: {status: X}\n      class: urgent\n", []string{"line 14: teams_to_pbx[0].class:", `"urgent"`, "call, dnd, busy, away"}},
		"mapping for word": {"  teams_to_pbx:\n    - when: {activity: {a: b}}\n      set: {status: X}\n", []string{"line 13:", "a word or a list of words"}},
		"list in a list":   {"  pbx_to_teams:\n    - when: {line: [[in-call]]}\n      set: {presence: Away}\n", []string{"line 13:", "a word or a list of words"}},
		"null in a list":   {"  pbx_to_teams:\n    - when: {line: [in-call, null]}\n      set: {presence: Away}\n", []string{"line 13:", "a word or a list of words"}},
		"list for word":    {"  preset: [sip]\n", []string{"line 12:", "a word is wanted"}},
		"rules no list":    {"  teams_to_pbx: {a: b}\n", []string{"line 12:"}},
		"no mapping":       {"  - preset\n", []string{"line 12:"}},
		"a tag":            {"  teams_to_pbx: !x []\n", []string{"line 12: the tag !x has no meaning here"}},
		"twice":            {"  preset: sip\n  preset: 3cx\n", []string{"line 13:", "already defined"}},
		"two documents":    {"preset: sip\n---\npreset: 3cx\n", []string{"line 14:", "second document"}},
		"no yaml":          {"  preset: {sip\n", []string{"line "}},
	})
}

// mistake is a section of a configuration, and parts of what is said about it.
type mistake struct {
	src  string
	want []string
}

func expectMistakes(t *testing.T, mistakes map[string]mistake) {
	t.Helper()
	pad := strings.Repeat("\n", 11) // the section begins on line 12 of its file
	for name, tt := range mistakes {
		p, err := Parse([]byte(pad + tt.src))
		require.Error(t, err, name)
		assert.Nil(t, p, name)
		for _, part := range tt.want {
			assert.ErrorContains(t, err, part, name)
		}
		assert.NotContains(t, err.Error(), "of the policy", name)
		assert.NotContains(t, err.Error(), "yamlPolicy", name)
	}
}

func TestParseErrorsOfDirectionsMessagesAndGroups(t *testing.T) {
	expectMistakes(t, map[string]mistake{
		"a phone's word towards the phone": {
			"  teams_to_pbx:\n    - when: {line: in-call}\n      set: {status: X}\n",
			[]string{"line 13: teams_to_pbx[0].when.line:", "pbx_to_teams", "use availability"},
		},
		"a phone's status towards the phone": {
			"  teams_to_pbx:\n    - when:\n        status: [Lunch]\n        status_kind: away\n      set: {status: X}\n",
			[]string{"line 14: teams_to_pbx[0].when.status:", "line 15: teams_to_pbx[0].when.status_kind:"},
		},
		"Teams' word towards Teams": {
			"  pbx_to_teams:\n    - when: {availability: Busy, activity: InACall}\n      set: {presence: Away}\n",
			[]string{"line 13: pbx_to_teams[0].when.availability:", "pbx_to_teams[0].when.activity:", "use line, status"},
		},
		"out of office towards Teams": {
			"  pbx_to_teams:\n    - when: {out_of_office: true}\n      set: {presence: Away}\n",
			[]string{"line 13: pbx_to_teams[0].when.out_of_office:", "teams_to_pbx"},
		},
		"neither true nor false": {
			"  teams_to_pbx:\n    - when: {out_of_office: perhaps}\n      set: {status: X}\n",
			[]string{"line 13: teams_to_pbx[0].when.out_of_office:", `"perhaps"`, "true nor false"},
		},
		"a presence for the phone": {
			"  teams_to_pbx:\n    - set: {presence: Away, method: session, for: 8h}\n",
			[]string{"line 13: teams_to_pbx[0].set.presence:", "set.method:", "set.for:", "status_kind"},
		},
		"a status for Teams": {
			"  pbx_to_teams:\n    - set: {status: Away, status_kind: away}\n", []string{"line 13: pbx_to_teams[0].set.status:", "set.status_kind:", "presence"},
		},
		"preferred without an end": {
			"  pbx_to_teams:\n    - set: {presence: Busy/Busy, method: preferred}\n", []string{"line 13: pbx_to_teams[0].set.for:", "8h"},
		},
		"a session with an end": {
			"  pbx_to_teams:\n    - set: {presence: Away, for: 8h}\n", []string{"line 13: pbx_to_teams[0].set.for:", "method: preferred"},
		},
		"for too long": {
			"  pbx_to_teams:\n    - set: {presence: Away, method: preferred, for: 200h}\n", []string{"line 13: pbx_to_teams[0].set.for:", `"200h"`, "168h"},
		},
		"for no time": {
			"  pbx_to_teams:\n    - set: {presence: Away, method: preferred, for: lunch}\n", []string{"line 13: pbx_to_teams[0].set.for:", `"lunch"`},
		},
		"a method without presence": {
			"  pbx_to_teams:\n    - set: {message: copy, method: preferred, for: 8h}\n", []string{"line 13: pbx_to_teams[0].set.method:", "set.for:"},
		},
		"an unknown method": {
			"  pbx_to_teams:\n    - set: {presence: Away, method: force}\n", []string{"line 13: pbx_to_teams[0].set.method:", `"force"`, "session nor preferred"},
		},
		"a pair that the other method takes": {
			"  pbx_to_teams:\n    - set: {presence: BeRightBack}\n", []string{"line 13: pbx_to_teams[0].set.presence:", "method: preferred sets BeRightBack"},
		},
		"a pair that only a session takes": {
			"  pbx_to_teams:\n    - set: {presence: Busy/InACall, method: preferred, for: 8h}\n",
			[]string{"line 13: pbx_to_teams[0].set.presence:", "setUserPreferredPresence", "Offline/OffWork", "method: session sets Busy/InACall"},
		},
		"an empty message": {
			"  pbx_to_teams:\n    - set: {message: ''}\n", []string{"line 13: pbx_to_teams[0].set.message:", "copy"},
		},
		"a message too long": {
			"  pbx_to_teams:\n    - set: {message: " + strings.Repeat("x", 281) + "}\n", []string{"line 13: pbx_to_teams[0].set.message:", "281", "280"},
		},
		"two classes": {
			"  teams_to_pbx:\n    - set: {status: X, class: call}\n      class: dnd\n", []string{"line 13: teams_to_pbx[0].set.class:", `"call"`, `"dnd"`},
		},
		"an empty group": {
			"  teams_to_pbx:\n    - when: {group: ['']}\n      set: {status: X}\n", []string{"line 13: teams_to_pbx[0].when.group:", "empty"},
		},
		"a group without a name":    {"  groups:\n    - opt_out: both\n", []string{"line 13: groups[0].group:", "object id"}},
		"a group without an effect": {"  groups:\n    - group: X\n", []string{"line 13: groups[0].group:", "changes nothing"}},
		"a group twice": {
			"  groups:\n    - {group: X, opt_out: both}\n    - {group: x, preset: sip}\n", []string{"line 14: groups[1].group:", "on line 13", "join"},
		},
		"a group opted out somewhere": {"  groups:\n    - {group: X, opt_out: up}\n", []string{"line 13: groups[0].opt_out:", `"up"`, "pbx_to_teams"}},
		"a group's preset":            {"  groups:\n    - {group: X, preset: avaya}\n", []string{"line 13: groups[0].preset:", `"avaya"`}},
		"a group's rule": {
			"  groups:\n    - group: X\n      teams_to_pbx:\n        - set: {status: X}\n        - when: {line: idle}\n          set: {status: X}\n",
			[]string{"line 16: groups[0].teams_to_pbx[1].when.line:"},
		},
		"an unknown key of a group": {"  groups:\n    - {group: X, optout: both}\n", []string{"line 13:", `"optout"`, "opt_out"}},
	})
}

func TestParseReportsAllWrongRulesAtOnce(t *testing.T) {
	_, err := Parse([]byte("teams_to_pbx:\n- set: {}\n- when: {activity: [A, B]}\n  set: {status: X}\npbx_to_teams:\n- set: {presence: Busy}\n"))
	require.Error(t, err)
	for _, part := range []string{"line 2: ", `"A"`, `"B"`, "line 6: "} {
		assert.ErrorContains(t, err, part)
	}
	assert.Len(t, strings.Split(err.Error(), "\n"), 4, "one line each")
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		micollabYAML, "preset: sip", "", "\n\n\n", "teams_to_pbx: [null]", "a: &x [*x]", "pbx_to_teams: [{when: {line: &a in-call}}, {when: {line: *a}}]",
		"preset: sip\n---\npreset: 3cx", "teams_to_pbx:\n- when: {activity: |\n    InACall\n  }\n", "{}", "? a\n: b", "!!binary aGk=",
		"teams_to_pbx: &r [{set: {status: X}}]\npbx_to_teams: *r", "groups: [{group: X, opt_out: both}]", "groups: [null]", "teams_to_pbx: &r !00 00\n000000000008: 00", "groups: &g [{group: X, teams_to_pbx: [{set: {message: copy}}]}]",
		"pbx_to_teams: [{set: {presence: Away, method: preferred, for: 8h, message: copy}}]", "teams_to_pbx: [{when: {out_of_office: true, group: X}, set: {status_kind: out}}]",
		"groups:\n- &a {group: X, preset: sip}\n- *a",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := Parse(src)
		if (p == nil) == (err == nil) {
			t.Fatalf("policy %v, error %v", p, err)
		}
		if err != nil {
			return
		}
		for rules := range p.pbxRules() {
			for _, r := range rules {
				if r.Set.Pair.IsZero() && r.Set.Message.IsZero() {
					t.Fatal("a rule that sets nothing came through")
				}
				if !r.Set.Pair.IsZero() && !r.Set.settable() {
					t.Fatalf("%s came through, which Graph refuses", r.Set.Pair)
				}
				if r.Set.Method.Preferred() && r.Set.For == 0 {
					t.Fatal("a preferred presence without an end came through")
				}
			}
		}
		for rules := range p.teamsRules() {
			for _, r := range rules {
				if r.Set.Name == "" && r.Set.Kind == presence.KindUnknown && r.Set.Message.IsZero() {
					t.Fatal("a rule that sets nothing came through")
				}
			}
		}
		p.For(p.GroupNames(), presence.TeamsToPBX).ForTeams([]Endpoint{{Line: presence.LineInCall}})
		for _, s := range shownPairs { // whatever was accepted can be asked
			p.ForPBX("main", siteCatalogues()["micollab"], TeamsState{Pair: presence.ParsePairString(s)})
		}
		p.ForTeams([]Endpoint{{Line: presence.LineInCall}})
	})
}

func FuzzParseFile(f *testing.F) {
	for _, s := range []string{"policy: {preset: sip}", "policy:\n  preset: sip\n", "\"policy\": {}", "? policy\n: {}", "policy: &a {preset: sip}", "\ufeffpolicy:", "policy : {preset: 3cx}", "---\npolicy:\n  teams_to_pbx: []"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := ParseFile(src)
		if (p == nil) == (err == nil) {
			t.Fatalf("policy %v, error %v", p, err)
		}
		if p != nil {
			p.Check(Site{PBX: siteCatalogues()})
		}
	})
}
