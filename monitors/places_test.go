package monitors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

// two gives the world's account a second application.
func (w *world) two() {
	w.cfg.More = []Application{{ClientID: "client-2", Graph: w.graph.app("client-2")}}
}

// owner2 is monitor i of the second application at the fake Graph.
func owner2(i int) string { return owner(i) + "#client-2" }

// authorizeFor signs monitor i in for an application.
func (w *world) authorizeFor(i int, client string) Flow {
	w.t.Helper()
	w.signsIn(i)
	f, err := w.m.Authorize(w.t.Context(), Order{UPN: upn(i), ClientID: client})
	require.NoError(w.t, err)
	f, err = w.m.AwaitAuthorization(w.t.Context(), f.ID)
	require.NoError(w.t, err)
	require.Equal(w.t, FlowAuthorized, f.State)
	synctest.Wait()
	return f
}

func TestApplicationsMultiplyCapacity(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.two()
		w.start()
		w.m.SetMembers(people(0, 2700))
		list := w.m.Monitors()
		require.Len(t, list, 4)
		for i, in := range list {
			require.Equal(t, owner(i/2), in.UPN)
			require.Equal(t, i%2+1, in.Application)
		}
		require.Equal(t, "client-2", list[1].ClientID)

		// Without saying which, the applications are signed in for one after the other.
		require.Equal(t, clientID, w.authorizeFor(0, "").ClientID)
		require.Equal(t, "client-2", w.authorizeFor(0, "").ClientID)
		w.authorizeFor(1, "client-2")
		w.pass(time.Second)
		require.Len(t, w.graph.watched(), 3)
		require.Len(t, w.graph.watched()[owner(0)], 650)
		require.Len(t, w.graph.watched()[owner2(0)], 650)
		require.Len(t, w.graph.watched()[owner2(1)], 650)
		w.authorizeFor(1, "")
		w.pass(time.Second)
		require.Len(t, w.graph.watched(), 4)
		s := w.m.Sums()
		require.Equal(t, 2600, s.ByCoverage[presence.CoveragePushed])
		require.Equal(t, Sums{
			Members: 2700, ByCoverage: s.ByCoverage, ByWhy: s.ByWhy, MonitorsConfigured: 2, MonitorsNeeded: 3, MonitorsUsable: 2,
			Applications: 2, Places: 4, PlacesUsable: 4, Spares: 0, WithOneMore: 100,
		}, s)
		seen := map[string]bool{}
		for _, ids := range w.graph.watched() {
			for _, id := range ids {
				require.False(t, seen[id], "nobody is in two")
				seen[id] = true
			}
		}

		// All of it is the same after a restart.
		before := w.graph.count("create")
		w.stop()
		w.start()
		w.m.SetMembers(people(0, 2700))
		w.pass(20 * time.Minute)
		require.Equal(t, before, w.graph.count("create"))
		_, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), ClientID: "client-3"})
		require.ErrorIs(t, err, ErrUnknownApplication)

		// A monitor is removed with all its places, and comes back with all.
		_, err = w.m.Remove(t.Context(), upn(0))
		require.NoError(t, err)
		require.Len(t, w.graph.watched(), 2)
		_, err = w.m.Add(t.Context(), Order{UPN: upn(0)})
		require.NoError(t, err)
		require.Len(t, w.m.Monitors(), 4)
	})
}

