package simkit

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var errNoStatus = errors.New("no such status")

// hall is where people of a test are, and what they did.
type hall struct {
	users int

	mu   sync.Mutex
	did  []string
	gone bool // everything fails
}

func (h *hall) verb(name string) func(string) error {
	return func(user string) error { return h.note(name, user) }
}

func (h *hall) note(what ...string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return errors.New("gone")
	}
	h.did = append(h.did, strings.Join(what, " "))
	return nil
}

func (h *hall) count(verb string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.did {
		if strings.HasPrefix(d+" ", verb+" ") {
			n++
		}
	}
	return n
}

func (h *hall) crowd(change func(*Verbs)) *Crowd {
	v := Verbs{
		Ring: h.verb("ring"), StopRinging: h.verb("stop-ringing"), StartCall: h.verb("call"), EndCall: h.verb("end"),
		GoOffline: h.verb("offline"), GoOnline: h.verb("online"),
		Pick:        func(user, status string) error { return h.note("pick", user, status) },
		PickMessage: func(user, status, message string) error { return h.note("message", user, status, message) },
		Status:      func(string) string { return "A" },
	}
	if change != nil {
		change(&v)
	}
	return NewCrowd(CrowdConfig{
		Sim: "sim", Seed: 1, Statuses: []string{"A", "B", "C"}, ErrNoStatus: errNoStatus, Verbs: v,
		Somebody: func(number func(int) int) (string, int) {
			if h.users == 0 {
				return "", 0
			}
			return fmt.Sprint(number(h.users)), h.users
		},
	})
}

// hour lets people live for an hour of virtual time.
func hour(t *testing.T, h *hall, change func(*Verbs), cfg PeopleConfig) (begun int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := h.crowd(change)
		p, err := c.Begin(cfg)
		require.NoError(t, err)
		time.Sleep(time.Hour)
		synctest.Wait()
		c.Close()
		begun = p.Begun()
	})
	return begun
}

func TestPeopleDoAllSortsOfThings(t *testing.T) {
	h := &hall{users: 100}
	begun := hour(t, h, func(v *Verbs) {
		v.Hold, v.Resume = h.verb("hold"), h.verb("resume")
	}, PeopleConfig{Rate: 1})
	require.InDelta(t, 6000, begun, 400, "one a minute for each of a hundred, for an hour")
	calls, rings := h.count("call"), h.count("ring")
	require.InDelta(t, 0.42*float64(begun), h.count("pick"), 200)
	require.InDelta(t, 0.04*float64(begun), h.count("message"), 80)
	require.InDelta(t, 0.04*float64(begun), h.count("offline"), 80)
	require.InDelta(t, 0.5*float64(begun)*0.6, rings, 200)
	require.InDelta(t, 0.2*float64(rings), h.count("stop-ringing"), 100)
	require.InDelta(t, 0.15*float64(calls), h.count("hold"), 100)
	require.InDelta(t, h.count("hold"), h.count("resume"), 20)
	require.InDelta(t, calls, h.count("end"), 100)
	require.Zero(t, h.count("pick 1 A"), "what shows is not picked")
}

// A PBX where calls are dialled and transferred, and not held.
func TestPeopleDialAndTransfer(t *testing.T) {
	h := &hall{users: 100}
	hour(t, h, func(v *Verbs) { v.Dial, v.Transfer = h.verb("dial"), h.verb("transfer") }, PeopleConfig{Rate: 1, Calls: 1})
	require.InDelta(t, 2400, h.count("dial"), 200)
	require.InDelta(t, 3600, h.count("ring"), 200)
	require.InDelta(t, 0.15*float64(h.count("call")), h.count("transfer"), 150)
	require.Zero(t, h.count("pick"))
}

func TestPeopleAreSeeded(t *testing.T) {
	what := func(seed uint64) []string {
		h := &hall{users: 10}
		hour(t, h, nil, PeopleConfig{Rate: 1, Seed: seed})
		return h.did
	}
	third := what(3)
	require.Equal(t, third, what(3))
	require.NotEqual(t, third, what(4))
}

func TestWhereNobodyIs(t *testing.T) {
	require.Zero(t, hour(t, &hall{}, nil, PeopleConfig{Rate: 1}))
	require.Zero(t, hour(t, &hall{users: 5, gone: true}, nil, PeopleConfig{Rate: 1}), "nothing begins that fails")
	h := &hall{users: 5}
	require.Positive(t, hour(t, h, nil, PeopleConfig{Users: []string{"x"}, Rate: 1, Picks: 1, Statuses: []string{"B"}}))
	require.Equal(t, len(h.did), h.count("pick x B"), "only who was named, and only that")
}

func TestCrowdConfigs(t *testing.T) {
	h := &hall{users: 5}
	c := h.crowd(nil)
	for want, cfg := range map[string]PeopleConfig{
		"sim: people: rate is -1": {Rate: -1}, "rate is 1001": {Rate: 1001}, "mean_call is -1ns": {MeanCall: -1}, `no such status: "X"`: {Statuses: []string{"X"}},
	} {
		_, err := c.Begin(cfg)
		require.ErrorContains(t, err, want)
	}
	require.Nil(t, c.People())
	c.Close()
	_, err := c.Begin(PeopleConfig{})
	require.ErrorIs(t, err, ErrClosed)
}

func TestOrders(t *testing.T) {
	h := &hall{users: 5}
	c := h.crowd(nil)
	t.Cleanup(c.Close)
	require.NoError(t, c.Order(PeopleStopped, PeopleConfig{}), "nobody moves anyway")
	require.Error(t, c.Order(PeoplePaused, PeopleConfig{}))
	require.Error(t, c.Order("dance", PeopleConfig{}))
	require.NoError(t, c.Order(PeopleRunning, PeopleConfig{Rate: 1}))
	first := c.People()
	require.NoError(t, c.Order(PeoplePaused, PeopleConfig{}))
	require.Equal(t, PeoplePaused, first.State())
	require.NoError(t, c.Order(PeopleRunning, PeopleConfig{Rate: 2}))
	require.Same(t, first, c.People())
	require.Equal(t, PeopleRunning, first.State())
	require.InDelta(t, 2, first.Config().Rate, 0)
	require.Error(t, c.Order("", PeopleConfig{Rate: -2}))
	require.NoError(t, c.Order(PeopleRunning, PeopleConfig{Seed: 7}))
	require.NotSame(t, first, c.People(), "another seed is other people")
	require.Equal(t, PeopleStopped, first.State())
	first.Resume()
	require.Equal(t, PeopleStopped, first.State(), "who is stopped stays so")
}

// Pause may be called while somebody is about to move, who wants to know how lively they are.
func TestPauseWhileTheyMove(t *testing.T) {
	h := &hall{users: 50}
	c := h.crowd(nil)
	t.Cleanup(c.Close)
	p, err := c.Begin(PeopleConfig{Rate: 1000, MeanCall: time.Microsecond})
	require.NoError(t, err)
	for range 200 {
		p.Pause()
		begun := p.Begun()
		require.NoError(t, p.SetRate(1000))
		require.Equal(t, begun, p.Begun())
		p.Resume()
	}
	require.Eventually(t, func() bool { return p.Begun() > 0 }, time.Minute, time.Millisecond)
}
