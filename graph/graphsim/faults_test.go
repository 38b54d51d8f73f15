package graphsim

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPresets(t *testing.T) {
	for name, want := range map[string]Faults{"none": None(), "some": Some(), "cruel": Cruel()} {
		got, ok := Preset(name)
		require.True(t, ok)
		require.Equal(t, want, got)
		require.LessOrEqual(t, got.LandWithin, 20*time.Second, "within the deadline of an intent")
		require.Less(t, got.WriteLag, 5*time.Second, "within the settle time")
		require.Less(t, got.ReadLag, 5*time.Second)
	}
	_, ok := Preset("worse")
	require.False(t, ok)
	require.Equal(t, Faults{}, None())
}

func TestFaultsAsJSON(t *testing.T) {
	raw, err := json.Marshal(Cruel())
	require.NoError(t, err)
	require.Contains(t, string(raw), `"late_by":"20s"`)
	var back Faults
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Equal(t, Cruel(), back)
	require.NoError(t, json.Unmarshal([]byte(`{"drop":0.5,"slow_by":"1m"}`), &back))
	want := Cruel()
	want.Drop, want.SlowBy = 0.5, time.Minute
	require.Equal(t, want, back, "what is not mentioned stays")
	for _, bad := range []string{`{"drop":2}`, `{"drop":-1}`, `{"drop":"x"}`, `{"slow_by":3}`, `{"slow_by":"-3s"}`, `{"slow_by":"soon"}`, `{"unheard":1}`, `[]`} {
		require.Error(t, json.Unmarshal([]byte(bad), &back), bad)
	}
	require.Equal(t, want, back)
}

