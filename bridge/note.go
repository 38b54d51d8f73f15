package bridge

import (
	"slices"
	"time"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// Status messages are an axis of their own beside what shows. On a PBX a message of ours travels in the same requests as a
// status, one at a time, and what was there before is given back, as with a status (R6, R8). In Teams it stands only where
// the person has none of their own, for one lease at a time, and whoever carries it out compares first: so it needs no
// answer, and nothing that happens to it holds up a presence. A message that is ours never crosses (R1).

// EndpointNote is a message of ours on a PBX.
type EndpointNote struct {
	Value    string    `json:"value"`
	Before   string    `json:"before,omitempty"`   // the value before, while it changes
	Previous string    `json:"previous,omitempty"` // the person's own, to be given back
	Phase    Phase     `json:"phase"`
	Since    time.Time `json:"since"`
}

// TeamsNote is a message of ours in Teams.
type TeamsNote struct {
	Value string    `json:"value"`
	Since time.Time `json:"since"`
}

// TeamsMessage asks for the status message of Teams to be Text ("" for none) until Until, unless what shows by then is
// neither nothing nor one of Ours: then it is the person's own and stays. It has no answer.
type TeamsMessage struct {
	Text  string
	Ours  []string
	Until time.Time
}

func (TeamsMessage) effect() {}

// carriesMessages tells whether any rule of a policy is about messages. Of members for whom none is, no message is kept.
func carriesMessages(p *policy.Policy) bool {
	for i := range p.TeamsToPBX {
		if !p.TeamsToPBX[i].Set.Message.IsZero() {
			return true
		}
	}
	for i := range p.PBXToTeams {
		if !p.PBXToTeams[i].Set.Message.IsZero() {
			return true
		}
	}
	return false
}

// keepsMessages tells whether messages on that endpoint matter: to the rules, or because one of ours is there.
func (s *step) keepsMessages(ep *EndpointSide) bool {
	return ep.Note != nil || (s.pbx(ep).Capabilities.Messages && carriesMessages(s.policy()))
}

// wantNote is the message that is wanted on an endpoint. A status that was picked by hand does not end it. While Teams hides
// what the person's own state is, it stays as it is.
func (s *step) wantNote(ep *EndpointSide) string {
	caps := s.pbx(ep).Capabilities
	switch {
	case !caps.Messages || s.r.Excluded || ep.Leaving || ep.Contested() || s.policy().OptOut.Has(presence.TeamsToPBX):
		return ""
	case s.r.Teams.OrganicState == OrganicHidden && ep.Note != nil:
		return ep.Note.Value
	}
	want := policy.ClipMessage(s.policyForPBX(ep).Message, caps.MessageLimit)
	if want != ep.Declined {
		ep.Declined = ""
	}
	if want == ep.Declined || (ep.Note == nil && want == ep.Message) {
		return ""
	}
	return want
}

// noteDiffers tells whether a message has to be written.
func (s *step) noteDiffers(ep *EndpointSide) bool {
	if !s.keepsMessages(ep) {
		return false
	}
	want, n := s.wantNote(ep), ep.Note
	if !s.overwritten(ep) && ep.Assertion == nil {
		return false // a document of ours has a message only while it is there
	}
	if n == nil {
		return want != ""
	}
	return want != n.Value || n.Phase != PhaseStanding
}

// noteFor adds to a write what becomes of the message by it: nil leaves it as it is.
func (s *step) noteFor(ep *EndpointSide) *string {
	if !s.keepsMessages(ep) {
		return nil
	}
	want, n := s.wantNote(ep), ep.Note
	switch {
	case !s.overwritten(ep): // the document is ours as a whole
		if ep.Note = nil; want != "" {
			ep.Note = &EndpointNote{Value: want, Phase: PhaseWriting, Since: s.now}
		}
		return &want
	case n == nil && want == "":
		return nil
	case n == nil:
		ep.Note = &EndpointNote{Value: want, Previous: ep.Message, Phase: PhaseWriting, Since: s.now}
		return &want
	case want == "":
		n.Phase = PhaseWithdrawing
		return &n.Previous
	case want == n.Value && n.Phase == PhaseStanding:
		return nil
	case want != n.Value:
		n.Before, n.Value, n.Since = n.Value, want, s.now
	}
	n.Phase = PhaseWriting
	return &n.Value
}

// decideNote writes a message where the status needs no write.
func (s *step) decideNote(ep *EndpointSide) {
	a := ep.Assertion
	if ep.Write != nil || (a != nil && a.Phase != PhaseStanding) || !s.noteDiffers(ep) {
		return
	}
	status := ep.Status
	if a != nil {
		status = a.Value
	}
	switch {
	case status.IsZero():
	case !s.mayWrite(ep):
		ep.ReadOwed = true
	default:
		s.writeEndpoint(ep, status)
	}
}

// noteAnswered notes that the message of an answered write shows.
func (ep *EndpointSide) noteAnswered(w *EndpointWrite) {
	n := ep.Note
	switch {
	case w.Message == nil || n == nil:
	case n.Phase == PhaseWithdrawing:
		ep.Message, ep.Note = n.Previous, nil
	default:
		n.Phase, n.Before = PhaseStanding, ""
	}
}

// noteNotWritten takes the message back to what it was before a write that is known not to have landed.
func (ep *EndpointSide) noteNotWritten(w *EndpointWrite) {
	switch n := ep.Note; {
	case w.Message == nil || n == nil:
	case n.Phase == PhaseWithdrawing:
		n.Phase = PhaseStanding
	case n.Before != "":
		n.Value, n.Before, n.Phase = n.Before, "", PhaseStanding
	default:
		ep.Note = nil
	}
}

// foldNote takes the message that an endpoint shows for true: it is ours, or the person's own. One that takes the place of
// ours is a choice by hand: it stays, and ours is not offered again until another one is wanted.
func (s *step) foldNote(ep *EndpointSide, shown string) {
	if !s.keepsMessages(ep) {
		ep.Message, ep.Declined = "", ""
		return
	}
	n := ep.Note
	writing := ep.Write != nil && ep.Write.Message != nil
	switch {
	case n == nil || !s.overwritten(ep):
		ep.Message = shown
	case shown == n.Value && writing:
	case shown == n.Value:
		n.Phase, n.Before = PhaseStanding, ""
	case writing && (shown == n.Before || shown == n.Previous): // it has not landed yet, or just did
	case !writing && n.Phase != PhaseStanding && shown == n.Previous:
		ep.Message, ep.Note = shown, nil // did not land, or is given back
	case !writing && n.Phase != PhaseStanding && n.Before != "" && shown == n.Before:
		n.Value, n.Before, n.Phase = n.Before, "", PhaseStanding
	default:
		ep.Message, ep.Declined, ep.Note = shown, n.Value, nil
	}
}

// newsOfNote tells whether an event or a listing shows another message than is known.
func (s *step) newsOfNote(ep *EndpointSide, shown string) bool {
	if !s.keepsMessages(ep) || !s.overwritten(ep) {
		return false
	}
	if ep.Write != nil && ep.Write.Message != nil && shown == *ep.Write.Message {
		return false
	}
	return shown != ep.shownMessage()
}

// shownMessage is the message that the endpoint shows, as far as we know.
func (ep *EndpointSide) shownMessage() string {
	if ep.Note != nil {
		return ep.Note.Value
	}
	return ep.Message
}

// adoptNote recognises a message beside a status of ours that stands without a record: a text of the rules, or a copy of
// what Teams shows, is ours, and there was none before.
func (s *step) adoptNote(ep *EndpointSide, shown string) {
	caps := s.pbx(ep).Capabilities
	if !caps.Messages || shown == "" || ep.Note != nil {
		return
	}
	ours := slices.ContainsFunc(s.policy().TeamsToPBX, func(r policy.TeamsRule) bool {
		text := r.Set.Message.Text
		if r.Set.Message.Copy {
			text = s.r.Teams.Message
		}
		return text != "" && policy.ClipMessage(text, caps.MessageLimit) == shown
	})
	if ours {
		ep.Message = ""
		ep.Note = &EndpointNote{Value: shown, Phase: PhaseStanding, Since: s.now}
	}
}

// decideTeamsNote brings the message in Teams to what is wanted, for one lease at a time. Two requests are so far apart that
// the first one is over.
func (s *step) decideTeamsNote() {
	t := &s.r.Teams
	want := s.wantTeams().Message
	n := t.Note
	if !t.Timers.Note.IsZero() || (n == nil && want == "") || (n != nil && n.Value == want && !t.noteDue) {
		return
	}
	t.Timers.Note = s.now.Add(s.rules.TeamsTimeout)
	if s.rules.Paced[TeamsSideName] && want != "" {
		return // again in a moment
	}
	eff := TeamsMessage{Text: want, Until: s.now.Add(s.rules.Lease)}
	if t.NoteLast != "" {
		eff.Ours = append(eff.Ours, t.NoteLast)
	}
	if n != nil && n.Value != t.NoteLast {
		eff.Ours = append(eff.Ours, n.Value)
	}
	t.noteDue = false
	switch {
	case want == "":
		t.NoteLast, t.Note, t.Timers.NoteRenew = n.Value, nil, time.Time{}
	default:
		if n == nil || n.Value != want {
			if n != nil {
				t.NoteLast = n.Value
			}
			t.Note = &TeamsNote{Value: want, Since: s.now}
		}
		t.Timers.NoteRenew = s.now.Add(s.jitter(s.rules.Lease / 2))
	}
	s.effects = append(s.effects, eff)
}

// foldTeamsNote is the person's own of a message that Teams shows.
func (t *TeamsSide) foldTeamsNote(shown string) string {
	if shown != "" && (shown == t.NoteLast || (t.Note != nil && shown == t.Note.Value)) {
		return ""
	}
	if t.Timers.Note.IsZero() { // whatever was under way is over
		t.NoteLast = ""
	}
	return shown
}
