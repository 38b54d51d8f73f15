package monitors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/keyring"
	"presencebridge/bridge/presence"
)

func TestAuthorizedMonitorWatchesItsShard(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 10))
		synctest.Wait()
		require.Equal(t, StateUnset, w.info(0).State)
		require.Equal(t, Cover{Coverage: presence.CoveragePolled, Why: WhyNoMonitor, Text: WhyNoMonitor.Text(), Confirmed: w.cover(3).Confirmed}, w.cover(3))

		require.Equal(t, FlowAuthorized, w.authorize(0).State)
		require.Equal(t, ids(0, 10), w.graph.watched()[owner(0)])
		require.Equal(t, ids(0, 10), w.sink.takeOwed(), "a new subscription's members are read in full")
		s := w.graph.sub(owner(0))
		require.Equal(t, ourURL, s.NotificationURL)
		require.Equal(t, "secret-state-1", s.state)
		require.Contains(t, w.m.DecryptionKeys(), s.CertificateID)
		require.Equal(t, presence.CoveragePushed, w.cover(3).Coverage)
		i := w.info(0)
		require.Equal(t, StateAuthorized, i.State)
		require.Equal(t, 10, i.Members)

		// Renewed for hours, about every 25 min, and never made anew.
		w.pass(5 * time.Hour)
		require.Equal(t, s.ID, w.graph.sub(owner(0)).ID)
		require.Equal(t, 1, w.graph.count("create"))
		require.InDelta(t, 12, w.graph.count("renew"), 2)
		for i, at := range w.graph.when("renew")[1:] {
			gap := at.Sub(w.graph.when("renew")[i])
			require.GreaterOrEqual(t, gap, 22*time.Minute)
			require.LessOrEqual(t, gap, 28*time.Minute)
		}
		require.Empty(t, w.sink.takeOwed())
	})
}

func TestRestartAdoptsWithoutRecreation(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 700))
		w.authorize(0)
		w.authorize(1)
		before := w.graph.watched()
		require.Len(t, before, 2)
		w.stop()
		w.pass(10 * time.Minute)

		w.sink.takeOwed()
		w.start()
		require.Equal(t, ids(0, 700), w.sink.takeOwed(), "what came meanwhile may be lost")
		require.Equal(t, 0, w.m.Sums().Members)
		w.m.SetMembers(people(0, 700))
		w.pass(30 * time.Minute)
		require.Equal(t, before, w.graph.watched(), "nobody moved")
		require.Equal(t, 2, w.graph.count("create"))
		require.GreaterOrEqual(t, w.graph.count("renew"), 2, "they are renewed by the new process")
		require.Equal(t, 700, w.m.Sums().ByCoverage[presence.CoveragePushed])
	})
}

func TestRestartWithoutADirectoryGoesOnRenewing(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.stop()
		w.start()
		w.pass(3 * time.Hour)
		require.Equal(t, ids(0, 5), w.graph.watched()[owner(0)])
		require.Equal(t, 1, w.graph.count("create"))
	})
}

func TestExpiredWhileDown(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.sink.takeOwed()
		w.stop()
		w.pass(2 * time.Hour)
		w.start()
		w.m.SetMembers(people(0, 5))
		synctest.Wait()
		require.Equal(t, 2, w.graph.count("create"))
		require.Equal(t, ids(0, 5), w.sink.takeOwed())
		require.Equal(t, ids(0, 5), w.graph.watched()[owner(0)])
	})
}

func TestGoneIsCreatedAnew(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.sink.takeOwed()
		w.graph.kill(owner(0))
		w.pass(28 * time.Minute)
		require.Equal(t, ids(0, 5), w.graph.watched()[owner(0)])
		require.Equal(t, ids(0, 5), w.sink.takeOwed())
	})
}

