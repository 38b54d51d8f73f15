// Package cases tries a policy on a table of cases: what is given on one side, and what is expected on the other. It is what
// `presence-bridge policy test` runs. DESIGN.md of package policy describes the file.
package cases

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// Nothing is what is expected where no rule should set anything.
const Nothing = "nothing"

// Table is a file of cases.
type Table struct {
	Policy   string              `yaml:"policy"`   // file with the policy, relative to this one; "" if the caller knows
	Statuses map[string][]Status `yaml:"statuses"` // what each PBX offers; a PBX that is not listed takes whatever a rule names
	Cases    []Case              `yaml:"cases"`
}

// Status is a status that a PBX offers.
type Status struct {
	Name string `yaml:"name"`
	Kind string `yaml:"kind"`
}

// Case is one row.
type Case struct {
	Name   string `yaml:"name"`
	Given  Given  `yaml:"given"`
	Expect Expect `yaml:"expect"`

	line int
}

// Given is how a member stands. The keys are those of a rule's `when`.
type Given struct {
	Teams        string   `yaml:"teams"` // a pair: Busy/InACall, or DoNotDisturb for both words alike
	OutOfOffice  *bool    `yaml:"out_of_office"`
	TeamsMessage string   `yaml:"teams_message"`
	Groups       []string `yaml:"groups"`
	OptOut       string   `yaml:"opt_out"`

	Phone     `yaml:",inline"`
	Endpoints []Phone `yaml:"endpoints"` // in place of the phone, for a member with several
}

// Phone is one endpoint.
type Phone struct {
	PBX          string `yaml:"pbx"` // default main
	Line         string `yaml:"line"`
	Status       string `yaml:"status"`
	StatusKind   string `yaml:"status_kind"`
	PhoneMessage string `yaml:"phone_message"`
}

// Expect is what should follow; a key that is absent is not looked at.
type Expect struct {
	// On the phone, or on the first one.
	Status       string  `yaml:"status"`
	StatusKind   string  `yaml:"status_kind"`
	PhoneMessage *string `yaml:"phone_message"`
	PhoneClass   string  `yaml:"phone_class"`
	// In Teams.
	Presence     string  `yaml:"presence"`
	Method       string  `yaml:"method"`
	For          string  `yaml:"for"`
	TeamsMessage *string `yaml:"teams_message"`
	TeamsClass   string  `yaml:"teams_class"`
}

// UnmarshalYAML remembers the line.
func (c *Case) UnmarshalYAML(n ast.Node) error {
	type plain Case
	if err := yaml.NodeToValue(n, (*plain)(c), yaml.Strict()); err != nil {
		return err
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		c.line = t.Position.Line
	}
	return nil
}

// Parse reads a table. A mistake is an error that names the line, or the case, and the remedy.
func Parse(src []byte) (*Table, error) {
	t := &Table{}
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return nil, syntaxError(err)
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if tags := ast.Filter(ast.TagType, doc.Body); len(tags) > 0 { // the decoder does not bear them everywhere
			return nil, fmt.Errorf("line %d: the tag %s has no meaning here; remove it", tags[0].GetToken().Position.Line, tags[0].GetToken().Value)
		}
	}
	if err := yaml.UnmarshalWithOptions(src, t, yaml.Strict()); err != nil {
		return nil, syntaxError(err)
	}
	if len(t.Cases) == 0 {
		return nil, errors.New("cases: is missing; give at least one: {name, given, expect}")
	}
	var errs []error
	for pbx, list := range t.Statuses {
		for _, s := range list {
			if _, ok := presence.ParseKind(s.Kind); !ok || s.Name == "" {
				errs = append(errs, fmt.Errorf("statuses.%s: a status has a name and a kind: available, busy, dnd, away, out, custom", pbx))
			}
		}
	}
	for i := range t.Cases {
		errs = append(errs, t.Cases[i].check()...)
	}
	return t, errors.Join(errs...)
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
	return fmt.Errorf("line %d: %s (a case has name, given and expect; given has teams, out_of_office, teams_message, groups, opt_out, pbx, line, status, "+
		"status_kind, phone_message, endpoints; expect has status, status_kind, phone_message, phone_class, presence, method, for, teams_message, teams_class)", line, y.GetMessage())
}

