package bridge

import (
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge/presence"
)

// What [Record.Canonical] puts in place of the numbers that are only compared for equality.
const (
	CanonicalEpoch   = 8
	CanonicalWriteID = 4
)

// Canonical returns r with whatever only dates, numbers or explains it replaced by fixed values: a timer is pending or
// not, and what an answer or a read has to carry is [CanonicalWriteID] and [CanonicalEpoch]. Versions and times of a
// PBX, which are compared with one another, stay. A step that follows has to be given a time from 1 January 2000 on. [Step] decides alike on a record and on its canonical form, so
// package explore takes records for the same whose canonical forms are.
func (r *Record) Canonical() Record {
	c := r.Clone()
	c.cause = cause{}
	t := &c.Teams
	t.Because, t.Mark, t.epoch = nil, Mark{}, CanonicalEpoch
	pending(&t.ContestedSince)
	if t.OrganicState != OrganicSeen {
		t.Organic = presence.Pair{}
	}
	if t.Assertion != nil {
		t.Assertion.Since, t.Assertion.From, t.Assertion.MaskedSince = time.Time{}, presence.EndpointID{}, time.Time{}
	}
	if t.Write != nil {
		t.Write.ID, t.Write.Started = CanonicalWriteID, time.Time{}
	}
	canonicalWithdrawn(t.Withdrawn)
	t.Would.canonical()
	if t.Note != nil {
		t.Note.Since = time.Time{}
	}
	pending(&t.Timers.Settle, &t.Timers.Deadline, &t.Timers.Renew, &t.Timers.Lapse, &t.Timers.WokenEnd,
		&t.Timers.Forget, &t.Timers.Retry, &t.Timers.Flips, &t.Timers.Contest, &t.Timers.Note, &t.Timers.NoteRenew)
	for i := range c.Endpoints {
		ep := &c.Endpoints[i]
		ep.Because, ep.epoch, ep.mark, ep.Failures = nil, CanonicalEpoch, 0, min(ep.Failures, 1)
		if ep.Assertion != nil {
			ep.Assertion.Since = time.Time{}
		}
		ep.Would.canonical()
		if ep.Note != nil {
			ep.Note.Since = time.Time{}
		}
		if ep.Override != nil {
			ep.Override.Since = time.Time{}
		}
		if ep.Write != nil {
			ep.Write.ID, ep.Write.Started = CanonicalWriteID, time.Time{}
		}
		pending(&ep.Timers.Hold, &ep.Timers.Settle, &ep.Timers.Deadline, &ep.Timers.Retry, &ep.Timers.Linger, &ep.Timers.Flips,
			&ep.Timers.Contest, &ep.ContestedSince)
	}
	return c
}

// canonicalWithdrawn keeps of the times only their order, and of the list no order at all.
func canonicalWithdrawn(ws []Withdrawn) {
	slices.SortStableFunc(ws, func(a, b Withdrawn) int { return a.At.Compare(b.At) })
	n, last := int64(0), time.Time{}
	for i := range ws {
		if !ws[i].At.Equal(last) {
			n++
			last = ws[i].At
		}
		ws[i].At = time.Unix(n, 0).UTC()
	}
	slices.SortFunc(ws, func(a, b Withdrawn) int { return strings.Compare(a.Value.String(), b.Value.String()) })
}

// pending replaces what is not zero by one fixed moment.
func pending(timers ...*time.Time) {
	for _, t := range timers {
		if !t.IsZero() {
			*t = time.Unix(1, 0).UTC()
		}
	}
}

// AppendKey appends what is the same for two canonical records if and only if they are.
func (r *Record) AppendKey(b []byte) []byte {
	t := &r.Teams
	b = append(b, r.Member...)
	b = appendWords(b, string(t.OutOfOffice), t.Message, t.NoteLast)
	b = appendFlags(b, t.noteDue, t.Note != nil)
	if n := t.Note; n != nil {
		b = appendWords(b, n.Value)
		b = appendTimes(b, n.Since)
	}
	if r.policy != nil {
		b = appendNumbers(b, uint64(r.policy.OptOut))
	}
	b = appendFlags(b, r.Excluded, r.Wiped, r.stranger, t.Purge, t.WokenOwed, t.WokenWatch, t.ReadOwed, t.reading, t.renewDue, t.paid, t.LastTaken, t.Assertion != nil, t.Write != nil)
	b = appendPairs(b, t.Shown, t.Organic, t.Woken, t.Last)
	b = appendWords(b, string(t.OrganicState))
	b = appendNumbers(b, t.Mark.Stream, t.Mark.Seq, uint64(t.Mark.Item), uint64(t.epoch), uint64(t.Flips))
	if a := t.Assertion; a != nil {
		b = appendPairs(b, a.Value, a.Before)
		b = appendFlags(b, a.Preferred != nil)
		if p := a.Preferred; p != nil {
			b = appendNumbers(b, uint64(p.For))
			b = appendPairs(b, p.Previous)
			b = appendFlags(b, p.Taken)
		}
		b = appendWords(b, string(a.Class), string(a.Phase), a.From.PBX, a.From.User)
		b = appendTimes(b, a.Since, a.MaskedSince)
	}
	if w := t.Write; w != nil {
		b = appendNumbers(b, uint64(w.ID), uint64(w.Lease))
		b = appendWords(b, string(w.Kind))
		b = appendFlags(b, w.Waiting)
		b = appendTimes(b, w.Started)
	}
	b = t.Would.appendKey(b)
	b = appendNumbers(b, uint64(len(t.Withdrawn)))
	for _, w := range t.Withdrawn {
		b = appendPairs(b, w.Value)
		b = appendFlags(b, w.Answered)
		b = appendTimes(b, w.At)
	}
	b = appendTimes(b, t.Timers.Settle, t.Timers.Deadline, t.Timers.Renew, t.Timers.Lapse, t.Timers.WokenEnd, t.Timers.Forget, t.Timers.Retry, t.Timers.Flips, t.Timers.Contest, t.ContestedSince,
		t.Timers.Note, t.Timers.NoteRenew)
	for i := range r.Endpoints {
		b = r.Endpoints[i].appendKey(b)
	}
	return b
}

