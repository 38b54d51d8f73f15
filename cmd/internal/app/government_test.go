package app

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/config"
	"presencebridge/graph/graphsim"
)

// syncBuffer is a buffer for a log.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestCloudsWithoutSubscriptions run on the sweep alone, and say so at the start.
func TestCloudsWithoutSubscriptions(t *testing.T) {
	t.Parallel()
	for _, cloud := range []string{"usgov-l4", "usgov-l5"} {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "contoso", 4, 0, func(c *graphsim.Config) { c.Government = true })
			var log syncBuffer
			a, err := startWith(t, launch{dir: t.TempDir(), sites: []*site{s}, log: slog.New(slog.NewTextHandler(&log, nil))}, map[string]string{
				"monitors: [{upn: " + s.monitor() + "}]": "monitors: []",
				"      endpoints:":                       "      cloud: " + cloud + "\n      endpoints:",
			})
			require.NoError(t, err)
			t.Cleanup(func() { stopApp(t, a) })
			awaitPhones(t, a, s)
			require.Contains(t, log.String(), "this cloud has no presence subscriptions")

			phone := s.phone(0)
			upn := s.person(t, phone)
			require.NoError(t, s.graph.StartCall(upn))
			eventually(t, func() bool { return s.status(phone) == "In a call" }, "the sweep carries a call over")
			require.NoError(t, s.pbx.StartCall(s.phone(1)))
			eventually(t, func() bool { return s.graph.Shown(s.person(t, s.phone(1))) == graphInACall }, "and the other way round")

			accounts, err := admin(t, a).Accounts(t.Context())
			require.NoError(t, err)
			sum := accounts[0].Coverage
			require.Equal(t, 4, accounts[0].Members[presence.CoveragePolled])
			require.Equal(t, "no_subscriptions", sum.Reasons[0].Why)
			require.Contains(t, sum.Text, "no presence subscriptions")
			require.Zero(t, sum.MonitorsNeeded)
			require.Empty(t, s.graph.Stats().Requests["createSubscription"])
		})
	}
}

func TestBudgetsAreTheConfiguredOnes(t *testing.T) {
	t.Parallel()
	b := budgets(config.Budgets{Reads: 900, ConfirmShare: 0.3, SweepShare: 0.1, Writes: 600, WritesMost: 700, Subscriptions: 50})
	require.Equal(t, 900, b.Reads.Limit)
	require.Equal(t, 700, b.Writes.Max)
	require.Equal(t, 50, b.Subscriptions.Limit)
	require.InDelta(t, 0.3, b.ConfirmShare, 1e-9)
	require.InDelta(t, 0.1, b.SweepShare, 1e-9)
}
