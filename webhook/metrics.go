package webhook

import (
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// kind is which of an account's two URLs was called.
type kind uint8

const (
	kindNotifications kind = iota
	kindLifecycle
	kinds
)

func (k kind) String() string {
	if k == kindLifecycle {
		return "lifecycle"
	}
	return "notifications"
}

// outcome is what became of a request: a metric label, and what decides the status.
type outcome uint8

const (
	outcomeNone          outcome = iota
	outcomeStored                // 202, and the body is on the bus
	outcomeUnused                // 202, no item was ours
	outcomeMalformed             // 400, no JSON envelope
	outcomeTooLarge              // 413
	outcomeBusy                  // 503, too many bodies in flight
	outcomeRefused               // 503, the store said no
	outcomeDeadline              // 503, the store did not answer in time
	outcomeSlow                  // 408, the body did not come in time
	outcomeAborted               // the client went away, or its chunks made no sense
	outcomeValidated             // 200, handshake
	outcomeBadValidation         // 400, handshake without a usable token
	outcomePanic                 // 503, a bug of ours
	outcomes
)

var outcomeNames = [outcomes]string{"none", "stored", "unused", "malformed", "too_large", "busy", "refused",
	"deadline", "slow_client", "aborted", "validated", "bad_validation", "panic"}

func (o outcome) String() string { return outcomeNames[o] }

// status is the answer to a notification with this outcome.
func (o outcome) status() int {
	switch o {
	case outcomeStored, outcomeUnused:
		return http.StatusAccepted
	case outcomeMalformed, outcomeAborted, outcomeBadValidation:
		// Graph sends again what was not answered with 2xx, so that a body which something on the
		// way has mangled is not lost; a well-formed one never comes here.
		return http.StatusBadRequest
	case outcomeTooLarge:
		return http.StatusRequestEntityTooLarge
	case outcomeSlow:
		return http.StatusRequestTimeout
	case outcomeValidated:
		return http.StatusOK
	case outcomeNone, outcomeBusy, outcomeRefused, outcomeDeadline, outcomePanic, outcomes:
		return http.StatusServiceUnavailable
	}
	return http.StatusServiceUnavailable
}

// metrics are the receiver's collectors. The account label is empty for accounts that do not exist:
// strangers must not be able to make label values.
type metrics struct {
	requests          *prometheus.CounterVec
	ack               *prometheus.HistogramVec
	bytes             *prometheus.CounterVec
	itemsSeen         *prometheus.CounterVec
	refused           *prometheus.CounterVec
	unrouted          prometheus.Counter
	evicted           prometheus.Counter
	certificateExpiry prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	const ns, sub = "presence_bridge", "webhook"
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "requests_total",
			Help: "Requests of Graph or of strangers, by URL and outcome."}, []string{"account", "url", "outcome"}),
		ack: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "ack_seconds",
			Help:    "From the arrival of a notification to its answer. Graph wants 3 s, and 10 s when it tries again.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 2.5, 2.75, 3, 4, 5, 7.5, 10, 15}},
			[]string{"account"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "received_bytes_total",
			Help: "Bytes of the bodies that were received whole."}, []string{"account"}),
		itemsSeen: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "items_total",
			Help: "Items with a client state of ours."}, []string{"account"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "items_refused_total",
			Help: "Items without one, by reason."}, []string{"account", "reason"}),
		unrouted: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "unrouted_total",
			Help: "Requests for paths or methods that do not exist."}),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "connections_evicted_total",
			Help: "Quiet connections that were closed because there were too many."}),
		certificateExpiry: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "certificate_expiry_timestamp_seconds",
			Help: "When the listener's certificate expires; 0 without TLS."}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.ack, m.bytes, m.itemsSeen, m.refused, m.unrouted, m.evicted, m.certificateExpiry} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("webhook: metrics: %w", err)
		}
	}
	return m, nil
}

// meters are the collectors of one account, looked up once.
type meters struct {
	requests                [kinds][outcomes]prometheus.Counter
	ack                     prometheus.Observer
	bytes                   prometheus.Counter
	genuine, forged, absent prometheus.Counter
}

func (m *metrics) account(name string) *meters {
	t := &meters{ack: m.ack.WithLabelValues(name), bytes: m.bytes.WithLabelValues(name),
		genuine: m.itemsSeen.WithLabelValues(name),
		forged:  m.refused.WithLabelValues(name, "wrong_client_state"),
		absent:  m.refused.WithLabelValues(name, "no_client_state")}
	for k := range kinds {
		for o := outcomeNone + 1; o < outcomes; o++ {
			t.requests[k][o] = m.requests.WithLabelValues(name, k.String(), o.String())
		}
	}
	return t
}

func (t *meters) count(k kind, o outcome) { t.requests[k][o].Inc() }

func (t *meters) done(k kind, o outcome, took time.Duration) {
	t.count(k, o)
	t.ack.Observe(took.Seconds())
}

func (t *meters) items(genuine, forged, absent int) {
	for _, n := range [...]struct {
		c prometheus.Counter
		n int
	}{{t.genuine, genuine}, {t.forged, forged}, {t.absent, absent}} {
		if n.n > 0 {
			n.c.Add(float64(n.n))
		}
	}
}
