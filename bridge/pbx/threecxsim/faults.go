package threecxsim

import (
	"time"

	"presencebridge/bridge/pbx/simkit"
)

// Faults say how unpleasant the PBX is. Every rate is a probability between 0 and 1; the zero value is a PBX that
// works. What was already under way (a late frame, a late write) still comes.
type Faults struct {
	// Per frame. A late one comes after up to LateBy, a reordered one after the next, a dropped one never: its sequence
	// number is missing. Attached ones carry the participant, as the documentation says.
	Late      float64
	LateBy    time.Duration
	Doubled   float64
	Reordered float64
	Dropped   float64
	Attached  float64
	// CutSocket breaks a WebSocket after a frame.
	CutSocket float64

	// Per request. Errors are 5xx before anything was done; Throttled is 429 with Retry-After; Cut breaks the connection
	// before anything was done; Slow delays by up to SlowBy, before or after the deed; TokenLost makes the token invalid,
	// as if another program had fetched one with the same client id.
	Errors     float64
	Throttled  float64
	RetryAfter time.Duration
	Cut        float64
	Slow       float64
	SlowBy     time.Duration
	TokenLost  float64

	// Per PATCH. AppliedButFailed does it and answers 5xx, or breaks the connection; AppliedLate answers 504 and does it
	// up to ApplyLateBy later.
	AppliedButFailed float64
	AppliedLate      float64
	ApplyLateBy      time.Duration
	// ReadLag lets reads show what was before a PATCH, for up to ReadLagBy after it was answered.
	ReadLag   float64
	ReadLagBy time.Duration
}

// NoFaults is a PBX that works.
func NoFaults() Faults { return Faults{} }

// SomeFaults is a PBX on an ordinary bad day.
func SomeFaults() Faults {
	return Faults{
		Late: 0.05, LateBy: 2 * time.Second, Doubled: 0.3, Reordered: 0.02, Dropped: 0.005, Attached: 0.1, CutSocket: 0.001,
		Errors: 0.02, Throttled: 0.01, RetryAfter: time.Second, Cut: 0.01, Slow: 0.05, SlowBy: 500 * time.Millisecond, TokenLost: 0.002,
		AppliedButFailed: 0.02, AppliedLate: 0.01, ApplyLateBy: 3 * time.Second, ReadLag: 0.05, ReadLagBy: 500 * time.Millisecond,
	}
}

// CruelFaults is a PBX that nobody would buy.
func CruelFaults() Faults {
	return Faults{
		Late: 0.2, LateBy: 8 * time.Second, Doubled: 0.4, Reordered: 0.15, Dropped: 0.05, Attached: 0.2, CutSocket: 0.01,
		Errors: 0.1, Throttled: 0.05, RetryAfter: 2 * time.Second, Cut: 0.05, Slow: 0.2, SlowBy: 3 * time.Second, TokenLost: 0.01,
		AppliedButFailed: 0.1, AppliedLate: 0.05, ApplyLateBy: 15 * time.Second, ReadLag: 0.2, ReadLagBy: 900 * time.Millisecond,
	}
}

// FaultPreset returns the faults called "none", "some" or "cruel".
func FaultPreset(name string) (Faults, error) {
	return simkit.FaultPreset("threecxsim", name, SomeFaults(), CruelFaults())
}

// check looks at every rate and every duration.
func (f Faults) check() error { return simkit.CheckFaults("threecxsim", f) }

// SetFaults changes how unpleasant the PBX is from now on.
func (s *Sim) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	if f.Reordered == 0 {
		s.release()
	}
	return nil
}
