package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/presence"
)

// That the bridge stays away from a side is shown with since and until, and under the name of the alert.
func TestCompetingWritersAreShown(t *testing.T) {
	since := time.Date(2026, 11, 25, 10, 12, 0, 0, time.Local)
	c := &api.Competing{Alert: api.AlertCompetingWriters, Since: since, Until: since.Add(10 * time.Minute)}
	m := api.Member{UPN: "anna@contoso.com", Teams: api.Teams{Competing: c, Because: []string{"competing_writers"}}, Endpoints: []api.Endpoint{{
		PBX: "main", Extension: "1007", Known: true, Line: presence.LineIdle, Competing: c, Because: []string{"competing_writers"},
	}}}
	var out bytes.Buffer
	require.NoError(t, table(&out, memberRows("contoso", &m)))
	require.Equal(t, 2, bytes.Count(out.Bytes(), []byte("since 2026-11-25 10:12:00 another program keeps changing what the bridge writes here; left alone until 2026-11-25 10:22:00 (alert PresenceBridgeCompetingWriters)")))
	require.Equal(t, "Teams: competing writers since 2026-11-25 10:12:00, left alone until 2026-11-25 10:22:00; main: competing writers since 2026-11-25 10:12:00, left alone until 2026-11-25 10:22:00", ours(&m))
	require.Len(t, memberRows("contoso", &api.Member{}), 7, "nobody fights")
}
