package pbxsim

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// faulty starts a PBX that works, with a stream open, and then makes it faulty.
func faulty(t *testing.T, f Faults) (*Sim, *caller, *listener) {
	s := start(t, Config{})
	c := dial(t, s)
	l := c.listen("")
	l.reset()
	require.NoError(t, s.SetFaults(f))
	require.Equal(t, f, s.Faults())
	return s, c, l
}

func TestLateEventsShowThePast(t *testing.T) {
	s, _, l := faulty(t, Faults{Late: 1, LateBy: 20 * time.Millisecond})
	s.agenda.Pause()
	require.NoError(t, s.Ring(one))
	require.Equal(t, 1, s.Stats().Pending)
	require.NoError(t, s.SetFaults(NoFaults()))
	require.NoError(t, s.StartCall(one))
	_, first := l.presence()
	s.agenda.Resume()
	_, then := l.presence()
	require.Equal(t, "in-call", first.Line)
	require.Equal(t, "ringing", then.Line, "late")
	require.Equal(t, 1, s.Stats().EventsLate)
	require.Zero(t, s.Stats().Pending)
}

func TestLateEventsDoNotSurviveARestart(t *testing.T) {
	s, c, _ := faulty(t, Faults{Late: 1, LateBy: 20 * time.Millisecond})
	s.agenda.Pause() // until after the restart
	require.NoError(t, s.Pick(one, "Busy"))
	require.NoError(t, s.SetFaults(NoFaults()))
	require.NoError(t, s.Restart(t.Context(), RestartOptions{LoseState: true}))
	l := c.listen("")
	l.reset()
	s.agenda.Resume()
	require.Eventually(t, func() bool { return s.Stats().Pending == 0 }, time.Minute, time.Millisecond)
	l.nextIs(two, func() { require.NoError(t, s.Ring(two)) })
}

func TestDoubledEvents(t *testing.T) {
	s, _, l := faulty(t, Faults{Doubled: 1})
	require.NoError(t, s.Ring(one))
	_, a := l.presence()
	id := l.lastID
	_, b := l.presence()
	require.Equal(t, a, b)
	require.NotEqual(t, id, l.lastID, "as the same thing said twice")
}

func TestReorderedEvents(t *testing.T) {
	s, _, l := faulty(t, Faults{Reordered: 1})
	s.agenda.Pause() // no event waits longer than a second for the next
	require.NoError(t, s.Ring(one))
	require.NoError(t, s.SetFaults(Faults{Reordered: 1e-300}))
	require.NoError(t, s.Ring(two))
	user, _ := l.presence()
	require.Equal(t, two, user)
	user, _ = l.presence()
	require.Equal(t, one, user)
}

func TestReorderedEventComesEvenIfNoneFollows(t *testing.T) {
	s, _, l := faulty(t, Faults{Reordered: 1})
	require.NoError(t, s.Ring(one))
	user, _ := l.presence()
	require.Equal(t, one, user)
}

func TestDroppedEventsLeaveAGap(t *testing.T) {
	s, c, l := faulty(t, Faults{Dropped: 1})
	id := l.lastID
	require.NoError(t, s.Ring(one))
	require.NoError(t, s.SetFaults(NoFaults()))
	l.nextIs(two, func() { require.NoError(t, s.Ring(two)) })
	again := c.listen(id)
	user, _ := again.presence()
	require.Equal(t, two, user, "resuming does not bring it back")
	require.Equal(t, 1, s.Stats().EventsDropped)
}

func TestCutStreamLosesNothing(t *testing.T) {
	s, c, l := faulty(t, Faults{CutStream: 1})
	for range 3 {
		require.NoError(t, s.Ring(one))
		require.NoError(t, s.StopRinging(one))
	}
	for i := range 6 {
		_, p := l.presence()
		require.Equal(t, []string{"ringing", "idle"}[i%2], p.Line)
		require.True(t, l.next().ended)
		l = c.listen(l.lastID)
	}
}

func TestErrorsDoNothing(t *testing.T) {
	_, c, _ := faulty(t, Faults{Errors: 1})
	for range 10 {
		require.Contains(t, []int{500, 502, 503}, c.put(one, `{"status":"Busy"}`).status)
		require.GreaterOrEqual(t, c.call("GET", "/v1/users", "").status, 500)
		require.GreaterOrEqual(t, c.call("GET", "/v1/events", "").status, 500)
	}
	p, err := c.sim.Presence(one)
	require.NoError(t, err)
	require.EqualValues(t, 1, p.Version)
	require.Equal(t, 30, c.sim.Stats().Errors)
}

func TestThrottledSaysHowLong(t *testing.T) {
	_, c, _ := faulty(t, Faults{Throttled: 1, RetryAfter: 30 * time.Second})
	seconds, dates := 0, 0
	for range 40 {
		a := c.put(one, `{"status":"Busy"}`)
		require.Equal(t, 429, a.status)
		h := a.header.Get("Retry-After")
		if n, err := strconv.Atoi(h); err == nil {
			require.Equal(t, 30, n)
			seconds++
			continue
		}
		at, err := http.ParseTime(h)
		require.NoError(t, err, h)
		require.InDelta(t, 30, time.Until(at).Seconds(), 20)
		dates++
	}
	require.Positive(t, seconds)
	require.Positive(t, dates)
}

