package console

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
)

func TestExplainIsAnswered(t *testing.T) {
	k := newKit(t, nil)
	const path = "/api/v1/accounts/contoso/members/user04@contoso.com/explain"
	e := read[api.Explanation](t, k.call(t, http.MethodGet, path, ""), http.StatusOK)
	require.Equal(t, "id-04", e.Member)
	require.Zero(t, e.At)
	require.Equal(t, "in +00:00", e.Text)
	require.NotNil(t, e.Sides)

	e = read[api.Explanation](t, k.call(t, http.MethodGet, path+"?at=2026-11-25T10:15:00%2B01:00&since=2026-11-25T00:00:00Z&zone=%2B01:00", ""), http.StatusOK)
	require.Equal(t, time.Date(2026, 11, 25, 9, 15, 0, 0, time.UTC), e.At)
	require.Equal(t, "in +01:00", e.Text)
	require.Len(t, e.Chain, 1)
	e = read[api.Explanation](t, k.call(t, http.MethodGet, path+"?zone=UTC", ""), http.StatusOK)
	require.Equal(t, "in +00:00", e.Text)

	requireProblem(t, k.call(t, http.MethodGet, path+"?at=10:15", ""), http.StatusBadRequest, "at: want a moment as in RFC 3339")
	requireProblem(t, k.call(t, http.MethodGet, path+"?since=24h", ""), http.StatusBadRequest, "since: want")
	requireProblem(t, k.call(t, http.MethodGet, path+"?zone=nowhere", ""), http.StatusBadRequest, "zone: want an offset")
	requireProblem(t, k.call(t, http.MethodGet, path+"?zone=Local", ""), http.StatusBadRequest, "zone: want an offset")
	p := requireProblem(t, k.call(t, http.MethodGet, "/api/v1/accounts/contoso/members/nobody/explain", ""), http.StatusNotFound, "nobody")
	require.Equal(t, []string{"user00@contoso.com"}, p.Candidates)
}

func TestClientExplains(t *testing.T) {
	k := newKit(t, nil)
	c := newClient(t, k)
	zone := time.FixedZone("", 2*3600)
	at := time.Date(2026, 11, 25, 10, 15, 0, 0, zone)
	e, err := c.Explain(t.Context(), "contoso", "user04@contoso.com", at, at.Add(-time.Hour), zone)
	require.NoError(t, err)
	require.True(t, at.Equal(e.At))
	require.Equal(t, "in +02:00", e.Text)
	_, err = c.Explain(t.Context(), "contoso", "nobody", time.Time{}, time.Time{}, time.UTC)
	require.True(t, client.IsNotFound(err))
	require.Equal(t, []string{"user00@contoso.com"}, client.Candidates(err))
	require.Nil(t, client.Candidates(http.ErrBodyNotAllowed))
}
