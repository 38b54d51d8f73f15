package explain

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"presencebridge/bridge"
	"presencebridge/bridge/presence"
)

// pairInWords writes what Teams shows as Teams itself would: "Busy (in a call)".
func pairInWords(s string) string {
	if s == "" || s == "unknown" {
		return "nothing that is known"
	}
	p := presence.ParsePairString(s)
	availability := availabilityInWords(p.Availability)
	switch p.Activity {
	case p.Availability:
		return availability
	case presence.InACall:
		return availability + " (in a call)"
	case presence.InAConferenceCall:
		return availability + " (in a conference call)"
	case presence.InAMeeting:
		return availability + " (in a meeting)"
	case presence.Presenting:
		return availability + " (presenting)"
	case presence.OffWork:
		return availability + " (appears offline, or off work)"
	case presence.OutOfOffice:
		return availability + " (out of office)"
	default:
		return availability + " (" + p.Activity + ")"
	}
}

func availabilityInWords(s string) string {
	switch s {
	case presence.DoNotDisturb:
		return "Do not disturb"
	case presence.BeRightBack:
		return "Be right back"
	case presence.OutOfOffice:
		return "Out of office"
	default:
		return s
	}
}

// valueInWords writes a value of a side.
func valueInWords(side, value string) string {
	if side == bridge.TeamsSideLabel {
		return pairInWords(value)
	}
	if value == "" {
		return "nothing"
	}
	return "“" + value + "”"
}

// effectInWords writes the value of an effect, which may be a status message.
func effectInWords(side, value string) string {
	if text, ok := strings.CutPrefix(value, "message: "); ok {
		return "the message “" + text + "”"
	}
	if value == "message" {
		return "its message"
	}
	return valueInWords(side, value)
}

func lineInWords(l presence.Line) string {
	switch l {
	case presence.LineIdle:
		return "in no call"
	case presence.LineRinging:
		return "ringing"
	case presence.LineInCall:
		return "in a call"
	case presence.LineOnHold:
		return "in a call on hold"
	case presence.LineOffline:
		return "not connected"
	case presence.LineUnknown:
	}
	return "in a state that is not known"
}

// sourceInWords says how something was learnt.
func sourceInWords(s presence.Source) string {
	switch s {
	case presence.SourcePush:
		return "a notification from Microsoft"
	case presence.SourceSweep:
		return "the periodic read of everybody"
	case presence.SourceRead:
		return "a direct read"
	case presence.SourceWatch:
		return "an event from the PBX"
	case presence.SourceSnapshot:
		return "reading the PBX through"
	}
	return string(s)
}

// authorInWords says who chose a status.
func authorInWords(author string) string {
	switch author {
	case "user":
		return "by hand"
	case "bridge":
		return "by the bridge"
	case "program":
		return "by another program"
	}
	return ""
}

func defaultLabel(side string) string {
	rest, ok := strings.CutPrefix(side, "pbx.")
	if !ok {
		return "Teams"
	}
	name, user, _ := strings.Cut(rest, ".")
	return "phone " + user + " on " + name
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return ""
	}
	return string(unicode.ToUpper(r)) + strings.TrimRight(s[n:], ".") + "."
}

// stamp writes a moment, with the date where it is not that of the moment in question.
func (x *explainer) stamp(t time.Time) string {
	t = t.In(x.in.Zone)
	if y, m, d := t.Date(); func() bool { ay, am, ad := x.at.In(x.in.Zone).Date(); return y == ay && m == am && d == ad }() {
		return t.Format("15:04:05")
	}
	return t.Format("2 January 15:04:05")
}

// onSide is how something is put on a side: "in Teams", "on phone 1001 on main".
func (x *explainer) onSide(side string) string {
	if side == bridge.TeamsSideLabel {
		return "in Teams"
	}
	return "on " + x.label(side)
}

// isPast tells whether the past tense is right.
func (x *explainer) isPast() bool { return x.at.Before(x.in.Now) }

// verb chooses the tense.
func (x *explainer) verb(present, past string) string {
	if x.isPast() {
		return past
	}
	return present
}
