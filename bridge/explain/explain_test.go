package explain

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

var update = flag.Bool("update", false, "write the golden files anew")

// script makes a history by the real step function.
type script struct {
	t         *testing.T
	rules     bridge.Rules
	rec       bridge.Record
	now       time.Time
	decisions []bridge.Decision
	version   uint64
}

var (
	desk   = presence.EndpointID{PBX: "main", User: "7"}
	berlin = time.FixedZone("CET", 3600)
)

// clock is a time of the scripted day, in the zone of the person who asks.
func clock(s string) time.Time {
	t, err := time.ParseInLocation("2006-01-02 15:04:05", "2026-11-25 "+s, berlin)
	if err != nil {
		panic(err)
	}
	return t
}

// newScript is a member who is Available on both sides since 09:00.
func newScript(t *testing.T) *script {
	p := policy.Presets()["micollab"]
	s := &script{t: t, rec: bridge.Record{Member: "id-anna"}, rules: bridge.Rules{Policy: &p, PBX: map[string]bridge.PBXRules{
		"main": {Capabilities: pbx.Capabilities{Versions: true, Authors: true}},
	}}.WithDefaults()}
	s.at("09:00:00", bridge.MemberChanged{Endpoints: []presence.EndpointID{desk}})
	s.push("09:00:01", "Available")
	s.phone("09:00:02", presence.LineIdle, "Available")
	return s
}

func (s *script) at(when string, ev bridge.Event) {
	s.t.Helper()
	s.now = clock(when)
	next, effects := bridge.Step(&s.rules, s.rec, ev, s.now)
	if d, worth := bridge.DecisionOf(&s.rec, &next, ev, effects, s.now); worth {
		s.decisions = append(s.decisions, d)
	}
	s.rec = next
}

func (s *script) push(when, pair string) {
	s.at(when, bridge.TeamsPushed{Pair: presence.ParsePairString(pair), Arrived: clock(when)})
}

func (s *script) read(when, pair string) {
	s.at(when, bridge.TeamsRead{Pair: presence.ParsePairString(pair), Epoch: s.rec.TeamsEpoch()})
}

func (s *script) teamsAnswers(when string, o bridge.Outcome) {
	s.at(when, bridge.TeamsAnswered{ID: s.rec.Teams.Write.ID, Outcome: o})
}

func (s *script) timer(when string, kind bridge.TimerKind, id presence.EndpointID) {
	s.at(when, bridge.TimerFired{Timer: bridge.TimerRef{Kind: kind, Endpoint: id}})
}

func kindOf(status string) presence.Kind {
	switch status {
	case "In a call", "Busy":
		return presence.KindBusy
	case "Do not disturb":
		return presence.KindDND
	case "Away":
		return presence.KindAway
	}
	return presence.KindAvailable
}

func (s *script) state(line presence.Line, status string) pbx.State {
	st := presence.Status{Name: status, Kind: kindOf(status)}
	ep := s.rec.Endpoint(desk)
	if s.version == 0 || !ep.ShownStatus().Same(st) {
		s.version++
	}
	return pbx.State{Line: line, Status: st, Version: s.version, ChangedBy: pbx.AuthorUser, ChangedAt: time.Unix(int64(s.version), 0)}
}

func (s *script) phone(when string, line presence.Line, status string) {
	s.at(when, bridge.EndpointSeen{Endpoint: desk, State: s.state(line, status), Arrived: clock(when)})
}

func (s *script) phoneAnswers(when string, o bridge.Outcome) {
	ep := s.rec.Endpoint(desk)
	ev := bridge.EndpointAnswered{Endpoint: desk, ID: ep.Write.ID, Outcome: o}
	if o == bridge.Answered {
		s.version++
		ev.State = pbx.State{Line: ep.Line, Status: ep.Write.Status, Version: s.version, ChangedBy: pbx.AuthorSelf, ChangedAt: time.Unix(int64(s.version), 0)}
	}
	s.at(when, ev)
}

// settleTeams lets a write to Teams be answered, shown and confirmed.
func (s *script) settleTeams(answered, settled, shown string) {
	s.teamsAnswers(answered, bridge.Answered)
	s.timer(settled, bridge.TimerSettle, presence.EndpointID{})
	s.push(settled, shown)
}

func (s *script) input(now, at string) Input {
	in := Input{
		Now: clock(now), Zone: berlin, Name: "Anna Adler <anna@contoso.example>", Account: "contoso", History: 24 * time.Hour,
		Coverage: []string{"pushed", "through the subscription of presence1@contoso.example"}, States: s.rec.States(), Decisions: s.decisions,
		Labels: map[string]string{"pbx.main.7": "phone 1007 on main"},
	}
	if at != "" {
		in.At = clock(at)
	}
	return in
}

