package explore

import (
	"os"
	"testing"
)

// TestWorlds exhausts every small world; the large ones with EXPLORE=large.
func TestWorlds(t *testing.T) {
	large := os.Getenv("EXPLORE") == "large"
	total, deepest, writes, worst := 0, 0, 0, ""
	worlds := Worlds(large)
	if raced {
		worlds = worlds[:1]
	}
	for _, w := range worlds {
		t.Run(w.Name, func(t *testing.T) {
			r := Explore(&w, 12_000_000)
			total += r.States
			deepest = max(deepest, r.Depth)
			if r.Writes > writes {
				writes, worst = r.Writes, w.Name
			}
			t.Log(r)
			for _, c := range r.Failures {
				t.Error(c)
			}
			if r.Cut {
				t.Error("there are more states than allowed")
			}
		})
	}
	t.Logf("in all: %d states of %d worlds, depth %d at most, %d writes at most (%s)", total, len(worlds), deepest, writes, worst)
}

// TestEveryRuleIsNeeded switches the rules off, one after the other: each has a counter-example.
func TestEveryRuleIsNeeded(t *testing.T) {
	for _, r := range Rules() {
		t.Run(r.Name, func(t *testing.T) {
			for _, w := range r.Worlds {
				got := Explore(&w, 3_000_000)
				if len(got.Failures) > 0 {
					c := got.Failures[0]
					t.Logf("without %s, %s: after %d steps (%s, %d states)\n%s", r.Name, r.Means, len(c.Story)-1, w.Name, got.States, c)
					return
				}
				t.Logf("%s: %s", w.Name, got)
			}
			t.Errorf("nothing breaks without %s", r.Name)
		})
	}
}
