package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge/presence"
)

const (
	kinds     = "available, busy, dnd, away, out, custom"
	lineWords = "idle, ringing, in-call, on-hold, offline"
)

// Bounds of how long a preferred presence lasts. Graph's own defaults are one day, and seven for what is least urgent; it
// states no limits (learn:api/presence-setuserpreferredpresence).
const (
	minPreferred = 5 * time.Minute
	maxPreferred = 7 * 24 * time.Hour
)

// checker collects what is wrong with one rule.
type checker struct {
	line int
	rule string
	errs []error
}

// wrong notes a mistake in a field; line 0 is the rule's own.
func (c *checker) wrong(line int, field, format string, args ...any) {
	if line == 0 {
		line = c.line
	}
	c.errs = append(c.errs, &Error{Line: line, Path: c.rule + "." + field, Text: fmt.Sprintf(format, args...)})
}

// misplaced refuses a list that means nothing in this direction.
func (c *checker) misplaced(ws words, field, remedy string) {
	if len(ws) > 0 {
		c.wrong(ws[0].line, field, "%s", remedy)
	}
}

// misplacedWord refuses a word that means nothing in this direction.
func (c *checker) misplacedWord(w word, field, remedy string) {
	if w.given() {
		c.wrong(w.line, field, "%s", remedy)
	}
}

// towardsPBX reads a rule of teams_to_pbx.
func (y *yamlRule) towardsPBX(c *checker) TeamsRule {
	const phone = "is about the phone, which this direction writes to; rules about the phone stand under pbx_to_teams, here use availability, activity or out_of_office"
	c.misplaced(y.When.Line, "when.line", phone)
	c.misplaced(y.When.Status, "when.status", phone)
	c.misplaced(y.When.StatusKind, "when.status_kind", phone)
	const teams = "is set in Teams, by rules under pbx_to_teams; here set status, status_kind or message"
	c.misplacedWord(y.Set.Presence, "set.presence", teams)
	c.misplacedWord(y.Set.Method, "set.method", teams)
	c.misplacedWord(y.Set.For, "set.for", teams)

	r := TeamsRule{When: TeamsCondition{
		Availability: c.graphWords("when.availability", y.When.Availability), Activity: c.graphWords("when.activity", y.When.Activity),
		Group: c.names("when.group", y.When.Group), PBX: c.names("when.pbx", y.When.PBX),
	}}
	if w := y.When.OutOfOffice; w.given() {
		switch strings.ToLower(w.text) {
		case "true", "yes":
			r.When.OutOfOffice = presence.AbsenceYes
		case "false", "no":
			r.When.OutOfOffice = presence.AbsenceNo
		default:
			c.wrong(w.line, "when.out_of_office", "%q is neither true nor false", w.text)
		}
	}
	r.Set = SetStatus{Name: y.Set.Status.text, Class: c.class(y), Message: c.message(y.Set.Message, 0)}
	if w := y.Set.StatusKind; w.given() {
		k, ok := presence.ParseKind(w.text)
		if !ok {
			c.wrong(w.line, "set.status_kind", "%q is none of %s", w.text, kinds)
		}
		r.Set.Kind = k
	}
	if r.Set.Name == "" && r.Set.Kind == presence.KindUnknown && r.Set.Message.IsZero() && len(c.errs) == 0 {
		c.wrong(0, "set", "give status (a name), status_kind or message")
	}
	return r
}

// towardsTeams reads a rule of pbx_to_teams.
func (y *yamlRule) towardsTeams(c *checker) PBXRule {
	const teams = "is about Teams, which this direction writes to; rules about Teams stand under teams_to_pbx, here use line, status or status_kind"
	c.misplaced(y.When.Availability, "when.availability", teams)
	c.misplaced(y.When.Activity, "when.activity", teams)
	c.misplacedWord(y.When.OutOfOffice, "when.out_of_office", teams)
	const phone = "is set on the phone, by rules under teams_to_pbx; here set presence or message"
	c.misplacedWord(y.Set.Status, "set.status", phone)
	c.misplacedWord(y.Set.StatusKind, "set.status_kind", phone)

	r := PBXRule{When: PBXCondition{
		Status: c.names("when.status", y.When.Status), Group: c.names("when.group", y.When.Group), PBX: c.names("when.pbx", y.When.PBX),
	}}
	for _, w := range y.When.Line {
		l, ok := presence.ParseLine(w.text)
		if !ok || l == presence.LineUnknown {
			c.wrong(w.line, "when.line", "%q is none of %s", w.text, lineWords)
		}
		r.When.Line = append(r.When.Line, l)
	}
	for _, w := range y.When.StatusKind {
		k, ok := presence.ParseKind(w.text)
		if !ok {
			c.wrong(w.line, "when.status_kind", "%q is none of %s", w.text, kinds)
		}
		r.When.StatusKind = append(r.When.StatusKind, k)
	}
	r.Set = y.presence(c)
	return r
}

