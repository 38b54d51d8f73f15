package shard

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// tenant is the state of a property test: small shards, so that all borders are met often.
type tenant struct {
	size     int
	members  map[string]bool
	monitors []Monitor
	shards   []Shard
}

func (w *tenant) step(t *rapid.T) {
	before := places(w.shards)
	members := slices.Collect(maps.Keys(w.members)) // in any order
	got := assign(w.shards, w.monitors, members, w.size)
	again := assign(w.shards, w.monitors, slices.Sorted(maps.Keys(w.members)), w.size)
	require.Equal(t, got, again, "equal inputs, equal results")
	usable := count(w.monitors)

	// Nobody is in two places, everybody is somewhere, no shard is empty or too large.
	after := places(got.Shards)
	total := 0
	for _, s := range got.Shards {
		if len(s.Members) == 0 || len(s.Members) > w.size || !slices.IsSorted(s.Members) {
			t.Fatalf("shard %s: %v", s.ID, s.Members)
		}
		total += len(s.Members)
	}
	if total != len(after) || len(after)+len(got.Polled) != len(w.members) {
		t.Fatalf("%d places, %d members in them, %d polled, %d in all", total, len(after), len(got.Polled), len(w.members))
	}
	for _, m := range got.Polled {
		if after[m] != "" || !w.members[m] {
			t.Fatalf("%s is polled and pushed, or unknown", m)
		}
	}
	// Everybody that fits is pushed.
	if want := min(len(w.members), usable*w.size); len(after) != want {
		t.Fatalf("%d of %d members are pushed, %d fit", len(after), len(w.members), want)
	}
	// One shard per usable monitor, and it keeps its own.
	w.checkCarriers(t, got)
	w.checkMoves(t, before, after, got, usable)
	w.shards = got.Shards
	for i := range w.monitors {
		w.monitors[i].Shard = ""
		for s, m := range got.Carrier {
			if m == w.monitors[i].ID {
				w.monitors[i].Shard = s
			}
		}
	}
	for i := range w.shards {
		w.shards[i].Stale = rapid.Bool().Draw(t, "stale")
	}
	// Settled: the same again changes nothing.
	rest := assign(w.shards, w.monitors, members, w.size)
	require.Equal(t, places(w.shards), places(rest.Shards))
	require.Equal(t, got.Carrier, rest.Carrier)
	require.Zero(t, rest.Moved)
}

func (w *tenant) checkCarriers(t *rapid.T, got Assignment) {
	used := map[string]bool{}
	for _, s := range got.Shards {
		id := got.Carrier[s.ID]
		i := slices.IndexFunc(w.monitors, func(m Monitor) bool { return m.ID == id })
		if i < 0 || !w.monitors[i].Usable || used[id] {
			t.Fatalf("shard %s is carried by %q", s.ID, id)
		}
		used[id] = true
	}
	for _, m := range w.monitors {
		if _, exists := got.Carrier[m.Shard]; m.Usable && exists && got.Carrier[m.Shard] != m.ID {
			t.Fatalf("shard %s was taken from %s without need", m.Shard, m.ID)
		}
	}
	if got.Spares != count(w.monitors)-len(got.Shards) {
		t.Fatalf("%d spares", got.Spares)
	}
}

// checkMoves shows that moves are minimal: only members of given-up shards move, a shard is given up only
// when there is no monitor for it, and then those with the fewest members that stayed.
func (w *tenant) checkMoves(t *rapid.T, before, after map[string]string, got Assignment, usable int) {
	stayed := map[string]int{}
	for m, s := range before {
		if w.members[m] {
			stayed[s]++
		}
	}
	lost := max(0, len(stayed)-usable)
	sizes := slices.Sorted(maps.Values(stayed))
	bound := 0
	for _, n := range sizes[:lost] {
		bound += n
	}
	survives := map[string]bool{}
	for _, s := range got.Shards {
		survives[s.ID] = true
	}
	moved, displaced := 0, 0
	for m, s := range before {
		if !w.members[m] {
			continue
		}
		if after[m] != s {
			displaced++
			if survives[s] {
				t.Fatalf("%s left shard %s for %q without need", m, s, after[m])
			}
		}
		if after[m] != "" && after[m] != s {
			moved++
		}
	}
	if displaced != bound {
		t.Fatalf("%d members lost their shard, %d had to", displaced, bound)
	}
	if moved != got.Moved {
		t.Fatalf("%d moved, %d said", moved, got.Moved)
	}
}

