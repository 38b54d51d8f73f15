package monitors

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestEndsWithin(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for left, want := range map[time.Duration]int{
		61 * day: -1, 60*day + 1: -1, 60 * day: 60, 31 * day: 60, 30 * day: 30, 8 * day: 30, 7 * day: 7, 1: 7, 0: 0, -day: 0,
	} {
		c := Credential{Kind: "secret", Expires: now.Add(left), InUse: true}
		require.Equal(t, want, c.EndsWithin(now), left)
		require.Equal(t, want < 0, c.Text(now) == "", left)
		c.InUse = false
		require.Empty(t, c.Text(now))
	}
	require.Contains(t, Credential{Kind: "certificate", Expires: now.Add(29*day + time.Hour), InUse: true}.Text(now), "in 29 days; register")
	require.Contains(t, Credential{Kind: "secret", Expires: now, InUse: true}.Text(now), "has expired")
}

// As the end of the secret comes nearer, it is reported three times and once more when it has come.
func TestExpiryIsReported(t *testing.T) {
	bubble(t, 0, func(t *testing.T, w *world) {
		w.cfg.NoSubscriptions = true
		end := time.Now().Add(100 * 24 * time.Hour)
		w.graph.with(func() {
			w.graph.credentials = []Credential{{Kind: "secret", KeyID: "k", Expires: end, InUse: true}, {Kind: "secret", KeyID: "old", Expires: time.Now()}}
		})
		w.start()
		reports := func() int { return strings.Count(w.logs.String(), "a credential of the application ends") }
		ending := func(want string) {
			t.Helper()
			require.NoError(t, testutil.GatherAndCompare(w.reg, strings.NewReader(`
# HELP presence_bridge_application_credentials_ending Credentials in use that end within so many days, or have ended.
# TYPE presence_bridge_application_credentials_ending gauge
`+want), "presence_bridge_application_credentials_ending"))
		}
		line := func(days, n string) string {
			return `presence_bridge_application_credentials_ending{account="contoso",within_days="` + days + `"} ` + n + "\n"
		}
		w.pass(24 * time.Hour)
		require.Zero(t, reports())
		ending(line("30", "0") + line("60", "0") + line("7", "0"))
		w.pass(40 * 24 * time.Hour)
		require.Equal(t, 1, reports())
		ending(line("30", "0") + line("60", "1") + line("7", "0"))
		w.pass(30 * 24 * time.Hour)
		require.Equal(t, 2, reports())
		w.pass(23 * 24 * time.Hour)
		require.Equal(t, 3, reports())
		ending(line("30", "1") + line("60", "1") + line("7", "1"))
		w.pass(7 * 24 * time.Hour)
		require.Equal(t, 4, reports())
		require.Equal(t, float64(end.Unix()), metricValue(t, w, "presence_bridge_application_credential_expiry_timestamp_seconds"))

		// A new one ends it.
		w.graph.with(func() {
			w.graph.credentials = []Credential{{Kind: "secret", KeyID: "new", Expires: time.Now().AddDate(2, 0, 0), InUse: true}}
		})
		w.pass(7 * time.Hour)
		ending(line("30", "0") + line("60", "0") + line("7", "0"))
		require.Equal(t, "new", w.m.Credentials().List[0].KeyID)
		require.Zero(t, w.m.Credentials().Problem)
	})
}

func metricValue(t *testing.T, w *world, name string) float64 {
	t.Helper()
	families, err := w.reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			require.Len(t, f.GetMetric(), 1)
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// Entra that does not tell keeps nothing from working, and what the certificate file says is known all the same.
func TestExpiryThatIsNotTold(t *testing.T) {
	bubble(t, 0, func(t *testing.T, w *world) {
		w.cfg.NoSubscriptions = true
		own := Credential{Kind: "certificate", Name: "certificate_file", Expires: time.Now().Add(time.Hour), InUse: true}
		w.graph.with(func() { w.graph.credentials = []Credential{own} })
		w.graph.fail("credentials", fault{times: 1, err: &CallError{Kind: Consent, Err: errNet}})
		w.start()
		known := w.m.Credentials()
		own.ClientID = clientID
		require.Equal(t, []Credential{own}, known.List)
		require.Contains(t, known.Problem.Remedy, "Application.Read.All")
		require.Equal(t, 1, strings.Count(w.logs.String(), "a credential of the application ends"))
		w.pass(5 * time.Hour)
		require.Equal(t, 1, w.graph.count("credentials"))

		w.graph.fail("credentials", fault{times: 3, err: &CallError{Kind: Transient, Err: errNet}})
		w.pass(2 * time.Hour)
		require.Zero(t, w.m.Credentials().Problem, "tried again soon")
		require.Equal(t, 5, w.graph.count("credentials"))
	})
}
