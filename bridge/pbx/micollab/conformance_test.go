package micollab_test

import (
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
	t     testing.TB
	sim   *pbxsim.Sim
	token *pbxtest.Secret
}

func newWorld(t testing.TB, cfg pbxsim.Config) *pbxtest.World {
	cfg.Users, cfg.PageLimit, cfg.Heartbeat = 5, 2, 50*time.Millisecond
	sim, err := pbxsim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = sim.Close() })
	w := &world{t: t, sim: sim, token: pbxtest.NewSecret(sim.Token())}
	out := &pbxtest.World{
		Connect:     func(testing.TB) pbx.Connector { return w.connect(time.Minute) },
		ConnectWary: func(testing.TB) pbx.Connector { return w.connect(300 * time.Millisecond) },
		First:       presence.Status{Name: "In a call", Kind: presence.KindBusy},
		Second:      presence.Status{Name: "Do not disturb", Kind: presence.KindDND},
		Pick:        sim.Pick, Line: pbxtest.Line(sim), Shown: w.shown,
		WriteAs:  func(user, status string) error { return sim.WriteAs("calendar", user, status) },
		CutWatch: sim.CutStreams, StallWatch: sim.StallStreams, Revoke: w.token.Revoke(sim.RotateToken),
		Restart: func(lose bool) error {
			return sim.Restart(t.Context(), pbxsim.RestartOptions{LoseState: lose, Down: 30 * time.Millisecond})
		},
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
	out.SetFaults(func(f pbxtest.Faults) {
		w.faults(pbxsim.Faults{
			Late: f.Late, LateBy: f.LateBy, Doubled: f.Doubled, Reordered: f.Reordered, Dropped: f.Dropped, Slow: f.Slow, SlowBy: f.SlowBy,
			Errors: f.Errors, Throttled: f.Throttled, RetryAfter: f.RetryAfter, AppliedButFailed: f.AppliedButFailed,
		})
	})
	for _, u := range sim.Users() {
		out.Users = append(out.Users, u.ID)
	}
	return out
}

func (w *world) faults(f pbxsim.Faults) { require.NoError(w.t, w.sim.SetFaults(f)) }

func (w *world) connect(silence time.Duration) pbx.Connector {
	cfg := micollab.Config{
		Account: "contoso", Name: "main", URL: w.sim.URL(), Timeout: 3 * time.Second, Silence: silence, Token: w.token.Read,
		BackoffMin: 5 * time.Millisecond, BackoffMax: 100 * time.Millisecond, Debounce: 100 * time.Millisecond,
	}
	if pem := w.sim.CAPEM(); pem != nil {
		cfg.CAFile = pbxtest.File(w.t, "ca.pem", pem)
	}
	c, err := micollab.New(cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) shown(user string) pbx.State {
	p, err := w.sim.Presence(user)
	require.NoError(w.t, err)
	return pbxtest.State(p.Line, p.Status, p.Message)
}
