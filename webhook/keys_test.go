package webhook

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOlderKeysAreAccepted: after a rotation Graph goes on repeating the clientStates of before.
func TestOlderKeysAreAccepted(t *testing.T) {
	now, before, never := []byte(strings.Repeat("n", KeySize)), []byte(strings.Repeat("b", KeySize)), []byte(strings.Repeat("x", KeySize))
	keys := [][]byte{now}
	a := &account{name: "contoso", known: true, verifier: newVerifier(now, "contoso"), keys: func() [][]byte { return keys }}
	state := func(key []byte, account string) string {
		s, err := NewClientState(key, account)
		require.NoError(t, err)
		return s
	}
	old := state(before, "contoso")
	require.True(t, a.made(state(now, "contoso")))
	require.False(t, a.made(old))
	keys = append(keys, before)
	require.True(t, a.made(old))
	require.False(t, a.made(state(before, "fabrikam")))
	require.False(t, a.made(state(never, "contoso")))
	require.False(t, a.made("short"))
	a.keys = nil
	require.False(t, a.made(old))
}
