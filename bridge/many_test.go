package bridge

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

const crowd = 5

// deed is something that somebody does, and how long it is quiet afterwards.
type deed struct {
	who    int
	what   int
	pair   presence.Pair
	status presence.Status
	line   presence.Line
	text   string
	out    presence.Directions
	group  bool
	wait   time.Duration
}

// TestManyMembersUnderAnyPolicy lets the whole engine run for hours of virtual time, under policies of any rules, groups and
// messages, with people on both sides, opt-outs and restarts. At rest every member's sides agree with their own policy.
func TestManyMembersUnderAnyPolicy(t *testing.T) {
	for _, s := range []sort{trustedPBX, plainPBX} {
		t.Run(string(s), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				yaml := drawPolicy(rt)
				p, err := policy.Parse([]byte(yaml))
				if err != nil {
					rt.Fatalf("%v\n%s", err, yaml)
				}
				deeds := rapid.SliceOfN(rapid.Custom(drawDeed), 1, 60).Draw(rt, "deeds")
				var wrong []string
				var told trail
				inBench(t, s, func(_ *testing.T, b *bench) {
					b.cfg.Feed = &told
					c := &company{b: b, policy: p, people: make([]employee, crowd), told: &told}
					wrong = c.live(deeds)
				})
				if len(wrong) > 0 {
					rt.Fatalf("%s\n%s\n%s", yaml, strings.Join(wrong, "\n"), told.of(wrong))
				}
			})
		})
	}
}

func drawPolicy(rt *rapid.T) string {
	words := func(name string, of ...string) string {
		n := rapid.IntRange(0, len(of)-1).Draw(rt, name)
		return "[" + of[n] + "]"
	}
	message := func() string {
		return rapid.SampledFrom([]string{"", "", ", message: copy", ", message: On the phone"}).Draw(rt, "message")
	}
	text := "teams_to_pbx:\n"
	for range rapid.IntRange(1, 4).Draw(rt, "rules to the pbx") {
		group := rapid.SampledFrom([]string{"", "", ", group: Board"}).Draw(rt, "group")
		text += fmt.Sprintf("  - {when: {activity: %s%s}, set: {status: %q%s}}\n",
			words("activity", "InACall", "InAMeeting", "DoNotDisturb", "Away", "Available", "InACall, Presenting"), group,
			rapid.SampledFrom([]string{"In a call", "Do not disturb", "Away", "Busy"}).Draw(rt, "status"), message())
	}
	text += "pbx_to_teams:\n"
	for range rapid.IntRange(1, 4).Draw(rt, "rules to Teams") {
		when := "line: " + words("line", "in-call", "ringing", "on-hold, in-call")
		if rapid.Bool().Draw(rt, "by status") {
			when = "status_kind: " + words("kind", "dnd", "away")
		}
		text += fmt.Sprintf("  - {when: {%s}, set: {presence: %s%s}}\n", when,
			rapid.SampledFrom([]string{"Busy/InACall", "DoNotDisturb/Presenting", "Away/Away"}).Draw(rt, "presence"), message())
	}
	if rapid.Bool().Draw(rt, "a group") {
		text += "groups:\n  - {group: Board, opt_out: " + rapid.SampledFrom([]string{"teams_to_pbx", "pbx_to_teams", "both"}).Draw(rt, "opt out") + "}\n"
	}
	return text
}

func drawDeed(rt *rapid.T) deed {
	return deed{
		who: rapid.IntRange(0, crowd-1).Draw(rt, "who"), what: rapid.IntRange(0, 13).Draw(rt, "what"),
		pair:   rapid.SampledFrom(teamsStates[:6]).Draw(rt, "pair"),
		status: rapid.SampledFrom(statuses).Draw(rt, "status"), line: rapid.SampledFrom(lines).Draw(rt, "line"),
		text:  rapid.SampledFrom([]string{"", "back at three", "at my desk"}).Draw(rt, "text"),
		out:   presence.Directions(rapid.IntRange(0, 3).Draw(rt, "out")),
		group: rapid.Bool().Draw(rt, "group"), wait: time.Duration(rapid.IntRange(0, 90).Draw(rt, "wait")) * time.Second,
	}
}

// company is what people did, by whoever did it.
type company struct {
	b       *bench
	policy  *policy.Policy
	people  []employee
	members []Member
	told    *trail
}

