package graphsim

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkReadMany is the read of 650 people.
func BenchmarkReadMany(b *testing.B) {
	s, err := New(Config{Users: 2000, Budgets: &Budgets{}})
	require.NoError(b, err)
	defer s.Close()
	ids := make([]string, 0, maxIDs)
	for _, u := range s.Users()[:maxIDs] {
		ids = append(ids, `"`+u.ID+`"`)
	}
	c := &call{sim: s, body: []byte(`{"ids":[` + strings.Join(ids, ",") + `]}`)}
	b.ReportAllocs()
	for b.Loop() {
		if a, _ := c.getPresences(); a.status != 200 {
			b.Fatal(a.status)
		}
	}
}

// BenchmarkChange is one change of one of ten thousand people, with its rich notification delivered
// to an endpoint that costs nothing.
func BenchmarkChange(b *testing.B) {
	accept := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.URL.Query().Get("validationToken"))
	})
	s, err := New(Config{Users: 10_000, Monitors: []string{"presence1"}, Forms: &Forms{},
		Delivery: Delivery{Transport: direct{accept}, LatencyMin: 1, LatencyMean: 1, LatencyMax: 1}})
	require.NoError(b, err)
	defer s.Close()
	t := &testing.T{}
	x := &tenant{s, t, &http.Client{Transport: direct{s.Handler()}}}
	users := s.Users()
	var ids []string
	for _, u := range users[:maxIDs] {
		ids = append(ids, u.ID)
	}
	box := newInbox(t)
	require.Equal(b, 201, x.call("POST", "/v1.0/subscriptions", x.userToken(mon), box.request(ids...)).status)
	b.ReportAllocs()
	pairs := []Pair{Busy, Available}
	b.ResetTimer()
	for n := range b.N {
		if err := s.SetClient(ids[n%maxIDs], pairs[n/maxIDs%2]); err != nil {
			b.Fatal(err)
		}
	}
	for s.Stats().Notifications.Waiting > 0 {
		time.Sleep(time.Millisecond)
	}
}
