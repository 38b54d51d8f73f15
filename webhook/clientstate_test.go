package webhook

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var testKey = bytes.Repeat([]byte{0x5A}, KeySize)

func newState(t testing.TB, account string) string {
	t.Helper()
	s, err := NewClientState(testKey, account)
	require.NoError(t, err)
	return s
}

func TestClientState(t *testing.T) {
	a, b := newState(t, "contoso"), newState(t, "contoso")
	require.NotEqual(t, a, b)
	require.LessOrEqual(t, len(a), 128, "Graph's limit")
	require.Regexp(t, `^[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}$`, a)
	for _, s := range []string{a, b} {
		require.True(t, CheckClientState(testKey, "contoso", s))
		require.False(t, CheckClientState(testKey, "contos", s))
		require.False(t, CheckClientState(testKey, "", s))
		require.False(t, CheckClientState(bytes.Repeat([]byte{1}, KeySize), "contoso", s))
		require.False(t, CheckClientState(testKey[:31], "contoso", s))
	}
}

// The vector was computed apart from this code, with Python's hmac module. Subscriptions that
// outlive an upgrade depend on it.
func TestClientStateIsStable(t *testing.T) {
	require.True(t, CheckClientState(testKey, "contoso", "AAAAAAAAAAAAAAAAAAAAAA.d2JWv-ENdFCmeJ6DIfOm0csbQ60_Fu7O9ee7byDAIQs"))
}

func TestClientStateHasOneSpelling(t *testing.T) {
	good := newState(t, "contoso")
	for i := range len(good) {
		for _, c := range []byte("AQgw9-_.\x00 ") {
			altered := []byte(good)
			altered[i] = c
			if s := string(altered); s != good {
				require.False(t, CheckClientState(testKey, "contoso", s), "byte %d is %q", i, c)
			}
		}
	}
	for _, s := range []string{"", ".", good + "=", good + " ", " " + good, good[:len(good)-1], good + good,
		strings.ToLower(good), strings.ToUpper(good), strings.Repeat("A", clientStateLen), strings.Repeat(".", clientStateLen)} {
		require.False(t, CheckClientState(testKey, "contoso", s), "%q", s)
	}
}

func TestClientStateWantsWholeKey(t *testing.T) {
	for _, n := range []int{0, 31, 33} {
		_, err := NewClientState(make([]byte, n), "contoso")
		require.ErrorContains(t, err, "webhook_key_file", "%d bytes", n)
	}
}

func TestVerifierIsSafeForConcurrentUse(t *testing.T) {
	v, good := newVerifier(testKey, "contoso"), newState(t, "contoso")
	done := make(chan bool)
	for range 8 {
		go func() {
			ok := true
			for range 200 {
				ok = ok && v.check(good) && !v.check("x"+good[1:]) == (good[0] != 'x')
			}
			done <- ok
		}()
	}
	for range 8 {
		require.True(t, <-done)
	}
}

func FuzzCheckClientState(f *testing.F) {
	good := "AAAAAAAAAAAAAAAAAAAAAA.d2JWv-ENdFCmeJ6DIfOm0csbQ60_Fu7O9ee7byDAIQs"
	f.Add("contoso", good)
	f.Add("", "")
	f.Add("contoso", good[:clientStateLen-1]+"=")
	f.Fuzz(func(t *testing.T, account, state string) {
		if CheckClientState(testKey, account, state) {
			require.Equal(t, [2]string{"contoso", good}, [2]string{account, state}, "a forgery passed")
		}
	})
}
