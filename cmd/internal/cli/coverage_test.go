package cli

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/presence"
)

func TestCoverageIsSaid(t *testing.T) {
	var out bytes.Buffer
	a := &api.Account{Name: "contoso", Coverage: &api.CoverageSum{
		Text:    "650 members are pushed, 50 polled; 2 monitors are needed and 1 are authorised: one more would have 50 more members pushed",
		Reasons: []api.CoverageReason{{Coverage: presence.CoveragePolled, Why: "capacity", Members: 50, Text: "the monitors' places are taken"}},
	}}
	require.NoError(t, showCoverage(&out, a))
	require.Equal(t, "contoso: "+a.Coverage.Text+"\ncontoso: 50 polled: the monitors' places are taken\n", out.String())
	out.Reset()
	require.NoError(t, showCoverage(&out, &api.Account{Name: "fabrikam"}))
	require.Empty(t, out.String(), "nobody runs it")
}
