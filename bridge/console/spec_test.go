package console

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/presence"
)

// The Go types and the schemas must have the same members, and those that are always there must be
// required.
func TestSpecAndTypesAgree(t *testing.T) {
	types := map[string]reflect.Type{
		"Accounts": reflect.TypeFor[api.Accounts](), "Account": reflect.TypeFor[api.Account](), "Credential": reflect.TypeFor[api.Credential](), "PBX": reflect.TypeFor[api.PBX](),
		"Members": reflect.TypeFor[api.Members](), "Member": reflect.TypeFor[api.Member](), "Teams": reflect.TypeFor[api.Teams](),
		"Endpoint": reflect.TypeFor[api.Endpoint](), "Assertion": reflect.TypeFor[api.Assertion](), "Override": reflect.TypeFor[api.Override](), "Would": reflect.TypeFor[api.Would](), "Competing": reflect.TypeFor[api.Competing](),
		"ReplayRequest": reflect.TypeFor[api.ReplayRequest](), "ReplayItem": reflect.TypeFor[api.ReplayItem](), "ReplayDifference": reflect.TypeFor[api.ReplayDifference](),
		"ReplayProgress": reflect.TypeFor[api.ReplayProgress](), "ReplaySummary": reflect.TypeFor[api.ReplaySummary](),
		"Monitors": reflect.TypeFor[api.Monitors](), "Monitor": reflect.TypeFor[api.Monitor](), "Subscription": reflect.TypeFor[api.Subscription](),
		"Authorization": reflect.TypeFor[api.Authorization](), "AddMonitorRequest": reflect.TypeFor[api.AddMonitorRequest](), "AuthorizeRequest": reflect.TypeFor[api.AuthorizeRequest](), "ResyncRequest": reflect.TypeFor[api.ResyncRequest](),
		"MonitorState": reflect.TypeFor[api.MonitorState](), "CoverageSum": reflect.TypeFor[api.CoverageSum](), "CoverageReason": reflect.TypeFor[api.CoverageReason](),
		"Remade": reflect.TypeFor[api.Remade](), "PBXChecks": reflect.TypeFor[api.PBXChecks](), "PBXCheck": reflect.TypeFor[api.PBXCheck](), "PBXWarning": reflect.TypeFor[api.PBXWarning](), "Probe": reflect.TypeFor[api.Probe](), "Resealed": reflect.TypeFor[api.Resealed](), "CertificateRotation": reflect.TypeFor[api.CertificateRotation](),
		"Scope": reflect.TypeFor[api.Scope](), "Jobs": reflect.TypeFor[api.Jobs](), "Job": reflect.TypeFor[api.Job](),
		"Change": reflect.TypeFor[api.Change](), "Problem": reflect.TypeFor[api.Problem](),
		"Explanation": reflect.TypeFor[api.Explanation](), "ExplainedSide": reflect.TypeFor[api.ExplainedSide](), "ExplainedEvent": reflect.TypeFor[api.ExplainedEvent](),
		"Directory": reflect.TypeFor[api.Directory](), "Finding": reflect.TypeFor[api.Finding](), "Candidate": reflect.TypeFor[api.Candidate](),
		"Pair": reflect.TypeFor[presence.Pair](), "Status": reflect.TypeFor[presence.Status](),
	}
	schemas := loadDoc(t).Components.Schemas
	require.ElementsMatch(t, slices.Collect(maps.Keys(types)), slices.DeleteFunc(slices.Collect(maps.Keys(schemas)), func(s string) bool { return s == "Coverage" || s == "Method" }))
	for name, typ := range types {
		var all, always []string
		for i := range typ.NumField() {
			tag, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			all = append(all, tag)
			if options == "" {
				always = append(always, tag)
			}
		}
		schema := schemas[name].Value
		require.ElementsMatch(t, all, slices.Collect(maps.Keys(schema.Properties)), name)
		require.ElementsMatch(t, always, schema.Required, name)
	}
}

func TestSpecKnowsEveryValue(t *testing.T) {
	schemas := loadDoc(t).Components.Schemas
	for name, want := range map[string][]any{
		"state": {string(api.JobRunning), string(api.JobDone), string(api.JobFailed), string(api.JobStopped)},
	} {
		require.ElementsMatch(t, want, schemas["Job"].Value.Properties[name].Value.Enum)
	}
	require.ElementsMatch(t, []any{string(api.ByDeviceCode), string(api.ByRedirect), string(api.ByLink)}, schemas["Method"].Value.Enum)
	require.ElementsMatch(t, []any{"pushed", "polled", "excluded", "unmatched"}, schemas["Coverage"].Value.Enum)
	require.ElementsMatch(t, []any{"", "idle", "ringing", "in-call", "on-hold", "offline"}, schemas["Endpoint"].Value.Properties["line"].Value.Enum)
	require.EqualValues(t, api.MaxChain, *schemas["Explanation"].Value.Properties["chain"].Value.MaxItems)
	require.EqualValues(t, api.MaxChanges, *schemas["Job"].Value.Properties["changed"].Value.MaxItems)
}
