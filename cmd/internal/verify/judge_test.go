package verify

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/bus"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/config"
	"presencebridge/graph"
)

// one is the only check that a judgement makes.
func one(t *testing.T, checks []Check) Check {
	t.Helper()
	require.Len(t, checks, 1)
	return checks[0]
}

func TestEndpointAnswers(t *testing.T) {
	for _, c := range []struct {
		e      endpoint
		result Result
		text   string
	}{
		{endpoint{name: "login", status: 200}, OK, "answers"},
		{endpoint{name: "login", status: 400}, Failed, "does not know the tenant"},
		{endpoint{name: "graph", status: 401}, OK, "answers"},
		{endpoint{name: "graph", status: 503}, Warning, "answers 503"},
		{endpoint{name: "graph", err: &graph.Error{Kind: graph.Refused, Message: "the server's certificate is not trusted"}}, Failed, "not trusted"},
		{endpoint{name: "graph", err: errors.New("no route")}, Failed, "HTTPS_PROXY"},
	} {
		got := one(t, checkEndpoints(&tenant{endpoints: []endpoint{c.e}}))
		require.Equal(t, c.result, got.Result, got.Evidence)
		require.Contains(t, got.Evidence+got.Remedy, c.text)
	}
	got := one(t, checkEndpoints(&tenant{clientErr: errors.New("no credential")}))
	require.Equal(t, Failed, got.Result)
}

// TestClockTakesTheWorse of two endpoints that disagree.
func TestClockTakesTheWorse(t *testing.T) {
	now := time.Now()
	got := one(t, checkClock(&tenant{endpoints: []endpoint{
		{name: "login", local: now, date: now}, {name: "graph", local: now, date: now.Add(-4 * time.Minute)}, {name: "odd", local: now},
	}}))
	require.Equal(t, Warning, got.Result)
	require.Contains(t, got.Evidence, "4m0s ahead of the graph endpoint")
}

func TestSlowReceiver(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	s, stop := lookAtSite(t.Context(), Options{Config: cfg}.withDefaults())
	defer stop()
	tn := &tenant{site: s, cfg: &cfg.Accounts[0], handshakes: []handshake{{url: "https://b/1"}, {url: "https://b/2", took: 4 * time.Second}}}
	got := one(t, checkReceiver(tn))
	require.Equal(t, Warning, got.Result)
	require.Contains(t, got.Evidence, "https://b/2 answered the validation after 4s")
}

func TestOpaqueToken(t *testing.T) {
	tn := &tenant{cfg: &config.Account{}}
	for _, c := range append(checkPermissions(tn, &application{}), checkConsent(tn, &application{})...) {
		require.Equal(t, Skipped, c.Result)
		require.Contains(t, c.Evidence, "cannot be read")
	}
}

func TestTokenRemedies(t *testing.T) {
	for _, code := range []string{"AADSTS7000215", "AADSTS7000222", "AADSTS700027", "AADSTS7000218", "AADSTS700016", "AADSTS90002", "AADSTS65001",
		"AADSTS53003", "credential_unreadable", "AADSTS1"} {
		require.NotEmpty(t, tokenRemedy(&graph.Error{Kind: graph.Unauthorised, Status: 401, Code: code}), code)
	}
	require.Contains(t, tokenRemedy(&graph.Error{Kind: graph.Refused}), "login endpoint")
	require.Contains(t, tokenRemedy(&graph.Error{Kind: graph.Transient}), "try again")
	require.Contains(t, tokenRemedy(&graph.Error{Kind: graph.ConsentMissing, Status: 400}), "consent")
	require.Contains(t, tokenRemedy(errors.New("x")), "graph section")
}

func TestWhyTheRegistrationIsNotRead(t *testing.T) {
	for kind, want := range map[graph.Kind]string{graph.ConsentMissing: "optional", graph.Gone: "another tenant", graph.Transient: "transient"} {
		require.Contains(t, unread(&graph.Error{Kind: kind, Op: "get registration"}), want)
	}
	require.Empty(t, unread(nil))
}

func TestPBXRemedies(t *testing.T) {
	for kind, want := range map[pbx.ErrorKind]string{
		pbx.Unauthorised: "token_file", pbx.Refused: "openapi.yaml", pbx.Throttled: "more requests", pbx.Unanswered: "ca_file", pbx.Conflict: "ca_file", pbx.Gone: "openapi.yaml",
	} {
		require.Contains(t, pbxRemedy(&pbx.Error{Kind: kind}), want)
	}
	empty := &tenant{pbxs: []*phone{{cfg: &config.PBX{Name: "main"}}}}
	require.Equal(t, Warning, one(t, checkPBXs(empty)).Result)
	silent := &tenant{pbxs: []*phone{{cfg: &config.PBX{Name: "main"}, usersErr: errors.New("cut off")}}}
	require.Equal(t, Failed, one(t, checkPBXs(silent)).Result)
}

