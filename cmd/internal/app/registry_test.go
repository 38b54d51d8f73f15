package app

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func TestMetricsEndWithTheAccount(t *testing.T) {
	reg := prometheus.NewRegistry()
	all := newShared(reg)
	count := func() int {
		families, err := reg.Gather()
		require.NoError(t, err)
		n := 0
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	vec := func() *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests"}, []string{"account"})
	}
	start := func(account string) (*tenureMetrics, prometheus.Collector) {
		m := all.of(account)
		v := vec()
		err := m.Register(v)
		if already, ok := err.(prometheus.AlreadyRegisteredError); ok { //nolint:errorlint // as the library returns it
			v = already.ExistingCollector.(*prometheus.CounterVec)
		} else {
			require.NoError(t, err)
		}
		v.WithLabelValues(account).Inc()
		own := prometheus.NewCounter(prometheus.CounterOpts{Name: "steps", ConstLabels: prometheus.Labels{"account": account}})
		m.MustRegister(own)
		return m, own
	}
	a, _ := start("a")
	b, own := start("b")
	require.Equal(t, 4, count())
	require.Panics(t, func() {
		b.MustRegister(prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "requests"}, []string{"other"}))
	})
	a.end()
	require.Equal(t, 2, count(), "b's own, and its share")
	a, _ = start("a")
	require.Equal(t, 4, count(), "it may come back")
	require.True(t, b.Unregister(own))
	require.False(t, b.Unregister(own))
	b.end()
	a.end()
	require.Zero(t, count())
}