func TestConflicts(t *testing.T) {
	// The answer to the creation is lost, with or without the process: the subscription is there, the
	// bridge does not know it.
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("lost answer, restart=%v", restart), func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				w.start()
				w.m.SetMembers(people(0, 5))
				w.graph.fail("create", fault{times: 1, err: errNet, landed: true})
				w.authorize(0)
				require.Empty(t, w.sink.takeOwed())
				require.Equal(t, "transient", w.info(0).Problem.Code)
				if restart {
					w.stop()
					w.start()
					w.m.SetMembers(people(0, 5))
				}
				first := w.graph.sub(owner(0))
				w.pass(10 * time.Second)
				require.Equal(t, first.ID, w.info(0).SubscriptionID, "it was adopted")
				require.Equal(t, "secret-state-1", first.state, "and its client state is the one on record")
				require.Equal(t, ids(0, 5), w.sink.takeOwed())
				require.Empty(t, w.info(0).Problem)
				w.pass(3 * time.Hour)
				require.Equal(t, first.ID, w.graph.sub(owner(0)).ID, "and renewed")
			})
		})
	}
	for name, alter := range map[string]func(*remoteSub){
		"others watched":     func(s *remoteSub) { s.UserIDs = ids(3, 5) },
		"unknown watched":    func(s *remoteSub) { s.UserIDs = nil },
		"another address":    func(s *remoteSub) { s.NotificationURL = "https://elsewhere.test/" },
		"another key":        func(s *remoteSub) { s.CertificateID = "old" },
		"about to expire":    func(s *remoteSub) { s.Expiration = time.Now().Add(2 * time.Minute) },
		"a different casing": func(s *remoteSub) { s.UserIDs[0] = strings.ToUpper(s.UserIDs[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				w.start()
				w.m.SetMembers(people(10, 5))
				s := &remoteSub{owner: owner(0), Subscription: Subscription{
					ID: "foreign", Expiration: time.Now().Add(time.Hour), NotificationURL: ourURL,
					CertificateID: w.m.certificate().ID, UserIDs: ids(10, 5),
				}}
				alter(s)
				w.graph.with(func() { w.graph.subs["foreign"] = s })
				w.authorize(0)
				require.Equal(t, name != "a different casing", w.graph.sub(owner(0)).ID != "foreign")
				require.Equal(t, 5, w.info(0).Members)
				require.Equal(t, ids(10, 5), w.sink.takeOwed())
			})
		})
	}
}

func TestConflictThatDoesNotGoAway(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.graph.fail("create", fault{times: 1000, err: &CallError{Kind: Conflict, Err: errors.New("exists")}})
		w.authorize(0)
		w.pass(time.Hour)
		require.Equal(t, StateAuthorized, w.info(0).State)
		require.Equal(t, "conflict", w.info(0).Problem.Code)
		require.NotEmpty(t, w.info(0).Problem.Remedy)
		require.Less(t, w.graph.count("create"), 100, "with growing pauses")
		require.Equal(t, WhySubscribing, w.cover(1).Why)
		w.m.Heard("nonsense", nil, time.Now())
	})
}

func TestMembershipChangesAreCollected(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.sink.takeOwed()

		w.m.SetMembers(people(0, 6))
		w.pass(time.Minute)
		w.m.SetMembers(people(0, 8))
		w.pass(59 * time.Second)
		require.Equal(t, 1, w.graph.count("create"))
		require.Equal(t, WhyJoining, w.cover(6).Why)
		require.Equal(t, presence.CoveragePushed, w.cover(4).Coverage)
		w.pass(2 * time.Second)
		require.Equal(t, 2, w.graph.count("create"), "one re-creation for both")
		require.Equal(t, 1, w.graph.count("delete"))
		require.Equal(t, ids(0, 8), w.graph.watched()[owner(0)])
		require.Equal(t, ids(0, 8), w.sink.takeOwed())

		// A leaver alone can wait.
		w.m.SetMembers(people(0, 7))
		w.pass(50 * time.Minute)
		require.Equal(t, 2, w.graph.count("create"))
		w.pass(11 * time.Minute)
		require.Equal(t, ids(0, 7), w.graph.watched()[owner(0)])

		// Nobody left.
		w.m.SetMembers(nil)
		w.pass(time.Second)
		require.Empty(t, w.graph.watched())
		w.pass(time.Hour)
		require.Equal(t, 3, w.graph.count("create"))

		// And back and forth costs nothing.
		w.m.SetMembers(people(0, 7))
		w.pass(time.Second)
		creates := w.graph.count("create")
		w.m.SetMembers(people(0, 9))
		w.pass(time.Second)
		w.m.SetMembers(people(0, 7))
		w.pass(2 * time.Hour)
		require.Equal(t, creates, w.graph.count("create"))
	})
}

