package pbx

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKindOf(t *testing.T) {
	refused := &Error{Kind: Refused, Op: "put presence", Err: errors.New("answered 422")}
	require.Equal(t, Refused, KindOf(refused))
	require.Equal(t, Refused, KindOf(fmt.Errorf("while restoring: %w", refused)))
	require.Equal(t, Unanswered, KindOf(errors.New("what a connector forgot to type")), "nobody knows whether it landed")
	require.Equal(t, Unanswered, KindOf(context.Canceled))
}

func TestErrorTellsWhatWasTried(t *testing.T) {
	err := &Error{Kind: Unanswered, Op: "get presence", Err: context.DeadlineExceeded}
	require.EqualError(t, err, "pbx: get presence: context deadline exceeded")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
