package sip

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"presencebridge/bridge/pbx/link"
)

// metrics of one connector: those of every connector, and what only SIP has.
type metrics struct {
	*link.Metrics

	gaps     *prometheus.CounterVec
	endings  *prometheus.CounterVec
	renewals *prometheus.CounterVec
}

func newMetrics(cfg Config) (*metrics, error) {
	vec := func(name, help, label string) (*prometheus.CounterVec, error) {
		opts := prometheus.CounterOpts{Name: "presence_bridge_pbx_sip_" + name, Help: help}
		v, err := link.Register(cfg.Metrics, prometheus.NewCounterVec(opts, []string{"account", "pbx", label}))
		if err != nil {
			return nil, err
		}
		return v.CurryWith(prometheus.Labels{"account": cfg.Account, "pbx": cfg.Name})
	}
	var m metrics
	var err [4]error
	m.Metrics, err[0] = link.NewMetrics(cfg.Metrics, cfg.Account, cfg.Name)
	m.gaps, err[1] = vec("gaps_total", "Gaps in the versions of documents, after which the full state was asked for, by event package.", "package")
	m.endings, err[2] = vec("subscriptions_ended_total", "Subscriptions that the PBX ended, by its reason.", "reason")
	m.renewals, err[3] = vec("renewals_total", "Renewals of what is published, by what came of them.", "result")
	if e := errors.Join(err[:]...); e != nil {
		return nil, fmt.Errorf("sip: register metrics: %w", e)
	}
	return &m, nil
}

func (m *metrics) gap(event string) { m.gaps.WithLabelValues(event).Inc() }

func (m *metrics) renewal(result string) { m.renewals.WithLabelValues(result).Inc() }

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
