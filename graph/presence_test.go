package graph

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kjson "github.com/microsoft/kiota-serialization-json-go"
	"github.com/microsoftgraph/msgraph-sdk-go/communications"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

func TestPresenceIsRead(t *testing.T) {
	tn := newTenant(t)
	tn.graph = inTurn(
		status(200, `{"@odata.context":"x","id":"`+testUser+`","availability":"Available","activity":"Available",
			"outOfOfficeSettings":{"message":null,"isOutOfOffice":true},
			"statusMessage":{"message":{"content":"Hey I am available now","contentType":"text"}},"sequenceNumber":"A0129311063"}`),
		status(200, `{"availability":"doNotDisturb","activity":"URGENTINTERRUPTIONSONLY"}`),
		status(404, graphError("NotFound", "User not found")),
		status(200, `[]`),
	)
	c := tn.client()
	p, err := c.Presence(t.Context(), testUser)
	require.NoError(t, err)
	yes := true
	require.Equal(t, Presence{UserID: testUser, Pair: presence.Pair{Availability: "Available", Activity: "Available"}, OutOfOffice: &yes,
		Sequence: "A0129311063", StatusMessage: "Hey I am available now"}, p)
	require.Equal(t, "GET /v1.0/users/"+testUser+"/presence", tn.requests[0].Method+" "+tn.requests[0].URL.Path)
	require.Equal(t, "Bearer token-1", tn.requests[0].Header.Get("Authorization"))
	require.NotEmpty(t, tn.requests[0].Header.Get("client-request-id"))

	p, err = c.Presence(t.Context(), testUser)
	require.NoError(t, err)
	require.Equal(t, Presence{UserID: testUser, Pair: presence.Pair{Availability: presence.DoNotDisturb, Activity: presence.UrgentInterruptionsOnly}}, p)
	_, err = c.Presence(t.Context(), testUser)
	requireKind(t, err, Gone)
	_, err = c.Presence(t.Context(), testUser)
	require.Equal(t, "answer_unreadable", requireKind(t, err, Transient).Code)
	_, err = c.Presence(t.Context(), "")
	requireKind(t, err, Refused)
}

func TestPresencesAreRead(t *testing.T) {
	tn := newTenant(t)
	tn.graph = func(w http.ResponseWriter, r *seen) {
		var body struct {
			IDs []string `json:"ids"`
		}
		_ = json.Unmarshal([]byte(r.body), &body)
		reply(w, 200, string(presencesBody(len(body.IDs))))
	}
	c := tn.client()
	list, err := c.Presences(t.Context(), ids(650))
	require.NoError(t, err)
	require.Len(t, list, 650)
	require.Equal(t, ids(650)[649], list[649].UserID)
	require.Equal(t, "POST /v1.0/communications/getPresencesByUserId", tn.requests[0].Method+" "+tn.requests[0].URL.Path)
	require.Equal(t, "application/json", tn.requests[0].Header.Get("Content-Type"))
	_, err = c.Presences(t.Context(), ids(651))
	require.ErrorContains(t, requireKind(t, err, Refused), "650")
	list, err = c.Presences(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, list)
	require.Equal(t, 1, tn.requestCount())
}

// Users of whom Graph will not hear cost themselves, not the others.
func TestUserThatGraphRefusesIsLeftOut(t *testing.T) {
	for name, c := range map[string]struct {
		bad  []int // who is refused
		code int
		n    int // how many are asked for
		want int // how many are read; 0: the refusal is returned
		most int // requests
	}{
		"one":     {[]int{417}, 400, 650, 649, 22},
		"three":   {[]int{0, 300, 649}, 404, 650, 647, 60},
		"both":    {[]int{0, 1}, 400, 2, 0, 3},
		"of two":  {[]int{1}, 404, 2, 1, 3},
		"alone":   {[]int{0}, 404, 1, 0, 1},
		"all":     {nil, 400, 650, 0, 60},
		"refused": {[]int{3}, 403, 650, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			tn := virtual(t)
			bad := map[string]bool{}
			for i, id := range ids(c.n) {
				bad[id] = c.bad == nil || slices.Contains(c.bad, i)
			}
			tn.graph = func(w http.ResponseWriter, r *seen) {
				var body struct {
					IDs []string `json:"ids"`
				}
				require.NoError(t, json.Unmarshal([]byte(r.body), &body))
				var b strings.Builder
				for i, id := range body.IDs {
					if bad[id] {
						reply(w, c.code, graphError("BadRequest", "one of them"))
						return
					}
					if i > 0 {
						b.WriteByte(',')
					}
					fmt.Fprintf(&b, `{"id":"%s","availability":"Busy","activity":"Busy"}`, id)
				}
				reply(w, 200, `{"value":[`+b.String()+`]}`)
			}
			list, err := tn.client(tn.onVirtual).Presences(t.Context(), ids(c.n))
			require.LessOrEqual(t, tn.requestCount(), c.most)
			if c.want == 0 {
				require.Error(t, err)
				require.Empty(t, list)
				return
			}
			require.NoError(t, err)
			require.Len(t, list, c.want)
			for _, p := range list {
				require.False(t, bad[p.UserID])
			}
		})
	}
}

