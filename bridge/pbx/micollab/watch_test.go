package micollab

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
)

const reset = "id: %s\nevent: reset\ndata: {}\n\n"

func TestWatchBeginsWithReset(t *testing.T) {
	t.Run("that the PBX sends", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *watched) {
			s := w.stream()
			require.Empty(t, s.lastID)
			s.say(reset, "e-0")
			s.presence("e-1", "u1", 2)
			require.Equal(t, []string{"reset", "u1@2"}, w.got(), "once")
		})
	})
	t.Run("that it does not send", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *watched) {
			s := w.stream()
			require.Empty(t, w.got())
			w.pass(settle + time.Millisecond)
			require.Equal(t, []string{"reset"}, w.got())
			s.presence("e-1", "u1", 2)
			require.Equal(t, []string{"u1@2"}, w.got())
		})
	})
	t.Run("before the first event", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *watched) {
			s := w.stream()
			s.presence("e-1", "u1", 2)
			require.Equal(t, []string{"reset", "u1@2"}, w.got())
		})
	})
	t.Run("before the first sign of life", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *watched) {
			w.stream().say(":\n\n")
			require.Equal(t, []string{"reset", "seen"}, w.got())
		})
	})
}

func TestWatchResumes(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		s.say(reset, "e-0")
		s.presence("e-1", "u1", 2)
		require.NoError(t, s.Close())
		s = w.stream()
		require.Equal(t, "e-1", s.lastID)
		s.presence("e-2", "u1", 3)
		require.Equal(t, []string{"reset", "u1@2", "seen", "u1@3"}, w.got(), "no reset: nothing was lost")
		require.Equal(t, "connected", w.state())
		_ = s.CloseWithError(fmt.Errorf("broken"))
		s = w.stream()
		require.Equal(t, "e-2", s.lastID)
		w.pass(settle + time.Second)
		require.Equal(t, []string{"seen"}, w.got(), "even if nothing happened")
	})
}

func TestWatchThatCannotResume(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		s.say(reset, "e-5")
		_ = s.Close()
		s = w.stream()
		require.Equal(t, "e-5", s.lastID, "the id of a reset counts")
		s.say(reset, "f-0")
		s.presence("f-1", "u1", 1)
		require.Equal(t, []string{"reset", "reset", "u1@1"}, w.got())
		_ = s.Close()
		s = w.stream()
		require.Equal(t, "f-1", s.lastID)
	})
}

func TestWatchWithoutIds(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		s.say("event: presence\ndata: %s\n\n", eventJSON("u1", 1))
		s.say("id: bad\x01id\nevent: presence\ndata: %s\n\n", eventJSON("u1", 2))
		_ = s.Close()
		s = w.stream()
		require.Empty(t, s.lastID)
		s.say(":\n")
		require.Equal(t, []string{"reset", "u1@1", "u1@2", "reset", "seen"}, w.got())
	})
}

func TestWatchWhoseIdIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		s.presence("e-1", "u1", 1)
		w.got()
		w.pbx.set(func(r *http.Request) (int, string, []string) {
			if r.Header.Get("Last-Event-ID") != "" {
				return 400, `{"error":"bad_request"}`, nil
			}
			return 200, "", nil
		})
		_ = s.Close()
		s = w.stream()
		require.Empty(t, s.lastID, "it is let go")
		s.say(":\n")
		require.Equal(t, []string{"reset", "seen"}, w.got())
	})
}

func TestSilenceIsDeath(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		s.presence("e-1", "u1", 1)
		for range 10 {
			w.pass(15 * time.Second)
			s.say(": heartbeat\n\n")
		}
		require.Len(t, w.got(), 2+10, "a heartbeat is a sign of life")
		require.Equal(t, 1, w.pbx.opens())
		w.pass(34 * time.Second)
		require.Equal(t, "connected", w.state())
		w.pass(3 * time.Second)
		s = w.stream()
		require.Equal(t, "e-1", s.lastID)
		w.pass(8 * time.Second)
		require.Equal(t, "degraded silent", w.state(), "it counts as connected again when it speaks")
		s.say(":\n")
		w.pass(6 * time.Second)
		require.Equal(t, "connected", w.state())
	})
}

