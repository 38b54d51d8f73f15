package graphsim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
)

// plain is the documented form alone.
func plain(c *Config) { c.Forms = &Forms{} }

func TestRichNotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, _, id := subscribed(t, plain)
		require.NoError(t, x.StartCall(anna))
		time.Sleep(time.Second)
		require.Len(t, b.deliveries(), 1)
		d := b.deliveries()[0]
		require.Equal(t, "/graph/contoso/notifications", d.path)
		require.Len(t, d.items, 1)
		item := d.items[0]
		require.Equal(t, id, item.SubscriptionID)
		require.Equal(t, "state", item.ClientState)
		require.Equal(t, "updated", item.ChangeType)
		require.Equal(t, x.TenantID, item.TenantID)
		require.Equal(t, x.TenantID, item.OrganizationID)
		require.Equal(t, "communications/presences/"+x.id(anna), item.Resource)
		require.Equal(t, x.id(anna), *item.ResourceData.ID)
		require.Equal(t, "key-1", item.Encrypted.CertID)
		content, ok := b.open(item.Encrypted)
		require.True(t, ok)
		require.Equal(t, map[string]string{"@odata.id": "users/" + x.id(anna) + "/presence", "@odata.type": "#microsoft.graph.presence",
			"id": x.id(anna), "availability": "Busy", "activity": "InACall"}, content)
		stats := x.Stats().Notifications
		require.EqualValues(t, 1, stats.Acked)
		require.EqualValues(t, 0, stats.Waiting)
	})
}

func TestValidationTokens(t *testing.T) {
	for version, share := range map[string]float64{"1.0": 0, "2.0": 1} {
		t.Run(version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, b, _, _ := subscribed(t, func(c *Config) { c.Forms = &Forms{TokensV2: share} })
				require.NoError(t, x.StartCall(anna))
				time.Sleep(time.Second)
				require.Len(t, b.deliveries()[0].tokens, 1)
				var set jose.JSONWebKeySet
				require.NoError(t, json.Unmarshal([]byte(x.call("GET", "/common/discovery/keys", "", nil).body), &set))
				parsed, err := jwt.ParseSigned(b.deliveries()[0].tokens[0], []jose.SignatureAlgorithm{jose.RS256})
				require.NoError(t, err)
				var c map[string]any
				require.NoError(t, parsed.Claims(set.Key(parsed.Headers[0].KeyID)[0].Key, &c))
				require.Equal(t, x.ClientID, c["aud"])
				require.Equal(t, x.TenantID, c["tid"])
				require.Equal(t, version, c["ver"])
				if version == "1.0" {
					require.Equal(t, "https://sts.windows.net/"+x.TenantID+"/", c["iss"])
					require.Equal(t, changeTracking, c["appid"])
					require.NotContains(t, c, "azp")
				} else {
					require.Equal(t, "https://login.microsoftonline.com/"+x.TenantID+"/v2.0", c["iss"])
					require.Equal(t, changeTracking, c["azp"])
					require.NotContains(t, c, "appid")
				}
			})
		})
	}
}

func TestOnlyVisibleChangesAreNotified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, _, _ := subscribed(t, plain)
		app := x.appToken()
		require.NoError(t, x.StartCall(anna))
		time.Sleep(time.Second)
		require.Equal(t, 200, x.set(app, anna, InACall, "").status, "shows already")
		require.NoError(t, x.EndCall(anna)) // under our session: nothing to see
		time.Sleep(time.Second)
		require.Equal(t, []Pair{InACall}, b.pairs(x.id(anna)))
		require.Equal(t, 200, x.clear(app, anna).status)
		require.NoError(t, x.SetOutOfOffice(ben, true, ""))
		time.Sleep(time.Second)
		require.Equal(t, []Pair{InACall, Available}, b.pairs(x.id(anna)), "our own write comes back, unmarked")
		require.Empty(t, b.pairs(x.id(ben)))
	})
}

func TestPeopleStayInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, _, _ := subscribed(t)
		var want []Pair
		for i := range 100 {
			if i%2 == 0 {
				require.NoError(t, x.StartCall(anna))
				want = append(want, InACall)
			} else {
				require.NoError(t, x.EndCall(anna))
				want = append(want, Available)
			}
			time.Sleep(3 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		require.Equal(t, want, b.pairs(x.id(anna)))
	})
}

func TestItemsTravelTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, _, _ := subscribed(t, func(c *Config) { c.Delivery.MaxBatch = 10; c.Delivery.Lanes = 1 })
		b.set(func() {
			b.answer = func(n int, r *http.Request) int {
				if n == 1 {
					time.Sleep(2 * time.Second)
				}
				return 202
			}
		})
		for i := range 26 {
			require.NoError(t, x.SetClient(anna, []Pair{Busy, Available}[i%2]))
		}
		time.Sleep(5 * time.Second)
		sizes := []int{}
		for _, d := range b.deliveries() {
			sizes = append(sizes, len(d.items))
		}
		require.Equal(t, 10, slices.Max(sizes))
		require.Len(t, b.items(), 26)
	})
}