func TestWritesOfPresence(t *testing.T) {
	tn := newTenant(t)
	tn.graph = inTurn(status(200, ""))
	c := tn.client()
	ctx := t.Context()
	until := time.Date(2026, 11, 25, 17, 5, 33, 207978100, time.FixedZone("", 3600))
	require.NoError(t, c.SetPresence(ctx, testUser, inACall, 5*time.Minute))
	require.NoError(t, c.SetPresence(ctx, testUser, inACall, 90*time.Minute+time.Millisecond))
	require.NoError(t, c.ClearPresence(ctx, testUser))
	require.NoError(t, c.SetPreferredPresence(ctx, testUser, presence.ParsePairString("DoNotDisturb"), 24*time.Hour))
	require.NoError(t, c.SetPreferredPresence(ctx, testUser, presence.ParsePairString("Away"), 7*24*time.Hour))
	require.NoError(t, c.SetPreferredPresence(ctx, testUser, presence.ParsePairString("Away"), 0))
	require.NoError(t, c.ClearPreferredPresence(ctx, testUser))
	require.NoError(t, c.SetStatusMessage(ctx, testUser, "back soon", until))
	require.NoError(t, c.SetStatusMessage(ctx, testUser, "", time.Time{}))
	want := []struct{ path, body string }{
		{"setPresence", `{"sessionId":"` + testClient + `","availability":"Busy","activity":"InACall","expirationDuration":"PT5M"}`},
		{"setPresence", `{"sessionId":"` + testClient + `","availability":"Busy","activity":"InACall","expirationDuration":"PT1H30M1S"}`},
		{"clearPresence", `{"sessionId":"` + testClient + `"}`},
		{"setUserPreferredPresence", `{"availability":"DoNotDisturb","activity":"DoNotDisturb","expirationDuration":"P1D"}`},
		{"setUserPreferredPresence", `{"availability":"Away","activity":"Away","expirationDuration":"P7D"}`},
		{"setUserPreferredPresence", `{"availability":"Away","activity":"Away"}`},
		{"clearUserPreferredPresence", ``},
		{"setStatusMessage", `{"statusMessage":{"message":{"content":"back soon","contentType":"text"},"expiryDateTime":{"dateTime":"2026-11-25T16:05:33.2079781","timeZone":"UTC"}}}`},
		{"setStatusMessage", `{"statusMessage":{"message":{"content":"","contentType":"text"}}}`},
	}
	for i, w := range want {
		r := tn.requests[i]
		require.Equal(t, "POST /v1.0/users/"+testUser+"/presence/"+w.path, r.Method+" "+r.URL.Path)
		if w.body == "" {
			require.Empty(t, r.body)
			continue
		}
		require.JSONEq(t, w.body, r.body)
	}
	for _, lease := range []time.Duration{0, 5*time.Minute - 1, 4*time.Hour + 1} {
		require.ErrorContains(t, requireKind(t, c.SetPresence(ctx, testUser, inACall, lease), Refused), "lease")
	}
	requireKind(t, c.SetPreferredPresence(ctx, testUser, inACall, -1), Refused)
	requireKind(t, c.SetStatusMessage(ctx, "", "x", time.Time{}), Refused)
	requireKind(t, c.ClearPresence(ctx, ""), Refused)
	requireKind(t, c.ClearPreferredPresence(ctx, ""), Refused)
	require.Equal(t, len(want), tn.requestCount())
}

