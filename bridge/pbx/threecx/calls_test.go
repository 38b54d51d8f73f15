package threecx

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

func TestCallBook(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	b := newCallBook(2 * time.Second)
	require.Equal(t, presence.LineUnknown, b.line("101", now), "nothing was read yet")
	b.replace([]wireDN{{DN: "101"}, {DN: "102", Participants: []wireLeg{{ID: 1, Status: "Ringing"}}}}, now)
	require.Equal(t, presence.LineIdle, b.line("101", now))
	require.Equal(t, presence.LineRinging, b.line("102", now))

	b.set("102", wireLeg{ID: 1, Status: "Connected"}, now)
	b.set("102", wireLeg{ID: 2, Status: "Ringing"}, now)
	require.Equal(t, presence.LineInCall, b.line("102", now), "a call waits during another")
	b.gone("102", 1, now)
	require.Equal(t, presence.LineInCall, b.line("102", now.Add(1999*time.Millisecond)))
	require.Equal(t, presence.LineRinging, b.line("102", now.Add(2*time.Second)))
	require.Equal(t, now.Add(2*time.Second), b.next(now))

	now = now.Add(time.Minute)
	b.replace([]wireDN{{DN: "101", Participants: []wireLeg{{ID: 9, Status: "Dialing"}}}}, now)
	require.Equal(t, presence.LineInCall, b.line("101", now))
	require.Equal(t, presence.LineUnknown, b.line("102", now), "who is on the list no more is not idle")
	require.Equal(t, 1, b.monitored([]string{"101", "102", "103"}))

	line, differs := b.view("101", &wireDN{DN: "101"}, now)
	require.Equal(t, presence.LineIdle, line)
	require.True(t, differs)
	line, differs = b.view("101", &wireDN{DN: "101", Participants: []wireLeg{{ID: 9, Status: "Connected"}}}, now)
	require.Equal(t, presence.LineInCall, line)
	require.False(t, differs)
	_, differs = b.view("103", nil, now)
	require.False(t, differs)
	_, differs = b.view("101", nil, now)
	require.True(t, differs, "it may be monitored no more")
}

// A participant's age counts from when it began to ring, whatever is read meanwhile.
func TestStaleAgeIsNotRefreshed(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	b := newCallBook(0)
	dns := []wireDN{{DN: "101", Participants: []wireLeg{{ID: 1, Status: "Ringing"}}}}
	for range 4 {
		b.replace(dns, now)
		require.Equal(t, presence.LineRinging, b.line("101", now))
		now = now.Add(45 * time.Second)
	}
	b.replace(dns, now)
	require.Equal(t, presence.LineIdle, b.line("101", now))
	line, differs := b.view("101", &dns[0], now)
	require.Equal(t, presence.LineIdle, line)
	require.False(t, differs)
}

// More than can wait to be read is not remembered one by one.
func TestInboxIsBounded(t *testing.T) {
	b := newInbox(quiet(t))
	for i := range 3 * maxDirty {
		b.put(fmt.Appendf(nil, `{"sequence":%d,"event":{"event_type":0,"entity":"/callcontrol/%d/participants/%d"}}`, i+1, i%1000, i+1))
	}
	_, lost := b.told()
	require.True(t, lost, "every call is read instead")
	require.LessOrEqual(t, b.count, maxDirty)
}
