package explore

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// World is one bounded world.
type World struct {
	Name           string
	sort           sort
	endpoints      int
	clientSessions int
	clients        []pair // what a client of the person's can be
	preferences    []pair // noPair: it expires
	lines          []line
	picks          []status
	starts         []start
	people         uint8 // actions by people, at most
	faultCount     uint8
	crashes        uint8
	faults         faultKinds
	slowReads      bool // an answer takes its time: it may be older than what arrives before it
	samePicks      bool // a pick that equals what shows counts as one
	lineVersions   bool // the version grows with the line, too
	optOut, moves  bool
	directions     bool           // people opt out of one direction
	messages       bool           // people write status messages, which cross both ways
	rival          rivals         // another program that fights us
	awayCrosses    bool           // policy makes Away in Teams of Away on the phone
	without        bridge.RuleSet // rules that are switched off
	noSweeps       bool           // R16 is switched off: neither side is read through
	onlyFirst      bool           // stop at the first counter-example
	// Bound is the most writes in proportion to what people and faults did; 0 means the usual one.
	bound int
}

// start is a state that the bridge may find when it first sees the member.
type start struct {
	client    pair
	preferred pair
	session   pair // of a former life
	status    status
	own       bool   // the status was written by a former life of ours
	coming    status // a write of a former life that may land yet
	line      line
	tieOurs   bool
}

type faultKinds struct {
	lose, reorder, double, fail, refuse, showLate, unseen, down bool
	cut                                                         bool // Teams is cut off, for a while or for good
}

// Result is what an exploration found.
type Result struct {
	World    string
	States   int
	Moves    int
	Depth    int
	Records  int
	Steps    int
	Rests    int
	Writes   int // the most writes on any way through the world
	Causes   int // what people and faults may do
	Failures []Counterexample
	Cut      bool // there were more states than allowed
}

// String is one line for people.
func (r Result) String() string {
	text := fmt.Sprintf("%d states, %d moves, depth %d, %d records, %d steps, %d states at rest, at most %d writes for %d causes",
		r.States, r.Moves, r.Depth, r.Records, r.Steps, r.Rests, r.Writes, r.Causes)
	if r.Cut {
		text += "; CUT: there are more states"
	}
	return text
}

// Counterexample is a property that does not hold, and the shortest story that shows it.
type Counterexample struct {
	Property string
	Story    []string
	Round    []string // of a loop: what then goes on again and again
}

func (c Counterexample) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", c.Property)
	for i, line := range c.Story {
		fmt.Fprintf(&b, "%3d. %s\n", i+1, line)
	}
	if len(c.Round) > 0 {
		b.WriteString("and then again and again:\n")
	}
	for i, line := range c.Round {
		fmt.Fprintf(&b, "%3d. %s\n", len(c.Story)+i+1, line)
	}
	return b.String()
}

// explorer visits every state of a world.
type explorer struct {
	world   *World
	w       *words
	e       *engine
	first   recID
	telling bool

	states []state
	parent []uint32
	via    []uint16 // which of the parent's moves
	table  []uint32 // open addressing: index of the state plus one
	edges  []edge
	start  []uint32 // of a state's edges
	rest   []bool
	roots  int // so many of the states are beginnings

	seed     maphash.Seed
	failures map[string]bool
	result   Result
}

// edge is a move to another state.
type edge struct {
	to     uint32
	class  class
	writes uint8
	other  uint8 // renewed, asked, hasty
}

// What an edge tells besides.
const (
	renewed uint8 = 1 << iota // a renewal was sent
	asked                     // a read was asked for
	hasty                     // something that takes minutes came while something was under way
)

// maxCounterexamples is enough to learn from.
const maxCounterexamples = 3

func (x *explorer) most() int {
	if x.world.onlyFirst {
		return 1
	}
	return maxCounterexamples
}

