package threecx_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/threecx"
	"presencebridge/bridge/pbx/threecxsim"
	"presencebridge/bridge/presence"
)

// The end of a call shows after the grace, at once when none is wanted; a transfer shows nothing at all.
func TestGrace(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{}, nil, func(b *bench) {
		u := b.user(0)
		require.NoError(t, b.sim.StartCall(u))
		b.pass(time.Millisecond)
		require.Equal(t, []string{"in-call"}, b.lines(u))

		require.NoError(t, b.sim.Transfer(u))
		b.pass(10 * time.Second)
		require.Empty(t, b.lines(u), "between two legs the call goes on")

		require.NoError(t, b.sim.EndCall(u))
		ended := time.Now()
		b.pass(1999 * time.Millisecond)
		require.Empty(t, b.lines(u))
		st, err := b.Read(context.Background(), u)
		require.NoError(t, err)
		require.Equal(t, presence.LineInCall, st.Line, "a read says what the watch says")
		b.pass(time.Minute)
		idle := b.got(pbx.EventState)
		require.Len(t, idle, 1)
		require.Equal(t, presence.LineIdle, idle[0].State.Line)
		require.Equal(t, 2*time.Second, idle[0].at.Sub(ended))

		require.NoError(t, b.sim.Ring(u))
		b.pass(time.Second)
		require.NoError(t, b.sim.StartCall(u))
		b.pass(time.Second)
		require.NoError(t, b.sim.EndCall(u))
		b.pass(time.Second)
		require.NoError(t, b.sim.Ring(u))
		b.pass(500 * time.Millisecond)
		require.Equal(t, []string{"ringing", "in-call"}, b.lines(u), "the next call rings within the grace")
		b.pass(time.Second)
		require.Equal(t, []string{"ringing"}, b.lines(u))
	})
}

// What frames did not say is found by reading every call, though nothing else happens.
func TestReconcileFindsLostFrames(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{}, nil, func(b *bench) {
		u := b.user(0)
		require.NoError(t, b.sim.SetFaults(threecxsim.Faults{Dropped: 1}))
		require.NoError(t, b.sim.StartCall(u))
		require.NoError(t, b.sim.SetFaults(threecxsim.NoFaults()))
		b.pass(44 * time.Second)
		require.Empty(t, b.lines(u))
		b.pass(2 * time.Second)
		require.Equal(t, []string{"in-call"}, b.lines(u))
	})
}

// A gap in the sequence is filled at once: with the first frame after it.
func TestGapInTheSequence(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{}, nil, func(b *bench) {
		one, two := b.user(0), b.user(1)
		b.pass(2 * time.Second) // not right after the last reading of every call
		require.NoError(t, b.sim.StartCall(two))
		b.pass(2 * time.Second)
		require.NoError(t, b.sim.SetFaults(threecxsim.Faults{Dropped: 1}))
		require.NoError(t, b.sim.StartCall(one))
		require.NoError(t, b.sim.SetFaults(threecxsim.NoFaults()))
		b.pass(time.Second)
		require.Empty(t, b.lines(one))
		require.NoError(t, b.sim.EndCall(two))
		b.pass(time.Second)
		require.Equal(t, []string{"in-call"}, b.lines(one))
		require.EqualValues(t, 1, b.metric("watch_connections_total", "reset"), "within the same connection")
	})
}

// A snapshot that contradicts what the watch knows makes it look at once.
func TestSnapshotThatKnowsBetter(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{}, nil, func(b *bench) {
		u := b.user(0)
		b.pass(2 * time.Second)
		require.NoError(t, b.sim.SetFaults(threecxsim.Faults{Dropped: 1}))
		require.NoError(t, b.sim.StartCall(u))
		require.NoError(t, b.sim.SetFaults(threecxsim.NoFaults()))
		users, err := b.Snapshot(context.Background())
		require.NoError(t, err)
		require.Equal(t, presence.LineInCall, users[0].State.Line)
		b.pass(time.Second)
		require.NoError(t, b.sim.EndCall(u))
		b.pass(3 * time.Second)
		lines := b.lines(u)
		require.Equal(t, "idle", lines[len(lines)-1], "the end of a call that only the snapshot knew of is told")
	})
}

// Nobody rings for ever.
func TestStaleParticipants(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{}, nil, func(b *bench) {
		one, two := b.user(0), b.user(1)
		require.NoError(t, b.sim.Ring(one))
		require.NoError(t, b.sim.StartCall(two))
		b.pass(179 * time.Second)
		require.Equal(t, []string{"ringing"}, b.lines(one))
		b.pass(4 * time.Second)
		require.Equal(t, []string{"idle"}, b.lines(one))
		b.pass(6 * time.Hour)
		require.Equal(t, []string{"idle"}, b.lines(two))
		st, err := b.Read(context.Background(), two)
		require.NoError(t, err)
		require.Equal(t, presence.LineIdle, st.Line)
	})
}

