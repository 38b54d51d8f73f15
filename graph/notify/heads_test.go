package notify

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docBasic is the basic presence item of Microsoft's announcement, trailing comma included
// (devblogs.microsoft.com/microsoft365dev/breaking-changes-to-microsoft-graph-presence-and-online-meeting-basic-change-notifications).
const docBasic = `{
  "value": [
    {
      "subscriptionId": "37a10357-9c28-4cb8-8a4f-a85a1e9b5a7b",
      "clientState": "PresenceTesting",
      "changeType": "updated",
      "resource": "communications/presences?$filter=id+in+(%2764de7fb3-06d9-44b6-a8e6-c1a17e1a3bc4%27)",
      "subscriptionExpirationDateTime": "2024-04-19T23:58:00.4569264",
      "resourceData": {
        "@odata.type": "#Microsoft.Graph.presence",
        "@odata.id": "users/64de7fb3-06d9-44b6-a8e6-c1a17e1a3bc4/presence",
        "id": "64de7fb3-06d9-44b6-a8e6-c1a17e1a3bc4",
      },
      "tenantId": "fec73c09-5f32-43fd-b767-9181f871fbcf",
    }
  ]
}`

// docLifecycle is the sample of learn:change-notifications-lifecycle-events.
const docLifecycle = `{"value":[{"subscriptionId":"0c9d6a1d-5e4b-4e0b-9d49-0f0a0f3d1c11","subscriptionExpirationDateTime":"2019-03-20T11:00:00.0000000Z",
 "tenantId":"fec73c09-5f32-43fd-b767-9181f871fbcf","clientState":"secret","lifecycleEvent":"reauthorizationRequired"}]}`

func heads(t *testing.T, body string) ([]Head, error) {
	t.Helper()
	var all []Head
	err := ScanHeads([]byte(body), func(h Head) bool { all = append(all, h); return true })
	return all, err
}

func TestScanHeadsDocSamples(t *testing.T) {
	got, err := heads(t, docBasic)
	require.NoError(t, err)
	assert.Equal(t, []Head{{ClientState: "PresenceTesting", SubscriptionID: "37a10357-9c28-4cb8-8a4f-a85a1e9b5a7b",
		TenantID: "fec73c09-5f32-43fd-b767-9181f871fbcf", ChangeType: "updated"}}, got)

	got, err = heads(t, docLifecycle)
	require.NoError(t, err)
	assert.Equal(t, []Head{{ClientState: "secret", SubscriptionID: "0c9d6a1d-5e4b-4e0b-9d49-0f0a0f3d1c11",
		TenantID: "fec73c09-5f32-43fd-b767-9181f871fbcf", LifecycleEvent: "reauthorizationRequired"}}, got)
}

func TestScanHeadsShapes(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       []Head
	}{
		{"bom", "\ufeff" + `{"value":[{"clientState":"a"}]}`, []Head{{ClientState: "a"}}},
		{"nulls", `{"value":[{"clientState":null,"tenantId":null,"lifecycleEvent":null,"encryptedContent":null}]}`, []Head{{}}},
		{"rich", `{"value":[{"clientState":"a","encryptedContent":{"data":"x"}}]}`, []Head{{ClientState: "a", HasEncryptedContent: true}}},
		{"organization", `{"value":[{"organizationId":"o"}]}`, []Head{{TenantID: "o"}}},
		{"escapes", `{"value":[{"client\u0053tate":"a\u002Bb\/c"}]}`, []Head{{ClientState: "a+b/c"}}},
		{"bad utf8", "{\"value\":[{\"clientState\":\"a\xff\"},{\"clientState\":\"b\"}]}", []Head{{ClientState: "a\ufffd"}, {Index: 1, ClientState: "b"}}},
		{"lone surrogate", `{"value":[{"clientState":"\ud800"}]}`, []Head{{ClientState: "\ufffd"}}},
		{"poison among neighbours", `{"value":[{"clientState":"a"},{"clientState":7},null,[1],"x",{"clientState":"b","encryptedContent":"no"},{"clientState":"c"}]}`, []Head{
			{ClientState: "a"}, {Index: 1, Malformed: true}, {Index: 2, Malformed: true}, {Index: 3, Malformed: true},
			{Index: 4, Malformed: true}, {Index: 5, ClientState: "b", Malformed: true}, {Index: 6, ClientState: "c"}}},
		{"member twice", `{"value":[{"clientState":"a","clientState":"b"}]}`, []Head{{ClientState: "b", Malformed: true}}},
		{"value twice", `{"value":[{"clientState":"a"}],"value":[{"clientState":"b"}]}`, []Head{{ClientState: "a"}, {Index: 1, ClientState: "b"}}},
		{"trailing commas", `{"value":[{"clientState":"a"},{"clientState":"b",},],}`, []Head{{ClientState: "a"}, {Index: 1, ClientState: "b"}}},
		{"tokens of any type", `{"validationTokens":{"a":[1]},"value":[{"clientState":"a"}]}`, []Head{{ClientState: "a"}}},
		{"no value", `{"validationTokens":[]}`, nil},
		{"null value", `{"value":null}`, nil},
		{"object value", `{"value":{"clientState":"a"}}`, nil},
		{"empty value", `{"value":[]}`, nil},
		{"array", `[{"value":[{}]}]`, nil},
		{"string", `"x"`, nil},
		{"other members", `{"a":{"value":[{}]},"value":[{"b":{"clientState":"no"},"clientState":"a"}]}`, []Head{{ClientState: "a"}}},
		{"deep but bounded", `{"value":[{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"clientState":"a"}]}`, []Head{{ClientState: "a"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := heads(t, c.body)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestScanHeadsRefusesWhatIsNotJSON(t *testing.T) {
	for _, body := range []string{
		"", " ", "\ufeff", "{", "}", `{"value"}`, `{"value":[}`, `{"value":[{]}`, `{"value":[{"a":}]}`, `{"value":[{"a" "b"}]}`,
		`{"value":[{}]}x`, `{"value":[{}]}{"value":[{}]}`, `{"value":[,]}`, `{,}`, `{"value":[{},,]}`, `{"value":,}`, `{"value":[{"a":,}]}`,
		`{"value":[{"clientState":"a}]}`, `{"value":[{"clientState":'a'}]}`, "{\"value\":[{\"clientState\":\"a\nb\"}]}",
		`{"value":[{"clientState":"\x"}]}`, `{"value":[{"x":01}]}`, `{"value":[nul]}`, `{value:[]}`, `// c` + "\n{}",
		`{"value":[{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}]}`,
		"\x1f\x8b\x08", "validationToken=abc",
	} {
		_, err := heads(t, body)
		assert.Equal(t, ReasonMalformedBody, ReasonOf(err), "%.60q: %v", body, err)
	}
}

func TestScanHeadsStops(t *testing.T) {
	n := 0
	err := ScanHeads([]byte(`{"value":[{},{},{}`), func(Head) bool { n++; return n < 2 })
	require.NoError(t, err)
	assert.Equal(t, 2, n)
}

func TestScanHeadsVisitsOnceWhenRepaired(t *testing.T) {
	got, err := heads(t, `{"value":[{"clientState":"a,}"},{"clientState":"b"},{"clientState":"c" , }]}`)
	require.NoError(t, err)
	require.Len(t, got, 3)
	assert.Equal(t, "a,}", got[0].ClientState)
}
