package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"presencebridge/bridge/presence"
)

// word is a scalar and where it stands. The zero value is an absent one.
type word struct {
	text string
	line int
}

func (w word) given() bool { return w.line != 0 }

// UnmarshalYAML takes one scalar.
func (w *word) UnmarshalYAML(n ast.Node) error {
	if a, ok := n.(*ast.AnchorNode); ok {
		n = a.Value
	}
	scalar, ok := n.(ast.ScalarNode)
	if _, null := n.(*ast.NullNode); !ok || null {
		return fmt.Errorf("line %d: a word is wanted here, not a list, a mapping or nothing", lineOf(n))
	}
	*w = word{text: strings.TrimSpace(fmt.Sprint(scalar.GetValue())), line: max(lineOf(n), 1)}
	return nil
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
	Preset     word        `yaml:"preset"`
	TeamsToPBX []yamlRule  `yaml:"teams_to_pbx"`
	PBXToTeams []yamlRule  `yaml:"pbx_to_teams"`
	Groups     []yamlGroup `yaml:"groups"`
}

type yamlGroup struct {
	Group      word       `yaml:"group"`
	OptOut     word       `yaml:"opt_out"`
	Preset     word       `yaml:"preset"`
	TeamsToPBX []yamlRule `yaml:"teams_to_pbx"`
	PBXToTeams []yamlRule `yaml:"pbx_to_teams"`
}

// yamlRule has the keys of both directions, so that one which stands in the wrong direction is told from one that does
// not exist.
type yamlRule struct {
	When  yamlWhen `yaml:"when"`
	Set   yamlSet  `yaml:"set"`
	Class word     `yaml:"class"`
}

type yamlWhen struct {
	Availability words `yaml:"availability"`
	Activity     words `yaml:"activity"`
	OutOfOffice  word  `yaml:"out_of_office"`
	Line         words `yaml:"line"`
	Status       words `yaml:"status"`
	StatusKind   words `yaml:"status_kind"`
	Group        words `yaml:"group"`
	PBX          words `yaml:"pbx"`
}

type yamlSet struct {
	Status     word `yaml:"status"`
	StatusKind word `yaml:"status_kind"`
	Presence   word `yaml:"presence"`
	Method     word `yaml:"method"`
	For        word `yaml:"for"`
	Message    word `yaml:"message"`
	Class      word `yaml:"class"`
}

// Parse reads the `policy:` section of an account. An unknown key, word or preset, a key that means nothing in its
// direction, and a pair that Graph would refuse, is an error that names the line, the rule and the remedy; all wrong
// rules are reported at once. Lines are counted from the beginning of src: hand the section over with as many empty lines
// before it as the file has.
func Parse(src []byte) (*Policy, error) {
	where, err := index(src)
	if err != nil {
		return nil, err
	}
	var y yamlPolicy
	if err := yaml.UnmarshalWithOptions(src, &y, yaml.Strict()); err != nil {
		return nil, syntaxError(err)
	}
	var errs []error
	p := &Policy{}
	if y.Preset.given() {
		preset, err := presetOf(y.Preset, "preset")
		if err != nil {
			return nil, err
		}
		p.Preset, p.TeamsToPBX, p.PBXToTeams = preset.Preset, preset.TeamsToPBX, preset.PBXToTeams
	}
	if y.TeamsToPBX != nil {
		p.TeamsToPBX = teamsRulesOf(y.TeamsToPBX, teamsToPBX, where.rules[teamsToPBX], &errs)
	}
	if y.PBXToTeams != nil {
		p.PBXToTeams = pbxRulesOf(y.PBXToTeams, pbxToTeams, where.rules[pbxToTeams], &errs)
	}
	for i := range y.Groups {
		p.Groups = append(p.Groups, y.Groups[i].policy(i, where, &errs))
	}
	errs = append(errs, repeatedGroups(p.Groups)...)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.resolver = newResolver(p)
	return p, nil
}

// The keys that hold rules, and groups.
const (
	teamsToPBX = "teams_to_pbx"
	pbxToTeams = "pbx_to_teams"
	groupsKey  = "groups"
)

// Error is one thing that is wrong with a policy. [Parse] joins them, so that [errors.As] finds the first; all of them
// are behind Unwrap() []error.
type Error struct {
	Line int    // of the YAML
	Path string // of the key: teams_to_pbx[0].when.line; "" for a mistake of the YAML itself
	Text string // what is wrong, and what to write instead
}

// Error is the mistake as one line.
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Text)
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, e.Path, e.Text)
}

func presetOf(w word, path string) (Policy, error) {
	preset, ok := Presets()[w.text]
	if !ok {
		return Policy{}, &Error{Line: w.line, Path: path, Text: fmt.Sprintf("there is no preset %q; use one of %s",
			w.text, strings.Join(presetNames(), ", "))}
	}
	return preset, nil
}

func teamsRulesOf(ys []yamlRule, path string, lines []int, errs *[]error) []TeamsRule {
	out := make([]TeamsRule, 0, len(ys))
	for i := range ys {
		check := checker{line: at(lines, i), rule: fmt.Sprintf("%s[%d]", path, i)}
		rule := ys[i].towardsPBX(&check)
		rule.Line, rule.Path = check.line, check.rule
		out = append(out, rule)
		*errs = append(*errs, check.errs...)
	}
	return out
}

