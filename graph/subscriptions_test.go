package graph

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func goodRequest() SubscriptionRequest {
	return SubscriptionRequest{
		UserIDs: []string{testUser}, NotificationURL: "https://bridge.test/n", LifecycleURL: "https://bridge.test/l",
		ClientState: "client-state-secret", Expiration: time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC),
		EncryptionCertificate: []byte{1, 2, 3}, EncryptionCertificateID: "cert-1",
	}
}

func TestCreateSubscription(t *testing.T) {
	tn := newTenant(t)
	tn.graph = inTurn(status(201, `{"id":"sub-1","resource":"/communications/presences?$filter=id in ('x')","expirationDateTime":"2026-11-25T09:45:00.1234567Z",
		"applicationId":"app","creatorId":"me","notificationUrl":"https://bridge.test/n","encryptionCertificateId":"cert-1","clientState":null}`))
	c := tn.client()
	d := tn.delegated(c)
	request := goodRequest()
	request.UserIDs = ids(MaxPresences)
	s, err := d.CreateSubscription(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, Subscription{
		ID: "sub-1", Resource: "/communications/presences?$filter=id in ('x')", NotificationURL: "https://bridge.test/n",
		Expiration: time.Date(2026, 11, 25, 9, 45, 0, 123456700, time.UTC), ApplicationID: "app", CreatorID: "me", EncryptionCertificateID: "cert-1",
	}, s)
	require.True(t, s.IsPresence())

	r := tn.requests[0]
	require.Equal(t, "POST /v1.0/subscriptions", r.Method+" "+r.URL.Path)
	require.Equal(t, "Bearer user-token-1", r.Header.Get("Authorization"), "as the user, never as the application")
	var body map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.body), &body))
	require.Equal(t, "/communications/presences?$filter=id in ('"+strings.Join(request.UserIDs, "','")+"')", body["resource"])
	require.Equal(t, "updated", body["changeType"])
	require.Equal(t, true, body["includeResourceData"])
	require.Equal(t, base64.StdEncoding.EncodeToString([]byte{1, 2, 3}), body["encryptionCertificate"])
	require.Equal(t, "cert-1", body["encryptionCertificateId"])
	require.Equal(t, "client-state-secret", body["clientState"])
	require.Equal(t, "https://bridge.test/n", body["notificationUrl"])
	require.Equal(t, "https://bridge.test/l", body["lifecycleNotificationUrl"])
	at, err := time.Parse(time.RFC3339, body["expirationDateTime"].(string))
	require.NoError(t, err)
	require.True(t, at.Equal(request.Expiration))
	require.Len(t, body, 9, "nothing else is sent: %v", body)
}

func TestSubscriptionRequestsAreChecked(t *testing.T) {
	tn := virtual(t)
	d := tn.client(tn.onVirtual).Delegated("x", &memoryStore{})
	for want, change := range map[string]func(*SubscriptionRequest){
		"0 users":         func(r *SubscriptionRequest) { r.UserIDs = nil },
		"651 users":       func(r *SubscriptionRequest) { r.UserIDs = ids(651) },
		"twice":           func(r *SubscriptionRequest) { r.UserIDs = []string{"ab", "AB"} },
		"no object id":    func(r *SubscriptionRequest) { r.UserIDs = []string{"a') or (id eq 'b"} },
		"no notification": func(r *SubscriptionRequest) { r.NotificationURL = "" },
		"client state":    func(r *SubscriptionRequest) { r.ClientState = strings.Repeat("x", 129) },
		"certificate id":  func(r *SubscriptionRequest) { r.EncryptionCertificateID = strings.Repeat("x", 129) },
		"no certificate":  func(r *SubscriptionRequest) { r.EncryptionCertificate = nil },
		"no expiration":   func(r *SubscriptionRequest) { r.Expiration = time.Time{} },
	} {
		request := goodRequest()
		change(&request)
		_, err := d.CreateSubscription(t.Context(), request)
		require.ErrorContains(t, requireKind(t, err, Refused), want)
	}
	_, err := d.RenewSubscription(t.Context(), "", time.Now())
	requireKind(t, err, Refused)
	requireKind(t, d.DeleteSubscription(t.Context(), ""), Refused)
	require.Zero(t, tn.requestCount())
}

