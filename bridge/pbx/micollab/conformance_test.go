package micollab_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/micollab"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/pbx/pbxtest"
	"presencebridge/bridge/presence"
)

func TestConformance(t *testing.T) {
	pbxtest.Run(t, pbxtest.Target{Start: func(t testing.TB) *pbxtest.World { return newWorld(t, pbxsim.Config{}) }, Resumes: true})
}

// A site may count the line in its versions.
func TestConformanceCountingTheLine(t *testing.T) {
	pbxtest.Run(t, pbxtest.Target{
		Start: func(t testing.TB) *pbxtest.World {
			return newWorld(t, pbxsim.Config{CountLineInVersion: true, TLS: true})
		},
		Resumes: true,
	})
}

// world makes a simulated PBX a world of the suite.
type world struct {
	t   testing.TB
	sim *pbxsim.Sim

	mu    sync.Mutex
	token string
}

func newWorld(t testing.TB, cfg pbxsim.Config) *pbxtest.World {
	cfg.Users, cfg.PageLimit, cfg.Heartbeat = 5, 2, 50*time.Millisecond
	sim, err := pbxsim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = sim.Close() })
	w := &world{t: t, sim: sim, token: sim.Token()}
	out := &pbxtest.World{
		Connect:     func(testing.TB) pbx.Connector { return w.connect(time.Minute) },
		ConnectWary: func(testing.TB) pbx.Connector { return w.connect(300 * time.Millisecond) },
		First:       presence.Status{Name: "In a call", Kind: presence.KindBusy},
		Second:      presence.Status{Name: "Do not disturb", Kind: presence.KindDND},
		Pick:        sim.Pick, Line: w.line, Shown: w.shown,
		WriteAs:  func(user, status string) error { return sim.WriteAs("calendar", user, status) },
		CutWatch: sim.CutStreams, StallWatch: sim.StallStreams, Revoke: w.revoke,
		Restart: func(lose bool) error {
			return sim.Restart(t.Context(), pbxsim.RestartOptions{LoseState: lose, Down: 30 * time.Millisecond})
		},
		Slow:        func(d time.Duration) { w.faults(pbxsim.Faults{Slow: rate(d > 0), SlowBy: d}) },
		Break:       func(on bool) { w.faults(pbxsim.Faults{Errors: rate(on)}) },
		Throttle:    func(d time.Duration) { w.faults(pbxsim.Faults{Throttled: rate(d > 0), RetryAfter: d}) },
		FailApplied: func(on bool) { w.faults(pbxsim.Faults{AppliedButFailed: rate(on)}) },
		Repeat:      func(on bool) { w.faults(pbxsim.Faults{Doubled: rate(on)}) },
		Shuffle: func(on bool) {
			w.faults(pbxsim.Faults{Late: rate(on) / 2, LateBy: 100 * time.Millisecond, Reordered: rate(on) / 2})
		},
		Lose: func(on bool) { w.faults(pbxsim.Faults{Dropped: rate(on)}) },
		Cruel: func(on bool) {
			f := pbxsim.NoFaults()
			if on {
				f = pbxsim.CruelFaults()
				f.LateBy, f.SlowBy, f.ApplyLateBy, f.StormFor = 20*time.Millisecond, 20*time.Millisecond, 50*time.Millisecond, 10*time.Millisecond
			}
			w.faults(f)
		},
		Pending: func() int { return sim.Stats().Pending },
		Join: func() (string, error) {
			return "joiner", sim.AddUser(pbxsim.User{ID: "joiner", Email: "joiner@contoso.example", Extension: "2000"})
		},
		Leave: sim.RemoveUser,
	}
	for _, u := range sim.Users() {
		out.Users = append(out.Users, u.ID)
	}
	return out
}

func rate(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

func (w *world) faults(f pbxsim.Faults) { require.NoError(w.t, w.sim.SetFaults(f)) }

func (w *world) connect(silence time.Duration) pbx.Connector {
	cfg := micollab.Config{
		Account: "contoso", Name: "main", URL: w.sim.URL(), Timeout: 3 * time.Second, Silence: silence,
		BackoffMin: 5 * time.Millisecond, BackoffMax: 100 * time.Millisecond, Debounce: 100 * time.Millisecond,
		Token: func() (string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.token, nil
		},
	}
	if pem := w.sim.CAPEM(); pem != nil {
		cfg.CAFile = writeFile(w.t, "ca.pem", pem)
	}
	c, err := micollab.New(cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) shown(user string) pbx.State {
	p, err := w.sim.Presence(user)
	require.NoError(w.t, err)
	return pbx.State{Line: presence.Line(p.Line), Status: presence.Status{Name: p.Status}, Message: p.Message}
}

// revoke gives the PBX another token; restoring gives the connector's file the same.
func (w *world) revoke() (restore func()) {
	w.sim.RotateToken("another-token")
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.token = "another-token"
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
