package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"presencebridge/bridge/presence"
)

// word is a scalar and where it stands.
type word struct {
	text string
	line int
}

// words is a YAML scalar or list of scalars.
type words []word

// UnmarshalYAML takes `InACall` as well as `[InACall, Presenting]`.
func (w *words) UnmarshalYAML(n ast.Node) error {
	if a, ok := n.(*ast.AnchorNode); ok {
		n = a.Value
	}
	items := []ast.Node{n}
	if seq, ok := n.(*ast.SequenceNode); ok {
		items = seq.Values
	}
	*w = make(words, 0, len(items))
	for _, item := range items {
		line := lineOf(item)
		scalar, ok := item.(ast.ScalarNode)
		if _, null := item.(*ast.NullNode); !ok || null {
			return fmt.Errorf("line %d: want a word or a list of words", line)
		}
		*w = append(*w, word{text: fmt.Sprint(scalar.GetValue()), line: line})
	}
	return nil
}

func (w words) texts() []string {
	var out []string
	for _, x := range w {
		out = append(out, x.text)
	}
	return out
}

func lineOf(n ast.Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0
	}
	return n.GetToken().Position.Line
}

type yamlPolicy struct {
	Preset     string          `yaml:"preset"`
	TeamsToPBX []yamlTeamsRule `yaml:"teams_to_pbx"`
	PBXToTeams []yamlPBXRule   `yaml:"pbx_to_teams"`
}

type yamlTeamsRule struct {
	When struct {
		Availability words `yaml:"availability"`
		Activity     words `yaml:"activity"`
		PBX          words `yaml:"pbx"`
	} `yaml:"when"`
	Set struct {
		Status     string `yaml:"status"`
		StatusKind string `yaml:"status_kind"`
	} `yaml:"set"`
	Class string `yaml:"class"`
}

type yamlPBXRule struct {
	When struct {
		Line       words `yaml:"line"`
		Status     words `yaml:"status"`
		StatusKind words `yaml:"status_kind"`
		PBX        words `yaml:"pbx"`
	} `yaml:"when"`
	Set struct {
		Presence string `yaml:"presence"`
	} `yaml:"set"`
	Class string `yaml:"class"`
}

