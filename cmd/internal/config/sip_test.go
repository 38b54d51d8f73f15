package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const sipPBX = `{name: desk, type: sip, url: "sip:pbx.contoso.com;transport=tls", username: presence, password_file: pw, users_file: users.csv}`

func TestSIP(t *testing.T) {
	c := mustParse(t, withPBX(strings.Replace(sipPBX, "}", `, domain: contoso.com, list_uri: "sip:all@contoso.com"}`, 1)), Options{})
	p := c.Accounts[0].PBX[0]
	require.Equal(t, "presence", p.Username)
	require.Equal(t, "contoso.com", p.Domain)
	require.Equal(t, "sip:all@contoso.com", p.ListURI)
	require.True(t, strings.HasSuffix(p.UsersFile, "users.csv"))
	require.Empty(t, c.Warnings)
	c = mustParse(t, withPBX(strings.Replace(sipPBX, "tls", "tcp", 1)), Options{})
	require.Len(t, c.Warnings, 1)
	require.Contains(t, c.Warnings[0].String(), "in the clear")
	require.Empty(t, mustParse(t, withPBX(strings.Replace(sipPBX, "sip:pbx.contoso.com;transport=tls", "sip:127.0.0.1:5060", 1)), Options{}).Warnings)
}

// Each key's mistakes are told with the key and what to write.
func TestSIPMistakes(t *testing.T) {
	for _, c := range []struct{ old, now, want string }{
		{"sip:pbx.contoso.com;transport=tls", "https://pbx.contoso.com", "pbx[0].url: must be like sip:"},
		{"sip:pbx.contoso.com;transport=tls", "", "pbx[0].url: is missing; give the address of the PBX's presence server"},
		{"transport=tls", "transport=sctp", `pbx[0].url: has the transport "sctp": known ones are udp, tcp and tls`},
		{"sip:pbx.contoso.com;transport=tls", "sips:pbx.contoso.com;transport=udp", "pbx[0].url: asks for sips over udp"},
		{"sip:pbx", "sip:presence@pbx", "pbx[0].url: must not hold a user: give username"},
		{"username: presence", "username: \"sip:presence@contoso.com\"", "pbx[0].username: \"sip:presence@contoso.com\" is more than a user; write the user part alone"},
		{"username: presence, ", "", "pbx[0].username: is missing; name the user of the PBX"},
		{", users_file: users.csv", "", "pbx[0].users_file: is missing; name the file that lists the extensions"},
		{"password_file: pw", `list_uri: "<all>"`, "pbx[0].list_uri: \"<all>\" is no address; write it like sip:everybody@pbx.example.com"},
		{"password_file: pw", `domain: "sip:contoso.com"`, "pbx[0].domain: \"sip:contoso.com\" is no domain"},
		{"password_file: pw", "token_file: t", "pbx[0].token_file: is no key of a PBX of type sip; remove it"},
	} {
		require.Contains(t, sipPBX, c.old)
		_, messages := outcome(withPBX(strings.Replace(sipPBX, c.old, c.now, 1)))
		require.Len(t, messages, 1, c.now)
		require.Contains(t, messages[0], c.want)
	}
	other := strings.NewReplacer("desk", "again", "pbx.contoso.com;transport=tls", "PBX.contoso.com:5061;transport=tls").Replace(sipPBX)
	_, messages := outcome(withPBX(sipPBX, other))
	require.Len(t, messages, 1)
	require.Contains(t, messages[0], "is the same PBX as accounts[0].pbx[0].url")
}

// The users file is read when the files are checked.
func TestSIPUsersFile(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ content, want string }{
		"titles.csv": {"number of the phone\n1001\n", "line 1 must hold the titles of the columns"},
		"twice.csv":  {"extension\n1001\n1002\n1001\n", "line 4: sip:1001@contoso.com is also at line 2: remove one of them"},
		"bad.csv":    {"extension,uri\n1001,a b@c\n", `line 2: uri "a b@c" is no address`},
		"none.csv":   {"extension,mail\n,ada@contoso.com\n", "line 2: neither extension nor uri is given"},
		"list.yaml":  {"- {extension: 1001, phone: 3}\n", "a list of maps with extension, uri, mail and name is wanted"},
	} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(c.content), 0o600))
		v := newTestValidator()
		v.users(&PBX{UsersFile: file, Domain: "contoso.com"}, "users_file")
		require.Len(t, v.problems, 1, name)
		require.Contains(t, v.problems[0].Message, c.want)
	}
	file := filepath.Join(dir, "good.yaml")
	require.NoError(t, os.WriteFile(file, []byte("- {extension: 1001, mail: ada@contoso.com, name: Ada Abel}\n- {uri: \"sip:bob@contoso.com\"}\n"), 0o600))
	v := newTestValidator()
	v.users(&PBX{UsersFile: file, Domain: "contoso.com"}, "users_file")
	require.Empty(t, v.problems)
	require.Empty(t, v.warnings)
}

func newTestValidator() *validator { return &validator{report: newReport()} }
