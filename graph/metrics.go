package graph

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the client's, with account and application filled in.
type metrics struct {
	requests  *prometheus.CounterVec // class, op, outcome
	throttles *prometheus.CounterVec // class
	seconds   prometheus.ObserverVec // class, op
	waits     prometheus.ObserverVec // class
	tokens    *prometheus.CounterVec // identity, outcome
	limit     *prometheus.GaugeVec   // class
	available *prometheus.GaugeVec   // class
	waiting   *prometheus.GaugeVec   // class
	paused    *prometheus.GaugeVec   // class
}

const metricPrefix = "presence_bridge_graph_"

// newMetrics registers the metrics, or finds them where another client has done so.
func newMetrics(r prometheus.Registerer, account, application string) (*metrics, error) {
	reg := &registry{r: r, who: prometheus.Labels{"account": account, "application": application}}
	m := &metrics{
		requests:  reg.counter("requests_total", "Attempts sent to Graph, by outcome: ok or the kind of failure.", "class", "op", "outcome"),
		throttles: reg.counter("throttled_total", "Answers 429 of Graph.", "class"),
		seconds:   reg.histogram("request_seconds", "Time of an attempt, from the request to the end of the answer.", prometheus.DefBuckets, "class", "op"),
		waits:     reg.histogram("budget_wait_seconds", "Time that requests waited for the budget.", []float64{.001, .01, .1, .5, 1, 5, 15, 30, 60}, "class"),
		tokens:    reg.counter("tokens_total", "Access tokens asked for at the login endpoint, by identity (app or delegated) and outcome.", "identity", "outcome"),
		limit:     reg.gauge("budget_limit", "Requests that may leave within the class's window.", "class"),
		available: reg.gauge("budget_available", "Requests that could have left at once, when one last did.", "class"),
		waiting:   reg.gauge("budget_waiting", "Requests waiting for the budget.", "class"),
		paused:    reg.gauge("paused_until_timestamp_seconds", "Until when Graph asked the class to pause; in the past if it does not.", "class"),
	}
	return m, reg.err
}

// registry registers, and remembers the first error.
type registry struct {
	r   prometheus.Registerer
	who prometheus.Labels
	err error
}

func (r *registry) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, append([]string{"account", "application"}, labels...))
	return register(r, v).MustCurryWith(r.who)
}

func (r *registry) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: metricPrefix + name, Help: help}, append([]string{"account", "application"}, labels...))
	return register(r, v).MustCurryWith(r.who)
}

func (r *registry) histogram(name, help string, buckets []float64, labels ...string) prometheus.ObserverVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: metricPrefix + name, Help: help, Buckets: buckets}, append([]string{"account", "application"}, labels...))
	return register(r, v).MustCurryWith(r.who)
}

// register registers a collector or returns the one that is registered under its name.
func register[C prometheus.Collector](r *registry, c C) C {
	if r.r == nil {
		return c
	}
	err := r.r.Register(c)
	var exists prometheus.AlreadyRegisteredError
	if errors.As(err, &exists) {
		if same, ok := exists.ExistingCollector.(C); ok {
			return same
		}
	}
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("graph: register metrics: %w", err)
	}
	return c
}

// attempt counts one attempt.
func (m *metrics) attempt(k *call, outcome string, took time.Duration) {
	m.requests.WithLabelValues(k.class.String(), k.op, outcome).Inc()
	m.seconds.WithLabelValues(k.class.String(), k.op).Observe(took.Seconds())
	if outcome == Throttled.String() {
		m.throttles.WithLabelValues(k.class.String()).Inc()
	}
}

// token counts one token asked for.
func (m *metrics) token(identity string, err *Error) {
	outcome := "ok"
	if err != nil {
		outcome = err.Kind.String()
	}
	m.tokens.WithLabelValues(identity, outcome).Inc()
}

// gateMeter shows the state of one gate.
type gateMeter struct {
	limits, available, waits, pauses prometheus.Gauge
}

func (m *metrics) gate(c class) gateMeter {
	return gateMeter{
		limits:    m.limit.WithLabelValues(c.String()),
		available: m.available.WithLabelValues(c.String()),
		waits:     m.waiting.WithLabelValues(c.String()),
		pauses:    m.paused.WithLabelValues(c.String()),
	}
}

func (g gateMeter) limit(n int)        { g.limits.Set(float64(n)) }
func (g gateMeter) waiting(n int)      { g.waits.Set(float64(n)) }
func (g gateMeter) paused(t time.Time) { g.pauses.Set(float64(t.UnixMilli()) / 1000) }
func (g gateMeter) granted(left float64, waiting int) {
	g.available.Set(max(0, left))
	g.waits.Set(float64(waiting))
}
