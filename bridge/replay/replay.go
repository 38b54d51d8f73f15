// Package replay runs what people did, as it was recorded, through two policies, and says who would have looked different,
// where and when. It drives the real step function ([bridge.Step]) in an ideal world: every request is answered at once,
// every change is told, and Teams and the phones show what their own rules make of the person's states and of ours.
//
// What is the person's own is taken from the record of the time ([bridge.Observation.Organic]). What lay hidden under an
// assertion of the bridge then cannot be known: the last state that was seen stands for it. Only what the policy of the
// time looked at was recorded of out of office and of messages.
package replay

import (
	"cmp"
	"slices"
	"time"

	"presencebridge/bridge"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// Change says what is the person's own on a side from a moment on.
type Change struct {
	At   time.Time
	Side string // bridge.TeamsSideLabel, or bridge.EndpointSideName
	Own  bridge.Organic
}

// Member is one person's day.
type Member struct {
	ID        string
	Endpoints []presence.EndpointID
	Start     map[string]bridge.Organic // by side, when the replay begins
	Changes   []Change                  // afterwards, in order
}

// Difference is a time in which a side would have shown something else.
type Difference struct {
	Side        string
	From, Until time.Time
	Old, New    string // what it shows under each policy
}

// Config says what to run.
type Config struct {
	// Rules are those of the running engine; of them the abilities and statuses of the PBXs count, and the timing.
	Rules       *bridge.Rules
	From, Until time.Time
}

// lease is that of the replay's assertions: the cause of each is always seen, so how often it would be renewed changes
// nothing of what shows, and the longest one saves steps (Graph's most).
const lease = 4 * time.Hour

// Run tells where a member would have looked different under the policies old and new, which are the member's own
// ([policy.Policy.For]).
func Run(cfg Config, m *Member, oldPolicy, newPolicy *policy.Policy) []Difference {
	if oldPolicy == newPolicy {
		return nil
	}
	return compare(show(cfg, m, oldPolicy), show(cfg, m, newPolicy), cfg.Until)
}

// moment is what the sides show from a moment on.
type moment struct {
	at    time.Time
	shows map[string]string
}

// show lets a member's day pass under one policy.
func show(cfg Config, m *Member, p *policy.Policy) []moment {
	w := newWorld(cfg, m, p)
	for _, c := range m.Changes {
		w.advance(c.At)
		w.change(c.Side, c.Own)
	}
	w.advance(cfg.Until)
	return w.seen
}

// compare lists the times in which two courses of a day show different things, by side and time.
func compare(a, b []moment, until time.Time) []Difference {
	var times []time.Time
	for _, m := range slices.Concat(a, b) {
		times = append(times, m.at)
	}
	slices.SortFunc(times, time.Time.Compare)
	times = slices.CompactFunc(times, time.Time.Equal)
	open, out := map[string]*Difference{}, []Difference{}
	end := func(side string, at time.Time) {
		if d := open[side]; d != nil {
			d.Until = at
			out = append(out, *d)
			delete(open, side)
		}
	}
	for _, at := range times {
		x, y := showsAt(a, at), showsAt(b, at)
		for side, was := range x {
			now := y[side]
			if d := open[side]; d != nil && (d.Old != was || d.New != now) {
				end(side, at)
			}
			if was != now && open[side] == nil {
				open[side] = &Difference{Side: side, From: at, Old: was, New: now}
			}
		}
	}
	for side := range open {
		end(side, until)
	}
	out = slices.DeleteFunc(out, func(d Difference) bool { return !d.Until.After(d.From) })
	slices.SortFunc(out, func(a, b Difference) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Side, b.Side)) })
	return out
}

// showsAt is what the sides show at a moment.
func showsAt(ms []moment, at time.Time) map[string]string {
	i, found := slices.BinarySearchFunc(ms, at, func(m moment, t time.Time) int { return m.at.Compare(t) })
	if !found {
		i--
	}
	if i < 0 {
		return nil
	}
	return ms[i].shows
}

// phone is an endpoint of the world.
type phone struct {
	id    presence.EndpointID
	own   bridge.Organic
	state pbx.State       // what the PBX holds
	doc   presence.Status // our own document, where the PBX keeps one beside the person's status
	rules bridge.PBXRules
}

// world is one member, under one policy, with everything around them.
type world struct {
	rules *bridge.Rules
	rec   bridge.Record
	now   time.Time
	seq   uint64

	own       bridge.Organic // in Teams
	session   presence.Pair
	preferred presence.Pair
	note      string // a status message of ours
	told      presence.Pair
	phones    []*phone

	seen []moment
}

