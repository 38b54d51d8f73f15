package pbx_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// examples are the files that stand in a page, between "```go NAME" and "```".
func examples(t *testing.T, page string) map[string]string {
	t.Helper()
	f, err := os.Open(page)
	require.NoError(t, err)
	defer f.Close()
	out := map[string]string{}
	name := ""
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		switch after, begins := strings.CutPrefix(line, "```go "); {
		case begins:
			name = after
		case line == "```":
			name = ""
		case name != "":
			out[name] += line + "\n"
		}
	}
	require.NoError(t, lines.Err())
	return out
}

// The connector of CONNECTORS.md is built as if it stood in a folder of its own, vetted, and passes the suite.
func TestTheExampleWorks(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a package")
	}
	files := examples(t, "CONNECTORS.md")
	require.Contains(t, files, "acme.go")
	require.Contains(t, files, "acme_test.go")
	here, err := os.Getwd()
	require.NoError(t, err)
	dir, replace := t.TempDir(), map[string]string{}
	for name, text := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		replace[filepath.Join(here, "acme", name)] = file
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	file := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(file, overlay, 0o600))
	program := filepath.Join(dir, "acme.test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", file, "-o", program, "./acme").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.CommandContext(t.Context(), program, "-test.v").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestConformance/AppliedButFailed")
	require.NoDirExists(t, "acme")
}