func TestApplicationsComeAndGo(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 700))
		w.authorize(0)
		_, err := w.m.Add(t.Context(), Order{UPN: upn(1)})
		require.NoError(t, err)
		w.authorize(1)
		w.pass(time.Second)
		require.Len(t, w.graph.watched(), 2)

		// One more: the places of the monitors, of the one that was added too, wait for a sign-in.
		w.stop()
		w.two()
		w.start()
		w.m.SetMembers(people(0, 1900))
		require.Equal(t, []State{StateAuthorized, StateUnset, StateAuthorized, StateUnset}, w.states())
		w.authorizeFor(0, "client-2")
		w.pass(5 * time.Minute)
		require.Len(t, w.graph.watched(), 3)

		// Another client id in its place needs its sign-ins anew; the first application's stay.
		w.stop()
		w.cfg.More[0].ClientID = "client-3"
		w.start()
		require.Equal(t, []State{StateAuthorized, StateNeedsUpdate, StateAuthorized, StateUnset}, w.states())
		require.Equal(t, "application_changed", w.info(1).Code)

		// Gone: its secrets are wiped.
		w.stop()
		w.cfg.More = nil
		w.start()
		w.pass(time.Minute)
		require.Equal(t, []State{StateAuthorized, StateAuthorized, StateRetired, StateRetired}, w.states())
		for key, e := range w.store.entries {
			if strings.HasSuffix(key, "-2") {
				require.NotContains(t, string(e.Value), `"token"`)
			}
		}
		// Another tenant: every monitor of the account.
		w.stop()
		w.two()
		w.cfg.TenantID = "tenant-2"
		w.start()
		require.Equal(t, []State{StateNeedsUpdate, StateUnset, StateNeedsUpdate, StateUnset}, w.states())
	})
}

func (w *world) states() (out []State) {
	for _, in := range w.m.Monitors() {
		out = append(out, in.State)
	}
	return out
}

// TestDeadApplicationsMembersGoToTheSpare: a place of the other application is as good a spare.
func TestDeadApplicationsMembersGoToTheSpare(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.two()
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorizeFor(0, "")
		w.authorizeFor(0, "")
		w.pass(time.Second)
		require.Len(t, w.graph.watched(), 1)
		w.graph.fail("renew", fault{times: 1, err: &CallError{Kind: Unauthorised, Code: "AADSTS7000222", Err: errNet}})
		require.NoError(t, w.m.Retry(upn(0)))
		w.pass(time.Second)
		require.Equal(t, ids(0, 5), w.graph.watched()[owner2(0)])
		require.Equal(t, "client_secret_expired", w.info(0).Code)
		require.Equal(t, StateAuthorized, w.info(1).State)
	})
}

// secret lets Entra take a secret of a monitor's own.
func (w *world) secret(s string) string {
	w.graph.with(func() { w.graph.secrets[s] = true })
	return s
}

// lastSecret is what a token was last fetched with.
func (w *world) lastSecret() (s string) {
	w.graph.with(func() { s = w.graph.secretsUsed[len(w.graph.secretsUsed)-1] })
	return s
}

func TestOwnSecretOfTheConfiguration(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		own := Own{Secret: w.secret("secret-own-1")}
		var fails error
		w.cfg.Own = map[string]func() (Own, error){upn(0): func() (o Own, err error) {
			w.graph.with(func() { o, err = own, fails })
			return o, err
		}}
		w.start()
		w.m.SetMembers(people(0, 700))
		w.authorize(0)
		require.Equal(t, "secret-own-1", w.lastSecret())
		w.authorize(1)
		require.Empty(t, w.lastSecret(), "the other has the common one")
		require.True(t, w.info(0).OwnSecret)
		require.False(t, w.info(1).OwnSecret)
		_, err := w.m.Renew(t.Context(), Order{UPN: upn(0), Secret: "secret-other"})
		require.ErrorIs(t, err, ErrSecretConfigured)

		// A wrong one is this monitor's trouble alone, and the remedy says whose file.
		w.graph.with(func() { own.Secret = "secret-not-known" })
		require.NoError(t, w.m.Retry(upn(0)))
		w.pass(time.Second)
		require.Equal(t, "client_secret_wrong", w.info(0).Code)
		require.Contains(t, w.info(0).Text, "monitor's own")
		require.Contains(t, w.info(0).Remedy, "accounts[].monitors[].client_secret_file")
		require.Equal(t, StateAuthorized, w.info(1).State)
		next := w.secret("secret-own-2")
		w.graph.with(func() { own.Secret = next })
		w.pass(20 * time.Minute)
		require.Equal(t, StateAuthorized, w.info(0).State, "the file was put right")

		w.graph.with(func() { fails = errors.New("no such file") })
		require.NoError(t, w.m.Retry(upn(0)))
		w.pass(time.Second)
		require.Equal(t, "credential_unreadable", w.info(0).Code)
		require.Contains(t, w.info(0).Text, "no such file")
	})
}

