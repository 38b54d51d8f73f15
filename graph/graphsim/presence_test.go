package graphsim

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSetAndClear(t *testing.T) {
	x := two(t)
	app := x.appToken()
	require.Equal(t, Offline, x.read(app, anna))
	require.NoError(t, x.SignIn(anna))
	require.Equal(t, Available, x.read(app, anna))

	require.Equal(t, 200, x.set(app, anna, InACall, "").status)
	require.Equal(t, InACall, x.read(app, anna))
	require.Equal(t, Available, x.Organic(anna))
	session, ok := x.AppSession(anna)
	require.True(t, ok)
	require.Equal(t, InACall, session.Pair)

	require.Equal(t, 200, x.clear(app, anna).status)
	require.Equal(t, Available, x.read(app, anna))
	require.Equal(t, 404, x.clear(app, anna).status, "clearing nothing")
	require.NoError(t, x.SignOut(anna))
	require.Equal(t, 200, x.set(app, anna, InACall, "").status)
	require.Equal(t, InACall, x.read(app, anna), "a session of ours makes an Offline person look busy")
	require.Equal(t, 200, x.clear(app, anna).status)
	require.Equal(t, Offline, x.read(app, anna))
}

func TestSetRefuses(t *testing.T) {
	x := two(t)
	app := x.appToken()
	path := "/v1.0/users/" + anna + "/presence/setPresence"
	ok := func() map[string]any {
		return map[string]any{"sessionId": x.ClientID, "availability": "Busy", "activity": "InACall", "expirationDuration": "PT1H"}
	}
	for name, edit := range map[string]func(map[string]any){
		"no session":        func(b map[string]any) { delete(b, "sessionId") },
		"another session":   func(b map[string]any) { b["sessionId"] = "22553876-f5ab-4529-bffb-cfe50aa89f87" },
		"unsupported pair":  func(b map[string]any) { b["activity"] = "Busy" },
		"do not disturb":    func(b map[string]any) { b["availability"], b["activity"] = "DoNotDisturb", "DoNotDisturb" },
		"offline":           func(b map[string]any) { b["availability"], b["activity"] = "Offline", "Offline" },
		"too short":         func(b map[string]any) { b["expirationDuration"] = "PT4M59S" },
		"too long":          func(b map[string]any) { b["expirationDuration"] = "PT4H1S" },
		"not a duration":    func(b map[string]any) { b["expirationDuration"] = "5 minutes" },
		"negative":          func(b map[string]any) { b["expirationDuration"] = "-PT1H" },
		"availability is 3": func(b map[string]any) { b["availability"] = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			body := ok()
			edit(body)
			a := x.call("POST", path, app, body)
			require.Equal(t, 400, a.status, a.body)
			require.Equal(t, "InvalidArgument", a.errorCode())
		})
	}
	require.Contains(t, x.call("POST", path, app, "{}").errorMessage(), "[SessionId]: The SessionId field is required.")
	require.Equal(t, 404, x.call("POST", "/v1.0/users/nobody@contoso.example/presence/setPresence", app, ok()).status)
	require.Equal(t, 200, x.call("POST", path, app, ok()).status)
	for _, pair := range []Pair{Available, InACall, InAConferenceCall, Away, Presenting} {
		require.Equal(t, 200, x.set(app, anna, pair, "PT5M").status)
		require.Equal(t, pair, x.Shown(anna))
	}
	require.Equal(t, 200, x.set(app, anna, InAMeeting, "PT4H").status, "taken ...")
	require.Equal(t, Presenting, x.Shown(anna), "... without effect")
}

func TestSessionsExpireAndFade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []Change
		x := two(t, func(c *Config) { c.OnChange = func(ch Change) { changes = append(changes, ch) } })
		app := x.appToken()
		x.set(app, anna, InACall, "")
		time.Sleep(5*time.Minute - time.Second)
		require.Equal(t, InACall, x.read(app, anna))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, Offline, changes[len(changes)-1].To, "five minutes are the default")
		require.True(t, changes[len(changes)-1].Ours)
		require.Equal(t, 404, x.clear(app, anna).status, "the session is gone")

		x.set(app, anna, Available, "PT1H")
		time.Sleep(5 * time.Minute)
		require.Equal(t, AvailableInactive, x.read(app, anna))
		time.Sleep(5 * time.Minute)
		require.Equal(t, Away, x.read(app, anna))
		x.set(app, anna, Available, "PT1H")
		require.Equal(t, Available, x.read(app, anna), "set again")

		x.set(app, anna, InACall, "PT10M")
		time.Sleep(9 * time.Minute)
		x.set(app, anna, InACall, "PT10M")
		time.Sleep(9 * time.Minute)
		require.Equal(t, InACall, x.read(app, anna), "renewed")
		time.Sleep(time.Minute)
		require.Equal(t, Offline, x.read(app, anna))
	})
}

func TestPreferredPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t, func(c *Config) { c.TokenLifetime = 30 * 24 * time.Hour })
		app := x.appToken()
		prefer := func(p Pair, life any) answer {
			return x.call("POST", "/v1.0/users/"+anna+"/presence/setUserPreferredPresence", app,
				map[string]any{"availability": p.Availability, "activity": p.Activity, "expirationDuration": life})
		}
		require.Equal(t, 200, prefer(DoNotDisturb, nil).status)
		require.Equal(t, Offline, x.read(app, anna), "nothing to prefer it to")
		require.NoError(t, x.SignIn(anna))
		require.Equal(t, DoNotDisturb, x.read(app, anna))
		require.NoError(t, x.StartCall(anna))
		require.Equal(t, DoNotDisturb, x.read(app, anna), "outranks the call")
		require.NoError(t, x.EndCall(anna))
		time.Sleep(24*time.Hour - time.Second)
		require.Equal(t, DoNotDisturb, x.read(app, anna))
		time.Sleep(time.Second)
		require.Equal(t, Available, x.read(app, anna), "a day is the default of DoNotDisturb")

		require.Equal(t, 200, prefer(BeRightBack, nil).status)
		time.Sleep(7*24*time.Hour - time.Second)
		require.Equal(t, BeRightBack, x.read(app, anna))
		time.Sleep(time.Second)
		require.Equal(t, Available, x.read(app, anna), "seven days of the others")

		require.Equal(t, 200, prefer(AppearOffline, "PT1H").status)
		require.Equal(t, AppearOffline, x.read(app, anna))
		require.Equal(t, 200, x.call("POST", "/v1.0/users/"+anna+"/presence/clearUserPreferredPresence", app, nil).status)
		require.Equal(t, Available, x.read(app, anna))

		require.Equal(t, 400, prefer(InACall, nil).status)
		require.Equal(t, 400, prefer(Busy, "0").status)
		require.Error(t, x.SetPreferred(anna, InACall, 0))
	})
}

func TestPickedByHand(t *testing.T) {
	x := two(t)
	require.NoError(t, x.SignIn(anna))
	require.NoError(t, x.SetPreferred(anna, Busy, time.Hour))
	chosen, ok := x.Chosen(anna)
	require.True(t, ok)
	require.Equal(t, Busy, chosen)
	require.Equal(t, Busy, x.Organic(anna))
	require.NoError(t, x.SignOut(anna))
	require.Equal(t, Offline, x.Organic(anna))
	require.Equal(t, 200, x.set(x.appToken(), anna, InACall, "").status)
	require.Equal(t, Busy, x.Shown(anna), "our session wakes what was picked")
	require.Equal(t, Offline, x.Organic(anna))
	require.NoError(t, x.ClearPreferred(anna))
	require.Equal(t, InACall, x.Shown(anna))
	require.NoError(t, x.AppearOffline(anna))
	require.Equal(t, AppearOffline, x.Shown(anna))
}

func TestHands(t *testing.T) {
	x := two(t)
	at := func(want Pair, err error) {
		t.Helper()
		require.NoError(t, err)
		require.Equal(t, want, x.Shown(anna))
	}
	at(InACall, x.StartCall(anna))
	at(InACall, x.StartCall(anna))
	at(InACall, x.EndCall(anna))
	at(Available, x.EndCall(anna))
	at(InAConferenceCall, x.StartConferenceCall(anna))
	at(Presenting, x.StartPresenting(anna))
	at(InAConferenceCall, x.StopPresenting(anna))
	at(Available, x.EndCall(anna))
	at(InAMeeting, x.StartMeeting(anna))
	at(Available, x.EndMeeting(anna))
	at(Away, x.GoAway(anna))
	at(InACall, x.SetSession(anna, "mobile", InACall))
	at(Away, x.CloseSession(anna, "mobile"))
	at(Available, x.ComeBack(anna))
	at(OutOfOffice, x.SetOutOfOffice(anna, true, "gone"))
	at(Available, x.SetOutOfOffice(anna, false, ""))
	at(Busy, x.SetClient(anna, Busy))
	at(Offline, x.SignOut(anna))
	at(Offline, x.EndCall(anna))
	require.Error(t, x.SignIn("nobody"))
}

