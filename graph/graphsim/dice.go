package graphsim

import (
	"math/rand/v2"
	"sync"
	"time"
)

// dice is a seeded source of chance that several goroutines may throw.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand // guarded by mu
}

func newDice(seed uint64, stream uint64) *dice {
	return &dice{r: rand.New(rand.NewPCG(seed, stream))}
}

// hit is true with the probability given. It draws nothing for 0 and for 1, so that a fault that is
// switched off does not shift the others.
func (d *dice) hit(probability float64) bool {
	if probability <= 0 {
		return false
	}
	if probability >= 1 {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.Float64() < probability
}

// upTo is a time between 0 and most.
func (d *dice) upTo(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.r.Int64N(int64(most) + 1))
}

// around is least plus an exponentially distributed time, of the mean given, no greater than most.
func (d *dice) around(least, mean, most time.Duration) time.Duration {
	if mean <= least {
		return least
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return min(most, least+time.Duration(d.r.ExpFloat64()*float64(mean-least)))
}

func (d *dice) guid() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return guid(d.r)
}

func (d *dice) token(n int) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return token(d.r, n)
}
