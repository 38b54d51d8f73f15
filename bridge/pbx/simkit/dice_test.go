package simkit

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDiceAreTheSameForTheSameSeed(t *testing.T) {
	throw := func(seed, stream uint64) (out []int) {
		d := NewDice(seed, stream)
		for range 20 {
			out = append(out, d.Number(1000))
		}
		return out
	}
	first := throw(1, 2)
	require.Equal(t, first, throw(1, 2))
	require.NotEqual(t, first, throw(2, 2))
	require.NotEqual(t, first, throw(1, 3))
}

func TestDiceKeepToTheirBounds(t *testing.T) {
	d := NewDice(1, 1)
	hits := 0
	for range 10_000 {
		require.False(t, d.Hit(0))
		require.True(t, d.Hit(1))
		if d.Hit(0.3) {
			hits++
		}
		late := d.UpTo(time.Second)
		require.GreaterOrEqual(t, late, time.Second/10)
		require.LessOrEqual(t, late, time.Second)
		require.LessOrEqual(t, d.About(time.Second), 5*time.Second)
	}
	require.InDelta(t, 3000, hits, 300)
	require.Zero(t, d.UpTo(0))
	require.Zero(t, d.UpTo(-1))
}

type someFaults struct {
	Cut   float64
	CutBy time.Duration
	Other string
}

func TestCheckFaults(t *testing.T) {
	require.NoError(t, CheckFaults("sim", someFaults{Cut: 1, CutBy: time.Hour}))
	for want, f := range map[string]someFaults{
		"sim: faults: Cut is 1.5, want a probability between 0 and 1": {Cut: 1.5},
		"Cut is -1":                      {Cut: -1},
		"CutBy is -1ns, want between":    {CutBy: -1},
		"CutBy is 1h0m1s, want between ": {CutBy: time.Hour + time.Second},
	} {
		require.ErrorContains(t, CheckFaults("sim", f), want)
	}
}

func TestFaultPreset(t *testing.T) {
	for name, want := range map[string]float64{"": 0, "none": 0, "some": 0.1, "cruel": 0.5} {
		f, err := FaultPreset("sim", name, someFaults{Cut: 0.1}, someFaults{Cut: 0.5})
		require.NoError(t, err)
		require.InDelta(t, want, f.Cut, 0, name)
	}
	_, err := FaultPreset("sim", "brutal", someFaults{}, someFaults{})
	require.ErrorContains(t, err, `sim: faults "brutal": want none, some or cruel`)
}

// Who obeys waits at least as long, however the wait is said.
func TestRetryAfter(t *testing.T) {
	for wait, want := range map[time.Duration]int{0: 0, time.Second: 1, 1100 * time.Millisecond: 2} {
		secs, err := strconv.Atoi(RetryAfter(wait, false))
		require.NoError(t, err)
		require.Equal(t, want, secs)
		before := time.Now()
		at, err := http.ParseTime(RetryAfter(wait, true))
		require.NoError(t, err)
		require.GreaterOrEqual(t, at.Sub(before), wait)
	}
}

func TestSecret(t *testing.T) {
	one := Secret(6)
	require.Len(t, one, 12)
	require.NotEqual(t, one, Secret(6))
}
