package pbxsim

import (
	"time"

	"presencebridge/bridge/pbx/simkit"
)

// Faults say how unpleasant the PBX is. Every rate is a probability between 0 and 1; the zero value is a
// PBX that works. Rates apply to what happens from then on; what was already under way (a late event, a
// late write) still comes.
type Faults struct {
	// Per event. Late ones show the state of when they happened, after up to LateBy; a reordered one comes
	// after the next event; a dropped one leaves a gap in the ids and is never seen, also not by resuming.
	Late      float64       `json:"late"`
	LateBy    time.Duration `json:"-"`
	Doubled   float64       `json:"doubled"`
	Reordered float64       `json:"reordered"`
	Dropped   float64       `json:"dropped"`
	// CutStream breaks an event stream after an event was written to it. Nothing is lost by it.
	CutStream float64 `json:"cut_stream"`

	// Per request. Errors are 5xx before anything was done; Throttled is 429 with Retry-After; Cut breaks
	// the connection before anything was done; Slow delays by up to SlowBy, before or after the deed.
	Errors     float64       `json:"errors"`
	Throttled  float64       `json:"throttled"`
	RetryAfter time.Duration `json:"-"`
	Cut        float64       `json:"cut"`
	Slow       float64       `json:"slow"`
	SlowBy     time.Duration `json:"-"`

	// Per PUT. AppliedButFailed does it and answers 5xx, or breaks the connection; AppliedLate answers
	// 504 and does it up to ApplyLateBy later, precondition and all. ConflictStorm makes a user's version
	// run ahead for StormFor, as if calls came and went on a site that counts the line, so that
	// conditional writes meet 412.
	AppliedButFailed float64       `json:"applied_but_failed"`
	AppliedLate      float64       `json:"applied_late"`
	ApplyLateBy      time.Duration `json:"-"`
	ConflictStorm    float64       `json:"conflict_storm"`
	StormFor         time.Duration `json:"-"`
	// ReadLag lets reads show what was before a PUT, for up to ReadLagBy after it was answered.
	ReadLag   float64       `json:"read_lag"`
	ReadLagBy time.Duration `json:"-"`
}

// NoFaults is a PBX that works.
func NoFaults() Faults { return Faults{} }

// SomeFaults is a PBX on an ordinary bad day.
func SomeFaults() Faults {
	return Faults{
		Late: 0.05, LateBy: 2 * time.Second, Doubled: 0.05, Reordered: 0.02, Dropped: 0.005, CutStream: 0.001,
		Errors: 0.02, Throttled: 0.01, RetryAfter: time.Second, Cut: 0.01, Slow: 0.05, SlowBy: 500 * time.Millisecond,
		AppliedButFailed: 0.02, AppliedLate: 0.01, ApplyLateBy: 3 * time.Second,
		ConflictStorm: 0.01, StormFor: 2 * time.Second, ReadLag: 0.05, ReadLagBy: 500 * time.Millisecond,
	}
}

// CruelFaults is a PBX that nobody would buy.
func CruelFaults() Faults {
	return Faults{
		Late: 0.2, LateBy: 8 * time.Second, Doubled: 0.2, Reordered: 0.15, Dropped: 0.05, CutStream: 0.01,
		Errors: 0.1, Throttled: 0.05, RetryAfter: 2 * time.Second, Cut: 0.05, Slow: 0.2, SlowBy: 3 * time.Second,
		AppliedButFailed: 0.1, AppliedLate: 0.05, ApplyLateBy: 15 * time.Second,
		ConflictStorm: 0.05, StormFor: 5 * time.Second, ReadLag: 0.2, ReadLagBy: 900 * time.Millisecond,
	}
}

// FaultPreset returns the faults called "none", "some" or "cruel".
func FaultPreset(name string) (Faults, error) {
	return simkit.FaultPreset("pbxsim", name, SomeFaults(), CruelFaults())
}

// check looks at every rate and every duration.
func (f Faults) check() error { return simkit.CheckFaults("pbxsim", f) }

// SetFaults changes how unpleasant the PBX is from now on.
func (s *Sim) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	if f.Reordered == 0 {
		s.releaseHeld()
	}
	return nil
}

// Faults returns the present ones.
func (s *Sim) Faults() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}
