package cli

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx/pbxsim"
)

func TestConformanceCommand(t *testing.T) {
	sim, err := pbxsim.Start(pbxsim.Config{Users: 4, Heartbeat: 50 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	token := write(t, filepath.Join(t.TempDir(), "token"), sim.Token())
	out := good(t, "pbx", "conformance", "--url", sim.URL(), "--token-file", token, "--run", "^(Statuses|Conflict|Joiner)$")
	require.Contains(t, out, "passed   Statuses")
	require.Contains(t, out, "skipped  Joiner                 this PBX offers no joiners\n")
	require.Contains(t, out, "\n2 passed, 0 failed, 1 skipped\n")

	require.NoError(t, sim.SetFaults(pbxsim.Faults{AppliedButFailed: 1}))
	r := run(t, "pbx", "conformance", "--url", sim.URL(), "--token-file", token, "--run", "^Conflict$")
	require.Equal(t, 1, r.code)
	require.NoError(t, sim.SetFaults(pbxsim.NoFaults()))

	var list []struct{ Test, Result string }
	require.NoError(t, json.Unmarshal([]byte(good(t, "pbx", "conformance", "--url", sim.URL(), "--token-file", token, "--run", "^Verify$", "--json")), &list))
	require.Len(t, list, 1)
	require.Equal(t, "passed", list[0].Result)
	require.Contains(t, bad(t, "pbx", "conformance", "--url", sim.URL(), "--token-file", token, "--run", "("), "--run:")
	require.Contains(t, bad(t, "pbx", "conformance", "--url", sim.URL(), "--token-file", "none"), "--token-file:")
}
