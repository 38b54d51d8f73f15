package console

import (
	"fmt"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	refused  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	const ns, sub = "presence_bridge", "console"
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "requests_total",
			Help: "Requests to the admin listener, by route and status."}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "request_seconds",
			Help: "How long the answers took; those that wait for news take long by intention.", Buckets: prometheus.DefBuckets}, []string{"route"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "unauthorized_total",
			Help: "Requests to the API without the token."}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.refused} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("console: metrics: %w", err)
		}
	}
	return m, nil
}

// observe counts each request. It is the outermost middleware, so it answers errors itself to know
// their status. What is no route of ours shares one label: strangers must not be able to make values.
func (c *Console) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(ctx echo.Context) error {
		start := time.Now()
		if err := next(ctx); err != nil {
			ctx.Error(err)
		}
		method, route := ctx.Request().Method, ctx.Path()
		if !c.known[method+" "+route] {
			method, route = "other", "other"
		}
		c.metrics.requests.WithLabelValues(method, route, strconv.Itoa(ctx.Response().Status)).Inc()
		c.metrics.seconds.WithLabelValues(route).Observe(time.Since(start).Seconds())
		return nil
	}
}