func TestDeadMonitorsMembersGoToTheSpare(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 1000))
		for i := range 3 {
			w.authorize(i)
		}
		require.Len(t, w.graph.watched(), 2)
		require.Equal(t, 1, w.m.Sums().Spares)
		w.sink.takeOwed()
		lost := w.graph.watched()[owner(0)]

		w.graph.mu.Lock()
		clear(w.graph.tokens) // all tokens were revoked …
		for _, s := range []int{1, 2} {
			token, err := w.m.active()[s].LoadRefreshToken(t.Context())
			require.NoError(t, err)
			w.graph.tokens[token] = true // … but these
		}
		w.graph.mu.Unlock()
		w.pass(28 * time.Minute)

		i := w.info(0)
		require.Equal(t, StateNeedsAttention, i.State)
		require.Equal(t, "password_changed", i.Code)
		require.Contains(t, i.Remedy, "authorise")
		require.Equal(t, lost, w.graph.watched()[owner(2)], "the shard went to the spare whole")
		require.Equal(t, lost, w.sink.takeOwed())
		require.Equal(t, 1000, w.m.Sums().ByCoverage[presence.CoveragePushed])
		require.Contains(t, w.logs.String(), "monitor needs attention")

		// Authorised again it is the spare; nobody moves.
		before := w.graph.watched()
		delete(before, owner(0))
		require.Equal(t, FlowAuthorized, w.authorize(0).State)
		w.pass(time.Minute)
		require.Equal(t, StateAuthorized, w.info(0).State)
		require.Equal(t, before, w.graph.watched())
	})
}

func TestASpareTakesTheNewListFirst(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 100))
		w.authorize(0)
		w.authorize(1)
		require.Len(t, w.graph.watched(), 1)
		first := w.graph.sub(owner(0)).ID
		w.sink.takeOwed()

		// The spare cannot subscribe at first: the old subscription stays, and is renewed, for as long as that takes.
		w.graph.fail("create", fault{times: 20, err: errNet})
		w.m.SetMembers(people(0, 120))
		w.pass(28 * time.Minute)
		require.Equal(t, first, w.graph.sub(owner(0)).ID)
		require.Empty(t, w.graph.sub(owner(1)).ID)
		require.Positive(t, w.graph.count("renew"))
		require.Zero(t, w.graph.count("delete"))
		w.pass(16 * time.Minute)
		require.Equal(t, map[string][]string{owner(1): ids(0, 120)}, w.graph.watched())
		require.Equal(t, 1, w.graph.count("delete"))
		created, deleted := w.graph.when("create"), w.graph.when("delete")
		require.False(t, deleted[0].Before(created[len(created)-1]), "the old one goes after the new one is there")
		require.Equal(t, ids(0, 120), w.sink.takeOwed())
		require.Equal(t, 120, w.m.Sums().ByCoverage[presence.CoveragePushed])
		require.Equal(t, 1, w.m.Sums().Spares)

		// And back, the other way round.
		w.m.SetMembers(people(0, 130))
		w.pass(3 * time.Minute)
		require.Equal(t, map[string][]string{owner(0): ids(0, 130)}, w.graph.watched())

		// The heir dies before it has taken over.
		disabled := &CallError{Kind: Unauthorised, Code: "AADSTS50057", Err: errNet}
		w.graph.fail("create", fault{times: 1, err: disabled})
		w.graph.fail("list", fault{times: 100, err: disabled})
		w.m.SetMembers(people(0, 140))
		w.pass(5 * time.Minute)
		require.Equal(t, StateNeedsAttention, w.info(1).State)
		require.Equal(t, map[string][]string{owner(0): ids(0, 140)}, w.graph.watched())
	})
}

