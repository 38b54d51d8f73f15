package api

import "time"

// Explanation says why a member looks as they do, or looked at some moment. The sentences are in English and ready to be
// shown; Text is all of them for a terminal.
type Explanation struct {
	Account string    `json:"account"`
	Member  string    `json:"member"` // Entra object id
	UPN     string    `json:"upn,omitempty"`
	Name    string    `json:"name,omitempty"`
	At      time.Time `json:"at"`
	// Excluded: the person opted out, or is excluded by policy; then nothing is kept about them.
	Excluded bool `json:"excluded,omitempty"`
	// History tells whether decisions are recorded at all.
	History  bool             `json:"history"`
	Sides    []ExplainedSide  `json:"sides"`
	Coverage string           `json:"coverage"`
	Waiting  []string         `json:"waiting"` // what the bridge is waiting for
	Chain    []ExplainedEvent `json:"chain"`   // what happened, oldest first; at most [MaxChain], the last ones
	Remarks  []string         `json:"remarks"` // what cannot be told, and why
	Text     string           `json:"text"`
}

// MaxChain is how many events an explanation lists.
const MaxChain = 2000

// ExplainedSide is one side at that moment.
type ExplainedSide struct {
	Side      string     `json:"side"` // teams, or pbx.<name>.<endpoint>
	Label     string     `json:"label"`
	Known     bool       `json:"known"`
	Line      string     `json:"line,omitempty"`
	Shown     string     `json:"shown,omitempty"`
	Organic   string     `json:"organic,omitempty"` // the person's own
	Since     time.Time  `json:"since,omitzero"`    // since when it shows this, if that is recorded
	Assertion *Assertion `json:"assertion,omitempty"`
	Override  *Override  `json:"override,omitempty"`
	Competing *Competing `json:"competing_writers,omitempty"`
	Because   []string   `json:"because"` // reasons, as everywhere
	Sentences []string   `json:"sentences"`
}

// ExplainedEvent is one thing that happened.
type ExplainedEvent struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"`
	Side string    `json:"side,omitempty"`
	Text string    `json:"text"`
}
