package bridge

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// copied is a member at rest whose messages cross both ways, and of whom a Teams call has a text on the phone.
func copied(t *testing.T, s sort) *world {
	t.Helper()
	w := newWorld(t, s)
	p := parsePolicy(t, `
teams_to_pbx:
  - {when: {activity: InACall}, set: {status: "In a call", message: "In a Teams call"}}
  - {when: {}, set: {message: copy}}
pbx_to_teams:
  - {when: {line: in-call}, set: {presence: Busy/InACall, message: copy}}
  - {when: {}, set: {message: copy}}
`)
	w.rules.Policy = p
	rules := w.rules.PBX["main"]
	rules.Capabilities.Messages = true
	w.rules.PBX["main"] = rules
	w.everTold["In a Teams call"] = true
	w.introduce()
	w.rec.Teams.Withdrawn = nil
	calm(w)
	return w
}

func parsePolicy(t *testing.T, yaml string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]byte(yaml))
	require.NoError(t, err)
	return p
}

// calm lets everything that is under way happen, and the waits that follow.
func calm(w *world) {
	for range 4 {
		w.drain()
		w.advance(6 * time.Second)
		w.sweep()
	}
	w.drain()
}

func TestMessagesCrossBothWaysAndBack(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, versionedPBX} {
		t.Run(string(s), func(t *testing.T) {
			w := copied(t, s)
			w.write("back at three")
			calm(w)
			assert.Equal(t, "back at three", w.phone.Message)
			assert.Empty(t, w.teamsNote, "no echo")
			assert.Equal(t, statusAvailable, w.phone.Status)
			w.write("")
			calm(w)
			assert.Empty(t, w.phone.Message)

			w.say("at lunch")
			calm(w)
			assert.Equal(t, "at lunch", w.teamsMessage())
			assert.Equal(t, "at lunch", w.phone.Message, "no echo")
			require.Nil(t, side(w).Note)
			w.write("mine") // the person's own in Teams stays, and crosses over the phone's
			calm(w)
			assert.Equal(t, "mine", w.teamsMessage())
			assert.Equal(t, "mine", w.phone.Message)
			w.write("")
			calm(w)
			assert.Equal(t, "at lunch", w.phone.Message, "the person's own is given back")
			assert.Equal(t, "at lunch", w.teamsMessage(), "and crosses again")
			w.say("")
			calm(w)
			assert.Empty(t, w.teamsMessage())
			assert.Empty(t, w.phone.Message)
		})
	}
}

func TestAMessageTravelsWithItsStatus(t *testing.T) {
	w := copied(t, trustedPBX)
	w.say("at my desk")
	calm(w)
	w.setClient(inACall)
	writes := w.writes
	w.drain()
	assert.Equal(t, writes+1, w.writes, "one request")
	assert.Equal(t, statusCall, w.phone.Status)
	assert.Equal(t, "In a Teams call", w.phone.Message)
	assert.Equal(t, "at my desk", side(w).Note.Previous)
	calm(w)
	w.setClient(available)
	calm(w)
	assert.Equal(t, statusAvailable, w.phone.Status)
	assert.Equal(t, "at my desk", w.phone.Message, "with the status comes the message")
}

// A message by hand over ours stays until another one is wanted.
func TestAMessageByHandIsLeftAlone(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX, versionedPBX} {
		w := copied(t, s)
		w.write("from Teams")
		calm(w)
		require.Equal(t, "from Teams", w.phone.Message, s)
		w.say("by hand")
		calm(w)
		assert.Equal(t, "by hand", w.phone.Message, s)
		assert.Equal(t, "from Teams", side(w).Declined)
		w.write("from Teams, anew")
		calm(w)
		assert.Equal(t, "from Teams, anew", w.phone.Message, s)
		w.write("")
		calm(w)
		assert.Equal(t, "by hand", w.phone.Message, s)
	}
}

func TestAMessageStaysWhileTeamsHidesTheRest(t *testing.T) {
	w := copied(t, trustedPBX)
	w.write("back at three")
	calm(w)
	w.setLine(presence.LineInCall)
	calm(w)
	require.Equal(t, OrganicHidden, w.rec.Teams.OrganicState)
	assert.Equal(t, "back at three", w.phone.Message)
	w.setLine(presence.LineIdle)
	calm(w)
	assert.Equal(t, "back at three", w.phone.Message)
}

// Opting out takes effect at once, whatever is hidden at that moment.
func TestAMessageGoesWithWhoeverOptsOut(t *testing.T) {
	for name, hidden := range map[string]presence.Line{"seen": presence.LineIdle, "hidden": presence.LineInCall} {
		w := copied(t, trustedPBX)
		w.write("back at three")
		calm(w)
		w.setLine(hidden)
		calm(w)
		require.Equal(t, "back at three", w.phone.Message, name)
		w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep}, Policy: w.rules.Policy.For(nil, presence.TeamsToPBX)})
		calm(w)
		assert.Empty(t, w.phone.Message, name)
	}
}

func TestAnUnansweredMessageIsDecidedByARead(t *testing.T) {
	for name, landed := range map[string]bool{"landed": true, "lost": false} {
		for _, s := range []sort{trustedPBX, plainPBX, versionedPBX} {
			w := copied(t, s)
			w.write("hello")
			w.sweep()
			for len(w.requests) > 0 && !strings.HasPrefix(did(w), "write") {
				w.answer(w.take(0))
			}
			require.Len(t, w.requests, 1, "%s %s", name, s)
			w.lose(w.take(0), landed, false)
			require.Equal(t, PhaseWriting, side(w).Note.Phase)
			for range 12 {
				calm(w)
			}
			assert.Equal(t, "hello", w.phone.Message, "%s %s", name, s)
			assert.Equal(t, PhaseStanding, side(w).Note.Phase, "%s %s", name, s)
			assert.Empty(t, side(w).Note.Previous)
			w.write("")
			calm(w)
			assert.Empty(t, w.phone.Message, "%s %s", name, s)
		}
	}
}

