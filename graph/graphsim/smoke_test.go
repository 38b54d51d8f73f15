package graphsim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStartAndClose(t *testing.T) {
	s, err := Start(Config{Users: 3, Monitors: []string{"presence1"}})
	require.NoError(t, err)
	require.Len(t, s.Users(), 3)
	require.NoError(t, s.Close())
}