func pbxRulesOf(ys []yamlRule, path string, lines []int, errs *[]error) []PBXRule {
	out := make([]PBXRule, 0, len(ys))
	for i := range ys {
		check := checker{line: at(lines, i), rule: fmt.Sprintf("%s[%d]", path, i)}
		rule := ys[i].towardsTeams(&check)
		rule.Line, rule.Path = check.line, check.rule
		out = append(out, rule)
		*errs = append(*errs, check.errs...)
	}
	return out
}

// policy reads the override of a group.
func (y *yamlGroup) policy(i int, where lineIndex, errs *[]error) GroupPolicy {
	path := fmt.Sprintf("%s[%d]", groupsKey, i)
	check := checker{line: at(where.rules[groupsKey], i), rule: path}
	g := GroupPolicy{Group: y.Group.text, Line: check.line}
	if g.Group == "" {
		check.wrong(y.Group.line, "group", "is missing; give the group's Entra object id or its display name")
	}
	if y.OptOut.given() {
		var ok bool
		if g.OptOut, ok = presence.ParseDirections(y.OptOut.text); !ok {
			check.wrong(y.OptOut.line, "opt_out", "%q is none of none, teams_to_pbx, pbx_to_teams, both", y.OptOut.text)
		}
	}
	if y.Preset.given() {
		preset, err := presetOf(y.Preset, path+".preset")
		if err != nil {
			check.errs = append(check.errs, err)
		}
		g.TeamsToPBX, g.PBXToTeams = preset.TeamsToPBX, preset.PBXToTeams
		setPaths(path+".", g.TeamsToPBX, g.PBXToTeams)
		g.HasTeamsToPBX, g.HasPBXToTeams = true, true
	}
	var lines map[string][]int
	if i < len(where.groups) {
		lines = where.groups[i]
	}
	if y.TeamsToPBX != nil {
		g.TeamsToPBX, g.HasTeamsToPBX = teamsRulesOf(y.TeamsToPBX, path+"."+teamsToPBX, lines[teamsToPBX], &check.errs), true
	}
	if y.PBXToTeams != nil {
		g.PBXToTeams, g.HasPBXToTeams = pbxRulesOf(y.PBXToTeams, path+"."+pbxToTeams, lines[pbxToTeams], &check.errs), true
	}
	if len(check.errs) == 0 && !y.OptOut.given() && !g.HasTeamsToPBX && !g.HasPBXToTeams {
		check.wrong(0, "group", "changes nothing; give opt_out, preset, teams_to_pbx or pbx_to_teams, or remove it")
	}
	*errs = append(*errs, check.errs...)
	return g
}

// repeatedGroups finds groups that are named twice: the second could never count.
func repeatedGroups(gs []GroupPolicy) (errs []error) {
	first := map[string]int{}
	for i := range gs {
		key := strings.ToLower(gs[i].Group)
		if line, again := first[key]; again && key != "" {
			errs = append(errs, &Error{Line: gs[i].Line, Path: fmt.Sprintf("groups[%d].group", i),
				Text: fmt.Sprintf("%q is named on line %d already, and only the first counts; join the two", gs[i].Group, line)})
		}
		first[key] = gs[i].Line
	}
	return errs
}

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
		message = "something else is wanted here: rules are a list of mappings"
	}
	message += didYouMean(message)
	return &Error{Line: line, Text: fmt.Sprintf("%s (the keys are preset, teams_to_pbx, pbx_to_teams and groups; a rule has when, set and class; "+
		"when has availability, activity, out_of_office, line, status, status_kind, group, pbx; set has status, status_kind, presence, method, for, message, class; "+
		"a group has group, opt_out, preset, teams_to_pbx, pbx_to_teams)", message)}
}

// lineIndex says where each rule and each group stands.
type lineIndex struct {
	rules  map[string][]int   // by the key that holds the list
	groups []map[string][]int // the same within each group
}

func at(lines []int, i int) int {
	if i < len(lines) {
		return lines[i]
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
		if tags := ast.Filter(ast.TagType, doc.Body); len(tags) > 0 { // the decoder does not bear them everywhere
			return idx, fmt.Errorf("line %d: the tag %s has no meaning here; remove it", lineOf(tags[0]), tags[0].GetToken().Value)
		}
		if bodies++; bodies > 1 {
			return idx, fmt.Errorf("line %d: a second document begins; a policy is one mapping", lineOf(doc.Body))
		}
		top, ok := doc.Body.(*ast.MappingNode)
		if !ok {
			continue // what else it may be, decoding says
		}
		idx.groups = indexLists(top, idx.rules)[groupsKey]
	}
	return idx, nil
}

// indexLists notes the lines of the elements of every list in a mapping, and looks one level into their mappings.
func indexLists(m *ast.MappingNode, lines map[string][]int) map[string][]map[string][]int {
	inner := map[string][]map[string][]int{}
	for _, kv := range m.Values {
		key := kv.Key.GetToken().Value
		value := kv.Value
		if a, ok := value.(*ast.AnchorNode); ok {
			value = a.Value
		}
		seq, ok := value.(*ast.SequenceNode)
		if !ok {
			continue
		}
		for _, v := range seq.Values {
			lines[key] = append(lines[key], lineOf(v))
			if a, ok := v.(*ast.AnchorNode); ok {
				v = a.Value
			}
			within := map[string][]int{}
			if sub, ok := v.(*ast.MappingNode); ok && key == groupsKey {
				indexLists(sub, within)
			}
			inner[key] = append(inner[key], within)
		}
	}
	return inner
}
