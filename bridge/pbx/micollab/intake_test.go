package micollab

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
)

// FuzzWatch: whatever a PBX says on its event stream, the watch goes on to the end, begins with a reset,
// and counts on.
func FuzzWatch(f *testing.F) {
	f.Add("id: e-0\nevent: reset\ndata: {}\n\nid: e-1\nevent: presence\ndata: " + sampleEvent + "\n\n")
	f.Add(": heartbeat\n\nevent: presence\ndata: {}\n\n")
	f.Add("event: presence\ndata: " + strings.Replace(sampleEvent, "Busy", "Siesta", 1) + "\nretry: 99999999999\n\n")
	f.Fuzz(func(t *testing.T, stream string) {
		b := newBench(t)
		require.NoError(t, b.ensureStatuses(context.Background()))
		var events []pbx.Event
		w := &watch{c: b.Client, deliver: func(e pbx.Event) { events = append(events, e) }}
		fr := newFrameReader(strings.NewReader(stream))
		for {
			fm, err := fr.next()
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
			w.handle(context.Background(), fm)
		}
		for i, e := range events {
			switch {
			case i == 0:
				require.Equal(t, pbx.EventReset, e.Kind)
			case e.Kind == pbx.EventState:
				require.NotEmpty(t, e.User)
				require.NotEmpty(t, e.State.Status.Name)
				require.NotEmpty(t, e.State.Status.Kind)
			}
			require.EqualValues(t, i+1, e.Seq)
		}
		require.LessOrEqual(t, w.retry, b.cfg.BackoffMax)
	})
}

// FuzzListing: whatever a page holds, reading it ends, and everybody in it has an id and is there once.
func FuzzListing(f *testing.F) {
	f.Add(`{"users":[` + userJSON("a", 1) + `,` + userJSON("a", 2) + `,{"id":"b"}],"next":""}`)
	f.Add(`{"users":[null,7,{"id":7}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		var page wirePage
		if json.Unmarshal([]byte(body), &page) != nil || page.Users == nil {
			return
		}
		b := newBench(t)
		require.NoError(t, b.ensureStatuses(context.Background()))
		l := listing{index: map[string]int{}, book: map[string]seen{}, marks: map[string]bool{}}
		b.take(context.Background(), &l, page)
		taken := map[string]bool{}
		for _, u := range l.users {
			require.NotEmpty(t, u.ID)
			require.False(t, taken[u.ID])
			taken[u.ID] = true
		}
		require.Len(t, l.book, len(l.users))
		require.LessOrEqual(t, len(l.users)+l.bad, 2*len(*page.Users))
	})
}

// FuzzAnswers: whatever a PBX answers, the error is a typed one or the state is whole.
func FuzzAnswers(f *testing.F) {
	f.Add(200, presenceJSON(1), "")
	f.Add(429, "{}", "7")
	f.Add(599, "\xff", "Wed, 25 Nov 2026 08:00:30 GMT")
	f.Fuzz(func(t *testing.T, status int, body, after string) {
		if status < 200 || status > 999 || body == "" || strings.ContainsAny(after, "\r\n\x00") {
			return
		}
		b := newBench(t)
		b.pbx.set(at("/v1/users/", status, body, "Retry-After", after))
		st, err := b.Apply(context.Background(), "u1", busy)
		if err != nil {
			var pe *pbx.Error
			require.ErrorAs(t, err, &pe)
			require.GreaterOrEqual(t, pe.RetryAfter.Nanoseconds(), int64(0))
			require.NotEmpty(t, explain(err).Code)
			return
		}
		require.Equal(t, 200, status)
		require.NotEmpty(t, st.Status.Name)
	})
}

// Logs above debug hold no token, address of a person, status or message.
func TestLogsKeepSecrets(t *testing.T) {
	inBubble(t, func(t *testing.T, w *watched) {
		s := w.stream()
		s.say(`event: presence` + "\n" + `data: {"user":"anna@contoso.example","presence":{"status":"Divorce lawyer","message":"at three","version":2,"changed_by":"user"}}` + "\n\n")
		s.say(`event: presence` + "\n" + `data: {"user":"anna@contoso.example","presence":{"status":"Divorce lawyer","version":"x"}}` + "\n\n")
		w.got()
		message := "at three"
		for _, status := range []int{401, 403, 404, 412, 422, 500} {
			w.pbx.set(at("/v1/users", status, `{"error":"anna@contoso.example s3cret"}`))
			_, err := w.Apply(context.Background(), "anna@contoso.example", pbx.Write{Status: busy.Status, Message: &message})
			w.cfg.Log.Warn("as the engine would log it", "error", err)
			_, err = w.Snapshot(context.Background())
			w.cfg.Log.Warn("as the engine would log it", "error", err)
		}
		w.pbx.set(at("/v1/events", 401, ""))
		_ = s.Close()
		w.pass(10 * time.Second)
		w.got()
		require.NotEmpty(t, w.Connection().Text)
		logged := w.log.String()
		require.Contains(t, logged, "an event of the pbx cannot be read")
		for _, secret := range []string{"s3cret", "anna", "Divorce", "at three", "Busy"} {
			require.NotContains(t, logged, secret)
		}
	})
}
