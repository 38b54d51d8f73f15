package bridge

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// tally counts over all members what a single step cannot know.
type tally struct {
	sessions atomic.Int64 // of ours in Teams
	crowded  atomic.Bool

	sessionsGauge prometheus.Gauge
	competing     *prometheus.GaugeVec // members by side over which another program fights
}

func newTally(reg prometheus.Registerer, account string) *tally {
	label := prometheus.Labels{"account": account}
	t := &tally{
		sessionsGauge: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "presence_bridge_teams_sessions", Help: "Members in whose Teams presence a session of ours stands.", ConstLabels: label,
		}),
		competing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "presence_bridge_competing_writers",
			Help: "Members by side where another program puts back what we write, so that we stay away.", ConstLabels: label,
		}, []string{"side"}),
	}
	if reg != nil {
		reg.MustRegister(t.sessionsGauge, t.competing)
	}
	return t
}

// changed takes the difference between two records of a member. A record that begins, or goes, has the zero Record at its
// other end.
func (e *Engine) changed(was, next *Record) {
	t := e.tally
	if a, b := was.Teams.Assertion != nil, next.Teams.Assertion != nil; a != b {
		d := int64(1)
		if a {
			d = -1
		}
		t.sessionsGauge.Set(float64(t.sessions.Add(d)))
	}
	e.contested(next.Member, TeamsSideLabel, was.Teams.Contested(), next.Teams.Contested())
	for i := range was.Endpoints {
		if ep := &was.Endpoints[i]; ep.Contested() && next.Endpoint(ep.ID) == nil {
			e.contested(was.Member, ep.ID.PBX, true, false)
		}
	}
	for i := range next.Endpoints {
		ep := &next.Endpoints[i]
		old := was.Endpoint(ep.ID)
		e.contested(next.Member, ep.ID.PBX, old != nil && old.Contested(), ep.Contested())
	}
}

// contested raises, or ends, the alert about another program on one side of a member.
func (e *Engine) contested(member, side string, was, now bool) {
	switch {
	case now && !was:
		e.tally.competing.WithLabelValues(side).Inc()
		e.log.Warn("another program puts back what is written here, writes to this side of the member pause",
			"member", member, "side", side, "reason", ReasonCompeting, "pause", e.rules.Load().Contest.Pause)
	case was && !now:
		e.tally.competing.WithLabelValues(side).Dec()
		e.log.Info("writes to a side that another program fought over begin again", "member", member, "side", side)
	}
}

// crowded tells whether, at the short lease, renewals would take more than half of Teams' write budget (R12). Once they do,
// it takes a tenth less to end it, so that the leases do not change with every call.
func (e *Engine) crowded() bool {
	rules := e.rules.Load()
	budget := float64(e.cfg.TeamsWrites) / 30
	if e.cfg.TeamsWriteRate != nil {
		budget = e.cfg.TeamsWriteRate()
	}
	share := renewalShare(int(e.tally.sessions.Load()), rules, budget)
	crowded := share > 0.5 || (share > 0.4 && e.tally.crowded.Load())
	if e.tally.crowded.Swap(crowded) != crowded {
		e.log.Info("the leases of sessions other than calls change", "long", crowded, "sessions", e.tally.sessions.Load())
	}
	return crowded
}

// renewalShare is the part of a budget of writes a second that renewals take when n sessions stand, each renewed at the
// half-life of the short lease.
func renewalShare(n int, rules *Rules, budget float64) float64 {
	if budget <= 0 {
		return 0
	}
	return float64(n) / (rules.Lease / 2).Seconds() / budget
}

// CompetingSide is a side where another program puts back what we write.
type CompetingSide struct {
	Side  string    `json:"side"` // as of an observation
	Since time.Time `json:"since"`
	Until time.Time `json:"until"` // when we try again
}

// Competing are the sides of a member over which another program fights, and since when.
func (r *Record) Competing() []CompetingSide {
	var out []CompetingSide
	if t := &r.Teams; t.Contested() {
		out = append(out, CompetingSide{Side: TeamsSideLabel, Until: t.Timers.Contest, Since: t.ContestedSince})
	}
	for i := range r.Endpoints {
		if ep := &r.Endpoints[i]; ep.Contested() {
			out = append(out, CompetingSide{Side: EndpointSideName(ep.ID), Until: ep.Timers.Contest, Since: ep.ContestedSince})
		}
	}
	return out
}
