package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"presencebridge/bridge/presence"
)

// Site is what is known of the PBXs that a policy is for.
type Site struct {
	// PBX holds what each PBX offers, by name; an empty catalogue is one that is not known. Nil or empty: nothing is
	// known, and a rule may be for any PBX.
	PBX map[string]Catalogue
}

// Code says what sort of finding it is.
type Code string

// The codes.
const (
	Unreachable   Code = "unreachable"    // never decides: rules before it take everything that it matches, or nothing is like it
	NeverShown    Code = "never_shown"    // waits for a pair of words that Graph does not document together
	NotOffered    Code = "not_offered"    // a PBX that it is for has no such status
	UnknownPBX    Code = "unknown_pbx"    // names a PBX that is not configured
	UnknownStatus Code = "unknown_status" // waits for a status that no PBX that it is for has
	MapsNothing   Code = "maps_nothing"   // the policy has no rules at all
)

// Finding is something about a policy that is allowed and hardly meant.
type Finding struct {
	Code   Code
	Line   int    // of the YAML, 0 for a preset's
	Rule   string // its path, "" for the policy as a whole
	Text   string
	Remedy string
}

// String is the finding as one line.
func (f Finding) String() string {
	at := f.Rule
	if f.Line > 0 {
		at = fmt.Sprintf("line %d: %s", f.Line, at)
	}
	return strings.TrimPrefix(fmt.Sprintf("%s: %s; %s", at, f.Text, f.Remedy), ": ")
}

// Check looks for rules that can never decide and for ones that do not fit the PBXs of the site. It is exact: a rule that
// is reported as [Unreachable] decides for no member, no state of Teams and no endpoint, and every other one for some.
// (States of Teams are what Graph's two words can say, whatever the words; of a PBX whose statuses are known, no others
// are taken to exist than those and the custom ones that it does not list.)
func (p *Policy) Check(site Site) []Finding {
	p = p.account()
	c := &check{p: p, site: site}
	total := 0
	for rules := range p.teamsRules() {
		total += len(rules)
	}
	for rules := range p.pbxRules() {
		total += len(rules)
	}
	optOuts := slices.ContainsFunc(p.Groups, func(g GroupPolicy) bool { return g.OptOut != 0 })
	if total == 0 && !optOuts {
		c.find(MapsNothing, 0, "", "the policy maps nothing in either direction", "give a preset or rules")
		return c.found
	}
	c.teams()
	c.phones()
	slices.SortStableFunc(c.found, func(a, b Finding) int { return a.Line - b.Line })
	return c.found
}

type check struct {
	p     *Policy
	site  Site
	found []Finding
}

func (c *check) find(code Code, line int, rule, text, remedy string) {
	c.found = append(c.found, Finding{Code: code, Line: line, Rule: rule, Text: text, Remedy: remedy})
}

// standings are the policies of members who may be the first to be decided for by a rule that asks for one of these groups.
// These few stand for all, since being in more groups only makes more rules match that stand before others. Of members for
// whom the same rules are left, one is enough.
func (c *check) standings(groups []string) []*Policy {
	var out []*Policy
	known := map[string]bool{}
	try := func(in ...string) {
		p := c.p.resolve(in, 0)
		var key strings.Builder
		for i := range p.TeamsToPBX {
			key.WriteString(p.TeamsToPBX[i].Path + " ")
		}
		for i := range p.PBXToTeams {
			key.WriteString(p.PBXToTeams[i].Path + " ")
		}
		if !known[key.String()] {
			known[key.String()] = true
			out = append(out, p)
		}
	}
	try()
	for _, g := range groups {
		try(g)
	}
	for i := range c.p.Groups {
		own := c.p.Groups[i].Group
		try(own)
		for _, g := range groups {
			try(own, g)
		}
	}
	return out
}

// pbxs are the names of PBXs that rules can tell apart.
func (c *check) pbxs(named []string) []string {
	if len(c.site.PBX) > 0 {
		return slices.Sorted(maps.Keys(c.site.PBX))
	}
	return append(unique(named), somethingElse)
}

