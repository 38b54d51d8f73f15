package app

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String()+"/api/v1/accounts/contoso/monitors", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	type answer struct {
		resp *http.Response
		err  error
	}
	answered := make(chan answer, 1)
	go func() { // waits in the listener's queue until the admin listener is served
		resp, err := http.DefaultClient.Do(req)
		answered <- answer{resp, err}
	}()
	a, err := Start(t.Context(), Options{Config: cfg, AdminListener: ln, WebhookListener: listen(t), Version: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { stopApp(t, a) })
	got := <-answered
	require.NoError(t, got.err)
	defer got.resp.Body.Close()
	body, err := io.ReadAll(got.resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, got.resp.StatusCode, string(body))
	require.Contains(t, string(body), "presence1@contoso.com")
}
