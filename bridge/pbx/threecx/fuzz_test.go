package threecx

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

func quiet(t testing.TB) *Client {
	t.Helper()
	return at(t, func(*http.Request) (int, string) { return http.StatusNotFound, "" })
}

// Whatever a frame holds, the inbox takes it, stays bounded, and asks for nothing outside of Call Control.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{
		`{"sequence":1,"event":{"event_type":0,"entity":"/callcontrol/150/participants/8107","attached_data":null}}`,
		`{"sequence":2,"event":{"event_type":1,"entity":"/callcontrol/150/participants/8107","attached_data":null}}`,
		`{"sequence":9,"event":{"event_type":0,"entity":"/callcontrol/150/participants/8107","attached_data":{"id":8107,"status":"Ringing"}}}`,
		`{"sequence":-1,"event":{"event_type":7,"entity":"/callcontrol/../participants/1"}}`, `{"event":{}}`, `[]`, `null`, ``, `{"sequence":1e99}`,
	} {
		f.Add([]byte(s), []byte(s))
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		b := newInbox(quiet(t))
		for range 3 {
			b.put(one)
			b.put(two)
		}
		frames, _ := b.told()
		require.LessOrEqual(t, len(frames), 6)
		for _, fr := range frames {
			require.True(t, isDN(fr.dn) && fr.leg > 0)
			require.True(t, fr.kind == eventRemove || fr.attached != nil)
		}
		for n := 0; ; n++ {
			dn, legs, ok := b.next(nil)
			if !ok {
				break
			}
			require.Less(t, n, 3)
			require.True(t, isDN(dn))
			require.NotEmpty(t, legs)
			require.NotContains(t, fmt.Sprintf("/callcontrol/%s/participants/%d", dn, legs[0]), "..")
		}
		require.Zero(t, b.count)
	})
}

// Whatever a list holds, users have an id and a number, and the ids stand for all of them.
func FuzzUsers(f *testing.F) {
	f.Add([]byte(`{"value":[{"Id":1,"Number":"101","CurrentProfileName":"Away","IsRegistered":true,"ForwardingProfiles":[{"Id":5,"Name":"Away","CustomMessage":"x"}]}],"@odata.count":1}`))
	f.Add([]byte(`{"value":[null,7,{"Id":-1},{"Id":1,"Number":""}],"@odata.count":-5}`))
	f.Add([]byte(`{"value":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		page, err := decodePage(text)
		if err != nil {
			return
		}
		require.Len(t, page.ids, len(page.users)+page.bad)
		for _, u := range page.users {
			require.Positive(t, u.ID)
			require.NotEmpty(t, u.Number)
			st := u.state(presence.LineIdle)
			require.True(t, st.Line == presence.LineIdle || st.Line == presence.LineOffline)
			require.Equal(t, u.CurrentProfileName == "", st.Status.IsZero())
			require.NotEqual(t, presence.KindOut, st.Status.Kind)
		}
	})
}

// Whatever a list of calls holds, lines are made of it, and end by themselves.
func FuzzCalls(f *testing.F) {
	f.Add([]byte(`[{"dn":"101","type":"Wextension","participants":[{"id":1,"status":"Ringing"},{"id":2,"status":"Connected"}]}]`))
	f.Add([]byte(`[{"dn":"","participants":null},null,{"participants":[{}]}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dns, err := decodeCalls(text)
		if err != nil {
			return
		}
		now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
		b := newCallBook(2 * time.Second)
		b.replace(dns, now)
		b.replace(dns, now.Add(time.Second))
		for _, d := range dns {
			require.NotEqual(t, presence.LineUnknown, b.line(d.DN, now))
			for n := 0; ; n++ { // every line is idle after some steps of its own
				require.Less(t, n, 10)
				next := b.next(now)
				if next.IsZero() {
					break
				}
				now = next
			}
			require.Equal(t, presence.LineIdle, b.line(d.DN, now))
		}
	})
}