// somethingElse stands for every word that no rule names.
const somethingElse = "\x00other"

// tried is what became of one rule.
type tried struct {
	matched bool            // it matches something
	decided bool            // and is the first to do so
	before  map[string]bool // the rules that were first instead
}

func (t *tried) note(path, first string) {
	t.matched = true
	if path == first {
		t.decided = true
		return
	}
	if t.before == nil {
		t.before = map[string]bool{}
	}
	t.before[first] = true
}

// verdict reports a rule that never decides.
func (c *check) verdict(t *tried, line int, path, nothing string) {
	switch {
	case t.decided:
	case t.matched:
		first := slices.Sorted(maps.Keys(t.before))
		verb := " takes"
		if len(first) > 1 {
			verb = " take"
		}
		c.find(Unreachable, line, path, "it can never decide: "+c.inWords(first)+verb+" everything that it matches",
			"move it up, narrow what stands before it, or remove it")
	default:
		c.find(Unreachable, line, path, "it can never decide: "+nothing,
			"correct its conditions, or remove it")
	}
}

// inWords names rules with their lines.
func (c *check) inWords(paths []string) string {
	lines := map[string]int{}
	for rules := range c.p.teamsRules() {
		for i := range rules {
			lines[rules[i].Path] = rules[i].Line
		}
	}
	for rules := range c.p.pbxRules() {
		for i := range rules {
			lines[rules[i].Path] = rules[i].Line
		}
	}
	out := make([]string, 0, len(paths))
	for _, path := range paths {
		if line := lines[path]; line > 0 {
			path += fmt.Sprintf(" (line %d)", line)
		}
		out = append(out, path)
	}
	return strings.Join(out, ", ")
}

// teams checks the rules towards the PBXs.
func (c *check) teams() {
	var pbxs, groups []string
	availability, activity := []string{somethingElse}, []string{somethingElse}
	for rules := range c.p.teamsRules() {
		for i := range rules {
			w := &rules[i].When
			pbxs, groups = append(pbxs, w.PBX...), append(groups, w.Group...)
			availability, activity = append(availability, canonicalWords(w.Availability)...), append(activity, canonicalWords(w.Activity)...)
		}
	}
	seen := map[string]*tried{}
	states := teamsStates(unique(availability), unique(activity))
	for _, who := range c.standings(unique(groups)) {
		for _, pbx := range c.pbxs(pbxs) {
			for _, st := range states {
				first := who.TeamsRuleFor(pbx, st)
				if first == nil {
					continue
				}
				for i := range who.TeamsToPBX {
					if r := &who.TeamsToPBX[i]; r.When.matches(pbx, st) {
						of(seen, r.Path).note(r.Path, first.Path)
					}
				}
			}
		}
	}
	for rules := range c.p.teamsRules() {
		for i := range rules {
			r := &rules[i]
			if c.named(r.Line, r.Path, r.When.PBX) {
				c.verdict(of(seen, r.Path), r.Line, r.Path, "nobody whom these rules are for can show that in Teams")
			}
			c.wording(r)
			c.offered(r)
		}
	}
}

func of(seen map[string]*tried, path string) *tried {
	if seen[path] == nil {
		seen[path] = &tried{}
	}
	return seen[path]
}

// teamsStates is every state of Teams that rules can tell apart, of those that the bridge can be told
// ([presence.ParsePair] brings the words in order).
func teamsStates(availability, activity []string) (out []TeamsState) {
	for _, av := range availability {
		for _, ac := range activity {
			p := presence.Pair{Availability: av, Activity: ac}
			if presence.ParsePair(av, ac) != p {
				continue
			}
			for _, absent := range []presence.Absence{presence.AbsenceUnknown, presence.AbsenceNo, presence.AbsenceYes} {
				out = append(out, TeamsState{Pair: p, OutOfOffice: absent})
			}
		}
	}
	return out
}