func FuzzFaultsAsJSON(f *testing.F) {
	f.Add([]byte(`{"drop":0.5,"slow_by":"1m"}`))
	f.Add([]byte(`{"silent_death":3}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		faults := Some()
		if json.Unmarshal(raw, &faults) != nil {
			return
		}
		again, err := json.Marshal(faults)
		require.NoError(t, err)
		var back Faults
		require.NoError(t, json.Unmarshal(again, &back))
		require.Equal(t, faults, back)
	})
}

// faulty is a tenant of two, subscribed to, under faults.
func faulty(t *testing.T, f Faults) (*tenant, *inbox) {
	t.Helper()
	x, b, _, _ := subscribed(t, plain)
	x.SetFaults(f)
	return x, b
}

func TestDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b := faulty(t, Faults{Drop: 1})
		require.NoError(t, x.StartCall(anna))
		time.Sleep(time.Minute)
		require.Empty(t, b.items())
		require.EqualValues(t, 1, x.Stats().Notifications.Dropped)
		x.SetFaults(None())
		require.NoError(t, x.EndCall(anna))
		time.Sleep(time.Second)
		require.Equal(t, []Pair{Available}, b.pairs(x.id(anna)), "faults can be stopped")
	})
}

func TestDoubled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b := faulty(t, Faults{Double: 1})
		require.NoError(t, x.StartCall(anna))
		time.Sleep(3 * time.Second)
		require.Equal(t, []Pair{InACall, InACall}, b.pairs(x.id(anna)))
		require.EqualValues(t, 1, x.Stats().Notifications.Doubled)
	})
}

func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b := faulty(t, Faults{Late: 1, LateBy: 20 * time.Second})
		began := time.Now()
		for i := range 20 {
			require.NoError(t, x.SetClient(anna, []Pair{Busy, Available}[i%2]))
		}
		time.Sleep(21 * time.Second)
		require.Len(t, b.items(), 20)
		require.Greater(t, b.deliveries()[len(b.deliveries())-1].at.Sub(began), 5*time.Second)
		require.EqualValues(t, 20, x.Stats().Notifications.Late)
	})
}

func TestReordered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b := faulty(t, Faults{Reorder: 0.5})
		var want []Pair
		for i := range 40 {
			pair := []Pair{Busy, Available, InAMeeting, Away}[i%4]
			want = append(want, pair)
			require.NoError(t, x.SetClient(anna, pair))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		got := b.pairs(x.id(anna))
		require.NotEqual(t, want, got)
		require.ElementsMatch(t, want, got)
	})
}

func TestPoisonedNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b := faulty(t, Faults{Poison: 1})
		require.NoError(t, x.StartCall(anna))
		time.Sleep(time.Second)
		items := b.items()
		require.Len(t, items, 2)
		_, ok := b.open(items[0].Encrypted)
		require.True(t, ok)
		_, ok = b.open(items[1].Encrypted)
		require.False(t, ok)
	})
}

func TestSilentDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, token, id := subscribed(t, plain, func(c *Config) { c.Delivery.ReauthorizeEvery = -1 })
		x.SetFaults(Faults{SilentDeath: 60})
		time.Sleep(2 * time.Second)
		require.True(t, x.Subscriptions()[0].Dead)
		x.SetFaults(None())
		require.NoError(t, x.StartCall(anna))
		time.Sleep(time.Minute)
		require.Empty(t, b.items())
		a := x.call("PATCH", "/v1.0/subscriptions/"+id, token, map[string]any{"expirationDateTime": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
		require.Equal(t, 200, a.status, "it can be renewed")
		require.NoError(t, x.EndCall(anna))
		time.Sleep(time.Minute)
		require.Empty(t, b.items())
		require.NoError(t, x.KillSubscription(id, true))
		require.NoError(t, x.StartCall(anna))
		time.Sleep(time.Second)
		require.Len(t, b.items(), 1)
		require.NoError(t, x.KillSubscription(id, false))
		require.Error(t, x.KillSubscription("x", false))
	})
}

func TestThrottledByChance(t *testing.T) {
	x := two(t)
	app := x.appToken()
	x.SetFaults(Faults{Throttle: 1, RetryAfter: 1500 * time.Millisecond})
	a := x.set(app, anna, InACall, "")
	require.Equal(t, 429, a.status)
	require.Equal(t, "TooManyRequests", a.errorCode())
	require.Equal(t, "2", a.header.Get("Retry-After"), "whole seconds")
	require.Equal(t, Offline, x.Shown(anna))
	require.EqualValues(t, 1, x.Stats().Refused["write"])
}

func TestServerErrors(t *testing.T) {
	x := two(t)
	app := x.appToken()
	x.SetFaults(Faults{ServerError: 1})
	seen := map[int]bool{}
	for range 60 {
		a := x.set(app, anna, InACall, "")
		require.Contains(t, []int{500, 502, 503, 504}, a.status)
		seen[a.status] = true
	}
	require.Len(t, seen, 4)
	require.Equal(t, Offline, x.Shown(anna), "nothing is done")
	a := x.tokenForm("grant_type", "client_credentials", "client_id", x.ClientID, "client_secret", x.ClientSecret, "scope", "x/.default")
	refused(t, a, 503, 90033, "temporarily_unavailable")
}

func TestRefusedWrites(t *testing.T) {
	x := two(t)
	app := x.appToken()
	x.SetFaults(Faults{Refuse: 1})
	require.Equal(t, 400, x.set(app, anna, InACall, "").status)
	require.Equal(t, Offline, x.Shown(anna))
	require.Equal(t, Offline, x.read(app, anna), "reads are not writes")
}

func TestAppliedButFailed(t *testing.T) {
	x := two(t)
	app := x.appToken()
	x.SetFaults(Faults{AppliedFailed: 1})
	var failed, cut bool
	for range 40 {
		a := x.set(app, anna, InACall, "")
		require.True(t, a.err != nil || a.status == 503)
		failed, cut = failed || a.status == 503, cut || a.err != nil
		require.Equal(t, InACall, x.Shown(anna))
		a = x.clear(app, anna)
		require.True(t, a.err != nil || a.status == 503)
		require.Equal(t, Offline, x.Shown(anna))
	}
	require.True(t, failed && cut, "both ways")
	require.EqualValues(t, 40, x.Stats().Writes["clearPresence"])
	require.Positive(t, x.Stats().Requests["clearPresence"][0])
}

func TestSubscriptionsMadeButFailed(t *testing.T) {
	b := newInbox(t)
	x := two(t, func(c *Config) { c.Delivery.Transport = direct{b} })
	token := x.userToken(mon)
	x.SetFaults(Faults{AppliedFailed: 1})
	a := x.call("POST", "/v1.0/subscriptions", token, b.request(x.id(anna)))
	require.True(t, a.err != nil || a.status == 503)
	x.SetFaults(None())
	require.Equal(t, 409, x.call("POST", "/v1.0/subscriptions", token, b.request(x.id(anna))).status)
}

func TestAppliedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t)
		app := x.appToken()
		x.SetFaults(Faults{AppliedLate: 1, LandWithin: 15 * time.Second})
		a := x.set(app, anna, InACall, "PT1H")
		require.True(t, a.err != nil || a.status == 504)
		require.Equal(t, Offline, x.Shown(anna))
		x.SetFaults(None())
		time.Sleep(15 * time.Second)
		synctest.Wait()
		require.Equal(t, InACall, x.Shown(anna), "what was set going lands")
	})
}

func TestSlowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t)
		app := x.appToken()
		x.SetFaults(Faults{Slow: 1, SlowBy: 10 * time.Second})
		var longest time.Duration
		for range 20 {
			began := time.Now()
			require.Equal(t, 200, x.call("GET", "/v1.0/users/"+anna+"/presence", app, nil).status)
			longest = max(longest, time.Since(began))
		}
		require.Greater(t, longest, 5*time.Second)
		require.LessOrEqual(t, longest, 10*time.Second)
	})
}

func TestFaultsFollowFromTheSeed(t *testing.T) {
	run := func(seed uint64) (statuses []int) {
		x := two(t, func(c *Config) { c.Seed = seed })
		app := x.appToken()
		x.SetFaults(Faults{Throttle: 0.2, ServerError: 0.2, AppliedFailed: 0.2})
		for range 60 {
			statuses = append(statuses, x.set(app, anna, InACall, "").status)
		}
		return statuses
	}
	first := run(1)
	require.Equal(t, first, run(1))
	require.NotEqual(t, first, run(2))
}

func TestBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t, func(c *Config) { c.Budgets = &Budgets{Reads: 3, Writes: 2} })
		app := x.appToken()
		read := func() answer { return x.call("GET", "/v1.0/users/"+anna+"/presence", app, nil) }
		time.Sleep(time.Minute)
		for range 3 {
			require.Equal(t, 200, read().status)
		}
		time.Sleep(10 * time.Second)
		a := read()
		require.Equal(t, 429, a.status)
		wait, err := strconv.Atoi(a.header.Get("Retry-After"))
		require.NoError(t, err)
		require.Equal(t, 20, wait)
		require.Equal(t, 200, x.set(app, anna, InACall, "").status, "another class")
		require.Equal(t, 200, x.clear(app, anna).status)
		require.Equal(t, 429, x.clear(app, anna).status)
		time.Sleep(20 * time.Second)
		require.Equal(t, 200, read().status)
		require.Equal(t, map[string]int64{"read": 1, "write": 1}, x.Stats().Refused)
		require.EqualValues(t, 1, x.Stats().Requests["getPresence"][429])
		x.SetBudgets(Budgets{})
		for range 10 {
			require.Equal(t, 200, read().status)
		}
		require.Equal(t, 1500, DefaultBudgets().Reads)
	})
}

func TestListBudget(t *testing.T) {
	x := two(t)
	token := x.userToken(mon)
	var statuses []int
	for range 26 {
		statuses = append(statuses, x.call("GET", "/v1.0/subscriptions", token, nil).status)
	}
	require.Equal(t, 25, slices.Index(statuses, 429), "25 per 20 s")
}

func TestAcknowledgementsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b := faulty(t, Faults{AckLost: 1})
		require.NoError(t, x.StartCall(anna))
		time.Sleep(900 * time.Millisecond)
		x.SetFaults(None())
		time.Sleep(5 * time.Second)
		d := b.deliveries()
		require.Len(t, d, 2)
		require.Equal(t, d[0].body, d[1].body)
		require.EqualValues(t, 0, x.Stats().Notifications.Waiting)
	})
}

func TestNullValidationTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b := faulty(t, Faults{NoTokens: 1})
		require.NoError(t, x.StartCall(anna))
		time.Sleep(time.Second)
		require.Contains(t, b.deliveries()[0].body, `"validationTokens":null`)
	})
}

func TestGovernmentClouds(t *testing.T) {
	b := newInbox(t)
	x := two(t, func(c *Config) { c.Delivery.Transport = direct{b}; c.Government = true })
	require.Equal(t, 400, x.call("POST", "/v1.0/subscriptions", x.userToken(mon), b.request(x.id(anna))).status)
	a := x.call("GET", "/v1.0/users/"+anna+"/presence", x.appToken(), nil)
	require.Equal(t, "Offline", a.text("availability"))
	require.NotContains(t, a.body, "sequenceNumber")
	require.NotContains(t, a.body, "outOfOfficeSettings")
	many := x.call("POST", "/v1.0/communications/getPresencesByUserId", x.appToken(), map[string]any{"ids": []string{x.id(anna), x.id(ben)}})
	require.Len(t, many.json["value"], 2)
}
