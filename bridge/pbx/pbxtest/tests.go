package pbxtest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

func (r *run) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), r.target.Patience)
	r.Cleanup(cancel)
	return ctx
}

// write applies without a version.
func (r *run) write(c pbx.Connector, user string, st presence.Status) pbx.State {
	r.Helper()
	got, err := c.Apply(r.ctx(), user, pbx.Write{Status: st})
	require.NoError(r, err)
	return got
}

func (r *run) read(c pbx.Connector, user string) pbx.State {
	r.Helper()
	got, err := c.Read(r.ctx(), user)
	require.NoError(r, err)
	return got
}

// kind checks that an error is a typed one of a kind.
func (r *run) kind(err error, want pbx.ErrorKind, what string) {
	r.Helper()
	var typed *pbx.Error
	require.ErrorAs(r, err, &typed, what)
	require.Equal(r, want, typed.Kind, "%s: %v", what, err)
	require.NotEmpty(r, typed.Op, "an error says what was tried")
}

// move brings a line into a state. Where nobody can make calls a choice takes its place: it is a change all the same.
func (r *run) move(user string, to presence.Line) error {
	switch {
	case r.Line != nil:
		return r.Line(user, to)
	case to == presence.LineIdle:
		return r.Pick(user, r.First.Name)
	default:
		return r.Pick(user, r.Second.Name)
	}
}

// landed checks that a write shows, and that the answer said so. Our own document leaves what the person chose as it is.
func (r *run) landed(c pbx.Connector, user string, want presence.Status, got pbx.State) {
	r.Helper()
	if c.Capabilities().OwnDocument {
		r.published(user, want.Name)
	} else {
		require.Equal(r, want, got.Status)
	}
	require.True(r, shows(got, r.Shown(user)), "the answer %+v is what the PBX shows: %+v", got, r.Shown(user))
}

// published waits until our document shows a status, or is gone: a server may answer before it is done (R7).
func (r *run) published(user, want string) {
	r.Helper()
	require.Eventually(r, func() bool { return r.Published(user).Status.Name == want }, r.target.Patience, 5*time.Millisecond,
		"our document shows %q", want)
}

// message is the message that shows after a write, of which got is the answer.
func (r *run) message(c pbx.Connector, user string, got pbx.State) string {
	if c.Capabilities().OwnDocument {
		return r.Published(user).Message
	}
	return got.Message
}

func testCapabilities(r *run) {
	c := r.Connect(r)
	caps := c.Capabilities()
	require.False(r, caps.OwnDocument && caps.Versions, "our own document has no version of the person's status")
	r.write(c, r.Users[0], r.First)
	require.Equal(r, caps, c.Capabilities(), "capabilities never change")
}

func testStatuses(r *run) {
	c := r.Connect(r)
	list, err := c.Statuses(r.ctx())
	require.NoError(r, err)
	names := map[string]presence.Status{}
	for _, st := range list {
		require.False(r, st.IsZero())
		_, twice := names[st.Name]
		require.False(r, twice, "%q is listed twice", st.Name)
		names[st.Name] = st
	}
	for _, st := range []presence.Status{r.First, r.Second} {
		require.Equal(r, st, names[st.Name], "what can be written is listed, with its kind")
	}
}

func testSnapshot(r *run) {
	require.NoError(r, r.Pick(r.Users[1], r.Second.Name))
	require.NoError(r, r.move(r.Users[2], presence.LineInCall))
	c := r.Connect(r)
	users, err := c.Snapshot(r.ctx())
	require.NoError(r, err)
	got := map[string]pbx.User{}
	for _, u := range users {
		_, twice := got[u.ID]
		require.False(r, twice, "%q is listed twice", u.ID)
		got[u.ID] = u
	}
	if !r.Others {
		require.Len(r, got, len(r.Users))
	}
	for _, id := range r.Users {
		require.True(r, shows(got[id].State, r.Shown(id)), "%q: %+v instead of %+v", id, got[id].State, r.Shown(id))
		require.Equal(r, r.read(c, id), got[id].State, "a snapshot and a read say the same (does somebody else change these users, a running bridge perhaps?)")
	}
	require.Equal(r, r.Second, got[r.Users[1]].State.Status, "a status comes with its kind")
}