// presence reads what a rule of pbx_to_teams sets.
func (y *yamlRule) presence(c *checker) SetPresence {
	set := SetPresence{Message: c.message(y.Set.Message, TeamsMessageLimit), Class: c.class(y)}
	w := y.Set.Presence
	if !w.given() {
		c.misplacedWord(y.Set.Method, "set.method", "is given without presence; give the presence to set, or remove it")
		c.misplacedWord(y.Set.For, "set.for", "is given without presence; give the presence to set, or remove it")
		if set.Message.IsZero() && len(c.errs) == 0 {
			c.wrong(0, "set", "give presence, one of %s, or message", pairNames(sessionPairs()))
		}
		return set
	}
	set.Method = c.method(y.Set.Method)
	set.For = c.lasting(y.Set.For, set.Method)
	set.Pair = presence.ParsePairString(w.text)
	if set.Method.Preferred() && set.Pair.IsOffline() {
		set.Pair.Activity = presence.OffWork // "Appear offline" has one pair only
	}
	takes, others := sessionPairs(), preferredPairs()
	call, hint := "setPresence", "; method: preferred sets %s"
	if set.Method.Preferred() {
		takes, others = others, takes
		call, hint = "setUserPreferredPresence", "; method: session sets %s"
	}
	if !slices.Contains(takes, set.Pair) {
		remedy := ""
		if slices.Contains(others, set.Pair) {
			remedy = fmt.Sprintf(hint, set.Pair)
		}
		c.wrong(w.line, "set.presence", "Graph's %s does not take %q; use one of %s%s", call, w.text, pairNames(takes), remedy)
	}
	if set.Class == "" {
		set.Class = ClassOfPair(set.Pair)
	}
	return set
}

func (c *checker) method(w word) Method {
	switch m := Method(strings.ToLower(w.text)); {
	case !w.given():
		return MethodSession
	case m == MethodSession, m == MethodPreferred:
		return m
	}
	c.wrong(w.line, "set.method", "%q is neither session nor preferred", w.text)
	return MethodSession
}

// lasting reads how long a preferred presence lasts. It replaces what the person chose, so it has to end by itself (R12).
func (c *checker) lasting(w word, m Method) time.Duration {
	if !m.Preferred() {
		c.misplacedWord(w, "set.for", "is for method: preferred; a session lasts for a lease and is renewed while its cause lasts")
		return 0
	}
	if !w.given() {
		c.wrong(0, "set.for", "is missing; with method: preferred say how long it lasts at most, for example 8h")
		return 0
	}
	d, err := time.ParseDuration(w.text)
	if err != nil || d < minPreferred || d > maxPreferred {
		c.wrong(w.line, "set.for", "%q is no duration from 5m to 168h; write for example 8h", w.text)
	}
	return d
}

// message reads a text, or the word copy.
func (c *checker) message(w word, limit int) Message {
	switch {
	case !w.given():
		return Message{}
	case w.text == "":
		c.wrong(w.line, "set.message", "is empty; give a text or copy, or remove it: what we wrote goes when its cause ends")
	case strings.EqualFold(w.text, "copy"):
		return Message{Copy: true}
	case limit > 0 && messageLen(w.text) > limit:
		c.wrong(w.line, "set.message", "has %d characters; Teams shows at most %d", messageLen(w.text), limit)
	}
	return Message{Text: w.text}
}

// graphWords checks words of Graph.
func (c *checker) graphWords(field string, ws words) []string {
	for _, w := range ws {
		if _, ok := presence.ParseWord(w.text); !ok {
			c.wrong(w.line, field, "Graph has no word %q; it says for example Busy, DoNotDisturb, Away, InACall, InAMeeting", w.text)
		}
	}
	return ws.texts()
}

// names reads words that are somebody's own: they can be anything but nothing.
func (c *checker) names(field string, ws words) []string {
	for _, w := range ws {
		if w.text == "" {
			c.wrong(w.line, field, "a name is empty; remove it")
		}
	}
	return ws.texts()
}

// class reads a rule's class; "" follows from what the rule sets. It may stand beside set or in it.
func (c *checker) class(y *yamlRule) presence.Class {
	w, field := y.Class, "class"
	if y.Set.Class.given() {
		if w.given() && w.text != y.Set.Class.text {
			c.wrong(y.Set.Class.line, "set.class", "is %q, and the rule's class is %q; keep one of them", y.Set.Class.text, w.text)
		}
		w, field = y.Set.Class, "set.class"
	}
	switch class := presence.Class(w.text); class {
	case "", presence.ClassCall, presence.ClassDND, presence.ClassBusy, presence.ClassAway:
		return class
	}
	c.wrong(w.line, field, "%q is none of call, dnd, busy, away", w.text)
	return ""
}

// sessionPairs are the pairs that setPresence accepts (learn:api/presence-setpresence).
func sessionPairs() []presence.Pair {
	return []presence.Pair{
		{Availability: presence.Available, Activity: presence.Available},
		{Availability: presence.Busy, Activity: presence.InACall},
		{Availability: presence.Busy, Activity: presence.InAConferenceCall},
		{Availability: presence.Away, Activity: presence.Away},
		{Availability: presence.DoNotDisturb, Activity: presence.Presenting},
	}
}

// preferredPairs are the pairs that setUserPreferredPresence accepts (learn:api/presence-setuserpreferredpresence).
func preferredPairs() []presence.Pair {
	return []presence.Pair{
		{Availability: presence.Available, Activity: presence.Available},
		{Availability: presence.Busy, Activity: presence.Busy},
		{Availability: presence.DoNotDisturb, Activity: presence.DoNotDisturb},
		{Availability: presence.BeRightBack, Activity: presence.BeRightBack},
		{Availability: presence.Away, Activity: presence.Away},
		{Availability: presence.Offline, Activity: presence.OffWork},
	}
}

// settable tells whether Graph takes what a rule sets.
func (s SetPresence) settable() bool {
	if s.Method.Preferred() {
		return slices.Contains(preferredPairs(), s.Pair)
	}
	return slices.Contains(sessionPairs(), s.Pair)
}

func pairNames(pairs []presence.Pair) string {
	names := make([]string, 0, len(pairs))
	for _, p := range pairs {
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}
