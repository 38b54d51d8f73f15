package pbxsim

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// BenchmarkPut is a write through HTTP among 10,000 users, with one stream open.
func BenchmarkPut(b *testing.B) {
	s, err := Start(Config{Users: 10_000})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := dial(b, s)
	l := c.listen("")
	go func() {
		for range l.events { // the listener's buffer is for tests
		}
	}()
	statuses := []string{"Busy", "Away"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		body := fmt.Sprintf(`{"status":%q}`, statuses[i/10_000%2])
		res, err := c.http.Do(c.request("PUT", fmt.Sprintf("/v1/users/u%06d/presence", 1+i%10_000), body))
		if err != nil || res.StatusCode != http.StatusOK {
			b.Fatal(err, res)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

// BenchmarkPeople is what a change by hand costs, event and all, without HTTP.
func BenchmarkPeople(b *testing.B) {
	s, err := Start(Config{Users: 10_000})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("u%06d", 1+i%10_000)
		if i/10_000%2 == 0 {
			_ = s.StartCall(id)
		} else {
			_ = s.EndCall(id)
		}
	}
}

// BenchmarkListing is a whole listing of 10,000 users.
func BenchmarkListing(b *testing.B) {
	s, err := Start(Config{Users: 10_000})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		for after, n := "", 0; ; n++ {
			page := s.page(after, 200)
			if page.Next == "" {
				break
			}
			after, _ = readAfter(page.Next)
		}
	}
}
