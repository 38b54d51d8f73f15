package bus

import (
	"context"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

func TestAsk(t *testing.T) {
	t.Parallel()
	cfg := externalConfig(t, runServer(t, &server.Options{}).ClientURL())
	_, err := Ask(t.Context(), cfg, "contoso", []byte("hello"))
	require.ErrorIs(t, err, ErrNoOwner)

	owner := openBus(t, cfg)
	stop, err := owner.ServeCommands("contoso", func(_ context.Context, req []byte) []byte { return append([]byte("re: "), req...) })
	require.NoError(t, err)
	defer stop()
	got, err := Ask(t.Context(), cfg, "contoso", []byte("hello"))
	require.NoError(t, err)
	require.Equal(t, "re: hello", string(got))
	_, err = Ask(t.Context(), cfg, "fabrikam", nil)
	require.ErrorIs(t, err, ErrNoOwner)
}

func TestAskRefuses(t *testing.T) {
	t.Parallel()
	_, err := Ask(t.Context(), testConfig(t), "contoso", nil)
	require.ErrorContains(t, err, "nats.url")
	_, err = Ask(t.Context(), externalConfig(t, "nats://127.0.0.1:1"), "contoso", nil)
	require.ErrorIs(t, err, ErrUnavailable)
}
