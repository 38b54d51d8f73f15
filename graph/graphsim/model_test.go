package graphsim

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model is one person as the documentation describes them, written down a second time and naively:
// nothing is remembered of what shows, all of it is worked out anew at each look.
type model struct {
	desktop, mobile *Pair // base states of the clients
	calls           int
	meeting         bool
	presenting      bool
	app             *Pair
	appSet, appEnd  time.Time
	pick            *Pair
	pickEnd         time.Time
	out             bool
}

// sessions are the pairs of all sessions, of which the best shows.
func (m *model) shows(withApp bool) []Pair {
	now := time.Now()
	var sessions []Pair
	if m.desktop != nil {
		p := *m.desktop
		switch {
		case m.presenting:
			p = Presenting
		case m.calls > 0:
			p = InACall
		case m.meeting:
			p = InAMeeting
		}
		sessions = append(sessions, p)
	}
	if m.mobile != nil {
		sessions = append(sessions, *m.mobile)
	}
	if withApp && m.app != nil && m.appEnd.After(now) {
		p := *m.app
		if p == Available && now.Sub(m.appSet) >= 10*time.Minute {
			p = Away
		} else if p == Available && now.Sub(m.appSet) >= 5*time.Minute {
			p = AvailableInactive
		}
		sessions = append(sessions, p)
	}
	if len(sessions) == 0 {
		return []Pair{Offline}
	}
	best := slices.IndexFunc(order, func(a string) bool {
		return slices.ContainsFunc(sessions, func(p Pair) bool { return p.Availability == a })
	})
	allowed := slices.DeleteFunc(sessions, func(p Pair) bool { return p.Availability != order[best] })
	if m.pick != nil && m.pickEnd.After(now) {
		allowed = []Pair{*m.pick}
	}
	if m.out && slices.Contains(allowed, Available) {
		allowed = append(allowed, OutOfOffice)
	}
	return allowed
}

func (m *model) signIn() {
	if m.desktop == nil {
		p := Available
		m.desktop = &p
	}
}

// TestWorldFollowsTheModel does a few hundred random things to one person, time among them, and
// looks after each.
func TestWorldFollowsTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // the hook runs on the agenda's goroutine too
		last := map[string]Change{}
		x := newTenant(t, Config{TokenLifetime: 1e6 * time.Hour, Budgets: &Budgets{}, OnChange: func(c Change) {
			mu.Lock()
			defer mu.Unlock()
			if was, ok := last[c.UserID]; ok && (was.To != c.From || was.Organic != c.Before) {
				t.Errorf("a change from %v and %v follows one to %v and %v", c.From, c.Before, was.To, was.Organic)
			}
			if !c.Visible() && c.Before == c.Organic {
				t.Errorf("no change: %+v", c)
			}
			last[c.UserID] = c
		}})
		app := x.appToken()
		n := 0
		// Without the testing.T itself: rapid asks it for its deadline, which a bubble does not have.
		rapid.Check(struct{ testing.TB }{t}, func(rt *rapid.T) {
			n++
			user, err := x.AddUser(Person{UPN: fmt.Sprintf("u%d@contoso.example", n)})
			require.NoError(rt, err)
			m := &model{}
			ok := func(err error) { require.NoError(rt, err) }
			rt.Repeat(map[string]func(*rapid.T){
				"sign in": func(*rapid.T) { m.signIn(); ok(x.SignIn(user)) },
				"sign out": func(*rapid.T) {
					m.desktop, m.mobile, m.calls, m.meeting, m.presenting = nil, nil, 0, false, false
					ok(x.SignOut(user))
				},
				"call":         func(*rapid.T) { m.signIn(); m.calls++; ok(x.StartCall(user)) },
				"end call":     func(*rapid.T) { m.calls = max(0, m.calls-1); ok(x.EndCall(user)) },
				"meeting":      func(*rapid.T) { m.signIn(); m.meeting = true; ok(x.StartMeeting(user)) },
				"end meeting":  func(*rapid.T) { m.meeting = false; ok(x.EndMeeting(user)) },
				"present":      func(*rapid.T) { m.signIn(); m.presenting = true; ok(x.StartPresenting(user)) },
				"stop":         func(*rapid.T) { m.presenting = false; ok(x.StopPresenting(user)) },
				"away":         func(*rapid.T) { m.signIn(); p := Away; m.desktop = &p; ok(x.GoAway(user)) },
				"back":         func(*rapid.T) { p := Available; m.desktop = &p; ok(x.ComeBack(user)) },
				"mobile":       func(*rapid.T) { p := Busy; m.mobile = &p; ok(x.SetSession(user, "mobile", Busy)) },
				"close mobile": func(*rapid.T) { m.mobile = nil; ok(x.CloseSession(user, "mobile")) },
				"out":          func(rt *rapid.T) { m.out = rapid.Bool().Draw(rt, "out"); ok(x.SetOutOfOffice(user, m.out, "")) },
				"pick": func(rt *rapid.T) {
					p := rapid.SampledFrom([]Pair{Available, Busy, DoNotDisturb, BeRightBack, Away, AppearOffline}).Draw(rt, "pick")
					life := time.Duration(rapid.IntRange(1, 60).Draw(rt, "minutes")) * time.Minute
					m.pick, m.pickEnd = &p, time.Now().Add(life)
					ok(x.SetPreferred(user, p, life))
				},
				"unpick": func(*rapid.T) { m.pick = nil; ok(x.ClearPreferred(user)) },
				"set": func(rt *rapid.T) {
					p := rapid.SampledFrom([]Pair{Available, InACall, InAConferenceCall, Away, Presenting}).Draw(rt, "pair")
					minutes := rapid.IntRange(5, 240).Draw(rt, "minutes")
					m.app, m.appSet, m.appEnd = &p, time.Now(), time.Now().Add(time.Duration(minutes)*time.Minute)
					require.Equal(rt, 200, x.set(app, user, p, fmt.Sprintf("PT%dM", minutes)).status)
				},
				"clear": func(rt *rapid.T) {
					want := 404
					if m.app != nil && m.appEnd.After(time.Now()) {
						want = 200
					}
					m.app = nil
					require.Equal(rt, want, x.clear(app, user).status)
				},
				"wait": func(rt *rapid.T) {
					time.Sleep(time.Duration(rapid.IntRange(1, 20).Draw(rt, "minutes")) * time.Minute)
					synctest.Wait()
				},
				"": func(rt *rapid.T) {
					require.Contains(rt, m.shows(true), x.Shown(user))
					require.Contains(rt, m.shows(false), x.Organic(user))
					require.Equal(rt, x.Shown(user), x.read(app, user))
					mu.Lock()
					defer mu.Unlock()
					if c, ok := last[user]; ok {
						require.Equal(rt, c.To, x.Shown(user), "no change without its event")
						require.Equal(rt, c.Organic, x.Organic(user))
					}
				},
			})
		})
	})
}

func TestSeededTiesDifferByPerson(t *testing.T) {
	x := newTenant(t, Config{Users: 60, Seed: 5})
	app := x.appToken()
	ours := 0
	for _, u := range x.Users() {
		require.NoError(t, x.StartMeeting(u.ID))
		require.Equal(t, 200, x.set(app, u.ID, InACall, "").status)
		first := x.Shown(u.ID)
		if first == InACall {
			ours++
		}
		require.NoError(t, x.EndMeeting(u.ID))
		require.NoError(t, x.StartMeeting(u.ID))
		require.Equal(t, first, x.Shown(u.ID), "a person's way stays the same")
	}
	require.InDelta(t, 30, ours, 15)
}
