package bridge

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// told steps a record through events and keeps what is told about it.
type told struct {
	rules Rules
	rec   Record
	now   time.Time
	all   []Decision
}

var phone7 = presence.EndpointID{PBX: "main", User: "7"}

func newTold() *told {
	p := policy.Presets()["micollab"]
	h := &told{now: time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC), rules: Rules{Policy: &p, PBX: map[string]PBXRules{
		"main": {Capabilities: pbx.Capabilities{Versions: true, Authors: true}},
	}}.WithDefaults()}
	h.rec = Record{Member: "anna"}
	return h
}

func (h *told) step(ev Event) Decision {
	next, effects := Step(&h.rules, h.rec, ev, h.now)
	d, worth := DecisionOf(&h.rec, &next, ev, effects, h.now)
	h.rec = next
	h.now = h.now.Add(time.Second)
	if !worth {
		return Decision{}
	}
	h.all = append(h.all, d)
	return d
}

func state(line presence.Line, status string, kind presence.Kind, version uint64) pbx.State {
	return pbx.State{Line: line, Status: presence.Status{Name: status, Kind: kind}, Version: version, ChangedBy: pbx.AuthorUser,
		ChangedAt: time.Unix(int64(version), 0)}
}

func TestDecisionSaysWhatCausedWhat(t *testing.T) {
	h := newTold()
	h.step(MemberChanged{Endpoints: []presence.EndpointID{phone7}})
	h.step(TeamsPushed{Pair: presence.ParsePairString("Available")})
	h.step(EndpointSeen{Endpoint: phone7, Seq: 1, State: state(presence.LineIdle, "Available", presence.KindAvailable, 1)})
	d := h.step(EndpointSeen{Endpoint: phone7, Seq: 2, State: state(presence.LineInCall, "Available", presence.KindAvailable, 1), Arrived: h.now})

	require.Equal(t, DecidedEvent{Kind: EventObserved, Side: "pbx.main.7", Source: presence.SourceWatch, Shown: "Available",
		Line: presence.LineInCall, Author: "user", Arrived: d.At}, d.Event)
	require.Equal(t, []DecidedEffect{{Do: DoSet, Side: "teams", Value: "Busy/InACall", Until: d.At.Add(5 * time.Minute)}}, d.Effects)
	require.Len(t, d.Sides, 2)
	require.Equal(t, "Available/Available", d.Sides[0].Shown)
	require.Equal(t, "pbx.main.7", d.Sides[0].Assertion.From)
	require.Equal(t, PhaseWriting, d.Sides[0].Assertion.Phase)
	require.Equal(t, []Reason{ReasonAsserted}, d.Sides[0].Because)
	require.Equal(t, presence.LineIdle, d.Before[1].Line, "both sides changed")

	d = h.step(TeamsAnswered{ID: h.rec.Teams.Write.ID, Outcome: Answered})
	require.Equal(t, DecidedEvent{Kind: EventAnswered, Side: "teams", Outcome: "answered"}, d.Event)
	require.Equal(t, d.At.Add(5*time.Minute), d.Sides[0].Assertion.Until)
}

func TestDecisionIsSilentAboutNoNews(t *testing.T) {
	h := newTold()
	h.step(MemberChanged{Endpoints: []presence.EndpointID{phone7}})
	h.step(TeamsPushed{Pair: presence.ParsePairString("Available")})
	h.step(EndpointSeen{Endpoint: phone7, Seq: 1, State: state(presence.LineIdle, "Available", presence.KindAvailable, 1)})
	n := len(h.all)
	h.step(TeamsPushed{Pair: presence.ParsePairString("Available")})
	h.step(EndpointSnapshot{Endpoint: phone7, Epoch: h.rec.EndpointEpoch(phone7), State: state(presence.LineIdle, "Available", presence.KindAvailable, 1)})
	require.Len(t, h.all, n)
}

func TestDecisionTellsNothingOfWhoOptedOut(t *testing.T) {
	h := newTold()
	h.step(MemberChanged{Endpoints: []presence.EndpointID{phone7}})
	n := len(h.all)
	h.step(MemberChanged{Excluded: true})
	h.step(TeamsPushed{Pair: presence.ParsePairString("Busy")})
	require.Len(t, h.all, n)
}

