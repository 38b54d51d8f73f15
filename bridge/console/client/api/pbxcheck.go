package api

import "presencebridge/bridge/presence"

// PBXChecks is the answer of POST /accounts/{account}/pbx/check: one entry for each PBX of the account.
type PBXChecks struct {
	PBXs []PBXCheck `json:"pbxs"`
}

// PBXCheck is what the owner of the account found when it tried a PBX just now, over its own connection and session.
type PBXCheck struct {
	Name string `json:"name"`

	Error  string `json:"error,omitempty"`  // why it cannot be used
	Kind   string `json:"kind,omitempty"`   // of Error: unanswered, conflict, throttled, gone, refused or unauthorised
	Remedy string `json:"remedy,omitempty"` // where the connector knows one

	Statuses      []presence.Status `json:"statuses"`
	StatusesError string            `json:"statuses_error,omitempty"` // why they cannot be listed
	// Users is how many the last listing had; absent: they were not listed yet.
	Users    *int         `json:"users,omitempty"`
	Warnings []PBXWarning `json:"warnings"`
}

// PBXWarning does not keep a PBX from being used, and makes it work worse until a person acts.
type PBXWarning struct {
	Code   string `json:"code"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}
