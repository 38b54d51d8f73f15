package bridge

import (
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
)

// Out of office and the status message of Teams are axes of their own beside the pair. Only reads tell of them, no write of
// ours touches the first, and what we wrote as the second is known by its text, so they need no fence.

// looksAtDetails tells whether the rules towards the PBX ask for more than the pair. Of members for whom they do not,
// nothing of it is kept.
func looksAtDetails(p *policy.Policy) bool {
	for i := range p.TeamsToPBX {
		r := &p.TeamsToPBX[i]
		if r.When.OutOfOffice != presence.AbsenceUnknown || r.Set.Message.Copy {
			return true
		}
	}
	return false
}

// foldDetails takes what a read told beside the pair.
func (s *step) foldDetails(d *Details) {
	t := &s.r.Teams
	switch {
	case !looksAtDetails(s.policy()):
		t.OutOfOffice, t.Message = presence.AbsenceUnknown, ""
	case d != nil:
		t.OutOfOffice, t.Message = d.OutOfOffice, t.foldTeamsNote(d.Message)
	}
}

// differs tells whether a bulk read says anything else than the record, as far as the member's policy looks.
func (r *Record) differs(shown presence.Shown, p *policy.Policy) bool {
	if r.policy != nil {
		p = r.policy
	}
	t := r.Teams
	return t.Shown != shown.Pair || (looksAtDetails(p) && (t.OutOfOffice != shown.OutOfOffice || t.Message != t.foldTeamsNote(shown.Message)))
}

// organicState is the person's own state in Teams as policy looks at it.
func (t *TeamsSide) organicState() policy.TeamsState {
	return policy.TeamsState{Pair: t.Organic, OutOfOffice: t.OutOfOffice, Message: t.Message}
}
