package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What a caller may branch on. All are wrapped with what was tried; use [errors.Is].
var (
	// ErrFull: the store has reached its size limit and refuses (discard new). It accepts again
	// once bodies have been processed or have expired.
	ErrFull = errors.New("the store is full")
	// ErrNoSpace: the disk under data_dir has less than nats.min_free left.
	ErrNoSpace = errors.New("free disk space is below nats.min_free")
	// ErrUnavailable: nobody answered in time. The write may have landed all the same: a bucket
	// has to be read again before the next compare-and-set.
	ErrUnavailable = errors.New("the bus does not answer")
	// ErrTooLarge: a single message above the server's limit that cannot be split.
	ErrTooLarge = errors.New("larger than one message may be")
	// ErrConflict: the entry is not at the revision that the caller expected.
	ErrConflict = errors.New("another revision is stored")
	// ErrNotFound: no such entry.
	ErrNotFound = errors.New("no such entry")
	// ErrBusy: more writes wait than the queue may hold. Nothing was written.
	ErrBusy = errors.New("too many writes are waiting")
	// ErrClosed: the bus was closed.
	ErrClosed = errors.New("the bus is closed")
	// ErrNoOwner: no replica serves commands of this account.
	ErrNoOwner = errors.New("no replica serves this account")
	// ErrLocked: another process works on the same data_dir.
	ErrLocked = errors.New("the data directory is in use")
	// ErrInvalid: an account, key or side that may not be used as a name.
	ErrInvalid = errors.New("not a valid name")
)

// JetStream's error codes that we branch on (nats-server, server/errors.json).
const (
	codeAccountResources   jetstream.ErrorCode = 10002
	codeNoPeers            jetstream.ErrorCode = 10005
	codeInsufficient       jetstream.ErrorCode = 10023
	codeStorageResources   jetstream.ErrorCode = 10047
	codeMessageTooLarge    jetstream.ErrorCode = 10054
	codeWrongLastSequence  jetstream.ErrorCode = 10071
	codeReplicasNotAllowed jetstream.ErrorCode = 10074
	codeStoreFailed        jetstream.ErrorCode = 10077
	codeWrongLastConstant  jetstream.ErrorCode = 10164
)

// reason is the metric label and log attribute of a refusal.
type reason string

const (
	reasonFull        reason = "full"
	reasonNoSpace     reason = "no_space"
	reasonUnavailable reason = "unavailable"
	reasonTooLarge    reason = "too_large"
	reasonConflict    reason = "conflict"
	reasonBusy        reason = "busy"
	reasonClosed      reason = "closed"
	reasonInvalid     reason = "invalid"
	reasonOther       reason = "other"
)

// reasonOf classifies one of our own errors.
func reasonOf(err error) reason {
	for _, c := range []struct {
		err error
		r   reason
	}{
		{ErrFull, reasonFull}, {ErrNoSpace, reasonNoSpace}, {ErrTooLarge, reasonTooLarge},
		{ErrConflict, reasonConflict}, {ErrBusy, reasonBusy}, {ErrClosed, reasonClosed},
		{ErrInvalid, reasonInvalid}, {ErrUnavailable, reasonUnavailable},
	} {
		if errors.Is(err, c.err) {
			return c.r
		}
	}
	return reasonOther
}

// isCode tells whether JetStream answered with that error.
func isCode(err error, code jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}

// fromAPI turns JetStream's answer into one of our errors.
func fromAPI(err *jetstream.APIError) error {
	switch err.ErrorCode {
	case codeWrongLastSequence, codeWrongLastConstant:
		return fmt.Errorf("%w: %w", ErrConflict, err)
	case codeMessageTooLarge:
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case codeStoreFailed, codeInsufficient, codeStorageResources, codeAccountResources:
		return fmt.Errorf("%w: %w", ErrFull, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// fromNATS turns any error of the client library into one of ours.
func fromNATS(err error) error {
	if err == nil {
		return nil
	}
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		return fromAPI(api)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// isTimeout tells whether nobody answered, as opposed to an answer that was an error.
func isTimeout(err error) bool {
	return errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrAsyncPublishTimeout) ||
		errors.Is(err, context.DeadlineExceeded)
}
