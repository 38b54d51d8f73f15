package teams_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"presencebridge/bridge/presence"
	"presencebridge/bridge/teams"
	"presencebridge/graph"
)

// engine's side of the contract.
var _ interface {
	Set(ctx context.Context, member string, p presence.Pair, lease time.Duration, renewal bool) error
	Clear(ctx context.Context, member string) error
	Read(ctx context.Context, members []string) (map[string]presence.Shown, error)
} = (*teams.Teams)(nil)

var _ teams.Graph = (*graph.Client)(nil)

// fakeGraph remembers what it was asked.
type fakeGraph struct {
	mu       sync.Mutex
	calls    []call
	sizes    []int
	shown    map[string]presence.Pair // by id in lower case
	messages map[string]string
	fail     func(ids []string) error
	busy     int
	mostBusy int
}

type call struct {
	op       string
	user     string
	pair     presence.Pair
	lease    time.Duration
	priority graph.Priority
	until    time.Time
}

func (f *fakeGraph) SetPresence(ctx context.Context, user string, p presence.Pair, lease time.Duration) error {
	f.calls = append(f.calls, call{"set", user, p, lease, graph.PriorityOf(ctx), time.Time{}})
	return f.failure(nil)
}

func (f *fakeGraph) ClearPresence(ctx context.Context, user string) error {
	f.calls = append(f.calls, call{"clear", user, presence.Pair{}, 0, graph.PriorityOf(ctx), time.Time{}})
	return f.failure(nil)
}

func (f *fakeGraph) SetPreferredPresence(_ context.Context, user string, p presence.Pair, d time.Duration) error {
	f.calls = append(f.calls, call{op: "prefer", user: user, pair: p, lease: d})
	return f.failure(nil)
}

func (f *fakeGraph) ClearPreferredPresence(_ context.Context, user string) error {
	f.calls = append(f.calls, call{op: "clear preferred", user: user})
	return f.failure(nil)
}

func (f *fakeGraph) SetStatusMessage(_ context.Context, user, text string, until time.Time) error {
	f.calls = append(f.calls, call{op: "message " + text, user: user, until: until})
	return f.failure(nil)
}

func (f *fakeGraph) Presences(ctx context.Context, ids []string) ([]graph.Presence, error) {
	f.mu.Lock()
	f.calls = append(f.calls, call{op: "read", priority: graph.PriorityOf(ctx)})
	f.sizes = append(f.sizes, len(ids))
	f.busy++
	f.mostBusy = max(f.mostBusy, f.busy)
	defer func() {
		f.mu.Lock()
		f.busy--
		f.mu.Unlock()
	}()
	f.mu.Unlock()
	if err := f.failure(ids); err != nil {
		return nil, err
	}
	var list []graph.Presence
	for _, id := range ids {
		if p, ok := f.shown[strings.ToLower(id)]; ok {
			list = append(list, graph.Presence{UserID: strings.ToLower(id), Pair: p, StatusMessage: f.messages[strings.ToLower(id)]})
		}
	}
	return list, nil
}

func (f *fakeGraph) failure(ids []string) error {
	if f.fail == nil {
		return nil
	}
	return f.fail(ids)
}

func newTeams(t testing.TB, f *fakeGraph) *teams.Teams {
	tm, err := teams.New(teams.Config{Graph: f})
	require.NoError(t, err)
	return tm
}

var busyInACall = presence.Pair{Availability: presence.Busy, Activity: presence.InACall}

func TestGraphIsRequired(t *testing.T) {
	_, err := teams.New(teams.Config{})
	require.ErrorContains(t, err, "Graph")
}

func TestWritesCarryTheirPriority(t *testing.T) {
	f := &fakeGraph{}
	tm := newTeams(t, f)
	require.NoError(t, tm.Set(t.Context(), "a", busyInACall, 5*time.Minute, false))
	require.NoError(t, tm.Set(t.Context(), "a", presence.Pair{Availability: "busy", Activity: "inacall"}, 30*time.Minute, true))
	require.NoError(t, tm.Clear(t.Context(), "a"))
	require.Equal(t, []call{
		{"set", "a", busyInACall, 5 * time.Minute, graph.PriorityNormal, time.Time{}},
		{"set", "a", busyInACall, 30 * time.Minute, graph.PriorityRenew, time.Time{}},
		{"clear", "a", presence.Pair{}, 0, graph.PriorityNormal, time.Time{}},
	}, f.calls)
}

// A renewal's context must not make a first set a renewal.
func TestSetDoesNotInheritARenewal(t *testing.T) {
	f := &fakeGraph{}
	ctx := graph.WithPriority(t.Context(), graph.PriorityRenew)
	require.NoError(t, newTeams(t, f).Set(ctx, "a", busyInACall, time.Hour, false))
	require.Equal(t, graph.PriorityNormal, f.calls[0].priority)
}