func newWorld(cfg Config, m *Member, p *policy.Policy) *world {
	rules := *cfg.Rules
	rules.Policy, rules.Observe, rules.Paced, rules.Crowded = p, false, nil, false
	rules.Lease, rules.LongLease, rules.Contest.Flips = lease, lease, -1
	rules.PBX = make(map[string]bridge.PBXRules, len(cfg.Rules.PBX))
	for name, r := range cfg.Rules.PBX {
		r.Capabilities.Versions, r.Capabilities.Authors = true, true // nothing has to be read to be sure
		rules.PBX[name] = r
	}
	w := &world{rules: &rules, now: cfg.From, own: m.Start[bridge.TeamsSideLabel]}
	w.rec = bridge.NewRecord(m.ID, &rules)
	w.rec.Teams.Withdrawn = nil // there is no former life
	for _, id := range m.Endpoints {
		r, ok := rules.PBX[id.PBX]
		if !ok {
			continue // a PBX that is no longer configured
		}
		ph := &phone{id: id, rules: r}
		w.phones = append(w.phones, ph)
		ph.become(m.Start[bridge.EndpointSideName(id)], w.now)
	}
	w.begin()
	return w
}

// begin introduces the member.
func (w *world) begin() {
	ids := make([]presence.EndpointID, 0, len(w.phones))
	for _, ph := range w.phones {
		ids = append(ids, ph.id)
	}
	w.step(bridge.MemberChanged{Endpoints: ids, Policy: w.rules.Policy})
	w.step(bridge.ReadAgain{Teams: true})
	for _, ph := range w.phones {
		if ph.own.State == bridge.OrganicSeen {
			w.step(bridge.EndpointSnapshot{Endpoint: ph.id, State: ph.state, Epoch: w.rec.EndpointEpoch(ph.id)})
		}
	}
	w.look()
}

// change lets the person do something.
func (w *world) change(side string, own bridge.Organic) {
	if side == bridge.TeamsSideLabel {
		details := own.OutOfOffice != w.own.OutOfOffice || own.Message != w.own.Message
		if own.Pair.IsZero() {
			own.Pair = w.own.Pair
		}
		w.own = own
		w.notify()
		if details {
			w.step(bridge.ReadAgain{Teams: true})
		}
		w.look()
		return
	}
	for _, ph := range w.phones {
		if bridge.EndpointSideName(ph.id) != side {
			continue
		}
		ph.become(own, w.now)
		if own.State != bridge.OrganicSeen {
			w.step(bridge.EndpointUnseen{Endpoint: ph.id})
			continue
		}
		w.seq++
		w.step(bridge.EndpointSeen{Endpoint: ph.id, State: ph.state, Seq: w.seq})
	}
	w.look()
}

// become lets the person's own state of a phone be another one. A status or message that they pick takes the place of ours.
func (ph *phone) become(own bridge.Organic, now time.Time) {
	was := ph.own
	ph.own = own
	if own.State != bridge.OrganicSeen {
		ph.own.Status, ph.own.Message = was.Status, was.Message
		return
	}
	ph.state.Line = own.Line
	if ph.state.Version == 0 || own.Status != was.Status || own.Message != was.Message {
		if !own.Status.IsZero() {
			ph.state.Status = own.Status
		}
		ph.state.Message = own.Message
		ph.state.Version++
		ph.state.ChangedAt, ph.state.ChangedBy = now, pbx.AuthorUser
	}
}

// step folds an event, carries out what is asked for, and goes on with the answers until nothing is under way.
func (w *world) step(ev bridge.Event) {
	queue := []bridge.Event{ev}
	for n := 0; len(queue) > 0 && n < 200; n++ { // a bound for what cannot be: a step that asks for ever
		next, effects := bridge.Step(w.rules, w.rec, queue[0], w.now)
		w.rec, queue = next, queue[1:]
		for _, eff := range effects {
			if answer := w.carryOut(eff); answer != nil {
				queue = append(queue, answer)
			}
		}
		if len(queue) == 0 && w.shownInTeams() != w.told {
			queue = append(queue, w.push())
		}
	}
}