func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, token, id := subscribed(t, plain, func(c *Config) {
			c.Delivery.RetryFor, c.TokenLifetime, c.Delivery.ReauthorizeEvery = time.Minute, 24*time.Hour, -1
		})
		b.set(func() {
			b.answer = func(n int, r *http.Request) int {
				switch n {
				case 1:
					return 503
				case 2:
					<-r.Context().Done() // 10 s of a retry
					return 202
				case 3:
					return 302
				}
				return 202
			}
		})
		began := time.Now()
		require.NoError(t, x.StartCall(anna))
		time.Sleep(time.Minute)
		d := b.deliveries()
		require.Len(t, d, 4)
		require.Equal(t, d[0].body, d[3].body, "the same again")
		require.Equal(t, time.Second, d[1].at.Sub(d[0].at))
		require.Equal(t, 12*time.Second, d[2].at.Sub(d[1].at), "10 s of waiting, then 2")
		require.Equal(t, 4*time.Second, d[3].at.Sub(d[2].at))
		stats := x.Stats().Notifications
		require.Equal(t, []int64{4, 3, 1, 0}, []int64{stats.Posts, stats.Failed, stats.Acked, stats.Waiting}, time.Since(began))

		b.set(func() { b.answer = func(int, *http.Request) int { return 503 } })
		require.NoError(t, x.EndCall(anna))
		time.Sleep(2 * time.Minute)
		require.EqualValues(t, 1, x.Stats().Notifications.Dropped, "given up")
		n := len(b.deliveries())
		require.NoError(t, x.StartCall(anna))
		time.Sleep(500 * time.Millisecond)
		require.Equal(t, 204, x.call("DELETE", "/v1.0/subscriptions/"+id, token, nil).status)
		time.Sleep(time.Minute)
		require.Len(t, b.deliveries(), n+1, "none for a subscription that is gone")
		require.EqualValues(t, 0, x.Stats().Notifications.Waiting)
	})
}

func TestFirstAnswersAreDueInThreeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, _, _ := subscribed(t, plain)
		b.set(func() {
			b.answer = func(n int, r *http.Request) int {
				if n == 1 {
					<-r.Context().Done()
				}
				return 202
			}
		})
		require.NoError(t, x.StartCall(anna))
		time.Sleep(10 * time.Second)
		d := b.deliveries()
		require.Len(t, d, 2)
		require.Equal(t, 4*time.Second, d[1].at.Sub(d[0].at), "3 s of waiting, then 1")
	})
}

func TestForms(t *testing.T) {
	for name, c := range map[string]struct {
		forms Forms
		check func(t *testing.T, x *tenant, item wireItem, body string)
	}{
		"filter echo": {Forms{FilterEcho: 1}, func(t *testing.T, x *tenant, item wireItem, _ string) {
			require.Equal(t, "/communications/presences?$filter=id+in+%28%27"+x.id(anna)+"%27%2C%27"+x.id(ben)+"%27%29", item.Resource)
		}},
		"parens": {Forms{Parens: 1}, func(t *testing.T, x *tenant, item wireItem, _ string) {
			require.Equal(t, "communications/presences('"+x.id(anna)+"')", item.Resource)
		}},
		"null id": {Forms{NullID: 1}, func(t *testing.T, x *tenant, item wireItem, body string) {
			require.Contains(t, body, `"id":null`)
			require.Equal(t, "users/"+x.id(anna)+"/presence", item.ResourceData.ODataID)
		}},
		"null data": {Forms{NullData: 1}, func(t *testing.T, x *tenant, item wireItem, body string) {
			require.NotContains(t, body, "@odata.id")
		}},
		"no zone": {Forms{NoZone: 1}, func(t *testing.T, _ *tenant, item wireItem, _ string) {
			_, err := time.Parse("2006-01-02T15:04:05.0000000", item.Expiration)
			require.NoError(t, err)
		}},
		"offset": {Forms{OffsetZone: 1}, func(t *testing.T, _ *tenant, item wireItem, _ string) {
			require.True(t, strings.HasSuffix(item.Expiration, "+00:00"))
		}},
		"casing": {Forms{ODataCase: 1}, func(t *testing.T, _ *tenant, item wireItem, _ string) {
			require.Equal(t, "#Microsoft.Graph.presence", item.ResourceData.ODataType)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, b, _, _ := subscribed(t, func(cfg *Config) { cfg.Forms = &c.forms })
				require.NoError(t, x.StartCall(anna))
				time.Sleep(time.Second)
				d := b.deliveries()[0]
				c.check(t, x, d.items[0], d.body)
				require.Equal(t, []Pair{InACall}, b.pairs(x.id(anna)), "and still it can be read")
			})
		})
	}
}

func TestFilterEchoIs28KB(t *testing.T) {
	ids := make([]string, 650)
	for i := range ids {
		ids[i] = "'aaaaaaaa-0000-4000-8000-000000000001'"
	}
	size := len(echo("/communications/presences?$filter=id in (" + strings.Join(ids, ",") + ")"))
	require.InDelta(t, 29_000, size, 1_500)
	require.Equal(t, "communications/presences/x", echo("communications/presences/x"))
}

