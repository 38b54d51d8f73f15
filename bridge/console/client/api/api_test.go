package api

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAbsentMembers(t *testing.T) {
	for name, tt := range map[string]struct {
		v    any
		want string
	}{
		"no time is no member":  {PBX{Name: "main", Type: "micollab"}, `{"name":"main","type":"micollab","connected":false}`},
		"a time is in UTC":      {Override{Of: "x", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, `{"of":"x","since":"2026-01-02T03:04:05Z"}`},
		"every account":         {Scope{}, `{}`},
		"a sign-in that failed": {Authorization{ID: "1", Account: "a", UPN: "u", Method: ByLink, State: "declined", Message: "m"}, `{"id":"1","account":"a","upn":"u","method":"copy_url","state":"declined","message":"m"}`},
		"the last page":         {Members{Members: []Member{}}, `{"members":[],"next":""}`},
		"a problem":             {Problem{Type: "about:blank", Title: "T", Status: 400}, `{"type":"about:blank","title":"T","status":400}`},
	} {
		js, err := json.Marshal(tt.v)
		require.NoError(t, err)
		require.JSONEq(t, tt.want, string(js), name)
	}
}

func TestScope(t *testing.T) {
	require.Equal(t, "every account", Scope{}.String())
	require.Equal(t, "account a", Scope{Account: "a"}.String())
	require.Equal(t, "member 1 of account a", Scope{Account: "a", Member: "1"}.String())
}

func TestPending(t *testing.T) {
	require.True(t, Authorization{State: AuthorizationPending}.Pending())
	for _, s := range []string{AuthorizationDone, "declined", "expired", "something new", ""} {
		require.False(t, Authorization{State: s}.Pending(), s)
	}
	require.True(t, Job{State: JobRunning}.Running())
	for _, s := range []JobState{JobDone, JobFailed, JobStopped, "something new"} {
		require.False(t, Job{State: s}.Running(), s)
	}
}

func TestScopesOverlap(t *testing.T) {
	all, a, b, a1, a2 := Scope{}, Scope{Account: "a"}, Scope{Account: "b"}, Scope{Account: "a", Member: "1"}, Scope{Account: "a", Member: "2"}
	b1 := Scope{Account: "b", Member: "1"}
	for _, tt := range []struct {
		x, y Scope
		want bool
	}{{all, all, true}, {all, a, true}, {all, a1, true}, {a, a, true}, {a, b, false}, {a, a1, true}, {a1, a1, true}, {a1, a2, false}, {a1, b1, false}, {b, a1, false}} {
		require.Equal(t, tt.want, tt.x.Overlaps(tt.y), "%v and %v", tt.x, tt.y)
		require.Equal(t, tt.want, tt.y.Overlaps(tt.x), "%v and %v", tt.y, tt.x)
	}
}
