package graph_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
	"presencebridge/graph"
	"presencebridge/graph/graphsim"
)

type store struct{ token string }

func (s *store) LoadRefreshToken(context.Context) (string, error)   { return s.token, nil }
func (s *store) SaveRefreshToken(_ context.Context, t string) error { s.token = t; return nil }

// The whole client against the simulated tenant, which was written from the other side's view.
func TestAgainstSimulatedTenant(t *testing.T) {
	sim, err := graphsim.Start(graphsim.Config{Users: 30, Seed: 1, Monitors: []string{"presence1"}, AutoApprove: true, DeviceInterval: time.Second, StrictRotation: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, sim.CAPEM(), 0o600))
	c, err := graph.New(graph.Config{
		Account: "contoso", TenantID: sim.TenantID, ClientID: sim.ClientID,
		ClientSecret: func() (string, error) { return sim.ClientSecret, nil },
		Endpoints:    graph.Endpoints{Login: sim.LoginURL(), Graph: sim.GraphURL(), CAFile: ca},
		Log:          slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	ctx := t.Context()
	require.NoError(t, c.Verify(ctx))

	var ids []string
	require.NoError(t, c.Users(ctx, func(u graph.User) error { ids = append(ids, u.ID); return nil }))
	require.GreaterOrEqual(t, len(ids), 30)
	list, err := c.Presences(ctx, ids)
	require.NoError(t, err)
	require.Len(t, list, len(ids))

	inACall := presence.Pair{Availability: presence.Busy, Activity: presence.InACall}
	require.NoError(t, c.SetPresence(ctx, ids[0], inACall, 5*time.Minute))
	p, err := c.Presence(ctx, ids[0])
	require.NoError(t, err)
	require.Equal(t, inACall, p.Pair)
	require.NoError(t, c.ClearPresence(ctx, ids[0]))
	require.NoError(t, c.ClearPresence(ctx, ids[0]), "nothing to clear is success")
	require.NoError(t, c.SetPreferredPresence(ctx, ids[0], presence.ParsePairString("DoNotDisturb"), time.Hour))
	require.NoError(t, c.ClearPreferredPresence(ctx, ids[0]))
	require.NoError(t, c.SetStatusMessage(ctx, ids[0], "hello", time.Now().Add(time.Hour)))

	dc, err := c.StartDeviceCode(ctx)
	require.NoError(t, err)
	a, err := dc.Wait(ctx)
	require.NoError(t, err)
	require.Contains(t, a.UPN, "presence1")
	require.Contains(t, a.Scopes, "Presence.Read.All")
	require.False(t, a.GlobalAdministrator())
	d := c.Delegated(a.UPN, &store{token: a.RefreshToken})
	require.NoError(t, d.Refresh(ctx))
	require.NoError(t, d.Refresh(ctx))
	subs, err := d.ListSubscriptions(ctx)
	require.NoError(t, err)
	require.Empty(t, subs)
	require.NoError(t, d.DeleteSubscription(ctx, "22553876-f5ab-4529-bffb-cfe50aa89f87"))
}
