package app

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

var (
	selector = regexp.MustCompile(`(presence_bridge_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`)
	grouping = regexp.MustCompile(`by \(([^)]*)\)`)
	legend   = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

// TestTheDashboardAsksForLabelsThatExist takes every query of the Grafana dashboard: each metric is registered by the
// bridge, and has the labels by which the query selects and groups, and that its legend shows.
func TestTheDashboardAsksForLabelsThatExist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../deploy/grafana/presence-bridge.json")
	require.NoError(t, err)
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &d))
	a := launch{dir: t.TempDir(), sites: []*site{newSite(t, "contoso", 1, 1)}}.start(t)
	labels := describeLabels(a.Registry())

	asked := 0
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			for _, problem := range queryProblems(labels, q.Expr, q.LegendFormat) {
				t.Errorf("%s: %s: %s", p.Title, problem, q.Expr)
			}
			asked += len(selector.FindAllString(q.Expr, -1))
		}
	}
	require.Greater(t, asked, 40)

	require.NotEmpty(t, queryProblems(labels, `sum(presence_bridge_frobnications_total)`, ""), "a metric that there is not")
	require.NotEmpty(t, queryProblems(labels, `presence_bridge_pbx_watch_up{colour="red"}`, ""), "a label that there is not")
	require.NotEmpty(t, queryProblems(labels, `sum by (colour) (presence_bridge_pbx_watch_up)`, ""), "a group that there is not")
	require.NotEmpty(t, queryProblems(labels, `sum by (pbx) (presence_bridge_pbx_watch_up)`, "{{account}}"), "a legend whose label is summed away")
	require.NotEmpty(t, queryProblems(labels, `sum by (le) (presence_bridge_pbx_watch_up)`, ""), "a gauge has no buckets")
}

// queryProblems says what of a query the bridge does not answer.
func queryProblems(labels map[string][]string, expr, format string) []string {
	var problems []string
	groups := grouping.FindAllStringSubmatch(expr, -1)
	kept := map[string]bool{}
	for _, g := range groups {
		for _, l := range strings.Split(g[1], ",") {
			kept[strings.TrimSpace(l)] = true
		}
	}
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		name, bucket := strings.CutSuffix(m[1], "_bucket")
		have, ok := labels[name]
		if !ok {
			problems = append(problems, name+" is not registered")
			continue
		}
		have = append(slices.Clone(have), "instance", "job") // Prometheus' own
		if bucket {
			have = append(have, "le")
		}
		for _, used := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(have, used[1]) {
				problems = append(problems, name+" has no label "+used[1])
			}
		}
		for _, l := range slices.Sorted(maps.Keys(kept)) {
			if !slices.Contains(have, l) {
				problems = append(problems, name+" has no label "+l)
			}
		}
	}
	for _, l := range legend.FindAllStringSubmatch(format, -1) {
		if len(groups) > 0 && !kept[l[1]] {
			problems = append(problems, "the legend shows "+l[1]+", which the query does not keep")
		}
	}
	return problems
}

// describeLabels lists the labels of all metrics of a registry, those without a series included.
func describeLabels(reg *prometheus.Registry) map[string][]string {
	out := map[string][]string{}
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		reg.Describe(descs)
	}()
	form := regexp.MustCompile(`fqName: "(\w+)".*constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)
	for d := range descs {
		m := form.FindStringSubmatch(d.String())
		if m == nil {
			continue
		}
		var names []string
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			names = append(names, l[1])
		}
		for l := range strings.SplitSeq(m[3], ",") {
			if l != "" {
				names = append(names, l)
			}
		}
		out[m[1]] = names
	}
	return out
}
