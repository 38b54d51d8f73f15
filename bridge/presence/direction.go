package presence

import (
	"fmt"
	"strings"
)

// Directions is a set of the two ways that presence crosses. The zero value is neither.
type Directions uint8

// The directions, and both of them.
const (
	TeamsToPBX Directions = 1 << iota
	PBXToTeams
	BothDirections = TeamsToPBX | PBXToTeams
)

// ParseDirections reads none, teams_to_pbx, pbx_to_teams or both.
func ParseDirections(s string) (Directions, bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "none":
		return 0, true
	case "teams_to_pbx":
		return TeamsToPBX, true
	case "pbx_to_teams":
		return PBXToTeams, true
	case "both":
		return BothDirections, true
	}
	return 0, false
}

// Has tells whether every direction of o is in d.
func (d Directions) Has(o Directions) bool { return d&o == o }

// String is the word that [ParseDirections] reads.
func (d Directions) String() string {
	switch d & BothDirections {
	case TeamsToPBX:
		return "teams_to_pbx"
	case PBXToTeams:
		return "pbx_to_teams"
	case BothDirections:
		return "both"
	default:
		return "none"
	}
}

// MarshalText implements [encoding.TextMarshaler].
func (d Directions) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Directions) UnmarshalText(text []byte) error {
	got, ok := ParseDirections(string(text))
	if !ok {
		return fmt.Errorf("%q is none of none, teams_to_pbx, pbx_to_teams, both", text)
	}
	*d = got
	return nil
}

// Absence says whether Teams takes a person for out of office (Graph's outOfOfficeSettings.isOutOfOffice), which is an
// axis of its own: somebody who is out of office may be in a call. The zero value means that it is not known: change
// notifications do not carry it (facts: rich payload), and not every cloud has it.
type Absence string

// The absences.
const (
	AbsenceUnknown Absence = ""
	AbsenceNo      Absence = "no"
	AbsenceYes     Absence = "yes"
)
