package bridge

import (
	"time"

	"presencebridge/bridge/presence"
)

// TimerKind names a timer of a record.
type TimerKind uint8

// The timers; see [TeamsTimers] and [EndpointTimers].
const (
	TimerSettle TimerKind = iota
	TimerDeadline
	TimerRenew
	TimerLapse
	TimerWokenEnd
	TimerForget
	TimerRetry
	TimerHold
	TimerLinger
	TimerFlips
	TimerContest
	TimerNote
	TimerNoteRenew
)

// TimerRef names one timer; the zero Endpoint means Teams' side.
type TimerRef struct {
	Kind     TimerKind
	Endpoint presence.EndpointID
}

// NextTimer returns the pending timer that is due first, and when. False means that none is pending.
func (r *Record) NextTimer() (TimerRef, time.Time, bool) {
	var (
		ref   TimerRef
		first time.Time
	)
	r.EachTimer(func(t TimerRef, due time.Time) {
		if first.IsZero() || due.Before(first) {
			ref, first = t, due
		}
	})
	return ref, first, !first.IsZero()
}

// due tells whether a timer is pending and due.
func (r *Record) due(ref TimerRef, now time.Time) bool {
	due := r.Teams.Timers.field(ref.Kind)
	if ref.Endpoint != (presence.EndpointID{}) {
		ep := r.Endpoint(ref.Endpoint)
		if ep == nil {
			return false
		}
		due = ep.Timers.field(ref.Kind)
	}
	return due != nil && !due.IsZero() && !due.After(now)
}

// EachTimer visits every pending timer.
func (r *Record) EachTimer(visit func(TimerRef, time.Time)) {
	each := func(ref TimerRef, due time.Time) {
		if !due.IsZero() {
			visit(ref, due)
		}
	}
	t := &r.Teams.Timers
	each(TimerRef{Kind: TimerSettle}, t.Settle)
	each(TimerRef{Kind: TimerDeadline}, t.Deadline)
	each(TimerRef{Kind: TimerRenew}, t.Renew)
	each(TimerRef{Kind: TimerLapse}, t.Lapse)
	each(TimerRef{Kind: TimerWokenEnd}, t.WokenEnd)
	each(TimerRef{Kind: TimerForget}, t.Forget)
	each(TimerRef{Kind: TimerRetry}, t.Retry)
	each(TimerRef{Kind: TimerFlips}, t.Flips)
	each(TimerRef{Kind: TimerContest}, t.Contest)
	each(TimerRef{Kind: TimerNote}, t.Note)
	each(TimerRef{Kind: TimerNoteRenew}, t.NoteRenew)
	for i := range r.Endpoints {
		ep := &r.Endpoints[i]
		each(TimerRef{Kind: TimerHold, Endpoint: ep.ID}, ep.Timers.Hold)
		each(TimerRef{Kind: TimerSettle, Endpoint: ep.ID}, ep.Timers.Settle)
		each(TimerRef{Kind: TimerDeadline, Endpoint: ep.ID}, ep.Timers.Deadline)
		each(TimerRef{Kind: TimerRetry, Endpoint: ep.ID}, ep.Timers.Retry)
		each(TimerRef{Kind: TimerLinger, Endpoint: ep.ID}, ep.Timers.Linger)
		each(TimerRef{Kind: TimerFlips, Endpoint: ep.ID}, ep.Timers.Flips)
		each(TimerRef{Kind: TimerContest, Endpoint: ep.ID}, ep.Timers.Contest)
	}
}

// timerFired ends a timer. One that is not pending any more was overtaken and means nothing.
func (s *step) timerFired(ref TimerRef) {
	if ref.Endpoint != (presence.EndpointID{}) {
		if ep := s.r.Endpoint(ref.Endpoint); ep != nil {
			s.endpointTimer(ep, ref.Kind)
		}
		return
	}
	t := &s.r.Teams
	due := t.Timers.field(ref.Kind)
	if due == nil || due.IsZero() {
		return
	}
	*due = time.Time{}
	switch ref.Kind {
	case TimerSettle:
		t.epoch++ // a read that began inside the fence is not believed
	case TimerDeadline:
		s.teamsWaitedOut()
	case TimerRenew:
		t.renewDue = true
	case TimerLapse:
		s.teamsLapsed()
	case TimerWokenEnd:
		t.WokenWatch = t.Assertion != nil
	case TimerForget:
		t.forgetOldest()
	case TimerFlips:
		t.Flips = 0
	case TimerContest:
		t.ContestedSince = time.Time{}
	case TimerNoteRenew:
		t.noteDue = true
	case TimerRetry, TimerHold, TimerLinger, TimerNote: // only that they are over matters
	}
}

// field is the timer of that kind, nil if Teams' side has none.
func (t *TeamsTimers) field(k TimerKind) *time.Time {
	switch k {
	case TimerSettle:
		return &t.Settle
	case TimerDeadline:
		return &t.Deadline
	case TimerRenew:
		return &t.Renew
	case TimerLapse:
		return &t.Lapse
	case TimerWokenEnd:
		return &t.WokenEnd
	case TimerForget:
		return &t.Forget
	case TimerRetry:
		return &t.Retry
	case TimerFlips:
		return &t.Flips
	case TimerContest:
		return &t.Contest
	case TimerNote:
		return &t.Note
	case TimerNoteRenew:
		return &t.NoteRenew
	case TimerHold, TimerLinger:
		return nil
	}
	return nil
}

// endpointTimer ends a timer of an endpoint.
func (s *step) endpointTimer(ep *EndpointSide, k TimerKind) {
	due := ep.Timers.field(k)
	if due == nil || due.IsZero() {
		return
	}
	*due = time.Time{}
	switch k {
	case TimerSettle:
		ep.epoch++
	case TimerDeadline:
		s.endpointWaitedOut(ep)
	case TimerLinger:
		ep.Lingered = true
	case TimerFlips:
		ep.Flips = 0
	case TimerContest:
		ep.ContestedSince = time.Time{}
	case TimerHold, TimerRetry, TimerRenew, TimerLapse, TimerWokenEnd, TimerForget, TimerNote, TimerNoteRenew: // only that they are over matters
	}
}

func (t *EndpointTimers) field(k TimerKind) *time.Time {
	switch k {
	case TimerHold:
		return &t.Hold
	case TimerSettle:
		return &t.Settle
	case TimerDeadline:
		return &t.Deadline
	case TimerRetry:
		return &t.Retry
	case TimerLinger:
		return &t.Linger
	case TimerFlips:
		return &t.Flips
	case TimerContest:
		return &t.Contest
	case TimerRenew, TimerLapse, TimerWokenEnd, TimerForget, TimerNote, TimerNoteRenew:
		return nil
	}
	return nil
}
