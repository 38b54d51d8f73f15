package micollab_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/micollab"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/presence"
)

func start(t *testing.T, cfg pbxsim.Config) *pbxsim.Sim {
	t.Helper()
	s, err := pbxsim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func connect(t *testing.T, s *pbxsim.Sim, change func(*micollab.Config)) *micollab.Client {
	t.Helper()
	cfg := micollab.Config{
		Account: "contoso", Name: "main", URL: s.URL(), Token: func() (string, error) { return s.Token(), nil },
		Timeout: time.Minute, BackoffMin: 10 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	c, err := micollab.New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestOneWayThere(t *testing.T) {
	s := start(t, pbxsim.Config{Users: 450})
	c := connect(t, s, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := make(chan pbx.Event, 100)
	done := make(chan error, 1)
	go func() { done <- c.Watch(ctx, func(e pbx.Event) { events <- e }) }()
	require.Equal(t, pbx.EventReset, (<-events).Kind)
	users, err := c.Snapshot(ctx)
	require.NoError(t, err)
	require.Len(t, users, 450)
	require.Equal(t, presence.Status{Name: "Available", Kind: presence.KindAvailable}, users[0].State.Status)
	st, err := c.Apply(ctx, users[0].ID, pbx.Write{Status: presence.Status{Name: "in a CALL"}, IfVersion: users[0].State.Version})
	require.NoError(t, err)
	require.Equal(t, "In a call", st.Status.Name)
	require.Equal(t, pbx.AuthorSelf, st.ChangedBy)
	for {
		e := <-events
		if e.Kind == pbx.EventState {
			require.Equal(t, users[0].ID, e.User)
			require.Equal(t, st, e.State)
			break
		}
	}
	_, err = c.Apply(ctx, users[0].ID, pbx.Write{Status: presence.Status{Name: "Away"}, IfVersion: users[0].State.Version})
	require.Equal(t, pbx.Conflict, pbx.KindOf(err))
	require.NoError(t, c.Verify(ctx))
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