func TestUserIDsAreEscaped(t *testing.T) {
	tn := newTenant(t)
	tn.graph = inTurn(status(200, ""))
	require.NoError(t, tn.client().ClearPresence(t.Context(), "../me?x=/y"))
	require.Equal(t, "/v1.0/users/..%2Fme%3Fx%3D%2Fy/presence/clearPresence", tn.requests[0].URL.EscapedPath())
}

func TestPriorities(t *testing.T) {
	ctx := t.Context()
	require.Equal(t, PriorityNormal, PriorityOf(ctx))
	require.Equal(t, laneNormal, readLane(ctx))
	require.Equal(t, laneConfirm, readLane(WithPriority(ctx, PriorityConfirm)))
	require.Equal(t, laneSweep, readLane(WithPriority(ctx, PrioritySweep)))
	require.Equal(t, laneSet, setLane(ctx))
	require.Equal(t, laneRenew, setLane(WithPriority(ctx, PriorityRenew)))
}

// usersTenant lists n users in pages.
func usersTenant(t *testing.T, n, page int) *tenant {
	tn := newTenant(t)
	tn.graph = func(w http.ResponseWriter, r *seen) {
		from := 0
		_, _ = fmt.Sscanf(r.URL.Query().Get("$skiptoken"), "p%d", &from)
		var b strings.Builder
		b.WriteString(`{"value":[`)
		for i := from; i < min(from+page, n); i++ {
			if i > from {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"id":"%d","userPrincipalName":"u%d@contoso.com","mail":null,"displayName":"U","accountEnabled":%t,"userType":"Member","businessPhones":["+49 1"],"mobilePhone":null}`, i, i, i%2 == 0)
		}
		b.WriteString(`]`)
		if from+page < n {
			fmt.Fprintf(&b, `,"@odata.nextLink":"%s/v1.0/users?$select=id&$skiptoken=p%d"`, tn.graphURL, from+page)
		}
		b.WriteString(`}`)
		reply(w, 200, b.String())
	}
	return tn
}

func TestUsersAreListed(t *testing.T) {
	tn := usersTenant(t, 25, 10)
	c := tn.client()
	var list []User
	require.NoError(t, c.Users(t.Context(), func(u User) error { list = append(list, u); return nil }))
	require.Len(t, list, 25)
	require.Equal(t, User{ID: "24", UPN: "u24@contoso.com", DisplayName: "U", Enabled: true, UserType: "Member", BusinessPhones: []string{"+49 1"}}, list[24])
	require.False(t, list[1].Enabled)
	require.Equal(t, 3, tn.requestCount())
	q := tn.requests[0].URL.Query()
	require.Equal(t, "id,userPrincipalName,mail,displayName,accountEnabled,userType,businessPhones,mobilePhone,proxyAddresses", q.Get("$select"))
	require.Equal(t, "999", q.Get("$top"))
	require.Equal(t, "p20", tn.requests[2].URL.Query().Get("$skiptoken"))

	stop := fmt.Errorf("enough")
	n := 0
	require.Equal(t, stop, c.Users(t.Context(), func(User) error {
		if n++; n == 12 {
			return stop
		}
		return nil
	}))
	require.Equal(t, 5, tn.requestCount())
}

func TestUsersWithGaps(t *testing.T) {
	tn := newTenant(t)
	tn.graph = inTurn(status(200, `{"value":[{"id":"1"},{"id":null},{"id":"2","mail":5,"accountEnabled":false}]}`), status(200, `{"value":5}`))
	c := tn.client()
	var list []User
	require.NoError(t, c.Users(t.Context(), func(u User) error { list = append(list, u); return nil }))
	require.Equal(t, []User{{ID: "1", Enabled: true}, {ID: "2"}}, list)
	requireKind(t, c.Users(t.Context(), func(User) error { return nil }), Transient)
}

func TestDecoderTolerates(t *testing.T) {
	list, err := decodePresences([]byte(`{"VALUE":[
		{"id":"a","availability":"busy","activity":"inacall","unknown":{"deep":[1,2,{"x":null}]}},
		{"id":"b","availability":5,"activity":"Away"},
		{"id":"c","availability":"SomethingNew","activity":"EvenNewer","outOfOfficeSettings":null,"statusMessage":null},
		{"availability":"Busy"}, null, 7, {"id":7},
		{"id":"d","statusMessage":{"message":null},"outOfOfficeSettings":{"isOutOfOffice":null},"sequenceNumber":12},
		{"id":"e","statusMessage":"x","outOfOfficeSettings":[]}
	],"@odata.nextLink":null}`), 0)
	require.NoError(t, err)
	require.Equal(t, []Presence{
		{UserID: "a", Pair: presence.Pair{Availability: "Busy", Activity: "InACall"}},
		{UserID: "b", Pair: presence.Pair{Activity: "Away"}},
		{UserID: "c", Pair: presence.Pair{Availability: "SomethingNew", Activity: "EvenNewer"}},
		{UserID: "d"}, {UserID: "e"},
	}, list)
	for _, bad := range []string{``, `{`, `[]`, `5`, `{}`, `{"value":5}`, `{"value":{}}`, `{"value":null}`, `{"value":[}`, `{"value":[]}x`, `null x`, `{"value":[],}`,
		`{"value":[{"id":"a"},]}`, `{"value":[{"id":"a",}]}`, `{"value":[{"id":"a" "b":1}]}`, `{"value":[{"id":01}]}`, `{"value":[{"id":"\x"}]}`,
		`{"value":[{"id":tru}]}`, `{"value":[{"id":"a
b"}]}`, `{"value":[{"x":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}]}`, `{"value":[{"id":"a`} {
		_, err := decodePresences([]byte(bad), 0)
		require.Error(t, err, bad)
		_, err = decodePresence([]byte(`{"id":"x","y":` + bad + `,}`))
		require.Error(t, err, bad)
	}
	list, err = decodePresences([]byte(` {"value" : [ ] , "x" : -1.5e+3 } `), 0)
	require.NoError(t, err)
	require.Empty(t, list)
	list, err = decodePresences([]byte(`{"value":[{"id":"x"}],"value":[{"\u0069d":"\u00fc","ID":"ü\ud83d\ude00"}]}`), 0)
	require.NoError(t, err)
	require.Equal(t, []Presence{{UserID: "ü😀"}}, list, "the last counts")
}

// plainPresences is what encoding/json reads of an answer; sure is false where keys differ in casing only, of which
// it forgets the order.
func plainPresences(body []byte) (list []Presence, sure bool) {
	sure = true
	field := func(o map[string]any, name string) any {
		var v any
		n := 0
		for k := range o {
			if is([]byte(k), name) {
				v = o[k]
				n++
			}
		}
		sure = sure && n < 2
		return v
	}
	object := func(v any) map[string]any { o, _ := v.(map[string]any); return o }
	text := func(v any) string { s, _ := v.(string); return s }
	var doc any
	_ = json.Unmarshal(body, &doc)
	items, _ := field(object(doc), "value").([]any)
	for _, item := range items {
		o := object(item)
		p := Presence{
			UserID: text(field(o, "id")), Pair: presence.ParsePair(text(field(o, "availability")), text(field(o, "activity"))),
			Sequence: text(field(o, "sequenceNumber")), StatusMessage: text(field(object(field(object(field(o, "statusMessage")), "message")), "content")),
		}
		if b, ok := field(object(field(o, "outOfOfficeSettings")), "isOutOfOffice").(bool); ok {
			p.OutOfOffice = &b
		}
		if p.UserID != "" {
			list = append(list, p)
		}
	}
	return list, sure
}

// The lean decoder says what the SDK's says.
func TestDecoderAgreesWithSDK(t *testing.T) {
	body := presencesBody(650)
	lean, err := decodePresences(body, 650)
	require.NoError(t, err)
	sdk := sdkDecode(t, body)
	require.Len(t, lean, len(sdk.GetValue()))
	for i, p := range sdk.GetValue() {
		require.Equal(t, *p.GetId(), lean[i].UserID)
		require.Equal(t, presence.ParsePair(*p.GetAvailability(), *p.GetActivity()), lean[i].Pair)
		require.Equal(t, *p.GetSequenceNumber(), lean[i].Sequence)
		require.Equal(t, *p.GetOutOfOfficeSettings().GetIsOutOfOffice(), *lean[i].OutOfOffice)
		require.Equal(t, *p.GetStatusMessage().GetMessage().GetContent(), lean[i].StatusMessage)
	}
}

func sdkDecode(tb testing.TB, body []byte) communications.GetPresencesByUserIdPostResponseable {
	tb.Helper()
	node, err := kjson.NewJsonParseNode(body)
	require.NoError(tb, err)
	value, err := node.GetObjectValue(communications.CreateGetPresencesByUserIdPostResponseFromDiscriminatorValue)
	require.NoError(tb, err)
	return value.(communications.GetPresencesByUserIdPostResponseable)
}

// BenchmarkPresences650 decodes an answer about 650 members; sdk/lean says how many times as long the SDK's
// own decoder takes for the same answer, in the same run.
func BenchmarkPresences650(b *testing.B) {
	body := presencesBody(650)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		list, err := decodePresences(body, 650)
		if err != nil || len(list) != 650 {
			b.Fatal(len(list), err)
		}
	}
	lean := b.Elapsed() / time.Duration(b.N)
	n := max(20, int(500*time.Millisecond/max(lean*8, 1))) // about half a second
	start := time.Now()
	for range n {
		sdkDecode(b, body)
	}
	sdk := time.Since(start) / time.Duration(n)
	b.ReportMetric(float64(sdk)/float64(lean), "sdk/lean")
	b.ReportMetric(float64(sdk), "sdk-ns/op")
}

// FuzzPresences: whatever arrives, the decoder does not fall over, and what it reads is what a plain
// decoder reads.
func FuzzPresences(f *testing.F) {
	f.Add(presencesBody(3))
	f.Add([]byte(`{"value":[{"id":"a","availability":"busy","activity":null}]}`))
	f.Add([]byte(`{"value":[{"id":"a","statusMessage":{"message":{"content":"\ud800\u0000"}}}]}`))
	f.Add([]byte(`{"value":[7,null,{"id":7},{"id":"b","id":"c"}]}`))
	f.Add([]byte(`{"value":[{"id":"x","outOfOfficeSettings":{"isOutOfOffice":"yes"}}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := decodePresences(body, 1)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("read what is no JSON: %q", body)
		}
		if plain, sure := plainPresences(body); sure && len(plain)+len(list) > 0 {
			require.Equal(t, plain, list)
		}
		for _, p := range list {
			if p.UserID == "" {
				t.Fatal("a member without an id")
			}
			if p.Pair != presence.ParsePair(p.Pair.Availability, p.Pair.Activity) {
				t.Fatalf("pair not in canonical spelling: %v", p.Pair)
			}
		}
		again, err := decodePresences(bytes.Clone(body), len(list))
		if err != nil || len(again) != len(list) {
			t.Fatal("not the same twice")
		}
	})
}

// FuzzErrors: whatever an error body holds, the error holds neither the secret nor an address, and is one line.
func FuzzErrors(f *testing.F) {
	f.Add(403, []byte(graphError("Forbidden", "anna@contoso.com has no "+testSecret)))
	f.Add(400, []byte(`{"error":"invalid_grant","error_description":"AADSTS70008: `+testSecret+`"}`))
	f.Add(500, []byte("<html>"))
	f.Add(409, []byte(`{"error":{"code":"a\nb","message":"x@y.z","innerError":{"request-id":"a@b"}}}`))
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		for _, e := range []*Error{
			answerError("op", code, http.Header{"Retry-After": {string(body)}}, body, testSecret),
			loginError("op", code, http.Header{"X-Ms-Request-Id": {string(body)}}, body, testSecret),
		} {
			text := e.Error()
			if strings.Contains(text, testSecret) {
				t.Fatalf("the secret is in it: %s", text)
			}
			if strings.ContainsAny(text, "\n\r\x00\x1b") || len(text) > 1000 {
				t.Fatalf("not one short line: %q", text)
			}
			if e.RetryAfter < 0 {
				t.Fatal("negative wait")
			}
		}
	})
}

func TestNothingIsSharedBetweenCalls(t *testing.T) {
	tn := newTenant(t)
	tn.graph = func(w http.ResponseWriter, r *seen) {
		reply(w, 200, `{"id":"`+strings.Split(r.URL.Path, "/")[3]+`","availability":"Busy","activity":"Busy"}`)
	}
	c := tn.client()
	var wg sync.WaitGroup
	for _, id := range ids(60) {
		wg.Go(func() {
			p, err := c.Presence(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, id, p.UserID)
		})
	}
	wg.Wait()
}