func TestReadMany(t *testing.T) {
	x := newTenant(t, Config{Users: 700})
	app := x.appToken()
	users := x.Users()
	ids := []string{"00000000-0000-4000-8000-000000000000"}
	for _, u := range users[:649] {
		ids = append(ids, u.ID)
	}
	require.NoError(t, x.SignIn(users[5].ID))
	require.NoError(t, x.SetOutOfOffice(users[5].ID, true, `"quoted" ümlaut`))
	a := x.call("POST", "/v1.0/communications/getPresencesByUserId", app, map[string]any{"ids": ids})
	require.Equal(t, 200, a.status, a.body)
	value := a.json["value"].([]any)
	require.Len(t, value, 649, "the unknown one is left out")
	sixth := value[5].(map[string]any)
	require.Equal(t, "OutOfOffice", sixth["activity"])
	require.Equal(t, map[string]any{"isOutOfOffice": true, "message": `"quoted" ümlaut`}, sixth["outOfOfficeSettings"])
	require.Equal(t, users[5].ID, sixth["id"])
	for _, bad := range [][]string{{}, append(ids, users[649].ID)} {
		require.Equal(t, 400, x.call("POST", "/v1.0/communications/getPresencesByUserId", app, map[string]any{"ids": bad}).status, len(bad))
	}
	require.Equal(t, 400, x.call("POST", "/v1.0/communications/getPresencesByUserId", app, "[").status)
}

func TestReadOne(t *testing.T) {
	x := two(t)
	app := x.appToken()
	require.Equal(t, 200, x.call("GET", "/v1.0/communications/presences/"+x.id(anna), app, nil).status)
	require.Equal(t, 404, x.call("GET", "/v1.0/users/nobody/presence", app, nil).status)
	require.Equal(t, 403, x.call("GET", "/v1.0/me/presence", app, nil).status, "an application is nobody")
	a := x.call("GET", "/v1.0/me/presence", x.userToken(mon), nil)
	require.Equal(t, 200, a.status)
	require.Equal(t, x.id(mon), a.text("id"))
	require.Equal(t, 400, x.call("GET", "/v1.0/nothing/of/the/kind", app, nil).status)
}

func TestSequenceNumbersSort(t *testing.T) {
	x := two(t)
	app := x.appToken()
	last := ""
	for i := range 20 {
		if i%2 == 0 {
			require.NoError(t, x.StartCall(anna))
		} else {
			require.NoError(t, x.EndCall(anna))
		}
		sequence := x.call("GET", "/v1.0/users/"+anna+"/presence", app, nil).text("sequenceNumber")
		require.Greater(t, sequence, last)
		last = sequence
	}
}

func TestReadsShowChangesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t, func(c *Config) { c.ReadLag = 4 * time.Second; c.Seed = 7 })
		app := x.appToken()
		require.NoError(t, x.StartCall(anna))
		require.Equal(t, InACall, x.Shown(anna))
		late := 0
		for range 50 {
			if x.read(app, anna) != InACall {
				late++
			}
			time.Sleep(100 * time.Millisecond)
		}
		require.Positive(t, late)
		require.Equal(t, InACall, x.read(app, anna), "the lag is bounded")
	})
}

func TestWritesTakeEffectLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t, func(c *Config) { c.WriteLag = 3 * time.Second; c.Seed = 3 })
		app := x.appToken()
		require.Equal(t, 200, x.set(app, anna, InACall, "").status)
		require.Equal(t, Offline, x.read(app, anna))
		require.EqualValues(t, 1, x.Stats().Pending)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, InACall, x.read(app, anna))
		require.EqualValues(t, 0, x.Stats().Pending)
	})
}

func TestStatusMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t, func(c *Config) { c.TokenLifetime = 2 * time.Hour })
		app := x.appToken()
		path := "/v1.0/users/" + anna + "/presence/setStatusMessage"
		message := func(content, kind string, expiry any) map[string]any {
			return map[string]any{"statusMessage": map[string]any{"message": map[string]any{"content": content, "contentType": kind}, "expiryDateTime": expiry}}
		}
		until := time.Now().UTC().Add(time.Hour).Format("2006-01-02T15:04:05.0000000")
		require.Equal(t, 200, x.call("POST", path, app, message("on the phone", "text", map[string]any{"dateTime": until, "timeZone": "UTC"})).status)
		read := func() any { return x.call("GET", "/v1.0/users/"+anna+"/presence", app, nil).json["statusMessage"] }
		require.Equal(t, map[string]any{"message": map[string]any{"content": "on the phone", "contentType": "text"}}, read(), "no times in another's")
		time.Sleep(time.Hour)
		require.Nil(t, read())
		require.Equal(t, 200, x.call("POST", path, app, message("for ever", "text", nil)).status)
		require.NotNil(t, read())
		require.Equal(t, 200, x.call("POST", path, app, message("", "text", nil)).status)
		require.Nil(t, read())
		require.Equal(t, 400, x.call("POST", path, app, message("<b>", "html", nil)).status)
		require.Equal(t, 400, x.call("POST", path, app, message("x", "text", map[string]any{"dateTime": "soon", "timeZone": "UTC"})).status)
		require.Equal(t, 400, x.call("POST", path, app, message("x", "text", map[string]any{"dateTime": until, "timeZone": "Nowhere"})).status)
		require.Equal(t, 400, x.call("POST", path, app, map[string]any{"statusMessage": map[string]any{}}).status)
	})
}

// People write status messages too, for a while or for good.
func TestStatusMessageByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t)
		require.NoError(t, x.SetStatusMessage(anna, "in the workshop", time.Hour))
		require.Equal(t, "in the workshop", x.StatusMessage(anna))
		time.Sleep(time.Hour)
		require.Empty(t, x.StatusMessage(anna))
		require.NoError(t, x.SetStatusMessage(anna, "for good", 0))
		time.Sleep(24 * time.Hour)
		require.Equal(t, "for good", x.StatusMessage(anna))
		require.NoError(t, x.SetStatusMessage(anna, "", 0))
		require.Empty(t, x.StatusMessage(anna))
		require.Error(t, x.SetStatusMessage("nobody@contoso.example", "x", 0))
	})
}

func TestDelegatedWritesAreForOneself(t *testing.T) {
	x := two(t, func(c *Config) { c.Scopes = []string{"Presence.Read.All", "Presence.ReadWrite", "offline_access"} })
	a := x.form(x.TenantID+"/oauth2/v2.0/devicecode", "client_id", x.ClientID, "scope", "Presence.ReadWrite")
	require.NoError(t, x.Approve(a.text("user_code"), anna))
	token := x.tokenForm("grant_type", "device_code", "client_id", x.ClientID, "device_code", a.text("device_code")).text("access_token")
	require.Equal(t, 200, x.set(token, anna, InACall, "").status)
	refused := x.set(token, ben, InACall, "")
	require.Equal(t, 401, refused.status)
	require.Equal(t, "Cannot set the presence of another user", refused.errorMessage())
}

func TestCompressedBodies(t *testing.T) {
	x := two(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := fmt.Fprintf(w, `{"ids":[%q]}`, x.id(anna))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	post := func(body []byte) answer {
		r, err := http.NewRequest(http.MethodPost, x.GraphURL()+"/v1.0/communications/getPresencesByUserId", bytes.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+x.appToken())
		r.Header.Set("Content-Encoding", "gzip")
		return x.send(r)
	}
	require.Equal(t, 200, post(packed.Bytes()).status)
	require.Equal(t, 400, post([]byte(`{"ids":[]}`)).status)
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"PT5M": 5 * time.Minute, "PT4H": 4 * time.Hour, "P1D": 24 * time.Hour, "PT1H30M": 90 * time.Minute, "PT300S": 5 * time.Minute,
		"P1DT1H1M1.5S": 25*time.Hour + time.Minute + 1500*time.Millisecond, "-PT5M": -5 * time.Minute,
	} {
		got, err := parseDuration(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"", "P", "PT", "P1DT", "5M", "PT5", "P1W", "pt5m", "PT1.5H", "P99999999999999999999D"} {
		_, err := parseDuration(in)
		require.Error(t, err, in)
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"PT5M", "P1DT1H1M1.5S", "-P", "P9223372036854775807D"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := parseDuration(s); err == nil && s[0] != '-' && d < 0 {
			t.Fatalf("%q is %v", s, d)
		}
	})
}
