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

// words is a YAML scalar or list of scalars.
type words []string

// UnmarshalYAML takes `InACall` as well as `[InACall, Presenting]`.
func (w *words) UnmarshalYAML(b []byte) error {
	var list []string
	if err := yaml.Unmarshal(b, &list); err == nil {
		*w = list
		return nil
	}
	var one string
	if err := yaml.Unmarshal(b, &one); err != nil {
		return errors.New("want a word or a list of words")
	}
	*w = words{one}
	return nil
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
// would refuse, is an error that names the rule and the remedy; all of them are reported at once.
func Parse(src []byte) (*Policy, error) {
	var y yamlPolicy
	if err := yaml.UnmarshalWithOptions(src, &y, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("policy: %s", yaml.FormatError(err, false, true))
	}
	p := &Policy{}
	if y.Preset != "" {
		preset, ok := Presets()[y.Preset]
		if !ok {
			return nil, fmt.Errorf("policy.preset: there is no preset %q; use one of %s", y.Preset, strings.Join(presetNames(), ", "))
		}
		*p = preset
	}
	lines := ruleLines(src)
	var errs []error
	if y.TeamsToPBX != nil {
		p.TeamsToPBX = nil
		for i, r := range y.TeamsToPBX {
			rule, err := r.rule()
			rule.Line = lines.of("teams_to_pbx", i)
			errs = append(errs, ruleError("teams_to_pbx", i, rule.Line, err))
			p.TeamsToPBX = append(p.TeamsToPBX, rule)
		}
	}
	if y.PBXToTeams != nil {
		p.PBXToTeams = nil
		for i, r := range y.PBXToTeams {
			rule, err := r.rule()
			rule.Line = lines.of("pbx_to_teams", i)
			errs = append(errs, ruleError("pbx_to_teams", i, rule.Line, err))
			p.PBXToTeams = append(p.PBXToTeams, rule)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

func ruleError(direction string, i, line int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("policy.%s[%d] (line %d of the policy): %w", direction, i, line, err)
}

func (y *yamlTeamsRule) rule() (TeamsRule, error) {
	var errs []error
	known := func(field string, ws words) []string {
		for _, w := range ws {
			if _, ok := presence.ParseWord(w); !ok {
				errs = append(errs, fmt.Errorf("when.%s: Graph has no word %q", field, w))
			}
		}
		return ws
	}
	r := TeamsRule{When: TeamsCondition{
		Availability: known("availability", y.When.Availability),
		Activity:     known("activity", y.When.Activity),
		PBX:          y.When.PBX,
	}}
	r.Set = SetStatus{Name: y.Set.Status}
	if y.Set.StatusKind != "" {
		k, ok := presence.ParseKind(y.Set.StatusKind)
		if !ok {
			errs = append(errs, kindError("set.status_kind", y.Set.StatusKind))
		}
		r.Set.Kind = k
	}
	if r.Set.Name == "" && r.Set.Kind == presence.KindUnknown {
		errs = append(errs, errors.New("set: give status (a name) or status_kind"))
	}
	var err error
	r.Set.Class, err = parseClass(y.Class)
	return r, errors.Join(append(errs, err)...)
}

func (y *yamlPBXRule) rule() (PBXRule, error) {
	var errs []error
	r := PBXRule{When: PBXCondition{Status: y.When.Status, PBX: y.When.PBX}}
	for _, w := range y.When.Line {
		l, ok := presence.ParseLine(w)
		if !ok || l == presence.LineUnknown {
			errs = append(errs, fmt.Errorf("when.line: %q is none of idle, ringing, in-call, on-hold, offline", w))
		}
		r.When.Line = append(r.When.Line, l)
	}
	for _, w := range y.When.StatusKind {
		k, ok := presence.ParseKind(w)
		if !ok {
			errs = append(errs, kindError("when.status_kind", w))
		}
		r.When.StatusKind = append(r.When.StatusKind, k)
	}
	r.Set.Pair = presence.ParsePairString(y.Set.Presence)
	if !settable(r.Set.Pair) {
		errs = append(errs, fmt.Errorf("set.presence: Graph's setPresence does not take %q; use one of %s", y.Set.Presence, settableNames()))
	}
	class, err := parseClass(y.Class)
	if class == "" {
		class = ClassOfPair(r.Set.Pair)
	}
	r.Set.Class = class
	return r, errors.Join(append(errs, err)...)
}

func kindError(field, w string) error {
	return fmt.Errorf("%s: %q is none of available, busy, dnd, away, out, custom", field, w)
}

func parseClass(s string) (presence.Class, error) {
	switch c := presence.Class(s); c {
	case "", presence.ClassCall, presence.ClassDND, presence.ClassBusy, presence.ClassAway:
		return c, nil
	}
	return "", fmt.Errorf("class: %q is none of call, dnd, busy, away", s)
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

// lineIndex holds the line of each rule by direction.
type lineIndex map[string][]int

func (l lineIndex) of(direction string, i int) int {
	if i < len(l[direction]) {
		return l[direction][i]
	}
	return 0
}

// ruleLines finds where each rule begins, so that an error can name the line.
func ruleLines(src []byte) lineIndex {
	idx := lineIndex{}
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return idx
	}
	for _, doc := range file.Docs {
		top, ok := doc.Body.(*ast.MappingNode)
		if !ok {
			continue
		}
		for _, kv := range top.Values {
			seq, ok := kv.Value.(*ast.SequenceNode)
			if !ok {
				continue
			}
			for _, v := range seq.Values {
				idx[kv.Key.String()] = append(idx[kv.Key.String()], v.GetToken().Position.Line)
			}
		}
	}
	return idx
}