// Parse reads the `policy:` section of an account. An unknown key, word or preset, and a pair that Graph
// would refuse, is an error that names the line, the rule and the remedy; all wrong rules are reported at once. Lines
// are counted from the beginning of src: hand the section over with as many empty lines before it as the file has.
func Parse(src []byte) (*Policy, error) {
	where, err := index(src)
	if err != nil {
		return nil, err
	}
	var y yamlPolicy
	if err := yaml.UnmarshalWithOptions(src, &y, yaml.Strict()); err != nil {
		return nil, syntaxError(err)
	}
	p := &Policy{}
	if y.Preset != "" {
		preset, ok := Presets()[y.Preset]
		if !ok {
			return nil, fmt.Errorf("line %d: preset: there is no preset %q; use one of %s",
				where.preset, y.Preset, strings.Join(presetNames(), ", "))
		}
		*p = preset
	}
	var errs []error
	if y.TeamsToPBX != nil {
		p.TeamsToPBX = nil
		for i, r := range y.TeamsToPBX {
			line := where.of(teamsToPBX, i)
			check := checker{line: line, rule: fmt.Sprintf("%s[%d]", teamsToPBX, i)}
			rule := r.rule(&check)
			rule.Line = line
			errs = append(errs, check.errs...)
			p.TeamsToPBX = append(p.TeamsToPBX, rule)
		}
	}
	if y.PBXToTeams != nil {
		p.PBXToTeams = nil
		for i, r := range y.PBXToTeams {
			line := where.of(pbxToTeams, i)
			check := checker{line: line, rule: fmt.Sprintf("%s[%d]", pbxToTeams, i)}
			rule := r.rule(&check)
			rule.Line = line
			errs = append(errs, check.errs...)
			p.PBXToTeams = append(p.PBXToTeams, rule)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// The two directions, as keys.
const (
	teamsToPBX = "teams_to_pbx"
	pbxToTeams = "pbx_to_teams"
)

// syntaxError words a mistake of the YAML itself in one line.
func syntaxError(err error) error {
	var y yaml.Error
	if !errors.As(err, &y) {
		return err
	}
	line := 0
	if t := y.GetToken(); t != nil && t.Position != nil {
		line = t.Position.Line
	}
	message := y.GetMessage()
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		message = "a word is wanted here, not a list, a mapping or nothing"
	}
	return fmt.Errorf("line %d: %s (the keys are preset, teams_to_pbx and pbx_to_teams; a rule has when, set and class)", line, message)
}

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
	c.errs = append(c.errs, fmt.Errorf("line %d: %s.%s: %s", line, c.rule, field, fmt.Sprintf(format, args...)))
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

const kinds = "available, busy, dnd, away, out, custom"

func (y *yamlTeamsRule) rule(c *checker) TeamsRule {
	r := TeamsRule{When: TeamsCondition{
		Availability: c.graphWords("when.availability", y.When.Availability),
		Activity:     c.graphWords("when.activity", y.When.Activity),
		PBX:          y.When.PBX.texts(),
	}}
	r.Set = SetStatus{Name: strings.TrimSpace(y.Set.Status), Class: c.class(y.Class)}
	if y.Set.StatusKind != "" {
		k, ok := presence.ParseKind(y.Set.StatusKind)
		if !ok {
			c.wrong(0, "set.status_kind", "%q is none of %s", y.Set.StatusKind, kinds)
		}
		r.Set.Kind = k
	}
	if r.Set.Name == "" && r.Set.Kind == presence.KindUnknown {
		c.wrong(0, "set", "give status (a name) or status_kind")
	}
	return r
}

func (y *yamlPBXRule) rule(c *checker) PBXRule {
	r := PBXRule{When: PBXCondition{Status: y.When.Status.texts(), PBX: y.When.PBX.texts()}}
	for _, w := range y.When.Line {
		l, ok := presence.ParseLine(w.text)
		if !ok || l == presence.LineUnknown {
			c.wrong(w.line, "when.line", "%q is none of idle, ringing, in-call, on-hold, offline", w.text)
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
	r.Set.Pair = presence.ParsePairString(y.Set.Presence)
	if !settable(r.Set.Pair) {
		c.wrong(0, "set.presence", "Graph's setPresence does not take %q; use one of %s", y.Set.Presence, settableNames())
	}
	if r.Set.Class = c.class(y.Class); r.Set.Class == "" {
		r.Set.Class = ClassOfPair(r.Set.Pair)
	}
	return r
}

// class reads a rule's class; "" follows from what the rule sets.
func (c *checker) class(s string) presence.Class {
	switch class := presence.Class(s); class {
	case "", presence.ClassCall, presence.ClassDND, presence.ClassBusy, presence.ClassAway:
		return class
	}
	c.wrong(0, "class", "%q is none of call, dnd, busy, away", s)
	return ""
}

// settablePairs are the pairs that setPresence accepts (learn:api/presence-setpresence).
func settablePairs() []presence.Pair {
	return []presence.Pair{
		{Availability: presence.Available, Activity: presence.Available},
		{Availability: presence.Busy, Activity: presence.InACall},
		{Availability: presence.Busy, Activity: presence.InAConferenceCall},
		{Availability: presence.Away, Activity: presence.Away},
		{Availability: presence.DoNotDisturb, Activity: presence.Presenting},
	}
}

func settable(p presence.Pair) bool { return slices.Contains(settablePairs(), p) }

func settableNames() string {
	names := make([]string, 0, len(settablePairs()))
	for _, p := range settablePairs() {
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}

// lineIndex says where the preset and each rule stand.
type lineIndex struct {
	preset int
	rules  map[string][]int
}

func (l lineIndex) of(direction string, i int) int {
	if i < len(l.rules[direction]) {
		return l.rules[direction][i]
	}
	return 0
}

// index finds where things stand, so that an error can name the line.
func index(src []byte) (lineIndex, error) {
	idx := lineIndex{rules: map[string][]int{}}
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return idx, syntaxError(err)
	}
	bodies := 0
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if bodies++; bodies > 1 {
			return idx, fmt.Errorf("line %d: a second document begins; a policy is one mapping", lineOf(doc.Body))
		}
		top, ok := doc.Body.(*ast.MappingNode)
		if !ok {
			continue // what else it may be, decoding says
		}
		for _, kv := range top.Values {
			idx.add(kv)
		}
	}
	return idx, nil
}

func (l *lineIndex) add(kv *ast.MappingValueNode) {
	key := kv.Key.GetToken().Value
	if key == "preset" {
		l.preset = lineOf(kv.Value)
	}
	value := kv.Value
	if a, ok := value.(*ast.AnchorNode); ok {
		value = a.Value
	}
	if seq, ok := value.(*ast.SequenceNode); ok {
		for _, v := range seq.Values {
			l.rules[key] = append(l.rules[key], lineOf(v))
		}
	}
}