func TestRenewalReadsTheExpiryBack(t *testing.T) {
	tn := newTenant(t)
	tn.graph = inTurn(
		status(200, `{"id":"sub-1","expirationDateTime":"2026-11-25T09:10:00.0000000"}`),
		status(200, `{"id":"sub-1"}`),
		status(404, graphError("ResourceNotFound", "The object was not found.")),
	)
	d := tn.delegated(tn.client())
	s, err := d.RenewSubscription(t.Context(), "sub-1", time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC))
	require.NoError(t, err)
	require.Equal(t, time.Date(2026, 11, 25, 9, 10, 0, 0, time.UTC), s.Expiration, "Graph's word counts, not what was asked for")
	r := tn.requests[0]
	require.Equal(t, "PATCH /v1.0/subscriptions/sub-1", r.Method+" "+r.URL.Path)
	require.JSONEq(t, `{"expirationDateTime":"2026-11-25T10:00:00Z"}`, r.body)

	_, err = d.RenewSubscription(t.Context(), "sub-1", time.Now())
	require.Equal(t, "answer_unreadable", requireKind(t, err, Transient).Code)
	_, err = d.RenewSubscription(t.Context(), "sub-1", time.Now())
	e := requireKind(t, err, Gone)
	require.False(t, e.Retry())
}

func TestListAndDeleteSubscriptions(t *testing.T) {
	tn := newTenant(t)
	tn.graph = func(w http.ResponseWriter, r *seen) {
		switch {
		case r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "sub-1"):
			w.WriteHeader(http.StatusNoContent)
		case r.Method == http.MethodDelete:
			reply(w, 404, graphError("ResourceNotFound", ""))
		case r.URL.Query().Get("$skiptoken") == "":
			reply(w, 200, `{"value":[{"id":"sub-1","resource":"communications/presences('x')","expirationDateTime":"2026-11-25T10:00:00+00:00"},{"id":null}],"@odata.nextLink":"`+tn.graphURL+`/v1.0/subscriptions?$skiptoken=2"}`)
		default:
			reply(w, 200, `{"value":[{"id":"sub-2","resource":"/users","expirationDateTime":"never"}]}`)
		}
	}
	d := tn.delegated(tn.client())
	list, err := d.ListSubscriptions(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.True(t, list[0].IsPresence())
	require.Equal(t, time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC), list[0].Expiration)
	require.False(t, list[1].IsPresence())
	require.True(t, list[1].Expiration.IsZero())
	require.NoError(t, d.DeleteSubscription(t.Context(), "sub-1"))
	require.NoError(t, d.DeleteSubscription(t.Context(), "sub-9"), "there is none")
}

func TestListThatDoesNotEnd(t *testing.T) {
	tn := newTenant(t)
	tn.graph = inTurn(status(200, `{"value":[],"@odata.nextLink":"`+tn.graphURL+`/v1.0/subscriptions?$skiptoken=same"}`))
	_, err := tn.delegated(tn.client()).ListSubscriptions(t.Context())
	require.ErrorContains(t, requireKind(t, err, Refused), "do not end")
}

func TestTimesOfGraph(t *testing.T) {
	want := time.Date(2023, 9, 14, 10, 0, 0, 0, time.UTC)
	for _, s := range []string{
		"2023-09-14T10:00:00.0000000Z", "2023-09-14T10:00:00Z", "2023-09-14T10:00:00", "2023-09-14T10:00:00.0000000",
		"2023-09-14T10:00:00+00:00", "2023-09-14T12:00:00+02:00", "2023-09-14T12:00:00+0200", "2023-09-14t10:00:00z", " 2023-09-14T10:00:00Z ",
	} {
		require.Equal(t, want, parseTime(s), s)
	}
	for _, s := range []string{"", "soon", "2023-09-14", "2023-13-14T10:00:00Z"} {
		require.True(t, parseTime(s).IsZero(), s)
	}
	for _, s := range []string{`null`, `5`, `{}`, `"x"`} {
		var w wireTime
		require.NoError(t, json.Unmarshal([]byte(s), &w))
		require.True(t, w.IsZero())
	}
}

// Graph delivers with the token that the last POST or PATCH came with: one that ended before the next renewal
// would be a gap in the notifications.
func TestRenewalBringsATokenThatLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		current := "refresh-token-0"
		tn.login = refreshing(tn, &current)
		tn.graph = inTurn(status(200, `{"id":"sub-1","expirationDateTime":"2030-01-01T00:00:00Z"}`))
		d := tn.client(tn.onVirtual).Delegated("presence1@contoso.com", &memoryStore{token: current})
		renew := func() {
			_, err := d.RenewSubscription(t.Context(), "sub-1", time.Now().Add(time.Hour))
			require.NoError(t, err)
		}
		renew()
		require.Equal(t, 1, tn.tokenCount())
		time.Sleep(5 * time.Minute)
		renew()
		require.Equal(t, 1, tn.tokenCount(), "55 minutes are enough")
		time.Sleep(20 * time.Minute)
		renew()
		require.Equal(t, 2, tn.tokenCount(), "35 minutes are not")
	})
}
