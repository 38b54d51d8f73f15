package threecx_test

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/pbxtest"
	"presencebridge/bridge/pbx/threecx"
	"presencebridge/bridge/pbx/threecxsim"
	"presencebridge/bridge/presence"
)

func TestConformance(t *testing.T) {
	pbxtest.Run(t, pbxtest.Target{
		Start:  func(t testing.TB) *pbxtest.World { return newWorld(t, threecxsim.Config{}) },
		NoHold: true, MessagePerStatus: true,
	})
}

// A PBX before 20.0.9 counts tokens' lives in minutes; this one has renamed profiles and frames that carry data, too.
func TestConformanceOfAnOlderOne(t *testing.T) {
	pbxtest.Run(t, pbxtest.Target{
		Start: func(t testing.TB) *pbxtest.World {
			return newWorld(t, threecxsim.Config{
				TLS: true, Version: "20.0.5.100", TokenLife: time.Minute, Faults: threecxsim.Faults{Attached: 0.5, Doubled: 1},
				CustomNames: map[string]string{"Custom 1": "Lunch", "Out of office": "Do Not Disturb"},
			})
		},
		NoHold: true, MessagePerStatus: true,
	})
}

// world makes a simulated PBX a world of the suite.
type world struct {
	t   testing.TB
	sim *threecxsim.Sim

	mu     sync.Mutex
	secret string
}

func newWorld(t testing.TB, cfg threecxsim.Config) *pbxtest.World {
	cfg.Users, cfg.PageLimit = 5, 2
	sim, err := threecxsim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = sim.Close() })
	w := &world{t: t, sim: sim, secret: sim.ClientSecret()}
	out := &pbxtest.World{
		Connect:     func(testing.TB) pbx.Connector { return w.connect(time.Minute) },
		ConnectWary: func(testing.TB) pbx.Connector { return w.connect(300 * time.Millisecond) },
		First:       presence.Status{Name: "Away", Kind: presence.KindAway},
		Second:      presence.Status{Name: "Out of office", Kind: presence.KindDND},
		Pick:        sim.Pick, Line: w.line, Shown: w.shown,
		CutWatch: sim.CutSockets, StallWatch: sim.StallSockets, Revoke: w.revoke, Expire: sim.ExpireToken,
		Restart: func(lose bool) error {
			return sim.Restart(t.Context(), threecxsim.RestartOptions{LoseState: lose, Down: 30 * time.Millisecond})
		},
		Slow:        func(d time.Duration) { w.faults(threecxsim.Faults{Slow: rate(d > 0), SlowBy: d}) },
		Break:       func(on bool) { w.faults(threecxsim.Faults{Errors: rate(on)}) },
		Throttle:    func(d time.Duration) { w.faults(threecxsim.Faults{Throttled: rate(d > 0), RetryAfter: d}) },
		FailApplied: func(on bool) { w.faults(threecxsim.Faults{AppliedButFailed: rate(on)}) },
		Repeat:      func(on bool) { w.faults(threecxsim.Faults{Doubled: rate(on)}) },
		Shuffle: func(on bool) {
			w.faults(threecxsim.Faults{Late: rate(on) / 2, LateBy: 100 * time.Millisecond, Reordered: rate(on) / 2})
		},
		Lose:    func(on bool) { w.faults(threecxsim.Faults{Dropped: rate(on)}) },
		Cruel:   w.cruel,
		Pending: func() int { return sim.Stats().Pending },
		Join: func() (string, error) {
			return "99", sim.AddUser(threecxsim.User{ID: 99, Email: "joiner@contoso.example", Number: "200"})
		},
		Leave: sim.RemoveUser,
	}
	for _, u := range sim.Users() {
		out.Users = append(out.Users, strconv.Itoa(u.ID))
	}
	return out
}

func rate(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

func (w *world) faults(f threecxsim.Faults) { require.NoError(w.t, w.sim.SetFaults(f)) }

func (w *world) cruel(on bool) {
	f := threecxsim.NoFaults()
	if on {
		f = threecxsim.CruelFaults()
		f.LateBy, f.SlowBy, f.ApplyLateBy = 20*time.Millisecond, 20*time.Millisecond, 50*time.Millisecond
	}
	w.faults(f)
}

func (w *world) connect(silence time.Duration) pbx.Connector {
	cfg := threecx.Config{
		Account: "contoso", Name: "main", URL: w.sim.URL(), ClientID: w.sim.ClientID(), Timeout: 3 * time.Second,
		PollInterval: 20 * time.Millisecond, Grace: -1, Ping: 100 * time.Millisecond, Silence: silence,
		BackoffMin: 5 * time.Millisecond, BackoffMax: 100 * time.Millisecond, Debounce: 100 * time.Millisecond,
		Secret: func() (string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.secret, nil
		},
	}
	if pem := w.sim.CAPEM(); pem != nil {
		cfg.CAFile = filepath.Join(w.t.TempDir(), "ca.pem")
		require.NoError(w.t, os.WriteFile(cfg.CAFile, pem, 0o600))
	}
	c, err := threecx.New(cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) shown(user string) pbx.State {
	p, err := w.sim.Presence(user)
	require.NoError(w.t, err)
	return pbx.State{Line: presence.Line(p.Line), Status: presence.Status{Name: p.Status}, Message: p.Message}
}

// revoke gives the PBX another key; restoring gives the connector's file the same.
func (w *world) revoke() (restore func()) {
	w.sim.RotateSecret("another-key")
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.secret = "another-key"
	}
}

func (w *world) line(user string, to presence.Line) error {
	if err := w.sim.GoOffline(user); err != nil || to == presence.LineOffline {
		return err
	}
	if err := w.sim.GoOnline(user); err != nil || to == presence.LineIdle {
		return err
	}
	if to == presence.LineRinging {
		return w.sim.Ring(user)
	}
	if err := w.sim.StartCall(user); err != nil || to == presence.LineInCall {
		return err
	}
	return w.sim.Hold(user)
}
