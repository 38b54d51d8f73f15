package verify

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx/pbxsim"
)

func TestEverythingWorksBeforeTheFirstStart(t *testing.T) {
	w := newWorld(t)
	w.front.setApp("web", map[string]any{"redirectUris": []string{"https://other.example.com", "http://" + w.hook + "/authorize/callback"}})
	r := w.run()
	require.Equal(t, Warning, r.Result, "plain HTTP on a loopback address")
	expect(t, r, "configuration", "", OK)
	expect(t, r, "bridge", "", Skipped, w.admin)
	expect(t, r, "public_address", "", Warning, "only simulators")
	expect(t, r, "public_certificate", "", Warning, "plain HTTP")
	expect(t, r, "certificate_file", "", Skipped)
	expect(t, r, "bus", "embedded", OK, "does not exist yet")
	expect(t, r, "bus_durability", "embedded", OK, "always")
	expect(t, r, "bus_space", "embedded", OK)
	expect(t, r, "endpoint", "login", OK, w.front.URL)
	expect(t, r, "endpoint", "graph", OK, w.front.URL)
	expect(t, r, "clock", "", OK, "agrees")
	expect(t, r, "app_token", "", OK, w.graph.ClientID)
	for _, p := range []string{"Presence.ReadWrite.All", "User.Read.All", "Application.Read.All"} {
		expect(t, r, "permission", p, OK)
	}
	expect(t, r, "admin_consent", "", OK, "Presence.ReadWrite.All")
	expect(t, r, "client_secret", "", OK, "in 36")
	expect(t, r, "redirect_uri", "", OK)
	expect(t, r, "monitor", "presence1@contoso.example", Skipped, "not running")
	expect(t, r, "capacity", "", OK, "20 members among 21 people", "650 places")
	expect(t, r, "receiver", "", OK, "in place of the bridge")
	expect(t, r, "graph_reach", "", Warning, "not tested")
	expect(t, r, "pbx", "main", OK, "20 users, 9 statuses")
	expect(t, r, "status", "main", OK, `"In a call", "Do not disturb"`)
	expect(t, r, "policy", "", OK)
	require.NoDirExists(t, w.config().DataDir, "verify makes nothing")
}

func TestAppTokenRefused(t *testing.T) {
	for code, want := range map[int]struct{ remedy string }{
		7000222: {"make a new client secret"}, 700016: {"setup azure"}, 90002: {"tenant_id"}, 53003: {"Conditional Access"}, 65001: {"consent"}, 4711: {"login.microsoftonline.com/error"},
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			w := newWorld(t)
			w.graph.FailTokens(w.graph.ClientID, code)
			r := w.run()
			require.Equal(t, Failed, r.Result)
			expect(t, r, "endpoint", "login", OK)
			expect(t, r, "app_token", "", Failed, fmt.Sprintf("AADSTS%d", code), want.remedy)
			expect(t, r, "permission", "User.Read.All", Skipped)
			expect(t, r, "client_secret", "", Skipped)
			expect(t, r, "capacity", "", Skipped)
			expect(t, r, "pbx", "main", OK)
			if code == 65001 {
				expect(t, r, "admin_consent", "", Failed, "Grant admin consent")
			} else {
				expect(t, r, "admin_consent", "", Skipped)
			}
		})
	}
}

func TestSecretRemoved(t *testing.T) {
	w := newWorld(t)
	w.graph.RemoveSecret(w.graph.ClientSecret)
	expect(t, w.run(), "app_token", "", Failed, "AADSTS7000215", "client_secret_file")
}

