package console

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
)

func TestReplayIsStreamed(t *testing.T) {
	k := newKit(t, nil)
	c := newClient(t, k)
	var items []api.ReplayItem
	sum, err := c.ReplayPolicy(t.Context(), "contoso", api.ReplayRequest{Policy: "preset: sip", Since: when}, func(i api.ReplayItem) error {
		items = append(items, i)
		return nil
	})
	require.NoError(t, err)
	require.Len(t, items, 2)
	require.Equal(t, 2, items[0].Progress.Total)
	require.Equal(t, "user01@contoso.com", items[1].Difference.UPN)
	require.Equal(t, when, items[1].Difference.From)
	require.Equal(t, 7, sum.Observations)
	require.Equal(t, []string{"x"}, sum.Remarks)

	_, err = c.ReplayPolicy(t.Context(), "nobody", api.ReplayRequest{Policy: "x"}, nil)
	require.True(t, client.IsNotFound(err))
	_, err = c.ReplayPolicy(t.Context(), "contoso", api.ReplayRequest{Policy: "wrong"}, nil)
	require.ErrorContains(t, err, "line 1: wrong")
	_, err = c.ReplayPolicy(t.Context(), "contoso", api.ReplayRequest{Policy: " "}, nil)
	require.ErrorContains(t, err, "policy: is missing")
	enough := errors.New("enough")
	_, err = c.ReplayPolicy(t.Context(), "contoso", api.ReplayRequest{Policy: "x"}, func(api.ReplayItem) error { return enough })
	require.ErrorIs(t, err, enough)
	_, err = c.ReplayPolicy(t.Context(), "contoso", api.ReplayRequest{Policy: "breaks"}, func(api.ReplayItem) error { return nil })
	require.ErrorContains(t, err, "the owner is gone", "what goes wrong later is the last line")
	requireProblem(t, k.call(t, http.MethodPost, "/api/v1/accounts/contoso/policy/replay", `{"policy": 1}`), http.StatusBadRequest, "policy: want a string")
}