// named checks that the PBXs that a rule names are configured. False: none is, and everything else follows from that.
func (c *check) named(line int, path string, pbxs []string) bool {
	if len(c.site.PBX) == 0 {
		return true
	}
	some := len(pbxs) == 0
	for _, name := range pbxs {
		known := slices.ContainsFunc(slices.Collect(maps.Keys(c.site.PBX)), func(n string) bool { return strings.EqualFold(n, name) })
		some = some || known
		if !known {
			c.find(UnknownPBX, line, path, fmt.Sprintf("it is for the PBX %q, which is not configured", name),
				"use one of: "+strings.Join(slices.Sorted(maps.Keys(c.site.PBX)), ", "))
		}
	}
	return some
}

// wording reports words that Graph does not say together.
func (c *check) wording(r *TeamsRule) {
	w := &r.When
	for _, av := range canonicalWords(w.Availability) {
		if p := presence.ParsePair(av, av); p.Availability != av {
			c.find(NeverShown, r.Line, r.Path, fmt.Sprintf("%s is an activity: Teams shows it with availability %s", av, p.Availability),
				fmt.Sprintf("write activity: %s", av))
		}
	}
	if len(w.Availability) == 0 || len(w.Activity) == 0 {
		return
	}
	if !slices.ContainsFunc(documentedPairs(), func(p presence.Pair) bool {
		return inFold(w.Availability, p.Availability) && inFold(w.Activity, p.Activity)
	}) {
		c.find(NeverShown, r.Line, r.Path, "Graph documents no state with such an availability and such an activity",
			"all lists of a rule have to match: give availability or activity alone, or correct one of them")
	}
}

// documentedPairs are the states that Graph's pages show (learn:api/resources/presence, and its table of what clients
// display).
func documentedPairs() []presence.Pair {
	var out []presence.Pair
	for availability, activities := range map[string][]string{
		presence.Available:     {presence.Available, presence.OutOfOffice, presence.AvailableInactive},
		presence.AvailableIdle: {presence.Available, presence.AvailableIdle, presence.OutOfOffice, presence.AvailableInactive},
		presence.Away:          {presence.Away, presence.Inactive, presence.OutOfOffice},
		presence.BeRightBack:   {presence.BeRightBack},
		presence.Busy:          {presence.Busy, presence.InACall, presence.InAConferenceCall, presence.InAMeeting, presence.OutOfOffice},
		presence.BusyIdle:      {presence.Busy, presence.BusyIdle, presence.InACall, presence.InAConferenceCall, presence.InAMeeting, presence.OutOfOffice},
		presence.DoNotDisturb: {
			presence.DoNotDisturb, presence.Presenting, presence.Focusing, presence.UrgentInterruptionsOnly, presence.OutOfOffice,
		},
		presence.Focusing:    {presence.Focusing, presence.DoNotDisturb},
		presence.Offline:     {presence.Offline, presence.OffWork, presence.OutOfOffice},
		presence.OutOfOffice: {presence.OutOfOffice},
		presence.Unknown:     {presence.Unknown},
	} {
		for _, activity := range activities {
			out = append(out, presence.Pair{Availability: availability, Activity: activity})
		}
	}
	return out
}

// offered reports PBXs that have no status that the rule could set.
func (c *check) offered(r *TeamsRule) {
	if r.Set.Name == "" && r.Set.Kind == presence.KindUnknown {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.site.PBX)) {
		site := c.site.PBX[name]
		if len(site) == 0 || !inFold(r.When.PBX, name) || !r.Set.resolve(site).IsZero() {
			continue
		}
		c.find(NotOffered, r.Line, r.Path, fmt.Sprintf("the PBX %s has no status %s, so nothing is set there", name, r.Set),
			"use one of: "+strings.Join(site.names(), ", ")+"; or give status_kind as well, for sites that call it differently")
	}
}

// String is what is set, for people to read.
func (s SetStatus) String() string {
	switch {
	case s.Name != "" && s.Kind != presence.KindUnknown:
		return fmt.Sprintf("%q, nor one of the kind %s", s.Name, s.Kind)
	case s.Name != "":
		return fmt.Sprintf("%q", s.Name)
	default:
		return "of the kind " + string(s.Kind)
	}
}

