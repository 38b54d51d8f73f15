package monitors

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
	"presencebridge/monitors/shard"
)

// chaos does random things to a world: members come and go, Graph and the store fail (before and after
// the deed), subscriptions and tokens vanish, monitors sign in, the process restarts.
type chaos struct {
	*world
	rng     *rand.Rand
	people  int // 900 leave a spare monitor, 2500 are too many for three
	members map[int]bool
}

func (c *chaos) step() {
	switch c.rng.IntN(12) {
	case 0, 1:
		for range c.rng.IntN(300) {
			c.members[c.rng.IntN(c.people)] = true
		}
		c.tell()
	case 2:
		for range c.rng.IntN(600) {
			delete(c.members, c.rng.IntN(c.people))
		}
		c.tell()
	case 3:
		c.authorize(c.rng.IntN(3))
	case 4, 5:
		call := []string{"create", "renew", "delete", "list", "presences"}[c.rng.IntN(5)]
		err := []error{errNet, &CallError{Kind: Throttled, RetryAfter: time.Minute, Err: errNet}, &CallError{Kind: Refused, Err: errNet}}[c.rng.IntN(3)]
		c.graph.fail(call, fault{times: 1 + c.rng.IntN(4), err: err, landed: c.rng.IntN(2) == 0 && errors.Is(err, errNet)})
	case 6:
		c.graph.kill(owner(c.rng.IntN(3)))
	case 7: // the password of a monitor was changed
		token, err := c.m.active()[c.rng.IntN(3)].LoadRefreshToken(c.t.Context())
		require.NoError(c.t, err)
		c.graph.with(func() { c.graph.tokens[token] = false })
	case 8:
		c.store.mu.Lock()
		c.store.fault = fault{times: 1 + c.rng.IntN(3), err: errNet, landed: c.rng.IntN(2) == 0}
		c.store.mu.Unlock()
	case 9:
		c.stop()
		c.pass(time.Duration(c.rng.IntN(90)) * time.Minute)
		c.start()
		if c.rng.IntN(2) == 0 {
			c.pass(time.Duration(c.rng.IntN(600)) * time.Second)
		}
		c.tell()
	default:
		c.pass(time.Duration(c.rng.IntN(1800)) * time.Second)
	}
}

func (c *chaos) tell() {
	list := []Member{}
	for i := range c.members {
		list = append(list, Member{ID: id(i), Matched: true})
	}
	c.m.SetMembers(list)
}

// safe is what holds at any time.
func (c *chaos) safe() {
	watched := c.graph.watched()
	places := map[string]string{}
	for _, i := range c.m.Monitors() {
		require.LessOrEqual(c.t, i.Wanted, shard.Max)
	}
	for _, mo := range c.m.active() {
		mo.mu.Lock()
		for _, id := range mo.want {
			require.Empty(c.t, places[id], "in two shards")
			places[id] = mo.id
		}
		mo.mu.Unlock()
	}
	for _, list := range watched {
		require.LessOrEqual(c.t, len(list), shard.Max)
	}
}

// settled is what holds when nothing has failed for a while.
func (c *chaos) settled() {
	sums := c.m.Sums()
	require.Equal(c.t, min(len(c.members), shard.Max*sums.MonitorsUsable), sums.ByCoverage[presence.CoveragePushed], "everybody that fits is pushed")
	require.Equal(c.t, len(c.members), sums.ByCoverage[presence.CoveragePushed]+sums.ByCoverage[presence.CoveragePolled])
	byID := map[string]string{}
	for i := range 3 {
		byID[ID(upn(i))] = owner(i)
	}
	watched := c.graph.watched()
	for i := range c.members {
		cover := c.cover(i)
		require.Less(c.t, time.Since(cover.Confirmed), time.Minute+time.Second, "everybody is read")
		if cover.Coverage == presence.CoveragePushed {
			require.Contains(c.t, watched[byID[cover.Monitor]], id(i), "who counts as pushed is watched at Graph")
		} else {
			require.NotEmpty(c.t, cover.Text)
		}
	}
	for _, i := range c.m.Monitors() {
		require.Empty(c.t, i.Problem)
		if i.State != StateAuthorized && i.State != StateUnset {
			require.NotEmpty(c.t, i.Remedy)
		}
	}
}

func TestChaosSettles(t *testing.T) {
	seeds := 20
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			bubble(t, 3, func(t *testing.T, w *world) {
				w.cfg.LeaveDelay = 10 * time.Minute
				c := &chaos{world: w, rng: rand.New(rand.NewPCG(uint64(seed), 7)), members: map[int]bool{}, people: []int{900, 2500}[seed%2]}
				w.start()
				c.tell()
				for range 40 {
					c.step()
					c.safe()
				}
				c.graph.with(func() { clear(c.graph.faults) })
				c.store.mu.Lock()
				c.store.fault = fault{}
				c.store.mu.Unlock()
				c.pass(time.Hour)
				c.settled()

				// A restart at rest changes nothing at Graph.
				before, creates := maps.Clone(c.graph.watched()), c.graph.count("create")
				c.stop()
				c.start()
				c.tell()
				c.pass(2 * time.Minute)
				c.settled()
				require.Equal(t, creates, c.graph.count("create"))
				for owner, list := range c.graph.watched() {
					require.True(t, slices.Equal(before[owner], list))
				}
			})
		})
	}
}
