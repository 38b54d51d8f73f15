package demo

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"presencebridge/bridge"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/sims"
	"presencebridge/graph/graphsim"
)

// storiesKept is how many of the latest stories the screen can show.
const storiesKept = 200

// watcher hears from both simulators whatever changes there, and knows who caused it.
type watcher struct {
	cfg Config

	mu        sync.Mutex
	policy    *policy.Policy
	byID      map[string]*subject
	byPhone   map[[2]string]*subject // by PBX and the PBX's own id
	counting  bool
	now       string // the phase
	last      time.Time
	stories   []string
	teams     int // changes that people made
	phones    int
	ratio     ratio
	latencies map[bridge.Path][]time.Duration
	kept      counters // of a bridge that was stopped
	lost      []string
}

// subject is one member as the watcher knows them, from the simulators alone.
type subject struct {
	person sims.Person

	organic presence.Pair // without any session of the bridge
	lastDo  time.Time     // anything a person did, on either side
	doing   string
	phones  []*handset
	asks    presence.Pair // what policy makes of the phones
}

// on is the phone on one PBX.
func (s *subject) on(pbx string) *handset {
	for _, h := range s.phones {
		if h.pbx == pbx {
			return h
		}
	}
	return nil
}

// hides tells whether what policy makes of the phones looks like what the person does in Teams.
func (s *subject) hides(p *policy.Policy) bool {
	var eps []policy.Endpoint
	for _, h := range s.phones {
		eps = append(eps, policy.Endpoint{ID: presence.EndpointID{PBX: h.pbx}, Line: h.line, Status: h.chosen})
	}
	return p.ForTeams(eps).Pair == s.organic
}

func newWatcher(cfg Config) *watcher {
	return &watcher{
		cfg: cfg, byID: map[string]*subject{}, byPhone: map[[2]string]*subject{}, last: time.Now(),
		latencies: map[bridge.Path][]time.Duration{},
	}
}

func (w *watcher) introduce(people []sims.Person, p *policy.Policy) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.policy = p
	for _, who := range people {
		s := &subject{person: who, organic: presence.ParsePairString("Offline"), doing: "begins"}
		w.byID[who.ID] = s
	}
}

// phone gives a person a phone, which shows what everybody begins with.
func (w *watcher) phone(who sims.Person, h *handset) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h.chosen, h.shows = h.catalogue[0], h.catalogue[0]
	s := w.byID[who.ID]
	s.phones = append(s.phones, h)
	w.byPhone[[2]string{h.pbx, h.user}] = s
}

func (w *watcher) phase(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = text
	w.tell("== " + text)
}

func (w *watcher) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counting, w.ratio.begun = true, true
}

func (w *watcher) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counting = false
}

func (w *watcher) lastChange() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (w *watcher) tell(story string) {
	w.stories = append(w.stories, time.Now().Format("15:04:05.000")+"  "+story)
	if len(w.stories) > storiesKept {
		w.stories = w.stories[1:]
	}
}

// teamsChanged hears of a change in Teams. It runs under the simulator's lock.
func (w *watcher) teamsChanged(c graphsim.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.byID[c.UserID]
	if s == nil {
		return // a monitor
	}
	now := time.Now()
	if c.Ours {
		if c.Visible() {
			w.last = now
			w.ratio.land(c.Cause != "expiry")
			w.tell(fmt.Sprintf("%-16s phone: %-28s ->  Teams shows %-26s %s", s.person.Name, s.doing, c.To, after(now, s.lastDo)))
		}
		return
	}
	organic := presence.ParsePair(c.Organic.Availability, c.Organic.Activity)
	if organic == s.organic {
		return
	}
	w.last = now
	if w.counting {
		w.teams++
	}
	s.organic, s.lastDo, s.doing = organic, now, c.Cause
	differs := false
	defer func() { w.ratio.wished(w.counting, differs) }()
	for _, h := range s.phones {
		w.closeDue(s, h, now)
		want := w.policy.ForPBX(h.pbx, h.catalogue, policy.TeamsState{Pair: organic}).Status
		if !want.Same(h.want) || want.IsZero() != h.want.IsZero() {
			h.want, h.wantFrom, differs = want, now, true
			w.openDue(s, h, now)
		}
	}
}

// openDue expects the effect of a change in Teams on the phone, where nothing stands against it.
func (w *watcher) openDue(s *subject, h *handset, now time.Time) {
	h.due = presence.Status{}
	want := w.policy.ForPBX(h.pbx, h.catalogue, policy.TeamsState{Pair: s.organic})
	if s.hides(w.policy) {
		return // our session shows the same in Teams, so the bridge cannot see what the person does there (R2)
	}
	if want.IsZero() || !h.shows.Same(h.chosen) || policy.OfClass(want.Class) <= policy.OfKind(h.chosen.Kind) {
		return
	}
	h.due, h.dueSince = want.Status, now
}

