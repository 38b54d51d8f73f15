package bridge

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// noticed is a log of several goroutines.
type noticed struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *noticed) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

// lines are those with a text, since the last time.
func (n *noticed) take(text string) (out []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for line := range strings.Lines(n.b.String()) {
		if strings.Contains(line, text) {
			out = append(out, line)
		}
	}
	n.b.Reset()
	return out
}

// Thousands of records that are not stored for one cause are a line a minute, and one when all is well again.
func TestRecordsThatAreNotStoredAreToldOnceAPeriod(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		log := &noticed{}
		b.cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		b.start(20)
		log.take("")
		refuse := func(err error) {
			b.store.set(func(s *memStore) {
				s.refuse = nil
				if err != nil {
					s.refuse = func(string) error { return err }
				}
			})
		}
		refuse(errors.New("too many writes are waiting"))
		for _, m := range members(20) {
			b.person(m.ID, "DoNotDisturb")
		}
		b.wait(time.Second)
		first := log.take("trying again")
		assert.Len(t, first, 1, "at once")
		assert.Contains(t, first[0], "too many writes are waiting")

		b.wait(3*complaintEvery + time.Second)
		again := log.take("trying again")
		assert.Len(t, again, 3)
		for _, line := range again {
			assert.Contains(t, line, "level=WARN")
			assert.Contains(t, line, "records_waiting=20")
			assert.NotContains(t, line, "failures=0 ")
		}

		// It goes better, gets worse again within the period, and is well at last.
		refuse(nil)
		b.wait(5 * time.Second)
		refuse(errors.New("no quorum"))
		b.person("m0", "Available")
		b.wait(5 * time.Second)
		refuse(nil)
		b.wait(2 * complaintEvery)
		all := log.take("stored")
		assert.Len(t, all, 2, "%s", all)
		assert.Contains(t, all[0], "no quorum")
		assert.Contains(t, all[1], "records are stored again")
		assert.Contains(t, all[1], "level=INFO")

		b.wait(10 * complaintEvery)
		assert.Empty(t, log.take("stored"))
		// Another time is another complaint.
		refuse(errors.New("too many writes are waiting"))
		b.person("m1", "Available")
		b.wait(5 * time.Second)
		assert.Len(t, log.take("trying again"), 1)
		refuse(nil)
		b.wait(2 * complaintEvery)
		assert.Len(t, log.take("records are stored again"), 1)
	})
}

// Somebody else's write ends it as well: the record is folded anew.
func TestARecordThatSomebodyElseWroteIsNotWaitedFor(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		log := &noticed{}
		b.cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		b.start(1)
		log.take("")
		tries := 0
		b.store.set(func(s *memStore) {
			s.refuse = func(string) error {
				if tries++; tries == 1 {
					return errors.New("no quorum")
				}
				s.refuse = nil
				return ErrConflict
			}
		})
		b.person("m0", "DoNotDisturb")
		b.wait(2 * complaintEvery)
		assert.Len(t, log.take("records are stored again"), 1)
	})
}
