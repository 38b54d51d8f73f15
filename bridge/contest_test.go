package bridge

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// fought is a member at rest in whose world every flip counts in full.
func fought(t *testing.T, s sort) *world {
	w := known(t, s)
	w.rules.Contest = ContestRules{Share: 1}.withDefaults()
	return w
}

// inTeams lets the client be p, and everything that follows happen.
func inTeams(w *world, p presence.Pair) {
	w.setClient(p)
	w.drain()
	w.advance(6 * time.Second)
	w.drain()
}

func TestAStatusThatComesBackTooOftenIsLeftAlone(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, versionedPBX} {
		w := fought(t, s)
		for i := range 3 {
			inTeams(w, inACall)
			require.Equal(t, statusCall, w.phone.Status, "%s, round %d", s, i)
			inTeams(w, available)
			require.Equal(t, statusAvailable, w.phone.Status, "%s, round %d", s, i)
			require.False(t, side(w).Contested())
		}
		writes := w.writes
		inTeams(w, inACall)
		require.True(t, side(w).Contested(), "the third that comes back")
		require.Equal(t, statusAvailable, w.phone.Status)
		require.Equal(t, []Reason{ReasonCompeting}, side(w).Because)
		require.Equal(t, []CompetingSide{{Side: "pbx.main.101", Since: side(w).ContestedSince, Until: side(w).ContestedSince.Add(10 * time.Minute)}},
			w.rec.Competing())
		inTeams(w, available)
		inTeams(w, inACall)
		require.Equal(t, writes, w.writes, "nothing more is written")

		for range 125 { // so that requests are answered in time
			w.advance(5 * time.Second)
			w.drain()
		}
		require.False(t, side(w).Contested())
		require.Equal(t, statusCall, w.phone.Status, "tried again after the pause")
	}
}

func TestFlipsAreForgottenAfterTheWindow(t *testing.T) {
	w := fought(t, trustedPBX)
	for i := range 8 {
		inTeams(w, inACall)
		require.Equal(t, statusCall, w.phone.Status, "round %d", i)
		inTeams(w, available)
		w.advance(time.Minute)
		w.drain()
	}
	require.False(t, side(w).Contested())
}

func TestAResyncEndsTheStayingAway(t *testing.T) {
	w := fought(t, trustedPBX)
	for range 3 {
		inTeams(w, inACall)
		inTeams(w, available)
	}
	inTeams(w, inACall)
	require.True(t, side(w).Contested())
	w.step(ReadAgain{Teams: true, PBX: true})
	w.drain()
	require.True(t, side(w).Contested(), "a gap in the notifications is no resync")
	w.step(ReadAgain{Teams: true, PBX: true, Anew: true})
	w.drain()
	require.Equal(t, statusCall, w.phone.Status)
}

// A change between two values of ours is a flip as well; what stands is given back when it is one too many.
func TestAValueThatChangesBackAndForthIsGivenBack(t *testing.T) {
	w := fought(t, trustedPBX)
	for range 2 {
		inTeams(w, inACall)
		inTeams(w, doNot)
	}
	require.Equal(t, statusDND, w.phone.Status)
	inTeams(w, inACall)
	require.True(t, side(w).Contested())
	require.Equal(t, statusAvailable, w.phone.Status, "the person's own is back")
	require.Nil(t, side(w).Assertion)
}

func TestASessionThatComesBackTooOftenIsClearedForGood(t *testing.T) {
	w := fought(t, plainPBX)
	for range 3 {
		w.pick(statusDND)
		w.drain()
		require.Equal(t, presenting, w.session)
		w.advance(6 * time.Second)
		w.pick(statusAvailable)
		w.drain()
		w.advance(6 * time.Second)
		w.drain()
		require.Zero(t, w.session)
	}
	w.pick(statusDND)
	w.drain()
	w.advance(6 * time.Second)
	w.drain()
	require.True(t, w.rec.Teams.Contested())
	require.Zero(t, w.session)
	require.Equal(t, []Reason{ReasonCompeting}, w.rec.Teams.Because)
}

