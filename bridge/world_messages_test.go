package bridge

import "slices"

// What the world knows of status messages.

// details is what a read of Teams tells beside the pair.
func (w *world) details() *Details { return &Details{Message: w.teamsMessage()} }

// teamsMessage is the message that Teams shows: the last one written stands, whoever wrote it.
func (w *world) teamsMessage() string {
	if w.teamsOwn != "" {
		return w.teamsOwn
	}
	if w.noteUntil.After(w.now) {
		return w.teamsNote
	}
	return ""
}

// tell carries out a request about the message in Teams, as package teams does: never over the person's own.
func (w *world) tell(m TeamsMessage) {
	if w.teamsOwn == "" && (w.teamsMessage() == "" || slices.Contains(m.Ours, w.teamsMessage()) || w.teamsMessage() == m.Text) {
		w.teamsNote, w.noteUntil = m.Text, m.Until
	}
	if m.Text != "" && !w.everTold[m.Text] {
		w.fail("writes the message %q to Teams, which nobody wrote anywhere", m.Text)
	}
}

// say lets the person write a message on the phone, write one in Teams.
func (w *world) say(text string) {
	if w.phone.Message == text {
		return
	}
	w.note("PERSON on the phone: the message is %q", text)
	w.phone.Message, w.phoneOwn = text, text
	w.phone.Version++
	w.phoneOld = nil
	w.everTold[text] = true
	w.changes++
	w.phoneEvent()
}

func (w *world) write(text string) {
	w.note("PERSON in Teams: the message is %q", text)
	w.teamsOwn, w.teamsNote = text, ""
	w.everTold[text] = true
	w.changes++
}
