package explore

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/policy"
)

func TestTeamsMakesOnePresenceOfSeveralSessions(t *testing.T) {
	for name, tt := range map[string]struct {
		s    state
		ours pair
		want pair
	}{
		"nobody":                              {s: state{clients: [2]pair{offline}}, want: offline},
		"ours alone":                          {s: state{clients: [2]pair{offline}}, ours: inCall, want: inCall},
		"the higher of two clients":           {s: state{clients: [2]pair{available, inCall}}, want: inCall},
		"busy before available":               {s: state{clients: [2]pair{available}}, ours: inCall, want: inCall},
		"do not disturb before busy":          {s: state{clients: [2]pair{presenting}}, ours: inCall, want: presenting},
		"a tie, theirs":                       {s: state{clients: [2]pair{busy}}, ours: inCall, want: busy},
		"a tie, ours":                         {s: state{clients: [2]pair{busy}, tieOurs: true}, ours: inCall, want: inCall},
		"a preference outranks":               {s: state{clients: [2]pair{inCall}, preferred: available}, want: available},
		"a preference of nobody does not":     {s: state{clients: [2]pair{offline}, preferred: dnd}, want: offline},
		"our session wakes a preference":      {s: state{clients: [2]pair{offline}, preferred: dnd}, ours: inCall, want: dnd},
		"an Away session is better than none": {s: state{clients: [2]pair{away}}, want: away},
	} {
		assert.Equal(t, tt.want, aggregate(&tt.s, tt.ours), name)
	}
}

func TestVersionsAreRanked(t *testing.T) {
	x := newExplorer(&World{sort: trusted, endpoints: 1})
	p := phone{is: seenAs{ver: 9, chg: 7}}
	rec := stamps{ver: 7, chg: 4}
	x.rank(&p, &rec)
	assert.Equal(t, seenAs{ver: 3, chg: 2}, p.is)
	assert.Equal(t, stamps{ver: 2, chg: 1}, rec)
	again := p
	x.rank(&p, &rec)
	assert.Equal(t, again, p, "ranks are their own ranks")
}

// graphOf is an explorer that has found these moves, as if it had made them.
func graphOf(rests []bool, from ...[]edge) *explorer {
	x := &explorer{world: &World{}, w: newWords(policy.Presets()["micollab"]), failures: map[string]bool{}, roots: 1, rest: rests}
	x.e = newEngine(x.w, trusted.capabilities(), 1, 0)
	x.first = x.e.begin()
	for _, out := range from {
		x.start = append(x.start, uint32(len(x.edges)))
		x.edges = append(x.edges, out...)
		x.states = append(x.states, state{rec: x.first})
		x.parent = append(x.parent, 0)
		x.via = append(x.via, 0)
	}
	return x
}

func properties(x *explorer) []string {
	x.world.onlyFirst = true
	x.analyse()
	var out []string
	for _, c := range x.result.Failures {
		out = append(out, c.Property)
	}
	return out
}

func TestTheGraphIsJudged(t *testing.T) {
	loops := graphOf([]bool{false, true}, []edge{{to: 1, writes: 1}}, []edge{{to: 0}})
	require.NotEmpty(t, properties(loops))
	assert.Contains(t, loops.result.Failures[0].Property, "no loop: the bridge writes")

	reads := graphOf([]bool{false, true}, []edge{{to: 1, other: asked}}, []edge{{to: 0}})
	require.NotEmpty(t, properties(reads))
	assert.Contains(t, reads.result.Failures[0].Property, "no loop: the bridge reads")

	renews := graphOf([]bool{false, true}, []edge{{to: 1, other: renewed}}, []edge{{to: 0, class: long}})
	assert.Empty(t, properties(renews), "renewals go on for ever")

	hurried := graphOf([]bool{false, true}, []edge{{to: 1, other: asked}}, []edge{{to: 0, class: long, other: hasty}})
	assert.Empty(t, properties(hurried), "minutes do not pass while a read is under way")

	stuck := graphOf([]bool{false, false, true}, []edge{{to: 1}}, []edge{{to: 2, class: person}}, nil)
	require.NotEmpty(t, properties(stuck))
	assert.Contains(t, stuck.result.Failures[0].Property, "never stuck", "somebody has to do something")

	most := graphOf([]bool{false, false, true}, []edge{{to: 1, writes: 2}, {to: 2, writes: 1}}, []edge{{to: 2, writes: 3, class: person}}, nil)
	most.rest[1] = true
	assert.Empty(t, properties(most))
	assert.Equal(t, 5, most.result.Writes)
}
