package bridge

import (
	"time"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// ContestRules say when another program is taken to fight over what we write: a second sync that puts back what we set,
// or that we put back through it. A value that was ours before, has ended, and is to be written again is a flip. Where a
// program that is no person wrote over ours, it counts in full. Where we took ours back because its cause was gone, or a
// person chose something else, it counts a part: people make several short calls in two minutes, programs that answer
// what we write by changing its cause do it faster than people.
type ContestRules struct {
	Flips  int           // so many within Window stop our writes to that side of that member; default 3, negative: never
	Share  int           // so many that may be a person's doing count as one; default 4
	Window time.Duration // default 2 min
	Pause  time.Duration // how long our writes stay away; default 10 min
}

func (c ContestRules) withDefaults() ContestRules {
	if c.Flips == 0 {
		c.Flips = 3
	}
	if c.Share == 0 {
		c.Share = 4
	}
	if c.Window == 0 {
		c.Window = 2 * time.Minute
	}
	if c.Pause == 0 {
		c.Pause = 10 * time.Minute
	}
	return c
}

// flips counts a value that comes back, and tells whether that was once too often: from now on nothing is written to that
// side of the member until Pause is over or somebody asks for a resync.
func (c ContestRules) flips(n *int, taken bool, window, pause, since *time.Time, now time.Time) bool {
	if c.Flips <= 0 {
		return false
	}
	if window.IsZero() {
		*n, *window = 0, now.Add(c.Window)
	}
	if taken {
		*n += c.Share
	} else {
		*n++
	}
	if *n < c.Flips*c.Share {
		return false
	}
	*n, *window = 0, time.Time{}
	*pause, *since = now.Add(c.Pause), now
	return true
}

// Contested tells whether another program fights over this side, so that we stay away.
func (t *TeamsSide) Contested() bool { return !t.ContestedSince.IsZero() }

// Contested tells whether another program fights over this endpoint, so that we stay away.
func (ep *EndpointSide) Contested() bool { return !ep.ContestedSince.IsZero() }

// fightsInTeams counts a session that is set again to what it was before. A line that is busy is no program's doing.
func (s *step) fightsInTeams(want policy.TeamsWant) bool {
	t := &s.r.Teams
	if want.Pair != t.Last {
		return false
	}
	if ep := s.r.Endpoint(want.From); ep != nil {
		switch ep.Line {
		case presence.LineInCall, presence.LineOnHold, presence.LineRinging:
			return false
		case presence.LineIdle, presence.LineOffline, presence.LineUnknown:
		}
	}
	return s.rules.Contest.flips(&t.Flips, t.LastTaken, &t.Timers.Flips, &t.Timers.Contest, &t.ContestedSince, s.now)
}

// fightsOnPBX counts a status that is set again to what it was before.
func (s *step) fightsOnPBX(ep *EndpointSide, status presence.Status) bool {
	if ep.Last.IsZero() || !status.Same(ep.Last) {
		return false
	}
	return s.rules.Contest.flips(&ep.Flips, ep.LastTaken, &ep.Timers.Flips, &ep.Timers.Contest, &ep.ContestedSince, s.now)
}

// endedInTeams and endedOnPBX remember the value of ours that ends now: that it comes back would be a flip. It was taken
// from us if something wrote over it that may be another program; otherwise we took it back ourselves, or a person did.
func (s *step) endedInTeams(taken bool) {
	if s.rules.Contest.Flips > 0 {
		s.r.Teams.Last, s.r.Teams.LastTaken = s.r.Teams.Assertion.Value, taken
	}
}

func (s *step) endedOnPBX(ep *EndpointSide, taken bool) {
	if s.rules.Contest.Flips > 0 && ep.Assertion != nil {
		ep.Last, ep.LastTaken = ep.Assertion.Value, taken
	}
}

// reconcile gives both sides another chance, because somebody asked for it.
func (s *step) reconcile() {
	t := &s.r.Teams
	t.Flips, t.Timers.Flips, t.Timers.Contest, t.ContestedSince = 0, time.Time{}, time.Time{}, time.Time{}
	for i := range s.r.Endpoints {
		ep := &s.r.Endpoints[i]
		ep.Flips, ep.Timers.Flips, ep.Timers.Contest, ep.ContestedSince = 0, time.Time{}, time.Time{}, time.Time{}
	}
}
