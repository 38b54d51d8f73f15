package api

import "time"

// ReplayRequest asks who would have looked different under another policy.
type ReplayRequest struct {
	// Policy is the other policy's text, YAML: what stands under `policy:` of an account.
	Policy string `json:"policy"`
	// Since is how far back to go; zero is as far as there are records.
	Since time.Time `json:"since,omitzero"`
}

// ReplayItem is one line of the answer: one of its members. The last line has Summary, or Error.
type ReplayItem struct {
	Difference *ReplayDifference `json:"difference,omitempty"`
	Progress   *ReplayProgress   `json:"progress,omitempty"`
	Summary    *ReplaySummary    `json:"summary,omitempty"`
	Error      string            `json:"error,omitempty"`
}

// ReplayDifference is a time in which a side of a member would have shown something else.
type ReplayDifference struct {
	Member string    `json:"member"`
	UPN    string    `json:"upn,omitempty"`
	Side   string    `json:"side"` // teams, or pbx.<pbx>.<user>
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Old    string    `json:"old"` // under the policy that the account has
	New    string    `json:"new"` // under the other one
}

// ReplayProgress is how far the replay has come.
type ReplayProgress struct {
	Done  int `json:"done"` // members
	Total int `json:"total"`
}

// ReplaySummary sums a replay up.
type ReplaySummary struct {
	Since        time.Time `json:"since"`
	Until        time.Time `json:"until"`
	Members      int       `json:"members"`      // who were looked at
	Changed      int       `json:"changed"`      // who would have looked different
	Observations int       `json:"observations"` // that were run through both policies
	// Remarks say what the records do not hold, in words.
	Remarks []string `json:"remarks,omitempty"`
}