func testWatchThenSnapshot(r *run) {
	f := r.follow(r.Connect(r))
	for i := range 60 { // before, while and after the snapshot is taken
		u := r.Users[i%len(r.Users)]
		name := r.First.Name
		if i%2 == 0 {
			name = r.Second.Name
		}
		require.NoError(r, r.Pick(u, name))
		require.NoError(r, r.move(u, []presence.Line{presence.LineInCall, presence.LineIdle}[i/3%2]))
	}
	var first pbx.EventKind
	f.until(r, "the first event", func() bool {
		if len(f.events) > 0 {
			first = f.events[0].Kind
		}
		return len(f.events) > 0
	})
	require.Equal(r, pbx.EventReset, first, "a watch begins with a reset")
	f.agree(r, "after changes during the snapshot")
}

func testSequenceGrows(r *run) {
	c := r.Connect(r)
	f := r.followReady(c)
	for i := range 20 {
		require.NoError(r, r.move(r.Users[0], []presence.Line{presence.LineInCall, presence.LineIdle}[i%2]))
	}
	if r.CutWatch != nil {
		r.CutWatch()
	}
	require.NoError(r, r.move(r.Users[0], presence.LineOnHold))
	f.agree(r, "after changes")
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.events[1:] {
		require.Greater(r, f.events[i+1].Seq, f.events[i].Seq, "sequence numbers grow, across connections too")
	}
}

func testApplyReadsBack(r *run) {
	c := r.Connect(r)
	f := r.followReady(c)
	for _, st := range []presence.Status{r.First, r.Second, r.First} {
		got := r.write(c, r.Users[0], st)
		r.landed(c, r.Users[0], st, got)
		require.Equal(r, got, r.read(c, r.Users[0]), "the answer to a write is what a read shows")
		require.False(r, got.Line == presence.LineUnknown && r.Shown(r.Users[0]).Line != presence.LineUnknown)
	}
	f.agree(r, "after writes")
}

func testApplyKeepsTheMessage(r *run) {
	c := r.Connect(r)
	r.need(c.Capabilities().Messages, "messages")
	text := "Back at three – <&>\"\u2028"
	got, err := c.Apply(r.ctx(), r.Users[0], pbx.Write{Status: r.First, Message: &text})
	require.NoError(r, err)
	require.Equal(r, text, r.message(c, r.Users[0], got))
	got = r.write(c, r.Users[0], r.First)
	require.Equal(r, text, r.message(c, r.Users[0], got), "a write without a message keeps it")
	second := r.message(c, r.Users[0], r.write(c, r.Users[0], r.Second))
	if r.target.MessagePerStatus {
		require.NotEqual(r, text, second, "another status shows a message of its own")
	} else {
		require.Equal(r, text, second, "a write without a message keeps it")
	}
	empty := ""
	got, err = c.Apply(r.ctx(), r.Users[0], pbx.Write{Status: r.Second, Message: &empty})
	require.NoError(r, err)
	require.Empty(r, r.message(c, r.Users[0], got))
	require.Empty(r, r.Shown(r.Users[0]).Message)
}

func testApplyWhatShows(r *run) {
	c := r.Connect(r)
	first := r.write(c, r.Users[0], r.First)
	again := r.write(c, r.Users[0], r.First)
	require.Equal(r, first.Status, again.Status)
	if c.Capabilities().Versions {
		require.Equal(r, first, again, "a write that changes nothing makes no new version")
	}
}

