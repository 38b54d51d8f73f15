package threecx_test

import (
	"strconv"
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
	t      testing.TB
	sim    *threecxsim.Sim
	secret *pbxtest.Secret
}

func newWorld(t testing.TB, cfg threecxsim.Config) *pbxtest.World {
	cfg.Users, cfg.PageLimit = 5, 2
	sim, err := threecxsim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = sim.Close() })
	w := &world{t: t, sim: sim, secret: pbxtest.NewSecret(sim.ClientSecret())}
	out := &pbxtest.World{
		Connect:     func(testing.TB) pbx.Connector { return w.connect(time.Minute) },
		ConnectWary: func(testing.TB) pbx.Connector { return w.connect(300 * time.Millisecond) },
		First:       presence.Status{Name: "Away", Kind: presence.KindAway},
		Second:      presence.Status{Name: "Out of office", Kind: presence.KindDND},
		Pick:        sim.Pick, Line: pbxtest.Line(sim), Shown: w.shown,
		CutWatch: sim.CutSockets, StallWatch: sim.StallSockets, Revoke: w.secret.Revoke(sim.RotateSecret), Expire: sim.ExpireToken,
		Restart: func(lose bool) error {
			return sim.Restart(t.Context(), threecxsim.RestartOptions{LoseState: lose, Down: 30 * time.Millisecond})
		},
		Cruel: func(on bool) {
			f := threecxsim.NoFaults()
			if on {
				f = threecxsim.CruelFaults()
				f.LateBy, f.SlowBy, f.ApplyLateBy = 20*time.Millisecond, 20*time.Millisecond, 50*time.Millisecond
			}
			w.faults(f)
		},
		Pending: func() int { return sim.Stats().Pending },
		Join: func() (string, error) {
			return "99", sim.AddUser(threecxsim.User{ID: 99, Email: "joiner@contoso.example", Number: "200"})
		},
		Leave: sim.RemoveUser,
	}
	out.SetFaults(func(f pbxtest.Faults) {
		w.faults(threecxsim.Faults{
			Late: f.Late, LateBy: f.LateBy, Doubled: f.Doubled, Reordered: f.Reordered, Dropped: f.Dropped, Slow: f.Slow, SlowBy: f.SlowBy,
			Errors: f.Errors, Throttled: f.Throttled, RetryAfter: f.RetryAfter, AppliedButFailed: f.AppliedButFailed,
		})
	})
	for _, u := range sim.Users() {
		out.Users = append(out.Users, strconv.Itoa(u.ID))
	}
	return out
}

func (w *world) faults(f threecxsim.Faults) { require.NoError(w.t, w.sim.SetFaults(f)) }

func (w *world) connect(silence time.Duration) pbx.Connector {
	cfg := threecx.Config{
		Account: "contoso", Name: "main", URL: w.sim.URL(), ClientID: w.sim.ClientID(), Secret: w.secret.Read, Timeout: 3 * time.Second,
		PollInterval: 20 * time.Millisecond, Grace: -1, Ping: 100 * time.Millisecond, Silence: silence,
		BackoffMin: 5 * time.Millisecond, BackoffMax: 100 * time.Millisecond, Debounce: 100 * time.Millisecond,
	}
	if pem := w.sim.CAPEM(); pem != nil {
		cfg.CAFile = pbxtest.File(w.t, "ca.pem", pem)
	}
	c, err := threecx.New(cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) shown(user string) pbx.State {
	p, err := w.sim.Presence(user)
	require.NoError(w.t, err)
	return pbxtest.State(p.Line, p.Status, p.Message)
}
