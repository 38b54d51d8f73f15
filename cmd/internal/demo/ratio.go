package demo

import (
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// ratio counts, by what the simulators see, the changes by people of which policy makes something else on another side, and
// the bridge's writes that changed what a side shows, from when people began to move. Renewals, and writes that were sent
// again or showed nothing, are not among them. Its owner guards it.
type ratio struct {
	begun  bool
	mapped int
	landed int
}

// wished counts a change by people.
func (r *ratio) wished(counting, differs bool) {
	if counting && differs {
		r.mapped++
	}
}

// land counts a write of the bridge.
func (r *ratio) land(changed bool) {
	if changed && r.begun {
		r.landed++
	}
}

// perWish is how many writes landed for each change.
func (r *ratio) perWish() float64 {
	if r.mapped == 0 {
		return 0
	}
	return float64(r.landed) / float64(r.mapped)
}

// asking is what policy makes of a person's phones, of their lines and of what was chosen there. It tells whether that
// changed.
func (w *watcher) asking(s *subject) bool {
	eps := make([]policy.Endpoint, 0, len(s.phones))
	for _, h := range s.phones {
		eps = append(eps, policy.Endpoint{ID: presence.EndpointID{PBX: h.pbx}, Line: h.line, Status: h.chosen})
	}
	was := s.asks
	s.asks = w.policy.ForTeams(eps).Pair
	return s.asks != was
}
