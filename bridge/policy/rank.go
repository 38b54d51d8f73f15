package policy

import "presencebridge/bridge/presence"

// Rank orders choices for R9: dnd > busy, call > away > available. Nothing outranks [RankLocked].
type Rank uint8

// The ranks.
const (
	RankNone Rank = iota // offline, or nothing chosen
	RankAvailable
	RankAway
	RankBusy
	RankDND
	RankLocked // out of office and a site's own statuses: never written over
)

// OfClass is the rank of something that we would assert.
func OfClass(c presence.Class) Rank {
	switch c {
	case presence.ClassDND:
		return RankDND
	case presence.ClassCall, presence.ClassBusy:
		return RankBusy
	case presence.ClassAway:
		return RankAway
	}
	return RankNone
}

// OfKind is the rank of a status that a person chose on a PBX. An unknown kind is locked: what nobody can
// classify is left alone.
func OfKind(k presence.Kind) Rank {
	switch k {
	case presence.KindAvailable:
		return RankAvailable
	case presence.KindAway:
		return RankAway
	case presence.KindBusy:
		return RankBusy
	case presence.KindDND:
		return RankDND
	case presence.KindOut, presence.KindCustom, presence.KindUnknown:
		return RankLocked
	}
	return RankLocked
}

// OfPair is the rank of what Teams shows of a person's own.
func OfPair(p presence.Pair) Rank {
	switch p.Availability {
	case presence.DoNotDisturb, presence.Focusing, presence.Presenting:
		return RankDND
	case presence.Busy, presence.BusyIdle, presence.InACall, presence.InAMeeting, presence.InAConferenceCall:
		return RankBusy
	case presence.Away, presence.BeRightBack, presence.OutOfOffice:
		return RankAway
	case presence.Available, presence.AvailableIdle:
		return RankAvailable
	default: // Offline, PresenceUnknown, and words that Graph may add
		return RankNone
	}
}

// ClassOfKind is the class of a rule that sets a status of that kind and does not say.
func ClassOfKind(k presence.Kind) presence.Class {
	switch k {
	case presence.KindDND:
		return presence.ClassDND
	case presence.KindAway, presence.KindOut, presence.KindAvailable: // the least that a rule can mean
		return presence.ClassAway
	case presence.KindBusy, presence.KindCustom, presence.KindUnknown:
		return presence.ClassCall
	}
	return presence.ClassCall
}

// ClassOfPair is the class of a rule that sets that presence and does not say.
func ClassOfPair(p presence.Pair) presence.Class {
	switch OfPair(p) {
	case RankDND:
		return presence.ClassDND
	case RankBusy:
		if p.Activity == presence.Busy { // somebody who is busy otherwise; a call is always asserted (R9)
			return presence.ClassBusy
		}
		return presence.ClassCall
	case RankNone, RankAvailable, RankAway, RankLocked:
		return presence.ClassAway
	}
	return presence.ClassAway
}
