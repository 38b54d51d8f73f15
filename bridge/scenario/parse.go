package scenario

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Scenario is a story.
type Scenario struct {
	File   string
	Name   string
	Kinds  []string // of PBX, of those that Kinds lists
	Policy string   // of those that Policies lists
	Steps  []Step
}

// Step is one line of a story.
type Step struct {
	Line    int
	Section Section
	Text    string        // the line as it is written
	Phrase  string        // the pattern that it matches
	Words   []string      // what stands for the pattern's placeholders, in their order
	At      time.Duration // time of the day to wait for; 0 for none
	After   time.Duration // time to wait; 0 for none
	Within  time.Duration // how long a Then may take
}

// Kinds are the kinds of PBX that a story can be played on.
func Kinds() []string { return []string{"versions", "lines", "plain", "3cx", "sip"} }

// kindsInWords explain them.
const kindsInWords = "versions (says who chose a status, and counts its changes), lines (the same, and counts the calls too), plain (says neither), 3cx (a 3CX, on which In a call is the profile Away and Do not disturb is Out of office), sip (a SIP PBX, on which the bridge has a document of its own beside the person's); any means the first three"

// Error is something that is wrong with a story, with the file and the line.
type Error struct {
	File string
	Line int
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// maxLine is the longest line of a story.
const maxLine = 64 << 10

// Parse reads a story. The error joins an [*Error] for each line that is wrong.
func Parse(file string, r io.Reader) (Scenario, error) {
	p := parser{s: Scenario{File: file}}
	for _, phrase := range Phrases() {
		p.phrases = append(p.phrases, compile(phrase))
	}
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, maxLine)
	for scan.Scan() {
		p.n++
		p.line(strings.Join(strings.Fields(scan.Text()), " "))
	}
	if err := scan.Err(); err != nil {
		p.n++
		p.wrong("the line cannot be read: %v", err)
	}
	p.whole()
	return p.s, errors.Join(p.errs...)
}

type parser struct {
	s       Scenario
	phrases []compiled
	n       int
	last    Section
	clock   time.Duration // the last time of the day that a step waits for
	errs    []error
}

func (p *parser) wrong(format string, args ...any) {
	p.errs = append(p.errs, &Error{File: p.s.File, Line: max(p.n, 1), Text: fmt.Sprintf(format, args...)})
}

// line reads one line, whose blanks are single ones.
func (p *parser) line(text string) {
	switch {
	case text == "", strings.HasPrefix(text, "#"):
	case strings.HasPrefix(text, "Scenario:"):
		p.name(strings.TrimSpace(strings.TrimPrefix(text, "Scenario:")))
	case strings.HasPrefix(text, "PBX:"):
		p.kinds(strings.TrimPrefix(text, "PBX:"))
	case strings.HasPrefix(text, "Policy:"):
		p.policy(strings.TrimSpace(strings.TrimPrefix(text, "Policy:")))
	default:
		p.step(text)
	}
}

func (p *parser) name(name string) {
	switch {
	case name == "":
		p.wrong("Scenario: wants a name")
	case p.s.Name != "":
		p.wrong("a second Scenario: a file holds one")
	}
	p.s.Name = name
}

func (p *parser) kinds(list string) {
	if p.s.Kinds != nil {
		p.wrong("a second PBX: name the kinds in one line, with commas")
	}
	for word := range strings.SplitSeq(list, ",") {
		switch word = strings.TrimSpace(word); {
		case word == "any":
			p.s.Kinds = append(p.s.Kinds, "versions", "lines", "plain")
		case slices.Contains(Kinds(), word):
			p.s.Kinds = append(p.s.Kinds, word)
		default:
			p.wrong("PBX: there is no kind %q: write any, or some of %s", word, kindsInWords)
		}
	}
	slices.Sort(p.s.Kinds)
	p.s.Kinds = slices.Compact(p.s.Kinds)
}

// Policies are the policies that a story can be about; without a word it is the first.
func Policies() []string { return []string{"micollab", "meetings", "messages", "notices", "groups"} }

// policiesInWords explain them.
const policiesInWords = "micollab (the preset), meetings (the same, and a meeting shows on the phone), messages (the preset, and people's own status messages are copied both ways), notices (the preset, and a call has a message on the other side: In a Teams call, On the phone) or groups (the preset, and the group Works council opts out of both directions, Reception of what Teams does to the phone, Doctors of what the phone does to Teams)"

func (p *parser) policy(word string) {
	if !slices.Contains(Policies(), word) {
		p.wrong("Policy: there is no %q: write %s", word, policiesInWords)
	}
	p.s.Policy = word
}

