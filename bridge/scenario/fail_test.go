package scenario

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// failing is a story that cannot come true.
const failing = `Scenario: a story that cannot come true
PBX: any
Given Anna has phone 1001 on main
  And Anna is signed in to Teams
 When at 10:00:00 phone 1001 is in a call
 Then within 5s Teams shows Anna as Away
`

// TestAStoryThatFails is what the child of the next test runs.
func TestAStoryThatFails(t *testing.T) {
	if os.Getenv("SCENARIO_THAT_FAILS") == "" {
		t.Skip("only as the child of TestFailureTellsTheTimeline")
	}
	s, err := Parse("failing.txt", strings.NewReader(failing))
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, s, "versions")
		defer w.close()
		w.play()
	})
}

// A story that fails says where, what was there instead, what happened on both sides, and what the bridge has to say.
func TestFailureTellsTheTimeline(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestAStoryThatFails$")
	cmd.Env = append(os.Environ(), "SCENARIO_THAT_FAILS=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "it fails")
	for _, part := range []string{
		"failing.txt:6: Then within 5s Teams shows Anna as Away", `Teams shows "Busy/InACall", not "Away/Away"`, `on a PBX of the kind "versions"`,
		`10:00:00.000  phone 1001 on main: in-call, "Available" (line)`, "Teams shows anna@contoso.example as Busy/InACall (set-presence)",
		"what explain says about Anna:", "because phone 1001 on main was in a call", "The bridge sets Busy (in a call) in Teams",
	} {
		require.Contains(t, string(out), part)
	}
}