func TestBasicNotificationsCarryNoState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox(t)
		x := two(t, plain, func(c *Config) { c.Delivery.Transport = direct{b} })
		r := b.request(x.id(anna))
		for _, key := range []string{"includeResourceData", "encryptionCertificate", "encryptionCertificateId"} {
			delete(r, key)
		}
		require.Equal(t, 201, x.call("POST", "/v1.0/subscriptions", x.userToken(mon), r).status)
		require.NoError(t, x.StartCall(anna))
		time.Sleep(time.Second)
		d := b.deliveries()[0]
		require.Nil(t, d.items[0].Encrypted)
		require.Empty(t, d.tokens)
		require.NotContains(t, d.body, "InACall")
		require.Equal(t, x.id(anna), *d.items[0].ResourceData.ID)
	})
}

func TestLifecycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, _, id := subscribed(t)
		time.Sleep(31 * time.Minute)
		items := b.items()
		require.Len(t, items, 2, "every 15 minutes")
		require.Equal(t, "/graph/contoso/lifecycle", b.deliveries()[0].path)
		require.Equal(t, "reauthorizationRequired", items[0].LifecycleEvent)
		require.Equal(t, "state", items[0].ClientState)
		require.Empty(t, items[0].ChangeType)
		require.NoError(t, x.Challenge(id))
		synctest.Wait()
		require.Len(t, b.items(), 3)
		require.Error(t, x.Challenge("x"))
		time.Sleep(2 * time.Hour)
		require.Len(t, b.items(), 4, "it ended at 60 minutes, with one more at 45")
	})
}

func TestDeliveryPausesWhenTheTokenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, _, id := subscribed(t, func(c *Config) { c.TokenLifetime, c.Delivery.ReauthorizeEvery = 10*time.Minute, -1 })
		time.Sleep(11 * time.Minute)
		require.NoError(t, x.StartCall(anna))
		time.Sleep(time.Minute)
		require.Empty(t, b.items())
		require.EqualValues(t, 1, x.Stats().Notifications.Waiting)
		token := x.userToken(mon)
		a := x.call("PATCH", "/v1.0/subscriptions/"+id, token, map[string]any{"expirationDateTime": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
		require.Equal(t, 200, a.status, a.body)
		time.Sleep(time.Second)
		require.Equal(t, []Pair{InACall}, b.pairs(x.id(anna)))
		time.Sleep(11 * time.Minute)
		require.NoError(t, x.EndCall(anna))
		time.Sleep(time.Second)
		require.Equal(t, 204, x.call("POST", "/v1.0/subscriptions/"+id+"/reauthorize", x.userToken(mon), nil).status)
		time.Sleep(time.Second)
		require.Equal(t, []Pair{InACall, Available}, b.pairs(x.id(anna)))
	})
}

func TestTwoMonitorsShareAnEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, _, first := subscribed(t)
		a := x.call("POST", "/v1.0/subscriptions", x.userToken("presence2@contoso.example"), b.request(x.id(anna)))
		require.Equal(t, 201, a.status, a.body)
		require.NoError(t, x.StartCall(anna))
		time.Sleep(2 * time.Second)
		var subs []string
		for _, item := range b.items() {
			subs = append(subs, item.SubscriptionID)
		}
		require.ElementsMatch(t, []string{first, a.text("id")}, subs)
	})
}

func TestEndpointStates(t *testing.T) {
	now := time.Now()
	var h health
	for i := range 100 {
		took := time.Second
		if i < 11 {
			took = 4 * time.Second
		}
		require.Equal(t, healthy, h.now(now))
		h.answered(took, now)
	}
	require.Equal(t, slow, h.now(now))
	require.Equal(t, healthy, h.now(now.Add(10*time.Minute)))
	h = health{}
	for i := range 100 {
		h.answered(time.Duration(1+10*(1-min(1, i/16)))*time.Second, now)
	}
	require.Equal(t, dropped, h.now(now))
}

func TestSlowEndpointsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, _, _ := subscribed(t, func(c *Config) {
			c.Delivery.EndpointStates, c.TokenLifetime, c.Delivery.ReauthorizeEvery = true, 24*time.Hour, -1
		})
		e := x.post.endpoint("https://bridge.test/graph/contoso/notifications?a=b")
		for range 100 {
			e.state.answered(4*time.Second, time.Now())
		}
		require.NoError(t, x.StartCall(anna))
		time.Sleep(9 * time.Minute)
		require.Empty(t, b.items())
		time.Sleep(2 * time.Minute)
		require.Equal(t, []Pair{InACall}, b.pairs(x.id(anna)))
		for range 100 {
			e.state.answered(11*time.Second, time.Now())
		}
		require.NoError(t, x.EndCall(anna))
		time.Sleep(20 * time.Minute)
		require.Len(t, b.items(), 1, "unrecoverable")
	})
}