// Explore visits every state of w, at most limit of them.
func Explore(w *World, limit int) Result {
	x := newExplorer(w)
	depth := 0
	for i := range w.starts {
		x.begin(&w.starts[i])
	}
	x.roots = len(x.states)
	level := x.roots
	for i := 0; i < len(x.states) && len(x.result.Failures) < x.most(); i++ {
		if i == level {
			depth, level = depth+1, len(x.states)
		}
		if len(x.states) > limit {
			x.result.Cut = true
			break
		}
		x.expand(uint32(i))
	}
	r := &x.result
	r.World, r.States, r.Moves, r.Depth, r.Records, r.Steps = w.Name, len(x.states), len(x.edges), depth, len(x.e.recs)-1, x.e.steps
	r.Causes = int(w.people) + int(w.faultCount) + int(w.crashes)
	if !r.Cut && len(r.Failures) < x.most() {
		x.analyse()
	}
	return *r
}

func newExplorer(w *World) *explorer {
	p := policy.Presets()["micollab"]
	if w.awayCrosses {
		p.PBXToTeams = append(p.PBXToTeams, policy.PBXRule{
			When: policy.PBXCondition{StatusKind: []presence.Kind{presence.KindAway}},
			Set:  policy.SetPresence{Pair: presence.ParsePairString("Away"), Class: presence.ClassAway},
		})
	}
	if w.messages {
		p = copyMessages(p)
	}
	words := newWords(p)
	x := &explorer{world: w, w: words, failures: map[string]bool{}, seed: maphash.MakeSeed(), table: make([]uint32, 1<<16)}
	caps := w.sort.capabilities()
	caps.Messages = w.messages
	x.e = newEngine(words, caps, w.endpoints, w.without)
	if w.rival != 0 {
		x.e.rules.Contest = bridge.ContestRules{Flips: 3, Share: 1, Window: time.Minute, Pause: time.Minute}
	}
	x.e.stores = w.crashes > 0
	x.first = x.e.begin()
	return x
}

// copyMessages lets status messages cross both ways, beside whatever else crosses.
func copyMessages(p policy.Policy) policy.Policy {
	out := policy.Policy{
		TeamsToPBX: append(slices.Clone(p.TeamsToPBX), policy.TeamsRule{}),
		PBXToTeams: append(slices.Clone(p.PBXToTeams), policy.PBXRule{}),
	}
	for i := range out.TeamsToPBX {
		out.TeamsToPBX[i].Set.Message.Copy = true
	}
	for i := range out.PBXToTeams {
		out.PBXToTeams[i].Set.Message.Copy = true
	}
	return out
}

// begin adds the state in which the bridge meets the member.
func (x *explorer) begin(b *start) {
	t := turn{x: x}
	s := &t.s
	s.rec, s.saved = x.first, 0
	s.clients[0], s.preferred, s.session, s.seen = b.client, b.preferred, b.session, b.session
	s.former, s.tieOurs = b.session != noPair, b.tieOurs
	s.people, s.faults, s.crashes = x.world.people, x.world.faultCount, x.world.crashes
	for i := range x.e.ids {
		p := &s.ep[i]
		p.is = seenAs{line: b.line, status: b.status, ver: 1, chg: 1, by: 1}
		p.chosen = b.status
		if b.own {
			p.is.by = 2
			if x.world.sort == trusted {
				p.chosen = stAvailable // policy's default
			}
		}
		if b.coming != noStatus {
			p.landing = pbxWrite{on: true, former: true, status: b.coming, ver: p.is.ver}
		}
		if s.former { // what it woke cannot be told from a choice
			p.everWant |= 1 << x.w.toPBX[s.shown()]
		}
	}
	t.remember()
	t.member()
	x.canonical(&t.s)
	x.add(&t.s, 0, 0)
}

func (x *explorer) hash(s *state) uint64 { return maphash.Comparable(x.seed, *s) }

