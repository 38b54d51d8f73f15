package link

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"presencebridge/bridge/pbx"
)

// Metrics of one connector. Connectors share the collectors; account and pbx tell them apart.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  prometheus.ObserverVec
	events   *prometheus.CounterVec
	badInput *prometheus.CounterVec
	streams  *prometheus.CounterVec
	up       prometheus.Gauge
	warnings *prometheus.GaugeVec
}

// NewMetrics registers with r, which may be nil, or shares what another connector registered there.
func NewMetrics(r prometheus.Registerer, account, name string) (*Metrics, error) {
	labels := prometheus.Labels{"account": account, "pbx": name}
	vec := func(metric, help string, extra ...string) (*prometheus.CounterVec, error) {
		opts := prometheus.CounterOpts{Name: "presence_bridge_pbx_" + metric, Help: help}
		v, err := Register(r, prometheus.NewCounterVec(opts, append([]string{"account", "pbx"}, extra...)))
		if err != nil {
			return nil, err
		}
		return v.CurryWith(labels)
	}
	var m Metrics
	var err [7]error
	m.requests, err[0] = vec("requests_total", "Requests to the PBX, by what was asked and what came of it.", "op", "result")
	m.events, err[1] = vec("events_total", "Events that the PBX's watch delivered, by kind.", "kind")
	m.badInput, err[2] = vec("bad_input_total", "Things that the PBX said and that could not be read, by where.", "where")
	m.streams, err[3] = vec("watch_connections_total", "Attempts to open the PBX's event stream, by what came of them.", "result")
	up, e := Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "presence_bridge_pbx_watch_up", Help: "1 while the PBX's event stream is open.",
	}, []string{"account", "pbx"}))
	if err[4] = e; e == nil {
		m.up = up.With(labels)
	}
	secs, e := Register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "presence_bridge_pbx_request_seconds", Help: "How long requests to the PBX took.",
		Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"account", "pbx", "op"}))
	if err[5] = e; e == nil {
		m.seconds, err[5] = secs.CurryWith(labels)
	}
	warnings, e := Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "presence_bridge_pbx_warning", Help: "1 while there is something about the PBX that a person should see to although it works, by code.",
	}, []string{"account", "pbx", "code"}))
	if err[6] = e; e == nil {
		m.warnings, err[6] = warnings.CurryWith(labels)
	}
	if e := errors.Join(err[:]...); e != nil {
		return nil, fmt.Errorf("pbx: register metrics: %w", e)
	}
	return &m, nil
}

// Register registers a collector, or takes the one that another connector has registered.
func Register[C prometheus.Collector](r prometheus.Registerer, c C) (C, error) {
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

// Bad counts something that could not be read.
func (m *Metrics) Bad(where string) { m.badInput.WithLabelValues(where).Inc() }

// Request counts a request.
func (m *Metrics) Request(op string, err error, took time.Duration) {
	m.requests.WithLabelValues(op, result(err)).Inc()
	m.seconds.WithLabelValues(op).Observe(took.Seconds())
}

// Event counts an event that was delivered.
func (m *Metrics) Event(k pbx.EventKind) {
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
	return pbx.KindOf(err).String()
}

// Connection counts an attempt to open the watch, by what came of it: resumed, reset or failed.
func (m *Metrics) Connection(result string) { m.streams.WithLabelValues(result).Inc() }

// Up says whether the watch is open.
func (m *Metrics) Up(up bool) {
	v := 0.0
	if up {
		v = 1
	}
	m.up.Set(v)
}

// Warning says whether a warning stands.
func (m *Metrics) Warning(code string, on bool) {
	if !on {
		m.warnings.DeleteLabelValues(code)
		return
	}
	m.warnings.WithLabelValues(code).Set(1)
}
