package api

import (
	"time"

	"presencebridge/bridge/presence"
)

// CoverageSum is how the members of an account are covered, in sum.
type CoverageSum struct {
	Members int `json:"members"`
	// Reasons counts the members that are not pushed, by why, as in the metric presence_bridge_coverage_members.
	Reasons []CoverageReason `json:"reasons"`
	// MonitorsConfigured counts the places for a subscription there are, one for each monitor and application;
	// MonitorsUsable those that are authorised, MonitorsNeeded as many as carry everybody, Spares those that carry nobody.
	MonitorsConfigured int `json:"monitors_configured"`
	MonitorsUsable     int `json:"monitors_usable"`
	MonitorsNeeded     int `json:"monitors_needed"`
	Spares             int `json:"spares"`
	// WithOneMore members would be pushed in addition with one monitor more.
	WithOneMore int `json:"with_one_more"`
	// Stalest is how long ago the member was confirmed for whom that is the longest, in seconds.
	Stalest float64 `json:"stalest_seconds"`
	// Text says in a sentence what is missing, or that nothing is.
	Text string `json:"text"`
}

// CoverageReason is a reason for not being pushed.
type CoverageReason struct {
	Coverage presence.Coverage `json:"coverage"`
	Why      string            `json:"why"`
	Members  int               `json:"members"`
	Text     string            `json:"text"`
}

// Remade says when and why a subscription was last made anew because it swallowed notifications.
type Remade struct {
	At     time.Time `json:"at"`
	Misses int       `json:"misses"` // changes in the ten minutes before that the sweep saw and nobody told
	Dead   bool      `json:"dead"`   // nothing at all came through it
	Text   string    `json:"text"`
}

// ProbeState is what came of having Graph reach the bridge.
type ProbeState string

// The states of a probe.
const (
	ProbeReached   ProbeState = "reached"    // Graph has validated both public URLs just now
	ProbeFailed    ProbeState = "failed"     // Graph could not, and says why
	ProbeNotTested ProbeState = "not_tested" // it could not be tried
)

// Probe is the answer of POST /accounts/{account}/probe.
type Probe struct {
	State  ProbeState `json:"state"`
	UPN    string     `json:"upn,omitempty"`     // the monitor that lent its place
	TookMS int64      `json:"took_ms,omitempty"` // until Graph's answer
	Code   string     `json:"code,omitempty"`    // none_free, probing, or Graph's code
	Text   string     `json:"text"`
}
