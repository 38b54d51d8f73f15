package app

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"presencebridge/graph/graphsim"
)

// deaf is a bridge with a subscription whose tenant drops every notification, so that only what a test posts arrives.
func deaf(t *testing.T, head string) (*App, *site, string) {
	t.Helper()
	s := newSite(t, "contoso", 3, 1)
	s.sweep = "{interval: 1h, polled_interval: 1s}"
	a := launch{dir: t.TempDir(), sites: []*site{s}, head: head}.start(t)
	awaitPhones(t, a, s)
	authorize(t, a, s)
	var id string
	eventually(t, func() bool {
		list, err := admin(t, a).Monitors(t.Context(), s.name)
		if err != nil || list[0].Subscription == nil {
			return false
		}
		id = list[0].Subscription.ID
		return list[0].Members == len(s.graph.Users())
	}, "everybody is in the subscription")
	s.graph.SetFaults(graphsim.Faults{Drop: 1})
	return a, s, id
}

// TestBasicNotificationLeadsToARead posts a notification that says that something changed, and not to what.
func TestBasicNotificationLeadsToARead(t *testing.T) {
	t.Parallel()
	a, s, subscription := deaf(t, "")
	phone := s.phone(0)
	upn := s.person(t, phone)
	require.NoError(t, s.graph.StartCall(upn))
	status, _ := send(t, http.MethodPost, notifyURL(a, s.name), "", fmt.Sprintf(`{"value":[{"subscriptionId":%q,"clientState":%q,"tenantId":%q,
		"changeType":"updated","subscriptionExpirationDateTime":%q,"resource":"communications/presences('%s')",
		"resourceData":{"@odata.type":"#Microsoft.Graph.presence","@odata.id":"communications/presences('%[5]s')","id":%[5]q}}]}`,
		subscription, clientState(t, a, s.name), s.graph.TenantID, time.Now().Add(time.Hour).UTC().Format(time.RFC3339), s.id(t, upn)))
	require.Equal(t, http.StatusAccepted, status)
	eventually(t, func() bool { return s.status(phone) == "In a call" }, "the read says what")
	eventually(t, func() bool {
		list, err := admin(t, a).Monitors(t.Context(), s.name)
		return err == nil && !list[0].Subscription.HeardAt.IsZero()
	}, "the subscription was heard of")
}

func lifecycle(t *testing.T, a *App, s *site, subscription, event string) {
	t.Helper()
	url := strings.Replace(notifyURL(a, s.name), "/notifications", "/lifecycle", 1)
	status, _ := send(t, http.MethodPost, url, "", fmt.Sprintf(`{"value":[{"subscriptionId":%q,"clientState":%q,"tenantId":%q,"lifecycleEvent":%q,
		"subscriptionExpirationDateTime":"2099-01-01T00:00:00Z"}]}`, subscription, clientState(t, a, s.name), s.graph.TenantID, event))
	require.Equal(t, http.StatusAccepted, status)
}

func TestLifecycleNotifications(t *testing.T) {
	t.Parallel()
	a, s, subscription := deaf(t, "")
	seen := func(event string) float64 {
		return metric(t, a.Registry(), "presence_bridge_monitor_lifecycle_total", "account", s.name, "event", event)
	}
	s.graph.SetFaults(graphsim.None())
	require.NoError(t, s.graph.Challenge(subscription))
	eventually(t, func() bool { return seen("challenge_ignored") == 1 }, "a challenge right after a renewal comes in and is let pass")
	require.Empty(t, s.graph.Stats().Requests["renewSubscription"])

	s.graph.SetFaults(graphsim.Faults{Drop: 1})
	phone := s.phone(0)
	require.NoError(t, s.graph.StartCall(s.person(t, phone)))
	lifecycle(t, a, s, subscription, "missed")
	eventually(t, func() bool { return s.status(phone) == "In a call" }, "after a gap everybody of the shard is read")

	lifecycle(t, a, s, subscription, "somethingNew")
	eventually(t, func() bool { return seen("unknown_event") == 1 }, "an unknown event is counted")
	lifecycle(t, a, s, "00000000-0000-0000-0000-000000000000", "missed")
	eventually(t, func() bool { return seen("unknown_subscription") == 1 }, "and one of nobody's subscription")
}