// trail is what happened to every member, in order: what people did, and what the engine decided.
type trail struct {
	mu    sync.Mutex
	lines map[string][]string
}

func (l *trail) Observed(string, string, []byte) {}

func (l *trail) Decided(member string, data []byte) {
	var d Decision
	if err := json.Unmarshal(data, &d); err != nil {
		l.add(member, err.Error())
		return
	}
	line := fmt.Sprintf("%s %s %s %s%s %s%s%s", d.At.Format("15:04:05.000"), d.Event.Kind, d.Event.Side, d.Event.Source, d.Event.Timer,
		d.Event.Shown, d.Event.Line, d.Event.Outcome)
	for _, s := range d.Sides {
		line += "\n    " + sideLine(&s)
	}
	for _, e := range d.Effects {
		line += fmt.Sprintf("\n    => %s %s %s", e.Do, e.Side, e.Value)
	}
	l.add(member, line)
}

// sideLine is how a side stood, in short.
func sideLine(s *SideState) string {
	line := fmt.Sprintf("%s: shown %q line %q own %q %s", s.Side, s.Shown, s.Line, s.Organic, s.OrganicState)
	if a := s.Assertion; a != nil {
		line += fmt.Sprintf(", ours %q %s", a.Value, a.Phase)
	}
	if n := s.Note; n != nil {
		line += fmt.Sprintf(", message %q", n.Value)
	}
	if o := s.Override; o != nil {
		line += fmt.Sprintf(", override of %q pending %t", o.Of, o.Pending)
	}
	if s.Write != nil {
		line += ", writing"
	}
	if s.ReadOwed {
		line += ", read owed"
	}
	return fmt.Sprintf("%s %v", line, s.Because)
}

func (l *trail) add(member, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.lines = map[string][]string{}
	}
	l.lines[member] = append(l.lines[member], line)
}

// of is the trail of those members about whom something is wrong.
func (l *trail) of(wrong []string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for m, lines := range l.lines {
		if slices.ContainsFunc(wrong, func(w string) bool { return strings.HasPrefix(w, m+": ") }) {
			out = append(append(out, "the trail of "+m+":"), lines...)
		}
	}
	return strings.Join(out, "\n")
}

type employee struct {
	pair    presence.Pair
	chosen  presence.Status
	picked  bool
	message string // on the phone
	told    string // in Teams
	touched bool   // the message on the phone was written by hand
}

func (c *company) live(deeds []deed) []string {
	b := c.b
	b.cfg.Rules.Policy, b.cfg.Rules.Contest, b.cfg.Metrics = c.policy, ContestRules{Flips: -1}, nil
	b.pbx.caps.Messages = true
	b.teams.messages = map[string]string{}
	b.start(crowd)
	c.members = members(crowd)
	for i := range c.people {
		c.people[i] = employee{pair: available, chosen: statusAvailable}
	}
	for _, d := range deeds {
		c.do(d)
		c.rest(d.wait)
	}
	c.rest(20 * time.Minute)
	var wrong []string
	for i := range c.people {
		wrong = append(wrong, c.judge(i)...)
	}
	return wrong
}

// rest lets time pass, in which Teams is swept every minute.
func (c *company) rest(d time.Duration) {
	for d > 0 {
		part := min(d, time.Minute)
		c.b.wait(part)
		d -= part
		ids := c.b.engine.MemberIDs()
		mark := c.b.engine.BeginSweep(ids)
		shown, err := c.b.teams.Read(c.b.t.Context(), ids)
		if err != nil {
			c.b.t.Fatal(err)
		}
		c.b.engine.Swept(c.b.t.Context(), mark, shown)
	}
}

