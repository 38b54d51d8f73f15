package bridge

import (
	"time"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// lingers tells whether a status that stands for a call in Teams is kept a little longer: within one call Teams flaps
// between InACall and InAMeeting (facts: PresenceLight #114), and the phone must not.
func (s *step) lingers(ep *EndpointSide) bool {
	a := ep.Assertion
	if s.rules.Linger < 0 || !s.inMeeting() || ep.Lingered || s.r.Excluded || ep.Leaving || ep.Override != nil || ep.Contested() {
		return false
	}
	inCall := s.policy().ForPBX(ep.ID.PBX, s.pbx(ep).Statuses,
		policy.TeamsState{Pair: presence.Pair{Availability: presence.Busy, Activity: presence.InACall}})
	if inCall.IsZero() || !inCall.Status.Same(a.Value) {
		return false
	}
	if ep.Timers.Linger.IsZero() {
		ep.Timers.Linger = s.now.Add(s.rules.Linger)
	}
	return true
}

// stopLingering: it is no longer a meeting that Teams shows, so the next one lingers again.
func (s *step) stopLingering(ep *EndpointSide) {
	if !s.inMeeting() {
		ep.Lingered, ep.Timers.Linger = false, time.Time{}
	}
}

func (s *step) inMeeting() bool {
	return s.r.Teams.OrganicState == OrganicSeen && s.r.Teams.Organic.Activity == presence.InAMeeting
}