// testWithdraw is for a PBX that holds our own document beside the person's status.
func testWithdraw(r *run) {
	c := r.Connect(r)
	r.need(c.Capabilities().OwnDocument, "document of our own")
	u := r.Users[0]
	require.NoError(r, r.Pick(u, r.Second.Name))
	r.write(c, u, r.First)
	_, err := c.Apply(r.ctx(), u, pbx.Write{})
	require.NoError(r, err, "no status removes our document")
	r.published(u, "")
	require.Equal(r, r.Second.Name, r.Shown(u).Status.Name, "the person's status is what it was")
	require.Equal(r, r.Second, r.read(c, u).Status)
	_, err = c.Apply(r.ctx(), u, pbx.Write{})
	require.NoError(r, err, "removing what is not there is no error")
}

func testConflict(r *run) {
	c := r.Connect(r)
	r.need(c.Capabilities().Versions, "versions")
	u := r.Users[0]
	before := r.read(c, u)
	require.NoError(r, r.Pick(u, r.Second.Name))
	_, err := c.Apply(r.ctx(), u, pbx.Write{Status: r.First, IfVersion: before.Version})
	r.kind(err, pbx.Conflict, "a write that expects an old version")
	require.Equal(r, r.Second.Name, r.Shown(u).Status.Name, "the person's choice stands")
	now := r.read(c, u)
	require.Greater(r, now.Version, before.Version)
	got, err := c.Apply(r.ctx(), u, pbx.Write{Status: r.First, IfVersion: now.Version})
	require.NoError(r, err)
	require.Equal(r, r.First, got.Status)
	require.Greater(r, got.Version, now.Version)
}

func testNoSuchUser(r *run) {
	c := r.Connect(r)
	for _, id := range []string{"nobody", "no/body", "..", "", "nobody?x=1#y", "nøbody %2F"} {
		_, err := c.Read(r.ctx(), id)
		r.kind(err, pbx.Gone, "read "+id)
		_, err = c.Apply(r.ctx(), id, pbx.Write{Status: r.First})
		r.kind(err, pbx.Gone, "write "+id)
	}
}

func testNoSuchStatus(r *run) {
	c := r.Connect(r)
	before := r.read(c, r.Users[0])
	_, err := c.Apply(r.ctx(), r.Users[0], pbx.Write{Status: presence.Status{Name: "No such status", Kind: presence.KindCustom}})
	r.kind(err, pbx.Refused, "an unknown status")
	require.Equal(r, before, r.read(c, r.Users[0]))
}

func testAuthors(r *run) {
	c := r.Connect(r)
	r.need(c.Capabilities().Authors, "authors")
	r.need(!r.PickedByUs, "person who picks")
	u := r.Users[0]
	own := r.write(c, u, r.First)
	require.Equal(r, pbx.AuthorSelf, own.ChangedBy)
	require.NoError(r, r.Pick(u, r.Second.Name))
	picked := r.read(c, u)
	require.Equal(r, pbx.AuthorUser, picked.ChangedBy)
	require.NotEqual(r, own.ChangedAt, picked.ChangedAt, "another choice, another time")
	if !c.Capabilities().Messages {
		return
	}
	// Who changes the message does not thereby choose the status.
	text := "by the bridge"
	got, err := c.Apply(r.ctx(), u, pbx.Write{Status: r.Second, Message: &text})
	require.NoError(r, err)
	require.Equal(r, pbx.AuthorUser, got.ChangedBy)
	require.Equal(r, picked.ChangedAt, got.ChangedAt)
}

func testOtherPrograms(r *run) {
	c := r.Connect(r)
	r.need(c.Capabilities().Authors, "authors")
	r.need(r.WriteAs != nil, "other programs")
	u := r.Users[0]
	// A conditional write of our own, of which there can be no doubt.
	f := r.followReady(c)
	f.agree(r, "at the beginning")
	before := r.read(c, u)
	own, err := c.Apply(r.ctx(), u, pbx.Write{Status: r.First, IfVersion: before.Version})
	require.NoError(r, err)
	require.Equal(r, pbx.AuthorSelf, own.ChangedBy)
	require.NoError(r, r.WriteAs(u, r.Second.Name))
	require.Equal(r, pbx.AuthorOther, r.read(c, u).ChangedBy)
	require.Equal(r, pbx.AuthorSelf, r.write(c, u, r.First).ChangedBy)
}