func TestCutDoesNothing(t *testing.T) {
	_, c, _ := faulty(t, Faults{Cut: 1})
	_, err := c.try("PUT", "/v1/users/"+one+"/presence", `{"status":"Busy"}`)
	require.Error(t, err)
	p, err := c.sim.Presence(one)
	require.NoError(t, err)
	require.Equal(t, "Available", p.Status)
}

func TestAppliedButFailed(t *testing.T) {
	s, c, l := faulty(t, Faults{AppliedButFailed: 1})
	answered, broken := 0, 0
	for i := range 20 {
		status := s.Statuses()[1+i%2].Name
		a, err := c.try("PUT", "/v1/users/"+one+"/presence", `{"status":"`+status+`"}`)
		if err != nil {
			broken++
		} else {
			require.Equal(t, 500, a.status)
			answered++
		}
		_, p := l.presence()
		require.Equal(t, status, p.Status, "it was done all the same")
	}
	require.Positive(t, answered)
	require.Positive(t, broken)
}

func TestAppliedLateKeepsItsPrecondition(t *testing.T) {
	s, c, l := faulty(t, Faults{AppliedLate: 1, ApplyLateBy: 10 * time.Millisecond})
	put := func(status, match string) {
		a, err := c.try("PUT", "/v1/users/"+one+"/presence", `{"status":"`+status+`"}`, "If-Match", match)
		if err == nil {
			require.Equal(t, 504, a.status)
		}
	}
	put("Busy", `"1"`)
	_, p := l.presence()
	require.Equal(t, "Busy", p.Status)
	put("Away", `"1"`)
	require.Eventually(t, func() bool { return s.Stats().WritesConflict == 1 }, time.Minute, time.Millisecond)
	require.Equal(t, "Busy", must(s.Presence(one)).Status)
}

func must(p Presence, err error) Presence {
	if err != nil {
		return Presence{Line: err.Error()}
	}
	return p
}

func TestConflictStorm(t *testing.T) {
	s, c, l := faulty(t, Faults{ConflictStorm: 1, StormFor: time.Hour})
	require.Equal(t, 412, c.put(one, `{"status":"Busy"}`, "If-Match", `"1"`).status)
	_, p := l.presence()
	require.EqualValues(t, 2, p.Version, "the version really ran ahead")
	require.Equal(t, "user", p.ChangedBy)
	require.Equal(t, 200, c.put(one, `{"status":"Busy"}`).status, "unconditional writes pass")
	require.Equal(t, 2, s.Stats().Storms)
}

func TestReadLag(t *testing.T) {
	s, c, _ := faulty(t, Faults{ReadLag: 1, ReadLagBy: time.Hour})
	before := c.get(one)
	after := c.put(one, `{"status":"Busy"}`).presence(t)
	require.Equal(t, "Busy", after.Status)
	require.Equal(t, before, c.get(one), "a read still shows what was before")
	require.Equal(t, after, must(s.Presence(one)))
	s.mu.Lock()
	lag := time.Until(s.users[one].laggedUntil)
	s.users[one].laggedUntil = time.Now() // that time is over
	s.mu.Unlock()
	require.Greater(t, lag, time.Minute)
	require.Equal(t, after, c.get(one))
}

func TestSlowFinishesWhatItBegan(t *testing.T) {
	s, c, l := faulty(t, Faults{Slow: 1, SlowBy: 5 * time.Second})
	ctx, giveUp := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := c.http.Do(c.request("PUT", "/v1/users/"+one+"/presence", `{"status":"Busy"}`).WithContext(ctx))
		failed <- err
	}()
	require.Eventually(t, func() bool { return s.Stats().Slowed > 0 }, time.Minute, time.Millisecond)
	giveUp()
	require.Error(t, <-failed)
	_, p := l.presence()
	require.Equal(t, "Busy", p.Status)
}

func TestStalledStreamsSayNothing(t *testing.T) {
	s := start(t, Config{Heartbeat: time.Millisecond})
	c := dial(t, s)
	l := c.listen("")
	l.reset()
	s.StallStreams(true)
	require.NoError(t, s.Ring(one))
	late := c.listen(l.lastID) // opens, and stays silent too
	s.StallStreams(false)
	user, _ := late.presence()
	require.Equal(t, one, user)
	user, _ = l.presence()
	require.Equal(t, one, user)
}

func TestPresets(t *testing.T) {
	for _, name := range []string{"none", "some", "cruel", ""} {
		f, err := FaultPreset(name)
		require.NoError(t, err)
		require.NoError(t, f.check())
	}
	_, err := FaultPreset("worse")
	require.ErrorContains(t, err, "none, some or cruel")
	s := start(t, Config{})
	require.Error(t, s.SetFaults(Faults{Late: -0.1}))
	require.Error(t, s.SetFaults(Faults{LateBy: -1}))
	require.Equal(t, NoFaults(), s.Faults())
}

// What chance decides is the same for the same seed.
func TestSeedDecides(t *testing.T) {
	outcome := func(seed uint64) (codes []int) {
		s := start(t, Config{Seed: seed, Faults: Faults{Errors: 0.3, Throttled: 0.2}})
		c := dial(t, s)
		for range 40 {
			codes = append(codes, c.call("GET", "/v1/statuses", "").status)
		}
		return codes
	}
	seven := outcome(7)
	require.Equal(t, seven, outcome(7))
	require.NotEqual(t, seven, outcome(8))
}
