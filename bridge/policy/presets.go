package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"presencebridge/bridge/presence"
)

// Presets are the policies that come with the bridge (design: the same causes everywhere, put into each
// PBX's own words).
func Presets() map[string]Policy {
	ps := presets()
	for _, p := range ps {
		setPaths("", p.TeamsToPBX, p.PBXToTeams)
	}
	return ps
}

// setPaths numbers the rules of both directions.
func setPaths(prefix string, teams []TeamsRule, pbx []PBXRule) {
	for i := range teams {
		teams[i].Path = fmt.Sprintf("%s%s[%d]", prefix, teamsToPBX, i)
	}
	for i := range pbx {
		pbx[i].Path = fmt.Sprintf("%s%s[%d]", prefix, pbxToTeams, i)
	}
}

func presets() map[string]Policy {
	return map[string]Policy{
		"micollab": {
			Preset: "micollab",
			TeamsToPBX: teamsRules(
				SetStatus{Name: "In a call", Kind: presence.KindBusy, Class: presence.ClassCall},
				SetStatus{Name: "Do not disturb", Kind: presence.KindDND, Class: presence.ClassDND}),
			PBXToTeams: pbxRules(presence.KindDND),
		},
		// 3CX labels "Out of office" as Do Not Disturb and has no status of its own for a call; its customs
		// are locked by the user (facts: 3CX profile names).
		"3cx": {
			Preset: "3cx",
			TeamsToPBX: teamsRules(
				SetStatus{Name: "Away", Kind: presence.KindAway, Class: presence.ClassCall},
				SetStatus{Name: "Out of office", Class: presence.ClassDND}),
			PBXToTeams: pbxRules(presence.KindDND),
		},
		// RPID has no do-not-disturb: busy with a note stands for it (RFC 4480 section 3.2).
		"sip": {
			Preset: "sip",
			TeamsToPBX: append(teamsRules(
				SetStatus{Name: "on-the-phone", Kind: presence.KindBusy, Class: presence.ClassCall},
				SetStatus{Name: "busy", Kind: presence.KindDND, Class: presence.ClassDND}),
				TeamsRule{
					When: TeamsCondition{Activity: []string{presence.InAMeeting}},
					Set:  SetStatus{Name: "meeting", Kind: presence.KindBusy, Class: presence.ClassCall},
				},
				TeamsRule{
					When: TeamsCondition{Availability: []string{presence.Away, presence.BeRightBack}},
					Set:  SetStatus{Name: "away", Kind: presence.KindAway, Class: presence.ClassAway},
				}),
			PBXToTeams: pbxRules(presence.KindDND),
		},
	}
}

func presetNames() []string { return slices.Sorted(maps.Keys(Presets())) }

func teamsRules(call, dnd SetStatus) []TeamsRule {
	return []TeamsRule{
		{When: TeamsCondition{Activity: []string{presence.InACall, presence.InAConferenceCall, presence.Presenting}}, Set: call},
		{When: TeamsCondition{Availability: []string{presence.DoNotDisturb}}, Set: dnd},
	}
}

func pbxRules(dnd presence.Kind) []PBXRule {
	return []PBXRule{
		{
			When: PBXCondition{Line: []presence.Line{presence.LineInCall, presence.LineOnHold}},
			Set: SetPresence{
				Pair:  presence.Pair{Availability: presence.Busy, Activity: presence.InACall},
				Class: presence.ClassCall,
			},
		},
		{
			When: PBXCondition{StatusKind: []presence.Kind{dnd}},
			Set: SetPresence{
				Pair:  presence.Pair{Availability: presence.DoNotDisturb, Activity: presence.Presenting},
				Class: presence.ClassDND,
			},
		},
	}
}

// PresetFor is the preset that suits a type of PBX. A type without one of its own has micollab's, whose statuses are
// found by their kind where a site calls them differently.
func PresetFor(pbxType string) string {
	switch strings.ToLower(pbxType) {
	case "3cx", "threecx":
		return "3cx"
	case "sip":
		return "sip"
	default:
		return "micollab"
	}
}

// Default is the policy of an account that has none of its own, given the type of each PBX by its name: the preset of
// that type, each PBX its own.
func Default(types map[string]string) *Policy {
	names := map[string][]string{} // of PBXs, by preset
	for pbx, kind := range types {
		names[PresetFor(kind)] = append(names[PresetFor(kind)], pbx)
	}
	used := slices.Sorted(maps.Keys(names))
	if len(used) == 0 {
		used = []string{PresetFor("")}
	}
	p := Presets()[used[0]]
	if len(used) > 1 {
		p.Preset, p.TeamsToPBX = strings.Join(used, ", "), nil
		for _, preset := range used {
			slices.Sort(names[preset])
			for _, r := range Presets()[preset].TeamsToPBX {
				r.When.PBX = names[preset]
				p.TeamsToPBX = append(p.TeamsToPBX, r)
			}
		}
		setPaths("", p.TeamsToPBX, p.PBXToTeams) // the way back is the same in all of them
	}
	p.resolver = newResolver(&p)
	return &p
}
