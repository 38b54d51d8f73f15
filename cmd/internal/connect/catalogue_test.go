package connect

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/config"
)

// The presets are for the PBXs that there are connectors for: a rule of theirs that a PBX of that type could not carry out,
// or that could never decide, would be a mistake of ours.
func TestPresetsSuitTheirPBXs(t *testing.T) {
	for _, kind := range config.PBXTypes() {
		p := policy.Default(map[string]string{"main": kind})
		require.Equal(t, kind, p.Preset, "each type has a preset of its own")
		require.Empty(t, p.Check(policy.Site{PBX: map[string]policy.Catalogue{"main": Catalogue(kind)}}), kind)
	}
	require.Nil(t, Catalogue("micollab"), "each site names its own")
	call := policy.TeamsState{Pair: presence.ParsePairString("Busy/InACall")}
	for kind, status := range map[string]string{"3cx": "Away", "sip": "on-the-phone"} {
		p := policy.Default(map[string]string{"main": kind})
		require.Equal(t, status, p.ForPBX("main", Catalogue(kind), call).Status.Name)
		dnd := p.ForPBX("main", Catalogue(kind), policy.TeamsState{Pair: presence.ParsePairString("DoNotDisturb")})
		require.Equal(t, presence.KindDND, dnd.Status.Kind, kind)
		require.True(t, slices.Contains(Catalogue(kind), dnd.Status))
	}
}