func TestBytesWithoutLinesAreSilence(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		s.say(reset, "e-0")
		go func() {
			for {
				if _, err := s.Write([]byte("xxxxxxxx")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		w.pass(40 * time.Second)
		require.Equal(t, "e-0", w.stream().lastID)
	})
}

func TestBusyStreamsSaySeenToo(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		for i := range 120 {
			s.presence(fmt.Sprint("e-", i), "u1", i)
			w.pass(time.Second)
		}
		seen := 0
		for _, e := range w.got() {
			if e == "seen" {
				seen++
			}
		}
		require.GreaterOrEqual(t, seen, 4, "at least every 30 s")
		for range 10_000 {
			s.say(":\n")
		}
		require.LessOrEqual(t, len(w.got()), 2, "and not more than once a second")
	})
}

func TestSlowDeliveryIsNoSilence(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		w.slow.Store(true)
		s := w.stream()
		go func() {
			for i := range 20 {
				s.presence(fmt.Sprint("e-", i), "u1", i)
			}
		}()
		w.pass(25 * time.Minute)
		require.Equal(t, 1, w.pbx.opens())
		w.slow.Store(false)
	})
}

func TestUnreadableEventsAreAnsweredWithAReset(t *testing.T) {
	for name, bad := range map[string]string{
		"no JSON":        "id: e-2\nevent: presence\ndata: {\n\n",
		"no user":        `id: e-2` + "\n" + `event: presence` + "\n" + `data: {"presence":` + presenceJSON(1) + "}\n\n",
		"no presence":    "id: e-2\nevent: presence\ndata: {\"user\":\"u1\"}\n\n",
		"no version":     "id: e-2\nevent: presence\ndata: {\"user\":\"u1\",\"presence\":{\"status\":\"Busy\"}}\n\n",
		"no status":      "id: e-2\nevent: presence\ndata: {\"user\":\"u1\",\"presence\":{\"version\":4}}\n\n",
		"a wrong type":   "id: e-2\nevent: presence\ndata: {\"user\":\"u1\",\"presence\":{\"version\":\"4\",\"status\":\"Busy\"}}\n\n",
		"no data":        "id: e-2\nevent: presence\n\n",
		"oversize":       "id: e-2\nevent: presence\ndata: " + strings.Repeat("x", maxLine+1) + "\n\n",
		"oversize reset": "id: e-2\nevent: reset\ndata: " + strings.Repeat("x", maxLine+1) + "\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *watched) {
				s := w.stream()
				s.presence("e-1", "u1", 1)
				w.got()
				s.say("%s", bad)
				s.presence("e-3", "u1", 3)
				require.Equal(t, []string{"reset", "u1@3"}, w.got(), "the stream goes on")
				for i := range 50 {
					s.say("%s", bad)
					s.presence(fmt.Sprint("e-", 4+i), "u1", 4+i)
				}
				require.Len(t, w.got(), 50, "one reset a minute at most")
				w.pass(lossGap + 2*time.Second)
				require.Contains(t, w.got(), "reset", "but one")
				require.GreaterOrEqual(t, w.metric(t, "bad_input_total", "event")+
					w.metric(t, "bad_input_total", "event_too_long"), 51.0)
				require.Equal(t, 1, w.pbx.opens())
			}, func(c *Config) { c.Silence = time.Hour })
		})
	}
}

func TestOddEventsAreTaken(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		s.say("event: weather\ndata: sunny\n\n")
		s.say("event: presence\ndata: {\"user\":\"u1\",\"more\":1,\"presence\":{\"line\":\"levitating\",\"status\":\"Busy\",\"version\":1,\"changed_at\":\"yesterday\",\"changed_by\":\"fate\"}}\n\n")
		s.say("event: reset\n\n") // without data: no client of the standard would see it
		var got []pbx.Event
		w.pass(2 * time.Second)
		for range 3 {
			got = append(got, <-w.events)
		}
		require.Equal(t, pbx.EventReset, got[0].Kind)
		require.Equal(t, pbx.EventReset, got[2].Kind)
		st := got[1].State
		require.Empty(t, st.Line, "an unknown word is an unknown line")
		require.Equal(t, "Busy", st.Status.Name)
		require.True(t, st.ChangedAt.IsZero())
		require.Equal(t, pbx.AuthorUnknown, st.ChangedBy)
	})
}

func TestAFloodOfResetsIsSlowedDown(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		for range 1000 {
			s.say(reset, "e-0")
		}
		require.Equal(t, []string{"reset"}, w.got())
		w.pass(3 * time.Second)
		require.Equal(t, []string{"reset"}, w.got(), "one for all the others")
	})
}

