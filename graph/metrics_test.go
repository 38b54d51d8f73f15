package graph

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		tn.graph = inTurn(status(429, "", "Retry-After", "10"), status(200, goodBody), status(500, ""))
		reg := prometheus.NewRegistry()
		c := tn.client(tn.onVirtual, func(cfg *Config) { cfg.Metrics = reg })
		other := tn.client(tn.onVirtual, func(cfg *Config) { cfg.Metrics, cfg.Account = reg, "fabrikam" })
		require.NoError(t, c.SetPresence(t.Context(), testUser, inACall, time.Hour))
		require.Error(t, other.ClearPresence(t.Context(), testUser))
		require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP presence_bridge_graph_requests_total Attempts sent to Graph, by outcome: ok or the kind of failure.
# TYPE presence_bridge_graph_requests_total counter
presence_bridge_graph_requests_total{account="contoso",application="1",class="write",op="set presence",outcome="ok"} 1
presence_bridge_graph_requests_total{account="contoso",application="1",class="write",op="set presence",outcome="throttled"} 1
presence_bridge_graph_requests_total{account="fabrikam",application="1",class="write",op="clear presence",outcome="transient"} 1
# HELP presence_bridge_graph_throttled_total Answers 429 of Graph.
# TYPE presence_bridge_graph_throttled_total counter
presence_bridge_graph_throttled_total{account="contoso",application="1",class="write"} 1
# HELP presence_bridge_graph_tokens_total Access tokens asked for at the login endpoint, by identity (app or delegated) and outcome.
# TYPE presence_bridge_graph_tokens_total counter
presence_bridge_graph_tokens_total{account="contoso",application="1",identity="app",outcome="ok"} 1
presence_bridge_graph_tokens_total{account="fabrikam",application="1",identity="app",outcome="ok"} 1
`), "presence_bridge_graph_requests_total", "presence_bridge_graph_throttled_total", "presence_bridge_graph_tokens_total"))
		names, err := reg.Gather()
		require.NoError(t, err)
		found := map[string]bool{}
		for _, f := range names {
			found[f.GetName()] = true
		}
		for _, want := range []string{"request_seconds", "budget_wait_seconds", "budget_limit", "budget_available", "budget_waiting", "paused_until_timestamp_seconds"} {
			require.True(t, found[metricPrefix+want], want)
		}
	})
}

func TestMetricsThatClash(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: metricPrefix + "requests_total", Help: "something else"}))
	tn := virtual(t)
	_, err := New(tn.config(tn.onVirtual, func(cfg *Config) { cfg.Metrics = reg }))
	require.ErrorContains(t, err, "register metrics")
}

func TestBudgetStateIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		m, err := newMetrics(reg, "contoso", "1")
		require.NoError(t, err)
		g := newGates(DefaultBudgets(CloudGlobal), m)[classWrite]
		for range 20 {
			_, err := g.acquire(t.Context(), laneSet)
			require.NoError(t, err)
		}
		gauge := func(v *prometheus.GaugeVec) float64 { return testutil.ToFloat64(v.WithLabelValues("write")) }
		require.InDelta(t, 1200, gauge(m.limit), 0)
		require.InDelta(t, 40, gauge(m.available), 1e-6)
		require.Zero(t, gauge(m.waiting))

		g.throttled(30 * time.Second)
		require.InDelta(t, float64(time.Now().Add(30*time.Second).Unix()), gauge(m.paused), 1)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _, _ = g.acquire(ctx, laneSet) })
		}
		synctest.Wait()
		require.InDelta(t, 3, gauge(m.waiting), 0)
		cancel()
		wg.Wait()
		require.Zero(t, gauge(m.waiting))
	})
}
