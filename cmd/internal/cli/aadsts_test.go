package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/graph/graphsim"
)

// shortTokens has access tokens end soon, so that every request shows what Entra says about the sign-in.
func shortTokens(monitors int) func(*graphsim.Config) {
	return func(cfg *graphsim.Config) {
		cfg.TokenLifetime = 2 * time.Second
		cfg.Monitors = nil
		for i := range monitors {
			cfg.Monitors = append(cfg.Monitors, monitorName(i))
		}
	}
}

func monitorName(i int) string { return fmt.Sprintf("presence%d@contoso.example", i+1) }

// listed is what monitors list says, by UPN; nothing as long as the bridge does not answer.
func listed(t *testing.T, file string) map[string]api.Monitor {
	t.Helper()
	out := map[string]api.Monitor{}
	var byAccount map[string][]api.Monitor
	if r := run(t, "monitors", "list", "--config", file, "--json"); r.code != 0 || json.Unmarshal([]byte(r.out), &byAccount) != nil {
		return out
	}
	for _, m := range byAccount["contoso"] {
		out[m.UPN] = m
	}
	return out
}

// approved signs a monitor in with a device code.
func approved(t *testing.T, file string, s *site, upn string) {
	t.Helper()
	c := start(t, "monitors", "authorize", upn, "--config", file)
	eventually(t, func() bool { return len(s.graph.DeviceCodes()) == 1 || c.over() }, "a code waits")
	require.False(t, c.over(), c.err.String()+c.out.String())
	require.NoError(t, s.graph.Approve(s.graph.DeviceCodes()[0].UserCode, upn))
	require.Equal(t, 0, c.wait(t), c.err.String()+c.out.String())
}

// TestWhatEntraRefusesIsExplained breaks the sign-ins of monitors that worked, each in another way, at the token endpoint. The
// API and the command line say what happened and what to do.
func TestWhatEntraRefusesIsExplained(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		breaks func(s *site, upn string) error
		code   string
		remedy string
	}{
		{"password changed", func(s *site, upn string) error { s.graph.RevokeSessions(upn); return nil }, "password_changed", "presence-bridge monitors authorize UPN"},
		{"account disabled", func(s *site, upn string) error {
			return s.graph.UpdateUser(upn, func(p *graphsim.Person) { p.Disabled = true })
		}, "account_disabled", "enable the account in Entra"},
		{"account deleted", func(s *site, upn string) error { return s.graph.RemoveUser(upn) }, "account_missing", "restore the user in Entra"},
		{"consent revoked", fails(65001), "consent_revoked", "grant it again in Entra"},
		{"conditional access", fails(53003), "conditional_access", "exempt the monitor from the policy"},
		{"MFA demanded", fails(50076), "mfa_required", "exempt the monitor in Conditional Access, or complete it"},
		{"MFA enrolment demanded", fails(50079), "mfa_required", "exempt the monitor in Conditional Access, or complete it"},
		{"password expired", fails(50055), "password_expired", "set a new password"},
		{"inactive for 90 days", fails(700082), "sign_in_expired", "authorise the monitor again"},
		{"session too old", fails(70043), "sign_in_expired", "authorise the monitor again"},
	}
	s := newSite(t, "contoso", 2, 1, shortTokens(len(cases)))
	file, c := serving(t, s)
	for i := range cases {
		if i > 0 {
			good(t, "monitors", "add", monitorName(i), "--config", file)
		}
		approved(t, file, s, monitorName(i))
	}
	for i, tt := range cases {
		require.NoError(t, tt.breaks(s, monitorName(i)), tt.name)
	}
	for i, tt := range cases {
		eventually(t, func() bool {
			run(t, "monitors", "retry", monitorName(i), "--config", file)
			return listed(t, file)[monitorName(i)].State == "needs_attention"
		}, tt.name)
	}
	text, list := good(t, "monitors", "list", "--config", file), listed(t, file)
	for i, tt := range cases {
		m := list[monitorName(i)]
		require.Equal(t, tt.code, m.Code, tt.name)
		require.NotEmpty(t, m.Text, tt.name)
		require.Contains(t, m.Remedy, tt.remedy, tt.name)
		require.NotZero(t, m.Since, tt.name)
		require.Contains(t, text, m.Text+"; "+m.Remedy, tt.name)
	}
	// A sign-in that is begun does not hide it.
	again := start(t, "monitors", "authorize", monitorName(0), "--config", file)
	eventually(t, func() bool { return listed(t, file)[monitorName(0)].State == "authorizing" || again.over() }, "a sign-in is under way")
	require.Equal(t, "password_changed", listed(t, file)[monitorName(0)].Before.Code)
	require.Contains(t, good(t, "monitors", "list", "--config", file), "authorizing (needs_attention password_changed)")
	require.NoError(t, s.graph.Approve(s.graph.DeviceCodes()[0].UserCode, monitorName(0)))
	require.Equal(t, 0, again.wait(t), again.err.String())
	require.Equal(t, "authorized", listed(t, file)[monitorName(0)].State)

	// What is set right in Entra is noticed without a new sign-in.
	s.graph.FailTokens(monitorName(4), 0)
	eventually(t, func() bool {
		run(t, "monitors", "retry", monitorName(4), "--config", file)
		return listed(t, file)[monitorName(4)].State == "authorized"
	}, "the policy was changed")

	// What is about the application is every monitor's trouble.
	for _, tt := range []struct {
		name         string
		breaks       func()
		code, remedy string
	}{
		{"secret expired", func() { s.graph.FailTokens(s.graph.ClientID, 7000222) }, "client_secret_expired", "make a new secret in Entra and put it into client_secret_file"},
		{"wrong secret", func() {
			s.graph.FailTokens(s.graph.ClientID, 0)
			write(t, secretOf(file), "not-the-secret-of-the-application")
		}, "client_secret_wrong", "put the present secret into client_secret_file"},
		{"no secret", func() { require.NoError(t, os.Remove(secretOf(file))) }, "credential_unreadable", "correct what it names"},
	} {
		tt.breaks()
		for _, i := range []int{0, 4} {
			eventually(t, func() bool {
				run(t, "monitors", "retry", monitorName(i), "--config", file)
				return listed(t, file)[monitorName(i)].Code == tt.code
			}, tt.name)
			require.Contains(t, listed(t, file)[monitorName(i)].Remedy, tt.remedy, tt.name)
		}
		r := run(t, "monitors", "renew", monitorName(0), "--config", file)
		require.Equal(t, 1, r.code, tt.name)
		require.Contains(t, r.err, tt.remedy, tt.name)
	}
	write(t, secretOf(file), s.graph.ClientSecret)
	stillSignedIn(t, file, s)
	require.Equal(t, 0, c.terminate(t), c.err.String())
	require.NotContains(t, c.err.String(), "not-the-secret")
}