func testLineIsNoChoice(r *run) {
	r.need(r.Line != nil, "calls")
	c := r.Connect(r)
	f := r.followReady(c)
	u := r.Users[0]
	require.NoError(r, r.Pick(u, r.First.Name))
	before := r.read(c, u)
	for _, l := range []presence.Line{presence.LineRinging, presence.LineInCall, presence.LineOnHold, presence.LineOffline, presence.LineIdle} {
		require.NoError(r, r.move(u, l))
		got := r.read(c, u)
		if l == presence.LineOnHold && r.target.NoHold {
			l = presence.LineInCall
		}
		require.Equal(r, l, got.Line)
		require.Equal(r, before.Status, got.Status, "the line is an axis of its own")
		require.Equal(r, before.ChangedBy, got.ChangedBy)
		require.True(r, before.ChangedAt.Equal(got.ChangedAt))
		f.agree(r, "line "+string(l))
	}
}

func testCutWatch(r *run) {
	r.need(r.CutWatch != nil, "broken watches")
	f := r.followReady(r.Connect(r))
	u := r.Users[0]
	var want, got []string
	for i := range 20 {
		want = append(want, []string{r.First.Name, r.Second.Name}[i%2])
		require.NoError(r, r.Pick(u, want[i]))
		require.NoError(r, r.move(r.Users[1], []presence.Line{presence.LineInCall, presence.LineIdle}[i%2]))
		if i%6 == 3 {
			r.CutWatch()
		}
	}
	require.NoError(r, r.Pick(r.Users[2], r.Second.Name))
	f.agree(r, "after the watch was cut")
	if !r.target.Resumes {
		return
	}
	require.Equal(r, 1, f.resets(), "a watch that resumes needs no reset")
	f.mu.Lock()
	defer f.mu.Unlock()
	shown := ""
	for _, e := range f.events {
		if e.Kind == pbx.EventState && e.User == u && e.State.Status.Name != shown {
			shown = e.State.Status.Name
			got = append(got, shown)
		}
	}
	require.Equal(r, want, got, "every change was delivered, in order")
}

func testSilentWatch(r *run) {
	r.need(r.StallWatch != nil && r.ConnectWary != nil, "silent watches")
	f := r.followReady(r.ConnectWary(r))
	r.StallWatch(true)
	require.NoError(r, r.move(r.Users[0], presence.LineInCall))
	f.until(r, "the connector to say that something is wrong", func() bool {
		return f.conn.Connection().State != pbx.ConnConnected
	})
	r.StallWatch(false)
	f.agree(r, "after the watch was silent")
}

func testRestart(r *run, loseState bool) {
	r.need(r.Restart != nil, "restarts")
	c := r.Connect(r)
	f := r.followReady(c)
	r.write(c, r.Users[0], r.First)
	require.NoError(r, r.Pick(r.Users[1], r.Second.Name))
	f.agree(r, "before the restart")
	require.NoError(r, r.Restart(loseState))
	require.NoError(r, r.move(r.Users[2], presence.LineInCall))
	f.until(r, "a reset after the restart", func() bool { return f.count(pbx.EventReset) >= 2 })
	f.agree(r, "after the restart")
	require.NoError(r, r.Pick(r.Users[2], r.First.Name))
	f.agree(r, "after a change that followed the restart")
}

func testRepeatedEvents(r *run) {
	r.need(r.Repeat != nil, "repeated events")
	f := r.followReady(r.Connect(r))
	r.Repeat(true)
	r.stir(f, "with every event doubled")
}

func testShuffledEvents(r *run) {
	r.need(r.Shuffle != nil, "shuffled events")
	f := r.followReady(r.Connect(r))
	r.Shuffle(true)
	for i := range 30 {
		require.NoError(r, r.Pick(r.Users[i%3], []string{r.First.Name, r.Second.Name}[i/3%2]))
	}
	r.Shuffle(false)
	// What cannot be ordered is healed by the periodic snapshot.
	last := r.Users[0]
	require.NoError(r, r.move(last, presence.LineRinging))
	f.until(r, "the last event", func() bool { return f.states[last].Line == presence.LineRinging })
	f.reread()
	f.agree(r, "with events out of order")
}

