package cluster

import (
	"context"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
)

const (
	// atWork is how soon after the death of an owner the next one has to show an effect, on a machine that has nothing
	// else to do.
	atWork = 15 * time.Second
	// lag is what a busy one may add: dozens of processes run here at a time, beside the tests of other packages.
	lag = 45 * time.Second
)

func TestReplicas(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three NATS servers and a dozen replicas")
	}
	c := startCluster(t)
	t.Run("replicas", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *natsCluster){
			"killed": testKilled, "halted": testHalted, "cutoff": testCutOff, "peaceful": testPeaceful,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, c)
			})
		}
	})
	t.Run("servers", func(t *testing.T) { testServersDie(t, c) })
}

// busy runs traffic until stop is called.
func (w *world) busy(t *testing.T, every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { w.traffic(ctx, t, every) })
	return sync.OnceFunc(func() { cancel(); wg.Wait() })
}

// settled waits until nobody is wrong.
func (w *world) settled(t *testing.T) {
	t.Helper()
	var wrong []string
	assert.Eventually(t, func() bool {
		wrong = nil
		for i := range people {
			if reason := w.wrong(i); reason != "" {
				wrong = append(wrong, reason)
			}
		}
		return len(wrong) == 0
	}, 3*time.Minute, 50*time.Millisecond)
	require.Empty(t, wrong, "both sides agree")
}

// testKilled: the owner dies with its work under way.
func testKilled(t *testing.T, c *natsCluster) {
	w := newWorld(t, c.url(), "killed")
	w.replica(t, c.url())
	w.replica(t, c.url())
	w.begin(t)
	stop := w.busy(t, 100*time.Millisecond)
	owner, other := w.owner(t)
	eventually(t, func() bool { return w.pbx.Stats().WritesApplied > 10 }, "there is work")
	before := len(other.heard(saysRuns)) // it may have been the owner while it was alone
	killed := time.Now()
	owner.kill()
	stop()
	w.unowned(t)
	if w.member(1).onPhone {
		w.phoneCall(t, 1, false)
	}
	w.phoneCall(t, 3, !w.member(3).onPhone)
	w.teamsCall(t, 2, !w.member(2).inTeams)
	w.teamsCall(t, 0, !w.member(0).inTeams)
	eventually(t, func() bool { return w.wrong(0) == "" }, "a call in Teams has its effect")
	took := time.Since(killed)
	t.Logf("at work after %s", took.Round(100*time.Millisecond))
	require.Less(t, took, atWork+lag)
	now, _ := w.owner(t)
	require.Equal(t, other.name, now.name)
	w.judge(t)
	require.Len(t, other.heard(saysRuns), before+1, "it took over once")
	require.Empty(t, other.heard("may have been lost"), "no gap is invented")
}

// unowned: while nobody owns the account, an administrator is told so at once.
func (w *world) unowned(t *testing.T) {
	t.Helper()
	began := time.Now()
	_, err := w.admin.Member(t.Context(), w.name, w.person(0))
	var problem *client.Error
	require.ErrorAs(t, err, &problem)
	require.Equal(t, http.StatusServiceUnavailable, problem.Status)
	// The bus may not know yet that the owner has gone; then nobody answers.
	require.Regexp(t, "no replica runs the account.*takes over within 15 s|does not answer.*try again in a moment", err.Error(), "what to do")
	require.Less(t, time.Since(began), 15*time.Second+lag)
}

// testHalted: the owner stands still, wakes up when another one has taken over, and must find that out before it acts.
func testHalted(t *testing.T, c *natsCluster) {
	w := newWorld(t, c.url(), "halted")
	w.replica(t, c.url())
	w.replica(t, c.url())
	w.begin(t)
	stop := w.busy(t, 100*time.Millisecond)
	owner, other := w.owner(t)
	eventually(t, func() bool { return w.pbx.Stats().WritesApplied > 10 }, "there is work")
	halted := time.Now()
	owner.signal(syscall.SIGSTOP)
	stop()
	w.teamsCall(t, 0, !w.member(0).inTeams)
	eventually(t, func() bool { return w.wrong(0) == "" }, "a call in Teams has its effect")
	t.Logf("at work after %s", time.Since(halted).Round(100*time.Millisecond))
	require.Less(t, time.Since(halted), atWork+lag)
	require.True(t, other.runs(w.name))
	w.settled(t)

	// Commands reach the owner although the halted one still listens.
	_, err := w.admin.Member(t.Context(), w.name, w.person(0))
	require.NoError(t, err)

	stop = w.busy(t, 100*time.Millisecond)
	owner.signal(syscall.SIGCONT)
	eventually(t, func() bool { return len(owner.heard(saysEnded, "reason=lapsed")) == 1 }, "the old one stands down")
	writes := w.pbx.Stats().WritesApplied
	eventually(t, func() bool { return w.pbx.Stats().WritesApplied > writes+10 }, "work goes on")
	stop()
	w.owner(t) // whichever of the two
	w.judge(t)
}

