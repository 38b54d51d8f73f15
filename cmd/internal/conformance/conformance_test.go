package conformance

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/pbx/pbxtest"
)

func simulated(t *testing.T) *pbxsim.Sim {
	t.Helper()
	sim, err := pbxsim.Start(pbxsim.Config{Users: 5, Heartbeat: 50 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	return sim
}

// outcomes are the names of the tests by how they went.
func outcomes(t *testing.T, cfg Config) (passed, skipped []string, failed map[string]string) {
	t.Helper()
	failed = map[string]string{}
	cfg.Timeout, cfg.Patience = 3*time.Second, time.Minute
	require.NoError(t, Run(t.Context(), cfg, func(o pbxtest.Outcome) {
		switch {
		case o.Failed:
			failed[o.Name] = o.Text
		case o.Skipped:
			skipped = append(skipped, o.Name)
		default:
			passed = append(passed, o.Name)
		}
	}))
	return passed, skipped, failed
}

func TestSimulatedSitePasses(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a stream to fall silent")
	}
	t.Parallel()
	sim := simulated(t)
	users := sim.Users()
	require.NoError(t, sim.Pick(users[0].ID, "In a meeting"))
	cfg := Config{URL: sim.URL(), Token: sim.Token(), Resumes: true}
	passed, skipped, failed := outcomes(t, cfg)
	require.Empty(t, failed)
	require.Subset(t, passed, []string{"ApplyReadsBack", "Conflict", "CutWatch", "SilentWatch", "AppliedButFailed", "Throttled", "Unauthorised", "ConcurrentUse"})
	require.Subset(t, skipped, []string{"Authors", "LineIsNoChoice", "Joiner"})
	p, err := sim.Presence(users[0].ID)
	require.NoError(t, err)
	require.Equal(t, "In a meeting", p.Status, "what people showed before is given back")

	cfg.Control = sim.URL() + "/sim"
	cfg.Run = regexp.MustCompile("^(Authors|LineIsNoChoice|Snapshot)$")
	passed, _, failed = outcomes(t, cfg)
	require.Empty(t, failed)
	require.Len(t, passed, 3, "with people to move, nothing of these is skipped")
}

// A site that ignores If-Match, and says of every status that it is a person's, does not pass.
func TestCarelessSiteFails(t *testing.T) {
	t.Parallel()
	sim := simulated(t)
	behind, err := url.Parse(sim.URL())
	require.NoError(t, err)
	forward := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(behind)
		r.Out.Header.Del("If-Match")
	}}
	careless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "nobody") {
			_, _ = w.Write([]byte(`{"line":"idle","status":"Available","version":1}`))
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(careless.Close)
	_, _, failed := outcomes(t, Config{URL: careless.URL, Token: sim.Token(), Run: regexp.MustCompile("^(Conflict|NoSuchUser|Statuses)$")})
	names := []string{}
	for name := range failed {
		names = append(names, name)
	}
	slices.Sort(names)
	require.Equal(t, []string{"Conflict", "NoSuchUser"}, names)
	require.Contains(t, failed["Conflict"], "a write that expects an old version")
}

func TestWhatKeepsTheSuiteFromBeginning(t *testing.T) {
	sim := simulated(t)
	for want, cfg := range map[string]Config{
		"give the address of the endpoint in full": {URL: "pbx.example.com", Token: "t"},
		"401":                                   {URL: sim.URL(), Token: "wrong"},
		"the suite needs three users and has 1": {URL: sim.URL(), Token: sim.Token(), Users: []string{"1"}},
		`user "unheard-of"`:                     {URL: sim.URL(), Token: sim.Token(), Users: []string{"unheard-of", "b", "c"}},
		"holds no certificate":                  {URL: sim.URL(), Token: sim.Token(), CAFile: "conformance.go"},
	} {
		err := Run(t.Context(), cfg, func(pbxtest.Outcome) { t.Error("it began") })
		require.ErrorContains(t, err, want)
	}
}