// check finds words that do not exist.
func (c *Case) check() (errs []error) {
	wrong := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("line %d: case %q: %s: %s", c.line, c.Name, field, fmt.Sprintf(format, args...)))
	}
	if c.Name == "" {
		wrong("name", "is missing; say in a few words what should happen")
	}
	if p := presence.ParsePairString(c.Given.Teams); c.Given.Teams != "" && !p.Known() {
		wrong("given.teams", "Graph has no state %q; write for example Busy/InACall or DoNotDisturb", c.Given.Teams)
	}
	if _, ok := presence.ParseDirections(c.Given.OptOut); c.Given.OptOut != "" && !ok {
		wrong("given.opt_out", "%q is none of none, teams_to_pbx, pbx_to_teams, both", c.Given.OptOut)
	}
	if len(c.Given.Endpoints) > 0 && c.Given.Phone != (Phone{}) {
		wrong("given.endpoints", "is given beside a single phone; put that into the list")
	}
	for _, ph := range c.Given.phones() {
		if _, ok := presence.ParseLine(ph.Line); !ok {
			wrong("given.line", "%q is none of idle, ringing, in-call, on-hold, offline", ph.Line)
		}
		if _, ok := presence.ParseKind(ph.StatusKind); ph.StatusKind != "" && !ok {
			wrong("given.status_kind", "%q is none of available, busy, dnd, away, out, custom", ph.StatusKind)
		}
	}
	if c.Expect == (Expect{}) {
		wrong("expect", "is missing; give status or presence, or %s for either", Nothing)
	}
	if _, err := time.ParseDuration(c.Expect.For); c.Expect.For != "" && err != nil {
		wrong("expect.for", "%q is no duration; write for example 8h", c.Expect.For)
	}
	return errs
}

// phones are the endpoints, one without anything said if none is given.
func (g *Given) phones() []Phone {
	if len(g.Endpoints) > 0 {
		return g.Endpoints
	}
	return []Phone{g.Phone}
}

// Result is how one case went.
type Result struct {
	Name  string   `json:"name"`
	Line  int      `json:"line"`
	Pass  bool     `json:"pass"`
	Wrong []string `json:"wrong,omitempty"` // what was expected and came out otherwise
	// What came out on the phone and in Teams, and where the rules stand that decided.
	Phone     string `json:"phone"`
	PhoneRule string `json:"phone_rule"`
	Teams     string `json:"teams"`
	TeamsRule string `json:"teams_rule"`
	// Asked: which of the two was expected something of.
	AskedPhone bool `json:"-"`
	AskedTeams bool `json:"-"`
}

// Run tries the policy, which stands in that file, on every case.
func (t *Table) Run(p *policy.Policy, file string) []Result {
	out := make([]Result, 0, len(t.Cases))
	for i := range t.Cases {
		out = append(out, t.run(&t.Cases[i], p, file))
	}
	return out
}

func (t *Table) run(c *Case, account *policy.Policy, file string) Result {
	optOut, _ := presence.ParseDirections(c.Given.OptOut)
	p := account.For(c.Given.Groups, optOut)
	eps := t.endpoints(&c.Given)
	r := Result{Name: c.Name, Line: c.line, Pass: true, Phone: Nothing, Teams: Nothing}

	st := policy.TeamsState{Pair: presence.ParsePairString(c.Given.Teams), Message: c.Given.TeamsMessage}
	if c.Given.Teams == "" {
		st.Pair = presence.Pair{}
	}
	if o := c.Given.OutOfOffice; o != nil {
		st.OutOfOffice = presence.AbsenceNo
		if *o {
			st.OutOfOffice = presence.AbsenceYes
		}
	}
	phone := policy.PBXWant{}
	if c.Given.Teams != "" || st.OutOfOffice != "" { // a side that is not known asserts nothing (R4)
		phone = p.ForPBX(eps[0].ID.PBX, t.catalogue(eps[0].ID.PBX), st)
		if rule := p.TeamsRuleFor(eps[0].ID.PBX, st); rule != nil {
			r.PhoneRule = account.Where(file, rule.Line, rule.Path)
		}
	}
	teams := p.ForTeams(eps)
	if rule, _ := p.PBXRuleFor(eps); rule != nil {
		r.TeamsRule = account.Where(file, rule.Line, rule.Path)
	}
	if !phone.IsZero() {
		r.Phone = fmt.Sprintf("%q (%s)", phone.Status.String(), phone.Class)
	}
	if !teams.IsZero() {
		r.Teams = teams.Pair.String() + " (" + string(teams.Class) + ")"
		if teams.Method.Preferred() {
			r.Teams += ", preferred for " + teams.For.String()
		}
	}
	r.comparePhone(&c.Expect, phone)
	r.compareTeams(&c.Expect, teams)
	r.Pass = len(r.Wrong) == 0
	return r
}

