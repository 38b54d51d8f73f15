package wire

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/bus"
	"presencebridge/bridge/directory"
	"presencebridge/bridge/pbx"
)

func TestDirectoryOnTheRealBus(t *testing.T) {
	b, err := bus.Open(t.Context(), bus.Config{DataDir: filepath.Join(t.TempDir(), "bus"), Sync: bus.Sync(time.Second), MinFree: -1, MaxStore: 256 << 20})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		require.NoError(t, b.Close(ctx))
	})
	s := Store(b.Bucket(bus.Directory))
	keeper := func() *directory.Keeper {
		k, err := directory.NewKeeper(directory.KeeperConfig{Account: "contoso", Store: s})
		require.NoError(t, err)
		return k
	}
	users := []directory.User{
		{ID: "0A0B0C0D-0000-4000-8000-000000000001", UPN: "a@x.test", Enabled: true},
		{ID: "0a0b0c0d-0000-4000-8000-000000000002", UPN: "b@x.test", Enabled: true},
	}
	res := directory.Match(users, map[string][]pbx.User{"p": {{ID: "1", Email: "A@x.test"}}}, directory.Options{})
	one, two := keeper(), keeper()
	require.NoError(t, one.Save(t.Context(), users, res))
	known, err := two.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, res.Members, known.Members)
	require.Equal(t, res.People, known.People)

	// The second one leaves, seen by one keeper and then by another that still has the old revision.
	res = directory.Match(users[:1], nil, directory.Options{})
	require.NoError(t, one.Save(t.Context(), users[:1], res))
	require.NoError(t, two.Save(t.Context(), users[:1], res))
	known, err = one.Load(t.Context())
	require.NoError(t, err)
	require.Len(t, known.Users, 1)

	// And comes back.
	res = directory.Match(users, nil, directory.Options{})
	require.NoError(t, one.Save(t.Context(), users, res))
	require.NoError(t, two.Save(t.Context(), users, res))
	known, err = one.Load(t.Context())
	require.NoError(t, err)
	require.Len(t, known.People, 2)
}
