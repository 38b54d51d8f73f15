package app

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEveryOrderIsKnown reads what the admin listener's side sends: the owner knows how to carry each of it out.
func TestEveryOrderIsKnown(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	sent := map[string]bool{"reseal_all": true} // made of reseal
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`command\{Op: "([a-z_]+)"`).FindAllSubmatch(text, -1) {
			sent[string(m[1])] = true
		}
	}
	assert.Greater(t, len(sent), 15)
	for op := range sent {
		assert.Contains(t, orders(), op)
	}
	for op := range orders() {
		assert.True(t, sent[op], "nobody orders %s", op)
	}
}

func TestAnUnknownOrderIsRefused(t *testing.T) {
	_, err := (&account{}).carryOut(t.Context(), command{Op: "dance"})
	assert.ErrorContains(t, err, `does not know the command "dance"`)
}