func TestUnknownUsersAskForAListing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		s.say(reset, "e-0")
		s.presence("e-1", "ghost", 1)
		require.Equal(t, []string{"reset", "ghost@1"}, w.got(), "a listing has been asked for already")
		_, err := w.Snapshot(context.Background())
		require.NoError(t, err)
		require.Equal(t, []string{"users"}, w.got(), "it did not show the ghost: perhaps it came too early")
		_, err = w.Snapshot(context.Background())
		require.NoError(t, err)
		s.presence("e-2", "ghost", 2)
		s.presence("e-3", "u1", 2)
		require.Equal(t, []string{"ghost@2", "u1@2"}, w.got(), "nobody asks again and again")
		s.presence("e-4", "joiner", 1)
		s.presence("e-5", "joiner2", 1)
		w.pass(usersGap + time.Second)
		require.Equal(t, []string{"joiner@1", "joiner2@1", "users"}, w.got(), "one for all of them")
		s.presence("e-6", "third", 1)
		w.pass(usersGap + time.Second)
		require.Equal(t, []string{"third@1", "users"}, w.got())
		for range 30 {
			s.say(":\n")
			w.pass(10 * time.Second)
		}
		w.got()
		s.presence("e-7", "ghost", 3)
		require.Equal(t, []string{"users", "ghost@3"}, w.got(), "after a while, once more")
	})
}

func TestReconnectsWithBackoff(t *testing.T) {
	var times []time.Time
	inBubble(t, func(t *testing.T, w *watched) {
		w.pbx.set(func(r *http.Request) (int, string, []string) {
			if r.URL.Path == "/v1/events" {
				times = append(times, time.Now())
				return -1, "", nil
			}
			return 200, "", nil
		})
		w.pass(10 * time.Minute)
		require.Equal(t, "degraded connection_lost", w.state())
		require.Less(t, times[1].Sub(times[0]), time.Second, "the first time at once")
		last := times[len(times)-1].Sub(times[len(times)-2])
		require.Greater(t, last, 14*time.Second)
		require.Less(t, last, 46*time.Second)
		require.Less(t, len(times), 40)
		w.pbx.set(nil)
		w.stream().say(reset, "e-0")
		require.Equal(t, []string{"reset"}, w.got())
	})
}

// Attempts that time out are no connections that lived: they are spaced out too.
func TestTimeoutsAreNoConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		n := 0
		w.pbx.set(func(r *http.Request) (int, string, []string) {
			if r.URL.Path == "/v1/events" {
				n++
				<-r.Context().Done()
				return -1, "", nil
			}
			return 200, "", nil
		})
		w.pass(30 * time.Minute)
		w.state()
		require.Less(t, n, 80, "about every 40 s in the end")
		require.Greater(t, n, 30)
	})
}

func TestWaitsAsLongAsThePBXAsks(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		s.say(":\n")
		w.pbx.set(at("/v1/events", 429, `{"error":"too_many_requests"}`, "Retry-After", "120"))
		_ = s.Close()
		w.pass(10 * time.Second)
		require.Equal(t, "degraded throttled", w.state())
		w.pbx.set(nil)
		w.pass(109 * time.Second)
		require.Equal(t, 1, w.pbx.opens())
		w.pass(3 * time.Second)
		require.Equal(t, 2, w.pbx.opens())
		s = w.stream()
		s.say("retry: 20000\n\n")
		w.got()
		_ = s.Close()
		w.pass(19 * time.Second)
		require.Equal(t, 2, w.pbx.opens(), "the stream's own wish counts too")
		w.pass(2 * time.Second)
		require.Equal(t, 3, w.pbx.opens())
	})
}

func TestAnswerThatNeverBegins(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		w.pass(0)
		s := w.stream()
		w.pbx.set(func(r *http.Request) (int, string, []string) {
			if r.URL.Path == "/v1/events" {
				<-r.Context().Done()
				return -1, "", nil
			}
			return 200, "", nil
		})
		_ = s.Close()
		w.pass(30 * time.Second)
		require.Contains(t, []string{"degraded timed_out", "degraded connection_lost"}, w.state())
		w.pbx.set(nil)
		w.stream().say(reset, "e-0")
	})
}

func TestWatchNeedsStatusesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		w.pass(0)
		w.stream()
		require.Equal(t, 1, w.pbx.count("GET /v1/statuses"))
	})
	inBubble(t, func(t *testing.T, w *watched) {
		w.pass(time.Minute)
		require.Zero(t, w.pbx.opens())
		w.pbx.set(nil)
		w.stream().say(reset, "e-0")
		require.Equal(t, []string{"reset"}, w.got())
	}, func(c *Config) {
		fk := c.HTTPClient.Transport.(*fake)
		fk.set(at("/v1/statuses", 503, ""))
	})
}

func TestAfterAWatchNothingIsConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for range 2 {
			ctx, cancel := context.WithCancel(context.Background())
			events, done := make(chan pbx.Event, 10), make(chan struct{})
			go func() { defer close(done); _ = b.Watch(ctx, func(e pbx.Event) { events <- e }) }()
			s := <-b.pbx.streams
			require.Empty(t, s.lastID, "each watch begins anew")
			s.say(reset, "e-7")
			require.Equal(t, pbx.EventReset, (<-events).Kind)
			require.Equal(t, pbx.ConnConnected, b.Connection().State)
			require.EqualValues(t, 1, b.metric(t, "watch_up"))
			cancel()
			<-done
			require.Equal(t, pbx.ConnConnecting, b.Connection().State)
			require.Zero(t, b.metric(t, "watch_up"))
		}
	})
}

func TestEveryResumeIsSeen(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		s.say(":\n")
		s.presence("e-1", "u1", 1)
		require.Equal(t, []string{"reset", "seen", "u1@1"}, w.got())
		_ = s.Close()
		w.stream().say(":\n")
		require.Equal(t, []string{"seen"}, w.got(), "also right after another")
	})
}

func TestOneWatchAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		w.stream()
		require.ErrorIs(t, w.Watch(context.Background(), func(pbx.Event) {}), errWatched)
	})
}

func TestConnectionStates(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		header []string
		want   string
	}{
		"401":          {401, `{"error":"unauthorised"}`, nil, "needs_person unauthorised"},
		"403":          {403, ``, nil, "needs_person forbidden"},
		"404":          {404, `<html>`, nil, "needs_person wrong_address"},
		"redirect":     {302, ``, []string{"Location", "http://elsewhere.test/"}, "needs_person redirected"},
		"no stream":    {200, `<html>`, []string{"Content-Type", "text/html"}, "needs_person not_an_event_stream"},
		"no type":      {200, `x`, nil, "needs_person not_an_event_stream"},
		"server error": {502, ``, nil, "degraded server_error"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *watched) {
				s := w.stream()
				s.say(reset, "e-0")
				require.Equal(t, "connected", w.state())
				since := w.Connection().Since
				w.pbx.set(at("/v1/events", c.status, c.body, c.header...))
				_ = s.Close()
				w.pass(2 * time.Second)
				require.Equal(t, "connected", w.state(), "a break that may be over in a moment is no news")
				require.Equal(t, since, w.Connection().Since)
				w.pass(8 * time.Second)
				require.Equal(t, c.want, w.state())
				con := w.Connection()
				require.NotEmpty(t, con.Text)
				if con.State == pbx.ConnNeedsPerson {
					require.NotEmpty(t, con.Remedy)
				}
				require.False(t, con.Since.IsZero())
				w.pbx.set(nil)
				s = w.stream()
				s.say(":\n")
				w.pass(time.Second)
				require.NotEqual(t, "connected", w.state(), "nor is one that may break in a moment")
				w.pass(5 * time.Second)
				require.Equal(t, "connected", w.state())
				require.Empty(t, w.Connection().Text)
			})
		})
	}
}

func TestConnectingUntilTheFirstAnswer(t *testing.T) {
	b := newBench(t)
	require.Equal(t, pbx.ConnConnecting, b.Connection().State)
	require.False(t, b.Connection().Since.IsZero())
	inBubble(t, func(t *testing.T, w *watched) {
		w.pass(time.Second)
		require.Equal(t, "needs_person unauthorised", w.state(), "without ever having been connected, at once")
	}, func(c *Config) { c.HTTPClient.Transport.(*fake).set(at("/v1/", 401, "")) })
}

func TestAFlickeringConnectionIsDegraded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		shown := map[string]int{}
		deadline := time.Now().Add(10 * time.Minute)
		for time.Now().Before(deadline) {
			s := w.stream()
			s.say(":\n")
			w.pass(time.Second)
			_ = s.Close()
			w.pass(100 * time.Millisecond)
			shown[w.state()]++
		}
		require.Positive(t, shown["degraded connection_lost"])
		require.Less(t, shown["connected"], 15, "not for long: the backoff grows beyond the debounce")
	}, func(c *Config) { c.Debounce = 2 * time.Second })
}
