package verify

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/pbx/threecxsim"
	"presencebridge/cmd/internal/sims"
)

// with3CX gives the account a 3CX in place of its PBX.
func (w *world) with3CX(cfg threecxsim.Config) *threecxsim.Sim {
	w.t.Helper()
	for i, p := range sims.People(3, "contoso.example") {
		cfg.UserList = append(cfg.UserList, threecxsim.User{ID: i + 1, Number: p.Extension, Email: p.Mail, DisplayName: p.Name})
	}
	sim, err := threecxsim.Start(cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, sim.Close()) })
	w.set("pbx", fmt.Sprintf("[{name: main, type: 3cx, url: %s, client_id: %s, client_secret_file: %s, timeout: 20s}]",
		sim.URL(), sim.ClientID(), w.file("key", sim.ClientSecret())))
	w.set("policy", "{preset: 3cx}")
	return sim
}

func Test3CX(t *testing.T) {
	some := threecxsim.Limits{Monitored: []string{"10001", "10002"}, TeamsSync: true}
	for name, c := range map[string]struct {
		limits threecxsim.Limits
		want   []string // texts and remedies
	}{
		"usable":          {threecxsim.Limits{}, []string{"lists, reports and may be written to; 3 users, 5 statuses", `it offers what policy sets: "Away", "Out of office"`}},
		"licence":         {threecxsim.Limits{NoEnterprise: true}, []string{"get system status", "8 simultaneous calls or more"}},
		"no call control": {threecxsim.Limits{NoCallControl: true}, []string{"list calls", "Tick 3CX Call Control API Access"}},
		"no xapi":         {threecxsim.Limits{NoXAPI: true}, []string{"get system status", "Tick 3CX Configuration API Access"}},
		"read only":       {threecxsim.Limits{ReadOnly: true}, []string{"verify the right to write", "AllowToChangePresence"}},
		"address":         {threecxsim.Limits{ForeignIP: true}, []string{"get token", "Console Restrictions"}},
		"nobody":          {threecxsim.Limits{Monitored: []string{"4711"}}, []string{"monitor none of the users' extensions", "into the list that the API client may monitor"}},
		"some": {some, []string{"not_monitored: The PBX tells the API client nothing about the calls of 1 of 3 extensions, for example 10003.",
			"competitor: The PBX's own synchronisation of presence with Microsoft Teams is on", "Turn it off in the PBX's console"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			sim := w.with3CX(threecxsim.Config{Limits: c.limits})
			text := ""
			for _, check := range w.run().Accounts[0].Checks {
				if check.Name == "pbx" || check.Name == "status" {
					text += fmt.Sprintf("%s %s %s %s\n", check.Result, check.Name, check.Evidence, check.Remedy)
				}
			}
			for _, want := range c.want {
				require.Contains(t, text, want)
			}
			require.Equal(t, name == "usable" || name == "some", !strings.Contains(text, "fail"), text)
			p, err := sim.Presence("10001")
			require.NoError(t, err)
			require.Equal(t, "Available", p.Status)
		})
	}
}