func (ep *EndpointSide) appendKey(b []byte) []byte {
	b = appendWords(b, ep.ID.PBX, ep.ID.User, string(ep.Line), ep.Message, ep.Declined)
	b = appendFlags(b, ep.Note != nil)
	if n := ep.Note; n != nil {
		b = appendWords(b, n.Value, n.Before, n.Previous, string(n.Phase))
		b = appendTimes(b, n.Since)
	}
	b = appendFlags(b, ep.Seen, ep.ReadOwed, ep.Leaving, ep.Lingered, ep.reading, ep.paid, ep.LastTaken, ep.Assertion != nil, ep.Write != nil, ep.Override != nil)
	b = appendStatuses(b, ep.Status, ep.Withdrawn, ep.Last)
	b = appendNumbers(b, ep.Version, uint64(ep.Failures), uint64(ep.epoch), ep.mark, uint64(ep.Flips))
	b = appendTimes(b, ep.ChangedAt, ep.Timers.Hold, ep.Timers.Settle, ep.Timers.Deadline, ep.Timers.Retry, ep.Timers.Linger,
		ep.Timers.Flips, ep.Timers.Contest, ep.ContestedSince)
	if a := ep.Assertion; a != nil {
		b = appendStatuses(b, a.Value, a.Before, a.Previous)
		b = appendWords(b, string(a.Class), string(a.Phase))
		b = appendTimes(b, a.Since)
	}
	if w := ep.Write; w != nil {
		b = appendNumbers(b, uint64(w.ID))
		b = appendStatuses(b, w.Status)
		b = appendFlags(b, w.Waiting, w.Message != nil)
		if w.Message != nil {
			b = appendWords(b, *w.Message)
		}
		b = appendTimes(b, w.Started)
	}
	if o := ep.Override; o != nil {
		b = appendStatuses(b, o.Of)
		b = appendFlags(b, o.Pending)
		b = appendTimes(b, o.Since)
	}
	return ep.Would.appendKey(b)
}

func (w *WouldBe) appendKey(b []byte) []byte {
	b = appendFlags(b, w != nil)
	if w != nil {
		b = appendWords(b, w.Value, string(w.Class), w.From.PBX, w.From.User, w.Message)
		b = appendStatuses(b, w.Status)
		b = appendPairs(b, w.Pair)
		b = appendTimes(b, w.Since)
	}
	return b
}

func (w *WouldBe) canonical() {
	if w != nil {
		w.Since = time.Time{}
	}
}

func appendWords(b []byte, words ...string) []byte {
	for _, w := range words {
		b = append(append(b, w...), 0)
	}
	return b
}

func appendPairs(b []byte, ps ...presence.Pair) []byte {
	for _, p := range ps {
		b = appendWords(b, p.Availability, p.Activity)
	}
	return b
}

func appendStatuses(b []byte, ss ...presence.Status) []byte {
	for _, s := range ss {
		b = appendWords(b, s.Name, string(s.Kind))
	}
	return b
}

func appendFlags(b []byte, flags ...bool) []byte {
	for _, f := range flags {
		if f {
			b = append(b, '1')
		} else {
			b = append(b, '0')
		}
	}
	return b
}

func appendNumbers(b []byte, ns ...uint64) []byte {
	for _, n := range ns {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func appendTimes(b []byte, ts ...time.Time) []byte {
	for _, t := range ts {
		b = binary.AppendVarint(b, t.Unix())
	}
	return b
}

// StoredAs is what becomes of r when it is stored and loaded again, and whether the step from was to r is stored at all.
func (r *Record) StoredAs(was *Record) (Record, bool) {
	if reflect.DeepEqual(was.durable(), r.durable()) {
		return Record{}, false
	}
	c := r.Clone()
	c.cause, c.policy, c.stranger = cause{}, nil, false
	c.Teams.epoch, c.Teams.reading, c.Teams.renewDue, c.Teams.paid = 0, false, false, false
	for i := range c.Endpoints {
		ep := &c.Endpoints[i]
		ep.epoch, ep.mark, ep.reading, ep.paid = 0, 0, false, false
	}
	return c, true
}
