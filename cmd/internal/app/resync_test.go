package app

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/graph/graphsim"
)

// behindTheBack has a site whose bridge does not learn any more what happens: the PBX's events stopped coming, the
// tenant drops every notification, and the next sweep is far away.
func behindTheBack(t *testing.T) (*App, *site) {
	t.Helper()
	s := newSite(t, "contoso", 6, 1)
	s.sweep = "{interval: 1h, polled_interval: 1s}"
	for _, u := range s.graph.Users() {
		require.NoError(t, s.graph.SignIn(u.UPN))
	}
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	awaitPhones(t, a, s)
	authorize(t, a, s)
	eventually(t, func() bool {
		list, err := admin(t, a).Monitors(t.Context(), s.name)
		return err == nil && len(list) == 1 && list[0].Subscription != nil && list[0].Members == len(s.graph.Users())
	}, "everybody is in the subscription")
	// With its first write the bridge learns who it is on the PBX; until then another program could be itself.
	phone := s.phone(5)
	require.NoError(t, s.graph.StartCall(s.person(t, phone)))
	eventually(t, func() bool { return s.status(phone) == "In a call" }, "a first write")
	require.NoError(t, s.graph.EndCall(s.person(t, phone)))
	eventually(t, func() bool { return s.status(phone) == "Available" }, "and its end")
	s.pbx.StallStreams(true)
	s.graph.SetFaults(graphsim.Faults{Drop: 1})
	return a, s
}

func runResync(t *testing.T, a *App, account, member string) api.Job {
	t.Helper()
	c := admin(t, a)
	job, err := c.Resync(t.Context(), account, member)
	require.NoError(t, err)
	job, err = c.AwaitJob(t.Context(), job.ID, nil)
	require.NoError(t, err)
	return job
}

func TestResyncOfOneMember(t *testing.T) {
	t.Parallel()
	a, s := behindTheBack(t)
	phone, other := s.phone(0), s.phone(1)
	upn, otherUPN := s.person(t, phone), s.person(t, other)
	for _, p := range []string{phone, other} {
		require.NoError(t, s.pbx.Pick(p, "Do not disturb"))
	}
	job := runResync(t, a, s.name, upn)
	require.Equal(t, api.JobDone, job.State, job.Error)
	require.Equal(t, api.Scope{Account: s.name, Member: s.id(t, upn)}, job.Scope)
	require.Equal(t, 1, job.Done)
	require.Equal(t, 1, job.Total)
	require.Equal(t, graphsim.Presenting, s.graph.Shown(upn), "what followed was carried out before the job was done")
	require.Equal(t, graphAvailable, s.graph.Shown(otherUPN), "nobody else was read")
	change := changeOf(t, job, upn, "pbx.main."+phone)
	require.Equal(t, s.id(t, upn), change.Member)
	require.Equal(t, s.name, change.Account)
	require.Contains(t, change.Before, "Available")
	require.Contains(t, change.After, "Do not disturb")
	for _, ch := range job.Changed {
		require.Equal(t, upn, ch.UPN)
	}
	require.Equal(t, len(job.Changed), job.ChangedCount)
	require.Empty(t, runResync(t, a, s.name, upn).Changed, "a second one finds nothing")
}

func TestResyncOfAll(t *testing.T) {
	t.Parallel()
	a, s := behindTheBack(t)
	for i := range 3 {
		require.NoError(t, s.pbx.WriteAs("another program", s.phone(i), "Do not disturb"))
	}
	caller := s.person(t, s.phone(3))
	require.NoError(t, s.graph.StartCall(caller))
	job := runResync(t, a, "", "")
	require.Equal(t, api.JobDone, job.State, job.Error)
	require.Equal(t, api.Scope{}, job.Scope)
	require.Equal(t, len(s.graph.Users()), job.Done)
	require.Equal(t, job.Done, job.Total)
	for i := range 3 {
		upn := s.person(t, s.phone(i))
		require.Equal(t, graphsim.Presenting, s.graph.Shown(upn))
		require.Contains(t, changeOf(t, job, upn, "pbx.main."+s.phone(i)).After, "Do not disturb")
	}
	require.Equal(t, "In a call", s.status(s.phone(3)))
	require.Contains(t, changeOf(t, job, caller, "teams").After, "InACall")
	require.Contains(t, changeOf(t, job, caller, "pbx.main."+s.phone(3)).After, "In a call")
	job = runResync(t, a, "", "")
	require.Empty(t, job.Changed, "a second one finds nothing")
}

func changeOf(t *testing.T, job api.Job, upn, side string) api.Change {
	t.Helper()
	for _, ch := range job.Changed {
		if ch.UPN == upn && ch.Side == side {
			return ch
		}
	}
	require.Failf(t, "no such change", "%s of %s in %+v", side, upn, job.Changed)
	return api.Change{}
}

// TestOneResyncAtATimePerScope has a PBX that takes its time, and asks for more meanwhile.
func TestOneResyncAtATimePerScope(t *testing.T) {
	t.Parallel()
	one, two := newSite(t, "contoso", 3, 1), newSite(t, "fabrikam", 2, 1)
	a := launch{dir: t.TempDir(), sites: []*site{one, two}}.start(t)
	awaitPhones(t, a, one)
	awaitPhones(t, a, two)
	require.NoError(t, one.pbx.SetFaults(pbxsim.Faults{Slow: 1, SlowBy: 1500 * time.Millisecond}))
	c := admin(t, a)
	running, err := c.Resync(t.Context(), one.name, "")
	require.NoError(t, err)
	for _, scope := range [][2]string{{one.name, ""}, {one.name, one.person(t, one.phone(0))}, {"", ""}} {
		_, err := c.Resync(t.Context(), scope[0], scope[1])
		id, ok := client.RunningJob(err)
		require.True(t, ok, "%v: %v", scope, err)
		require.Equal(t, running.ID, id)
	}
	other := runResync(t, a, two.name, "")
	require.Equal(t, api.JobDone, other.State, "another account's is another scope")
	progress := 0
	done, err := c.AwaitJob(t.Context(), running.ID, func(api.Job) { progress++ })
	require.NoError(t, err)
	require.Equal(t, api.JobDone, done.State, done.Error)
	require.Positive(t, progress)
	require.NoError(t, one.pbx.SetFaults(pbxsim.NoFaults()))
	require.Equal(t, api.JobDone, runResync(t, a, "", "").State, "afterwards it may run again")
}

func TestResyncOfNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	a := launch{dir: t.TempDir(), sites: []*site{s}}.start(t)
	awaitPhones(t, a, s)
	_, err := admin(t, a).Resync(t.Context(), s.name, "nobody@contoso.example")
	require.True(t, client.IsNotFound(err), "%v", err)
	require.ErrorContains(t, err, "nobody@contoso.example")
	_, err = admin(t, a).Resync(t.Context(), "fabrikam", "")
	require.True(t, client.IsNotFound(err), "%v", err)
	status, text := send(t, http.MethodPost, "http://"+a.AdminAddr()+"/api/v1/resync", "a token that is wrong", "")
	require.Equal(t, http.StatusUnauthorized, status)
	var p api.Problem
	require.NoError(t, json.Unmarshal([]byte(text), &p))
	require.NotContains(t, text, a.AdminToken())
}
