package graphsim

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPeopleLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shown, causes := map[Pair]int{}, map[string]int{}
		x := newTenant(t, Config{Users: 200, Monitors: []string{"presence1"}, OnChange: func(c Change) {
			shown[c.To]++
			causes[c.Cause]++
			require.False(t, c.Ours)
		}})
		people := x.Live(PeopleConfig{Seed: 1, Rate: 0.5, Start: true})
		before := x.Stats().Organic
		require.Greater(t, before, int64(150), "most are in")
		time.Sleep(30 * time.Minute)
		require.InEpsilon(t, 0.5*200*30, x.Stats().Organic-before, 0.12, "changes per minute as a fraction of the people")
		for _, pair := range []Pair{Available, Away, Busy, InACall, InAConferenceCall, InAMeeting, DoNotDisturb, Presenting, BeRightBack, AppearOffline, Offline, OutOfOffice} {
			require.Positive(t, shown[pair], pair.String())
		}
		for _, cause := range []string{"sign-in", "sign-out", "call", "call-end", "meeting", "pick", "pick-reset", "out-of-office", "client"} {
			require.Positive(t, causes[cause], cause)
		}
		require.Equal(t, Offline, x.Shown(mon), "monitors are left alone")

		people.Pause()
		synctest.Wait()
		still := people.Actions()
		time.Sleep(time.Hour)
		require.Equal(t, still, people.Actions())
		people.Resume()
		time.Sleep(time.Minute)
		require.Greater(t, people.Actions(), still)
		people.SetRate(0)
		synctest.Wait()
		still = people.Actions()
		time.Sleep(time.Hour)
		require.Equal(t, still, people.Actions())
		people.Stop()
		people.Stop()
	})
}

func TestPeopleFollowFromTheSeed(t *testing.T) {
	run := func(seed uint64) (states []Pair) {
		synctest.Test(t, func(t *testing.T) {
			x := newTenant(t, Config{Users: 50})
			people := x.Live(PeopleConfig{Seed: seed, Rate: 1, Start: true})
			time.Sleep(10 * time.Minute)
			people.Stop()
			for _, u := range x.Users() {
				states = append(states, x.Shown(u.ID))
			}
		})
		return states
	}
	first := run(1)
	require.Equal(t, first, run(1))
	require.NotEqual(t, first, run(2))
}

func TestSomePeopleLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t)
		people := x.Live(PeopleConfig{Rate: 10, Users: []string{anna, "nobody"}})
		time.Sleep(5 * time.Minute)
		require.Positive(t, people.Actions())
		require.Equal(t, Offline, x.Shown(ben))
	})
}

func TestCallsOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTenant(t, Config{Users: 100})
		x.Live(PeopleConfig{Seed: 2, Rate: 1, Start: true})
		var second, meetingToo int
		for range 60 {
			time.Sleep(10 * time.Second)
			for _, u := range x.Users() {
				x.look(u.ID, func(p *person, _ time.Time) {
					for _, c := range p.clients {
						if c.calls > 1 {
							second++
						}
						if c.calls > 0 && c.meeting {
							meetingToo++
						}
					}
				})
			}
		}
		require.Positive(t, second)
		require.Positive(t, meetingToo)
	})
}
