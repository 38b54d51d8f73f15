package graphsim

import (
	"strings"
	"time"
)

// Pair is what Teams shows for a person: availability and activity, PascalCase as in every sample
// of learn:api/resources/presence.
type Pair struct {
	Availability string `json:"availability"`
	Activity     string `json:"activity"`
}

// String is "availability/activity".
func (p Pair) String() string { return p.Availability + "/" + p.Activity }

// ParsePair reads "Busy/InACall", or "Away" which means both words alike.
func ParsePair(s string) Pair {
	availability, activity, found := strings.Cut(strings.TrimSpace(s), "/")
	if !found {
		activity = availability
	}
	return Pair{availability, activity}
}

// The pairs that the simulated people and the documented rules speak of.
var (
	Offline           = Pair{"Offline", "Offline"}
	AppearOffline     = Pair{"Offline", "OffWork"}
	Available         = Pair{"Available", "Available"}
	AvailableInactive = Pair{"Available", "AvailableInactive"}
	OutOfOffice       = Pair{"Available", "OutOfOffice"}
	Away              = Pair{"Away", "Away"}
	BeRightBack       = Pair{"BeRightBack", "BeRightBack"}
	Busy              = Pair{"Busy", "Busy"}
	InACall           = Pair{"Busy", "InACall"}
	InAConferenceCall = Pair{"Busy", "InAConferenceCall"}
	InAMeeting        = Pair{"Busy", "InAMeeting"}
	DoNotDisturb      = Pair{"DoNotDisturb", "DoNotDisturb"}
	Presenting        = Pair{"DoNotDisturb", "Presenting"}
)

// Lifetimes of presence sessions and of preferred presence (learn:api/presence-setpresence,
// learn:api/presence-setuserpreferredpresence).
const (
	minSession     = 5 * time.Minute
	maxSession     = 4 * time.Hour
	fadeAfter      = 5 * time.Minute // Available fades to AvailableInactive, and after as much again to Away
	preferredShort = 24 * time.Hour
	preferredLong  = 7 * 24 * time.Hour
)

// settable tells whether an application may set the pair as its session. OutOfOffice and InAMeeting
// are taken without an error and without effect (learn:api/presence-setpresence).
func settable(p Pair) (allowed, effective bool) {
	switch p {
	case Available, InACall, InAConferenceCall, Away, Presenting:
		return true, true
	}
	if p.Activity == "InAMeeting" || p.Activity == "OutOfOffice" {
		return true, false
	}
	return false, false
}

// preferable tells whether the pair may be preferred presence, and how long it then stands when the
// request does not say (learn:api/presence-setuserpreferredpresence).
func preferable(p Pair) (lifetime time.Duration, ok bool) {
	switch p {
	case Busy, DoNotDisturb:
		return preferredShort, true
	case Available, BeRightBack, Away, AppearOffline:
		return preferredLong, true
	}
	return 0, false
}

// rank orders the availabilities of sessions: DoNotDisturb, Busy, Available, Away.
func rank(p Pair) int {
	switch p.Availability {
	case "DoNotDisturb":
		return 5
	case "Busy":
		return 4
	case "Available":
		if p.Activity == "AvailableInactive" {
			return 2
		}
		return 3
	case "Away", "BeRightBack":
		return 1
	default: // an open set: a word that nobody ranks is below those that are
		return 0
	}
}

// Tie says which of two sessions of equal rank shows, say a Teams client's InAMeeting and an
// application's InACall. Microsoft documents none, and both have been seen.
type Tie string

// The ways to break a tie.
const (
	TieSeeded Tie = "seeded" // each person has a way of their own, drawn from the seed
	TieApp    Tie = "app"    // the application's session shows
	TieClient Tie = "client" // the Teams client's session shows
)

// session is one presence session as aggregation sees it.
type session struct {
	pair    Pair
	app     bool  // of an application, not of a Teams client
	changed int64 // order of the last change; of two equal sessions of one kind the later shows
}

// aggregate is Teams' rule: what the person prefers outranks every session while there is one;
// among sessions the highest availability shows; out of office shows only on Available.
func aggregate(sessions []session, preferred *Pair, outOfOffice, appWins bool) Pair {
	if len(sessions) == 0 {
		return Offline
	}
	shown := sessions[0]
	for _, s := range sessions[1:] {
		if outranks(s, shown, appWins) {
			shown = s
		}
	}
	pair := shown.pair
	if preferred != nil {
		pair = *preferred
	}
	if outOfOffice && pair == Available {
		return OutOfOffice
	}
	return pair
}

func outranks(a, b session, appWins bool) bool {
	ra, rb := rank(a.pair), rank(b.pair)
	switch {
	case ra != rb:
		return ra > rb
	case a.app != b.app:
		return a.app == appWins
	default:
		return a.changed > b.changed
	}
}

// faded is what an Available session shows when it was last set at a time that is age ago. Only
// Available fades; other sessions only expire.
func faded(p Pair, age time.Duration) Pair {
	switch {
	case p != Available || age < fadeAfter:
		return p
	case age < 2*fadeAfter:
		return AvailableInactive
	default:
		return Away
	}
}
