package simkit

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"reflect"
	"strconv"
	"time"
)

// Dice is what is left to chance, the same for the same seed. It is not safe for concurrent use: its owner's mutex
// guards it.
type Dice struct{ r *mathrand.Rand }

// NewDice makes dice of a seed. The stream tells apart those who use the same seed.
func NewDice(seed, stream uint64) Dice { return Dice{mathrand.New(mathrand.NewPCG(seed, stream))} }

// Hit tells whether something of a probability happens now.
func (d Dice) Hit(p float64) bool { return p > 0 && (p >= 1 || d.r.Float64() < p) }

// UpTo is between a tenth of most and most.
func (d Dice) UpTo(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return most/10 + time.Duration(d.r.Int64N(int64(most-most/10)+1))
}

// Number is from 0 to below n.
func (d Dice) Number(n int) int { return d.r.IntN(n) }

// About is a random time around mean, at most five times as long.
func (d Dice) About(mean time.Duration) time.Duration {
	return time.Duration(min(d.r.ExpFloat64(), 5) * float64(mean))
}

// CheckFaults looks at every field of a simulator's faults: float64 are probabilities, durations are up to an hour.
func CheckFaults(sim string, faults any) error {
	v := reflect.ValueOf(faults)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		switch x := v.Field(i).Interface().(type) {
		case float64:
			if !(x >= 0 && x <= 1) {
				return fmt.Errorf("%s: faults: %s is %v, want a probability between 0 and 1", sim, name, x)
			}
		case time.Duration:
			if x < 0 || x > time.Hour {
				return fmt.Errorf("%s: faults: %s is %v, want between 0 and 1h", sim, name, x)
			}
		}
	}
	return nil
}

// FaultPreset chooses by a preset's name: none (also ""), some or cruel.
func FaultPreset[F any](sim, name string, some, cruel F) (F, error) {
	var none F
	switch name {
	case "none", "":
		return none, nil
	case "some":
		return some, nil
	case "cruel":
		return cruel, nil
	default:
		return none, fmt.Errorf("%s: faults %q: want none, some or cruel", sim, name)
	}
}

// RetryAfter is a Retry-After header's value (RFC 9110 section 10.2.3): seconds, or a date. Whoever obeys it waits at
// least so long.
func RetryAfter(wait time.Duration, date bool) string {
	if date {
		return time.Now().Add(wait + time.Second).UTC().Format(http.TimeFormat)
	}
	return strconv.Itoa(int((wait + time.Second - 1) / time.Second))
}

// Secret is n random bytes, in hexadecimal.
func Secret(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // documented never to fail
	return hex.EncodeToString(b)
}
