// Package pbx is the contract between the engine and a PBX. A connector (one folder below this
// one) watches its PBX and hands over observations in the words of package presence; it carries out
// single writes and reads, and decides nothing. What follows from an observation, whether a write
// is due, and what happens after a failed one is the engine's business (package bridge).
//
// Line state and chosen status are separate axes; no connector merges them.
package pbx

import (
	"context"
	"errors"
	"fmt"
	"time"

	"presencebridge/bridge/presence"
)

// Author says who chose the status that an observation shows.
type Author uint8

// The authors.
const (
	AuthorUnknown Author = iota // the PBX does not say
	AuthorUser                  // a person, by hand
	AuthorSelf                  // this bridge's own client, or one that may have been (see the connector)
	AuthorOther                 // another program
)

// State is what a PBX says about one endpoint at one moment.
type State struct {
	// Line is the call state as the PBX tells it. One that does not tell a held call shows it as in-call; one that
	// does not tell us of that user's calls shows the zero Line.
	Line    presence.Line
	Status  presence.Status
	Message string

	// Version orders states of one endpoint where the PBX has versions (Capabilities.Versions),
	// otherwise 0. It may also grow when only the line changes.
	Version uint64
	// ChangedAt is when the status (not the line) was last chosen, by the PBX's clock. It is
	// only ever compared for equality. Zero where the PBX does not say.
	ChangedAt time.Time
	// ChangedBy is who chose the status. It says nothing about the line.
	ChangedBy Author
}

// User is one endpoint as the PBX lists it.
type User struct {
	ID          string // the PBX's own id: opaque, stable
	Email       string
	Extension   string
	DisplayName string
	State       State
}

// Event is one item of a watch.
type Event struct {
	Kind EventKind
	User string // the PBX's own user id, for EventState
	// Seq is the connector's own number, growing by event within one Connector. Never the PBX's.
	Seq   uint64
	State State
}

// EventKind tells the events of a watch apart.
type EventKind uint8

// The kinds of events.
const (
	// EventState: the endpoint's state. The last one per endpoint matters, all must be delivered.
	EventState EventKind = iota
	// EventReset: events may have been lost; take a snapshot. Sent after every (re)connection that
	// could not resume, the first one included.
	EventReset
	// EventUsers: the list of users may have changed (an unknown user appeared); take a snapshot.
	EventUsers
	// EventSeen: the connection is alive although nothing happened (a heartbeat, a resume
	// without loss). At least every 30 s while connected.
	EventSeen
)

// Capabilities say what a PBX can do. They decide how the engine writes (R8) and what it
// believes (R14).
type Capabilities struct {
	// OwnDocument: the PBX holds our own document beside the person's status (SIP PUBLISH): withdrawing
	// removes it, and there is no previous status. Otherwise the status is overwritten.
	OwnDocument bool
	// Versions: a write can carry the version it expects and fails with [Conflict] when that is not
	// the present one.
	Versions bool
	// Authors: the PBX says who chose a status.
	Authors bool
	// Messages: a status carries a message that can be written. Where the PBX keeps a message per status (3CX),
	// another status shows its own.
	Messages bool
	// MessageLimit is the most that a message can hold, in UTF-16 units; 0 where there is no limit, or none is known.
	MessageLimit int
}

// Write is one change of one endpoint.
type Write struct {
	// Status to show. With Capabilities.OwnDocument the zero Status removes our document.
	Status presence.Status
	// Message to show with Status; nil leaves messages as they are.
	Message *string
	// IfVersion is the version the write expects, 0 for none. Only with Capabilities.Versions.
	IfVersion uint64
}

// Connector is one PBX. All methods are safe for concurrent use, and return when ctx ends.
type Connector interface {
	// Capabilities never change during a connector's life and never block.
	Capabilities() Capabilities

	// Statuses lists what the PBX can show. It may block on the network. The engine calls it after each
	// EventReset, before the snapshot.
	Statuses(ctx context.Context) ([]presence.Status, error)

	// Snapshot reads every user with their present state. It may take long; it is called after each
	// EventReset or EventUsers and periodically (R16). What the watch delivers meanwhile is
	// applied by the caller afterwards.
	Snapshot(ctx context.Context) ([]User, error)

	// Watch delivers events until ctx ends, reconnecting on its own for ever: a remote error never
	// ends it. deliver is called from one goroutine, in order, and may block (back-pressure). Watch returns
	// ctx's error; one at a time. A later Watch begins with EventReset like the first.
	Watch(ctx context.Context, deliver func(Event)) error

	// Read reads one endpoint directly. An unknown user is a [Gone] error.
	Read(ctx context.Context, user string) (State, error)

	// Apply writes once and returns what the PBX then showed. It does not retry: an error counts as
	// unanswered unless its [Error] says otherwise. [Conflict] means IfVersion was not the present one.
	Apply(ctx context.Context, user string, w Write) (State, error)

	// Verify checks address, credentials and rights, for `verify`. nil means usable.
	Verify(ctx context.Context) error

	// Connection reports the state of the watch as data. It never blocks.
	Connection() Connection
}

// Connection is the state of a connector's watch, for metrics and for people.
type Connection struct {
	State  ConnState
	Since  time.Time
	Code   string // stable, snake_case, for example "unauthorised"; empty when connected
	Text   string // what happened, in a sentence, free of secrets
	Remedy string // what a person can do about it; empty if nothing

	// Warnings are what a person should know although the PBX may well be connected, at most one of a code: another
	// program that bridges the same people, users whose calls nobody tells us of. They are known after a Verify, or
	// soon after the watch began. Nobody changes the slice.
	Warnings []Warning
}

// Warning is something that does not stop the bridge, but makes it work worse until a person acts.
type Warning struct {
	Code, Text, Remedy string // as in [Connection]
}

// WarnCompetitor is the code of the warning that another program brings the same people's presence to Teams or from
// there. Two such programs write over each other.
const WarnCompetitor = "competitor"

// ConnState is one of the states of a watch.
type ConnState string

// The states of a watch.
const (
	ConnConnecting  ConnState = "connecting"
	ConnConnected   ConnState = "connected"
	ConnDegraded    ConnState = "degraded"     // trying again on its own
	ConnNeedsPerson ConnState = "needs_person" // will not mend itself: credentials, rights, licence
)

// ErrorKind is what a connector knows about a failure.
type ErrorKind uint8

// The kinds of failure.
const (
	// Unanswered: nobody knows whether a write landed: timeouts, 5xx, broken connections.
	Unanswered ErrorKind = iota
	// Conflict: the expected version was not the present one; nothing was written.
	Conflict
	// Throttled: the PBX asks to wait (RetryAfter).
	Throttled
	// Gone: there is no such user.
	Gone
	// Refused: the PBX will not do this however often it is asked (unknown status, no right).
	Refused
	// Unauthorised: the credentials are not accepted.
	Unauthorised
)

// Error is the error type of every Connector method that talks to the PBX.
type Error struct {
	Kind       ErrorKind
	RetryAfter time.Duration // how long the PBX asked to wait, 0 if it did not say
	Op         string        // what was tried, for example "put presence"
	Err        error
	Remedy     string // what a person can do about it, where the kind alone does not say
}

// Error tells what was tried and what came of it.
func (e *Error) Error() string { return fmt.Sprintf("pbx: %s: %v", e.Op, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of a connector's error; anything untyped counts as [Unanswered].
func KindOf(err error) ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Unanswered
}