func places(shards []Shard) map[string]string {
	out := map[string]string{}
	for _, s := range shards {
		for _, m := range s.Members {
			out[m] = s.ID
		}
	}
	return out
}

func TestAssignProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &tenant{size: rapid.IntRange(1, 4).Draw(t, "size"), members: map[string]bool{}}
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				for range rapid.IntRange(1, 6).Draw(t, "n") {
					w.members[fmt.Sprint("m", rapid.IntRange(0, 30).Draw(t, "who"))] = true
				}
				w.step(t)
			},
			"leave": func(t *rapid.T) {
				for range rapid.IntRange(1, 6).Draw(t, "n") {
					delete(w.members, fmt.Sprint("m", rapid.IntRange(0, 30).Draw(t, "who")))
				}
				w.step(t)
			},
			"monitor": func(t *rapid.T) {
				next++
				w.monitors = append(w.monitors, Monitor{ID: fmt.Sprint("mon", next), Usable: rapid.Bool().Draw(t, "usable")})
				w.step(t)
			},
			"dies or mends": func(t *rapid.T) {
				if len(w.monitors) == 0 {
					t.Skip("none")
				}
				m := &w.monitors[rapid.IntRange(0, len(w.monitors)-1).Draw(t, "which")]
				m.Usable = !m.Usable
				w.step(t)
			},
			"retired": func(t *rapid.T) {
				if len(w.monitors) == 0 {
					t.Skip("none")
				}
				i := rapid.IntRange(0, len(w.monitors)-1).Draw(t, "which")
				w.monitors = slices.Delete(w.monitors, i, i+1)
				w.step(t)
			},
		})
	})
}

// What is found in a store may be anything.
func TestAssignMendsNonsense(t *testing.T) {
	got := assign([]Shard{
		{ID: "1", Members: []string{"a", "b", "b", "c", "d"}},
		{ID: "2", Members: []string{"a", "gone"}},
		{ID: "1", Members: []string{"e"}},
		{ID: "", Members: []string{"f"}},
	}, []Monitor{{ID: "x", Usable: true, Shard: "1"}, {ID: "y", Usable: true, Shard: "1"}}, []string{"a", "b", "c", "d", "e", "f", "e"}, 3)
	require.Equal(t, map[string]string{"a": "1", "b": "1", "c": "1", "d": "3", "e": "3", "f": "3"}, places(got.Shards))
	require.Equal(t, map[string]string{"1": "x", "3": "y"}, got.Carrier)
}

func TestDeadMonitorsShardGoesToTheSpareWhole(t *testing.T) {
	members := ids(1300)
	first := Assign(nil, []Monitor{{ID: "a", Usable: true}, {ID: "b", Usable: true}, {ID: "c", Usable: true}}, members)
	require.Len(t, first.Shards, 2)
	require.Equal(t, 1, first.Spares)
	second := Assign(first.Shards, []Monitor{{ID: "a", Shard: "1"}, {ID: "b", Usable: true, Shard: "2"}, {ID: "c", Usable: true}}, members)
	require.Equal(t, map[string]string{"1": "c", "2": "b"}, second.Carrier)
	require.Zero(t, second.Moved)
	require.Zero(t, second.Spares)
	// No spare left: the second shard's members have no place, the first one's do not move.
	third := Assign(second.Shards, []Monitor{{ID: "a"}, {ID: "b", Shard: "2"}, {ID: "c", Usable: true, Shard: "1"}}, members)
	require.Len(t, third.Polled, 650)
	require.Equal(t, map[string]string{"1": "c"}, third.Carrier)
}

