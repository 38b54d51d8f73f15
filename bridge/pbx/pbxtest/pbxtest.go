// Package pbxtest is the conformance suite for connectors: what package pbx promises the engine, tried
// against a PBX that the test can move, break and ask. A new connector is done when its folder runs
//
//	pbxtest.Run(t, pbxtest.Target{Start: func(t testing.TB) *pbxtest.World { ... }})
//
// and everything passes. What a PBX cannot do, or its simulator cannot show, is left nil in [World], and
// the tests that need it are skipped by name.
package pbxtest

import (
	"testing"
	"time"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// Target is a connector to try.
type Target struct {
	// Start makes a PBX of its own for one test, and ends it with the test (t.Cleanup).
	Start func(t testing.TB) *World
	// Patience is how long anything may take before the test gives up. Default 1 min.
	Patience time.Duration
	// Resumes: a broken watch goes on where it was, without a reset.
	Resumes bool
	// NoHold: the PBX does not tell a held call from another, so that it shows as in-call.
	NoHold bool
	// MessagePerStatus: the PBX keeps a message for each status, and shows that of the present one.
	MessagePerStatus bool
}

// World is a PBX from its own side. The functions are called from one goroutine at a time. Those without
// "optional" are required.
type World struct {
	// Connect makes a connector at this PBX. Its timeouts should be short (a second or two), its backoff a
	// few milliseconds.
	Connect func(t testing.TB) pbx.Connector
	// Users are ids of at least three users, all of the PBX.
	Users []string
	// First and Second are two statuses that can be written, other than what users begin with.
	First, Second presence.Status
	// Others: the PBX has users besides those. What becomes of them does not matter.
	Others bool
	// Pick lets a user pick a status by hand, by its name.
	Pick func(user, status string) error
	// PickedByUs: Pick uses the connector's own credentials, for want of a person.
	PickedByUs bool
	// Line brings a user's line into a state (idle, ringing, in-call, on-hold or offline). Optional: without it the tests
	// pick statuses instead.
	Line func(user string, line presence.Line) error
	// Shown is what the PBX itself knows that it shows: Line, Status.Name and Message count. Where the PBX holds our
	// own document beside the person's status (Capabilities.OwnDocument), it is what the person chose.
	Shown func(user string) pbx.State
	// Published is our own document, where the PBX holds one: Status.Name and Message count, both empty when there is
	// none. Required with Capabilities.OwnDocument.
	Published func(user string) pbx.State

	// WriteAs lets another program set a status. Optional.
	WriteAs func(user, status string) error
	// CutWatch breaks every open watch; nothing is lost. Optional.
	CutWatch func()
	// StallWatch lets open watches fall silent, and work again. The connector made by ConnectWary must
	// notice. Optional, both.
	StallWatch  func(on bool)
	ConnectWary func(t testing.TB) pbx.Connector
	// Restart restarts the PBX, with or without its state. Optional.
	Restart func(loseState bool) error
	// Slow delays every answer by d, 0 for none. Optional.
	Slow func(d time.Duration)
	// Break lets every request fail with an error of the PBX's own. Optional.
	Break func(on bool)
	// Throttle lets every request be answered with a request to wait at least that long. Optional.
	Throttle func(wait time.Duration)
	// FailApplied lets writes be carried out and answered as failed. Optional.
	FailApplied func(on bool)
	// Repeat delivers every event twice; Shuffle delivers events late and out of order; neither loses
	// any. Optional.
	Repeat, Shuffle func(on bool)
	// Lose loses every event: nothing tells the connector what happened. Optional.
	Lose func(on bool)
	// Cruel makes everything fail now and then: requests, writes and their answers, events, connections.
	// Optional.
	Cruel func(on bool)
	// Pending counts late events and late writes that are still to come. Optional.
	Pending func() int
	// Revoke makes the connector's credentials invalid, breaking open watches; the function that it
	// returns makes them valid again, or provides valid ones where the connector looks for them. Optional.
	Revoke func() (restore func())
	// Expire ends whatever the connector's session with the PBX rests on (a token, a nonce), breaking open watches,
	// while its credentials stay valid. Optional.
	Expire func()
	// Join lets somebody join, and returns the id. Leave lets them leave. Optional.
	Join  func() (user string, err error)
	Leave func(user string) error
}

// Run runs the suite. Each test gets a PBX of its own.
func Run(t *testing.T, target Target) {
	if target.Patience == 0 {
		target.Patience = time.Minute
	}
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.on(t, target)
		})
	}
}

// check is one test of the suite.
type check struct {
	name string
	test func(*run)
}

func (c check) on(t testing.TB, target Target) {
	w := target.Start(t)
	if len(w.Users) < 3 {
		t.Fatal("pbxtest: World.Users must name at least three")
	}
	c.test(&run{TB: t, World: w, target: target})
}

func checks() []check {
	return []check{
		{"Capabilities", testCapabilities},
		{"Statuses", testStatuses},
		{"Snapshot", testSnapshot},
		{"WatchThenSnapshot", testWatchThenSnapshot},
		{"SequenceGrows", testSequenceGrows},
		{"ApplyReadsBack", testApplyReadsBack},
		{"ApplyKeepsTheMessage", testApplyKeepsTheMessage},
		{"ApplyWhatShows", testApplyWhatShows},
		{"Withdraw", testWithdraw},
		{"Conflict", testConflict},
		{"NoSuchUser", testNoSuchUser},
		{"NoSuchStatus", testNoSuchStatus},
		{"Authors", testAuthors},
		{"OtherPrograms", testOtherPrograms},
		{"LineIsNoChoice", testLineIsNoChoice},
		{"CutWatch", testCutWatch},
		{"SilentWatch", testSilentWatch},
		{"RestartKeepingState", func(r *run) { testRestart(r, false) }},
		{"RestartLosingState", func(r *run) { testRestart(r, true) }},
		{"RepeatedEvents", testRepeatedEvents},
		{"ShuffledEvents", testShuffledEvents},
		{"LostEvents", testLostEvents},
		{"CruelDay", testCruelDay},
		{"BackPressure", testBackPressure},
		{"SlowPBX", testSlowPBX},
		{"BrokenPBX", testBrokenPBX},
		{"Throttled", testThrottled},
		{"AppliedButFailed", testAppliedButFailed},
		{"Unauthorised", testUnauthorised},
		{"ExpiredSession", testExpiredSession},
		{"Joiner", testJoiner},
		{"Leaver", testLeaver},
		{"ContextEnds", testContextEnds},
		{"ConcurrentUse", testConcurrentUse},
		{"Verify", testVerify},
	}
}

// run is one test on one PBX.
type run struct {
	testing.TB
	*World

	target Target
}

// need skips a test for what this PBX cannot do.
func (r *run) need(ok bool, what string) {
	r.Helper()
	if !ok {
		r.Skip("this PBX offers no " + what)
	}
}