// golden compares an explanation with a file.
func golden(t *testing.T, name string, in Input) Explanation {
	t.Helper()
	e := Explain(in)
	file := filepath.Join("testdata", name+".txt")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(e.Text), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), e.Text)
	return e
}

// A phone call from 10:12 to 10:20, renewed on the way.
func phoneCall(t *testing.T) *script {
	s := newScript(t)
	s.phone("10:11:58", presence.LineRinging, "Available")
	s.phone("10:12:03", presence.LineInCall, "Available")
	s.settleTeams("10:12:04", "10:12:09", "Busy/InACall")
	s.timer("10:14:30", bridge.TimerRenew, presence.EndpointID{})
	s.teamsAnswers("10:14:31", bridge.Answered)
	s.timer("10:14:36", bridge.TimerSettle, presence.EndpointID{})
	s.timer("10:17:00", bridge.TimerRenew, presence.EndpointID{})
	s.teamsAnswers("10:17:01", bridge.Answered)
	s.timer("10:17:06", bridge.TimerSettle, presence.EndpointID{})
	s.phone("10:20:00", presence.LineIdle, "Available")
	s.teamsAnswers("10:20:01", bridge.Answered)
	s.timer("10:20:06", bridge.TimerSettle, presence.EndpointID{})
	s.read("10:20:06", "Available")
	return s
}

func TestWhyBusyAtAQuarterPastTen(t *testing.T) {
	s := phoneCall(t)
	e := golden(t, "busy-because-of-a-phone-call", s.input("11:30:00", "10:15:00"))
	require.Contains(t, e.Text, "Teams showed Busy (in a call), since 10:12:09")
	require.Contains(t, e.Text, "The bridge put Busy (in a call) there at 10:12:03, because phone 1007 on main was in a call.")
	golden(t, "after-the-call", s.input("11:30:00", ""))
}

func TestWhyThePhoneShowedACall(t *testing.T) {
	s := newScript(t)
	s.push("10:10:00", "Busy/InACall")
	s.phoneAnswers("10:10:00", bridge.Answered)
	s.timer("10:10:01", bridge.TimerSettle, desk)
	s.timer("10:10:03", bridge.TimerHold, desk)
	e := golden(t, "phone-shows-a-teams-call", s.input("10:15:00", ""))
	require.Contains(t, e.Text, "because Teams showed Busy (in a call)")
	require.Contains(t, e.Text, "the person's own status, “Available”, comes back")

	s.phone("10:16:00", presence.LineIdle, "Away")
	s.read("10:16:01", "Busy/InACall")
	e = golden(t, "picked-by-hand", s.input("10:20:00", ""))
	require.Contains(t, e.Text, "The person chose this by hand at 10:16:00, over “In a call”")
}

func TestMaskedByDoNotDisturb(t *testing.T) {
	s := newScript(t)
	s.push("09:30:00", "DoNotDisturb")
	s.phoneAnswers("09:30:00", bridge.Answered)
	s.phone("10:12:00", presence.LineInCall, "Do not disturb")
	s.teamsAnswers("10:12:01", bridge.Answered)
	s.timer("10:12:06", bridge.TimerSettle, presence.EndpointID{})
	e := golden(t, "masked", s.input("10:15:00", ""))
	require.Contains(t, e.Text, "It does not show: the person's own Do not disturb outranks it, since 10:12:06.")
}

func TestWaitingForAnUnansweredWrite(t *testing.T) {
	s := newScript(t)
	s.phone("10:12:00", presence.LineInCall, "Available")
	s.teamsAnswers("10:12:10", bridge.Unanswered)
	e := golden(t, "unanswered", s.input("10:12:20", ""))
	require.Contains(t, e.Waiting[0], "was not answered and may still take effect")
	s.timer("10:12:40", bridge.TimerDeadline, presence.EndpointID{})
	s.at("10:12:41", bridge.Recovered{})
	s.at("10:12:41", bridge.MemberChanged{Endpoints: []presence.EndpointID{desk}})
	s.at("10:12:42", bridge.EndpointUnseen{Endpoint: desk})
	golden(t, "taken-over", s.input("10:12:50", ""))
}

func TestWithoutHistory(t *testing.T) {
	s := newScript(t)
	s.phone("10:12:03", presence.LineInCall, "Available")
	s.settleTeams("10:12:04", "10:12:09", "Busy/InACall")
	in := s.input("10:15:00", "10:13:00")
	in.Decisions, in.History = nil, 0
	e := golden(t, "no-history", in)
	require.Contains(t, e.Text, "history: 0")
	require.Contains(t, e.Text, "not at 10:13:00")
	require.Contains(t, e.Text, "because phone 1007 on main was in a call")
	require.Empty(t, e.Chain)
}

