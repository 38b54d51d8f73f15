package graphsim

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBudgetOfAnyWindow spends a budget around the end of a window that began with the first request: no window of any
// position holds more.
func TestBudgetOfAnyWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := two(t, func(c *Config) { c.Budgets = &Budgets{Reads: 4} })
		app := x.appToken()
		read := func() answer { return x.call("GET", "/v1.0/users/"+anna+"/presence", app, nil) }
		require.Equal(t, 200, read().status)
		time.Sleep(25 * time.Second)
		for range 3 {
			require.Equal(t, 200, read().status)
		}
		time.Sleep(6 * time.Second) // the first one has left
		require.Equal(t, 200, read().status)
		a := read()
		require.Equal(t, http.StatusTooManyRequests, a.status)
		require.Equal(t, "24", a.header.Get("Retry-After"), "until the second one leaves")
		time.Sleep(24 * time.Second)
		require.Equal(t, 200, read().status)
		require.EqualValues(t, 4, x.Stats().Peaks["read"])
		require.EqualValues(t, 1, x.Stats().Refused["read"])
	})
}

func TestSubscriptionLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _, token, id := subscribed(t, func(c *Config) { c.SubscriptionLife = 6 * time.Minute })
		require.Equal(t, 6*time.Minute, time.Until(x.Subscriptions()[0].Expires), "an hour was asked for")
		time.Sleep(time.Minute)
		ask := func(d time.Duration) {
			at := time.Now().Add(d).UTC().Format(time.RFC3339)
			a := x.call("PATCH", "/v1.0/subscriptions/"+id, token, map[string]string{"expirationDateTime": at})
			require.Equal(t, 200, a.status, a.body)
		}
		ask(time.Hour)
		require.Equal(t, 6*time.Minute, time.Until(x.Subscriptions()[0].Expires))
		ask(time.Minute)
		require.Equal(t, 6*time.Minute, time.Until(x.Subscriptions()[0].Expires), "raised, but not above what there is")
		time.Sleep(7 * time.Minute)
		require.Empty(t, x.Subscriptions())
		_, err := New(Config{SubscriptionLife: 2 * time.Hour})
		require.ErrorContains(t, err, "SubscriptionLife")
	})
}

func TestSlowSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, b, _, id := subscribed(t, plain)
		require.Equal(t, 200, x.call("POST", "/sim/subscriptions/"+id, "", map[string]string{"do": "slow", "by": "50s"}).status)
		require.NoError(t, x.StartCall(anna))
		time.Sleep(49 * time.Second)
		require.Empty(t, b.items())
		time.Sleep(3 * time.Second)
		require.Len(t, b.items(), 1, "late, and not lost")
		require.NoError(t, x.SlowSubscription(id, 0))
		require.NoError(t, x.EndCall(anna))
		time.Sleep(2 * time.Second)
		require.Len(t, b.items(), 2)
		require.Error(t, x.SlowSubscription("x", 0))
		require.ElementsMatch(t, []string{x.id(anna), x.id(ben)}, x.Watched(id))
		require.Empty(t, x.Watched("x"))
		require.Equal(t, 400, x.call("POST", "/sim/subscriptions/"+id, "", map[string]string{"do": "slow", "by": "late"}).status)
	})
}

// TestDisabledUser loses their access tokens too, and not only the way to the next one.
func TestDisabledUser(t *testing.T) {
	x, _, token, id := subscribed(t)
	require.Equal(t, 200, x.call("GET", "/v1.0/subscriptions/"+id, token, nil).status)
	require.NoError(t, x.UpdateUser(mon, func(p *Person) { p.Disabled = true }))
	a := x.call("GET", "/v1.0/subscriptions/"+id, token, nil)
	require.Equal(t, http.StatusUnauthorized, a.status)
	require.Equal(t, "InvalidAuthenticationToken", a.errorCode())
	require.Equal(t, 200, x.call("GET", "/v1.0/users/"+anna+"/presence", x.appToken(), nil).status, "the application is not concerned")
	require.NoError(t, x.UpdateUser(mon, func(p *Person) { p.Disabled = false }))
	require.Equal(t, 200, x.call("GET", "/v1.0/subscriptions/"+id, token, nil).status)
}