// Profiles come by polling, at the set rate and with one request each time; a profile that shows again is no news.
func TestPolling(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{Users: 30}, func(c *threecx.Config) { c.PollInterval = 7 * time.Second }, func(b *bench) {
		u := b.user(3)
		b.got()
		before := b.sim.Stats().Listings
		require.NoError(t, b.sim.PickMessage(u, "Custom 1", "Lunch"))
		b.pass(70*time.Second + time.Millisecond)
		require.Equal(t, 10, b.sim.Stats().Listings-before)
		events := b.got(pbx.EventState)
		require.Len(t, events, 1)
		require.Equal(t, presence.Status{Name: "Custom 1", Kind: presence.KindCustom}, events[0].State.Status)
		require.Empty(t, events[0].State.Message, "of a message the next snapshot tells")
		users, err := b.Snapshot(context.Background())
		require.NoError(t, err)
		require.Equal(t, "Lunch", users[3].State.Message)
		b.pass(7 * time.Second)
		b.got()

		// A write of ours that a person reverses before the next poll leaves everything as it was said: it is news still.
		away := presence.Status{Name: "Away", Kind: presence.KindAway}
		_, err = b.Apply(context.Background(), u, pbx.Write{Status: away})
		require.NoError(t, err)
		require.NoError(t, b.sim.Pick(u, "Custom 1"))
		b.pass(7 * time.Second)
		events = b.got(pbx.EventState)
		require.NotEmpty(t, events)
		require.Equal(t, "Custom 1", events[len(events)-1].State.Status.Name)
	})
}

// A sign of life comes at least every 30 s, and stops when the PBX cannot be read although its WebSocket is open.
func TestSignsOfLife(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{}, func(c *threecx.Config) { c.PollInterval = 2 * time.Minute }, func(b *bench) {
		last := time.Now()
		b.pass(10 * time.Minute)
		for _, e := range b.got() {
			require.LessOrEqual(t, e.at.Sub(last), 30*time.Second)
			last = e.at
		}
		require.LessOrEqual(t, time.Since(last), 30*time.Second)
		require.NoError(t, b.sim.SetFaults(threecxsim.Faults{Errors: 1}))
		b.pass(3 * time.Minute)
		require.Equal(t, pbx.ConnDegraded, b.Connection().State)
		require.Equal(t, "server_error", b.Connection().Code)
		b.got()
		b.pass(5 * time.Minute)
		require.Empty(t, b.got())
		require.NoError(t, b.sim.SetFaults(threecxsim.NoFaults()))
		b.pass(3 * time.Minute)
		require.Equal(t, pbx.ConnConnected, b.Connection().State)
		require.NotEmpty(t, b.got(pbx.EventSeen))
	})
}

// A silent WebSocket is given up; a PBX that is away for a while is no news to people when it comes back soon.
func TestConnectionIsDebounced(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{}, nil, func(b *bench) {
		require.Equal(t, pbx.ConnConnected, b.Connection().State)
		since := b.Connection().Since
		b.pass(time.Minute)
		b.sim.CutSockets()
		b.pass(10 * time.Second)
		require.Equal(t, pbx.ConnConnected, b.Connection().State)
		require.Equal(t, since, b.Connection().Since, "nobody was told")
		b.sim.StallSockets(true)
		b.pass(30 * time.Second)
		require.NotEqual(t, pbx.ConnConnected, b.Connection().State)
		b.sim.StallSockets(false)
		b.pass(2 * time.Minute)
		require.Equal(t, pbx.ConnConnected, b.Connection().State)
		b.sim.Down()
		b.pass(10 * time.Minute)
		require.Equal(t, pbx.ConnDegraded, b.Connection().State)
		require.Equal(t, "unreachable", b.Connection().Code)
		require.NoError(t, b.sim.Up())
		b.got()
		b.pass(2 * time.Minute)
		require.Equal(t, pbx.ConnConnected, b.Connection().State)
		require.Equal(t, pbx.EventReset, b.got()[0].Kind)
	})
}

// What a person must see to is told with what they can do.
func TestLimitsAreExplained(t *testing.T) {
	for code, l := range map[string]threecxsim.Limits{
		"licence":                 {NoEnterprise: true},
		"no_call_control":         {NoCallControl: true},
		"no_configuration_access": {NoXAPI: true},
		"address_restricted":      {ForeignIP: true},
		"not_monitored":           {Monitored: []string{"4711"}},
	} {
		t.Run(code, func(t *testing.T) {
			inVirtualTime(t, threecxsim.Config{Limits: l}, nil, func(b *bench) {
				b.pass(10 * time.Second)
				con := b.Connection()
				require.Equal(t, pbx.ConnNeedsPerson, con.State)
				require.Equal(t, code, con.Code)
				require.NotEmpty(t, con.Text)
				require.NotEmpty(t, con.Remedy)
				err := b.Verify(context.Background())
				var typed *pbx.Error
				require.ErrorAs(t, err, &typed)
				require.Equal(t, con.Remedy, typed.Remedy)
				b.sim.SetLimits(threecxsim.Limits{})
				b.pass(3 * time.Minute)
				require.Equal(t, pbx.ConnConnected, b.Connection().State, "and mends itself when it was seen to")
				require.NoError(t, b.Verify(context.Background()))
			})
		})
	}
}