// overwritten has somebody write Available on the phone during a call in Teams, and the call end after that.
func overwritten(w *world, by pbx.Author) {
	inTeams(w, inACall)
	w.pick(statusAvailable)
	w.phone.ChangedBy = by
	for i := range w.events {
		if w.events[i].State.Status.Same(statusAvailable) {
			w.events[i].State = w.said(w.phone)
		}
	}
	w.drain()
	inTeams(w, available)
}

// What another program writes over ours counts in full, what a person chooses does not.
func TestAnotherProgramIsLeftTheFieldSoonerThanAPerson(t *testing.T) {
	for _, c := range []struct {
		by     pbx.Author
		rounds int
	}{{pbx.AuthorOther, 3}, {pbx.AuthorUser, 12}} {
		w := known(t, trustedPBX)
		w.rules.Contest = ContestRules{Window: time.Hour}.withDefaults()
		for i := range c.rounds {
			require.False(t, side(w).Contested(), "author %d, round %d", c.by, i)
			overwritten(w, c.by)
		}
		inTeams(w, inACall)
		require.True(t, side(w).Contested(), "author %d", c.by)
		require.Equal(t, statusAvailable, w.phone.Status)
	}
}

// Somebody makes one short call in Teams after the other: they show on the phone, every one of them.
func TestShortCallsAreNobodysFight(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, versionedPBX} {
		w := known(t, s)
		w.rules.Contest = ContestRules{}.withDefaults()
		for i := range 10 {
			inTeams(w, inACall)
			require.Equal(t, statusCall, w.phone.Status, "%s, call %d", s, i)
			inTeams(w, available)
			require.Equal(t, statusAvailable, w.phone.Status, "%s, call %d", s, i)
		}
		require.False(t, side(w).Contested())
	}
}

// People may make as many calls as they like.
func TestCallsOnThePhoneAreNobodysFight(t *testing.T) {
	w := fought(t, trustedPBX)
	for range 8 {
		w.setLine(presence.LineInCall)
		w.drain()
		w.advance(6 * time.Second)
		w.drain()
		require.Equal(t, inACall, w.session)
		w.setLine(presence.LineIdle)
		w.drain()
		w.advance(6 * time.Second)
		w.drain()
	}
	require.False(t, w.rec.Teams.Contested())
}

func TestTheAlertCountsMembersBySide(t *testing.T) {
	reg := prometheus.NewRegistry()
	e, err := New(Config{Account: "a", Store: &memStore{records: map[string]memRecord{}}, Teams: &memTeams{}, Metrics: reg})
	require.NoError(t, err)
	ep := presence.EndpointID{PBX: "main", User: "1"}
	calm := Record{Member: "m", Endpoints: []EndpointSide{{ID: ep}}}
	angry := calm.Clone()
	angry.Endpoints[0].ContestedSince, angry.Teams.ContestedSince = time.Now(), time.Now()
	count := func(side string) float64 { return gaugeOf(t, reg, "presence_bridge_competing_writers", side) }
	e.changed(&calm, &angry)
	assert.Equal(t, 1.0, count("main"))
	assert.Equal(t, 1.0, count("teams"))
	e.changed(&angry, &angry)
	assert.Equal(t, 1.0, count("main"))
	e.changed(&angry, &Record{Member: "m"})
	assert.Zero(t, count("main"), "the endpoint, or the member, is gone")
	assert.Zero(t, count("teams"))
}

func gaugeOf(t *testing.T, g prometheus.Gatherer, name, side string) float64 {
	t.Helper()
	families, err := g.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == "side" && l.GetValue() == side {
					return m.GetGauge().GetValue()
				}
			}
		}
	}
	return 0
}