func (c *company) do(d deed) {
	p, id, phone := &c.people[d.who], fmt.Sprintf("m%d", d.who), fmt.Sprint(d.who)
	c.told.add(id, fmt.Sprintf("%s PERSON %+v", time.Now().UTC().Format(time.RFC3339), d))
	switch d.what {
	case 0, 1, 2, 3:
		p.pair = d.pair
		c.b.person(id, d.pair.String())
	case 4, 5, 6:
		c.b.line(phone, d.line)
	case 7, 8:
		if c.b.pbx.caps.Authors || !c.b.known(phone, d.status) {
			p.chosen, p.picked = d.status, true
			c.b.pbx.change(phone, true, func(st *pbx.State) {
				st.Status = d.status
				c.b.sign(st)
			})
		}
	case 9:
		c.b.teams.set(func(m *memTeams) { m.messages[id] = d.text })
		p.told = d.text
	case 10:
		if c.b.note(phone) == d.text {
			return // nobody can tell that somebody wrote by hand what shows already
		}
		p.message, p.touched = d.text, true
		c.b.pbx.change(phone, true, func(st *pbx.State) {
			st.Message = d.text
			if c.b.pbx.caps.Versions {
				st.Version++
			}
		})
	case 11:
		if c.members[d.who].Groups = nil; d.group {
			c.members[d.who].Groups = []string{"board"}
		}
		c.b.engine.SetMembers(c.b.t.Context(), slices.Clone(c.members))
	case 12:
		c.members[d.who].OptOut = d.out
		c.b.engine.SetMembers(c.b.t.Context(), slices.Clone(c.members))
	case 13:
		c.b.halt()
		c.b.run()
		c.b.engine.Recover(c.b.engine.Context())
		c.b.engine.SetMembers(c.b.engine.Context(), slices.Clone(c.members))
	}
}

// known tells whether a pick would leave no trace: it is what shows, or what a write under way will show.
func (b *bench) known(phone string, s presence.Status) bool {
	v, _ := b.engine.Find("m" + phone)
	ep := v.Record.Endpoint(presence.EndpointID{PBX: "main", User: phone})
	return b.status(phone) == s.Name || (ep != nil && (ep.Write != nil || ep.Assertion != nil))
}

// note is the message that a phone shows.
func (b *bench) note(phone string) string {
	b.pbx.mu.Lock()
	defer b.pbx.mu.Unlock()
	return b.pbx.users[phone].Message
}

// sign dates a choice by hand.
func (b *bench) sign(st *pbx.State) {
	if b.pbx.caps.Versions {
		st.Version++
	}
	if b.pbx.caps.Authors {
		st.ChangedBy, st.ChangedAt = pbx.AuthorUser, time.Now()
	}
}

// judge compares both sides of a member by what people did.
func (c *company) judge(i int) []string {
	p, id, phone := &c.people[i], fmt.Sprintf("m%d", i), fmt.Sprint(i)
	own := c.policy.For(c.members[i].Groups, c.members[i].OptOut)
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, id+": "+fmt.Sprintf(format, args...)) }
	c.b.pbx.mu.Lock()
	st := c.b.pbx.users[phone]
	c.b.pbx.mu.Unlock()
	session := c.b.session(id)
	c.b.teams.mu.Lock()
	shows := c.b.teams.shown(id)
	hidden := shows != p.pair || shows == c.b.teams.ours[id] // R2
	c.b.teams.mu.Unlock()
	want := own.ForPBX("main", catalogue, policy.TeamsState{Pair: p.pair, Message: p.told})
	outranked := policy.OfClass(want.Class) <= policy.OfKind(p.chosen.Kind)
	mine := st.Status.Same(p.chosen)
	switch {
	case !mine && (want.IsZero() || !st.Status.Same(want.Status)):
		bad("Teams is %s, the person chose %s, policy wants %s, but the phone shows %s", p.pair, p.chosen, want.Status, st.Status)
	case mine && !hidden && !p.picked && !outranked && !want.IsZero() && !want.Status.Same(p.chosen):
		bad("Teams is %s, nobody chose anything, policy wants %s, but the phone shows %s", p.pair, want.Status, st.Status)
	}
	if own.OptOut.Has(presence.TeamsToPBX) && (!mine || st.Message != p.message) {
		bad("opted out, but the phone shows %s with %q", st.Status, st.Message)
	}
	if !p.touched && !hidden && want.Message != st.Message {
		bad("policy wants the message %q, but the phone shows %q", want.Message, st.Message)
	}
	in := policy.Endpoint{Line: st.Line}
	if mine {
		in.Status = p.chosen
	}
	asks := own.ForTeams([]policy.Endpoint{in})
	low := asks.Class != presence.ClassCall && policy.OfPair(p.pair) >= policy.OfClass(asks.Class)
	switch {
	case asks.IsZero() && session != "unknown":
		bad("nothing asks for it, but our session shows %s", session)
	case !asks.IsZero() && session != asks.Pair.String() && p.pair != asks.Pair && !low:
		bad("the phone asks for %s, the person's own is %s, but our session shows %s", asks.Pair, p.pair, session)
	}
	return wrong
}
