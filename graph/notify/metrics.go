package notify

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one account's decoder. Several accounts share the collectors.
type metrics struct {
	bodies, items, tokens, oddities *prometheus.CounterVec
	decrypt                         prometheus.Observer
	account                         string
}

func newMetrics(reg prometheus.Registerer, account string) (*metrics, error) {
	m := &metrics{account: account}
	var errs []error
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c, e := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "presence_bridge", Subsystem: "notify", Name: name, Help: help,
		}, append([]string{"account"}, labels...)))
		errs = append(errs, e)
		return c
	}
	m.bodies = counter("bodies_total", "Notification bodies decoded, by the reason why the whole was refused or postponed (none: it was not).", "reason")
	m.items = counter("items_total", "Notification items, by kind and the reason why it was refused or postponed (none: it was not).", "kind", "reason")
	m.tokens = counter("tokens_total", "Validation tokens, by the reason why it was refused or postponed (none: it was not), and whether it had been verified before.", "reason", "cached")
	m.oddities = counter("oddities_total", "What was odd about bodies and items but refused nothing.", "oddity")
	h, e := register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "presence_bridge", Subsystem: "notify", Name: "decrypt_seconds",
		Help:    "Time to decrypt one rich item, without waiting for a slot of the pool.",
		Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1},
	}, []string{"account"}))
	if err := errors.Join(append(errs, e)...); err != nil {
		return nil, err
	}
	m.decrypt = h.WithLabelValues(account)
	return m, nil
}

func keyFetches(reg prometheus.Registerer) (*prometheus.CounterVec, error) {
	return register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "presence_bridge", Subsystem: "notify", Name: "key_fetches_total",
		Help: "Fetches of Microsoft's signing keys, by result.",
	}, []string{"result"}))
}

// register registers c, or returns the collector that another account has registered already.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	if reg == nil {
		return c, nil
	}
	err := reg.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if old, same := already.ExistingCollector.(C); same {
			return old, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("notify: register metrics: %w", err)
	}
	return c, nil
}

// count counts a result.
func (m *metrics) count(r *Result) {
	m.bodies.WithLabelValues(m.account, ReasonOf(r.Err).String()).Inc()
	for i := range r.Tokens {
		cached := "no"
		if r.Tokens[i].Cached {
			cached = "yes"
		}
		m.tokens.WithLabelValues(m.account, ReasonOf(r.Tokens[i].Err).String(), cached).Inc()
	}
	for _, o := range r.Oddities.List() {
		m.oddities.WithLabelValues(m.account, o.String()).Inc()
	}
	for i := range r.Items {
		it := &r.Items[i]
		m.items.WithLabelValues(m.account, it.Kind.String(), ReasonOf(it.Err).String()).Inc()
		for _, o := range it.Oddities.List() {
			m.oddities.WithLabelValues(m.account, o.String()).Inc()
		}
	}
}
