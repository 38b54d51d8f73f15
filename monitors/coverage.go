package monitors

import (
	"slices"
	"strings"
	"time"

	"presencebridge/bridge/presence"
	"presencebridge/monitors/shard"
)

// Why says why a member is not pushed. It serves as metric label.
type Why string

// The reasons for not being pushed.
const (
	WhyNone            Why = ""
	WhyExcluded        Why = "excluded"
	WhyUnmatched       Why = "unmatched"
	WhyNoSubscriptions Why = "no_subscriptions" // the cloud has none
	WhyNoMonitor       Why = "no_monitor"       // no monitor can be used
	WhyCapacity        Why = "capacity"         // beyond what the usable monitors carry
	WhyJoining         Why = "joining"          // joins with the next subscription of their shard
	WhySubscribing     Why = "subscribing"      // the shard has no subscription at the moment
)

// Whys are the reasons for not being pushed.
func Whys() []Why {
	return []Why{WhyNoSubscriptions, WhyNoMonitor, WhyCapacity, WhyJoining, WhySubscribing, WhyExcluded, WhyUnmatched}
}

// Coverage is how somebody is covered who is not pushed for that reason.
func (w Why) Coverage() presence.Coverage {
	switch w {
	case WhyNone:
		return presence.CoveragePushed
	case WhyExcluded:
		return presence.CoverageExcluded
	case WhyUnmatched:
		return presence.CoverageUnmatched
	case WhyNoSubscriptions, WhyNoMonitor, WhyCapacity, WhyJoining, WhySubscribing:
	}
	return presence.CoveragePolled
}

// Text is the reason in a sentence.
func (w Why) Text() string {
	switch w {
	case WhyNone:
		return ""
	case WhyExcluded:
		return "excluded"
	case WhyUnmatched:
		return "no counterpart on the other side"
	case WhyNoSubscriptions:
		return "this cloud has no presence subscriptions"
	case WhyNoMonitor:
		return "no monitor is authorised; see the monitors"
	case WhyCapacity:
		return "the monitors' places are taken; one more monitor carries 650 members for each application"
	case WhyJoining:
		return "joins the shard with its next subscription"
	case WhySubscribing:
		return "the shard's subscription is being made; see its monitor"
	}
	return string(w)
}

// Cover says how one member's presence reaches the bridge.
type Cover struct {
	Coverage  presence.Coverage `json:"coverage"`
	Why       Why               `json:"why,omitempty"`
	Text      string            `json:"text,omitempty"` // why, in a sentence
	Shard     string            `json:"shard,omitempty"`
	Monitor   string            `json:"monitor,omitempty"` // its ID
	Confirmed time.Time         `json:"confirmed,omitzero"`
}

// Coverage tells how a member is covered; false if there is no such member.
func (m *Manager) Coverage(id string) (Cover, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, found := slices.BinarySearchFunc(m.members, id, func(mem Member, id string) int { return strings.Compare(mem.ID, id) })
	if !found {
		return Cover{}, false
	}
	usable := m.usable()
	c := m.cover(m.members[i], time.Now(), usable)
	c.Confirmed = m.sweep.confirmed(id)
	return c, true
}

// cover is the coverage of one member. mu is held.
func (m *Manager) cover(mem Member, now time.Time, usable int) Cover {
	switch {
	case mem.Excluded:
		return covered(presence.CoverageExcluded, WhyExcluded, mem.Reason)
	case !mem.Matched:
		return covered(presence.CoverageUnmatched, WhyUnmatched, mem.Reason)
	case m.cfg.NoSubscriptions:
		return covered(presence.CoveragePolled, WhyNoSubscriptions, "")
	}
	mo := m.lastPlan.place[mem.ID]
	if mo == nil {
		if usable == 0 {
			return covered(presence.CoveragePolled, WhyNoMonitor, "")
		}
		return covered(presence.CoveragePolled, WhyCapacity, "")
	}
	id, live := mo.live(now)
	c := covered(presence.CoveragePushed, WhyNone, "")
	if id == "" {
		c = covered(presence.CoveragePolled, WhySubscribing, "")
	} else if _, watched := slices.BinarySearch(live, mem.ID); !watched {
		c = covered(presence.CoveragePolled, WhyJoining, "")
	}
	mo.mu.Lock()
	c.Shard, c.Monitor = mo.wantShard, mo.id
	mo.mu.Unlock()
	return c
}

func covered(c presence.Coverage, why Why, text string) Cover {
	if text == "" {
		text = why.Text()
	}
	return Cover{Coverage: c, Why: why, Text: text}
}

// countMonitors counts the monitors, and those that are authorised for at least one application.
func (m *Manager) countMonitors() (all, usable int) {
	good := map[string]bool{}
	for _, mo := range m.active() {
		good[mo.upn] = good[mo.upn] || mo.isAuthorized()
	}
	for _, is := range good {
		if is {
			usable++
		}
	}
	return len(good), usable
}

// usable counts the authorised places.
func (m *Manager) usable() int {
	n := 0
	for _, mo := range m.active() {
		mo.mu.Lock()
		if mo.rec.State == StateAuthorized {
			n++
		}
		mo.mu.Unlock()
	}
	return n
}

