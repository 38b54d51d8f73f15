package bus

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

func TestOwnersAreSpreadAndStay(t *testing.T) {
	t.Parallel()
	require.Empty(t, Owner("contoso", nil))
	three := []string{"a", "b", "c"}
	count := map[string]int{}
	for i := range 3000 {
		account := fmt.Sprintf("account-%d", i)
		owner := Owner(account, three)
		count[owner]++
		require.Equal(t, owner, Owner(account, []string{"c", "a", "b"}), "whatever the order")
		without := slices.DeleteFunc(slices.Clone(three), func(id string) bool { return id == "c" })
		if owner != "c" {
			require.Equal(t, owner, Owner(account, without), "only what the leaver had moves")
		}
	}
	for id, n := range count {
		require.InDelta(t, 1000, n, 150, id)
	}
}

func TestViewNamesOwners(t *testing.T) {
	t.Parallel()
	now := time.Now()
	v := View{Replicas: []Replica{
		{ID: "a", Accounts: []string{"x", "y"}, Running: map[string]time.Time{"x": now}},
		{ID: "b", Accounts: []string{"y"}},
		{ID: "c", Accounts: []string{"x", "y"}, Leaving: true, Running: map[string]time.Time{"y": now}},
	}}
	require.Equal(t, "a", v.Owner("x"), "b is not configured for it, c leaves")
	require.Empty(t, v.Owner("z"))
	require.Equal(t, Owner("y", []string{"a", "b"}), v.Owner("y"))
	require.Equal(t, "c", v.RunBy("y", "a"), "it has not finished yet")
	require.Empty(t, v.RunBy("x", "a"))
}

// member is a membership in a test, and what it says.
type member struct {
	*Membership
	mu   sync.Mutex
	says Replica
	stop func()
}

func (m *member) say(r Replica) {
	m.mu.Lock()
	m.says = r
	m.mu.Unlock()
	m.Renew()
}

func join(t *testing.T, b *Bus, id string) *member {
	t.Helper()
	m := &member{says: Replica{Accounts: []string{"contoso"}}}
	var err error
	m.Membership, err = b.Join(t.Context(), MembershipConfig{ID: id, Describe: func() Replica {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.says
	}})
	require.NoError(t, err)
	m.run(t)
	return m
}

// run has it renew until stop is called, like a process that lives.
func (m *member) run(t *testing.T) {
	ctx, cancel := contextOf(t)
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	m.stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(m.stop)
}

func (m *member) sees() []string {
	var ids []string
	v := m.View()
	for i := range v.Replicas {
		ids = append(ids, v.Replicas[i].ID)
	}
	return ids
}

func await(t *testing.T, cond func() bool, what string) {
	t.Helper()
	require.Eventually(t, cond, 2*patience, 5*time.Millisecond, what)
}

func TestReplicasSeeEachOther(t *testing.T) {
	t.Parallel()
	b := openBus(t, testConfig(t))
	a, c := join(t, b, "a"), join(t, b, "c")
	await(t, func() bool {
		return slices.Equal(a.sees(), []string{"a", "c"}) && slices.Equal(c.sees(), []string{"a", "c"})
	}, "both see both")

	// What one says the others know at once, also how far it has dealt with an account.
	at := time.Now().Round(0)
	changed := a.Changed()
	c.say(Replica{Accounts: []string{"contoso"}, Running: map[string]time.Time{"contoso": at}})
	<-changed
	await(t, func() bool { return a.View().RunBy("contoso", "a") == "c" }, "it says what it runs")
	require.True(t, at.Equal(a.Vouched("contoso")))
	require.NoError(t, a.Confirm(t.Context()))

	// One that leaves is gone.
	c.stop()
	require.NoError(t, c.Leave(t.Context()))
	require.NoError(t, c.Leave(t.Context()), "leaving twice is leaving")
	await(t, func() bool { return len(a.sees()) == 1 }, "gone")
	require.True(t, at.Equal(a.Vouched("contoso")), "what it had dealt with is not forgotten")
	_, err := b.Bucket(Replicas).Get(t.Context(), "", "c")
	require.ErrorIs(t, err, ErrNotFound)
}

// TestWhoLeavesIsGoneAtOnce: nobody waits for it to die.
func TestWhoLeavesIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	b := openBus(t, testConfig(t))
	a := join(t, b, "a")
	fastest(t, deadEmbedded/2, func(i int) time.Duration {
		c := join(t, b, fmt.Sprint("c", i))
		await(t, func() bool { return len(a.sees()) == 2 }, "it is seen")
		c.stop()
		began := time.Now()
		require.NoError(t, c.Leave(t.Context()))
		await(t, func() bool { return len(a.sees()) == 1 }, "gone")
		return time.Since(began)
	})
}

func TestSilentReplicaDies(t *testing.T) {
	t.Parallel()
	b := openBus(t, testConfig(t))
	a, c := join(t, b, "a"), join(t, b, "c")
	await(t, func() bool { return len(a.sees()) == 2 }, "both are there")
	began := time.Now()
	c.say(Replica{Accounts: []string{"contoso"}, Running: map[string]time.Time{"contoso": began}})
	await(t, func() bool { return a.View().RunBy("contoso", "a") == "c" }, "its last word")
	c.stop()
	await(t, func() bool { return len(a.sees()) == 1 }, "it is dropped")
	require.GreaterOrEqual(t, time.Since(began), deadEmbedded, "not before its time")
	require.True(t, a.Holds(a.Term()))
	require.True(t, c.Holds(c.Term()), "nobody else can be on an embedded server")

	// Its entry is still there, and says nothing new: it stays dead until it speaks.
	await(t, func() bool { return a.Confirm(t.Context()) == nil }, "another look")
	require.Equal(t, []string{"a"}, a.sees())
	c.run(t)
	await(t, func() bool { return len(a.sees()) == 2 }, "it came back")
}

