package sip

import (
	"context"
	"fmt"
	"strings"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// The names that stand for something else than the activity of the same name.
const (
	nameAvailable = "available"
	nameBusy      = "busy"              // busy with a note that says do not disturb
	namePlainBusy = "busy-without-note" // busy alone
)

// dndNote is the note that makes busy a do-not-disturb: RPID has no such activity (RFC 4480 section 3.2).
const dndNote = "Do not disturb"

// dndWords are notes that mean it, in lower case.
func dndWords() []string {
	return []string{
		"do not disturb", "do-not-disturb", "don't disturb", "dnd", "bitte nicht stören", "nicht stören", "ne pas déranger",
		"no molestar", "non disturbare", "niet storen", "não incomodar", "nie przeszkadzać",
	}
}

// activity is one activity of RPID (RFC 4480 section 3.2) and what it is in our words.
type activity struct {
	element string
	status  presence.Status
	weight  int // of several activities, the one with the most weight is the status
}

// activities lists those that can be read and written. The first of a kind stands for the kind.
func activities() []activity {
	st := func(name string, kind presence.Kind) presence.Status { return presence.Status{Name: name, Kind: kind} }
	return []activity{
		{"", st(nameAvailable, presence.KindAvailable), 1},
		{"on-the-phone", st("on-the-phone", presence.KindBusy), 7},
		{"meeting", st("meeting", presence.KindBusy), 6},
		{nameBusy, st(nameBusy, presence.KindDND), 9},
		{nameBusy, st(namePlainBusy, presence.KindBusy), 5},
		{"away", st("away", presence.KindAway), 3},
		{"appointment", st("appointment", presence.KindBusy), 5},
		{"presentation", st("presentation", presence.KindBusy), 6},
		{"performance", st("performance", presence.KindBusy), 5},
		{"vacation", st("vacation", presence.KindOut), 8},
		{"holiday", st("holiday", presence.KindOut), 8},
		{"permanent-absence", st("permanent-absence", presence.KindOut), 8},
		{"travel", st("travel", presence.KindOut), 8},
		{"meal", st("meal", presence.KindAway), 3},
		{"breakfast", st("breakfast", presence.KindAway), 3},
		{"dinner", st("dinner", presence.KindAway), 3},
		{"in-transit", st("in-transit", presence.KindAway), 3},
		{"steering", st("steering", presence.KindAway), 3},
		{"sleeping", st("sleeping", presence.KindAway), 3},
		{"playing", st("playing", presence.KindAway), 3},
		{"shopping", st("shopping", presence.KindAway), 3},
		{"spectator", st("spectator", presence.KindAway), 3},
		{"tv", st("tv", presence.KindAway), 3},
		{"worship", st("worship", presence.KindAway), 3},
		{"looking-for-work", st("looking-for-work", presence.KindCustom), 4},
		{"working", st("working", presence.KindCustom), 2},
		{"other", st("other", presence.KindCustom), 2},
	}
}

// Statuses implements [pbx.Connector]. The list is RPID's, whatever the PBX is.
func (c *Client) Statuses(ctx context.Context) ([]presence.Status, error) {
	if err := ctx.Err(); err != nil {
		return nil, &pbx.Error{Kind: pbx.Unanswered, Op: "list statuses", Err: err}
	}
	return Catalogue(), nil
}

// toWrite finds the activity that a status is published as: by name, else the first of its kind.
func toWrite(want presence.Status) (activity, error) {
	for _, a := range activities() {
		if want.Name != "" && strings.EqualFold(a.status.Name, strings.TrimSpace(want.Name)) ||
			want.Name == "" && want.Kind != presence.KindUnknown && a.status.Kind == want.Kind {
			return a, nil
		}
	}
	return activity{}, fmt.Errorf("there is no activity for the status %q", want)
}

// toRead is what an activity of somebody's means, given whether a note beside it says do not disturb.
func toRead(element string, dnd bool) (activity, bool) {
	for _, a := range activities() {
		if element == nameBusy && (a.status.Name == nameBusy) != dnd {
			continue
		}
		if a.element == element && element != "" {
			return a, true
		}
	}
	if element == "" || element == "unknown" {
		return activity{}, false
	}
	// An element of some extension: nobody can classify it, so nobody writes over it.
	return activity{element: element, status: presence.Status{Name: element, Kind: presence.KindCustom}, weight: 2}, true
}

// saysDND tells whether a note means do not disturb, and whether it says nothing else.
func saysDND(note string) (yes, only bool) {
	n := strings.ToLower(strings.TrimSpace(note))
	for _, w := range dndWords() {
		if n == w {
			return true, true
		}
		if strings.Contains(" "+n+" ", w) && len(w) > 3 {
			yes = true
		}
	}
	return yes, false
}
