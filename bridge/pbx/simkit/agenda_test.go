package simkit

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAgendaKeepsItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, stop, done := NewAgenda(), make(chan struct{}), make(chan struct{})
		var got []int
		for i := range 50 {
			a.After(time.Duration(i%7)*time.Second, func() { got = append(got, i) })
		}
		a.After(10*time.Second, func() { a.After(0, func() { got = append(got, 100) }) })
		require.Equal(t, 51, a.Pending())
		go func() { defer close(done); a.Run(stop) }() // only now: some of it is due at once
		time.Sleep(time.Minute)
		close(stop)
		<-done
		require.Zero(t, a.Pending())
		require.Len(t, got, 51)
		require.Equal(t, 100, got[50])
		for i := range 49 {
			require.Less(t, got[i]%7*1000+got[i], got[i+1]%7*1000+got[i+1], "by time, then as asked for")
		}
	})
}