// fails has Entra refuse every token of the user.
func fails(code int) func(s *site, upn string) error {
	return func(s *site, upn string) error { s.graph.FailTokens(upn, code); return nil }
}

func secretOf(file string) string { return filepath.Join(filepath.Dir(file), "contoso", "secret") }

// TestSignInsThatFailAreExplained has people do everything wrong while they sign a monitor in, and Entra refuse. The command
// says what happened and what to do, and a sign-in afterwards succeeds.
func TestSignInsThatFailAreExplained(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	file, _ := serving(t, s)
	upn := s.monitor()
	approve := func(code string) error { return s.graph.Approve(code, upn) }
	refuse := func(aadsts int) func(code string) error {
		return func(code string) error { s.graph.FailTokens(upn, aadsts); return s.graph.Approve(code, upn) }
	}
	roles := []string{"Presence.ReadWrite.All", "User.Read.All", "Application.Read.All"}
	scopes := []string{"Presence.Read.All", "User.Read", "offline_access", "openid", "profile", "email"}
	mend := func() {
		s.graph.FailTokens(upn, 0)
		s.graph.FailTokens(s.graph.ClientID, 0)
		s.graph.Consent(roles, scopes)
		write(t, secretOf(file), s.graph.ClientSecret)
		require.NoError(t, s.graph.UpdateUser(upn, func(p *graphsim.Person) { p.Disabled, p.DirectoryRoles = false, nil }))
	}
	for _, tt := range []struct {
		name string
		act  func(code string) error
		says []string
	}{
		{"declined", s.graph.Decline, []string{"declined:", "start again when whoever signs in agrees"}},
		{"expired", s.graph.Expire, []string{"expired:", "start again"}},
		{"bad code", s.graph.Forget, []string{"bad_code:", "enter the code exactly as shown"}},
		{"somebody else", func(code string) error { return s.graph.Approve(code, s.upn(0)) },
			[]string{"wrong_user:", "use another account", s.upn(0)}},
		{"Global Administrator", func(code string) error {
			err := s.graph.UpdateUser(upn, func(p *graphsim.Person) { p.DirectoryRoles = []string{graphsim.GlobalAdministrator} })
			if err != nil {
				return err
			}
			return approve(code)
		}, []string{"global_administrator:", "use an ordinary user"}},
		{"conditional access", refuse(53003), []string{"failed:", "Conditional Access", "authorise by redirect"}},
		{"MFA", refuse(50076), []string{"failed:", "another factor"}},
		{"account disabled", func(code string) error {
			if err := approve(code); err != nil {
				return err
			}
			return s.graph.UpdateUser(upn, func(p *graphsim.Person) { p.Disabled = true })
		}, []string{"failed:", "account is disabled"}},
		{"consent missing", refuse(65001), []string{"failed:", "Presence.Read.All", "consent"}},
		{"secret expired", func(code string) error {
			s.graph.FailTokens(s.graph.ClientID, 7000222)
			return nil
		}, []string{"failed:", "put a new one into client_secret_file"}},
		{"wrong secret", func(code string) error {
			write(t, secretOf(file), "not-the-secret-of-the-application")
			return nil
		}, []string{"failed:", "client_secret_file"}},
	} {
		c := start(t, "monitors", "authorize", upn, "--config", file)
		eventually(t, func() bool { return len(s.graph.DeviceCodes()) == 1 || c.over() }, tt.name)
		require.NoError(t, tt.act(s.graph.DeviceCodes()[0].UserCode), tt.name)
		require.Equal(t, 1, c.wait(t), "%s: %s", tt.name, c.out.String())
		for _, text := range tt.says {
			require.Contains(t, c.out.String(), text, tt.name)
		}
		mend()
		for _, d := range s.graph.DeviceCodes() {
			require.NoError(t, s.graph.Decline(d.UserCode)) // those that nobody polls for any more
		}
		m := listed(t, file)[upn]
		require.Equal(t, "unset", m.State, tt.name)
		require.Contains(t, m.Remedy, "monitors authorize", tt.name)
	}
	// Scopes that were not granted are named.
	s.graph.Consent(roles, []string{"User.Read", "offline_access", "openid", "profile"})
	c := start(t, "monitors", "authorize", upn, "--config", file)
	eventually(t, func() bool { return len(s.graph.DeviceCodes()) == 1 || c.over() }, "a code waits")
	require.NoError(t, approve(s.graph.DeviceCodes()[0].UserCode))
	require.Equal(t, 1, c.wait(t))
	require.Contains(t, c.out.String(), "scopes_missing:")
	require.Contains(t, c.out.String(), "grant Presence.Read.All (delegated)")
	mend()
	browserSignIns(t, file, s)
	approved(t, file, s, upn)
	require.Equal(t, "authorized", listed(t, file)[upn].State)
}