// TestARunningBridgeKeepsItsSession: a 3CX ends a client's token when another is asked for, so the bridge's owner looks.
func TestARunningBridgeKeepsItsSession(t *testing.T) {
	w := newWorld(t)
	sim := w.with3CX(threecxsim.Config{Limits: threecxsim.Limits{Monitored: []string{"10001", "10002"}, TeamsSync: true}})
	w.start()
	c, err := client.New("http://"+w.admin, w.secrets[len(w.secrets)-1])
	require.NoError(t, err)
	row := func() (api.Account, bool) {
		list, err := c.Accounts(t.Context())
		return append(list, api.Account{})[0], err == nil && len(list) == 1
	}
	require.Eventually(t, func() bool {
		a, ok := row()
		return ok && a.Owner != "" && len(a.PBXs) == 1 && a.PBXs[0].Connected && sim.Stats().Sockets == 1
	}, time.Minute, 20*time.Millisecond)
	before := sim.Stats()

	var r *Report
	require.Eventually(t, func() bool { // until the first listing is done
		r = w.run()
		return find(r, "pbx", "main").Result == OK
	}, time.Minute, 50*time.Millisecond)
	expect(t, r, "pbx", "main", OK, "lists, reports and may be written to; 3 users, 5 statuses; the running bridge looked")
	expect(t, r, "status", "main", OK, `"Away", "Out of office"`)
	text := ""
	for _, check := range r.Accounts[0].Checks {
		if check.Name == "pbx" {
			text += check.Evidence + check.Remedy
		}
	}
	require.Contains(t, text, "not_monitored: ")
	require.Contains(t, text, "competitor: ")

	// What is wrong is told, with the remedy that the connector knows.
	sim.SetLimits(threecxsim.Limits{ReadOnly: true})
	expect(t, w.run(), "pbx", "main", Failed, "verify the right to write", "the running bridge looked", "AllowToChangePresence")

	// One that cannot be asked keeps its session all the same.
	token := filepath.Join(w.config().DataDir, "admin-token")
	require.NoError(t, os.WriteFile(token, []byte("not-the-token-of-this-bridge-at-all\n"), 0o600))
	r = w.run()
	expect(t, r, "pbx", "main", Skipped, "would end that of the running bridge")
	expect(t, r, "status", "main", Skipped)

	after := sim.Stats()
	require.Equal(t, before.Tokens, after.Tokens, "no token was asked for")
	require.Equal(t, before.Unauthorised, after.Unauthorised, "the one that there is stayed good")
}

// TestNobodyRunsTheAccount: then it is looked at from here, in a session of its own.
func TestNobodyRunsTheAccount(t *testing.T) {
	w := newWorld(t)
	sim := w.with3CX(threecxsim.Config{})
	r := w.run()
	expect(t, r, "pbx", "main", OK, "3 users")
	require.NotContains(t, find(r, "pbx", "main").Evidence, "the running bridge looked")
	require.Equal(t, 1, sim.Stats().Tokens)
}

// TestTheOwnerIsAskedOverTheBus where its admin listener is another machine's.
func TestTheOwnerIsAskedOverTheBus(t *testing.T) {
	w := newWorld(t)
	nats, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, NoSigs: true, StoreDir: t.TempDir(), MaxPayload: 8 << 20})
	require.NoError(t, err)
	nats.Start()
	t.Cleanup(func() { nats.Shutdown(); nats.WaitForShutdown() })
	require.True(t, nats.ReadyForConnections(time.Minute))
	key := w.file("master.key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")
	token := w.file("admin-token", "an-admin-token-of-some-length\n")
	w.set("nats", "{url: \""+nats.ClientURL()+"\"}\nmaster_key_file: "+key+"\nadmin: {token_file: "+token+"}")
	sim := w.with3CX(threecxsim.Config{})
	expect(t, w.run(), "pbx", "main", OK, "3 users")
	require.Equal(t, 1, sim.Stats().Tokens, "nobody runs the account")

	w.start()
	require.Eventually(t, func() bool { return sim.Stats().Sockets == 1 }, time.Minute, 20*time.Millisecond)
	w.admin = freeAddress(t) // here nobody listens
	w.set("listen", fmt.Sprintf(`{webhook: %q, admin: %q}`, w.hook, w.admin))
	before := sim.Stats()
	require.Eventually(t, func() bool { return find(w.run(), "pbx", "main").Result == OK }, time.Minute, 50*time.Millisecond)
	r := w.run()
	expect(t, r, "bridge", "", Skipped, "no bridge answers")
	expect(t, r, "pbx", "main", OK, "3 users", "the running bridge looked")
	_, err = Directory(t.Context(), Options{Config: w.config()}, &w.config().Accounts[0])
	require.ErrorContains(t, err, "a bridge on another machine runs it")
	require.Equal(t, before.Tokens, sim.Stats().Tokens)
}

// find is the check, or an empty one.
func find(r *Report, name, subject string) Check {
	for _, c := range r.Accounts[0].Checks {
		if c.Name == name && c.Subject == subject {
			return c
		}
	}
	return Check{}
}
