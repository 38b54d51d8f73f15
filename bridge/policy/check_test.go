package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"presencebridge/bridge/presence"
)

// The words of the little world in which Check is compared with trying everything.
var (
	someAvailabilities = []string{"Busy", "DoNotDisturb", "InACall", "Away"}
	someActivities     = []string{"InACall", "Presenting", "Busy"}
	someGroups         = []string{"Sales", "Board", "Floor"}
	someStatuses       = []string{"Lunch", "In a call"}
	somePBXs           = []string{"main", "two"}
)

// drawGroupPolicy makes a policy with groups, small enough to try every input.
func drawGroupPolicy(t *rapid.T) *Policy {
	pick := func(label string, from []string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, 2, func(s string) string { return s }).Draw(t, label)
	}
	teams := func() (out []TeamsRule) {
		for range rapid.IntRange(0, 4).Draw(t, "rules towards the pbx") {
			out = append(out, TeamsRule{When: TeamsCondition{
				Availability: pick("availability", someAvailabilities), Activity: pick("activity", someActivities),
				OutOfOffice: rapid.SampledFrom([]presence.Absence{"", "", presence.AbsenceNo, presence.AbsenceYes}).Draw(t, "out of office"),
				Group:       pick("group", someGroups), PBX: pick("pbx", append(somePBXs, "gone")),
			}, Set: SetStatus{Name: "In a call"}})
		}
		return out
	}
	phones := func() (out []PBXRule) {
		for range rapid.IntRange(0, 4).Draw(t, "rules towards teams") {
			out = append(out, PBXRule{When: PBXCondition{
				Line:       rapid.SliceOfN(rapid.SampledFrom(allLines[1:]), 0, 2).Draw(t, "line"),
				Status:     pick("status", someStatuses),
				StatusKind: rapid.SliceOfN(rapid.SampledFrom(allKinds[1:]), 0, 2).Draw(t, "kind"),
				Group:      pick("group", someGroups), PBX: pick("pbx", append(somePBXs, "gone")),
			}, Set: SetPresence{Pair: sessionPairs()[0]}})
		}
		return out
	}
	p := &Policy{TeamsToPBX: teams(), PBXToTeams: phones()}
	for i, g := range pick("overrides", someGroups) {
		o := GroupPolicy{Group: g, OptOut: rapid.SampledFrom([]presence.Directions{0, presence.TeamsToPBX}).Draw(t, "opt-out")}
		if o.HasTeamsToPBX = rapid.Bool().Draw(t, "own rules towards the pbx"); o.HasTeamsToPBX {
			o.TeamsToPBX = teams()
		}
		if o.HasPBXToTeams = rapid.Bool().Draw(t, "own rules towards teams"); o.HasPBXToTeams {
			o.PBXToTeams = phones()
		}
		setPaths(fmt.Sprintf("groups[%d].", i), o.TeamsToPBX, o.PBXToTeams)
		p.Groups = append(p.Groups, o)
	}
	setPaths("", p.TeamsToPBX, p.PBXToTeams)
	p.resolver = newResolver(p)
	return p
}

// whoDecides tries every member, state of Teams and endpoint of the little world, and lists the rules that decided.
func whoDecides(p *Policy, site Site) map[string]bool {
	decided := map[string]bool{}
	pbxs := somePBXs
	if len(site.PBX) == 0 {
		pbxs = append([]string{"gone", "yet another"}, somePBXs...)
	}
	for set := range 1 << len(someGroups) {
		var groups []string
		for i, g := range someGroups {
			if set&(1<<i) != 0 {
				groups = append(groups, g)
			}
		}
		m := p.For(groups, 0)
		for _, pbx := range pbxs {
			for _, av := range append([]string{"Sabbatical"}, someAvailabilities...) {
				for _, ac := range append([]string{"OnTheMoon"}, someActivities...) {
					for _, out := range []presence.Absence{"", presence.AbsenceNo, presence.AbsenceYes} {
						if r := m.TeamsRuleFor(pbx, TeamsState{Pair: presence.ParsePair(av, ac), OutOfOffice: out}); r != nil {
							decided[r.Path] = true
						}
					}
				}
			}
			for _, ep := range phonesOf(pbx, site.PBX[pbx]) {
				if r, _ := m.PBXRuleFor([]Endpoint{ep}); r != nil {
					decided[r.Path] = true
				}
			}
		}
	}
	return decided
}

