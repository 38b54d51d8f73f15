package api

// Directory is a page of GET /accounts/{account}/directory: who is who, and who is not.
type Directory struct {
	// Counts are how many findings there are of each kind.
	Counts   map[string]int `json:"counts"`
	Findings []Finding      `json:"findings"`
	// Next is the parameter after of the next page; empty on the last one.
	Next string `json:"next"`
}

// Finding is one thing that was found when people and PBX users were brought together.
type Finding struct {
	Kind      string `json:"kind"` // problem, ambiguous, endpoint (without a person), person (without an endpoint), matched or excluded
	PBX       string `json:"pbx,omitempty"`
	User      string `json:"user,omitempty"` // the PBX's own id
	Extension string `json:"extension,omitempty"`
	Endpoint  string `json:"endpoint_name,omitempty"`
	Mail      string `json:"mail,omitempty"` // of the endpoint, or of a person without one
	ID        string `json:"id,omitempty"`   // the person's object id
	UPN       string `json:"upn,omitempty"`
	Name      string `json:"name,omitempty"`
	Rule      string `json:"rule,omitempty"` // that found the person, or several
	// Kept: the rule does not find the person any more, who was renamed.
	Kept   bool   `json:"kept,omitempty"`
	Reason string `json:"reason,omitempty"` // stable
	Text   string `json:"text,omitempty"`   // the reason in words, and what to do
	// Candidates are the people between whom it is ambiguous; otherwise who, or what, looks most like it.
	Candidates []Candidate `json:"candidates,omitempty"`
}

// Candidate is somebody, or an endpoint ("pbx/user").
type Candidate struct {
	ID    string  `json:"id"`
	Text  string  `json:"text"`
	Score float64 `json:"score"` // likeness, 0 to 1
}
