package threecx_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/threecx"
	"presencebridge/bridge/pbx/threecxsim"
	"presencebridge/bridge/presence"
)

// connected is a connector at a PBX over real HTTP, that does not watch.
func connected(t *testing.T, cfg threecxsim.Config, change ...func(*threecx.Config)) (*threecxsim.Sim, *threecx.Client) {
	t.Helper()
	sim, err := threecxsim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	own := threecx.Config{URL: sim.URL(), ClientID: sim.ClientID(), Secret: func() (string, error) { return sim.ClientSecret(), nil }, BackoffMin: time.Millisecond}
	for _, f := range change {
		f(&own)
	}
	c, err := threecx.New(own)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return sim, c
}

// A client has one token: whatever happens at once, one is fetched.
func TestOneTokenForAll(t *testing.T) {
	sim, c := connected(t, threecxsim.Config{})
	all := func() {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := c.Read(context.Background(), "11"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	all()
	require.Equal(t, 1, sim.Stats().Tokens)
	sim.ExpireToken()
	all()
	require.Equal(t, 2, sim.Stats().Tokens, "who is refused later takes what was fetched meanwhile")
}

// A token is renewed before its time, whichever unit it is counted in, and no request is refused.
func TestTokensAreRenewedEarly(t *testing.T) {
	for _, version := range []string{"20.0.5.1", "20.0.9.1"} {
		inVirtualTime(t, threecxsim.Config{Version: version, TokenLife: 20 * time.Minute}, nil, func(b *bench) {
			b.pass(10 * time.Hour)
			st := b.sim.Stats()
			require.Zero(t, st.Unauthorised, version)
			require.InDelta(t, 10*60/16, st.Tokens, 4, version)
			require.Empty(t, b.Connection().Warnings)
			require.Equal(t, pbx.ConnConnected, b.Connection().State)
		})
	}
}

// Who else uses the client id ends our tokens; that is said, and forgotten when it ends.
func TestContendedTokens(t *testing.T) {
	inVirtualTime(t, threecxsim.Config{}, nil, func(b *bench) {
		for range 6 {
			b.pass(time.Minute)
			b.sim.ExpireToken()
		}
		b.pass(10 * time.Second)
		w := b.Connection().Warnings
		require.Len(t, w, 1)
		require.Equal(t, "token_contended", w[0].Code)
		require.Contains(t, w[0].Remedy, "client_id")
		b.pass(time.Hour)
		require.Empty(t, b.Connection().Warnings)
	})
}

// A key that is refused is not tried all the time: who does gets locked out.
func TestRefusedKey(t *testing.T) {
	sim, c := connected(t, threecxsim.Config{}, func(c *threecx.Config) {
		c.BackoffMin = time.Minute
		c.Secret = func() (string, error) { return "wrong", nil }
	})
	for range 20 {
		_, err := c.Read(context.Background(), "11")
		var typed *pbx.Error
		require.ErrorAs(t, err, &typed)
		require.Equal(t, pbx.Unauthorised, typed.Kind)
		require.Contains(t, typed.Remedy, "client_secret_file")
	}
	require.Equal(t, 1, sim.Stats().TokensRefused)
}

func TestUnreadableKey(t *testing.T) {
	for _, secret := range []func() (string, error){
		func() (string, error) { return "", errors.New("no such file") }, func() (string, error) { return " \n", nil },
	} {
		_, c := connected(t, threecxsim.Config{}, func(c *threecx.Config) { c.Secret = secret })
		_, err := c.Read(context.Background(), "11")
		var typed *pbx.Error
		require.ErrorAs(t, err, &typed)
		require.Equal(t, pbx.Unauthorised, typed.Kind)
		require.Contains(t, typed.Remedy, "client_secret_file")
	}
}

// The message is the one of the profile that is set; nothing else of anybody's profiles changes.
func TestMessageLeavesTheRestOfTheProfiles(t *testing.T) {
	sim, c := connected(t, threecxsim.Config{})
	away, text := presence.Status{Name: "Away", Kind: presence.KindAway}, "In a meeting"
	st, err := c.Apply(context.Background(), "12", pbx.Write{Status: away, Message: &text})
	require.NoError(t, err)
	require.Equal(t, pbx.State{Line: presence.LineIdle, Status: away, Message: text}, st)
	for i, name := range threecxsim.Profiles() {
		seconds, mobile, err := sim.Settings("12", name)
		require.NoError(t, err)
		require.Equal(t, 20, seconds, name)
		require.Equal(t, i%2 == 0, mobile, name)
	}
	require.Equal(t, 1, sim.Stats().Patches, "profile and message in one write")
	require.NoError(t, sim.Pick("12", "Available"))
	st, err = c.Read(context.Background(), "12")
	require.NoError(t, err)
	require.Empty(t, st.Message, "another profile has another message")
}

// A message of ours goes with the profile that it was written with: whoever wrote another there before gets it back.
func TestMessagesAreGivenBack(t *testing.T) {
	sim, c := connected(t, threecxsim.Config{})
	away, available := presence.Status{Name: "Away"}, presence.Status{Name: "Available"}
	message := func(profile string) string {
		chosen, err := sim.Chosen("12")
		require.NoError(t, err)
		require.NoError(t, sim.Pick("12", profile))
		p, err := sim.Presence("12")
		require.NoError(t, err)
		require.NoError(t, sim.Pick("12", chosen))
		return p.Message
	}
	set := func(st presence.Status, text *string) {
		t.Helper()
		_, err := c.Apply(context.Background(), "12", pbx.Write{Status: st, Message: text})
		require.NoError(t, err)
	}
	text := func(s string) *string { return &s }
	require.NoError(t, sim.PickMessage("12", "Away", "Gone fishing"))
	require.NoError(t, sim.Pick("12", "Available"))
	set(away, text("In a meeting"))
	set(away, text("In another meeting"))
	set(away, nil)
	p, err := sim.Presence("12")
	require.NoError(t, err)
	require.Equal(t, "In another meeting", p.Message)
	set(available, text(""))
	require.Equal(t, "Gone fishing", message("Away"))

	set(away, text("In a meeting"))
	set(available, nil)
	require.Equal(t, "Gone fishing", message("Away"), "also when nothing is said of a message")

	set(away, text("In a meeting"))
	require.NoError(t, sim.PickMessage("12", "Custom 1", ""))
	require.NoError(t, sim.PickMessage("12", "Away", "At lunch"))
	set(available, text(""))
	require.Equal(t, "At lunch", message("Away"), "what somebody wrote since is theirs")
	patches := sim.Stats().Patches
	set(available, nil)
	require.Equal(t, patches+1, sim.Stats().Patches)
}

// A site may give profiles other names; what they are stays the same.
func TestRenamedProfiles(t *testing.T) {
	sim, c := connected(t, threecxsim.Config{CustomNames: map[string]string{"Custom 1": "Business Trip/Holiday", "Away": "Out to lunch"}})
	require.NoError(t, sim.Pick("11", "Business Trip/Holiday"))
	st, err := c.Read(context.Background(), "11")
	require.NoError(t, err)
	require.Equal(t, presence.Status{Name: "Custom 1", Kind: presence.KindCustom}, st.Status)
	st, err = c.Apply(context.Background(), "11", pbx.Write{Status: presence.Status{Name: "out to lunch"}})
	require.NoError(t, err)
	require.Equal(t, presence.Status{Name: "Away", Kind: presence.KindAway}, st.Status)
	st, err = c.Apply(context.Background(), "11", pbx.Write{Status: presence.Status{Kind: presence.KindDND}})
	require.NoError(t, err)
	require.Equal(t, "Out of office", st.Status.Name, "a status without a name is the first of its kind")
	_, err = c.Apply(context.Background(), "11", pbx.Write{Status: presence.Status{Kind: presence.KindBusy}})
	require.Equal(t, pbx.Refused, pbx.KindOf(err), "a 3CX has nothing of that kind")
}

// A write of which the answer is lost is no error of another kind when the read after it fails too.
func TestReadBackFails(t *testing.T) {
	sim, c := connected(t, threecxsim.Config{})
	_, err := c.Read(context.Background(), "11")
	require.NoError(t, err)
	sim.SetLimits(threecxsim.Limits{NoCallControl: true})
	st, err := c.Apply(context.Background(), "11", pbx.Write{Status: presence.Status{Name: "Away"}})
	require.NoError(t, err, "the calls of one user may be forbidden, and the write was answered")
	require.Equal(t, presence.LineUnknown, st.Line)
}

func TestDialing(t *testing.T) {
	sim, c := connected(t, threecxsim.Config{})
	require.NoError(t, sim.Dial("11"))
	st, err := c.Read(context.Background(), "11")
	require.NoError(t, err)
	require.Equal(t, presence.LineInCall, st.Line, "who dials is on the phone")
}