// closeDue counts a change as lost that stood undisturbed for longer than the bridge may take, and never had its
// effect.
func (w *watcher) closeDue(s *subject, h *handset, now time.Time) {
	if !h.due.IsZero() && now.Sub(h.dueSince) > w.patience() {
		w.lost = append(w.lost, fmt.Sprintf("%s: %s in Teams at %s never showed on %s as %s", s.person.Mail, s.organic,
			h.dueSince.Format("15:04:05"), h.pbx, h.due))
	}
	h.due = presence.Status{}
}

// moment is how long a poll of a PBX, and a write there, may take.
func (w *watcher) moment() time.Duration {
	if w.cfg.Faults == "none" {
		return 3 * time.Second
	}
	return 30 * time.Second
}

// patience is the longest that an effect may take: a push that was lost is found by the sweep; with faults a write
// may have to be waited out twice.
func (w *watcher) patience() time.Duration {
	if w.cfg.Faults == "none" {
		return 2*sweepInterval + 10*time.Second
	}
	return 2*sweepInterval + 150*time.Second
}

// phoneChanged hears of a change on a PBX.
func (w *watcher) phoneChanged(pbx string, c phoneChange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.byPhone[[2]string{pbx, c.User}]
	if s == nil {
		return
	}
	h, now := s.on(pbx), time.Now()
	w.last = now
	h.shows, h.line = h.status(c.After.Status), presence.Line(c.After.Line)
	if c.By != "user" && c.By != "line" {
		w.ratio.land(c.Before.Status != c.After.Status)
		if h.shows.Same(h.due) {
			h.due = presence.Status{}
		}
		if w.cfg.Faults != "none" {
			h.writtenOver(c.Before.Status, now, w.moment())
		}
		w.tell(fmt.Sprintf("%-16s Teams: %-28s ->  %s shows %-26s %s", s.person.Name, s.doing, pbx, c.After.Status, after(now, s.lastDo)))
		return
	}
	if w.counting {
		w.phones++
	}
	for _, h := range s.phones {
		w.closeDue(s, h, now) // whatever a person does now may stand against it
	}
	s.lastDo, h.line = now, presence.Line(c.After.Line)
	defer func() { w.ratio.wished(w.counting, w.asking(s)) }()
	if c.By == "user" && c.Before.Status != c.After.Status {
		h.pick(h.shows, now, w.moment())
		s.doing = "picks " + c.After.Status
		return
	}
	if c.Before.Line != c.After.Line {
		s.doing = "line " + c.After.Line
	}
}

func after(now, cause time.Time) string {
	d := now.Sub(cause)
	if cause.IsZero() || d > time.Minute {
		return ""
	}
	return d.Round(time.Millisecond).String()
}

// latency hears of the bridge's own share of a write.
func (w *watcher) latency(_, _ string, path bridge.Path, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counting {
		w.latencies[path] = append(w.latencies[path], d)
	}
}

// percentiles of one path, in milliseconds.
func (w *watcher) percentiles(path bridge.Path) (n int, p50, p99 float64) {
	w.mu.Lock()
	ds := slices.Clone(w.latencies[path])
	w.mu.Unlock()
	if len(ds) == 0 {
		return 0, 0, 0
	}
	slices.Sort(ds)
	at := func(q float64) float64 { return float64(ds[int(q*float64(len(ds)-1))].Microseconds()) / 1000 }
	return len(ds), at(0.50), at(0.99)
}

// counters are the bridge's own figures, summed over restarts.
type counters struct {
	toPBX, toTeams, renewals, echoes, reads float64
}

func (c counters) plus(o counters) counters {
	return counters{c.toPBX + o.toPBX, c.toTeams + o.toTeams, c.renewals + o.renewals, c.echoes + o.echoes, c.reads + o.reads}
}

func (w *watcher) keepCounters(g prometheus.Gatherer) {
	c := gather(g)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = w.kept.plus(c)
}

// gather reads the bridge's metrics.
func gather(g prometheus.Gatherer) counters {
	var c counters
	families, err := g.Gather()
	if err != nil {
		return c
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			v := m.GetCounter().GetValue()
			switch f.GetName() {
			case "presence_bridge_writes_total":
				switch {
				case labels["kind"] == "renewal":
					c.renewals += v
				case labels["side"] == bridge.TeamsSideLabel:
					c.toTeams += v
				default:
					c.toPBX += v
				}
			case "presence_bridge_echoes_total":
				c.echoes += v
			case "presence_bridge_teams_reads_total":
				c.reads += v
			}
		}
	}
	return c
}
