package app

import (
	"presencebridge/bridge/console"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/directory"
)

// directoryPage is one page of who is who.
func (a *account) directoryPage(q *console.DirectoryQuery) (reply, error) {
	if q == nil {
		q = &console.DirectoryQuery{}
	}
	report, err := a.dir.whoIsWho()
	if err != nil {
		return reply{}, err
	}
	found, next := report.Page(directory.FindingKind(q.Kind), q.After, q.Limit)
	page := &api.Directory{Counts: map[string]int{}, Findings: []api.Finding{}, Next: next}
	for kind, n := range report.Counts() {
		page.Counts[string(kind)] = n
	}
	for i := range found {
		page.Findings = append(page.Findings, FindingView(&found[i]))
	}
	return reply{Directory: page}, nil
}

// FindingView is a finding in the words of the API.
func FindingView(f *directory.Finding) api.Finding {
	out := api.Finding{
		Kind: string(f.Kind), PBX: f.PBX, User: f.User, Extension: f.Extension, Endpoint: f.Endpoint, Mail: f.Mail,
		ID: f.ID, UPN: f.UPN, Name: f.Name, Rule: string(f.Rule), Kept: f.Kept, Reason: string(f.Reason), Text: f.Text,
	}
	for _, c := range f.Candidates {
		out.Candidates = append(out.Candidates, api.Candidate{ID: c.ID, Text: c.Text, Score: c.Score})
	}
	return out
}
