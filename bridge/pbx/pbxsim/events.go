package pbxsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"presencebridge/bridge/pbx/simkit"
)

// eventLog is the ring of events that can be resumed from.
type eventLog struct {
	epoch string
	ring  [][]byte // data of event n is in ring[n % len]; nil was dropped
	last  uint64   // number of the last event, 0 for none
}

// begin starts a new epoch. It comes from the system's randomness and not from the seed: an id from
// before a loss of state must not be valid by chance, also not in the next process.
func (l *eventLog) begin(size int) {
	l.epoch, l.ring, l.last = simkit.Secret(6), make([][]byte, size), 0
}

func (l *eventLog) add(data []byte) {
	l.last++
	l.ring[l.last%uint64(len(l.ring))] = data
}

func (l *eventLog) id(n uint64) string { return l.epoch + "-" + strconv.FormatUint(n, 10) }

// holds tells whether everything after event n is still there.
func (l *eventLog) holds(n uint64) bool { return n <= l.last && l.last-n <= uint64(len(l.ring)) }

// parse reads an event id of this epoch.
func (l *eventLog) parse(id string) (uint64, bool) {
	epoch, num, ok := strings.Cut(id, "-")
	if !ok || epoch != l.epoch {
		return 0, false
	}
	n, err := strconv.ParseUint(num, 10, 64)
	return n, err == nil && l.holds(n)
}

// emit publishes a presence as the present faults will have it. The mutex is held.
func (s *Sim) emit(id string, p Presence) {
	data, err := json.Marshal(wireEvent{User: id, Presence: p})
	if err != nil { // strings and numbers only: cannot happen
		s.cfg.Log.Error("simulated pbx cannot write an event", "error", err)
		return
	}
	f := s.faults
	switch {
	case s.dice.Hit(f.Dropped):
		s.stats.EventsDropped++
		s.log.add(nil)
	case s.dice.Hit(f.Late):
		s.stats.EventsLate++
		epoch := s.log.epoch
		s.agenda.After(s.dice.UpTo(f.LateBy), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if epoch == s.log.epoch { // a restart loses what was under way
				s.publish(data)
			}
		})
	case s.dice.Hit(f.Reordered):
		s.stats.EventsReordered++
		s.held = append(s.held, data)
		// Nobody may wait for ever for a next event.
		s.agenda.After(time.Second, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.releaseHeld()
		})
		return
	default:
		s.publish(data)
		if s.dice.Hit(f.Doubled) {
			s.stats.EventsDoubled++
			s.publish(data)
		}
	}
	s.releaseHeld()
}

func (s *Sim) releaseHeld() {
	for _, data := range s.held {
		s.publish(data)
	}
	s.held = nil
}

func (s *Sim) publish(data []byte) {
	s.stats.Events++
	s.log.add(data)
	for st := range s.streams {
		st.nudge()
	}
}

// stream is one open event stream.
type stream struct {
	token string
	wake  chan struct{}
	gone  chan struct{} // closed to cut it
	once  sync.Once

	cursor uint64 // last event written
	epoch  string // of cursor
	reset  bool   // a reset is due
}

func (st *stream) nudge() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

func (st *stream) cut() { st.once.Do(func() { close(st.gone) }) }

// CutStreams breaks every event stream. Nothing is lost by it: they can resume.
func (s *Sim) CutStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.streams {
		st.cut()
	}
}

// StallStreams lets streams stay open and fall silent, heartbeats included, as when a firewall forgets
// a connection. Requests still work.
func (s *Sim) StallStreams(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = on
	for st := range s.streams {
		st.nudge()
	}
}

// serveEvents is GET /v1/events.
func (s *Sim) serveEvents(w http.ResponseWriter, r *http.Request) {
	st := &stream{token: bearer(r), wake: make(chan struct{}, 1), gone: make(chan struct{})}
	s.open(st, r.Header.Get("Last-Event-ID"))
	defer s.shut(st)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	if rc.Flush() != nil {
		return
	}
	beat := time.NewTicker(s.cfg.Heartbeat)
	defer beat.Stop()
	for {
		if s.pump(st, w, rc) {
			abort(w)
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.stop:
			return
		case <-st.gone:
			abort(w)
			return
		case <-st.wake:
		case <-beat.C:
			if s.isStalled() {
				continue
			}
			if _, err := fmt.Fprint(w, ": heartbeat\n\n"); err != nil || rc.Flush() != nil {
				return
			}
		}
	}
}

func (s *Sim) isStalled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stalled
}

// open registers a stream before its answer begins, so that nothing falls between.
func (s *Sim) open(st *stream, lastID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.log.parse(lastID)
	if !ok {
		n, st.reset = s.log.last, true
	}
	st.cursor, st.epoch = n, s.log.epoch
	s.streams[st] = struct{}{}
	s.stats.StreamsOpened++
}

func (s *Sim) shut(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
}

// pump writes what is due. It says whether a fault breaks the connection now.
func (s *Sim) pump(st *stream, w http.ResponseWriter, rc *http.ResponseController) (cut bool) {
	for {
		frames, cut := s.collect(st)
		if len(frames) == 0 {
			return cut
		}
		// A client that does not read for this long is cut off, and resumes or is reset later.
		_ = rc.SetWriteDeadline(time.Now().Add(30 * time.Second))
		if _, err := w.Write(frames); err != nil {
			return true
		}
		if rc.Flush() != nil || cut {
			return true
		}
		_ = rc.SetWriteDeadline(time.Time{})
	}
}

// collect takes a batch of events for a stream off the log.
func (s *Sim) collect(st *stream) (frames []byte, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stalled {
		return nil, false
	}
	if st.epoch != s.log.epoch || !s.log.holds(st.cursor) {
		st.reset, st.cursor, st.epoch = true, s.log.last, s.log.epoch
	}
	if st.reset {
		st.reset = false
		s.stats.Resets++
		// Without data, event-source clients never deliver it (HTML, section 9.2.6).
		frames = fmt.Appendf(frames, "id: %s\nevent: reset\ndata: {}\n\n", s.log.id(st.cursor))
	}
	for st.cursor < s.log.last && len(frames) < 64<<10 && !cut {
		st.cursor++
		data := s.log.ring[st.cursor%uint64(len(s.log.ring))]
		if data == nil {
			continue
		}
		frames = fmt.Appendf(frames, "id: %s\nevent: presence\ndata: %s\n\n", s.log.id(st.cursor), data)
		s.stats.EventsSent++
		cut = s.dice.Hit(s.faults.CutStream)
	}
	return frames, cut
}
