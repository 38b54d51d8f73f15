package archtest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type dashboard struct {
	Title, UID    string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Query, Definition string }
	}
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ Type, UID string }
	GridPos                  struct{ H, W, X, Y int }
	Targets                  []struct {
		Expr, LegendFormat string
		Datasource         struct{ Type, UID string }
	}
}

func grafana(t *testing.T) dashboard {
	t.Helper()
	var raw struct {
		Templating struct {
			List []struct {
				Name, Type, Definition string
				Query                  any // text, or an object, as the type of the variable says
			}
		}
	}
	text := []byte(deployFile(t, "grafana/presence-bridge.json"))
	require.NoError(t, json.Unmarshal(text, &raw))
	var d dashboard
	// The variables are read apart, since Grafana writes a query in two ways.
	require.NoError(t, json.Unmarshal(regexp.MustCompile(`"query": \{[^}]*\}`).ReplaceAll(text, []byte(`"query": ""`)), &d))
	require.Len(t, d.Templating.List, len(raw.Templating.List))
	return d
}

// Grafana imports the file on any installation: it asks for the data source instead of naming one, and no panel covers
// another.
func TestDeployDashboard(t *testing.T) {
	d := grafana(t)
	require.NotEmpty(t, d.Title)
	require.NotEmpty(t, d.UID)
	require.Positive(t, d.SchemaVersion)
	kinds := map[string]string{}
	for _, v := range d.Templating.List {
		kinds[v.Name] = v.Type
	}
	require.Equal(t, map[string]string{"datasource": "datasource", "account": "query"}, kinds)

	ids, cells := map[int]bool{}, map[string]string{}
	for _, p := range d.Panels {
		require.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
		require.NotEmpty(t, p.Title)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			require.Less(t, x, 24, p.Title)
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				cell := fmt.Sprint(x, " ", y)
				require.Empty(t, cells[cell], "%s lies over it", p.Title)
				cells[cell] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.Description, "%s: say what a person sees", p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		require.Equal(t, "${datasource}", p.Datasource.UID, p.Title)
		for _, q := range p.Targets {
			require.Equal(t, "${datasource}", q.Datasource.UID, p.Title)
			require.NotEmpty(t, q.LegendFormat, p.Title)
		}
	}
}

// Labels and the bridge's own answers are looked at in cmd/internal/app, at a bridge at work.
func TestDeployDashboardMetricsExist(t *testing.T) {
	literals := metricLiterals(t)
	names := regexp.MustCompile(`presence_bridge_[a-z0-9_]+`).FindAllString(deployFile(t, "grafana/presence-bridge.json"), -1)
	require.Greater(t, len(names), 40)
	for _, m := range names {
		base := m
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			base = strings.TrimSuffix(base, suffix)
		}
		require.True(t, registered(literals, base), "the dashboard uses %s, which no package registers", m)
	}
}

// Prometheus itself reads every expression, with Grafana's variables filled in.
func TestDeployDashboardExpressions(t *testing.T) {
	promtool := program(t, "promtool", "prometheus")
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	fill := strings.NewReplacer("$__rate_interval", "5m", "$account", "contoso")
	count := 0
	for _, p := range grafana(t).Panels {
		for _, q := range p.Targets {
			expr, err := json.Marshal(fill.Replace(q.Expr))
			require.NoError(t, err)
			require.NotContains(t, string(expr), "$", p.Title)
			fmt.Fprintf(&rules, "      - record: panel_%d\n        expr: %s\n", count, expr)
			count++
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	require.NoError(t, os.WriteFile(file, []byte(rules.String()), 0o600))
	require.Contains(t, run(t, ".", promtool, "check", "rules", file), fmt.Sprintf("%d rules", count))
}
