package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "2500ms": 2500 * time.Millisecond, "7d": 168 * time.Hour, "0.5s": 500 * time.Millisecond,
	} {
		got, err := parseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "5", "5 m", "d", "-1d", "1.5d", "99999999d", "1w", "five", "1e3s", "PT5M"} {
		_, err := parseDuration(text)
		require.Error(t, err, text)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "0B": 0, "1B": 1, "512KiB": 512 << 10, "8 MiB": 8 << 20, "1.5GiB": 3 << 29, "1GB": 1e9, "2kB": 2000, "1TiB": 1 << 40,
	} {
		got, err := parseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "8", "GiB", "-1GiB", "1e3KiB", "0x10B", "1_0B", "8gib", "8G", "1.2.3MiB", "99999999999PiB", "infB", "NaNB"} {
		_, err := parseSize(text)
		require.Error(t, err, text)
	}
}

func TestSizeIsWrittenAsItIsRead(t *testing.T) {
	require.Equal(t, "8GiB", Size(8<<30).String())
	require.Equal(t, "1025B", Size(1025).String())
	require.Equal(t, "0B", Size(0).String())
	rapid.Check(t, func(t *rapid.T) {
		size := Size(rapid.Int64Range(0, 1<<52).Draw(t, "bytes"))
		again, err := parseSize(size.String())
		require.NoError(t, err)
		require.Equal(t, size, again)
	})
}

func TestParseSync(t *testing.T) {
	got, err := parseSync("always")
	require.NoError(t, err)
	require.Equal(t, SyncAlways, got)
	require.Equal(t, "always", got.String())
	got, err = parseSync("200ms")
	require.NoError(t, err)
	require.Equal(t, Sync(200*time.Millisecond), got)
	require.Equal(t, "200ms", got.String())
	for _, text := range []string{"", "0", "-1s", "Always", "5"} {
		_, err := parseSync(text)
		require.Error(t, err, text)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"listen", "listn", 1}, {"tenant_id", "tennat_id", 1}, {"abc", "cab", 2}, {"kitten", "sitting", 3},
	} {
		require.Equal(t, c.want, distance(c.a, c.b), c.a+" "+c.b)
		require.Equal(t, c.want, distance(c.b, c.a), c.b+" "+c.a)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"url", "ca_file", "token_file", "timeout"}
	for word, want := range map[string]string{"uri": "url", "cafile": "ca_file", "tokenfile": "token_file", "Timeout": "timeout", "policy": "", "x": ""} {
		got, ok := nearest(word, known)
		require.Equal(t, want, got, word)
		require.Equal(t, want != "", ok)
	}
}