func TestOwnSecretThatWasGiven(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 700))
		w.authorize(0)
		in, err := w.m.Add(t.Context(), Order{UPN: upn(1), Secret: w.secret("secret-given-1")})
		require.NoError(t, err)
		require.True(t, in.OwnSecret)
		w.authorize(1)
		w.pass(time.Second)
		require.Equal(t, "secret-given-1", w.lastSecret())
		w.stop()
		w.start()
		require.NoError(t, w.m.byUPN(upn(1)).delegated.Refresh(t.Context()))
		require.Equal(t, "secret-given-1", w.lastSecret(), "it is kept, sealed")

		// One that Entra does not know does not replace it.
		_, err = w.m.Renew(t.Context(), Order{UPN: upn(1), Secret: "secret-unknown"})
		var app *ApplicationError
		require.ErrorAs(t, err, &app)
		require.Equal(t, "client_secret_wrong", app.Code)
		require.Contains(t, app.Remedy, "monitors renew UPN --client-secret-file")
		require.NoError(t, w.m.byUPN(upn(1)).delegated.Refresh(t.Context()))
		require.Equal(t, "secret-given-1", w.lastSecret())
		f, err := w.m.Renew(t.Context(), Order{UPN: upn(1), Secret: w.secret("secret-given-2")})
		require.NoError(t, err)
		require.Equal(t, FlowAuthorized, f.State)
		require.NoError(t, w.m.byUPN(upn(1)).delegated.Refresh(t.Context()))
		require.Equal(t, "secret-given-2", w.lastSecret())

		// It ends with the monitor.
		_, err = w.m.Remove(t.Context(), upn(1))
		require.NoError(t, err)
		for _, e := range w.store.entries {
			require.NotContains(t, string(e.Value), `"own"`)
		}
		stored := fmt.Sprint(w.store.entries) + w.logs.String() + fmt.Sprintf("%+v %#v", Order{Secret: "secret-x"}, Own{Secret: "secret-x"})
		require.NotContains(t, stored, "secret-given")
		require.NotContains(t, stored, "secret-x")
	})
}

func TestEndOfAnOwnSecretIsReported(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		own := w.secret("secret-own")
		w.cfg.Own = map[string]func() (Own, error){upn(1): func() (Own, error) { return Own{Secret: own}, nil }}
		w.graph.credentials = []Credential{
			{Kind: "secret", KeyID: "k1", Name: "", Expires: time.Now().Add(300 * 24 * time.Hour), InUse: true},
			{Kind: "secret", KeyID: "k2", Name: own, Expires: time.Now().Add(5 * 24 * time.Hour)},
		}
		w.start()
		known := w.m.Credentials()
		require.Len(t, known.List, 2)
		require.Equal(t, []string{owner(1)}, known.List[1].Monitors)
		require.True(t, known.List[1].InUse)
		require.Contains(t, known.List[1].Text(time.Now()), "own secret of "+owner(1))
		require.Contains(t, known.List[1].Text(time.Now()), "--client-secret-file")
		require.Contains(t, w.logs.String(), "a credential of the application ends")
		require.NotContains(t, w.logs.String(), "@contoso")
	})
}