func TestValidationHandshake(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 1, 1)
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	for _, path := range []string{"notifications", "lifecycle"} {
		url := strings.Replace(notifyURL(a, s.name), "notifications", path, 1)
		status, text := send(t, http.MethodPost, url+"?validationToken=Validation%3A+Testing+%3Cb%3E", "", "")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "Validation: Testing <b>", text)
	}
}

func TestBodyThatIsTooLarge(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 1, 1)
	a := launch{dir: t.TempDir(), sites: []*site{s}, head: "webhook: {max_body: 64KiB}"}.start(t)
	body := fmt.Sprintf(`{"value":[{"clientState":%q}],"padding":%q}`, clientState(t, a, s.name), strings.Repeat("x", 64<<10))
	status, _ := send(t, http.MethodPost, notifyURL(a, s.name), "", body)
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	require.EqualValues(t, 1, metric(t, a.Registry(), "presence_bridge_webhook_requests_total", "account", s.name, "outcome", "too_large"))
}

// TestFullDisk has a floor that no disk reaches: Graph is asked to come again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 1, 1)
	a := launch{dir: t.TempDir(), sites: []*site{s}, head: "nats: {min_free: 1PiB}"}.start(t)
	body := fmt.Sprintf(`{"value":[{"clientState":%q}]}`, clientState(t, a, s.name))
	status, _ := send(t, http.MethodPost, notifyURL(a, s.name), "", body)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.EqualValues(t, 1, metric(t, a.Registry(), "presence_bridge_webhook_requests_total", "account", s.name, "outcome", "refused"))
	status, _ = send(t, http.MethodPost, notifyURL(a, s.name), "", `{"value":[{"clientState":"of a stranger"}]}`)
	require.Equal(t, http.StatusAccepted, status, "a stranger does not learn that the disk is full")
}

// TestAlertsAskForMetricsThatExist takes the names that the alert rules use and looks for them at a bridge at work.
func TestAlertsAskForMetricsThatExist(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("../../../deploy/prometheus/alerts.yml")
	require.NoError(t, err)
	s := newSite(t, "contoso", 3, 1)
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	authorize(t, a, s)
	awaitPhones(t, a, s)
	phone := s.phone(0)
	require.NoError(t, s.graph.StartCall(s.person(t, phone)))
	eventually(t, func() bool { return s.status(phone) == "In a call" }, "a call shows")
	names := map[string]bool{}
	for _, name := range regexp.MustCompile(`presence_bridge_\w+`).FindAllString(string(rules), -1) {
		names[regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(name, "")] = true
	}
	require.Greater(t, len(names), 15)
	registered := describe(a.Registry())
	for name := range names {
		require.True(t, registered[name], "%s is registered", name)
	}
	// What counts failures has no series before the first one.
	quiet := []string{"presence_bridge_pbx_warning", "presence_bridge_competing_writers", "presence_bridge_graph_throttled_total", "presence_bridge_bus_refused_total", "presence_bridge_bus_gaps_total", "presence_bridge_pbx_snapshot_failures_total"}
	for _, name := range quiet {
		delete(names, name)
	}
	eventually(t, func() bool {
		status, page := get(t, "http://"+a.AdminAddr()+"/metrics", "")
		for name := range names {
			if regexp.MustCompile(`(?m)^` + name + `(_count)?[{ ]`).MatchString(page) {
				delete(names, name)
			}
		}
		return status == http.StatusOK && len(names) == 0
	}, fmt.Sprintf("on the page are all of %v", names))
}

// describe lists the names of all metrics of a registry, those without a series included.
func describe(reg *prometheus.Registry) map[string]bool {
	out := map[string]bool{}
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		reg.Describe(descs)
	}()
	for d := range descs {
		if m := regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String()); m != nil {
			out[m[1]] = true
		}
	}
	return out
}
