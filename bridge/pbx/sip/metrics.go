package sip

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"presencebridge/bridge/pbx"
)

// metrics of one connector. Connectors share the collectors; account and pbx tell them apart.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  prometheus.ObserverVec
	events   *prometheus.CounterVec
	badInput *prometheus.CounterVec
	streams  *prometheus.CounterVec
	up       prometheus.Gauge
	gaps     *prometheus.CounterVec
	endings  *prometheus.CounterVec
	renewals *prometheus.CounterVec
}

func newMetrics(cfg Config) (*metrics, error) {
	labels := prometheus.Labels{"account": cfg.Account, "pbx": cfg.Name}
	vec := func(name, help string, extra ...string) (*prometheus.CounterVec, error) {
		opts := prometheus.CounterOpts{Name: "presence_bridge_pbx_" + name, Help: help}
		v, err := register(cfg.Metrics, prometheus.NewCounterVec(opts, append([]string{"account", "pbx"}, extra...)))
		if err != nil {
			return nil, err
		}
		return v.CurryWith(labels)
	}
	var m metrics
	var err [9]error
	m.requests, err[0] = vec("requests_total", "Requests to the PBX, by what was asked and what came of it.", "op", "result")
	m.events, err[1] = vec("events_total", "Events that the PBX's watch delivered, by kind.", "kind")
	m.badInput, err[2] = vec("bad_input_total", "Things that the PBX said and that could not be read, by where.", "where")
	m.streams, err[3] = vec("watch_connections_total", "Attempts to open the PBX's event stream, by what came of them.", "result")
	m.gaps, err[6] = vec("sip_gaps_total", "Gaps in the versions of documents, after which the full state was asked for, by event package.", "package")
	m.endings, err[7] = vec("sip_subscriptions_ended_total", "Subscriptions that the PBX ended, by its reason.", "reason")
	m.renewals, err[8] = vec("sip_renewals_total", "Renewals of what is published, by what came of them.", "result")
	up, e := register(cfg.Metrics, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "presence_bridge_pbx_watch_up", Help: "1 while the PBX's event stream is open.",
	}, []string{"account", "pbx"}))
	if err[4] = e; e == nil {
		m.up = up.With(labels)
	}
	secs, e := register(cfg.Metrics, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "presence_bridge_pbx_request_seconds", Help: "How long requests to the PBX took.",
		Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"account", "pbx", "op"}))
	if err[5] = e; e == nil {
		m.seconds, err[5] = secs.CurryWith(labels)
	}
	if e := errors.Join(err[:]...); e != nil {
		return nil, fmt.Errorf("sip: register metrics: %w", e)
	}
	return &m, nil
}

// register registers a collector, or takes the one that another connector has registered.
func register[C prometheus.Collector](r prometheus.Registerer, c C) (C, error) {
	if r == nil {
		return c, nil
	}
	err := r.Register(c)
	if already := (prometheus.AlreadyRegisteredError{}); errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	return c, err
}

func (m *metrics) bad(where string) { m.badInput.WithLabelValues(where).Inc() }

func (m *metrics) request(op string, err error, took time.Duration) {
	m.requests.WithLabelValues(op, result(err)).Inc()
	m.seconds.WithLabelValues(op).Observe(took.Seconds())
}

func (m *metrics) event(k pbx.EventKind) {
	name := "state"
	switch k {
	case pbx.EventState:
	case pbx.EventReset:
		name = "reset"
	case pbx.EventUsers:
		name = "users"
	case pbx.EventSeen:
		name = "seen"
	}
	m.events.WithLabelValues(name).Inc()
}

// result is an error's kind as a label.
func result(err error) string {
	if err == nil {
		return "ok"
	}
	switch pbx.KindOf(err) {
	case pbx.Conflict:
		return "conflict"
	case pbx.Throttled:
		return "throttled"
	case pbx.Gone:
		return "gone"
	case pbx.Refused:
		return "refused"
	case pbx.Unauthorised:
		return "unauthorised"
	case pbx.Unanswered:
	}
	return "unanswered"
}

func (m *metrics) gap(event string) { m.gaps.WithLabelValues(event).Inc() }

func (m *metrics) renewal(result string) { m.renewals.WithLabelValues(result).Inc() }

func (m *metrics) connection(result string) { m.streams.WithLabelValues(result).Inc() }

// ended counts an ending by its reason. What RFC 6665 does not know counts as other: a PBX must not make up labels.
func (m *metrics) ended(reason string) {
	switch reason {
	case "deactivated", "probation", "rejected", "timeout", "giveup", "noresource", "invariant":
	case "":
		reason = "none"
	default:
		reason = "other"
	}
	m.endings.WithLabelValues(reason).Inc()
}