func (c Catalogue) names() []string {
	out := make([]string, 0, len(c))
	for _, s := range c {
		out = append(out, fmt.Sprintf("%q", s.Name))
	}
	return out
}

// phones checks the rules towards Teams. One endpoint is enough to look at: what decides for several decides for the one
// that it matches, alone.
func (c *check) phones() {
	var pbxs, groups, statuses []string
	for rules := range c.p.pbxRules() {
		for i := range rules {
			w := &rules[i].When
			pbxs, groups, statuses = append(pbxs, w.PBX...), append(groups, w.Group...), append(statuses, folded(w.Status)...)
		}
	}
	seen := map[string]*tried{}
	for _, who := range c.standings(unique(groups)) {
		for _, ep := range c.endpoints(pbxs, unique(statuses)) {
			eps := []Endpoint{ep}
			first, _ := who.PBXRuleFor(eps)
			if first == nil {
				continue
			}
			for i := range who.PBXToTeams {
				if r := &who.PBXToTeams[i]; r.When.matches(&ep) {
					of(seen, r.Path).note(r.Path, first.Path)
				}
			}
		}
	}
	for rules := range c.p.pbxRules() {
		for i := range rules {
			r := &rules[i]
			if c.named(r.Line, r.Path, r.When.PBX) && c.statusKnown(r) {
				c.verdict(of(seen, r.Path), r.Line, r.Path, "nobody whom these rules are for has a phone that can show that")
			}
		}
	}
}

// endpoints is every state of an endpoint that rules can tell apart.
func (c *check) endpoints(pbxs, statuses []string) (out []Endpoint) {
	lines := []presence.Line{
		presence.LineUnknown, presence.LineIdle, presence.LineRinging, presence.LineInCall, presence.LineOnHold, presence.LineOffline,
	}
	for _, name := range c.pbxs(pbxs) {
		for _, st := range statusesOf(c.site.PBX[name], statuses) {
			for _, l := range lines {
				out = append(out, Endpoint{ID: presence.EndpointID{PBX: name}, Line: l, Status: st})
			}
		}
	}
	return out
}

// statusesOf is every status that a PBX may show: those of its catalogue, one that is not in it, and none; or, where
// the catalogue is not known, every name with every kind.
func statusesOf(site Catalogue, named []string) []presence.Status {
	out := []presence.Status{{}}
	if len(site) > 0 {
		out = append(out, site...)
		return append(out, presence.Status{Name: somethingElse, Kind: presence.KindCustom})
	}
	for _, name := range append(slices.Clone(named), somethingElse) {
		for _, k := range []presence.Kind{
			presence.KindUnknown, presence.KindAvailable, presence.KindBusy, presence.KindDND, presence.KindAway, presence.KindOut, presence.KindCustom,
		} {
			out = append(out, presence.Status{Name: name, Kind: k})
		}
	}
	return out
}

// statusKnown reports statuses that a rule waits for and no PBX that it is for has. False: it waits for nothing else.
func (c *check) statusKnown(r *PBXRule) bool {
	var lists []Catalogue
	for name, site := range c.site.PBX {
		if !inFold(r.When.PBX, name) {
			continue
		}
		if len(site) == 0 {
			return true
		}
		lists = append(lists, site)
	}
	some := len(r.When.Status) == 0 || len(lists) == 0
	for _, name := range r.When.Status {
		known := len(lists) == 0 || slices.ContainsFunc(lists, func(site Catalogue) bool { _, ok := site.Find(name); return ok })
		some = some || known
		if !known {
			c.find(UnknownStatus, r.Line, r.Path, fmt.Sprintf("it waits for the status %q, which no PBX that it is for has", name),
				"correct the name, or add the status to the PBX")
		}
	}
	return some
}

func canonicalWords(list []string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		w, _ := presence.ParseWord(s)
		out = append(out, w)
	}
	return out
}

func folded(list []string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, strings.ToLower(s))
	}
	return out
}

func unique(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
