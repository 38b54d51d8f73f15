package bus

import (
	"fmt"
	"sync"
	"time"
)

// spaceInterval is how old a measurement of the free space may be.
const spaceInterval = time.Second

// space watches the free-space floor. On a full disk publishes time out and stay dead until the
// server restarts, so the bus refuses while there is still room for what the engine has to write.
type space struct {
	dir     string
	floor   int64
	measure func(dir string) (int64, error)
	metrics *metrics

	mu   sync.Mutex
	at   time.Time // of the last measurement
	last error     // what it said
}

func newSpace(c Config, m *metrics) *space {
	return &space{dir: c.DataDir, floor: c.MinFree, measure: c.FreeSpace, metrics: m}
}

// check is nil while there is room. Most calls cost a clock read: the disk is asked once a second.
func (s *space) check() error {
	if s == nil || s.floor < 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.at.IsZero() || now.Sub(s.at) >= spaceInterval {
		s.at, s.last = now, s.ask()
	}
	return s.last
}

func (s *space) ask() error {
	free, err := s.measure(s.dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	s.metrics.free.Set(float64(free))
	if free < s.floor {
		return fmt.Errorf("%w: %d bytes are free under %s, nats.min_free is %d; make room", ErrNoSpace, free, s.dir, s.floor)
	}
	return nil
}