// testLostEvents: what nobody told is healed by the periodic snapshot, and later events are not affected.
func testLostEvents(r *run) {
	r.need(r.Lose != nil, "lost events")
	f := r.followReady(r.Connect(r))
	r.Lose(true)
	require.NoError(r, r.Pick(r.Users[0], r.First.Name))
	require.NoError(r, r.move(r.Users[1], presence.LineInCall))
	r.Lose(false)
	require.NoError(r, r.Pick(r.Users[2], r.Second.Name))
	f.until(r, "the event after those", func() bool { return f.states[r.Users[2]].Status.Name == r.Second.Name })
	f.reread()
	f.agree(r, "after events were lost")
	require.NoError(r, r.move(r.Users[0], presence.LineInCall))
	f.agree(r, "after the snapshot")
}

// testCruelDay: whatever happens, every error is typed, the watch goes on, and one snapshot afterwards
// makes everything right.
func testCruelDay(r *run) {
	r.need(r.Cruel != nil, "cruelty")
	c := r.Connect(r)
	f := r.followReady(c)
	r.Cruel(true)
	for i := range 150 {
		u := r.Users[i%3]
		require.NoError(r, r.Pick(u, []string{r.First.Name, r.Second.Name}[i/3%2]))
		require.NoError(r, r.move(u, []presence.Line{presence.LineInCall, presence.LineIdle}[i/3%2]))
		w := pbx.Write{Status: []presence.Status{r.Second, r.First}[i/5%2]}
		if f.mu.Lock(); c.Capabilities().Versions && i%2 == 0 {
			w.IfVersion = f.states[u].Version
		}
		f.mu.Unlock()
		if _, err := c.Apply(r.ctx(), u, w); err != nil {
			r.typed(err)
		}
		if _, err := c.Read(r.ctx(), u); err != nil {
			r.typed(err)
		}
	}
	r.Cruel(false)
	// What is under way still comes; then the last word is spoken.
	f.until(r, "rest", func() bool { return r.Pending == nil || r.Pending() == 0 })
	for _, u := range r.Users {
		require.NoError(r, r.move(u, presence.LineOnHold))
	}
	f.reread()
	f.agree(r, "after a cruel day")
}

// typed checks that an error is one of the contract's.
func (r *run) typed(err error) {
	r.Helper()
	var typed *pbx.Error
	require.ErrorAs(r, err, &typed)
}

func (r *run) stir(f *follower, what string) {
	r.Helper()
	for i := range 30 {
		u := r.Users[i%3]
		require.NoError(r, r.Pick(u, []string{r.First.Name, r.Second.Name}[i/3%2]))
		require.NoError(r, r.move(u, []presence.Line{presence.LineInCall, presence.LineIdle}[i/3%2]))
	}
	f.agree(r, what)
}

func testBackPressure(r *run) {
	f := r.followReady(r.Connect(r))
	f.close()
	for i := range 300 {
		require.NoError(r, r.move(r.Users[i%3], []presence.Line{presence.LineInCall, presence.LineIdle}[i/3%2]))
	}
	f.open()
	f.agree(r, "after deliver had blocked")
}

func testSlowPBX(r *run) {
	r.need(r.Slow != nil, "slowness")
	c := r.Connect(r)
	r.read(c, r.Users[0])
	r.Slow(time.Minute)
	defer r.Slow(0)
	_, err := c.Read(r.ctx(), r.Users[0])
	r.kind(err, pbx.Unanswered, "a read that nobody answers")
	_, err = c.Apply(r.ctx(), r.Users[0], pbx.Write{Status: r.First})
	r.kind(err, pbx.Unanswered, "a write that nobody answers")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = c.Apply(ctx, r.Users[0], pbx.Write{Status: r.First})
	r.kind(err, pbx.Unanswered, "a write whose context has ended")
}