func TestNeed(t *testing.T) {
	for n, want := range map[int]int{0: 0, 1: 1, 650: 1, 651: 2, 100_000: 154} {
		require.Equal(t, want, Need(n), n)
	}
}

// Some 0.1 s; the limit leaves room for the race detector on a busy machine.
func TestAssignIsFast(t *testing.T) {
	members := ids(100_000)
	mons := make([]Monitor, 154)
	for i := range mons {
		mons[i] = Monitor{ID: fmt.Sprint(i), Usable: true}
	}
	start := time.Now()
	got := Assign(nil, mons, members)
	require.Empty(t, got.Polled)
	require.Len(t, got.Shards, 154)
	got = Assign(got.Shards, mons, members[1000:])
	require.Len(t, got.Shards, 153, "the first shard has nobody left")
	require.Less(t, time.Since(start), 30*time.Second)
}

func ids(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%08x-0000-4000-8000-000000000000", i)
	}
	return out
}

// TestAssignPropertiesOfPlaces: with several applications each monitor is as many places, which come and go together with the
// monitor, or all monitors' with an application; one alone may need a sign-in. The properties are the same.
func TestAssignPropertiesOfPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &tenant{size: rapid.IntRange(1, 4).Draw(t, "size"), members: map[string]bool{}}
		mons, apps := 0, 1
		id := func(mon, app int) string { return fmt.Sprintf("mon%d-%d", mon, app) }
		of := func(match func(id string) bool, change func(*Monitor)) {
			for i := range w.monitors {
				if match(w.monitors[i].ID) {
					change(&w.monitors[i])
				}
			}
		}
		someone := func(t *rapid.T) func(string) bool {
			prefix := fmt.Sprintf("mon%d-", rapid.IntRange(1, max(1, mons)).Draw(t, "monitor"))
			return func(id string) bool { return strings.HasPrefix(id, prefix) }
		}
		t.Repeat(map[string]func(*rapid.T){
			"members": func(t *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(t, "n") {
					who := fmt.Sprint("m", rapid.IntRange(0, 40).Draw(t, "who"))
					if w.members[who] {
						delete(w.members, who)
					} else {
						w.members[who] = true
					}
				}
				w.step(t)
			},
			"monitor added": func(t *rapid.T) {
				mons++
				for app := 1; app <= apps; app++ {
					w.monitors = append(w.monitors, Monitor{ID: id(mons, app), Usable: rapid.Bool().Draw(t, "signed in")})
				}
				w.step(t)
			},
			"application added": func(t *rapid.T) {
				if apps == 3 {
					t.Skip("enough")
				}
				apps++
				for mon := 1; mon <= mons; mon++ {
					w.monitors = append(w.monitors, Monitor{ID: id(mon, apps), Usable: rapid.Bool().Draw(t, "signed in")})
				}
				w.step(t)
			},
			"application removed": func(t *rapid.T) {
				if apps == 1 {
					t.Skip("the last")
				}
				suffix := fmt.Sprint("-", apps)
				apps--
				w.monitors = slices.DeleteFunc(w.monitors, func(m Monitor) bool { return strings.HasSuffix(m.ID, suffix) })
				w.step(t)
			},
			"monitor dies": func(t *rapid.T) {
				of(someone(t), func(m *Monitor) { m.Usable = false })
				w.step(t)
			},
			"monitor mends": func(t *rapid.T) {
				of(someone(t), func(m *Monitor) { m.Usable = true })
				w.step(t)
			},
			"monitor retired": func(t *rapid.T) {
				gone := someone(t)
				w.monitors = slices.DeleteFunc(w.monitors, func(m Monitor) bool { return gone(m.ID) })
				w.step(t)
			},
			"one place changes": func(t *rapid.T) {
				if len(w.monitors) == 0 {
					t.Skip("none")
				}
				m := &w.monitors[rapid.IntRange(0, len(w.monitors)-1).Draw(t, "which")]
				m.Usable = !m.Usable
				w.step(t)
			},
		})
	})
}
