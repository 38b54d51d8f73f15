package pbxsim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func start(t *testing.T, cfg Config) *Sim {
	t.Helper()
	s, err := Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestPeopleMovedByHand(t *testing.T) {
	s := start(t, Config{Users: 3})
	require.NoError(t, s.Ring("u000001"))
	require.NoError(t, s.StartCall("u000001"))
	require.NoError(t, s.Pick("1001", "Do not disturb"))
	p, err := s.Presence("user1@contoso.example")
	require.NoError(t, err)
	require.Equal(t, LineInCall, p.Line)
	require.Equal(t, "Do not disturb", p.Status)
	require.EqualValues(t, 2, p.Version)
	require.ErrorIs(t, s.Hold("u000002"), ErrNoCall)
	require.ErrorIs(t, s.Pick("u000002", "nope"), ErrNoStatus)
	require.ErrorIs(t, s.Ring("nobody"), ErrNoUser)
}