func testBrokenPBX(r *run) {
	r.need(r.Break != nil, "errors of its own")
	c := r.Connect(r)
	r.read(c, r.Users[0])
	r.Break(true)
	_, err := c.Read(r.ctx(), r.Users[0])
	r.kind(err, pbx.Unanswered, "a read")
	_, err = c.Apply(r.ctx(), r.Users[0], pbx.Write{Status: r.First})
	r.kind(err, pbx.Unanswered, "a write")
	_, err = c.Snapshot(r.ctx())
	r.kind(err, pbx.Unanswered, "a snapshot")
	require.Error(r, c.Verify(r.ctx()))
	r.Break(false)
	r.write(c, r.Users[0], r.First)
}

func testThrottled(r *run) {
	r.need(r.Throttle != nil, "throttling")
	c := r.Connect(r)
	r.read(c, r.Users[0])
	for range 8 { // the simulator may say it in more than one way
		r.Throttle(40 * time.Second)
		_, err := c.Apply(r.ctx(), r.Users[0], pbx.Write{Status: r.First})
		r.kind(err, pbx.Throttled, "a write")
		var typed *pbx.Error
		require.ErrorAs(r, err, &typed)
		require.GreaterOrEqual(r, typed.RetryAfter, 35*time.Second, "it says how long to wait")
		require.LessOrEqual(r, typed.RetryAfter, 45*time.Second)
	}
	_, err := c.Snapshot(r.ctx())
	r.kind(err, pbx.Throttled, "a snapshot")
	r.Throttle(0)
	r.write(c, r.Users[0], r.First)
}

func testAppliedButFailed(r *run) {
	r.need(r.FailApplied != nil, "writes that are applied and fail")
	c := r.Connect(r)
	f := r.followReady(c)
	r.FailApplied(true)
	u := r.Users[0]
	_, err := c.Apply(r.ctx(), u, pbx.Write{Status: r.First})
	r.kind(err, pbx.Unanswered, "a write whose answer is lost")
	got := r.read(c, u)
	r.landed(c, u, r.First, got)
	if c.Capabilities().Authors {
		require.Equal(r, pbx.AuthorSelf, got.ChangedBy)
	}
	r.FailApplied(false)
	f.agree(r, "after a write that landed unanswered")
}

func testUnauthorised(r *run) {
	r.need(r.Revoke != nil, "credentials that can be revoked")
	c := r.Connect(r)
	f := r.followReady(c)
	restore := r.Revoke()
	_, err := c.Read(r.ctx(), r.Users[0])
	r.kind(err, pbx.Unauthorised, "a read")
	_, err = c.Apply(r.ctx(), r.Users[0], pbx.Write{Status: r.First})
	r.kind(err, pbx.Unauthorised, "a write")
	r.kind(c.Verify(r.ctx()), pbx.Unauthorised, "verify")
	f.until(r, "the connector to ask for a person", func() bool { return c.Connection().State == pbx.ConnNeedsPerson })
	con := c.Connection()
	for what, s := range map[string]string{"code": con.Code, "text": con.Text, "remedy": con.Remedy} {
		require.NotEmpty(r, s, what)
	}
	require.False(r, con.Since.IsZero())
	require.NoError(r, r.move(r.Users[0], presence.LineInCall))
	restore()
	f.agree(r, "after the credentials were mended, by itself")
	f.until(r, "the connector to be connected", func() bool { return c.Connection().State == pbx.ConnConnected })
	require.Empty(r, c.Connection().Code)
}

