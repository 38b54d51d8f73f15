package bus

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	s := runServer(t, &server.Options{})
	cfg := externalConfig(t, s.ClientURL())
	got, err := Inspect(t.Context(), cfg)
	require.NoError(t, err)
	require.True(t, got.Usable)
	require.Empty(t, got.Cluster)
	require.Empty(t, got.Streams, "nothing is made by looking")
	require.Contains(t, got.Missing, streamGraphIn)

	openBus(t, cfg)
	got, err = Inspect(t.Context(), cfg)
	require.NoError(t, err)
	require.Empty(t, got.Missing)
	for _, stream := range got.Streams {
		require.Equal(t, 1, stream.Replicas, stream.Name)
		require.Equal(t, 1, stream.Current, stream.Name)
	}
}

func TestInspectRefuses(t *testing.T) {
	t.Parallel()
	_, err := Inspect(t.Context(), testConfig(t))
	require.ErrorContains(t, err, "nats.url")
	_, err = Inspect(t.Context(), externalConfig(t, "nats://127.0.0.1:1"))
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestInUse(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	dir := filepath.Join(cfg.DataDir, "not-there")
	used, err := InUse(dir)
	require.NoError(t, err)
	require.False(t, used)
	_, err = os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist, "asking makes nothing")

	b := openBus(t, cfg)
	used, err = InUse(cfg.DataDir)
	require.NoError(t, err)
	require.True(t, used)
	closeBus(t, b)
	used, err = InUse(cfg.DataDir)
	require.NoError(t, err)
	require.False(t, used)
	free, err := FreeSpace(cfg.DataDir)
	require.NoError(t, err)
	require.Positive(t, free)
}
