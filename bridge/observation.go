package bridge

import (
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// Observation is the data of an item of the feed PRESENCE: what one side said, in its own words, and what of it is the
// person's own as far as the record knows.
type Observation struct {
	Source presence.Source `json:"source"`
	// Teams.
	Availability string `json:"availability,omitempty"`
	Activity     string `json:"activity,omitempty"`
	// An endpoint.
	Line    presence.Line    `json:"line,omitempty"`
	Status  *presence.Status `json:"status,omitempty"`
	Version uint64           `json:"version,omitempty"`

	Organic Organic  `json:"organic"`
	Before  *Organic `json:"organic_before,omitempty"` // where the observation changed it
}

// Organic is what a side shows of the person's own: no assertion of the bridge is in it (R1).
type Organic struct {
	State OrganicState `json:"state,omitempty"` // an endpoint is seen or unknown; Teams may be hidden
	// Teams: the last state that was seen.
	Pair        presence.Pair    `json:"pair,omitzero"`
	OutOfOffice presence.Absence `json:"out_of_office,omitempty"`
	// An endpoint.
	Line   presence.Line   `json:"line,omitempty"`
	Status presence.Status `json:"status,omitzero"`

	Message string `json:"message,omitempty"`
}

// organic is the person's own in Teams.
func (t *TeamsSide) organic() Organic {
	return Organic{State: t.OrganicState, Pair: t.Organic, OutOfOffice: t.OutOfOffice, Message: t.Message}
}

// organic is the person's own on an endpoint.
func (ep *EndpointSide) organic() Organic {
	if ep == nil || !ep.Seen {
		return Organic{}
	}
	return Organic{State: OrganicSeen, Line: ep.Line, Status: ep.Status, Message: ep.Message}
}

// Organics are the person's own states by side, as the record knows them.
func (r *Record) Organics() map[string]Organic {
	out := map[string]Organic{TeamsSideLabel: r.Teams.organic()}
	for i := range r.Endpoints {
		out[EndpointSideName(r.Endpoints[i].ID)] = r.Endpoints[i].organic()
	}
	return out
}

// observed is the side and the content of an observation; an event that is none has no side.
func observed(was, next *Record, ev Event) (string, *Observation) {
	teams := func(source presence.Source, p presence.Pair) (string, *Observation) {
		o := &Observation{Source: source, Availability: p.Availability, Activity: p.Activity, Organic: next.Teams.organic()}
		if before := was.Teams.organic(); before != o.Organic {
			o.Before = &before
		}
		return TeamsSideLabel, o
	}
	switch ev := ev.(type) {
	case TeamsPushed:
		return teams(presence.SourcePush, ev.Pair)
	case TeamsRead:
		return teams(presence.SourceRead, ev.Pair)
	case TeamsSwept:
		return teams(presence.SourceSweep, ev.Pair)
	case EndpointSeen:
		return observedEndpoint(was, next, presence.SourceWatch, ev.Endpoint, ev.State)
	case EndpointRead:
		return observedEndpoint(was, next, presence.SourceRead, ev.Endpoint, ev.State)
	case EndpointSnapshot: // of everybody every few minutes: only what is news
		if side, o := observedEndpoint(was, next, presence.SourceSnapshot, ev.Endpoint, ev.State); o.Before != nil {
			return side, o
		}
	}
	return "", nil
}

func observedEndpoint(was, next *Record, source presence.Source, id presence.EndpointID, st pbx.State) (string, *Observation) {
	o := &Observation{Source: source, Line: st.Line, Status: &st.Status, Version: st.Version, Organic: next.Endpoint(id).organic()}
	if before := was.Endpoint(id).organic(); before != o.Organic {
		o.Before = &before
	}
	return EndpointSideName(id), o
}
