package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCompetingWriters(t *testing.T) {
	c := mustParse(t, minimal, Options{})
	require.Equal(t, Competing{Flips: 3, Window: 2 * time.Minute, Pause: 10 * time.Minute}, c.Accounts[0].Competing)
	c = mustParse(t, minimal+"    competing_writers: {flips: 5, window: 90s, pause: 1h}\n", Options{})
	require.Equal(t, Competing{Flips: 5, Window: 90 * time.Second, Pause: time.Hour}, c.Accounts[0].Competing)
	require.Empty(t, c.Warnings)
}

func TestCompetingWritersMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"flips: -1":   "line 9: accounts[0].competing_writers.flips: -1 is too small; use 0 to 100",
		"flips: 101":  "accounts[0].competing_writers.flips: 101 is too large; use 0 to 100",
		"flips: some": `accounts[0].competing_writers.flips: "some" is not a whole number`,
		"window: 9s":  "accounts[0].competing_writers.window: 9s is too small; use 10s to 1h",
		"window: 2":   `accounts[0].competing_writers.window: "2" `,
		"pause: 0s":   "accounts[0].competing_writers.pause: 0s is too small; use 10s to 24h",
		"pauses: 10m": "accounts[0].competing_writers.pauses: unknown key; did you mean pause?",
	} {
		list := problems(t, minimal+"    competing_writers: {"+text+"}\n", Options{})
		require.Len(t, list, 1)
		require.Contains(t, list[0], want)
	}
}

// What is accepted but does not do what it seems to is pointed out.
func TestCompetingWritersRemarks(t *testing.T) {
	for text, want := range map[string]string{
		"competing_writers: {flips: 0, pause: 1h}":            "accounts[0].competing_writers.flips: is 0, so competing writers are never noticed",
		"competing_writers: {flips: 1}":                       "accounts[0].competing_writers.flips: is 1: the fifth of five short calls is taken for a fight",
		"competing_writers: {flips: 6}\n    hold_down: 30s":   "6 flips take at least 2m30s with a hold_down of 30s, so competing writers are never noticed; make it longer than 2m30s",
		"competing_writers: {window: 10s}\n    hold_down: 6s": "accounts[0].competing_writers.window: 3 flips take at least 12s",
	} {
		c := mustParse(t, minimal+"    "+text+"\n", Options{})
		require.Len(t, c.Warnings, 1, text)
		require.Contains(t, c.Warnings[0].String(), want)
	}
	require.Empty(t, mustParse(t, minimal+"    competing_writers: {flips: 0}\n", Options{}).Warnings, "switched off by intent")
}