func TestAMessageByHandWinsOverOneUnderWay(t *testing.T) {
	w := copied(t, trustedPBX)
	w.setClient(inACall)
	calm(w)
	w.setClient(available)
	calm(w)
	w.write("hello")
	w.sweep()
	require.Len(t, w.requests, 1)
	w.say("meanwhile")
	calm(w)
	assert.Equal(t, "meanwhile", w.phone.Message)
	assert.Equal(t, "hello", side(w).Declined)
	w.write("hello again")
	calm(w)
	assert.Equal(t, "hello again", w.phone.Message)
	assert.Equal(t, "meanwhile", side(w).Note.Previous)
}

func TestMessagesAreTakenBackFromWhoOptsOut(t *testing.T) {
	w := copied(t, trustedPBX)
	w.say("own")
	calm(w)
	w.write("from Teams")
	calm(w)
	require.Equal(t, "from Teams", w.phone.Message)
	w.optOut(true)
	w.drain()
	assert.Equal(t, "own", w.phone.Message)
	assert.True(t, w.rec.Wiped)

	w = copied(t, trustedPBX)
	w.say("own")
	calm(w)
	require.Equal(t, "own", w.teamsMessage())
	w.optOut(true)
	w.advance(11 * time.Second)
	w.drain()
	assert.Empty(t, w.teamsMessage())
	assert.True(t, w.rec.Wiped)
}

// A message of ours in Teams ends with its lease, and is prolonged while it is wanted.
func TestAMessageInTeamsHasALease(t *testing.T) {
	w := copied(t, trustedPBX)
	w.say("own")
	calm(w)
	for range 20 {
		w.advance(time.Minute)
		w.drain()
		require.Equal(t, "own", w.teamsMessage())
		require.LessOrEqual(t, w.noteUntil.Sub(w.now), 5*time.Minute)
	}
	w.step(EndpointUnseen{Endpoint: w.ep})
	w.advance(time.Minute)
	assert.Empty(t, w.teamsMessage(), "R4: its cause cannot be seen")
}

func TestMessagesAreCutToWhatThePBXHolds(t *testing.T) {
	w := copied(t, trustedPBX)
	rules := w.rules.PBX["main"]
	rules.Capabilities.MessageLimit = 10
	w.rules.PBX["main"] = rules
	w.everTold["a long st…"] = true
	w.write("a long story about nothing")
	calm(w)
	assert.Equal(t, "a long st…", w.phone.Message)
	writes := w.writes
	calm(w)
	assert.Equal(t, writes, w.writes)
}

func TestWithoutRulesAboutMessagesNoneIsKept(t *testing.T) {
	w := known(t, trustedPBX)
	rules := w.rules.PBX["main"]
	rules.Capabilities.Messages = true
	w.rules.PBX["main"] = rules
	w.write("private")
	w.say("private, too")
	calm(w)
	assert.Empty(t, w.rec.Teams.Message)
	assert.Empty(t, side(w).Message)
	w.setClient(inACall)
	calm(w)
	assert.Equal(t, "private, too", w.phone.Message, "a write of the status leaves it")
}

// R8: a message of ours beside a status of ours, and no record of either.
func TestALostRecordsMessageIsRecognised(t *testing.T) {
	w := copied(t, trustedPBX)
	w.setClient(inACall)
	calm(w)
	require.Equal(t, "In a Teams call", w.phone.Message)
	w.rec, w.saved = NewRecord("m", w.rules), nil
	w.requests, w.events, w.pushes = nil, nil, nil
	w.introduce()
	calm(w)
	require.NotNil(t, side(w).Note)
	w.setClient(available)
	for range 3 {
		calm(w)
	}
	assert.Equal(t, statusAvailable, w.phone.Status)
	assert.Empty(t, w.phone.Message)
}

func TestAConnectorIsGivenTheMessage(t *testing.T) {
	inBench(t, trustedPBX, func(t *testing.T, b *bench) {
		b.cfg.Rules.Policy = parsePolicy(t, "teams_to_pbx:\n  - {when: {}, set: {message: copy}}\npbx_to_teams:\n  - {when: {line: in-call}, set: {message: On the phone}}\n")
		b.pbx.caps.Messages = true
		b.start(1)
		b.teams.set(func(m *memTeams) { m.messages = map[string]string{"m0": "back at three"} })
		b.engine.Swept(t.Context(), b.engine.BeginSweep([]string{"m0"}), map[string]presence.Shown{"m0": {Pair: available, Message: "back at three"}})
		b.wait(10 * time.Second)
		b.pbx.mu.Lock()
		got := b.pbx.users["0"]
		b.pbx.mu.Unlock()
		assert.Equal(t, "back at three", got.Message)
		assert.Equal(t, statusAvailable, got.Status)
		b.teams.set(func(m *memTeams) { delete(m.messages, "m0") })
		b.pbx.change("0", true, func(st *pbx.State) { st.Line = presence.LineInCall })
		b.wait(time.Second)
		require.Len(t, b.teams.of("message"), 1)
		told := b.teams.of("message")[0]
		assert.Equal(t, "On the phone", told.value)
		assert.WithinDuration(t, time.Now().Add(5*time.Minute), told.until, 2*time.Second)
	})
}
