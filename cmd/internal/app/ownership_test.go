package app

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/bus"
	"presencebridge/cmd/internal/config"
)

// pair is two whole bridges on one NATS server, for several accounts.
type pair struct {
	sites []*site
	apps  []*App
	heads []launch
}

func newPair(t *testing.T, accounts int) *pair {
	t.Helper()
	p := &pair{}
	nats, dir := runNATS(t), t.TempDir()
	key := func(name, fill string) string {
		return writeFile(t, dir, name, base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32)))+"\n")
	}
	master, webhook, token := key("master.key", "b"), key("webhook.key", "a"), key("token", "c")
	for i := range accounts {
		p.sites = append(p.sites, newSite(t, fmt.Sprintf("site%d", i), 2, 1))
	}
	for i := range 2 {
		p.heads = append(p.heads, launch{dir: dir, sites: p.sites, head: fmt.Sprintf(
			"data_dir: %s\nnats: {url: %q}\nmaster_key_file: %s\nwebhook_key_file: %s\nadmin: {token_file: %s}\n",
			filepath.Join(dir, fmt.Sprint("replica", i)), nats, master, webhook, token)})
	}
	return p
}

func (p *pair) start(t *testing.T, i int) *App {
	t.Helper()
	a := p.heads[i].start(t)
	p.apps = append(p.apps, a)
	return a
}

func owns(t *testing.T, a *App, account string) bool {
	t.Helper()
	return metric(t, a.Registry(), "presence_bridge_account_owner", "account", account) == 1
}

// TestTwoReplicasShareTheAccounts: every account has one owner, and everybody can tell which.
func TestTwoReplicasShareTheAccounts(t *testing.T) {
	t.Parallel()
	p := newPair(t, 6)
	first := p.start(t, 0)
	for _, s := range p.sites {
		require.True(t, owns(t, first, s.name), "alone, it owns all from the start")
		require.NotNil(t, first.Engine(s.name))
	}
	second := p.start(t, 1)
	settled := func() bool {
		for _, s := range p.sites {
			want := bus.Owner(s.name, []string{first.id, second.id})
			if owns(t, first, s.name) != (want == first.id) || owns(t, second, s.name) != (want == second.id) ||
				(first.Engine(s.name) != nil) != (want == first.id) || (second.Engine(s.name) != nil) != (want == second.id) {
				return false
			}
		}
		return true
	}
	eventually(t, settled, "each account is where it belongs")

	for _, s := range p.sites {
		owner, other := first, second
		if owns(t, second, s.name) {
			owner, other = second, first
		}
		// Asked of either, the owner answers.
		for _, asked := range p.apps {
			accounts, err := admin(t, asked).Accounts(t.Context())
			require.NoError(t, err)
			for _, a := range accounts {
				require.Contains(t, []string{first.id, second.id}, a.Owner)
				require.True(t, a.Name != s.name || a.Owner == owner.id)
			}
		}
		eventually(t, func() bool {
			_, text := get(t, "http://"+other.AdminAddr()+"/readyz", "")
			return strings.Contains(text, `"account `+s.name+`","ok":true,"detail":"owned by the replica `+owner.id)
		}, "the other is ready, and says whose it is")
		eventually(t, func() bool {
			status, text := get(t, "http://"+owner.AdminAddr()+"/readyz", "")
			return status == http.StatusOK && strings.Contains(text, "owned by this replica, "+owner.id)
		}, "the owner says so")
	}
	// What the one replica does not run it does not measure.
	for _, s := range p.sites {
		for _, a := range p.apps {
			eventually(t, func() bool {
				return owns(t, a, s.name) == counts(t, a.Registry(), "presence_bridge_record_conflicts_total", s.name)
			}, "only the owner measures")
		}
	}
	eventually(t, func() bool {
		moved := metric(t, first.Registry(), "presence_bridge_account_standdowns_total", "reason", "moved")
		return moved == metric(t, second.Registry(), "presence_bridge_account_takeovers_total")
	}, "what the one gave up the other took over")

	// One stops: the other has everything at once, without waiting for a death. A busy machine may need several attempts.
	for attempt := 1; ; attempt++ {
		began := time.Now()
		stopApp(t, second)
		eventually(t, func() bool {
			for _, s := range p.sites {
				if !owns(t, first, s.name) {
					return false
				}
			}
			return true
		}, "the accounts come back")
		took := time.Since(began)
		if took < 9*time.Second {
			break
		}
		require.Less(t, attempt, 4, "it took %s", took)
		second = p.start(t, 1)
		eventually(t, settled, "each account is where it belongs, again")
	}
	require.EqualValues(t, 1, metric(t, first.Registry(), "presence_bridge_bus_replicas"))
	require.Zero(t, metric(t, first.Registry(), "presence_bridge_bus_gaps_total"), "and nothing is believed lost")
}

// counts tells whether an account has a series of a metric.
func counts(t *testing.T, reg *prometheus.Registry, name, account string) bool {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && carries(m.GetLabel(), []string{"account", account}) {
				return true
			}
		}
	}
	return false
}

// TestAHandOverLosesNothing: what happens while an account changes hands shows afterwards.
func TestAHandOverLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPair(t, 1)
	s := p.sites[0]
	hook := listen(t)
	p.heads[0].hook = hook
	first := p.start(t, 0)
	authorize(t, first, s)
	awaitPhones(t, first, s)
	phone := s.phone(0)
	upn := s.person(t, phone)
	require.NoError(t, s.graph.SignIn(upn))
	require.NoError(t, s.graph.StartCall(upn))
	eventually(t, func() bool { return s.status(phone) == "In a call" }, "it works")
	p.heads[1].roles = []config.Role{config.RoleEngine}
	p.heads[1].hooks = hook.Addr().String()
	second := p.start(t, 1)
	if bus.Owner(s.name, []string{first.id, second.id}) == second.id {
		eventually(t, func() bool { return owns(t, second, s.name) && !owns(t, first, s.name) }, "it changes hands")
	}
	require.NoError(t, s.graph.EndCall(upn))
	eventually(t, func() bool { return s.status(phone) == "Available" }, "whoever owns it by now")
	require.Equal(t, 2, s.pbx.Stats().WritesApplied)
	require.Zero(t, s.pbx.Stats().WritesNoChange)
}

func TestReplicaIDs(t *testing.T) {
	a, err := replicaID()
	require.NoError(t, err)
	b, err := replicaID()
	require.NoError(t, err)
	require.NotEqual(t, a, b, "one for each process, on one machine too")
	require.Regexp(t, `^[a-z0-9-]*[0-9a-f]{8}$`, a)
}