func TestPermissions(t *testing.T) {
	w := newWorld(t)
	w.graph.Consent(nil, nil)
	r := w.run()
	expect(t, r, "permission", "Presence.ReadWrite.All", Failed, "83cded22-8297-4ff6-a7fa-e97e9545a259")
	expect(t, r, "permission", "User.Read.All", Failed, "df021288-bdef-4463-88db-98f22de89214")
	expect(t, r, "permission", "Application.Read.All", Skipped, "optional")
	expect(t, r, "admin_consent", "", Failed)
	expect(t, r, "capacity", "", Skipped, "cannot be listed")

	w.graph.Consent([]string{"Presence.ReadWrite.All", "User.ReadBasic.All"}, nil)
	r = w.run()
	expect(t, r, "permission", "Presence.ReadWrite.All", OK)
	expect(t, r, "permission", "User.Read.All", Warning, "User.ReadBasic.All")
	expect(t, r, "admin_consent", "", OK)
	expect(t, r, "client_secret", "", Skipped, "Application.Read.All")
	expect(t, r, "redirect_uri", "", Skipped, "Application.Read.All")
}

func TestConsentThatNobodyGave(t *testing.T) {
	w := newWorld(t)
	w.graph.Consent([]string{"User.Read.All", "Application.Read.All"}, nil)
	w.front.setApp("requiredResourceAccess", []any{map[string]any{"resourceAppId": "00000003-0000-0000-c000-000000000000",
		"resourceAccess": []any{map[string]any{"id": "83CDED22-8297-4ff6-a7fa-e97e9545a259", "type": "Role"}}}})
	r := w.run()
	expect(t, r, "admin_consent", "", Failed, "asks for Presence.ReadWrite.All")
	expect(t, r, "permission", "Presence.ReadWrite.All", Failed)
}

func TestSecretExpiry(t *testing.T) {
	for _, c := range []struct {
		in     time.Duration
		result Result
		text   string
	}{{20*24*time.Hour + time.Hour, Warning, "in 20 days"}, {-time.Hour, Failed, "ended on"}, {61*24*time.Hour + time.Hour, OK, "61 days"}} {
		w := newWorld(t, func(s *settings) { s.graph.SecretExpiry = time.Now().Add(c.in) })
		expect(t, w.run(), "client_secret", "", c.result, c.text)
	}
}

func TestSeveralSecrets(t *testing.T) {
	w := newWorld(t)
	secret := func(hint string, days int) map[string]any {
		return map[string]any{"hint": hint, "endDateTime": time.Now().AddDate(0, 0, days).UTC().Format(time.RFC3339)}
	}
	mine := w.graph.ClientSecret[:3]
	w.front.setApp("passwordCredentials", []any{secret("zzz", 300), secret(mine, -10), secret(mine, 30)})
	expect(t, w.run(), "client_secret", "", Warning, "in 29 days")
	w.front.setApp("passwordCredentials", []any{secret("zzz", 300)})
	expect(t, w.run(), "client_secret", "", Warning, "deleted")
	w.front.setApp("passwordCredentials", []any{map[string]any{"hint": mine}})
	expect(t, w.run(), "client_secret", "", Warning, "not known")
}

func TestAppCertificate(t *testing.T) {
	for _, c := range []struct {
		days   int
		result Result
	}{{400, OK}, {10, Warning}, {-1, Failed}} {
		w := newWorld(t)
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bridge"}, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(0, 0, c.days)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		require.NoError(t, err)
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		w.graph.RegisterCertificate(cert)
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})...)
		w.set("credential", "certificate_file: "+w.file("app.pem", string(text)))
		// Without the front: the assertion is made out to the tenant's own address.
		w.set("endpoints", fmt.Sprintf("{login: %s, graph: %s, ca_file: %s}", w.graph.LoginURL(), w.graph.GraphURL(), w.file("sim.pem", string(w.graph.CAPEM()))))
		r := w.run()
		expect(t, r, "client_certificate", "", c.result)
		expect(t, r, "app_token", "", OK)
	}
	w := newWorld(t)
	w.set("credential", "certificate_file: "+w.file("app.pem", "no certificate"))
	r := w.run()
	expect(t, r, "client_certificate", "", Failed, "certificate_file")
	expect(t, r, "app_token", "", Failed, "certificate_file")
}