func TestMaskedAssertionHasADate(t *testing.T) {
	h := newTold()
	h.step(MemberChanged{Endpoints: []presence.EndpointID{phone7}})
	h.step(TeamsPushed{Pair: presence.ParsePairString("DoNotDisturb")})
	h.step(EndpointSeen{Endpoint: phone7, Seq: 1, State: state(presence.LineInCall, "Available", presence.KindAvailable, 1)})
	h.step(TeamsAnswered{ID: h.rec.Teams.Write.ID, Outcome: Answered})
	require.Zero(t, h.rec.Teams.Assertion.MaskedSince, "the fence says to wait")
	since := h.now
	d := h.step(TimerFired{Timer: TimerRef{Kind: TimerSettle}})
	require.Equal(t, since, h.rec.Teams.Assertion.MaskedSince)
	require.Equal(t, "DoNotDisturb/DoNotDisturb", d.Sides[0].Assertion.MaskedBy)

	h.step(TimerFired{Timer: TimerRef{Kind: TimerRenew}})
	h.step(TeamsAnswered{ID: h.rec.Teams.Write.ID, Outcome: Answered})
	h.step(TimerFired{Timer: TimerRef{Kind: TimerSettle}})
	require.Equal(t, since, h.rec.Teams.Assertion.MaskedSince, "a renewal changes nothing of it")
	h.rec.Endpoints = nil
	h.step(TeamsPushed{Pair: presence.ParsePairString("Busy/InACall")})
	require.Zero(t, h.rec.Teams.Assertion.MaskedSince, "it shows")
}

// What shows right after our write may be late; a choice that ranks lower masks nothing before somebody has seen it.
func TestNotMaskedByWhatIsOnlyLate(t *testing.T) {
	h := newTold()
	h.step(MemberChanged{Endpoints: []presence.EndpointID{phone7}})
	h.step(TeamsPushed{Pair: presence.ParsePairString("Available")})
	h.step(EndpointSeen{Endpoint: phone7, Seq: 1, State: state(presence.LineInCall, "Available", presence.KindAvailable, 1)})
	h.step(TeamsAnswered{ID: h.rec.Teams.Write.ID, Outcome: Answered})
	h.step(TimerFired{Timer: TimerRef{Kind: TimerSettle}})
	require.Zero(t, h.rec.Teams.Assertion.MaskedSince)
	require.Equal(t, []Reason{ReasonAsserted}, h.rec.Teams.Because)
	since := h.now
	h.step(TeamsPushed{Pair: presence.ParsePairString("BeRightBack")})
	require.Equal(t, since, h.rec.Teams.Assertion.MaskedSince, "picked by hand, which outranks every session")
	require.Equal(t, []Reason{ReasonAsserted, ReasonMasked}, h.rec.Teams.Because)
	h.step(EndpointSeen{Endpoint: phone7, Seq: 2, State: state(presence.LineIdle, "Available", presence.KindAvailable, 1)})
	require.Equal(t, PhaseWithdrawing, h.rec.Teams.Assertion.Phase)
}

// Whatever can happen has a word of its own, and whatever can be asked for.
func TestEveryEventAndEffectHasAWord(t *testing.T) {
	h := newTold()
	for _, ev := range []Event{
		Granted{}, TeamsPushed{}, TeamsSwept{}, TeamsRead{}, TeamsReadFailed{}, TeamsAnswered{}, TeamsUnseen{}, EndpointSeen{}, EndpointSnapshot{},
		EndpointRead{}, EndpointReadFailed{}, EndpointAnswered{}, EndpointUnseen{}, TimerFired{}, Recovered{}, MemberChanged{}, ReadAgain{},
	} {
		require.NotEqual(t, EventOther, decidedEvent(ev).Kind, "%T", ev)
	}
	rec := &Record{Endpoints: []EndpointSide{{ID: phone7, Assertion: &EndpointAssertion{Phase: PhaseWithdrawing, Since: h.now}}}}
	for want, eff := range map[string]Effect{
		DoSet: SetTeams{}, DoRenew: SetTeams{Renewal: true}, DoClear: ApplyEndpoint{Endpoint: phone7}, DoRead: ReadTeams{}, DoForget: ForgetMember{},
		DoRestore: ApplyEndpoint{Endpoint: phone7, Write: pbx.Write{Status: presence.Status{Name: "x"}}}, DoWait: AwaitGrant{Side: TeamsSideName},
	} {
		require.Equal(t, want, decidedEffect(rec, eff, time.Now()).Do)
	}
	data, err := json.Marshal(Decision{At: h.now, Sides: rec.States()})
	require.NoError(t, err)
	require.NotContains(t, string(data), "0001-01-01")
}
