package explore

import (
	"fmt"
	"math"
	"slices"
)

// The properties of the whole graph: "no loop", "never stuck" and "bounded". The strongly connected components are
// found with Tarjan's algorithm, without recursion; they come up in an order in which whatever a component leads to has
// come up before it.

const unvisited = math.MaxUint32

type tarjan struct {
	x       *explorer
	without uint8 // marks of moves that do not count
	index   []uint32
	low     []uint32
	comp    []uint32 // of a state, once known
	stack   []uint32
	frames  []frame
	next    uint32
	comps   uint32
	// By component.
	rests []bool   // rest can be reached without people or faults
	most  []uint32 // the most writes on any way from here
}

type frame struct{ state, edge uint32 }

func (x *explorer) outOf(s uint32) []edge {
	end := uint32(len(x.edges))
	if int(s)+1 < len(x.start) {
		end = x.start[s+1]
	}
	return x.edges[x.start[s]:end]
}

func (x *explorer) analyse() {
	g := x.components(0)
	x.components(hasty)
	for s := range x.roots {
		x.result.Writes = max(x.result.Writes, int(g.most[g.comp[s]]))
	}
	bound := x.world.bound
	if bound == 0 {
		bound = usualBound
	}
	if most := bound * (x.result.Causes + 1); x.result.Writes > most {
		x.failed(fmt.Sprintf("bounded: %d writes for %d actions of people and faults", x.result.Writes, x.result.Causes), 0, -1)
	}
}

// usualBound is the most writes for anything that happens: one to each side, the same again once it is taken back, and
// what was wrong in between is put right.
const usualBound = 6

// components looks at the graph without the moves that have one of these marks.
func (x *explorer) components(without uint8) *tarjan {
	n := len(x.states)
	g := &tarjan{x: x, without: without, index: filled(n), low: make([]uint32, n), comp: filled(n)}
	for s := range n {
		if g.index[s] == unvisited {
			g.visit(uint32(s))
		}
	}
	return g
}

func filled(n int) []uint32 {
	s := make([]uint32, n)
	for i := range s {
		s[i] = unvisited
	}
	return s
}

func (g *tarjan) visit(root uint32) {
	g.enter(root)
	for len(g.frames) > 0 {
		f := &g.frames[len(g.frames)-1]
		out := g.x.outOf(f.state)
		if int(f.edge) < len(out) {
			to, skip := out[f.edge].to, out[f.edge].other&g.without != 0
			f.edge++
			switch {
			case skip:
			case g.index[to] == unvisited:
				g.enter(to)
			case g.comp[to] == unvisited:
				g.low[f.state] = min(g.low[f.state], g.index[to])
			}
			continue
		}
		s := f.state
		g.frames = g.frames[:len(g.frames)-1]
		if len(g.frames) > 0 {
			up := g.frames[len(g.frames)-1].state
			g.low[up] = min(g.low[up], g.low[s])
		}
		if g.low[s] == g.index[s] {
			g.close(s)
		}
	}
}

func (g *tarjan) enter(s uint32) {
	g.index[s], g.low[s] = g.next, g.next
	g.next++
	g.stack = append(g.stack, s)
	g.frames = append(g.frames, frame{state: s})
}

// close takes a whole component off the stack and looks at it.
func (g *tarjan) close(root uint32) {
	at := len(g.stack) - 1
	for g.stack[at] != root {
		at--
	}
	members := g.stack[at:]
	for _, s := range members {
		g.comp[s] = g.comps
	}
	rests, most := false, uint32(0)
	for _, s := range members {
		rests = rests || g.x.rest[s]
		for _, e := range g.x.outOf(s) {
			c := g.comp[e.to]
			if e.other&g.without != 0 {
				continue
			}
			if c == g.comps {
				g.checkLoop(s, e)
				continue
			}
			most = max(most, g.most[c]+uint32(e.writes))
			if e.class == short || e.class == long {
				rests = rests || g.rests[c]
			}
		}
	}
	if !rests && g.without == 0 {
		g.x.failed("never stuck: from here rest cannot be reached without people or faults", root, -1)
	}
	g.stack = g.stack[:at]
	g.rests = append(g.rests, rests)
	g.most = append(g.most, most)
	g.comps++
}

// checkLoop is "no loop": within a component one can go round and round. A read that is overtaken by a renewal, again and
// again, is none: between two renewals it has minutes.
func (g *tarjan) checkLoop(s uint32, e edge) {
	switch {
	case e.writes > 0:
		g.x.failed("no loop: the bridge writes again and again, without people or faults", s, -1, g.round(s, e)...)
	case e.other&asked != 0 && g.without == hasty:
		g.x.failed("no loop: the bridge reads again and again, without people or faults", s, -1, g.round(s, e)...)
	}
}

// round is the shortest way round that begins with e, an edge from s within the component that is being closed.
func (g *tarjan) round(s uint32, e edge) []leg {
	from := map[uint32]leg{e.to: {from: s, edge: e}}
	for queue := []uint32{e.to}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == s {
			break
		}
		for _, o := range g.x.outOf(at) {
			if _, known := from[o.to]; !known && g.comp[o.to] == g.comps && o.other&g.without == 0 {
				from[o.to] = leg{from: at, edge: o}
				queue = append(queue, o.to)
			}
		}
	}
	var legs []leg
	for at := s; ; {
		l, ok := from[at]
		if !ok {
			return nil
		}
		legs = append(legs, l)
		if at = l.from; at == s {
			slices.Reverse(legs)
			return legs
		}
	}
}

// leg is an edge with the state that it leaves.
type leg struct {
	from uint32
	edge edge
}