func TestWrongAuthority(t *testing.T) {
	w := newWorld(t)
	w.set("endpoints", fmt.Sprintf("{login: %s, graph: %s, ca_file: %s}", w.front.URL, w.front.URL, w.file("other.pem", string(w.graph.CAPEM()))))
	r := w.run()
	expect(t, r, "endpoint", "login", Failed, "not trusted", "ca_file")
	expect(t, r, "endpoint", "graph", Failed, "not trusted")
	expect(t, r, "app_token", "", Failed)
	expect(t, r, "clock", "", Skipped)
}

func TestUnreachable(t *testing.T) {
	w := newWorld(t)
	nobody := "https://" + freeAddress(t)
	w.set("endpoints", fmt.Sprintf("{login: %s, graph: %s}", nobody, nobody))
	w.opts.Timeout = 2 * time.Second
	r := w.run()
	expect(t, r, "endpoint", "login", Failed, "connection refused")
	expect(t, r, "app_token", "", Failed, "let this machine reach")
}

func TestClock(t *testing.T) {
	for _, c := range []struct {
		skew   time.Duration
		result Result
		text   string
	}{{0, OK, "agrees"}, {time.Minute, OK, "behind"}, {3 * time.Minute, Warning, "behind"}, {-3 * time.Minute, Warning, "ahead"}, {-10 * time.Minute, Failed, "ahead"}} {
		w := newWorld(t)
		w.front.setSkew(c.skew)
		expect(t, w.run(), "clock", "", c.result, c.text)
	}
}

func TestRedirectURI(t *testing.T) {
	w := newWorld(t)
	want := "http://" + w.hook + "/authorize/callback"
	expect(t, w.run(), "redirect_uri", "", Skipped, "does not show")
	w.front.setApp("web", map[string]any{"redirectUris": []string{}})
	expect(t, w.run(), "redirect_uri", "", Failed, "add "+want, "AADSTS50011")
	w.front.setApp("web", map[string]any{"redirectUris": []string{want + "/"}})
	expect(t, w.run(), "redirect_uri", "", Failed, "letter by letter")
	w.set("monitors", "[]")
	expect(t, w.run(), "redirect_uri", "", Skipped, "no monitors")
}

func TestCapacity(t *testing.T) {
	w := newWorld(t, func(s *settings) { s.graph.Users = 700 })
	r := w.run()
	expect(t, r, "capacity", "", Warning, "700 members", "650 places", "50 members are polled every 15s", "add monitors: 2 in all")
	w.set("monitors", "[{upn: presence1@contoso.example}, {upn: presence2@contoso.example}, {upn: presence3@contoso.example}]")
	w.set("exclude", "[user0@nowhere.example]")
	r = w.run()
	expect(t, r, "capacity", "", OK, "1950 places", "spare monitors: 1")
	expect(t, r, "capacity", "exclude", Warning, "user0@nowhere.example names nobody")
	w.set("monitors", "[]")
	expect(t, w.run(), "capacity", "", Warning, "0 places")
	w.set("cloud", "usgov-l4")
	r = w.run()
	expect(t, r, "capacity", "", OK, "all are polled")
	expect(t, r, "monitor", "", Skipped, "no presence subscriptions")
	expect(t, r, "graph_reach", "", Skipped)
}

func TestNobodyMatches(t *testing.T) {
	w := newWorld(t, func(s *settings) { s.pbx.UserList = []pbxsim.User{{ID: "1", Email: "stranger@elsewhere.example"}} })
	w.set("exclude", "["+w.graph.Users()[0].UPN+"]")
	w.set("monitors", "[]")
	for _, u := range w.graph.Users() {
		if !strings.HasPrefix(u.UPN, "presence") {
			w.set("exclude", strings.Replace(w.lines["exclude"], "]", ", "+u.UPN+"]", 1))
		}
	}
	expect(t, w.run(), "capacity", "", Warning, "nobody is bridged")
}

func TestPBX(t *testing.T) {
	w := newWorld(t)
	w.pbx.RotateToken("another-token")
	r := w.run()
	expect(t, r, "pbx", "main", Failed, "token_file")
	expect(t, r, "status", "main", Skipped)
	expect(t, r, "policy", "", OK, "statuses were not compared")
	expect(t, r, "capacity", "", Skipped, "PBX main")

	w = newWorld(t)
	w.pbx.Down()
	expect(t, w.run(), "pbx", "main", Failed, "let this machine reach url")
}