// TestRulesOfSeveralPBXs: a rule that one PBX leaves to another is not dead.
func TestRulesOfSeveralPBXs(t *testing.T) {
	phones := func(errs ...error) []*phone {
		a := &phone{cfg: &config.PBX{Name: "a"}, statuses: []presence.Status{{Name: "Busy", Kind: presence.KindBusy}}}
		b := &phone{cfg: &config.PBX{Name: "b"}, statuses: []presence.Status{{Name: "DND", Kind: presence.KindDND}}}
		if len(errs) > 0 {
			b.statuses, b.statusErr = nil, errs[0]
		}
		return []*phone{a, b}
	}
	rules, err := policy.Parse([]byte(`
teams_to_pbx:
  - {when: {availability: Busy, pbx: a}, set: {status: Busy}}
  - {when: {availability: Busy}, set: {status_kind: dnd}}
pbx_to_teams:
  - {when: {status: DND, pbx: b}, set: {presence: DoNotDisturb/Presenting}}
  - {when: {status: DND, pbx: a}, set: {presence: DoNotDisturb/Presenting}}`))
	require.NoError(t, err)
	got := one(t, checkPolicy(&tenant{policy: rules, pbxs: phones()}))
	require.Contains(t, got.Subject, "pbx_to_teams[1]")
	require.Contains(t, got.Evidence, `"DND"`)

	tn := &tenant{policy: rules, pbxs: phones(errors.New("away"))}
	require.Contains(t, one(t, checkPolicy(tn)).Subject, "pbx_to_teams[1]", "a can be asked")
	statuses := checkStatuses(tn)
	require.Equal(t, Skipped, statuses[len(statuses)-1].Result)

	require.Equal(t, Failed, one(t, checkPolicy(&tenant{policyErr: errors.New("line 3: x")})).Result)
	require.Equal(t, Skipped, one(t, checkStatuses(&tenant{policyErr: errors.New("line 3: x")})).Result)
	none, err := policy.Parse([]byte("pbx_to_teams: [{when: {line: in-call}, set: {presence: Busy/InACall}}]"))
	require.NoError(t, err)
	require.Equal(t, Skipped, checkStatuses(&tenant{policy: none, pbxs: phones()})[0].Result, "nothing is set there")
}

// TestNothingIsLeftBehind: least of all the mark of a clean stop, after which the bridge would trust what a crash left.
func TestNothingIsLeftBehind(t *testing.T) {
	w := newWorld(t)
	dir := w.config().DataDir
	b, err := bus.Open(t.Context(), bus.Config{DataDir: dir, MinFree: -1})
	require.NoError(t, err)
	require.NoError(t, b.Close(t.Context()))
	require.NoError(t, os.Remove(filepath.Join(dir, "clean-stop")), "as after a crash")
	before := entries(t, dir)
	w.run()
	require.Equal(t, before, entries(t, dir))
	writes, _ := w.pbx.Presence(w.pbx.Users()[0].ID)
	require.NotEqual(t, "api:"+w.pbx.ClientName(), writes.ChangedBy, "nothing was written there")
	require.Empty(t, w.graph.Subscriptions())
}

func entries(t *testing.T, dir string) (out []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		out = append(out, path)
		return err
	}))
	return out
}

func TestBridgeThatCannotBeAsked(t *testing.T) {
	cfg := &config.Config{DataDir: "/var/lib/x", Listen: config.Listen{Admin: "127.0.0.1:1"}}
	for _, c := range []struct {
		r      running
		result Result
		why    string
	}{
		{running{}, Skipped, "not running"},
		{running{locked: true}, Failed, "does not answer"},
		{running{lockErr: errors.New("permission denied")}, Failed, "not running"},
		{running{found: true, clientErr: errors.New("no token")}, Warning, "no token"},
		{running{found: true, listErr: errors.New("401")}, Warning, "401"},
		{running{found: true, readiness: api.Readiness{Checks: []api.Check{{Name: "account contoso", Detail: "no members yet"}}}}, Failed, ""},
		{running{found: true}, OK, ""},
	} {
		s := &site{cfg: cfg, running: c.r}
		require.Equal(t, c.result, worstOrOnly(checkBridge(s)))
		why, usable := s.running.usable()
		require.Equal(t, c.why == "", usable)
		require.Contains(t, why, c.why)
	}
	s := &site{cfg: cfg, running: running{found: true}}
	require.Equal(t, Skipped, one(t, checkBus(s)).Result, "readyz does not speak of the bus")
}

// worstOrOnly keeps skipped apart from ok.
func worstOrOnly(checks []Check) Result {
	if len(checks) == 1 {
		return checks[0].Result
	}
	return worst(checks)
}

func TestNoReadyzAtABadAddress(t *testing.T) {
	_, err := readyz(t.Context(), "http://bad address", time.Second)
	require.Error(t, err)
	require.Error(t, validate(t.Context(), http.DefaultClient, "http://bad address"))
}

func TestUnreadableCertificates(t *testing.T) {
	dir := t.TempDir()
	_, err := readCertificates(filepath.Join(dir, "none"))
	require.Error(t, err)
	for name, text := range map[string]string{"empty": "", "broken": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := readCertificates(file)
		require.Error(t, err)
		s := &site{cfg: &config.Config{TLS: config.TLS{CertificateFile: file}}, filesErr: err}
		require.Equal(t, Failed, one(t, checkCertificateFiles(s)).Result)
	}
	require.Error(t, verifyChain(nil, "x", nil, time.Now()))
	text, remedy := chainProblem(errors.New("odd"))
	require.Equal(t, "odd", text)
	require.NotEmpty(t, remedy)
}