// Sums is the coverage of all members together.
type Sums struct {
	Members    int                       `json:"members"`
	ByCoverage map[presence.Coverage]int `json:"by_coverage"`
	ByWhy      map[Why]int               `json:"by_why"` // those that are not pushed
	// MonitorsNeeded carry everybody who wants a place; MonitorsUsable are authorised, for one application at least.
	MonitorsConfigured int `json:"monitors_configured"`
	MonitorsNeeded     int `json:"monitors_needed"`
	MonitorsUsable     int `json:"monitors_usable"`
	// Applications there are: each gives a monitor one place of 650 members. Places are those of all monitors, PlacesUsable are
	// authorised, and Spares of them carry nothing.
	Applications int `json:"applications"`
	Places       int `json:"places"`
	PlacesUsable int `json:"places_usable"`
	Spares       int `json:"spares"`
	// WithOneMore members would be pushed in addition with one monitor more.
	WithOneMore int `json:"with_one_more"`
}

// Sums counts everybody.
func (m *Manager) Sums() Sums {
	m.mu.Lock()
	defer m.mu.Unlock()
	usable := m.usable()
	s := Sums{
		Members: len(m.members), ByCoverage: map[presence.Coverage]int{}, ByWhy: map[Why]int{}, Applications: len(m.apps()),
		Places: len(m.active()), PlacesUsable: usable, Spares: m.lastPlan.spares,
	}
	s.MonitorsConfigured, s.MonitorsUsable = m.countMonitors()
	s.MonitorsNeeded = (shard.Need(m.lastPlan.wanted) + s.Applications - 1) / s.Applications
	if m.cfg.NoSubscriptions {
		s.MonitorsNeeded, s.Spares = 0, 0
	} else {
		s.WithOneMore = min(shard.Max*s.Applications, m.lastPlan.wanted-len(m.lastPlan.place))
	}
	now := time.Now()
	for _, mem := range m.members {
		c := m.cover(mem, now, usable)
		s.ByCoverage[c.Coverage]++
		if c.Why != WhyNone {
			s.ByWhy[c.Why]++
		}
	}
	return s
}

// sweepLists divides those who are read into pushed and polled, sorted by id.
func (m *Manager) sweepLists() (pushed, polled []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, usable := time.Now(), 0
	for _, mem := range m.members {
		if !mem.wants() {
			continue
		}
		if m.cover(mem, now, usable).Coverage == presence.CoveragePushed {
			pushed = append(pushed, mem.ID)
		} else {
			polled = append(polled, mem.ID)
		}
	}
	return pushed, polled
}

// Info shows a monitor. Nothing in it is secret.
type Info struct {
	ID  string `json:"id"`
	UPN string `json:"upn"`
	Status
	// ClientID is the application that this place of the monitor is for, and Application its number, from 1.
	ClientID    string `json:"client_id"`
	Application int    `json:"application"`
	OwnSecret   bool   `json:"own_secret,omitempty"` // it has a credential of its own
	// Before is the state under a sign-in: what it is needed for.
	Before         *Status   `json:"before,omitempty"`
	Added          bool      `json:"added,omitempty"`  // not configured, but added since
	Problem        Problem   `json:"problem,omitzero"` // of an authorised monitor without subscription
	Shard          string    `json:"shard,omitempty"`
	Members        int       `json:"members"` // pushed through it now
	Wanted         int       `json:"wanted"`  // assigned to it
	SubscriptionID string    `json:"subscription_id,omitempty"`
	CertificateID  string    `json:"certificate_id,omitempty"`
	Expires        time.Time `json:"expires,omitzero"`
	Renewed        time.Time `json:"renewed,omitzero"`
	Heard          time.Time `json:"heard,omitzero"`   // last notification
	Misses         int       `json:"misses,omitempty"` // changes in the last ten minutes that the sweep saw and nobody told
	Remade         Remade    `json:"remade,omitzero"`
	SignedIn       time.Time `json:"signed_in,omitzero"`
}

// Monitors lists the configured monitors, then the retired ones.
func (m *Manager) Monitors() []Info {
	m.mu.Lock()
	mons := slices.Concat(m.active(), m.retired)
	m.mu.Unlock()
	out := make([]Info, 0, len(mons))
	for _, mo := range mons {
		out = append(out, mo.info(time.Now()))
	}
	return out
}

func (mo *monitor) info(now time.Time) Info {
	_, live := mo.live(now)
	own, client := mo.hasOwn(), mo.clientID()
	mo.mu.Lock()
	defer mo.mu.Unlock()
	mo.hearing.roll(now)
	i := Info{
		ClientID: client, Application: mo.app + 1, OwnSecret: own,
		ID: mo.id, UPN: mo.upn, Status: mo.rec.Status, Added: mo.rec.Added, Problem: mo.problem, Shard: mo.wantShard,
		Members: len(live), Wanted: len(mo.want), Heard: mo.hearing.last, Misses: mo.hearing.misses, Remade: mo.hearing.remade, SignedIn: mo.rec.SignedIn,
	}
	if s := mo.rec.Subscription; s != nil {
		i.SubscriptionID, i.CertificateID, i.Expires, i.Renewed = s.ID, s.Certificate, s.Expires, s.Renewed
	}
	if mo.signIn != nil && mo.rec.State != StateAuthorized {
		// What is wrong, and what to do about it, stays in sight.
		before := i.Status
		i.Before = &before
		i.State, i.Since = StateAuthorizing, mo.signIn.started
		i.Text = mo.signIn.waiting()
		if before.Text != "" && before.State != StateUnset {
			i.Text += "; needed because " + before.Text
		}
		if before.State == StateUnset {
			i.Remedy = ""
		}
	}
	return i
}

// waiting says what a sign-in waits for.
func (f *flow) waiting() string {
	return FlowPending.Text() + ", until " + f.ExpiresAt.UTC().Format(time.RFC3339)
}

// Stalest is how long ago the member was confirmed for whom that is the longest.
func (m *Manager) Stalest() (most time.Duration) {
	m.sweep.staleness(time.Now(), func(age time.Duration, _ bool) { most = max(most, age) })
	return most
}