func TestPBXWithTLS(t *testing.T) {
	w := newWorld(t, func(s *settings) { s.pbx.TLS = true })
	expect(t, w.run(), "pbx", "main", Failed, "ca_file")
	w.set("pbx", strings.Replace(w.lines["pbx"], "timeout", "ca_file: "+w.file("pbx.pem", string(w.pbx.CAPEM()))+", timeout", 1))
	expect(t, w.run(), "pbx", "main", OK)
}

func TestStatusNotOffered(t *testing.T) {
	w := newWorld(t, func(s *settings) {
		s.pbx.Statuses = []pbxsim.Status{{Name: "Frei", Kind: "available"}, {Name: "Besetzt", Kind: "busy"}}
	})
	r := w.run()
	expect(t, r, "status", "main", OK, `"Besetzt" in place of "In a call"`)
	var warned []string
	for _, c := range r.Accounts[0].Checks {
		if c.Result == Warning && (c.Name == "status" || c.Name == "policy") {
			warned = append(warned, c.Name+" "+c.Evidence+" "+c.Remedy)
		}
	}
	require.Len(t, warned, 2)
	require.Contains(t, warned[0], `status not offered: teams_to_pbx[1] sets "Do not disturb"`)
	require.Contains(t, warned[0], `"Frei", "Besetzt"`)
	require.Contains(t, warned[1], "has a phone that can show that")
}

func TestPolicy(t *testing.T) {
	w := newWorld(t)
	w.set("policy", `
      teams_to_pbx:
        - {when: {availability: [Busy, DoNotDisturb]}, set: {status: Busy}}
        - {when: {availability: busy, activity: InACall}, set: {status: "In a call"}}
        - {when: {activity: InACall}, set: {status: "In a call"}}
        - {when: {activity: InACall, pbx: branch}, set: {status: "In a call"}}
      pbx_to_teams:
        - {when: {line: [in-call, on-hold]}, set: {presence: Busy/InACall}}
        - {when: {line: in-call, status_kind: busy}, set: {presence: Busy/InAConferenceCall}}
        - {when: {status: "In the sauna"}, set: {presence: Away/Away}}
        - {when: {status: "do not disturb", status_kind: away}, set: {presence: Away/Away}}
        - {when: {status: "Do not disturb"}, set: {presence: DoNotDisturb}}`)
	// "DoNotDisturb" alone would be the pair that Graph does not take.
	w.set("policy", strings.Replace(w.lines["policy"], "presence: DoNotDisturb}", "presence: DoNotDisturb/Presenting}", 1))
	r := w.run()
	got := map[string]string{}
	for _, c := range r.Accounts[0].Checks {
		if c.Name == "policy" {
			require.Equal(t, Warning, c.Result)
			rule, _, _ := strings.Cut(c.Subject, " ")
			require.Contains(t, c.Subject, "(line ")
			got[rule] = c.Evidence
		}
	}
	require.Len(t, got, 5, got)
	require.Contains(t, got["teams_to_pbx[1]"], "teams_to_pbx[0] (line ")
	require.Contains(t, got["teams_to_pbx[3]"], `"branch"`)
	require.Contains(t, got["pbx_to_teams[1]"], "pbx_to_teams[0] (line ")
	require.Contains(t, got["pbx_to_teams[2]"], `"In the sauna"`)
	require.Contains(t, got["pbx_to_teams[3]"], "can never decide")

	w.set("policy", "{teams_to_pbx: [], pbx_to_teams: []}")
	expect(t, w.run(), "policy", "", Warning, "maps nothing")
}

func TestUnknownAccount(t *testing.T) {
	w := newWorld(t)
	_, err := Run(t.Context(), Options{Config: w.config(), Account: "fabrikam"})
	require.ErrorContains(t, err, "contoso")
}
