package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"presencebridge/cmd/internal/config"
)

func exampleReport() *Report {
	r := &Report{
		Bridge: []Check{ok("bus", "embedded", "the store is\nthere"), warning("public_address", "", "give a name", "%s", strings.Repeat("long ", 40))},
		Accounts: []Account{
			{Name: "contoso", Checks: []Check{
				ok("app_token", "", "Entra gives one"),
				failed("permission", "User.Read.All", "grant it: "+strings.Repeat("word ", 30), "the token does not carry it; the secret is top~secret"),
				skipped("monitor", "a-monitor-with-a-very-long-name@a-very-long-domain.example", "not running"),
			}},
			{Name: "fabrikam", Checks: []Check{}},
		},
	}
	for i := range r.Accounts {
		r.Accounts[i].Result = worst(r.Accounts[i].Checks)
	}
	r.finish([]string{"top~secret"})
	return r
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, exampleReport().WriteText(&b))
	text := b.String()
	for line := range strings.SplitSeq(text, "\n") {
		require.LessOrEqual(t, utf8.RuneCountInString(line), textWidth, line)
		require.Equal(t, strings.TrimRight(line, " "), line)
	}
	file := filepath.Join("testdata", "report.txt")
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), text, "UPDATE=1 go test ./cmd/internal/verify writes it anew")
	require.Error(t, exampleReport().WriteText(broken{}))
}

func TestJSON(t *testing.T) {
	js, err := json.Marshal(&Report{Result: OK, Bridge: []Check{}, Accounts: []Account{{Name: "a", Result: Failed, Checks: []Check{
		failed("pbx", "main", "r", "e"), ok("clock", "", "e")}}}})
	require.NoError(t, err)
	require.JSONEq(t, `{"result":"ok","bridge":[],"accounts":[{"account":"a","result":"failed","checks":[
		{"name":"pbx","subject":"main","result":"failed","evidence":"e","remedy":"r"},{"name":"clock","result":"ok","evidence":"e"}]}]}`, string(js))
	r := exampleReport()
	require.Equal(t, Failed, r.Result)
	require.NotContains(t, r.Accounts[0].Checks[1].Evidence, "top~secret")
	require.Contains(t, r.Accounts[0].Checks[1].Evidence, "[secret]")
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no paper") }

func TestSecretsAreRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	cfg := &config.Config{DataDir: dir, Accounts: []config.Account{{
		Graph: config.Graph{ClientSecretFile: write("s", "client~secret\n"), CertificatePasswordFile: write("p", "abc")},
		PBX:   []config.PBX{{TokenFile: write("t", "pbx-token")}, {TokenFile: filepath.Join(dir, "none")}},
	}}}
	write("admin-token", "the-admin-token")
	require.ElementsMatch(t, []string{"client~secret", "pbx-token", "the-admin-token"}, secretsOf(cfg))
}

func TestWords(t *testing.T) {
	require.Equal(t, "2 days", days(49*time.Hour))
	require.Equal(t, "1 day", days(25*time.Hour))
	require.Equal(t, "3 hours", days(3*time.Hour))
	require.Equal(t, "the past", days(-time.Hour))
	require.Equal(t, "512 B", size(512))
	require.Equal(t, "1.5 GiB", size(3<<29))
	require.Equal(t, 2, Result("odd").rank(), "what is not known is no good news")
}
