package explore

import (
	"os"
	"testing"
)

// TestWorlds exhausts every small world; the large ones with EXPLORE=large.
func TestWorlds(t *testing.T) {
	large := os.Getenv("EXPLORE") == "large"
	total := 0
	for _, w := range Worlds(large) {
		t.Run(w.Name, func(t *testing.T) {
			r := Explore(&w, 12_000_000)
			total += r.States
			t.Log(r)
			for _, c := range r.Failures {
				t.Error(c)
			}
			if r.Cut {
				t.Error("there are more states than allowed")
			}
		})
	}
	t.Logf("%d states in all", total)
}
