package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// withPBX is the minimal configuration with other PBXs.
func withPBX(pbxs ...string) string {
	return minimal[:strings.Index(minimal, "    pbx:")] + "    pbx:\n      - " + strings.Join(pbxs, "\n      - ") + "\n"
}

const threecx = `{name: branch, type: 3cx, url: "https://3cx.contoso.com:5001", client_id: bridge, client_secret_file: key}`

func Test3CX(t *testing.T) {
	c := mustParse(t, withPBX(strings.Replace(threecx, "}", ", poll_interval: 9s}", 1)), Options{})
	p := c.Accounts[0].PBX[0]
	require.Equal(t, "3cx", p.Type)
	require.Equal(t, "bridge", p.ClientID)
	require.Equal(t, "9s", p.PollInterval.String())
	require.True(t, strings.HasSuffix(p.ClientSecretFile, "key"))
	require.Empty(t, c.Warnings)
}

// Each type has keys of its own: a missing one and one of another type are named, with what to do.
func TestKeysOfAPBX(t *testing.T) {
	for src, want := range map[string]string{
		`{name: a, type: 3cx, url: "https://a.example", client_secret_file: key}`:               "pbx[0].client_id: is missing; give the client id of the PBX's API client",
		`{name: a, type: 3cx, url: "https://a.example", client_id: b}`:                          "pbx[0].client_secret_file: is missing; name the file with the API client's key",
		strings.Replace(threecx, "}", ", token_file: t}", 1):                                    "pbx[0].token_file: is no key of a PBX of type 3cx; remove it; the keys of that type's own are client_id, client_secret_file, poll_interval",
		`{name: a, type: micollab, url: "https://a.example"}`:                                   "pbx[0].token_file: is missing",
		`{name: a, type: micollab, url: "https://a.example", token_file: t, poll_interval: 5s}`: "pbx[0].poll_interval: is no key of a PBX of type micollab",
		strings.Replace(threecx, "}", ", poll_interval: 10ms}", 1):                              "pbx[0].poll_interval:",
	} {
		_, messages := outcome(withPBX(src))
		require.Len(t, messages, 1, src)
		require.Contains(t, messages[0], want)
	}
}

func TestPresetHint(t *testing.T) {
	micollab := `{name: main, type: micollab, url: "https://pbx.contoso.com", token_file: token}`
	for _, c := range []struct{ src, want string }{
		{withPBX(threecx), ""},
		{withPBX(threecx) + "    policy: {preset: 3cx}\n", ""},
		{withPBX(threecx) + "    policy: {preset: micollab}\n", "the preset micollab is made for PBXs of that type, and those of this account are of type 3cx"},
		{withPBX(threecx, micollab) + "    policy: {preset: micollab}\n", ""},
		{withPBX(threecx, micollab), ""},
	} {
		got := mustParse(t, c.src, Options{}).Warnings
		if c.want == "" {
			require.Empty(t, got, c.src)
			continue
		}
		require.Len(t, got, 1, c.src)
		require.Contains(t, got[0].String(), c.want)
	}
}
