package sipsim

import (
	"time"

	"presencebridge/bridge/pbx/simkit"
)

// Faults say how unpleasant the PBX is. Every rate is a probability between 0 and 1; the zero value is a PBX that works.
type Faults struct {
	// Per notification. A doubled one comes twice, a late one after up to LateBy, after those that followed.
	Doubled float64
	Late    float64
	LateBy  time.Duration

	// Per request. Errors are 500, Throttled is 503 with Retry-After, both before anything was done. Stale lets the
	// nonce count as used up. Cut breaks the connection before anything was done.
	Errors     float64
	Throttled  float64
	RetryAfter time.Duration
	Stale      float64
	Cut        float64

	// Per PUBLISH. AppliedButFailed does it and does not answer.
	AppliedButFailed float64
}

// FaultPreset returns the faults called "none", "some" or "cruel".
func FaultPreset(name string) (Faults, error) {
	return simkit.FaultPreset("sipsim", name,
		Faults{
			Doubled: 0.1, Late: 0.05, LateBy: time.Second, Errors: 0.01, Throttled: 0.01, RetryAfter: time.Second, Stale: 0.02,
			Cut: 0.0005, AppliedButFailed: 0.01,
		},
		Faults{
			Doubled: 0.3, Late: 0.2, LateBy: 5 * time.Second, Errors: 0.05, Throttled: 0.05, RetryAfter: 2 * time.Second, Stale: 0.1,
			Cut: 0.002, AppliedButFailed: 0.05,
		})
}

// check looks at every rate and every duration.
func (f Faults) check() error { return simkit.CheckFaults("sipsim", f) }

// SetFaults changes how unpleasant the PBX is, from now on.
func (s *Sim) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	return nil
}
