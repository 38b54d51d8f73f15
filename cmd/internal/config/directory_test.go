package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/directory"
)

func TestDirectory(t *testing.T) {
	c, err := Parse("", []byte(minimal+"    directory: {match: [upn, phone], region: DE, extension_attribute: extensionAttribute15}\n"), Options{})
	require.NoError(t, err)
	require.Equal(t, []directory.Rule{directory.ByUPN, directory.ByPhone}, c.Accounts[0].Directory.Rules())
	c, err = Parse("", []byte(minimal), Options{})
	require.NoError(t, err)
	require.Nil(t, c.Accounts[0].Directory.Rules(), "the usual ones")
	c, err = Parse("", []byte(minimal+"    directory: {match: [mail, display_name]}\n"), Options{})
	require.NoError(t, err)
	require.Contains(t, c.Warnings[0].String(), "accounts[0].directory.match[1]: a display name is no proof of who somebody is")
}

func TestDirectoryMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"match: [mail, emial]":                `accounts[0].directory.match[1]: "emial" is no rule; the rules are mail, upn,`,
		"match: [mail, upn, mail]":            "accounts[0].directory.match[2]: stands at accounts[0].directory.match[0] already",
		"match: [extension]":                  "accounts[0].directory.match[0]: needs directory.extension_attribute",
		"region: Germany":                     `accounts[0].directory.region: "Germany" is no country`,
		"extension_attribute: extensionAttr1": "accounts[0].directory.extension_attribute: \"extensionAttr1\" is not supported",
		"interval: 10ms":                      "accounts[0].directory.interval: 10ms is too small",
	} {
		_, err := Parse("", []byte(minimal+"    directory: {"+text+"}\n"), Options{})
		require.ErrorContains(t, err, want)
	}
	_, err := Parse("", []byte(strings.Replace(minimal, "token_file: token", "token_file: token, number_prefix: '0049'", 1)), Options{})
	require.ErrorContains(t, err, `accounts[0].pbx[0].number_prefix: "0049" is not the beginning of a number; write + and digits`)
}

func TestOverridesFile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "secret", "s", 0o600)
	writeFile(t, dir, "token", "t", 0o600)
	writeFile(t, dir, "overrides.csv", "pbx,endpoint,person\nmain,201,anna@contoso.com\n", 0o600)
	src := []byte(minimal + "    directory: {overrides_file: overrides.csv}\n")
	c, err := Parse(filepath.Join(dir, "config.yaml"), src, Options{Files: true})
	require.NoError(t, err)
	list, err := c.Accounts[0].Overrides()
	require.NoError(t, err)
	require.Equal(t, []directory.Override{{PBX: "main", Endpoint: "201", Person: "anna@contoso.com", Line: 2}}, list)

	writeFile(t, dir, "overrides.csv", "pbx,endpoint,person\nmian,201,anna@contoso.com\n", 0o600)
	_, err = Parse(filepath.Join(dir, "config.yaml"), src, Options{Files: true})
	require.ErrorContains(t, err, `accounts[0].directory.overrides_file: `+dir+`/overrides.csv: line 2: the account has no PBX "mian"; give the name as in the configuration`)
}