func phonesOf(pbx string, site Catalogue) (out []Endpoint) {
	statuses := []presence.Status{{}, {Name: "Unlisted", Kind: presence.KindCustom}}
	statuses = append(statuses, site...)
	if len(site) == 0 {
		for _, name := range append([]string{"Other"}, someStatuses...) {
			for _, k := range allKinds {
				statuses = append(statuses, presence.Status{Name: name, Kind: k})
			}
		}
	}
	for _, l := range allLines {
		for _, st := range statuses {
			out = append(out, Endpoint{ID: presence.EndpointID{PBX: pbx}, Line: l, Status: st})
		}
	}
	return out
}

// A rule that is reported to decide never does not decide for anything that can be tried, and every other one does for
// something.
func TestCheckIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawGroupPolicy(t)
		site := Site{}
		switch rapid.IntRange(0, 2).Draw(t, "what is known") {
		case 1:
			site.PBX = map[string]Catalogue{"main": nil, "two": nil}
		case 2:
			site.PBX = map[string]Catalogue{"main": {{Name: "Lunch", Kind: presence.KindAway}, {Name: "Free", Kind: presence.KindAvailable}}, "two": nil}
		}
		dead := map[string]Code{}
		for _, f := range p.Check(site) {
			if f.Code == Unreachable || f.Code == UnknownPBX || f.Code == UnknownStatus {
				if _, said := dead[f.Rule]; !said || f.Code == Unreachable {
					dead[f.Rule] = f.Code
				}
			}
		}
		decided := whoDecides(p, site)
		for rules := range p.teamsRules() {
			for i := range rules {
				compare(t, rules[i].Path, dead, decided)
			}
		}
		for rules := range p.pbxRules() {
			for i := range rules {
				compare(t, rules[i].Path, dead, decided)
			}
		}
	})
}

