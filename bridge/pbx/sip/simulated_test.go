package sip_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/pbxtest"
	"presencebridge/bridge/pbx/sip"
	"presencebridge/bridge/pbx/sipsim"
	"presencebridge/bridge/presence"
)

// TestConformanceSimulated runs the suite against the simulated PBX, which needs nothing installed: with documents in
// part, with a resource list, over UDP.
func TestConformanceSimulated(t *testing.T) {
	for name, v := range map[string]variant{
		"Full": {}, "Partial": {partial: true}, "List": {list: true}, "UDP": {transport: "udp"},
	} {
		t.Run(name, func(t *testing.T) {
			pbxtest.Run(t, pbxtest.Target{
				Patience: time.Minute,
				Start:    func(t testing.TB) *pbxtest.World { return newSimulated(t, v).world() },
			})
		})
	}
}

type variant struct {
	partial, list bool
	transport     string
}

// simulated makes a simulated PBX a world of the suite.
type simulated struct {
	t        testing.TB
	v        variant
	sim      *sipsim.Sim
	users    string
	password *pbxtest.Secret
}

func newSimulated(t testing.TB, v variant) *simulated {
	sim, err := sipsim.Start(sipsim.Config{Users: 4, Partial: v.partial})
	require.NoError(t, err)
	t.Cleanup(func() { _ = sim.Close() })
	s := &simulated{t: t, v: v, sim: sim, password: pbxtest.NewSecret(sim.Password()), users: filepath.Join(t.TempDir(), "users.csv")}
	require.NoError(t, s.writeUsers())
	return s
}

func (s *simulated) writeUsers() error {
	if s.v.list {
		return nil
	}
	return os.WriteFile(s.users, []byte(s.sim.UsersFile()), 0o600)
}

func (s *simulated) connect(change func(*sip.Config)) pbx.Connector {
	cfg := sip.Config{
		Account: "contoso", Name: "main", URL: s.sim.URL(), Domain: s.sim.Domain(), Username: s.sim.Username(),
		Password: s.password.Read,
		Timeout:  2 * time.Second, Ping: 300 * time.Millisecond, BackoffMin: 5 * time.Millisecond, BackoffMax: 200 * time.Millisecond,
		Debounce: 100 * time.Millisecond, UsersInterval: 100 * time.Millisecond,
	}
	if s.v.transport == "udp" {
		// Only a refresh tells that the PBX forgot everything.
		cfg.URL, cfg.Expires = "sip:"+s.sim.Addr(), 3*time.Second
	}
	if cfg.UsersFile = s.users; s.v.list {
		cfg.UsersFile, cfg.ListURI = "", s.sim.ListURI()
	}
	if change != nil {
		change(&cfg)
	}
	c, err := sip.New(cfg)
	require.NoError(s.t, err)
	s.t.Cleanup(c.Close)
	return c
}

func (s *simulated) world() *pbxtest.World {
	faults := func(f sipsim.Faults) { require.NoError(s.t, s.sim.SetFaults(f)) }
	w := &pbxtest.World{
		Connect: func(testing.TB) pbx.Connector { return s.connect(nil) },
		First:   presence.Status{Name: "meeting", Kind: presence.KindBusy}, Second: presence.Status{Name: "busy", Kind: presence.KindDND},
		Pick: s.sim.Pick, Line: pbxtest.Line(s.sim), Shown: s.shown, Published: s.published,
		Restart: func(lose bool) error { return s.sim.Restart(s.t.Context(), sipsim.RestartOptions{LoseState: lose}) },
		Cruel: func(on bool) {
			f, err := sipsim.FaultPreset("cruel")
			require.NoError(s.t, err)
			f.LateBy, f.Cut = 20*time.Millisecond, 0.01
			if !on {
				f = sipsim.Faults{}
			}
			faults(f)
		},
		Expire: s.sim.ExpireNonces,
	}
	w.SetFaults(func(f pbxtest.Faults) {
		faults(sipsim.Faults{
			Late: f.Late, LateBy: f.LateBy, Doubled: f.Doubled, Errors: f.Errors, Throttled: f.Throttled, RetryAfter: f.RetryAfter,
			AppliedButFailed: f.AppliedButFailed,
		})
	})
	w.Slow, w.Lose = nil, nil
	if s.v.transport != "udp" {
		w.CutWatch, w.Revoke = s.sim.CutConnections, s.password.Revoke(s.sim.SetPassword)
	}
	if !s.v.list {
		w.Join, w.Leave = s.join, s.leave
	}
	for _, u := range s.sim.Users() {
		w.Users = append(w.Users, u.User)
	}
	return w
}

func (s *simulated) shown(user string) pbx.State {
	p, err := s.sim.Own(user)
	require.NoError(s.t, err)
	if p.Line == "offline" && p.Status == "available" {
		p.Status = "" // closed, and nothing chosen
	}
	return pbxtest.State(p.Line, p.Status, p.Message)
}

func (s *simulated) published(user string) pbx.State {
	status, message, err := s.sim.Published(user)
	require.NoError(s.t, err)
	return pbxtest.State("", status, message)
}

func (s *simulated) join() (string, error) {
	err := s.sim.AddUser(sipsim.User{User: "1099", Email: "joiner@contoso.example", DisplayName: "Joiner"})
	if err == nil {
		err = s.writeUsers()
	}
	return "1099", err
}

func (s *simulated) leave(user string) error {
	if err := s.sim.RemoveUser(user); err != nil {
		return err
	}
	return s.writeUsers()
}
