package monitors

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"presencebridge/bridge/presence"
)

// metrics counts what happens, and works the gauges out when they are asked for. Monitors appear by
// number only: their addresses must not stand in metrics.
type metrics struct {
	m *Manager

	actions        *prometheus.CounterVec
	adoptions      *prometheus.CounterVec
	lifecycle      *prometheus.CounterVec
	authorizations *prometheus.CounterVec
	sweeps         *prometheus.CounterVec
	sweepSeconds   prometheus.Histogram
	unseen         prometheus.Counter
	misses         prometheus.Counter
	silences       prometheus.Counter

	monitors, needed, spares, subscriptions, expiry *prometheus.Desc
	members, staleness, stalest, unseenNow          *prometheus.Desc
	shardMisses                                     *prometheus.Desc
	credentialEnd, credentialsEnding                *prometheus.Desc
}

func newMetrics(m *Manager) *metrics {
	labels := prometheus.Labels{"account": m.cfg.Account}
	counter := func(name, help string, by ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "presence_bridge_" + name, Help: help, ConstLabels: labels}, by)
	}
	desc := func(name, help string, by ...string) *prometheus.Desc {
		return prometheus.NewDesc("presence_bridge_"+name, help, by, labels)
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "presence_bridge_" + name, Help: help, ConstLabels: labels})
	}
	return &metrics{
		m:              m,
		actions:        counter("monitor_actions_total", "What monitors did with their subscriptions, by result.", "action", "result"),
		adoptions:      counter("monitor_conflicts_total", "Subscriptions found in the way of a new one, by what was done with them.", "done"),
		lifecycle:      counter("monitor_lifecycle_total", "Lifecycle notifications, by what they led to.", "event"),
		authorizations: counter("monitor_authorizations_total", "Authorisations of monitors, by how they ended.", "state"),
		sweeps:         counter("sweep_reads_total", "Bulk reads of presences, by result.", "result"),
		sweepSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "presence_bridge_sweep_read_seconds", Help: "Duration of a bulk read that succeeded.", ConstLabels: labels,
			Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30},
		}),
		unseen:        single("sweep_unseen_total", "Times that a member was not seen for a lease."),
		misses:        single("monitor_misses_total", "Changes that the sweep saw and whose notification never came."),
		silences:      single("monitor_silent_subscriptions_total", "Subscriptions made anew because they swallowed notifications."),
		monitors:      desc("monitors", "Configured monitors, by state.", "state"),
		needed:        desc("monitors_needed", "Monitors needed to carry every member that wants a place."),
		spares:        desc("monitors_spare", "Authorised monitors that carry no shard."),
		subscriptions: desc("monitor_subscriptions", "Live presence subscriptions."),
		expiry:        desc("monitor_subscription_expiry_seconds", "Time until the first live subscription expires, 0 if there is none."),
		members:       desc("coverage_members", "Members by coverage, and why they are not pushed.", "coverage", "why"),
		staleness:     desc("sweep_staleness_seconds", "Time since each member was last confirmed."),
		stalest:       desc("sweep_staleness_max_seconds", "Time since the stalest member was last confirmed."),
		credentialEnd: desc("application_credential_expiry_timestamp_seconds",
			"When the first credential in use ends, by kind; absent while that is not known.", "kind"),
		credentialsEnding: desc("application_credentials_ending",
			"Credentials in use that end within so many days, or have ended.", "within_days"),
		shardMisses: desc("shard_misses",
			"Changes of the last ten minutes that the sweep saw and whose notification never came, by shard with a live subscription.", "shard"),
		unseenNow: desc("sweep_members_unseen", "Members that have not been seen for a lease."),
	}
}

// Describe is part of prometheus.Collector.
func (c *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range c.collectors() {
		v.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{
		c.monitors, c.needed, c.spares, c.subscriptions, c.expiry, c.members, c.staleness, c.stalest, c.unseenNow,
		c.credentialEnd, c.credentialsEnding, c.shardMisses,
	} {
		ch <- d
	}
}

func (c *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{c.actions, c.adoptions, c.lifecycle, c.authorizations, c.sweeps, c.sweepSeconds, c.unseen, c.misses, c.silences}
}

// Collect is part of prometheus.Collector.
func (c *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, v := range c.collectors() {
		v.Collect(ch)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	c.collectMonitors(gauge)
	c.collectMembers(gauge)
	c.collectStaleness(ch, gauge)
	c.collectCredentials(gauge)
}

func (c *metrics) collectCredentials(gauge gaugeFunc) {
	now, first, ending := time.Now(), map[string]time.Time{}, map[int]int{}
	for _, x := range c.m.Credentials().List {
		if !x.InUse {
			continue
		}
		first[x.Kind] = earliest(first[x.Kind], x.Expires)
		for _, days := range expiryWarnings() {
			if within := x.EndsWithin(now); within >= 0 && within <= days {
				ending[days]++
			}
		}
	}
	for kind, end := range first {
		gauge(c.credentialEnd, float64(end.Unix()), kind)
	}
	for _, days := range expiryWarnings() {
		gauge(c.credentialsEnding, float64(ending[days]), strconv.Itoa(days))
	}
}

type gaugeFunc func(d *prometheus.Desc, v float64, labels ...string)

func (c *metrics) collectMonitors(gauge gaugeFunc) {
	now := time.Now()
	byState := map[State]int{}
	live, first := 0, time.Duration(0)
	for _, mo := range c.m.active() {
		i := mo.info(now)
		byState[i.State]++
		if i.Members == 0 {
			continue
		}
		if left := i.Expires.Sub(now); live == 0 || left < first {
			first = left
		}
		live++
		gauge(c.shardMisses, float64(i.Misses), i.Shard)
	}
	for _, s := range States() {
		gauge(c.monitors, float64(byState[s]), string(s))
	}
	gauge(c.subscriptions, float64(live))
	gauge(c.expiry, first.Seconds())
}

func (c *metrics) collectMembers(gauge gaugeFunc) {
	s := c.m.Sums()
	gauge(c.needed, float64(s.MonitorsNeeded))
	gauge(c.spares, float64(s.Spares))
	gauge(c.members, float64(s.ByCoverage[presence.CoveragePushed]), string(presence.CoveragePushed), "")
	for _, why := range []Why{WhyNoSubscriptions, WhyNoMonitor, WhyCapacity, WhyJoining, WhySubscribing} {
		gauge(c.members, float64(s.ByWhy[why]), string(presence.CoveragePolled), string(why))
	}
	gauge(c.members, float64(s.ByWhy[WhyExcluded]), string(presence.CoverageExcluded), string(WhyExcluded))
	gauge(c.members, float64(s.ByWhy[WhyUnmatched]), string(presence.CoverageUnmatched), string(WhyUnmatched))
}

func (c *metrics) collectStaleness(ch chan<- prometheus.Metric, gauge gaugeFunc) {
	buckets := map[float64]uint64{5: 0, 15: 0, 30: 0, 60: 0, 90: 0, 150: 0, 300: 0, 600: 0}
	var n, unseen uint64
	var sum, most float64
	c.m.sweep.staleness(time.Now(), func(age time.Duration, gone bool) {
		s := age.Seconds()
		n++
		sum += s
		most = max(most, s)
		if gone {
			unseen++
		}
		for b := range buckets {
			if s <= b {
				buckets[b]++
			}
		}
	})
	ch <- prometheus.MustNewConstHistogram(c.staleness, n, sum, buckets)
	gauge(c.stalest, most)
	gauge(c.unseenNow, float64(unseen))
}