func TestOptedOut(t *testing.T) {
	s := phoneCall(t)
	in := s.input("11:00:00", "")
	in.Excluded = true
	e := golden(t, "opted-out", in)
	require.Empty(t, e.Chain)
	require.Empty(t, e.Sides)
	require.NotContains(t, e.Text, "Available")
}

func TestBeforeAnythingWasRecorded(t *testing.T) {
	s := phoneCall(t)
	in := s.input("11:00:00", "10:12:00")
	in.Decisions = in.Decisions[4:] // the ringing and what was before are gone
	e := golden(t, "before-the-first-record", in)
	require.Equal(t, presence.LineRinging, e.Sides[1].State.Line, "what the first thing changed")
	require.Contains(t, e.Text, "The first thing that is recorded came later, at 10:12:03")

	in.At = clock("11:00:00").Add(-30 * time.Hour)
	require.Contains(t, Explain(in).Text, "The history goes back to 11:00:00 only")
	in.Decisions, in.At = nil, clock("10:12:00")
	require.Contains(t, Explain(in).Text, "Nothing was recorded about this person in that time")
}

func TestRenewalsAreOneEntry(t *testing.T) {
	s := phoneCall(t)
	in := s.input("11:00:00", "")
	in.Since = clock("10:00:00")
	e := Explain(in)
	n := 0
	for _, entry := range e.Chain {
		if strings.Contains(entry.Text, "prolonged") {
			n++
			require.Contains(t, entry.Text, "2 times")
			require.Equal(t, clock("10:17:00").UTC(), entry.At)
		}
		require.False(t, entry.At.Before(in.Since))
	}
	require.Equal(t, 1, n)
}

// Every sentence that can be made from any prefix of a history is a sentence.
func TestEveryMomentCanBeExplained(t *testing.T) {
	s := phoneCall(t)
	for n := range s.decisions {
		in := s.input("11:00:00", "")
		in.Decisions, in.States = s.decisions[:n+1], s.decisions[n].Sides
		for _, at := range []time.Time{{}, s.decisions[n].At, s.decisions[n].At.Add(-time.Millisecond)} {
			in.At = at
			e := Explain(in)
			for _, side := range e.Sides {
				for _, line := range side.Sentences {
					require.Regexp(t, `^[A-Z“].*\.$`, line)
					require.NotContains(t, line, "0001")
					require.NotContains(t, line, "%!")
				}
			}
			for _, entry := range e.Chain {
				require.Regexp(t, `^[A-Z“].*\.$`, entry.Text, fmt.Sprint(entry.Event))
			}
		}
	}
}

// What the bridge has put on a side besides, and why it stays away from one.
func TestMessagesAndContests(t *testing.T) {
	s := newScript(t)
	s.push("10:10:00", "Busy/InACall")
	s.phoneAnswers("10:10:00", bridge.Answered)
	in := s.input("10:15:00", "")
	in.States[0].Note = &bridge.NoteState{Value: "On the phone", Since: clock("10:10:00")}
	in.States[1].Note = &bridge.NoteState{Value: "In a Teams call", Since: clock("10:11:00"), Previous: "Back at 3"}
	in.States[1].ContestedSince, in.States[1].ContestedUntil = clock("10:12:00"), clock("10:22:00")
	d := s.decisions[len(s.decisions)-1]
	d.At, d.Before, d.Sides = clock("10:12:00"), d.Sides, in.States
	d.Event = bridge.DecidedEvent{Kind: bridge.EventObserved, Side: "teams", Source: presence.SourceRead, Shown: "Busy/InACall"}
	d.Effects = []bridge.DecidedEffect{{Do: bridge.DoSet, Side: "teams", Value: "message: On the phone", Until: clock("10:20:00")}, {Do: bridge.DoClear, Side: "teams", Value: "message"}}
	in.Decisions = append(in.Decisions, d)
	e := Explain(in)
	for _, part := range []string{
		"The bridge put the message “On the phone” there at 10:10:00.", "put the message “In a Teams call” there at 10:11:00; when its cause ends, “Back at 3” comes back.",
		"Another program keeps changing what the bridge writes there (competing writers), so the bridge stays away since 10:12:00, and tries again at 10:22:00.",
		"Another program keeps changing what the bridge writes on phone 1007 on main; the bridge stays away for a while.",
		"The bridge sets the message “On the phone” in Teams, for now until 10:20:00.", "The bridge takes its message away from Teams.",
	} {
		require.Contains(t, e.Text, part)
	}
}

