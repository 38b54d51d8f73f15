package explore

import (
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// The words of the small worlds are numbers, so that a state is a few bytes. Zero is nothing.

type pair uint8

const (
	noPair pair = iota
	offline
	available
	away
	inCall     // Busy/InACall, which we assert for a call
	presenting // DoNotDisturb/Presenting, which we assert for a Do not disturb
	dnd        // DoNotDisturb/DoNotDisturb, which only a person can set
	busy
	meeting // Busy/InAMeeting, which a call flaps to
	pairs
)

type status uint8

const (
	noStatus status = iota
	stAvailable
	stDND
	stCall // "In a call", which we assert
	stLunch
	stAway
	statuses
)

// message is a status message; a request that leaves it as it is has asItIs.
type message uint8

const (
	noMessage message = iota
	msgTeams          // what the person writes in Teams
	msgPhone          // what the person writes on the phone
	asItIs
)

func messageWords() [asItIs]string {
	return [asItIs]string{msgTeams: "back at three", msgPhone: "at my desk"}
}

type line uint8

const (
	noLine line = iota
	idle
	talking
)

func pairWords() [pairs]presence.Pair {
	return [pairs]presence.Pair{
		offline: presence.ParsePairString("Offline"), available: presence.ParsePairString("Available"),
		away: presence.ParsePairString("Away"), inCall: presence.ParsePairString("Busy/InACall"),
		presenting: presence.ParsePairString("DoNotDisturb/Presenting"), dnd: presence.ParsePairString("DoNotDisturb"),
		busy: presence.ParsePairString("Busy"), meeting: presence.ParsePairString("Busy/InAMeeting"),
	}
}

func statusWords() [statuses]presence.Status {
	return [statuses]presence.Status{
		stAvailable: {Name: "Available", Kind: presence.KindAvailable},
		stDND:       {Name: "Do not disturb", Kind: presence.KindDND},
		stCall:      {Name: "In a call", Kind: presence.KindBusy},
		stLunch:     {Name: "Lunch", Kind: presence.KindCustom},
		stAway:      {Name: "Away", Kind: presence.KindAway},
	}
}

func lineWords() [3]presence.Line {
	return [3]presence.Line{noLine: presence.LineUnknown, idle: presence.LineIdle, talking: presence.LineInCall}
}

// words translates between the world's numbers and the engine's words, and asks the policy. What policy makes of a state
// is not what is explored here (package policy has a truth table of its own), so both sides ask the same one.
type words struct {
	pairs    [pairs]presence.Pair
	statuses [statuses]presence.Status
	lines    [3]presence.Line
	policy   policy.Policy
	toPBX    [pairs]status
	toPBXOf  [pairs]presence.Class
	toTeams  [3][statuses]pair
	classOf  [pairs]presence.Class
	rank     [pairs]policy.Rank
}

func newWords(p policy.Policy) *words {
	w := &words{pairs: pairWords(), statuses: statusWords(), lines: lineWords(), policy: p}
	for i := offline; i < pairs; i++ {
		want := p.ForPBX("main", w.catalogue(), policy.TeamsState{Pair: w.pairs[i]})
		w.toPBX[i], w.toPBXOf[i] = w.status(want.Status), want.Class
		w.rank[i] = policy.OfPair(w.pairs[i])
	}
	for l := range w.lines {
		for s := range w.statuses {
			want := p.ForTeams([]policy.Endpoint{{Line: w.lines[l], Status: w.statuses[s]}})
			w.toTeams[l][s] = w.pair(want.Pair)
			w.classOf[w.pair(want.Pair)] = want.Class
		}
	}
	return w
}

func (w *words) catalogue() policy.Catalogue { return w.statuses[1:] }

func (w *words) pair(p presence.Pair) pair {
	for i := range w.pairs {
		if w.pairs[i] == p {
			return pair(i)
		}
	}
	return noPair
}

func (w *words) status(s presence.Status) status {
	for i := 1; i < len(w.statuses); i++ {
		if w.statuses[i] == s {
			return status(i)
		}
	}
	return noStatus
}

func (w *words) kindRank(s status) policy.Rank { return policy.OfKind(w.statuses[s].Kind) }