func compare(t *rapid.T, path string, dead map[string]Code, decided map[string]bool) {
	code, said := dead[path]
	switch {
	case said && code == Unreachable && decided[path]:
		t.Fatalf("%s is called unreachable and decides", path)
	case !said && !decided[path]:
		t.Fatalf("%s never decides, and nothing is said", path)
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	site := Site{PBX: map[string]Catalogue{
		"main": {{Name: "Available", Kind: presence.KindAvailable}, {Name: "In a call", Kind: presence.KindBusy}},
		"old":  nil,
	}}
	for name, tt := range map[string]struct {
		src  string
		want []string
	}{
		"shadowed": {
			"teams_to_pbx:\n- {when: {availability: [Busy, Away]}, set: {status: In a call}}\n- {when: {availability: Busy, activity: InACall}, set: {status: In a call}}\n",
			[]string{"line 3: teams_to_pbx[1]: it can never decide: teams_to_pbx[0] (line 2) takes everything that it matches; move it up"},
		},
		"shadowed by several": {
			"pbx_to_teams:\n- {when: {line: in-call}, set: {presence: Away}}\n- {when: {line: on-hold}, set: {presence: Away}}\n- {when: {line: [in-call, on-hold]}, set: {presence: Away}}\n",
			[]string{"line 4: pbx_to_teams[2]: it can never decide: pbx_to_teams[0] (line 2), pbx_to_teams[1] (line 3) take everything"},
		},
		"a word that the first rule takes in any casing": {
			"teams_to_pbx:\n- {when: {activity: inacall}, set: {status: In a call}}\n- {when: {activity: InACall}, set: {status: In a call}}\n", []string{"line 3: teams_to_pbx[1]: it can never"},
		},
		"never shown": {
			"teams_to_pbx:\n- {when: {availability: Available, activity: InACall}, set: {status: In a call}}\n",
			[]string{"line 2: teams_to_pbx[0]: Graph documents no state with such an availability and such an activity"},
		},
		"an activity in the wrong list": {
			"teams_to_pbx:\n- {when: {availability: InACall}, set: {status: In a call}}\n", []string{"line 2: teams_to_pbx[0]: InACall is an activity", "write activity: InACall"},
		},
		"a status that is not offered": {
			"teams_to_pbx:\n- {when: {activity: InACall}, set: {status: Telephoning, status_kind: dnd}}\n",
			[]string{`line 2: teams_to_pbx[0]: the PBX main has no status "Telephoning", nor one of the kind dnd`, `"In a call"`},
		},
		"a PBX that is not there": {
			"pbx_to_teams:\n- {when: {line: in-call, pbx: Hauptstelle}, set: {presence: Away}}\n", []string{`line 2: pbx_to_teams[0]: it is for the PBX "Hauptstelle"`, "main, old"},
		},
		"a status that is not there": {
			"pbx_to_teams:\n- {when: {status: Lunch, pbx: main}, set: {presence: Away}}\n", []string{`line 2: pbx_to_teams[0]: it waits for the status "Lunch"`},
		},
		"a group with rules of its own": {
			"teams_to_pbx:\n- {when: {group: Sales}, set: {status: In a call}}\n- {set: {status: Available}}\ngroups:\n- {group: Sales, teams_to_pbx: []}\n",
			[]string{"line 2: teams_to_pbx[0]: it can never decide: nobody whom these rules are for can show that in Teams"},
		},
		"nothing": {"{}", []string{"the policy maps nothing in either direction; give a preset or rules"}},
	} {
		p, err := Parse([]byte(tt.src))
		require.NoError(t, err, name)
		var said []string
		for _, f := range p.Check(site) {
			said = append(said, f.String())
		}
		assert.NotEmpty(t, said, name)
		for _, part := range tt.want {
			assert.Contains(t, strings.Join(said, "\n"), part, name)
		}
	}
}

// A policy with very many groups is checked in a moment, because most of them leave the same rules.
func TestCheckOfManyGroups(t *testing.T) {
	var b strings.Builder
	b.WriteString("preset: micollab\nteams_to_pbx:\n")
	for i := range 60 {
		fmt.Fprintf(&b, "- {when: {activity: [InACall, Presenting], group: G%d}, set: {status: S%d}}\n", i, i)
	}
	b.WriteString("- {when: {activity: InACall}, set: {status: X}}\n- {when: {availability: Busy, activity: InACall, group: G7}, set: {status: Y}}\ngroups:\n")
	for i := range 60 {
		fmt.Fprintf(&b, "- {group: O%d, opt_out: pbx_to_teams}\n", i)
	}
	p, err := Parse([]byte(b.String()))
	require.NoError(t, err)
	found := p.Check(Site{PBX: map[string]Catalogue{"a": nil, "b": nil}})
	require.Len(t, found, 1, "%v", found)
	assert.Equal(t, "teams_to_pbx[61]", found[0].Rule)
	assert.Contains(t, found[0].Text, "teams_to_pbx[7]")
}

func TestCheckIsContentWithThePresets(t *testing.T) {
	for name, p := range Presets() {
		assert.Empty(t, p.Check(Site{}), name)
		assert.Empty(t, p.Check(Site{PBX: map[string]Catalogue{"main": siteCatalogues()[name]}}), name)
	}
	only, err := Parse([]byte("groups: [{group: X, opt_out: both}]"))
	require.NoError(t, err)
	assert.False(t, slices.ContainsFunc(only.Check(Site{}), func(f Finding) bool { return f.Code == MapsNothing }), "an opt-out is a rule, too")
}