// A message that the person wrote on one side, and that is copied to the other, is told on both, and how it came about; that it
// is prolonged every few minutes is one line.
func TestCopiedMessages(t *testing.T) {
	s := newScript(t)
	s.push("10:10:00", "Busy/InACall")
	s.phoneAnswers("10:10:00", bridge.Answered)
	in := s.input("10:45:00", "")
	last := s.decisions[len(s.decisions)-1]
	after := slices.Clone(last.Sides)
	after[0].Note = &bridge.NoteState{Value: "At the dentist", Since: clock("10:20:00")}
	after[1].Message = "At the dentist"
	wrote := bridge.Decision{At: clock("10:20:00"), Before: last.Sides, Sides: after,
		Event:   bridge.DecidedEvent{Kind: bridge.EventObserved, Side: after[1].Side, Source: presence.SourceWatch, Shown: "In a call", Line: presence.LineIdle},
		Effects: []bridge.DecidedEffect{{Do: bridge.DoSet, Side: "teams", Value: "message: At the dentist", Until: clock("10:25:00")}}}
	in.States, in.Decisions = after, append(in.Decisions, wrote)
	for _, at := range []string{"10:22:30", "10:25:00", "10:27:30"} {
		in.Decisions = append(in.Decisions, bridge.Decision{At: clock(at), Sides: after, Event: bridge.DecidedEvent{Kind: bridge.EventTimer, Side: "teams", Timer: "note_renew"},
			Effects: []bridge.DecidedEffect{{Do: bridge.DoSet, Side: "teams", Value: "message: At the dentist", Until: clock(at).Add(5 * time.Minute)}}},
			bridge.Decision{At: clock(at).Add(time.Second), Sides: after, Event: bridge.DecidedEvent{Kind: bridge.EventTimer, Side: "teams", Timer: "renew"},
				Effects: []bridge.DecidedEffect{{Do: bridge.DoRenew, Side: "teams", Value: "Busy/InACall", Until: clock(at).Add(5 * time.Minute)}}})
	}
	e := Explain(in)
	for _, part := range []string{
		"The bridge put the message “At the dentist” there at 10:20:00, because the person wrote it on phone 1007 on main.",
		"The person's own message there is “At the dentist”.",
		"The person's own message on phone 1007 on main is “At the dentist” now. The bridge sets the message “At the dentist” in Teams, for now until 10:25:00.",
		"10:27:30.000  The bridge's message in Teams was prolonged 3 times, the last time now.\n  10:27:31.000  The bridge's state in Teams was prolonged 3 times, the last time now.\n",
	} {
		require.Contains(t, e.Text, part)
	}
	require.Equal(t, 2, strings.Count(e.Text, "prolonged"))
}

// What nobody had seen yet at the moment in question, but saw soon afterwards, is told with hindsight: whoever asks why somebody
// looked busy then did see it.
func TestHindsight(t *testing.T) {
	s := newScript(t)
	s.phone("10:12:00", presence.LineInCall, "Available")
	s.teamsAnswers("10:12:01", bridge.Answered)
	s.timer("10:12:06", bridge.TimerSettle, presence.EndpointID{})
	s.push("10:12:07", "Busy/InACall")
	s.phone("10:20:00", presence.LineIdle, "Available")
	e := Explain(s.input("10:30:00", "10:12:03"))
	require.Contains(t, e.Text, "Teams showed Busy (in a call) at that moment, as far as can be told: it was set at 10:12:00, and a notification from Microsoft saw it at 10:12:07.\n"+
		"  What had been seen last before is Available, since 09:00:01 (learnt by a notification from Microsoft).\n"+
		"  The bridge put Busy (in a call) there at 10:12:00, because phone 1007 on main was in a call.\n")
	require.NotContains(t, e.Text, "has not been seen yet")
	require.Equal(t, "Busy/InACall", e.Sides[0].State.Shown)

	// Nothing is told with hindsight that was never seen.
	s = newScript(t)
	s.phone("10:12:00", presence.LineInCall, "Available")
	s.teamsAnswers("10:12:01", bridge.Answered)
	require.Contains(t, Explain(s.input("10:12:03", "")).Text, "Teams shows Available, since 09:00:01", "nobody has seen it yet")
	s.push("10:13:00", "Away")
	require.Contains(t, Explain(s.input("10:30:00", "10:12:03")).Text, "Teams showed Available, since 09:00:01")
}