// whole looks for what is missing.
func (p *parser) whole() {
	p.s.Policy = cmp.Or(p.s.Policy, Policies()[0])
	if p.s.Name == "" {
		p.wrong("there is no line that begins with Scenario:")
	}
	if len(p.s.Kinds) == 0 {
		p.wrong("there is no line PBX: any, or PBX: with the kinds")
	}
	if !slices.ContainsFunc(p.s.Steps, func(s Step) bool { return s.Section == Then || s.Section == Finally }) && len(p.errs) == 0 {
		p.wrong("nothing is expected: a story needs a Then or a Finally")
	}
}

// step reads a line that is a step.
func (p *parser) step(text string) {
	word, rest, _ := strings.Cut(text, " ")
	section := Section(word)
	switch {
	case word == "And" && p.last == "":
		p.wrong("And comes after a line that it adds to: begin with Given or When")
		return
	case word == "And":
		section = p.last
	case !slices.Contains([]Section{Given, When, Then, Finally}, section):
		p.wrong("a line begins with Scenario:, PBX:, Policy:, Given, When, Then, Finally, And or #, not with %q", word)
		return
	}
	if !p.inOrder(section) {
		return
	}
	p.last = section
	s := Step{Line: p.n, Section: section, Text: text}
	rest, ok := p.timing(&s, rest)
	if !ok {
		return
	}
	p.match(&s, rest)
}

// inOrder tells whether a section may come now.
func (p *parser) inOrder(section Section) bool {
	switch {
	case section == Given && p.last != "" && p.last != Given:
		p.wrong("Given comes before the first When: what changes later is a When")
	case section != Finally && p.last == Finally:
		p.wrong("Finally comes last")
	case section == Then && (p.last == "" || p.last == Given):
		p.wrong("Then comes after a When")
	default:
		return true
	}
	return false
}

// timing takes "at 10:00", "after 30s" and "within 5s" off the beginning of a line.
func (p *parser) timing(s *Step, rest string) (string, bool) {
	for {
		word, after, _ := strings.Cut(rest, " ")
		value, more, _ := strings.Cut(after, " ")
		var err error
		switch word {
		case "at":
			s.At, err = timeOfDay(value)
			if err == nil && s.At < p.clock {
				err = fmt.Errorf("%s is before the step above", value)
			}
			p.clock = max(p.clock, s.At)
		case "after":
			s.After, err = duration(value)
		case "within":
			s.Within, err = duration(value)
			if err == nil && s.Section != Then {
				err = errors.New("only a Then may take a time; a When is at or after one")
			}
		default:
			return rest, true
		}
		if err == nil && s.Section != When && s.Section != Then {
			err = fmt.Errorf("a %s has no time", s.Section)
		}
		if err != nil {
			p.wrong("%s: %v", word, err)
			return "", false
		}
		rest = more
	}
}

// begins and ends are when stories may take place.
const (
	begins = 10 * time.Hour
	ends   = 20 * time.Hour
)

func timeOfDay(s string) (time.Duration, error) {
	for _, layout := range []string{"15:04", "15:04:05"} {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		d := t.Sub(t.Truncate(24 * time.Hour))
		if d < begins || d > ends {
			return 0, fmt.Errorf("%s: stories take place from 10:00 to 20:00", s)
		}
		return d, nil
	}
	return 0, fmt.Errorf("%q is no time of the day: write it like 10:15 or 10:15:30", s)
}

// longest is the longest that a step may wait.
const longest = 10 * time.Hour

func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > longest {
		return 0, fmt.Errorf("%q is no time to wait: write it like 500ms, 30s or 5m", s)
	}
	return d, nil
}

// match finds the phrase of a step.
func (p *parser) match(s *Step, text string) {
	for _, c := range p.phrases {
		words := c.re.FindStringSubmatch(text)
		if c.Section != s.Section || words == nil {
			continue
		}
		s.Phrase, s.Words = c.Pattern, words[1:]
		if !p.wordsAreRight(c, words[1:]) {
			return
		}
		p.s.Steps = append(p.s.Steps, *s)
		return
	}
	p.wrong("%q is nothing that a %s can say; it can say:\n%s", text, s.Section, known(p.phrases, s.Section))
}

// wordsAreRight checks the words that have to be from a list.
func (p *parser) wordsAreRight(c compiled, words []string) bool {
	presences := Presences()
	for i, name := range c.names {
		list := []string{words[i]}
		switch {
		case name == "PRESENCE":
		case name == "LIST" && strings.Contains(c.Pattern, "Teams"):
			list = List(words[i])
		default:
			continue
		}
		for _, word := range list {
			if presences[word] == "" {
				p.wrong("%q is nothing that Teams shows: write one of %s", word, strings.Join(slices.Sorted(maps.Keys(presences)), ", "))
				return false
			}
		}
	}
	return true
}

// List is the items of a LIST.
func List(s string) []string {
	items := strings.Split(s, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// known lists what a section can say.
func known(phrases []compiled, section Section) string {
	var b strings.Builder
	for _, c := range phrases {
		if c.Section == section {
			fmt.Fprintf(&b, "\t%s\n", c.Pattern)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
