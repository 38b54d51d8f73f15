package sip_test

import (
	"os"
	"path/filepath"
	"sync"
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
	t     testing.TB
	v     variant
	sim   *sipsim.Sim
	users string

	mu       sync.Mutex
	password string
}

func newSimulated(t testing.TB, v variant) *simulated {
	sim, err := sipsim.Start(sipsim.Config{Users: 4, Partial: v.partial})
	require.NoError(t, err)
	t.Cleanup(func() { _ = sim.Close() })
	s := &simulated{t: t, v: v, sim: sim, password: sim.Password(), users: filepath.Join(t.TempDir(), "users.csv")}
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
		Password: func() (string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.password, nil
		},
		Timeout: 2 * time.Second, Ping: 300 * time.Millisecond, BackoffMin: 5 * time.Millisecond, BackoffMax: 200 * time.Millisecond,
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
	rate := func(on bool, r float64) float64 {
		if on {
			return r
		}
		return 0
	}
	w := &pbxtest.World{
		Connect: func(testing.TB) pbx.Connector { return s.connect(nil) },
		First:   presence.Status{Name: "meeting", Kind: presence.KindBusy}, Second: presence.Status{Name: "busy", Kind: presence.KindDND},
		Pick: s.sim.Pick, Line: s.line, Shown: s.shown, Published: s.published,
		Restart: func(lose bool) error { return s.sim.Restart(s.t.Context(), sipsim.RestartOptions{LoseState: lose}) },
		Break:   func(on bool) { faults(sipsim.Faults{Errors: rate(on, 1)}) },
		Throttle: func(d time.Duration) {
			faults(sipsim.Faults{Throttled: rate(d > 0, 1), RetryAfter: d})
		},
		FailApplied: func(on bool) { faults(sipsim.Faults{AppliedButFailed: rate(on, 1)}) },
		Repeat:      func(on bool) { faults(sipsim.Faults{Doubled: rate(on, 1)}) },
		Shuffle:     func(on bool) { faults(sipsim.Faults{Late: rate(on, 0.5), LateBy: 50 * time.Millisecond}) },
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
	if s.v.transport != "udp" {
		w.CutWatch, w.Revoke = s.sim.CutConnections, s.revoke
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
	return pbx.State{Line: presence.Line(p.Line), Status: presence.Status{Name: p.Status}, Message: p.Message}
}

func (s *simulated) published(user string) pbx.State {
	status, message, err := s.sim.Published(user)
	require.NoError(s.t, err)
	return pbx.State{Status: presence.Status{Name: status}, Message: message}
}

func (s *simulated) line(user string, to presence.Line) error {
	if err := s.sim.GoOffline(user); err != nil || to == presence.LineOffline {
		return err
	}
	if err := s.sim.GoOnline(user); err != nil || to == presence.LineIdle {
		return err
	}
	if to == presence.LineRinging {
		return s.sim.Ring(user)
	}
	if err := s.sim.StartCall(user); err != nil || to == presence.LineInCall {
		return err
	}
	return s.sim.Hold(user)
}

func (s *simulated) revoke() (restore func()) {
	s.sim.SetPassword("another one")
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.password = "another one"
	}
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
