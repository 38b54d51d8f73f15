package bus

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the package's metrics; all begin with presence_bridge_bus_.
type metrics struct {
	reg prometheus.Registerer // nil: not registered
	all []prometheus.Collector

	stored      *prometheus.CounterVec   // account
	storedBytes *prometheus.CounterVec   // account
	refused     *prometheus.CounterVec   // account, reason
	split       *prometheus.CounterVec   // account
	latency     *prometheus.HistogramVec // stream
	queue       *prometheus.GaugeVec     // stream
	queueBytes  *prometheus.GaugeVec     // stream
	batch       *prometheus.HistogramVec // stream
	failed      *prometheus.CounterVec   // stream, reason
	dropped     *prometheus.CounterVec   // account, stream, reason
	bytes       *prometheus.GaugeVec     // stream
	messages    *prometheus.GaugeVec     // stream
	outstanding *prometheus.GaugeVec     // account
	work        *prometheus.GaugeVec     // account
	redelivered *prometheus.CounterVec   // account
	gaps        *prometheus.CounterVec   // account, reason
	stalls      *prometheus.CounterVec   // account
	restarts    prometheus.Counter
	free        prometheus.Gauge
	replicas    prometheus.Gauge
	lapses      prometheus.Counter
}

const metricPrefix = "presence_bridge_bus_"

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{reg: reg}
	m.stored = m.counter("stored_total", "Notification bodies stored.", "account")
	m.storedBytes = m.counter("stored_bytes_total", "Bytes of notification bodies stored.", "account")
	m.refused = m.counter("refused_total", "Notification bodies refused, by reason.", "account", "reason")
	m.split = m.counter("split_total", "Notification bodies stored in several parts.", "account")
	m.failed = m.counter("write_failures_total", "Writes that were not acknowledged, by reason.", "stream", "reason")
	m.dropped = m.counter("dropped_total", "Observations and decisions dropped, by reason.", "account", "stream", "reason")
	m.redelivered = m.counter("redelivered_total", "Bodies handed out again.", "account")
	m.gaps = m.counter("gaps_total", "Times that bodies may have been lost to age, by reason.", "account", "reason")
	m.stalls = m.counter("stalls_total", "Times that pulling stopped because nothing progressed.", "account")
	m.queue = m.gauge("queue_writes", "Writes that wait.", "stream")
	m.queueBytes = m.gauge("queue_bytes", "Bytes of the writes that wait.", "stream")
	m.bytes = m.gauge("stream_bytes", "Bytes stored.", "stream")
	m.messages = m.gauge("stream_messages", "Messages stored.", "stream")
	m.outstanding = m.gauge("outstanding_bodies", "Bodies taken and not yet acknowledged.", "account")
	m.work = m.gauge("outstanding_work_seconds", "Estimated work of those bodies.", "account")
	m.latency = m.histogram("store_seconds", "From the call to the acknowledgement.",
		prometheus.ExponentialBuckets(0.0002, 2, 14), "stream")
	m.batch = m.histogram("batch_writes", "Writes that were flushed together.",
		prometheus.ExponentialBuckets(1, 2, 10), "stream")
	m.restarts = prometheus.NewCounter(prometheus.CounterOpts{
		Name: metricPrefix + "server_restarts_total", Help: "Restarts of the embedded server after timeouts."})
	m.free = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: metricPrefix + "free_bytes", Help: "Free bytes under data_dir when last measured."})
	m.replicas = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: metricPrefix + "replicas", Help: "Replicas with the role engine that this one sees alive, itself included."})
	m.lapses = prometheus.NewCounter(prometheus.CounterOpts{
		Name: metricPrefix + "lapses_total", Help: "Times that this replica could not say that it is alive for so long that others may have taken over."})
	m.all = append(m.all, m.restarts, m.free, m.replicas, m.lapses)
	return m, m.register()
}

func (m *metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, labels)
	m.all = append(m.all, c)
	return c
}

func (m *metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	c := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: metricPrefix + name, Help: help}, labels)
	m.all = append(m.all, c)
	return c
}

func (m *metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	c := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: metricPrefix + name, Help: help, Buckets: buckets}, labels)
	m.all = append(m.all, c)
	return c
}

func (m *metrics) register() error {
	if m.reg == nil {
		return nil
	}
	var errs []error
	for _, c := range m.all {
		errs = append(errs, m.reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("bus: metrics: %w", err)
	}
	return nil
}

// unregister lets the same registry serve the next bus.
func (m *metrics) unregister() {
	if m.reg == nil {
		return
	}
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}

// wrote records one acknowledged or failed write.
func (m *metrics) wrote(stream string, since time.Time, err error) {
	if err != nil {
		m.failed.WithLabelValues(stream, string(reasonOf(err))).Inc()
		return
	}
	m.latency.WithLabelValues(stream).Observe(time.Since(since).Seconds())
}
