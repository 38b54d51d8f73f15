package presence

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParsePairTakesAnyCasing(t *testing.T) {
	for _, in := range []string{"busy/inACall", "BUSY/INACALL", " Busy / InACall "} {
		av, ac, _ := strings.Cut(in, "/")
		require.Equal(t, Pair{Availability: Busy, Activity: InACall}, ParsePair(av, ac), in)
	}
}

func TestUnknownWordsAreKeptAsTheyCame(t *testing.T) {
	p := ParsePair("Levitating", "InACall")
	require.Equal(t, "Levitating/InACall", p.String())
	require.False(t, p.Known())
	require.False(t, p.IsUnknown(), "a word that is new to us is a state, only one that we cannot classify")
}

func TestPairString(t *testing.T) {
	require.Equal(t, Pair{DoNotDisturb, DoNotDisturb}, ParsePairString("donotdisturb"))
	require.Equal(t, Pair{Busy, InACall}, ParsePairString("Busy/InACall"))
	require.Equal(t, "unknown", Pair{}.String())
}

func TestStatusSame(t *testing.T) {
	require.True(t, Status{Name: "In a call", Kind: KindBusy}.Same(Status{Name: "in a call"}))
	require.False(t, Status{Name: "A", Kind: KindBusy}.Same(Status{Name: "B", Kind: KindBusy}))
	require.True(t, Status{Kind: KindDND}.Same(Status{Kind: KindDND}))
	require.False(t, Status{Kind: KindDND}.Same(Status{Kind: KindAway}))
}

func TestParseLineAndKind(t *testing.T) {
	l, ok := ParseLine("In-Call")
	require.True(t, ok)
	require.Equal(t, LineInCall, l)
	_, ok = ParseLine("levitating")
	require.False(t, ok)
	k, ok := ParseKind("lunch")
	require.False(t, ok)
	require.Equal(t, KindCustom, k, "what nobody can classify is left alone")
}

func TestParsePairWithTheColumnsMixed(t *testing.T) {
	require.Equal(t, Pair{Busy, InACall}, ParsePair("inACall", "busy"))
	require.Equal(t, Pair{Busy, InAMeeting}, ParsePair("InAMeeting", "InAMeeting"))
	require.Equal(t, Pair{DoNotDisturb, Presenting}, ParsePair("presenting", "doNotDisturb"))
	require.Equal(t, Pair{DoNotDisturb, Focusing}, ParsePair("focusing", "focusing"))
	require.Equal(t, Pair{Available, OutOfOffice}, ParsePair("available", "outOfOffice"))
}