// TestBlindReplicaDropsNobody: time that a replica could not look does not count.
func TestBlindReplicaDropsNobody(t *testing.T) {
	t.Parallel()
	now := time.Now()
	m := &Membership{
		bus: &Bus{metrics: testMetrics(t), server: nil}, dead: deadExternal, changed: make(chan struct{}),
		peers:  map[string]*peer{"b": {said: Replica{ID: "b", Word: 1}, seen: now.Add(-61 * time.Second)}},
		looked: now.Add(-time.Minute), proven: now.Add(-time.Minute), term: 1, vouched: map[string]time.Time{},
	}
	v := m.View()
	require.False(t, v.Fresh)
	require.Len(t, v.Replicas, 2, "frozen")
	m.looking(now, nil)
	v = m.View()
	require.True(t, v.Fresh)
	require.Len(t, v.Replicas, 2, "it has its whole time from here on")
	require.WithinDuration(t, now.Add(-time.Second), m.peers["b"].seen, 10*time.Millisecond)
	m.looking(now.Add(time.Second), nil)
	m.looking(now.Add(2*time.Second), nil)
	require.Len(t, m.peers, 1)
	for i := 3; i < 10; i++ {
		m.looking(now.Add(time.Duration(i)*time.Second), nil)
	}
	require.Empty(t, m.peers, "dead, and not in the bucket any more")
}

// TestTerms: whoever could not renew for so long that others may have taken over has to know it for good, also when the
// next renewal goes through before anybody has looked at a clock.
func TestTerms(t *testing.T) {
	t.Parallel()
	m := &Membership{bus: &Bus{metrics: testMetrics(t)}, dead: deadExternal, term: 1}
	now := time.Now()
	m.prove(now)
	require.True(t, m.Holds(1))
	m.proven = now.Add(standAside - deadExternal)
	require.False(t, m.Holds(1), "aside, before the others act")
	require.False(t, m.Lapsed(1), "and nobody has acted yet")
	m.prove(time.Now())
	require.True(t, m.Holds(1), "in time: nobody can have taken over")

	m.proven = now.Add(-deadExternal - time.Second)
	require.True(t, m.Lapsed(1))
	m.prove(time.Now())
	require.Equal(t, uint64(2), m.Term())
	require.False(t, m.Holds(1), "for good")
	require.True(t, m.Lapsed(1))
	require.True(t, m.Holds(2))

	// A machine that slept: its monotonic clock stood still.
	m.proven = m.proven.Round(0).Add(-time.Minute)
	require.False(t, m.Holds(2))
}

// TestReplicasOverAnOutage: the only server goes, and comes back without what was in its memory.
func TestReplicasOverAnOutage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := runServer(t, &server.Options{StoreDir: dir})
	port := s.Addr().(*net.TCPAddr).Port
	cfg := externalConfig(t, s.ClientURL())
	cfg.PublishTimeout = 5 * time.Second
	a, c := join(t, openBus(t, cfg), "a"), join(t, openBus(t, cfg), "c")
	await(t, func() bool { return len(a.sees()) == 2 && len(c.sees()) == 2 }, "both are there")
	term := a.Term()
	s.Shutdown()
	s.WaitForShutdown()
	await(t, func() bool { return !a.Holds(term) && !a.View().Fresh }, "it stands aside")
	require.Len(t, a.sees(), 2, "but drops nobody")
	ctx, cancel := contextOf(t)
	cancel()
	require.ErrorIs(t, a.Confirm(ctx), ErrUnavailable)
	await(t, func() bool { return a.Lapsed(term) }, "its time is over")

	runServer(t, &server.Options{StoreDir: dir, Port: port})
	await(t, func() bool { return a.View().Fresh && c.View().Fresh && a.Holds(a.Term()) }, "back")
	require.Greater(t, a.Term(), term)
	require.Len(t, a.sees(), 2)
	require.Len(t, c.sees(), 2)
}

func TestJoinNeedsAName(t *testing.T) {
	t.Parallel()
	b := openBus(t, testConfig(t))
	_, err := b.Join(t.Context(), MembershipConfig{})
	require.ErrorIs(t, err, ErrInvalid)
	closeBus(t, b)
	_, err = b.Join(t.Context(), MembershipConfig{ID: "a", Describe: func() Replica { return Replica{} }})
	require.Error(t, err)
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func testMetrics(t *testing.T) *metrics {
	t.Helper()
	m, err := newMetrics(nil)
	require.NoError(t, err)
	return m
}

// TestAStreamThatIsRightIsLeftAlone: whatever the server fills in by itself is no difference.
func TestAStreamThatIsRightIsLeftAlone(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.History = time.Hour
	b := openBus(t, cfg)
	for _, want := range streamConfigs(b.cfg) {
		want.Replicas = 1
		have := b.stream(want.Name).CachedInfo().Config
		require.True(t, sameStream(have, want), want.Name)
		want.MaxBytes++
		require.False(t, sameStream(have, want), want.Name)
		want.MaxBytes--
		want.AllowMsgTTL = !want.AllowMsgTTL
		require.False(t, sameStream(have, want), want.Name)
	}
}
