package bridge

import (
	"encoding/json"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TeamsSideLabel is Teams' side as a metric label and as the side of an observation.
const TeamsSideLabel = "teams"

// engineMetrics are the engine's own figures.
type engineMetrics struct {
	steps            prometheus.Counter
	conflicts        prometheus.Counter
	storeFailures    prometheus.Counter
	storeSeconds     prometheus.Histogram
	writes           *prometheus.CounterVec
	answers          *prometheus.CounterVec
	withheld         *prometheus.CounterVec
	reasons          *prometheus.CounterVec
	echoes           prometheus.Counter
	reads            prometheus.Counter
	latency          *prometheus.HistogramVec
	snapshotSeconds  *prometheus.HistogramVec
	snapshotFailures *prometheus.CounterVec
}

func newEngineMetrics(reg prometheus.Registerer, account string) *engineMetrics {
	label := prometheus.Labels{"account": account}
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: "presence_bridge_" + name, Help: help, ConstLabels: label}
	}
	m := &engineMetrics{
		steps:         prometheus.NewCounter(counter("steps_total", "Events folded into members' records.")),
		conflicts:     prometheus.NewCounter(counter("record_conflicts_total", "Records that somebody else had changed.")),
		storeFailures: prometheus.NewCounter(counter("record_store_failures_total", "Records that were not stored at the first try.")),
		echoes:        prometheus.NewCounter(counter("echoes_total", "Observations of our own writes.")),
		reads:         prometheus.NewCounter(counter("teams_reads_total", "Members whose Teams presence was read to confirm something.")),
		writes: prometheus.NewCounterVec(counter("writes_total", "Writes sent, by side and kind (change, renewal)."),
			[]string{"side", "kind"}),
		answers: prometheus.NewCounterVec(counter("write_answers_total", "What became of writes, by side and outcome."),
			[]string{"side", "outcome"}),
		reasons: prometheus.NewCounterVec(counter("decisions_total", "Decisions about a side whose reasons changed, by side and reason."),
			[]string{"side", "reason"}),
		withheld: prometheus.NewCounterVec(counter("writes_withheld_total", "Writes that an account which only observes would have sent, by side."),
			[]string{"side"}),
		storeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "presence_bridge_record_store_seconds", Help: "Time until a record was durable.", ConstLabels: label,
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:        "presence_bridge_latency_seconds",
			Help:        "From an observation's arrival to the write on the other side, by the side written to and what it waited for.",
			ConstLabels: label, Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}, []string{"side", "path"}),
		snapshotSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "presence_bridge_pbx_snapshot_seconds", Help: "Time to read a PBX through.", ConstLabels: label,
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 14),
		}, []string{"pbx"}),
		snapshotFailures: prometheus.NewCounterVec(counter("pbx_snapshot_failures_total", "PBX snapshots that failed."), []string{"pbx"}),
	}
	if reg != nil {
		reg.MustRegister(m.steps, m.conflicts, m.storeFailures, m.storeSeconds, m.writes, m.answers, m.withheld, m.reasons, m.echoes, m.reads,
			m.latency, m.snapshotSeconds, m.snapshotFailures)
	}
	return m
}

// countWrite counts a write that leaves now, and how long its cause took to get here.
func (e *Engine) countWrite(side string, c Cause, renewal bool) {
	label, kind := side, "change"
	if side == TeamsSideName {
		label = TeamsSideLabel
	}
	if renewal {
		kind = "renewal"
	}
	e.metrics.writes.WithLabelValues(label, kind).Inc()
	if c.Arrived.IsZero() {
		return
	}
	d := time.Since(c.Arrived)
	e.metrics.latency.WithLabelValues(label, string(c.Path)).Observe(d.Seconds())
	if e.cfg.OnLatency != nil {
		e.cfg.OnLatency(label, c.Path, d)
	}
}

// published tells the feeds what was observed and decided. Both follow the store; losing one costs an explanation.
func (e *Engine) published(member string, was, next *Record, ev Event, effects []Effect) {
	if next.Teams.OrganicState == OrganicHidden && next.Teams.Shown != was.Teams.Shown {
		e.metrics.echoes.Inc()
	}
	e.tellDecision(member, was, next, ev, effects)
	if e.cfg.Feed == nil || next.Excluded { // of whoever opted out nothing is kept
		return
	}
	if side, obs := observed(was, next, ev); side != "" {
		if data, err := json.Marshal(obs); err == nil {
			e.cfg.Feed.Observed(member, side, data)
		}
	}
}