func TestASignInDoesNotHideWhatItIsNeededFor(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.graph.fail("renew", fault{times: 1, err: &CallError{Kind: Unauthorised, Code: "AADSTS50173", Err: errNet}})
		require.NoError(t, w.m.Retry(upn(0)))
		w.pass(time.Second)
		require.Equal(t, StateNeedsAttention, w.info(0).State)
		w.graph.with(func() {
			w.graph.signIn = func(ctx context.Context) (Authorization, error) {
				<-ctx.Done()
				return Authorization{}, ctx.Err()
			}
		})
		_, err := w.m.Authorize(t.Context(), Order{UPN: upn(0)})
		require.NoError(t, err)
		in := w.info(0)
		require.Equal(t, StateAuthorizing, in.State)
		require.Equal(t, "password_changed", in.Code)
		require.Contains(t, in.Remedy, "monitors authorize UPN")
		require.Contains(t, in.Text, "waiting for the sign-in")
		require.Contains(t, in.Text, "password was changed")
		require.Equal(t, StateNeedsAttention, in.Before.State)
		require.Equal(t, "password_changed", in.Before.Code)
		w.authorize(0)
		require.Nil(t, w.info(0).Before)
	})
}

// TestDeviceCodeAcrossARestart: what the person does meanwhile counts.
func TestDeviceCodeAcrossARestart(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		done := make(chan struct{})
		w.signsIn(0)
		finish := w.graph.signIn
		w.graph.with(func() {
			w.graph.signIn = func(ctx context.Context) (Authorization, error) {
				select {
				case <-done:
					return finish(ctx)
				case <-ctx.Done():
					return Authorization{}, ctx.Err()
				}
			}
		})
		f, err := w.m.Authorize(t.Context(), Order{UPN: upn(0)})
		require.NoError(t, err)
		for _, e := range w.store.entries {
			require.NotContains(t, string(e.Value), "secret-device-code")
		}
		w.stop()
		close(done)
		w.start()
		end, err := w.m.AwaitAuthorization(t.Context(), f.ID)
		require.NoError(t, err, "whoever waits for it asks by the same id")
		require.Equal(t, FlowAuthorized, end.State)
		require.Equal(t, 1, w.graph.count("resume"))
		w.stop()
		w.start()
		require.Equal(t, 1, w.graph.count("resume"), "once")

		// A code that Entra does not know any more: the sign-in says that a new one is needed.
		w.graph.with(func() {
			w.graph.signIn = func(ctx context.Context) (Authorization, error) { <-ctx.Done(); return Authorization{}, ctx.Err() }
		})
		f, err = w.m.Authorize(t.Context(), Order{UPN: upn(0)})
		require.NoError(t, err)
		w.stop()
		w.graph.with(func() {
			w.graph.signIn = func(context.Context) (Authorization, error) {
				return Authorization{}, &AuthError{State: FlowExpired, Code: "AADSTS70020", Err: errNet}
			}
		})
		w.start()
		end, err = w.m.AwaitAuthorization(t.Context(), f.ID)
		require.NoError(t, err)
		require.Equal(t, FlowExpired, end.State)
		require.Contains(t, end.Text, "start again")
	})
}

// TestRemovalWithASpareHasNoGap: the spare's subscription is there before the old one goes.
func TestRemovalWithASpareHasNoGap(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.authorize(1)
		w.pass(time.Second)
		w.graph.fail("create", fault{times: 2, err: errNet})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.m.Remove(ctx, upn(0))
		require.NoError(t, err)
		require.Equal(t, ids(0, 5), w.graph.watched()[owner(0)], "it stays as long as the spare has none")
		w.pass(time.Minute)
		require.Equal(t, map[string][]string{owner(1): ids(0, 5)}, w.graph.watched())
		deleted, created := w.graph.when("delete"), w.graph.when("create")
		require.False(t, deleted[len(deleted)-1].Before(created[len(created)-1]))
		require.Equal(t, StateRetired, w.info(1).State)
	})
	// A spare that cannot does not hold the removal up for ever.
	bubble(t, 2, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.authorize(1)
		w.pass(time.Second)
		w.graph.fail("create", fault{times: 1 << 20, err: errNet})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.m.Remove(ctx, upn(0))
		require.NoError(t, err)
		w.pass(estateFor + time.Minute)
		require.Empty(t, w.graph.watched())
		require.Equal(t, StateRetired, w.info(1).State)
		w.graph.fail("create", fault{})
		w.pass(5 * time.Minute)
		require.Equal(t, map[string][]string{owner(1): ids(0, 5)}, w.graph.watched())
	})
}
