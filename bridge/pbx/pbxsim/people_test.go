package pbxsim

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPeopleLiveUntilStopped(t *testing.T) {
	var mu sync.Mutex
	lines, picks, users := map[string]int{}, 0, map[string]bool{}
	s := start(t, Config{Users: 200, OnChange: func(c Change) {
		mu.Lock()
		defer mu.Unlock()
		users[c.User] = true
		if c.By == byUser {
			picks++
			return
		}
		lines[c.Before.Line+">"+c.After.Line]++
	}})
	p, err := s.NewPeople(PeopleConfig{Rate: 600, MeanCall: 5 * time.Millisecond})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return picks > 100 && len(users) > 150 && lines["idle>ringing"] > 20 && lines["ringing>in-call"] > 20 &&
			lines["in-call>idle"] > 20 && lines["idle>in-call"] > 20 && lines["in-call>on-hold"] > 0 && lines["idle>offline"] > 0
	}, time.Minute, 5*time.Millisecond)
	p.Stop()
	p.Stop()
	require.Equal(t, PeopleStopped, p.State())
	require.Greater(t, p.Begun(), 100)
	before := s.Stats()
	require.NoError(t, s.Ring("u000001"))
	require.LessOrEqual(t, s.Stats().LineChanges, before.LineChanges+1, "nobody else moves")
	for _, u := range s.Users() {
		shown, err := s.Presence(u.ID)
		require.NoError(t, err)
		chosen, err := s.Chosen(u.ID)
		require.NoError(t, err)
		require.Equal(t, shown.Status, chosen, "nobody wrote but the people")
	}
}

func TestPausedPeopleStandStill(t *testing.T) {
	s := start(t, Config{Users: 50})
	p, err := s.NewPeople(PeopleConfig{Rate: 1000, MeanCall: time.Millisecond})
	require.NoError(t, err)
	moved := func(since int) func() bool { return func() bool { return p.Begun() > since } }
	require.Eventually(t, moved(10), time.Minute, time.Millisecond)
	p.Pause()
	require.Equal(t, PeoplePaused, p.State())
	begun, stats := p.Begun(), s.Stats()
	for range 100 { // whatever was about to happen would happen in here
		_ = dial(t, s).call("GET", "/v1/users", "")
	}
	stats.Requests = s.Stats().Requests
	require.Equal(t, begun, p.Begun())
	require.Equal(t, stats, s.Stats())
	p.Resume()
	require.Eventually(t, moved(begun), time.Minute, time.Millisecond)
	require.NoError(t, p.SetRate(1))
	require.Error(t, p.SetRate(0))
}

func TestPeopleConfig(t *testing.T) {
	s := start(t, Config{})
	for _, cfg := range []PeopleConfig{{Rate: -1}, {Rate: 1e9}, {MeanCall: -1}, {Statuses: []string{"nope"}}} {
		_, err := s.NewPeople(cfg)
		require.Error(t, err)
	}
	first, err := s.NewPeople(PeopleConfig{Users: []string{"u000003"}, Rate: 1000, Picks: 1, Statuses: []string{"Busy", "Away"}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.Stats().StatusChanges > 5 }, time.Minute, time.Millisecond)
	require.Zero(t, s.Stats().LineChanges)
	second, err := s.NewPeople(PeopleConfig{Users: []string{"u000003"}})
	require.NoError(t, err)
	require.Equal(t, PeopleStopped, first.State(), "one set of people at a time")
	require.Equal(t, PeopleRunning, second.State())
	p, err := s.Presence("u000001")
	require.NoError(t, err)
	require.EqualValues(t, 1, p.Version, "only those that were named move")
}

// The rate is what it says: a fraction of the members each minute, in virtual time.
func TestPeopleKeepTheirRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := newSim(Config{Users: 1000})
		require.NoError(t, err)
		p, err := s.NewPeople(PeopleConfig{Rate: 0.2, MeanCall: 30 * time.Second})
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.InDelta(t, 2000, p.Begun(), 250)
		p.Pause()
		begun := p.Begun()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, begun, p.Begun())
		p.Resume()
		time.Sleep(10 * time.Minute)
		p.Stop()
		require.InDelta(t, 4000, p.Begun(), 400)
	})
}

func TestPeopleAreSeeded(t *testing.T) {
	day := func(seed uint64) (what []Presence) {
		synctest.Test(t, func(t *testing.T) {
			s, err := newSim(Config{Users: 30})
			require.NoError(t, err)
			p, err := s.NewPeople(PeopleConfig{Rate: 1, Seed: seed})
			require.NoError(t, err)
			time.Sleep(30 * time.Minute)
			p.Stop()
			for _, u := range s.Users() {
				shown, err := s.Presence(u.ID)
				require.NoError(t, err)
				what = append(what, shown)
			}
		})
		return what
	}
	third := day(3)
	require.Equal(t, third, day(3))
	require.NotEqual(t, third, day(4))
}