func TestWhatPassesByItselfNeedsNoPerson(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		first := w.graph.sub(owner(0)).ID
		refused := &CallError{Kind: Unauthorised, Code: "AADSTS7000222", Err: errors.New("expired secret")}
		w.graph.fail("renew", fault{times: 1, err: refused})
		w.graph.fail("list", fault{times: 8, err: refused})
		w.pass(28 * time.Minute)
		require.Equal(t, StateNeedsAttention, w.info(0).State)
		require.Equal(t, "client_secret_expired", w.info(0).Code)
		w.pass(12 * time.Minute)
		require.Equal(t, StateAuthorized, w.info(0).State)
		require.Equal(t, first, w.graph.sub(owner(0)).ID, "its subscription outlived the trouble")
		w.pass(time.Hour)
		require.Equal(t, first, w.graph.sub(owner(0)).ID)

		// A person who knows that it is mended need not wait.
		w.graph.fail("renew", fault{times: 1, err: refused})
		w.pass(28 * time.Minute)
		require.NoError(t, w.m.Retry(upn(0)))
		synctest.Wait()
		require.Equal(t, StateAuthorized, w.info(0).State)
		require.ErrorIs(t, w.m.Retry("nobody@contoso.example"), ErrUnknownMonitor)
	})
}

func TestTransientFailuresArePaused(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.graph.fail("create", fault{times: 4, err: errNet})
		w.authorize(0)
		w.pass(3 * time.Minute)
		require.Equal(t, ids(0, 5), w.graph.watched()[owner(0)])
		at := w.graph.when("create")
		require.Len(t, at, 5)
		require.Greater(t, at[4].Sub(at[3]), 2*at[1].Sub(at[0]))

		// Graph says how long to wait.
		w.graph.fail("renew", fault{times: 1, err: &CallError{Kind: Throttled, RetryAfter: 7 * time.Minute, Err: errors.New("429")}})
		w.pass(50 * time.Minute)
		at = w.graph.when("renew")
		require.GreaterOrEqual(t, at[1].Sub(at[0]), 7*time.Minute)
		require.Len(t, w.graph.watched(), 1)
	})
}

func TestLifecycle(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.sink.takeOwed()
		sub := w.graph.sub(owner(0)).ID
		challenge := func() { w.m.OnLifecycle(strings.ToUpper(sub), "reauthorizationRequired"); synctest.Wait() }
		challenge()
		require.Zero(t, w.graph.count("renew"), "created less than 10 min ago")
		w.pass(11 * time.Minute)
		challenge()
		challenge()
		require.Equal(t, 1, w.graph.count("renew"))
		w.pass(9 * time.Minute)
		challenge()
		require.Equal(t, 1, w.graph.count("renew"))

		w.m.OnLifecycle(sub, "missed")
		require.Equal(t, ids(0, 5), w.sink.takeOwed())
		w.m.OnLifecycle("unknown", "reauthorizationRequired")
		w.m.OnLifecycle("", "reauthorizationRequired")
		w.m.OnLifecycle(sub, "unheard of")
		require.Equal(t, 1, w.graph.count("renew"))

		w.graph.kill(owner(0))
		w.m.OnLifecycle(sub, "subscriptionRemoved")
		synctest.Wait()
		require.Equal(t, ids(0, 5), w.graph.watched()[owner(0)])
		require.Equal(t, ids(0, 5), w.sink.takeOwed())
	})
}

func TestShortExpiryAndFrozenRenewals(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.graph.life = 20 * time.Minute
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.pass(2 * time.Hour)
		require.Equal(t, 1, w.graph.count("create"), "renewed in time although Graph gives less than asked for")
		w.graph.mu.Lock()
		w.graph.life, w.graph.frozen = 0, true
		w.graph.mu.Unlock()
		w.pass(30 * time.Minute)
		require.Equal(t, 2, w.graph.count("create"), "made anew before the end")
		require.NotEmpty(t, w.graph.watched())
	})
}

func TestClocksThatDiffer(t *testing.T) {
	for _, life := range []time.Duration{-3 * time.Hour, 5 * time.Hour} {
		bubble(t, 1, func(t *testing.T, w *world) {
			w.graph.life = life
			w.start()
			w.m.SetMembers(people(0, 5))
			w.authorize(0)
			w.pass(2 * time.Hour)
			require.LessOrEqual(t, w.graph.count("create"), 12, "not without end")
			require.Positive(t, w.graph.count("renew"))
		})
	}
}