// carryOut does what an effect asks for and returns its answer.
func (w *world) carryOut(eff bridge.Effect) bridge.Event {
	switch eff := eff.(type) {
	case bridge.SetTeams:
		if eff.Preferred {
			w.preferred = eff.Value
		} else {
			w.session = eff.Value
		}
		return bridge.TeamsAnswered{ID: eff.ID, Outcome: bridge.Answered}
	case bridge.ClearTeams:
		if eff.Preferred.IsZero() {
			w.session = presence.Pair{}
		} else if w.preferred == eff.Preferred {
			w.preferred = presence.Pair{}
		}
		return bridge.TeamsAnswered{ID: eff.ID, Outcome: bridge.Answered}
	case bridge.ReadTeams:
		w.told = w.shownInTeams()
		return bridge.TeamsRead{Pair: w.told, Epoch: eff.Epoch, Details: &bridge.Details{OutOfOffice: w.own.OutOfOffice, Message: w.message()}}
	case bridge.ApplyEndpoint:
		if ph := w.phone(eff.Endpoint); ph != nil {
			return bridge.EndpointAnswered{Endpoint: eff.Endpoint, ID: eff.ID, Outcome: bridge.Answered, State: ph.write(eff.Write, w.now)}
		}
	case bridge.ReadEndpoint:
		if ph := w.phone(eff.Endpoint); ph != nil && ph.own.State == bridge.OrganicSeen {
			return bridge.EndpointRead{Endpoint: eff.Endpoint, State: ph.state, Epoch: eff.Epoch}
		}
	case bridge.TeamsMessage:
		w.note = eff.Text
	}
	return nil
}

func (w *world) phone(id presence.EndpointID) *phone {
	for _, ph := range w.phones {
		if ph.id == id {
			return ph
		}
	}
	return nil
}

// write lets the PBX take a status of ours.
func (ph *phone) write(req pbx.Write, now time.Time) pbx.State {
	if ph.rules.Capabilities.OwnDocument {
		ph.doc = req.Status
		return ph.state
	}
	ph.state.Status = req.Status
	if req.Message != nil {
		ph.state.Message = *req.Message
	}
	ph.state.Version++
	ph.state.ChangedAt, ph.state.ChangedBy = now, pbx.AuthorSelf
	return ph.state
}

// push is the notification of what Teams shows now.
func (w *world) push() bridge.Event {
	w.told = w.shownInTeams()
	w.seq++
	return bridge.TeamsPushed{Pair: w.told, Mark: bridge.Mark{Seq: w.seq}}
}

func (w *world) notify() {
	if w.shownInTeams() != w.told {
		w.step(w.push())
	}
}

// advance lets time pass, with every timer in its turn.
func (w *world) advance(to time.Time) {
	for range 100_000 { // 48 h hold far fewer
		ref, due, ok := w.rec.NextTimer()
		if !ok || due.After(to) {
			break
		}
		if due.After(w.now) {
			w.now = due
		}
		w.step(bridge.TimerFired{Timer: ref})
		w.look()
	}
	if to.After(w.now) {
		w.now = to
	}
}

// shownInTeams is what Teams makes of the person's sessions and ours: a preference first, then the session that ranks
// highest, of equals the person's own (learn:cloud-communications-manage-presence-state).
func (w *world) shownInTeams() presence.Pair {
	own := w.own.Pair
	if w.own.State == bridge.OrganicUnknown && own.IsZero() {
		own = presence.Pair{Availability: presence.Unknown, Activity: presence.Unknown}
	}
	best := own
	if !w.session.IsZero() && policy.OfPair(w.session) > policy.OfPair(own) {
		best = w.session
	}
	if !w.preferred.IsZero() && !best.IsOffline() {
		return w.preferred
	}
	return best
}

// message is the status message that Teams shows: ours stands only where the person has none.
func (w *world) message() string {
	if w.own.Message != "" {
		return w.own.Message
	}
	return w.note
}

// look notes what shows, if it is news.
func (w *world) look() {
	shows := map[string]string{bridge.TeamsSideLabel: withMessage(w.shownInTeams().String(), w.message())}
	for _, ph := range w.phones {
		text := "unknown"
		if !ph.state.Status.IsZero() {
			text = ph.state.Status.String()
		}
		if !ph.doc.IsZero() {
			text = ph.doc.String()
		}
		shows[bridge.EndpointSideName(ph.id)] = withMessage(text, ph.state.Message)
	}
	if n := len(w.seen); n > 0 {
		last := &w.seen[n-1]
		same := true
		for side, text := range shows {
			same = same && last.shows[side] == text
		}
		switch {
		case same:
			return
		case last.at.Equal(w.now):
			last.shows = shows
			return
		}
	}
	w.seen = append(w.seen, moment{at: w.now, shows: shows})
}

func withMessage(state, message string) string {
	if message == "" {
		return state
	}
	return state + ", “" + message + "”"
}
