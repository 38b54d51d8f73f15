package scenario

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// long is a message of so many characters.
func long(n int) string {
	return strings.Repeat("I am at the dentist and will be back. ", n/38+1)[:n-1] + "!"
}

// write is what people do about status messages.
func (w *world) write(st *Step) error {
	switch st.Phrase {
	case "PERSON writes a message in Teams: TEXT":
		return w.graph.SetStatusMessage(w.person(st.Words[0]).id, st.Words[1], 0)
	case "PERSON writes a message in Teams that lasts N minutes: TEXT":
		n, err := strconv.Atoi(st.Words[1])
		if err != nil {
			return err
		}
		return w.graph.SetStatusMessage(w.person(st.Words[0]).id, st.Words[2], time.Duration(n)*time.Minute)
	case "PERSON writes a message of N characters in Teams":
		n, err := strconv.Atoi(st.Words[1])
		if err != nil {
			return err
		}
		return w.graph.SetStatusMessage(w.person(st.Words[0]).id, long(n), 0)
	case "PERSON takes their message away in Teams":
		return w.graph.SetStatusMessage(w.person(st.Words[0]).id, "", 0)
	case "phone PHONE gets a message: TEXT", "phone PHONE had the message: TEXT":
		return w.say(st.Words[0], st.Words[1])
	case "phone PHONE loses its message":
		return w.say(st.Words[0], "")
	case "phone PHONE gets a message of N characters":
		n, err := strconv.Atoi(st.Words[1])
		if err != nil {
			return err
		}
		return w.say(st.Words[0], long(n))
	}
	return nil
}

// say writes a message on a phone, by hand.
func (w *world) say(extension, text string) error {
	sim, ph := w.phone(extension)
	status, err := sim.Status(ph.extension)
	if err != nil {
		return err
	}
	if _, beside := sim.(sipExchange); beside { // the person's own document, whatever stands beside it
		if status, err = sim.Chosen(ph.extension); err != nil {
			return err
		}
	}
	return sim.PickMessage(ph.extension, status, text)
}

// lookAtMessage is a look at a status message.
func (w *world) lookAtMessage(st *Step) error {
	var shows string
	if person, ok := w.people[st.Words[0]]; ok {
		shows = w.graph.StatusMessage(person.id)
	} else {
		sim, ph := w.phone(st.Words[0])
		var err error
		if shows, err = sim.Message(ph.extension); err != nil {
			return err
		}
	}
	switch {
	case strings.HasSuffix(st.Phrase, "TEXT"):
		return expect("the message is", shows, st.Words[1])
	case !strings.HasSuffix(st.Phrase, "N characters"):
		return expect("the message is", shows, "")
	}
	n, err := strconv.Atoi(st.Words[1])
	if err != nil {
		return err
	}
	kept, cut := strings.CutSuffix(shows, "…")
	switch {
	case !cut:
		return fmt.Errorf("the message is not cut: %q", shows)
	case len(utf16.Encode([]rune(shows))) > n || !strings.HasPrefix(long(n+100), kept) || len(kept) < n-5:
		return errors.New("it is not what was written, cut to " + st.Words[1] + " characters: " + shows)
	}
	return nil
}