func TestStoreFailures(t *testing.T) {
	for _, landed := range []bool{false, true} {
		t.Run(fmt.Sprintf("landed=%v", landed), func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				w.start()
				w.m.SetMembers(people(0, 5))
				w.store.mu.Lock()
				w.store.fault = fault{times: 2, err: errNet, landed: landed}
				w.store.mu.Unlock()
				require.Equal(t, FlowAuthorized, w.authorize(0).State)
				w.pass(time.Minute)
				require.Equal(t, ids(0, 5), w.graph.watched()[owner(0)])
				// Away for a while: renewals go on, and what was learnt is stored afterwards.
				w.store.mu.Lock()
				w.store.away = true
				w.store.mu.Unlock()
				w.pass(2 * time.Hour)
				require.Equal(t, 1, w.graph.count("create"))
				w.store.mu.Lock()
				w.store.away = false
				w.store.mu.Unlock()
				w.pass(time.Minute)
				sub := w.info(0)
				w.stop()
				w.start()
				require.GreaterOrEqual(t, w.info(0).Renewed.Unix(), sub.Renewed.Unix())
				require.Equal(t, sub.SubscriptionID, w.info(0).SubscriptionID)
			})
		})
	}
}

func TestStoreAwayAtStart(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.store.away = true
		w.start()
		w.m.SetMembers(people(0, 5))
		_, err := w.m.Authorize(t.Context(), Order{UPN: upn(0), Method: ByDeviceCode})
		require.ErrorIs(t, err, ErrNotRunning)
		w.pass(time.Minute)
		w.store.mu.Lock()
		w.store.away = false
		w.store.mu.Unlock()
		w.pass(time.Minute)
		require.Equal(t, FlowAuthorized, w.authorize(0).State)
		require.NotEmpty(t, w.graph.watched())
	})
}

func TestAnotherWriterIsRespected(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		// Somebody else writes the record: the next change is made to theirs.
		key := account + "." + ID(upn(0))
		w.store.mu.Lock()
		e := w.store.entries[key]
		w.store.rev++
		e.Revision = w.store.rev
		w.store.entries[key] = e
		w.store.mu.Unlock()
		w.pass(30 * time.Minute)
		require.Equal(t, 1, w.graph.count("renew"))
		require.Equal(t, w.info(0).SubscriptionID, w.graph.sub(owner(0)).ID)
	})
}

func TestOtherApplicationNeedsUpdate(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.stop()
		w.graph.kill(owner(0))
		w.cfg.ClientID = "client-2"
		w.start()
		w.m.SetMembers(people(0, 5))
		w.pass(time.Hour)
		require.Equal(t, StateNeedsUpdate, w.info(0).State)
		require.NotEmpty(t, w.info(0).Remedy)
		require.Empty(t, w.graph.watched())
		w.authorize(0)
		require.NotEmpty(t, w.graph.watched())
		require.Equal(t, StateAuthorized, w.info(0).State)
		// And back: the sign-in is the new application's.
		w.stop()
		w.cfg.ClientID = ""
		w.start()
		require.Equal(t, StateNeedsUpdate, w.info(0).State)
	})
}

func TestMonitorOutOfTheConfigurationIsRetired(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 700))
		w.authorize(0)
		w.authorize(1)
		w.stop()
		w.cfg.Monitors = w.cfg.Monitors[1:]
		w.start()
		w.m.SetMembers(people(0, 700))
		w.pass(3 * time.Minute)
		require.NotContains(t, w.graph.watched(), owner(0))
		require.Len(t, w.graph.watched()[owner(1)], 650)
		require.Equal(t, StateRetired, w.info(1).State)
		require.NotContains(t, string(w.store.entries[account+"."+ID(upn(0))].Value), `"token"`, "its secrets are wiped")
		// Configured again it begins anew.
		w.stop()
		w.cfg.Monitors = append(w.cfg.Monitors, upn(0))
		w.start()
		require.Equal(t, StateUnset, w.info(1).State)
	})
}

func TestMasterKeyReplaced(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		old := w.graph.sub(owner(0)).CertificateID
		w.stop()
		ring, err := keyring.New(make([]byte, 32))
		require.NoError(t, err)
		w.ring = ring
		w.start()
		w.m.SetMembers(people(0, 5))
		w.pass(time.Second)
		require.Equal(t, StateNeedsAttention, w.info(0).State)
		require.Equal(t, "token_unreadable", w.info(0).Code)
		w.authorize(0)
		w.pass(time.Second)
		require.NotEqual(t, old, w.graph.sub(owner(0)).CertificateID, "what cannot be read is not waited for")
		require.Contains(t, w.m.DecryptionKeys(), w.graph.sub(owner(0)).CertificateID)
	})
}