// R12: five minutes, unless renewals would take more than half of the write budget; a call never takes longer.
func TestR12LongLeasesOnlyWhereRenewalsWouldCrowdOutTheRest(t *testing.T) {
	store := &memStore{records: map[string]memRecord{}}
	e, err := New(Config{Account: "a", Store: store, Teams: &memTeams{}, TeamsWrites: 1200})
	require.NoError(t, err)
	set := func(n int64) *Rules {
		e.tally.sessions.Store(n)
		return e.currentRules()
	}
	// 40 writes a second; 3,000 sessions are renewed every 150 s, that is 20 a second.
	assert.Equal(t, 5*time.Minute, set(3000).leaseOf(presence.ClassDND))
	assert.Equal(t, 30*time.Minute, set(3001).leaseOf(presence.ClassDND))
	assert.Equal(t, 5*time.Minute, set(3001).leaseOf(presence.ClassCall))
	assert.Equal(t, 30*time.Minute, set(2900).leaseOf(presence.ClassAway), "not back and forth with every call")
	assert.Equal(t, 5*time.Minute, set(2400).leaseOf(presence.ClassAway))

	e.cfg.TeamsWriteRate = func() float64 { return 80 } // no 429 came for a while
	assert.Equal(t, 5*time.Minute, set(3001).leaseOf(presence.ClassDND))
	assert.Equal(t, 30*time.Minute, set(6001).leaseOf(presence.ClassDND))
}

func TestR12TheLeaseThatWasOrderedIsTheOneThatIsKept(t *testing.T) {
	w := known(t, trustedPBX)
	w.rules.Crowded = true
	w.pick(statusDND)
	w.deliverEvent(0)
	require.Equal(t, 30*time.Minute, w.rec.Teams.Write.Lease)
	w.rules.Crowded = false
	teamsAnswers(w, Answered)
	require.Equal(t, w.now.Add(30*time.Minute), w.rec.Teams.Timers.Lapse)
	require.WithinDuration(t, w.now.Add(15*time.Minute), w.rec.Teams.Timers.Renew, 2*time.Minute)
}

func TestTheEngineCountsItsSessions(t *testing.T) {
	e, err := New(Config{Account: "a", Store: &memStore{records: map[string]memRecord{}}, Teams: &memTeams{}})
	require.NoError(t, err)
	with := Record{Member: "m", Teams: TeamsSide{Assertion: &TeamsAssertion{}}}
	e.changed(&Record{}, &with)
	e.changed(&with, &with)
	assert.EqualValues(t, 1, e.tally.sessions.Load())
	e.changed(&with, &Record{})
	assert.Zero(t, e.tally.sessions.Load())
}

func TestACallLingersIntoAMeeting(t *testing.T) {
	w := known(t, trustedPBX)
	inTeams(w, inACall)
	require.Equal(t, statusCall, w.phone.Status)
	writes := w.writes
	for range 3 { // Teams flaps within one call
		inTeams(w, meeting)
		require.Equal(t, []Reason{ReasonAsserted, ReasonLinger}, side(w).Because)
		require.False(t, w.rec.Settled())
		inTeams(w, inACall)
	}
	require.Equal(t, writes, w.writes, "the phone does not flap")
	inTeams(w, meeting)
	w.advance(15 * time.Second)
	w.drain()
	require.Equal(t, statusAvailable, w.phone.Status, "the call is over, the meeting goes on")
	inTeams(w, inACall)
	require.Equal(t, statusCall, w.phone.Status)
	inTeams(w, available)
	require.Equal(t, statusAvailable, w.phone.Status, "whatever is no meeting takes it back at once")
}

func TestOnlyACallLingers(t *testing.T) {
	w := known(t, trustedPBX)
	inTeams(w, doNot)
	require.Equal(t, statusDND, w.phone.Status)
	inTeams(w, meeting)
	require.Equal(t, statusAvailable, w.phone.Status)

	p := policy.Presets()["sip"] // a meeting has a status of its own there: the call's is kept as long
	w = known(t, documentPBX)
	w.rules.Policy = &p
	w.everOnPBX["on-the-phone"], w.everOnPBX["meeting"] = true, true
	rules := w.rules.PBX["main"]
	rules.Statuses = policy.Catalogue{statusAvailable, {Name: "on-the-phone", Kind: presence.KindBusy}, {Name: "meeting", Kind: presence.KindBusy}}
	w.rules.PBX["main"] = rules
	inTeams(w, inACall)
	inTeams(w, meeting)
	require.Equal(t, "on-the-phone", w.doc.Name)
	w.advance(15 * time.Second)
	w.drain()
	require.Equal(t, "meeting", w.doc.Name)
}
