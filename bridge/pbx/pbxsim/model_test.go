package pbxsim

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model is what the rules of the endpoint say, written down a second time and as simply as can be.
type model struct {
	status, message, by, chosen string
	version                     uint64
	calls, ringing              int
	held, offline               bool
}

func (m *model) line() string {
	switch {
	case m.offline:
		return "offline"
	case m.calls > 0 && m.held:
		return "on-hold"
	case m.calls > 0:
		return "in-call"
	case m.ringing > 0:
		return "ringing"
	}
	return "idle"
}

// choose is a choice of status and perhaps message; it says whether an event is due.
func (m *model) choose(status string, message *string, by string) bool {
	was := *m
	if status != m.status {
		m.status, m.by = status, by
		if by != "api:bridge" {
			m.chosen = status
		}
	}
	if message != nil {
		m.message = *message
	}
	if m.status == was.status && m.message == was.message {
		return false
	}
	m.version++
	return true
}

// world is a simulator with a model of each user, and a client that follows the events.
type world struct {
	t     *rapid.T
	s     *Sim
	c     *caller
	count bool
	users map[string]*model
	ids   []string
	due   int // events that must have been published

	l      *listener
	folded map[string]Presence
	got    int
}

func newWorld(t *testing.T, rt *rapid.T) *world {
	w := &world{t: rt, count: rapid.Bool().Draw(rt, "count the line"), users: map[string]*model{}, folded: map[string]Presence{}}
	var err error
	w.s, err = Start(Config{Users: 3, CountLineInVersion: w.count, EventBuffer: 4096})
	require.NoError(rt, err)
	w.c = dial(t, w.s)
	for _, u := range w.s.Users() {
		w.ids = append(w.ids, u.ID)
		w.users[u.ID] = &model{status: "Available", chosen: "Available", by: "user", version: 1}
		w.folded[u.ID] = w.c.get(u.ID)
	}
	w.l = w.c.listen("")
	w.l.reset()
	return w
}

func (w *world) user() (string, *model) {
	id := rapid.SampledFrom(w.ids).Draw(w.t, "user")
	return id, w.users[id]
}

func (w *world) status() string {
	return rapid.SampledFrom([]string{"Available", "Busy", "Away", "In a call"}).Draw(w.t, "status")
}

// move is one move of the phone: what the simulator says about it must be what the model says.
func (w *world) move(id string, m *model, possible bool, do func(string) error, change func()) {
	before := m.line()
	err := do(id)
	require.Equal(w.t, possible, err == nil, "%v", err)
	if !possible {
		return
	}
	change()
	if m.line() != before {
		w.due++
		if w.count {
			m.version++
		}
	}
}

// put is a PUT of the bridge, with or without a precondition.
func (w *world) put() {
	id, m := w.user()
	body := map[string]any{"status": w.status()}
	var message *string
	if rapid.Bool().Draw(w.t, "with a message") {
		text := rapid.SampledFrom([]string{"", "a", "b"}).Draw(w.t, "message")
		message, body["message"] = &text, text
	}
	want, headers := 200, []string(nil)
	if rapid.Bool().Draw(w.t, "conditional") {
		v := m.version - uint64(rapid.IntRange(0, 1).Draw(w.t, "behind"))
		headers = []string{"If-Match", fmt.Sprintf("%q", fmt.Sprint(v))}
		if v != m.version {
			want = 412
		}
	}
	b, err := json.Marshal(body)
	require.NoError(w.t, err)
	a := w.c.put(id, string(b), headers...)
	require.Equal(w.t, want, a.status)
	if want != 200 {
		return
	}
	if m.choose(body["status"].(string), message, "api:bridge") {
		w.due++
	}
	var p Presence
	require.NoError(w.t, json.Unmarshal(a.body, &p))
	w.same(id, p)
}

