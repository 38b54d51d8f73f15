package graphsim

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAgendaKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgenda()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go a.run(ctx)
		type done struct {
			n  int
			at time.Duration
		}
		var ran []done
		began := time.Now()
		for i, d := range []time.Duration{3 * time.Second, time.Second, 2 * time.Second, time.Second, 2 * time.Hour, 0} {
			a.after(d, func() { ran = append(ran, done{i, time.Since(began)}) })
		}
		a.after(time.Second, func() { a.after(time.Second/2, func() { ran = append(ran, done{9, time.Since(began)}) }) })
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		require.Equal(t, []done{{5, 0}, {1, time.Second}, {3, time.Second}, {9, 3 * time.Second / 2}, {2, 2 * time.Second}, {0, 3 * time.Second}, {4, 2 * time.Hour}}, ran)
	})
}

func TestAgendaDropsWhatIsNotDueAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgenda()
		ctx, cancel := context.WithCancel(t.Context())
		go a.run(ctx)
		a.after(time.Minute, func() { t.Error("ran after the end") })
		cancel()
		time.Sleep(time.Hour)
	})
}

func TestDice(t *testing.T) {
	d := newDice(1, 1)
	before := *d.r
	for range 100 {
		require.False(t, d.hit(0))
		require.True(t, d.hit(1))
		require.Zero(t, d.upTo(0))
		require.Equal(t, time.Second, d.around(time.Second, time.Second, time.Second))
	}
	require.Equal(t, before, *d.r, "what is certain draws nothing")
	hits := 0
	var most, sum time.Duration
	for range 10_000 {
		if d.hit(0.25) {
			hits++
		}
		x := d.around(10*time.Millisecond, 50*time.Millisecond, 300*time.Millisecond)
		require.GreaterOrEqual(t, x, 10*time.Millisecond)
		most, sum = max(most, x), sum+x
		require.LessOrEqual(t, d.upTo(time.Second), time.Second)
	}
	require.InDelta(t, 2500, hits, 200)
	require.Equal(t, 300*time.Millisecond, most)
	require.InDelta(t, 50, float64(sum.Milliseconds())/10_000, 5)
}

func TestIDsAndTokens(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	for range 2000 {
		id := guid(r)
		require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
		require.False(t, seen[id])
		seen[id] = true
	}
	require.Regexp(t, `^[A-Za-z0-9]{40}$`, token(r, 40))
	require.Regexp(t, guidPattern.String(), servicePrincipalID("x"))
	require.NotEqual(t, servicePrincipalID("x"), servicePrincipalID("y"))
}

func TestForeignTokensAreNotBelieved(t *testing.T) {
	var ours, theirs keySet
	require.NoError(t, ours.rotate())
	require.NoError(t, theirs.rotate())
	raw, err := ours.sign(map[string]any{"a": "b"})
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, ours.verify(raw, &got))
	require.Equal(t, "b", got["a"])
	require.Error(t, theirs.verify(raw, &got))
	parts := strings.Split(raw, ".")
	require.Error(t, ours.verify(parts[0]+"."+parts[1]+".", &got), "unsigned")
	require.Error(t, ours.verify(parts[0]+".eyJhIjoiYyJ9."+parts[2], &got), "changed")
	require.Error(t, ours.verify("eyJhbGciOiJub25lIn0.eyJhIjoiYyJ9.", &got), "algorithm none")
	require.NoError(t, ours.rotate())
	require.NoError(t, ours.verify(raw, &got), "the key before is still believed")
	ours.forget()
	require.Error(t, ours.verify(raw, &got))
}

func TestEveryRefusalIsWorded(t *testing.T) {
	for code, e := range aadstsTable() {
		require.NotEmpty(t, e.kind, code)
		require.NotEmpty(t, e.text, code)
		require.GreaterOrEqual(t, aadsts(code).status, 400)
	}
	require.Equal(t, "invalid_grant", aadsts(1).kind, "unknown numbers are taken too")
	require.True(t, slices.Contains([]int{aadBadCode}, aadDeclined), "two errors share a number")
}

func TestTheCacheOfTokensIsBounded(t *testing.T) {
	x := two(t)
	now := time.Now()
	for i := range maxVerified + 10 {
		expires := now.Add(time.Hour)
		if i%2 == 0 {
			expires = now.Add(-time.Hour)
		}
		x.login.remember(token(x.draw.r, 20), &identity{expires: expires})
	}
	require.LessOrEqual(t, len(x.login.verified), maxVerified)
	require.Greater(t, len(x.login.verified), maxVerified/3, "those that are good are kept")
}
