package verify

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
	w.set("pbx", fmt.Sprintf("[{name: main, type: 3cx, url: %s, client_id: %s, client_secret_file: %s, timeout: 2s}]",
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
