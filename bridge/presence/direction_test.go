package presence

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDirections(t *testing.T) {
	for _, word := range []string{"none", "teams_to_pbx", "pbx_to_teams", "both"} {
		d, ok := ParseDirections(" " + word)
		require.True(t, ok, word)
		require.Equal(t, word, d.String())
		text, err := json.Marshal(d)
		require.NoError(t, err)
		var back Directions
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, d, back)
	}
	_, ok := ParseDirections("sideways")
	require.False(t, ok)
	var d Directions
	require.ErrorContains(t, json.Unmarshal([]byte(`"sideways"`), &d), "pbx_to_teams")
	require.True(t, BothDirections.Has(TeamsToPBX))
	require.False(t, TeamsToPBX.Has(BothDirections))
	require.True(t, TeamsToPBX.Has(0))
}
