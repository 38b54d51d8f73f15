package micollab_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/micollab"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/bridge/presence"
)

func benchPair(b *testing.B, users int) (*pbxsim.Sim, *micollab.Client) {
	b.Helper()
	s, err := pbxsim.Start(pbxsim.Config{Users: users})
	require.NoError(b, err)
	b.Cleanup(func() { _ = s.Close() })
	c, err := micollab.New(micollab.Config{URL: s.URL(), Token: func() (string, error) { return s.Token(), nil }})
	require.NoError(b, err)
	b.Cleanup(c.Close)
	return s, c
}

// BenchmarkWatch is an event from the change on the PBX to its delivery, both sides in one process.
func BenchmarkWatch(b *testing.B) {
	s, c := benchPair(b, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	events, done := make(chan pbx.Event, 1024), make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Watch(ctx, func(e pbx.Event) { events <- e })
	}()
	<-events // the first reset
	_, err := c.Snapshot(ctx)
	require.NoError(b, err)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("u%06d", 1+i%1000)
		if i/1000%2 == 0 {
			_ = s.StartCall(id)
		} else {
			_ = s.EndCall(id)
		}
		for e := range events {
			if e.Kind == pbx.EventState {
				break
			}
		}
	}
	cancel()
	<-done
}

// BenchmarkApply is a conditional write, both sides in one process.
func BenchmarkApply(b *testing.B) {
	_, c := benchPair(b, 1)
	b.ReportAllocs()
	version := uint64(1)
	for i := 0; b.Loop(); i++ {
		st, err := c.Apply(context.Background(), "u000001", pbx.Write{
			Status: presence.Status{Name: []string{"Busy", "Away"}[i%2]}, IfVersion: version,
		})
		if err != nil {
			b.Fatal(err)
		}
		version = st.Version
	}
}

// BenchmarkSnapshot reads 10,000 users.
func BenchmarkSnapshot(b *testing.B) {
	_, c := benchPair(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		users, err := c.Snapshot(context.Background())
		if err != nil || len(users) != 10_000 {
			b.Fatal(len(users), err)
		}
	}
}
