package keyring

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func testRing(t testing.TB, fill byte) *Keyring {
	t.Helper()
	k, err := New(bytes.Repeat([]byte{fill}, KeySize))
	require.NoError(t, err)
	return k
}

func TestNewWantsWholeKey(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33, 64} {
		_, err := New(make([]byte, n))
		require.ErrorContains(t, err, "want 32", "%d bytes", n)
	}
}

// The vector was computed apart from this code, with Python's hmac module. It stands for every
// key that is in use somewhere: if it fails, they are all lost.
func TestDeriveIsStable(t *testing.T) {
	k := testRing(t, 7)
	require.Equal(t, "0c3ba7d25d52a1ac0d4642741cd185d520ef549008478f5b91b373406854028d", hex.EncodeToString(k.Derive(PurposeWebhook)))
	require.Equal(t, "ddc8988d4da260f6", k.ID())
}

func TestDeriveKeepsPurposesApart(t *testing.T) {
	k, other := testRing(t, 1), testRing(t, 2)
	seen := map[string]string{}
	for _, p := range []string{PurposeWebhook, PurposeSeal, PurposeDataDir, "", "x"} {
		key := k.Derive(p)
		require.Len(t, key, KeySize)
		require.Equal(t, key, k.Derive(p))
		require.NotEqual(t, key, other.Derive(p))
		require.NotContains(t, seen, string(key), "purpose %q", p)
		seen[string(key)] = p
	}
	require.NotEqual(t, k.ID(), other.ID())
}

func TestSealOpen(t *testing.T) {
	k := testRing(t, 1)
	for _, plain := range [][]byte{nil, {}, []byte("secret"), bytes.Repeat([]byte("x"), 1<<16)} {
		for _, ctx := range [][]byte{nil, []byte("monitor/contoso/1")} {
			sealed, err := k.Seal(plain, ctx)
			require.NoError(t, err)
			require.Len(t, sealed, len(plain)+Overhead)
			got, err := k.Open(sealed, ctx)
			require.NoError(t, err)
			require.True(t, bytes.Equal(plain, got))
		}
	}
}

func TestSealNeverRepeats(t *testing.T) {
	k := testRing(t, 1)
	a, err := k.Seal([]byte("same"), nil)
	require.NoError(t, err)
	b, err := k.Seal([]byte("same"), nil)
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}

func TestOpenRefusesEveryAlteredBit(t *testing.T) {
	k := testRing(t, 1)
	ctx := []byte("context")
	sealed, err := k.Seal([]byte("refresh token"), ctx)
	require.NoError(t, err)
	for i := range len(sealed) * 8 {
		altered := bytes.Clone(sealed)
		altered[i/8] ^= 1 << (i % 8)
		_, err := k.Open(altered, ctx)
		switch byteNo := i / 8; {
		case byteNo < len(magic):
			require.ErrorIs(t, err, ErrFormat, "bit %d", i)
		case byteNo < headerSize:
			require.ErrorIs(t, err, ErrOtherKey, "bit %d", i)
		default:
			require.ErrorIs(t, err, ErrAltered, "bit %d", i)
		}
	}
}

func TestOpenRefusesEveryLength(t *testing.T) {
	k := testRing(t, 1)
	sealed, err := k.Seal([]byte("refresh token"), nil)
	require.NoError(t, err)
	for n := range sealed {
		_, err := k.Open(sealed[:n], nil)
		require.Error(t, err, "first %d bytes", n)
	}
	_, err = k.Open(append(bytes.Clone(sealed), 0), nil)
	require.ErrorIs(t, err, ErrAltered)
}

func TestOpenRefusesOtherContext(t *testing.T) {
	k := testRing(t, 1)
	sealed, err := k.Seal([]byte("token"), []byte("monitor/a"))
	require.NoError(t, err)
	for _, ctx := range []string{"", "monitor/b", "monitor/a ", "monitor/", "Monitor/a"} {
		_, err := k.Open(sealed, []byte(ctx))
		require.ErrorIs(t, err, ErrAltered, "context %q", ctx)
	}
}

func TestOpenNamesTheOtherKey(t *testing.T) {
	k, other := testRing(t, 1), testRing(t, 2)
	sealed, err := k.Seal([]byte("token"), nil)
	require.NoError(t, err)
	_, err = other.Open(sealed, nil)
	require.ErrorIs(t, err, ErrOtherKey)
	require.ErrorContains(t, err, k.ID())
	require.ErrorContains(t, err, other.ID())

	// With the id forged it is still the wrong key.
	copy(sealed[len(magic):], other.ring.Load().newest().id[:])
	_, err = other.Open(sealed, nil)
	require.ErrorIs(t, err, ErrAltered)
}

func TestNothingPrintsTheKey(t *testing.T) {
	k := testRing(t, 0xAB)
	secrets := []string{"abababab", "171 171", hex.EncodeToString(k.ring.Load().newest().prk)[:16], fmt.Sprint(k.ring.Load().newest().prk[:4])[1:8]}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("k", "key", k)
	slog.New(slog.NewTextHandler(&log, nil)).Info("k", "key", k)
	js, err := json.Marshal(map[string]any{"k": k})
	require.NoError(t, err)
	out := log.String() + string(js) + fmt.Sprintf("%v %+v %#v %s %x %d %q", k, k, k, k, k, k, k)
	for _, s := range secrets {
		require.NotContains(t, out, s)
	}
	require.Contains(t, out, k.ID())
	require.Equal(t, "keyring(nil)", fmt.Sprint((*Keyring)(nil)))
}

func FuzzOpen(f *testing.F) {
	k := testRing(f, 1)
	good, err := k.Seal([]byte("plain"), []byte("ctx"))
	require.NoError(f, err)
	f.Add(good, []byte("ctx"))
	f.Add(good[:headerSize], []byte(nil))
	f.Add([]byte(magic), []byte("ctx"))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, sealed, ctx []byte) {
		plain, err := k.Open(sealed, ctx)
		if err != nil {
			require.Nil(t, plain)
			require.True(t, errors.Is(err, ErrFormat) || errors.Is(err, ErrOtherKey) || errors.Is(err, ErrAltered))
			return
		}
		// The fuzzer runs in several processes, each with a seed of its own nonce.
		require.True(t, string(plain) == "plain" && string(ctx) == "ctx", "a forgery opened: %x", sealed)
	})
}
