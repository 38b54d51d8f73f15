package api

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMoments(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 11, 25, 11, 30, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"":                          {},
		"10:15":                     time.Date(2026, 11, 25, 10, 15, 0, 0, zone),
		"23:00":                     time.Date(2026, 11, 24, 23, 0, 0, 0, zone),
		" 10:15:30 ":                time.Date(2026, 11, 25, 10, 15, 30, 0, zone),
		"2026-11-24 10:15":          time.Date(2026, 11, 24, 10, 15, 0, 0, zone),
		"2026-11-25T09:15:00Z":      time.Date(2026, 11, 25, 10, 15, 0, 0, zone),
		"2026-11-25T10:15:00+01:00": time.Date(2026, 11, 25, 10, 15, 0, 0, zone),
	} {
		got, err := ParseMoment(text, now)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%q is %v", text, got)
	}
	for text, says := range map[string]string{"noon": "write 10:15", "25:00": "write 10:15", "2026-11-26 10:15": "has not come yet"} {
		_, err := ParseMoment(text, now)
		require.ErrorContains(t, err, says)
	}
	at := now.Add(-time.Hour)
	for text, want := range map[string]time.Time{"": {}, "2h": at.Add(-2 * time.Hour), "09:00": time.Date(2026, 11, 25, 9, 0, 0, 0, zone)} {
		got, err := ParseSince(text, at, now)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%q is %v", text, got)
	}
	for _, text := range []string{"-1h", "0s", "yesterday"} {
		_, err := ParseSince(text, at, now)
		require.Error(t, err, text)
	}
	got, err := ParseSince("1h", time.Time{}, now)
	require.NoError(t, err)
	require.Equal(t, now.Add(-time.Hour), got)
}