func TestVersion18(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{Version: "18.0.9.20"}, nil, func(b *bench) {
		b.pass(10 * time.Second)
		require.Equal(t, "version_unsupported", b.Connection().Code)
		require.Equal(t, pbx.Refused, pbx.KindOf(b.Verify(context.Background())))
	})
}

// The right to write is tried without writing, and its lack is no failure of the watch.
func TestReadOnly(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{Limits: threecxsim.Limits{ReadOnly: true}}, nil, func(b *bench) {
		require.Equal(t, pbx.ConnConnected, b.Connection().State)
		err := b.Verify(context.Background())
		require.Equal(t, pbx.Refused, pbx.KindOf(err))
		_, err = b.Apply(context.Background(), b.user(0), pbx.Write{Status: presence.Status{Name: "Away"}})
		var typed *pbx.Error
		require.ErrorAs(t, err, &typed)
		require.Equal(t, pbx.Refused, typed.Kind)
		require.Contains(t, typed.Remedy, "AllowToChangePresence")
	})
}

// Warnings come and go with what they warn of, in Connection and in the metrics.
func TestWarnings(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{}, nil, func(b *bench) {
		require.Empty(t, b.Connection().Warnings)
		b.sim.SetLimits(threecxsim.Limits{TeamsSync: true, Monitored: []string{"101", "102"}})
		b.pass(16 * time.Minute)
		warnings := map[string]pbx.Warning{}
		for _, w := range b.Connection().Warnings {
			warnings[w.Code] = w
			require.NotEmpty(t, w.Remedy)
		}
		require.Contains(t, warnings[pbx.WarnCompetitor].Text, "Microsoft Teams is on")
		require.Contains(t, warnings["not_monitored"].Text, "8 of 10 extensions, for example 103, 104")
		require.EqualValues(t, 1, b.metric("warning", "competitor"))
		require.EqualValues(t, 1, b.metric("warning", "not_monitored"))
		users, err := b.Snapshot(context.Background())
		require.NoError(t, err)
		require.Equal(t, presence.LineIdle, users[0].State.Line)
		require.Equal(t, presence.LineUnknown, users[9].State.Line, "nobody knows about them, which is not idle")
		st, err := b.Read(context.Background(), b.user(9))
		require.NoError(t, err)
		require.Equal(t, users[9].State, st)
		b.sim.SetLimits(threecxsim.Limits{})
		b.pass(16 * time.Minute)
		require.Empty(t, b.Connection().Warnings)
		require.Zero(t, b.metric("warning", "competitor"))
	})
}

// Nothing of the log is a secret, or about a person.
func TestNothingSecretIsLogged(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{}, nil, func(b *bench) {
		var errs []string
		note := func(err error) {
			if err != nil {
				errs = append(errs, err.Error())
			}
		}
		require.NoError(t, b.sim.SetFaults(threecxsim.Faults{Errors: 0.3, Cut: 0.3, TokenLost: 0.2, Attached: 0.5}))
		for range 40 {
			_ = b.sim.StartCall(b.user(0))
			_, err := b.Apply(context.Background(), b.user(0), pbx.Write{Status: presence.Status{Name: "Away"}})
			note(err)
			_, err = b.Read(context.Background(), b.user(0))
			note(err)
			b.pass(5 * time.Second)
			b.sim.CutSockets()
		}
		b.sim.RotateSecret("another")
		b.pass(time.Minute)
		text := b.log.String() + strings.Join(errs, "\n") + b.Connection().Text + b.Connection().Remedy
		require.NotEmpty(t, errs)
		for _, secret := range []string{b.sim.ClientSecret(), "another", "Bearer", "eyJ", "user1@", "User 1", "/Users(", "Away", "+1425"} {
			require.NotContains(t, text, secret)
		}
	})
}

func TestSecondWatch(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{}, nil, func(b *bench) {
		require.ErrorContains(t, b.Watch(context.Background(), func(pbx.Event) {}), "being watched already")
	})
}

func TestBadConfigs(t *testing.T) {
	secret := func() (string, error) { return "x", nil }
	for want, cfg := range map[string]threecx.Config{
		"client_id is missing":          {URL: "https://pbx", Secret: secret},
		"client_secret_file is missing": {URL: "https://pbx", ClientID: "a"},
		"url must begin with":           {URL: "pbx:5001", ClientID: "a", Secret: secret},
		"must not hold a user":          {URL: "https://a:b@pbx", ClientID: "a", Secret: secret},
		"remove what begins with":       {URL: "https://pbx?x=1", ClientID: "a", Secret: secret},
		"remove /xapi":                  {URL: "https://pbx/xapi/v1", ClientID: "a", Secret: secret},
		"read ca_file":                  {URL: "https://pbx", ClientID: "a", Secret: secret, CAFile: "/nowhere"},
	} {
		_, err := threecx.New(cfg)
		require.ErrorContains(t, err, want)
	}
	_, err := threecx.New(threecx.Config{URL: "https://pbx:5001/", ClientID: "a", Secret: secret, HTTPClient: http.DefaultClient})
	require.NoError(t, err)
}
