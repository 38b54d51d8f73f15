package threecx

import (
	"strings"
	"sync"
	"time"

	"presencebridge/bridge/presence"
)

// What a PBX has forgotten to end is not believed for ever.
const (
	staleRinging   = 3 * time.Minute
	staleConnected = 6 * time.Hour
)

// callBook knows who takes part in which call, by extension.
type callBook struct {
	grace time.Duration

	mu    sync.Mutex
	known bool // every call was read once
	lines map[string]*callLine
}

// callLine is one extension that we may monitor.
type callLine struct {
	legs  map[int]callLeg
	held  presence.Line // shown until then although the calls say less: the grace
	until time.Time
}

type callLeg struct {
	line  presence.Line
	since time.Time
}

func newCallBook(grace time.Duration) *callBook {
	return &callBook{grace: grace, lines: map[string]*callLine{}}
}

// lineOfLeg is what a participant makes of the line. Who dials is on the phone; a held call cannot be told apart.
func lineOfLeg(status string) presence.Line {
	if strings.EqualFold(status, "Ringing") {
		return presence.LineRinging
	}
	return presence.LineInCall
}

// busier tells whether a line is more of a call than another.
func busier(a, b presence.Line) bool { return callRank(a) > callRank(b) }

func callRank(l presence.Line) int {
	switch l {
	case presence.LineInCall, presence.LineOnHold:
		return 2
	case presence.LineRinging:
		return 1
	case presence.LineIdle, presence.LineOffline, presence.LineUnknown:
	}
	return 0
}

// raw is what the participants say now.
func (l *callLine) raw(now time.Time) presence.Line {
	line := presence.LineIdle
	for _, leg := range l.legs {
		if !now.Before(leg.stale()) {
			continue
		}
		if busier(leg.line, line) {
			line = leg.line
		}
	}
	return line
}

// stale is from when on a participant is taken for forgotten.
func (l callLeg) stale() time.Time {
	if l.line == presence.LineRinging {
		return l.since.Add(staleRinging)
	}
	return l.since.Add(staleConnected)
}

// line is what an extension shows: unknown if we may not monitor it.
func (b *callBook) line(dn string, now time.Time) presence.Line {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lines[dn]
	if l == nil {
		return presence.LineUnknown
	}
	return l.shown(l.raw(now), now)
}

func (l *callLine) shown(raw presence.Line, now time.Time) presence.Line {
	if now.Before(l.until) && busier(l.held, raw) {
		return l.held
	}
	return raw
}

// change does something to an extension, and begins or ends its grace.
func (b *callBook) change(l *callLine, now time.Time, do func()) {
	before := l.shown(l.raw(now), now)
	do()
	after := l.raw(now)
	switch {
	case !busier(before, after):
		l.held, l.until = "", time.Time{}
	case !now.Before(l.until) || l.held != before:
		l.held, l.until = before, now.Add(b.grace)
	}
}

// set notes what a participant is doing.
func (b *callBook) set(dn string, leg wireLeg, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.at(dn)
	b.change(l, now, func() { l.put(leg, now) })
}

func (b *callBook) at(dn string) *callLine {
	l := b.lines[dn]
	if l == nil {
		l = &callLine{legs: map[int]callLeg{}}
		b.lines[dn] = l
	}
	return l
}

func (l *callLine) put(leg wireLeg, now time.Time) {
	line := lineOfLeg(leg.Status)
	if old, ok := l.legs[leg.ID]; ok && old.line == line {
		return // its age counts from when it began
	}
	l.legs[leg.ID] = callLeg{line: line, since: now}
}

// gone notes that a participant left.
func (b *callBook) gone(dn string, id int, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.lines[dn]; l != nil {
		b.change(l, now, func() { delete(l.legs, id) })
	}
}

// replace takes in every call as it was read.
func (b *callBook) replace(dns []wireDN, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known = true
	told := make(map[string]bool, len(dns))
	for _, d := range dns {
		told[d.DN] = true
		l := b.at(d.DN)
		b.change(l, now, func() {
			there := make(map[int]bool, len(d.Participants))
			for _, leg := range d.Participants {
				there[leg.ID] = true
				l.put(leg, now)
			}
			for id := range l.legs {
				if !there[id] {
					delete(l.legs, id)
				}
			}
		})
	}
	for dn := range b.lines {
		if !told[dn] {
			delete(b.lines, dn)
		}
	}
}

// view is what an extension shows when a direct read says this of its participants. differs tells that the book knows
// something else, so that every call should be read again. A nil d is an extension that we may not monitor.
func (b *callBook) view(dn string, d *wireDN, now time.Time) (line presence.Line, differs bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lines[dn]
	if d == nil {
		return presence.LineUnknown, b.known && l != nil
	}
	read := callLine{legs: map[int]callLeg{}}
	for _, leg := range d.Participants {
		read.put(leg, now)
		if l != nil {
			if old, ok := l.legs[leg.ID]; ok && old.line == read.legs[leg.ID].line {
				read.legs[leg.ID] = old
			}
		}
	}
	raw := read.raw(now)
	if l == nil {
		return raw, b.known
	}
	return l.shown(raw, now), b.known && raw != l.raw(now)
}

// next is when some line changes by itself: a grace ends, or a participant is taken for forgotten. Zero if none does.
func (b *callBook) next(now time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	var next time.Time
	sooner := func(at time.Time) {
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, l := range b.lines {
		sooner(l.until)
		for _, leg := range l.legs {
			sooner(leg.stale())
		}
	}
	return next
}

// monitored counts the extensions of these that we are told of.
func (b *callBook) monitored(dns []string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, dn := range dns {
		if b.lines[dn] != nil {
			n++
		}
	}
	return n
}