// testExpiredSession: what a connector can renew by itself is renewed by itself, in requests and in the watch.
func testExpiredSession(r *run) {
	r.need(r.Expire != nil, "sessions that expire")
	c := r.Connect(r)
	f := r.followReady(c)
	for i := range 4 {
		r.Expire()
		st := []presence.Status{r.First, r.Second}[i%2]
		r.landed(c, r.Users[0], st, r.write(c, r.Users[0], st)) // right after the session expired
		require.NoError(r, r.move(r.Users[1], []presence.Line{presence.LineInCall, presence.LineIdle}[i%2]))
		r.Expire()
		r.landed(c, r.Users[0], st, r.read(c, r.Users[0]))
		f.agree(r, "after the session expired")
		require.NotEqual(r, pbx.ConnNeedsPerson, c.Connection().State)
	}
}

func testJoiner(r *run) {
	r.need(r.Join != nil, "joiners")
	f := r.followReady(r.Connect(r))
	id, err := r.Join()
	require.NoError(r, err)
	require.NoError(r, r.Pick(id, r.First.Name))
	f.until(r, "the joiner to be known", func() bool { return f.states[id].Status.Name == r.First.Name })
	f.until(r, "a request for a listing", func() bool { return f.count(pbx.EventUsers) > 0 })
	require.Equal(r, 1, f.resets())
}

func testLeaver(r *run) {
	r.need(r.Join != nil && r.Leave != nil, "leavers")
	c := r.Connect(r)
	id, err := r.Join()
	require.NoError(r, err)
	f := r.followReady(c)
	f.until(r, "the joiner", func() bool { _, ok := f.states[id]; return ok })
	require.NoError(r, r.Leave(id))
	_, err = c.Read(r.ctx(), id)
	r.kind(err, pbx.Gone, "a read of a leaver")
	f.reread()
	f.until(r, "the leaver to vanish", func() bool { _, ok := f.states[id]; return !ok })
	f.agree(r, "after somebody left")
}

func testContextEnds(r *run) {
	c := r.Connect(r)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Read(ctx, r.Users[0])
	require.Error(r, err)
	_, err = c.Snapshot(ctx)
	require.Error(r, err)
	_, err = c.Statuses(ctx)
	require.Error(r, err)
	require.Error(r, c.Verify(ctx))
	err = c.Watch(ctx, func(pbx.Event) {})
	require.True(r, err == nil || errors.Is(err, context.Canceled), "%v", err)
	for range 2 { // a connector can be watched again: an account comes back to its owner
		ctx, cancel := context.WithCancel(context.Background())
		first := make(chan pbx.Event, 1)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = c.Watch(ctx, func(e pbx.Event) {
				select {
				case first <- e:
				default:
				}
			})
		}()
		select {
		case e := <-first:
			require.Equal(r, pbx.EventReset, e.Kind, "each watch begins with a reset")
		case <-time.After(r.target.Patience):
			require.FailNow(r, "nothing was delivered")
		}
		cancel()
		select {
		case <-ended:
		case <-time.After(r.target.Patience):
			require.FailNow(r, "Watch did not return when its context ended")
		}
	}
}

func testConcurrentUse(r *run) {
	c := r.Connect(r)
	f := r.followReady(c)
	var wg sync.WaitGroup
	ctx := r.ctx()
	for i := range 4 {
		wg.Go(func() {
			u := r.Users[i%3]
			for j := range 10 {
				_, err := c.Apply(ctx, u, pbx.Write{Status: []presence.Status{r.First, r.Second}[j%2]})
				assert.NoError(r, err)
				_, err = c.Read(ctx, u)
				assert.NoError(r, err)
				_ = c.Connection()
				_ = c.Capabilities()
			}
			_, err := c.Snapshot(ctx)
			assert.NoError(r, err)
			_, err = c.Statuses(ctx)
			assert.NoError(r, err)
		})
	}
	wg.Wait()
	f.agree(r, "after concurrent use")
}

func testVerify(r *run) {
	c := r.Connect(r)
	before := map[string]pbx.State{}
	for _, u := range r.Users {
		before[u] = r.read(c, u)
	}
	require.NoError(r, c.Verify(r.ctx()))
	for _, u := range r.Users {
		require.Equal(r, before[u], r.read(c, u), "verify changes nothing")
	}
}
