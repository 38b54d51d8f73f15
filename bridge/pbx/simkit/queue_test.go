package simkit

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What is put in comes out in order, also what was put in before Close, and from within.
func TestQueueKeepsItsOrder(t *testing.T) {
	var q *Queue[int]
	var got []int
	q = NewQueue(func(n int) {
		got = append(got, n)
		if n == 0 {
			q.Put(1000)
		}
	})
	for i := range 100 {
		q.Put(i)
	}
	done := make(chan struct{})
	go func() { defer close(done); q.Run() }()
	q.Close()
	<-done
	require.Len(t, got, 101)
	require.Equal(t, 1000, got[100])
	for i := range 100 {
		require.Equal(t, i, got[i])
	}
}

func TestQueueOfNobody(t *testing.T) {
	q := NewQueue[int](nil)
	q.Put(1)
	q.Close()
	q.Run()
}
