package bridge

import (
	"context"
	"sync"
	"time"
)

// complaintEvery is how often the log says that records are not stored: thousands of them may fail for one cause, as in a
// first start whose records come faster than a disk takes them, and each is tried again every second.
const complaintEvery = time.Minute

// complaint tells once in a while that records are not stored, and once that they are again. It is shared by the loops.
type complaint struct {
	e *Engine

	mu      sync.Mutex
	began   time.Time // zero: there is nothing to complain of
	waiting int       // records that failed and are not stored yet
	count   int       // failures since the log last told of them
	total   int       // and since it began
	last    error
}

// failed takes in that a record was not stored; first tells whether it is that record's first failure.
func (c *complaint) failed(member string, err error, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first {
		c.waiting++
	}
	c.count++
	c.total++
	c.last = err
	if !c.began.IsZero() {
		return
	}
	c.began, c.count = time.Now(), 0
	c.e.log.Warn("record was not stored, trying again", "member", member, "error", err, "next_word_in", complaintEvery)
	c.e.request(c.run)
}

// settled takes in that a record that had failed needs no more trying.
func (c *complaint) settled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
}

// run speaks until nothing has failed for a while.
func (c *complaint) run(ctx context.Context) {
	ticker := time.NewTicker(complaintEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if c.speak() {
			return
		}
	}
}

// speak says how things stand, and tells whether all is well again.
func (c *complaint) speak() (over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.count > 0:
		c.e.log.Warn("records were not stored, trying again", "failures", c.count, "records_waiting", c.waiting, "error", c.last, "since", c.began)
		c.count = 0
		return false
	case c.waiting > 0: // the store has not answered since
		return false
	}
	c.e.log.Info("records are stored again", "failures", c.total, "since", c.began)
	c.began, c.total, c.last = time.Time{}, 0, nil
	return true
}
