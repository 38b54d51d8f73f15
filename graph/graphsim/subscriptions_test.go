package graphsim

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSubscriptionIsMadeAndShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox(t)
		x := two(t, func(c *Config) { c.Delivery.Transport = direct{b} })
		token := x.userToken(mon)
		request := b.request(x.id(anna), x.id(ben), x.id(anna))
		a := x.call("POST", "/v1.0/subscriptions", token, request)
		require.Equal(t, 201, a.status, a.body)
		require.ElementsMatch(t, []string{"/graph/contoso/notifications", "/graph/contoso/lifecycle"}, b.validations)
		require.Equal(t, x.id(mon), a.text("creatorId"))
		require.Equal(t, x.ClientID, a.text("applicationId"))
		require.Nil(t, a.json["clientState"])
		require.NotContains(t, a.body, `"state"`)
		expires, err := time.Parse(time.RFC3339, a.text("expirationDateTime"))
		require.NoError(t, err)
		require.Equal(t, time.Hour, time.Until(expires))
		require.Equal(t, 2, x.Subscriptions()[0].Watched, "doubles count once")

		got := x.call("GET", "/v1.0/subscriptions/"+a.text("id"), token, nil)
		require.Equal(t, 200, got.status)
		require.NotContains(t, got.body, `"state"`)
		list := x.call("GET", "/v1.0/subscriptions", token, nil)
		require.Len(t, list.json["value"], 1)
		other := x.userToken("presence2@contoso.example")
		require.Empty(t, x.call("GET", "/v1.0/subscriptions", other, nil).json["value"], "only one's own")
		for _, method := range []string{"GET", "DELETE"} {
			require.Equal(t, 404, x.call(method, "/v1.0/subscriptions/"+a.text("id"), other, nil).status)
		}
		require.Equal(t, 204, x.call("DELETE", "/v1.0/subscriptions/"+a.text("id"), token, nil).status)
		require.Equal(t, 404, x.call("DELETE", "/v1.0/subscriptions/"+a.text("id"), token, nil).status)
		require.Equal(t, 0, x.Stats().Subscriptions)
	})
}

func TestSubscriptionsAreDelegated(t *testing.T) {
	b := newInbox(t)
	x := two(t, func(c *Config) { c.Delivery.Transport = direct{b} })
	for _, method := range []string{"GET", "POST"} {
		require.Equal(t, 403, x.call(method, "/v1.0/subscriptions", x.appToken(), b.request(x.id(anna))).status)
	}
	x.Consent(nil, []string{"User.Read", "offline_access"})
	a := x.form(x.TenantID+"/oauth2/v2.0/devicecode", "client_id", x.ClientID, "scope", "User.Read")
	require.NoError(t, x.Approve(a.text("user_code"), mon))
	token := x.tokenForm("grant_type", "device_code", "client_id", x.ClientID, "device_code", a.text("device_code")).text("access_token")
	require.Equal(t, 403, x.call("POST", "/v1.0/subscriptions", token, b.request(x.id(anna))).status)
	require.Empty(t, b.validations)
}

func TestOneSubscriptionPerApplicationAndUser(t *testing.T) {
	x, b, token, id := subscribed(t)
	a := x.call("POST", "/v1.0/subscriptions", token, b.request(x.id(anna), x.id(ben)))
	require.Equal(t, 409, a.status)
	require.Contains(t, a.errorMessage(), "Subscription Id <"+id+"> already exists for the requested combination")
	for range 8 {
		a = x.call("POST", "/v1.0/subscriptions", token, b.request(x.id(anna)))
		require.Equal(t, 409, a.status)
		require.Contains(t, a.errorMessage(), "A subscripton already exists. It must be deleted before a another can be made")
	}
	require.Equal(t, 201, x.call("POST", "/v1.0/subscriptions", x.userToken("presence2@contoso.example"), b.request(x.id(anna))).status, "another user")
	require.Equal(t, 204, x.call("DELETE", "/v1.0/subscriptions/"+id, token, nil).status)
	require.Equal(t, 201, x.call("POST", "/v1.0/subscriptions", token, b.request(x.id(anna))).status)
}

