package graphsim

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestAggregate(t *testing.T) {
	client := func(p Pair) session { return session{pair: p, changed: 1} }
	app := func(p Pair) session { return session{pair: p, app: true, changed: 2} }
	for name, c := range map[string]struct {
		sessions  []session
		preferred *Pair
		oof       bool
		want      Pair
	}{
		"no session":                            {nil, nil, false, Offline},
		"no session, a preferred one is stored": {nil, &DoNotDisturb, false, Offline},
		"no session, out of office":             {nil, nil, true, Offline},
		"one client":                            {[]session{client(Available)}, nil, false, Available},
		"busy over available":                   {[]session{client(Available), app(InACall)}, nil, false, InACall},
		"do not disturb over busy":              {[]session{client(Presenting), app(InACall)}, nil, false, Presenting},
		"available over away":                   {[]session{client(Away), app(Available)}, nil, false, Available},
		"available over a faded one":            {[]session{client(Available), app(AvailableInactive)}, nil, false, Available},
		"a faded one over away":                 {[]session{client(Away), app(AvailableInactive)}, nil, false, AvailableInactive},
		"preferred over a call":                 {[]session{client(InACall)}, &Available, false, Available},
		"an app's session wakes a preferred":    {[]session{app(InACall)}, &DoNotDisturb, false, DoNotDisturb},
		"appear offline":                        {[]session{client(Available)}, &AppearOffline, false, AppearOffline},
		"available, out of office":              {[]session{client(Available)}, nil, true, OutOfOffice},
		"in a call, out of office":              {[]session{client(InACall)}, nil, true, InACall},
		"unknown words rank below":              {[]session{client(Pair{"Novel", "Novel"}), app(Away)}, nil, false, Away},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, aggregate(c.sessions, c.preferred, c.oof, true))
		})
	}
}

func TestTies(t *testing.T) {
	both := []session{{pair: InAMeeting, changed: 2}, {pair: InACall, app: true, changed: 1}}
	require.Equal(t, InACall, aggregate(both, nil, false, true))
	require.Equal(t, InAMeeting, aggregate(both, nil, false, false))
	clients := []session{{pair: InAMeeting, changed: 2}, {pair: InACall, changed: 1}}
	require.Equal(t, InAMeeting, aggregate(clients, nil, false, true), "of two clients the later shows")
}

// order is the precedence as Microsoft prints it, written down apart from the code's own ranks.
var order = []string{"DoNotDisturb", "Busy", "Available", "Away"}

func TestAggregationObeysPrecedence(t *testing.T) {
	pairs := []Pair{Available, AvailableInactive, Away, Busy, InACall, InAConferenceCall, InAMeeting, DoNotDisturb, Presenting}
	picks := []Pair{Available, Busy, DoNotDisturb, BeRightBack, Away, AppearOffline}
	rapid.Check(t, func(t *rapid.T) {
		sessions := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) session {
			return session{pair: rapid.SampledFrom(pairs).Draw(t, "pair"), app: rapid.Bool().Draw(t, "app"), changed: rapid.Int64Range(0, 9).Draw(t, "changed")}
		}), 0, 5).Draw(t, "sessions")
		oof, appWins := rapid.Bool().Draw(t, "oof"), rapid.Bool().Draw(t, "appWins")
		shown := aggregate(sessions, nil, oof, appWins)
		if len(sessions) == 0 {
			require.Equal(t, Offline, shown)
			return
		}
		best := slices.IndexFunc(order, func(availability string) bool {
			return slices.ContainsFunc(sessions, func(s session) bool { return s.pair.Availability == availability })
		})
		require.Equal(t, order[best], shown.Availability)
		if shown != OutOfOffice {
			require.True(t, slices.ContainsFunc(sessions, func(s session) bool { return s.pair == shown }), "what shows is some session's")
		}
		pick := rapid.SampledFrom(picks).Draw(t, "pick")
		picked := aggregate(sessions, &pick, oof, appWins)
		require.Equal(t, pick.Availability, picked.Availability, "a pick outranks every session")
		for i := range sessions { // the order in which sessions are kept does not matter to the rank
			turned := append(slices.Clone(sessions[i:]), sessions[:i]...)
			require.Equal(t, shown.Availability, aggregate(turned, nil, oof, appWins).Availability)
		}
	})
}

func TestFading(t *testing.T) {
	require.Equal(t, Available, faded(Available, 5*time.Minute-1))
	require.Equal(t, AvailableInactive, faded(Available, 5*time.Minute))
	require.Equal(t, Away, faded(Available, 10*time.Minute))
	require.Equal(t, InACall, faded(InACall, 3*time.Hour))
}

func TestParsePair(t *testing.T) {
	require.Equal(t, InACall, ParsePair("Busy/InACall"))
	require.Equal(t, Away, ParsePair(" Away "))
}
