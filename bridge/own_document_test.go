package bridge

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

// A person without any document chose nothing: ours may stand beside that, while a status that nobody can classify
// is left alone.
func TestR9OurDocumentStandsBesideNothing(t *testing.T) {
	w := known(t, documentPBX)
	w.phone.Status = presence.Status{}
	readPBX(w)
	require.True(t, side(w).Status.IsZero())
	assert.Nil(t, side(w).Override, "that nobody says what the person chose is no choice (R4)")
	assert.Equal(t, "write In a call", push(w, inACall))
	pbxAnswers(w, Answered)
	fire(w, TimerSettle, w.ep)
	w.phone.Status = statusAway // the phone comes back, with what the person chose before
	readPBX(w)
	assert.Equal(t, statusAway, side(w).Status)
	assert.Nil(t, side(w).Override)
	// A PBX whose status is overwritten says nothing: nobody knows what would be written over.
	w = known(t, trustedPBX)
	side(w).Status = presence.Status{}
	push(w, inACall)
	assert.Nil(t, side(w).Assertion)
}

// What the process before renewed nobody renews after a restart, so it is sent again (R6).
func TestR6ARestartSendsOurDocumentAgain(t *testing.T) {
	w := asserted(t, documentPBX)
	w.requests = nil
	w.step(Recovered{})
	assert.Equal(t, PhaseWriting, side(w).Assertion.Phase)
	w.step(MemberChanged{Endpoints: []presence.EndpointID{w.ep}})
	w.snapshot()
	require.NotNil(t, side(w).Write, "%v", did(w))
	assert.Equal(t, statusCall, side(w).Write.Status)
	pbxAnswers(w, Answered)
	assert.Equal(t, PhaseStanding, side(w).Assertion.Phase)
	// A status of the PBX's own needs no lease.
	w = asserted(t, trustedPBX)
	w.step(Recovered{})
	assert.Equal(t, PhaseStanding, side(w).Assertion.Phase)
}