// browserSignIns does the same where the redirect brings the answer.
func browserSignIns(t *testing.T, file string, s *site) {
	t.Helper()
	begin := func() string {
		out := good(t, "monitors", "authorize", s.monitor(), "--copy-url", "--config", file)
		for _, word := range strings.Fields(out) {
			if strings.HasPrefix(word, "https://") {
				return word
			}
		}
		require.Fail(t, "no address", out)
		return ""
	}
	for _, tt := range []struct {
		name, add string
		before    func()
		says      []string
	}{
		{"declined", "&deny=1", func() {}, []string{"declined", "AADSTS65004"}},
		{"somebody else", "&as=" + s.upn(0), func() {}, []string{"somebody else signed in"}},
		{"conditional access", "&as=" + s.monitor(), func() { s.graph.FailTokens(s.monitor(), 53003) }, []string{"Conditional Access", "AADSTS53003"}},
		{"disabled", "&as=" + s.monitor(), func() { s.graph.FailTokens(s.monitor(), 50057) }, []string{"account is disabled", "AADSTS50057"}},
	} {
		tt.before()
		status, page := browsed(t, s, begin()+tt.add)
		require.Equal(t, http.StatusForbidden, status, tt.name)
		for _, text := range tt.says {
			require.Contains(t, page, text, tt.name)
		}
		s.graph.FailTokens(s.monitor(), 0)
	}
}

// browsed opens an address as a browser would, and returns the page where it ends.
func browsed(t *testing.T, s *site, address string) (int, string) {
	t.Helper()
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(s.graph.CAPEM()))
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	defer browser.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	resp, err := browser.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(page)
}
