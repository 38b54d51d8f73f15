package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/bus"
	"presencebridge/graph"
	"presencebridge/monitors"
)

func TestErrorsAreTranslated(t *testing.T) {
	for from, to := range map[graph.Kind]monitors.ErrorKind{
		graph.Transient: monitors.Transient, graph.Throttled: monitors.Throttled, graph.Unauthorised: monitors.Unauthorised,
		graph.ConsentMissing: monitors.Consent, graph.Gone: monitors.Gone, graph.Conflict: monitors.Conflict, graph.Refused: monitors.Refused,
	} {
		cause := fmt.Errorf("wrapped: %w", &graph.Error{Kind: from, Code: "AADSTS50173", Message: "said so", RetryAfter: time.Minute, Op: "try"})
		var e *monitors.CallError
		require.ErrorAs(t, callError(cause), &e)
		require.Equal(t, monitors.CallError{Kind: to, Code: "AADSTS50173", Text: "said so", RetryAfter: time.Minute, Err: cause}, *e)
		require.ErrorIs(t, e, cause)
	}
	var e *monitors.CallError
	require.ErrorAs(t, callError(errors.New("anything")), &e)
	require.Equal(t, monitors.Transient, e.Kind)
	require.NoError(t, callError(nil))
}

func TestSignInErrorsAreTranslated(t *testing.T) {
	for from, to := range map[graph.AuthorizationState]monitors.FlowState{
		graph.AuthorizationDeclined: monitors.FlowDeclined, graph.AuthorizationExpired: monitors.FlowExpired,
		graph.AuthorizationBadCode: monitors.FlowBadCode, graph.AuthorizationFailed: monitors.FlowFailed, graph.AuthorizationPending: monitors.FlowFailed,
	} {
		var e *monitors.AuthError
		require.ErrorAs(t, authError(&graph.AuthorizationError{State: from, Code: "c", Text: "t"}), &e)
		require.Equal(t, to, e.State)
		require.Equal(t, "c", e.Code)
		require.Equal(t, "t", e.Text)
	}
	var e *monitors.CallError
	require.ErrorAs(t, authError(&graph.Error{Kind: graph.Refused}), &e)
}

func TestStoreErrorsAreTranslated(t *testing.T) {
	require.ErrorIs(t, storeError(fmt.Errorf("x: %w", bus.ErrConflict)), monitors.ErrConflict)
	require.ErrorIs(t, storeError(fmt.Errorf("x: %w", bus.ErrNotFound)), monitors.ErrNotFound)
	require.ErrorIs(t, storeError(bus.ErrUnavailable), bus.ErrUnavailable)
	require.NotErrorIs(t, storeError(bus.ErrUnavailable), monitors.ErrConflict)
	require.NoError(t, storeError(nil))
}

// Whatever a listed resource looks like, only whole ids come out of it, each once, in order.
func FuzzWatched(f *testing.F) {
	f.Add("/communications/presences?$filter=id in ('0A0B0C0D-0000-4000-8000-00000000000A')")
	f.Add("communications/presences?$filter=id+in+(%270a0b0c0d-0000-4000-8000-00000000000a%27%2c%270a0b0c0d-0000-4000-8000-00000000000b%27)")
	f.Add("communications/presences('0a0b0c0d-0000-4000-8000-00000000000a')")
	f.Fuzz(func(t *testing.T, resource string) {
		ids := watched(resource)
		require.True(t, slices.IsSorted(ids))
		for i, id := range ids {
			require.Len(t, id, 36)
			require.Contains(t, strings.ToLower(resource), id)
			require.False(t, i > 0 && ids[i-1] == id)
		}
	})
}
