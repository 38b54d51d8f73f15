package policy

import (
	"fmt"
	"maps"
	"slices"

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