func TestNothingSecretLeaves(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.graph.fail("create", fault{times: 2, err: errNet, landed: true})
		w.authorize(0)
		w.pass(time.Hour)
		families, err := w.reg.Gather()
		require.NoError(t, err)
		stored := ""
		for _, e := range w.store.entries {
			stored += string(e.Value)
		}
		for where, text := range map[string]string{
			"log": w.logs.String(), "metrics": fmt.Sprint(families), "api": fmt.Sprintf("%+v %+v", w.m.Monitors(), w.m.Sums()), "store": stored,
		} {
			require.NotContains(t, text, "secret-", where)
		}
		for where, text := range map[string]string{"log": w.logs.String(), "metrics": fmt.Sprint(families)} {
			require.NotContains(t, strings.ToLower(text), "@contoso", where)
			require.NotContains(t, text, id(1), where)
		}
	})
}

func TestCoverageAndSums(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.start()
		members := append(people(0, 1400), Member{ID: "out", Matched: true, Excluded: true, Reason: "opted out"}, Member{ID: "alone", Reason: "no endpoint"})
		slices.Reverse(members)
		w.m.SetMembers(members)
		w.authorize(0)
		w.authorize(1)
		c, _ := w.m.Coverage("out")
		require.Equal(t, Cover{Coverage: presence.CoverageExcluded, Why: WhyExcluded, Text: "opted out"}, c)
		c, _ = w.m.Coverage("alone")
		require.Equal(t, Cover{Coverage: presence.CoverageUnmatched, Why: WhyUnmatched, Text: "no endpoint"}, c)
		_, found := w.m.Coverage("nobody")
		require.False(t, found)
		s := w.m.Sums()
		require.Equal(t, 1402, s.Members)
		require.Equal(t, map[presence.Coverage]int{"pushed": 1300, "polled": 100, "excluded": 1, "unmatched": 1}, s.ByCoverage)
		require.Equal(t, map[Why]int{WhyCapacity: 100, WhyExcluded: 1, WhyUnmatched: 1}, s.ByWhy)
		require.Equal(t, 3, s.MonitorsNeeded)
		require.Equal(t, 2, s.MonitorsUsable)
		require.Equal(t, 100, s.WithOneMore)
		w.pass(time.Minute)
		require.NotContains(t, w.sink.swept, "out")
		require.NotContains(t, w.sink.swept, "alone")
		families, err := w.reg.Gather()
		require.NoError(t, err)
		require.Contains(t, fmt.Sprint(families), "capacity")
	})
}

func TestAccountsShareARegistry(t *testing.T) {
	reg := prometheus.NewRegistry()
	for _, name := range []string{"contoso", "fabrikam"} {
		m, err := New(Config{Account: name, Graph: newTenant(), Reads: newTenant(), Store: newShelf(), Sealer: masterKey(t), Sink: &engine{}, NoSubscriptions: true, Metrics: reg})
		require.NoError(t, err)
		m.SetMembers(people(0, 3))
	}
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "presence_bridge_coverage_members" {
			require.Len(t, f.GetMetric(), 2*8)
		}
	}
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Account: account, Graph: newTenant(), Reads: newTenant(), Store: newShelf(), Sealer: masterKey(t), Sink: &engine{}, PublicURL: public,
		NewClientState: func() (string, error) { return "", nil }}
	for want, alter := range map[string]func(*Config){
		"Account":                    func(c *Config) { c.Account = "" },
		"Sink":                       func(c *Config) { c.Sink = nil },
		"public_url":                 func(c *Config) { c.PublicURL, c.Monitors = "", []string{"a@b.c"} },
		"NewClientState":             func(c *Config) { c.NewClientState = nil },
		"is no user principal name":  func(c *Config) { c.Monitors = []string{"monitor"} },
		"is configured twice":        func(c *Config) { c.Monitors = []string{"a@b.c", " A@B.C"} },
		"upn \"@b.c\" of account co": func(c *Config) { c.Monitors = []string{"@b.c"} },
	} {
		c := good
		alter(&c)
		_, err := New(c)
		require.ErrorContains(t, err, want)
	}
	m, err := New(good)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, m.Run(ctx))
}