func TestSubscriptionRefuses(t *testing.T) {
	b := newInbox(t)
	x := two(t, func(c *Config) { c.Delivery.Transport = direct{b} })
	token := x.userToken(mon)
	_, small := selfSigned(t, 1024)
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	for name, edit := range map[string]func(map[string]any){
		"changeType":             func(r map[string]any) { r["changeType"] = "created,updated" },
		"no resource":            func(r map[string]any) { delete(r, "resource") },
		"other resource":         func(r map[string]any) { r["resource"] = "users/" + x.id(anna) },
		"over 60 minutes":        func(r map[string]any) { r["expirationDateTime"] = at(61 * time.Minute) },
		"past":                   func(r map[string]any) { r["expirationDateTime"] = at(-time.Minute) },
		"no expiry":              func(r map[string]any) { delete(r, "expirationDateTime") },
		"long clientState":       func(r map[string]any) { r["clientState"] = strings.Repeat("x", 129) },
		"no certificate":         func(r map[string]any) { delete(r, "encryptionCertificate") },
		"rubbish certificate":    func(r map[string]any) { r["encryptionCertificate"] = "AAAA" },
		"PEM certificate":        func(r map[string]any) { r["encryptionCertificate"] = "-----BEGIN CERTIFICATE-----" },
		"small key":              func(r map[string]any) { r["encryptionCertificate"] = base64.StdEncoding.EncodeToString(small.Raw) },
		"no certificate id":      func(r map[string]any) { delete(r, "encryptionCertificateId") },
		"long certificate id":    func(r map[string]any) { r["encryptionCertificateId"] = strings.Repeat("x", 129) },
		"plain http":             func(r map[string]any) { r["notificationUrl"] = "http://bridge.test/x" },
		"no notificationUrl":     func(r map[string]any) { delete(r, "notificationUrl") },
		"relative lifecycle url": func(r map[string]any) { r["lifecycleNotificationUrl"] = "/x" },
	} {
		t.Run(name, func(t *testing.T) {
			r := b.request(x.id(anna))
			edit(r)
			a := x.call("POST", "/v1.0/subscriptions", token, r)
			require.Equal(t, 400, a.status, a.body)
			require.NotEmpty(t, a.errorMessage())
		})
	}
	require.Empty(t, b.validations)
	require.Equal(t, 400, x.call("POST", "/v1.0/subscriptions", token, "{").status)
	ok := b.request(x.id(anna))
	delete(ok, "lifecycleNotificationUrl")
	ok["clientState"] = strings.Repeat("x", 128)
	require.Equal(t, 201, x.call("POST", "/v1.0/subscriptions", token, ok).status, "the lifecycle URL is optional")
	require.Len(t, b.validations, 1)
}

func TestAtMost650AreWatched(t *testing.T) {
	b := newInbox(t)
	x := newTenant(t, Config{Users: 651, Monitors: []string{"presence1"}, Delivery: Delivery{Transport: direct{b}}})
	var ids []string
	for _, u := range x.Users() {
		ids = append(ids, u.ID)
	}
	token := x.userToken(mon)
	require.Equal(t, 400, x.call("POST", "/v1.0/subscriptions", token, b.request(ids...)).status)
	require.Equal(t, 201, x.call("POST", "/v1.0/subscriptions", token, b.request(ids[:650]...)).status)
}

func TestValidation(t *testing.T) {
	for name, c := range map[string]struct {
		echo    func(token string) (int, string, string)
		message string
	}{
		"status":  {func(s string) (int, string, string) { return 202, "text/plain", s }, "200 OK"},
		"type":    {func(s string) (int, string, string) { return 200, "text/html", s }, "text/plain"},
		"escaped": {func(s string) (int, string, string) { return 200, "text/plain", strings.ReplaceAll(s, " ", "+") }, "does not match"},
		"empty":   {func(string) (int, string, string) { return 200, "text/plain", "" }, "does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newInbox(t)
			b.echo = c.echo
			x := two(t, func(c *Config) { c.Delivery.Transport = direct{b} })
			a := x.call("POST", "/v1.0/subscriptions", x.userToken(mon), b.request(x.id(anna)))
			require.Equal(t, 400, a.status)
			require.Contains(t, a.errorMessage(), c.message)
			require.Empty(t, x.Subscriptions())
		})
	}
}

func TestValidationTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x *tenant
		blocked := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		x = two(t, func(c *Config) { c.Delivery.Transport = direct{blocked} })
		began := time.Now()
		a := x.call("POST", "/v1.0/subscriptions", x.userToken(mon), newInbox(t).request(x.id(anna)))
		require.Equal(t, 400, a.status)
		require.Equal(t, 10*time.Second, time.Since(began), "both URLs at once")
		require.Contains(t, a.errorMessage(), "Subscription validation request timed out.")
	})
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, token, id := subscribed(t, func(c *Config) { c.TokenLifetime = 24 * time.Hour; c.Delivery.ReauthorizeEvery = -1 })
		patch := func(body map[string]any) answer { return x.call("PATCH", "/v1.0/subscriptions/"+id, token, body) }
		in := func(d time.Duration) map[string]any {
			return map[string]any{"expirationDateTime": time.Now().Add(d).UTC().Format(time.RFC3339Nano)}
		}
		left := func(a answer) time.Duration {
			at, err := time.Parse(time.RFC3339, a.text("expirationDateTime"))
			require.NoError(t, err)
			return time.Until(at)
		}
		time.Sleep(25 * time.Minute)
		require.Equal(t, time.Hour, left(patch(in(time.Hour))))
		require.Equal(t, 45*time.Minute, left(patch(in(10*time.Minute))), "less than 45 minutes is raised")
		require.Equal(t, 400, patch(in(61*time.Minute)).status)
		require.Equal(t, 400, patch(map[string]any{}).status)
		require.Equal(t, 400, patch(map[string]any{"encryptionCertificate": "x"}).status)
		require.Equal(t, 400, patch(map[string]any{"expirationDateTime": in(time.Hour)["expirationDateTime"], "resource": "x"}).status)
		require.Equal(t, 400, x.call("PATCH", "/v1.0/subscriptions/"+id, token, "{").status)

		_, cert := selfSigned(t, 3072)
		withCert := in(time.Hour)
		withCert["encryptionCertificate"], withCert["encryptionCertificateId"] = base64.StdEncoding.EncodeToString(cert.Raw), "key-2"
		require.Equal(t, "key-2", patch(withCert).text("encryptionCertificateId"))
		b.set(func() { b.validations = nil })
		moved := patch(map[string]any{"notificationUrl": "https://bridge.test/other"})
		require.Equal(t, 200, moved.status, moved.body)
		require.Equal(t, []string{"/other"}, b.validations)
		b.set(func() { b.echo = func(string) (int, string, string) { return 500, "", "" } })
		require.Equal(t, 400, patch(map[string]any{"notificationUrl": "https://bridge.test/third"}).status)

		require.Equal(t, 204, x.call("POST", "/v1.0/subscriptions/"+id+"/reauthorize", token, nil).status)
		time.Sleep(time.Hour)
		require.Equal(t, 404, patch(in(time.Hour)).status, "it has expired, and nobody was told")
		require.Equal(t, 404, x.call("POST", "/v1.0/subscriptions/"+id+"/reauthorize", token, nil).status)
		require.Empty(t, b.deliveries())
		x.SetFaults(Faults{Revalidate: 1})
	})
}

func TestRenewalMayRevalidate(t *testing.T) {
	x, _, token, id := subscribed(t)
	x.SetFaults(Faults{Revalidate: 1})
	a := x.call("PATCH", "/v1.0/subscriptions/"+id, token, map[string]any{"expirationDateTime": time.Now().Add(50 * time.Minute).UTC().Format(time.RFC3339)})
	require.Equal(t, 400, a.status)
	require.Equal(t, "Subscription validation request timed out.", a.errorMessage())
}

func TestParseResource(t *testing.T) {
	const one, two = "aaaaaaaa-0000-4000-8000-000000000001", "AAAAAAAA-0000-4000-8000-000000000002"
	for resource, want := range map[string]int{
		"communications/presences/" + one:                                                        1,
		"/communications/presences('" + one + "')":                                               1,
		"/communications/presences?$filter=id in ('" + one + "')":                                1,
		"communications/presences?$filter=id in ('" + one + "', '" + two + "')":                  2,
		"communications/presences?$filter=id+in+(%27" + one + "%27,%27" + two + "%27)":           2,
		"/communications/presences?$filter=id in ('" + two + "','" + strings.ToLower(two) + "')": 1,
	} {
		ids, err := parseResource(resource)
		require.NoError(t, err, resource)
		require.Len(t, ids, want, resource)
		require.Equal(t, strings.ToLower(ids[0]), ids[0])
	}
	for _, resource := range []string{"", "communications/presences", "communications/presences/x", "communications/presences?$filter=id in ()",
		"communications/presences?$filter=id in (" + one + ")", "communications/presences?$filter=id eq '" + one + "'",
		"communications/presences?$filter=%zz", "communications/presences?$select=id"} {
		_, err := parseResource(resource)
		require.Error(t, err, resource)
	}
}

func FuzzParseResource(f *testing.F) {
	f.Add("communications/presences?$filter=id in ('aaaaaaaa-0000-4000-8000-000000000001','x')")
	f.Add("/communications/presences('aaaaaaaa-0000-4000-8000-000000000001')")
	f.Fuzz(func(t *testing.T, s string) {
		ids, err := parseResource(s)
		if err == nil && (len(ids) == 0 || len(ids) > maxWatched) {
			t.Fatalf("%q gives %d ids", s, len(ids))
		}
		for _, id := range ids {
			if err == nil && !guidPattern.MatchString(id) {
				t.Fatalf("%q gives %q", s, id)
			}
		}
	})
}

func TestSubscriptionQuota(t *testing.T) {
	b := newInbox(t)
	x := two(t, func(c *Config) { c.Delivery.Transport = direct{b} })
	x.hub.mu.Lock()
	for i := range maxSubscriptions {
		s := &subscription{id: fmt.Sprint(i), app: fmt.Sprint(i), expires: time.Now().Add(time.Hour)}
		x.hub.subs[s.id] = s
	}
	x.hub.mu.Unlock()
	a := x.call("POST", "/v1.0/subscriptions", x.userToken(mon), b.request(x.id(anna)))
	require.Equal(t, 403, a.status)
	require.Contains(t, a.errorMessage(), "10000")
}