// same compares a presence with the model.
func (w *world) same(id string, p Presence) {
	m := w.users[id]
	require.Equal(w.t, []any{m.line(), m.status, m.message, m.version, m.by}, []any{p.Line, p.Status, p.Message, p.Version, p.ChangedBy})
}

// drain reads every event that was published, resuming if need be.
func (w *world) drain() {
	for w.got < w.due {
		e := w.l.next()
		if e.ended {
			w.l = w.c.listen(w.l.lastID)
			continue
		}
		require.Equal(w.t, "presence", e.kind, "nothing was lost, so nothing is reset")
		var ev wireEvent
		require.NoError(w.t, json.Unmarshal([]byte(e.data), &ev))
		old := w.folded[ev.User]
		require.GreaterOrEqual(w.t, ev.Presence.Version, old.Version, "versions never go back")
		sameChoice := ev.Presence.Status == old.Status
		require.Equal(w.t, sameChoice, ev.Presence.ChangedAt.Equal(old.ChangedAt), "changed_at is about the status alone")
		w.folded[ev.User] = ev.Presence
		w.got++
	}
}

func (w *world) check() {
	w.drain()
	for _, id := range w.ids {
		p := w.c.get(id)
		w.same(id, p)
		require.Equal(w.t, p, w.folded[id], "the events say what a read says")
		chosen, err := w.s.Chosen(id)
		require.NoError(w.t, err)
		require.Equal(w.t, w.users[id].chosen, chosen)
	}
	require.Equal(w.t, w.due, w.s.Stats().Events)
}

// TestRulesAsAModel does anything in any order.
func TestRulesAsAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rt)
		defer w.s.Close()
		phone := func(do func(*Sim) func(string) error, possible func(*model) bool, change func(*model)) func(*rapid.T) {
			return func(*rapid.T) {
				id, m := w.user()
				w.move(id, m, possible(m), do(w.s), func() { change(m) })
			}
		}
		always := func(*model) bool { return true }
		calling := func(m *model) bool { return m.calls > 0 }
		online := func(m *model) bool { return !m.offline }
		rt.Repeat(map[string]func(*rapid.T){
			"":     func(*rapid.T) { w.check() },
			"ring": phone(func(s *Sim) func(string) error { return s.Ring }, online, func(m *model) { m.ringing++ }),
			"stop": phone(func(s *Sim) func(string) error { return s.StopRinging }, func(m *model) bool { return m.ringing > 0 }, func(m *model) { m.ringing-- }),
			"call": phone(func(s *Sim) func(string) error { return s.StartCall }, online, func(m *model) {
				m.calls, m.held, m.ringing = m.calls+1, false, max(0, m.ringing-1)
			}),
			"hold":   phone(func(s *Sim) func(string) error { return s.Hold }, calling, func(m *model) { m.held = true }),
			"resume": phone(func(s *Sim) func(string) error { return s.Resume }, calling, func(m *model) { m.held = false }),
			"end": phone(func(s *Sim) func(string) error { return s.EndCall }, calling, func(m *model) {
				m.calls--
				m.held = m.held && m.calls > 0
			}),
			"offline": phone(func(s *Sim) func(string) error { return s.GoOffline }, always, func(m *model) {
				m.offline, m.calls, m.ringing, m.held = true, 0, 0, false
			}),
			"online": phone(func(s *Sim) func(string) error { return s.GoOnline }, always, func(m *model) { m.offline = false }),
			"pick": func(*rapid.T) {
				id, m := w.user()
				status := w.status()
				require.NoError(w.t, w.s.Pick(id, status))
				if m.choose(status, nil, "user") {
					w.due++
				}
			},
			"another program": func(*rapid.T) {
				id, m := w.user()
				status := w.status()
				require.NoError(w.t, w.s.WriteAs("calendar", id, status))
				if m.choose(status, nil, "api:calendar") {
					w.due++
				}
			},
			"put": func(*rapid.T) { w.put() },
			"cut": func(*rapid.T) { w.s.CutStreams() },
		})
	})
}