func TestOnlyFivePairsCanBeSet(t *testing.T) {
	want := []string{"Available/Available", "Busy/InACall", "Busy/InAConferenceCall", "Away/Away", "DoNotDisturb/Presenting"}
	words := []string{"Available", "Away", "BeRightBack", "Busy", "DoNotDisturb", "Offline", "OffWork", "InACall", "InAConferenceCall", "InAMeeting",
		"Presenting", "OutOfOffice", "Focusing", "PresenceUnknown", "", "Nonsense"}
	f := &fakeGraph{}
	tm := newTeams(t, f)
	var settable []string
	for _, availability := range words {
		for _, activity := range words {
			p := presence.Pair{Availability: availability, Activity: activity}
			err := tm.Set(t.Context(), "a", p, time.Hour, false)
			if teams.Settable(p) {
				require.NoError(t, err)
				settable = append(settable, p.String())
				continue
			}
			var refused *teams.NotSettableError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, p, refused.Pair)
			require.False(t, refused.Retry())
			require.Contains(t, err.Error(), "Busy/InACall")
		}
	}
	require.ElementsMatch(t, want, settable)
	require.Len(t, f.calls, 5, "a refused pair is not sent")
	require.True(t, teams.Settable(presence.ParsePairString("donotdisturb/PRESENTING")))
	require.Len(t, teams.SettablePairs(), 5)
}

func TestErrorsComeThrough(t *testing.T) {
	f := &fakeGraph{fail: func([]string) error { return &graph.Error{Kind: graph.Transient, Unanswered: true} }}
	tm := newTeams(t, f)
	for _, err := range []error{tm.Set(t.Context(), "a", busyInACall, time.Hour, false), tm.Clear(t.Context(), "a")} {
		var e *graph.Error
		require.ErrorAs(t, err, &e)
		require.True(t, e.Unanswered)
	}
}

func TestReadInPages(t *testing.T) {
	f := &fakeGraph{shown: map[string]presence.Pair{}}
	var members []string
	for i := range 2001 {
		id := fmt.Sprintf("user-%d", i)
		members = append(members, id)
		f.shown[id] = busyInACall
	}
	got, err := newTeams(t, f).Read(t.Context(), members)
	require.NoError(t, err)
	require.Len(t, got, 2001)
	for id, shown := range got {
		require.Equal(t, f.shown[id], shown.Pair, id)
	}
	slices.Sort(f.sizes)
	require.Equal(t, []int{51, 650, 650, 650}, f.sizes)
	require.Equal(t, graph.PriorityConfirm, f.calls[0].priority)

	_, err = newTeams(t, f).Read(graph.WithPriority(t.Context(), graph.PrioritySweep), members[:1])
	require.NoError(t, err)
	require.Equal(t, graph.PrioritySweep, f.calls[len(f.calls)-1].priority, "a caller's own priority stands")
}

func TestReadOfNobody(t *testing.T) {
	f := &fakeGraph{}
	got, err := newTeams(t, f).Read(t.Context(), []string{""})
	require.NoError(t, err)
	require.Empty(t, got)
	require.Empty(t, f.calls)
}

func TestPageThatFailsCostsItsOwnMembers(t *testing.T) {
	boom := &graph.Error{Kind: graph.Transient}
	f := &fakeGraph{shown: map[string]presence.Pair{}, fail: func(ids []string) error {
		if slices.Contains(ids, "user-700") {
			return boom
		}
		return nil
	}}
	var members []string
	for i := range 1400 {
		id := fmt.Sprintf("user-%d", i)
		members = append(members, id)
		f.shown[id] = busyInACall
	}
	got, err := newTeams(t, f).Read(t.Context(), members)
	require.ErrorIs(t, err, boom)
	require.Len(t, got, 750)
	require.NotContains(t, got, "user-700")
}

// Whatever is asked for, however it is spelt and however often: each page is within bounds, nobody is asked for
// twice, and what is known comes back under the name that was asked for.
func TestReadProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		f := &fakeGraph{shown: map[string]presence.Pair{}}
		n := rapid.IntRange(0, 1500).Draw(r, "n")
		want := map[string]presence.Shown{}
		distinct := map[string]bool{}
		var members []string
		for i := range n {
			id := fmt.Sprintf("u%d", i%rapid.IntRange(1, 1500).Draw(r, "mod"))
			if i%3 == 0 {
				id = strings.ToUpper(id)
			}
			members = append(members, id)
			distinct[strings.ToLower(id)] = true
			if len(id)%2 == 0 {
				f.shown[strings.ToLower(id)] = busyInACall
				want[id] = presence.Shown{Pair: busyInACall}
			}
		}
		tm, _ := teams.New(teams.Config{Graph: f, Parallel: 2})
		got, err := tm.Read(context.Background(), members)
		if err != nil || !maps.Equal(got, want) {
			r.Fatalf("got %d, want %d, %v", len(got), len(want), err)
		}
		sum := 0
		for _, s := range f.sizes {
			if sum += s; s < 1 || s > graph.MaxPresences {
				r.Fatalf("a page of %d", s)
			}
		}
		if sum != len(distinct) || f.mostBusy > 2 {
			r.Fatalf("asked for %d of %d, %d at once", sum, len(distinct), f.mostBusy)
		}
	})
}