// testCutOff: the owner's network to NATS is gone, the one to Graph and the PBX is not.
func testCutOff(t *testing.T, c *natsCluster) {
	w := newWorld(t, c.url(), "cutoff")
	var cuts []*proxy
	for i := range 2 {
		cuts = append(cuts, newProxy(t, c.address(i)))
		w.replica(t, cuts[i].url())
	}
	w.begin(t)
	stop := w.busy(t, 100*time.Millisecond)
	owner, other := w.owner(t)
	way := cuts[0]
	if owner == w.replicas[1] {
		way = cuts[1]
	}
	eventually(t, func() bool { return w.pbx.Stats().WritesApplied > 10 }, "there is work")
	cut := time.Now()
	way.set(true)
	stop()
	w.teamsCall(t, 0, !w.member(0).inTeams)
	w.phoneCall(t, 3, !w.member(3).onPhone) // the one that was cut off sees this, too
	eventually(t, func() bool { return len(owner.heard(saysEnded, "reason=lapsed")) == 1 }, "it stands down by itself")
	eventually(t, func() bool { return w.wrong(0) == "" }, "a call in Teams has its effect")
	t.Logf("at work after %s", time.Since(cut).Round(100*time.Millisecond))
	require.Less(t, time.Since(cut), atWork+lag)
	require.True(t, other.runs(w.name))
	w.settled(t)
	stop = w.busy(t, 100*time.Millisecond)
	writes := w.pbx.Stats().WritesApplied
	eventually(t, func() bool { return w.pbx.Stats().WritesApplied > writes+5 }, "work goes on")
	way.set(false) // whatever lay in its connection arrives now
	eventually(t, func() bool { return len(owner.heard("tells the others again")) > 0 }, "it is back")
	eventually(t, func() bool { return w.pbx.Stats().WritesApplied > writes+20 }, "work goes on")
	stop()
	w.owner(t)
	w.judge(t)
}

// testPeaceful: nothing happens to two replicas, and so nothing changes hands; then one is told to stop.
func testPeaceful(t *testing.T, c *natsCluster) {
	w := newWorld(t, c.url(), "peaceful")
	w.replica(t, c.url())
	w.replica(t, c.url())
	w.begin(t)
	owner, other := w.owner(t)
	before := len(owner.heard(saysRuns)) + len(other.heard(saysRuns))
	stop := w.busy(t, 100*time.Millisecond)
	until := time.Now().Add(20 * time.Second)
	eventually(t, func() bool { return time.Now().After(until) }, "20 s of traffic")
	assert.Len(t, append(owner.heard(saysRuns), other.heard(saysRuns)...), before, "it stays with one")
	assert.Empty(t, other.heard("record_conflict"))

	// A clean stop hands it over in the middle of everything.
	owner.signal(syscall.SIGTERM)
	told := time.Now()
	eventually(t, func() bool { return other.runs(w.name) }, "the other one takes over")
	took := other.heard(saysRuns)[len(other.heard(saysRuns))-1].at.Sub(told)
	t.Logf("handed over in %s", took.Round(10*time.Millisecond))
	// It takes a second on a machine that has time, and no death is waited for.
	assert.Less(t, took, 6*time.Second+lag)
	<-owner.done
	assert.Equal(t, 0, owner.cmd.ProcessState.ExitCode(), owner.said())
	writes := w.pbx.Stats().WritesApplied
	eventually(t, func() bool { return w.pbx.Stats().WritesApplied > writes+10 }, "work goes on")
	stop()
	w.judge(t)
	require.Empty(t, other.heard("may have been lost"), "no gap is invented")
}

// testServersDie: every NATS server dies once, with time to come back in between.
func testServersDie(t *testing.T, c *natsCluster) {
	w := newWorld(t, c.url(), "servers")
	w.replica(t, c.url())
	w.replica(t, c.url())
	w.begin(t)
	stop := w.busy(t, 200*time.Millisecond)
	for i := range c.nodes {
		c.running[i].kill()
		writes := w.pbx.Stats().WritesApplied
		eventually(t, func() bool { return w.pbx.Stats().WritesApplied > writes+5 }, "work goes on with two")
		c.run(t, i)
		eventually(t, func() bool { return c.healthy(t) }, "the server has caught up")
	}
	stop()
	w.owner(t)
	w.judge(t)
}
