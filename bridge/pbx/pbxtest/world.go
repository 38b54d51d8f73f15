package pbxtest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// Phones are what the people of a PBX can do with theirs. Those who have one may make [World.Line] of it with [Line].
type Phones interface {
	GoOffline(user string) error
	GoOnline(user string) error
	Ring(user string) error
	StartCall(user string) error
	Hold(user string) error
}

// Line brings a user's line into a state, whichever it is in.
func Line(p Phones) func(user string, to presence.Line) error {
	return func(user string, to presence.Line) error {
		if err := p.GoOffline(user); err != nil || to == presence.LineOffline {
			return err
		}
		if err := p.GoOnline(user); err != nil || to == presence.LineIdle {
			return err
		}
		if to == presence.LineRinging {
			return p.Ring(user)
		}
		if err := p.StartCall(user); err != nil || to == presence.LineInCall {
			return err
		}
		return p.Hold(user)
	}
}

// State is what [World.Shown] and [World.Published] are asked for.
func State(line, status, message string) pbx.State {
	return pbx.State{Line: presence.Line(line), Status: presence.Status{Name: status}, Message: message}
}

// Secret is what a connector finds where it looks for its credentials. It is safe for concurrent use.
type Secret struct {
	mu    sync.Mutex
	value string
}

// NewSecret makes a place with a secret in it.
func NewSecret(value string) *Secret { return &Secret{value: value} }

// Read returns the secret.
func (s *Secret) Read() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value, nil
}

// Revoke is [World.Revoke] with a PBX's own way to change the secret: the connector's is changed by restoring.
func (s *Secret) Revoke(change func(to string)) func() (restore func()) {
	return func() (restore func()) {
		const another = "another-one" // a token (RFC 6750 section 2.1) has no space
		change(another)
		return func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.value = another
		}
	}
}

// File writes a file that is gone with the test, and returns its name.
func File(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// Faults are those that simulators have, whatever they call them: probabilities, and how long. The zero value is a PBX
// that works.
type Faults struct {
	// Of events.
	Late, Doubled, Reordered, Dropped float64
	// Of requests.
	Slow, Errors, Throttled float64
	// Of writes.
	AppliedButFailed float64
	// LateBy, SlowBy and RetryAfter say how long.
	LateBy, SlowBy, RetryAfter time.Duration
}

// SetFaults makes Slow, Break, Throttle, FailApplied, Repeat, Shuffle and Lose of a way to set all faults at once. What
// the PBX cannot do is to be made nil afterwards.
func (w *World) SetFaults(set func(Faults)) {
	w.Slow = func(d time.Duration) { set(Faults{Slow: rate(d > 0), SlowBy: d}) }
	w.Break = func(on bool) { set(Faults{Errors: rate(on)}) }
	w.Throttle = func(wait time.Duration) { set(Faults{Throttled: rate(wait > 0), RetryAfter: wait}) }
	w.FailApplied = func(on bool) { set(Faults{AppliedButFailed: rate(on)}) }
	w.Repeat = func(on bool) { set(Faults{Doubled: rate(on)}) }
	w.Shuffle = func(on bool) {
		set(Faults{Late: rate(on) / 2, LateBy: 100 * time.Millisecond, Reordered: rate(on) / 2})
	}
	w.Lose = func(on bool) { set(Faults{Dropped: rate(on)}) }
}

func rate(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
