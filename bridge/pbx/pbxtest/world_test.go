package pbxtest

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

// desk notes what its phone did, and fails at one thing.
type desk struct {
	did  []string
	fail string
}

func (d *desk) do(what, user string) error {
	d.did = append(d.did, what)
	if what == d.fail || user != "ada" {
		return errors.New(what + " failed")
	}
	return nil
}

func (d *desk) GoOffline(user string) error { return d.do("offline", user) }
func (d *desk) GoOnline(user string) error  { return d.do("online", user) }
func (d *desk) Ring(user string) error      { return d.do("ring", user) }
func (d *desk) StartCall(user string) error { return d.do("call", user) }
func (d *desk) Hold(user string) error      { return d.do("hold", user) }

func TestLine(t *testing.T) {
	for to, want := range map[presence.Line]string{
		presence.LineOffline: "offline", presence.LineIdle: "offline online", presence.LineRinging: "offline online ring",
		presence.LineInCall: "offline online call", presence.LineOnHold: "offline online call hold",
	} {
		steps := strings.Fields(want)
		d := &desk{}
		require.NoError(t, Line(d)("ada", to))
		require.Equal(t, steps, d.did, to)
		for i, step := range steps {
			d := &desk{fail: step}
			require.EqualError(t, Line(d)("ada", to), step+" failed", to)
			require.Equal(t, steps[:i+1], d.did, "what failed is the last thing that is tried")
		}
	}
}

func TestSecret(t *testing.T) {
	s, changed := NewSecret("one"), ""
	restore := s.Revoke(func(to string) { changed = to })()
	read := func() string {
		v, err := s.Read()
		require.NoError(t, err)
		return v
	}
	require.Equal(t, "one", read(), "the connector has the old one still")
	require.NotEqual(t, "one", changed)
	restore()
	require.Equal(t, changed, read())
}

func TestSetFaults(t *testing.T) {
	var got Faults
	w := &World{}
	w.SetFaults(func(f Faults) { got = f })
	for _, c := range []struct {
		do   func(on bool)
		want Faults
	}{
		{w.Break, Faults{Errors: 1}}, {w.FailApplied, Faults{AppliedButFailed: 1}}, {w.Repeat, Faults{Doubled: 1}}, {w.Lose, Faults{Dropped: 1}},
		{w.Shuffle, Faults{Late: 0.5, Reordered: 0.5, LateBy: 100 * time.Millisecond}},
	} {
		c.do(true)
		require.Equal(t, c.want, got)
		c.do(false)
		got.LateBy = 0
		require.Zero(t, got)
	}
	w.Slow(time.Second)
	require.Equal(t, Faults{Slow: 1, SlowBy: time.Second}, got)
	w.Slow(0)
	require.Zero(t, got)
	w.Throttle(time.Second)
	require.Equal(t, Faults{Throttled: 1, RetryAfter: time.Second}, got)
	w.Throttle(0)
	require.Zero(t, got)
}

func TestFile(t *testing.T) {
	b, err := os.ReadFile(File(t, "x.pem", []byte("text")))
	require.NoError(t, err)
	require.Equal(t, "text", string(b))
}