// What was observed but not believed yet is told, with what is believed.
func TestDoubted(t *testing.T) {
	s := newScript(t)
	s.rec.Teams.Withdrawn = []bridge.Withdrawn{{Value: presence.ParsePairString("Busy/InACall")}} // of a former life
	s.push("10:10:00", "Busy/InACall")
	s.read("10:10:01", "Busy/InACall")
	e := Explain(s.input("10:30:00", "10:10:03"))
	require.Contains(t, e.Text, "Teams showed Available, since 09:00:01 (learnt by a notification from Microsoft).\n"+
		"  A direct read showed Busy (in a call) at 10:10:01, which the bridge confirmed first: that may be what it once set itself, or late news.\n")
	require.Contains(t, e.Text, "10:10:01.000  A direct read: Teams shows Busy (in a call). The bridge takes away whatever it may have left in Teams earlier, to find out whose that is.")
	require.NotContains(t, e.Text, "takes its state away")
}

// Asked about a moment at which no bridge may have run, the answer says so.
func TestWhileNoBridgeRan(t *testing.T) {
	s := newScript(t)
	s.phone("10:12:00", presence.LineInCall, "Available")
	s.settleTeams("10:12:01", "10:12:06", "Busy/InACall")
	s.at("10:40:00", bridge.Recovered{})
	const note = "Note: The bridge was started again at 10:40:00, or another replica took over then. What follows is what was known last before, at 10:12:06; " +
		"while no bridge ran, nobody watched, and its own states in Teams ended by themselves with their leases."
	require.Contains(t, Explain(s.input("11:00:00", "10:30:00")).Text, note)
	require.NotContains(t, Explain(s.input("11:00:00", "10:12:03")).Text, "started again at 10:40:00, or")
}

// A call that goes over from one phone to the other keeps its state in Teams; each phone is named with its own part in it.
func TestTheCauseMovesToAnotherPhone(t *testing.T) {
	cell := presence.EndpointID{PBX: "branch", User: "8"}
	s := newScript(t)
	s.rules.PBX["branch"] = bridge.PBXRules{Settle: time.Second, Timeout: 10 * time.Second}
	s.at("09:00:03", bridge.MemberChanged{Endpoints: []presence.EndpointID{desk, cell}})
	other := func(when string, line presence.Line) {
		s.at(when, bridge.EndpointSeen{Endpoint: cell, State: pbx.State{Line: line, Status: presence.Status{Name: "Available", Kind: presence.KindAvailable}}})
	}
	other("09:00:04", presence.LineIdle)
	other("10:10:00", presence.LineInCall)
	s.settleTeams("10:10:01", "10:10:06", "Busy/InACall")
	s.phone("10:12:00", presence.LineInCall, "Available")
	other("10:13:00", presence.LineIdle)
	e := Explain(s.input("10:15:00", ""))
	require.Contains(t, e.Text, "The bridge put Busy (in a call) there at 10:10:00, because phone 8 on branch was in a call.\n"+
		"  By now it is there because phone 1007 on main is in a call.\n")
	e = Explain(s.input("10:15:00", "10:12:30"))
	require.Contains(t, e.Text, "because phone 8 on branch was in a call.\n")
}

// A phone's line and its status are two things, each since a time of its own.
func TestLineAndStatusHaveTheirOwnTimes(t *testing.T) {
	s := newScript(t)
	s.phone("10:05:00", presence.LineIdle, "Away")
	s.phone("10:12:00", presence.LineInCall, "Away")
	e := Explain(s.input("10:15:00", ""))
	require.Contains(t, e.Text, "Phone 1007 on main is in a call, since 10:12:00 (learnt by an event from the PBX), and shows the status “Away”, since 10:05:00.\n")
	require.True(t, clock("10:12:00").Equal(e.Sides[1].Since))
}

// A read right before a write says what it saw, not what is written because of it.
func TestAReadSaysWhatItSaw(t *testing.T) {
	s := newScript(t)
	s.rules.PBX["main"] = bridge.PBXRules{Statuses: s.rules.PBX["main"].Statuses, Settle: time.Second, Timeout: 10 * time.Second} // says neither versions nor authors
	s.push("10:10:00", "Busy/InACall")
	s.at("10:10:01", bridge.EndpointRead{Endpoint: desk, Epoch: s.rec.EndpointEpoch(desk), State: s.state(presence.LineIdle, "Available")})
	e := Explain(s.input("10:15:00", ""))
	require.Contains(t, e.Text, "A direct read: phone 1007 on main is in no call and shows “Available”. The bridge sets “In a call” on phone 1007 on main.")
	require.Contains(t, e.Text, "shows the status “In a call”, since 10:10:01.\n", "nobody learnt that: it was ordered")
}