// add finds or adds a state.
func (x *explorer) add(s *state, parent uint32, via int) uint32 {
	if len(x.states)*2 >= len(x.table) {
		x.grow()
	}
	mask := uint64(len(x.table) - 1)
	for h := x.hash(s) & mask; ; h = (h + 1) & mask {
		id := x.table[h]
		if id == 0 {
			x.states = append(x.states, *s)
			x.parent = append(x.parent, parent)
			x.via = append(x.via, uint16(via))
			x.table[h] = uint32(len(x.states))
			return x.table[h] - 1
		}
		if x.states[id-1] == *s {
			return id - 1
		}
	}
}

func (x *explorer) grow() {
	old := x.table
	x.table = make([]uint32, 2*len(old))
	mask := uint64(len(x.table) - 1)
	for _, id := range old {
		if id == 0 {
			continue
		}
		h := x.hash(&x.states[id-1]) & mask
		for x.table[h] != 0 {
			h = (h + 1) & mask
		}
		x.table[h] = id
	}
}

// expand makes every move from a state.
func (x *explorer) expand(id uint32) {
	from := x.states[id]
	x.start = append(x.start, uint32(len(x.edges)))
	n, rest, quiet := 0, true, x.quiet(&from)
	x.moves(&from, func(c class, t *turn) {
		via := n
		n++
		if t.failed != "" {
			x.failed(t.failed, id, via)
			return
		}
		to := x.add(&t.s, id, via)
		if to == id && t.writes == 0 && t.reads == 0 && !t.renews {
			return
		}
		if c == short {
			rest = false
		}
		e := edge{to: to, class: c, writes: t.writes}
		if t.renews {
			e.other |= renewed
		}
		if t.reads > 0 {
			e.other |= asked
		}
		if c == long && !quiet {
			e.other |= hasty
		}
		x.edges = append(x.edges, e)
	})
	x.rest = append(x.rest, rest)
	if rest {
		x.result.Rests++
		x.agree(&from, func(format string, args ...any) { x.failed(fmt.Sprintf(format, args...), id, -1) })
	}
}

// failed notes a counter-example, once for every property in the same words: the state that it holds in, or the move from
// there (-1: none), and for a loop the way round.
func (x *explorer) failed(what string, id uint32, via int, round ...leg) {
	if x.failures[what] || len(x.result.Failures) >= x.most() {
		return
	}
	x.failures[what] = true
	c := Counterexample{Property: what, Story: x.story(id, via)}
	for _, l := range round {
		c.Round = append(c.Round, x.tellLeg(l))
	}
	x.result.Failures = append(x.result.Failures, c)
}

// story tells how a state is reached, and one more move (-1: none).
func (x *explorer) story(id uint32, via int) []string {
	var ids []uint32
	for at := id; ; at = x.parent[at] {
		ids = append(ids, at)
		if x.parent[at] == at || int(at) < x.roots {
			break
		}
	}
	x.telling = true
	defer func() { x.telling = false }()
	story := []string{x.opening(&x.states[ids[len(ids)-1]])}
	for i := len(ids) - 2; i >= 0; i-- {
		story = append(story, x.tell(ids[i+1], int(x.via[ids[i]])))
	}
	if via >= 0 {
		story = append(story, x.tell(id, via))
	}
	return story
}

// tellLeg makes the move again that an edge stands for, with words.
func (x *explorer) tellLeg(l leg) string {
	via, n := -1, 0
	s := x.states[l.from]
	x.moves(&s, func(c class, t *turn) {
		if via < 0 && t.s == x.states[l.edge.to] && c == l.edge.class && t.writes == l.edge.writes && (t.reads > 0) == (l.edge.other&asked != 0) {
			via = n
		}
		n++
	})
	x.telling = true
	defer func() { x.telling = false }()
	return x.tell(l.from, via)
}

// tell makes one move again, with words.
func (x *explorer) tell(from uint32, via int) string {
	var text string
	n := 0
	s := x.states[from]
	x.moves(&s, func(_ class, t *turn) {
		if n == via {
			text = strings.Join(t.text, "\n       ")
		}
		n++
	})
	return text
}
