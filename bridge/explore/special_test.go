package explore

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestASpecialWorldSaysOnlyWhatDiffers(t *testing.T) {
	x := special{what: "calls", few: only(plain, 1), many: each(3), is: World{endpoints: 2, picks: []status{}, lines: []line{idle}}}

	w, ok := x.world(usual(plain), false)
	assert.True(t, ok)
	want := usual(plain)
	want.Name, want.people = plain.String()+", calls", 1
	want.endpoints, want.picks, want.lines = 2, []status{}, []line{idle}
	assert.Equal(t, want, w, "an empty list of picks is not the usual one")

	_, ok = x.world(usual(trusted), false)
	assert.False(t, ok, "one sort of PBX is enough in a test run")
	w, ok = x.world(usual(trusted), true)
	assert.True(t, ok)
	assert.Equal(t, uint8(3), w.people)
}

func TestEveryWorldHasANameOfItsOwn(t *testing.T) {
	for _, large := range []bool{false, true} {
		seen := map[string]bool{}
		for _, w := range Worlds(large) {
			assert.False(t, seen[w.Name], w.Name)
			assert.NotEmpty(t, w.starts, w.Name)
			assert.NotEmpty(t, w.clients, w.Name)
			seen[w.Name] = true
		}
	}
	for _, x := range specials() {
		assert.NotEqual(t, each(no), x.few, x.what)
		assert.NotEqual(t, each(no), x.many, x.what)
	}
}
