package graphsim

import (
	"sync/atomic"
	"time"
)

// Faults is how cruel the tenant is. Probabilities are 0 to 1; the zero value is none. All of it can
// be changed at any time, and what was set going before (a late notification, a late write) still
// arrives. Seeded, so that the same requests in the same order meet the same faults.
type Faults struct {
	Late    float64       `json:"late"`    // share of notification items that are late ...
	LateBy  time.Duration `json:"late_by"` // ... by up to this long
	Double  float64       `json:"double"`  // share delivered twice
	Reorder float64       `json:"reorder"` // share that newer ones may overtake
	Drop    float64       `json:"drop"`    // share never delivered
	Poison  float64       `json:"poison"`  // share that has a forged neighbour in the same request, whose signature is wrong

	AckLost  float64 `json:"ack_lost"`  // share of acknowledged requests whose very same body is sent again, as if the answer had been lost
	NoTokens float64 `json:"no_tokens"` // share of requests whose validationTokens is null, as of a tenant that demands role assignments; in no preset

	SilentDeath float64 `json:"silent_death"` // deaths per subscription and minute: it can still be read and renewed, but nothing comes
	Revalidate  float64 `json:"revalidate"`   // share of renewals that validate the endpoint again and fail with 400

	Throttle    float64       `json:"throttle"`     // share of requests answered 429 ...
	RetryAfter  time.Duration `json:"retry_after"`  // ... with this Retry-After, in whole seconds
	ServerError float64       `json:"server_error"` // share answered 500, 502, 503 or 504 with nothing done
	Slow        float64       `json:"slow"`         // share whose answer waits ...
	SlowBy      time.Duration `json:"slow_by"`      // ... up to this long, the work done before or after the wait

	Refuse        float64       `json:"refuse"`         // share of writes refused with 400
	AppliedFailed float64       `json:"applied_failed"` // share of writes applied, and then answered 503 or cut
	AppliedLate   float64       `json:"applied_late"`   // share of writes answered 504 or cut, and applied ...
	LandWithin    time.Duration `json:"land_within"`    // ... up to this long afterwards; 20 s and less keeps to the bridge's bounds
	WriteLag      time.Duration `json:"write_lag"`      // answered writes take effect up to this much late, so two may swap
	ReadLag       time.Duration `json:"read_lag"`       // reads show changes up to this much late
}

// None is a tenant on its best day.
func None() Faults { return Faults{} }

// Some is a tenant on an ordinary bad day.
func Some() Faults {
	return Faults{
		Late: 0.02, LateBy: 5 * time.Second, Double: 0.02, Reorder: 0.01, Drop: 0.005, Poison: 0.002, AckLost: 0.01,
		SilentDeath: 0.05,
		Throttle:    0.005, RetryAfter: time.Second, ServerError: 0.005, Slow: 0.01, SlowBy: 2 * time.Second,
		AppliedFailed: 0.005, AppliedLate: 0.002, LandWithin: 5 * time.Second, WriteLag: 500 * time.Millisecond,
	}
}

// Cruel is everything at once.
func Cruel() Faults {
	return Faults{
		Late: 0.1, LateBy: 20 * time.Second, Double: 0.1, Reorder: 0.1, Drop: 0.05, Poison: 0.02, AckLost: 0.05,
		SilentDeath: 0.3, Revalidate: 0.1,
		Throttle: 0.03, RetryAfter: 2 * time.Second, ServerError: 0.03, Slow: 0.05, SlowBy: 5 * time.Second,
		Refuse: 0.01, AppliedFailed: 0.03, AppliedLate: 0.02, LandWithin: 15 * time.Second,
		WriteLag: 2 * time.Second, ReadLag: time.Second,
	}
}

// Preset is the faults named none, some or cruel.
func Preset(name string) (Faults, bool) {
	switch name {
	case "none":
		return None(), true
	case "some":
		return Some(), true
	case "cruel":
		return Cruel(), true
	default:
		return Faults{}, false
	}
}

// cruelty holds the present faults with the chance that they are drawn from. Requests and
// notifications draw from streams of their own, so that one does not disturb the other.
type cruelty struct {
	now      atomic.Pointer[Faults]
	requests *dice
	post     *dice
}

func newCruelty(f Faults, seed uint64) *cruelty {
	c := &cruelty{requests: newDice(seed, 1), post: newDice(seed, 2)}
	c.now.Store(&f)
	return c
}

func (c *cruelty) faults() *Faults { return c.now.Load() }
