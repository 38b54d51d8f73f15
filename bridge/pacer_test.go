package bridge

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/time/rate"
)

// Clears before sets before renewals (design section 6); whoever waits already moves up, and never waits twice.
func TestGrantsGoInOrder(t *testing.T) {
	p := newPacer(1, 1)
	p.await("renews", WriteRenew)
	p.await("sets", WriteSet)
	p.await("sets", WriteSet)
	p.await("clears", WriteClear)
	p.await("hangs up", WriteSet)
	p.await("hangs up", WriteClear)
	p.await("clears", WriteRenew)
	assert.Equal(t, 4, p.length())
	var got []string
	for {
		m, ok := p.next()
		if !ok {
			break
		}
		got = append(got, m)
	}
	assert.Equal(t, []string{"clears", "hangs up", "sets", "renews"}, got)
	assert.Zero(t, p.length())
	p.await("sets", WriteSet)
	m, ok := p.next()
	assert.True(t, ok)
	assert.Equal(t, "sets", m, "who was granted may queue again")
	assert.Equal(t, 1, priority("invented"))
}

func TestTheBudgetIsSpentOnceAndEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(rate.Limit(10), 5)
		var at []time.Duration
		began := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.run(ctx, func(string) { at = append(at, time.Since(began)) }) }()
		direct := 0
		for !p.exhausted() {
			p.spend()
			direct++
		}
		assert.Equal(t, 5, direct)
		for i := range 20 {
			p.await(fmt.Sprint(i), WriteSet)
		}
		assert.True(t, p.exhausted())
		time.Sleep(3 * time.Second)
		synctest.Wait()
		assert.Len(t, at, 20)
		assert.Equal(t, 100*time.Millisecond, at[0])
		assert.Equal(t, 2*time.Second, at[19])
		assert.False(t, p.exhausted(), "nobody waits, and there is budget again")
		stop()
		assert.ErrorIs(t, <-done, context.Canceled)
	})
}

// Whoever came first is served first: a write that finds a token while others wait does not overtake them.
func TestNobodyOvertakes(t *testing.T) {
	p := newPacer(1000, 1000)
	assert.False(t, p.exhausted())
	p.await("m", WriteSet)
	assert.True(t, p.exhausted())
}