// ops lists what was asked of Graph.
func (f *fakeGraph) ops() []string {
	var out []string
	for _, c := range f.calls {
		out = append(out, c.op)
	}
	return out
}

func TestAMessageNeverTakesThePlaceOfThePersonsOwn(t *testing.T) {
	until := time.Now().Add(5 * time.Minute)
	for name, tt := range map[string]struct {
		shows, text string
		want        []string
	}{
		"where there is none":         {"", "on the phone", []string{"read", "message on the phone"}},
		"over ours":                   {"ours", "on the phone", []string{"read", "message on the phone"}},
		"prolonged":                   {"on the phone", "on the phone", []string{"read", "message on the phone"}},
		"the person's own stays":      {"lunch", "on the phone", []string{"read"}},
		"ours is taken away":          {"ours", "", []string{"read", "message "}},
		"the person's own is not":     {"lunch", "", []string{"read"}},
		"nothing to take away":        {"", "", []string{"read"}},
		"one before the last is ours": {"older", "", []string{"read", "message "}},
	} {
		f := &fakeGraph{shown: map[string]presence.Pair{"a": busyInACall}, messages: map[string]string{"a": tt.shows}}
		require.NoError(t, newTeams(t, f).SetMessage(t.Context(), "a", tt.text, []string{"older", "ours"}, until), name)
		require.Equal(t, tt.want, f.ops(), name)
		if tt.text != "" && len(f.calls) == 2 {
			require.Equal(t, until, f.calls[1].until, name)
		}
	}
	f := &fakeGraph{}
	require.Error(t, newTeams(t, f).SetMessage(t.Context(), "a", "x", nil, until), "nobody knows what shows")
	require.Equal(t, []string{"read"}, f.ops())
	f = &fakeGraph{fail: func([]string) error { return &graph.Error{Kind: graph.Transient} }}
	require.Error(t, newTeams(t, f).SetMessage(t.Context(), "a", "x", nil, until))
	require.Equal(t, []string{"read"}, f.ops())
}

func TestAPreferredPresenceIsClearedOnlyIfItIsStillOurs(t *testing.T) {
	dnd := presence.ParsePairString("DoNotDisturb")
	for name, tt := range map[string]struct {
		shows presence.Pair
		want  []string
	}{
		"ours":                {dnd, []string{"read", "clear preferred"}},
		"offline":             {presence.ParsePairString("Offline"), []string{"read", "clear preferred"}},
		"the person's choice": {presence.ParsePairString("BeRightBack"), []string{"read"}},
	} {
		f := &fakeGraph{shown: map[string]presence.Pair{"a": tt.shows}}
		require.NoError(t, newTeams(t, f).ClearPreferred(t.Context(), "a", dnd), name)
		require.Equal(t, tt.want, f.ops(), name)
	}
	f := &fakeGraph{}
	require.Error(t, newTeams(t, f).ClearPreferred(t.Context(), "a", dnd), "unread, it stays")
	require.NoError(t, newTeams(t, f).SetPreferred(t.Context(), "a", dnd, 8*time.Hour))
	require.Equal(t, 8*time.Hour, f.calls[len(f.calls)-1].lease)
}

// Reads go where the configuration says, writes to the application whose session it is.
func TestReadsBesideWrites(t *testing.T) {
	writes, reads := &fakeGraph{}, &fakeGraph{shown: map[string]presence.Pair{"a": {Availability: presence.Busy, Activity: presence.InACall}}}
	tm, err := teams.New(teams.Config{Graph: writes, Reads: reads})
	require.NoError(t, err)
	shown, err := tm.Read(t.Context(), []string{"a"})
	require.NoError(t, err)
	require.Equal(t, presence.InACall, shown["a"].Pair.Activity)
	require.NoError(t, tm.Set(t.Context(), "a", presence.Pair{Availability: presence.Busy, Activity: presence.InACall}, time.Minute, false))
	require.NoError(t, tm.Clear(t.Context(), "a"))
	require.Equal(t, []string{"read"}, ops(reads))
	require.Equal(t, []string{"set", "clear"}, ops(writes))
	require.Equal(t, graph.PriorityConfirm, reads.calls[0].priority)
}

func ops(f *fakeGraph) (out []string) {
	for _, c := range f.calls {
		out = append(out, c.op)
	}
	return out
}
