package app

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/cmd/internal/config"
)

// The admin listener answers a moment before the accounts run: what is asked in that moment is answered all the same.
func TestQuestionBeforeTheAccountRuns(t *testing.T) {
	dir, token := t.TempDir(), strings.Repeat("t", 43)
	ln := listen(t)
	cfg, err := config.Parse("test.yaml", []byte("data_dir: "+dir+"\nnats: {min_free: 0}\nadmin: {token_file: "+writeFile(t, dir, "token", token)+"}\n"+
		"public_url: http://127.0.0.1:1\naccounts: [{name: contoso, graph: {tenant_id: 11111111-1111-4111-8111-111111111111, client_id: 22222222-2222-4222-8222-222222222222, client_secret_file: "+
		writeFile(t, dir, "secret", base64.StdEncoding.EncodeToString([]byte("secret")))+", endpoints: {login: \"https://127.0.0.1:1\", graph: \"https://127.0.0.1:1\"}}, monitors: [{upn: presence1@contoso.com}],\n"+
		"    pbx: [{name: main, type: micollab, url: \"http://127.0.0.1:1\", token_file: "+writeFile(t, dir, "pbx", "token")+"}]}]\n"), config.Options{Files: true})
	require.NoError(t, err)

	c, err := client.New("http://"+ln.Addr().String(), token)
	require.NoError(t, err)
	answered := make(chan error, 1)
	go func() { // waits in the listener's queue until the admin listener is served
		_, err := c.Monitors(t.Context(), "contoso")
		answered <- err
	}()
	a, err := Start(t.Context(), Options{Config: cfg, AdminListener: ln, WebhookListener: listen(t), Version: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { stopApp(t, a) })
	require.NoError(t, <-answered)
}