func (t *Table) endpoints(g *Given) []policy.Endpoint {
	var out []policy.Endpoint
	for i, ph := range g.phones() {
		name := ph.PBX
		if name == "" {
			name = "main"
		}
		ep := policy.Endpoint{ID: presence.EndpointID{PBX: name, User: fmt.Sprint(i + 1)}, Message: ph.PhoneMessage}
		ep.Line, _ = presence.ParseLine(ph.Line)
		ep.Status.Name = ph.Status
		if ph.StatusKind != "" {
			ep.Status.Kind, _ = presence.ParseKind(ph.StatusKind)
		} else if st, ok := t.catalogue(name).Find(ph.Status); ok && ph.Status != "" {
			ep.Status = st
		}
		out = append(out, ep)
	}
	return out
}

func (t *Table) catalogue(pbx string) policy.Catalogue {
	for name, list := range t.Statuses {
		if !strings.EqualFold(name, pbx) {
			continue
		}
		var c policy.Catalogue
		for _, s := range list {
			k, _ := presence.ParseKind(s.Kind)
			c = append(c, presence.Status{Name: s.Name, Kind: k})
		}
		return c
	}
	return nil
}

func (r *Result) wrong(field, got, want string) {
	r.Wrong = append(r.Wrong, fmt.Sprintf("%s is %s, expected %s", field, got, want))
}

func (r *Result) comparePhone(e *Expect, w policy.PBXWant) {
	if e.Status != "" {
		got := Nothing
		if !w.IsZero() {
			got = w.Status.String()
		}
		if !strings.EqualFold(got, e.Status) {
			r.wrong("status", got, e.Status)
		}
	}
	compare(r, "status_kind", orNothing(string(w.Status.Kind)), e.StatusKind)
	compare(r, "phone_class", orNothing(string(w.Class)), e.PhoneClass)
	if m := e.PhoneMessage; m != nil && w.Message != *m {
		r.wrong("phone_message", fmt.Sprintf("%q", w.Message), fmt.Sprintf("%q", *m))
	}
	r.AskedPhone = e.Status+e.StatusKind+e.PhoneClass != "" || e.PhoneMessage != nil
}

func (r *Result) compareTeams(e *Expect, w policy.TeamsWant) {
	if e.Presence != "" {
		got, want := Nothing, e.Presence
		if !w.IsZero() {
			got = w.Pair.String()
		}
		if !strings.EqualFold(want, Nothing) {
			want = presence.ParsePairString(want).String()
		}
		if !strings.EqualFold(got, want) {
			r.wrong("presence", got, want)
		}
	}
	compare(r, "method", orNothing(string(w.Method)), e.Method)
	compare(r, "teams_class", orNothing(string(w.Class)), e.TeamsClass)
	if want, err := time.ParseDuration(e.For); err == nil && w.For != want {
		r.wrong("for", w.For.String(), want.String())
	}
	if m := e.TeamsMessage; m != nil && w.Message != *m {
		r.wrong("teams_message", fmt.Sprintf("%q", w.Message), fmt.Sprintf("%q", *m))
	}
	r.AskedTeams = e.Presence+e.Method+e.TeamsClass+e.For != "" || e.TeamsMessage != nil
}

func compare(r *Result, field, got, want string) {
	if want != "" && !strings.EqualFold(got, want) {
		r.wrong(field, got, want)
	}
}

func orNothing(s string) string {
	if s == "" {
		return Nothing
	}
	return s
}

// Failed counts the cases that did not come out as expected.
func Failed(rs []Result) int {
	return len(slices.DeleteFunc(slices.Clone(rs), func(r Result) bool { return r.Pass }))
}
